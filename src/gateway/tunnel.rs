//! The tunnel: the way through for bodies that we do not read.
//!
//! Owns which requests may pass unread and where they go: below `/v1` to the tenant's home, whose
//! account has its objects, and always with the same key; below a route's prefix to that route's
//! upstream. Pingora carries both bodies as they come, so memory stays flat whatever their size.
//! Refuses to know what is in them. Nothing is sent twice but what no server has seen.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Method;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::upstreams::peer::{HttpPeer, HttpUpstreamRequestPolicy};
use pingora::{Error, ErrorSource, ErrorType};
use pingora_proxy::{FailToProxy, Session};

use super::attempt::MAX_CONNECTIONS;
use super::context::Context;
use super::failure::{Failure, Phase, Unreadable, UpstreamFailure};
use super::{admit, answer, body, headers};
use crate::auth;
use crate::observe::metrics::Shed;
use crate::openai::endpoint::{self, Socket};
use crate::upstreams::{Seat, Turn, Upstream};

/// A server that takes nothing of a body for this long has failed.
const WRITE_TIMEOUT: Duration = Duration::from_secs(60);

/// What Pingora is told of a body that comes too slowly.
const TOO_SLOW: ErrorType = ErrorType::Custom("SlowBody");

/// The names of the two kinds in metrics.
const PASSTHROUGH: &str = "passthrough";
const ROUTE: &str = "route";

/// A request on its way through.
pub struct Tunnel {
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

/// Where a request goes on its server, with its query.
enum Target {
    /// Below the base path of the API.
    Api(String),
    /// Below the path of the server's URL.
    Url(String),
}

/// Lets a request into the tunnel, or tells why it stays out; `refusal` is what becomes of one that
/// nothing wants.
pub async fn enter(
    session: &mut Session,
    context: &mut Context,
    path: &str,
    refusal: Failure,
) -> Result<(), Failure> {
    let (upstream, target) = find(session.req_header(), context, path, refusal)?;
    let request = session.req_header();
    let tenant = context.tenant.as_ref().map_or("", |t| t.id.as_str());
    let credential = upstream.credential(Turn::Of(tenant), || auth::key_of(&request.headers));
    let is_api = matches!(target, Target::Api(_));
    let header = headers::for_tunnel(request, &upstream, credential, is_api)
        .ok_or_else(|| Failure::Upstream(UpstreamFailure::unsendable()))?;
    // What has no body is answered at once or not at all; the answer to another may be thought over.
    let asks_only = [Method::GET, Method::HEAD, Method::DELETE].contains(&request.method);
    let timeouts = &upstream.timeouts;
    context.upstream = Some(Arc::clone(&upstream));
    context.tunnel = Some(Box::new(Tunnel {
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
    }));
    body::invite(session).await
}

fn find(
    request: &RequestHeader,
    context: &mut Context,
    path: &str,
    refusal: Failure,
) -> Result<(Arc<Upstream>, Target), Failure> {
    let runtime = Arc::clone(&context.runtime);
    let query = headers::query(request, &[]);
    if let Some((route, upstream, rest)) = runtime.route(path) {
        context.endpoint = ROUTE;
        context.route = Some(Arc::clone(route));
        admit::caller(&request.headers, context)?;
        check_path(path)?;
        let mark = if query.is_empty() { "" } else { "?" };
        let target = Target::Url([rest, mark, &query].concat());
        return Ok((Arc::clone(upstream), target));
    }
    let Some(operation) = endpoint::operation(path) else {
        return Err(refusal);
    };
    context.endpoint = PASSTHROUGH;
    admit::caller(&request.headers, context)?;
    if Socket::find(path).is_some_and(|s| s.model_in_query) && request.method == Method::GET {
        let path = path.to_owned();
        return Err(Failure::SocketNeeded { path });
    }
    let home = context.tenant.as_ref().and_then(|tenant| {
        let upstream = runtime.home(tenant)?;
        Some((tenant, upstream))
    });
    let Some((tenant, upstream)) = home else {
        return Err(refusal);
    };
    check_path(path)?;
    // What is asked for a model is read, or it does not pass: the tenant may not have every model.
    if endpoint::is_disguised(path) || upstream.dialect.names_deployment(operation) {
        return Err(refusal);
    }
    if endpoint::hands_out_keys(operation) && !tenant.allows_ephemeral_keys {
        let path = path.to_owned();
        return Err(Failure::HandsOutKeys { path });
    }
    let target = upstream.dialect.target(operation, &query, None);
    Ok((Arc::clone(upstream), Target::Api(target)))
}

fn check_path(path: &str) -> Result<(), Failure> {
    match endpoint::is_plain(path) {
        true => Ok(()),
        false => Err(Failure::AmbiguousPath),
    }
}

/// Chooses the server, anew for each connection that is tried.
pub fn peer(context: &mut Context) -> pingora::Result<Box<HttpPeer>> {
    let tunnel = of(context)?;
    let pool = &tunnel.upstream.pool;
    let seat = tunnel.seat.take();
    let Some(seat) = seat.or_else(|| pool.choose(b"", &tunnel.tried)) else {
        return Error::e_explain(ErrorType::ConnectNoRoute, "no server can be asked");
    };
    let mut http = seat.peer.http.clone();
    let options = &mut http.options;
    options.read_timeout = Some(tunnel.silence);
    options.write_timeout = Some(WRITE_TIMEOUT);
    options.http_upstream_request_policy = HttpUpstreamRequestPolicy::deny_upgrades();
    tunnel.seat = Some(seat);
    tunnel.connections += 1;
    tunnel.asked = Instant::now();
    Ok(Box::new(http))
}

/// Judges a connection that could not be made: another address or server may be tried.
pub fn unconnected(context: &mut Context, mut error: Box<Error>) -> Box<Error> {
    if let Ok(tunnel) = of(context) {
        let pool = &tunnel.upstream.pool;
        if let Some(mut seat) = tunnel.seat.take() {
            if pool.other_address(&mut seat) {
                tunnel.seat = Some(seat);
            } else {
                pool.failed(&mut seat);
                tunnel.tried.push(seat.server);
            }
        }
        let has_other = tunnel.seat.is_some() || pool.has_open(&tunnel.tried);
        error.set_retry(has_other && tunnel.connections < MAX_CONNECTIONS);
    }
    error
}

/// Puts our header in the place of the client's.
pub fn head(header: &mut RequestHeader, context: &mut Context) -> pingora::Result<()> {
    let tunnel = of(context)?;
    let unsendable = || Error::explain(ErrorType::InternalError, "the request cannot be written");
    let peer = &tunnel.seat.as_ref().ok_or_else(unsendable)?.peer;
    let (base, target) = match &tunnel.target {
        Target::Api(target) => (&peer.base_path, target),
        Target::Url(target) => (&peer.url_path, target),
    };
    let slash = match base.is_empty() && !target.starts_with('/') {
        true => "/",
        false => "",
    };
    let path = [base, slash, target].concat();
    header.clone_from(&tunnel.header);
    headers::address(header, &path, peer).ok_or_else(unsendable)?;
    Ok(())
}

/// Lets a part of the body pass; `end` tells that it is the last.
pub fn pass(body: Option<&Bytes>, end: bool, context: &mut Context) -> pingora::Result<()> {
    context.bytes_in += body.map_or(0, Bytes::len);
    let limits = &context.runtime.settings.limits;
    let pace = body::Pace::new(context.started, context.bytes_in, limits);
    match end || pace.left().is_some() {
        true => Ok(()),
        false => Err(Error::new_down(TOO_SLOW)),
    }
}

/// Makes the upstream's header one for the client, and notes the commit.
pub fn commit(
    session: &Session,
    header: &mut ResponseHeader,
    context: &mut Context,
) -> pingora::Result<()> {
    if header.status.is_informational() {
        return Ok(());
    }
    let tunnel = of(context)?;
    if let Some(seat) = &mut tunnel.seat {
        match header.status.is_server_error() {
            true => drop(tunnel.upstream.pool.failed(seat)),
            false => tunnel.upstream.pool.succeeded(seat),
        }
    }
    let asked = tunnel.asked;
    context.waited += asked.elapsed();
    let ours = headers::for_client(header.clone(), session.req_header(), &context.request_id);
    *header = ours.ok_or_else(|| {
        Error::explain(
            ErrorType::InvalidHTTPHeader,
            "the answer's header cannot be written",
        )
    })?;
    context.commit(header.status.as_u16());
    Ok(())
}

/// Says what went wrong, where it still can be said.
pub async fn fail(session: &mut Session, error: &Error, context: &mut Context) -> FailToProxy {
    let failure = match (error.esource(), error.etype()) {
        (ErrorSource::Downstream, ErrorType::ReadTimedout) => {
            Failure::Unreadable(Unreadable::Timeout)
        }
        (ErrorSource::Downstream, kind) if *kind == TOO_SLOW => Failure::Shed(Shed::BodyRate),
        (ErrorSource::Downstream, ErrorType::Custom("InvalidChunk")) => {
            Failure::Framing("the chunked body is malformed")
        }
        (ErrorSource::Downstream, _) => Failure::ClientGone,
        _ if context.is_committed() => Failure::Upstream(UpstreamFailure::cut(error)),
        _ => Failure::Upstream(UpstreamFailure::read(error, Phase::Idle)),
    };
    session.set_keepalive(None);
    // Whether it could be said or not, the connection ends here.
    let _ = answer::refuse(session, context, &failure).await;
    FailToProxy {
        error_code: 0,
        can_reuse_downstream: false,
    }
}

fn of(context: &mut Context) -> pingora::Result<&mut Tunnel> {
    let tunnel = context.tunnel.as_deref_mut();
    tunnel.ok_or_else(|| Error::explain(ErrorType::InternalError, "no tunnel was entered"))
}
