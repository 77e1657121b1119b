//! Messages that leave the file for another outbox.
//!
//! Owns what is read of them, and the lock that is held meanwhile: a process that sends, or another one that moves, has
//! it. Does not handle where they go (see `postgres`). A message is removed here once it is there.

use rusqlite::{Connection, params};

use super::{Sqlite, tables};
use crate::store::StoreError;

/// As many bytes of events are read at once, and the message that reaches them.
const BYTES: u64 = 4 << 20;

/// A message as it is in the file.
#[derive(Debug)]
pub struct Left {
    /// Its number in the file.
    pub id: i64,
    /// The receiver's name.
    pub receiver: String,
    /// `webhook-id`.
    pub name: String,
    /// `type`.
    pub kind: String,
    /// When it was made.
    pub made_ms: i64,
    /// How often it was sent.
    pub attempts: u32,
    /// When it is due.
    pub due_ms: i64,
    /// How many events it has.
    pub events: u64,
    /// The room that they take.
    pub bytes: u64,
    /// The events.
    pub data: Vec<String>,
}

impl Sqlite {
    /// Does something with the messages in the file while no other process sends or moves them. `None` where another
    /// one does.
    ///
    /// # Errors
    /// The lock cannot be taken.
    pub fn alone<T>(&mut self, act: impl FnOnce(&mut Self) -> T) -> Result<Option<T>, StoreError> {
        if !self.duty.take().map_err(StoreError::file(&self.path))? {
            return Ok(None);
        }
        let done = act(self);
        self.duty.give_up();
        Ok(Some(done))
    }

    /// The oldest messages, so many at most.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn left(&mut self, limit: usize) -> Result<Vec<Left>, StoreError> {
        self.attempt(|outbox| left(&outbox.connection, limit))
    }

    /// Removes messages that are elsewhere.
    ///
    /// # Errors
    /// The file cannot be written. They will be moved again.
    pub fn forget(&mut self, left: &[Left]) -> Result<(), StoreError> {
        self.attempt(|outbox| {
            outbox.transact(|outbox| {
                for message in left {
                    outbox.remove(message.id)?;
                }
                Ok(())
            })
        })
    }
}

fn left(connection: &Connection, limit: usize) -> rusqlite::Result<Vec<Left>> {
    let mut find = connection.prepare_cached(
        "SELECT messages.id, receivers.name, messages.name, kind, made_ms, attempts, due_ms, events, bytes \
         FROM messages JOIN receivers ON receivers.id = receiver ORDER BY messages.id LIMIT ?1",
    )?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let found = find.query_map(params![limit], |row| {
        Ok(Left {
            id: row.get(0)?,
            receiver: row.get(1)?,
            name: row.get(2)?,
            kind: row.get(3)?,
            made_ms: row.get(4)?,
            attempts: row.get(5)?,
            due_ms: row.get(6)?,
            events: tables::unsigned(row, 7)?,
            bytes: tables::unsigned(row, 8)?,
            data: Vec::new(),
        })
    })?;
    let (mut all, mut bytes) = (Vec::new(), 0_u64);
    for message in found {
        let mut message = message?;
        message.data = tables::events(connection, message.id)?;
        bytes = bytes.saturating_add(message.bytes);
        all.push(message);
        if bytes >= BYTES {
            break;
        }
    }
    Ok(all)
}
