//! Counters of money, and of requests that limits refuse.
//!
//! Owns their names and labels, as `metrics` owns those of requests. The tenants of a configuration may be
//! many: beyond a bound on series they are counted as `other`. Does not handle prices (see `prices`) or limits
//! (see `limits`). Fails at the start or not at all.

use prometheus::core::Collector;
use prometheus::{Counter, CounterVec, IntCounterVec, Opts};

use super::families::{OTHER, counters};
use super::series_cache::SeriesCache;

/// So many sets of rule, upstream and tenant have series of their own.
const MAX_SETS: usize = 4096;

const NANOS: f64 = 1e9;

/// What one request has cost, in nano-dollars.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amount {
    /// What the provider charges.
    pub cost_nanos: u64,
    /// What the tenant is charged.
    pub charge_nanos: u64,
}

/// The counters of money.
pub struct Money {
    cost: CounterVec,
    charge: CounterVec,
    unpriced: IntCounterVec,
    refused: IntCounterVec,
    sets: SeriesCache<Set>,
}

/// The series of one rule, upstream and tenant.
struct Set {
    cost: Counter,
    charge: Counter,
}

impl Money {
    /// Makes the counters.
    ///
    /// # Errors
    /// A name or a label that Prometheus does not allow, which a test would have found.
    pub fn new() -> Result<Self, prometheus::Error> {
        let dollars =
            |name, help| CounterVec::new(Opts::new(name, help), &["rule", "upstream", "tenant"]);
        Ok(Self {
            cost: dollars(
                "tollgate_cost_dollars_total",
                "What providers charge, by the prices of the configuration.",
            )?,
            charge: dollars("tollgate_charge_dollars_total", "What tenants are charged.")?,
            unpriced: counters(
                "tollgate_unpriced_total",
                "Requests that used a model without a price.",
                &["rule", "upstream"],
            )?,
            refused: counters(
                "tollgate_limited_total",
                "Requests that a limit or a quota refused.",
                &["scope", "limit"],
            )?,
            sets: SeriesCache::default(),
        })
    }

    /// All of them, to be registered.
    pub fn collectors(&self) -> [Box<dyn Collector>; 4] {
        [
            Box::new(self.cost.clone()),
            Box::new(self.charge.clone()),
            Box::new(self.unpriced.clone()),
            Box::new(self.refused.clone()),
        ]
    }

    /// Counts what a request has cost.
    pub fn count(&self, [rule, upstream, tenant]: [&str; 3], amount: Amount) {
        if amount == Amount::default() {
            return;
        }
        let tenant = match self.sets.has_room(&[rule, upstream, tenant], MAX_SETS) {
            true => tenant,
            false => OTHER,
        };
        let labels = [rule, upstream, tenant];
        let make = || Set {
            cost: self.cost.with_label_values(&labels),
            charge: self.charge.with_label_values(&labels),
        };
        self.sets.count(&labels, make, |set| {
            set.cost.inc_by(amount.cost_nanos as f64 / NANOS);
            set.charge.inc_by(amount.charge_nanos as f64 / NANOS);
        });
    }

    /// Counts a request that used a model without a price.
    pub fn unpriced(&self, rule: &str, upstream: &str) {
        self.unpriced.with_label_values(&[rule, upstream]).inc();
    }

    /// Counts a request that this limit of a gateway, rule, tenant or key refused.
    pub fn refused(&self, scope: &'static str, limit: &'static str) {
        self.refused.with_label_values(&[scope, limit]).inc();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tenants_beyond_the_bound_are_counted_together() {
        let money = Money::new().unwrap();
        let amount = Amount {
            cost_nanos: 1_500_000_000,
            charge_nanos: 2_000_000_000,
        };
        for tenant in 0..MAX_SETS + 7 {
            money.count(["r", "u", &tenant.to_string()], amount);
        }
        money.count(["r", "u", "0"], amount);
        let of = |tenant: &str| money.cost.with_label_values(&["r", "u", tenant]).get();
        assert_eq!((of("0"), of("1"), of(OTHER)), (3.0, 1.5, 7.0 * 1.5));
    }
}
