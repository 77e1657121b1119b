//! A client's body, whichever way it goes.
//!
//! Owns how fast it has to come: an average that a client has to keep up, once a time of grace has
//! passed; how it is framed on its way to an upstream; and telling a client that waits for it to send it.
//! Does not handle what becomes of it (see `exchange/body` and `tunnel/carry`), nor how it is read (see
//! `session`). Fails for a body that is late or malformed, and when the client has gone.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Method;
use http::header::{CONTENT_LENGTH, EXPECT};

use super::failure::{Failure, Unreadable};
use super::headers::Framing;
use super::session::{BodyError, ClientSession};
use crate::config::Limits;
use crate::observe::metrics::Shed;
use crate::workers;

/// A client that sends nothing of an announced body for this long is given up.
pub const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// Tells a client that waits for it to send its body. From then on it waits no more, and its header says
/// so: what refuses the body later must know that it is on its way.
pub async fn invite(session: &mut ClientSession) -> Result<(), Failure> {
    if !expects_continue(session) {
        return Ok(());
    }
    session.request_mut().remove_header(&EXPECT);
    let written = session.write_continue().await;
    written.map_err(|_| Failure::ClientGone)
}

/// Whether the client still waits for a word from us before it sends its body.
pub fn expects_continue(session: &ClientSession) -> bool {
    let expect = session.request().headers.get(EXPECT);
    expect.is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}

/// The length that a request announces.
pub fn declared_length(session: &ClientSession) -> Option<usize> {
    let value = session.request().headers.get(CONTENT_LENGTH)?;
    value.to_str().ok()?.trim().parse().ok()
}

/// How the body of a request is framed on its way to an upstream.
pub fn framing(session: &mut ClientSession) -> Framing {
    if let Some(length) = declared_length(session) {
        return Framing::Length(length as u64);
    }
    if !session.is_body_done() {
        return Framing::Chunked;
    }
    // Servers expect these to have a body, and some refuse one that is not announced.
    match session.request().method {
        Method::POST | Method::PUT | Method::PATCH => Framing::Length(0),
        _ => Framing::Bodiless,
    }
}

/// The next bytes of a body, in the time that a client has for them; `None` at its end.
pub async fn next(session: &mut ClientSession, pace: &mut Pace) -> Result<Option<Bytes>, Failure> {
    workers::yield_after(pace.take_last()).await;
    let too_slow = || Failure::Shed(Shed::BodyRate);
    let left = pace.left().ok_or_else(too_slow)?;
    let read = session.read_body(left.min(READ_TIMEOUT)).await;
    let read = read.map_err(|error| match error {
        BodyError::Late if left < READ_TIMEOUT => too_slow(),
        BodyError::Late => Failure::Unreadable(Unreadable::Timeout),
        BodyError::Malformed => Failure::Framing("the chunked body is malformed"),
        BodyError::NotSigned => Failure::NotSigned,
        BodyError::Gone => Failure::ClientGone,
    })?;
    pace.pass(read.as_ref().map_or(0, Bytes::len));
    Ok(read)
}

/// The progress of one body.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    since: Instant,
    came: usize,
    /// How many bytes came last.
    last: usize,
    /// Bytes a second; 0 for no bound.
    rate: usize,
    grace: Duration,
}

impl Pace {
    /// A body of which `came` bytes have come since then.
    pub fn new(since: Instant, came: usize, limits: &Limits) -> Self {
        Self {
            since,
            came,
            last: 0,
            rate: limits.body_rate,
            grace: limits.header_timeout,
        }
    }

    /// Notes bytes that have come.
    pub fn pass(&mut self, bytes: usize) {
        self.came += bytes;
        self.last = bytes;
    }

    /// How many bytes came last, unless that has been asked already.
    pub fn take_last(&mut self) -> usize {
        std::mem::take(&mut self.last)
    }

    /// Leaves out a time in which nothing was read.
    pub fn exclude(&mut self, time: Duration) {
        self.since += time;
    }

    /// How long the next bytes may take to come; `None` when they are late already.
    pub fn left(&self) -> Option<Duration> {
        match self.allowed() {
            Some(allowed) => allowed.checked_sub(self.since.elapsed()),
            None => Some(Duration::MAX),
        }
    }

    /// For how long what has come is enough.
    fn allowed(&self) -> Option<Duration> {
        let seconds = self.came.checked_div(self.rate)?;
        Some(self.grace.max(Duration::from_secs(seconds as u64)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_has_its_grace_and_then_as_long_as_its_bytes_are_worth() {
        let limits = Limits {
            header_timeout: Duration::from_secs(10),
            body_rate: 1024,
            ..Limits::default()
        };
        let mut pace = Pace::new(Instant::now(), 0, &limits);
        assert_eq!(pace.allowed(), Some(Duration::from_secs(10)));
        pace.pass(20 * 1024);
        assert_eq!(pace.allowed(), Some(Duration::from_secs(20)));
        let unbounded = Limits {
            body_rate: 0,
            ..limits
        };
        assert_eq!(Pace::new(Instant::now(), 0, &unbounded).allowed(), None);
        let long_ago = Instant::now().checked_sub(Duration::from_secs(11));
        assert_eq!(Pace::new(long_ago.unwrap(), 0, &limits).left(), None);
    }
}
