//! Who gets which event.
//!
//! Owns the plan, which is what a configuration says, and the receivers, which are the same with the numbers that the
//! outbox knows them by. Does not handle how an event looks (see `event`). Cannot fail.

use std::fmt;
use std::sync::Arc;

use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use super::event::Kind;
use crate::config::{Config, Events, Webhook};

/// The webhooks of a configuration.
#[derive(Clone, Debug, Default)]
pub struct WebhookPlan {
    /// The one that is told of all tenants.
    pub global: Option<Webhook>,
    /// Those of tenants, by the tenant's id.
    pub tenants: Vec<(String, Webhook)>,
}

impl WebhookPlan {
    /// The webhooks of a configuration.
    pub fn of(config: &Config) -> Self {
        let tenants = config.tenants.iter().filter_map(|tenant| {
            let webhook = tenant.webhook.clone()?;
            Some((tenant.id.value.clone(), webhook))
        });
        Self {
            global: config.webhook.clone(),
            tenants: tenants.collect(),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.global.is_none() && self.tenants.is_empty()
    }

    /// What the outbox calls them (see [`Receiver::name`]).
    pub(super) fn names(&self) -> Vec<&str> {
        let global = self.global.iter().map(|_| "");
        let tenants = self.tenants.iter().map(|(tenant, _)| tenant.as_str());
        global.chain(tenants).collect()
    }
}

/// One webhook.
#[derive(Debug)]
pub struct Receiver {
    /// Its number in the outbox.
    pub number: i64,
    /// The tenant's id; `None` for the global one.
    pub tenant: Option<String>,
    /// Where it is, and what it gets.
    pub webhook: Webhook,
}

impl Receiver {
    /// What the outbox calls it: its tenant's id, or nothing for the global one. No id is empty.
    pub fn name(&self) -> &str {
        self.tenant.as_deref().unwrap_or_default()
    }

    /// Whether messages are sent as before: to the same address, with the same key.
    pub fn is_same(&self, other: &Self) -> bool {
        let secret = |receiver: &Self| receiver.webhook.secret.as_ref().map(|s| s.hash());
        self.webhook.url.value == other.webhook.url.value
            && self.webhook.allow_private == other.webhook.allow_private
            && secret(self) == secret(other)
    }

    fn wants(&self, kind: Kind) -> bool {
        let Events {
            usage,
            threshold,
            exhausted,
        } = self.webhook.events;
        match kind {
            Kind::Usage => usage,
            Kind::Threshold => threshold,
            Kind::Exhausted => exhausted,
        }
    }
}

/// For the log. The URL is no part of it: there may be a token in it.
impl fmt::Display for Receiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.tenant {
            Some(tenant) => write!(f, "the webhook of tenant `{tenant}`"),
            None => f.write_str("the global webhook"),
        }
    }
}

/// All webhooks.
#[derive(Debug, Default)]
pub struct Receivers {
    global: Option<Arc<Receiver>>,
    tenants: FxHashMap<String, Arc<Receiver>>,
    by_number: FxHashMap<i64, Arc<Receiver>>,
}

impl Receivers {
    /// The webhooks of a plan, with the numbers of its [names](WebhookPlan::names).
    pub fn new(plan: &WebhookPlan, numbers: &[i64]) -> Self {
        let global = plan.global.iter().map(|webhook| (None, webhook));
        let tenants = plan.tenants.iter();
        let tenants = tenants.map(|(tenant, webhook)| (Some(tenant.clone()), webhook));
        let mut receivers = Self::default();
        for ((tenant, webhook), number) in global.chain(tenants).zip(numbers) {
            let receiver = Arc::new(Receiver {
                number: *number,
                tenant: tenant.clone(),
                webhook: webhook.clone(),
            });
            receivers.by_number.insert(*number, Arc::clone(&receiver));
            match tenant {
                Some(tenant) => drop(receivers.tenants.insert(tenant, receiver)),
                None => receivers.global = Some(receiver),
            }
        }
        receivers
    }

    /// The webhooks of a plan, without numbers that an outbox knows.
    pub fn of_plan(plan: &WebhookPlan) -> Self {
        let numbers: Vec<i64> = (0..).zip(plan.names()).map(|(number, _)| number).collect();
        Self::new(plan, &numbers)
    }

    /// Those that get an event of this kind about a tenant.
    pub fn of(&self, tenant: &str, kind: Kind) -> SmallVec<[&Receiver; 2]> {
        let own = self.tenants.get(tenant);
        let all = self.global.iter().chain(own).map(|receiver| &**receiver);
        all.filter(|receiver| receiver.wants(kind)).collect()
    }

    /// Whether any gets events of this kind.
    pub fn any_wants(&self, kind: Kind) -> bool {
        self.by_number.values().any(|receiver| receiver.wants(kind))
    }

    /// The one with this number.
    pub fn numbered(&self, number: i64) -> Option<&Arc<Receiver>> {
        self.by_number.get(&number)
    }

    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Receiver>> {
        self.by_number.values()
    }
}
