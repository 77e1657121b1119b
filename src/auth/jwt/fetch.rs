//! Asking an issuer for its keys.
//!
//! Owns the request: over TLS with the system's certificates, within 5 s, without redirects or proxies, and with at
//! most 1 MiB of answer. It blocks. Does not handle when it is made (see `remote`). Fails in words for the log.

use std::time::Duration;

use pingora::tls::load_native_certs;
use ureq::Agent;
use ureq::tls::{Certificate, RootCerts, TlsConfig};

use crate::jwt::{KeySet, MAX_SET_BYTES};

/// How long a request may take, all in all.
const TIMEOUT: Duration = Duration::from_secs(5);
/// The largest header of an answer.
const HEADER_BYTES: usize = 16 * 1024;

/// Asks for the keys at a URL.
///
/// # Errors
/// What went wrong.
pub(super) fn keys(url: &str) -> Result<KeySet, String> {
    let certificates = load_native_certs().unwrap_or_default();
    let certificates = certificates.iter();
    let certificates: Vec<_> = certificates
        .map(|der| Certificate::from_der(der).to_owned())
        .collect();
    let tls = TlsConfig::builder().root_certs(RootCerts::from(certificates));
    let config = Agent::config_builder()
        .tls_config(tls.build())
        .timeout_global(Some(TIMEOUT))
        .max_redirects(0)
        .max_redirects_will_error(false)
        .http_status_as_error(false)
        .proxy(None)
        .user_agent(concat!("tollgate/", env!("CARGO_PKG_VERSION")))
        .max_response_header_size(HEADER_BYTES)
        .build();
    let agent = Agent::new_with_config(config);
    let mut answer = agent.get(url).call().map_err(|e| e.to_string())?;
    let status = answer.status().as_u16();
    if status != 200 {
        return Err(format!("it answered with {status}"));
    }
    let body = answer.body_mut().with_config();
    let body = body.limit(MAX_SET_BYTES as u64 + 1).read_to_vec();
    let body = body.map_err(|e| e.to_string())?;
    KeySet::from_jwks(&body).map_err(|fault| fault.to_string())
}
