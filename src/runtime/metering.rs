//! What requests are limited by, and what they cost.
//!
//! Owns the scopes of the gateway, of each tenant and of each key, and the tariff of each tenant. The
//! scope of a rule stands with the rule. Scopes outlive the snapshot (see `limits`). Does not handle admission
//! (see `gateway::reserve`) or settlement (see `gateway::settle`). Cannot fail.

use std::sync::Arc;

use jiff::Timestamp;
use smallvec::SmallVec;

use super::joined::Joined;
use super::metered::{Metered, metered};
use super::{Principal, Rule};
use crate::config::Config;
use crate::limits::{Limits, Scope, ScopeName};
use crate::openai::usage::Usage;
use crate::prices::{Bill, Prices, Tariff};

/// The scope of what a caller's credential limits.
fn own(caller: &Principal, limits: &Limits) -> Option<Metered> {
    let own = caller.limits.as_ref()?;
    let name = ScopeName::Subject {
        tenant: caller.tenant.id.clone(),
        issuer: own.issuer.clone(),
        subject: own.subject.clone(),
    };
    Some(Metered::of_subject(limits, name, &own.rates))
}

/// The scopes of one request, and what of it counts in any of them.
#[derive(Debug, Default)]
pub struct Scopes {
    /// In the order in which they are locked.
    pub all: SmallVec<[Arc<Scope>; 4]>,
    /// Whether tokens count.
    pub count_tokens: bool,
    /// Whether money counts.
    pub count_money: bool,
    /// Whether one has a quota.
    pub have_quota: bool,
}

/// What one tenant is limited by, and pays.
#[derive(Debug, Default)]
struct Terms {
    metered: Option<Metered>,
    tariff: Tariff,
}

/// What the requests of one snapshot are limited by, and cost.
#[derive(Debug)]
pub struct Metering {
    gateway: Option<Metered>,
    /// By the positions of the tenants.
    tenants: Vec<Terms>,
    /// Of every caller where there are no tenants.
    anonymous: Terms,
    /// By the positions of the keys.
    keys: Vec<Option<Metered>>,
    prices: Prices,
    /// Whether anything has a price.
    has_prices: bool,
}

impl Metering {
    /// Takes what the operator wrote.
    pub fn new(config: &Config, limits: &Limits) -> Self {
        Self::of(config, &Joined::of_file(config), limits)
    }

    /// Takes what the operator wrote, and tenants and keys that were made at run time.
    pub fn of(config: &Config, joined: &Joined<'_>, limits: &Limits) -> Self {
        let members = || joined.members.iter();
        let gateway = metered(limits, ScopeName::Gateway, config.limits.as_ref(), None);
        let tenants = members().map(|member| member.tenant);
        let tenants = tenants.map(|tenant| Terms {
            metered: metered(
                limits,
                ScopeName::Tenant(tenant.id.value.clone()),
                tenant.limits.as_ref(),
                tenant.quota.as_ref().map(|quota| &quota.value),
            ),
            tariff: Tariff::new(&tenant.prices, tenant.markup),
        });
        let own_prices = config.tenants.iter().any(|t| !t.prices.is_empty());
        let keys = members().flat_map(|member| {
            member.keys.iter().map(|key| {
                let name = ScopeName::Key {
                    tenant: member.tenant.id.value.clone(),
                    key: key.shown(),
                };
                let quota = key.quota.as_ref().map(|quota| &quota.value);
                metered(limits, name, key.limits.as_ref(), quota)
            })
        });
        Self {
            gateway,
            tenants: tenants.collect(),
            keys: keys.collect(),
            anonymous: Terms::default(),
            has_prices: own_prices || !config.prices.is_empty(),
            prices: Prices::new(&config.prices),
        }
    }

    /// The scopes of a request of this caller, by this rule. `limits` has those that its credential brings.
    pub fn scopes(
        &self,
        caller: Option<&Principal>,
        rule: Option<&Rule>,
        limits: &Limits,
    ) -> Scopes {
        let key = caller.and_then(|caller| self.keys.get(caller.key_position()?));
        let metered = [
            self.gateway.as_ref(),
            rule.and_then(|rule| rule.metered.as_ref()),
            self.terms(caller).metered.as_ref(),
            key.and_then(Option::as_ref),
        ];
        let own = caller.and_then(|caller| own(caller, limits));
        let mut scopes = Scopes::default();
        for metered in metered.into_iter().flatten().chain(&own) {
            scopes.all.push(Arc::clone(&metered.scope));
            scopes.count_tokens |= metered.counts_tokens;
            scopes.count_money |= metered.counts_money;
            scopes.have_quota |= metered.has_quota;
        }
        scopes
    }

    fn terms(&self, caller: Option<&Principal>) -> &Terms {
        let terms = caller.and_then(|caller| self.tenants.get(caller.position?));
        terms.unwrap_or(&self.anonymous)
    }

    /// What a request of this caller is paid with that came at a time and was served by a model of an upstream;
    /// nothing where there are no prices.
    pub fn bill(
        &self,
        caller: Option<&Principal>,
        (upstream, model): (&str, &str),
        at: Timestamp,
    ) -> Option<Bill<'_>> {
        let tariff = &self.terms(caller).tariff;
        self.has_prices
            .then(|| tariff.bill(&self.prices, upstream, model, at))
    }

    /// What so many tokens of input and output cost the operator at a model of an upstream at a time, in nano-dollars;
    /// nothing where it has no price.
    pub fn expected_cost(
        &self,
        (upstream, model): (&str, &str),
        (input_tokens, output_tokens): (u64, u64),
        at: Timestamp,
    ) -> Option<u64> {
        let rates = self.prices.find(upstream, model, at)?;
        Some(rates.cost(&Usage {
            input: input_tokens,
            output: output_tokens,
            ..Usage::default()
        }))
    }

    /// The scope of each tenant that has limits or a quota, in the order of the configuration.
    pub fn tenants(&self) -> impl Iterator<Item = &Arc<Scope>> {
        let metered = self.tenants.iter().filter_map(|t| t.metered.as_ref());
        metered.map(|m| &m.scope)
    }

    /// The scope of each key that has limits or a quota, in the order of the configuration.
    pub fn keys(&self) -> impl Iterator<Item = &Arc<Scope>> {
        let scopes = self.keys.iter().flatten().map(|m| &m.scope);
        let mut last: Option<&Arc<Scope>> = None;
        // Both texts of a key that was rotated have one.
        scopes.filter(move |scope| !last.replace(scope).is_some_and(|l| Arc::ptr_eq(l, scope)))
    }

    /// Every scope with a quota, whose balance has to be known before it admits anything.
    pub fn quotas(&self) -> impl Iterator<Item = &Arc<Scope>> {
        let of_tenants = self.tenants.iter().filter_map(|t| t.metered.as_ref());
        let metered = of_tenants.chain(self.keys.iter().flatten());
        metered.filter(|m| m.has_quota).map(|m| &m.scope)
    }
}
