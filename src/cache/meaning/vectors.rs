//! Questions as vectors, with their answers, in memory.
//!
//! Owns the entries of each scope, the exact search for the nearest one, and the bounds: at a bound, the
//! oldest entries leave. Does not handle how a text becomes a vector, nor what an answer is: its bytes are
//! the caller's. `vector` has the arithmetic, `file` keeps the entries from one start to the next. Fails with
//! a [`VectorError`] or a [`FileError`].
//!
//! A search compares with every entry of its scope, because that takes less time than asking for the vector
//! did, finds the nearest without exception, and makes removal simple. It holds no lock: it has the scope as
//! it was when the search began, and a change meanwhile copies the list of entries, not the entries.

mod file;
#[cfg(test)]
mod tests;
mod vector;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;

pub use file::{FORMAT_VERSION, FileError};
pub use vector::{MAX_DIMENSIONS, Vector, VectorError};

/// What entries must share to be compared: a hash of everything but the text. It must cover the embedding
/// model as well, because vectors of two models have nothing to do with each other.
pub type ScopeKey = [u8; 32];

/// The most entries of a scope.
pub const MAX_ENTRIES: usize = 4096;

/// As many of the nearest entries are shown to the caller until it accepts one.
pub const MAX_CANDIDATES: usize = 16;

/// What an entry takes besides its vector and its texts: the two records, their counts of references, and
/// places in the lists.
const ENTRY_BYTES: usize = size_of::<Entry>() + size_of::<Stored>() + 64;

/// What a scope takes besides its entries.
const SCOPE_BYTES: usize = 256;

/// How much is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// The most bytes of all entries, their vectors and answers included.
    pub bytes: usize,
    /// The most scopes.
    pub scopes: usize,
    /// The most entries of a scope, of [`MAX_ENTRIES`] at most.
    pub entries: usize,
}

/// A question that was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Whose question it was.
    pub tenant: Arc<str>,
    /// The model rule that served it.
    pub rule: Arc<str>,
    /// What the entry is called when one is to be removed.
    pub id: Box<str>,
    /// The text that was embedded.
    pub text: Box<str>,
    /// The answer, in a form of the caller's.
    pub answer: Bytes,
    /// When it stops being used, in seconds since the Unix epoch.
    pub expires: i64,
}

/// The nearest entry that the caller accepts.
#[derive(Clone, Debug, PartialEq)]
pub struct Nearest {
    /// The entry.
    pub stored: Arc<Stored>,
    /// The cosine of the angle between the two vectors, from -1 to 1.
    pub similarity: f32,
}

/// An entry is larger than everything that may be kept, or nothing may be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLarge;

/// All entries.
#[derive(Debug)]
pub struct Vectors {
    most_bytes: AtomicUsize,
    bounds: Bounds,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    scopes: HashMap<ScopeKey, Arc<Scope>>,
    /// The scopes by the number of their oldest entry.
    by_oldest: BTreeMap<u64, ScopeKey>,
    /// The scopes by the number of their newest entry.
    by_newest: BTreeMap<u64, ScopeKey>,
    /// The number of the next entry.
    next: u64,
    bytes: usize,
    entries: usize,
}

/// The entries of one scope, the oldest first. None is empty.
#[derive(Clone, Debug, Default)]
struct Scope {
    entries: VecDeque<Arc<Entry>>,
    bytes: usize,
}

#[derive(Debug)]
struct Entry {
    /// Later entries have larger numbers.
    number: u64,
    vector: Vector,
    stored: Arc<Stored>,
}

impl Vectors {
    /// None yet.
    pub fn new(bounds: Bounds) -> Self {
        let entries = bounds.entries.min(MAX_ENTRIES);
        Self {
            most_bytes: AtomicUsize::new(bounds.bytes),
            bounds: Bounds { entries, ..bounds },
            inner: Mutex::default(),
        }
    }

    /// Keeps an entry, in place of one of the same scope and text. The oldest entries leave where the scope or
    /// the whole would be too large; the scope to which nothing was added for the longest time leaves where
    /// there would be too many. Entries of the scope whose vectors have another dimension leave, since none that comes
    /// can be compared with them.
    ///
    /// # Errors
    /// Nothing has changed then, see [`TooLarge`].
    pub fn insert(&self, scope: ScopeKey, vector: Vector, stored: Stored) -> Result<(), TooLarge> {
        let bytes = SCOPE_BYTES + bytes_of(&vector, &stored);
        let most_bytes = self.most_bytes();
        if bytes > most_bytes || self.bounds.entries == 0 || self.bounds.scopes == 0 {
            return Err(TooLarge);
        }
        let mut inner = self.inner.lock();
        let is_comparable = |entry: &Entry| entry.vector.check_dimension(&vector).is_ok();
        inner.change(scope, |scope| {
            scope.retain(|entry| entry.stored.text != stored.text && is_comparable(entry));
            while scope.entries.len() >= self.bounds.entries {
                scope.remove_oldest();
            }
        });
        if !inner.scopes.contains_key(&scope) && inner.scopes.len() >= self.bounds.scopes {
            inner.remove_idle_scope();
        }
        while inner.bytes + bytes > most_bytes && inner.remove_oldest() {}
        let number = inner.next;
        inner.next += 1;
        let stored = Arc::new(stored);
        let entry = Entry {
            number,
            vector,
            stored,
        };
        inner.change(scope, |scope| scope.add(entry));
        Ok(())
    }

    /// The nearest entry of a scope that is not expired, has at least this similarity, and is accepted. Of the
    /// nearest, [`MAX_CANDIDATES`] are shown to `accept`, the nearest first.
    ///
    /// # Errors
    /// The vector has another dimension than those of the scope.
    pub fn nearest(
        &self,
        scope: &ScopeKey,
        vector: &Vector,
        threshold: f32,
        now: i64,
        accept: impl Fn(&Stored) -> bool,
    ) -> Result<Option<Nearest>, VectorError> {
        let found = self.inner.lock().scopes.get(scope).map(Arc::clone);
        let Some(scope) = found else {
            return Ok(None);
        };
        let mut near = Vec::new();
        for entry in &scope.entries {
            entry.vector.check_dimension(vector)?;
            let similarity = entry.vector.similarity(vector);
            if similarity >= threshold && entry.stored.expires > now {
                near.push((similarity, entry));
            }
        }
        // Of two that are equally near, the newer.
        near.sort_unstable_by(|(a, one), (b, other)| {
            b.total_cmp(a).then(other.number.cmp(&one.number))
        });
        let mut candidates = near.into_iter().take(MAX_CANDIDATES);
        let accepted = candidates.find(|(_, entry)| accept(&entry.stored));
        Ok(accepted.map(|(similarity, entry)| Nearest {
            stored: Arc::clone(&entry.stored),
            similarity,
        }))
    }

    /// Removes the entries for which this holds, and says how many there were. Holds the lock meanwhile.
    pub fn remove(&self, is_unwanted: impl Fn(&ScopeKey, &Stored) -> bool) -> usize {
        let mut inner = self.inner.lock();
        let before = inner.entries;
        let scopes: Vec<ScopeKey> = inner.scopes.keys().copied().collect();
        for scope in scopes {
            inner.change(scope, |entries| {
                entries.retain(|entry| !is_unwanted(&scope, &entry.stored));
            });
        }
        before - inner.entries
    }

    /// Removes the entries that have expired, and says how many there were. To be called from time to time:
    /// until then they are not found, but take room.
    pub fn remove_expired(&self, now: i64) -> usize {
        self.remove(|_, stored| stored.expires <= now)
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.inner.lock().entries
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many scopes have entries.
    pub fn scopes(&self) -> usize {
        self.inner.lock().scopes.len()
    }

    /// The bytes of all entries, as far as they are counted: not what an allocator adds.
    pub fn bytes(&self) -> usize {
        self.inner.lock().bytes
    }

    /// The most bytes of all entries.
    pub fn most_bytes(&self) -> usize {
        self.most_bytes.load(Ordering::Relaxed)
    }

    /// Sets this bound anew. The oldest entries above it leave.
    pub fn set_most_bytes(&self, bytes: usize) {
        self.most_bytes.store(bytes, Ordering::Relaxed);
        let mut inner = self.inner.lock();
        while inner.bytes > bytes && inner.remove_oldest() {}
    }

    /// All entries, the oldest first.
    fn all(&self) -> Vec<(ScopeKey, Arc<Entry>)> {
        let inner = self.inner.lock();
        let scopes = inner.scopes.iter();
        let mut all: Vec<_> = scopes
            .flat_map(|(key, scope)| scope.entries.iter().map(|e| (*key, Arc::clone(e))))
            .collect();
        drop(inner);
        all.sort_unstable_by_key(|(_, entry)| entry.number);
        all
    }
}

impl Inner {
    /// Changes the entries of a scope, which may have none before or behind it. The one place where they
    /// change, so that all counts agree with them.
    fn change(&mut self, key: ScopeKey, change: impl FnOnce(&mut Scope)) {
        let mut scope = self.scopes.remove(&key).unwrap_or_default();
        self.count_out(&scope);
        change(Arc::make_mut(&mut scope));
        if self.count_in(key, &scope) {
            self.scopes.insert(key, scope);
        }
    }

    fn count_out(&mut self, scope: &Scope) {
        if let (Some(oldest), Some(newest)) = (scope.entries.front(), scope.entries.back()) {
            self.by_oldest.remove(&oldest.number);
            self.by_newest.remove(&newest.number);
            self.entries -= scope.entries.len();
            self.bytes -= SCOPE_BYTES + scope.bytes;
        }
    }

    /// Counts a scope; not where it has no entries.
    fn count_in(&mut self, key: ScopeKey, scope: &Scope) -> bool {
        let ends = (scope.entries.front(), scope.entries.back());
        if let (Some(oldest), Some(newest)) = ends {
            self.by_oldest.insert(oldest.number, key);
            self.by_newest.insert(newest.number, key);
            self.entries += scope.entries.len();
            self.bytes += SCOPE_BYTES + scope.bytes;
        }
        !scope.entries.is_empty()
    }

    /// Removes the oldest entry; `false` where there is none.
    fn remove_oldest(&mut self) -> bool {
        let Some(key) = self.by_oldest.values().next().copied() else {
            return false;
        };
        self.change(key, Scope::remove_oldest);
        true
    }

    /// Removes the scope to which nothing was added for the longest time.
    fn remove_idle_scope(&mut self) {
        if let Some(key) = self.by_newest.values().next().copied() {
            self.change(key, |scope| *scope = Scope::default());
        }
    }
}

impl Scope {
    fn add(&mut self, entry: Entry) {
        self.bytes += entry.bytes();
        self.entries.push_back(Arc::new(entry));
    }

    fn remove_oldest(&mut self) {
        if let Some(oldest) = self.entries.pop_front() {
            self.bytes -= oldest.bytes();
        }
    }

    fn retain(&mut self, is_wanted: impl Fn(&Entry) -> bool) {
        let bytes = &mut self.bytes;
        self.entries.retain(|entry| {
            let stays = is_wanted(entry);
            if !stays {
                *bytes -= entry.bytes();
            }
            stays
        });
    }
}

impl Entry {
    fn bytes(&self) -> usize {
        bytes_of(&self.vector, &self.stored)
    }
}

/// What an entry takes.
fn bytes_of(vector: &Vector, stored: &Stored) -> usize {
    ENTRY_BYTES
        + vector.bytes()
        + stored.text.len()
        + stored.answer.len()
        + stored.id.len()
        + stored.tenant.len()
        + stored.rule.len()
}
