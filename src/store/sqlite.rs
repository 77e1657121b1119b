//! A file of SQLite, opened to be written.
//!
//! Owns its mode, its settings, and the version of its tables. Does not handle what is in them (see the engine that
//! opens it). Fails with a [`StoreError`].

use std::fs::File;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::{Connection, ErrorCode, TransactionBehavior, params};

use super::StoreError;

/// For the owner alone.
const MODE: u32 = 0o600;
/// How long a statement waits for another process, such as a backup.
const BUSY: Duration = Duration::from_secs(5);
/// How often it is looked whether it still has to, where SQLite does not wait by itself.
const LOOK_EVERY: Duration = Duration::from_millis(2);
/// As many statements stay compiled.
const STATEMENTS: usize = 32;

/// Opens or makes a file to be written, and upgrades its tables.
///
/// # Errors
/// It cannot be written, or a newer release wrote it; then nothing was changed.
pub fn open(path: &Path, migrations: &[&str]) -> Result<Connection, StoreError> {
    // SQLite would make it readable for others; what it makes beside it has the same mode.
    let made = File::options()
        .append(true)
        .create(true)
        .mode(MODE)
        .open(path);
    made.map_err(StoreError::file(path))?;
    let failed = StoreError::sqlite(path);
    let mut connection = Connection::open(path).map_err(&failed)?;
    connection.busy_timeout(BUSY).map_err(&failed)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    let found = version(&connection).map_err(&failed)?;
    let known = i64::try_from(migrations.len()).unwrap_or(i64::MAX);
    if found > known {
        return Err(newer(path, found, known));
    }
    use_wal(&connection).map_err(&failed)?;
    let settings = "PRAGMA synchronous = NORMAL; PRAGMA cache_size = -16384;";
    connection.execute_batch(settings).map_err(&failed)?;
    if found < known {
        upgrade(&mut connection, migrations, known).map_err(&failed)?;
    }
    Ok(connection)
}

/// Changes a new file to WAL. SQLite itself does not wait while another process does the same.
fn use_wal(connection: &Connection) -> rusqlite::Result<()> {
    let until = Instant::now() + BUSY;
    loop {
        match connection.execute_batch("PRAGMA journal_mode = WAL") {
            Err(e)
                if e.sqlite_error_code() == Some(ErrorCode::DatabaseBusy)
                    && Instant::now() < until => {}
            changed => return changed,
        }
        #[allow(
            clippy::disallowed_methods,
            reason = "a thread that uses a database may block"
        )]
        std::thread::sleep(LOOK_EVERY);
    }
}

fn upgrade(connection: &mut Connection, migrations: &[&str], known: i64) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    // Another process may have done it while this one waited.
    let found = version(&transaction)?;
    if found >= known {
        return Ok(());
    }
    for migration in migrations.iter().skip(usize::try_from(found).unwrap_or(0)) {
        transaction.execute_batch(migration)?;
    }
    transaction.execute("DELETE FROM schema_version", [])?;
    transaction.execute("INSERT INTO schema_version VALUES (?1)", params![known])?;
    transaction.commit()
}

/// The version of the tables; 0 where there are none.
///
/// # Errors
/// SQLite fails: it is no database, for instance.
pub fn version(connection: &Connection) -> rusqlite::Result<i64> {
    let sql = "SELECT count(*) FROM sqlite_schema WHERE name = 'schema_version'";
    let tables: i64 = connection.query_row(sql, [], |row| row.get(0))?;
    match tables {
        0 => Ok(0),
        _ => connection.query_row("SELECT version FROM schema_version", [], |row| row.get(0)),
    }
}

/// The error about a file of a newer release.
pub fn newer(path: &Path, found: i64, known: i64) -> StoreError {
    StoreError::Newer {
        place: path.display().to_string(),
        found,
        known,
    }
}
