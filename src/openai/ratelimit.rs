//! How long an upstream asks us to wait, and what is left of its limits.
//!
//! Owns the headers and messages in which servers say so, and their formats. Does not handle whose limits they
//! are, nor what follows (see `upstreams`). Never fails: what is missing or cannot be read is not known, and
//! no wait is longer than a day.

use std::cmp::Reverse;
use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderName};
use jiff::{SignedDuration, Timestamp};

/// No wait is longer, whatever a server says.
const MAX_WAIT: Duration = Duration::from_secs(24 * 60 * 60);

/// From here on, what should be a number of seconds until a reset is a time, in seconds since 1970.
const TIME_SECONDS: f64 = 1e9;

/// The most words of one wait: `1 minute 2 seconds`.
const MAX_WORDS: usize = 4;

/// What comes before the wait in a message.
const BEFORE_WAIT: [&str; 4] = ["again in ", "again after ", "retry in ", "retry after "];

/// From here on it is a time in milliseconds.
const TIME_MS: f64 = 1e12;

/// A wait in milliseconds; the second is Azure's.
static RETRY_AFTER_MS: [HeaderName; 2] = [
    HeaderName::from_static("retry-after-ms"),
    HeaderName::from_static("x-ms-retry-after-ms"),
];

/// How the names of all headers of what is left begin.
const PREFIXES: [&str; 3] = ["x-ratelimit-re", "anthropic-ratelimit-", "ratelimit-re"];

/// The headers of what is left, and of when it is whole again.
type Pair = (HeaderName, HeaderName);

static REQUESTS: [Pair; 4] = [
    (
        HeaderName::from_static("x-ratelimit-remaining-requests"),
        HeaderName::from_static("x-ratelimit-reset-requests"),
    ),
    (
        HeaderName::from_static("anthropic-ratelimit-requests-remaining"),
        HeaderName::from_static("anthropic-ratelimit-requests-reset"),
    ),
    // OpenRouter and Together; and the IETF's draft.
    (
        HeaderName::from_static("x-ratelimit-remaining"),
        HeaderName::from_static("x-ratelimit-reset"),
    ),
    (
        HeaderName::from_static("ratelimit-remaining"),
        HeaderName::from_static("ratelimit-reset"),
    ),
];

static TOKENS: [Pair; 5] = [
    (
        HeaderName::from_static("x-ratelimit-remaining-tokens"),
        HeaderName::from_static("x-ratelimit-reset-tokens"),
    ),
    (
        HeaderName::from_static("x-ratelimit-remaining-project-tokens"),
        HeaderName::from_static("x-ratelimit-reset-project-tokens"),
    ),
    (
        HeaderName::from_static("anthropic-ratelimit-tokens-remaining"),
        HeaderName::from_static("anthropic-ratelimit-tokens-reset"),
    ),
    (
        HeaderName::from_static("anthropic-ratelimit-input-tokens-remaining"),
        HeaderName::from_static("anthropic-ratelimit-input-tokens-reset"),
    ),
    (
        HeaderName::from_static("anthropic-ratelimit-output-tokens-remaining"),
        HeaderName::from_static("anthropic-ratelimit-output-tokens-reset"),
    ),
];

/// How long an answer asks us to wait, in whichever of its forms: `Retry-After` and its like, its
/// message, the reset of what it says is used up. `None` where none of them can be read; at most 24 h.
pub fn wait(headers: &HeaderMap, message: Option<&str>, now: SystemTime) -> Option<Duration> {
    retry_after(headers, now)
        .or_else(|| wait_in_message(message?))
        .or_else(|| Headroom::read(headers, || now).exhausted_for())
}

/// How long `retry-after-ms` asks us to wait, else `retry-after` in seconds, which may have a fraction,
/// or as an HTTP date. `None` where it is absent, unreadable, negative or past; at most 24 h.
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let ms = |name| seconds(text(headers, name)?.parse::<f64>().ok()? / 1000.0);
    if let Some(wait) = RETRY_AFTER_MS.iter().find_map(ms) {
        return Some(wait);
    }
    let after = text(headers, &http::header::RETRY_AFTER)?;
    match after.parse() {
        Ok(number) => seconds(number),
        Err(_) => until(httpdate::parse_http_date(after).ok()?, now),
    }
}

/// What is left of one allowance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowance {
    /// The requests or tokens that are left.
    pub remaining: u64,
    /// Until it is whole again, at most 24 h; zero if it should be already, `None` if that is not
    /// known.
    pub resets_in: Option<Duration>,
}

/// What is left, by an answer, of the limits on the key of its request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Headroom {
    /// Of requests, if that is known.
    pub requests: Option<Allowance>,
    /// Of tokens, if that is known; the tightest of several kinds.
    pub tokens: Option<Allowance>,
}

impl Headroom {
    /// Reads it from the headers of an answer. Costs a look at each name where there are none.
    pub fn read(headers: &HeaderMap, now: impl FnOnce() -> SystemTime) -> Self {
        let mut names = headers.keys().map(HeaderName::as_str);
        if !names.any(|name| PREFIXES.iter().any(|prefix| name.starts_with(prefix))) {
            return Self::default();
        }
        let now = now();
        Self {
            requests: tightest(&REQUESTS, headers, now),
            tokens: tightest(&TOKENS, headers, now),
        }
    }

    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// How long to wait until what is exhausted is whole again; `None` if nothing is, or it is not
    /// known when.
    pub fn exhausted_for(&self) -> Option<Duration> {
        let allowances = [self.requests, self.tokens].into_iter().flatten();
        allowances
            .filter(|allowance| allowance.remaining == 0)
            .filter_map(|allowance| allowance.resets_in)
            .filter(|wait| !wait.is_zero())
            .max()
    }
}

/// How long the message of an error asks us to wait, as in `Please try again in 11.054s.`, at
/// most 24 h; the last place counts, since a quotation of the request comes before it.
pub fn wait_in_message(message: &str) -> Option<Duration> {
    let message = message.to_ascii_lowercase();
    let places = BEFORE_WAIT.iter().flat_map(|before| {
        let found = message.match_indices(before);
        found.map(|(start, before)| start + before.len())
    });
    let waits = places.filter_map(|start| Some((start, wait_at_start(message.get(start..)?)?)));
    let (_, wait) = waits.max_by_key(|(start, _)| *start)?;
    Some(wait)
}

/// The longest wait that a text begins with.
fn wait_at_start(text: &str) -> Option<Duration> {
    let mut said = String::new();
    let mut wait = None;
    for word in text.split_ascii_whitespace().take(MAX_WORDS) {
        let bare = word.trim_end_matches(['.', ',', ';', ':', '!', ')']);
        said.push_str(bare);
        wait = span(&said).or(wait);
        if word.ends_with('.') {
            break;
        }
        said.push(' ');
    }
    wait
}

/// The allowance of several that is used up first: of those equally used up, the one to wait for.
fn tightest(pairs: &[Pair], headers: &HeaderMap, now: SystemTime) -> Option<Allowance> {
    let known = pairs.iter().filter_map(|(remaining, reset)| {
        Some(Allowance {
            remaining: text(headers, remaining)?.parse().ok()?,
            resets_in: text(headers, reset).and_then(|reset| resets_in(reset, now)),
        })
    });
    known.min_by_key(|allowance| (allowance.remaining, Reverse(allowance.resets_in)))
}

/// A reset, as a span or as a time: of a date, or in seconds or milliseconds since 1970.
fn resets_in(reset: &str, now: SystemTime) -> Option<Duration> {
    if let Some(span) = span(reset) {
        return Some(span);
    }
    let time = match reset.parse::<f64>() {
        Ok(number) => {
            let since_1970 = match number < TIME_MS {
                true => number,
                false => number / 1000.0,
            };
            let since_1970 = Duration::try_from_secs_f64(since_1970).ok()?;
            SystemTime::UNIX_EPOCH.checked_add(since_1970)?
        }
        Err(_) => reset.parse::<Timestamp>().ok()?.into(),
    };
    Some(until(time, now).unwrap_or_default())
}

/// Seconds, or a span with units: Go's `6m0s`, and how people write it.
fn span(text: &str) -> Option<Duration> {
    let text = text.trim();
    if let Ok(number) = text.parse() {
        return seconds(number).filter(|_| number < TIME_SECONDS);
    }
    let span: SignedDuration = text.parse().ok()?;
    let span = Duration::try_from(span).ok()?;
    Some(span.min(MAX_WAIT))
}

fn seconds(number: f64) -> Option<Duration> {
    let is_wait = number.is_finite() && number >= 0.0;
    let wait = is_wait.then(|| number.min(MAX_WAIT.as_secs_f64()));
    Duration::try_from_secs_f64(wait?).ok()
}

/// Until a time that is not past.
fn until(time: SystemTime, now: SystemTime) -> Option<Duration> {
    Some(time.duration_since(now).ok()?.min(MAX_WAIT))
}

fn text<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    // A Greek letter, as in `15µs`, is no text to `HeaderValue::to_str`.
    Some(str::from_utf8(headers.get(name)?.as_bytes()).ok()?.trim())
}

#[cfg(test)]
mod tests;
