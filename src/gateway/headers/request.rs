//! What an upstream sees of a request's header.
//!
//! Where we read the request, and for the API as a whole, an allow-list: what is neither named here
//! nor in the upstream's `forward_headers` stays with us. Where another service is forwarded to,
//! whose headers we cannot know, a list of what is withheld: the client's credentials, what is about
//! its connection to us, and what tells of its network (`openai::forwarding`). The dialect's own
//! headers and the provider's key are set last, so that nothing a client sends can remove or replace
//! them.

use http::header::{
    ACCEPT_ENCODING, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request};
use pingora::http::RequestHeader;

use super::CODINGS;
use crate::openai::forwarding;
use crate::upstreams::{Peer, Upstream};

/// Pairs of a query in which clients send their key.
const KEYS_IN_QUERY: [&str; 3] = ["key", "api_key", "api-key"];

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
            | "http-referer"
            | "idempotency-key"
            | "openai-beta"
            | "openai-safety-identifier"
            | "originator"
            | "session-id"
            | "session_id"
            | "thread-id"
            | "traceparent"
            | "tracestate"
            | "user-agent"
            | "x-client-request-id"
            | "x-session-affinity"
            | "x-title"
    )
}

/// What it may say besides where neither the request nor its answer is read.
fn is_forwarded_unread(name: &str) -> bool {
    is_forwarded(name)
        || matches!(
            name,
            "accept-encoding"
                | "accept-language"
                | "content-disposition"
                | "content-encoding"
                | "content-language"
                | "content-md5"
                | "if-match"
                | "if-modified-since"
                | "if-none-match"
                | "if-range"
                | "if-unmodified-since"
                | "range"
        )
}

/// What another service does not see. What is about the client's browser or library rather than
/// about its request may be forwarded where the operator names it.
fn is_withheld(name: &str) -> bool {
    forwarding::withheld(name).is_some()
        || matches!(name, "origin" | "referer" | "x-request-id")
        || name.starts_with("x-stainless-")
}

/// The body that a header announces.
pub struct Body<'a> {
    /// Its length in bytes.
    pub length: u64,
    /// Its type, where the client has not said it.
    pub content_type: &'a HeaderValue,
}

/// The header of an exchanged request, but for what depends on the server that is asked: see
/// [`address`].
pub fn for_exchange(
    client: &RequestHeader,
    upstream: &Upstream,
    credential: Option<HeaderValue>,
    body: &Body<'_>,
) -> RequestHeader {
    let mut headers = build(client, is_forwarded, upstream, credential);
    if !headers.contains_key(CONTENT_TYPE) {
        headers.insert(CONTENT_TYPE, body.content_type.clone());
    }
    // We must be able to read what comes back.
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(body.length));
    request(Method::POST, headers)
}

/// How the body of a request is framed that passes while it comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// There is no body.
    Bodiless,
    /// So many bytes.
    Length(u64),
    /// In chunks, until the last one.
    Chunked,
}

/// The header of a tunnelled request, but for what depends on the server. The framing is written anew:
/// what a client says of it is never copied. `is_api` tells the API from another service.
pub fn for_tunnel(
    client: &RequestHeader,
    upstream: &Upstream,
    credential: Option<HeaderValue>,
    is_api: bool,
    framing: Framing,
) -> RequestHeader {
    let passes = |name: &str| match is_api {
        true => is_forwarded_unread(name),
        false => !is_withheld(name),
    };
    let mut headers = build(client, passes, upstream, credential);
    if headers.contains_key(ACCEPT_ENCODING) {
        headers.insert(ACCEPT_ENCODING, unpackable(&client.headers));
    }
    match framing {
        Framing::Bodiless => None,
        Framing::Length(length) => headers.insert(CONTENT_LENGTH, HeaderValue::from(length)),
        Framing::Chunked => {
            let chunked = HeaderValue::from_static("chunked");
            headers.insert(TRANSFER_ENCODING, chunked)
        }
    };
    request(client.method.clone(), headers)
}

/// What of the codings that a client takes can be unpacked here: an error must be readable.
fn unpackable(client: &HeaderMap) -> HeaderValue {
    let values = client.get_all(ACCEPT_ENCODING).into_iter();
    let codings = values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','));
    let is_known = |coding: &&str| {
        let name = coding.split(';').next().unwrap_or_default().trim();
        CODINGS.iter().any(|known| known.eq_ignore_ascii_case(name))
    };
    let known: Vec<&str> = codings.map(str::trim).filter(is_known).collect();
    let none = HeaderValue::from_static("identity");
    match known.as_slice() {
        [] => none,
        known => HeaderValue::from_str(&known.join(", ")).unwrap_or(none),
    }
}

/// The header that opens a WebSocket at an upstream. `protocols` are the subprotocols offered.
/// `None` when they cannot go over the wire, or the client's key is missing.
pub fn for_socket(
    client: &RequestHeader,
    upstream: &Upstream,
    credential: Option<HeaderValue>,
    protocols: &str,
) -> Option<RequestHeader> {
    let mut headers = build(client, is_forwarded, upstream, credential);
    headers.remove(CONTENT_TYPE);
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
    let key = client.headers.get(SEC_WEBSOCKET_KEY)?.clone();
    headers.insert(SEC_WEBSOCKET_KEY, key);
    if !protocols.is_empty() {
        let protocols = HeaderValue::from_str(protocols).ok()?;
        headers.insert(SEC_WEBSOCKET_PROTOCOL, protocols);
    }
    Some(request(Method::GET, headers))
}

fn build(
    client: &RequestHeader,
    passes: impl Fn(&str) -> bool,
    upstream: &Upstream,
    credential: Option<HeaderValue>,
) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(16);
    let dialect = &upstream.dialect;
    let nominated = nominated(&client.headers);
    let is_ours = |name: &str| names(&nominated, name);
    let is_added =
        |name: &HeaderName| upstream.forward_headers.passes(name) && *name != dialect.key_header;
    for (name, value) in &client.headers {
        if (passes(name.as_str()) || is_added(name)) && !is_ours(name.as_str()) {
            headers.append(name, value.clone());
        }
    }
    if upstream.hops {
        let hops = super::hops(&client.headers).saturating_add(1);
        let hops = usize::try_from(hops).unwrap_or(usize::MAX);
        headers.insert(super::HOPS, super::count(hops));
    }
    for (name, value) in &dialect.headers {
        headers.insert(name, value.clone());
    }
    if let Some(credential) = credential {
        headers.insert(&dialect.key_header, credential);
    }
    headers
}

/// Pingora's own insertions would read each name anew.
fn request(method: Method, headers: HeaderMap) -> RequestHeader {
    let (mut parts, ()) = Request::new(()).into_parts();
    parts.method = method;
    parts.headers = headers;
    RequestHeader::from(parts)
}

/// Addresses a header to a path of a server. `None` when the path cannot go over the wire.
pub fn address(header: &mut RequestHeader, path: &str, peer: &Peer) -> Option<()> {
    header.set_raw_path(path.as_bytes()).ok()?;
    header.insert_header(HOST, peer.authority.clone()).ok()
}

/// The client's query without any key in it, and without the pairs that `left_out` names.
pub fn query(client: &RequestHeader, left_out: &[&str]) -> String {
    let query = client.uri.query().unwrap_or_default();
    let kept = query.split('&').filter(|pair| {
        let name = name_of(pair);
        let mut withheld = KEYS_IN_QUERY.iter().chain(left_out);
        !pair.is_empty() && !withheld.any(|withheld| name.eq_ignore_ascii_case(withheld))
    });
    let mut out = String::new();
    for pair in kept {
        let separator = if out.is_empty() { "" } else { "&" };
        out.push_str(separator);
        out.push_str(pair);
    }
    out
}

/// Whether one of these names stands twice in the client's query, or in another spelling: the upstream
/// may take another of them than we do.
pub fn is_ambiguous(client: &RequestHeader, names: &[&str]) -> bool {
    let query = client.uri.query().unwrap_or_default();
    let letters = |name: &str| -> String {
        let letters = name.chars().filter(char::is_ascii_alphanumeric);
        letters.map(|c| c.to_ascii_lowercase()).collect()
    };
    let pairs: Vec<&str> = query.split('&').collect();
    names.iter().any(|name| {
        let wanted = letters(name);
        let mut alike = pairs
            .iter()
            .filter(|pair| letters(&name_of(pair)) == wanted);
        let first = alike.next();
        let is_exact = first.is_none_or(|pair| pair.split('=').next() == Some(*name));
        !is_exact || alike.next().is_some()
    })
}

/// The names in the client's query, decoded.
pub fn parameters(client: &RequestHeader) -> impl Iterator<Item = String> {
    client
        .uri
        .query()
        .unwrap_or_default()
        .split('&')
        .map(name_of)
}

/// The value of a name in the client's query, decoded.
pub fn value(client: &RequestHeader, name: &str) -> Option<String> {
    let mut pairs = client.uri.query()?.split('&');
    let (_, value) = pairs.find(|pair| name_of(pair) == name)?.split_once('=')?;
    Some(decoded(value))
}

/// The name of a pair as the upstream reads it, however it is written.
fn name_of(pair: &str) -> String {
    decoded(pair.split('=').next().unwrap_or_default())
}

fn decoded(text: &str) -> String {
    let spaced = text.replace('+', " ");
    let decoded = percent_encoding::percent_decode_str(&spaced);
    decoded.decode_utf8_lossy().into_owned()
}

/// The headers that the client's `Connection` header says are for us alone; few, as `framing` has
/// seen to.
pub fn nominated(headers: &HeaderMap) -> Vec<&str> {
    let values = headers.get_all(CONNECTION).into_iter();
    let tokens = values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','));
    tokens.map(str::trim).collect()
}

/// Whether a header is one of those.
pub fn names(nominated: &[&str], name: &str) -> bool {
    nominated.iter().any(|n| n.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_client_nominates_is_known() {
        let mut headers = HeaderMap::new();
        headers.insert("connection", "close, OpenAI-Beta".parse().unwrap());
        assert_eq!(nominated(&headers), ["close", "OpenAI-Beta"]);
    }

    #[test]
    fn only_codings_that_can_be_unpacked_are_asked_for() {
        for (accepted, asked) in [
            (&["gzip, deflate, br, zstd"][..], "gzip, br"),
            (
                &["GZIP;q=0.5, identity; q=0", "br"],
                "GZIP;q=0.5, identity; q=0, br",
            ),
            (&["zstd, *"], "identity"),
            (&[""], "identity"),
        ] {
            let mut headers = HeaderMap::new();
            for value in accepted {
                headers.append(ACCEPT_ENCODING, HeaderValue::from_static(value));
            }
            assert_eq!(unpackable(&headers), asked, "{accepted:?}");
        }
    }

    #[test]
    fn another_service_sees_everything_but_credentials_and_connections() {
        for name in ["x-goog-upload-offset", "user-agent", "range", "x-custom"] {
            assert!(!is_withheld(name), "{name}");
        }
        for name in [
            "authorization",
            "cookie",
            "x-forwarded-for",
            "sec-fetch-mode",
        ] {
            assert!(is_withheld(name), "{name}");
        }
    }

    #[test]
    fn a_query_loses_its_keys_and_what_is_left_out() {
        let request = |uri: &str| RequestHeader::build("GET", uri.as_bytes(), None).unwrap();
        let full = request("/x?a=1&key=K&b=&api_key=K&model=m&&c");
        assert_eq!(query(&full, &[]), "a=1&b=&model=m&c");
        assert_eq!(query(&full, &["model"]), "a=1&b=&c");
        assert_eq!(query(&request("/x"), &[]), "");
        let named = request("/x?model=gpt%2D4o+x&model=other");
        assert_eq!(value(&named, "model").as_deref(), Some("gpt-4o x"));
        assert_eq!(value(&named, "call_id"), None);
    }

    #[test]
    fn a_name_that_stands_twice_or_is_spelt_otherwise_is_ambiguous() {
        let is = |query: &str| {
            let uri = format!("/x?{query}");
            let request = RequestHeader::build("GET", uri.as_bytes(), None).unwrap();
            is_ambiguous(&request, &["model", "call_id"])
        };
        for plain in ["", "model=a", "model=a&call_id=b", "b=1&c=2&c=3", "model"] {
            assert!(!is(plain), "{plain}");
        }
        for odd in [
            "model=a&model=b",
            "call_id&call_id=b",
            "Model=a",
            "mod%65l=a",
            "call-id=a",
            "call_id[]=a",
            "model%20=a",
            "callId=a",
            "+model=a",
        ] {
            assert!(is(odd), "{odd}");
        }
    }

    #[test]
    fn a_name_in_a_query_is_known_however_it_is_written() {
        let uri = b"/x?mod%65l=a&MODEL=b&k%65y=K&Api_Key=K&model&b=1";
        let odd = RequestHeader::build("GET", uri, None).unwrap();
        assert_eq!(query(&odd, &["model"]), "b=1");
        assert_eq!(value(&odd, "model").as_deref(), Some("a"));
    }
}
