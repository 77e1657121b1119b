//! Counters and histograms, in Prometheus form.
//!
//! Owns their names, labels and buckets; `docs/reference/metrics.md` lists them. Label values come from the
//! configuration and from our own tables alone, so the configuration bounds their number. Does not handle other
//! counters than those of requests (see `attempts`, `tokens`, `money`, `recording`, `webhooks`, `chats`, `handshakes`,
//! `callers`, `cache`, `log_lines`) or the series that start at zero (see `initial_series`). Fails at the start or not
//! at all.

use std::time::Duration;

use prometheus::{
    Encoder, Gauge, Histogram, HistogramVec, IntCounter, IntCounterVec, Registry, TextEncoder,
    core::Collector,
};

use super::attempts::Attempts;
use super::cache::CacheMetrics;
use super::callers::Callers;
use super::chats::Chats;
pub use super::families::OTHER;
use super::families::{build, counters, histogram};
use super::handshakes::Handshakes;
use super::log_lines::LogLines;
use super::money::Money;
use super::recording::Recording;
use super::reloads::ReloadMetrics;
use super::series_cache::SeriesCache;
pub use super::shed::Shed;
use super::states::StateGauges;
use super::statistics::Totals;
use super::store::Counts as StoreCounts;
use super::tokens::Tokens;
use super::webhooks::Webhooks;
use crate::clock;

/// From 1 ms to 10 min: an answer may take as long as a model thinks.
const DURATION_BUCKETS: [f64; 16] = [
    0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 180.0, 600.0,
];
/// From 10 µs to 100 ms: the time that the gateway itself takes.
const OVERHEAD_BUCKETS: [f64; 11] = [
    0.000_01, 0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.0025, 0.01, 0.025, 0.1,
];

const STATUS_CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// All counters.
pub struct Metrics {
    registry: Registry,
    requests: IntCounterVec,
    duration: HistogramVec,
    first_byte: HistogramVec,
    overhead: HistogramVec,
    received: IntCounterVec,
    sent: IntCounterVec,
    model_redirects: IntCounter,
    broken: IntCounterVec,
    kinds: SeriesCache<Kind>,
    chats: Chats,
    attempts: Attempts,
    tokens: Tokens,
    money: Money,
    recording: Recording,
    /// The counters of webhooks.
    pub webhooks: Webhooks,
    /// The counters of the store that several nodes share.
    pub store: StoreCounts,
    reloads: ReloadMetrics,
    states: StateGauges,
    handshakes: Handshakes,
    callers: Callers,
    cache: CacheMetrics,
    log_lines: LogLines,
    shed: IntCounterVec,
    connections: Gauge,
    in_flight: Gauge,
    uptime: Gauge,
    total_requests: IntCounter,
    errors: IntCounter,
}

/// The series of one kind of request: of an endpoint, rule and upstream.
struct Kind {
    /// By class of status.
    requests: [IntCounter; STATUS_CLASSES.len()],
    duration: Histogram,
    first_byte: Histogram,
    overhead: Histogram,
    received: IntCounter,
    sent: IntCounter,
}

/// One finished request, as it is counted.
pub struct Observation<'a> {
    /// The endpoint's name.
    pub endpoint: &'static str,
    /// The model rule's label.
    pub rule: Option<&'a str>,
    /// The upstream's name.
    pub upstream: Option<&'a str>,
    /// The status that the client got; 499 when it left before any.
    pub status: u16,
    /// From the request's header to the end.
    pub total: Duration,
    /// From the request's header to the first byte of the answer.
    pub first_byte: Option<Duration>,
    /// The part of `first_byte` that the gateway itself took.
    pub own: Option<Duration>,
    /// Body bytes from the client.
    pub bytes_in: usize,
    /// Body bytes to the client.
    pub bytes_out: usize,
    /// Whether the upstream was asked for another model than the client named.
    pub redirected: bool,
    /// Why the answer broke after it had begun.
    pub broken: Option<&'static str>,
}

impl Metrics {
    /// Registers everything.
    ///
    /// # Errors
    /// A name is taken twice, which a test would have found.
    #[expect(clippy::too_many_lines, reason = "a table")]
    pub fn new() -> Result<Self, prometheus::Error> {
        let metrics = Self {
            requests: counters(
                "tollgate_requests_total",
                "Requests that were answered.",
                &["endpoint", "rule", "upstream", "status"],
            )?,
            duration: timing(
                "tollgate_request_duration_seconds",
                "From the request's header to the end of its answer.",
            )?,
            first_byte: timing(
                "tollgate_time_to_first_byte_seconds",
                "From the request's header to the first byte of its answer.",
            )?,
            overhead: histogram(
                "tollgate_overhead_seconds",
                "The gateway's own part of the time to the first byte, without waiting for client or upstream.",
                &OVERHEAD_BUCKETS,
                &["endpoint"],
            )?,
            received: counters(
                "tollgate_request_bytes_total",
                "Body bytes from clients.",
                &["endpoint"],
            )?,
            sent: counters(
                "tollgate_response_bytes_total",
                "Body bytes to clients.",
                &["endpoint"],
            )?,
            model_redirects: IntCounter::new(
                "tollgate_model_redirects_total",
                "Requests sent to the upstream with another model name than the client's.",
            )?,
            broken: counters(
                "tollgate_answers_broken_total",
                "Answers that had begun and were not completed, by cause.",
                &["endpoint", "rule", "upstream", "cause"],
            )?,
            kinds: SeriesCache::default(),
            chats: Chats::new()?,
            attempts: Attempts::new()?,
            tokens: Tokens::new()?,
            money: Money::new()?,
            recording: Recording::new()?,
            webhooks: Webhooks::new()?,
            store: StoreCounts::new()?,
            reloads: ReloadMetrics::new()?,
            states: StateGauges::new()?,
            handshakes: Handshakes::new()?,
            callers: Callers::new()?,
            cache: CacheMetrics::new()?,
            log_lines: LogLines::shared()?,
            shed: super::shed::counters_by_limit()?,
            connections: Gauge::new("tollgate_connections", "Connections of clients.")?,
            in_flight: Gauge::new("tollgate_requests_in_flight", "Requests being served.")?,
            uptime: Gauge::new("tollgate_uptime_seconds", "Age of the process.")?,
            total_requests: IntCounter::new("total_requests", "Requests that were answered.")?,
            errors: IntCounter::new("error_count", "Requests that ended in an error.")?,
            registry: Registry::new(),
        };
        metrics.register_all()?;
        Ok(metrics)
    }

    /// `total_requests` and `errors` are not registered: Prometheus has them as sums of `requests`.
    fn register_all(&self) -> Result<(), prometheus::Error> {
        let collectors: [Box<dyn Collector>; 13] = [
            Box::new(build()?),
            Box::new(self.requests.clone()),
            Box::new(self.duration.clone()),
            Box::new(self.first_byte.clone()),
            Box::new(self.overhead.clone()),
            Box::new(self.received.clone()),
            Box::new(self.sent.clone()),
            Box::new(self.model_redirects.clone()),
            Box::new(self.broken.clone()),
            Box::new(self.shed.clone()),
            Box::new(self.connections.clone()),
            Box::new(self.in_flight.clone()),
            Box::new(self.uptime.clone()),
        ];
        let all = collectors.into_iter().chain(self.attempts.collectors());
        let all = all.chain(self.tokens.collectors());
        let all = all.chain(self.money.collectors());
        let all = all.chain(self.recording.collectors());
        let all = all.chain(self.webhooks.collectors());
        let all = all.chain(self.store.collectors());
        let all = all.chain(self.reloads.collectors());
        let all = all.chain(self.callers.collectors());
        let all = all.chain(self.cache.collectors());
        let all = all.chain([
            self.chats.collector(),
            self.handshakes.collector(),
            self.log_lines.collector(),
        ]);
        for collector in all.chain(self.states.collectors()) {
            self.registry.register(collector)?;
        }
        let process = prometheus::process_collector::ProcessCollector::for_self();
        self.registry.register(Box::new(process))
    }

    /// Counts a finished request.
    pub fn observe(&self, seen: &Observation<'_>) {
        let labels = [
            seen.endpoint,
            seen.rule.unwrap_or(OTHER),
            seen.upstream.unwrap_or(OTHER),
        ];
        let [endpoint, rule, upstream] = labels;
        let count = |kind: &Kind| {
            if let Some(answered) = kind.requests.get(status_class(seen.status)) {
                answered.inc();
            }
            kind.duration.observe(seen.total.as_secs_f64());
            if let Some(first_byte) = seen.first_byte {
                kind.first_byte.observe(first_byte.as_secs_f64());
            }
            if let Some(own) = seen.own {
                kind.overhead.observe(own.as_secs_f64());
            }
            kind.received.inc_by(seen.bytes_in as u64);
            kind.sent.inc_by(seen.bytes_out as u64);
        };
        self.kinds.count(&labels, || self.kind(&labels), count);
        if seen.redirected {
            self.model_redirects.inc();
        }
        if let Some(cause) = seen.broken {
            self.broken
                .with_label_values(&[endpoint, rule, upstream, cause])
                .inc();
        }
        if seen.status >= 400 || seen.broken.is_some() {
            self.errors.inc();
        }
        // Last, so that a reader of the total finds its parts counted.
        self.total_requests.inc();
    }

    /// Creates the series of one endpoint, rule and upstream at zero: requests with these statuses, and
    /// answers that break for these causes.
    pub(super) fn start_requests(&self, labels: [&str; 3], statuses: &[&str], causes: &[&str]) {
        let [endpoint, rule, upstream] = labels;
        for status in statuses {
            self.requests
                .with_label_values(&[endpoint, rule, upstream, status]);
        }
        for cause in causes {
            self.broken
                .with_label_values(&[endpoint, rule, upstream, cause]);
        }
    }

    fn kind(&self, labels: &[&str; 3]) -> Kind {
        let [endpoint, rule, upstream] = *labels;
        let requests = |class| {
            self.requests
                .with_label_values(&[endpoint, rule, upstream, class])
        };
        Kind {
            requests: STATUS_CLASSES.map(requests),
            duration: self.duration.with_label_values(labels),
            first_byte: self.first_byte.with_label_values(labels),
            overhead: self.overhead.with_label_values(&[endpoint]),
            received: self.received.with_label_values(&[endpoint]),
            sent: self.sent.with_label_values(&[endpoint]),
        }
    }

    /// The counters of attempts at upstreams.
    pub fn attempts(&self) -> &Attempts {
        &self.attempts
    }

    /// The counters of tokens.
    pub fn tokens(&self) -> &Tokens {
        &self.tokens
    }

    /// The counters of money, and of what limits refuse.
    pub fn money(&self) -> &Money {
        &self.money
    }

    /// The counters and gauges of the ledger.
    pub fn recording(&self) -> &Recording {
        &self.recording
    }

    /// Metrics of the configuration that is in force.
    pub fn reloads(&self) -> &ReloadMetrics {
        &self.reloads
    }

    /// The counters of the chat log.
    pub fn chats(&self) -> &Chats {
        &self.chats
    }

    /// The counters of TLS handshakes.
    pub fn handshakes(&self) -> &Handshakes {
        &self.handshakes
    }

    /// The counters of answers that are used again.
    pub fn cache(&self) -> &CacheMetrics {
        &self.cache
    }

    /// The counters of callers that are refused.
    pub fn callers(&self) -> &Callers {
        &self.callers
    }

    /// The gauges of servers, targets and keys. Set them before each scrape.
    pub fn states(&self) -> &StateGauges {
        &self.states
    }

    /// Counts what was shed because of a limit.
    pub fn shed(&self, limit: Shed) {
        self.shed.with_label_values(&[limit.name()]).inc();
    }

    /// All metrics, in the text format of Prometheus.
    ///
    /// # Errors
    /// Those of the encoder.
    pub fn text(&self, connections: usize, in_flight: usize) -> Result<Vec<u8>, prometheus::Error> {
        self.connections.set(connections as f64);
        self.in_flight.set(in_flight as f64);
        self.uptime.set(clock::uptime().as_secs_f64());
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }

    /// What has been counted until now, for the line of statistics.
    pub fn totals(&self, in_flight: usize) -> Totals {
        Totals {
            requests: self.total_requests.get(),
            errors: self.errors.get(),
            tokens: self.tokens.all(),
            lost_lines: self.log_lines.dropped.get() + self.log_lines.failed.get(),
            in_flight,
        }
    }

    /// The plain counters, for a script without Prometheus.
    pub fn plain(&self, in_flight: usize) -> serde_json::Value {
        serde_json::json!({
            "active_requests": in_flight,
            "total_requests": self.total_requests.get(),
            "error_count": self.errors.get(),
            "uptime_seconds": clock::uptime().as_secs(),
            "cpu_cores": std::thread::available_parallelism().map_or(1, usize::from),
            "model_redirects": self.model_redirects.get(),
        })
    }
}

fn timing(name: &str, help: &str) -> Result<HistogramVec, prometheus::Error> {
    let labels = ["endpoint", "rule", "upstream"];
    histogram(name, help, &DURATION_BUCKETS, &labels)
}

/// The position of a status among [`STATUS_CLASSES`].
fn status_class(status: u16) -> usize {
    usize::from(status / 100).clamp(1, 5) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_counted_in_both_forms() {
        let metrics = Metrics::new().unwrap();
        metrics.observe(&Observation {
            endpoint: "chat_completions",
            rule: Some("gpt-4o"),
            upstream: None,
            status: 502,
            total: Duration::from_millis(20),
            first_byte: Some(Duration::from_millis(10)),
            own: Some(Duration::from_micros(30)),
            bytes_in: 7,
            bytes_out: 9,
            redirected: true,
            broken: None,
        });
        metrics.shed(Shed::Requests);
        let text = String::from_utf8(metrics.text(5, 3).unwrap()).unwrap();
        for line in [
            r#"tollgate_requests_total{endpoint="chat_completions",rule="gpt-4o",status="5xx",upstream="other"} 1"#,
            r#"tollgate_response_bytes_total{endpoint="chat_completions"} 9"#,
            "tollgate_connections 5",
            "tollgate_requests_in_flight 3",
            r#"tollgate_shed_total{limit="requests"} 1"#,
            r#"tollgate_shed_total{limit="body_rate"} 0"#,
            "tollgate_model_redirects_total 1",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
        let plain = metrics.plain(3);
        assert_eq!(plain["error_count"], 1);
        assert_eq!(plain["active_requests"], 3);
    }
}
