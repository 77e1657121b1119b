//! Which headers pass.
//!
//! Owns both directions: `request` decides what an upstream sees of a client's headers, `answer` what a
//! client sees of an upstream's. Cannot fail.

mod answer;
mod request;

use http::{HeaderMap, HeaderName, HeaderValue};

pub use answer::{Media, for_client, is_plain, media, ours};
pub use request::{
    Body, Framing, address, for_exchange, for_socket, for_tunnel, is_ambiguous, names, nominated,
    parameters, query, value,
};

/// The header that carries our id of a request.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The header that carries how many attempts were made.
pub const ATTEMPTS: HeaderName = HeaderName::from_static("x-tollgate-attempts");
/// The header that tells whether an answer was there already.
pub const CACHE: HeaderName = HeaderName::from_static("x-tollgate-cache");
/// The header that names the request whose answer that is.
pub const CACHE_ID: HeaderName = HeaderName::from_static("x-tollgate-cache-id");
/// The header that tells how near the question of that request is.
pub const SIMILARITY: HeaderName = HeaderName::from_static("x-tollgate-similarity");
/// The header that tells clients whether trying again may help.
pub const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");
/// The header that carries through how many gateways a request has come.
pub const HOPS: HeaderName = HeaderName::from_static("x-tollgate-hops");

/// A number as a header's value; nearly always 1, for which nothing is allocated.
pub fn count(number: usize) -> HeaderValue {
    match number {
        1 => HeaderValue::from_static("1"),
        number => HeaderValue::from(number),
    }
}

/// Through how many gateways a request has come.
pub fn hops(headers: &HeaderMap) -> u32 {
    let value = headers.get(HOPS).and_then(|value| value.to_str().ok());
    value.map_or(0, |value| value.trim().parse().unwrap_or(u32::MAX))
}

/// The codings that an upstream may answer an error in, since we can decompress them; `identity` is none.
pub const CODINGS: [&str; 3] = ["gzip", "br", "identity"];
