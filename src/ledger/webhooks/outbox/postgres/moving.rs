//! From the file in the ledger's folder into PostgreSQL.
//!
//! Owns that nothing is lost or doubled on the way: a message is there before it is removed here, and its name is there
//! once. The file has quotas' events that were told while PostgreSQL was away, and what an earlier release has left.
//! Does not handle when this is done (see the head of this folder). A failure leaves messages where they are.

use std::path::Path;

use super::super::sqlite::{Sqlite, refuse_damaged};
use super::super::{Bounds, FILE, Outbox, STEP};
use super::link;
use super::messages::Messages;
use crate::secret::Secret;
use crate::store::StoreError;

/// Moves all of a file's messages, a hundred at a time, by what adds messages to PostgreSQL. Leaves them where another
/// process sends or moves them. Returns how many events were moved.
///
/// # Errors
/// The file or PostgreSQL fails. What was not moved is in the file.
pub fn move_all(
    file: &mut Sqlite,
    mut insert: impl FnMut(&Messages) -> Result<(), StoreError>,
) -> Result<u64, StoreError> {
    let moved = file.alone(|file| {
        let mut events = 0;
        loop {
            let left = file.left(STEP)?;
            if left.is_empty() {
                return Ok(events);
            }
            insert(&Messages::left(&left))?;
            file.forget(&left)?;
            events += left.iter().map(|message| message.events).sum::<u64>();
        }
    })?;
    moved.unwrap_or(Ok(0))
}

/// Moves what a lost node has left in its folder. Returns how many events that were.
///
/// # Errors
/// The file or PostgreSQL fails. What was not moved is in the file.
pub fn move_left(folder: &Path, url: &Secret, now_ms: i64) -> Result<u64, StoreError> {
    let path = folder.join(FILE);
    if !path.exists() {
        return Ok(0);
    }
    refuse_damaged(&path)?;
    let mut file = Sqlite::open(&path, Bounds::default(), now_ms)?;
    file.set_sending(false)?;
    if file.events() == 0 {
        return Ok(0);
    }
    let mut session = link::open(url)?;
    move_all(&mut file, |messages| {
        session.run(async |client| messages.insert(client).await)
    })
}
