//! The fourth step: from the model that is asked for to the upstream that is asked.
//!
//! Owns the decision and notes it in the context. A model that no rule serves and one that the
//! tenant may not ask for fail alike, so that nobody learns what exists.

use std::sync::Arc;

use super::context::Context;
use super::failure::Failure;
use crate::runtime::{Manners, Rule};
use crate::upstreams::Upstream;

/// Who is asked, and how.
pub struct Plan {
    /// Whom we ask.
    pub upstream: Arc<Upstream>,
    rule: Arc<Rule>,
    target: usize,
}

impl Plan {
    /// What the target wants changed.
    pub fn manners(&self) -> Option<&Manners> {
        self.rule.manners(self.target)
    }
}

/// Chooses the target for `model`.
pub fn plan(context: &mut Context, model: &str) -> Result<Plan, Failure> {
    context.model = Some(model.to_owned());
    let unknown = || Failure::UnknownModel {
        model: model.to_owned(),
    };
    let runtime = &context.runtime;
    let allowed = context.tenant.as_ref().is_some_and(|t| t.allows(model))
        // An upstream may trim what it is asked for, and so come to another model than we have.
        && !model.contains(char::is_control);
    let rule = runtime
        .rule(model)
        .filter(|_| allowed)
        .ok_or_else(unknown)?;
    let position = rule.targets.choose();
    let target = rule.targets.get(position).ok_or_else(unknown)?;
    let upstream = runtime.upstream(target).ok_or_else(unknown)?;
    let renamed = target.model.as_ref().filter(|name| *name != model);
    let plan = Plan {
        upstream: Arc::clone(upstream),
        rule: Arc::clone(rule),
        target: position,
    };
    context.sent_model = renamed.cloned();
    context.rule = Some(Arc::clone(rule));
    context.upstream = Some(Arc::clone(upstream));
    Ok(plan)
}
