//! One request to a receiver.
//!
//! Owns the headers, the timeout, and what an answer means. No redirect is followed, no proxy is used, and the
//! certificates are those of the system. At most 64 KiB of an answer's body are read, and they mean nothing. Does not
//! handle when a message is sent again (see `dispatcher`) or which addresses are allowed (see `address`). A failure is
//! told without the URL, which may have a token in it.

use std::time::{Duration, SystemTime};

use pingora::tls::RusTlsError as TlsError;
use ureq::config::Config;
use ureq::http::Response;
use ureq::tls::Certificate;
use ureq::unversioned::transport::DefaultConnector;
use ureq::{Agent, Body, Error};

use super::address::CheckedResolver;
use super::signature::signature;
use crate::clock;
use crate::config::Webhook;
use crate::https;
use crate::openai::ratelimit;

/// How much of an answer is read, so that its connection can be used again.
const ANSWER_BYTES: u64 = 64 * 1024;
/// As many connections are kept.
const IDLE_CONNECTIONS: usize = 16;
/// A kept connection is closed after this time.
const IDLE: Duration = Duration::from_secs(15);

/// What has become of a message.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The receiver has it.
    Delivered,
    /// It has not, as far as is known.
    Failed {
        /// What went wrong.
        cause: String,
        /// How long the receiver asks to wait.
        wait: Option<Duration>,
    },
    /// The receiver wants no more messages: 410.
    Gone,
}

/// Sends messages. Clones share their connections.
#[derive(Clone)]
pub struct Sender {
    public: Agent,
    private: Agent,
}

impl Sender {
    /// A sender whose requests take this long at most, all in all.
    pub fn new(timeout: Duration) -> Self {
        Self::trusting(timeout, https::system_roots())
    }

    fn trusting(timeout: Duration, certificates: Vec<Certificate<'static>>) -> Self {
        let config = https::config(timeout, certificates)
            .max_idle_connections(IDLE_CONNECTIONS)
            .max_idle_connections_per_host(1)
            .max_idle_age(IDLE)
            .build();
        let agent = |config: &Config, allow_private| {
            let resolver = CheckedResolver::new(allow_private);
            Agent::with_parts(config.clone(), DefaultConnector::default(), resolver)
        };
        Self {
            public: agent(&config, false),
            private: agent(&config, true),
        }
    }

    /// Posts a message, and waits for the answer. `id` is the same each time that the message is sent.
    pub fn post(&self, webhook: &Webhook, id: &str, body: &str) -> Outcome {
        let agent = match webhook.allow_private {
            true => &self.private,
            false => &self.public,
        };
        let timestamp_s = clock::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .map_or(0, |since| {
                i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
            });
        let mut request = agent
            .post(&webhook.url.value)
            .header("content-type", "application/json")
            .header("webhook-id", id)
            .header("webhook-timestamp", timestamp_s.to_string());
        if let Some(secret) = &webhook.secret {
            let signature = signature(secret, id, timestamp_s, body.as_bytes());
            request = request.header("webhook-signature", signature);
        }
        match request.send(body) {
            Ok(answer) => outcome(answer),
            Err(error) => Outcome::Failed {
                cause: cause(&error),
                wait: None,
            },
        }
    }
}

fn outcome(mut answer: Response<Body>) -> Outcome {
    let status = answer.status().as_u16();
    let wait = ratelimit::wait(answer.headers(), None, clock::now());
    // What the receiver says beside its status means nothing, and neither does a body that breaks off.
    let _ = answer
        .body_mut()
        .with_config()
        .limit(ANSWER_BYTES)
        .read_to_vec();
    match status {
        200..=299 => Outcome::Delivered,
        410 => Outcome::Gone,
        300..=399 => Outcome::Failed {
            cause: format!("it answered with a redirect, {status}, which is not followed"),
            wait,
        },
        _ => Outcome::Failed {
            cause: format!("it answered with {status}"),
            wait,
        },
    }
}

/// What went wrong, without anything of the URL.
fn cause(error: &Error) -> String {
    match error {
        Error::Timeout(_) => "it did not answer in time".to_owned(),
        Error::HostNotFound => "its host has no address".to_owned(),
        Error::Io(error) => {
            let inner = error.get_ref();
            match inner.and_then(|inner| inner.downcast_ref::<TlsError>()) {
                Some(error) => format!("TLS failed: {error}"),
                None => format!("the connection failed: {}", error.kind()),
            }
        }
        Error::Rustls(error) => format!("TLS failed: {error}"),
        Error::Tls(error) => format!("TLS failed: {error}"),
        // Which is `address::NotAllowed`.
        Error::Other(error) => error.to_string(),
        Error::Protocol(_) => "its answer cannot be read".to_owned(),
        Error::LargeResponseHeader(..) => "the header of its answer is too large".to_owned(),
        _ => "the request failed".to_owned(),
    }
}

#[cfg(test)]
mod tests;
