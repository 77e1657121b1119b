//! The connection to Redis, and asking it.
//!
//! Owns one connection that all requests share, making it anew, how long a command may take, and what counts as a
//! failure: a command that is not answered in time, and a connection that cannot be made or breaks. An error that Redis
//! answers is none, for it is there. Does not handle how it is made (see `store::redis`), nor what is asked (see
//! `second` and `meaning`). Whatever fails is told in a line of the log, at most one a minute, and to the caller as the
//! result to be counted.

use std::fmt;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use redis::aio::MultiplexedConnection;
use redis::{Cmd, FromRedisValue, RedisError};
use tokio::sync::{Notify, watch};
use tokio::time::timeout;

use super::breaker::{Admission, Breaker};
use crate::config::RedisUrl;
use crate::observe::cache::{StoreCounts, StoreResult};
use crate::observe::log_interval::LogInterval;
use crate::store::redis::connect;

/// A request waits no longer for an answer of the second level. One that takes longer is no sign that it is well.
pub const LONGEST_LOOK: Duration = Duration::from_millis(50);
/// Between two tries to connect while no request waits for a connection.
const SHORTEST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// What Redis says of a value that is a list, a set, or another structure.
const WRONG_TYPE: &str = "WRONGTYPE";

/// The way to one Redis.
pub struct Link {
    server: RedisUrl,
    /// What it has, for the log.
    keeps: &'static str,
    /// Counts what comes of commands.
    pub counts: StoreCounts,
    breaker: Breaker,
    state: watch::Sender<State>,
    /// A request waits for a connection.
    wanted: Notify,
    /// The connection is there, and gives no answers.
    is_silent: Notify,
    logged: Mutex<LogInterval>,
}

/// Its connection. Each try that fails is told as one that is down.
enum State {
    Up(MultiplexedConnection),
    Down,
}

impl Link {
    /// Not connected yet. `keeps`: what it has, for the log.
    pub fn new(server: RedisUrl, keeps: &'static str, counts: StoreCounts) -> Self {
        Self {
            keeps,
            server,
            counts,
            breaker: Breaker::default(),
            state: watch::Sender::new(State::Down),
            wanted: Notify::new(),
            is_silent: Notify::new(),
            logged: Mutex::default(),
        }
    }

    /// Whether it is connected, and asked.
    pub fn is_up(&self) -> bool {
        let is_connected = matches!(*self.state.borrow(), State::Up(_));
        is_connected && self.breaker.is_closed()
    }

    /// Whether a command may be tried now. It is no promise.
    pub fn is_asked(&self) -> bool {
        self.breaker.is_closed() || self.breaker.admit(Instant::now()).is_some()
    }

    /// A value, and one byte of it more than it may have where it has too many; `None` where there is none.
    pub async fn read(
        &self,
        name: &str,
        most_bytes: usize,
        within: Duration,
    ) -> Result<Option<Vec<u8>>, StoreResult> {
        // A foreign value may have half a gigabyte.
        let mut command = redis::cmd("GETRANGE");
        command.arg(name).arg(0).arg(most_bytes);
        let value: Vec<u8> = self.ask(&command, within).await?;
        Ok(Some(value).filter(|value| !value.is_empty()))
    }

    /// Asks for something within a time. May be dropped while it waits.
    pub async fn ask<T: FromRedisValue>(
        &self,
        command: &Cmd,
        within: Duration,
    ) -> Result<T, StoreResult> {
        let admission = self.breaker.admit(Instant::now());
        let admission = admission.ok_or(StoreResult::Skipped)?;
        let begun = Instant::now();
        let asked = async {
            let mut connection = self.connection().await?;
            command.query_async(&mut connection).await.map_err(Some)
        };
        let (result, opens) = match timeout(within, asked).await {
            Ok(Ok(value)) => {
                answered(admission, begun);
                return Ok(value);
            }
            Ok(Err(Some(error))) if error.code().is_some() => {
                answered(admission, begun);
                return Err(self.refused(&error));
            }
            Ok(Err(_)) => (StoreResult::Error, admission.failed(Instant::now())),
            Err(_) => (StoreResult::Timeout, admission.failed(Instant::now())),
        };
        if opens {
            // One whose other end has vanished would be used until TCP gives up, a quarter of an hour later.
            self.is_silent.notify_one();
            self.warn(format_args!(
                "fails again and again, and is left alone for a while"
            ));
        }
        Err(result)
    }

    /// What an error means that Redis has answered.
    fn refused(&self, error: &RedisError) -> StoreResult {
        if error.code() == Some(WRONG_TYPE) {
            return StoreResult::Damaged;
        }
        self.warn(format_args!("answers with an error: {error}"));
        StoreResult::Error
    }

    /// The connection, or the next one; `None` where it cannot be made.
    async fn connection(&self) -> Result<MultiplexedConnection, Option<RedisError>> {
        let mut state = self.state.subscribe();
        if let State::Up(connection) = &*state.borrow_and_update() {
            return Ok(connection.clone());
        }
        self.wanted.notify_one();
        // It fails where its sender is gone, and that is ours.
        let _ = state.changed().await;
        match &*state.borrow() {
            State::Up(connection) => Ok(connection.clone()),
            State::Down => Err(None),
        }
    }

    /// Keeps a connection until it is dropped.
    pub async fn keep_connected(&self) {
        let mut pause = SHORTEST_PAUSE;
        loop {
            match connect(&self.server).await {
                Ok((connection, driver)) => {
                    pause = SHORTEST_PAUSE;
                    log::info!(
                        "cache: connected to the Redis of {} at {}",
                        self.keeps,
                        self.server
                    );
                    // What is asked of the old connection is none of this one's.
                    let _ = timeout(Duration::ZERO, self.is_silent.notified()).await;
                    self.state.send_replace(State::Up(connection));
                    tokio::select! {
                        () = driver => self.warn(format_args!("has ended the connection")),
                        () = self.is_silent.notified() => {}
                    }
                }
                Err(why) => self.warn(format_args!("cannot be reached: {why}")),
            }
            self.state.send_replace(State::Down);
            let _ = timeout(pause, self.wanted.notified()).await;
            pause = (2 * pause).min(LONGEST_PAUSE);
        }
    }

    fn warn(&self, what: fmt::Arguments<'_>) {
        if self.logged.lock().has_passed() {
            let Self { server, keeps, .. } = self;
            log::warn!("cache: the Redis of {keeps} at {server} {what}; requests go on without it");
        }
    }
}

/// An answer that was written late is no sign that requests would get theirs in time: it counts for nothing.
fn answered(admission: Admission<'_>, begun: Instant) {
    if begun.elapsed() <= LONGEST_LOOK {
        admission.succeeded();
    }
}
