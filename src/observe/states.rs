//! Gauges of the states of servers, targets and keys, and of what issuers of tokens publish.
//!
//! Owns their names and labels. They are reset and set again for each scrape, so that what a reload
//! removed disappears. Does not handle where the values come from (see `admin::status`). Fails at the
//! start or not at all.

use prometheus::core::Collector;
use prometheus::{IntGaugeVec, Opts};

/// The gauges.
pub struct StateGauges {
    /// 1 for a server that is healthy by its health checks, or has none.
    pub server_up: IntGaugeVec,
    /// 1 for a server that is ejected because it failed.
    pub server_ejected: IntGaugeVec,
    /// Requests that a server is serving.
    pub server_in_flight: IntGaugeVec,
    /// 1 for a target that is ejected because it failed.
    pub target_ejected: IntGaugeVec,
    /// Keys by state.
    pub keys: IntGaugeVec,
    /// Models of keys that are not ready, by state.
    pub key_models: IntGaugeVec,
    /// Requests of an upstream with a bound on concurrency, `active` or `queued`.
    pub concurrency: IntGaugeVec,
    /// Seconds since the keys of an issuer of tokens were had from its URL.
    pub jwks_age: IntGaugeVec,
    /// 1 for an issuer whose keys could not be had when they were asked for last.
    pub jwks_failing: IntGaugeVec,
}

impl StateGauges {
    /// Makes the gauges.
    ///
    /// # Errors
    /// A name or a label that Prometheus does not allow, which a test would have found.
    pub fn new() -> Result<Self, prometheus::Error> {
        let gauge = |name, help, labels: &[&str]| IntGaugeVec::new(Opts::new(name, help), labels);
        let server = ["upstream", "server"];
        Ok(Self {
            server_up: gauge(
                "tollgate_server_up",
                "Whether a server is healthy by its health checks.",
                &server,
            )?,
            server_ejected: gauge(
                "tollgate_server_ejected",
                "Whether a server is ejected because it failed.",
                &server,
            )?,
            server_in_flight: gauge(
                "tollgate_server_requests_in_flight",
                "Requests that a server is serving.",
                &server,
            )?,
            target_ejected: gauge(
                "tollgate_target_ejected",
                "Whether a target of a rule is ejected because it failed.",
                &["rule", "upstream", "model"],
            )?,
            keys: gauge(
                "tollgate_keys",
                "Keys of an upstream, by state.",
                &["upstream", "state"],
            )?,
            key_models: gauge(
                "tollgate_key_models",
                "Pairs of a key and a model that are not ready, by state.",
                &["upstream", "state"],
            )?,
            concurrency: gauge(
                "tollgate_upstream_concurrency",
                "Requests that an upstream with max_concurrent is serving, and that wait for it.",
                &["upstream", "state"],
            )?,
            jwks_age: gauge(
                "tollgate_jwks_age_seconds",
                "Seconds since the keys of an issuer were had from its URL.",
                &["issuer"],
            )?,
            jwks_failing: gauge(
                "tollgate_jwks_failing",
                "Whether the keys of an issuer could not be had when they were asked for last.",
                &["issuer"],
            )?,
        })
    }

    /// All of them, to be registered.
    pub fn collectors(&self) -> impl Iterator<Item = Box<dyn Collector>> {
        self.all()
            .into_iter()
            .map(|gauge| Box::new(gauge.clone()) as Box<dyn Collector>)
    }

    /// Removes every value.
    pub fn reset(&self) {
        for gauge in self.all() {
            gauge.reset();
        }
    }

    fn all(&self) -> [&IntGaugeVec; 9] {
        [
            &self.server_up,
            &self.server_ejected,
            &self.server_in_flight,
            &self.target_ejected,
            &self.keys,
            &self.key_models,
            &self.concurrency,
            &self.jwks_age,
            &self.jwks_failing,
        ]
    }
}
