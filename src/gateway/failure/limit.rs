//! What a request is told that a limit or a quota refuses.
//!
//! Owns the words and headers, which are OpenAI's where OpenAI has them. A client is told of limits of its own
//! tenant and key by name; of others only that there are too many requests. Does not handle which limit was in
//! the way (see `limits`).

use std::time::Duration;

use http::header::RETRY_AFTER;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::error;
use crate::config::write_nanos;
use crate::gateway::headers::SHOULD_RETRY;
use crate::limits::{LimitKind, RateStanding, Refusal, ScopeName, Standing};
use crate::openai::error::ApiError;

/// Clients that would wait longer are told not to try again by themselves.
const LONGEST_RETRY: Duration = Duration::from_secs(60);

const REQUESTS: [HeaderName; 3] = [
    HeaderName::from_static("x-ratelimit-limit-requests"),
    HeaderName::from_static("x-ratelimit-remaining-requests"),
    HeaderName::from_static("x-ratelimit-reset-requests"),
];
const TOKENS: [HeaderName; 3] = [
    HeaderName::from_static("x-ratelimit-limit-tokens"),
    HeaderName::from_static("x-ratelimit-remaining-tokens"),
    HeaderName::from_static("x-ratelimit-reset-tokens"),
];

/// No time is longer that is written: `292277024626h59m59s`.
const LONGEST_TIME_BYTES: usize = 20;

/// What the client is told.
pub fn api_error(refusal: &Refusal) -> ApiError {
    let Refusal { kind, limit, .. } = refusal;
    if kind.is_quota() {
        return quota(refusal);
    }
    let class = match kind {
        LimitKind::TokensPerMinute | LimitKind::TokensPerDay => "tokens",
        _ => "requests",
    };
    let whose = match refusal.scope.name() {
        ScopeName::Tenant(tenant) => format!("tenant `{tenant}`"),
        ScopeName::Key { key, .. } => format!("key `{key}`"),
        ScopeName::Subject { .. } => "your token".to_owned(),
        ScopeName::Rule(_) => "this model".to_owned(),
        ScopeName::Gateway => "this gateway".to_owned(),
    };
    let what = kind.name();
    let message = match (refusal.is_too_large(), refusal.retry_after) {
        (true, _) => format!(
            "Request too large for {whose} on {what}: Limit {limit}, Requested {}. Send less text, or \
             ask for fewer tokens of output.",
            refusal.asked
        ),
        (false, Some(wait)) => format!(
            "Rate limit reached for {whose} on {what}: Limit {limit}. Please try again in {}.",
            written(wait)
        ),
        (false, None) => format!("Rate limit reached for {whose} on {what}: Limit {limit}."),
    };
    let code = Some("rate_limit_exceeded");
    error(StatusCode::TOO_MANY_REQUESTS, class, code, message)
}

/// Requests in flight are in the way, not the period.
const IN_A_MOMENT: Duration = Duration::from_secs(1);

fn quota(refusal: &Refusal) -> ApiError {
    let written_amount = |amount| match refusal.kind {
        LimitKind::QuotaMoney => format!("${}", write_nanos(amount)),
        _ => format!("{amount} tokens"),
    };
    let usage = refusal.scope.quota_usage();
    let used = usage.map_or(refusal.limit, |usage| match refusal.kind {
        LimitKind::QuotaMoney => usage.nanos.saturating_add(usage.nanos_reserved),
        _ => usage.tokens.saturating_add(usage.tokens_reserved),
    });
    let left = refusal.limit.saturating_sub(used);
    // What is left might do for a request that may use less.
    let size = (left > 0 && left < refusal.asked).then(|| {
        format!(
            " What is left is {}, and this request may use {}: send less text, or ask for fewer tokens of output.",
            written_amount(left),
            written_amount(refusal.asked),
        )
    });
    let until = refusal.retry_after.map(|wait| match wait <= IN_A_MOMENT {
        true => " Requests in progress hold the rest: try again in a moment.".to_owned(),
        false => format!(" The quota resets in {}.", written(wait)),
    });
    // That of the tenant is the client's own, in OpenAI's words.
    let whose = match refusal.scope.name() {
        ScopeName::Key { key, .. } => format!(" for key `{key}`"),
        _ => String::new(),
    };
    let message = format!(
        "You exceeded your current quota of {}{whose}, please check your plan and billing details.{}{}",
        written_amount(refusal.limit),
        size.unwrap_or_default(),
        until.unwrap_or_default(),
    );
    let kind = "insufficient_quota";
    error(StatusCode::TOO_MANY_REQUESTS, kind, Some(kind), message)
}

/// What is told while the ledger cannot be written.
pub fn unavailable() -> ApiError {
    error(
        StatusCode::SERVICE_UNAVAILABLE,
        "server_error",
        Some("quota_unavailable"),
        "What you use cannot be recorded at the moment. Please try again later.".to_owned(),
    )
}

/// What the client is told while limits that several nodes share cannot be counted.
pub fn store_away() -> ApiError {
    error(
        StatusCode::SERVICE_UNAVAILABLE,
        "server_error",
        Some("limits_unavailable"),
        "The gateway cannot count its limits at the moment. Please try again in 1s.".to_owned(),
    )
}

/// Adds what the header of a refusal says.
pub fn add_headers(refusal: &Refusal, headers: &mut HeaderMap) {
    if let Some(standing) = &refusal.standing {
        add_standing(standing, headers);
    }
    if let Some(wait) = refusal.retry_after {
        headers.insert(RETRY_AFTER, HeaderValue::from(rounded_up(wait)));
    }
    if refusal.retry_after.is_none_or(|wait| wait > LONGEST_RETRY) {
        headers.insert(SHOULD_RETRY, HeaderValue::from_static("false"));
    }
}

/// Adds how the caller's own rates stand.
pub fn add_standing(standing: &Standing, headers: &mut HeaderMap) {
    headers.reserve(REQUESTS.len() + TOKENS.len());
    for (rate, names) in [(standing.requests, &REQUESTS), (standing.tokens, &TOKENS)] {
        let Some(RateStanding {
            limit,
            remaining,
            reset,
            ..
        }) = rate
        else {
            continue;
        };
        let [limit_name, remaining_name, reset_name] = names;
        headers.insert(limit_name, HeaderValue::from(limit));
        headers.insert(remaining_name, HeaderValue::from(remaining));
        if let Ok(reset) = HeaderValue::try_from(written(reset)) {
            headers.insert(reset_name, reset);
        }
    }
}

/// A time as OpenAI writes it: `120ms`, `1.5s`, `6m0s`, `2h3m4s`. Each answer has two, so they are written without
/// `format!`.
fn written(time: Duration) -> String {
    let of_seconds = time.as_secs().saturating_mul(1000);
    let ms = of_seconds.saturating_add(u64::from(time.subsec_nanos().div_ceil(1_000_000)));
    let (seconds, mut rest) = (ms / 1000, ms % 1000);
    let mut text = String::with_capacity(LONGEST_TIME_BYTES);
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, 0) => push(&mut text, rest, "ms"),
        (0, 0, s) => {
            push(&mut text, s, if rest > 0 { "." } else { "" });
            // Three digits, without the zeros at the end.
            let mut place = 100;
            while rest > 0 {
                push(&mut text, rest / place, "");
                (rest, place) = (rest % place, place / 10);
            }
            text.push('s');
        }
        (h, m, s) => {
            if h > 0 {
                push(&mut text, h, "h");
            }
            push(&mut text, m, "m");
            push(&mut text, s, "s");
        }
    }
    text
}

fn push(text: &mut String, number: u64, unit: &str) {
    text.push_str(itoa::Buffer::new().format(number));
    text.push_str(unit);
}

fn rounded_up(time: Duration) -> u64 {
    let more = u64::from(time.subsec_nanos() > 0);
    time.as_secs().saturating_add(more).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_openai_writes_them() {
        for (ms, text) in [
            (0, "0ms"),
            (120, "120ms"),
            (1000, "1s"),
            (1500, "1.5s"),
            (1050, "1.05s"),
            (1001, "1.001s"),
            (59_999, "59.999s"),
            (360_000, "6m0s"),
            (7_384_001, "2h3m4s"),
        ] {
            assert_eq!(written(Duration::from_millis(ms)), text);
        }
        assert_eq!(written(Duration::from_nanos(1)), "1ms");
        assert!(written(Duration::MAX).len() <= LONGEST_TIME_BYTES);
        assert_eq!(rounded_up(Duration::from_millis(1)), 1);
        assert_eq!(rounded_up(Duration::from_millis(1001)), 2);
        assert_eq!(rounded_up(Duration::ZERO), 1);
    }
}
