//! One try of one candidate: ask, and wait until it has really begun to answer.
//!
//! Owns sending the request and waiting, all within the upstream's timeouts, and what a failure on
//! that way shows. Nothing has gone to the client when it fails, and all that is known of why is in
//! [`Failed`]. Does not handle which connection it goes over (see `gateway/lease`), nor what is tried next
//! (see `failover`).

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use pingora::RetryType;

use super::answer::first_output::{self, NoAnswer};
use super::answer::{Answer, Broken, EventReader, convert, sniff, whole};
use super::outgoing::Outgoing;
use super::terms::{Form, Limit, Terms};
use super::upstream_error::{failed_response, refused, under_success};
use crate::gateway::failed::Failed;
use crate::gateway::failure::{Cause, Phase, UpstreamFailure};
use crate::gateway::headers;
use crate::gateway::lease::{Dial, Lease, NotReached, OtherServers};
use crate::observe::attempts::Until;
use crate::openai::echo::Echo;
use crate::openai::verdict::Evidence;
use crate::runtime::Shared;
use crate::upstreams::{Connector, NotSent, Peer, Session, Upstream, deadline};

/// An upstream that refuses a body while it is being sent gets this long for its reasons.
const EARLY_ANSWER: Duration = Duration::from_secs(1);

/// When an attempt that begins now must have begun to answer: a stream with its first output, any other answer with its
/// header, which mostly comes when it is complete.
fn first_output_limit(upstream: &Upstream, terms: &Terms) -> Limit {
    let timeouts = &upstream.timeouts;
    let (time, phase) = match terms.asked.stream {
        true => (Some(timeouts.first_token), Phase::FirstToken),
        false => (timeouts.answer, Phase::Answer),
    };
    let until = time.map(|time| Instant::now() + time);
    match until.filter(|until| *until < terms.deadline) {
        Some(until) => Limit { until, phase },
        None => terms.limit(),
    }
}

/// Asks the server that is leased.
pub async fn run(
    shared: &Shared,
    lease: &mut Lease,
    terms: &Terms,
    outgoing: &mut Outgoing,
) -> Result<Box<Answer>, Failed> {
    let limit = first_output_limit(lease.upstream(), terms);
    let mut request = Request { outgoing, limit };
    // Another server is another attempt.
    let reaching = lease.reach(shared, &mut request, OtherServers::Left);
    let session = reaching.await?;
    let echo = Echo::sent(&outgoing.header.headers, &lease.upstream().dialect);
    let spoken = outgoing.has_spoken.as_deref();
    first_words(shared, lease, (session, echo), terms, limit, spoken).await
}

/// A request that is sent whole.
struct Request<'a> {
    outgoing: &'a mut Outgoing,
    limit: Limit,
}

impl Dial for Request<'_> {
    type Reached = Session;

    async fn dial(&mut self, connector: &Connector, peer: &Peer) -> Result<Session, NotReached> {
        let Self { outgoing, limit } = self;
        let path = [peer.base_path.as_str(), &outgoing.target].concat();
        headers::address(&mut outgoing.header, &path, peer)
            .ok_or_else(|| NotReached::Failed(Failed::unsendable()))?;
        let connecting = deadline::reading(limit.until, connector.connect(peer));
        let connection = connecting
            .await
            .map_err(|e| NotReached::NoConnection(Failed::unreachable(&e, limit.phase)))?;
        outgoing.is_sent = true;
        let sending = connection.send(&outgoing.header, &outgoing.payload, limit.until);
        match sending.await {
            Ok(session) => Ok(session),
            Err(not_sent) if not_sent.unseen => {
                let failure = UpstreamFailure::read(&not_sent.error, limit.phase);
                Err(NotReached::Closed(Failed::new(&Evidence::NotSent, failure)))
            }
            Err(not_sent) => {
                let early = Box::pin(early_answer(*not_sent, *limit)).await;
                early.map_err(NotReached::Failed)
            }
        }
    }
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
        Err(end) => {
            let end = UpstreamFailure::read(&end, limit.phase);
            if end.cause == Cause::Tls {
                return Err(Failed::new(&Evidence::Tls, end));
            }
            let failure = UpstreamFailure::read(&error, limit.phase);
            Err(Failed::new(&Evidence::NotSent, failure))
        }
    }
}

/// Waits for the answer's header, and until it has said something or refused.
async fn first_words(
    shared: &Shared,
    lease: &Lease,
    (mut session, echo): (Session, Echo),
    terms: &Terms,
    limit: Limit,
    spoken: Option<&AtomicBool>,
) -> Result<Box<Answer>, Failed> {
    let Limit { until, phase } = limit;
    let header = session.header(until).await;
    let mut header = header.map_err(|error| broke(&Broken { error, phase }, false, terms))?;
    echo.mask_headers(&mut header.headers);
    if header.status.is_client_error() || header.status.is_server_error() {
        let refused = refused(shared, lease, session, header, &echo, terms.deadline);
        // What is rare is kept apart: its room would be that of every request.
        return Err(Box::pin(refused).await);
    }
    if header.status.is_redirection() {
        session.shutdown().await;
        let failure = UpstreamFailure::of(Cause::InvalidResponse, "it answered with a redirect");
        return Err(Failed::new(&Evidence::InvalidResponse, failure));
    }
    let limit = match phase {
        Phase::Answer => terms.limit(),
        _ => limit,
    };
    let mut answer = Box::new(Answer::of_upstream(header, session, echo));
    match begin(&mut answer, shared, lease, terms, limit, spoken).await {
        Ok(outcome) => {
            shared.metrics.attempts().held(outcome);
            Ok(answer)
        }
        Err(failed) => {
            answer.shutdown().await;
            Err(failed)
        }
    }
}

/// Waits until an answer has begun, and gives it the form that the client wants.
async fn begin(
    answer: &mut Answer,
    shared: &Shared,
    lease: &Lease,
    terms: &Terms,
    limit: Limit,
    spoken: Option<&AtomicBool>,
) -> Result<Until, Failed> {
    let upstream = lease.upstream();
    let idle = upstream.timeouts.idle;
    let waited = match sniff::recognise(answer, terms, limit).await {
        Ok(()) => first_output::wait(answer, terms, limit, idle).await,
        Err(none) => Err(none),
    };
    let outcome = waited.map_err(|none| unfinished(none, upstream, answer, terms))?;
    if let Some(spoken) = spoken {
        spoken.store(true, Ordering::Relaxed);
    }
    if terms.form != Form::AsItComes {
        let converting = convert::convert(answer, idle, terms);
        let session = Box::pin(converting).await;
        let session = session.map_err(|none| {
            count_wasted(shared, upstream, answer);
            match terms.is_held_whole {
                true => unfinished(none, upstream, answer, terms),
                false => unusable(none, upstream, answer, terms),
            }
        })?;
        if let Some(session) = session {
            lease.release(shared, session).await;
        }
    } else if terms.is_held_whole && answer.events().is_some() {
        let whole = Box::pin(whole::hold(answer, idle, terms)).await;
        return whole.map_err(|none| {
            count_wasted(shared, upstream, answer);
            unfinished(none, upstream, answer, terms)
        });
    }
    Ok(outcome)
}

/// Counts what an answer has said that no client gets.
fn count_wasted(shared: &Shared, upstream: &Upstream, answer: &Answer) {
    let said = answer.events().map_or(0, EventReader::said_tokens);
    shared.metrics.attempts().wasted(&upstream.name, said);
}

/// What a stream shows of which nothing has passed.
fn unfinished(none: NoAnswer, upstream: &Upstream, answer: &mut Answer, terms: &Terms) -> Failed {
    match none {
        NoAnswer::Broken(broken) => broke(&broken, true, terms),
        NoAnswer::Cut(detail) => {
            Failed::new(&Evidence::Cut, UpstreamFailure::of(Cause::Reset, detail))
        }
        none => unusable(none, upstream, answer, terms),
    }
}

/// What an answer shows that cannot be passed on.
fn unusable(none: NoAnswer, upstream: &Upstream, answer: &mut Answer, terms: &Terms) -> Failed {
    let (evidence, cause, detail) = match none {
        NoAnswer::Error(error, body) => {
            return under_success(upstream, &error, body.as_deref(), answer);
        }
        NoAnswer::FailedResponse(error, body) => {
            return failed_response(upstream, &error, body, answer, terms);
        }
        NoAnswer::Broken(broken) => return broke_off(&broken),
        NoAnswer::Cut(detail) => (Evidence::Lost, Cause::Cut, detail),
        NoAnswer::Empty => (Evidence::Empty, Cause::Empty, "its answer says nothing"),
        NoAnswer::Unusable(detail) => (Evidence::InvalidResponse, Cause::InvalidResponse, detail),
    };
    Failed::new(&evidence, UpstreamFailure::of(cause, detail))
}

/// What an error shows that strikes while a whole answer is read: it may have been made, and charged for.
fn broke_off(broken: &Broken) -> Failed {
    let failure = UpstreamFailure::read(&broken.error, broken.phase);
    match failure.cause {
        Cause::Timeout(_) => Failed::new(&Evidence::Late, failure),
        _ => Failed::new(&Evidence::Lost, UpstreamFailure::cut(&broken.error)),
    }
}

/// What an error shows that strikes after the request has been sent.
fn broke(broken: &Broken, has_header: bool, terms: &Terms) -> Failed {
    let failure = UpstreamFailure::read(&broken.error, broken.phase);
    // HTTP/2 lets an upstream say that it has done nothing with a request.
    let is_untouched = matches!(broken.error.retry, RetryType::Decided(true));
    let (evidence, failure) = match failure.cause {
        _ if is_untouched => (Evidence::NotSent, failure),
        Cause::Timeout(Phase::FirstToken) => (Evidence::Silent, failure),
        Cause::Timeout(Phase::Idle) if terms.asked.stream => (Evidence::Silent, failure),
        // It may be made, and charged for.
        Cause::Timeout(Phase::Answer | Phase::Idle) => (Evidence::Lost, failure),
        Cause::Timeout(_) => (Evidence::Late, failure),
        Cause::InvalidResponse => (Evidence::InvalidResponse, failure),
        // By TLS 1.3 a server refuses our certificate after we have begun to speak.
        Cause::Tls if !has_header => (Evidence::Tls, failure),
        // A stream begins before there is anything to charge for. A whole answer has been made by
        // the time that its header is sent, and may have been before.
        _ if terms.asked.stream => (Evidence::Cut, failure),
        _ if has_header => (Evidence::Lost, UpstreamFailure::cut(&broken.error)),
        _ => (Evidence::Lost, failure),
    };
    Failed::new(&evidence, failure)
}
