//! TLS between clients and servers: one certificate, and how each side uses it.
//!
//! Owns making the certificate with OpenSSL. Fails with what OpenSSL says.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::version::TLS13;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// The name that it is for.
pub const NAME: &str = "localhost";
const CERT: &str = "cert.pem";
const KEY: &str = "key.pem";

/// What nginx adds to `listen`, and behind it. Paths are relative to its prefix.
pub const NGINX: &str = " ssl;
        ssl_certificate cert.pem;
        ssl_certificate_key key.pem;
        ssl_protocols TLSv1.3";
/// What a listener of tollgate adds.
pub const TOLLGATE: &str = ", tls: { cert: cert.pem, key: key.pem }";

/// Makes the certificate in a folder, and what trusts it.
pub fn make(folder: &Path) -> Result<TlsConnector, String> {
    let made = Command::new("openssl")
        .current_dir(folder)
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
        ])
        .args(["-nodes", "-days", "2", "-subj", "/CN=localhost"])
        .args(["-addext", "subjectAltName=DNS:localhost"])
        .args(["-addext", "basicConstraints=critical,CA:FALSE"])
        .args(["-keyout", KEY, "-out", CERT])
        .output()
        .map_err(|e| format!("openssl: {e}"))?;
    if !made.status.success() {
        return Err(format!(
            "openssl: {}",
            String::from_utf8_lossy(&made.stderr)
        ));
    }
    let cert = CertificateDer::from_pem_file(folder.join(CERT)).map_err(|e| e.to_string())?;
    let mut roots = RootCertStore::empty();
    roots.add(cert).map_err(|e| e.to_string())?;
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&TLS13])
        .map_err(|e| e.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}
