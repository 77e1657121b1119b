//! Web pages of other origins (CORS).
//!
//! Owns what a browser is told: the answer to its preflight, which needs no key, and the headers by which it lets a
//! page read an answer. An origin that may not call is served as any other client, and its browser keeps the answer
//! from the page. Does not handle which origins may (see `config::server::cors`). Cannot fail.

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
    ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
};
use http::response::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode};
use pingora::http::RequestHeader;

use crate::config::Cors;

/// How the origin of a page and ours are related, by its browser.
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// What a page may ask with.
const METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE";
/// The headers of answers that a page may read besides those that it always may.
const EXPOSED: &str = "x-request-id, retry-after, x-should-retry, openai-processing-ms, \
     x-ratelimit-limit-requests, x-ratelimit-remaining-requests, x-ratelimit-reset-requests, \
     x-ratelimit-limit-tokens, x-ratelimit-remaining-tokens, x-ratelimit-reset-tokens";
/// A longer list of headers is not permitted.
const MAX_ASKED_BYTES: usize = 4096;

/// The headers that every answer to a request has besides its own: none where it is of no page that may call.
pub fn headers(cors: &Cors, request: &HeaderMap) -> Vec<(HeaderName, HeaderValue)> {
    let Some(origin) = permitted(cors, request) else {
        return vec![(VARY, HeaderValue::from_static("origin"))];
    };
    let mut headers = vec![
        (VARY, HeaderValue::from_static("origin")),
        (ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone()),
        (
            ACCESS_CONTROL_EXPOSE_HEADERS,
            HeaderValue::from_static(EXPOSED),
        ),
    ];
    if cors.credentials {
        headers.push((
            ACCESS_CONTROL_ALLOW_CREDENTIALS,
            HeaderValue::from_static("true"),
        ));
    }
    headers
}

/// The answer to a preflight, where the request is one. The headers of every answer come besides.
pub fn preflight(cors: &Cors, request: &RequestHeader) -> Option<Parts> {
    let asked = &request.headers;
    if request.method != Method::OPTIONS || !asked.contains_key(ACCESS_CONTROL_REQUEST_METHOD) {
        return None;
    }
    asked.get(ORIGIN)?;
    let (mut header, ()) = Response::new(()).into_parts();
    header.status = StatusCode::NO_CONTENT;
    if permitted(cors, asked).is_some() {
        let methods = HeaderValue::from_static(METHODS);
        header.headers.insert(ACCESS_CONTROL_ALLOW_METHODS, methods);
        let age = HeaderValue::from(cors.max_age.as_secs());
        header.headers.insert(ACCESS_CONTROL_MAX_AGE, age);
        // Those that are asked for: what a request may not have is refused when it comes.
        if let Some(names) = asked
            .get(ACCESS_CONTROL_REQUEST_HEADERS)
            .filter(|n| is_list(n))
        {
            header
                .headers
                .insert(ACCESS_CONTROL_ALLOW_HEADERS, names.clone());
        }
    }
    Some(header)
}

/// Whether a client certificate counts for a request. A browser sends it with the requests of
/// every page. A request of a page of another origin counts if `cors` permits it.
pub fn certificate_counts(cors: Option<&Cors>, request: &HeaderMap) -> bool {
    if request.get_all(ORIGIN).iter().next().is_none() {
        // Old browsers leave the origin out of what changes nothing; all name the site.
        let site = request.get(SEC_FETCH_SITE).map(HeaderValue::as_bytes);
        return site.is_none_or(|site| matches!(site, b"same-origin" | b"none"));
    }
    cors.is_some_and(|cors| cors.credentials && permitted(cors, request).is_some())
}

/// The origin of a request, where there is one and its pages may call.
fn permitted<'h>(cors: &Cors, request: &'h HeaderMap) -> Option<&'h HeaderValue> {
    let mut origins = request.get_all(ORIGIN).iter();
    let origin = origins.next().filter(|_| origins.next().is_none())?;
    cors.permits(origin.to_str().ok()?).then_some(origin)
}

/// Whether it is a list of names of headers.
fn is_list(names: &HeaderValue) -> bool {
    let bytes = names.as_bytes();
    bytes.len() <= MAX_ASKED_BYTES
        && bytes
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_, ".contains(byte))
}
