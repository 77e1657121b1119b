//! Counters of the store in which several nodes count what they share.
//!
//! Owns their names and labels, as `metrics` owns those of requests. Does not handle when something is counted (see
//! `limits`). Fails at the start or not at all.

use prometheus::core::Collector;
use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts};

use super::families::counters;

/// The counters. Clones share them.
#[derive(Clone)]
pub struct Counts {
    calls: IntCounterVec,
    ok: IntCounter,
    error: IntCounter,
    silent: IntCounter,
    waited: IntCounter,
    alone: IntCounter,
    up: IntGauge,
    nodes: IntGauge,
    node: IntGaugeVec,
}

impl Counts {
    /// Makes the counters.
    ///
    /// # Errors
    /// A name or a label that Prometheus does not allow, which a test would have found.
    pub fn new() -> Result<Self, prometheus::Error> {
        let calls = counters(
            "tollgate_store_calls_total",
            "Calls to the store in which several nodes count limits, by outcome.",
            &["outcome"],
        )?;
        Ok(Self {
            ok: calls.with_label_values(&["ok"]),
            error: calls.with_label_values(&["error"]),
            silent: calls.with_label_values(&["timeout"]),
            calls,
            waited: IntCounter::new(
                "tollgate_store_waits_total",
                "Requests that waited for the store.",
            )?,
            alone: IntCounter::new(
                "tollgate_store_alone_total",
                "Requests that were admitted or refused without the store, while it was away.",
            )?,
            up: IntGauge::new(
                "tollgate_store_up",
                "Whether the store in which several nodes count limits answers.",
            )?,
            nodes: IntGauge::new(
                "tollgate_store_nodes",
                "Processes that share the store, as was last known.",
            )?,
            node: IntGaugeVec::new(
                Opts::new(
                    "tollgate_node_info",
                    "What this gateway is called among others.",
                ),
                &["node"],
            )?,
        })
    }

    /// All of them, to be registered.
    pub fn collectors(&self) -> [Box<dyn Collector>; 6] {
        [
            Box::new(self.calls.clone()),
            Box::new(self.waited.clone()),
            Box::new(self.alone.clone()),
            Box::new(self.up.clone()),
            Box::new(self.nodes.clone()),
            Box::new(self.node.clone()),
        ]
    }

    /// This gateway is called so.
    pub fn is_called(&self, node: &str) {
        self.node.reset();
        self.node.with_label_values(&[node]).set(1);
    }

    /// A call was answered.
    pub fn answered(&self) {
        self.ok.inc();
    }

    /// A call was not, in time or at all.
    pub fn failed(&self, is_silent: bool) {
        match is_silent {
            true => self.silent.inc(),
            false => self.error.inc(),
        }
    }

    /// So many requests waited for it.
    pub fn waited(&self, requests: usize) {
        self.waited.inc_by(requests as u64);
    }

    /// A request was decided on without it.
    pub fn alone(&self) {
        self.alone.inc();
    }

    /// Whether it answers.
    pub fn is_up(&self, is_up: bool) {
        self.up.set(i64::from(is_up));
    }

    /// So many processes share it.
    pub fn nodes(&self, nodes: u64) {
        self.nodes.set(i64::try_from(nodes).unwrap_or(i64::MAX));
    }
}
