//! Questions in a database of vectors, which several nodes may share.
//!
//! This file owns what is written of a question, handing it over to be written, and the bounds of what waits. `redis`
//! and `rest` ask the database. Does not handle when two questions agree, nor what a sealed text is (see `questions`).
//! Fails for no caller: where the database is away or slow, nothing is found or kept, and that is counted.

mod milvus;
mod qdrant;
mod redis;
mod rest;
#[cfg(test)]
mod samples;
mod weaviate;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use super::vectors::{ScopeKey, Vector};
use crate::cache::queue::{self, queue};
use crate::cache::{Key, Which};
use crate::config::{VectorCache, VectorProvider};
use crate::observe::cache::{StoreCounts, StoreResult};
use crate::secret::{KeyHash, Secret};
use redis::Redis;
use rest::Rest;

/// As many of the nearest questions are asked for.
pub const MOST_NEAR: usize = 16;
/// Questions whose time has passed are removed so often.
const CLEANED_EVERY_SECONDS: i64 = 600;
/// How long a command may take for which no request waits.
const LONGEST_COMMAND: Duration = Duration::from_secs(5);

/// A question as it is written. Its texts are sealed, and its names are hashes.
#[derive(Clone, Debug)]
pub struct Record {
    /// What it is called.
    pub id: Key,
    /// Only questions of one scope are compared.
    pub scope: ScopeKey,
    /// Its vector.
    pub vector: Vector,
    /// Its tenant, rule and first request.
    pub names: Names,
    /// When it stops being used, in seconds since the Unix epoch.
    pub expires: i64,
    /// For how long that is, in seconds.
    pub ttl: u64,
    /// The text, sealed.
    pub text: Vec<u8>,
    /// The answer, sealed.
    pub value: Vec<u8>,
}

/// Hashes of the names by which questions are removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    tenant: String,
    rule: String,
    request: String,
}

/// A question that is near another one.
#[derive(Clone, Debug, PartialEq)]
pub struct Near {
    /// What it is called.
    pub id: Key,
    /// The cosine of the angle between the two vectors.
    pub similarity: f32,
    /// Its text, sealed.
    pub text: Vec<u8>,
}

/// What is looked for.
#[derive(Clone, Copy)]
struct Wanted<'w> {
    scope: &'w ScopeKey,
    vector: &'w Vector,
    threshold: f32,
    /// The time, in seconds since the Unix epoch.
    now: i64,
}

enum Database {
    Redis(Redis),
    Rest(Rest),
}

enum Order {
    Put(Box<Record>),
    Remove(Which),
    /// At this time, in seconds since the Unix epoch.
    RemoveExpired(i64),
}

/// A database of vectors. Its connection and its tasks end with it, once what is queued is written.
pub struct Store {
    written: VectorCache,
    database: Arc<Database>,
    orders: queue::Sender<Order>,
    counts: StoreCounts,
    /// When questions were last removed whose time has passed, in seconds since the Unix epoch.
    cleaned: AtomicI64,
}

impl Store {
    /// Begins to connect; `None` for questions in memory, or a URL that is none. To be called within a runtime.
    pub fn start(written: &VectorCache, counts: StoreCounts) -> Option<Self> {
        let url = written.url.as_ref()?;
        let key = written.api_key.as_ref();
        let database = match written.provider {
            VectorProvider::Memory => return None,
            VectorProvider::Redis => Database::Redis(Redis::new(url, counts.clone())?),
            VectorProvider::Qdrant => Database::Rest(Rest::new(&qdrant::API, url, key)),
            VectorProvider::Weaviate => Database::Rest(Rest::new(&weaviate::API, url, key)),
            VectorProvider::Milvus => Database::Rest(Rest::new(&milvus::API, url, key)),
        };
        let database = Arc::new(database);
        let (orders, queued) = queue();
        tokio::spawn(carry_out(Arc::clone(&database), queued, counts.clone()));
        Some(Self {
            written: written.clone(),
            database,
            orders,
            counts,
            cleaned: AtomicI64::default(),
        })
    }

    /// Whether it is the database that is written there.
    pub fn is_of(&self, written: &VectorCache) -> bool {
        let of = |written: &VectorCache| {
            let (url, key) = (written.url.as_ref(), written.api_key.as_ref());
            (written.provider, url.cloned(), key.cloned())
        };
        of(&self.written) == of(written)
    }

    /// Whether it is asked.
    pub fn is_up(&self) -> bool {
        match &*self.database {
            Database::Redis(redis) => redis.is_up(),
            Database::Rest(rest) => rest.is_up(),
        }
    }

    /// The nearest questions of a scope, the nearest first. May be dropped while it waits.
    pub async fn nearest(
        &self,
        scope: &ScopeKey,
        vector: &Vector,
        (threshold, now): (f32, i64),
        until: Instant,
    ) -> Result<Vec<Near>, StoreResult> {
        let wanted = Wanted {
            scope,
            vector,
            threshold,
            now,
        };
        let within = until.saturating_duration_since(Instant::now());
        let found = match &*self.database {
            Database::Redis(redis) => redis.nearest(&wanted, within).await,
            Database::Rest(rest) => rest.nearest(&wanted, within).await,
        };
        let mut near = found.inspect_err(|result| self.counts.count(*result))?;
        near.retain(|near| near.similarity >= threshold);
        near.sort_unstable_by(|one, other| other.similarity.total_cmp(&one.similarity));
        near.truncate(MOST_NEAR);
        if near.is_empty() {
            self.counts.count(StoreResult::Miss);
        }
        Ok(near)
    }

    /// The sealed answer of a question, of so many bytes at most.
    pub async fn answer(
        &self,
        id: &Key,
        vector: &Vector,
        most_bytes: usize,
        until: Instant,
    ) -> Result<Option<Vec<u8>>, StoreResult> {
        let within = until.saturating_duration_since(Instant::now());
        let dimension = vector.numbers().len();
        let found = match &*self.database {
            Database::Redis(redis) => redis.answer(id, dimension, most_bytes, within).await,
            Database::Rest(rest) => rest.answer(id, dimension, most_bytes, within).await,
        };
        self.counts.count(match &found {
            Ok(Some(_)) => StoreResult::Hit,
            Ok(None) => StoreResult::Miss,
            Err(result) => *result,
        });
        found
    }

    /// What is there cannot be used.
    pub fn is_damaged(&self) {
        self.counts.count(StoreResult::Damaged);
    }

    /// Hands a question over to be kept. At the bound of what waits it is dropped.
    pub fn put(&self, record: Record) {
        let weight = record.weight();
        if !self.orders.send(Order::Put(Box::new(record)), weight) {
            self.counts.count(StoreResult::Dropped);
        }
    }

    /// Removes questions, in the background and after what was handed over before. Tells whether that is going to be
    /// done: `false` where too much is waiting.
    pub fn remove(&self, which: Which) -> bool {
        self.orders.send(Order::Remove(which), 0)
    }
}

impl Store {
    /// Removes questions whose time has passed, in the background, at most so often. A database that removes them by
    /// itself is left alone.
    pub fn remove_expired(&self, now: i64) {
        let due = now - self.cleaned.load(Ordering::Relaxed) >= CLEANED_EVERY_SECONDS;
        if due && matches!(*self.database, Database::Rest(_)) {
            self.cleaned.store(now, Ordering::Relaxed);
            // Where too much waits, the next time will do.
            self.orders.send(Order::RemoveExpired(now), 0);
        }
    }
}

impl Record {
    fn weight(&self) -> usize {
        let numbers = size_of_val(self.vector.numbers());
        size_of::<Self>() + numbers + self.text.len() + self.value.len()
    }
}

impl Names {
    /// Of a question with these names.
    pub fn new(tenant: &str, rule: &str, request: &str) -> Self {
        Self {
            tenant: hashed(tenant),
            rule: hashed(rule),
            request: hashed(request),
        }
    }

    /// The members by which questions are looked up.
    fn members(&self) -> [(&'static str, &str); 3] {
        [
            ("tenant", &self.tenant),
            ("rule", &self.rule),
            ("request", &self.request),
        ]
    }
}

/// The members that those have which are to be removed, and their values; none for all.
fn members(which: &Which) -> Vec<(&'static str, String)> {
    let parts = [
        ("tenant", &which.tenant),
        ("rule", &which.rule),
        ("request", &which.id),
    ];
    let given = parts.into_iter();
    let given = given.filter_map(|(name, value)| Some((name, hashed(value.as_deref()?))));
    given.collect()
}

/// A name as it stands in the database: half of its SHA-256.
fn hashed(name: &str) -> String {
    format!("{:032x}", KeyHash::of(name.as_bytes()).first_half())
}

/// Carries out orders until none can be given any more.
async fn carry_out(
    database: Arc<Database>,
    mut orders: queue::Receiver<Order>,
    counts: StoreCounts,
) {
    let work = async {
        while let Some((order, _room)) = orders.next().await {
            match order {
                Order::Put(record) => {
                    let put = match &*database {
                        Database::Redis(redis) => redis.put(&record).await,
                        Database::Rest(rest) => rest.put(&record).await,
                    };
                    counts.count(put.map_or_else(|result| result, |()| StoreResult::Stored));
                }
                Order::RemoveExpired(now) => {
                    if let Database::Rest(rest) = &*database
                        && let Err(result) = rest.remove_expired(now).await
                    {
                        log::debug!(
                            "cache: questions whose time has passed stay: {}",
                            result.name()
                        );
                    }
                }
                Order::Remove(which) => {
                    let members = members(&which);
                    let removed = match &*database {
                        Database::Redis(redis) => redis.remove(&members).await,
                        Database::Rest(rest) => rest.remove(&members).await,
                    };
                    if let Err(result) = removed {
                        log::warn!(
                            "cache: questions may be left in the database of vectors that were to be removed \
                             ({which}), for it is away or slow: {}",
                            result.name()
                        );
                    }
                }
            }
        }
    };
    match &*database {
        Database::Redis(redis) => tokio::select! {
            () = work => {}
            () = redis.keep_connected() => {}
        },
        Database::Rest(_) => work.await,
    }
}

/// A key in the header of a request.
fn bearer(key: &Secret) -> String {
    format!("Bearer {}", key.expose())
}
