//! Counters of webhooks.
//!
//! Owns their names and labels, as `metrics` owns those of requests. Does not handle when an event is counted
//! (see `ledger::webhooks`). Fails at the start or not at all.

use prometheus::core::Collector;
use prometheus::{IntCounter, IntCounterVec, IntGauge};

use super::families::counters;

/// The counters of events and of requests that deliver them. Clones share them.
#[derive(Clone)]
pub struct Webhooks {
    events: IntCounterVec,
    deliveries: IntCounterVec,
    /// Events that a receiver has accepted.
    pub delivered: IntCounter,
    /// Events that were dropped because too many waited, or because their webhook was removed.
    pub dropped: IntCounter,
    /// Events that no receiver accepted in three days.
    pub expired: IntCounter,
    /// Requests to receivers that were answered with 2xx.
    pub ok: IntCounter,
    /// Requests to receivers that failed.
    pub failed: IntCounter,
    /// Events that wait.
    pub waiting: IntGauge,
}

impl Webhooks {
    /// Makes the counters.
    ///
    /// # Errors
    /// A name or a label that Prometheus does not allow, which a test would have found.
    pub fn new() -> Result<Self, prometheus::Error> {
        let events = counters(
            "tollgate_webhook_events_total",
            "Events for webhooks, by outcome.",
            &["outcome"],
        )?;
        let deliveries = counters(
            "tollgate_webhook_deliveries_total",
            "Requests that deliver events, by outcome.",
            &["outcome"],
        )?;
        Ok(Self {
            delivered: events.with_label_values(&["delivered"]),
            dropped: events.with_label_values(&["dropped"]),
            expired: events.with_label_values(&["expired"]),
            ok: deliveries.with_label_values(&["ok"]),
            failed: deliveries.with_label_values(&["failed"]),
            waiting: IntGauge::new(
                "tollgate_webhook_waiting",
                "Events that wait to be delivered.",
            )?,
            events,
            deliveries,
        })
    }

    /// All of them, to be registered.
    pub fn collectors(&self) -> [Box<dyn Collector>; 3] {
        [
            Box::new(self.events.clone()),
            Box::new(self.deliveries.clone()),
            Box::new(self.waiting.clone()),
        ]
    }
}
