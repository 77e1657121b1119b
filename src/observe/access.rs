//! The line that each request leaves in the log.
//!
//! Owns its fields and their order: `key=value`, one line, `-` where there is nothing. Holds no
//! prompt, key or body. Does not handle where the values come from (see
//! `gateway/finish.rs`). Never fails.

use std::fmt::Write;
use std::net::IpAddr;
use std::time::Duration;

use itoa::{Buffer, Integer};

use super::masking;

/// What the lines are told from others by.
pub const TARGET: &str = "access";

/// Half a microsecond, to round with.
const HALF: Duration = Duration::from_nanos(500);
/// A dollar in nano-dollars.
const DOLLAR: u64 = 1_000_000_000;
/// What a line takes, as a rule.
const LINE_BYTES: usize = 512;

/// What is said of one request.
pub struct AccessLine<'a> {
    /// The request's id.
    pub request_id: &'a str,
    /// The client's address, masked already if it is to be.
    pub client: Option<IpAddr>,
    /// The tenant, once known.
    pub tenant: Option<&'a str>,
    /// The name of its key, once known.
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
        log::info!(target: TARGET, "{}", self.text());
    }

    /// The line. It is put together here: a `Display` of so many fields costs several times as much, and
    /// every request has one.
    fn text(&self) -> String {
        let mut line = String::with_capacity(LINE_BYTES);
        line.push_str("id=");
        line.push_str(self.request_id);
        line.push_str(" client=");
        match self.client {
            // Writing to a string cannot fail.
            Some(ip) => drop(write!(line, "{ip}")),
            None => line.push('-'),
        }
        field(&mut line, " key=", self.key);
        field(&mut line, " tenant=", self.tenant);
        field(&mut line, " method=", Some(self.method));
        field(&mut line, " path=", Some(self.path));
        field(&mut line, " model=", self.model);
        field(&mut line, " sent=", self.sent_model);
        field(&mut line, " upstream=", self.upstream);
        number(&mut line, " status=", Some(self.status));
        field(&mut line, " error=", self.error);
        number(&mut line, " in=", Some(self.bytes_in));
        number(&mut line, " out=", Some(self.bytes_out));
        milliseconds(&mut line, " ms=", Some(self.total));
        milliseconds(&mut line, " first_ms=", self.first_byte);
        milliseconds(&mut line, " own_ms=", self.own);
        field(&mut line, " trail=", Some(self.trail));
        number(
            &mut line,
            " tokens_in=",
            self.tokens.map(|(input, _)| input),
        );
        number(
            &mut line,
            " tokens_out=",
            self.tokens.map(|(_, output)| output),
        );
        match self.cost_nanos {
            // In dollars, with all digits.
            Some(nanos) => drop(write!(
                line,
                " cost={}.{:09}",
                nanos / DOLLAR,
                nanos % DOLLAR
            )),
            None => line.push_str(" cost=-"),
        }
        line
    }
}

fn field(line: &mut String, name: &str, text: Option<&str>) {
    line.push_str(name);
    masking::push_field(line, text.unwrap_or_default());
}

fn number(line: &mut String, name: &str, value: Option<impl Integer>) {
    line.push_str(name);
    match value {
        Some(value) => line.push_str(Buffer::new().format(value)),
        None => line.push('-'),
    }
}

/// With three digits behind the point, rounded.
fn milliseconds(line: &mut String, name: &str, duration: Option<Duration>) {
    let micros = duration.map(|duration| duration.saturating_add(HALF).as_micros());
    let micros = micros.map(|micros| u64::try_from(micros).unwrap_or(u64::MAX));
    number(line, name, micros.map(|micros| micros / 1000));
    if let Some(micros) = micros {
        let mut digits = Buffer::new();
        // The digit before them keeps their zeros.
        let digits = digits.format(1000 + micros % 1000);
        line.push('.');
        line.push_str(digits.get(1..).unwrap_or_default());
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
            total: Duration::from_nanos(12_007_600),
            first_byte: Some(Duration::from_micros(1000)),
            own: None,
        };
        assert_eq!(
            line.text(),
            "id=req_1 client=203.0.113.0 key=ci tenant=internal method=POST path=/v1/chat/completions \
             model=gpt?4?x sent=- upstream=openai status=200 error=- in=10 out=20 ms=12.008 \
             first_ms=1.000 own_ms=- trail=openai/1a2b3c4d:ok:0.9 tokens_in=7 tokens_out=3 cost=0.000012500"
        );
    }
}
