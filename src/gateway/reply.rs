//! Answers of our own: errors, and the endpoints that we serve ourselves.
//!
//! Owns writing them, and what happens to the rest of a refused request's body: it is read and discarded
//! within a bound, then the connection is closed, so that the client can read the answer and no byte of
//! the body is taken for a next request. Once an answer has begun, a failure breaks it off. Does not
//! handle the words of errors (see `failure`). Fails with [`Unended`].

use std::io;
use std::mem;
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::response::Parts;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Version};
use pingora::http::RequestHeader;
use pingora::protocols::Stream;
use pingora::{Error, ErrorType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::client_body;
use super::connection::Connection;
use super::context::Context;
use super::failure::{Failure, RestOfError, UpstreamRefusal};
use super::headers::{self, ATTEMPTS, REQUEST_ID, SHOULD_RETRY};
use super::session::{ClientSession, Gone, Part};
use super::settle;
use crate::clock;
use crate::ids;
use crate::openai::ratelimit;
use crate::runtime::Shared;
use pingora::protocols::http::ServerSession;

/// How long, and for how many bytes, the rest of a refused body is read and thrown away.
const LINGER: Duration = Duration::from_secs(3);
const LINGER_BYTES: usize = 64 << 20;
/// How long a stream of HTTP/2 stays open behind its refusal, for the client to end it.
const RESET_AFTER: Duration = Duration::from_millis(250);
/// How many refused requests at a time have their bodies read; with the others the connection is
/// closed at once, which may cost them the answer.
const MAX_LINGERING: usize = 256;
/// Some clients take no notice of a longer wait, and come again at once.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(60);

/// An answer that had begun could not be ended: its connection has to break.
#[derive(Clone, Copy, Debug)]
pub struct Unended;

impl From<Gone> for Unended {
    fn from(_: Gone) -> Self {
        Self
    }
}

/// Answers with a failure, or breaks off an answer that has begun.
///
/// # Errors
/// The answer had begun, or the client has gone.
pub async fn refuse(
    session: &mut ClientSession,
    context: &mut Context,
    failure: Failure,
) -> Result<(), Unended> {
    context.log_failure(&failure);
    if context.outcome.is_committed() {
        // What was noted first is the cause.
        context.outcome.error = context.outcome.error.or(failure.api_error().code);
        return Err(Unended);
    }
    fail(session, context, failure).await
}

/// Answers with a failure; without a client it is only noted.
async fn fail(
    session: &mut ClientSession,
    context: &mut Context,
    failure: Failure,
) -> Result<(), Unended> {
    let failure = match failure {
        // What is rare is kept apart: its room would be that of every request.
        Failure::Refusal(refusal) => {
            return Box::pin(pass_refusal(session, context, *refusal)).await;
        }
        failure => failure,
    };
    let error = failure.api_error();
    context.outcome.error = Some(error.code.unwrap_or("invalid_request"));
    context.outcome.shed = failure.shed();
    if matches!(failure, Failure::ClientGone) {
        session.close_after_answer();
        return Ok(());
    }
    if matches!(failure, Failure::Framing(_)) {
        session.close_after_answer();
    }
    let mut header = json_header(error.status, context);
    failure.add_headers(&mut header.headers);
    mark(&mut header.headers, context);
    // A client that takes nothing of its refusal holds nothing but that.
    context.give_way();
    forget_headers(session);
    send(session, context, header, Bytes::from(error.body())).await?;
    discard_body(session, context).await;
    Ok(())
}

/// Passes on an upstream's own error.
async fn pass_refusal(
    session: &mut ClientSession,
    context: &mut Context,
    refusal: UpstreamRefusal,
) -> Result<(), Unended> {
    let UpstreamRefusal {
        mut header,
        body,
        rest,
        ..
    } = refusal;
    if rest.is_none() {
        let length = HeaderValue::from(body.len());
        header.headers.insert(CONTENT_LENGTH, length);
    }
    let mut header = context.header_for_client(header, session.request());
    match header.status.is_success() {
        // A response that has failed.
        true => context.outcome.error = Some("upstream_error"),
        false => mark(&mut header.headers, context),
    }
    match rest {
        Some(rest) => send_with_rest(session, context, header, body, rest).await?,
        None => send(session, context, header, body).await?,
    }
    discard_body(session, context).await;
    Ok(())
}

/// Sends the beginning of a long error, and passes the rest on as it comes. One that breaks off breaks
/// off for the client too.
async fn send_with_rest(
    session: &mut ClientSession,
    context: &mut Context,
    header: Parts,
    body: Bytes,
    rest: RestOfError,
) -> Result<(), Unended> {
    let RestOfError {
        session: mut upstream,
        until,
        mut masking,
    } = rest;
    context.commit(header.status.as_u16());
    settle::settle(context).await;
    let mut parts = vec![Part::header(header)];
    let mut next = Some(body);
    while let Some(chunk) = next {
        put(chunk, &mut parts, context);
        session.write(mem::take(&mut parts)).await?;
        if upstream.response_done() {
            break;
        }
        let read = upstream.read_body(until).await;
        let read = read.map_err(|_| {
            context.outcome.error = Some("upstream_cut");
            Unended
        })?;
        next = read.map(|chunk| masking.push(chunk));
    }
    upstream.shutdown().await;
    put(masking.finish(), &mut parts, context);
    parts.push(Part::End);
    Ok(session.write(parts).await?)
}

fn put(chunk: Bytes, parts: &mut Vec<Part>, context: &mut Context) {
    context.outcome.bytes_out += chunk.len();
    parts.push(Part::Body(chunk));
}

/// Tells how often we have tried, and that there is no use in trying again at once: clients that
/// multiply our attempts by theirs ask many times what cannot be had. A client that is told how long to
/// wait, in whichever form, and not for too long, may come again; and so may one that gets no answer because
/// to ask again may cost twice, which is for it to decide.
fn mark(headers: &mut HeaderMap, context: &Context) {
    if context.outcome.trail.is_empty() {
        return;
    }
    headers.insert(ATTEMPTS, headers::count(context.outcome.trail.len()));
    if context.outcome.retry_is_clients {
        return;
    }
    let wait = ratelimit::wait(headers, None, clock::now());
    if wait.is_none_or(|wait| wait > LONGEST_RETRY_AFTER) {
        headers.insert(SHOULD_RETRY, HeaderValue::from_static("false"));
    }
}

/// The bytes of a failure's answer over HTTP/1, where there is no request to answer: the connection
/// ends with it.
pub fn closing(failure: &Failure) -> Vec<u8> {
    closing_with(failure, &ids::request_id())
}

fn closing_with(failure: &Failure, id: &str) -> Vec<u8> {
    let error = failure.api_error();
    let body = error.body();
    let more = failure
        .header()
        .map(|(name, value)| format!("{name}: {}\r\n", String::from_utf8_lossy(value.as_bytes())));
    let head = format!(
        "HTTP/1.1 {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n{}\
         connection: close\r\n{REQUEST_ID}: {id}\r\n\r\n",
        error.status,
        body.len(),
        more.unwrap_or_default(),
    );
    [head.as_bytes(), &body].concat()
}

/// Answers a request whose header could not be read, where there is anything to say; the connection
/// ends with it.
pub async fn refuse_unread<T>(
    session: ServerSession,
    error: Option<&Error>,
    shared: &Shared,
) -> Option<T> {
    let (mut stream, refused) = Connection::refused(session)?;
    let is_invalid = error.is_some_and(|e| *e.etype() == ErrorType::InvalidHTTPHeader);
    let unreadable = is_invalid.then_some(Failure::Framing("its header cannot be read"));
    let failure = refused.or(unreadable)?;
    // Pingora's words have the header in them, and what is in that is the client's secret.
    let id = ids::request_id();
    log::info!(
        "{id} a request is refused by its header: {}",
        failure.api_error().message
    );
    let room = match floods(&stream, shared) {
        true => None,
        false => shared.lingering.enter(MAX_LINGERING),
    };
    let linger_bytes = if room.is_some() { LINGER_BYTES } else { 0 };
    let answer = closing_with(&failure, &id);
    let telling = last_words(&mut stream, &answer, linger_bytes);
    let _ = tokio::time::timeout(LINGER, Box::pin(telling)).await;
    None
}

/// Counts a request whose header was refused for the flood guard. Tells whether its address sends too
/// many. A trusted proxy's clients are known by their headers only, so it is not counted.
fn floods(stream: &Stream, shared: &Shared) -> bool {
    let runtime = shared.pin();
    let settings = &runtime.settings;
    let socket = stream.get_socket_digest();
    let address = socket.and_then(|socket| socket.peer_addr()?.as_inet().copied());
    let ip = address.map(|address| address.ip().to_canonical());
    match (ip, settings.flood_guard) {
        (Some(ip), Some(limit)) if !settings.trusts(Some(ip)) => {
            shared.floods(settings.limits.counted_as(ip), limit)
        }
        _ => false,
    }
}

/// Ends a connection with an answer, and reads and throws away so many bytes of what still comes:
/// what is closed with bytes unread is reset, and the answer may be lost on its way.
pub async fn last_words(
    stream: &mut Stream,
    answer: &[u8],
    mut linger_bytes: usize,
) -> io::Result<()> {
    stream.write_all(answer).await?;
    AsyncWriteExt::shutdown(stream).await?;
    let mut asked = [0; 4096];
    while linger_bytes > 0 {
        match stream.read(&mut asked).await? {
            0 => break,
            read => linger_bytes = linger_bytes.saturating_sub(read),
        }
    }
    Ok(())
}

/// Answers 200 with JSON.
pub async fn json(
    session: &mut ClientSession,
    context: &mut Context,
    (status, body): (StatusCode, Bytes),
) -> Result<(), Unended> {
    let header = json_header(status, context);
    send(session, context, header, body).await?;
    discard_body(session, context).await;
    Ok(())
}

/// Answers with a header alone.
pub async fn bare(
    session: &mut ClientSession,
    context: &mut Context,
    mut header: Parts,
) -> Result<(), Unended> {
    name_request(&mut header, context);
    context.commit(header.status.as_u16());
    settle::settle(context).await;
    // A status of 204 has no length.
    if header.status != StatusCode::NO_CONTENT {
        header.headers.insert(CONTENT_LENGTH, HeaderValue::from(0));
    }
    session.write(vec![Part::header(header), Part::End]).await?;
    discard_body(session, context).await;
    Ok(())
}

fn json_header(status: StatusCode, context: &Context) -> Parts {
    let mut header = headers::ours(status, "application/json");
    name_request(&mut header, context);
    context.add_standing(&mut header.headers);
    header
}

fn name_request(header: &mut Parts, context: &Context) {
    let id = HeaderValue::from_str(&context.request.id).ok();
    header.headers.extend(id.map(|id| (REQUEST_ID, id)));
}

async fn send(
    session: &mut ClientSession,
    context: &mut Context,
    mut header: Parts,
    body: Bytes,
) -> Result<(), Unended> {
    context.commit(header.status.as_u16());
    settle::settle(context).await;
    let length = HeaderValue::from(body.len());
    header.headers.insert(CONTENT_LENGTH, length);
    let mut parts = vec![Part::header(header)];
    if session.request().method != Method::HEAD {
        context.outcome.bytes_out += body.len();
        parts.push(Part::Body(body));
    }
    parts.push(Part::End);
    Ok(session.write(parts).await?)
}

/// Gives back the memory of a refused request's headers. Over HTTP/1 they are a part of what was read,
/// and say how the body is framed.
fn forget_headers(session: &mut ClientSession) {
    if !session.is_http2() {
        return;
    }
    let request = session.request();
    let (method, uri) = (request.method.clone(), request.uri.clone());
    if let Ok(mut bare) = RequestHeader::build_no_case(method, b"/", None) {
        bare.set_uri(uri);
        bare.set_version(Version::HTTP_2);
        *session.request_mut() = bare;
    }
}

/// Reads what is left of the request's body, within bounds, so that the client can read its answer.
/// Pingora has marked the connection for closing when the answer was written before the body's end.
/// Over HTTP/2 the stream is reset with NO_ERROR instead.
pub async fn discard_body(session: &mut ClientSession, context: &Context) {
    // A client that waits for "100 Continue" has not begun to send, and will not now.
    if session.is_body_done() || client_body::expects_continue(session) {
        return;
    }
    let lingering = &context.in_flight.shared().lingering;
    let Some(_room) = lingering.enter(MAX_LINGERING) else {
        return;
    };
    if session.is_http2() {
        // Nothing is read on. Some clients lose an answer when its stream is reset right behind it.
        return tokio::time::sleep(RESET_AFTER).await;
    }
    let drain = async {
        let mut left = LINGER_BYTES;
        while let Some(bytes) = session.discard_body().await {
            left = left.saturating_sub(bytes);
            if left == 0 {
                return;
            }
        }
    };
    let _ = tokio::time::timeout(LINGER, drain).await;
}
