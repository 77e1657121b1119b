//! The outbox in a small SQLite file of its own.
//!
//! Owns how events become messages, how much waits, and when each message is due. An open message takes usage
//! events until it has 100 of them or is sent, which is after one second; from then on its body stays the same.
//! A commit survives the end of the process. It does not wait for the disk, so a power cut can lose what was added
//! last; the ledger has it.
//!
//! Does not handle how events are added (see `adding`), which process sends (see `duty`), other processes that write to
//! it (see `sharing`), what is read to be moved (see `leaving`) or SQL (see `tables`). A file that SQLite calls damaged
//! is moved aside (see `damage`), and an empty one takes its place.

mod adding;
mod damage;
mod duty;
mod leaving;
mod sharing;
mod tables;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use rusqlite::Connection;
use rustc_hash::FxHashMap;

use super::{Added, Bounds, Dropped, LONGEST_WAIT_MS, Message, Outbox, STEP, add};
use crate::ledger::webhooks::event::{self, Kind};
use crate::store::{StoreError, sqlite};
pub use damage::refuse_damaged;
use damage::{is_damage, move_aside};
use duty::Duty;
pub use leaving::Left;

/// The changes that lead from each version of the tables to the next.
const MIGRATIONS: [&str; 1] = [include_str!("schema_1.sql")];
/// How long a message is open, in milliseconds.
const OPEN_MS: i64 = 1_000;

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

/// The file.
pub struct Sqlite {
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
    duty: Duty,
    /// Changes when another process has written; `None` before that was asked.
    version: Option<i64>,
}

impl Waiting {
    fn open_of((receiver, waiting): (&i64, &Self)) -> Option<(i64, Open)> {
        Some((*receiver, waiting.open?))
    }
}

impl Sqlite {
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
            duty: Duty::beside(path),
            version: None,
        };
        outbox.attempt(|outbox| {
            tables::correct_due(&outbox.connection, now_ms, LONGEST_WAIT_MS)?;
            outbox.count()
        })?;
        Ok(outbox)
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

impl Outbox for Sqlite {
    fn take_duty(&mut self, _now_ms: i64) -> Result<bool, StoreError> {
        if self.duty.is_held() {
            self.look()?;
            return Ok(true);
        }
        let is_taken = self.duty.take().map_err(StoreError::file(&self.path))?;
        if is_taken || self.is_sending {
            self.set_sending(is_taken)?;
        }
        Ok(is_taken)
    }

    fn has_duty(&self) -> bool {
        self.duty.is_held()
    }

    fn give_up_duty(&mut self) -> Result<(), StoreError> {
        if !self.duty.is_held() {
            return Ok(());
        }
        let done = self.set_sending(false);
        self.duty.give_up();
        done
    }

    fn add(&mut self, events: &[Added], now_ms: i64) -> Result<Dropped, StoreError> {
        self.add_all(events, now_ms)
    }

    fn trim(&mut self) -> Result<Dropped, StoreError> {
        // There is room before anything is added.
        Ok(Dropped::default())
    }

    fn set_receivers(&mut self, names: &[&str]) -> Result<(Vec<i64>, u64), StoreError> {
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

    fn due(&mut self, receiver: i64, now_ms: i64) -> Result<Option<Message>, StoreError> {
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

    fn delivered(&mut self, message: i64) -> Result<bool, StoreError> {
        self.attempt(|outbox| {
            let removed = outbox.transact(|outbox| outbox.remove(message))?;
            Ok(removed.is_some())
        })
    }

    fn failed(&mut self, message: i64, due_ms: i64) -> Result<(), StoreError> {
        self.attempt(|outbox| tables::set_failed(&outbox.connection, message, due_ms))
    }

    fn hurry(&mut self, receiver: i64, now_ms: i64) -> Result<(), StoreError> {
        self.attempt(|outbox| {
            tables::hurry(&outbox.connection, receiver, now_ms)?;
            if let Some(waiting) = outbox.waiting.get_mut(&receiver) {
                (waiting.open, waiting.next_ms) = (None, Some(now_ms));
            }
            Ok(())
        })
    }

    fn expire(&mut self, before_ms: i64) -> Result<Dropped, StoreError> {
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

    fn waiting(&self) -> Vec<(i64, i64)> {
        let all = self.waiting.iter();
        let all = all.filter_map(|(receiver, waiting)| Some((*receiver, waiting.next_ms?)));
        all.collect()
    }

    fn events(&self) -> u64 {
        self.events
    }
}
