//! What a request says of answers that are kept: `Cache-Control`.
//!
//! Owns the directives of RFC 9111 that make sense here; others are ignored, as it says. Does not handle whether a
//! tenant may use them. Cannot fail.

use std::time::Duration;

use http::HeaderMap;
use http::header::CACHE_CONTROL;

/// What a request says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Directives {
    /// `no-cache`: it gets no answer that was there before it. Its own may be kept.
    pub no_cache: bool,
    /// `no-store`: nothing of it is kept or shared.
    pub no_store: bool,
    /// `only-if-cached`: it is not asked of an upstream.
    pub only_if_cached: bool,
    /// `max-age`: an answer may not be older.
    pub max_age: Option<Duration>,
}

impl Directives {
    /// Reads a request's header.
    pub fn read(headers: &HeaderMap) -> Self {
        let mut read = Self::default();
        let values = headers.get_all(CACHE_CONTROL).into_iter();
        for directive in values.flat_map(|value| value.as_bytes().split(|byte| *byte == b',')) {
            let mut parts = directive.splitn(2, |byte| *byte == b'=');
            let (name, value) = (parts.next(), parts.next());
            match name
                .unwrap_or_default()
                .trim_ascii()
                .to_ascii_lowercase()
                .as_slice()
            {
                b"no-cache" => read.no_cache = true,
                b"no-store" => read.no_store = true,
                b"only-if-cached" => read.only_if_cached = true,
                b"max-age" => {
                    let age = seconds(value.unwrap_or_default());
                    // Where it stands twice, the stricter counts.
                    read.max_age = Some(read.max_age.map_or(age, |other| other.min(age)));
                }
                _ => {}
            }
        }
        read
    }

    /// Whether an answer of this age will do.
    pub fn take(&self, age: Duration) -> bool {
        self.max_age.is_none_or(|most| age < most)
    }
}

/// A number of seconds. One that cannot be read is as strict as can be.
fn seconds(value: &[u8]) -> Duration {
    let digits = value.trim_ascii();
    let quoted = digits.strip_prefix(b"\"");
    let digits = quoted
        .and_then(|rest| rest.strip_suffix(b"\""))
        .unwrap_or(digits);
    let are_digits = digits.iter().all(u8::is_ascii_digit);
    let number = str::from_utf8(digits).ok().filter(|_| are_digits);
    Duration::from_secs(number.and_then(|number| number.parse().ok()).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn read(values: &[&'static str]) -> Directives {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(CACHE_CONTROL, HeaderValue::from_static(value));
        }
        Directives::read(&headers)
    }

    #[test]
    fn each_directive_is_read_wherever_it_stands() {
        assert_eq!(read(&[]), Directives::default());
        assert_eq!(
            read(&["public, stale-while-revalidate=5"]),
            Directives::default()
        );
        let all = read(&["No-Cache , max-age=\"60\"", "no-store,only-if-cached"]);
        let expected = Directives {
            no_cache: true,
            no_store: true,
            only_if_cached: true,
            max_age: Some(Duration::from_secs(60)),
        };
        assert_eq!(all, expected);
        let mut headers = HeaderMap::new();
        let value = HeaderValue::from_bytes(b"x=\xe9, no-store").unwrap();
        headers.append(CACHE_CONTROL, value);
        assert!(Directives::read(&headers).no_store);
    }

    #[test]
    fn what_cannot_be_read_or_stands_twice_is_taken_strictly() {
        for (values, seconds) in [
            (&["max-age=0, max-age=100"][..], 0),
            (&["max-age=100", "max-age=7"], 7),
            (&["max-age=+5"], 0),
            (&["max-age=-5"], 0),
            (&["max-age"], 0),
            (&["max-age=\"5"], 0),
            (&["max-age=99999999999999999999"], 0),
        ] {
            let most = Some(Duration::from_secs(seconds));
            assert_eq!(read(values).max_age, most, "{values:?}");
        }
    }

    #[test]
    fn an_age_is_compared_with_the_most() {
        let minute = read(&["max-age=60"]);
        assert!(minute.take(Duration::from_secs(59)) && !minute.take(Duration::from_secs(60)));
        assert!(!read(&["max-age=0"]).take(Duration::ZERO));
        assert!(!read(&["max-age=soon"]).take(Duration::ZERO));
        assert!(Directives::default().take(Duration::MAX));
    }
}
