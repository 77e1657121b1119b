//! Waiting for one side of a request while the other is watched.
//!
//! Owns noticing that a client has gone, taking only what is there already, and how long was waited. Does not
//! know what is waited for.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::{Duration, Instant};

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

/// Does some work, and adds to `waited` the time in which it could not go on. What it does itself is not
/// waiting, however long that takes.
pub async fn timed<T>(waited: &mut Duration, work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    let mut stopped: Option<Instant> = None;
    poll_fn(|cx| {
        if let Some(stopped) = stopped.take() {
            *waited += stopped.elapsed();
        }
        let polled = work.as_mut().poll(cx);
        stopped = polled.is_pending().then(Instant::now);
        polled
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_time_in_which_nothing_could_be_done_is_waiting() {
        const LONG: Duration = Duration::from_millis(40);
        let mut waited = Duration::ZERO;
        timed(&mut waited, async { std::thread::sleep(LONG) }).await;
        assert_eq!(waited, Duration::ZERO);
        let work = async {
            std::thread::sleep(LONG);
            tokio::time::sleep(LONG).await;
            std::thread::sleep(LONG);
            tokio::time::sleep(LONG).await;
        };
        let started = Instant::now();
        timed(&mut waited, work).await;
        assert!(waited >= 2 * LONG, "{waited:?}");
        assert!(started.elapsed() - waited >= 2 * LONG, "{waited:?}");
    }
}
