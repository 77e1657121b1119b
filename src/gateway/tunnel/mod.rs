//! The tunnel: the way through for bodies that are not read.
//!
//! Both bodies pass as they come, so memory stays flat whatever their size. Owns the request for the
//! upstream, always with the same key for a tenant, and reaching a server of it; `target` says what may
//! pass and where to, `carry` moves the bodies. Does not handle what is in them. Nothing is sent twice
//! but what no server has acted on. Driven here and not by Pingora's proxy: see
//! `docs/decisions/tunnel.md`.

mod carry;
mod target;

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::Method;
use pingora::http::RequestHeader;

use super::client_body::{self, Pace};
use super::context::Context;
use super::exchange::attempt::MAX_CONNECTIONS;
use super::failure::{Failure, Phase, UpstreamFailure};
use super::headers::{self, Framing};
use super::session::ClientSession;
use crate::auth;
use crate::openai::echo::Echo;
use crate::runtime::Shared;
use crate::upstreams::{Peer, ServerLease, Session, Turn, Upstream};
use carry::{Carry, Silent};
use target::Target;

/// Serves one request that passes unread.
pub async fn serve(
    client: &mut ClientSession,
    context: &mut Context,
    shared: &Arc<Shared>,
) -> Result<(), Failure> {
    let framing = client_body::framing(client);
    let request = client.request();
    let method = request.method.clone();
    let (upstream, target) = target::find(request, context)?;
    let tenant = context.tenant().map_or("", |t| t.id.as_str());
    let credential = upstream.credential(Turn::Of(tenant), || auth::key_of(&request.headers));
    let is_api = matches!(target, Target::Api(_));
    let header = headers::for_tunnel(request, &upstream, credential, is_api, framing);
    context.outcome.upstream = Some(Arc::clone(&upstream));
    client_body::invite(client).await?;
    let echo = Echo::sent(&header.headers, &upstream.dialect);
    let mut passage = Passage {
        // What has no body is answered at once or not at all; the answer to another may take long.
        silence: match method {
            Method::GET | Method::HEAD | Method::DELETE => upstream.timeouts.idle,
            _ => upstream.timeouts.total,
        },
        // What changes nothing may be asked again.
        is_safe: framing == Framing::Bodiless && matches!(method, Method::GET | Method::HEAD),
        header,
        echo,
        target,
        upstream,
        tried: Vec::new(),
        connections: 0,
    };
    let pace = Pace::new(Instant::now(), 0, &context.runtime.settings.limits);
    passage.pass(client, context, shared, pace).await
}

/// The way of a request that may pass.
struct Passage {
    upstream: Arc<Upstream>,
    /// The header for the upstream, but for what depends on the server.
    header: RequestHeader,
    /// The key in it.
    echo: Echo,
    target: Target,
    /// How long nothing may move.
    silence: Duration,
    /// Whether it may be sent again although a server may have seen it.
    is_safe: bool,
    /// The servers that could not be reached.
    tried: Vec<usize>,
    /// How many connections have been tried.
    connections: usize,
}

/// A server that has the request's header.
struct Reached {
    session: Session,
    seat: ServerLease,
    is_reused: bool,
}

impl Passage {
    async fn pass(
        &mut self,
        client: &mut ClientSession,
        context: &mut Context,
        shared: &Shared,
        pace: Pace,
    ) -> Result<(), Failure> {
        let asked = Instant::now();
        let (carry, header, mut seat) = loop {
            let Reached {
                session,
                seat,
                is_reused,
            } = self.reach(shared).await?;
            let echo = self.echo.clone();
            let mut carry = Carry::new(client, context, session, echo, pace, self.silence);
            match carry.header().await {
                Ok(header) => break (carry, header, seat),
                // The server closed a connection that it had kept, just when it was used again.
                Err(Silent::Closed(_)) if is_reused && self.may_ask_again() => {}
                Err(Silent::Closed(e)) => {
                    return Err(Failure::Upstream(UpstreamFailure::read(&e, Phase::Idle)));
                }
                Err(Silent::Failed(failure)) => return Err(failure),
            }
        };
        let pool = &self.upstream.pool;
        match header.status.is_server_error() {
            true => drop(pool.failed(&mut seat)),
            false => pool.succeeded(&mut seat),
        }
        let (session, answered) = match carry.is_readable(&header) {
            true => (Some(carry.answer(header, asked).await?), Ok(())),
            false => {
                let (session, failure) = carry.refusal(header, asked).await;
                (session, Err(failure))
            }
        };
        if let Some(session) = session {
            shared.connector.release(session, &seat.peer).await;
        }
        answered
    }

    fn may_ask_again(&self) -> bool {
        self.is_safe && self.connections < MAX_CONNECTIONS
    }

    /// Connects to a server and sends it the header. Another address or server is tried where one
    /// cannot be reached.
    async fn reach(&mut self, shared: &Shared) -> Result<Reached, Failure> {
        let pool = &self.upstream.pool;
        let mut failure = UpstreamFailure::unresolved();
        let mut next: Option<ServerLease> = None;
        while self.connections < MAX_CONNECTIONS {
            let Some(mut seat) = next.take().or_else(|| pool.choose(b"", &self.tried)) else {
                break;
            };
            self.connections += 1;
            let header = self.addressed(&seat.peer)?;
            match shared.connector.connect(&seat.peer).await {
                Ok(connection) => match connection.send_header(header).await {
                    Ok((session, is_reused)) => {
                        return Ok(Reached {
                            session,
                            seat,
                            is_reused,
                        });
                    }
                    Err(not_sent) => {
                        failure = UpstreamFailure::read(&not_sent.error, Phase::Total);
                        if !not_sent.unseen {
                            break;
                        }
                        next = Some(seat);
                    }
                },
                Err(e) => {
                    failure = UpstreamFailure::read(&e, Phase::Connect);
                    if pool.other_address(&mut seat) {
                        next = Some(seat);
                    } else {
                        pool.failed(&mut seat);
                        self.tried.push(seat.server);
                    }
                }
            }
        }
        Err(Failure::Upstream(failure))
    }

    /// The header for one server.
    fn addressed(&self, peer: &Peer) -> Result<RequestHeader, Failure> {
        let (base, target) = match &self.target {
            Target::Api(target) => (&peer.base_path, target),
            Target::Url(target) => (&peer.url_path, target),
        };
        let slash = match base.is_empty() && !target.starts_with('/') {
            true => "/",
            false => "",
        };
        let path = [base, slash, target].concat();
        let mut header = self.header.clone();
        let addressed = headers::address(&mut header, &path, peer);
        addressed.ok_or_else(|| Failure::Upstream(UpstreamFailure::unsendable()))?;
        Ok(header)
    }
}
