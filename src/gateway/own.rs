//! Our own endpoints on the client's side: health, and the models that a tenant may ask for.
//!
//! Owns what they say. Refuses to ask any upstream.

use std::sync::LazyLock;

use percent_encoding::percent_decode_str;
use pingora_proxy::Session;
use serde_json::{Value, json};

use super::context::Context;
use super::failure::Failure;
use super::{admit, answer};
use crate::openai::endpoint::Endpoint;
use crate::{admin, clock};

/// A model's `created`, which we do not know: when this process started, so that it stands still.
static CREATED: LazyLock<i64> = LazyLock::new(clock::now_unix_seconds);

/// Answers an endpoint of ours.
pub async fn serve(
    session: &mut Session,
    context: &mut Context,
    endpoint: &Endpoint<'_>,
) -> Result<(), Failure> {
    context.endpoint = endpoint.name();
    let value = match endpoint {
        Endpoint::Models => {
            admit::caller(&session.req_header().headers, context)?;
            models(context)
        }
        Endpoint::Model(id) => {
            admit::caller(&session.req_header().headers, context)?;
            let id = percent_decode_str(id).decode_utf8_lossy().into_owned();
            model(context, id)?
        }
        Endpoint::Health | Endpoint::Exchange(_) => admin::health(),
    };
    let sent = answer::json(session, context, &value).await;
    sent.map_err(|_| Failure::ClientGone)
}

fn models(context: &Context) -> Value {
    let tenant = context.tenant.as_ref();
    let names = context
        .runtime
        .rules()
        .iter()
        .filter_map(|rule| rule.exact.as_ref());
    let allowed = names.filter(|name| tenant.is_some_and(|t| t.allows(name)));
    let data: Vec<Value> = allowed.map(|name| model_object(name)).collect();
    json!({ "object": "list", "data": data })
}

fn model(context: &Context, id: String) -> Result<Value, Failure> {
    let allowed = context.tenant.as_ref().is_some_and(|t| t.allows(&id));
    match context.runtime.rule(&id).filter(|_| allowed) {
        Some(_) => Ok(model_object(&id)),
        None => Err(Failure::UnknownModel { model: id }),
    }
}

fn model_object(id: &str) -> Value {
    json!({ "id": id, "object": "model", "created": *CREATED, "owned_by": "tollgate" })
}
