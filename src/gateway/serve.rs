//! Which way a request goes.
//!
//! Owns the fork: a socket, the exchange, an endpoint of our own, or the tunnel; decided once, from
//! the method and the path as they were sent. What fails on any of them is refused in `answer`.

use std::sync::Arc;

use pingora_proxy::Session;

use super::context::Context;
use super::failure::Failure;
use super::{admit, answer, exchange, models, tunnel, websocket};
use crate::admin;
use crate::openai::endpoint::Endpoint;
use crate::runtime::Shared;

/// What is left for Pingora to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// Nothing: the request has been answered.
    Answered,
    /// To carry the request to the upstream that `tunnel` has chosen.
    Tunnel,
}

/// Serves one request. `Ok(true)` tells Pingora that it has been answered.
///
/// # Errors
/// The answer had begun and could not be ended: Pingora drops the connection.
pub async fn serve(
    session: &mut Session,
    context: &mut Context,
    shared: &Arc<Shared>,
) -> pingora::Result<bool> {
    match choose(session, context, shared).await {
        Ok(way) => Ok(way == Way::Answered),
        Err(failure) => {
            answer::refuse(session, context, &failure).await?;
            Ok(true)
        }
    }
}

async fn choose(
    session: &mut Session,
    context: &mut Context,
    shared: &Arc<Shared>,
) -> Result<Way, Failure> {
    admit::check_framing(session)?;
    let header = session.req_header();
    admit::check_room(header, context)?;
    let path = header.uri.path().to_owned();
    if websocket::is_asked_for(header) {
        websocket::serve(session, context, shared, &path).await?;
        return Ok(Way::Answered);
    }
    match admit::endpoint(&path, &header.method) {
        Ok(Endpoint::Exchange(endpoint)) => {
            exchange::serve(session, context, shared, endpoint).await?;
            Ok(Way::Answered)
        }
        Ok(own) => {
            context.endpoint = own.name();
            let value = match own {
                Endpoint::Health | Endpoint::Exchange(_) => admin::health(),
                Endpoint::Models => {
                    admit::caller(&session.req_header().headers, context)?;
                    models::list(context, shared).await
                }
                Endpoint::Model(id) => {
                    admit::caller(&session.req_header().headers, context)?;
                    models::retrieve(context, shared, id).await?
                }
            };
            let sent = answer::json(session, context, &value).await;
            sent.map_err(|_| Failure::ClientGone)?;
            Ok(Way::Answered)
        }
        Err(refusal) => {
            tunnel::enter(session, context, &path, refusal).await?;
            Ok(Way::Tunnel)
        }
    }
}
