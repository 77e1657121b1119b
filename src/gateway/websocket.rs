//! WebSockets: the way through for the realtime API and for responses over a socket.
//!
//! Owns opening one on both sides with the key swapped and the model in the query rewritten, and
//! passing bytes both ways until either side closes, nothing has passed for too long, the socket
//! has been open for too long, or the process ends. Driven here and not by Pingora's proxy, which
//! has no hook that could end a socket. Messages are not read; frames are told apart, so that a
//! close of ours never falls into the middle of a message.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{
    CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, UPGRADE,
};
use http::{Method, StatusCode, Version};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::protocols::http::HttpTask;
use pingora::protocols::http::client::HttpSession;
use pingora::protocols::http::v1::client::HttpSession as Upstream1;
use pingora_proxy::Session;

use super::attempt::{self, Answer, Terms};
use super::context::Context;
use super::failure::{Failure, Phase, UpstreamFailure};
use super::headers::REQUEST_ID;
use super::{admit, headers, plan, relay};
use crate::auth;
use crate::config::Timeouts;
use crate::openai::endpoint::{Socket, StreamError};
use crate::openai::websocket::{self, Close, Frames, Offer, OpenError, REALTIME};
use crate::runtime::Shared;
use crate::upstreams::{Peer, Turn, Upstream};

/// A client that has been told to close gets this long to do so.
const LINGER: Duration = Duration::from_secs(2);

/// Whether a request asks for a WebSocket. Another `Upgrade` is an offer that we decline by taking
/// no notice, as RFC 9110 allows.
pub fn is_asked_for(request: &RequestHeader) -> bool {
    request.version == Version::HTTP_11
        && websocket::has_token(&request.headers, &UPGRADE, "websocket")
}

/// Serves one socket, from its opening to its end.
pub async fn serve(
    client: &mut Session,
    context: &mut Context,
    shared: &Arc<Shared>,
    path: &str,
) -> Result<(), Failure> {
    // Whatever follows a request that asked to upgrade is not taken for a next one.
    client.set_keepalive(None);
    let socket = Socket::find(path).ok_or_else(|| Failure::NoSocketHere {
        path: path.to_owned(),
    })?;
    context.endpoint = socket.name;
    let request = client.req_header();
    check(request)?;
    let offer = Offer::read(&request.headers);
    let protocols = offer.forwarded.join(", ");
    let has_realtime = offer.has_realtime;
    let key = auth::key_of(&request.headers).or(offer.key.map(str::as_bytes));
    match admit::key(key, context) {
        Ok(()) => {}
        Err(failure @ (Failure::NoKey | Failure::WrongKey { .. })) => {
            return refuse(client, context, has_realtime, &failure).await;
        }
        Err(failure) => return Err(failure),
    }
    let upstream = choose(request, context, socket)?;
    let opening = opening(request, context, socket, &upstream, &protocols)?;
    let (session, peer) = open(context, shared, &upstream, opening).await?;
    match session.get_status() {
        Some(StatusCode::SWITCHING_PROTOCOLS) => {
            agrees(&session, client.req_header())?;
            accept(client, context, has_realtime).await?;
            let passing = Passing::new(client, context, shared, session);
            passing.run().await
        }
        _ => decline(client, context, shared, &upstream, session, peer).await,
    }
}

fn check(request: &RequestHeader) -> Result<(), Failure> {
    if request.method != Method::GET {
        return Err(Failure::Handshake("the method is not GET"));
    }
    websocket::check(&request.headers).map_err(|e| match e {
        OpenError::Version => Failure::SocketVersion,
        OpenError::Malformed(what) => Failure::Handshake(what),
    })
}

/// The upstream: by the model that the query names, else the tenant's home.
fn choose(
    request: &RequestHeader,
    context: &mut Context,
    socket: &Socket,
) -> Result<Arc<Upstream>, Failure> {
    let runtime = Arc::clone(&context.runtime);
    let tenant = context.tenant.clone();
    let home = tenant.as_ref().and_then(|tenant| runtime.home(tenant));
    let is_call = headers::value(request, "call_id").is_some();
    if !is_call && let Some(model) = headers::value(request, "model") {
        let upstream = plan::plan(context, &model)?;
        let is_home = home.is_some_and(|home| Arc::ptr_eq(home, &upstream));
        let allows_any = tenant.is_some_and(|t| t.allows_all());
        return match socket.model_in_query || is_home || allows_any {
            true => Ok(upstream),
            false => Err(Failure::Handshake(
                "its messages may name any model, and your key is for some only",
            )),
        };
    }
    // A call is an object of the account that made it, whatever model it is with.
    if is_call && !tenant.is_some_and(|t| t.allows_ephemeral_keys && home.is_some()) {
        return Err(Failure::Handshake("your key is not for calls"));
    }
    match home {
        Some(home) if is_call || !socket.model_in_query => {
            context.upstream = Some(Arc::clone(home));
            Ok(Arc::clone(home))
        }
        _ => Err(Failure::NoModelInQuery),
    }
}

/// What is sent to open the socket, but for what depends on the server.
struct Opening {
    header: RequestHeader,
    target: String,
}

fn opening(
    request: &RequestHeader,
    context: &Context,
    socket: &Socket,
    upstream: &Upstream,
    protocols: &str,
) -> Result<Opening, Failure> {
    let tenant = context.tenant.as_ref().map_or("", |t| t.id.as_str());
    // What is kept by the account that made it must be found there again.
    let turn = match socket.model_in_query && context.model.is_some() {
        true => Turn::Next,
        false => Turn::Of(tenant),
    };
    let offered = Offer::read(&request.headers).key.map(str::as_bytes);
    let client_key = || auth::key_of(&request.headers).or(offered);
    let credential = upstream.credential(turn, client_key);
    let header = headers::for_socket(request, upstream, credential, protocols);
    let query = headers::query(request, &["model", "deployment"]);
    let model = context.sent_model.as_deref().or(context.model.as_deref());
    Ok(Opening {
        header: header.ok_or_else(|| Failure::Upstream(UpstreamFailure::unsendable()))?,
        target: upstream.dialect.socket_target(socket.path, &query, model),
    })
}

/// Opens the socket at the upstream and reads what it says to that.
async fn open(
    context: &mut Context,
    shared: &Shared,
    upstream: &Upstream,
    opening: Opening,
) -> Result<(Box<Upstream1>, Arc<Peer>), Failure> {
    let started = Instant::now();
    let mut failure = UpstreamFailure::unresolved();
    for _ in 0..attempt::MAX_CONNECTIONS {
        let peer = upstream.pool.choose();
        let peer = peer.ok_or_else(|| Failure::Upstream(UpstreamFailure::unresolved()))?;
        let path = [peer.base_path.as_str(), &opening.target].concat();
        let header = headers::address(opening.header.clone(), &path, &peer);
        let header = header.ok_or_else(|| Failure::Upstream(UpstreamFailure::unsendable()))?;
        let mut session = match shared.connector.connect_http1(&peer).await {
            Ok(session) => session,
            Err(e) => {
                failure = UpstreamFailure::read(&e, Phase::Connect);
                match upstream.pool.has_several_addresses() {
                    true => continue,
                    false => break,
                }
            }
        };
        ask(&mut session, header, &upstream.timeouts)
            .await
            .map_err(|e| Failure::Upstream(UpstreamFailure::read(&e, Phase::FirstToken)))?;
        context.waited += started.elapsed();
        return Ok((session, peer));
    }
    Err(Failure::Upstream(failure))
}

/// Writes the opening, and reads what is answered to it.
async fn ask(
    session: &mut Upstream1,
    header: RequestHeader,
    timeouts: &Timeouts,
) -> pingora::Result<()> {
    session.write_timeout = Some(timeouts.connect);
    session.write_request_header(Box::new(header)).await?;
    let until = Instant::now() + timeouts.first_token;
    // Hints may come before the answer.
    let is_hint =
        |status: StatusCode| status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS;
    while session.get_status().is_none_or(is_hint) {
        session.read_timeout = Some(attempt::left(until));
        session.read_response().await?;
    }
    Ok(())
}

/// Refuses an upstream that has opened something, but not what was asked for.
fn agrees(session: &Upstream1, request: &RequestHeader) -> Result<(), Failure> {
    let said = session.get_header(SEC_WEBSOCKET_ACCEPT);
    match session.was_upgraded() && said.is_some_and(|said| *said == accept_of(request)) {
        true => Ok(()),
        false => Err(Failure::Upstream(UpstreamFailure::disagrees())),
    }
}

/// The `Sec-WebSocket-Accept` for a request; the upstream got the client's own key.
fn accept_of(request: &RequestHeader) -> String {
    let key = request.headers.get(SEC_WEBSOCKET_KEY);
    websocket::accept(key.map_or(b"", |key| key.as_bytes()))
}

/// Tells the client that the socket is open.
async fn accept(
    client: &mut Session,
    context: &mut Context,
    has_realtime: bool,
) -> Result<(), Failure> {
    let written = async {
        let mut header = ResponseHeader::build_no_case(StatusCode::SWITCHING_PROTOCOLS, Some(5))?;
        header.insert_header(CONNECTION, "Upgrade")?;
        header.insert_header(UPGRADE, "websocket")?;
        header.insert_header(SEC_WEBSOCKET_ACCEPT, accept_of(client.req_header()))?;
        if has_realtime {
            header.insert_header(SEC_WEBSOCKET_PROTOCOL, REALTIME)?;
        }
        header.insert_header(REQUEST_ID, context.request_id.as_str())?;
        context.commit(header.status.as_u16());
        let header = HttpTask::Header(Box::new(header), false);
        client.write_response_tasks(vec![header]).await
    };
    written.await.map(drop).map_err(|_| Failure::ClientGone)
}

/// Opens the socket only to say that the key is wrong: a browser would not tell its page why an
/// opening was refused.
async fn refuse(
    client: &mut Session,
    context: &mut Context,
    has_realtime: bool,
    failure: &Failure,
) -> Result<(), Failure> {
    accept(client, context, has_realtime).await?;
    let error = failure.api_error();
    context.error = Some(error.code.unwrap_or("no_api_key"));
    let event = websocket::text_frame(&error.socket_event());
    let close = websocket::close_frame(Close::Unauthorized, error.code.unwrap_or(error.kind));
    close_with(client, context, [event, close].concat()).await
}

/// Passes on the answer of an upstream that does not open the socket.
async fn decline(
    client: &mut Session,
    context: &mut Context,
    shared: &Shared,
    upstream: &Upstream,
    session: Box<Upstream1>,
    peer: Arc<Peer>,
) -> Result<(), Failure> {
    let terms = Terms {
        stream_error: StreamError::Data,
        upstream,
        deadline: context.started + upstream.timeouts.total,
        stream: false,
    };
    let mut session = HttpSession::H1(*session);
    let header = session.response_header().cloned();
    let header = header.ok_or_else(|| Failure::Upstream(UpstreamFailure::unsendable()))?;
    let first = match session.response_done() {
        true => None,
        false => session
            .read_response_body()
            .await
            .map_err(|e| Failure::Upstream(UpstreamFailure::read(&e, Phase::Idle)))?,
    };
    let answer = Answer {
        session,
        peer,
        header,
        first,
    };
    relay::relay(client, context, shared, &terms, answer).await
}

/// An open socket.
struct Passing<'a> {
    client: &'a mut Session,
    context: &'a mut Context,
    shared: &'a Shared,
    upstream: Box<Upstream1>,
    /// What has passed towards the client.
    frames: Frames,
    opened: Instant,
    last: Instant,
}

/// Why bytes no longer pass.
enum End {
    /// The client has closed, properly or not.
    Client,
    /// The upstream has.
    Upstream,
    /// We do.
    Ours(Close, &'static str),
}

impl<'a> Passing<'a> {
    fn new(
        client: &'a mut Session,
        context: &'a mut Context,
        shared: &'a Shared,
        mut upstream: Box<Upstream1>,
    ) -> Self {
        client.set_read_timeout(None);
        upstream.read_timeout = None;
        upstream.maybe_upgrade_body_writer();
        let now = Instant::now();
        Self {
            client,
            context,
            shared,
            upstream,
            frames: Frames::default(),
            opened: now,
            last: now,
        }
    }

    async fn run(mut self) -> Result<(), Failure> {
        let end = self.pass().await;
        self.upstream.shutdown().await;
        let (close, reason) = match end {
            End::Client => return Ok(()),
            End::Ours(close, reason) => (close, reason),
            End::Upstream => (Close::Broken, "the upstream broke off"),
        };
        if self.frames.is_closed() {
            // The upstream has said so itself: the client answers, and closes.
            return close_with(self.client, self.context, Vec::new()).await;
        }
        self.context.error = Some(match close {
            Close::Broken => "upstream_cut",
            Close::Restart => "restart",
            _ => "socket_timeout",
        });
        // In the middle of a frame a close of ours would be taken for a part of it.
        let frame = match self.frames.is_between() {
            true => websocket::close_frame(close, reason),
            false => Vec::new(),
        };
        close_with(self.client, self.context, frame).await
    }

    /// Passes bytes both ways until something ends it.
    async fn pass(&mut self) -> End {
        let limits = self.context.runtime.settings.websocket;
        let end = self.opened + limits.total;
        let watch = tokio::time::sleep_until((self.last + limits.idle).min(end).into());
        let mut watch = std::pin::pin!(watch);
        let draining = self.shared.draining();
        let mut draining = std::pin::pin!(draining);
        loop {
            let passed = tokio::select! {
                read = self.client.downstream_session.read_request_body() => match read {
                    Ok(Some(bytes)) => self.up(bytes).await,
                    _ => Err(End::Client),
                },
                read = self.upstream.read_body_bytes() => match read {
                    Ok(Some(bytes)) => self.down(bytes).await,
                    _ => Err(End::Upstream),
                },
                () = &mut watch => {
                    let idle = self.last + limits.idle;
                    watch.as_mut().reset(idle.min(end).into());
                    match Instant::now() {
                        now if now >= end => {
                            Err(End::Ours(Close::GoingAway, "the socket was open for too long"))
                        }
                        now if now >= idle => {
                            Err(End::Ours(Close::GoingAway, "the socket was idle for too long"))
                        }
                        _ => Ok(()),
                    }
                }
                () = &mut draining => Err(End::Ours(Close::Restart, "the gateway restarts")),
            };
            if let Err(end) = passed {
                return end;
            }
        }
    }

    async fn up(&mut self, bytes: Bytes) -> Result<(), End> {
        self.last = Instant::now();
        self.context.bytes_in += bytes.len();
        let written = self.upstream.write_body(&bytes).await;
        written.map(drop).map_err(|_| End::Upstream)
    }

    async fn down(&mut self, bytes: Bytes) -> Result<(), End> {
        self.last = Instant::now();
        self.context.bytes_out += bytes.len();
        self.frames.pass(&bytes);
        let task = HttpTask::UpgradedBody(Some(bytes), false);
        let written = self.client.write_response_tasks(vec![task]).await;
        written.map(drop).map_err(|_| End::Client)
    }
}

/// Sends the last frames, and waits a moment for the client to close: a connection that is closed
/// with something unread is reset, and the client might never see why.
async fn close_with(
    client: &mut Session,
    context: &mut Context,
    frames: Vec<u8>,
) -> Result<(), Failure> {
    let farewell = async {
        if !frames.is_empty() {
            context.bytes_out += frames.len();
            let task = HttpTask::UpgradedBody(Some(Bytes::from(frames)), false);
            client.write_response_tasks(vec![task]).await.ok()?;
        }
        while client
            .downstream_session
            .read_request_body()
            .await
            .ok()?
            .is_some()
        {}
        Some(())
    };
    within(LINGER, farewell).await;
    Ok(())
}

async fn within<T>(limit: Duration, future: impl Future<Output = Option<T>>) {
    // Whether the client was quick enough or not, it is over.
    let _ = tokio::time::timeout(limit, future).await;
}
