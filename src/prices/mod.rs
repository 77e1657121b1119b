//! What a request costs, and what its tenant is charged for it.
//!
//! Owns which price a model has at a time, and the [`Bill`] of one request; `amount` has the arithmetic. All
//! amounts are whole nano-dollars. Does not handle what the operator may write (see `config`), nor what a
//! request has used (see `openai::usage`). Cannot fail: what has no price costs nothing, and says so; what
//! would overflow is the largest amount.

mod amount;

use std::collections::HashMap;

use jiff::Timestamp;

use crate::config::{Markup, Price, Rates};
use crate::openai::usage::Usage;

/// Every price, found by upstream, model and time.
///
/// The exact name of a model beats the longest beginning of it. For one name, a price of the upstream beats
/// one of any upstream. A price that does not hold at the time is passed over.
#[derive(Debug, Default)]
pub struct Prices {
    exact: HashMap<Box<str>, Named>,
    prefixes: HashMap<Box<str>, Named>,
    /// The lengths of the prefixes, each once, the longest first.
    lengths: Vec<usize>,
}

/// The prices of one name.
#[derive(Debug, Default)]
struct Named {
    upstreams: HashMap<Box<str>, Vec<Dated>>,
    any: Vec<Dated>,
}

/// A price with the time in which it holds.
#[derive(Debug)]
struct Dated {
    from: Timestamp,
    until: Option<Timestamp>,
    rates: Rates,
}

impl Prices {
    /// Takes the prices of a configuration.
    pub fn new(written: &[Price]) -> Self {
        let mut prices = Self::default();
        for price in written {
            let name = price.model.value.as_str();
            let named = match name.strip_suffix('*') {
                Some(prefix) => prices.prefixes.entry(prefix.into()),
                None => prices.exact.entry(name.into()),
            }
            .or_default();
            let dated = match &price.upstream {
                Some(upstream) => named.upstreams.entry(upstream.value.as_str().into()),
                None => {
                    named.any.push(Dated::new(price));
                    continue;
                }
            };
            dated.or_default().push(Dated::new(price));
        }
        prices.lengths = prices.prefixes.keys().map(|prefix| prefix.len()).collect();
        prices.lengths.sort_unstable_by(|one, other| other.cmp(one));
        prices.lengths.dedup();
        prices
    }

    /// Whether there is no price at all.
    pub fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.prefixes.is_empty()
    }

    /// The price of a model at an upstream at a time: the model's name is the one that the upstream is asked
    /// for. One look-up, and one more for each length that a prefix has.
    pub fn find(&self, upstream: &str, model: &str, at: Timestamp) -> Option<&Rates> {
        let exact = self.exact.get(model);
        exact
            .and_then(|named| named.find(upstream, at))
            .or_else(|| {
                let beginnings = self
                    .lengths
                    .iter()
                    .filter_map(|length| model.get(..*length));
                let mut named = beginnings.filter_map(|beginning| self.prefixes.get(beginning));
                named.find_map(|named| named.find(upstream, at))
            })
    }
}

impl Named {
    fn find(&self, upstream: &str, at: Timestamp) -> Option<&Rates> {
        let own = self.upstreams.get(upstream).into_iter().flatten();
        let mut dated = own.chain(&self.any);
        Some(&dated.find(|dated| dated.holds(at))?.rates)
    }
}

impl Dated {
    fn new(price: &Price) -> Self {
        Self {
            from: price.from.unwrap_or(Timestamp::MIN),
            until: price.until,
            rates: price.rates,
        }
    }

    fn holds(&self, at: Timestamp) -> bool {
        self.from <= at && self.until.is_none_or(|until| at < until)
    }
}

/// What a tenant pays.
#[derive(Debug, Default)]
pub struct Tariff {
    own: Prices,
    markup: Markup,
}

impl Tariff {
    /// Takes a tenant's own prices, and its markup on the general ones.
    pub fn new(own: &[Price], markup: Markup) -> Self {
        Self {
            own: Prices::new(own),
            markup,
        }
    }

    /// What a request to a model at an upstream is paid with, by the prices of the time when it came.
    pub fn bill<'p>(
        &'p self,
        general: &'p Prices,
        upstream: &str,
        model: &str,
        at: Timestamp,
    ) -> Bill<'p> {
        Bill {
            cost: general.find(upstream, model, at),
            own: self.own.find(upstream, model, at),
            markup: self.markup,
        }
    }
}

/// What one request is paid with.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bill<'p> {
    cost: Option<&'p Rates>,
    /// The tenant's own price, in place of the general one with the markup.
    own: Option<&'p Rates>,
    markup: Markup,
}

impl Bill<'_> {
    /// Whether the model has no price, so that what the provider charges is not known.
    pub fn is_unpriced(&self) -> bool {
        self.cost.is_none()
    }

    /// What the provider charges, in nano-dollars; 0 without a price.
    pub fn cost(&self, usage: &Usage) -> u64 {
        self.cost.map_or(0, |rates| rates.cost(usage))
    }

    /// What the tenant is charged, in nano-dollars; 0 without a price.
    pub fn charge(&self, usage: &Usage) -> u64 {
        match self.own {
            Some(rates) => rates.cost(usage),
            None => self.markup.apply(self.cost(usage)),
        }
    }

    /// The most that the tenant may be charged for so many tokens, in nano-dollars: what is reserved before
    /// the request. See [`Rates::estimate`] for what is not in it.
    pub fn estimate(&self, input_tokens: u64, output_tokens: u64) -> u64 {
        match (self.own, self.cost) {
            (Some(rates), _) => rates.estimate(input_tokens, output_tokens),
            (None, Some(rates)) => self
                .markup
                .apply(rates.estimate(input_tokens, output_tokens)),
            (None, None) => 0,
        }
    }
}

#[cfg(test)]
mod tests;
