//! Waits and limits in the headers and messages of each provider.

use http::HeaderValue;

use super::*;

const DAY: Option<Duration> = Some(MAX_WAIT);

/// 2026-08-01T12:00:00Z.
fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_785_585_600)
}

fn headers(written: &[(&'static str, &str)]) -> HeaderMap {
    let pairs = written.iter().map(|(name, value)| {
        let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
        (HeaderName::from_static(name), value)
    });
    pairs.collect()
}

fn ms(ms: u64) -> Option<Duration> {
    Some(Duration::from_millis(ms))
}

fn left(remaining: u64, resets_in: Option<Duration>) -> Option<Allowance> {
    Some(Allowance {
        remaining,
        resets_in,
    })
}

#[test]
fn a_wait_is_read_from_retry_after_in_each_of_its_forms() {
    for (value, expected) in [
        ("20", ms(20_000)),
        (" 1.5 ", ms(1500)),
        ("0", ms(0)),
        ("86401", DAY),
        ("Sat, 01 Aug 2026 12:00:07 GMT", ms(7000)),
        ("Saturday, 01-Aug-26 12:00:07 GMT", ms(7000)),
        ("Sat, 01 Aug 2026 12:00:00 GMT", ms(0)),
        ("Sat, 01 Aug 2026 11:59:59 GMT", None),
        ("Fri, 01 Aug 2098 12:00:00 GMT", DAY),
        ("-1", None),
        ("99999999999", DAY),
        ("1e300", DAY),
        ("inf", None),
        ("NaN", None),
        ("", None),
        ("soon", None),
        ("\u{e9}", None),
    ] {
        let read = retry_after(&headers(&[("retry-after", value)]), now());
        assert_eq!(read, expected, "{value}");
    }
    assert_eq!(retry_after(&HeaderMap::new(), now()), None);
}

#[test]
fn milliseconds_come_first_if_they_can_be_read() {
    for (value, expected) in [
        ("250", ms(250)),
        ("0.5", Some(Duration::from_micros(500))),
        ("99999999999", DAY),
        ("-1", ms(7000)),
        ("x", ms(7000)),
    ] {
        let both = headers(&[("retry-after", "7"), ("retry-after-ms", value)]);
        assert_eq!(retry_after(&both, now()), expected, "{value}");
    }
}

#[test]
fn the_headroom_is_read_from_either_family_of_headers() {
    let openai = headers(&[
        ("x-ratelimit-limit-requests", "500"),
        ("x-ratelimit-remaining-requests", "499"),
        ("x-ratelimit-reset-requests", "120ms"),
        ("x-ratelimit-remaining-tokens", "0"),
        ("x-ratelimit-reset-tokens", "6m0s"),
    ]);
    let read = Headroom::read(&openai, now);
    assert_eq!(read.requests, left(499, ms(120)));
    assert_eq!(read.tokens, left(0, ms(360_000)));
    assert_eq!(read.exhausted_for(), ms(360_000));

    let anthropic = headers(&[
        ("anthropic-ratelimit-requests-remaining", "3"),
        ("anthropic-ratelimit-requests-reset", "2026-08-01T12:00:01Z"),
        ("anthropic-ratelimit-tokens-remaining", "900"),
        ("anthropic-ratelimit-input-tokens-remaining", "800"),
        (
            "anthropic-ratelimit-input-tokens-reset",
            "2026-08-01T14:00:09+02:00",
        ),
        ("anthropic-ratelimit-output-tokens-remaining", "1000"),
    ]);
    let read = Headroom::read(&anthropic, now);
    assert_eq!(read.requests, left(3, ms(1000)));
    assert_eq!(read.tokens, left(800, ms(9000)));
    assert_eq!(read.exhausted_for(), None);
    assert!(!read.is_empty());
}

#[test]
fn a_reset_is_read_in_each_of_its_forms() {
    for (value, expected) in [
        ("1s", ms(1000)),
        ("6m0s", ms(360_000)),
        ("250ms", ms(250)),
        ("2m59.56s", ms(179_560)),
        ("17h24m3.2s", ms(62_643_200)),
        ("1h0m0.5s", ms(3_600_500)),
        ("15µs", Some(Duration::from_micros(15))),
        ("0s", ms(0)),
        ("12", ms(12_000)),
        ("0.25", ms(250)),
        ("40h", DAY),
        ("86400000", DAY),
        ("2026-08-01T11:00:00Z", ms(0)),
        ("2027-08-01T11:00:00Z", DAY),
        ("1785585660", ms(60_000)),
        ("1785585660000", ms(60_000)),
        ("1785585500", ms(0)),
        ("9999999999", DAY),
        ("9999999999999999", DAY),
        ("999999999", DAY),
        ("99999999999999999999", DAY),
        ("1e300", None),
        ("inf", None),
        ("NaN", None),
        ("-1s", None),
        ("-1", None),
        ("6m0", None),
        ("m", None),
        ("", None),
    ] {
        let both = headers(&[
            ("x-ratelimit-remaining-tokens", "7"),
            ("x-ratelimit-reset-tokens", value),
        ]);
        let read = Headroom::read(&both, now).tokens;
        assert_eq!(read, left(7, expected), "{value}");
    }
}

#[test]
fn what_remains_is_unknown_unless_it_is_a_whole_number() {
    for value in ["-1", "", "many", "1,000", "0.5", "99999999999999999999"] {
        let both = headers(&[
            ("x-ratelimit-remaining-requests", value),
            ("x-ratelimit-reset-requests", "1s"),
        ]);
        assert!(Headroom::read(&both, now).is_empty(), "{value}");
    }
    let alone = headers(&[("x-ratelimit-reset-requests", "1s")]);
    assert!(Headroom::read(&alone, now).is_empty());
    assert!(Headroom::read(&HeaderMap::new(), now).is_empty());
}

#[test]
fn one_reader_knows_every_form_of_a_wait() {
    for (name, value) in [
        ("retry-after", "20"),
        ("retry-after", "20.0"),
        ("retry-after", "Sat, 01 Aug 2026 12:00:20 GMT"),
        ("retry-after-ms", "20000"),
        ("x-ms-retry-after-ms", "20000"),
    ] {
        let read = wait(&headers(&[(name, value)]), None, now());
        assert_eq!(read, ms(20_000), "{name}: {value}");
    }
    for (remaining, reset, value) in [
        (
            "x-ratelimit-remaining-requests",
            "x-ratelimit-reset-requests",
            "20s",
        ),
        (
            "x-ratelimit-remaining-tokens",
            "x-ratelimit-reset-tokens",
            "20",
        ),
        (
            "x-ratelimit-remaining",
            "x-ratelimit-reset",
            "1785585620000",
        ),
        ("ratelimit-remaining", "ratelimit-reset", "20"),
        (
            "anthropic-ratelimit-requests-remaining",
            "anthropic-ratelimit-requests-reset",
            "2026-08-01T12:00:20Z",
        ),
    ] {
        let both = headers(&[(remaining, "0"), (reset, value)]);
        assert_eq!(wait(&both, None, now()), ms(20_000), "{reset}: {value}");
    }
    let message = Some("Please try again in 20s.");
    assert_eq!(wait(&HeaderMap::new(), message, now()), ms(20_000));
    let both = headers(&[("retry-after", "7")]);
    assert_eq!(
        wait(&both, message, now()),
        ms(7000),
        "the header counts first"
    );
}

#[test]
fn no_number_of_any_length_makes_us_wait_for_more_than_a_day() {
    let long = |digit: &str| digit.repeat(60_000);
    for value in [
        long("9"),
        format!("1{}", long("0")),
        format!("{}s", long("9")),
        long("-"),
    ] {
        let all = headers(&[
            ("retry-after", &value),
            ("retry-after-ms", &value),
            ("x-ratelimit-remaining-requests", "0"),
            ("x-ratelimit-reset-requests", &value),
        ]);
        let message = format!("try again in {value}");
        let read = wait(&all, Some(&message), now());
        assert!(read.is_none_or(|wait| wait <= MAX_WAIT), "{read:?}");
    }
    let message = format!("{}9999h", "try again in ".repeat(600));
    assert_eq!(wait_in_message(&message), DAY);
}

#[test]
fn of_what_is_exhausted_the_longest_wait_counts() {
    let tokens = headers(&[
        ("anthropic-ratelimit-tokens-remaining", "0"),
        ("anthropic-ratelimit-input-tokens-remaining", "0"),
        ("anthropic-ratelimit-input-tokens-reset", "5s"),
        ("anthropic-ratelimit-output-tokens-remaining", "0"),
        ("anthropic-ratelimit-output-tokens-reset", "9s"),
    ]);
    assert_eq!(Headroom::read(&tokens, now).exhausted_for(), ms(9000));
    for (requests, tokens, expected) in [
        (left(0, ms(1)), left(0, ms(2)), ms(2)),
        (left(0, ms(1)), left(1, ms(2)), ms(1)),
        (left(0, None), left(0, ms(2)), ms(2)),
        (left(0, None), None, None),
        (left(0, ms(0)), None, None),
        (None, None, None),
    ] {
        let headroom = Headroom { requests, tokens };
        assert_eq!(headroom.exhausted_for(), expected, "{headroom:?}");
    }
}

#[test]
fn a_wait_is_found_in_a_message() {
    for (message, expected) in [
        (
            "Rate limit reached for gpt-4o in organization org-1 on tokens per min (TPM): Limit 30000, Used 29000, Requested 6527. Please try again in 11.054s. Visit https://platform.openai.com to learn more.",
            ms(11_054),
        ),
        ("Please try again in 20ms. Visit", ms(20)),
        ("try again in 1m2s", ms(62_000)),
        ("Try again in 6m0s.", ms(360_000)),
        ("Please retry after 7 seconds.", ms(7000)),
        ("Please retry after 1 second. To increase", ms(1000)),
        ("please retry after 7", ms(7000)),
        (
            "Please retry in 33.178305474s.",
            Some(Duration::from_nanos(33_178_305_474)),
        ),
        ("try again in 1 minute 2 seconds (UTC)", ms(62_000)),
        ("try again in 1 hour, 2 minutes", ms(3_720_000)),
        ("try again after 5 minutes!", ms(300_000)),
        ("try again in 30 hours", DAY),
        (
            "model `try again in 9h` is at its limit, try again in 3s",
            ms(3000),
        ),
        ("try again in 3s, or retry after payment", ms(3000)),
        ("Please try again in a few minutes.", None),
        ("try again in -3s", None),
        ("try again in ", None),
        ("try again in 7é", None),
        ("Limit 100 in 60 seconds", None),
        ("", None),
    ] {
        assert_eq!(wait_in_message(message), expected, "{message}");
    }
}
