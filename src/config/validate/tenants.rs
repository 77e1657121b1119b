//! What must hold between tenants: ids, keys and prefixes are each one tenant's alone.
//!
//! Does not handle keys that begin with the prefix of another tenant: their text is gone by now (see
//! `client_keys`). Every mistake is reported.

use std::collections::{HashMap, HashSet};

use crate::config::document::{Context, Located};
use crate::config::{Config, Method, Passthrough, Tenant};

/// Notes what is wrong between tenants.
pub fn check(config: &Config, context: &Context<'_>) {
    let mut ids = HashSet::new();
    let mut keys = HashMap::new();
    for tenant in &config.tenants {
        let id = &tenant.id;
        if let Some(Passthrough::To(home)) = &tenant.passthrough
            && tenant.strict == Some(true)
        {
            let message =
                "a strict tenant has no passthrough, because what passes through is not read";
            let hint = "remove `passthrough` or `strict`".to_owned();
            context.report(&home.place, message, Some(hint));
        }
        if !ids.insert(id.value.as_str()) {
            let message = format!("another tenant has the id `{}` already", id.value);
            let hint = "give each tenant its own, or put the keys of both into one".to_owned();
            context.report(&id.place, message, Some(hint));
        }
        for key in &tenant.keys {
            if let Some(owner) = keys.insert(key.hash.value, id.value.as_str()) {
                let message = format!("this key belongs to the tenant `{owner}` already");
                let hint = "write each key once".to_owned();
                context.report(&key.hash.place, message, Some(hint));
            }
        }
    }
    // Or a method that leads to it.
    let has_mistaken_auth = context.has_mistake_in("auth");
    for (position, tenant) in config.tenants.iter().enumerate() {
        // Its keys may be among what could not be read.
        let is_read = !context.has_mistake_in(&format!("tenants[{position}]"));
        if is_read && !has_mistaken_auth && !can_be_found(tenant, config) {
            let hint = "keys: [\"${CLIENT_KEY}\"]".to_owned();
            let message = "at least one key is needed";
            context.report(&tenant.id.place, message, Some(hint));
        }
    }
    check_prefixes(config, context);
}

/// Whether there is a method by which a tenant is found, or, with a prefix, will be.
fn can_be_found(tenant: &Tenant, config: &Config) -> bool {
    let has = |method| match method {
        Method::Key => !tenant.keys.is_empty() || tenant.key_prefix.is_some(),
        Method::Jwt => !config.auth.jwt.is_empty(),
        Method::Hmac => !tenant.hmac.is_empty(),
        Method::Mtls => !tenant.mtls.is_empty(),
    };
    let takes = |method| tenant.auth.is_none_or(|methods| methods.have(method));
    let mut all = Method::ALL.into_iter();
    let is_found = all.clone().any(|method| takes(method) && has(method));
    // That a method is named and not there is told elsewhere, but for keys.
    is_found || !takes(Method::Key) && all.any(has)
}

/// A prefix names one tenant: none is that of two, or the beginning of another's.
fn check_prefixes(config: &Config, context: &Context<'_>) {
    let tenants = config.tenants.iter().enumerate();
    let prefixes = tenants.filter_map(|(position, t)| Some((position, t.key_prefix.as_ref()?)));
    let mut prefixes: Vec<(usize, &Located<String>)> = prefixes.collect();
    // In this order, one that begins with another stands behind it, with nothing else between them.
    prefixes.sort_by_key(|(position, prefix)| (prefix.value.as_str(), *position));
    for (one, other) in prefixes.iter().zip(prefixes.iter().skip(1)) {
        if !other.1.value.starts_with(&one.1.value) {
            continue;
        }
        // It is reported at the later of the two.
        let (first, second) = match one.0 < other.0 {
            true => (one, other),
            false => (other, one),
        };
        let owner = config.tenants.get(first.0).map(|t| t.id.value.as_str());
        let message = format!(
            "`{}` clashes with `{}`, the key_prefix of the tenant `{}`",
            second.1.value,
            first.1.value,
            owner.unwrap_or_default()
        );
        let hint = "take one that neither begins with the other nor is its beginning";
        context.report(&second.1.place, message, Some(hint.to_owned()));
    }
}
