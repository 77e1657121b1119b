//! A listener that sends its clients to HTTPS.
//!
//! Owns the answer: the same path and query, at a host that is configured or that the request names. No key is looked
//! at and no body is read. Fails for a request whose host is none.

use http::header::{AUTHORIZATION, LOCATION};
use http::response::Parts;
use http::{HeaderValue, Response, StatusCode, Uri};
use pingora::http::RequestHeader;

use super::failure::Failure;
use crate::auth;
use crate::config::RedirectTo;

/// The longest name of a host, with its port.
const MAX_HOST_BYTES: usize = 260;

/// The header of the answer. It has no body.
pub fn to(target: &RedirectTo, request: &RequestHeader) -> Result<Parts, Failure> {
    let named;
    let base = match target {
        RedirectTo::Fixed(base) => base,
        RedirectTo::SameHost => {
            let host = host(request).ok_or(Failure::Framing("its host is not the name of one"))?;
            named = format!("https://{host}");
            &named
        }
    };
    let target = request
        .uri
        .path_and_query()
        .map_or("/", |target| target.as_str());
    // What is asked of no path is asked of the server.
    let target = if target.starts_with('/') { target } else { "/" };
    let location = HeaderValue::try_from(format!("{base}{target}"));
    let location = location.map_err(|_| Failure::Framing("its target cannot be sent back"))?;
    let (mut header, ()) = Response::new(()).into_parts();
    // The method and the body stay as they are.
    header.status = StatusCode::PERMANENT_REDIRECT;
    header.headers.insert(LOCATION, location);
    Ok(header)
}

/// Whether a request has sent a key, which has come in cleartext.
pub fn exposes_key(request: &RequestHeader) -> bool {
    request.headers.contains_key(AUTHORIZATION) || auth::key_of(&request.headers).is_some()
}

/// The host that a request names, without its port.
fn host(request: &RequestHeader) -> Option<String> {
    let header = request.headers.get(http::header::HOST);
    let text = match request.uri.authority() {
        Some(authority) => authority.as_str(),
        None => header?.to_str().ok()?,
    };
    if text.len() > MAX_HOST_BYTES || text.contains('@') {
        return None;
    }
    let uri: Uri = format!("http://{text}").parse().ok()?;
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte);
    let host = uri
        .host()
        .filter(|host| !host.is_empty() && host.bytes().all(is_plain))?;
    // It is a host and a port, and nothing else.
    (uri.authority()?.as_str() == text).then(|| host.to_owned())
}
