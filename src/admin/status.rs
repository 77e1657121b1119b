//! The states of upstreams, keys, models and tenants: as JSON for people, as gauges for Prometheus.
//!
//! Owns the form of `GET /status`. It reads the current snapshot and the learnt states. Keys are named
//! by their fingerprints alone. Does not handle what tenants may use (see `tenants`) or the names of the gauges
//! (see `observe::states`). Cannot fail.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::tenants;
use crate::auth::Remotes;
use crate::clock;
use crate::config::Choose;
use crate::ids;
use crate::observe::states::StateGauges;
use crate::routing::Target;
use crate::runtime::{Rule, Runtime, Shared};
use crate::upstreams::{Breaker, Key, Server, Shown, Speed, State, Upstream};

/// The answer of `GET /status`.
pub fn status(shared: &Shared) -> Value {
    let runtime = shared.pin();
    let now = Instant::now();
    let upstreams = runtime.upstreams().iter();
    let rules = runtime.rules().iter();
    let wall = clock::timestamp();
    let (tenants, tenants_left_out) = tenants::shown(runtime.metering.tenants(), wall);
    let (keys, keys_left_out) = tenants::shown(runtime.metering.keys(), wall);
    json!({
        "node": node(shared, &runtime),
        "requests_in_flight": shared.in_flight(),
        "retries_refused": runtime.upstreams().iter().map(|u| u.budget.refused()).sum::<u64>(),
        "upstreams": upstreams.map(|u| upstream(u, now)).collect::<Vec<_>>(),
        "models": rules.map(|r| rule(r, &runtime, now)).collect::<Vec<_>>(),
        "tenants": tenants,
        "tenants_left_out": tenants_left_out,
        "keys": keys,
        "keys_left_out": keys_left_out,
    })
}

/// What this gateway is called, what its request ids end with, and how it stands with others.
fn node(shared: &Shared, runtime: &Runtime) -> Value {
    let name = &runtime.settings.node;
    let store = shared.limits.due().map(|due| {
        let (is_up, nodes) = (!due.is_away(), due.nodes());
        json!({ "up": is_up, "nodes": nodes })
    });
    json!({ "name": name, "request_ids_end_with": ids::mark_of(name), "store": store })
}

fn upstream(upstream: &Upstream, now: Instant) -> Value {
    let servers = upstream.pool.servers().iter();
    let keys = upstream.keys.keys().iter();
    let concurrency = upstream.concurrency.as_ref().map(|concurrency| {
        let (active, queued) = concurrency.taken();
        let limit = concurrency.bounds().concurrent;
        json!({ "limit": limit, "active": active, "queued": queued })
    });
    json!({
        "name": upstream.name,
        "servers": servers.map(|s| server(s, now)).collect::<Vec<_>>(),
        "keys": keys.map(|k| key(k, now)).collect::<Vec<_>>(),
        "concurrency": concurrency,
    })
}

fn server(server: &Server, now: Instant) -> Value {
    let health = &server.condition.health;
    json!({
        "url": server.url().to_string(),
        "weight": server.weight(),
        "proxy": server.proxy(),
        "addresses": server.peers().iter().map(|p| p.address().to_string()).collect::<Vec<_>>(),
        "up": health.is_up(),
        "checks": health.checks(),
        "last_failed_check": health.last_failure(),
        "in_flight": server.condition.in_flight(),
        "breaker": breaker(server.condition.breaker(), now),
    })
}

fn key(key: &Key, now: Instant) -> Value {
    let Shown {
        state,
        left,
        tenant,
    } = key.condition.shown(now);
    let models = key.condition.shown_models(now).into_iter();
    let models = models.map(|(name, shown)| {
        let Shown {
            state,
            left,
            tenant,
        } = shown;
        let seconds = left.map(|left| left.as_secs_f64());
        (
            name,
            json!({ "state": state, "for_seconds": seconds, "tenant": tenant }),
        )
    });
    json!({
        "fingerprint": key.fingerprint,
        "state": state,
        "for_seconds": left.map(|left| left.as_secs_f64()),
        "tenant": tenant,
        "models": models.collect::<serde_json::Map<_, _>>(),
    })
}

fn rule(rule: &Rule, runtime: &Runtime, now: Instant) -> Value {
    let targets = rule.targets.all().iter().enumerate();
    let targets = targets.map(|(position, target)| {
        json!({
            "upstream": runtime.upstream(target).map(|u| &u.name),
            "model": target.model,
            "priority": target.priority,
            "weight": target.weight,
            "choice": ground(rule, position, target, runtime),
            "breaker": rule.breaker(position).map(|b| breaker(b, now)),
        })
    });
    let fallbacks = rule.fallbacks.iter().map(|fallback| &fallback.model);
    json!({
        "match": rule.label,
        "choose": rule.choose.name(),
        "targets": targets.collect::<Vec<_>>(),
        "fallback": fallbacks.collect::<Vec<_>>(),
    })
}

/// What the choice of a target goes by; nothing where targets take turns.
fn ground(rule: &Rule, position: usize, target: &Target, runtime: &Runtime) -> Value {
    let upstream = runtime.upstream(target);
    match rule.choose {
        Choose::Weighted => Value::Null,
        Choose::Fastest => {
            let Some(shown) = rule.speed(position).map(Speed::shown) else {
                return Value::Null;
            };
            let ms = |time: Option<Duration>| time.map(|time| time.as_secs_f64() * 1000.0);
            json!({
                "is_known": shown.is_known,
                "first_output_ms": ms(shown.first_output),
                "answer_ms": ms(shown.answer),
                "failing": shown.failing,
            })
        }
        Choose::Cheapest => {
            let model = target.model.as_deref().or(rule.exact.as_deref());
            let price = |input, output| {
                let nanos = runtime.metering.expected_cost(
                    (&upstream?.name, model?),
                    (input, output),
                    clock::timestamp(),
                )?;
                Some(nanos as f64 / 1e9)
            };
            json!({
                "usd_per_million_input": price(1_000_000, 0),
                "usd_per_million_output": price(0, 1_000_000),
            })
        }
        Choose::LeastBusy => json!({ "in_flight": upstream.map(|u| u.pool.in_flight()) }),
    }
}

fn breaker(breaker: &Breaker, now: Instant) -> Value {
    let (state, seconds) = match breaker.state(now) {
        State::Closed => ("closed", None),
        State::Ejected { left } => ("ejected", Some(left.as_secs_f64())),
        State::Trial => ("trial", None),
    };
    json!({ "state": state, "for_seconds": seconds, "ejections": breaker.ejections() })
}

/// Sets the gauges of the keys that issuers publish.
pub fn measure_issuers(remotes: &Remotes, gauges: &StateGauges) {
    for issuer in remotes.standing() {
        let labels = [issuer.name.as_str()];
        let failing = gauges.jwks_failing.with_label_values(&labels);
        failing.set(i64::from(issuer.is_failing));
        if let Some(age) = issuer.age {
            let age = i64::try_from(age.as_secs()).unwrap_or(i64::MAX);
            gauges.jwks_age.with_label_values(&labels).set(age);
        }
    }
}

/// Sets the gauges to the current states.
pub fn measure(runtime: &Runtime, gauges: &StateGauges) {
    gauges.reset();
    let now = Instant::now();
    for upstream in runtime.upstreams() {
        let name = upstream.name.as_str();
        for server in upstream.pool.servers() {
            let url = server.url().to_string();
            let labels = [name, url.as_str()];
            let condition = &server.condition;
            let in_flight = i64::try_from(condition.in_flight()).unwrap_or(i64::MAX);
            // Two servers at one URL share their gauges: an ejection of either shows.
            let up = gauges.server_up.with_label_values(&labels);
            up.set(i64::from(condition.health.is_up()));
            let ejected = gauges.server_ejected.with_label_values(&labels);
            ejected.set(
                ejected
                    .get()
                    .max(i64::from(condition.breaker().is_ejected())),
            );
            let serving = gauges.server_in_flight.with_label_values(&labels);
            serving.add(in_flight);
        }
        for key in upstream.keys.keys() {
            let state = key.condition.shown(now).state;
            gauges.keys.with_label_values(&[name, state]).inc();
            for (_, shown) in key.condition.shown_models(now) {
                let gauge = gauges.key_models.with_label_values(&[name, shown.state]);
                gauge.inc();
            }
        }
        if let Some(concurrency) = &upstream.concurrency {
            let (active, queued) = concurrency.taken();
            for (state, count) in [("active", active), ("queued", queued)] {
                let gauge = gauges.concurrency.with_label_values(&[name, state]);
                gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
            }
        }
    }
    for rule in runtime.rules() {
        measure_rule(rule, runtime, gauges);
    }
}

fn measure_rule(rule: &Rule, runtime: &Runtime, gauges: &StateGauges) {
    for (position, target) in rule.targets.all().iter().enumerate() {
        let upstream = runtime.upstream(target).map_or("", |u| u.name.as_str());
        let model = target.model.as_deref().unwrap_or("the same");
        let is_ejected = rule.breaker(position).is_some_and(|b| b.is_ejected());
        let labels = [rule.label.as_str(), upstream, model];
        let gauge = gauges.target_ejected.with_label_values(&labels);
        gauge.set(i64::from(is_ejected));
    }
}
