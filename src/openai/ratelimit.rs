//! How long an upstream asks us to wait, and what is left of its limits.
//!
//! Owns the headers and messages in which servers say so, and their formats. Does not handle whose limits they
//! are, nor what follows (see `upstreams`). Never fails: what is missing or cannot be read is not known, and
//! no wait is longer than a day.

use std::cmp::Reverse;
use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderName};
use jiff::{SignedDuration, Timestamp};

/// The longest wait, whatever a server asks for.
const MAX_WAIT: Duration = Duration::from_secs(24 * 60 * 60);

/// From this number on, a reset is no number of seconds, but a time in seconds since 1970.
const TIME_SECONDS: f64 = 1e9;

/// The most words of one wait: `1 minute 2 seconds`.
const MAX_WORDS: usize = 4;

/// The words before the wait in a message.
const BEFORE_WAIT: [&str; 4] = ["again in ", "again after ", "retry in ", "retry after "];

/// From this number on, it is a time in milliseconds.
const TIME_MS: f64 = 1e12;

/// A wait in milliseconds; the second is Azure's.
static RETRY_AFTER_MS: [HeaderName; 2] = [
    HeaderName::from_static("retry-after-ms"),
    HeaderName::from_static("x-ms-retry-after-ms"),
];

/// The prefixes of all headers that report what is left.
const PREFIXES: [&str; 3] = ["x-ratelimit-re", "anthropic-ratelimit-", "ratelimit-re"];

/// The header of what is left, and the header of its reset.
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

/// How long an answer asks us to wait: by `Retry-After` and similar headers, by its message, or by the
/// reset of a limit that is exhausted. `None` where none of them can be read; at most 24 h.
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
    /// The time to its reset, at most 24 h; zero if that should be past, `None` if it is not known.
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
    /// Reads it from the headers of an answer. Costs a look at each name where there are none, and then
    /// looks only for those that begin like one that is there.
    pub fn read(headers: &HeaderMap, now: impl Fn() -> SystemTime) -> Self {
        let is_there = |prefix: &&str| {
            headers
                .keys()
                .any(|name| name.as_str().starts_with(*prefix))
        };
        let prefixes = PREFIXES.map(|prefix| Some(prefix).filter(is_there));
        if prefixes == [None; PREFIXES.len()] {
            return Self::default();
        }
        let may_be_there = |name: &HeaderName| {
            let mut prefixes = prefixes.iter().flatten();
            prefixes.any(|prefix| name.as_str().starts_with(prefix))
        };
        let tightest = |pairs: &[Pair]| {
            let pairs = pairs
                .iter()
                .filter(|(remaining, _)| may_be_there(remaining));
            tightest(pairs, headers, &now)
        };
        Self {
            requests: tightest(&REQUESTS),
            tokens: tightest(&TOKENS),
        }
    }

    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The wait for the reset of an exhausted limit; `None` if none is exhausted, or its reset is not known.
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
    let mut words = String::new();
    let mut wait = None;
    for word in text.split_ascii_whitespace().take(MAX_WORDS) {
        let bare = word.trim_end_matches(['.', ',', ';', ':', '!', ')']);
        words.push_str(bare);
        wait = span(&words).or(wait);
        if word.ends_with('.') {
            break;
        }
        words.push(' ');
    }
    wait
}

/// The smallest allowance of several; of equal ones, the one with the longest reset.
fn tightest<'p>(
    pairs: impl Iterator<Item = &'p Pair>,
    headers: &HeaderMap,
    now: &impl Fn() -> SystemTime,
) -> Option<Allowance> {
    let known = pairs.filter_map(|(remaining, reset)| {
        Some(Allowance {
            remaining: text(headers, remaining)?.parse().ok()?,
            resets_in: text(headers, reset).and_then(|reset| resets_in(reset, now)),
        })
    });
    known.min_by_key(|allowance| (allowance.remaining, Reverse(allowance.resets_in)))
}

/// A reset, as a span or as a time: of a date, or in seconds or milliseconds since 1970.
fn resets_in(reset: &str, now: &impl Fn() -> SystemTime) -> Option<Duration> {
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
    Some(until(time, now()).unwrap_or_default())
}

/// Seconds, or a span with units: Go's `6m0s`, or `6 minutes`.
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

/// The wait until a time; `None` if it is past.
fn until(time: SystemTime, now: SystemTime) -> Option<Duration> {
    Some(time.duration_since(now).ok()?.min(MAX_WAIT))
}

fn text<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    // `HeaderValue::to_str` refuses a Greek letter, as in `15µs`.
    Some(str::from_utf8(headers.get(name)?.as_bytes()).ok()?.trim())
}

#[cfg(test)]
mod tests;
