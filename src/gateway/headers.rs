//! Which headers pass.
//!
//! Towards the upstream an allow-list: what is not named here stays with us, hop-by-hop headers
//! and the client's key above all. Towards the client a strip-list: what tells of the provider's
//! account, of its edge, or of a connection that is not the client's. The provider's key is set
//! last, so that nothing a client sends can remove or replace it.

use http::header::{
    ACCEPT_ENCODING, AUTHORIZATION, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, HOST,
    TRANSFER_ENCODING,
};
use http::{HeaderMap, HeaderName, HeaderValue, Version};
use pingora::http::{RequestHeader, ResponseHeader};

use crate::openai::endpoint::Exchange;
use crate::upstreams::Peer;

/// The header that carries our id of a request.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Tells nginx not to hold a stream back.
const ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// What a client may say to an upstream.
fn is_forwarded(name: &str) -> bool {
    matches!(
        name,
        "accept"
            | "anthropic-beta"
            | "anthropic-version"
            | "baggage"
            | "content-type"
            | "conversation_id"
            | "idempotency-key"
            | "openai-beta"
            | "session_id"
            | "thread-id"
            | "traceparent"
            | "tracestate"
            | "x-client-request-id"
            | "x-session-affinity"
    )
}

/// What an upstream says that is not for the client. The request's id is: ours takes its place.
fn is_stripped(name: &str) -> bool {
    matches!(
        name,
        "access-control-allow-credentials"
            | "access-control-allow-headers"
            | "access-control-allow-methods"
            | "access-control-allow-origin"
            | "access-control-expose-headers"
            | "access-control-max-age"
            | "alt-svc"
            | "anthropic-organization-id"
            | "connection"
            | "keep-alive"
            | "nel"
            | "openai-organization"
            | "openai-project"
            | "proxy-authenticate"
            | "proxy-connection"
            | "report-to"
            | "request-id"
            | "server"
            | "set-cookie"
            | "strict-transport-security"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
            | "via"
            | "x-request-id"
    ) || STRIPPED_PREFIXES
        .iter()
        .any(|prefix| name.starts_with(prefix))
}

const STRIPPED_PREFIXES: [&str; 6] = [
    "anthropic-ratelimit-",
    "apim-",
    "cf-",
    "proxy-",
    "x-ms-",
    "x-ratelimit-",
];

/// Builds the header for an upstream, but for what depends on the server that is asked: see
/// [`address`]. `None` when a part of it cannot go over the wire.
pub fn for_upstream(
    client: &RequestHeader,
    authorization: Option<HeaderValue>,
    body_bytes: usize,
) -> Option<RequestHeader> {
    let mut header = RequestHeader::build_no_case("POST", b"/", Some(16)).ok()?;
    for (name, value) in &client.headers {
        if is_forwarded(name.as_str()) && !is_nominated(&client.headers, name) {
            header.append_header(name.clone(), value.clone()).ok()?;
        }
    }
    if !header.headers.contains_key(CONTENT_TYPE) {
        header
            .insert_header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
            .ok()?;
    }
    // We must be able to read what comes back.
    header
        .insert_header(ACCEPT_ENCODING, HeaderValue::from_static("identity"))
        .ok()?;
    header
        .insert_header(CONTENT_LENGTH, HeaderValue::from(body_bytes))
        .ok()?;
    if let Some(authorization) = authorization {
        header.insert_header(AUTHORIZATION, authorization).ok()?;
    }
    Some(header)
}

/// Addresses a header to a server. `None` when its path cannot go over the wire.
pub fn address(mut header: RequestHeader, path: &str, peer: &Peer) -> Option<RequestHeader> {
    let path = [peer.base_path.as_str(), path].concat();
    header.set_raw_path(path.as_bytes()).ok()?;
    header.insert_header(HOST, peer.authority.clone()).ok()?;
    Some(header)
}

/// The endpoint's own path, and the client's query without any key in it.
pub fn target_path(client: &RequestHeader, exchange: &Exchange) -> String {
    let mut path = exchange.path.to_owned();
    let carries_key = |pair: &&str| {
        let name = pair.split('=').next().unwrap_or_default();
        ["key", "api_key", "api-key"].contains(&name)
    };
    let query = client.uri.query().unwrap_or_default();
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    for (count, pair) in pairs.filter(|pair| !carries_key(pair)).enumerate() {
        path.push(if count == 0 { '?' } else { '&' });
        path.push_str(pair);
    }
    path
}

/// Whether the client's `Connection` header says that `name` is for us alone.
fn is_nominated(headers: &HeaderMap, name: &HeaderName) -> bool {
    let values = headers.get_all(http::header::CONNECTION).into_iter();
    let mut nominated = values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','));
    nominated.any(|token| token.trim().eq_ignore_ascii_case(name.as_str()))
}

/// Makes the upstream's header one for the client, whose HTTP `version` it is. `None` when it
/// cannot go over the wire.
pub fn for_client(
    mut header: ResponseHeader,
    version: Version,
    request_id: &str,
) -> Option<ResponseHeader> {
    let names = header.headers.keys();
    let stripped: Vec<HeaderName> = names.filter(|n| is_stripped(n.as_str())).cloned().collect();
    for name in &stripped {
        header.remove_header(name);
    }
    header.set_version(Version::HTTP_11);
    if version == Version::HTTP_11 && !header.headers.contains_key(CONTENT_LENGTH) {
        // Without a length only the last chunk tells a complete answer from a cut one.
        let chunked = HeaderValue::from_static("chunked");
        header.insert_header(TRANSFER_ENCODING, chunked).ok()?;
    }
    if is_event_stream(&header.headers) {
        header
            .insert_header(ACCEL_BUFFERING, HeaderValue::from_static("no"))
            .ok()?;
        if !header.headers.contains_key(CACHE_CONTROL) {
            header
                .insert_header(CACHE_CONTROL, HeaderValue::from_static("no-cache"))
                .ok()?;
        }
    }
    header
        .insert_header(REQUEST_ID, HeaderValue::from_str(request_id).ok()?)
        .ok()?;
    Some(header)
}

/// Whether an answer is a stream of events.
pub fn is_event_stream(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|value| {
        let head = value.as_bytes().get(..17);
        head.is_some_and(|head| head.eq_ignore_ascii_case(b"text/event-stream"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_cannot_pass_a_header_that_it_nominates() {
        let mut headers = HeaderMap::new();
        headers.insert("connection", "close, OpenAI-Beta".parse().unwrap());
        assert!(is_nominated(
            &headers,
            &HeaderName::from_static("openai-beta")
        ));
        assert!(!is_nominated(&headers, &HeaderName::from_static("accept")));
    }

    #[test]
    fn what_tells_of_the_account_is_stripped() {
        for name in [
            "openai-organization",
            "x-ratelimit-limit-tokens",
            "cf-ray",
            "set-cookie",
        ] {
            assert!(is_stripped(name), "{name}");
        }
        for name in [
            "content-type",
            "openai-processing-ms",
            "content-disposition",
        ] {
            assert!(!is_stripped(name), "{name}");
        }
    }
}
