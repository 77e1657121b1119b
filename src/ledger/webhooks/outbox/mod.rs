//! The outbox: events that wait to be delivered, and what becomes of them.
//!
//! Owns what both kinds of it can do: take events, tell which message is due, and forget it once it is delivered. With
//! a ledger in SQLite it is a small file beside it (`sqlite`). With one in PostgreSQL it is in the same database, and
//! all gateways share it (`postgres`). Several processes put events in, and one of them sends: the one that has the
//! duty.
//!
//! Bounded for each receiver and as a whole (see [`Bounds`]): at the bound, the oldest usage messages are dropped. Does
//! not handle which receiver gets what (see `receivers`) or when something is sent (see `dispatcher`). Everything here
//! blocks. Fails with a [`StoreError`].

pub mod postgres;
mod sqlite;

use std::path::PathBuf;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::event::Kind;
use crate::secret::Secret;
use crate::store::StoreError;

/// The name of the file in the ledger's folder.
const FILE: &str = "outbox.db";
/// As many events are in one message at most.
const MESSAGE_EVENTS: u64 = 100;
/// A message with as many bytes takes no more events.
const MESSAGE_BYTES: u64 = 256 * 1024;
/// The room that an event takes beside its JSON.
const EVENT_BYTES: u64 = 256;
/// No message waits longer; one that seems to was written while the clock was wrong.
const LONGEST_WAIT_MS: i64 = 4 * 86_400_000;
/// As many messages are given up at once.
const STEP: usize = 100;

/// Where an outbox is.
#[derive(Clone, Debug)]
pub struct Location {
    /// The ledger's folder, which exists.
    pub folder: PathBuf,
    /// The ledger's database, if it is not in the folder.
    pub postgres: Option<Secret>,
}

impl Location {
    /// Whether the folder has events of an earlier time.
    pub fn has_file(&self) -> bool {
        self.folder.join(FILE).exists()
    }

    /// Opens the outbox. That PostgreSQL is away is no error.
    ///
    /// # Errors
    /// The folder cannot be written, or a newer release wrote the file.
    pub fn open(&self, bounds: Bounds, now_ms: i64) -> Result<Box<dyn Outbox>, StoreError> {
        let path = self.folder.join(FILE);
        let mut file = sqlite::Sqlite::open(&path, bounds, now_ms)?;
        Ok(match &self.postgres {
            Some(url) => Box::new(postgres::Postgres::new(url.clone(), file, bounds)?),
            None => {
                file.take_duty(now_ms)?;
                Box::new(file)
            }
        })
    }
}

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

/// An outbox. Numbers of receivers are those that [`set_receivers`](Self::set_receivers) gives in this process.
pub trait Outbox: Send {
    /// Takes the duty to send, if no other process has it, and learns what others have put in. To be called often, also
    /// by the process that has the duty. Returns whether this process may send.
    ///
    /// # Errors
    /// The outbox cannot be reached. [`has_duty`](Self::has_duty) says whether this process may send all the same.
    fn take_duty(&mut self, now_ms: i64) -> Result<bool, StoreError>;

    /// Whether this process may send.
    fn has_duty(&self) -> bool;

    /// Leaves the duty to another process, if this one has it. To be called when no request runs. Events are taken as
    /// before.
    ///
    /// # Errors
    /// The outbox cannot be reached. The duty is given up all the same.
    fn give_up_duty(&mut self) -> Result<(), StoreError>;

    /// Says which receivers this process has. Returns their numbers in the same order, and how many events were dropped
    /// because their receivers are gone.
    ///
    /// # Errors
    /// The file cannot be written.
    fn set_receivers(&mut self, names: &[&str]) -> Result<(Vec<i64>, u64), StoreError>;

    /// Adds events, all or none. A record that waits already is not added again. Returns what was dropped for it.
    ///
    /// # Errors
    /// The file cannot be written. Nothing was added.
    fn add(&mut self, events: &[Added], now_ms: i64) -> Result<Dropped, StoreError>;

    /// Drops what others have added beyond the bounds. Returns how much that was.
    ///
    /// # Errors
    /// The outbox cannot be written.
    fn trim(&mut self) -> Result<Dropped, StoreError>;

    /// Removes messages that were made before a time, a hundred at most. Returns how many events of which receiver
    /// there were; nothing if no such message is left.
    ///
    /// # Errors
    /// The outbox cannot be written.
    fn expire(&mut self, before_ms: i64) -> Result<Dropped, StoreError>;

    /// The receivers that something waits for, and the time before which nothing of it is due.
    fn waiting(&self) -> Vec<(i64, i64)>;

    /// The earliest message of a receiver that is due. It takes no more events.
    ///
    /// # Errors
    /// The outbox cannot be read.
    fn due(&mut self, receiver: i64, now_ms: i64) -> Result<Option<Message>, StoreError>;

    /// Removes a message that was delivered. Returns whether it still waited, as far as is known.
    ///
    /// # Errors
    /// The outbox cannot be written. The message will be sent again.
    fn delivered(&mut self, message: i64) -> Result<bool, StoreError>;

    /// Notes that a message was not delivered, and when it is due again.
    ///
    /// # Errors
    /// The outbox cannot be written. The message stays as it was.
    fn failed(&mut self, message: i64, due_ms: i64) -> Result<(), StoreError>;

    /// Makes all messages of a receiver due.
    ///
    /// # Errors
    /// The outbox cannot be written.
    fn hurry(&mut self, receiver: i64, now_ms: i64) -> Result<(), StoreError>;

    /// How many events wait that this process knows of: those of all processes, if it sends.
    fn events(&self) -> u64;
}

fn add(counts: &mut Dropped, receiver: i64, events: u64) {
    let of_receiver = counts.entry(receiver).or_default();
    *of_receiver = of_receiver.saturating_add(events);
}
