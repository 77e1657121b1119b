//! Whether a listener's certificate and key can be used.
//!
//! Owns the check of the two files, and when a certificate ends. `validate` runs it when a configuration is read, and the server
//! runs it again before it gives them to Pingora, which panics on files that it cannot use. Does not
//! handle serving TLS (see `server::listeners`). Fails with the file that has to be changed.

use std::path::Path;

use pingora::tls::{
    RusTlsError, ServerConfig, install_default_crypto_provider, load_certs_and_key_files,
};

use jiff::Timestamp;
use x509_parser::pem::Pem;

use super::Tls;
use crate::config::document::Place;

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

/// Checks both files.
///
/// # Errors
/// One cannot be read or holds something else, or they do not belong together.
pub fn check(tls: &Tls) -> Result<(), Fault<'_>> {
    let cert = |message, hint| Fault {
        place: &tls.cert.place,
        message,
        hint,
    };
    let key = |message, hint| Fault {
        place: &tls.key.place,
        message,
        hint,
    };
    let (cert_path, key_path) = (tls.cert.value.display(), tls.key.value.display());
    let text = read(&tls.cert.value).map_err(|e| cert(e, READABLE))?;
    if !text.contains("-----BEGIN CERTIFICATE-----") {
        return Err(cert(
            format!("{cert_path} holds no certificate"),
            "name a file in PEM: the certificate, then its chain",
        ));
    }
    let text = read(&tls.key.value).map_err(|e| key(e, READABLE))?;
    if text.contains("ENCRYPTED") {
        return Err(key(
            format!("the private key in {key_path} is encrypted"),
            "decrypt it: openssl pkey -in KEY -out PLAIN",
        ));
    }
    if !text.contains("PRIVATE KEY-----") {
        return Err(key(
            format!("{key_path} holds no private key"),
            "name a file in PEM that has one",
        ));
    }
    let unusable = |what: String| {
        let message = format!("{cert_path} with {key_path} cannot be used: {what}");
        cert(message, "name a certificate and its key, both in PEM")
    };
    let (Some(cert_name), Some(key_name)) = (tls.cert.value.to_str(), tls.key.value.to_str())
    else {
        return Err(unusable("a path is not UTF-8".to_owned()));
    };
    install_default_crypto_provider();
    let pair =
        load_certs_and_key_files(cert_name, key_name).map_err(|e| unusable(e.to_string()))?;
    let (chain, private) = pair.ok_or_else(|| unusable("one of them is empty".to_owned()))?;
    let builder = ServerConfig::builder().with_no_client_auth();
    match builder.with_single_cert(chain, private) {
        Ok(_) => Ok(()),
        Err(RusTlsError::InconsistentKeys(_)) => Err(key(
            format!("the key in {key_path} does not belong to the certificate in {cert_path}"),
            "name the key that the certificate was made for; in the file of the certificate, its \
             chain comes after it",
        )),
        Err(e) => Err(unusable(e.to_string())),
    }
}

/// When the certificate ceases to be valid, without those of its chain. `None` where that cannot be read.
pub fn end(tls: &Tls) -> Option<Timestamp> {
    let text = read(&tls.cert.value).ok()?;
    let mut blocks = Pem::iter_from_buffer(text.as_bytes()).filter_map(Result::ok);
    let certificate = blocks.find(|block| block.label == "CERTIFICATE")?;
    let validity = certificate.parse_x509().ok()?.validity().clone();
    Timestamp::from_second(validity.not_after.timestamp()).ok()
}

const READABLE: &str = "name a file, and give read permission to the user that runs Tollgate";

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
