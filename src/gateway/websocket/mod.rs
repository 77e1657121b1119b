//! WebSockets: the way through for the realtime API and for responses over a socket.
//!
//! Owns opening one on both sides, with the key swapped and the model in the query rewritten;
//! `passing` has what follows. Driven here and not by Pingora's proxy, which has no hook that could
//! end a socket. What is not opened is answered, a wrong key over the socket itself.

mod pump;

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::header::{
    CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, UPGRADE,
};
use http::{Method, StatusCode, Version};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::protocols::http::v1::client::HttpSession as Upstream1;
use pingora::{Error, ErrorType};

use super::admit;
use super::context::Context;
use super::exchange::attempt;
use super::failure::{Failure, Phase, UpstreamFailure};
use super::headers::{self, REQUEST_ID};
use super::plan::{self, Plan};
use super::session::{ClientSession, Part};
use super::upstream_error::{self, ErrorBody};
use crate::auth;
use crate::config::Timeouts;
use crate::openai::echo::Echo;
use crate::openai::endpoint::Socket;
use crate::openai::model_name;
use crate::openai::upstream_error::UpstreamError;
use crate::openai::verdict::{self, Evidence};
use crate::openai::websocket::{self, Close, Offer, OpenError, REALTIME};
use crate::runtime::Shared;
use crate::upstreams::deadline::{self, MAX_HINTS, NO_ANSWER};
use crate::upstreams::{Session, Turn, Upstream};
use pump::ClientEnd;

/// What decides in a query where a socket goes, and what it may do.
const DECIDING: [&str; 4] = ["model", "call_id", "intent", "deployment"];

/// Whether a request asks for a WebSocket. Another `Upgrade` is an offer that we decline by taking
/// no notice, as RFC 9110 allows.
pub fn is_asked_for(request: &RequestHeader) -> bool {
    request.version == Version::HTTP_11
        && websocket::has_token(&request.headers, &UPGRADE, "websocket")
}

/// Serves one socket, from its opening to its end.
pub async fn serve(
    client: &mut ClientSession,
    context: &mut Context,
    shared: &Arc<Shared>,
) -> Result<(), Failure> {
    // Whatever follows a request that asked to upgrade is not taken for a next one.
    client.close_after_answer();
    let request = client.request();
    let path = request.uri.path();
    let socket = Socket::find(path).ok_or_else(|| Failure::NoSocketHere {
        path: path.to_owned(),
    })?;
    context.asked.endpoint = socket.name;
    check(request)?;
    let offer = Offer::read(&request.headers);
    let protocols = offer.forwarded.join(", ");
    let has_realtime = offer.has_realtime;
    let key = auth::key_of(&request.headers).or(offer.key.map(str::as_bytes));
    match admit::key(key, &request.headers, context) {
        Ok(()) => {}
        Err(failure @ (Failure::NoKey | Failure::NoBearer | Failure::WrongKey { .. })) => {
            return refuse(client, context, has_realtime, &failure).await;
        }
        Err(failure) => return Err(failure),
    }
    admit::hops(&request.headers, context)?;
    admit::unread(path, context)?;
    let upstream = choose(request, context, socket)?;
    let opening = opening(request, context, socket, &upstream, &protocols)?;
    let echo = Echo::sent(&opening.header.headers, &upstream.dialect);
    let session = open(context, shared, &upstream, opening).await?;
    match session.get_status() {
        Some(StatusCode::SWITCHING_PROTOCOLS) => {
            agrees(&session, client.request())?;
            accept(client, context, has_realtime).await?;
            pump::run(client, context, shared, *session).await
        }
        _ => Err(decline(&upstream, session, &echo).await),
    }
}

fn check(request: &RequestHeader) -> Result<(), Failure> {
    if request.method != Method::GET {
        return Err(Failure::Handshake("the method is not GET"));
    }
    if headers::is_ambiguous(request, &DECIDING) {
        return Err(Failure::Handshake(
            "a name in its query stands twice, or is spelt in another way than `model`, `call_id`, \
             `intent` or `deployment`",
        ));
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
    let tenant = context.tenant().cloned();
    let home = tenant.as_ref().and_then(|tenant| runtime.home(tenant));
    let is_call = headers::value(request, "call_id").is_some();
    if !is_call && let Some(model) = headers::value(request, "model") {
        model_name::check(&model).map_err(Failure::ModelInQuery)?;
        let candidate = Plan::new(&runtime, context, &model)?.first();
        let candidate = candidate.map_err(|nobody| plan::unavailable(nobody, context))?;
        context.ask(candidate.upstream, candidate.model);
        let upstream = Arc::clone(candidate.upstream);
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
    if is_call && !tenant.is_some_and(|t| t.grants.ephemeral_keys && home.is_some()) {
        return Err(Failure::Handshake("your key is not for calls"));
    }
    // A transcription names its model in a message.
    let is_transcription =
        headers::value(request, "intent").is_some_and(|intent| intent == "transcription");
    match home {
        Some(home) if is_call || is_transcription || !socket.model_in_query => {
            context.outcome.upstream = Some(Arc::clone(home));
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
    let tenant = context.tenant().map_or("", |t| t.id.as_str());
    // What is kept by the account that made it must be found there again.
    let turn = match socket.model_in_query && context.asked.model.is_some() {
        true => Turn::Next,
        false => Turn::Of(tenant),
    };
    let offered = Offer::read(&request.headers).key.map(str::as_bytes);
    let client_key = || auth::key_of(&request.headers).or(offered);
    let credential = upstream.credential(turn, client_key);
    let header = headers::for_socket(request, upstream, credential, protocols);
    let query = headers::query(request, &["model", "deployment"]);
    let model = context
        .outcome
        .sent_model
        .as_deref()
        .or(context.asked.model.as_deref());
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
) -> Result<Box<Upstream1>, Failure> {
    let started = Instant::now();
    let mut failure = UpstreamFailure::unresolved();
    let mut tried = Vec::new();
    let mut next = upstream.pool.choose(b"", &tried);
    for _ in 0..attempt::MAX_CONNECTIONS {
        let Some(mut seat) = next else {
            break;
        };
        let path = [seat.peer.base_path.as_str(), &opening.target].concat();
        let mut header = opening.header.clone();
        headers::address(&mut header, &path, &seat.peer)
            .ok_or_else(|| Failure::Upstream(UpstreamFailure::unsendable()))?;
        let mut session = match shared.connector.connect_http1(&seat.peer).await {
            Ok(session) => session,
            Err(e) => {
                failure = UpstreamFailure::read(&e, Phase::Connect);
                next = if upstream.pool.other_address(&mut seat) {
                    Some(seat)
                } else {
                    upstream.pool.failed(&mut seat);
                    tried.push(seat.server);
                    upstream.pool.choose(b"", &tried)
                };
                continue;
            }
        };
        ask(&mut session, header, &upstream.timeouts)
            .await
            .map_err(|e| Failure::Upstream(UpstreamFailure::read(&e, Phase::FirstToken)))?;
        upstream.pool.succeeded(&mut seat);
        context.outcome.waited += started.elapsed();
        return Ok(session);
    }
    Err(Failure::Upstream(failure))
}

/// Writes the opening, and reads what is answered to it.
async fn ask(
    session: &mut Upstream1,
    header: RequestHeader,
    timeouts: &Timeouts,
) -> pingora::Result<()> {
    let opening = session.write_request_header(Box::new(header));
    deadline::writing(Instant::now() + timeouts.connect, opening).await?;
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
    client: &mut ClientSession,
    context: &mut Context,
    has_realtime: bool,
) -> Result<(), Failure> {
    let mut header = || {
        let mut header = ResponseHeader::build_no_case(StatusCode::SWITCHING_PROTOCOLS, Some(5))?;
        header.insert_header(CONNECTION, "Upgrade")?;
        header.insert_header(UPGRADE, "websocket")?;
        header.insert_header(SEC_WEBSOCKET_ACCEPT, accept_of(client.request()))?;
        if has_realtime {
            header.insert_header(SEC_WEBSOCKET_PROTOCOL, REALTIME)?;
        }
        header.insert_header(REQUEST_ID, context.request.id.as_str())?;
        context.commit(header.status.as_u16());
        Ok(header)
    };
    let header = header().map_err(|_: Box<Error>| Failure::ClientGone)?;
    let written = client.write(vec![Part::Header(Box::new(header))]).await;
    written.map_err(|_| Failure::ClientGone)
}

/// Opens the socket only to say that the key is wrong: a browser would not tell its page why an
/// opening was refused.
async fn refuse(
    client: &mut ClientSession,
    context: &mut Context,
    has_realtime: bool,
    failure: &Failure,
) -> Result<(), Failure> {
    accept(client, context, has_realtime).await?;
    let error = failure.api_error();
    context.outcome.error = Some(error.code.unwrap_or("no_api_key"));
    let event = websocket::text_frame(&error.socket_event(&context.request.id));
    let close = websocket::close_frame(Close::Unauthorized, error.code.unwrap_or(error.kind));
    let frames = Bytes::from([event, close].concat());
    context.outcome.bytes_out += frames.len();
    pump::farewell(&ClientEnd::new(client), frames).await
}

/// Passes on the answer of an upstream that does not open the socket, unless it speaks of our account.
async fn decline(upstream: &Upstream, session: Box<Upstream1>, echo: &Echo) -> Failure {
    // It has been asked to switch protocols: what it does after that is not known, so the connection is
    // not used again.
    let mut session = Session::of_declined(session);
    let until = Instant::now() + upstream_error::ERROR_PATIENCE;
    let disagrees = || Failure::Upstream(UpstreamFailure::disagrees());
    let Ok(mut header) = session.header(until).await else {
        return disagrees();
    };
    let deadline = Instant::now() + upstream.timeouts.total;
    echo.mask_headers(&mut header.headers);
    let read = upstream_error::read_error(session, &mut header, until, deadline, echo).await;
    let Some(ErrorBody {
        body,
        rest,
        session,
    }) = read
    else {
        return disagrees();
    };
    if let Some(mut session) = session {
        session.shutdown().await;
    }
    let error = UpstreamError::read(&body).unwrap_or_default();
    let evidence = Evidence::Answer {
        status: header.status.as_u16(),
        error: &error,
    };
    let reason = verdict::judge(&evidence).reason;
    let refusal = upstream_error::filled(upstream, header, body, error.message, rest);
    upstream_error::tell(upstream, reason, refusal)
}
