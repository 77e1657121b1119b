//! Whether a listener's certificates and keys can be used.
//!
//! Owns whether the files belong together, and when a certificate ends. `validate` does it when a configuration is
//! read, and the server does it again to use them. Does not handle reading PEM (see `config::pem`), what is negotiated
//! (see
//! `tls::server`), nor serving TLS (see `server::handshake`). Fails with the file that has to be changed.

use std::path::PathBuf;
use std::sync::Arc;

use jiff::Timestamp;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{Error, ServerConfig};

use super::file_fault::Fault;
use super::{CertificateFiles, Tls, client_authorities};
use crate::config::document::Located;
use crate::config::pem;
use crate::tls::clients::Verifier;
use crate::tls::{Suites, server, sm};

/// No handshake has room for a longer answer of an authority.
const MAX_OCSP_BYTES: usize = 32 << 10;

/// The certificates of a listener, and which clients get them.
pub fn all(tls: &Tls) -> impl Iterator<Item = (&CertificateFiles, Suites)> {
    let usual = tls.usual.iter().flat_map(|usual| &usual.certificates);
    let usual = usual.map(|files| (files, Suites::Usual));
    usual.chain(tls.sm.iter().map(|files| (files, Suites::Sm)))
}

/// What a listener uses.
pub struct Loaded {
    /// For clients with the usual suites.
    pub usual: Option<ServerConfig>,
    /// For clients with the suite of RFC 8998.
    pub sm: Option<ServerConfig>,
    /// What verifies the certificates of clients, where they are asked for one.
    pub clients: Option<Arc<Verifier>>,
}

/// Reads all files of a listener.
///
/// # Errors
/// The first that cannot be used.
pub fn load_all(tls: &Tls) -> Result<Loaded, Fault<'_>> {
    let mut loaded = Loaded {
        usual: None,
        sm: None,
        clients: None,
    };
    if let Some(usual) = &tls.usual
        && let Some(first) = usual.certificates.first()
    {
        let clients = usual.clients.as_ref().map(client_authorities::load);
        loaded.clients = clients.transpose()?.map(Arc::new);
        let certificates = usual.certificates.iter();
        let certificates: Result<Vec<_>, Fault<'_>> = certificates
            .map(|files| load(files, Suites::Usual))
            .collect();
        let config = server::usual(certificates?, &usual.choice, loaded.clients.clone());
        loaded.usual = Some(config.map_err(|error| Fault {
            place: &first.cert.place,
            message: format!("TLS cannot be served: {error}"),
            hint: "change `suites` or `min_version`",
        })?);
    }
    if let Some(files) = &tls.sm {
        let (chain, key) = (read_chain(files)?, read_key(files, Suites::Sm)?);
        let config = server::sm(chain, key).map_err(|error| refused(files, &error));
        loaded.sm = Some(config?);
    }
    Ok(loaded)
}

/// Reads a certificate, its key and what its authority says of it.
///
/// # Errors
/// One cannot be read or holds something else, or they do not belong together.
pub fn load(files: &CertificateFiles, suites: Suites) -> Result<CertifiedKey, Fault<'_>> {
    let chain = read_chain(files)?;
    let private = read_key(files, suites)?;
    let ocsp = files.ocsp.as_ref().map(read_ocsp).transpose()?;
    let (cert_path, key_path) = (files.cert.value.display(), files.key.value.display());
    server::certified(chain, private, ocsp, suites).map_err(|error| match error {
        Error::InconsistentKeys(_) => Fault {
            place: &files.key.place,
            message: format!(
                "the key in {key_path} does not belong to the certificate in {cert_path}"
            ),
            hint: "name the key that the certificate was made for; in the file of the certificate, its \
                   chain comes after it",
        },
        error => refused(files, &error),
    })
}

/// What rustls cannot use.
fn refused<'t>(files: &'t CertificateFiles, error: &Error) -> Fault<'t> {
    let (cert, key) = (files.cert.value.display(), files.key.value.display());
    Fault {
        place: &files.cert.place,
        message: format!("{cert} with {key} cannot be used: {error}"),
        hint: "name a certificate and its key, both in PEM",
    }
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
    let chain = read_chain(files).ok()?;
    pem::end(chain.first()?)
}

/// Reads what an authority says of a certificate's state: an OCSP response that tells of success.
fn read_ocsp(file: &Located<PathBuf>) -> Result<Vec<u8>, Fault<'_>> {
    let path = file.value.display();
    let fault = |message| Fault {
        place: &file.place,
        message,
        hint: "write it with: openssl ocsp -issuer CA -cert CERT -url URL -respout FILE",
    };
    let bytes = pem::bytes(&file.value).map_err(|e| Fault::of_file(&file.place, e))?;
    // A sequence whose first element is the status, 0 for success.
    match x509_parser::der_parser::parse_der(&bytes) {
        Ok((rest, response)) if rest.is_empty() && bytes.len() <= MAX_OCSP_BYTES => {
            let parts = response.as_sequence().map_err(|_| ());
            let status = parts.and_then(|parts| parts.first().ok_or(()));
            let status = status.and_then(|status| status.as_u32().map_err(|_| ()));
            match status {
                Ok(0) => Ok(bytes),
                Ok(status) => Err(fault(format!("{path} tells of an error, {status}"))),
                Err(()) => Err(fault(format!("{path} is not an OCSP response"))),
            }
        }
        _ => Err(fault(format!("{path} is not an OCSP response in DER"))),
    }
}

const CHAIN: &str = "name a file in PEM: the certificate, then its chain";
