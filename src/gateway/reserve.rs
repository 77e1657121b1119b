//! The step between the plan and the first attempt: all limits and quotas of a request at once, or none.
//!
//! Owns what is reserved: one request, the tokens that it may use, and what those may cost. Does not handle how
//! limits are counted (see `limits`), nor what is counted in the end (see `settle`). Fails with the limit that
//! was in the way, and where nothing can be recorded.

use super::context::Context;
use super::failure::Failure;
use super::quota_events;
use crate::limits::{Demand, Local, NotReserved, Now, Refusal};
use crate::openai::demand;
use crate::openai::endpoint::Exchange;
use crate::openai::estimate::Prompt;
use crate::runtime::Scopes;

/// What a request may use, as far as it has been read.
#[derive(Default)]
pub struct Estimate<'b> {
    /// What it asks with.
    pub prompt: Option<&'b Prompt>,
    /// What it says of the answer.
    pub demand: demand::Demand,
    /// What it asks for; `None` where it is not read.
    pub endpoint: Option<&'static Exchange>,
}

/// Reserves what a request may use, in every scope that it belongs to. One that is not read uses nothing that
/// is known before.
pub async fn reserve(context: &mut Context, estimate: &Estimate<'_>) -> Result<(), Failure> {
    let metering = &context.runtime.metering;
    let limits = &context.in_flight.shared().limits;
    let rule = context.asked.rule.as_deref();
    let scopes = metering.scopes(context.caller.as_ref(), rule, limits);
    if let Some(accounts) = context.in_flight.shared().accounts() {
        if !accounts.admits(scopes.have_quota) {
            return Err(Failure::QuotaUnavailable);
        }
        context.is_recorded = true;
    }
    if scopes.all.is_empty() {
        return Ok(());
    }
    let now = Now::read();
    let demand = demand_of(context, &scopes, estimate, now);
    let reserved = match &context.in_flight.shared().sharing {
        Some(sharing) => sharing.reserve(&scopes.all, demand, now).await,
        None => Local
            .reserve(&scopes.all, demand, now)
            .map_err(NotReserved::Refused),
    };
    match reserved {
        Ok(reservation) => {
            context.reservation = Some(Box::new(reservation));
            Ok(())
        }
        Err(not) => {
            context.is_recorded = false;
            Err(match not {
                NotReserved::Refused(refusal) => refused(context, refusal),
                NotReserved::Away => Failure::LimitsUnavailable,
            })
        }
    }
}

/// The tokens that a request may use, and what they may cost, where that is limited.
fn demand_of(context: &Context, scopes: &Scopes, estimate: &Estimate<'_>, now: Now) -> Demand {
    if !scopes.count_tokens && !scopes.count_money {
        return Demand::default();
    }
    let input = estimate.prompt.map_or(0, Prompt::quick_tokens);
    let rule = context.asked.rule.as_deref();
    let output = match (rule, estimate.endpoint) {
        (Some(rule), Some(endpoint)) => {
            let bound = rule.demand(endpoint, estimate.demand).max_output;
            // An answer that is text is as long as the model likes.
            bound.unwrap_or_else(|| match endpoint.has_both_forms {
                true => rule.output.usual(),
                false => 0,
            })
        }
        _ => 0,
    };
    let nanos = match (scopes.count_money, rule) {
        (true, Some(rule)) => {
            let asked = (rule, context.asked.model.as_deref().unwrap_or_default());
            let caller = context.caller.as_ref();
            let tokens = (input, output);
            context
                .runtime
                .most_charged(caller, asked, tokens, now.wall)
        }
        _ => 0,
    };
    Demand {
        tokens: input.saturating_add(output),
        nanos,
    }
}

fn refused(context: &Context, refusal: Box<Refusal>) -> Failure {
    let scope = refusal.scope.name();
    let metrics = &context.in_flight.shared().metrics;
    metrics.money().refused(scope.kind(), refusal.kind.name());
    if refusal.first_of_quota {
        quota_events::tell_exhausted(context.in_flight.shared(), &refusal);
    }
    Failure::Limited(refusal)
}
