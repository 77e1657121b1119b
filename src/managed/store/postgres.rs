//! PostgreSQL, beside the ledger's tables: what all nodes have in common.
//!
//! Owns its statements, and the channel by which nodes are told of a change. A change takes the row of the version for
//! itself, so that changes of all nodes follow each other. Does not handle the connection (see `store::postgres`). A
//! store that has failed is dropped, and another one opened.

use std::time::Duration;

use tokio_postgres::{Client, GenericClient, IsolationLevel, Row};

use super::super::row::{Actor, AuditRow, Batch, Delta, KeyRow, Previous, TenantRow};
use super::{Plan, Retention, Store, definition_of, hash_of, json_of, text_of};
use crate::secret::Secret;
use crate::store::StoreError;
use crate::store::postgres::{Session, Tables};

const TABLES: Tables = Tables {
    version: "managed_schema_version",
    migrations: &[include_str!("schema/postgres_1.sql")],
};
/// How long an answer may take on the way to a change that is in force everywhere within a second.
const ANSWER: Duration = Duration::from_secs(5);
/// How often it is asked for the version while notices come: a pool of connections before the server may keep them.
const ASK_EVERY: Duration = Duration::from_millis(900);

const TENANT: &str = "id, definition, created_ms, updated_ms, deleted_ms";
const KEY: &str = "id, tenant, hash, hint, previous_hash, previous_hint, previous_until_ms, definition, created_ms, \
                   updated_ms, revoked_ms";
const AUDIT: &str = "id, at_ms, action, actor, credential, source, tenant, key, before, after";

/// A connection.
pub struct Postgres {
    session: Session,
}

impl Postgres {
    /// Connects, and makes or upgrades the tables. `listens`: it is told of changes.
    ///
    /// # Errors
    /// The server is away, the tables cannot be made, or a newer release wrote them.
    pub fn open(url: &Secret, listens: bool) -> Result<Self, StoreError> {
        let mut session = Session::open(url)?;
        session.upgrade(&TABLES)?;
        if listens {
            session
                .run(async |client| Ok(client.batch_execute("LISTEN tollgate_managed").await?))?;
        }
        Ok(Self { session })
    }
}

impl Store for Postgres {
    fn version(&mut self) -> Result<i64, StoreError> {
        self.session.run_within(ANSWER, async |client| {
            let row = client
                .query_one("SELECT version FROM managed_state", &[])
                .await?;
            Ok(row.try_get(0)?)
        })
    }

    fn read(&mut self, since: i64) -> Result<Delta, StoreError> {
        self.session.run(async |client| {
            // What is read is of one moment.
            let transaction = client.build_transaction().read_only(true);
            let transaction = transaction.isolation_level(IsolationLevel::RepeatableRead);
            let transaction = transaction.start().await?;
            let state = "SELECT version, pruned FROM managed_state";
            let delta = read(&transaction, state, since).await?;
            transaction.commit().await?;
            Ok(delta)
        })
    }

    fn change(&mut self, since: i64, plan: &mut Plan<'_>) -> Result<(), StoreError> {
        self.session
            .run(async |client| change(client, since, plan).await)
    }

    fn audit(
        &mut self,
        before: Option<i64>,
        tenant: Option<&str>,
        limit: i64,
    ) -> Result<Vec<AuditRow>, StoreError> {
        let sql = format!(
            "SELECT {AUDIT} FROM managed_audit WHERE id < $1 AND ($2::text IS NULL OR tenant = $2) \
             ORDER BY id DESC LIMIT $3"
        );
        let before = before.unwrap_or(i64::MAX);
        self.session.run(async |client| {
            let rows = client.query(&sql, &[&before, &tenant, &limit]).await?;
            rows.iter().map(audit).collect()
        })
    }

    fn prune(&mut self, retention: Retention) -> Result<(), StoreError> {
        self.session
            .run(async |client| prune(client, retention).await)
    }

    fn wait(&mut self, _known: i64, patience: Duration) -> Result<(), StoreError> {
        self.session
            .wait_for_notice(patience.min(ASK_EVERY))
            .map(drop)
    }
}

async fn read(client: &impl GenericClient, state: &str, since: i64) -> Result<Delta, StoreError> {
    let state = client.query_one(state, &[]).await?;
    let (version, pruned): (i64, i64) = (state.try_get(0)?, state.try_get(1)?);
    let is_whole = since < pruned || since == 0;
    let since = match is_whole {
        true => -1,
        false => since,
    };
    let sql = format!("SELECT {TENANT} FROM managed_tenants WHERE version > $1");
    let tenants = client.query(&sql, &[&since]).await?;
    let sql = format!("SELECT {KEY} FROM managed_keys WHERE version > $1");
    let keys = client.query(&sql, &[&since]).await?;
    Ok(Delta {
        version,
        is_whole,
        tenants: tenants.iter().map(tenant).collect::<Result<_, _>>()?,
        keys: keys.iter().map(key).collect::<Result<_, _>>()?,
    })
}

async fn change(client: &mut Client, since: i64, plan: &mut Plan<'_>) -> Result<(), StoreError> {
    let transaction = client.transaction().await?;
    let state = "SELECT version, pruned FROM managed_state FOR UPDATE";
    let delta = read(&transaction, state, since).await?;
    let version = delta.version + 1;
    let Some(batch) = plan(delta) else {
        // Dropped, it would keep its lock until the connection is used again.
        transaction.rollback().await?;
        return Ok(());
    };
    write_tenants(&transaction, &batch, version).await?;
    write_keys(&transaction, &batch, version).await?;
    write_audit(&transaction, &batch).await?;
    let sql = "UPDATE managed_state SET version = $1";
    transaction.execute(sql, &[&version]).await?;
    transaction.batch_execute("NOTIFY tollgate_managed").await?;
    transaction.commit().await?;
    Ok(())
}

fn tenant(row: &Row) -> Result<TenantRow, StoreError> {
    Ok(TenantRow {
        id: row.try_get(0)?,
        definition: definition_of(row.try_get(1)?)?,
        created_ms: row.try_get(2)?,
        updated_ms: row.try_get(3)?,
        deleted_ms: row.try_get(4)?,
    })
}

fn key(row: &Row) -> Result<KeyRow, StoreError> {
    let previous = match row.try_get::<_, Option<&str>>(4)? {
        Some(hash) => Some(Previous {
            hash: hash_of(hash)?,
            hint: row.try_get::<_, Option<_>>(5)?.unwrap_or_default(),
            until_ms: row.try_get::<_, Option<_>>(6)?.unwrap_or_default(),
        }),
        None => None,
    };
    Ok(KeyRow {
        id: row.try_get(0)?,
        tenant: row.try_get(1)?,
        hash: hash_of(row.try_get(2)?)?,
        hint: row.try_get(3)?,
        previous,
        definition: definition_of(row.try_get(7)?)?,
        created_ms: row.try_get(8)?,
        updated_ms: row.try_get(9)?,
        revoked_ms: row.try_get(10)?,
    })
}

fn audit(row: &Row) -> Result<AuditRow, StoreError> {
    Ok(AuditRow {
        id: row.try_get(0)?,
        at_ms: row.try_get(1)?,
        action: row.try_get(2)?,
        actor: Actor {
            name: row.try_get(3)?,
            credential: row.try_get(4)?,
            source: row.try_get(5)?,
        },
        tenant: row.try_get(6)?,
        key: row.try_get(7)?,
        before: json_of(row.try_get(8)?),
        after: json_of(row.try_get(9)?),
    })
}

async fn write_tenants(
    client: &impl GenericClient,
    batch: &Batch,
    version: i64,
) -> Result<(), StoreError> {
    let sql = "INSERT INTO managed_tenants (id, definition, created_ms, updated_ms, deleted_ms, version) \
               VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (id) DO UPDATE SET definition = excluded.definition, \
               created_ms = excluded.created_ms, updated_ms = excluded.updated_ms, deleted_ms = excluded.deleted_ms, \
               version = excluded.version";
    for row in &batch.tenants {
        let definition = text_of(&row.definition);
        client
            .execute(
                sql,
                &[
                    &row.id,
                    &definition,
                    &row.created_ms,
                    &row.updated_ms,
                    &row.deleted_ms,
                    &version,
                ],
            )
            .await?;
    }
    Ok(())
}

/// Writes all keys by one statement: an import has very many.
async fn write_keys(
    client: &impl GenericClient,
    batch: &Batch,
    version: i64,
) -> Result<(), StoreError> {
    if batch.keys.is_empty() {
        return Ok(());
    }
    let sql = "INSERT INTO managed_keys (id, tenant, name, hash, hint, previous_hash, previous_hint, \
               previous_until_ms, definition, created_ms, updated_ms, revoked_ms, version) \
               SELECT k.*, $13::bigint FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], \
               $6::text[], $7::text[], $8::bigint[], $9::text[], $10::bigint[], $11::bigint[], $12::bigint[]) k \
               ON CONFLICT (id) DO UPDATE SET name = excluded.name, hash = excluded.hash, hint = excluded.hint, \
               previous_hash = excluded.previous_hash, previous_hint = excluded.previous_hint, \
               previous_until_ms = excluded.previous_until_ms, definition = excluded.definition, \
               updated_ms = excluded.updated_ms, revoked_ms = excluded.revoked_ms, version = excluded.version";
    let keys = || batch.keys.iter();
    let ids: Vec<&str> = keys().map(|key| key.id.as_str()).collect();
    let tenants: Vec<&str> = keys().map(|key| key.tenant.as_str()).collect();
    let names: Vec<&str> = keys().map(KeyRow::name).collect();
    let hashes: Vec<String> = keys().map(|key| key.hash.to_hex()).collect();
    let hints: Vec<&str> = keys().map(|key| key.hint.as_str()).collect();
    let previous = || keys().map(|key| key.previous.as_ref());
    let previous_hashes: Vec<_> = previous().map(|p| p.map(|p| p.hash.to_hex())).collect();
    let previous_hints: Vec<_> = previous().map(|p| p.map(|p| p.hint.as_str())).collect();
    let previous_until: Vec<_> = previous().map(|p| p.map(|p| p.until_ms)).collect();
    let definitions: Vec<String> = keys().map(|key| text_of(&key.definition)).collect();
    let created: Vec<i64> = keys().map(|key| key.created_ms).collect();
    let updated: Vec<i64> = keys().map(|key| key.updated_ms).collect();
    let revoked: Vec<Option<i64>> = keys().map(|key| key.revoked_ms).collect();
    client
        .execute(
            sql,
            &[
                &ids,
                &tenants,
                &names,
                &hashes,
                &hints,
                &previous_hashes,
                &previous_hints,
                &previous_until,
                &definitions,
                &created,
                &updated,
                &revoked,
                &version,
            ],
        )
        .await?;
    Ok(())
}

async fn write_audit(client: &impl GenericClient, batch: &Batch) -> Result<(), StoreError> {
    let sql = "INSERT INTO managed_audit (at_ms, action, actor, credential, source, tenant, key, before, after) \
               SELECT * FROM unnest($1::bigint[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], \
               $7::text[], $8::text[], $9::text[])";
    let lines = || batch.audit.iter();
    let at: Vec<i64> = lines().map(|line| line.at_ms).collect();
    let actions: Vec<&str> = lines().map(|line| line.action.as_str()).collect();
    let actors: Vec<&str> = lines().map(|line| line.actor.name.as_str()).collect();
    let credentials: Vec<&str> = lines().map(|line| line.actor.credential.as_str()).collect();
    let sources: Vec<&str> = lines().map(|line| line.actor.source.as_str()).collect();
    let tenants: Vec<&str> = lines().map(|line| line.tenant.as_str()).collect();
    let keys: Vec<Option<&str>> = lines().map(|line| line.key.as_deref()).collect();
    let before: Vec<_> = lines()
        .map(|line| line.before.as_ref().map(text_of))
        .collect();
    let after: Vec<_> = lines()
        .map(|line| line.after.as_ref().map(text_of))
        .collect();
    client
        .execute(
            sql,
            &[
                &at,
                &actions,
                &actors,
                &credentials,
                &sources,
                &tenants,
                &keys,
                &before,
                &after,
            ],
        )
        .await?;
    Ok(())
}

async fn prune(client: &mut Client, retention: Retention) -> Result<(), StoreError> {
    let Retention {
        before_ms,
        lines,
        gone,
    } = retention;
    let transaction = client.transaction().await?;
    // Changes wait: none may be made of what is removed.
    let turn = "SELECT version FROM managed_state FOR UPDATE";
    transaction.query_one(turn, &[]).await?;
    let sql = "DELETE FROM managed_audit WHERE at_ms < $1 OR id <= \
               (SELECT id FROM managed_audit ORDER BY id DESC LIMIT 1 OFFSET $2)";
    transaction.execute(sql, &[&before_ms, &lines]).await?;
    let mut pruned = 0;
    for (table, column) in [
        ("managed_tenants", "deleted_ms"),
        ("managed_keys", "revoked_ms"),
    ] {
        let sql = format!(
            "DELETE FROM {table} WHERE {column} < $1 OR {column} IS NOT NULL AND version <= \
             (SELECT version FROM {table} WHERE {column} IS NOT NULL ORDER BY version DESC LIMIT 1 OFFSET $2)"
        );
        pruned += transaction.execute(&sql, &[&before_ms, &gone]).await?;
    }
    if pruned > 0 {
        // A node that knows less reads everything again.
        let sql = "UPDATE managed_state SET pruned = version";
        transaction.execute(sql, &[]).await?;
    }
    transaction.commit().await?;
    Ok(())
}
