//! What the methods by which callers are found need of the rest of the configuration.
//!
//! Owns that a method that is named is configured, and that what leads to a tenant leads to one that there is. Every
//! mistake is reported.

use super::Unread;
use crate::config::document::Context;
use crate::config::problem::nearest;
use crate::config::{Config, Method, Methods, TenantOf};

/// Notes what is wrong with methods.
pub fn check(config: &Config, unread: &Unread, context: &Context<'_>) {
    if !unread.tenants {
        check_tenants_of_issuers(config, context);
    }
    for listener in &config.server.listen {
        let place = &listener.address.place;
        check_methods(listener.auth, config, unread, |message, hint| {
            context.report(place, message, Some(hint));
        });
    }
    for tenant in &config.tenants {
        check_methods(tenant.auth, config, unread, |message, hint| {
            context.report(&tenant.id.place, message, Some(hint));
        });
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

/// A method that is named has to be configured, or no caller would be found by it.
fn check_methods(
    methods: Option<Methods>,
    config: &Config,
    unread: &Unread,
    report: impl Fn(String, String),
) {
    let Some(methods) = methods else { return };
    let (is_configured, hint) = (
        !config.auth.jwt.is_empty(),
        "write its issuers in `auth.jwt`",
    );
    if methods.have(Method::Jwt) && !is_configured && !unread.auth {
        let message = format!(
            "`auth` names {}, and none are configured",
            Method::Jwt.name()
        );
        report(message, hint.to_owned());
    }
}
