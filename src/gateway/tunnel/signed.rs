//! A signed body on its way through the tunnel.
//!
//! Owns that nothing of it is sent before all of it has come and is what was signed. Its size is bounded as that of a
//! form. Does not handle the signature (see `auth`), nor the digest (see `session`). Fails with what the client is
//! told.

use super::inspect::Inspected;
use crate::gateway::client_body;
use crate::gateway::context::Context;
use crate::gateway::failure::{Failure, Unreadable};
use crate::gateway::own_time;
use crate::gateway::session::ClientSession;
use crate::gateway::spool::Spool;

/// Reads the rest of a body that has to be a certain one, after what has been looked at.
pub async fn hold(
    client: &mut ClientSession,
    context: &mut Context,
    inspected: &mut Inspected,
) -> Result<(), Failure> {
    if !client.expects_body() {
        return Ok(());
    }
    let runtime = context.runtime.clone();
    let limits = &runtime.settings.forms;
    let declared = client_body::declared_length(client);
    if declared.is_some_and(|length| length > limits.max_bytes) {
        let limit = limits.max_bytes;
        return Err(Failure::Unreadable(Unreadable::TooLarge { limit }));
    }
    client_body::invite(client).await?;
    let reading = async {
        let mut spool = Spool::default();
        while let Some(chunk) = client_body::next(client, &mut inspected.pace).await? {
            spool.push(chunk, limits).await?;
        }
        spool.finish().await
    };
    let rest = own_time::timed(&mut context.outcome.waited, reading).await?;
    context.outcome.bytes_in += rest.len();
    inspected.rest = Some(rest);
    Ok(())
}
