//! Which way a request goes.
//!
//! Owns the fork, decided once from the method and the path as they were sent: a WebSocket, an exchange,
//! an endpoint of our own, or the tunnel. Whatever fails on one of the ways is answered by `reply`, and
//! every request ends in `finish`.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use http::response::Parts;
use pingora::apps::ReusedHttpStream;
use pingora::http::RequestHeader;

use super::context::Context;
use super::failure::Failure;
use super::session::ClientSession;
use super::settle::Settled;
use super::websocket;
use super::{
    admit, cors, exchange, finish, framing, models, open, own_time, redirect, reply, settle, tunnel,
};
use crate::admin;
use crate::observe::metrics::Shed;
use crate::openai::endpoint::{Endpoint, Exchange};
use crate::runtime::Shared;

/// A way through the gateway.
#[derive(Debug, PartialEq, Eq)]
pub enum Way {
    /// The request and its answer are read.
    Exchange(&'static Exchange),
    /// Bytes pass both ways.
    Socket,
    /// We tell how we are.
    Health,
    /// We list the models.
    Models,
    /// We tell of one model, with this id as it stands in the path.
    Model(String),
    /// Bodies pass unread.
    Tunnel,
}

impl Way {
    /// The way of this request.
    fn of(request: &RequestHeader) -> Self {
        if websocket::is_asked_for(request) {
            return Self::Socket;
        }
        match admit::endpoint(request.uri.path(), &request.method) {
            Some(Endpoint::Exchange(endpoint)) => Self::Exchange(endpoint),
            Some(Endpoint::Health) => Self::Health,
            Some(Endpoint::Models) => Self::Models,
            Some(Endpoint::Model(id)) => Self::Model(id.to_owned()),
            None => Self::Tunnel,
        }
    }
}

/// Serves one request, and gives its connection back, if it may have another. On the heap, for a
/// connection that waits for a request has no room for its state.
pub fn serve(
    session: ClientSession,
    shared: &Arc<Shared>,
    listener: usize,
) -> Pin<Box<impl Future<Output = Option<ReusedHttpStream>>>> {
    let mut underway = Underway {
        session: Some(session),
        settled: Settled(Context::new(shared, listener)),
    };
    Box::pin(async move {
        let (session, context) = underway.parts()?;
        open::open(session, context, shared);
        let served = match go(session, context, shared).await {
            Ok(()) => Ok(()),
            Err(failure) => reply::refuse(session, context, failure).await,
        };
        settle::settle(context).await;
        let session = underway.finish()?;
        // An answer that could not be ended must not look as though it had: the connection breaks.
        served.ok()?;
        // This takes no time, and much room, which every open stream would have kept.
        Box::pin(session.finish()).await
    })
}

/// A request on its way. It is finished once, also where its task ends in the middle.
struct Underway {
    /// Nothing once it is finished.
    session: Option<ClientSession>,
    settled: Settled,
}

impl Underway {
    fn parts(&mut self) -> Option<(&mut ClientSession, &mut Context)> {
        Some((self.session.as_mut()?, &mut self.settled.0))
    }

    fn finish(&mut self) -> Option<ClientSession> {
        let session = self.session.take()?;
        finish::finish(&session, &self.settled.0);
        Some(session)
    }
}

impl Drop for Underway {
    fn drop(&mut self) {
        if self.session.is_some() {
            self.settled.settle_now();
            self.finish();
        }
    }
}

async fn go(
    session: &mut ClientSession,
    context: &mut Context,
    shared: &Arc<Shared>,
) -> Result<(), Failure> {
    admit::address(context)?;
    let header_bytes = framing::check(session, &context.runtime.settings.limits)?;
    if session.is_http2() && !context.hold_header(header_bytes) {
        return Err(Failure::Shed(Shed::HeaderMemory));
    }
    if let Some(header) = unserved(session, context, shared)? {
        let sent = reply::bare(session, context, header).await;
        return sent.map_err(|_| Failure::ClientGone);
    }
    let mut status = StatusCode::OK;
    let body = match Way::of(session.request()) {
        Way::Exchange(endpoint) => {
            return exchange::serve(session, context, shared, endpoint).await;
        }
        // What passes unread is mostly waited for: its state is large and has room of its own.
        Way::Socket => return Box::pin(websocket::serve(session, context, shared)).await,
        Way::Tunnel => return Box::pin(tunnel::serve(session, context, shared)).await,
        Way::Health => {
            context.asked.endpoint = Endpoint::Health.name();
            let (told, health) = admin::health(shared);
            status = told;
            json(&health)
        }
        Way::Models => {
            context.asked.endpoint = Endpoint::Models.name();
            admit::caller(session.request(), context).await?;
            let mut waited = Duration::ZERO;
            if context.runtime.settings.reload_on_models {
                own_time::timed(&mut waited, look_for_changes(context, shared)).await;
                admit::caller(session.request(), context).await?;
            }
            let list = own_time::timed(&mut waited, models::list(context, shared)).await;
            context.outcome.waited += waited;
            list
        }
        Way::Model(id) => {
            context.asked.endpoint = Endpoint::Model(&id).name();
            admit::caller(session.request(), context).await?;
            let mut waited = Duration::ZERO;
            let model = models::retrieve(context, shared, &id);
            let model = own_time::timed(&mut waited, model).await;
            context.outcome.waited += waited;
            json(&model?)
        }
    };
    let sent = reply::json(session, context, (status, body)).await;
    sent.map_err(|_| Failure::ClientGone)
}

/// What a request is told that asks for nothing, or asks in the wrong place: a preflight, and one to a listener that
/// redirects.
fn unserved(
    session: &ClientSession,
    context: &Context,
    shared: &Shared,
) -> Result<Option<Parts>, Failure> {
    let (request, settings) = (session.request(), &context.runtime.settings);
    let listener = settings.listener(context.request.listener);
    if let Some(target) = listener.and_then(|listener| listener.redirect.as_ref()) {
        if redirect::exposes_key(request) && shared.exposed_keys.lock().has_passed() {
            log::warn!(
                "{} a client has sent a key in cleartext to a listener that redirects: replace the key, and give \
                 the client a URL with https",
                context.request.id
            );
        }
        return redirect::to(target, request).map(Some);
    }
    let cors = settings.cors.as_ref();
    let preflight = cors.and_then(|cors| cors::preflight(cors, request));
    match preflight {
        Some(_) if context.request.floods => Err(Failure::Flood),
        preflight => Ok(preflight),
    }
}

/// Has the configuration read again if it has changed, and goes on with what is in force then.
async fn look_for_changes(context: &mut Context, shared: &Shared) {
    // Where that cannot be done now, the list is of what is in force.
    let _ = shared.orders.reload_if_changed().await;
    context.runtime = shared.pin();
}

fn json(value: &serde_json::Value) -> Bytes {
    Bytes::from(value.to_string())
}
