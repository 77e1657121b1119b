//! The outbox: events that wait to be delivered, in a small SQLite file of their own.
//!
//! Owns how events become messages, how much waits, and when each message is due. An open message takes usage
//! events until it has 100 of them or is sent, which is after one second; from then on its body stays the same.
//! A commit survives the end of the process. It does not wait for the disk, so a power cut can lose what was added
//! last; the ledger has it.
//!
//! Bounded for each receiver and as a whole (see [`Bounds`]): at the bound, the oldest usage messages are dropped. Does
//! not handle how events are added (see `adding`), who gets what (see `receivers`), when something is sent (see
//! `dispatcher`), other processes that write to it (see `sharing`) or SQL (see `tables`). A file that SQLite calls
//! damaged is moved aside (see `damage`), and an empty one takes its place.

mod adding;
mod damage;
mod sharing;
mod tables;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::Connection;
use rustc_hash::FxHashMap;

use super::event::{self, Kind};
use crate::store::{StoreError, sqlite};
use damage::{is_damage, move_aside};

/// The changes that lead from each version of the tables to the next.
const MIGRATIONS: [&str; 1] = [include_str!("schema_1.sql")];
/// How long a message is open, in milliseconds.
const OPEN_MS: i64 = 1_000;
/// No message waits longer; one that seems to was written while the clock was wrong.
const LONGEST_WAIT_MS: i64 = 4 * 86_400_000;
/// As many messages are removed in one transaction.
const STEP: usize = 100;

/// How much may wait.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Events of one receiver.
    pub events: u64,
    /// Bytes of one receiver.
    pub bytes: u64,
    /// Bytes of all receivers.
    pub all_bytes: u64,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            events: 500_000,
            bytes: 512 << 20,
            all_bytes: 2 << 30,
        }
    }
}

/// An event that is to be added.
pub struct Added {
    /// The number of the receiver.
    pub receiver: i64,
    /// The id of the usage record; `None` for an event of another kind.
    pub record: Option<u128>,
    /// What it is.
    pub kind: Kind,
    /// The event.
    pub json: Arc<str>,
}

/// A message that is due.
#[derive(Debug)]
pub struct Message {
    /// Its number.
    pub id: i64,
    /// `webhook-id`.
    pub name: String,
    /// The body.
    pub body: String,
    /// How many events it has.
    pub events: u64,
    /// How often it was sent before.
    pub attempts: u32,
}

/// How many events were dropped, by the number of the receiver.
pub type Dropped = FxHashMap<i64, u64>;

/// What waits for one receiver.
#[derive(Debug, Default)]
struct Waiting {
    events: u64,
    bytes: u64,
    /// The message that takes more usage events.
    open: Option<Open>,
    /// Nothing is due before; `None` for nothing at all.
    next_ms: Option<i64>,
}

#[derive(Clone, Copy, Debug)]
struct Open {
    message: i64,
    events: u64,
    bytes: u64,
}

/// The outbox.
pub struct Outbox {
    path: PathBuf,
    connection: Connection,
    bounds: Bounds,
    /// The receivers, by their numbers.
    names: FxHashMap<i64, String>,
    waiting: FxHashMap<i64, Waiting>,
    /// All events that wait, and their bytes.
    events: u64,
    bytes: u64,
    /// Whether this process sends.
    is_sending: bool,
    /// Changes when another process has written; `None` before that was asked.
    version: Option<i64>,
}

impl Waiting {
    fn open_of((receiver, waiting): (&i64, &Self)) -> Option<(i64, Open)> {
        Some((*receiver, waiting.open?))
    }
}

impl Outbox {
    /// Opens or makes the file.
    ///
    /// # Errors
    /// It cannot be written, or a newer release wrote it.
    pub fn open(path: &Path, bounds: Bounds, now_ms: i64) -> Result<Self, StoreError> {
        let connection = match sqlite::open(path, &MIGRATIONS) {
            Err(StoreError::Sqlite { error, .. }) if is_damage(&error) => {
                move_aside(path, &error)?;
                sqlite::open(path, &MIGRATIONS)?
            }
            opened => opened?,
        };
        let mut outbox = Self {
            path: path.to_owned(),
            connection,
            bounds,
            names: FxHashMap::default(),
            waiting: FxHashMap::default(),
            events: 0,
            bytes: 0,
            is_sending: true,
            version: None,
        };
        outbox.attempt(|outbox| {
            tables::correct_due(&outbox.connection, now_ms, LONGEST_WAIT_MS)?;
            outbox.count()
        })?;
        Ok(outbox)
    }

    /// Says which receivers there are. If this process sends, messages for others are removed; else they may be another
    /// process's receivers. Returns the numbers in the same order, and how many events were removed.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn set_receivers(&mut self, names: &[&str]) -> Result<(Vec<i64>, u64), StoreError> {
        self.attempt(|outbox| {
            let keeps_others = !outbox.is_sending;
            let (numbers, gone) =
                tables::set_receivers(&mut outbox.connection, names, keeps_others)?;
            let named = names.iter().map(|name| (*name).to_owned());
            outbox.names = numbers.iter().copied().zip(named).collect();
            let before = outbox.events;
            if !gone.is_empty() {
                outbox.count()?;
            }
            Ok((numbers, before.saturating_sub(outbox.events)))
        })
    }

    /// The earliest message of a receiver that is due. A message that was open is open no more.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn due(&mut self, receiver: i64, now_ms: i64) -> Result<Option<Message>, StoreError> {
        self.attempt(|outbox| {
            let Some(waiting) = outbox.waiting.get_mut(&receiver) else {
                return Ok(None);
            };
            let first = tables::first_due(&outbox.connection, receiver)?;
            waiting.next_ms = first.as_ref().map(|first| first.due_ms);
            let Some(first) = first.filter(|first| first.due_ms <= now_ms) else {
                return Ok(None);
            };
            waiting.open = waiting.open.filter(|open| open.message != first.id);
            let events = tables::events(&outbox.connection, first.id)?;
            let Some(kind) = Kind::named(&first.kind) else {
                // No release has written such a kind.
                outbox.transact(|outbox| outbox.remove(first.id))?;
                return Ok(None);
            };
            Ok(Some(Message {
                id: first.id,
                name: first.name,
                body: event::body(kind, first.made_ms, &events),
                events: events.len() as u64,
                attempts: first.attempts,
            }))
        })
    }

    /// Removes a message that was delivered. Returns whether it still waited.
    ///
    /// # Errors
    /// The file cannot be written. The message will be sent again.
    pub fn delivered(&mut self, message: i64) -> Result<bool, StoreError> {
        self.attempt(|outbox| {
            let removed = outbox.transact(|outbox| outbox.remove(message))?;
            Ok(removed.is_some())
        })
    }

    /// Notes that a message was not delivered, and when it is due again.
    ///
    /// # Errors
    /// The file cannot be written. The message stays as it was.
    pub fn failed(&mut self, message: i64, due_ms: i64) -> Result<(), StoreError> {
        self.attempt(|outbox| tables::set_failed(&outbox.connection, message, due_ms))
    }

    /// Makes all messages of a receiver due.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn hurry(&mut self, receiver: i64, now_ms: i64) -> Result<(), StoreError> {
        self.attempt(|outbox| {
            tables::hurry(&outbox.connection, receiver, now_ms)?;
            if let Some(waiting) = outbox.waiting.get_mut(&receiver) {
                (waiting.open, waiting.next_ms) = (None, Some(now_ms));
            }
            Ok(())
        })
    }

    /// Removes messages that were made before a time, a hundred at most. Returns how many events of which receiver
    /// there were; nothing if no such message is left.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn expire(&mut self, before_ms: i64) -> Result<Dropped, StoreError> {
        self.attempt(|outbox| {
            let old = tables::made_before(&outbox.connection, before_ms, STEP)?;
            let mut expired = Dropped::default();
            if old.is_empty() {
                return Ok(expired);
            }
            outbox.transact(|outbox| {
                for message in old {
                    if let Some((receiver, events)) = outbox.remove(message)? {
                        add(&mut expired, receiver, events);
                    }
                }
                Ok(expired)
            })
        })
    }

    /// The receivers that something waits for, and the time before which nothing of it is due.
    pub fn waiting(&self) -> impl Iterator<Item = (i64, i64)> {
        let all = self.waiting.iter();
        all.filter_map(|(receiver, waiting)| Some((*receiver, waiting.next_ms?)))
    }

    /// How many events wait.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// Removes a message and its events. Returns its receiver, and how many events it had.
    fn remove(&mut self, message: i64) -> rusqlite::Result<Option<(i64, u64)>> {
        let Some(removed) = tables::remove_message(&self.connection, message)? else {
            return Ok(None);
        };
        self.events = self.events.saturating_sub(removed.events);
        self.bytes = self.bytes.saturating_sub(removed.bytes);
        if let Some(waiting) = self.waiting.get_mut(&removed.receiver) {
            waiting.events = waiting.events.saturating_sub(removed.events);
            waiting.bytes = waiting.bytes.saturating_sub(removed.bytes);
            waiting.open = waiting.open.filter(|open| open.message != message);
            if waiting.events == 0 {
                self.waiting.remove(&removed.receiver);
            }
        }
        Ok(Some((removed.receiver, removed.events)))
    }

    /// Counts what waits. No message is open any more.
    fn count(&mut self) -> rusqlite::Result<()> {
        self.waiting.clear();
        (self.events, self.bytes) = (0, 0);
        for (receiver, events, bytes) in tables::count(&self.connection)? {
            self.events = self.events.saturating_add(events);
            self.bytes = self.bytes.saturating_add(bytes);
            let waiting = Waiting {
                events,
                bytes,
                open: None,
                next_ms: Some(i64::MIN),
            };
            self.waiting.insert(receiver, waiting);
        }
        Ok(())
    }

    /// Does something. If that fails, what is known of the file is read again, or the file replaced.
    fn attempt<T>(
        &mut self,
        act: impl FnOnce(&mut Self) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        let error = match act(self) {
            Ok(done) => return Ok(done),
            Err(error) => error,
        };
        if !self.connection.is_autocommit() {
            // What fails here fails again below.
            let _ = self.connection.execute_batch("ROLLBACK");
        }
        let mut error = error;
        if !is_damage(&error)
            && let Err(counting) = self.count()
        {
            error = counting;
        }
        if is_damage(&error) {
            self.replace(&error)?;
        }
        Err(StoreError::sqlite(&self.path)(error))
    }

    /// Does something in one transaction. `attempt` rolls it back where this fails.
    fn transact<T>(
        &mut self,
        act: impl FnOnce(&mut Self) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<T> {
        self.connection.execute_batch("BEGIN IMMEDIATE")?;
        self.learn()?;
        let done = act(self)?;
        self.connection.execute_batch("COMMIT")?;
        Ok(done)
    }

    /// Replaces a damaged file by an empty one, which has the same receivers.
    fn replace(&mut self, damage: &rusqlite::Error) -> Result<(), StoreError> {
        move_aside(&self.path, damage)?;
        self.waiting.clear();
        (self.events, self.bytes) = (0, 0);
        self.connection = sqlite::open(&self.path, &MIGRATIONS)?;
        self.version = None;
        let filled = tables::put_receivers(&mut self.connection, &self.names);
        filled.map_err(StoreError::sqlite(&self.path))
    }
}

fn add(counts: &mut Dropped, receiver: i64, events: u64) {
    let of_receiver = counts.entry(receiver).or_default();
    *of_receiver = of_receiver.saturating_add(events);
}
