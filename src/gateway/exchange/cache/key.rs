//! Under what an answer is kept.
//!
//! Owns what goes into the key: whom the answer may be given to, the rule and what it asks its targets for, the
//! endpoint, and all of the request that may decide what is answered. Does not handle the hash (see `cache::key`), nor
//! what of a body counts (see `openai::reusable`). Cannot fail.

use http::{HeaderMap, HeaderName};
use pingora::http::RequestHeader;

use crate::auth;
use crate::cache::{Key, KeyParts};
use crate::config::CacheScope;
use crate::gateway::context::Context;
use crate::gateway::headers;
use crate::openai::canonical::Canonical;
use crate::openai::endpoint::Exchange;
use crate::runtime::{Reuse, Rule};

/// Told apart from keys that are made in another way.
const FORM: &str = "tollgate answer 2";
const QUESTION_FORM: &str = "tollgate questions 2";

/// The key of a request whose body has this form.
pub fn key(
    request: &RequestHeader,
    context: &Context,
    endpoint: &Exchange,
    (rule, reuse): (&Rule, &Reuse),
    body: &Canonical,
) -> Key {
    let mut parts = begin(FORM, request, context, endpoint, (rule, reuse));
    parts.add(body.bytes());
    parts.finish()
}

/// The scope of a question: all that must be equal for an answer to be given to another text. `more`: what must be
/// equal besides what holds for every answer.
pub fn scope(
    request: &RequestHeader,
    context: &Context,
    endpoint: &Exchange,
    (rule, reuse): (&Rule, &Reuse),
    more: &[&[u8]],
) -> Key {
    let mut parts = begin(QUESTION_FORM, request, context, endpoint, (rule, reuse));
    more.iter().for_each(|part| parts.add(part));
    parts.finish()
}

/// All that an answer depends on, beside the body.
fn begin(
    form: &str,
    request: &RequestHeader,
    context: &Context,
    endpoint: &Exchange,
    (rule, reuse): (&Rule, &Reuse),
) -> KeyParts {
    let mut parts = KeyParts::new(form);
    add_scope(&mut parts, &request.headers, context, reuse);
    parts.add(endpoint.name.as_bytes());
    parts.add(rule.label.as_bytes());
    parts.add(&reuse.targets.0);
    parts.add(headers::query(request, &[]).as_bytes());
    // A request that names no model has one all the same.
    parts.add(
        context
            .asked
            .model
            .as_deref()
            .unwrap_or_default()
            .as_bytes(),
    );
    // What `Connection` names is not sent on.
    let nominated = headers::nominated(&request.headers);
    let is_sent = |name: &HeaderName| !headers::names(&nominated, name.as_str());
    for (name, value) in &request.headers {
        if reuse.varies_by(name) && is_sent(name) {
            parts.add(name.as_str().as_bytes());
            parts.add(value.as_bytes());
        }
    }
    parts
}

/// The id of the only tenant that the answer may be given to; empty where several may get it, or there are none.
pub fn tenant<'c>(context: &'c Context, reuse: &Reuse) -> &'c str {
    match (&context.caller, reuse.scope) {
        (Some(caller), CacheScope::Tenant | CacheScope::Key) => &caller.tenant.id,
        (_, CacheScope::Global) | (None, _) => "",
    }
}

/// Whom the answer may be given to. A credential of one tenant never stands for one of another.
fn add_scope(parts: &mut KeyParts, headers: &HeaderMap, context: &Context, reuse: &Reuse) {
    parts.add(reuse.scope.name().as_bytes());
    let name = match (&context.caller, reuse.scope) {
        (Some(caller), CacheScope::Key) => caller.credential_name(),
        _ => "",
    };
    parts.add(tenant(context, reuse).as_bytes());
    parts.add(name.as_bytes());
    // What is found by another method may have the same name, and so may several keys. An upstream that gets the
    // client's own key answers for an account of its own.
    let by_key = reuse.scope == CacheScope::Key;
    let shown = context
        .caller
        .as_ref()
        .and_then(|caller| caller.credential.as_ref());
    let method = shown
        .filter(|_| by_key)
        .map_or("", |shown| shown.method.name());
    parts.add(method.as_bytes());
    let is_by_key = by_key && shown.is_some_and(|shown| shown.key.is_some());
    let credential = (is_by_key || reuse.passes_keys).then(|| auth::key_of(headers));
    parts.add(credential.flatten().unwrap_or_default());
}
