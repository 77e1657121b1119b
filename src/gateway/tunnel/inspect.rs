//! Which model a body names that passes through.
//!
//! Owns reading a JSON body or a form (see `form`), up to `max_body` bytes in memory: the tenant's `models` hold
//! for the model at its top level, and the rule's name for it is put in where the rule has a target at the
//! tenant's home that names another one. A body that cannot be read here (it is not well-formed, compressed, or
//! larger) passes as it came for a tenant that may have every model, and is refused for any other, as elsewhere.
//! JSON that is no object passes as it comes. Does not handle where a request goes (see `target`), nor models
//! that are named deeper in a body, in a file, or by another object. Fails with what the client is told.

mod form;

use std::sync::Arc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use http::Method;
use http::header::CONTENT_TYPE;
use pingora::http::RequestHeader;

use crate::gateway::client_body::{self, Pace};
use crate::gateway::context::Context;
use crate::gateway::failure::{Failure, Unreadable};
use crate::gateway::headers::{self, Framing};
use crate::gateway::own_time;
use crate::gateway::plan::Plan;
use crate::gateway::session::ClientSession;
use crate::gateway::spool::Held;
use crate::openai::endpoint;
use crate::openai::form::{Form, FormError};
use crate::openai::request::{self, BodyError};
use crate::openai::slot::Slot;
use crate::tenants::Tenant;
use crate::upstreams::Payload;
use crate::workers::walk;

/// A request's body on its way, after a look at it.
pub struct Inspected {
    /// What has been read of it.
    pub ahead: Vec<Bytes>,
    /// What follows it, where all of the body has been read.
    pub rest: Option<Held>,
    /// How it is framed for the upstream.
    pub framing: Framing,
    /// How fast the rest has to come.
    pub pace: Pace,
}

impl Inspected {
    /// A body that is not looked at.
    pub fn unread(context: &Context, framing: Framing) -> Self {
        Self {
            ahead: Vec::new(),
            rest: None,
            framing,
            pace: Pace::new(Instant::now(), 0, &context.runtime.settings.limits),
        }
    }

    /// What is sent of it before the rest comes.
    pub fn payload(&self) -> Payload {
        let mut payload = Payload::default();
        self.ahead
            .iter()
            .cloned()
            .for_each(|bytes| payload.push(bytes));
        if let Some(rest) = &self.rest {
            rest.add_to(&mut payload, 0..rest.len() as u64);
        }
        payload
    }

    /// Takes another body, which is whole.
    fn replace(&mut self, body: Vec<Bytes>) {
        self.framing = Framing::Length(body.iter().map(|piece| piece.len() as u64).sum());
        self.ahead = body;
    }
}

/// What came of reading a body.
enum Read {
    /// All of it is there.
    Whole(Bytes),
    /// It is another JSON value than an object.
    NoObject,
    /// It does not begin like JSON, but a server may read it as such.
    NotJson,
    /// It is a form, and all of it is there.
    Form(Form),
    /// It is said to be a form, and is none that all servers read alike.
    NoForm(FormError),
    /// It cannot be looked at.
    Unreadable(Unreadable),
}

/// Looks at a body that may name a model. Notes the model and its rule in the context.
pub async fn inspect(
    client: &mut ClientSession,
    context: &mut Context,
    framing: Framing,
) -> Result<Inspected, Failure> {
    let limit = context.runtime.settings.max_body_bytes;
    let mut inspected = Inspected::unread(context, framing);
    let Some(tenant) = context.tenant().cloned() else {
        return Ok(inspected);
    };
    if !may_name_a_model(client.request(), &tenant, framing) {
        return Ok(inspected);
    }
    let reading = read(client, &mut inspected, limit);
    let read = own_time::timed(&mut context.outcome.waited, reading).await?;
    context.outcome.bytes_in += inspected.ahead.iter().map(Bytes::len).sum::<usize>();
    match read {
        Read::Whole(body) => {
            inspected.ahead = vec![body.clone()];
            if let Some((model, slot)) = model_in(&body, &tenant)?
                && let Some(name) = rename(&model, context, &tenant)?
            {
                inspected.replace(slot.filled_in(&body, request::rewritten_model(&name)));
            }
            Ok(inspected)
        }
        Read::Form(form) => {
            let Some(model) = form.model else {
                return Ok(inspected);
            };
            if let Some(name) = rename(&model, context, &tenant)? {
                let body = Bytes::from(inspected.ahead.concat());
                inspected.replace(form.slot.filled_in(&body, name.into_bytes()));
            }
            Ok(inspected)
        }
        Read::NoForm(error) if !tenant.allows_all() => Err(Failure::Form(error)),
        Read::Unreadable(why) if !tenant.allows_all() => Err(Failure::Unreadable(why)),
        Read::NotJson if !tenant.allows_all() => {
            let what = "it begins with a byte order mark, or is not UTF-8".to_owned();
            Err(Failure::Body(BodyError::NotJson(what)))
        }
        Read::NoObject | Read::NotJson | Read::NoForm(_) | Read::Unreadable(_) => Ok(inspected),
    }
}

/// Whether a body is looked at. One whose type does not say what it is, is for a tenant that may not have
/// every model: a server may take it for JSON.
fn may_name_a_model(request: &RequestHeader, tenant: &Tenant, framing: Framing) -> bool {
    let has_body = !matches!(framing, Framing::Bodiless | Framing::Length(0));
    let may_have_one = [Method::POST, Method::PUT, Method::PATCH].contains(&request.method);
    let may_name_one = match kind_of(request) {
        Kind::Json => true,
        Kind::Unsaid => !tenant.allows_all(),
        Kind::Form => endpoint::operation(request.uri.path()).is_none_or(form::may_name_a_model),
        Kind::Other => false,
    };
    has_body && may_have_one && may_name_one
}

/// What a body is, by its type.
#[derive(Debug, PartialEq, Eq)]
enum Kind {
    Json,
    Form,
    /// There is no type, one that clients set without being asked, or more than one.
    Unsaid,
    Other,
}

fn kind_of(request: &RequestHeader) -> Kind {
    let content_type = request.headers.get(CONTENT_TYPE);
    kind(content_type.map_or(&b""[..], |value| value.as_bytes()))
}

/// Whether a server may read as JSON what begins with this byte, although it is none to us: text behind a
/// byte order mark, or in UTF-16. What is said to be no JSON may begin with anything.
fn may_be_read_as_json(first: u8, kind: &Kind) -> bool {
    *kind == Kind::Json && [0, 0xEF, 0xFE, 0xFF].contains(&first)
}

fn kind(content_type: &[u8]) -> Kind {
    let essence = content_type.split(|byte| *byte == b';').next();
    let essence = essence.unwrap_or_default().trim_ascii();
    let essence = essence.to_ascii_lowercase();
    match essence.as_slice() {
        b"application/json" | b"text/json" => Kind::Json,
        json if json.ends_with(b"+json") => Kind::Json,
        b"multipart/form-data" => Kind::Form,
        b"" | b"text/plain" | b"application/x-www-form-urlencoded" => Kind::Unsaid,
        several if several.contains(&b',') => Kind::Unsaid,
        _ => Kind::Other,
    }
}

/// Reads a body as far as it may be JSON, and up to a limit.
async fn read(
    client: &mut ClientSession,
    inspected: &mut Inspected,
    limit: usize,
) -> Result<Read, Failure> {
    if !headers::is_plain(&client.request().headers) {
        return Ok(Read::Unreadable(Unreadable::ContentEncoding));
    }
    let kind = kind_of(client.request());
    if kind == Kind::Form {
        return form::read(client, &mut inspected.ahead, &mut inspected.pace, limit).await;
    }
    let too_large = Read::Unreadable(Unreadable::TooLarge { limit });
    let declared = client_body::declared_length(client).unwrap_or_default();
    client_body::invite(client).await?;
    let ahead = &mut inspected.ahead;
    let (mut length, mut has_begun) = (0, false);
    while let Some(chunk) = client_body::next(client, &mut inspected.pace).await? {
        // Over HTTP/2 an empty one may be the last.
        if chunk.is_empty() {
            continue;
        }
        let first = chunk
            .iter()
            .find(|byte| !byte.is_ascii_whitespace())
            .copied();
        length += chunk.len();
        ahead.push(chunk);
        match first {
            Some(first) if !has_begun && first != b'{' => {
                return Ok(match may_be_read_as_json(first, &kind) {
                    true => Read::NotJson,
                    false => Read::NoObject,
                });
            }
            first => has_begun |= first.is_some(),
        }
        if length.max(declared) > limit {
            return Ok(too_large);
        }
    }
    Ok(match ahead.as_slice() {
        [] => Read::NoObject,
        [only] => Read::Whole(only.clone()),
        pieces => {
            let mut body = BytesMut::with_capacity(length);
            pieces
                .iter()
                .for_each(|piece| body.extend_from_slice(piece));
            Read::Whole(body.freeze())
        }
    })
}

/// The model that JSON names, and its place.
fn model_in(body: &Bytes, tenant: &Tenant) -> Result<Option<(String, Slot)>, Failure> {
    match walk(body.len(), || request::peek(body)) {
        Ok(peek) => Ok(peek.model.map(|model| (model.into_owned(), peek.slot))),
        Err(BodyError::NotAnObject) => Ok(None),
        Err(_) if tenant.allows_all() => Ok(None),
        Err(error) => Err(Failure::Body(error)),
    }
}

/// The name that the tenant's home has for a model, where that is another one. Fails where the tenant may not
/// have the model.
fn rename(model: &str, context: &mut Context, tenant: &Tenant) -> Result<Option<String>, Failure> {
    let runtime = Arc::clone(&context.runtime);
    let plan = match Plan::new(&runtime, context, model) {
        Ok(plan) => plan,
        // What no rule serves is the home's to know.
        Err(_) if tenant.allows_all() => return Ok(None),
        Err(failure) => return Err(failure),
    };
    let targets = plan.rule().targets.all().iter();
    let at_home =
        targets.filter(|target| Some(target.upstream) == tenant.home && target.weight > 0);
    let target = at_home.min_by_key(|target| target.priority);
    let name = target.and_then(|target| target.model.clone());
    let name = name.filter(|name| name != model);
    context.outcome.sent_model.clone_from(&name);
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_known_by_its_type_however_that_is_written() {
        for json in [
            "application/json",
            "Application/JSON; charset=utf-8",
            "application/merge-patch+json",
            "text/json",
        ] {
            assert_eq!(kind(json.as_bytes()), Kind::Json, "{json}");
        }
        for unsaid in [
            "",
            "Text/Plain; charset=utf-8",
            "application/json, x",
            "application/x-www-form-urlencoded",
        ] {
            assert_eq!(kind(unsaid.as_bytes()), Kind::Unsaid, "{unsaid}");
        }
        assert_eq!(kind(b"Multipart/Form-Data; boundary=json"), Kind::Form);
        for other in ["application/jsonl", "multipart/mixed; boundary=b", "json"] {
            assert_eq!(kind(other.as_bytes()), Kind::Other, "{other}");
        }
    }
}
