//! When something that is done with an upstream has to have ended.
//!
//! Owns that a deadline holds whatever the upstream does: it is looked at before each read, and not only where
//! one has to wait, so that an upstream that always has something ready does not get around it; and it holds for
//! the whole of a header that comes byte by byte. What is written has an end, so there it is looked at only where
//! one has to wait: each look at the clock costs as much as a hundred instructions. Does not know which deadlines
//! there are: their users do. Fails with a timeout of Pingora's.

use std::future::{Future, pending, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::{Duration, Instant};

use pingora::prelude::timeout;
use pingora::{Error, ErrorType, Result};

/// Hints (1xx) that may come before an answer; none of them passes.
pub const MAX_HINTS: usize = 16;
/// The custom error for what is read in the place of an answer's header. Its words are ours, where Pingora's for a
/// header that cannot be read hold what the upstream has sent.
pub const NO_ANSWER: &str = "NoAnswer";

/// What is left until then; zero once that has passed.
pub fn left(until: Instant) -> Duration {
    until.saturating_duration_since(Instant::now())
}

/// Reads something, unless its time has passed or passes meanwhile.
///
/// # Errors
/// A timeout, and those of the reading.
pub async fn reading<T>(until: Instant, read: impl Future<Output = Result<T>>) -> Result<T> {
    let left = left(until);
    if left.is_zero() {
        return Err(Error::new(ErrorType::ReadTimedout));
    }
    within(|| left, ErrorType::ReadTimedout, read).await
}

/// Writes something, unless it has to wait after its time has passed, or for longer than `longest`.
///
/// # Errors
/// A timeout, and those of the writing.
pub async fn writing<T>(
    until: Instant,
    longest: Duration,
    write: impl Future<Output = Result<T>>,
) -> Result<T> {
    let left = || left(until).min(longest);
    within(left, ErrorType::WriteTimedout, write).await
}

/// Does something within a time, which is asked for, and a timer taken, only where it has to wait.
async fn within<T>(
    time: impl FnOnce() -> Duration,
    late: ErrorType,
    io: impl Future<Output = Result<T>>,
) -> Result<T> {
    let mut io = pin!(io);
    let mut timer = pin!(None);
    let mut time = Some(time);
    let waited = poll_fn(|cx| {
        if let Poll::Ready(done) = io.as_mut().poll(cx) {
            return Poll::Ready(Some(done));
        }
        if let Some(time) = time.take() {
            timer.set(Some(timeout(time(), pending::<()>())));
        }
        match timer.as_mut().as_pin_mut() {
            Some(timer) => timer.poll(cx).map(|_| None),
            None => Poll::Pending,
        }
    });
    match waited.await {
        Some(done) => done,
        None => Err(Error::new(late)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_always_ready_fails_once_the_time_has_passed() {
        let until = Instant::now() + Duration::from_millis(30);
        let read = async || reading(until, async { Ok(()) }).await;
        assert!(read().await.is_ok());
        let mut reads = 0u64;
        let error = loop {
            match read().await {
                Ok(()) => reads += 1,
                Err(error) => break error,
            }
        };
        assert_eq!(*error.etype(), ErrorType::ReadTimedout);
        assert!(reads > 0);
        assert!(Instant::now() >= until);
    }

    #[tokio::test]
    async fn what_never_comes_is_given_up_when_the_time_has_passed() {
        let until = Instant::now() + Duration::from_millis(30);
        let error = writing(until, Duration::MAX, pending::<Result<()>>()).await;
        assert_eq!(*error.unwrap_err().etype(), ErrorType::WriteTimedout);
        assert!(Instant::now() >= until);
        assert_eq!(left(until), Duration::ZERO);
    }
}
