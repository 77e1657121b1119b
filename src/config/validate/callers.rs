//! What the methods by which callers are found need of the rest of the configuration.
//!
//! Owns that a method that is named is configured, and that what leads to a tenant leads to one that there is. Every
//! mistake is reported.

use std::collections::HashMap;

use super::Unread;
use crate::config::document::Context;
use crate::config::problem::nearest;
use crate::config::{Config, Listener, Method, Methods, Tenant, TenantOf};

/// Notes what is wrong with methods.
pub fn check(config: &Config, unread: &Unread, context: &Context<'_>) {
    if !unread.tenants {
        check_tenants_of_issuers(config, context);
    }
    let listeners = config.server.listen.iter();
    let listeners = listeners.map(|listener| (listener.auth, &listener.address.place));
    let tenants = config.tenants.iter();
    let tenants = tenants.map(|tenant| (tenant.auth, &tenant.id.place));
    check_ids_of_signatures(config, context);
    check_certificate_names(config, context);
    let asks_clients = |listener: &Listener| {
        let usual = listener.tls.as_ref().and_then(|tls| tls.usual.as_ref());
        usual.is_some_and(|usual| usual.clients.is_some())
    };
    for listener in &config.server.listen {
        let is_alone = listener.auth == Some(Methods::of(&[Method::Mtls]));
        if is_alone && !asks_clients(listener) {
            let hint = "write tls: { clients: { ca: FILE } } at it".to_owned();
            let message = "it takes client certificates alone, and asks for none";
            context.report(&listener.address.place, message, Some(hint));
        }
    }
    let has_clients =
        context.has_mistake_in("server") || config.server.listen.iter().any(asks_clients);
    for tenant in &config.tenants {
        if let (Some(name), false) = (tenant.mtls.first(), has_clients) {
            let hint = "write tls: { clients: { ca: FILE } } at a listener".to_owned();
            let message = "no listener asks clients for a certificate";
            context.report(&name.place, message, Some(hint));
        }
    }
    let signs = |tenant: &Tenant| !tenant.hmac.is_empty();
    let has_signatures = unread.tenants || config.tenants.iter().any(signs);
    // Its issuers may be among what could not be read.
    let has_issuers = !config.auth.jwt.is_empty() || context.has_mistake_in("auth");
    for (methods, place) in listeners.chain(tenants) {
        if !has_issuers && methods.is_some_and(|methods| methods.have(Method::Jwt)) {
            let message = "`auth` names jwt, and none are configured";
            let hint = "write its issuers in `auth.jwt`".to_owned();
            context.report(place, message, Some(hint));
        }
        if !has_clients && methods.is_some_and(|methods| methods.have(Method::Mtls)) {
            let message = "`auth` names mtls, and no listener asks clients for a certificate";
            let hint = "write tls: { clients: { ca: FILE } } at a listener".to_owned();
            context.report(place, message, Some(hint));
        }
        if !has_signatures && methods.is_some_and(|methods| methods.have(Method::Hmac)) {
            let message = "`auth` names hmac, and no tenant has a key that signs";
            let hint = "write hmac: [{ id: k1, secret: \"${SECRET}\" }] at a tenant".to_owned();
            context.report(place, message, Some(hint));
        }
    }
}

/// A name in a certificate leads to one tenant.
fn check_certificate_names(config: &Config, context: &Context<'_>) {
    let mut owners = HashMap::new();
    for tenant in &config.tenants {
        for name in &tenant.mtls {
            if let Some(owner) = owners.insert(&name.value, tenant.id.value.as_str()) {
                let message = format!(
                    "the {} `{}` belongs to the tenant `{owner}` already",
                    name.value.kind(),
                    name.value
                );
                let hint = "write each name once".to_owned();
                context.report(&name.place, message, Some(hint));
            }
        }
    }
}

/// A signature names nothing but the id of its key.
fn check_ids_of_signatures(config: &Config, context: &Context<'_>) {
    let mut owners = HashMap::new();
    for tenant in &config.tenants {
        for key in &tenant.hmac {
            if let Some(owner) = owners.insert(key.id.value.as_str(), tenant.id.value.as_str()) {
                let message = format!(
                    "a key of the tenant `{owner}` has the id `{}` already",
                    key.id.value
                );
                let hint = "give each its own, as in id: batch-1".to_owned();
                context.report(&key.id.place, message, Some(hint));
            }
        }
    }
}

fn check_tenants_of_issuers(config: &Config, context: &Context<'_>) {
    let ids: Vec<&str> = config.tenants.iter().map(|t| t.id.value.as_str()).collect();
    for issuer in &config.auth.jwt {
        match &issuer.tenant {
            _ if ids.is_empty() => {
                let hint = "tenants: [{ id: team-a }], which may have no keys".to_owned();
                let message = "tokens belong to tenants, and there are none";
                context.report(&issuer.issuer.place, message, Some(hint));
            }
            TenantOf::Id(id) if !ids.contains(&id.value.as_str()) => {
                let hint = nearest(&id.value, ids.iter().copied())
                    .map(|near| format!("did you mean `{near}`?"));
                let message = format!("no tenant has the id `{}`", id.value);
                context.report(&id.place, message, hint);
            }
            TenantOf::Id(_) | TenantOf::Claim(_) => {}
        }
    }
}
