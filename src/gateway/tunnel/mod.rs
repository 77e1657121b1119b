//! The tunnel: the way through for bodies that we do not read.
//!
//! Pingora carries both bodies as they come, so memory stays flat whatever their size, and asks here
//! at each step; this is the only `ProxyHttp`. Owns choosing the server and the header that goes
//! there, always with the same key for a tenant; `target` says what may pass, and where to. Refuses
//! to know what is in the bodies. Nothing is sent twice but what no server has seen.

mod target;

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use http::Method;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::modules::http::HttpModules;
use pingora::protocols::http::ServerSession;
use pingora::upstreams::peer::{HttpPeer, HttpUpstreamRequestPolicy};
use pingora::{Error, ErrorSource, ErrorType};
use pingora_proxy::{FailToProxy, ProxyHttp, Session};

use super::attempt::MAX_CONNECTIONS;
use super::context::Context;
use super::failure::{Failure, Phase, Unreadable, UpstreamFailure};
use super::{admit, answer, body, finish, headers, open};
use crate::auth;
use crate::observe::metrics::Shed;
use crate::runtime::Shared;
use crate::upstreams::{Seat, Turn, Upstream};
use target::Target;

/// A server that takes nothing of a body for this long has failed.
const WRITE_TIMEOUT: Duration = Duration::from_secs(60);

/// What Pingora is told of a body that comes too slowly.
const TOO_SLOW: ErrorType = ErrorType::Custom("SlowBody");

/// What Pingora asks about each request that it carries.
pub struct Tunnel {
    shared: Arc<Shared>,
}

impl Tunnel {
    /// Carries by the shared state's current snapshot.
    pub fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }
}

/// A request that is carried, or asks to be.
pub struct Carried {
    context: Context,
    /// Its way, once it has been let in.
    passage: Option<Passage>,
}

/// The way of a request that was let in.
struct Passage {
    upstream: Arc<Upstream>,
    /// The header for the upstream, but for what depends on the server.
    header: RequestHeader,
    /// What is asked for.
    target: Target,
    /// How long the server may say nothing.
    silence: Duration,
    /// The server that is asked, once it is known.
    seat: Option<Seat>,
    /// The servers that could not be reached.
    tried: Vec<usize>,
    /// How many connections have been tried.
    connections: usize,
    /// When the last of them was.
    asked: Instant,
}

#[async_trait]
impl ProxyHttp for Tunnel {
    type CTX = Carried;

    fn new_ctx(&self) -> Carried {
        Carried {
            context: Context::new(&self.shared),
            passage: None,
        }
    }

    /// No module: compression would hold back what passes.
    fn init_downstream_modules(&self, _modules: &mut HttpModules) {}

    async fn early_request_filter(
        &self,
        session: &mut Session,
        carried: &mut Carried,
    ) -> pingora::Result<()> {
        open::open(session, &mut carried.context, &self.shared);
        Ok(())
    }

    /// Lets the request in, or answers why it stays out.
    async fn request_filter(
        &self,
        session: &mut Session,
        carried: &mut Carried,
    ) -> pingora::Result<bool> {
        match carried.enter(session).await {
            Ok(()) => Ok(false),
            Err(failure) => {
                answer::refuse(session, &mut carried.context, &failure).await?;
                Ok(true)
            }
        }
    }

    /// Chooses the server, anew for each connection that is tried.
    async fn upstream_peer(
        &self,
        _session: &mut Session,
        carried: &mut Carried,
    ) -> pingora::Result<Box<HttpPeer>> {
        carried.passage()?.peer()
    }

    /// Judges a connection that could not be made: another address or server may be tried.
    fn fail_to_connect(
        &self,
        _session: &mut Session,
        _peer: &HttpPeer,
        carried: &mut Carried,
        mut error: Box<Error>,
    ) -> Box<Error> {
        if let Ok(passage) = carried.passage() {
            error.set_retry(passage.has_other());
        }
        error
    }

    /// Puts our header in the place of the client's.
    async fn upstream_request_filter(
        &self,
        _session: &mut Session,
        header: &mut RequestHeader,
        carried: &mut Carried,
    ) -> pingora::Result<()> {
        carried.passage()?.address(header)
    }

    async fn request_body_filter(
        &self,
        _session: &mut Session,
        body: &mut Option<Bytes>,
        end: bool,
        carried: &mut Carried,
    ) -> pingora::Result<()> {
        let context = &mut carried.context;
        context.bytes_in += body.as_ref().map_or(0, Bytes::len);
        let limits = &context.runtime.settings.limits;
        let pace = body::Pace::new(context.started, context.bytes_in, limits);
        match end || pace.left().is_some() {
            true => Ok(()),
            false => Err(Error::new_down(TOO_SLOW)),
        }
    }

    async fn response_filter(
        &self,
        session: &mut Session,
        header: &mut ResponseHeader,
        carried: &mut Carried,
    ) -> pingora::Result<()> {
        match header.status.is_informational() {
            true => Ok(()),
            false => carried.commit(session, header),
        }
    }

    fn response_body_filter(
        &self,
        _session: &mut Session,
        body: &mut Option<Bytes>,
        _end: bool,
        carried: &mut Carried,
    ) -> pingora::Result<Option<Duration>> {
        carried.context.bytes_out += body.as_ref().map_or(0, Bytes::len);
        Ok(None)
    }

    /// Says what went wrong, where it still can be said.
    async fn fail_to_proxy(
        &self,
        session: &mut Session,
        error: &Error,
        carried: &mut Carried,
    ) -> FailToProxy {
        if carried.passage.is_some() {
            let failure = carried.failure(error);
            session.set_keepalive(None);
            // Whether it could be said or not, the connection ends here.
            let _ = answer::refuse(session, &mut carried.context, &failure).await;
        }
        FailToProxy {
            error_code: 0,
            can_reuse_downstream: false,
        }
    }

    /// The access line says it, with the request's id.
    fn suppress_error_log(&self, _: &Session, _: &Carried, _: &Error) -> bool {
        true
    }

    async fn logging(&self, session: &mut Session, _error: Option<&Error>, carried: &mut Carried) {
        finish::finish(session, &mut carried.context, &self.shared);
    }
}

impl Carried {
    async fn enter(&mut self, session: &mut ServerSession) -> Result<(), Failure> {
        let context = &mut self.context;
        admit::check_framing(session)?;
        admit::check_room(session.req_header(), context)?;
        let request = session.req_header();
        let (upstream, target) = target::find(request, context)?;
        let tenant = context.tenant.as_ref().map_or("", |t| t.id.as_str());
        let credential = upstream.credential(Turn::Of(tenant), || auth::key_of(&request.headers));
        let is_api = matches!(target, Target::Api(_));
        let header = headers::for_tunnel(request, &upstream, credential, is_api);
        // What has no body is answered at once or not at all; the answer to another may be thought
        // over.
        let asks_only = [Method::GET, Method::HEAD, Method::DELETE].contains(&request.method);
        let timeouts = &upstream.timeouts;
        context.upstream = Some(Arc::clone(&upstream));
        self.passage = Some(Passage {
            header,
            target,
            silence: if asks_only {
                timeouts.idle
            } else {
                timeouts.total
            },
            seat: None,
            tried: Vec::new(),
            connections: 0,
            asked: Instant::now(),
            upstream,
        });
        body::invite(session).await
    }

    fn passage(&mut self) -> pingora::Result<&mut Passage> {
        let passage = self.passage.as_mut();
        passage.ok_or_else(|| Error::explain(ErrorType::InternalError, "no tunnel was entered"))
    }

    /// Makes the upstream's header one for the client, and notes the commit.
    fn commit(
        &mut self,
        session: &ServerSession,
        header: &mut ResponseHeader,
    ) -> pingora::Result<()> {
        let passage = self.passage()?;
        if let Some(seat) = &mut passage.seat {
            match header.status.is_server_error() {
                true => drop(passage.upstream.pool.failed(seat)),
                false => passage.upstream.pool.succeeded(seat),
            }
        }
        let asked = passage.asked;
        let context = &mut self.context;
        context.waited += asked.elapsed();
        let theirs = header.as_owned_parts();
        *header = headers::for_client(theirs, session.req_header(), &context.request_id).into();
        context.commit(header.status.as_u16());
        Ok(())
    }

    fn failure(&self, error: &Error) -> Failure {
        match (error.esource(), error.etype()) {
            (ErrorSource::Downstream, ErrorType::ReadTimedout) => {
                Failure::Unreadable(Unreadable::Timeout)
            }
            (ErrorSource::Downstream, kind) if *kind == TOO_SLOW => Failure::Shed(Shed::BodyRate),
            (ErrorSource::Downstream, ErrorType::Custom("InvalidChunk")) => {
                Failure::Framing("the chunked body is malformed")
            }
            (ErrorSource::Downstream, _) => Failure::ClientGone,
            _ if self.context.is_committed() => Failure::Upstream(UpstreamFailure::cut(error)),
            _ => Failure::Upstream(UpstreamFailure::read(error, Phase::Idle)),
        }
    }
}

impl Passage {
    fn peer(&mut self) -> pingora::Result<Box<HttpPeer>> {
        let pool = &self.upstream.pool;
        let seat = self.seat.take();
        let Some(seat) = seat.or_else(|| pool.choose(b"", &self.tried)) else {
            return Error::e_explain(ErrorType::ConnectNoRoute, "no server can be asked");
        };
        let mut http = seat.peer.http.clone();
        let options = &mut http.options;
        options.read_timeout = Some(self.silence);
        options.write_timeout = Some(WRITE_TIMEOUT);
        options.http_upstream_request_policy = HttpUpstreamRequestPolicy::deny_upgrades();
        self.seat = Some(seat);
        self.connections += 1;
        self.asked = Instant::now();
        Ok(Box::new(http))
    }

    /// Blames the server that could not be reached. Whether another may be tried.
    fn has_other(&mut self) -> bool {
        let pool = &self.upstream.pool;
        if let Some(mut seat) = self.seat.take() {
            if pool.other_address(&mut seat) {
                self.seat = Some(seat);
            } else {
                pool.failed(&mut seat);
                self.tried.push(seat.server);
            }
        }
        let has_other = self.seat.is_some() || pool.has_open(&self.tried);
        has_other && self.connections < MAX_CONNECTIONS
    }

    fn address(&self, header: &mut RequestHeader) -> pingora::Result<()> {
        let unsendable =
            || Error::explain(ErrorType::InternalError, "the request cannot be written");
        let peer = &self.seat.as_ref().ok_or_else(unsendable)?.peer;
        let (base, target) = match &self.target {
            Target::Api(target) => (&peer.base_path, target),
            Target::Url(target) => (&peer.url_path, target),
        };
        let slash = match base.is_empty() && !target.starts_with('/') {
            true => "/",
            false => "",
        };
        let path = [base, slash, target].concat();
        header.clone_from(&self.header);
        headers::address(header, &path, peer).ok_or_else(unsendable)?;
        Ok(())
    }
}
