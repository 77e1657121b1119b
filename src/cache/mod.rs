//! Answers that may be given again, and requests that wait for the same one.
//!
//! This file owns the answers in memory: a bound on their bytes, how long each may be used, and which are removed by
//! hand. `key` is what they are kept under, `entry` what is kept, `flights` are equal requests at the same time,
//! `second` is a Redis that several nodes share, `meaning` has answers to questions that mean the same, `sealed` are
//! the bytes of an answer where it is not in memory as it is, `link` is a connection to a Redis, `breaker` whether
//! something that fails is asked, `removals` what was removed while it was asked for, `queue` what a shared store is
//! still to be told. Does not handle which answers are kept and which tenant may get them (see
//! `gateway::exchange::cache`). At the bound the entries that were used least give way; an answer that is too large for
//! it is not kept.

mod breaker;
mod entry;
mod flights;
mod key;
mod link;
pub mod meaning;
mod queue;
mod removals;
mod sealed;
mod second;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use quick_cache::sync::Cache as Kept;
use quick_cache::{DefaultHashBuilder, Lifecycle, OptionsBuilder, Weighter};

#[cfg(test)]
pub(crate) use entry::sample;
pub use entry::{Entry, Head};
pub use flights::{Bounds, Ended, Flights, Follower, Joined, Lead};
pub use key::{Key, KeyParts};
pub use removals::Removals;
pub use second::{Place, Scope, SecondLevel};

/// What is set aside for at the start. More entries are no mistake.
const FIRST_ENTRIES: usize = 1024;
/// An entry is no larger than a part of the memory. Parts are locked one by one.
const LEAST_PART_BYTES: u64 = 16 << 20;
const MOST_PARTS: u64 = 8;

/// Answers in memory.
pub struct Cache {
    kept: Kept<Key, Held, Weigh, DefaultHashBuilder, OnEvict>,
}

/// An entry, and the end of the time in which it may be used. A clock that is set changes nothing about that.
#[derive(Clone)]
struct Held {
    entry: Arc<Entry>,
    /// When it was looked for.
    asked: Instant,
    until: Instant,
    /// What it takes, counted once.
    weight: u64,
}

#[derive(Clone)]
struct Weigh;

impl Weighter<Key, Held> for Weigh {
    fn weight(&self, _key: &Key, held: &Held) -> u64 {
        held.weight
    }
}

/// Told of each entry that has given way to another.
type Evicted = Arc<dyn Fn(&Entry) + Send + Sync>;

#[derive(Clone)]
struct OnEvict(Evicted);

impl Lifecycle<Key, Held> for OnEvict {
    type RequestState = ();

    fn on_evict(&self, (): &mut Self::RequestState, _key: Key, held: Held) {
        (self.0)(&held.entry);
    }
}

/// Which entries are removed: those for which each part fits that is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Which {
    /// The tenant's id.
    pub tenant: Option<String>,
    /// The rule's label.
    pub rule: Option<String>,
    /// The id of the request that was answered first.
    pub id: Option<String>,
}

/// As in `answers of tenant "a", rule "m"`.
/// A value is quoted, so that it cannot look like a line of the log.
impl fmt::Display for Which {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [
            ("tenant", &self.tenant),
            ("rule", &self.rule),
            ("id", &self.id),
        ];
        let parts = parts
            .iter()
            .filter_map(|(name, value)| Some((name, value.as_ref()?)));
        let parts: Vec<String> = parts
            .map(|(name, value)| format!("{name} {value:?}"))
            .collect();
        match parts.is_empty() {
            true => f.write_str("all answers"),
            false => write!(f, "answers of {}", parts.join(", ")),
        }
    }
}

impl Which {
    fn has(&self, entry: &Entry) -> bool {
        let head = &entry.head;
        self.fits(&head.tenant, &head.rule, &head.id)
    }

    fn fits(&self, tenant: &str, rule: &str, id: &str) -> bool {
        let fits = |wanted: &Option<String>, has: &str| wanted.as_deref().is_none_or(|w| w == has);
        fits(&self.tenant, tenant) && fits(&self.rule, rule) && fits(&self.id, id)
    }
}

/// How full the memory is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fill {
    /// Entries, also those whose time has passed and that no request has looked up since.
    pub entries: usize,
    /// Bytes that they take.
    pub bytes: u64,
    /// The bound on these bytes.
    pub most_bytes: u64,
}

impl Cache {
    /// With a bound on its memory, in bytes. `evicted` is told of each entry that gives way to another.
    pub fn new(most_bytes: u64, evicted: impl Fn(&Entry) + Send + Sync + 'static) -> Self {
        let parts = (most_bytes / LEAST_PART_BYTES).clamp(1, MOST_PARTS);
        let mut options = OptionsBuilder::new();
        options
            .estimated_items_capacity(FIRST_ENTRIES)
            .weight_capacity(most_bytes)
            .shards(usize::try_from(parts).unwrap_or(1));
        // All that must be said has been.
        let options = options.build().unwrap_or_else(|_| unreachable!());
        let hasher = DefaultHashBuilder::default();
        Self {
            kept: Kept::with_options(options, Weigh, hasher, OnEvict(Arc::new(evicted))),
        }
    }

    /// Sets the bound anew. Entries above it give way.
    pub fn set_most_bytes(&self, bytes: u64) {
        if self.kept.capacity() != bytes {
            self.kept.set_capacity(bytes);
        }
    }

    /// The entry under a key, while it may be used.
    pub fn get(&self, key: &Key, now: Instant) -> Option<Arc<Entry>> {
        let held = self.kept.get(key)?;
        if held.until > now {
            return Some(held.entry);
        }
        self.kept.remove_if(key, |held| held.until <= now);
        None
    }

    /// Keeps an answer, in the place of one that was kept under the key before, unless that was looked for later.
    /// `times`: when it was looked for, and now. Tells whether it fits.
    pub fn put(&self, key: Key, entry: Entry, times: (Instant, Instant)) -> bool {
        let ttl = entry.ttl;
        self.put_for(key, entry, ttl, times)
    }

    /// The same, for the rest of its time.
    pub fn put_for(
        &self,
        key: Key,
        entry: Entry,
        ttl: Duration,
        (asked, now): (Instant, Instant),
    ) -> bool {
        let held = Held {
            weight: entry.weight() as u64,
            asked,
            until: now + ttl,
            entry: Arc::new(entry),
        };
        let is_newer = |other: Held| other.asked > asked && other.until > now;
        if self.kept.peek(&key).is_some_and(is_newer) {
            return true;
        }
        // One in whose place another is kept does not give way: it is not to be counted.
        self.kept.remove(&key);
        let fits = held.weight <= self.kept.shard_capacity();
        if fits {
            self.kept.insert(key, held);
        }
        fits
    }

    /// Removes entries. Tells how many. It looks at all of them.
    pub fn remove(&self, which: &Which) -> usize {
        self.remove_where(|held| which.has(&held.entry))
    }

    /// Removes the entries whose time has passed. Tells how many. It looks at all of them.
    pub fn remove_expired(&self, now: Instant) -> usize {
        self.remove_where(|held| held.until <= now)
    }

    fn remove_where(&self, goes: impl Fn(&Held) -> bool) -> usize {
        let mut removed = 0;
        // A lock is held for one entry at a time: a request never waits until all have been looked at.
        for (key, held) in self.kept.iter() {
            // Another may have taken its place by now.
            if goes(&held) && self.kept.remove_if(&key, &goes).is_some() {
                removed += 1;
            }
        }
        removed
    }

    /// How full it is.
    pub fn fill(&self) -> Fill {
        Fill {
            entries: self.kept.len(),
            bytes: self.kept.weight(),
            most_bytes: self.kept.capacity(),
        }
    }
}

#[cfg(test)]
mod tests;
