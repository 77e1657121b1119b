//! What is done with Redis in the background: answers are written and removed, in the order in which that was asked
//! for.
//!
//! Owns the bounds of what waits, and how long a command may take. Where Redis is to be left alone, answers are not
//! written, and that is counted. A removal is bounded as well: it goes through the names piece by piece, and reads the
//! values where their names do not say enough. One that fails is told in the log. Does not handle how Redis is asked
//! (see
//! `link`).

use std::sync::Arc;
use std::time::Duration;

use super::Inner;
use super::place::{self, Scope};
use crate::cache::queue::Receiver;
use crate::cache::sealed::Sealing;
use crate::cache::{Entry, Key, Which};
use crate::clock;
use crate::observe::cache::StoreResult;
use crate::workers::walk;

/// How long a command may take for which no request waits.
const LONGEST_COMMAND: Duration = Duration::from_secs(1);
/// Names that are asked for at a time.
const NAMES_AT_A_TIME: usize = 1000;
/// Pieces of one removal: ten billion names. A Redis that never comes to the end holds nothing up for ever.
const MOST_PIECES: usize = 10_000_000;
/// The largest value that is read to see whose it is. `max_answer` is smaller.
const MOST_BYTES: usize = 32 << 20;

/// Something to be done.
pub enum Order {
    /// Writes an answer.
    Put {
        /// To whom it may be given.
        scope: Scope,
        /// Its key.
        key: Key,
        /// The answer.
        entry: Entry,
    },
    /// Removes answers.
    Remove(Which),
}

/// Carries out orders until none can come any more, and keeps the connection for as long.
pub async fn carry_out(inner: Arc<Inner>, mut orders: Receiver<Order>) {
    let work = async {
        while let Some((order, _room)) = orders.next().await {
            match order {
                Order::Put { scope, key, entry } => {
                    let result = put(&inner, &scope, &key, &entry).await;
                    inner.link.counts.count(result);
                }
                Order::Remove(which) => tell(&which, remove(&inner, &which).await),
            }
        }
    };
    tokio::select! {
        () = work => {}
        () = inner.link.keep_connected() => {}
    }
}

async fn put(inner: &Inner, scope: &Scope, key: &Key, entry: &Entry) -> StoreResult {
    let Inner { link, sealing, .. } = inner;
    if !link.is_asked() {
        return StoreResult::Skipped;
    }
    let value = walk(entry.body.len(), || sealing.seal(key, entry));
    let remaining = entry.remaining(clock::now()).as_millis();
    let (Some(value), Ok(remaining @ 1..)) = (value, u64::try_from(remaining)) else {
        return StoreResult::Dropped;
    };
    let mut command = redis::cmd("SET");
    command.arg(place::name(scope, key)).arg(value);
    command.arg("PX").arg(remaining);
    match link.ask::<()>(&command, LONGEST_COMMAND).await {
        Ok(()) => StoreResult::Stored,
        Err(result) => result,
    }
}

/// Removes answers. Tells how many.
async fn remove(inner: &Inner, which: &Which) -> Result<u64, StoreResult> {
    let says_more = which.rule.is_some() || which.id.is_some();
    let Some(tenant) = &which.tenant else {
        return remove_in(inner, None, says_more.then_some(which)).await;
    };
    let scopes = [Scope::of(tenant), Scope::of("")];
    let [of_tenant, of_all] = &scopes;
    let removed = remove_in(inner, Some(of_tenant), says_more.then_some(which)).await?;
    // What it has asked for, and others may get.
    Ok(removed + remove_in(inner, Some(of_all), Some(which)).await?)
}

/// Removes the answers of a scope, or of all: all of them, or those that fit.
async fn remove_in(
    inner: &Inner,
    scope: Option<&Scope>,
    which: Option<&Which>,
) -> Result<u64, StoreResult> {
    let link = &inner.link;
    let pattern = place::pattern(scope);
    let (mut cursor, mut removed) = (0_u64, 0);
    for _ in 0..MOST_PIECES {
        let mut command = redis::cmd("SCAN");
        command.arg(cursor).arg("MATCH").arg(&pattern);
        command.arg("COUNT").arg(NAMES_AT_A_TIME);
        let found: (u64, Vec<Vec<u8>>) = link.ask(&command, LONGEST_COMMAND).await?;
        let (next, mut names) = found;
        if let Some(which) = which {
            names = those_that_fit(inner, which, names).await?;
        }
        if !names.is_empty() {
            let mut command = redis::cmd("UNLINK");
            command.arg(names);
            removed += link.ask::<u64>(&command, LONGEST_COMMAND).await?;
        }
        cursor = next;
        if cursor == 0 {
            break;
        }
    }
    Ok(removed)
}

/// The names whose values fit. What cannot be read is no answer of anybody: it is never given, and ends by itself.
async fn those_that_fit(
    inner: &Inner,
    which: &Which,
    names: Vec<Vec<u8>>,
) -> Result<Vec<Vec<u8>>, StoreResult> {
    let Inner { link, sealing, .. } = inner;
    let mut fit = Vec::new();
    for name in names {
        let (Some(key), Ok(text)) = (place::key_in(&name), std::str::from_utf8(&name)) else {
            continue;
        };
        let most_bytes = Sealing::most_bytes(MOST_BYTES);
        let value = match link.read(text, most_bytes, LONGEST_COMMAND).await {
            Ok(Some(value)) => value,
            Ok(None) | Err(StoreResult::Damaged) => continue,
            Err(result) => return Err(result),
        };
        let entry = walk(value.len(), || sealing.open(&key, &value, MOST_BYTES));
        if entry.is_ok_and(|entry| which.has(&entry)) {
            fit.push(name);
        }
    }
    Ok(fit)
}

fn tell(which: &Which, removed: Result<u64, StoreResult>) {
    match removed {
        Ok(removed) => log::info!("cache: {which} were removed from Redis: {removed} removed"),
        Err(result) => log::warn!(
            "cache: answers may be left in Redis that were to be removed ({which}), for it is away or slow: {}",
            result.name()
        ),
    }
}
