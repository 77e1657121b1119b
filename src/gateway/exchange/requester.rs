//! The party on whose behalf an upstream is asked: a client, or the gateway itself.
//!
//! Owns waiting for something on its behalf: a client is watched and kept awake meanwhile, the gateway is neither. Does
//! not handle what is waited for (see `failover` and `cache`). Fails where the client leaves.

use std::pin::pin;

use pingora::http::RequestHeader;

use super::keepalive::Keepalive;
use crate::gateway::context::Context;
use crate::gateway::failure::Failure;
use crate::gateway::own_time;
use crate::gateway::session::ClientSession;

/// The party on whose behalf an upstream is asked.
pub enum Requester<'c> {
    /// A client.
    Client {
        /// Its session.
        session: &'c mut ClientSession,
        /// What keeps it awake.
        keepalive: &'c mut Keepalive,
    },
    /// The gateway itself, with this header.
    Gateway(Box<RequestHeader>),
}

impl Requester<'_> {
    /// The header of the request.
    pub fn request(&self) -> &RequestHeader {
        match self {
            Self::Client { session, .. } => session.request(),
            Self::Gateway(header) => header,
        }
    }

    /// Does some work for as long as the client is there, and keeps it awake meanwhile. All of that is waiting
    /// where it cannot go on.
    pub async fn wait<T>(
        &mut self,
        context: &mut Context,
        work: impl Future<Output = T>,
    ) -> Result<T, Failure> {
        let mut work = pin!(work);
        let (session, keepalive) = match self {
            Self::Client { session, keepalive } => (session, keepalive),
            Self::Gateway(_) => {
                return Ok(own_time::timed(&mut context.outcome.waited, work).await);
            }
        };
        loop {
            // The work comes last: one that always has something to do leaves nothing for what comes behind it.
            let next = async {
                tokio::select! {
                    biased;
                    () = session.left() => Err(Failure::ClientGone),
                    () = keepalive.due() => Ok(None),
                    done = &mut work => Ok(Some(done)),
                }
            };
            if let Some(done) = own_time::timed(&mut context.outcome.waited, next).await? {
                return Ok(done);
            }
            keepalive.send(session, context).await?;
        }
    }
}
