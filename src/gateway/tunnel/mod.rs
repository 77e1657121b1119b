//! The tunnel: the way through for bodies that are not read.
//!
//! Both bodies pass as they come, so memory stays flat whatever their size, but for JSON that may name a
//! model, which is read (see `inspect`). Owns the request for the upstream, with the tenant's own key, and
//! reaching a server of it; `target` says what may pass and where to, `carry` moves the bodies. Nothing is sent twice
//! but what no server has acted on. Driven here and not by Pingora's proxy: see
//! `docs/decisions/tunnel.md`.

mod ahead;
mod carry;
mod inspect;
mod signed;
mod target;

use std::future::pending;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::Method;
use http::response::Parts;
use pingora::http::RequestHeader;

use super::admit;
use super::client_body;
use super::context::Context;
use super::failed::Failed;
use super::failure::{Failure, Phase, UpstreamFailure};
use super::headers::{self, Framing};
use super::lease::{self, Dial, Lease, NotReached, OtherServers, Wanted};
use super::own_time;
use super::reserve::{self, Estimate};
use super::session::ClientSession;
use super::upstream_error;
use crate::auth;
use crate::openai::echo::Echo;
use crate::openai::ratelimit::Headroom;
use crate::openai::verdict::Evidence;
use crate::runtime::Shared;
use crate::upstreams::{Connector, Peer, Permit, Session, Upstream};
use carry::{Carry, Silent};
use inspect::Inspected;
use target::Target;

/// Serves one request that passes unread.
pub async fn serve(
    client: &mut ClientSession,
    context: &mut Context,
    shared: &Arc<Shared>,
) -> Result<(), Failure> {
    let framing = client_body::framing(client);
    let (upstream, target) = target::find(client.request(), context).await?;
    admit::body(client, context);
    context.outcome.upstream = Some(Arc::clone(&upstream));
    let is_api = matches!(target, Target::Api(_));
    let mut body = match is_api {
        true => inspect::inspect(client, context, framing).await?,
        // What another service means by a model is its own.
        false => Inspected::unread(context, framing),
    };
    signed::hold(client, context, &mut body).await?;
    reserve::reserve(context, &Estimate::default()).await?;
    let permit = permit(client, context, &upstream).await?;
    let request = client.request();
    let method = request.method.clone();
    let tenant = context.tenant_id();
    let wanted = Wanted::of_account(tenant, target.operation());
    let lease = Lease::take(&upstream, permit, &wanted, context);
    let lease = lease.map_err(|why| Failure::Upstream(why.failure()))?;
    let credential = lease.credential(|| auth::key_of(&request.headers));
    let header = headers::for_tunnel(request, &upstream, credential, is_api, body.framing);
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
        head: Head { header, target },
        echo,
        lease,
    };
    passage.pass(client, context, shared, body).await
}

/// A permit of the upstream's, for which the request waits in its queue where it has to, while the client
/// is there. Of a client that still sends its body it is not known.
async fn permit(
    client: &mut ClientSession,
    context: &mut Context,
    upstream: &Upstream,
) -> Result<Option<Permit>, Failure> {
    if let Ok(permit) = lease::permit_now(upstream) {
        return Ok(permit);
    }
    let gone = async {
        match client.is_body_done() {
            true => client.left().await,
            false => pending().await,
        }
    };
    let waiting = async {
        tokio::select! {
            biased;
            () = gone => Err(Failure::ClientGone),
            permit = lease::permit(upstream) => {
                permit.map_err(|why| Failure::Upstream(why.failure()))
            }
        }
    };
    own_time::timed(&mut context.outcome.waited, waiting).await
}

/// The way of a request that may pass.
struct Passage {
    lease: Lease,
    head: Head,
    /// The key in it.
    echo: Echo,
    /// How long nothing may move.
    silence: Duration,
    /// Whether it may be sent again although a server may have seen it.
    is_safe: bool,
}

impl Passage {
    async fn pass(
        &mut self,
        client: &mut ClientSession,
        context: &mut Context,
        shared: &Shared,
        body: Inspected,
    ) -> Result<(), Failure> {
        let asked = Instant::now();
        let ahead = body.payload();
        let (carry, header) = loop {
            let reached = self
                .lease
                .reach(shared, &mut self.head, OtherServers::Asked);
            let (session, is_reused) = match reached.await {
                Ok(reached) => reached,
                Err(failed) => return Err(self.failed(shared, context, failed)),
            };
            let echo = self.echo.clone();
            let mut carry = Carry::new(client, context, session, echo, body.pace, self.silence);
            let failure = match carry.header(&ahead).await {
                Ok(header) => break (carry, header),
                // The server closed a connection that it had kept, just when it was used again.
                Err(Silent::Closed(_)) if is_reused && self.is_safe && self.lease.may_connect() => {
                    continue;
                }
                Err(Silent::Closed(e)) => UpstreamFailure::read(&e, Phase::Idle),
                Err(Silent::Failed(Failure::Upstream(failure))) => failure,
                Err(Silent::Failed(failure)) => return Err(failure),
            };
            return Err(self.failed(shared, context, Failed::lost(failure)));
        };
        // It has been sent.
        drop((body, ahead));
        let (session, answered) = match carry.is_readable(&header) {
            true => self.pass_answer(shared, carry, header, asked).await,
            false => {
                let refused = header.clone();
                let (session, failure) = carry.refusal(header, asked).await;
                let said = match &failure {
                    Failure::Refusal(refusal) => &refusal.body[..],
                    _ => &[],
                };
                self.refused(shared, context, &refused, said);
                (session, Err(failure))
            }
        };
        if let Some(session) = session {
            self.lease.release(shared, session).await;
        }
        answered
    }

    /// Passes an answer on. What it shows of the key is reported before the client has all of it, since its
    /// next request may follow at once.
    async fn pass_answer(
        &mut self,
        shared: &Shared,
        mut carry: Carry<'_>,
        header: Parts,
        asked: Instant,
    ) -> (Option<Session>, Result<(), Failure>) {
        let error = carry::is_error(header.status).then(|| header.clone());
        let is_error = error.is_some();
        if !is_error {
            let nothing = Headroom::default();
            self.lease.report_success(carry.context(), &nothing);
        }
        let passed = carry.answer(header, asked).await;
        if let Some(header) = error {
            self.refused(shared, carry.context(), &header, carry.error());
        }
        let answered = match passed {
            Ok(last) => carry.finish(last).await,
            Err(failure) => Err(failure),
        };
        if let (false, Err(Failure::Upstream(_))) = (is_error, &answered) {
            self.lease.report_broken(shared, carry.context());
        }
        let session = answered.is_ok().then(|| carry.into_session());
        (session, answered)
    }

    /// Reports an error, of which this has come.
    fn refused(&mut self, shared: &Shared, context: &Context, header: &Parts, said: &[u8]) {
        let judged = upstream_error::judge(header, said);
        self.lease
            .report_failure(shared, context, judged.verdict, judged.wait);
    }

    /// Reports a failure. Gives what the client is told.
    fn failed(&mut self, shared: &Shared, context: &Context, failed: Failed) -> Failure {
        self.lease
            .report_failure(shared, context, failed.verdict, failed.wait);
        failed.told
    }
}

/// The header for the upstream, but for what depends on the server, and where it goes.
struct Head {
    header: RequestHeader,
    target: Target,
}

impl Dial for Head {
    /// Whether the connection was a pooled one stands beside the session.
    type Reached = (Session, bool);

    async fn dial(
        &mut self,
        connector: &Connector,
        peer: &Peer,
    ) -> Result<(Session, bool), NotReached> {
        let header = self.addressed(peer);
        let header = header.ok_or_else(|| NotReached::Failed(Failed::unsendable()))?;
        let connection = connector.connect(peer).await;
        let connection = connection
            .map_err(|e| NotReached::NoConnection(Failed::unreachable(&e, Phase::Connect)))?;
        connection.send_header(header).await.map_err(|not_sent| {
            let failure = UpstreamFailure::read(&not_sent.error, Phase::Total);
            let failed = Failed::new(&Evidence::NotSent, failure);
            match not_sent.unseen {
                true => NotReached::Closed(failed),
                false => NotReached::Failed(failed),
            }
        })
    }
}

impl Head {
    /// The header for one server.
    fn addressed(&self, peer: &Peer) -> Option<RequestHeader> {
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
        headers::address(&mut header, &path, peer)?;
        Some(header)
    }
}
