//! The tables of the outbox in PostgreSQL.
//!
//! Owns the SQL of the process that sends. A statement that removes messages changes the numbers of their receivers as
//! well. Does not handle what is added (see `messages`), bounds, or what is known in memory (see the head of this
//! folder). Fails with PostgreSQL's error.

use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Row};

use super::super::LONGEST_WAIT_MS;
use crate::ledger::webhooks::event::Kind;
use crate::store::StoreError;
use crate::store::postgres::{LOCK, Tables};

/// The tables, and how they came to be.
pub const TABLES: Tables = Tables {
    version: "outbox_schema_version",
    migrations: &[include_str!("schema_1.sql")],
};
/// The process whose session has this lock sends.
const DUTY: i64 = LOCK + 2;
/// As many messages are changed by one statement.
const AT_ONCE: i64 = 1_000;
/// A process that hangs, or whose machine is lost, has the lock no longer than some fifteen seconds. Not each version
/// of PostgreSQL has all of these, and none has a meaning on a Unix socket but the last.
const SETTINGS: &str = "SELECT set_config(name, value, false) FROM (VALUES ('tcp_keepalives_idle', '5'), \
                        ('tcp_keepalives_interval', '2'), ('tcp_keepalives_count', '3'), ('tcp_user_timeout', '10s'), \
                        ('idle_session_timeout', '15s')) AS wanted (name, value) \
                        WHERE name IN (SELECT name FROM pg_settings)";

/// What waits for one receiver.
pub struct Waiting {
    /// Its name.
    pub name: String,
    /// How many events.
    pub events: u64,
    /// Their bytes.
    pub bytes: u64,
    /// When the first one is due.
    pub next_ms: Option<i64>,
}

/// A message, with its events.
pub struct First {
    pub id: i64,
    pub name: String,
    pub kind: Kind,
    pub made_ms: i64,
    pub attempts: u32,
    pub due_ms: i64,
    pub events: u64,
    pub data: String,
}

/// What is to be dropped at a bound.
#[derive(Clone, Copy, Debug)]
pub struct Excess<'r> {
    /// Of this receiver; `None` for any.
    pub receiver: Option<&'r str>,
    /// At least as many events,
    pub events: u64,
    /// and bytes.
    pub bytes: u64,
}

/// How many events of which receiver were removed.
pub type Removed = Vec<(String, u64)>;

/// Has the server end a session that hangs.
pub async fn set_up(client: &Client) -> Result<(), StoreError> {
    client.execute(SETTINGS, &[]).await?;
    Ok(())
}

/// Takes the lock, if no session has it. Whether this one has it.
pub async fn take_duty(client: &Client) -> Result<bool, StoreError> {
    let take = "SELECT pg_try_advisory_lock($1)";
    Ok(client.query_one(take, &[&DUTY]).await?.try_get(0)?)
}

/// Forgets receivers that nothing waits for, and makes messages due that would be due only after days. To be called by
/// a process that begins to send.
pub async fn tidy(client: &Client, names: &[String], now_ms: i64) -> Result<(), StoreError> {
    let forget = "DELETE FROM outbox_receivers WHERE events = 0 AND bytes = 0";
    client.execute(forget, &[]).await?;
    let latest_ms = now_ms.saturating_add(LONGEST_WAIT_MS);
    let sql = "UPDATE outbox_messages SET due_ms = $2 WHERE receiver = ANY($1) AND due_ms > $3";
    client.execute(sql, &[&names, &now_ms, &latest_ms]).await?;
    Ok(())
}

/// What waits, by receiver.
pub async fn waiting(client: &Client) -> Result<Vec<Waiting>, StoreError> {
    let sql = "SELECT name, events, bytes, (SELECT min(due_ms) FROM outbox_messages WHERE receiver = r.name) \
               FROM outbox_receivers AS r WHERE events > 0";
    let rows = client.query(sql, &[]).await?;
    let waiting = |row: &Row| {
        Ok(Waiting {
            name: row.try_get(0)?,
            events: unsigned(row, 1)?,
            bytes: unsigned(row, 2)?,
            next_ms: row.try_get(3)?,
        })
    };
    rows.iter().map(waiting).collect()
}

/// The message of a receiver that is due first. One of a kind that this release does not know is left to a newer one.
pub async fn first_due(client: &Client, receiver: &str) -> Result<Option<First>, StoreError> {
    let sql = "SELECT id, name, kind, made_ms, attempts, due_ms, events, data FROM outbox_messages \
               WHERE receiver = $1 AND kind = ANY($2) ORDER BY due_ms, id LIMIT 1";
    let kinds = Kind::ALL.map(Kind::name).to_vec();
    let Some(row) = client.query_opt(sql, &[&receiver, &kinds]).await? else {
        return Ok(None);
    };
    let Some(kind) = Kind::named(row.try_get(2)?) else {
        return Ok(None);
    };
    Ok(Some(First {
        id: row.try_get(0)?,
        name: row.try_get(1)?,
        kind,
        made_ms: row.try_get(3)?,
        attempts: u32::try_from(row.try_get::<_, i64>(4)?).unwrap_or(u32::MAX),
        due_ms: row.try_get(5)?,
        events: unsigned(&row, 6)?,
        data: row.try_get(7)?,
    }))
}

/// Notes that a message was sent in vain, and when it is due again.
pub async fn set_failed(client: &Client, message: i64, due_ms: i64) -> Result<(), StoreError> {
    let sql = "UPDATE outbox_messages SET attempts = attempts + 1, due_ms = $2 WHERE id = $1";
    client.execute(sql, &[&message, &due_ms]).await?;
    Ok(())
}

/// Makes messages of a receiver due. Returns whether there may be more of them.
pub async fn hurry(client: &Client, receiver: &str, now_ms: i64) -> Result<bool, StoreError> {
    let sql = "UPDATE outbox_messages SET due_ms = $2 WHERE id IN \
               (SELECT id FROM outbox_messages WHERE receiver = $1 AND due_ms > $2 LIMIT $3)";
    let done = client.execute(sql, &[&receiver, &now_ms, &AT_ONCE]).await?;
    Ok(done >= AT_ONCE.unsigned_abs())
}

/// Removes a message.
pub async fn remove(client: &Client, message: i64) -> Result<Removed, StoreError> {
    delete(client, "SELECT $1::bigint", &[&message]).await
}

/// Removes messages that are older than this by the clock of the server, so many at most.
pub async fn remove_older(client: &Client, age_ms: i64, limit: i64) -> Result<Removed, StoreError> {
    let old = "SELECT id FROM outbox_messages \
               WHERE made_ms < (extract(epoch FROM clock_timestamp()) * 1000)::bigint - $1 ORDER BY made_ms LIMIT $2";
    delete(client, old, &[&age_ms, &limit]).await
}

/// Removes the oldest usage messages, until there is no excess or a thousand are removed.
pub async fn remove_oldest_usage(
    client: &Client,
    excess: Excess<'_>,
) -> Result<Removed, StoreError> {
    remove_excess(client, excess, ("=", "id")).await
}

/// Removes the newest of the other messages, likewise.
pub async fn remove_newest_others(
    client: &Client,
    excess: Excess<'_>,
) -> Result<Removed, StoreError> {
    remove_excess(client, excess, ("<>", "id DESC")).await
}

/// Removes messages whose kind compares with that of usage, in an order.
async fn remove_excess(
    client: &Client,
    excess: Excess<'_>,
    (comparison, order): (&str, &str),
) -> Result<Removed, StoreError> {
    let of_receiver = match excess.receiver {
        Some(_) => "receiver = $1",
        None => "$1::text IS NULL",
    };
    // What was removed before a message was not enough.
    let which = format!(
        "SELECT id FROM (SELECT id, sum(events) OVER (ORDER BY {order}) - events AS events, \
         sum(bytes) OVER (ORDER BY {order}) - bytes AS bytes \
         FROM (SELECT id, events, bytes FROM outbox_messages WHERE {of_receiver} AND kind {comparison} $4 \
         ORDER BY {order} LIMIT {AT_ONCE}) AS m) \
         AS removed WHERE events < $2::bigint OR bytes < $3::bigint"
    );
    let (events, bytes) = (super::signed(excess.events), super::signed(excess.bytes));
    let kind = Kind::Usage.name();
    delete(client, &which, &[&excess.receiver, &events, &bytes, &kind]).await
}

/// Removes the messages that a query names.
async fn delete(
    client: &Client,
    which: &str,
    values: &[&(dyn ToSql + Sync)],
) -> Result<Removed, StoreError> {
    let sql = format!(
        "WITH gone AS (DELETE FROM outbox_messages WHERE id IN ({which}) RETURNING receiver, events, bytes), \
         sums AS (SELECT receiver, sum(events)::bigint AS events, sum(bytes)::bigint AS bytes FROM gone \
         GROUP BY receiver), \
         counted AS (INSERT INTO outbox_receivers (name, events, bytes) \
         SELECT receiver, -events, -bytes FROM sums ORDER BY receiver \
         ON CONFLICT (name) DO UPDATE SET events = outbox_receivers.events + excluded.events, \
         bytes = outbox_receivers.bytes + excluded.bytes) \
         SELECT receiver, events FROM sums"
    );
    let rows = client.query(&sql, values).await?;
    let removed = |row: &Row| Ok((row.try_get(0)?, unsigned(row, 1)?));
    rows.iter().map(removed).collect()
}

fn unsigned(row: &Row, place: usize) -> Result<u64, StoreError> {
    let number: i64 = row.try_get(place)?;
    Ok(u64::try_from(number).unwrap_or(0))
}
