//! Asking an issuer for its keys.
//!
//! Owns the request: within 5 s, with at most 1 MiB of answer. It blocks. Does not handle when it is made (see
//! `remote`). Fails in words for the log.

use std::time::Duration;

use ureq::Agent;

use crate::config::JwksUrl;
use crate::https;
use crate::jwt::{KeySet, MAX_SET_BYTES};

/// How long a request may take, all in all.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Asks for the keys at a URL, by the certificates of its authority where it has one of its own.
///
/// # Errors
/// What went wrong.
pub(super) fn keys(at: &JwksUrl) -> Result<KeySet, String> {
    let roots = match &at.ca {
        Some(pem) => https::roots(pem),
        None => https::system_roots(),
    };
    let agent = Agent::new_with_config(https::config(TIMEOUT, roots).build());
    let mut answer = agent.get(&at.url).call().map_err(|e| e.to_string())?;
    let status = answer.status().as_u16();
    if status != 200 {
        return Err(format!("it answered with {status}"));
    }
    let body = answer.body_mut().with_config();
    let body = body.limit(MAX_SET_BYTES as u64 + 1).read_to_vec();
    let body = body.map_err(|e| e.to_string())?;
    KeySet::from_jwks(&body).map_err(|fault| fault.to_string())
}
