//! What is told of quotas: in the log, and to webhooks.
//!
//! Owns the events of a quota that has reached a threshold or its end, each of which is told once a period. Does
//! not handle when that is so (see `limits`), nor how webhooks are told (see `ledger::webhooks`). Cannot fail.

use crate::clock;
use crate::config::write_nanos;
use crate::ledger::{QuotaEvent, Spent};
use crate::limits::{Crossed, LimitKind, Refusal, Scope, ScopeName, Settled};
use crate::runtime::Shared;

/// Tells of the thresholds that a settlement has reached.
pub fn tell_reached(shared: &Shared, settled: &Settled) {
    for crossed in &settled.crossed {
        let Crossed {
            scope,
            kind,
            percent,
            spent,
            limit,
        } = crossed;
        let told = (*percent, *percent >= 100);
        tell(shared, scope, told, amounts(*kind, *spent, *limit));
    }
}

/// Tells of a quota that has refused a request for the first time in its period, as too little is left of it.
pub fn tell_exhausted(shared: &Shared, refusal: &Refusal) {
    let usage = refusal.scope.quota_usage();
    let spent = usage.map_or(refusal.limit, |usage| match refusal.kind {
        LimitKind::QuotaMoney => usage.nanos,
        _ => usage.tokens,
    });
    let amounts = amounts(refusal.kind, spent, refusal.limit);
    let percent = u128::from(spent) * 100 / u128::from(refusal.limit.max(1));
    let percent = u8::try_from(percent).unwrap_or(100).min(100);
    tell(shared, &refusal.scope, (percent, true), amounts);
}

fn amounts(kind: LimitKind, spent: u64, limit: u64) -> Spent {
    match kind {
        LimitKind::QuotaMoney => Spent::Money {
            spent_nanos: spent,
            limit_nanos: limit,
        },
        _ => Spent::Tokens { spent, limit },
    }
}

fn tell(shared: &Shared, scope: &Scope, (percent, is_exhausted): (u8, bool), spent: Spent) {
    let limit = match spent {
        Spent::Money { limit_nanos, .. } => format!("${}", write_nanos(limit_nanos)),
        Spent::Tokens { limit, .. } => format!("{limit} tokens"),
    };
    let name = scope.name();
    match (is_exhausted, percent) {
        (true, 100) => log::warn!("{name}: its quota of {limit} is used up"),
        (true, _) => log::warn!(
            "{name}: {percent} % of its quota of {limit} is used, and a request is refused that may use more than \
             is left"
        ),
        (false, _) => log::warn!("{name}: {percent} % of its quota of {limit} is used"),
    }
    let (ScopeName::Tenant(tenant) | ScopeName::Key { tenant, .. }) = name else {
        return;
    };
    let Some(accounts) = shared.accounts() else {
        return;
    };
    let now = clock::now();
    let period = scope.current_period();
    accounts.ledger().tell(QuotaEvent {
        is_exhausted,
        tenant: tenant.clone(),
        key: match name {
            ScopeName::Key { key, .. } => Some(key.clone()),
            _ => None,
        },
        percent,
        spent,
        // A quota in all has no beginning.
        period: period.filter(|start| *start != 0),
        at: now,
    });
}
