//! Rate limits: of the whole gateway, of a tenant, of a key, of a model rule.
//!
//! Owns the keys of a `limits` mapping. Does not handle `server.limits`, which bounds what one connection
//! may cost (see `config::server::limits`), nor how a limit is kept (see `limits`). What cannot be read is
//! reported with its place.

use super::document::{Node, Section};

/// The most requests at a time that a limit can name.
const MOST_CONCURRENT: u64 = 1_000_000;

/// How much may be asked in a time. `None` for no limit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct RateLimits {
    /// Requests in a second.
    pub requests_per_second: Option<u64>,
    /// Requests in a minute.
    pub requests_per_minute: Option<u64>,
    /// Requests in an hour.
    pub requests_per_hour: Option<u64>,
    /// Requests in a day.
    pub requests_per_day: Option<u64>,
    /// Tokens of input and output in a minute.
    pub tokens_per_minute: Option<u64>,
    /// Tokens of input and output in a day.
    pub tokens_per_day: Option<u64>,
    /// Requests at a time.
    pub concurrent: Option<u32>,
    /// Tokens of output in a minute, at which streams are slowed down and not refused.
    pub stream_tokens_per_minute: Option<u64>,
    /// How the windows of the rates move.
    pub window: Window,
}

/// How the window of a rate moves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Window {
    /// The generic cell rate algorithm: steady, with a burst of one whole limit.
    #[default]
    Gcra,
    /// A sliding window: never more than the limit in any window.
    Sliding,
}

impl Window {
    /// Its name in a configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gcra => "gcra",
            Self::Sliding => "sliding",
        }
    }
}

impl RateLimits {
    /// Every limit that is set, by its key, in the order of the documentation.
    pub fn set(&self) -> impl Iterator<Item = (&'static str, u64)> {
        [
            ("requests_per_second", self.requests_per_second),
            ("requests_per_minute", self.requests_per_minute),
            ("requests_per_hour", self.requests_per_hour),
            ("requests_per_day", self.requests_per_day),
            ("tokens_per_minute", self.tokens_per_minute),
            ("tokens_per_day", self.tokens_per_day),
            ("concurrent", self.concurrent.map(u64::from)),
            ("stream_tokens_per_minute", self.stream_tokens_per_minute),
        ]
        .into_iter()
        .filter_map(|(key, limit)| Some((key, limit?)))
    }
}

/// Takes `limits` from a section that may have them.
pub fn take(section: &mut Section<'_>) -> Option<RateLimits> {
    section.take("limits").and_then(|node| read(&node))
}

/// Reads the mapping. `None` where it sets no limit, which is reported.
pub fn read(node: &Node<'_>) -> Option<RateLimits> {
    let mut section = node.section()?;
    let mut is_empty = true;
    let mut rate = |node: Option<Node<'_>>| {
        is_empty &= node.is_none();
        node.and_then(|node| node.limit())
    };
    let mut limits = RateLimits {
        requests_per_second: rate(section.take_either("requests_per_second", "rps")),
        requests_per_minute: rate(section.take_either("requests_per_minute", "rpm")),
        requests_per_hour: rate(section.take("requests_per_hour")),
        requests_per_day: rate(section.take_either("requests_per_day", "rpd")),
        tokens_per_minute: rate(section.take_either("tokens_per_minute", "tpm")),
        tokens_per_day: rate(section.take_either("tokens_per_day", "tpd")),
        stream_tokens_per_minute: rate(section.take("stream_tokens_per_minute")),
        ..RateLimits::default()
    };
    if let Some(node) = section.take("concurrent") {
        is_empty = false;
        let limit = node.limit_up_to(MOST_CONCURRENT);
        limits.concurrent = limit.and_then(|limit| u32::try_from(limit).ok());
    }
    if let Some(node) = section.take("window") {
        limits.window = read_window(&node);
    }
    // An unknown key may be meant for a limit.
    if section.finish() && is_empty {
        node.report(
            "no limit is written",
            Some("as in requests_per_minute: 60, or remove `limits`"),
        );
    }
    (!is_empty).then_some(limits)
}

fn read_window(node: &Node<'_>) -> Window {
    match node.text().as_deref() {
        Some("sliding") => Window::Sliding,
        Some("gcra") | None => Window::Gcra,
        Some(_) => {
            node.report("expected gcra or sliding", None);
            Window::Gcra
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Variables};

    fn parse(limits: &str) -> Result<RateLimits, Vec<String>> {
        let text = format!(
            "upstreams: {{ a: {{ base_url: http://a }} }}\n\
             models: [{{ match: m, targets: [{{ upstream: a }}] }}]\n\
             limits: {limits}\n"
        );
        match Config::parse("t.yaml", &text, &Variables::default()) {
            Ok(config) => Ok(config.limits.unwrap()),
            Err(problems) => Err(problems.0.iter().map(ToString::to_string).collect()),
        }
    }

    #[test]
    fn every_limit_can_be_set() {
        let limits = parse(
            "{ requests_per_second: 1, requests_per_minute: 2, requests_per_hour: 3,
               requests_per_day: 4, tokens_per_minute: 5, tokens_per_day: '6', concurrent: 7,
               stream_tokens_per_minute: 8, window: sliding }",
        )
        .unwrap();
        let set: Vec<u64> = limits.set().map(|(_, limit)| limit).collect();
        assert_eq!(set, [1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(limits.window, Window::Sliding);
    }

    #[test]
    fn short_names_that_people_bring_along_mean_the_same() {
        let limits = parse("{ rps: 1, rpm: 2, rpd: 3, tpm: 4, tpd: 5 }").unwrap();
        let expected = RateLimits {
            requests_per_second: Some(1),
            requests_per_minute: Some(2),
            requests_per_day: Some(3),
            tokens_per_minute: Some(4),
            tokens_per_day: Some(5),
            ..RateLimits::default()
        };
        assert_eq!(limits, expected);
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for (limits, expected) in [
            (
                "{ requests_per_minute: 0 }",
                ".requests_per_minute: must be above 0 (for no limit, leave it out)",
            ),
            (
                "{ concurrent: -1 }",
                ".concurrent: must be above 0 (for no limit, leave it out)",
            ),
            ("{ tpm: '-5' }", ".tpm: must be above 0"),
            (
                "{ requests_per_day: 1.5 }",
                ".requests_per_day: expected a whole number from 1 to 9007199254740992",
            ),
            (
                "{ concurrent: 1000001 }",
                ".concurrent: expected a whole number from 1 to 1000000",
            ),
            (
                "{ tokens_per_day: 9007199254740993 }",
                ".tokens_per_day: expected a whole number from 1 to",
            ),
            (
                "{ rpm: 5, requests_per_minute: 6 }",
                ".rpm: `requests_per_minute` is written, too, and means the same (keep one of them)",
            ),
            (
                "{ rpm: 5, window: fixed }",
                ".window: expected gcra or sliding",
            ),
            (
                "{ window: sliding }",
                ": no limit is written (as in requests_per_minute: 60, or remove `limits`)",
            ),
            ("{}", ": no limit is written"),
            ("60", ": expected a mapping, found a number"),
            (
                "{ requests_per_minutes: 6 }",
                ".requests_per_minutes: unknown key (did you mean `requests_per_minute`?)",
            ),
            ("{ tpmm: 6 }", ".tpmm: unknown key (did you mean `tpm`?)"),
            (
                "{ quantity: 6 }",
                ".quantity: unknown key (known here: requests_per_second, rps, requests_per_minute, rpm, \
                 requests_per_hour, requests_per_day, rpd, tokens_per_minute, tpm, tokens_per_day, tpd, ",
            ),
            (
                "{ max_parallel_requests: 6 }",
                ".max_parallel_requests: unknown key (did you mean `concurrent`?)",
            ),
        ] {
            let found = parse(limits).unwrap_err();
            let expected = format!("t.yaml:3: limits{expected}");
            assert!(
                found.len() == 1 && found[0].starts_with(&expected),
                "{limits}: {found:?}"
            );
        }
        // The largest that is read.
        let most = parse("{ tpd: 9007199254740992, concurrent: 1000000 }").unwrap();
        assert_eq!(most.set().count(), 2);
    }
}
