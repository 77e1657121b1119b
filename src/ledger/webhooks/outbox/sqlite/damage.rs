//! An outbox that is damaged.
//!
//! Owns what counts as damage, and where the file is kept: `outbox.db.damaged`, the last one of them. Does not handle
//! the new file (see the head of this folder). Fails if the file cannot be moved.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, ErrorCode, OpenFlags};

use crate::store::StoreError;

/// What stands behind the name of a damaged file.
const DAMAGED: &str = "damaged";

/// Whether SQLite says that the file is no database, or a broken one.
pub fn is_damage(error: &rusqlite::Error) -> bool {
    let code = error.sqlite_error_code();
    matches!(
        code,
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)
    )
}

/// Moves a damaged file and what SQLite has made beside it. A file that was moved before is replaced.
///
/// # Errors
/// The folder cannot be written.
pub fn move_aside(path: &Path, damage: &rusqlite::Error) -> Result<(), StoreError> {
    log::error!(
        "webhooks: {} is damaged ({damage}): it was moved to {}, and the events in it are not delivered. What \
         was used is in the ledger",
        path.display(),
        beside(path, &format!(".{DAMAGED}")).display()
    );
    for end in ["", "-wal", "-shm"] {
        let from = beside(path, end);
        let to = beside(path, &format!(".{DAMAGED}{end}"));
        match std::fs::rename(&from, to) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                return Err(StoreError::file(&from)(e));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Refuses a damaged file, and leaves it as it is: it may be the only copy.
///
/// # Errors
/// SQLite says that it is damaged, or it cannot be read.
pub fn refuse_damaged(path: &Path) -> Result<(), StoreError> {
    let opened = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY);
    let checked = opened.and_then(|file| {
        let schema = "SELECT count(*) FROM sqlite_schema";
        file.query_row(schema, [], |row| row.get::<_, i64>(0))
    });
    checked.map(drop).map_err(StoreError::sqlite(path))
}

/// The path with something behind its name.
fn beside(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    PathBuf::from(name)
}
