//! The last step, on every path: count the request, and write its line in the log.
//!
//! Owns what of a request's records the metrics and the access line get. Runs exactly once for each
//! request. Does not handle usage (see `settle`). Cannot fail.

use std::fmt::Write;
use std::time::Duration;

use super::context::Context;
use super::session::ClientSession;
use crate::observe::access::{self, AccessLine};
use crate::observe::masking;
use crate::observe::metrics::Observation;
use crate::runtime::Shared;

/// What a trail takes, as a rule.
const TRAIL_BYTES: usize = 64;

/// Counts and logs a request that is over.
pub fn finish(session: &ClientSession, context: &Context) {
    let total = context.request.started.elapsed();
    count(context, context.in_flight.shared(), total);
    let upstream = context.outcome.upstream_name();
    let status = context.told_status();
    let settings = &context.runtime.settings;
    if !settings.log_access || !log::log_enabled!(target: access::TARGET, log::Level::Info) {
        return;
    }
    let request = session.request();
    AccessLine {
        request_id: &context.request.id,
        client: match settings.mask_addresses {
            true => context.request.client.map(masking::address),
            false => context.request.client,
        },
        tenant: context.tenant().map(|t| t.id.as_str()),
        key: context.logged_credential_name(),
        method: request.method.as_str(),
        path: request.uri.path(),
        model: context.asked.model.as_deref(),
        sent_model: upstream.and(context.model_to_send()),
        upstream,
        trail: &trail(context),
        status,
        error: context.outcome.error,
        bytes_in: context.outcome.bytes_in,
        bytes_out: context.outcome.bytes_out,
        tokens: context.outcome.used.and_then(|used| used.tokens),
        cost_nanos: context.outcome.used.and_then(|used| used.cost_nanos),
        cache: context.outcome.from_cache.as_ref().map(|c| c.result.name()),
        total,
        first_byte: context.outcome.first_byte(),
        own: context.outcome.own(),
    }
    .write();
}

fn count(context: &Context, shared: &Shared, total: Duration) {
    let rule = context.asked.rule.as_ref().map(|rule| rule.label.as_str());
    let route = context
        .asked
        .route
        .as_ref()
        .map(|route| route.prefix.as_str());
    let upstream = context.outcome.upstream_name();
    let status = context.told_status();
    shared.metrics.observe(&Observation {
        endpoint: context.asked.endpoint,
        rule: rule.or(route),
        upstream,
        status,
        total,
        first_byte: context.outcome.first_byte(),
        own: context.outcome.own(),
        bytes_in: context.outcome.bytes_in,
        bytes_out: context.outcome.bytes_out,
        redirected: context.outcome.sent_model.is_some(),
        broken: context
            .outcome
            .error
            .filter(|_| (100..400).contains(&status)),
    });
    if let Some(what) = context.outcome.shed {
        shared.metrics.shed(what);
    }
}

/// What was tried, as in `openai/1a2b3c4d:rate_limited:12.3,azure/5e6f7a8b:ok:140.0`, and why its target was chosen,
/// where the rule says how, as in `openai/1a2b3c4d:ok:140.0:fastest`; then what was not asked, as in
/// `openai/-:cooling_down:0.0`.
fn trail(context: &Context) -> String {
    let mut trail = String::with_capacity(TRAIL_BYTES);
    for tried in &context.outcome.trail {
        let Some(upstream) = context.runtime.upstreams().get(tried.upstream) else {
            continue;
        };
        let key = tried.key.and_then(|key| upstream.keys.keys().get(key));
        let key = match key {
            Some(key) => &key.fingerprint,
            None if upstream.keys.are_ours() => "-",
            None => "client",
        };
        let micros = tried.time.as_micros() + 50;
        let (ms, tenths) = (micros / 1000, micros % 1000 / 100);
        let (name, outcome) = (&upstream.name, tried.outcome);
        // Writing to a string cannot fail.
        let _ = write!(trail, "{name}/{key}:{outcome}:{ms}.{tenths}");
        if let Some(ground) = tried.ground {
            let _ = write!(trail, ":{ground}");
        }
        trail.push(',');
    }
    for skipped in &context.outcome.skipped {
        if let Some(upstream) = context.runtime.upstreams().get(skipped.upstream) {
            let _ = write!(trail, "{}/-:{}:0.0,", upstream.name, skipped.cause);
        }
    }
    trail.pop();
    trail
}
