//! The fourth step: from the model that is asked for to the upstream that is asked.
//!
//! Owns the decision and notes it in the context. A model that no rule serves and one that the
//! tenant may not ask for fail alike, so that nobody learns what exists.

use std::sync::Arc;

use super::context::Context;
use super::failure::Failure;
use crate::upstreams::Upstream;

/// Chooses the target for `model`.
pub fn plan(context: &mut Context, model: &str) -> Result<Arc<Upstream>, Failure> {
    context.model = Some(model.to_owned());
    let unknown = || Failure::UnknownModel {
        model: model.to_owned(),
    };
    let runtime = &context.runtime;
    let allowed = context.tenant.as_ref().is_some_and(|t| t.allows(model));
    let rule = runtime
        .rule(model)
        .filter(|_| allowed)
        .ok_or_else(unknown)?;
    let targets = &rule.targets;
    let target = targets.get(targets.choose()).ok_or_else(unknown)?;
    let upstream = runtime.upstream(target).ok_or_else(unknown)?;
    let renamed = target.model.as_ref().filter(|name| *name != model);
    let upstream = Arc::clone(upstream);
    context.sent_model = renamed.cloned();
    context.rule = Some(Arc::clone(rule));
    context.upstream = Some(Arc::clone(&upstream));
    Ok(upstream)
}
