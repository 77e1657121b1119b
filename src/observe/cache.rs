//! Counters of answers that are used again.
//!
//! Owns their names and labels: rules, and our own tables of results and reasons. It reads them again for the operator.
//! `stores` has those of databases that several nodes share. Does not handle when an answer is used again (see
//! `gateway::exchange::cache`). Fails at the start or not at all.

mod stores;

use std::collections::BTreeMap;

use prometheus::core::Collector;
use prometheus::{CounterVec, Gauge, HistogramVec, IntCounterVec, Opts};

use super::families::{counters, histogram};
pub use stores::{StoreCounts, StoreMetrics, StoreResult};

/// From a second to a month.
const AGE_BUCKETS: [f64; 9] = [
    1.0,
    10.0,
    60.0,
    600.0,
    3600.0,
    21_600.0,
    86_400.0,
    604_800.0,
    2_592_000.0,
];
const NANOS: f64 = 1e9;
/// As many series of a rule begin at zero: each result, evictions, and what was saved.
pub(super) const SERIES_OF_A_RULE: usize = CacheResult::ALL.len() + 2;

/// What became of a request whose rule uses answers again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheResult {
    /// It got an answer that was kept.
    Hit,
    /// It got an answer to a question that means the same.
    Semantic,
    /// It got the answer to an equal request.
    Joined,
    /// It was asked of an upstream.
    Miss,
    /// The same, for its answer is not used again.
    Bypass,
}

impl CacheResult {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Hit,
        Self::Semantic,
        Self::Joined,
        Self::Miss,
        Self::Bypass,
    ];

    /// Its name in metrics and in the log.
    pub fn name(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Semantic => "semantic",
            Self::Joined => "joined",
            Self::Miss => "miss",
            Self::Bypass => "bypass",
        }
    }
}

/// The counters of answers that are used again.
pub struct CacheMetrics {
    requests: IntCounterVec,
    bypasses: IntCounterVec,
    not_stored: IntCounterVec,
    by_meaning: IntCounterVec,
    age: HistogramVec,
    saved: CounterVec,
    evictions: Evictions,
    bytes: Gauge,
    most_bytes: Gauge,
    entries: Gauge,
    flights: Gauge,
    followers: Gauge,
    question_bytes: Gauge,
    most_question_bytes: Gauge,
    questions: Gauge,
    redis: StoreMetrics,
    vectors: StoreMetrics,
}

/// What has been counted of one rule since the process began.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Counted {
    results: BTreeMap<String, u64>,
    /// Requests that bypass it, by reason.
    pub bypasses: BTreeMap<String, u64>,
    /// Answers that were not kept although they were to be, by reason.
    pub not_stored: BTreeMap<String, u64>,
    /// Answers that gave way to others.
    pub evictions: u64,
    /// What providers would have charged for what was used again, in dollars.
    pub saved_dollars: f64,
}

impl Counted {
    /// Requests with this result.
    pub fn with(&self, result: CacheResult) -> u64 {
        self.results.get(result.name()).copied().unwrap_or_default()
    }
}

/// Counts entries that have given way to others.
#[derive(Clone)]
pub struct Evictions(IntCounterVec);

impl Evictions {
    /// One of this rule.
    pub fn count(&self, rule: &str) {
        self.0.with_label_values(&[rule]).inc();
    }
}

impl CacheMetrics {
    /// Makes the counters.
    ///
    /// # Errors
    /// A name or a label that Prometheus does not allow, which a test would have found.
    #[expect(clippy::too_many_lines, reason = "a table")]
    pub fn new() -> Result<Self, prometheus::Error> {
        let saved = Opts::new(
            "tollgate_cache_saved_dollars_total",
            "What providers would have charged for answers that were used again.",
        );
        Ok(Self {
            requests: counters(
                "tollgate_cache_requests_total",
                "Requests to rules that use answers again, by result.",
                &["rule", "result"],
            )?,
            bypasses: counters(
                "tollgate_cache_bypasses_total",
                "Requests whose answer is not used again, by reason.",
                &["rule", "reason"],
            )?,
            not_stored: counters(
                "tollgate_cache_not_stored_total",
                "Answers that were not kept although they were to be, by reason.",
                &["rule", "reason"],
            )?,
            by_meaning: counters(
                "tollgate_cache_by_meaning_total",
                "Requests that were compared by meaning with earlier ones, by result.",
                &["rule", "result"],
            )?,
            age: histogram(
                "tollgate_cache_age_seconds",
                "The age of answers that were used again.",
                &AGE_BUCKETS,
                &["rule"],
            )?,
            saved: CounterVec::new(saved, &["rule"])?,
            evictions: Evictions(counters(
                "tollgate_cache_evictions_total",
                "Answers that gave way to others before their time had passed.",
                &["rule"],
            )?),
            bytes: Gauge::new("tollgate_cache_bytes", "Memory of answers that are kept.")?,
            most_bytes: Gauge::new("tollgate_cache_limit_bytes", "The bound on that memory.")?,
            entries: Gauge::new("tollgate_cache_entries", "Answers that are kept.")?,
            flights: Gauge::new(
                "tollgate_cache_flights",
                "Requests being served that equal requests may follow.",
            )?,
            followers: Gauge::new(
                "tollgate_cache_followers",
                "Requests being served that follow an equal one.",
            )?,
            question_bytes: Gauge::new(
                "tollgate_cache_question_bytes",
                "Memory of questions that are compared by meaning, with their answers.",
            )?,
            most_question_bytes: Gauge::new(
                "tollgate_cache_question_limit_bytes",
                "The bound on that memory.",
            )?,
            questions: Gauge::new(
                "tollgate_cache_questions",
                "Questions that are compared by meaning.",
            )?,
            redis: StoreMetrics::new(
                (
                    "tollgate_cache_redis_requests_total",
                    "Answers that were looked for in Redis or written to it, by result.",
                ),
                (
                    "tollgate_cache_redis_up",
                    "Whether the Redis of the cache is connected and asked; there where one is configured.",
                ),
            )?,
            vectors: StoreMetrics::new(
                (
                    "tollgate_cache_vector_store_requests_total",
                    "Questions that were looked for in the database of vectors or written to it, by result.",
                ),
                (
                    "tollgate_cache_vector_store_up",
                    "Whether the database of vectors is asked; there where one is configured.",
                ),
            )?,
        })
    }

    /// All of them, to be registered.
    pub fn collectors(&self) -> Vec<Box<dyn Collector>> {
        let own: [Box<dyn Collector>; 15] = [
            Box::new(self.requests.clone()),
            Box::new(self.bypasses.clone()),
            Box::new(self.not_stored.clone()),
            Box::new(self.by_meaning.clone()),
            Box::new(self.age.clone()),
            Box::new(self.saved.clone()),
            Box::new(self.evictions.0.clone()),
            Box::new(self.bytes.clone()),
            Box::new(self.most_bytes.clone()),
            Box::new(self.entries.clone()),
            Box::new(self.flights.clone()),
            Box::new(self.followers.clone()),
            Box::new(self.question_bytes.clone()),
            Box::new(self.most_question_bytes.clone()),
            Box::new(self.questions.clone()),
        ];
        let stores = [&self.redis, &self.vectors].into_iter();
        own.into_iter()
            .chain(stores.flat_map(StoreMetrics::collectors))
            .collect()
    }

    /// Begins the series of a rule at zero.
    pub fn start(&self, rule: &str) {
        for result in CacheResult::ALL {
            self.requests.with_label_values(&[rule, result.name()]);
        }
        self.evictions.0.with_label_values(&[rule]);
        self.saved.with_label_values(&[rule]);
    }

    /// Counts what became of a request.
    pub fn count(&self, rule: &str, result: CacheResult) {
        self.requests
            .with_label_values(&[rule, result.name()])
            .inc();
    }

    /// Counts why a request's answer is not used again.
    pub fn bypassed(&self, rule: &str, reason: &'static str) {
        self.bypasses.with_label_values(&[rule, reason]).inc();
    }

    /// Counts why an answer was not kept.
    pub fn not_stored(&self, rule: &str, reason: &'static str) {
        self.not_stored.with_label_values(&[rule, reason]).inc();
    }

    /// Counts what the comparison by meaning came to.
    pub fn compared(&self, rule: &str, result: &'static str) {
        self.by_meaning.with_label_values(&[rule, result]).inc();
    }

    /// Counts the age of an answer that was used again.
    pub fn aged(&self, rule: &str, seconds: f64) {
        self.age.with_label_values(&[rule]).observe(seconds);
    }

    /// Counts what a provider would have charged, in nano-dollars.
    pub fn saved(&self, rule: &str, nanos: u64) {
        self.saved
            .with_label_values(&[rule])
            .inc_by(nanos as f64 / NANOS);
    }

    /// What counts entries that give way.
    pub fn evictions(&self) -> Evictions {
        self.evictions.clone()
    }

    /// The Redis of answers.
    pub fn redis(&self) -> &StoreMetrics {
        &self.redis
    }

    /// The database of vectors.
    pub fn vectors(&self) -> &StoreMetrics {
        &self.vectors
    }

    /// Shows how full the memory is.
    pub fn fill(&self, entries: usize, bytes: u64, most_bytes: u64) {
        self.entries.set(entries as f64);
        self.bytes.set(bytes as f64);
        self.most_bytes.set(most_bytes as f64);
    }

    /// Shows how many requests may be followed, and how many follow one.
    pub fn flights(&self, flights: usize, followers: usize) {
        self.flights.set(flights as f64);
        self.followers.set(followers as f64);
    }

    /// Shows how full the memory of questions is.
    pub fn questions(&self, entries: usize, bytes: u64, most_bytes: u64) {
        self.questions.set(entries as f64);
        self.question_bytes.set(bytes as f64);
        self.most_question_bytes.set(most_bytes as f64);
    }

    /// What has been counted of each rule.
    pub fn by_rule(&self) -> BTreeMap<String, Counted> {
        let mut rules: BTreeMap<String, Counted> = BTreeMap::new();
        each_series(&self.requests, |rule, result, value| {
            let counted = rules.entry(rule.to_owned()).or_default();
            counted.results.insert(result.to_owned(), whole(value));
        });
        each_series(&self.bypasses, |rule, reason, value| {
            let counted = rules.entry(rule.to_owned()).or_default();
            counted.bypasses.insert(reason.to_owned(), whole(value));
        });
        each_series(&self.not_stored, |rule, reason, value| {
            let counted = rules.entry(rule.to_owned()).or_default();
            counted.not_stored.insert(reason.to_owned(), whole(value));
        });
        each_series(&self.evictions.0, |rule, _, value| {
            rules.entry(rule.to_owned()).or_default().evictions = whole(value);
        });
        each_series(&self.saved, |rule, _, value| {
            rules.entry(rule.to_owned()).or_default().saved_dollars = value;
        });
        rules
    }
}

/// Gives each series of a family: its rule, its other label where it has one, and its value.
fn each_series(family: &dyn Collector, mut see: impl FnMut(&str, &str, f64)) {
    for family in family.collect() {
        for series in family.get_metric() {
            let (mut rule, mut other) = ("", "");
            for label in series.get_label() {
                match label.name() {
                    "rule" => rule = label.value(),
                    _ => other = label.value(),
                }
            }
            see(rule, other, series.get_counter().get_value());
        }
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "Prometheus gives a count as a float; it is no smaller than 0, and saturates"
)]
fn whole(count: f64) -> u64 {
    count as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_counted_is_read_by_rule() {
        let metrics = CacheMetrics::new().unwrap();
        metrics.start("quiet");
        metrics.count("a", CacheResult::Hit);
        metrics.count("a", CacheResult::Hit);
        metrics.count("a", CacheResult::Bypass);
        metrics.bypassed("a", "stored");
        metrics.not_stored("b", "too_large");
        metrics.evictions().count("b");
        metrics.saved("a", 1_500_000_000);
        let rules = metrics.by_rule();
        assert_eq!(rules.keys().collect::<Vec<_>>(), ["a", "b", "quiet"]);
        let of_a = &rules["a"];
        let results = CacheResult::ALL.map(|result| of_a.with(result));
        assert_eq!(results, [2, 0, 0, 0, 1]);
        assert_eq!(of_a.bypasses["stored"], 1);
        assert!((of_a.saved_dollars - 1.5).abs() < 1e-9);
        assert_eq!(rules["b"].not_stored["too_large"], 1);
        assert_eq!(rules["b"].evictions, 1);
        assert_eq!(CacheResult::ALL.map(|r| rules["quiet"].with(r)), [0; 5]);
    }
}
