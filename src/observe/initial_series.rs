//! Series that start at zero, before anything is counted.
//!
//! Owns which counters start at zero: `increase()` misses the first failure of a series that appears
//! with it. They are the series of what the configuration names, within `MOST_SERIES` for each of
//! requests, attempts, tokens and the cache. With very many rules only those of the first endpoints start at
//! zero, or none; the others appear with their first count. Histograms are not created: they are
//! large. Does not handle names and labels (see `metrics`, `attempts`, `tokens`). Cannot fail.

use super::cache::SERIES_OF_A_RULE;
use super::metrics::{Metrics, OTHER};
use crate::openai::endpoint;
use crate::openai::verdict::Reason;

/// The most series that start at zero, of each of requests, attempts, tokens and the cache.
const MOST_SERIES: usize = 8192;

/// The statuses that requests to upstreams end with.
const STATUSES: [&str; 3] = ["2xx", "4xx", "5xx"];
/// The statuses of requests that reach no upstream.
const REFUSALS: [&str; 2] = ["4xx", "5xx"];
/// Why an answer breaks after it has begun.
const CAUSES: [&str; 4] = [
    "upstream_cut",
    "upstream_timeout",
    "upstream_error",
    "client_gone",
];
/// The verdicts of attempts beside the reasons of failures.
const OUTCOMES: [&str; 4] = ["ok", "broken", "busy", "hedged"];
/// The kinds of ejections.
const EJECTED: [&str; 2] = ["server", "target"];

/// The names in the configuration.
#[derive(Debug, Default)]
pub struct Names<'a> {
    /// Upstreams.
    pub upstreams: Vec<&'a str>,
    /// Rules, each with an upstream that may serve it, once.
    pub rules: Vec<(&'a str, &'a str)>,
    /// What the tunnel forwards: the endpoint, the prefix that stands for a rule, the upstream.
    pub tunnelled: Vec<(&'static str, &'a str, &'a str)>,
    /// Rules that use answers again.
    pub reusing: Vec<&'a str>,
}

impl Metrics {
    /// Creates the series of these names.
    pub fn start_series(&self, names: &Names<'_>) {
        let refused = endpoint::names().chain([OTHER]);
        for endpoint in refused {
            self.start_requests([endpoint, OTHER, OTHER], &REFUSALS, &[]);
        }
        let each = names.rules.len() * (STATUSES.len() + CAUSES.len());
        let affordable = MOST_SERIES.checked_div(each).unwrap_or_default();
        for endpoint in endpoint::names_with_models().take(affordable) {
            for (rule, upstream) in &names.rules {
                self.start_requests([endpoint, rule, upstream], &STATUSES, &CAUSES);
            }
        }
        let each = STATUSES.len() + CAUSES.len();
        for (endpoint, rule, upstream) in names.tunnelled.iter().take(MOST_SERIES / each) {
            self.start_requests([endpoint, rule, upstream], &STATUSES, &CAUSES);
        }
        let each = Reason::ALL.len() + OUTCOMES.len() + EJECTED.len();
        for upstream in names.upstreams.iter().take(MOST_SERIES / each) {
            let reasons = Reason::ALL.iter().map(|reason| reason.name());
            self.attempts()
                .start(upstream, OUTCOMES.into_iter().chain(reasons), &EJECTED);
        }
        self.tokens()
            .start(names.rules.iter().copied(), MOST_SERIES);
        for rule in names.reusing.iter().take(MOST_SERIES / SERIES_OF_A_RULE) {
            self.cache().start(rule);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(names: &Names<'_>) -> String {
        let metrics = Metrics::new().unwrap();
        metrics.start_series(names);
        String::from_utf8(metrics.text(0, 0).unwrap()).unwrap()
    }

    #[test]
    fn the_first_failure_of_what_the_configuration_names_is_an_increase() {
        let text = text(&Names {
            upstreams: vec!["far"],
            rules: vec![("gpt-4o", "far")],
            tunnelled: vec![("route", "/far", "far")],
            reusing: vec!["gpt-4o"],
        });
        for line in [
            r#"tollgate_requests_total{endpoint="images_edits",rule="gpt-4o",status="5xx",upstream="far"} 0"#,
            r#"tollgate_requests_total{endpoint="realtime",rule="gpt-4o",status="5xx",upstream="far"} 0"#,
            r#"tollgate_requests_total{endpoint="route",rule="/far",status="5xx",upstream="far"} 0"#,
            r#"tollgate_requests_total{endpoint="chat_completions",rule="other",status="4xx",upstream="other"} 0"#,
            r#"tollgate_answers_broken_total{cause="upstream_cut",endpoint="responses",rule="gpt-4o",upstream="far"} 0"#,
            r#"tollgate_attempts_total{upstream="far",verdict="key_refused"} 0"#,
            r#"tollgate_ejections_total{kind="target",upstream="far"} 0"#,
            r#"tollgate_retries_refused_total{upstream="far"} 0"#,
            r#"tollgate_tokens_total{kind="output",rule="gpt-4o",upstream="far"} 0"#,
            r#"tollgate_usage_total{rule="gpt-4o",source="none",upstream="far"} 0"#,
            r#"tollgate_cache_requests_total{result="hit",rule="gpt-4o"} 0"#,
            r#"tollgate_cache_evictions_total{rule="gpt-4o"} 0"#,
            r#"tollgate_cache_saved_dollars_total{rule="gpt-4o"} 0"#,
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
        assert!(!text.contains("duration_seconds_bucket{endpoint"));
    }

    #[test]
    fn many_rules_start_fewer_endpoints_at_zero_and_very_many_start_none() {
        let names: Vec<String> = (0..1500).map(|n| format!("m{n}")).collect();
        let rules = |count| Names {
            rules: names
                .iter()
                .take(count)
                .map(|n| (n.as_str(), "far"))
                .collect(),
            ..Names::default()
        };
        let series = |text: &str, endpoint: &str| {
            let of_rules = text
                .lines()
                .filter(|line| !line.contains(r#"rule="other""#));
            of_rules.filter(|line| line.contains(endpoint)).count()
        };
        let some = text(&rules(1000));
        assert_eq!(series(&some, r#"endpoint="chat_completions""#), 7 * 1000);
        assert_eq!(series(&some, r#"endpoint="completions""#), 0);
        let none = text(&rules(1500));
        assert_eq!(series(&none, "endpoint=\"") + series(&none, "source=\""), 0);
    }
}
