//! What the client sees of an answer's header.
//!
//! Owns the list of headers that are removed: those that tell of the provider's account or of its edge,
//! those of a connection that is not the client's, and those that a proxy in front of us would obey.
//! Cannot fail.

use http::header::{
    CACHE_CONTROL, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, TRANSFER_ENCODING,
};
use http::response::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, Version};
use pingora::http::RequestHeader;

use super::REQUEST_ID;

/// Tells nginx not to hold a stream back.
const ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

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
            | "authentication-info"
            | "authorization"
            | "clear-site-data"
            | "connection"
            | "expect-ct"
            | "keep-alive"
            | "nel"
            | "openai-organization"
            | "openai-project"
            | "public-key-pins"
            | "public-key-pins-report-only"
            | "refresh"
            | "report-to"
            | "request-id"
            | "server"
            | "set-cookie"
            | "set-cookie2"
            | "strict-transport-security"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
            | "via"
            | "x-request-id"
            | "x-send-file"
            | "x-sendfile"
            | "x-should-retry"
    ) || STRIPPED_PREFIXES
        .iter()
        .any(|prefix| name.starts_with(prefix))
}

const STRIPPED_PREFIXES: [&str; 12] = [
    "anthropic-ratelimit-",
    "apim-",
    "cf-",
    "proxy-",
    // nginx, its zip module, lighttpd, LiteSpeed, Perlbal: they would fetch what it names.
    "x-accel-",
    "x-archive-",
    "x-lighttpd-",
    "x-litespeed-",
    "x-ms-",
    "x-ratelimit-",
    "x-reproxy-",
    "x-tollgate-",
];

/// What says how a body is to be read passes although `Connection` nominates it.
const KEPT: [HeaderName; 3] = [CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE];

/// The header of an answer that is ours, with what its body is.
pub fn ours(status: StatusCode, media: &'static str) -> Parts {
    let (mut header, ()) = Response::new(()).into_parts();
    header.status = status;
    let media = HeaderValue::from_static(media);
    header.headers.insert(CONTENT_TYPE, media);
    header
}

/// Makes the upstream's header one for the client and its `request`.
pub fn for_client(mut header: Parts, request: &RequestHeader, request_id: &str) -> Parts {
    remove_nominated(&mut header.headers);
    let names = header.headers.keys();
    let stripped: Vec<HeaderName> = names.filter(|n| is_stripped(n.as_str())).cloned().collect();
    for name in stripped {
        header.headers.remove(name);
    }
    header.version = Version::HTTP_11;
    let has_length = header.headers.contains_key(CONTENT_LENGTH);
    if request.version == Version::HTTP_11 && !has_length && has_body(&header, request) {
        // Without a length only the last chunk tells a complete answer from a cut one.
        let chunked = HeaderValue::from_static("chunked");
        header.headers.insert(TRANSFER_ENCODING, chunked);
    }
    if media(&header.headers) == Media::Events {
        let no = HeaderValue::from_static("no");
        header.headers.insert(ACCEL_BUFFERING, no);
        let no_cache = HeaderValue::from_static("no-cache");
        header.headers.entry(CACHE_CONTROL).or_insert(no_cache);
    }
    // Ours are letters and digits.
    if let Ok(id) = HeaderValue::from_str(request_id) {
        header.headers.insert(REQUEST_ID, id);
    }
    header
}

/// Removes the headers that the upstream's `Connection` says are for us alone.
fn remove_nominated(headers: &mut HeaderMap) {
    // Nearly all that say anything say this.
    let is_usual = |value: &HeaderValue| {
        let value = value.as_bytes();
        value.eq_ignore_ascii_case(b"keep-alive") || value.eq_ignore_ascii_case(b"close")
    };
    if headers.get_all(CONNECTION).iter().all(is_usual) {
        return;
    }
    let connections: Vec<HeaderValue> = headers.get_all(CONNECTION).into_iter().cloned().collect();
    for name in connections
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
    {
        if let Ok(name) = HeaderName::from_bytes(name.trim_ascii())
            && !KEPT.contains(&name)
        {
            headers.remove(name);
        }
    }
}

fn has_body(answer: &Parts, request: &RequestHeader) -> bool {
    let bodiless = [StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED];
    request.method != Method::HEAD && !bodiless.contains(&answer.status)
}

/// What an answer's body is, as far as it matters to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Media {
    /// A stream of events.
    Events,
    /// JSON.
    Json,
    /// A page for people.
    Html,
    /// Anything else, or nothing said.
    Other,
}

/// What an answer's body is.
pub fn media(headers: &HeaderMap) -> Media {
    let Some(value) = headers.get(CONTENT_TYPE) else {
        return Media::Other;
    };
    let begins = |media_type: &[u8]| {
        let head = value.as_bytes().get(..media_type.len());
        head.is_some_and(|head| head.eq_ignore_ascii_case(media_type))
    };
    if begins(b"application/json") {
        Media::Json
    } else if begins(b"text/event-stream") {
        Media::Events
    } else if begins(b"text/html") {
        Media::Html
    } else {
        Media::Other
    }
}

/// Whether an answer's body is as it says, and not compressed.
pub fn is_plain(headers: &HeaderMap) -> bool {
    let encoding = headers.get(CONTENT_ENCODING);
    encoding.is_none_or(|encoding| encoding.as_bytes().eq_ignore_ascii_case(b"identity"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_tells_of_the_account_is_stripped() {
        for name in [
            "openai-organization",
            "x-ratelimit-limit-tokens",
            "cf-ray",
            "set-cookie",
            "set-cookie2",
            "authorization",
            "proxy-authorization",
            "x-accel-redirect",
            "x-sendfile",
            "x-lighttpd-send-file",
            "x-litespeed-location",
            "x-reproxy-url",
            "x-archive-files",
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

    #[test]
    fn what_connection_nominates_is_removed_but_for_what_a_body_is_read_by() {
        let mut headers = HeaderMap::new();
        headers.append(
            "connection",
            HeaderValue::from_static("Keep-Alive, X-One,,"),
        );
        headers.append(
            "connection",
            HeaderValue::from_static(" x-two , Content-Length, \"x-odd\""),
        );
        for name in ["x-one", "x-two", "x-three", "content-length"] {
            headers.insert(name, HeaderValue::from_static("5"));
        }
        remove_nominated(&mut headers);
        let mut names: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["connection", "content-length", "x-three"]);
    }
}
