//! What has been read of a body, on its way to the upstream.
//!
//! Owns that it is written in pieces, each of which has the time of one write. Does not handle the rest of the body
//! (see
//! `carry`). Fails as the connection does, and where a body that waits in a file cannot be read: then the connection
//! ends, since the body must not look whole.

use pingora::{ErrorType, OrErr};

use crate::upstreams::{Payload, Session};

/// What is written at once, at most.
const MAX_WRITE_BYTES: usize = 64 << 10;

/// Writes all of it.
pub async fn send(upstream: &mut Session, ahead: &Payload) -> pingora::Result<()> {
    let mut chunks = ahead.chunks();
    loop {
        let chunk = chunks.next().await;
        let chunk = chunk.or_err(ErrorType::FileReadError, "a body that waits in a file");
        let mut rest = match chunk {
            Ok(Some(chunk)) => chunk,
            Ok(None) => return Ok(()),
            Err(error) => {
                upstream.shutdown().await;
                return Err(error);
            }
        };
        while !rest.is_empty() {
            let piece = rest.split_to(rest.len().min(MAX_WRITE_BYTES));
            upstream.write_body(piece).await?;
        }
    }
}
