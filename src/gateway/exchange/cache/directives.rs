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
        let texts = values.filter_map(|value| value.to_str().ok());
        for directive in texts.flat_map(|text| text.split(',')) {
            let (name, value) = directive.split_once('=').unwrap_or((directive, ""));
            match name.trim().to_ascii_lowercase().as_str() {
                "no-cache" => read.no_cache = true,
                "no-store" => read.no_store = true,
                "only-if-cached" => read.only_if_cached = true,
                // One that cannot be read is as strict as can be.
                "max-age" => {
                    let seconds = value.trim().trim_matches('"').parse().unwrap_or(0);
                    read.max_age = Some(Duration::from_secs(seconds));
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
