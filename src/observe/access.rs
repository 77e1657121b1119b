//! The line that each request leaves in the log.
//!
//! Owns its fields and their order. Holds no prompt, key or body. Does not handle where the values come from (see
//! `gateway/finish.rs`) or how fields look in either format (see `logging`). Never fails.

use std::net::IpAddr;
use std::time::Duration;

use log::Level;

use super::logging::{self, Fields};

/// What the lines are told from others by.
pub const TARGET: &str = logging::ACCESS;

/// Half a microsecond, to round with.
const HALF: Duration = Duration::from_nanos(500);
/// A dollar in nano-dollars.
const DOLLAR: u64 = 1_000_000_000;

/// What is said of one request.
pub struct AccessLine<'a> {
    /// The request's id.
    pub request_id: &'a str,
    /// The client's address, masked already if it is to be.
    pub client: Option<IpAddr>,
    /// The tenant, once known.
    pub tenant: Option<&'a str>,
    /// What its key is called, once known; its fingerprint, if names are masked.
    pub key: Option<&'a str>,
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
    /// What the provider charges, in nano-dollars, where that is known.
    pub cost_nanos: Option<u64>,
    /// What became of it where its rule uses answers again.
    pub cache: Option<&'static str>,
    /// From the request's header to the end.
    pub total: Duration,
    /// From the request's header to the first byte of the answer.
    pub first_byte: Option<Duration>,
    /// Our own share of `first_byte`.
    pub own: Option<Duration>,
}

impl AccessLine<'_> {
    /// Writes the line, without asking whether it passes.
    pub fn write(&self) {
        logging::write_fields(Level::Info, TARGET, |fields| self.fill(fields));
    }

    /// Puts the fields in. No `Display` of all of them does it: that costs several times as much, and every request
    /// has a line.
    fn fill(&self, fields: &mut Fields<'_>) {
        fields.plain("id", Some(self.request_id));
        fields.plain("client", self.client);
        fields.text("key", self.key);
        fields.text("tenant", self.tenant);
        fields.text("method", Some(self.method));
        fields.text("path", Some(self.path));
        fields.text("model", self.model);
        fields.text("sent", self.sent_model);
        fields.text("upstream", self.upstream);
        fields.number("status", Some(self.status));
        fields.text("error", self.error);
        fields.number("in", Some(self.bytes_in));
        fields.number("out", Some(self.bytes_out));
        milliseconds(fields, "ms", Some(self.total));
        milliseconds(fields, "first_ms", self.first_byte);
        milliseconds(fields, "own_ms", self.own);
        fields.text("cache", self.cache);
        fields.text("trail", Some(self.trail));
        fields.number("tokens_in", self.tokens.map(|(input, _)| input));
        fields.number("tokens_out", self.tokens.map(|(_, output)| output));
        // In dollars, with all digits.
        fields.fraction("cost", self.cost_nanos, DOLLAR);
    }
}

/// With three digits behind the point, rounded.
fn milliseconds(fields: &mut Fields<'_>, name: &str, duration: Option<Duration>) {
    let micros = duration.map(|duration| duration.saturating_add(HALF).as_micros());
    let micros = micros.map(|micros| u64::try_from(micros).unwrap_or(u64::MAX));
    fields.fraction(name, micros, 1000);
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
            key: Some("ci"),
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
            cost_nanos: Some(12_500),
            cache: Some("miss"),
            total: Duration::from_nanos(12_007_600),
            first_byte: Some(Duration::from_micros(1000)),
            own: None,
        };
        let text = logging::text_of(|fields| line.fill(fields));
        assert_eq!(
            text,
            "id=req_1 client=203.0.113.0 key=ci tenant=internal method=POST path=/v1/chat/completions \
             model=gpt?4?x sent=- upstream=openai status=200 error=- in=10 out=20 ms=12.008 \
             first_ms=1.000 own_ms=- cache=miss trail=openai/1a2b3c4d:ok:0.9 tokens_in=7 tokens_out=3 cost=0.000012500"
        );
    }
}
