//! The connection of an outbox, which comes and goes.
//!
//! Owns when it is opened again after a failure, and that the duty to send ends with it. An answer may take four
//! seconds, so that events which are told meanwhile are in the file before a process that ends is gone. Does not handle
//! what is asked (see `tables`). A connection on which anything has failed is dropped.

use std::time::{Duration, Instant};

use tokio_postgres::Client;

use super::tables::{self, TABLES};
use crate::secret::Secret;
use crate::store::StoreError;
use crate::store::postgres::Session;

/// How long an answer may take.
pub const ANSWER: Duration = Duration::from_secs(4);
/// The pauses between attempts, from the first to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// A connection, or none.
pub struct Link {
    url: Secret,
    session: Option<Session>,
    /// Whether the session has the lock.
    has_duty: bool,
    pause: Duration,
    not_before: Option<Instant>,
}

impl Link {
    /// Without a connection yet.
    pub fn new(url: Secret) -> Self {
        Self {
            url,
            session: None,
            has_duty: false,
            pause: FIRST_PAUSE,
            not_before: None,
        }
    }

    /// Opens it, where it is time. Returns whether there is one.
    ///
    /// # Errors
    /// It could not be opened, or the tables are those of a newer release.
    pub fn open(&mut self) -> Result<bool, StoreError> {
        if self.is_open() {
            return Ok(true);
        }
        if self.not_before.is_some_and(|at| Instant::now() < at) {
            return Ok(false);
        }
        match open(&self.url) {
            Ok(session) => {
                self.session = Some(session);
                Ok(true)
            }
            Err(error) => {
                self.fail();
                Err(error)
            }
        }
    }

    /// Whether there is one, as far as is known.
    pub fn is_open(&self) -> bool {
        self.session.is_some()
    }

    /// Whether this process may send.
    pub fn has_duty(&self) -> bool {
        self.has_duty
    }

    /// Takes the duty, if no other process has it.
    ///
    /// # Errors
    /// The server fails.
    pub fn take_duty(&mut self) -> Result<bool, StoreError> {
        self.has_duty = self.run(async |client| tables::take_duty(client).await)?;
        Ok(self.has_duty)
    }

    /// Does something with the connection.
    ///
    /// # Errors
    /// There is none, or it fails, or the server does not answer. There is none then.
    pub fn run<T>(
        &mut self,
        work: impl AsyncFnOnce(&mut Client) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let Some(session) = &mut self.session else {
            return Err(StoreError::Ended);
        };
        match session.run(work) {
            Ok(done) => {
                self.pause = FIRST_PAUSE;
                Ok(done)
            }
            Err(error) => {
                self.fail();
                Err(error)
            }
        }
    }

    /// Closes it. Another process may send then.
    pub fn close(&mut self) {
        (self.session, self.has_duty) = (None, false);
    }

    fn fail(&mut self) {
        self.close();
        // Several gateways do not come back at the same moment.
        let pause = self.pause + self.pause.mul_f64(fastrand::f64() / 4.0);
        self.not_before = Instant::now().checked_add(pause);
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
    }
}

/// Connects, and makes or upgrades the tables.
pub fn open(url: &Secret) -> Result<Session, StoreError> {
    let mut session = Session::open_within(url, ANSWER)?;
    session.upgrade(&TABLES)?;
    session.run(async |client| tables::set_up(client).await)?;
    Ok(session)
}
