//! What the client sees of an answer's header.
//!
//! A strip-list: what tells of the provider's account, of its edge, or of a connection that is not
//! the client's stays with us.

use http::header::{
    CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, TRANSFER_ENCODING,
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
            | "x-should-retry"
    ) || STRIPPED_PREFIXES
        .iter()
        .any(|prefix| name.starts_with(prefix))
}

const STRIPPED_PREFIXES: [&str; 7] = [
    "anthropic-ratelimit-",
    "apim-",
    "cf-",
    "proxy-",
    "x-ms-",
    "x-ratelimit-",
    "x-tollgate-",
];

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
