//! Counters of attempts at upstreams.
//!
//! Owns their names and labels, as `metrics` owns those of requests. Label values are upstreams of the
//! configuration and our own names. Does not handle when something is counted (see `gateway`). Fails
//! at the start or not at all.

use prometheus::core::Collector;
use prometheus::{IntCounter, IntCounterVec, Opts};

use super::series_cache::SeriesCache;

/// Why the gateway stopped holding an answer back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// Its first output came.
    Output,
    /// The limit on held events was reached.
    Events,
    /// The limit on held bytes was reached.
    Bytes,
    /// It is of a kind that is not read.
    Unread,
    /// It was whole.
    Whole,
}

impl Until {
    const ALL: [Self; 5] = [
        Self::Output,
        Self::Events,
        Self::Bytes,
        Self::Unread,
        Self::Whole,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Output => "output",
            Self::Events => "events",
            Self::Bytes => "bytes",
            Self::Unread => "unread",
            Self::Whole => "whole",
        }
    }
}

/// The counters of attempts.
pub struct Attempts {
    attempts: IntCounterVec,
    ejections: IntCounterVec,
    retries_refused: IntCounterVec,
    held: IntCounterVec,
    wasted: IntCounterVec,
    hedged: IntCounterVec,
    /// The counters of `held`, by position of the reason.
    held_until: [IntCounter; Until::ALL.len()],
    cache: SeriesCache<IntCounter>,
}

impl Attempts {
    /// Makes the counters.
    ///
    /// # Errors
    /// A name or a label that Prometheus does not allow, which a test would have found.
    pub fn new() -> Result<Self, prometheus::Error> {
        let held = IntCounterVec::new(
            Opts::new(
                "tollgate_answers_held_total",
                "Answers that were held back until their first output, by what ended the holding.",
            ),
            &["until"],
        )?;
        Ok(Self {
            attempts: IntCounterVec::new(
                Opts::new(
                    "tollgate_attempts_total",
                    "Attempts at upstreams, by verdict.",
                ),
                &["upstream", "verdict"],
            )?,
            ejections: IntCounterVec::new(
                Opts::new(
                    "tollgate_ejections_total",
                    "Ejections of servers and targets that failed.",
                ),
                &["upstream", "kind"],
            )?,
            retries_refused: IntCounterVec::new(
                Opts::new(
                    "tollgate_retries_refused_total",
                    "Further attempts that the upstream's retry budget did not allow.",
                ),
                &["upstream"],
            )?,
            wasted: IntCounterVec::new(
                Opts::new(
                    "tollgate_wasted_tokens_total",
                    "Output of answers that were held back and broke off, estimated from its length.",
                ),
                &["upstream"],
            )?,
            hedged: IntCounterVec::new(
                Opts::new(
                    "tollgate_hedged_tokens_total",
                    "Input of requests that were left because another upstream was faster, estimated from its length.",
                ),
                &["upstream"],
            )?,
            held_until: Until::ALL.map(|until| held.with_label_values(&[until.name()])),
            held,
            cache: SeriesCache::default(),
        })
    }

    /// All of them, to be registered.
    pub fn collectors(&self) -> [Box<dyn Collector>; 6] {
        [
            Box::new(self.attempts.clone()),
            Box::new(self.ejections.clone()),
            Box::new(self.retries_refused.clone()),
            Box::new(self.held.clone()),
            Box::new(self.wasted.clone()),
            Box::new(self.hedged.clone()),
        ]
    }

    /// Creates the series of an upstream at zero: of these verdicts, of ejections of these kinds, and of
    /// refused retries.
    pub(super) fn start(
        &self,
        upstream: &str,
        verdicts: impl Iterator<Item = &'static str>,
        ejected: &[&str],
    ) {
        for verdict in verdicts {
            self.attempts.with_label_values(&[upstream, verdict]);
        }
        for kind in ejected {
            self.ejections.with_label_values(&[upstream, kind]);
        }
        self.retries_refused.with_label_values(&[upstream]);
        self.wasted.with_label_values(&[upstream]);
        self.hedged.with_label_values(&[upstream]);
    }

    /// Counts the output of an answer that no client gets.
    pub fn wasted(&self, upstream: &str, tokens: u64) {
        self.wasted.with_label_values(&[upstream]).inc_by(tokens);
    }

    /// Counts the input of a request that was left because another upstream was faster.
    pub fn hedged(&self, upstream: &str, tokens: u64) {
        self.hedged.with_label_values(&[upstream]).inc_by(tokens);
    }

    /// Counts an attempt, by its verdict.
    pub fn attempted(&self, upstream: &str, verdict: &'static str) {
        let counter = || self.attempts.with_label_values(&[upstream, verdict]);
        self.cache
            .count(&[upstream, verdict], counter, IntCounter::inc);
    }

    /// Counts an ejection, of a `server` or a `target`.
    pub fn ejected(&self, upstream: &str, kind: &'static str) {
        self.ejections.with_label_values(&[upstream, kind]).inc();
    }

    /// Counts an attempt that the upstream's budget did not allow.
    pub fn retry_refused(&self, upstream: &str) {
        self.retries_refused.with_label_values(&[upstream]).inc();
    }

    /// Counts an answer that is no longer held back.
    pub fn held(&self, until: Until) {
        if let Some(counter) = self.held_until.get(until as usize) {
            counter.inc();
        }
    }
}
