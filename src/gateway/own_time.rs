//! How much of a request's time was our own.
//!
//! Owns telling work from waiting: time counts as waited in which nothing could be done. Does not handle
//! what is waited for. Cannot fail.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::time::{Duration, Instant};

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
