//! What the methods by which callers are found need of the rest of the configuration.
//!
//! Owns that a method that is named is configured, and that what leads to a tenant leads to one that there is. Every
//! mistake is reported.

use super::Unread;
use crate::config::document::Context;
use crate::config::problem::nearest;
use crate::config::{Config, Method, TenantOf};

/// Notes what is wrong with methods.
pub fn check(config: &Config, unread: &Unread, context: &Context<'_>) {
    if !unread.tenants {
        check_tenants_of_issuers(config, context);
    }
    let listeners = config.server.listen.iter();
    let listeners = listeners.map(|listener| (listener.auth, &listener.address.place));
    let tenants = config.tenants.iter();
    let tenants = tenants.map(|tenant| (tenant.auth, &tenant.id.place));
    // Its issuers may be among what could not be read.
    let has_issuers = !config.auth.jwt.is_empty() || context.has_mistake_in("auth");
    for (methods, place) in listeners.chain(tenants) {
        if !has_issuers && methods.is_some_and(|methods| methods.have(Method::Jwt)) {
            let message = "`auth` names jwt, and none are configured";
            let hint = "write its issuers in `auth.jwt`".to_owned();
            context.report(place, message, Some(hint));
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
