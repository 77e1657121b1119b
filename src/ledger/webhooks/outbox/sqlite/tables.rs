//! The tables of the outbox.
//!
//! Owns the SQL. Does not handle bounds, or what is known of the tables in memory (see the head of this folder).
//! Fails with SQLite's error.

use rusqlite::{Connection, OptionalExtension, Row, TransactionBehavior, params};
use rustc_hash::{FxHashMap, FxHashSet};
use uuid::Uuid;

use super::{Added, Kind, OPEN_MS};

/// A message, without its events.
pub struct First {
    pub id: i64,
    pub name: String,
    pub kind: String,
    pub made_ms: i64,
    pub attempts: u32,
    pub due_ms: i64,
}

/// What a message was that is removed.
pub struct Removed {
    pub receiver: i64,
    pub events: u64,
    pub bytes: u64,
}

/// Makes a message without events.
pub fn make_message(connection: &Connection, first: &Added, now_ms: i64) -> rusqlite::Result<i64> {
    let name = format!("msg_{}", Uuid::now_v7().simple());
    let mut insert = connection.prepare_cached(
        "INSERT INTO messages (receiver, name, kind, made_ms, attempts, due_ms, events, bytes) \
         VALUES (?1, ?2, ?3, ?4, 0, ?5, 0, 0)",
    )?;
    let due_ms = now_ms.saturating_add(OPEN_MS);
    insert.insert(params![
        first.receiver,
        name,
        first.kind.name(),
        now_ms,
        due_ms
    ])
}

/// Adds an event to a message. Returns whether it is new.
pub fn add_event(connection: &Connection, message: i64, event: &Added) -> rusqlite::Result<bool> {
    let mut insert = connection.prepare_cached(
        "INSERT INTO events (message, receiver, record, json) VALUES (?1, ?2, ?3, ?4) \
         ON CONFLICT (receiver, record) DO NOTHING",
    )?;
    let record = event.record.map(u128::to_be_bytes);
    let added = insert.execute(params![message, event.receiver, record, &*event.json])?;
    Ok(added > 0)
}

/// Sets how many events a message has, and their bytes.
pub fn set_size(
    connection: &Connection,
    message: i64,
    events: u64,
    bytes: u64,
) -> rusqlite::Result<()> {
    let sql = "UPDATE messages SET events = ?2, bytes = ?3 WHERE id = ?1";
    let mut update = connection.prepare_cached(sql)?;
    let done = update.execute(params![message, signed(events), signed(bytes)]);
    done.map(drop)
}

/// Sets when a message is due.
pub fn set_due(connection: &Connection, message: i64, due_ms: i64) -> rusqlite::Result<()> {
    let sql = "UPDATE messages SET due_ms = ?2 WHERE id = ?1";
    let mut update = connection.prepare_cached(sql)?;
    update.execute(params![message, due_ms]).map(drop)
}

/// Makes messages due that would be due only after `longest_ms`.
pub fn correct_due(connection: &Connection, now_ms: i64, longest_ms: i64) -> rusqlite::Result<()> {
    let sql = "UPDATE messages SET due_ms = ?1 WHERE due_ms > ?2";
    let latest_ms = now_ms.saturating_add(longest_ms);
    connection
        .execute(sql, params![now_ms, latest_ms])
        .map(drop)
}

/// Notes that a message was sent in vain, and when it is due again.
pub fn set_failed(connection: &Connection, message: i64, due_ms: i64) -> rusqlite::Result<()> {
    let sql = "UPDATE messages SET attempts = attempts + 1, due_ms = ?2 WHERE id = ?1";
    let mut update = connection.prepare_cached(sql)?;
    update.execute(params![message, due_ms]).map(drop)
}

/// Makes all messages of a receiver due.
pub fn hurry(connection: &Connection, receiver: i64, now_ms: i64) -> rusqlite::Result<()> {
    let sql = "UPDATE messages SET due_ms = ?2 WHERE receiver = ?1 AND due_ms > ?2";
    connection.execute(sql, params![receiver, now_ms]).map(drop)
}

/// The message of a receiver that is due first.
pub fn first_due(connection: &Connection, receiver: i64) -> rusqlite::Result<Option<First>> {
    let mut find = connection.prepare_cached(
        "SELECT id, name, kind, made_ms, attempts, due_ms FROM messages \
         WHERE receiver = ?1 ORDER BY due_ms, id LIMIT 1",
    )?;
    let found = find.query_row(params![receiver], |row| {
        Ok(First {
            id: row.get(0)?,
            name: row.get(1)?,
            kind: row.get(2)?,
            made_ms: row.get(3)?,
            attempts: row.get(4)?,
            due_ms: row.get(5)?,
        })
    });
    found.optional()
}

/// The events of a message, in their order.
pub fn events(connection: &Connection, message: i64) -> rusqlite::Result<Vec<String>> {
    let sql = "SELECT json FROM events WHERE message = ?1 ORDER BY id";
    let mut find = connection.prepare_cached(sql)?;
    let found = find.query_map(params![message], |row| row.get(0))?;
    found.collect()
}

/// The oldest message about usage: of one receiver, or of all.
pub fn oldest_usage(
    connection: &Connection,
    receiver: Option<i64>,
) -> rusqlite::Result<Option<i64>> {
    let sql = match receiver {
        Some(_) => {
            "SELECT id FROM messages INDEXED BY messages_receiver \
             WHERE receiver = ?1 AND kind = ?2 ORDER BY id LIMIT 1"
        }
        None => "SELECT id FROM messages WHERE ?1 IS NULL AND kind = ?2 ORDER BY id LIMIT 1",
    };
    let mut find = connection.prepare_cached(sql)?;
    let found = find.query_row(params![receiver, Kind::Usage.name()], |row| row.get(0));
    found.optional()
}

/// The oldest messages that were made before a time, so many at most.
pub fn made_before(
    connection: &Connection,
    before_ms: i64,
    limit: usize,
) -> rusqlite::Result<Vec<i64>> {
    let sql = "SELECT id FROM messages WHERE made_ms < ?1 ORDER BY made_ms LIMIT ?2";
    let mut find = connection.prepare_cached(sql)?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let found = find.query_map(params![before_ms, limit], |row| row.get(0))?;
    found.collect()
}

/// Removes a message and its events.
pub fn remove_message(connection: &Connection, message: i64) -> rusqlite::Result<Option<Removed>> {
    let sql = "DELETE FROM messages WHERE id = ?1 RETURNING receiver, events, bytes";
    let mut remove = connection.prepare_cached(sql)?;
    let removed = remove.query_row(params![message], |row| {
        Ok(Removed {
            receiver: row.get(0)?,
            events: unsigned(row, 1)?,
            bytes: unsigned(row, 2)?,
        })
    });
    let removed = removed.optional()?;
    let mut events = connection.prepare_cached("DELETE FROM events WHERE message = ?1")?;
    events.execute(params![message])?;
    Ok(removed)
}

/// How many events wait for each receiver, and their bytes.
pub fn count(connection: &Connection) -> rusqlite::Result<Vec<(i64, u64, u64)>> {
    let sql = "SELECT receiver, sum(events), sum(bytes) FROM messages GROUP BY receiver";
    let mut count = connection.prepare_cached(sql)?;
    let counted = count.query_map([], |row| {
        Ok((row.get(0)?, unsigned(row, 1)?, unsigned(row, 2)?))
    })?;
    counted.collect()
}

/// What changes when another connection has written.
pub fn version(connection: &Connection) -> rusqlite::Result<i64> {
    let mut version = connection.prepare_cached("PRAGMA data_version")?;
    version.query_row([], |row| row.get(0))
}

/// Whether there is a message.
pub fn has_message(connection: &Connection, message: i64) -> rusqlite::Result<bool> {
    let mut find = connection.prepare_cached("SELECT 1 FROM messages WHERE id = ?1")?;
    find.exists(params![message])
}

/// The numbers of all receivers.
pub fn receivers(connection: &Connection) -> rusqlite::Result<FxHashSet<i64>> {
    let mut find = connection.prepare_cached("SELECT id FROM receivers")?;
    let found = find.query_map([], |row| row.get(0))?;
    found.collect()
}

/// Has these receivers and, unless others are to be kept, no others. Returns their numbers in the same order, and those
/// of the others, whose messages are removed.
pub fn set_receivers(
    connection: &mut Connection,
    names: &[&str],
    keeps_others: bool,
) -> rusqlite::Result<(Vec<i64>, Vec<i64>)> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut gone: FxHashMap<String, i64> = {
        let mut find = transaction.prepare_cached("SELECT name, id FROM receivers")?;
        let found = find.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        found.collect::<rusqlite::Result<_>>()?
    };
    let mut numbers = Vec::with_capacity(names.len());
    for name in names {
        let number = match gone.remove(*name) {
            Some(number) => number,
            None => {
                let sql = "INSERT INTO receivers (name) VALUES (?1)";
                transaction.prepare_cached(sql)?.insert(params![name])?
            }
        };
        numbers.push(number);
    }
    let mut gone: Vec<i64> = gone.into_values().collect();
    if keeps_others {
        gone.clear();
    }
    for number in &gone {
        for sql in [
            "DELETE FROM events WHERE receiver = ?1",
            "DELETE FROM messages WHERE receiver = ?1",
            "DELETE FROM receivers WHERE id = ?1",
        ] {
            transaction.prepare_cached(sql)?.execute(params![number])?;
        }
    }
    transaction.commit()?;
    Ok((numbers, gone))
}

/// Puts receivers into a new file, with the numbers that they have.
pub fn put_receivers(
    connection: &mut Connection,
    names: &FxHashMap<i64, String>,
) -> rusqlite::Result<()> {
    let transaction = connection.transaction()?;
    for (number, name) in names {
        let sql = "INSERT INTO receivers (id, name) VALUES (?1, ?2)";
        transaction.execute(sql, params![number, name])?;
    }
    transaction.commit()
}

/// Counts and sizes are far too small not to fit.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A count of a row.
pub fn unsigned(row: &Row<'_>, place: usize) -> rusqlite::Result<u64> {
    let number: i64 = row.get(place)?;
    Ok(u64::try_from(number).unwrap_or(0))
}
