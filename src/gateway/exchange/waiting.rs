//! Waiting for something on behalf of a client.
//!
//! Owns that the client is watched and kept awake meanwhile. Does not handle what is waited for (see `failover` and
//! `cache`). Fails where the client leaves.

use std::pin::pin;

use super::keepalive::Keepalive;
use crate::gateway::context::Context;
use crate::gateway::failure::Failure;
use crate::gateway::own_time;
use crate::gateway::session::ClientSession;

/// Does some work for as long as the client is there, and keeps it awake meanwhile. All of that is waiting
/// where it cannot go on.
pub async fn watched<T>(
    client: &mut ClientSession,
    context: &mut Context,
    keepalive: &mut Keepalive,
    work: impl Future<Output = T>,
) -> Result<T, Failure> {
    let mut work = pin!(work);
    loop {
        // The work comes last: one that always has something to do leaves nothing for what comes behind it.
        let next = async {
            tokio::select! {
                biased;
                () = client.left() => Err(Failure::ClientGone),
                () = keepalive.due() => Ok(None),
                done = &mut work => Ok(Some(done)),
            }
        };
        if let Some(done) = own_time::timed(&mut context.outcome.waited, next).await? {
            return Ok(done);
        }
        keepalive.send(client, context).await?;
    }
}
