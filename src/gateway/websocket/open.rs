//! Opening a WebSocket at an upstream.
//!
//! Owns what is leased for it, the handshake, and what its outcome shows of key and server. Does not handle
//! which upstream is asked, nor what the client sees (see `websocket`). Fails with what the client is told:
//! the upstream's own answer, unless it speaks of our account.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::StatusCode;
use http::header::{SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY};
use http::response::Parts;
use pingora::http::RequestHeader;
use pingora::protocols::http::v1::client::HttpSession as Upstream1;
use pingora::{Error, ErrorType};

use crate::auth;
use crate::clock;
use crate::config::Timeouts;
use crate::gateway::context::Context;
use crate::gateway::failed::Failed;
use crate::gateway::failure::{Failure, Phase, UpstreamFailure};
use crate::gateway::headers;
use crate::gateway::lease::{self, Dial, Lease, NotReached, NotTaken, OtherServers, Wanted};
use crate::gateway::own_time;
use crate::gateway::plan::{self, NoCandidate};
use crate::gateway::upstream_error::{self, ErrorBody};
use crate::openai::echo::Echo;
use crate::openai::endpoint::Socket;
use crate::openai::ratelimit::Headroom;
use crate::openai::verdict::{Evidence, Reason};
use crate::openai::websocket::{self, Offer};
use crate::runtime::Shared;
use crate::upstreams::deadline::{self, MAX_HINTS, NO_ANSWER};
use crate::upstreams::{Connector, Peer, Permit, Session, Turn, Upstream};

/// A socket that is to be opened.
pub struct Opening<'s> {
    /// Where.
    pub upstream: Arc<Upstream>,
    /// Which endpoint's.
    pub socket: &'s Socket,
    /// The subprotocols that are offered.
    pub protocols: String,
}

impl Opening<'_> {
    /// Opens the socket at the upstream. What is leased lasts as long as the socket.
    pub async fn open(
        &self,
        request: &RequestHeader,
        context: &mut Context,
        shared: &Shared,
    ) -> Result<(Lease, Box<Upstream1>), Failure> {
        let permit = lease::permit(&self.upstream);
        let permit = own_time::timed(&mut context.outcome.waited, permit).await;
        let mut lease = permit
            .and_then(|permit| self.lease(permit, context))
            .map_err(|why| not_taken(why, context))?;
        let mut handshake = self.handshake(request, context, &lease)?;
        let echo = Echo::sent(&handshake.header.headers, &self.upstream.dialect);
        let reaching = lease.reach(shared, &mut handshake, OtherServers::Asked);
        let reached = own_time::timed(&mut context.outcome.waited, reaching).await;
        let failed = match reached {
            Ok(session) if session.get_status() != Some(StatusCode::SWITCHING_PROTOCOLS) => {
                decline(&self.upstream, session, &echo).await
            }
            Ok(session) if agrees(&session, request) => {
                lease.report_success(context, &headroom(&session));
                return Ok((lease, session));
            }
            Ok(_) => disagrees(),
            Err(failed) => failed,
        };
        lease.report_failure(shared, context, failed.verdict, failed.wait);
        Err(failed.told)
    }

    /// A key and a server for the socket.
    fn lease(&self, permit: Option<Permit>, context: &Context) -> Result<Lease, NotTaken> {
        let tenant = context.tenant_id();
        let wanted = match &context.asked.model {
            None => Wanted::of_account(tenant, self.socket.path),
            Some(_) => Wanted {
                account: None,
                // What is kept by the account that made it must be found there again.
                turn: match self.socket.model_in_query {
                    true => Turn::Next,
                    false => Turn::Of(tenant.as_bytes()),
                },
                ..Wanted::of_account(tenant, "")
            },
        };
        Lease::take(&self.upstream, permit, &wanted, context)
    }

    fn handshake(
        &self,
        request: &RequestHeader,
        context: &Context,
        lease: &Lease,
    ) -> Result<Handshake, Failure> {
        let offered = Offer::read(&request.headers).key.map(str::as_bytes);
        let credential = lease.credential(|| auth::key_of(&request.headers).or(offered));
        let header = headers::for_socket(request, &self.upstream, credential, &self.protocols);
        let query = headers::query(request, &["model", "deployment"]);
        let model = context.model_to_send();
        let dialect = &self.upstream.dialect;
        Ok(Handshake {
            header: header.ok_or_else(|| Failure::Upstream(UpstreamFailure::unsendable()))?,
            target: dialect.socket_target(self.socket.path, &query, model),
            timeouts: self.upstream.timeouts,
        })
    }
}

/// What the client is told where no key or server can be had.
fn not_taken(why: NotTaken, context: &mut Context) -> Failure {
    let upstream = context.outcome.upstream.clone();
    let Some(upstream) = upstream.filter(|_| why == NotTaken::NoKey) else {
        return Failure::Upstream(why.failure());
    };
    let wanted = lease::key_use(context, None);
    let cooling = plan::cooling(&upstream.keys, wanted, Instant::now());
    plan::unavailable(
        cooling.unwrap_or(NoCandidate::because(Reason::RateLimited)),
        context,
    )
}

/// What the answer says is left of the key's allowance.
fn headroom(session: &Upstream1) -> Headroom {
    let header = session.resp_header();
    header.map_or_else(Headroom::default, |header| {
        Headroom::read(&header.headers, clock::now)
    })
}

/// What is sent to open the socket, but for what depends on the server.
struct Handshake {
    header: RequestHeader,
    target: String,
    timeouts: Timeouts,
}

impl Dial for Handshake {
    type Reached = Box<Upstream1>;

    async fn dial(
        &mut self,
        connector: &Connector,
        peer: &Peer,
    ) -> Result<Box<Upstream1>, NotReached> {
        let path = [peer.base_path.as_str(), &self.target].concat();
        let mut header = self.header.clone();
        headers::address(&mut header, &path, peer)
            .ok_or_else(|| NotReached::Failed(Failed::unsendable()))?;
        // No pooled connection is used: this one carries nothing but the socket.
        let connecting = connector.connect_http1(peer).await;
        let mut session = connecting
            .map_err(|e| NotReached::NoConnection(Failed::unreachable(&e, Phase::Connect)))?;
        let asked = ask(&mut session, header, &self.timeouts).await;
        asked.map_err(|e| {
            let failure = UpstreamFailure::read(&e, Phase::FirstToken);
            NotReached::Failed(Failed::lost(failure))
        })?;
        Ok(session)
    }
}

/// Writes the opening, and reads what is answered to it.
async fn ask(
    session: &mut Upstream1,
    header: RequestHeader,
    timeouts: &Timeouts,
) -> pingora::Result<()> {
    let opening = session.write_request_header(Box::new(header));
    deadline::writing(Instant::now() + timeouts.connect, Duration::MAX, opening).await?;
    // Hints may come before the answer.
    let is_hint =
        |status: StatusCode| status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS;
    let answer = async {
        for _ in 0..=MAX_HINTS {
            session.read_response().await?;
            if !session.get_status().is_some_and(is_hint) {
                return Ok(());
            }
        }
        Error::e_explain(ErrorType::Custom(NO_ANSWER), "it sent hints without end")
    };
    deadline::reading(Instant::now() + timeouts.first_token, answer).await
}

/// Whether an upstream that has opened something has opened what was asked for.
fn agrees(session: &Upstream1, request: &RequestHeader) -> bool {
    let said = session.get_header(SEC_WEBSOCKET_ACCEPT);
    session.was_upgraded() && said.is_some_and(|said| *said == accept_of(request))
}

/// The `Sec-WebSocket-Accept` for a request; the upstream got the client's own key.
pub fn accept_of(request: &RequestHeader) -> String {
    let key = request.headers.get(SEC_WEBSOCKET_KEY);
    websocket::accept(key.map_or(b"", |key| key.as_bytes()))
}

fn disagrees() -> Failed {
    Failed::new(&Evidence::InvalidResponse, UpstreamFailure::disagrees())
}

/// What the answer shows of an upstream that does not open the socket. It passes on, unless it speaks of our
/// account.
async fn decline(upstream: &Upstream, session: Box<Upstream1>, echo: &Echo) -> Failed {
    let Some((header, error)) = read_error(upstream, session, echo).await else {
        return disagrees();
    };
    let ErrorBody {
        body,
        rest,
        session,
    } = error;
    if let Some(mut session) = session {
        session.shutdown().await;
    }
    upstream_error::failed(upstream, header, body, rest)
}

/// Reads the answer of an upstream that does not open the socket; `None` for what is no answer.
async fn read_error(
    upstream: &Upstream,
    session: Box<Upstream1>,
    echo: &Echo,
) -> Option<(Parts, ErrorBody)> {
    // It has been asked to switch protocols: what it does after that is not known, so the connection is
    // not used again.
    let mut session = Session::of_declined(session);
    let until = Instant::now() + upstream_error::ERROR_PATIENCE;
    let mut header = session.header(until).await.ok()?;
    let deadline = Instant::now() + upstream.timeouts.total;
    echo.mask_headers(&mut header.headers);
    let error = upstream_error::read_error(session, &mut header, until, deadline, echo).await?;
    Some((header, error))
}
