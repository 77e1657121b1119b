//! The fourth step: from the model that is asked for to the candidates, in order. A request without a
//! model is served as the endpoint's default model, else by the tenant's home upstream.
//!
//! Owns the order: the rule's targets by priority and weight, then its fallbacks, each only for the failures that it
//! is meant for. Candidates that are ejected, whose keys are cooling down, or that this request has tried are
//! skipped. Which target of a priority is first is for `choice`. A model without a rule and a model that the tenant
//! may not use fail alike, so that no client learns what exists. Does not handle how a candidate is asked (see
//! `exchange`). Fails where no candidate is left.

mod candidate;
mod choice;
mod no_candidate;
mod skipped;

use std::sync::Arc;
use std::time::Instant;

use super::context::{Context, Skipped};
use super::failure::Failure;
use crate::openai::endpoint::Exchange;
use crate::openai::model_name;
use crate::openai::verdict::Reason;
use crate::routing::Target;
use crate::runtime::{Rule, Runtime};
use crate::tenants::Tenant;
use crate::upstreams::{KeyUse, Readiness};

pub use candidate::Candidate;
pub use choice::{Expected, Ground};
pub use no_candidate::{NoCandidate, cooling, unavailable};

/// The candidates of one request, in order.
pub struct Plan<'r, 'm> {
    runtime: &'r Runtime,
    rule: &'r Rule,
    /// The model that the client asked for, and the tenant.
    model: &'m str,
    tenant: Option<Arc<Tenant>>,
    /// What the choice of a target depends on, where it does not go by turns.
    steered_to: Option<u64>,
    /// How much will be asked and answered, by what is known of it.
    expected: Expected,
    /// How many fallbacks have been come to.
    fallbacks: usize,
    /// The rule in whose targets we are.
    current: Step<'r>,
    /// Its target that was chosen last.
    last: Option<usize>,
    /// Those that were chosen before; nearly always none.
    tried: Vec<usize>,
}

/// Where a plan stood.
pub struct Mark<'r> {
    fallbacks: usize,
    current: Step<'r>,
    last: Option<usize>,
    tried: Vec<usize>,
}

/// A rule, and the model that is asked for on its behalf.
#[derive(Clone, Copy)]
struct Step<'r> {
    rule: &'r Rule,
    /// `None` for what the client asked for.
    model: Option<&'r str>,
}

/// How much is asked of a candidate.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Strictness {
    /// That a key has some of its allowance left, and that there is a place free.
    HasRoom,
    /// That a key is there whose provider has not said "too many".
    NotRefused,
}

impl<'r, 'm> Plan<'r, 'm> {
    /// Finds what serves a request, which may name no model, and notes it in the context.
    pub fn for_request(
        runtime: &'r Runtime,
        context: &mut Context,
        endpoint: &Exchange,
        model: Option<&'m str>,
    ) -> Result<Self, Failure>
    where
        'r: 'm,
    {
        if let Some(model) = model {
            return Self::new(runtime, context, model);
        }
        let tenant = context.tenant().cloned().ok_or(Failure::NoModel)?;
        let default = runtime.settings.default_model(endpoint);
        if let Some(model) = default.filter(|model| tenant.allows(model)) {
            return Self::new(runtime, context, model);
        }
        // Without a name the provider chooses the model, and that may be any.
        let home = Some(&tenant).filter(|tenant| tenant.allows_all());
        let home = home.and_then(|tenant| runtime.home_rule(tenant, endpoint));
        let rule = home.ok_or(Failure::NoModel)?;
        context.asked.rule = Some(Arc::clone(rule));
        Ok(Self::along(runtime, rule, "", Some(tenant)))
    }

    /// Finds what serves `model`, and notes it in the context.
    pub fn new(
        runtime: &'r Runtime,
        context: &mut Context,
        model: &'m str,
    ) -> Result<Self, Failure> {
        context.asked.model = Some(model.to_owned());
        let tenant = context.tenant().map(|tenant| &**tenant);
        let rule = tenant.and_then(|tenant| Self::rule_for(runtime, tenant, model));
        let rule = rule.ok_or_else(|| Failure::UnknownModel {
            model: model.to_owned(),
        })?;
        context.asked.rule = Some(Arc::clone(rule));
        let tenant = context.tenant().cloned();
        Ok(Self::along(runtime, rule, model, tenant))
    }

    /// The rule that serves `model`, if the tenant may ask for it.
    pub fn rule_for(runtime: &'r Runtime, tenant: &Tenant, model: &str) -> Option<&'r Arc<Rule>> {
        // An upstream may trim what it is asked for, and so come to another model than we have.
        let allowed = tenant.allows(model) && model_name::check(model).is_ok();
        runtime.rule(model).filter(|_| allowed)
    }

    /// A plan for a model that this rule serves.
    pub fn along(
        runtime: &'r Runtime,
        rule: &'r Rule,
        model: &'m str,
        tenant: Option<Arc<Tenant>>,
    ) -> Self {
        Self {
            current: Step { rule, model: None },
            rule,
            model,
            tenant,
            runtime,
            steered_to: None,
            expected: Expected::default(),
            fallbacks: 0,
            last: None,
            tried: Vec::new(),
        }
    }

    /// Has the same target chosen each time for the same number, while that can be asked.
    pub fn steered_to(self, number: Option<u64>) -> Self {
        Self {
            steered_to: number,
            ..self
        }
    }

    /// With what is known of how much will be asked and answered.
    pub fn expecting(self, expected: Expected) -> Self {
        Self { expected, ..self }
    }

    /// The rule that serves the model.
    pub fn rule(&self) -> &'r Rule {
        self.rule
    }

    /// The first to ask.
    pub fn first(&mut self) -> Result<Candidate<'r>, NoCandidate> {
        if let Some(candidate) = self.sibling() {
            return Ok(candidate);
        }
        let mut none = self.no_candidate();
        if let Some(candidate) = self.next_model(none.why) {
            return Ok(candidate);
        }
        none.skipped = self.skipped(none.why);
        Err(none)
    }

    /// Another target for the same model, where the last has failed for this reason.
    pub fn next_target(&mut self, why: Reason) -> Option<Candidate<'r>> {
        let moves_on = self.current.rule.on.contains(why);
        moves_on.then(|| self.sibling()).flatten()
    }

    /// Another target of the same rule.
    fn sibling(&mut self) -> Option<Candidate<'r>> {
        for strictness in [Strictness::HasRoom, Strictness::NotRefused] {
            // A place in a trial may be taken between the look and the choice.
            while let Some((position, ground)) = self.choose(strictness) {
                self.tried.extend(self.last.replace(position));
                if let Some(candidate) = self.take(position, ground) {
                    return Some(candidate);
                }
            }
        }
        None
    }

    fn is_open(&self, position: usize, strictness: Strictness, now: Instant) -> bool {
        let Some(target) = self.current.rule.targets.get(position) else {
            return false;
        };
        let Some(upstream) = self.runtime.upstream(target) else {
            return false;
        };
        let guard = self.current.rule.guard(position, upstream);
        let is_in = guard.is_none_or(|(breaker, ejection)| breaker.is_open_to(ejection, now));
        let may_queue = strictness == Strictness::NotRefused;
        is_in
            && upstream.pool.has_open(&[])
            && (may_queue
                || upstream
                    .concurrency
                    .as_ref()
                    .is_none_or(|permits| permits.has_free()))
            && match upstream.keys.readiness(self.key_use(target), now) {
                Readiness::Ready => true,
                Readiness::Exhausted => may_queue,
                Readiness::Cooling(..) => false,
            }
    }

    /// What a key is wanted for, where this target is asked.
    fn key_use<'t>(&'t self, target: &'t Target) -> KeyUse<'t> {
        self.key_use_for(target, self.current.model)
    }

    /// The same where its rule is asked for this model; `None` for the client's own.
    fn key_use_for<'t>(&'t self, target: &'t Target, model: Option<&'t str>) -> KeyUse<'t> {
        let model = target.model.as_deref().or(model);
        KeyUse {
            model: model.unwrap_or(self.model),
            tenant: self.tenant.as_ref().map_or("", |tenant| &tenant.id),
        }
    }

    fn take(&self, position: usize, ground: Option<Ground>) -> Option<Candidate<'r>> {
        let Step { rule, model } = self.current;
        let target = rule.targets.get(position)?;
        let upstream = self.runtime.upstream(target)?;
        let guard = rule.guard(position, upstream);
        let admission = match guard {
            Some((breaker, ejection)) => Some(breaker.admit(ejection, Instant::now())?),
            None => None,
        };
        Some(Candidate {
            upstream,
            position: target.upstream,
            model: target.model.as_deref().or(model),
            fallback: model,
            rule,
            target: position,
            ground,
            guard,
            admission,
        })
    }

    /// A target of the next fallback that this failure leads to.
    pub fn next_model(&mut self, why: Reason) -> Option<Candidate<'r>> {
        while let Some(fallback) = self.rule.fallbacks.get(self.fallbacks) {
            self.fallbacks += 1;
            let next = self.runtime.fallback(fallback);
            let Some(next) = next.filter(|_| fallback.on.contains(why)) else {
                continue;
            };
            self.current = Step {
                rule: next,
                model: Some(&fallback.model),
            };
            self.tried.clear();
            self.last = None;
            if let Some(candidate) = self.sibling() {
                return Some(candidate);
            }
        }
        None
    }

    /// Where the plan stands.
    pub fn mark(&self) -> Mark<'r> {
        Mark {
            fallbacks: self.fallbacks,
            current: self.current,
            last: self.last,
            tried: self.tried.clone(),
        }
    }

    /// Goes back: what has been chosen since can be chosen again.
    pub fn go_back(&mut self, mark: Mark<'r>) {
        self.fallbacks = mark.fallbacks;
        self.current = mark.current;
        self.last = mark.last;
        self.tried = mark.tried;
    }

    /// What was not asked of the rule, and of the fallbacks that this reason leads to.
    fn skipped(&self, why: Reason) -> Vec<Skipped> {
        let now = Instant::now();
        let fallbacks = self.rule.fallbacks.iter();
        let fallbacks = fallbacks.filter(|fallback| fallback.on.contains(why));
        let fallbacks = fallbacks.filter_map(|fallback| {
            let rule = self.runtime.fallback(fallback)?.as_ref();
            Some((rule, Some(fallback.model.as_str())))
        });
        let own = std::iter::once((self.rule, None));
        let rules = own.chain(fallbacks);
        let of_rule = |(rule, model)| {
            let wanted = |target| self.key_use_for(target, model);
            skipped::of_rule(rule, self.runtime, wanted, now)
        };
        rules.flat_map(of_rule).collect()
    }

    /// Why no target of the rule can be asked.
    fn no_candidate(&self) -> NoCandidate {
        let now = Instant::now();
        let targets = self.current.rule.targets.all().iter();
        let mut none: Option<NoCandidate> = None;
        for target in targets.filter(|target| target.weight > 0) {
            let Some(upstream) = self.runtime.upstream(target) else {
                continue;
            };
            let cooling = cooling(&upstream.keys, self.key_use(target), now);
            let found = cooling.unwrap_or(NoCandidate::UNREACHABLE);
            let back_in = found.back_in;
            let known = none.get_or_insert(found);
            known.back_in = match (known.back_in, back_in) {
                (Some(one), Some(other)) => Some(one.min(other)),
                (one, other) => one.or(other),
            };
        }
        none.unwrap_or(NoCandidate::UNREACHABLE)
    }
}
