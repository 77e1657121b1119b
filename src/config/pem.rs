//! Certificates and private keys in files of PEM.
//!
//! Owns reading them, what is said of a file that holds something else, and when a certificate ends. Does not handle
//! whether rustls can use what is in them (see their users). Fails with what has to be changed.

use std::io::Read as _;
use std::path::Path;

use jiff::Timestamp;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::parse_x509_certificate;

/// A larger file is not read. The bundle of a system has a few hundred KiB, a list of revoked certificates some MiB.
const MAX_FILE_BYTES: u64 = 16 << 20;

/// What is wrong with a file, and what to change.
#[derive(Debug)]
pub struct Fault {
    /// What is wrong.
    pub message: String,
    /// What to change.
    pub hint: &'static str,
}

const READABLE: &str = "name a file, and give read permission to the user that runs Tollgate";

/// The certificates of a file, at least one. `hint` says what the file should be.
///
/// # Errors
/// It cannot be read, or holds none.
pub fn certificates(
    path: &Path,
    hint: &'static str,
) -> Result<Vec<CertificateDer<'static>>, Fault> {
    let fault = |message| Fault { message, hint };
    let shown = path.display();
    let text = read(path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
    match found.map_err(|e| fault(format!("{shown} is not PEM: {e}")))? {
        found if found.is_empty() => Err(fault(format!("{shown} holds no certificate"))),
        found => Ok(found),
    }
}

/// The private key of a file.
///
/// # Errors
/// It cannot be read, or holds none that can be used as it is.
pub fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, Fault> {
    let fault = |message, hint| Fault { message, hint };
    let shown = path.display();
    let text = read(path)?;
    if text.contains("ENCRYPTED") {
        return Err(fault(
            format!("the private key in {shown} is encrypted"),
            "decrypt it: openssl pkey -in KEY -out PLAIN",
        ));
    }
    if text.contains("-----BEGIN SM2 PRIVATE KEY-----") {
        return Err(fault(
            format!("the private key in {shown} has a form that only OpenSSL reads"),
            "convert it: openssl pkcs8 -topk8 -nocrypt -in KEY -out PLAIN",
        ));
    }
    PrivateKeyDer::from_pem_slice(text.as_bytes()).map_err(|_| {
        fault(
            format!("{shown} holds no private key"),
            "name a file in PEM that has one",
        )
    })
}

/// When a certificate ceases to be valid. `None` where that cannot be read.
pub fn end(certificate: &CertificateDer<'_>) -> Option<Timestamp> {
    let (_, parsed) = parse_x509_certificate(certificate).ok()?;
    Timestamp::from_second(parsed.validity().not_after.timestamp()).ok()
}

/// The text of a file.
fn read(path: &Path) -> Result<String, Fault> {
    bytes(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

/// What is in a file, PEM or not.
///
/// # Errors
/// It cannot be read, or is larger than any that is meant.
#[allow(
    clippy::disallowed_methods,
    reason = "a configuration is read before anything is served by it"
)]
pub fn bytes(path: &Path) -> Result<Vec<u8>, Fault> {
    let shown = path.display();
    let fault = |e: &dyn std::fmt::Display| Fault {
        message: format!("cannot read {shown}: {e}"),
        hint: READABLE,
    };
    let about = std::fs::metadata(path).map_err(|e| fault(&e))?;
    // A pipe or a device would be waited for, or read without end.
    if !about.is_file() {
        return Err(fault(&"it is not a file"));
    }
    let file = std::fs::File::open(path).map_err(|e| fault(&e))?;
    let mut bytes = Vec::new();
    let read = file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes);
    match read.map_err(|e| fault(&e))? as u64 {
        0..=MAX_FILE_BYTES => Ok(bytes),
        _ => Err(fault(&"it has more than 16 MiB")),
    }
}
