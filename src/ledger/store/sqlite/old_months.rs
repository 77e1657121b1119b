//! Months that are moved or removed.
//!
//! Owns which ones, and in which order: what must be known of a month is carried first, then a verified copy is on the
//! disk, then the file goes. A crash between two steps loses nothing and counts nothing twice. Does not handle the copy
//! (see `compressed`). While a month goes, no other process loads records. What fails leaves the month where it was.

use std::fs;
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

use rusqlite::Connection;

use super::super::compressed::{self, keep, sync_folder};
use super::super::month::{LONGEST_PERIOD_SECONDS, ended_before};
use super::super::{Month, StoreError};
use super::{Sqlite, months, part, path, with_ending};

/// Moves and removes old months, as the configuration says. Returns what was done, a line each.
///
/// # Errors
/// A month could not be moved or removed.
pub fn maintain(store: &mut Sqlite, now: SystemTime) -> Result<Vec<String>, StoreError> {
    let mut done = Vec::new();
    let archive = store.archive.clone();
    let bound = |age: Duration| ended_before(now, age);
    for month in months(&store.folder)? {
        let _turn = store.turns.take()?;
        if !path(&store.folder, month).exists() {
            // Another process had its turn first.
            continue;
        }
        let is_over = |age: Option<Duration>| age.is_some_and(|age| month.end_ms() <= bound(age));
        if is_over(store.retention) {
            remove(store, month, now)?;
            done.push(format!(
                "{month} was removed: it is older than ledger.retention"
            ));
        } else if let Some(archive) = archive.as_ref().filter(|a| is_over(Some(a.after))) {
            let to = move_to(store, month, &archive.path, now)?;
            done.push(format!("{month} was moved to {to}"));
        }
    }
    if let (Some(archive), Some(retention)) = (&archive, store.retention) {
        for path in compressed::remove_before(&archive.path, bound(retention))? {
            done.push(format!(
                "{} was removed: it is older than ledger.retention",
                path.display()
            ));
        }
    }
    Ok(done)
}

fn move_to(
    store: &mut Sqlite,
    month: Month,
    folder: &Path,
    now: SystemTime,
) -> Result<String, StoreError> {
    let file = path(&store.folder, month);
    settle(store, month, &file)?;
    if let Some(opened) = part::open(&file)? {
        let wrong = opened.integrity()?;
        if let Some(wrong) = wrong.first() {
            let place = file.display();
            return Err(StoreError::Damaged(format!(
                "{place} is not moved: {wrong}"
            )));
        }
    }
    let copy = keep(folder, month, "db", |out| {
        #[allow(
            clippy::disallowed_methods,
            reason = "the loader has a thread of its own"
        )]
        let original = fs::File::open(&file);
        let copied = original.and_then(|mut original| io::copy(&mut original, out));
        copied.map(drop).map_err(StoreError::file(&file))
    })?;
    remove(store, month, now)?;
    Ok(copy.display().to_string())
}

/// Closes a month, so that all of it is in its one file.
fn settle(store: &mut Sqlite, month: Month, file: &Path) -> Result<(), StoreError> {
    store.open.remove(&month);
    let failed = StoreError::sqlite(file);
    let connection = Connection::open(file).map_err(&failed)?;
    let mode = connection.pragma_update_and_check(None, "journal_mode", "DELETE", |row| row.get(0));
    let mode: String = mode.map_err(&failed)?;
    match mode.as_str() {
        "delete" => Ok(()),
        // Another connection reads the file: it stays for now.
        _ => Err(StoreError::Damaged(format!("{} is in use", file.display()))),
    }
}

fn remove(store: &mut Sqlite, month: Month, now: SystemTime) -> Result<(), StoreError> {
    store.open.remove(&month);
    let file = path(&store.folder, month);
    if let Some(part) = part::open(&file)? {
        let ended = month.end_ms() / 1_000;
        let seconds = ended_before(now, Duration::ZERO) / 1_000;
        // Only a period without an end can have begun so long before the month.
        let before = match ended.saturating_add(LONGEST_PERIOD_SECONDS) < seconds {
            true => month.start_ms() / 1_000 - LONGEST_PERIOD_SECONDS,
            false => i64::MAX,
        };
        let used = part.balances_before(before)?;
        store
            .carried
            .carry(&part.file_id()?, &used, &part.positions()?)?;
    }
    for ending in ["", "-wal", "-shm"] {
        match fs::remove_file(with_ending(&file, ending)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                return Err(StoreError::file(&file)(e));
            }
            _ => {}
        }
    }
    sync_folder(&store.folder)
}
