//! Which way a request goes.
//!
//! Owns the fork: a socket, the exchange, an endpoint of our own, or the tunnel; decided once, from
//! the method and the path as they were sent. What fails on any of them is refused in `answer`.

use std::pin::Pin;
use std::sync::Arc;

use http::Method;
use pingora::apps::{HttpPersistentSettings, ReusedHttpStream};
use pingora::http::RequestHeader;
use pingora::protocols::http::ServerSession;

use super::context::Context;
use super::failure::Failure;
use super::{admit, answer, exchange, finish, models, open, websocket};
use crate::admin;
use crate::openai::endpoint::{Endpoint, Exchange};
use crate::runtime::Shared;

/// A way on which we answer ourselves.
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
    /// It is refused.
    Nowhere,
}

impl Way {
    /// The way of this request; `None` is the tunnel's, where Pingora carries what may pass.
    pub fn of(request: &RequestHeader) -> Option<Self> {
        if websocket::is_asked_for(request) {
            return Some(Self::Socket);
        }
        match admit::endpoint(request.uri.path(), &request.method) {
            Some(Endpoint::Exchange(endpoint)) => Some(Self::Exchange(endpoint)),
            Some(Endpoint::Health) => Some(Self::Health),
            Some(Endpoint::Models) => Some(Self::Models),
            Some(Endpoint::Model(id)) => Some(Self::Model(id.to_owned())),
            // It would be the client's tunnel, not ours.
            None => (request.method == Method::CONNECT).then_some(Self::Nowhere),
        }
    }
}

/// Serves one request, and gives its connection back, if it may have another. On the heap, for a
/// connection that waits for a request has no room for its state.
pub fn serve(
    mut session: ServerSession,
    way: Way,
    shared: &Arc<Shared>,
) -> Pin<Box<impl Future<Output = Option<ReusedHttpStream>>>> {
    Box::pin(async move {
        let mut context = Context::new(shared);
        open::open(&mut session, &mut context, shared);
        let served = match go(&mut session, &mut context, shared, way).await {
            Ok(()) => Ok(()),
            Err(failure) => answer::refuse(&mut session, &mut context, &failure).await,
        };
        finish::finish(&session, &mut context, shared);
        // An answer that could not be ended must not look as though it had: the connection breaks.
        served.ok()?;
        let settings = HttpPersistentSettings::for_session(&session);
        let stream = session.finish().await.ok()??;
        Some(ReusedHttpStream::from_reusable_stream(stream, settings))
    })
}

async fn go(
    session: &mut ServerSession,
    context: &mut Context,
    shared: &Arc<Shared>,
    way: Way,
) -> Result<(), Failure> {
    admit::check_framing(session)?;
    admit::check_room(session.req_header(), context)?;
    let value = match way {
        Way::Exchange(endpoint) => {
            return exchange::serve(session, context, shared, endpoint).await;
        }
        Way::Socket => return websocket::serve(session, context, shared).await,
        Way::Nowhere => return Err(admit::nobody_serves(session.req_header())),
        Way::Health => {
            context.endpoint = Endpoint::Health.name();
            admin::health()
        }
        Way::Models => {
            context.endpoint = Endpoint::Models.name();
            admit::caller(&session.req_header().headers, context)?;
            models::list(context, shared).await
        }
        Way::Model(id) => {
            context.endpoint = Endpoint::Model(&id).name();
            admit::caller(&session.req_header().headers, context)?;
            models::retrieve(context, shared, &id).await?
        }
    };
    let sent = answer::json(session, context, &value).await;
    sent.map_err(|_| Failure::ClientGone)
}
