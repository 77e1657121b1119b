//! One try of one candidate: ask, and wait until it has really begun to answer.
//!
//! Owns connecting, sending and waiting, all within the upstream's timeouts, and what a failure on
//! that way shows. Nothing has gone to the client when it fails, and all that is known of why is in
//! [`Failed`]. Another connection is tried only when no byte of the request has been sent: an
//! address cannot be reached, or a pooled connection turned out to be closed. Refuses to know what
//! is tried next.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::response::Parts;
use pingora::RetryType;
use pingora::http::RequestHeader;

use super::answer::events::{End, EventReader, Wants};
use super::answer::first_output::{self, NoAnswer};
use super::answer::json::Reading;
use super::answer::{convert, sniff};
use crate::gateway::failure::{Cause, Failure, Phase, UpstreamFailure};
use crate::gateway::headers;
use crate::gateway::pieces::Pieces;
use crate::gateway::upstream_error::{complained, failed_response, refused};
use crate::observe::attempts::Until;
use crate::openai::echo::{Echo, Masking};
use crate::openai::endpoint::StreamError;
use crate::openai::rewrite::Rewrites;
use crate::openai::streaming::Asked;
use crate::openai::verdict::{self, Evidence, Verdict};
use crate::runtime::Shared;
use crate::upstreams::{NotSent, Payload, ServerLease, Session, Upstream, deadline};

/// Connections that are tried before we say that a server is gone: pooled ones that turn out to be
/// closed, and addresses that cannot be reached. None of them has seen any of the request.
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
pub struct Terms {
    /// When the whole request has taken too long.
    pub deadline: Instant,
    /// What the upstream is asked for.
    pub asked: Asked,
    /// What becomes of its form.
    pub form: Form,
    /// Whether it is to be plain text.
    pub wants_text: bool,
    /// What is wanted of the events of a stream.
    pub wants: Wants,
    /// How a stream tells that something broke.
    pub stream_error: StreamError,
    /// Whether a whole answer is JSON, an object or an array.
    pub answers_json: bool,
    /// What is changed in it.
    pub rewrites: Rewrites,
}

/// What becomes of the form of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// It stays.
    AsItComes,
    /// One answer is gathered from the stream.
    Gathered,
    /// A stream is made of the one answer.
    Streamed {
        /// Whether the client has asked for the usage at its end.
        with_usage: bool,
    },
}

/// An answer that has begun.
pub struct Answer {
    /// The connection that it comes over.
    pub session: Session,
    /// Its header.
    pub header: Parts,
    /// Whether it is JSON.
    pub is_json: bool,
    /// What of its body has been read to find out what it is, and is to be read again.
    pub ahead: Option<Bytes>,
    /// What of its body has come and may pass.
    pub held: Pieces,
    /// Whether that is all of it.
    pub complete: bool,
    /// How its stream has ended, where that is all of it.
    pub end: Option<End>,
    /// What is understood of its events, where it is a stream of them.
    pub events: Option<Box<EventReader>>,
    /// What it tells of its usage, where that is known before it passes.
    pub reading: Option<Reading>,
    /// The key that it was asked with.
    pub echo: Echo,
    /// Masks that key in what passes of a long answer that may be an error.
    pub masking: Option<Masking>,
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

/// When an attempt must have begun to answer.
#[derive(Clone, Copy)]
struct Limit {
    until: Instant,
    /// What has passed then.
    phase: Phase,
}

impl Limit {
    /// For an attempt that begins now. A whole answer comes when it is complete, so only a stream can be late
    /// with its first token.
    fn new(upstream: &Upstream, terms: &Terms) -> Self {
        let first_token = Instant::now() + upstream.timeouts.first_token;
        let (until, phase) = match terms.asked.stream && first_token < terms.deadline {
            true => (first_token, Phase::FirstToken),
            false => (terms.deadline, Phase::Total),
        };
        Self { until, phase }
    }
}

/// Asks the server in its seat.
pub async fn run(
    shared: &Shared,
    upstream: &Upstream,
    seat: &mut ServerLease,
    terms: &Terms,
    outgoing: &mut Outgoing,
) -> Result<Box<Answer>, Failed> {
    let limit = Limit::new(upstream, terms);
    let session = connect_and_send(shared, upstream, seat, outgoing, limit).await?;
    let echo = Echo::sent(&outgoing.header.headers, &upstream.dialect);
    first_words(shared, upstream, seat, session, echo, terms, limit).await
}

async fn connect_and_send(
    shared: &Shared,
    upstream: &Upstream,
    seat: &mut ServerLease,
    outgoing: &mut Outgoing,
    limit: Limit,
) -> Result<Session, Failed> {
    let unsendable = || Failed::new(&Evidence::NotSent, UpstreamFailure::unsendable());
    let mut failed = unsendable();
    for _ in 0..MAX_CONNECTIONS {
        let peer = &seat.peer;
        let path = [peer.base_path.as_str(), &outgoing.target].concat();
        headers::address(&mut outgoing.header, &path, peer).ok_or_else(unsendable)?;
        let connecting = shared.connector.connect(peer);
        let connection = match deadline::reading(limit.until, connecting).await {
            Ok(connection) => connection,
            Err(e) => {
                let failure = UpstreamFailure::read(&e, limit.phase);
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
        let sending = connection.send(&outgoing.header, &outgoing.payload, limit.until);
        match sending.await {
            Ok(session) => return Ok(session),
            Err(not_sent) if not_sent.unseen => {
                let failure = UpstreamFailure::read(&not_sent.error, limit.phase);
                failed = Failed::new(&Evidence::NotSent, failure);
            }
            Err(not_sent) => return Box::pin(early_answer(*not_sent, limit)).await,
        }
    }
    Err(failed)
}

/// An upstream may answer before it has read the whole request, and close: then its answer says
/// why, where the connection only says that it broke.
async fn early_answer(not_sent: NotSent, limit: Limit) -> Result<Session, Failed> {
    let NotSent {
        error, mut session, ..
    } = not_sent;
    let until = limit.until.min(Instant::now() + EARLY_ANSWER);
    match session.header(until).await {
        Ok(_) => Ok(session),
        Err(_) => {
            let failure = UpstreamFailure::read(&error, limit.phase);
            Err(Failed::new(&Evidence::NotSent, failure))
        }
    }
}

/// Waits for the answer's header, and until it has said something or refused.
async fn first_words(
    shared: &Shared,
    upstream: &Upstream,
    seat: &ServerLease,
    mut session: Session,
    echo: Echo,
    terms: &Terms,
    Limit { until, phase }: Limit,
) -> Result<Box<Answer>, Failed> {
    let header = session.header(until).await;
    let mut header = header.map_err(|e| broke(&e, phase, false, terms))?;
    echo.mask_headers(&mut header.headers);
    if header.status.is_client_error() || header.status.is_server_error() {
        let refused = refused(
            shared,
            upstream,
            seat,
            session,
            header,
            &echo,
            terms.deadline,
        );
        // What is rare is kept apart: its room would be that of every request.
        return Err(Box::pin(refused).await);
    }
    if header.status.is_redirection() {
        session.shutdown().await;
        let failure = UpstreamFailure::of(Cause::InvalidResponse, "it answered with a redirect");
        return Err(Failed::new(&Evidence::Garbage, failure));
    }
    let mut answer = Box::new(Answer {
        events: None,
        is_json: false,
        ahead: None,
        session,
        header,
        held: Pieces::default(),
        complete: false,
        end: None,
        reading: None,
        echo,
        masking: None,
    });
    match begin(&mut answer, upstream, terms, until, phase).await {
        Ok(outcome) => {
            shared.metrics.attempts().held(outcome);
            Ok(answer)
        }
        Err(failed) => {
            answer.session.shutdown().await;
            Err(failed)
        }
    }
}

/// Waits until an answer has begun, and gives it the form that the client wants.
async fn begin(
    answer: &mut Answer,
    upstream: &Upstream,
    terms: &Terms,
    until: Instant,
    phase: Phase,
) -> Result<Until, Failed> {
    let held = match sniff::recognise(answer, terms, until).await {
        Ok(()) => first_output::hold(answer, terms, until).await,
        Err(unsaid) => Err(unsaid),
    };
    let outcome = held.map_err(|unsaid| match unsaid {
        NoAnswer::Broke(e) => broke(&e, phase, true, terms),
        NoAnswer::Cut(detail) => {
            Failed::new(&Evidence::Cut, UpstreamFailure::of(Cause::Reset, detail))
        }
        unsaid => unusable(unsaid, upstream, answer, terms),
    })?;
    if terms.form != Form::AsItComes {
        let converted = Box::pin(convert::convert(answer, upstream, terms)).await;
        converted.map_err(|unsaid| unusable(unsaid, upstream, answer, terms))?;
    }
    Ok(outcome)
}

/// What an answer shows that cannot be passed on.
fn unusable(unsaid: NoAnswer, upstream: &Upstream, answer: &mut Answer, terms: &Terms) -> Failed {
    let (evidence, cause, detail) = match unsaid {
        NoAnswer::Complained(complaint) => return complained(upstream, &complaint, answer),
        NoAnswer::Failed(complaint, body) => {
            return failed_response(upstream, &complaint, body, answer, terms);
        }
        NoAnswer::Broke(e) => return broke_off(&e, terms),
        NoAnswer::Cut(detail) => (Evidence::Lost, Cause::Cut, detail),
        NoAnswer::Empty => (Evidence::Empty, Cause::Empty, "its answer says nothing"),
        NoAnswer::Unusable(detail) => (Evidence::Garbage, Cause::InvalidResponse, detail),
    };
    Failed::new(&evidence, UpstreamFailure::of(cause, detail))
}

/// What an error shows that strikes while a whole answer is read: it may have been made, and charged for.
fn broke_off(error: &pingora::Error, terms: &Terms) -> Failed {
    let phase = match deadline::left(terms.deadline).is_zero() {
        true => Phase::Total,
        false => Phase::Idle,
    };
    let failure = UpstreamFailure::read(error, phase);
    match failure.cause {
        Cause::Timeout(_) => Failed::new(&Evidence::Late, failure),
        _ => Failed::new(&Evidence::Lost, UpstreamFailure::cut(error)),
    }
}

/// What an error shows that strikes after the request has been sent.
fn broke(error: &pingora::Error, phase: Phase, has_header: bool, terms: &Terms) -> Failed {
    let failure = UpstreamFailure::read(error, phase);
    // HTTP/2 lets an upstream say that it has done nothing with a request.
    let is_untouched = matches!(error.retry, RetryType::Decided(true));
    let (evidence, failure) = match failure.cause {
        _ if is_untouched => (Evidence::NotSent, failure),
        Cause::Timeout(Phase::FirstToken) => (Evidence::Silent, failure),
        Cause::Timeout(_) => (Evidence::Late, failure),
        Cause::InvalidResponse => (Evidence::Garbage, failure),
        // A stream begins before there is anything to charge for. A whole answer has been made by
        // the time that its header is sent, and may have been before.
        _ if terms.asked.stream => (Evidence::Cut, failure),
        _ if has_header => (Evidence::Lost, UpstreamFailure::cut(error)),
        _ => (Evidence::Lost, failure),
    };
    Failed::new(&evidence, failure)
}
