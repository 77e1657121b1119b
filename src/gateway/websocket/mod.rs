//! WebSockets: the way through for the realtime API and for responses over a socket.
//!
//! Owns who may have one, where it leads, and opening it for the client; `open` opens it at the upstream,
//! with the key swapped and the model in the query rewritten; `pump` has what follows. Driven here and not
//! by Pingora's proxy, which has no hook that could end a socket. It holds its lease until both sides have
//! closed. What is not opened is answered, a wrong key over the socket itself.

mod metering;
mod open;
mod pump;

use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_PROTOCOL, UPGRADE};
use http::{HeaderMap, Method, StatusCode, Version};
use pingora::Error;
use pingora::http::{RequestHeader, ResponseHeader};

use super::admit;
use super::context::Context;
use super::failure::Failure;
use super::headers::{self, REQUEST_ID};
use super::plan::{self, Plan};
use super::reserve::{self, Estimate};
use super::session::{ClientSession, Part};
use crate::auth;
use crate::openai::endpoint::Socket;
use crate::openai::model_name;
use crate::openai::websocket::{self, Close, Offer, OpenError, REALTIME};
use crate::runtime::Shared;
use crate::upstreams::Upstream;
use open::{Opening, accept_of};
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
    match admit::found(key, request, context).await {
        Ok(()) => {}
        Err(failure @ Failure::Caller(_)) => {
            return refuse(client, context, has_realtime, &failure).await;
        }
        Err(failure) => return Err(failure),
    }
    admit::hops(&request.headers, context)?;
    admit::unread(path, context)?;
    let upstream = choose(request, context, socket)?;
    reserve::reserve(context, &Estimate::default()).await?;
    let opening = Opening {
        upstream,
        socket,
        protocols,
    };
    // The session is watched meanwhile, so that its header cannot be borrowed.
    let header = client.request().clone();
    let opening = client.while_there(opening.open(&header, context, shared));
    let (lease, session) = opening.await.map_err(|_| Failure::ClientGone)??;
    accept(client, context, has_realtime).await?;
    let passed = pump::run(client, context, shared, *session).await;
    // Until both sides have closed it counts among what the upstream serves.
    drop(lease);
    passed
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
        let candidate = candidate.map_err(|none| plan::unavailable(none, context))?;
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
        let mut standing = HeaderMap::new();
        context.add_standing(&mut standing);
        for (name, value) in &standing {
            header.insert_header(name, value)?;
        }
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
