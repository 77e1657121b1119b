//! Questions in a Redis that searches vectors: Redis 8, Redis Stack, or one with the same commands.
//!
//! Owns the commands, and the names of indexes and hashes:
//!
//! ```text
//! tollgate:questions:1:DIMENSION         the index of all hashes of one dimension
//! tollgate:question:1:DIMENSION:ID       a hash: scope, tenant, rule, request, vector, text, value
//! ```
//!
//! The index is flat, because the scope leaves few vectors to compare. A hash ends by its own time to live. Does not
//! handle the connection (see `cache::link`). Fails with what is counted.

use std::collections::HashSet;
use std::time::Duration;

use parking_lot::Mutex;
use redis::{Cmd, Value};

use super::{LONGEST_COMMAND, MOST_NEAR, Near, Record, Wanted};
use crate::cache::Key;
use crate::cache::link::Link;
use crate::config::RedisUrl;
use crate::observe::cache::{StoreCounts, StoreResult};
use crate::secret::Secret;

const INDEX: &str = "tollgate:questions:1:";
const HASH: &str = "tollgate:question:1:";
/// Names that are asked for at a time, and pieces of one removal.
const NAMES_AT_A_TIME: usize = 1000;
const MOST_PIECES: usize = 10_000_000;
/// Writes a hash and its time to live at once.
const PUT: &str =
    "redis.call('HSET', KEYS[1], unpack(ARGV, 2)) redis.call('EXPIRE', KEYS[1], ARGV[1]) return 1";

/// One database.
pub(super) struct Redis {
    link: Link,
    /// The dimensions whose index is there.
    indexed: Mutex<HashSet<usize>>,
}

impl Redis {
    /// Not connected yet; `None` for a URL that is none.
    pub(super) fn new(url: &Secret, counts: StoreCounts) -> Option<Self> {
        Some(Self {
            link: Link::new(RedisUrl::read(url)?, "questions", counts),
            indexed: Mutex::default(),
        })
    }

    pub(super) fn is_up(&self) -> bool {
        self.link.is_up()
    }

    pub(super) async fn keep_connected(&self) {
        self.link.keep_connected().await;
    }

    pub(super) async fn nearest(
        &self,
        wanted: &Wanted<'_>,
        within: Duration,
    ) -> Result<Vec<Near>, StoreResult> {
        let dimension = wanted.vector.numbers().len();
        self.index(dimension, within).await?;
        let scope = Key(*wanted.scope).to_hex();
        let query = format!("(@scope:{{{scope}}})=>[KNN {MOST_NEAR} @vector $vector AS distance]");
        let mut command = redis::cmd("FT.SEARCH");
        command.arg(format!("{INDEX}{dimension}")).arg(query);
        command.arg("PARAMS").arg(2).arg("vector");
        command.arg(blob(wanted.vector.numbers()));
        command.arg("SORTBY").arg("distance");
        command.arg("RETURN").arg(2).arg("distance").arg("text");
        command.arg("LIMIT").arg(0).arg(MOST_NEAR);
        command.arg("DIALECT").arg(2);
        let found: Value = self.ask(&command, dimension, within).await?;
        near(&found).ok_or(StoreResult::Damaged)
    }

    pub(super) async fn answer(
        &self,
        id: &Key,
        dimension: usize,
        most_bytes: usize,
        within: Duration,
    ) -> Result<Option<Vec<u8>>, StoreResult> {
        let name = name(id, dimension);
        let mut length = redis::cmd("HSTRLEN");
        length.arg(&name).arg("value");
        match self.link.ask::<usize>(&length, within).await? {
            0 => return Ok(None),
            longer if longer > most_bytes => return Err(StoreResult::Damaged),
            _ => {}
        }
        let mut get = redis::cmd("HGET");
        get.arg(&name).arg("value");
        self.link.ask(&get, within).await
    }

    pub(super) async fn put(&self, record: &Record) -> Result<(), StoreResult> {
        if !self.link.is_asked() {
            return Err(StoreResult::Skipped);
        }
        let dimension = record.vector.numbers().len();
        self.index(dimension, LONGEST_COMMAND).await?;
        let mut command = redis::cmd("EVAL");
        command.arg(PUT).arg(1).arg(name(&record.id, dimension));
        command.arg(record.ttl.max(1));
        command.arg("scope").arg(Key(record.scope).to_hex());
        for (member, value) in record.names.members() {
            command.arg(member).arg(value);
        }
        command.arg("vector").arg(blob(record.vector.numbers()));
        command.arg("text").arg(&record.text);
        command.arg("value").arg(&record.value);
        self.ask(&command, dimension, LONGEST_COMMAND).await
    }

    /// Removes the hashes that have all of these members.
    pub(super) async fn remove(
        &self,
        members: &[(&'static str, String)],
    ) -> Result<(), StoreResult> {
        let mut cursor = 0_u64;
        for _ in 0..MOST_PIECES {
            let mut command = redis::cmd("SCAN");
            command.arg(cursor).arg("MATCH").arg(format!("{HASH}*"));
            command.arg("COUNT").arg(NAMES_AT_A_TIME);
            let (next, names): (u64, Vec<Vec<u8>>) =
                self.link.ask(&command, LONGEST_COMMAND).await?;
            let mut unwanted = Vec::new();
            for name in names {
                if self.has(&name, members).await? {
                    unwanted.push(name);
                }
            }
            if !unwanted.is_empty() {
                let mut command = redis::cmd("UNLINK");
                command.arg(unwanted);
                self.link.ask::<u64>(&command, LONGEST_COMMAND).await?;
            }
            cursor = next;
            if cursor == 0 {
                break;
            }
        }
        Ok(())
    }

    async fn has(
        &self,
        name: &[u8],
        members: &[(&'static str, String)],
    ) -> Result<bool, StoreResult> {
        if members.is_empty() {
            return Ok(true);
        }
        let mut command = redis::cmd("HMGET");
        command.arg(name);
        members.iter().for_each(|(member, _)| {
            command.arg(*member);
        });
        let values: Result<Vec<Option<String>>, _> = self.link.ask(&command, LONGEST_COMMAND).await;
        match values {
            Ok(values) => Ok(members
                .iter()
                .zip(&values)
                .all(|((_, wanted), value)| value.as_ref() == Some(wanted))),
            // It is none of ours.
            Err(StoreResult::Damaged) => Ok(false),
            Err(result) => Err(result),
        }
    }

    /// Makes the index of a dimension, where it is not there.
    async fn index(&self, dimension: usize, within: Duration) -> Result<(), StoreResult> {
        if self.indexed.lock().contains(&dimension) {
            return Ok(());
        }
        let name = format!("{INDEX}{dimension}");
        let known: Vec<String> = self.link.ask(&redis::cmd("FT._LIST"), within).await?;
        if !known.contains(&name) {
            let mut command = redis::cmd("FT.CREATE");
            command.arg(&name).arg("ON").arg("HASH");
            command
                .arg("PREFIX")
                .arg(1)
                .arg(format!("{HASH}{dimension}:"));
            command.arg("SCHEMA").arg("scope").arg("TAG");
            command.arg("vector").arg("VECTOR").arg("FLAT").arg(6);
            command.arg("TYPE").arg("FLOAT32").arg("DIM").arg(dimension);
            command.arg("DISTANCE_METRIC").arg("COSINE");
            self.link.ask::<()>(&command, within).await?;
        }
        self.indexed.lock().insert(dimension);
        Ok(())
    }

    /// Asks for something for which there must be an index. Where it fails, that may have been removed.
    async fn ask<T: redis::FromRedisValue>(
        &self,
        command: &Cmd,
        dimension: usize,
        within: Duration,
    ) -> Result<T, StoreResult> {
        let asked = self.link.ask(command, within).await;
        if let Err(StoreResult::Error) = asked {
            self.indexed.lock().remove(&dimension);
        }
        asked
    }
}

fn name(id: &Key, dimension: usize) -> String {
    format!("{HASH}{dimension}:{}", id.to_hex())
}

/// The numbers of a vector, each as four bytes, little-endian.
fn blob(numbers: &[f32]) -> Vec<u8> {
    numbers.iter().flat_map(|n| n.to_le_bytes()).collect()
}

/// The questions in what Redis answers: a count, then a name and a list of members and values for each.
fn near(found: &Value) -> Option<Vec<Near>> {
    let Value::Array(items) = found else {
        return None;
    };
    let (_count, items) = items.split_first()?;
    let (pairs, rest) = items.as_chunks::<2>();
    let each = pairs.iter().filter_map(|[name, members]| {
        let id = text(name)?.rsplit(':').next().and_then(Key::from_hex)?;
        let Value::Array(members) = members else {
            return None;
        };
        let (members, _) = members.as_chunks::<2>();
        let member = |wanted: &str| {
            let mut members = members.iter();
            members.find_map(|[name, value]| (text(name) == Some(wanted)).then_some(value))
        };
        let distance: f32 = text(member("distance")?)?.parse().ok()?;
        let Value::BulkString(text) = member("text")? else {
            return None;
        };
        Some(Near {
            id,
            similarity: 1.0 - distance,
            text: text.clone(),
        })
    });
    rest.is_empty().then(|| each.collect())
}

fn text(value: &Value) -> Option<&str> {
    match value {
        Value::BulkString(bytes) => std::str::from_utf8(bytes).ok(),
        Value::SimpleString(text) => Some(text),
        _ => None,
    }
}
