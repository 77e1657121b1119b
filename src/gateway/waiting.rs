//! Waiting for one side of a request while the other is watched.
//!
//! Owns noticing that a client has gone, and taking only what is there already. Refuses to know what is
//! waited for.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

use pingora::ErrorType;
use pingora::protocols::http::ServerSession;

/// Polls a future once. Pingora's body readers may be dropped while they wait: they keep what they
/// have read.
pub async fn now_or_never<T>(future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(value) => Poll::Ready(Some(value)),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}

/// Returns when the client has gone.
pub async fn client_left(client: &mut ServerSession) {
    let event = client.read_body_or_idle(true).await;
    // Bytes after the request are a second one, sent before the first is answered. One byte of it
    // has been eaten by looking, so the connection ends with this answer and the client asks anew.
    let pipelined = matches!(&event, Err(e) if *e.etype() == ErrorType::ConnectError);
    if pipelined {
        client.set_keepalive(None);
        std::future::pending::<()>().await;
    }
}
