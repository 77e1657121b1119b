//! Whether a listener's certificate and key can be used.
//!
//! Owns reading the two files, and when a certificate ends. `validate` does it when a configuration is read, and the server
//! does it again to use them. Does not handle what is negotiated (see `tls::server`), nor serving TLS (see
//! `server::handshake`). Fails with the file that has to be changed.

use std::path::Path;

use jiff::Timestamp;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{Error, ServerConfig};
use x509_parser::pem::Pem;

use super::{CertificateFiles, Tls};
use crate::config::document::Place;
use crate::tls::server::{self, Suites};
use crate::tls::sm;

/// What is wrong with the certificate or its key.
#[derive(Debug)]
pub struct Fault<'t> {
    /// Where the configuration names the file that has to be changed.
    pub place: &'t Place,
    /// What is wrong.
    pub message: String,
    /// What to change.
    pub hint: &'static str,
}

/// The certificates of a listener, and which clients get them.
pub fn all(tls: &Tls) -> impl Iterator<Item = (&CertificateFiles, Suites)> {
    let usual = tls.usual.iter().map(|files| (files, Suites::Usual));
    usual.chain(tls.sm.iter().map(|files| (files, Suites::Sm)))
}

/// Reads both files.
///
/// # Errors
/// One cannot be read or holds something else, or they do not belong together.
pub fn load(files: &CertificateFiles, suites: Suites) -> Result<ServerConfig, Fault<'_>> {
    let chain = read_chain(files)?;
    let private = read_key(files, suites)?;
    let (cert_path, key_path) = (files.cert.value.display(), files.key.value.display());
    server::config(chain, private, suites).map_err(|error| match error {
        Error::InconsistentKeys(_) => Fault {
            place: &files.key.place,
            message: format!(
                "the key in {key_path} does not belong to the certificate in {cert_path}"
            ),
            hint: "name the key that the certificate was made for; in the file of the certificate, its \
                   chain comes after it",
        },
        error => Fault {
            place: &files.cert.place,
            message: format!("{cert_path} with {key_path} cannot be used: {error}"),
            hint: "name a certificate and its key, both in PEM",
        },
    })
}

fn read_chain(files: &CertificateFiles) -> Result<Vec<CertificateDer<'static>>, Fault<'_>> {
    let path = files.cert.value.display();
    let fault = |message, hint| Fault {
        place: &files.cert.place,
        message,
        hint,
    };
    let text = read(&files.cert.value).map_err(|e| fault(e, READABLE))?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
    let broken = |e| fault(format!("{path} is not PEM: {e}"), CHAIN);
    match chain.map_err(broken)? {
        chain if chain.is_empty() => Err(fault(format!("{path} holds no certificate"), CHAIN)),
        chain => Ok(chain),
    }
}

fn read_key(files: &CertificateFiles, suites: Suites) -> Result<PrivateKeyDer<'static>, Fault<'_>> {
    let path = files.key.value.display();
    let fault = |message, hint| Fault {
        place: &files.key.place,
        message,
        hint,
    };
    let text = read(&files.key.value).map_err(|e| fault(e, READABLE))?;
    if text.contains("ENCRYPTED") {
        return Err(fault(
            format!("the private key in {path} is encrypted"),
            "decrypt it: openssl pkey -in KEY -out PLAIN",
        ));
    }
    if text.contains("-----BEGIN SM2 PRIVATE KEY-----") {
        return Err(fault(
            format!("the private key in {path} has a form that only OpenSSL reads"),
            "convert it: openssl pkcs8 -topk8 -nocrypt -in KEY -out PLAIN",
        ));
    }
    let Ok(key) = PrivateKeyDer::from_pem_slice(text.as_bytes()) else {
        return Err(fault(
            format!("{path} holds no private key"),
            "name a file in PEM that has one",
        ));
    };
    match (suites, sm::is_sm2_key(&key)) {
        (Suites::Usual, true) => Err(fault(
            format!("the private key in {path} is one of SM2"),
            "move it and its certificate to `tls.sm`",
        )),
        (Suites::Sm, false) => Err(fault(
            format!("the private key in {path} is not one of SM2"),
            "`tls.sm` takes a key made with openssl genpkey -algorithm SM2; move any other to `tls`",
        )),
        _ => Ok(key),
    }
}

/// When the certificate ceases to be valid, without those of its chain. `None` where that cannot be read.
pub fn end(files: &CertificateFiles) -> Option<Timestamp> {
    let text = read(&files.cert.value).ok()?;
    let mut blocks = Pem::iter_from_buffer(text.as_bytes()).filter_map(Result::ok);
    let certificate = blocks.find(|block| block.label == "CERTIFICATE")?;
    let validity = certificate.parse_x509().ok()?.validity().clone();
    Timestamp::from_second(validity.not_after.timestamp()).ok()
}

const READABLE: &str = "name a file, and give read permission to the user that runs Tollgate";
const CHAIN: &str = "name a file in PEM: the certificate, then its chain";

#[allow(
    clippy::disallowed_methods,
    reason = "a configuration is read before anything is served by it"
)]
fn read(path: &Path) -> Result<String, String> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Err(e) => Err(format!("cannot read {}: {e}", path.display())),
    }
}
