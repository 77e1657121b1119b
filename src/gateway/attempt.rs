//! The fifth step: ask the upstream, and wait until it has really begun to answer.
//!
//! Owns one attempt: connect, send header and body, read the answer's header and its first bytes,
//! all within the upstream's timeouts, and given up when the client leaves. Nothing has gone to the
//! client when it fails. Another connection is tried only when no byte of the request has been sent:
//! an address cannot be reached, or a pooled connection turned out to be closed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::protocols::http::client::HttpSession;
use pingora_proxy::Session;

use super::context::Context;
use super::failure::{Failure, Phase, UpstreamFailure};
use super::{headers, relay};
use crate::openai::endpoint::StreamError;
use crate::openai::rewrite::Rewrites;
use crate::runtime::Shared;
use crate::upstreams::{NotSent, Payload, Peer, Upstream};

/// Connections that are tried before we say that the upstream is gone: pooled ones that turn out to
/// be closed, and addresses that cannot be reached. None of them has seen any of the request.
pub const MAX_CONNECTIONS: usize = 3;
/// An upstream that refuses a body while it is being sent gets this long for its reasons.
const EARLY_ANSWER: Duration = Duration::from_secs(1);

/// What is sent.
pub struct Outgoing {
    /// The header, but for what depends on the server.
    pub header: RequestHeader,
    /// The path below the API's, with its query.
    pub target: String,
    /// The body.
    pub payload: Payload,
}

/// What is expected of the answer.
pub struct Terms<'a> {
    /// Whom it comes from.
    pub upstream: &'a Upstream,
    /// When the whole request has taken too long.
    pub deadline: Instant,
    /// Whether the client asked for a stream.
    pub stream: bool,
    /// How a stream tells that something broke.
    pub stream_error: StreamError,
    /// What is changed in it.
    pub rewrites: Rewrites,
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

/// Asks the upstream.
pub async fn run(
    client: &mut Session,
    context: &mut Context,
    shared: &Shared,
    terms: &Terms<'_>,
    outgoing: Outgoing,
) -> Result<Answer, Failure> {
    let started = Instant::now();
    let mut waited = Duration::ZERO;
    let attempt = async {
        let asked = connect_and_send(shared, terms.upstream, outgoing, &mut waited).await?;
        let waiting = Instant::now();
        let answer = first_bytes(asked, terms, started).await;
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
    upstream: &Upstream,
    outgoing: Outgoing,
    waited: &mut Duration,
) -> Result<Asked, UpstreamFailure> {
    let pool = &upstream.pool;
    let mut failure = UpstreamFailure::unresolved();
    for _ in 0..MAX_CONNECTIONS {
        let peer = pool.choose().ok_or_else(UpstreamFailure::unresolved)?;
        let path = [peer.base_path.as_str(), &outgoing.target].concat();
        let header = headers::address(outgoing.header.clone(), &path, &peer)
            .ok_or_else(UpstreamFailure::unsendable)?;
        let connecting = Instant::now();
        let connected = shared.connector.connect(&peer).await;
        *waited += connecting.elapsed();
        let connection = match connected {
            Ok(connection) => connection,
            Err(e) => {
                failure = UpstreamFailure::read(&e, Phase::Connect);
                match pool.has_several_addresses() {
                    true => continue,
                    false => break,
                }
            }
        };
        match connection.send(header, &outgoing.payload).await {
            Ok(session) => return Ok(Asked { session, peer }),
            Err(not_sent) if not_sent.unseen => {
                failure = UpstreamFailure::read(&not_sent.error, Phase::Total)
            }
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
        Err(_) => Err(UpstreamFailure::read(&error, Phase::Total)),
    }
}

/// Waits for the answer's header and its first bytes.
async fn first_bytes(
    mut asked: Asked,
    terms: &Terms<'_>,
    started: Instant,
) -> Result<Answer, UpstreamFailure> {
    let session = &mut asked.session;
    // A whole answer comes when it is complete, so only a stream can be late with its first token.
    let first_token = started + terms.upstream.timeouts.first_token;
    let (until, phase) = match terms.stream && first_token < terms.deadline {
        true => (first_token, Phase::FirstToken),
        false => (terms.deadline, Phase::Total),
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
        read.map_err(|e| UpstreamFailure::read(&e, phase))?;
    };
    let first = match session.response_done() {
        true => None,
        false => {
            session.set_read_timeout(Some(left(until)));
            let read = session.read_response_body().await;
            read.map_err(|e| UpstreamFailure::read(&e, phase))?
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
