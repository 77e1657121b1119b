//! A file of SQLite, beside the ledger's months.
//!
//! Owns its statements. Several processes may have it open: a process that takes over, for instance. One sees what
//! another has changed by the version. Does not handle how the file is opened (see `store::sqlite`).

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rusqlite::{Connection, Row, Transaction, TransactionBehavior, params};

use super::super::row::{Actor, AuditRow, Batch, Delta, KeyRow, Previous, TenantRow};
use super::{Plan, Retention, Store, definition_of, hash_of, json_of, text_of};
use crate::store::{StoreError, sqlite};

const MIGRATIONS: [&str; 1] = [include_str!("schema/sqlite_1.sql")];
/// How often it is looked for a change of another process.
const LOOK_EVERY: Duration = Duration::from_millis(200);

const TENANT: &str = "id, definition, created_ms, updated_ms, deleted_ms";
const KEY: &str = "id, tenant, hash, hint, previous_hash, previous_hint, previous_until_ms, definition, created_ms, \
                   updated_ms, revoked_ms";
const AUDIT: &str = "id, at_ms, action, actor, credential, source, tenant, key, before, after";

/// The file.
pub struct Sqlite {
    path: PathBuf,
    connection: Connection,
}

impl Sqlite {
    /// Opens or makes the file.
    ///
    /// # Errors
    /// It cannot be written, or a newer release wrote it.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let connection = sqlite::open(path, &MIGRATIONS)?;
        // A key that was shown may not be lost.
        let synced = connection.execute_batch("PRAGMA synchronous = FULL");
        synced.map_err(StoreError::sqlite(path))?;
        Ok(Self {
            path: path.to_owned(),
            connection,
        })
    }

    fn failed(&self) -> impl Fn(rusqlite::Error) -> StoreError + use<> {
        StoreError::sqlite(&self.path)
    }
}

impl Store for Sqlite {
    fn version(&mut self) -> Result<i64, StoreError> {
        let sql = "SELECT version FROM state";
        let version = self.connection.query_row(sql, [], |row| row.get(0));
        version.map_err(self.failed())
    }

    fn read(&mut self, since: i64) -> Result<Delta, StoreError> {
        let failed = self.failed();
        let transaction = self.connection.transaction().map_err(&failed)?;
        read(&transaction, since, &failed)
    }

    fn change(&mut self, since: i64, plan: &mut Plan<'_>) -> Result<(), StoreError> {
        let failed = self.failed();
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(&failed)?;
        let delta = read(&transaction, since, &failed)?;
        let version = delta.version + 1;
        let Some(batch) = plan(delta) else {
            return Ok(());
        };
        write(&transaction, &batch, version).map_err(&failed)?;
        transaction.commit().map_err(&failed)
    }

    fn audit(
        &mut self,
        before: Option<i64>,
        tenant: Option<&str>,
        limit: i64,
    ) -> Result<Vec<AuditRow>, StoreError> {
        let failed = self.failed();
        let sql = format!(
            "SELECT {AUDIT} FROM audit WHERE id < ?1 AND (?2 IS NULL OR tenant = ?2) ORDER BY id DESC LIMIT ?3"
        );
        let mut statement = self.connection.prepare_cached(&sql).map_err(&failed)?;
        let before = before.unwrap_or(i64::MAX);
        let rows = statement.query_map(params![before, tenant, limit], audit);
        rows.map_err(&failed)?
            .collect::<Result<_, _>>()
            .map_err(&failed)
    }

    fn prune(&mut self, retention: Retention) -> Result<(), StoreError> {
        let failed = self.failed();
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(&failed)?;
        prune(&transaction, retention).map_err(&failed)?;
        transaction.commit().map_err(&failed)
    }

    fn wait(&mut self, known: i64, patience: Duration) -> Result<(), StoreError> {
        let until = Instant::now() + patience;
        while Instant::now() < until && self.version()? == known {
            #[allow(
                clippy::disallowed_methods,
                reason = "it is called on a thread that may block"
            )]
            std::thread::sleep(LOOK_EVERY.min(until.saturating_duration_since(Instant::now())));
        }
        Ok(())
    }
}

fn read(
    transaction: &Transaction<'_>,
    since: i64,
    failed: &impl Fn(rusqlite::Error) -> StoreError,
) -> Result<Delta, StoreError> {
    let state = transaction.query_row("SELECT version, pruned FROM state", [], |row| {
        Ok((row.get(0)?, row.get(1)?))
    });
    let (version, pruned): (i64, i64) = state.map_err(failed)?;
    let is_whole = since < pruned || since == 0;
    let since = match is_whole {
        true => -1,
        false => since,
    };
    Ok(Delta {
        version,
        is_whole,
        tenants: rows(
            transaction,
            &format!("SELECT {TENANT} FROM tenants WHERE version > ?1"),
            since,
            failed,
            tenant,
        )?,
        keys: rows(
            transaction,
            &format!("SELECT {KEY} FROM keys WHERE version > ?1"),
            since,
            failed,
            key,
        )?,
    })
}

fn rows<T>(
    transaction: &Transaction<'_>,
    sql: &str,
    since: i64,
    failed: &impl Fn(rusqlite::Error) -> StoreError,
    read: impl Fn(&Row<'_>) -> Result<rusqlite::Result<T>, StoreError>,
) -> Result<Vec<T>, StoreError> {
    let mut statement = transaction.prepare_cached(sql).map_err(failed)?;
    let mut rows = statement.query([since]).map_err(failed)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next().map_err(failed)? {
        found.push(read(row)?.map_err(failed)?);
    }
    Ok(found)
}

fn tenant(row: &Row<'_>) -> Result<rusqlite::Result<TenantRow>, StoreError> {
    let text: String = row.get(1).unwrap_or_default();
    let definition = definition_of(&text)?;
    let read = || {
        Ok(TenantRow {
            id: row.get(0)?,
            definition,
            created_ms: row.get(2)?,
            updated_ms: row.get(3)?,
            deleted_ms: row.get(4)?,
        })
    };
    Ok(read())
}

fn key(row: &Row<'_>) -> Result<rusqlite::Result<KeyRow>, StoreError> {
    let text = |at: usize| row.get::<_, String>(at).unwrap_or_default();
    let hash = hash_of(&text(2))?;
    let definition = definition_of(&text(7))?;
    let previous = row.get::<_, Option<String>>(4).unwrap_or_default();
    let previous = previous.map(|hash| hash_of(&hash)).transpose()?;
    let read = || {
        let until_ms: Option<i64> = row.get(6)?;
        Ok(KeyRow {
            id: row.get(0)?,
            tenant: row.get(1)?,
            hash,
            hint: row.get(3)?,
            previous: previous.map(|hash| Previous {
                hash,
                hint: text(5),
                until_ms: until_ms.unwrap_or_default(),
            }),
            definition,
            created_ms: row.get(8)?,
            updated_ms: row.get(9)?,
            revoked_ms: row.get(10)?,
        })
    };
    Ok(read())
}

fn audit(row: &Row<'_>) -> rusqlite::Result<AuditRow> {
    Ok(AuditRow {
        id: row.get(0)?,
        at_ms: row.get(1)?,
        action: row.get(2)?,
        actor: Actor {
            name: row.get(3)?,
            credential: row.get(4)?,
            source: row.get(5)?,
        },
        tenant: row.get(6)?,
        key: row.get(7)?,
        before: json_of(row.get(8)?),
        after: json_of(row.get(9)?),
    })
}

fn write(transaction: &Transaction<'_>, batch: &Batch, version: i64) -> rusqlite::Result<()> {
    let sql = format!(
        "INSERT OR REPLACE INTO tenants ({TENANT}, version) VALUES (?1, ?2, ?3, ?4, ?5, ?6)"
    );
    let mut statement = transaction.prepare_cached(&sql)?;
    for row in &batch.tenants {
        statement.execute(params![
            row.id,
            text_of(&row.definition),
            row.created_ms,
            row.updated_ms,
            row.deleted_ms,
            version
        ])?;
    }
    // It must not replace another key that has the hash or the name: that is a mistake, and is told.
    let sql = format!(
        "INSERT INTO keys ({KEY}, name, version) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13) \
         ON CONFLICT (id) DO UPDATE SET hash = excluded.hash, hint = excluded.hint, \
         previous_hash = excluded.previous_hash, previous_hint = excluded.previous_hint, \
         previous_until_ms = excluded.previous_until_ms, definition = excluded.definition, name = excluded.name, \
         updated_ms = excluded.updated_ms, revoked_ms = excluded.revoked_ms, version = excluded.version"
    );
    let mut statement = transaction.prepare_cached(&sql)?;
    for row in &batch.keys {
        let previous = row.previous.as_ref();
        statement.execute(params![
            row.id,
            row.tenant,
            row.hash.to_hex(),
            row.hint,
            previous.map(|previous| previous.hash.to_hex()),
            previous.map(|previous| previous.hint.as_str()),
            previous.map(|previous| previous.until_ms),
            text_of(&row.definition),
            row.created_ms,
            row.updated_ms,
            row.revoked_ms,
            row.name(),
            version
        ])?;
    }
    let sql = "INSERT INTO audit (at_ms, action, actor, credential, source, tenant, key, before, after) \
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
    let mut statement = transaction.prepare_cached(sql)?;
    for row in &batch.audit {
        statement.execute(params![
            row.at_ms,
            row.action,
            row.actor.name,
            row.actor.credential,
            row.actor.source,
            row.tenant,
            row.key,
            row.before.as_ref().map(text_of),
            row.after.as_ref().map(text_of),
        ])?;
    }
    transaction.execute("UPDATE state SET version = ?1", [version])?;
    Ok(())
}

fn prune(transaction: &Transaction<'_>, retention: Retention) -> rusqlite::Result<()> {
    let Retention {
        before_ms,
        lines,
        gone,
    } = retention;
    transaction.execute(
        "DELETE FROM audit WHERE at_ms < ?1 OR id <= (SELECT id FROM audit ORDER BY id DESC LIMIT 1 OFFSET ?2)",
        [before_ms, lines],
    )?;
    let mut pruned = 0;
    for (table, column) in [("tenants", "deleted_ms"), ("keys", "revoked_ms")] {
        let sql = format!(
            "DELETE FROM {table} WHERE {column} < ?1 OR {column} IS NOT NULL AND version <= \
             (SELECT version FROM {table} WHERE {column} IS NOT NULL ORDER BY version DESC LIMIT 1 OFFSET ?2)"
        );
        pruned += transaction.execute(&sql, [before_ms, gone])?;
    }
    if pruned > 0 {
        // A process that knows less reads everything again.
        transaction.execute("UPDATE state SET pruned = version", [])?;
    }
    Ok(())
}
