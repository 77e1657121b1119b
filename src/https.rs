//! Requests of Tollgate's own to other services: webhooks, and the keys of issuers.
//!
//! Owns what all of them have in common: the system's certificates, a timeout, no redirect, no proxy, a bound on the
//! header of an answer. They block. Does not handle requests to upstreams (see `upstreams`), nor which addresses may be
//! asked (see their users). Where the system's certificates cannot be read, that is logged and https fails.

use std::time::Duration;

use pingora::tls::load_native_certs;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use ureq::Agent;
use ureq::config::ConfigBuilder;
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::typestate::AgentScope;

/// The largest header of an answer.
const HEADER_BYTES: usize = 16 * 1024;

/// The certificates of the system, which vouch for other services.
pub fn system_roots() -> Vec<Certificate<'static>> {
    let found = load_native_certs().unwrap_or_else(|e| {
        log::error!("the system's certificates cannot be read, so https fails: {e}");
        Vec::new()
    });
    let roots = found
        .iter()
        .map(|der| Certificate::from_der(der).to_owned());
    roots.collect()
}

/// The certificates in a file in PEM.
pub fn roots(pem: &[u8]) -> Vec<Certificate<'static>> {
    let found = CertificateDer::pem_slice_iter(pem).filter_map(Result::ok);
    let roots = found.map(|der| Certificate::from_der(&der).to_owned());
    roots.collect()
}

/// The settings of requests that take this long at most, all in all, to services that these certificates vouch for.
pub fn config(timeout: Duration, roots: Vec<Certificate<'static>>) -> ConfigBuilder<AgentScope> {
    let tls = TlsConfig::builder().root_certs(RootCerts::from(roots));
    Agent::config_builder()
        .tls_config(tls.build())
        .timeout_global(Some(timeout))
        .max_redirects(0)
        .max_redirects_will_error(false)
        .http_status_as_error(false)
        // A proxy would look the name up by itself.
        .proxy(None)
        .user_agent(concat!("tollgate/", env!("CARGO_PKG_VERSION")))
        .max_response_header_size(HEADER_BYTES)
}
