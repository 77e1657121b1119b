//! One try of one candidate: ask, and wait until it has really begun to answer.
//!
//! Owns connecting, sending and waiting, all within the upstream's timeouts, and what a failure on
//! that way shows. Nothing has gone to the client when it fails, and all that is known of why is in
//! [`Failed`]. Another connection is tried only when no byte of the request has been sent: an
//! address cannot be reached, or a pooled connection turned out to be closed. Refuses to know what
//! is tried next.

use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::protocols::http::client::HttpSession;

use super::failure::{Cause, Failure, Phase, Refusal, UpstreamFailure};
use super::headers::{self, Media};
use super::hold;
use super::tap::Tap;
use crate::openai::complaint::Complaint;
use crate::openai::endpoint::StreamError;
use crate::openai::error;
use crate::openai::progress::Stream;
use crate::openai::ratelimit;
use crate::openai::rewrite::Rewrites;
use crate::openai::verdict::{self, Evidence, Reason, Verdict};
use crate::runtime::Shared;
use crate::upstreams::{NotSent, Payload, Seat, Upstream};

/// Connections that are tried before we say that a server is gone: pooled ones that turn out to be
/// closed, and addresses that cannot be reached. None of them has seen any of the request.
pub const MAX_CONNECTIONS: usize = 3;
/// An upstream that refuses a body while it is being sent gets this long for its reasons.
const EARLY_ANSWER: Duration = Duration::from_secs(1);
/// An error is read for this long, and up to this size; what is longer says no more.
pub const ERROR_PATIENCE: Duration = Duration::from_secs(5);
const MAX_ERROR_BYTES: usize = 64 << 10;

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
pub struct Terms {
    /// When the whole request has taken too long.
    pub deadline: Instant,
    /// Whether the client asked for a stream.
    pub stream: bool,
    /// What the events of a stream are.
    pub events: Stream,
    /// How a stream tells that something broke.
    pub stream_error: StreamError,
    /// Whether events that cannot be read are kept from the client.
    pub drops_malformed: bool,
    /// What is changed in it.
    pub rewrites: Rewrites,
}

/// An answer that has begun.
pub struct Answer {
    /// The connection that it comes over.
    pub session: Box<HttpSession>,
    /// Its header.
    pub header: ResponseHeader,
    /// Whether it is JSON.
    pub is_json: bool,
    /// What of its body has come and may pass.
    pub held: Vec<Bytes>,
    /// Whether that is all of it.
    pub complete: bool,
    /// What is understood of its events, where it is a stream of them.
    pub tap: Option<Tap>,
}

/// An attempt that came to nothing.
#[derive(Debug)]
pub struct Failed {
    /// Why, and what is to be done about it.
    pub verdict: Verdict,
    /// How long the upstream asks us to wait.
    pub wait: Option<Duration>,
    /// Whether the upstream asks not to be asked again.
    pub is_final: bool,
    /// What the client is told, if nothing else helps.
    pub told: Failure,
}

impl Failed {
    /// Names it in metrics and logs: by its reason, or by what of ours kept us from asking.
    pub fn name(&self) -> &'static str {
        match self.is_busy() {
            true => "busy",
            false => self.verdict.reason.name(),
        }
    }

    /// Whether it was not asked, because it is asked as much as it may be.
    pub fn is_busy(&self) -> bool {
        matches!(&self.told, Failure::Upstream(failure) if failure.cause == Cause::Busy)
    }

    /// One whose evidence is a connection's error.
    pub fn new(evidence: &Evidence<'_>, failure: UpstreamFailure) -> Self {
        Self {
            verdict: verdict::judge(evidence),
            wait: None,
            is_final: false,
            told: Failure::Upstream(failure),
        }
    }
}

/// Asks the server in its seat. `waited` grows by the time that was spent waiting for it.
pub async fn run(
    shared: &Shared,
    upstream: &Upstream,
    seat: &mut Seat,
    terms: &Terms,
    outgoing: &mut Outgoing,
    waited: &mut Duration,
) -> Result<Box<Answer>, Failed> {
    let started = Instant::now();
    let session = connect_and_send(shared, upstream, seat, outgoing, waited).await?;
    let waiting = Instant::now();
    let answer = first_words(shared, upstream, seat, session, terms, started).await;
    *waited += waiting.elapsed();
    answer
}

async fn connect_and_send(
    shared: &Shared,
    upstream: &Upstream,
    seat: &mut Seat,
    outgoing: &mut Outgoing,
    waited: &mut Duration,
) -> Result<Box<HttpSession>, Failed> {
    let unsendable = || Failed::new(&Evidence::NotSent, UpstreamFailure::unsendable());
    let mut failed = unsendable();
    for _ in 0..MAX_CONNECTIONS {
        let peer = &seat.peer;
        let path = [peer.base_path.as_str(), &outgoing.target].concat();
        headers::address(&mut outgoing.header, &path, peer).ok_or_else(unsendable)?;
        let connecting = Instant::now();
        let connected = shared.connector.connect(peer).await;
        *waited += connecting.elapsed();
        let connection = match connected {
            Ok(connection) => connection,
            Err(e) => {
                let failure = UpstreamFailure::read(&e, Phase::Connect);
                failed = match failure.cause {
                    Cause::Tls => Failed::new(&Evidence::Tls, failure),
                    _ => Failed::new(&Evidence::Unreachable, failure),
                };
                match upstream.pool.other_address(seat) {
                    true => continue,
                    false => break,
                }
            }
        };
        match connection.send(&outgoing.header, &outgoing.payload).await {
            Ok(session) => return Ok(session),
            Err(not_sent) if not_sent.unseen => {
                let failure = UpstreamFailure::read(&not_sent.error, Phase::Total);
                failed = Failed::new(&Evidence::NotSent, failure);
            }
            Err(not_sent) => return Box::pin(early_answer(*not_sent)).await,
        }
    }
    Err(failed)
}

/// An upstream may answer before it has read the whole request, and close: then its answer says
/// why, where the connection only says that it broke.
async fn early_answer(not_sent: NotSent) -> Result<Box<HttpSession>, Failed> {
    let NotSent {
        error, mut session, ..
    } = not_sent;
    session.set_read_timeout(Some(EARLY_ANSWER));
    match session.read_response_header().await {
        Ok(()) => Ok(session),
        Err(_) => {
            let failure = UpstreamFailure::read(&error, Phase::Total);
            Err(Failed::new(&Evidence::NotSent, failure))
        }
    }
}

/// Waits for the answer's header, and until it has said something or refused.
async fn first_words(
    shared: &Shared,
    upstream: &Upstream,
    seat: &Seat,
    mut session: Box<HttpSession>,
    terms: &Terms,
    started: Instant,
) -> Result<Box<Answer>, Failed> {
    // A whole answer comes when it is complete, so only a stream can be late with its first token.
    let first_token = started + upstream.timeouts.first_token;
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
        read.map_err(|e| broke(&e, phase, false, terms))?;
    };
    if header.status.is_client_error() || header.status.is_server_error() {
        let refused = refused(shared, upstream, seat, session, header, terms.deadline);
        // What is rare is kept apart: its room would be that of every request.
        return Err(Box::pin(refused).await);
    }
    let media = headers::media(&header.headers);
    if media == Media::Html {
        session.shutdown().await;
        let failure = UpstreamFailure::of(Cause::InvalidResponse, "it answered with a web page");
        return Err(Failed::new(&Evidence::Garbage, failure));
    }
    let mut answer = Box::new(Answer {
        tap: (media == Media::Events && headers::is_plain(&header.headers))
            .then(|| Tap::new(terms.events, terms.drops_malformed)),
        is_json: media == Media::Json,
        session,
        header,
        held: Vec::new(),
        complete: false,
    });
    match hold::hold(&mut answer, until).await {
        Ok(outcome) => {
            shared.metrics.trials().held(outcome);
            Ok(answer)
        }
        Err(unsaid) => {
            answer.session.shutdown().await;
            Err(match unsaid {
                hold::Unsaid::Broke(e) => broke(&e, phase, true, terms),
                hold::Unsaid::Empty => {
                    let failure = UpstreamFailure::of(Cause::Empty, "its answer says nothing");
                    Failed::new(&Evidence::Empty, failure)
                }
                hold::Unsaid::Complained(complaint) => {
                    complained(upstream, &complaint, &answer.header)
                }
            })
        }
    }
}

/// What an error shows that strikes after the request has been sent.
fn broke(error: &pingora::Error, phase: Phase, has_header: bool, terms: &Terms) -> Failed {
    let failure = UpstreamFailure::read(error, phase);
    let (evidence, failure) = match failure.cause {
        Cause::Timeout(Phase::FirstToken) => (Evidence::Silent, failure),
        Cause::Timeout(_) => (Evidence::Late, failure),
        Cause::InvalidResponse => (Evidence::Garbage, failure),
        // A stream begins before there is anything to charge for. A whole answer has been made by
        // the time that its header is sent, and may have been before.
        _ if terms.stream => (Evidence::Cut, failure),
        _ if has_header => (Evidence::Lost, UpstreamFailure::cut(error)),
        _ => (Evidence::Lost, failure),
    };
    Failed::new(&evidence, failure)
}

/// Reads why an upstream refuses.
async fn refused(
    shared: &Shared,
    upstream: &Upstream,
    seat: &Seat,
    mut session: Box<HttpSession>,
    header: ResponseHeader,
    deadline: Instant,
) -> Failed {
    let until = deadline.min(Instant::now() + ERROR_PATIENCE);
    let body = read_error(&mut session, until).await;
    match body.is_some() {
        true => shared.connector.release(session, &seat.peer).await,
        false => session.shutdown().await,
    }
    let body = body.unwrap_or_default();
    let complaint = match headers::media(&header.headers) == Media::Html {
        true => None,
        false => Complaint::read(&body),
    };
    let complaint = complaint.unwrap_or_default();
    let status = header.status.as_u16();
    let verdict = verdict::judge(&Evidence::Answer {
        status,
        complaint: &complaint,
    });
    let wait = ratelimit::retry_after(&header.headers, SystemTime::now())
        .or_else(|| ratelimit::wait_in_message(complaint.message.as_deref()?))
        .or_else(|| ratelimit::Headroom::read(&header.headers, SystemTime::now).exhausted_for());
    let is_final = header.headers.get(headers::SHOULD_RETRY);
    Failed {
        wait: wait.filter(|_| matches!(verdict.reason, Reason::RateLimited | Reason::Overloaded)),
        is_final: is_final.is_some_and(|value| value.as_bytes() == b"false"),
        told: tell(
            upstream,
            verdict.reason,
            filled(upstream, header, body, complaint.message),
        ),
        verdict,
    }
}

/// A refusal, with what its dialect is known to leave out.
pub fn filled(
    upstream: &Upstream,
    mut header: ResponseHeader,
    mut body: Bytes,
    message: Option<String>,
) -> Refusal {
    if upstream.dialect.fills_in_errors
        && headers::is_plain(&header.headers)
        && let Some(filled) = error::fill_in(header.status, &body)
    {
        body = Bytes::from(filled);
    }
    header.remove_header(&CONTENT_LENGTH);
    Refusal {
        header,
        body,
        message,
    }
}

/// Reads a whole body; `None` for one that breaks, or is too long.
pub async fn read_error(session: &mut HttpSession, until: Instant) -> Option<Bytes> {
    let mut body: Vec<Bytes> = Vec::new();
    let mut length = 0;
    while !session.response_done() {
        session.set_read_timeout(Some(left(until)));
        let Some(chunk) = session.read_response_body().await.ok()? else {
            break;
        };
        length += chunk.len();
        if length > MAX_ERROR_BYTES {
            return None;
        }
        body.push(chunk);
    }
    Some(match body.as_slice() {
        [only] => only.clone(),
        pieces => Bytes::from(pieces.concat()),
    })
}

/// An error that came under a status of success.
fn complained(upstream: &Upstream, complaint: &Complaint, header: &ResponseHeader) -> Failed {
    let evidence = match headers::media(&header.headers) == Media::Events {
        true => Evidence::Event(complaint),
        false => Evidence::Answer {
            status: complaint.status.unwrap_or(502),
            complaint,
        },
    };
    let verdict = verdict::judge(&evidence);
    let told = hold::as_refusal(complaint, verdict.reason);
    let told = told.map(|refusal| tell(upstream, verdict.reason, refusal));
    Failed {
        wait: complaint
            .message
            .as_deref()
            .filter(|_| verdict.reason == Reason::RateLimited)
            .and_then(ratelimit::wait_in_message),
        is_final: false,
        told: told.unwrap_or_else(|| Failure::Upstream(UpstreamFailure::unsendable())),
        verdict,
    }
}

/// What a client is told of a refusal: what the upstream says, unless it speaks of our account. With
/// a key of the client's own it speaks of the client's.
pub fn tell(upstream: &Upstream, reason: Reason, refusal: Refusal) -> Failure {
    let status = refusal.header.status;
    let says_nothing =
        refusal.body.is_empty() || headers::media(&refusal.header.headers) == Media::Html;
    let (cause, detail) = match reason {
        Reason::KeyRefused | Reason::OutOfCredit if upstream.keys.are_ours() => (
            Cause::Account,
            format!("its account does not serve us: {reason}, status {status}"),
        ),
        _ if !status.is_server_error() || !says_nothing => {
            return Failure::Refusal(Box::new(refusal));
        }
        _ => (
            match reason {
                Reason::Overloaded => Cause::Unavailable(None),
                _ => Cause::InvalidResponse,
            },
            format!("it answered with status {status} and nothing that can be passed on"),
        ),
    };
    Failure::Upstream(UpstreamFailure::of(cause, detail))
}

/// What is left until `deadline`; a moment when nothing is, since zero would mean no timeout.
pub fn left(deadline: Instant) -> Duration {
    between(Instant::now(), deadline)
}

/// What is left at a time.
pub fn between(now: Instant, deadline: Instant) -> Duration {
    let left = deadline.saturating_duration_since(now);
    left.max(Duration::from_millis(1))
}
