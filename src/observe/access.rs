//! The line that each request leaves in the log.
//!
//! Owns its fields and their order: `key=value`, one line, `-` where there is nothing. Holds no
//! prompt, key or body. Refuses to know how the values came about.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use super::masking::Field;

/// What is said of one request.
pub struct AccessLine<'a> {
    /// The request's id.
    pub request_id: &'a str,
    /// The client's address, masked already if it is to be.
    pub client: Option<IpAddr>,
    /// The tenant, once known.
    pub tenant: Option<&'a str>,
    /// The method.
    pub method: &'a str,
    /// The path, without its query.
    pub path: &'a str,
    /// The model that the client asked for.
    pub model: Option<&'a str>,
    /// The model that the upstream was asked for.
    pub sent_model: Option<&'a str>,
    /// The upstream that was asked last.
    pub upstream: Option<&'a str>,
    /// What was tried, in order: upstream, key, what came of it, milliseconds.
    pub trail: &'a str,
    /// The status that the client got; 499 when it left before any.
    pub status: u16,
    /// The cause, where something went wrong.
    pub error: Option<&'a str>,
    /// Body bytes from the client.
    pub bytes_in: usize,
    /// Body bytes to the client.
    pub bytes_out: usize,
    /// Tokens that went in and came out, as the upstream has told them by then.
    pub tokens: Option<(u64, u64)>,
    /// From the request's header to the end.
    pub total: Duration,
    /// From the request's header to the first byte of the answer.
    pub first_byte: Option<Duration>,
    /// Our own share of `first_byte`.
    pub own: Option<Duration>,
}

impl AccessLine<'_> {
    /// Writes the line.
    pub fn write(&self) {
        log::info!(target: "access", "{self}");
    }
}

impl fmt::Display for AccessLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let field = |text: Option<&_>| Field(text.copied().unwrap_or_default()).to_string();
        write!(f, "id={} client=", self.request_id)?;
        match self.client {
            Some(ip) => write!(f, "{ip}")?,
            None => f.write_str("-")?,
        }
        write!(
            f,
            " tenant={} method={} path={} model={} sent={} upstream={} status={} error={} in={} out={} ms={}",
            field(self.tenant.as_ref()),
            Field(self.method),
            Field(self.path),
            field(self.model.as_ref()),
            field(self.sent_model.as_ref()),
            field(self.upstream.as_ref()),
            self.status,
            field(self.error.as_ref()),
            self.bytes_in,
            self.bytes_out,
            Milliseconds(Some(self.total)),
        )?;
        write!(
            f,
            " first_ms={} own_ms={} trail={}",
            Milliseconds(self.first_byte),
            Milliseconds(self.own),
            Field(self.trail),
        )?;
        match self.tokens {
            Some((input, output)) => write!(f, " tokens_in={input} tokens_out={output}"),
            None => f.write_str(" tokens_in=- tokens_out=-"),
        }
    }
}

struct Milliseconds(Option<Duration>);

impl fmt::Display for Milliseconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(duration) => write!(f, "{:.3}", duration.as_secs_f64() * 1000.0),
            None => f.write_str("-"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_every_field_and_forges_none() {
        let line = AccessLine {
            request_id: "req_1",
            client: Some("203.0.113.0".parse().unwrap()),
            tenant: Some("internal"),
            method: "POST",
            path: "/v1/chat/completions",
            model: Some("gpt 4\nx"),
            sent_model: None,
            upstream: Some("openai"),
            trail: "openai/1a2b3c4d:ok:0.9",
            status: 200,
            error: None,
            bytes_in: 10,
            bytes_out: 20,
            tokens: Some((7, 3)),
            total: Duration::from_micros(1500),
            first_byte: Some(Duration::from_micros(1000)),
            own: None,
        };
        assert_eq!(
            line.to_string(),
            "id=req_1 client=203.0.113.0 tenant=internal method=POST path=/v1/chat/completions \
             model=gpt?4?x sent=- upstream=openai status=200 error=- in=10 out=20 ms=1.500 \
             first_ms=1.000 own_ms=- trail=openai/1a2b3c4d:ok:0.9 tokens_in=7 tokens_out=3"
        );
    }
}
