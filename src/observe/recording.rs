//! Counters and gauges of the ledger.
//!
//! Owns their names and labels, as `metrics` owns those of requests. Does not handle what is recorded (see
//! `ledger`). Fails at the start or not at all.

use prometheus::core::Collector;
use prometheus::{Gauge, IntCounter, IntCounterVec, IntGaugeVec, Opts};

use super::families::counters;

/// The counters and gauges of the ledger. Clones share them.
#[derive(Clone)]
pub struct Recording {
    records: IntCounterVec,
    /// Records that were written.
    pub recorded: IntCounter,
    /// Records that were lost, because they could not be written.
    pub failed: IntCounter,
    failing: Gauge,
    short_of_room: Gauge,
    journal_bytes: Gauge,
    lag_seconds: Gauge,
    lag_bytes: Gauge,
    other_journals: IntGaugeVec,
}

/// How the ledger is, as it is measured.
#[derive(Clone, Copy, Debug, Default)]
pub struct Measured {
    /// Records cannot be written.
    pub is_failing: bool,
    /// There is no room for another segment.
    pub is_short_of_room: bool,
    /// The bytes of the journal.
    pub journal_bytes: u64,
    /// How long ago the oldest record came that is not in the database.
    pub lag_seconds: f64,
    /// The bytes that are not in the database.
    pub lag_bytes: u64,
    /// Journals that other processes write to.
    pub journals_in_use: usize,
    /// Journals of processes that have ended, which are not loaded.
    pub journals_waiting: usize,
}

impl Recording {
    /// Makes them.
    ///
    /// # Errors
    /// A name or a label that Prometheus does not allow, which a test would have found.
    pub fn new() -> Result<Self, prometheus::Error> {
        let records = counters(
            "tollgate_ledger_records_total",
            "Usage records, by outcome.",
            &["outcome"],
        )?;
        Ok(Self {
            recorded: records.with_label_values(&["recorded"]),
            failed: records.with_label_values(&["failed"]),
            records,
            failing: Gauge::new(
                "tollgate_ledger_failing",
                "1 while usage cannot be recorded.",
            )?,
            short_of_room: Gauge::new(
                "tollgate_ledger_short_of_room",
                "1 while the disk has no room for another segment of the journal.",
            )?,
            journal_bytes: Gauge::new("tollgate_ledger_journal_bytes", "Bytes of the journal.")?,
            lag_seconds: Gauge::new(
                "tollgate_ledger_lag_seconds",
                "Age of the oldest record that is not in the database.",
            )?,
            lag_bytes: Gauge::new(
                "tollgate_ledger_lag_bytes",
                "Bytes of the journal that are not in the database.",
            )?,
            other_journals: IntGaugeVec::new(
                Opts::new(
                    "tollgate_ledger_other_journals",
                    "Journals of other processes in the ledger's folder, by state.",
                ),
                &["state"],
            )?,
        })
    }

    /// All of them, to be registered.
    pub fn collectors(&self) -> [Box<dyn Collector>; 7] {
        [
            Box::new(self.records.clone()),
            Box::new(self.failing.clone()),
            Box::new(self.short_of_room.clone()),
            Box::new(self.journal_bytes.clone()),
            Box::new(self.lag_seconds.clone()),
            Box::new(self.lag_bytes.clone()),
            Box::new(self.other_journals.clone()),
        ]
    }

    /// Sets the gauges. Call it before each scrape.
    pub fn set(&self, measured: &Measured) {
        let flag = |is_so| if is_so { 1.0 } else { 0.0 };
        self.failing.set(flag(measured.is_failing));
        self.short_of_room.set(flag(measured.is_short_of_room));
        self.journal_bytes.set(measured.journal_bytes as f64);
        self.lag_seconds.set(measured.lag_seconds);
        self.lag_bytes.set(measured.lag_bytes as f64);
        for (state, journals) in [
            ("in_use", measured.journals_in_use),
            ("waiting", measured.journals_waiting),
        ] {
            let gauge = self.other_journals.with_label_values(&[state]);
            gauge.set(i64::try_from(journals).unwrap_or(i64::MAX));
        }
    }
}
