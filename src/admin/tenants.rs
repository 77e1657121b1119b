//! What tenants and their keys may use, and what of it is used: a part of `GET /status`.
//!
//! Owns the form of `tenants` and of `keys`. They have the limits in force and the quota of each tenant and key that
//! has some, of at most [`MOST`] of each. Does not handle what was used before the current period (see `usage`), or
//! which callers may ask (see the head of this folder). Cannot fail.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::config::write_nanos;
use crate::limits::{Scope, ScopeName};

/// As many tenants and as many keys are shown. More are counted.
const MOST: usize = 1_000;

/// Tenants or keys, and how many more there are.
pub fn shown<'s>(
    mut scopes: impl Iterator<Item = &'s Arc<Scope>>,
    now: Timestamp,
) -> (Vec<Value>, usize) {
    let shown = scopes.by_ref().take(MOST);
    let shown = shown.map(|scope| one(scope, now)).collect();
    (shown, scopes.count())
}

fn one(scope: &Scope, now: Timestamp) -> Value {
    let mut shown = match scope.name() {
        ScopeName::Key { tenant, key } => Map::from_iter([
            ("tenant".to_owned(), tenant.as_str().into()),
            ("name".to_owned(), key.as_str().into()),
        ]),
        ScopeName::Tenant(id) => Map::from_iter([("id".to_owned(), id.as_str().into())]),
        other => Map::from_iter([("id".to_owned(), other.to_string().into())]),
    };
    let limits = scope.limits().into_iter();
    let limits = limits.map(|(name, limit)| (name.to_owned(), limit.into()));
    shown.insert("limits".to_owned(), Value::Object(limits.collect()));
    shown.insert("in_flight".to_owned(), scope.in_flight().into());
    shown.insert("quota".to_owned(), quota(scope, now).into());
    Value::Object(shown)
}

/// The quota in the period that it is now. What is used is null until it is known.
pub fn quota(scope: &Scope, now: Timestamp) -> Option<Value> {
    let is_known = !scope.needs_balance();
    if is_known {
        // Without a request since then, the last period would be shown.
        scope.period(now);
    }
    let usage = scope.quota_usage()?;
    let tokens = usage.tokens_limit.map(|limit| {
        json!({
            "limit": limit,
            "used": is_known.then_some(usage.tokens),
            "reserved": usage.tokens_reserved,
        })
    });
    let usd = usage.nanos_limit.map(|limit| {
        json!({
            "limit": dollars(limit),
            "used": is_known.then(|| dollars(usage.nanos)),
            "reserved": dollars(usage.nanos_reserved),
        })
    });
    let moment = |seconds: i64| {
        Timestamp::from_second(seconds)
            .ok()
            .map(|at| at.to_string())
    };
    // A period without an end begins at 0, which says nothing.
    let start = usage.period.filter(|_| usage.period_end.is_some());
    Some(json!({
        "tokens": tokens,
        "usd": usd,
        "period_start": start.and_then(moment),
        "period_end": usage.period_end.and_then(moment),
    }))
}

/// The number that stands nearest to the decimal, which is written as that decimal.
fn dollars(nanos: u64) -> Option<f64> {
    write_nanos(nanos).parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Variables};
    use crate::limits::Limits;
    use crate::runtime::Metering;

    const NOW: i64 = 1_795_867_200;

    /// The tenants of a configuration.
    fn metering(tenants: &str) -> Metering {
        let text = format!(
            "upstreams: {{ a: {{ base_url: http://a }} }}\n\
             models: [{{ match: m, targets: [{{ upstream: a }}] }}]\n\
             prices: [{{ model: m, input: 1, output: 1 }}]\n\
             tenants:\n{tenants}"
        );
        let config = Config::parse("t.yaml", &text, &Variables::default()).unwrap();
        Metering::new(&config, &Limits::new())
    }

    fn now() -> Timestamp {
        // 2026-11-28T12:00:00Z.
        Timestamp::from_second(NOW).unwrap()
    }

    #[test]
    fn a_tenant_is_shown_with_its_limits_and_what_is_left_of_its_quota() {
        let metering = metering(
            "  - { id: a, keys: [k1], limits: { rpm: 60, concurrent: 4, stream_tokens_per_minute: 9 } }\n\
             \x20 - { id: b, keys: [k2], quota: { tokens: 1000, usd: 2.5, per: month } }\n\
             \x20 - { id: c, keys: [k3] }\n\
             \x20 - { id: d, keys: [k4], quota: { tokens: 10, per: total } }\n",
        );
        let quotas: Vec<_> = metering.quotas().collect();
        let start = quotas[0].period(now()).unwrap();
        let (listed, more) = shown(metering.tenants(), now());
        assert_eq!((listed.len(), more), (3, 0));
        // Not known until the ledger has loaded it.
        assert_eq!(listed[1]["quota"]["tokens"]["used"], Value::Null);
        assert!(quotas[0].load(start, 400, 1_000_000_001));
        assert!(quotas[1].load(quotas[1].period(now()).unwrap(), 3, 0));
        let (listed, _) = shown(metering.tenants(), now());
        let limits =
            json!({"requests_per_minute": 60, "concurrent": 4, "stream_tokens_per_minute": 9});
        assert_eq!(
            listed[0],
            json!({"id": "a", "limits": limits, "in_flight": 0, "quota": null})
        );
        assert_eq!(
            listed[1]["quota"],
            json!({
                "tokens": { "limit": 1000, "used": 400, "reserved": 0 },
                "usd": { "limit": 2.5, "used": 1.000000001, "reserved": 0.0 },
                "period_start": "2026-11-01T00:00:00Z",
                "period_end": "2026-12-01T00:00:00Z",
            })
        );
        assert_eq!(
            listed[2]["quota"],
            json!({
                "tokens": { "limit": 10, "used": 3, "reserved": 0 },
                "usd": null,
                "period_start": null,
                "period_end": null,
            })
        );
    }

    #[test]
    fn a_key_is_shown_with_its_tenant_and_what_is_left_of_its_own_quota() {
        let metering = metering(
            "  - id: a\n    keys:\n      - { key: k1, name: ci, quota: { tokens: 10, per: day } }\n      \
             - { key: k2, name: web, limits: { rpm: 5 } }\n      - k3\n",
        );
        let scope = metering.quotas().next().unwrap();
        assert!(scope.load(scope.period(now()).unwrap(), 3, 0));
        assert_eq!(shown(metering.tenants(), now()), (Vec::new(), 0));
        let (listed, more) = shown(metering.keys(), now());
        assert_eq!((listed.len(), more), (2, 0));
        assert_eq!(
            (&listed[0]["tenant"], &listed[0]["name"]),
            (&"a".into(), &"ci".into())
        );
        let tokens = json!({ "limit": 10, "used": 3, "reserved": 0 });
        assert_eq!(listed[0]["quota"]["tokens"], tokens);
        let web = json!({
            "tenant": "a", "name": "web", "limits": { "requests_per_minute": 5 }, "in_flight": 0, "quota": null
        });
        assert_eq!(listed[1], web);
    }

    #[test]
    fn a_period_that_is_over_is_not_shown_any_more() {
        let metering = metering("  - { id: a, keys: [k], quota: { tokens: 9, per: day } }\n");
        let scope = metering.quotas().next().unwrap();
        assert!(scope.load(scope.period(now()).unwrap(), 9, 0));
        let used = |now| shown(metering.tenants(), now).0[0]["quota"]["tokens"]["used"].clone();
        assert_eq!(used(now()), 9);
        let tomorrow = Timestamp::from_second(NOW + 24 * 3_600).unwrap();
        assert_eq!(used(tomorrow), 0);
    }

    #[test]
    fn of_very_many_tenants_the_first_are_shown_and_the_others_counted() {
        let limits = Limits::new();
        let rates = crate::config::RateLimits {
            concurrent: Some(1),
            ..Default::default()
        };
        let scope = |number| {
            let name = ScopeName::Tenant(format!("t{number}"));
            limits.scope(name, Some(&rates), None)
        };
        for (count, more) in [(MOST, 0), (MOST + 1, 1)] {
            let scopes: Vec<_> = (0..count).map(scope).collect();
            let (listed, left) = shown(scopes.iter(), now());
            assert_eq!((listed.len(), left), (MOST, more));
            assert_eq!(listed[0]["id"], "t0");
        }
    }
}
