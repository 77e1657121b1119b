//! Where the gateway that runs on this machine can be asked.
//!
//! Owns how an address and a token are found in a configuration, which may have mistakes by now, and how the gateway is
//! asked. Does not handle what is asked (see `health` and `operator`). Fails with a text for the operator.

use std::net::SocketAddr;
use std::time::Duration;

use ureq::{Agent, Error};

use crate::config::from_here;

/// The address of this machine by which a listener is reached.
///
/// # Errors
/// Its port is not known.
pub fn reachable(listener: SocketAddr, flag: &str) -> Result<SocketAddr, String> {
    match listener.port() {
        0 => Err(format!(
            "{listener} is any free port: name the one in use with {flag}"
        )),
        _ => Ok(from_here(listener)),
    }
}

/// What asks a gateway, and waits this long for its answer.
pub fn agent(patience: Duration) -> Agent {
    Agent::config_builder()
        .timeout_global(Some(patience))
        .max_redirects(0)
        .http_status_as_error(false)
        // A proxy of the environment is for the world outside.
        .proxy(None)
        .user_agent(concat!("tollgate/", env!("CARGO_PKG_VERSION")))
        .build()
        .into()
}

/// Why a gateway could not be asked.
pub fn cause(error: &Error, patience: Duration) -> String {
    match error {
        Error::Timeout(_) => format!("no answer within {} s", patience.as_secs()),
        Error::Io(error) => error.to_string(),
        other => other.to_string(),
    }
}
