//! A scope of limits, and what of a request counts in it.
//!
//! Owns which of tokens and money a scope needs to know. Does not handle which scopes a request has (see
//! `metering`), nor what they count (see `limits`). Cannot fail.

use std::sync::Arc;

use crate::config::{Quota, RateLimits};
use crate::limits::{Limits, Scope, ScopeName};

/// A scope, and what of a request counts in it.
#[derive(Clone, Debug)]
pub struct Metered {
    /// The scope.
    pub scope: Arc<Scope>,
    /// Whether tokens count in it.
    pub counts_tokens: bool,
    /// Whether money counts in it.
    pub counts_money: bool,
    /// Whether it has a quota.
    pub has_quota: bool,
}

impl Metered {
    /// The scope of a caller whose credential brings limits.
    pub(super) fn of_subject(limits: &Limits, name: ScopeName, rates: &RateLimits) -> Self {
        Self {
            scope: limits.subject(name, rates),
            counts_tokens: limits_tokens(rates),
            counts_money: false,
            has_quota: false,
        }
    }
}

fn limits_tokens(rates: &RateLimits) -> bool {
    rates.tokens_per_minute.is_some() || rates.tokens_per_day.is_some()
}

/// The scope with this name, where there is anything to count in it.
pub(super) fn metered(
    limits: &Limits,
    name: ScopeName,
    rates: Option<&RateLimits>,
    quota: Option<&Quota>,
) -> Option<Metered> {
    if rates.is_none() && quota.is_none() {
        return None;
    }
    let limits_tokens = rates.is_some_and(limits_tokens);
    Some(Metered {
        scope: limits.scope(name, rates, quota),
        counts_tokens: limits_tokens || quota.is_some_and(|quota| quota.tokens.is_some()),
        counts_money: quota.is_some_and(|quota| quota.nanos.is_some()),
        has_quota: quota.is_some(),
    })
}
