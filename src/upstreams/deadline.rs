//! When something that is done with an upstream has to have ended.
//!
//! Owns that a deadline holds whatever the upstream does: it is looked at before each read and write, and not
//! only where one has to wait, so that an upstream that always has something ready does not get around it; and
//! it holds for the whole of a header that comes byte by byte. Does not know which deadlines there are: their
//! users do. Fails with a timeout of Pingora's.

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
    by(until, ErrorType::ReadTimedout, read).await
}

/// Writes something, unless its time has passed or passes meanwhile.
///
/// # Errors
/// A timeout, and those of the writing.
pub async fn writing<T>(until: Instant, write: impl Future<Output = Result<T>>) -> Result<T> {
    by(until, ErrorType::WriteTimedout, write).await
}

async fn by<T>(until: Instant, late: ErrorType, io: impl Future<Output = Result<T>>) -> Result<T> {
    let left = left(until);
    if left.is_zero() {
        return Err(Error::new(late));
    }
    // Pingora's timeout takes no timer unless there is something to wait for.
    match timeout(left, io).await {
        Ok(done) => done,
        Err(_) => Err(Error::new(late)),
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
        let error = writing(until, std::future::pending::<Result<()>>()).await;
        assert_eq!(*error.unwrap_err().etype(), ErrorType::WriteTimedout);
        assert!(Instant::now() >= until);
        assert_eq!(left(until), Duration::ZERO);
    }
}
