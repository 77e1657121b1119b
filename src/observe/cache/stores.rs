//! Counters of stores that several nodes share: the Redis of answers, and the database of vectors.
//!
//! Owns the results of asking one, and whether it is asked. Does not handle their names (see the parent), nor how they
//! are asked (see `cache`). Fails at the start or not at all.

use prometheus::core::Collector;
use prometheus::{GaugeVec, IntCounterVec, Opts};

use crate::observe::families::counters;

/// What became of asking a store that several nodes share: the Redis of answers, or the database of vectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreResult {
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

impl StoreResult {
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

/// Counts what became of asking such a store.
#[derive(Clone)]
pub struct StoreCounts(IntCounterVec);

impl StoreCounts {
    /// One more.
    pub fn count(&self, result: StoreResult) {
        self.0.with_label_values(&[result.name()]).inc();
    }

    /// All results from zero.
    fn started(&self) -> Self {
        for result in StoreResult::ALL {
            self.0.with_label_values(&[result.name()]);
        }
        self.clone()
    }

    /// How often this came.
    #[cfg(test)]
    pub fn value(&self, result: StoreResult) -> u64 {
        self.0.with_label_values(&[result.name()]).get()
    }
}

/// What is known of one store.
pub struct StoreMetrics {
    counts: StoreCounts,
    up: GaugeVec,
}

impl StoreMetrics {
    /// With the name and the meaning of what counts requests, and of what shows whether it is asked.
    ///
    /// # Errors
    /// A name that Prometheus does not allow, which a test would have found.
    pub(super) fn new(requests: (&str, &str), up: (&str, &str)) -> Result<Self, prometheus::Error> {
        Ok(Self {
            counts: StoreCounts(counters(requests.0, requests.1, &["result"])?),
            up: GaugeVec::new(Opts::new(up.0, up.1), &[])?,
        })
    }

    /// All of them, to be registered.
    pub(super) fn collectors(&self) -> [Box<dyn Collector>; 2] {
        [Box::new(self.counts.0.clone()), Box::new(self.up.clone())]
    }

    /// What counts requests to it, from zero.
    pub fn counts(&self) -> StoreCounts {
        self.counts.started()
    }

    /// Shows whether it is asked; `None` where it is not configured.
    pub fn is_up(&self, is_up: Option<bool>) {
        match is_up {
            Some(is_up) => self
                .up
                .with_label_values::<&str>(&[])
                .set(f64::from(u8::from(is_up))),
            None => self.up.reset(),
        }
    }
}
