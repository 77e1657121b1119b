//! Whether a listener's certificate and key can be used.
//!
//! Owns whether the two files belong together, and when the certificate ends. `validate` does it when a configuration is
//! read, and the server does it again to use them. Does not handle reading PEM (see `config::pem`), what is negotiated
//! (see `tls::server`), nor serving TLS (see `server::handshake`). Fails with the file that has to be changed.

use jiff::Timestamp;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{Error, ServerConfig};

use super::{CertificateFiles, Tls};
use crate::config::document::Place;
use crate::config::pem;
use crate::tls::{Suites, server, sm};

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

impl<'t> Fault<'t> {
    fn of_file(place: &'t Place, fault: pem::Fault) -> Self {
        let pem::Fault { message, hint } = fault;
        Self {
            place,
            message,
            hint,
        }
    }
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
    let chain = pem::certificates(&files.cert.value, CHAIN);
    chain.map_err(|fault| Fault::of_file(&files.cert.place, fault))
}

fn read_key(files: &CertificateFiles, suites: Suites) -> Result<PrivateKeyDer<'static>, Fault<'_>> {
    let place = &files.key.place;
    let path = files.key.value.display();
    let key = pem::private_key(&files.key.value).map_err(|fault| Fault::of_file(place, fault))?;
    let fault = |message, hint| Fault {
        place,
        message,
        hint,
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
    let chain = pem::certificates(&files.cert.value, CHAIN).ok()?;
    pem::end(chain.first()?)
}

const CHAIN: &str = "name a file in PEM: the certificate, then its chain";
