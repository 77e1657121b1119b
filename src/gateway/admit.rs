//! The second step: which endpoint is asked, and by whom.
//!
//! Owns the checks that need only the request's header: method and path, credential, flood guard, a
//! free slot, hops, content type. Finds the caller once, as a [`Principal`](crate::runtime::Principal).
//! Does not handle framing (see `framing`). Each refusal is a [`Failure`].

use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use pingora::http::RequestHeader;

use super::context::Context;
use super::cors;
use super::failure::{Failure, NoCaller, Unreadable};
use super::headers;
use super::session::ClientSession;
use crate::auth::{self, NotOnce, Refused, Shown, SignatureRefused};
use crate::clock;
use crate::config::Method;
use crate::observe::metrics::Shed;
use crate::openai::endpoint::{self, Endpoint, Exchange};
use crate::openai::references;
use crate::runtime::Principal;

/// The endpoint that the request names, if it takes the method.
pub fn endpoint<'p>(path: &'p str, method: &http::Method) -> Option<Endpoint<'p>> {
    let endpoint = Endpoint::find(path)?;
    let allowed = endpoint.method();
    let reads_header_only = allowed == http::Method::GET && method == http::Method::HEAD;
    (*method == allowed || reads_header_only).then_some(endpoint)
}

/// What a request is told that is for no endpoint and does not pass unread.
pub fn nobody_serves(request: &RequestHeader) -> Failure {
    let method = request.method.clone();
    let path = request.uri.path().to_owned();
    match Endpoint::find(&path).map(|endpoint| endpoint.method()) {
        Some(allowed) => Failure::WrongMethod {
            method,
            allowed,
            path,
        },
        None => Failure::UnknownPath { method, path },
    }
}

/// What a request is told that would pass unread, but that its tenant has no home.
pub fn has_no_home(request: &RequestHeader) -> Failure {
    match nobody_serves(request) {
        Failure::UnknownPath { method, path }
            if endpoint::suggestion(&path).is_none() && !endpoint::is_disguised(&path) =>
        {
            Failure::NoHome { method, path }
        }
        failure => failure,
    }
}

/// Refuses an address that may not come to the listener.
pub fn address(context: &Context) -> Result<(), Failure> {
    let (request, settings) = (&context.request, &context.runtime.settings);
    let listener = settings.listener(request.listener);
    if listener.is_none_or(|listener| listener.permits(request.client)) {
        return Ok(());
    }
    context.in_flight.shared().metrics.callers().addresses.inc();
    Err(Failure::Address)
}

/// Finds the caller, and refuses a request that may run in a circle of gateways.
pub async fn caller(request: &RequestHeader, context: &mut Context) -> Result<(), Failure> {
    found(auth::key_of(&request.headers), request, context).await?;
    hops(&request.headers, context)
}

/// Refuses what may be running in a circle of gateways.
pub fn hops(headers: &HeaderMap, context: &Context) -> Result<(), Failure> {
    match headers::hops(headers) < context.runtime.settings.retries.hops {
        true => Ok(()),
        false => Err(Failure::Loop),
    }
}

/// Finds the caller of a request, which came with this key, and gives the request a place among those that are
/// served.
pub async fn found(
    key: Option<&[u8]>,
    request: &RequestHeader,
    context: &mut Context,
) -> Result<(), Failure> {
    if context.request.floods {
        return Err(Failure::Flood);
    }
    let shown = Shown {
        method: &request.method,
        uri: &request.uri,
        headers: &request.headers,
        key,
        certificate: context.request.certificate.as_deref(),
        certificate_counts: cors::certificate_counts(
            context.runtime.settings.cors.as_ref(),
            &request.headers,
        ),
        listener: context.request.listener,
        address: context.request.client,
    };
    let mut found = context.runtime.principal(&shown);
    // Its issuer may have a new key by now. What is rare has room of its own.
    if let Err(refused) = &found
        && let Some(remote) = refused.remote()
        && Box::pin(remote.ask_again()).await
    {
        found = context.runtime.principal(&shown);
    }
    let found = found.and_then(|principal| match count_once(&principal, context) {
        Ok(()) => Ok(principal),
        Err(why) => Err(Refused::Signature(SignatureRefused::NotOnce(why))),
    });
    let principal = found.map_err(|refused| {
        let method = refused.method().map_or("none", Method::name);
        let metrics = &context.in_flight.shared().metrics;
        metrics.callers().refused(method, refused.reason());
        let taken = context.runtime.methods(shown.listener);
        Failure::Caller(NoCaller::new(refused, &shown, taken))
    })?;
    context.caller = Some(principal);
    // What has no caller takes no place from what has one.
    let limit = context.runtime.settings.limits.requests;
    match context.in_flight.serve(limit) {
        true => Ok(()),
        false => Err(Failure::Shed(Shed::Requests)),
    }
}

/// Has a signature count, where there is one. The list of models looks for its caller twice.
fn count_once(principal: &Principal, context: &Context) -> Result<(), NotOnce> {
    let Some(signature) = &principal.signature else {
        return Ok(());
    };
    let before = context
        .caller
        .as_ref()
        .and_then(|caller| caller.signature.as_ref());
    match before.is_some_and(|before| before.is(signature)) {
        true => Ok(()),
        false => signature.take(clock::now_unix_seconds()),
    }
}

/// Has the body of a signed request be the one that was signed: it has no end unless it is.
pub fn body(session: &mut ClientSession, context: &Context) {
    let caller = context.caller.as_ref();
    if let Some(signature) = caller.and_then(|caller| caller.signature.as_ref()) {
        session.expect_body(signature.body.clone());
    }
}

/// Refuses a way on which nothing is read to a tenant whose requests are to be.
pub fn unread(path: &str, context: &Context) -> Result<(), Failure> {
    match context.tenant().is_some_and(|tenant| tenant.is_strict) {
        true => Err(Failure::Unread {
            path: path.to_owned(),
        }),
        false => Ok(()),
    }
}

/// Refuses a query that names what a strict tenant may not name.
pub fn query(request: &RequestHeader) -> Result<(), Failure> {
    let named = headers::parameters(request).find_map(|name| references::of_parameter(&name));
    named.map_or(Ok(()), |reference| Err(Failure::Names(reference)))
}

/// What a body is, by its header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// JSON, or nothing said.
    Json,
    /// A form.
    Form,
}

/// Refuses a body that the endpoint does not take before any of it is read.
pub fn content(headers: &HeaderMap, endpoint: &Exchange) -> Result<Content, Failure> {
    if let Some(encoding) = headers.get(CONTENT_ENCODING)
        && !encoding.as_bytes().eq_ignore_ascii_case(b"identity")
    {
        return Err(Failure::Unreadable(Unreadable::ContentEncoding));
    }
    let Some(content_type) = headers.get(CONTENT_TYPE) else {
        return Ok(Content::Json);
    };
    let media_type = content_type.as_bytes().split(|byte| *byte == b';').next();
    let media_type = media_type.unwrap_or_default().trim_ascii();
    if media_type.eq_ignore_ascii_case(b"application/json")
        || media_type.to_ascii_lowercase().ends_with(b"+json")
    {
        return Ok(Content::Json);
    }
    if endpoint.takes_form && media_type.eq_ignore_ascii_case(b"multipart/form-data") {
        return Ok(Content::Form);
    }
    Err(Failure::Unreadable(Unreadable::ContentType {
        found: String::from_utf8_lossy(media_type).into_owned(),
        takes: match endpoint.takes_form {
            true => "multipart/form-data",
            false => "application/json",
        },
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(path: &str, name: &'static str, value: &'static str) -> Result<Content, Failure> {
        let mut headers = HeaderMap::new();
        headers.insert(name, value.parse().unwrap());
        match Endpoint::find(path) {
            Some(Endpoint::Exchange(endpoint)) => content(&headers, endpoint),
            other => unreachable!("{path} is {other:?}"),
        }
    }

    #[test]
    fn json_in_its_forms_is_taken_everywhere_and_forms_where_they_belong() {
        let (chat, speech) = ("/v1/chat/completions", "/v1/audio/transcriptions");
        for path in [chat, speech] {
            for good in [
                "application/json",
                "Application/JSON; charset=utf-8",
                "application/vnd.api+json",
            ] {
                assert_eq!(
                    of(path, "content-type", good).unwrap(),
                    Content::Json,
                    "{good}"
                );
            }
            for bad in ["text/plain", ""] {
                assert!(of(path, "content-type", bad).is_err(), "{bad}");
            }
            assert!(of(path, "content-encoding", "identity").is_ok());
            assert!(of(path, "content-encoding", "gzip").is_err());
        }
        let form = "multipart/form-data; boundary=x";
        assert!(of(chat, "content-type", form).is_err());
        assert_eq!(of(speech, "content-type", form).unwrap(), Content::Form);
    }
}
