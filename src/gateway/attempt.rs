//! The fifth step: ask the upstream, and wait until it has really begun to answer.
//!
//! Owns one attempt: connect, send header and body, read the answer's header and its first bytes,
//! all within the upstream's timeouts, and given up when the client leaves. Nothing has gone to the
//! client when it fails. Another connection is tried only when no byte of the request has been sent:
//! an address cannot be reached, or a pooled connection turned out to be closed.

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::protocols::http::client::HttpSession;
use pingora::{Error, ErrorType};
use pingora_proxy::Session;

use super::context::Context;
use super::failure::{Cause, Failure, Phase, UpstreamFailure};
use super::{headers, relay};
use crate::auth;
use crate::openai::endpoint::Exchange;
use crate::openai::request;
use crate::runtime::Shared;
use crate::upstreams::{KeyRing, NotSent, Peer, Upstream};

/// Connections that are tried before we say that the upstream is gone: pooled ones that turn out to
/// be closed, and addresses that cannot be reached. None of them has seen any of the request.
const MAX_CONNECTIONS: usize = 3;
/// An upstream that refuses a body while it is being sent gets this long for its reasons.
const EARLY_ANSWER: Duration = Duration::from_secs(1);

/// What is to be sent, and how long it may take.
pub struct Outgoing<'a> {
    /// The endpoint.
    pub endpoint: &'static Exchange,
    /// Whom we ask.
    pub upstream: &'a Upstream,
    /// When the whole request has taken too long.
    pub deadline: Instant,
    /// Whether the client asked for a stream.
    pub stream: bool,
    /// The body, in the pieces in which it is written.
    pub body: Vec<Bytes>,
}

/// An answer that has begun.
pub struct Answer {
    /// The connection that it comes over.
    pub session: HttpSession,
    /// Whom it comes from.
    pub peer: Arc<Peer>,
    /// Its header.
    pub header: ResponseHeader,
    /// Its first bytes; `None` for an answer without a body.
    pub first: Option<Bytes>,
}

/// The body in pieces: as it came, or with the model's bytes replaced.
pub fn parts(body: &Bytes, model: Range<usize>, sent: Option<&str>) -> Vec<Bytes> {
    let Some(sent) = sent else {
        return vec![body.clone()];
    };
    let name = Bytes::from(request::rewritten_model(sent));
    vec![body.slice(..model.start), name, body.slice(model.end..)]
}

/// Asks the upstream.
pub async fn run(
    client: &mut Session,
    context: &mut Context,
    shared: &Shared,
    outgoing: &Outgoing<'_>,
) -> Result<Answer, Failure> {
    let request = client.req_header();
    let client_key = match outgoing.upstream.keys {
        KeyRing::Passthrough => auth::key_of(&request.headers),
        KeyRing::Own { .. } => None,
    };
    let authorization = outgoing.upstream.keys.authorization(client_key);
    let body_bytes = outgoing.body.iter().map(Bytes::len).sum();
    let header = headers::for_upstream(request, authorization, body_bytes);
    let header = header.ok_or_else(|| Failure::Upstream(unsendable()))?;
    let path = headers::target_path(request, outgoing.endpoint);
    let started = Instant::now();
    let mut waited = Duration::ZERO;
    let attempt = async {
        let asked = connect_and_send(shared, outgoing, &header, &path, &mut waited).await?;
        let waiting = Instant::now();
        let answer = first_bytes(asked, outgoing, started).await;
        waited += waiting.elapsed();
        answer
    };
    let outcome = tokio::select! {
        biased;
        outcome = attempt => outcome.map_err(Failure::Upstream),
        () = relay::client_left(client) => Err(Failure::ClientGone),
    };
    context.waited += waited;
    outcome
}

/// A request on its way, and whom it went to.
struct Asked {
    session: HttpSession,
    peer: Arc<Peer>,
}

async fn connect_and_send(
    shared: &Shared,
    outgoing: &Outgoing<'_>,
    header: &RequestHeader,
    path: &str,
    waited: &mut Duration,
) -> Result<Asked, UpstreamFailure> {
    let pool = &outgoing.upstream.pool;
    let mut failure = unresolved();
    for _ in 0..MAX_CONNECTIONS {
        let peer = pool.choose().ok_or_else(unresolved)?;
        let header = headers::address(header.clone(), path, &peer).ok_or_else(unsendable)?;
        let connecting = Instant::now();
        let connected = shared.connector.connect(&peer).await;
        *waited += connecting.elapsed();
        let connection = match connected {
            Ok(connection) => connection,
            Err(e) => {
                failure = failed(&e, Phase::Connect);
                match pool.has_several_addresses() {
                    true => continue,
                    false => break,
                }
            }
        };
        match connection.send(header, &outgoing.body).await {
            Ok(session) => return Ok(Asked { session, peer }),
            Err(not_sent) if not_sent.unseen => failure = failed(&not_sent.error, Phase::Total),
            Err(not_sent) => return early_answer(*not_sent, peer).await,
        }
    }
    Err(failure)
}

/// An upstream may answer before it has read the whole request, and close: then its answer says
/// why, where the connection only says that it broke.
async fn early_answer(not_sent: NotSent, peer: Arc<Peer>) -> Result<Asked, UpstreamFailure> {
    let NotSent {
        error, mut session, ..
    } = not_sent;
    session.set_read_timeout(Some(EARLY_ANSWER));
    match session.read_response_header().await {
        Ok(()) => Ok(Asked { session, peer }),
        Err(_) => Err(failed(&error, Phase::Total)),
    }
}

/// Waits for the answer's header and its first bytes.
async fn first_bytes(
    mut asked: Asked,
    outgoing: &Outgoing<'_>,
    started: Instant,
) -> Result<Answer, UpstreamFailure> {
    let session = &mut asked.session;
    // A whole answer comes when it is complete, so only a stream can be late with its first token.
    let first_token = started + outgoing.upstream.timeouts.first_token;
    let (until, phase) = match outgoing.stream && first_token < outgoing.deadline {
        true => (first_token, Phase::FirstToken),
        false => (outgoing.deadline, Phase::Total),
    };
    let header = loop {
        if let Some(header) = session
            .response_header()
            .filter(|h| !h.status.is_informational())
        {
            break header.clone();
        }
        session.set_read_timeout(Some(left(until)));
        let read = session.read_response_header().await;
        read.map_err(|e| failed(&e, phase))?;
    };
    let first = match session.response_done() {
        true => None,
        false => {
            session.set_read_timeout(Some(left(until)));
            let read = session.read_response_body().await;
            read.map_err(|e| failed(&e, phase))?
        }
    };
    Ok(Answer {
        session: asked.session,
        peer: asked.peer,
        header,
        first,
    })
}

/// What is left until `deadline`; a moment when nothing is, since zero would mean no timeout.
pub fn left(deadline: Instant) -> Duration {
    let left = deadline.saturating_duration_since(Instant::now());
    left.max(Duration::from_millis(1))
}

fn unresolved() -> UpstreamFailure {
    UpstreamFailure {
        cause: Cause::Unreachable,
        detail: "none of its names could be resolved".to_owned(),
    }
}

fn unsendable() -> UpstreamFailure {
    UpstreamFailure {
        cause: Cause::Unreachable,
        detail: "the request cannot be written as HTTP".to_owned(),
    }
}

/// Reads a connection's error; `phase` is what was being waited for.
pub fn failed(error: &Error, phase: Phase) -> UpstreamFailure {
    use ErrorType as E;
    let cause = match error.etype() {
        E::ConnectTimedout => Cause::Timeout(Phase::Connect),
        E::ReadTimedout | E::WriteTimedout => Cause::Timeout(phase),
        E::TLSHandshakeFailure
        | E::TLSHandshakeTimedout
        | E::InvalidCert
        | E::HandshakeError
        | E::TLSWantX509Lookup => Cause::Tls,
        E::ConnectRefused | E::ConnectNoRoute | E::ConnectError | E::BindError | E::SocketError => {
            Cause::Unreachable
        }
        E::InvalidHTTPHeader
        | E::H1Error
        | E::Custom("InvalidChunk")
        | E::H2Error
        | E::InvalidH2
        | E::H2Downgrade => Cause::InvalidResponse,
        _ => Cause::Reset,
    };
    let detail = match cause {
        Cause::Timeout(_) if *error.etype() == E::WriteTimedout => {
            "it took nothing of the request for too long".to_owned()
        }
        Cause::Timeout(phase) => format!("timeouts.{} has passed", phase.setting()),
        // What an upstream sent in place of HTTP may hold anything: only its kind is told.
        Cause::InvalidResponse => format!("invalid response: {}", error.etype().as_str()),
        _ => error.to_string().replace('\n', " "),
    };
    UpstreamFailure { cause, detail }
}
