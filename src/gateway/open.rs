//! The first step: where a request comes from, and how long its client may take.
//!
//! Owns what the answers to its connection have besides (HSTS, CORS), the flood guard's count, and the timeouts of
//! the client's connection. Does not handle which address is the client's (see `client_address`), and does not refuse
//! anything (see `admit`). Cannot fail.

use http::Version;
use http::header::STRICT_TRANSPORT_SECURITY;
use pingora::http::RequestHeader;

use super::client_address::client_address;
use super::client_body;
use super::context::Context;
use super::cors;
use super::session::ClientSession;
use crate::runtime::Shared;

/// An idle connection of a client is kept this long.
const KEEPALIVE_SECONDS: u64 = 75;

/// Opens a request.
pub fn open(session: &mut ClientSession, context: &mut Context, shared: &Shared) {
    let keeps = !shared.is_draining() && wants_keepalive(session.request());
    session.keep(keeps.then_some(KEEPALIVE_SECONDS));
    let settings = &context.runtime.settings;
    session.set_read_timeout(Some(client_body::READ_TIMEOUT));
    session.set_write_timeout(settings.limits.write_timeout);
    let listener = settings.listener(context.request.listener);
    let hsts = listener.and_then(|listener| listener.hsts.clone());
    session.add_to_answers(hsts.map(|value| (STRICT_TRANSPORT_SECURITY, value)));
    if let Some(cors) = &settings.cors {
        let headers = cors::headers(cors, &session.request().headers);
        session.add_to_answers(headers);
    }
    let headers = &session.request().headers;
    context.request.client = client_address(session.address(), headers, |address| {
        settings.trusts(address)
    });
    context.request.certificate = session.client_certificate();
    if let (Some(limit), Some(ip)) = (settings.flood_guard, context.request.client) {
        context.request.floods = shared.floods(settings.limits.counted_as(ip), limit);
    }
}

/// HTTP/1.0 closes unless the client says otherwise; for later versions Pingora reads the header.
fn wants_keepalive(request: &RequestHeader) -> bool {
    request.version > Version::HTTP_10
        || request
            .headers
            .get(http::header::CONNECTION)
            .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"keep-alive"))
}
