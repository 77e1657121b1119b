//! Series that are there before anything is counted.
//!
//! Owns which counters begin at zero: `increase()` of a series that appears with its first failure
//! misses that failure. They are those of what the configuration names, and within `MOST_SERIES` for
//! each table below: of very many rules only the first endpoints, then none, begin at zero; the others
//! appear when they are first counted. Histograms are not made beforehand: they are large. The names
//! and labels are those of `metrics`, `attempts` and `tokens`. Cannot fail.

use super::metrics::{Metrics, OTHER};
use crate::openai::endpoint;
use crate::openai::verdict::Reason;

/// As many series of requests, of attempts and of tokens begin at zero.
const MOST_SERIES: usize = 8192;

/// The statuses that requests to upstreams end with.
const STATUSES: [&str; 3] = ["2xx", "4xx", "5xx"];
/// The statuses of requests that reach no upstream.
const REFUSALS: [&str; 2] = ["4xx", "5xx"];
/// Why an answer breaks that had begun.
const CAUSES: [&str; 4] = [
    "upstream_cut",
    "upstream_timeout",
    "upstream_error",
    "client_gone",
];
/// What attempts come to beside the reasons for which they fail.
const OUTCOMES: [&str; 3] = ["ok", "broken", "busy"];
/// What is left out because it failed.
const EJECTED: [&str; 2] = ["server", "target"];

/// What the configuration names.
#[derive(Debug, Default)]
pub struct Known<'a> {
    /// Upstreams.
    pub upstreams: Vec<&'a str>,
    /// Rules, each with an upstream that may serve it, once.
    pub rules: Vec<(&'a str, &'a str)>,
    /// What is forwarded unread: the endpoint, the prefix that stands for a rule, the upstream.
    pub unread: Vec<(&'static str, &'a str, &'a str)>,
}

impl Metrics {
    /// Makes the series of what is known.
    pub fn begin(&self, known: &Known<'_>) {
        let refused = endpoint::names().chain([OTHER]);
        for endpoint in refused {
            self.begin_requests([endpoint, OTHER, OTHER], &REFUSALS, &[]);
        }
        let each = known.rules.len() * (STATUSES.len() + CAUSES.len());
        let affordable = MOST_SERIES.checked_div(each).unwrap_or_default();
        for endpoint in endpoint::names_with_models().take(affordable) {
            for (rule, upstream) in &known.rules {
                self.begin_requests([endpoint, rule, upstream], &STATUSES, &CAUSES);
            }
        }
        let each = STATUSES.len() + CAUSES.len();
        for (endpoint, rule, upstream) in known.unread.iter().take(MOST_SERIES / each) {
            self.begin_requests([endpoint, rule, upstream], &STATUSES, &CAUSES);
        }
        let each = Reason::ALL.len() + OUTCOMES.len() + EJECTED.len();
        for upstream in known.upstreams.iter().take(MOST_SERIES / each) {
            let reasons = Reason::ALL.iter().map(|reason| reason.name());
            self.attempts()
                .begin(upstream, OUTCOMES.into_iter().chain(reasons), &EJECTED);
        }
        self.tokens()
            .begin(known.rules.iter().copied(), MOST_SERIES);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(known: &Known<'_>) -> String {
        let metrics = Metrics::new().unwrap();
        metrics.begin(known);
        String::from_utf8(metrics.text(0, 0).unwrap()).unwrap()
    }

    #[test]
    fn the_first_failure_of_what_is_named_is_an_increase() {
        let text = text(&Known {
            upstreams: vec!["far"],
            rules: vec![("gpt-4o", "far")],
            unread: vec![("route", "/far", "far")],
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
            r#"tollgate_usage_total{source="none",rule="gpt-4o",upstream="far"} 0"#,
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
        assert!(!text.contains("duration_seconds_bucket{endpoint"));
    }

    #[test]
    fn many_rules_begin_with_fewer_endpoints_and_very_many_with_none() {
        let names: Vec<String> = (0..1500).map(|n| format!("m{n}")).collect();
        let rules = |count| Known {
            rules: names
                .iter()
                .take(count)
                .map(|n| (n.as_str(), "far"))
                .collect(),
            ..Known::default()
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
