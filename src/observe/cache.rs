//! Counters of answers that are used again.
//!
//! Owns their names and labels: rules, and our own tables of results and reasons. Does not handle when an answer is
//! used again (see `gateway::exchange::cache`). Fails at the start or not at all.

use prometheus::core::Collector;
use prometheus::{CounterVec, Gauge, GaugeVec, HistogramVec, IntCounterVec, Opts};

use super::families::{counters, histogram};

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

/// What became of a request whose rule uses answers again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheResult {
    /// It got an answer that was kept.
    Hit,
    /// It got the answer to an equal request.
    Joined,
    /// It was asked of an upstream.
    Miss,
    /// The same, for its answer is not used again.
    Bypass,
}

impl CacheResult {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Hit, Self::Joined, Self::Miss, Self::Bypass];

    /// Its name in metrics and in the log.
    pub fn name(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Joined => "joined",
            Self::Miss => "miss",
            Self::Bypass => "bypass",
        }
    }
}

/// What became of asking the Redis that several nodes share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RedisResult {
    /// It had the answer.
    Hit,
    /// It did not.
    Miss,
    /// An answer was written.
    Stored,
    /// It is away, or answered with an error.
    Error,
    /// It did not answer in time.
    Timeout,
    /// It was left alone after failures.
    Skipped,
    /// It had a value that cannot be used.
    Damaged,
    /// An answer was not written, for too many waited.
    Dropped,
}

impl RedisResult {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Hit,
        Self::Miss,
        Self::Stored,
        Self::Error,
        Self::Timeout,
        Self::Skipped,
        Self::Damaged,
        Self::Dropped,
    ];

    /// Its name in metrics and in the log.
    pub fn name(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Miss => "miss",
            Self::Stored => "stored",
            Self::Error => "error",
            Self::Timeout => "timeout",
            Self::Skipped => "skipped",
            Self::Damaged => "damaged",
            Self::Dropped => "dropped",
        }
    }
}

/// Counts what became of asking Redis.
#[derive(Clone)]
pub struct RedisCounts(IntCounterVec);

impl RedisCounts {
    /// One more.
    pub fn count(&self, result: RedisResult) {
        self.0.with_label_values(&[result.name()]).inc();
    }

    /// How often this came.
    #[cfg(test)]
    pub fn value(&self, result: RedisResult) -> u64 {
        self.0.with_label_values(&[result.name()]).get()
    }
}

/// The counters of answers that are used again.
pub struct CacheMetrics {
    requests: IntCounterVec,
    bypasses: IntCounterVec,
    not_stored: IntCounterVec,
    age: HistogramVec,
    saved: CounterVec,
    evictions: Evictions,
    bytes: Gauge,
    most_bytes: Gauge,
    entries: Gauge,
    redis: RedisCounts,
    redis_up: GaugeVec,
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
    pub fn new() -> Result<Self, prometheus::Error> {
        let saved = Opts::new(
            "tollgate_cache_saved_dollars_total",
            "What providers would have charged for answers that were used again.",
        );
        let redis_up = Opts::new(
            "tollgate_cache_redis_up",
            "Whether the Redis of the cache is connected and asked; there where one is configured.",
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
            redis: RedisCounts(counters(
                "tollgate_cache_redis_requests_total",
                "Answers that were looked for in Redis or written to it, by result.",
                &["result"],
            )?),
            redis_up: GaugeVec::new(redis_up, &[])?,
        })
    }

    /// All of them, to be registered.
    pub fn collectors(&self) -> [Box<dyn Collector>; 11] {
        [
            Box::new(self.requests.clone()),
            Box::new(self.bypasses.clone()),
            Box::new(self.not_stored.clone()),
            Box::new(self.age.clone()),
            Box::new(self.saved.clone()),
            Box::new(self.evictions.0.clone()),
            Box::new(self.bytes.clone()),
            Box::new(self.most_bytes.clone()),
            Box::new(self.entries.clone()),
            Box::new(self.redis.0.clone()),
            Box::new(self.redis_up.clone()),
        ]
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

    /// What counts requests to Redis, from zero.
    pub fn redis(&self) -> RedisCounts {
        for result in RedisResult::ALL {
            self.redis.0.with_label_values(&[result.name()]);
        }
        self.redis.clone()
    }

    /// Shows whether Redis is asked; `None` where there is none.
    pub fn redis_is_up(&self, is_up: Option<bool>) {
        match is_up {
            Some(is_up) => self
                .redis_up
                .with_label_values::<&str>(&[])
                .set(f64::from(u8::from(is_up))),
            None => self.redis_up.reset(),
        }
    }

    /// Shows how full the memory is.
    pub fn fill(&self, entries: usize, bytes: u64, most_bytes: u64) {
        self.entries.set(entries as f64);
        self.bytes.set(bytes as f64);
        self.most_bytes.set(most_bytes as f64);
    }
}
