//! An upstream's answer that has begun: equal requests get it as well, and it is kept once it is whole.
//!
//! Owns what is known of it for both. Does not handle when it is kept (see `gateway::storing`). Cannot fail.

use std::sync::Arc;

use crate::cache::{Head, Lead};
use crate::gateway::context::Context;
use crate::gateway::exchange::failover::{Begun, Giver};
use crate::runtime::SharedHead;

/// An upstream's answer has begun: it is handed to equal requests, and kept once it is whole.
pub fn begun(context: &mut Context, begun: &mut Begun<'_>, lead: Option<Lead<SharedHead>>) {
    let (Some(head), Giver::Asked { candidate, .. }) = (head(context, begun), &begun.giver) else {
        return;
    };
    let upstream = candidate.upstream;
    let is_fallback = begun.giver.is_fallback();
    if let Some(meter) = &mut context.meter {
        match &mut meter.storing {
            // The rule's own target may be back in a moment.
            storing @ Some(_) if is_fallback => *storing = None,
            Some(storing) => storing.head = Some(Arc::clone(&head)),
            None => {}
        }
    }
    if let Some(lead) = lead {
        let shared = SharedHead {
            head,
            echo: begun.answer.echo.clone(),
            upstream: Arc::clone(upstream),
        };
        begun.answer.share(lead, shared);
    }
}

/// What is known of an upstream's answer that has begun; `None` where nothing of it is kept.
pub(super) fn head(context: &Context, begun: &Begun<'_>) -> Option<Arc<Head>> {
    let form = begun.answer.copies.form().cloned()?;
    let upstream = begun.giver.upstream()?;
    let caller = context.caller.as_ref();
    let tenant = caller.filter(|caller| caller.position.is_some());
    Some(Arc::new(Head {
        tenant: tenant.map_or("", |caller| &caller.tenant.id).into(),
        rule: context
            .asked
            .rule
            .as_ref()
            .map_or("", |rule| &rule.label)
            .into(),
        id: context.request.id.as_str().into(),
        content_type: form.content_type,
        is_stream: form.is_stream,
        rewrites: form.rewrites,
        upstream: upstream.name.as_str().into(),
        model: context.model_to_send().unwrap_or_default().into(),
    }))
}
