//! Counters of attempts at upstreams.
//!
//! Owns their names and labels, as `metrics` does those of requests. Label values are upstreams of
//! the configuration and names of ours.

use prometheus::core::Collector;
use prometheus::{IntCounter, IntCounterVec, Opts};

use super::series::Series;

/// What ended the holding back of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// It said something.
    Output,
    /// As many events had come as are held back.
    Events,
    /// As many bytes had.
    Bytes,
    /// It is not read.
    Unread,
}

impl Until {
    const ALL: [Self; 4] = [Self::Output, Self::Events, Self::Bytes, Self::Unread];

    fn name(self) -> &'static str {
        match self {
            Self::Output => "output",
            Self::Events => "events",
            Self::Bytes => "bytes",
            Self::Unread => "unread",
        }
    }
}

/// What is counted of attempts.
pub struct Attempts {
    attempts: IntCounterVec,
    ejections: IntCounterVec,
    retries_refused: IntCounterVec,
    held: IntCounterVec,
    /// Those of `held`, by position.
    held_until: [IntCounter; Until::ALL.len()],
    seen: Series<IntCounter>,
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
                "Answers that were held back until they began, by what ended that.",
            ),
            &["until"],
        )?;
        Ok(Self {
            attempts: IntCounterVec::new(
                Opts::new(
                    "tollgate_attempts_total",
                    "Attempts at upstreams, by what came of them.",
                ),
                &["upstream", "verdict"],
            )?,
            ejections: IntCounterVec::new(
                Opts::new(
                    "tollgate_ejections_total",
                    "Servers and targets that were left out because they failed.",
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
            held_until: Until::ALL.map(|until| held.with_label_values(&[until.name()])),
            held,
            seen: Series::default(),
        })
    }

    /// All of them, to be registered.
    pub fn collectors(&self) -> [Box<dyn Collector>; 4] {
        [
            Box::new(self.attempts.clone()),
            Box::new(self.ejections.clone()),
            Box::new(self.retries_refused.clone()),
            Box::new(self.held.clone()),
        ]
    }

    /// Makes the counters of an upstream: of these verdicts, of ejections of these kinds, and of refused
    /// retries.
    pub(super) fn begin(
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
    }

    /// Counts an attempt, by what came of it.
    pub fn attempted(&self, upstream: &str, verdict: &'static str) {
        let counter = || self.attempts.with_label_values(&[upstream, verdict]);
        self.seen
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

    /// Counts an answer that has begun, by what ended the holding back.
    pub fn held(&self, until: Until) {
        if let Some(counter) = self.held_until.get(until as usize) {
            counter.inc();
        }
    }
}
