//! Questions that were answered, and answers to questions like them.
//!
//! Owns that an answer is given for another text only where a vector proposes it and the words agree, and the form in
//! which answers are kept: sealed, so that one is taken for nothing but what was kept with its question. Owns as well
//! whether vectors are asked for at all (`breaker`). Does not handle how a text becomes a vector, nor which requests
//! are compared (see `gateway::exchange::cache`). Fails with a [`Fault`], and the request goes on without.

use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;

use super::agreement::Reading;
use super::store::{Names, Near, Record, Store};
use super::vectors::{Bounds, FileError, MAX_ENTRIES, ScopeKey, Stored, TooLarge, Vector, Vectors};
use crate::cache::breaker::Breaker;
use crate::cache::sealed::Sealing;
use crate::cache::{Entry, Fill, Key, KeyParts, Which};
use crate::config::{VectorCache, VectorProvider};
use crate::observe::cache::StoreCounts;
use crate::openai::question::MAX_TEXT_BYTES;
use crate::secret::Secret;
use crate::workers::walk;

/// The most scopes whose questions are kept.
const MOST_SCOPES: usize = 65_536;
/// What the work on the vectors of a full scope is worth, in bytes that are read.
const SCAN_BYTES: usize = MAX_ENTRIES * 384 * size_of::<f32>();

/// A text that is compared.
#[derive(Clone, Debug)]
pub struct Question {
    /// Only questions of one scope are compared.
    pub scope: ScopeKey,
    /// The text.
    pub text: Box<str>,
    /// Its vector.
    pub vector: Vector,
}

/// Why there is no answer, or none is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The vectors have another dimension.
    Dimension,
    /// An answer that is kept cannot be read.
    Damaged,
    /// It is too large.
    TooLarge,
    /// The database of vectors is away, slow, or answers with an error.
    Store,
}

impl Fault {
    /// Its name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Dimension => "dimension",
            Self::Damaged => "damaged",
            Self::TooLarge => "too_large",
            Self::Store => "store_failed",
        }
    }
}

/// Questions with their answers.
pub struct Questions {
    kept: Kept,
    sealing: Sealing,
    encryption_key: Option<Secret>,
    /// Whether vectors are asked for.
    pub breaker: Breaker,
}

/// What keeps them.
enum Kept {
    Here(Vectors),
    Elsewhere(Store),
}

impl Questions {
    /// What is written. To be called within a runtime. `encryption_key`: what answers are encrypted with; in a
    /// database, the texts of questions, too.
    pub fn new(
        written: &VectorCache,
        encryption_key: Option<&Secret>,
        counts: StoreCounts,
    ) -> Self {
        let kept = match Store::start(written, counts) {
            Some(store) => Kept::Elsewhere(store),
            None => Kept::Here(Vectors::new(bounds(written.memory_bytes))),
        };
        Self::with(kept, encryption_key)
    }

    /// Those of a file, as far as they may still be used and fit.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn load(
        path: &Path,
        most_bytes: usize,
        encryption_key: Option<&Secret>,
        now: SystemTime,
    ) -> Result<Self, FileError> {
        let vectors = Vectors::load(path, bounds(most_bytes), seconds(now))?;
        Ok(Self::with(Kept::Here(vectors), encryption_key))
    }

    fn with(kept: Kept, encryption_key: Option<&Secret>) -> Self {
        Self {
            kept,
            sealing: Sealing::new(encryption_key),
            encryption_key: encryption_key.cloned(),
            breaker: Breaker::default(),
        }
    }

    /// Changes it to what is written now. Tells whether that can be done: not where questions are kept elsewhere, or
    /// were encrypted with another key.
    pub fn change(&self, written: &VectorCache, encryption_key: Option<&Secret>) -> bool {
        if self.encryption_key.as_ref() != encryption_key {
            return false;
        }
        match &self.kept {
            Kept::Here(vectors) if written.provider == VectorProvider::Memory => {
                vectors.set_most_bytes(written.memory_bytes);
                true
            }
            Kept::Here(_) => false,
            Kept::Elsewhere(store) => store.is_of(written),
        }
    }

    /// The answer to the nearest question that has at least this similarity and agrees in its words, if it comes in
    /// time. May be dropped while it waits.
    ///
    /// # Errors
    /// See [`Fault`].
    pub async fn similar(
        &self,
        question: &Question,
        threshold: f32,
        max_answer_bytes: usize,
        (now, until): (SystemTime, Instant),
    ) -> Result<Option<Entry>, Fault> {
        let found = match &self.kept {
            Kept::Here(vectors) => self.nearest(vectors, question, threshold, now)?,
            Kept::Elsewhere(store) => {
                self.nearest_in(store, question, threshold, max_answer_bytes, (now, until))
                    .await?
            }
        };
        let Some((key, sealed, similarity)) = found else {
            return Ok(None);
        };
        let opened = walk(sealed.len(), || {
            self.sealing.open(&key, &sealed, max_answer_bytes)
        });
        let entry = opened.map_err(|_| self.damaged())?;
        let entry = Some(entry).filter(|entry| !entry.remaining(now).is_zero());
        Ok(entry.map(|entry| Entry {
            similarity: Some(similarity),
            ..entry
        }))
    }

    /// The sealed answer to the nearest question that agrees, what it is sealed with, and its similarity.
    fn nearest(
        &self,
        vectors: &Vectors,
        question: &Question,
        threshold: f32,
        now: SystemTime,
    ) -> Result<Option<(Key, Bytes, f32)>, Fault> {
        let nearest = walk(SCAN_BYTES, || {
            let reading = Reading::of(&question.text);
            let agrees = |stored: &Stored| reading.compare(&Reading::of(&stored.text)).is_ok();
            let (scope, vector) = (&question.scope, &question.vector);
            vectors.nearest(scope, vector, threshold, seconds(now), agrees)
        });
        let nearest = nearest.map_err(|_| Fault::Dimension)?;
        Ok(nearest.map(|nearest| {
            let key = key(&question.scope, &nearest.stored.text);
            (key, nearest.stored.answer.clone(), nearest.similarity)
        }))
    }

    /// The same in a database.
    async fn nearest_in(
        &self,
        store: &Store,
        question: &Question,
        threshold: f32,
        max_answer_bytes: usize,
        (now, until): (SystemTime, Instant),
    ) -> Result<Option<(Key, Bytes, f32)>, Fault> {
        let Question { scope, vector, .. } = question;
        let near = store.nearest(scope, vector, (threshold, seconds(now)), until);
        let near = near.await.map_err(|_| Fault::Store)?;
        let reading = Reading::of(&question.text);
        let agreeing = near.iter().find(|near| {
            let text = self.text(scope, near);
            text.is_some_and(|text| reading.compare(&Reading::of(&text)).is_ok())
        });
        let Some(near) = agreeing else {
            return Ok(None);
        };
        let most_bytes = Sealing::most_bytes(max_answer_bytes);
        let answer = store.answer(&near.id, vector, most_bytes, until);
        let answer = answer.await.map_err(|_| Fault::Store)?;
        Ok(answer.map(|answer| (near.id, Bytes::from(answer), near.similarity)))
    }

    /// The text of a question in a database. It is what its name says, so another scope's is none.
    fn text(&self, scope: &ScopeKey, near: &Near) -> Option<String> {
        let opened = self
            .sealing
            .unwrap(&text_key(&near.id), &near.text, MAX_TEXT_BYTES);
        let text = opened.ok().and_then(|text| String::from_utf8(text).ok());
        let text = text.filter(|text| key(scope, text) == near.id);
        if text.is_none() {
            self.damaged();
        }
        text
    }

    /// What is kept cannot be used.
    fn damaged(&self) -> Fault {
        if let Kept::Elsewhere(store) = &self.kept {
            store.is_damaged();
        }
        Fault::Damaged
    }

    /// Keeps an answer to a question. What is kept elsewhere is written in the background.
    ///
    /// # Errors
    /// See [`Fault`].
    pub fn keep(&self, question: Question, entry: &Entry, now: SystemTime) -> Result<(), Fault> {
        let Question {
            scope,
            text,
            vector,
        } = question;
        let key = key(&scope, &text);
        let sealed = walk(entry.body.len(), || self.sealing.seal(&key, entry));
        let sealed = sealed.ok_or(Fault::TooLarge)?;
        let head = &entry.head;
        let remaining = entry.remaining(now);
        let expires = now.checked_add(remaining).map_or(i64::MAX, seconds);
        match &self.kept {
            Kept::Here(vectors) => {
                let stored = Stored {
                    tenant: (*head.tenant).into(),
                    rule: (*head.rule).into(),
                    id: head.id.clone(),
                    text,
                    answer: Bytes::from(sealed),
                    expires,
                };
                let kept = vectors.insert(scope, vector, stored);
                kept.map_err(|TooLarge| Fault::TooLarge)
            }
            Kept::Elsewhere(store) => {
                let sealed_text = self.sealing.wrap(&text_key(&key), text.as_bytes().to_vec());
                store.put(Record {
                    id: key,
                    scope,
                    vector,
                    names: Names::new(&head.tenant, &head.rule, &head.id),
                    expires,
                    ttl: remaining.as_secs(),
                    text: sealed_text.ok_or(Fault::TooLarge)?,
                    value: sealed,
                });
                Ok(())
            }
        }
    }

    /// Removes entries. Tells how many were here; it looks at all of them. Those that are kept elsewhere are removed in
    /// the background.
    pub fn remove(&self, which: &Which) -> usize {
        match &self.kept {
            Kept::Here(vectors) => {
                vectors.remove(|_, stored| which.fits(&stored.tenant, &stored.rule, &stored.id))
            }
            Kept::Elsewhere(store) => {
                if !store.remove(which.clone()) {
                    log::warn!(
                        "the database of vectors has too much to do: nothing is removed there"
                    );
                }
                0
            }
        }
    }

    /// Removes the entries whose time has passed. Tells how many. It looks at all of them.
    pub fn remove_expired(&self, now: SystemTime) -> usize {
        match &self.kept {
            Kept::Here(vectors) => vectors.remove_expired(seconds(now)),
            Kept::Elsewhere(store) => {
                store.remove_expired(seconds(now));
                0
            }
        }
    }

    /// How full the memory is; `None` where they are kept elsewhere.
    pub fn fill(&self) -> Option<Fill> {
        match &self.kept {
            Kept::Here(vectors) => Some(Fill {
                entries: vectors.len(),
                bytes: vectors.bytes() as u64,
                most_bytes: vectors.most_bytes() as u64,
            }),
            Kept::Elsewhere(_) => None,
        }
    }

    /// Whether the database is asked; `None` where they are kept here.
    pub fn is_up(&self) -> Option<bool> {
        match &self.kept {
            Kept::Here(_) => None,
            Kept::Elsewhere(store) => Some(store.is_up()),
        }
    }

    /// Writes all entries that are kept here to a file that its owner alone can read. Tells how many. The texts are not
    /// encrypted.
    ///
    /// # Errors
    /// What the system says.
    pub fn save(&self, path: &Path, now: SystemTime) -> Result<u64, FileError> {
        match &self.kept {
            Kept::Here(vectors) => vectors.save(path, seconds(now)),
            Kept::Elsewhere(_) => Ok(0),
        }
    }
}

fn bounds(bytes: usize) -> Bounds {
    Bounds {
        bytes,
        scopes: MOST_SCOPES,
        entries: MAX_ENTRIES,
    }
}

/// What the answer to a question is sealed with.
fn key(scope: &ScopeKey, text: &str) -> Key {
    let mut parts = KeyParts::new("tollgate question 1");
    parts.add(scope);
    parts.add(text.as_bytes());
    parts.finish()
}

/// What the text of a question is sealed with.
fn text_key(id: &Key) -> Key {
    let mut parts = KeyParts::new("tollgate question text 1");
    parts.add(&id.0);
    parts.finish()
}

/// Since the Unix epoch; a clock before it counts as there.
fn seconds(time: SystemTime) -> i64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    i64::try_from(since.unwrap_or(Duration::ZERO).as_secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::sample;

    const MOST: usize = 1 << 20;

    fn entry(body: &'static str, now: SystemTime) -> Entry {
        Entry {
            stored: now,
            ..sample("a", body)
        }
    }

    fn questions(key: Option<&Secret>) -> Questions {
        Questions::with(Kept::Here(Vectors::new(bounds(MOST))), key)
    }

    fn question(scope: u8, text: &str, numbers: &[f32]) -> Question {
        Question {
            scope: [scope; 32],
            text: text.into(),
            vector: Vector::new(numbers).unwrap(),
        }
    }

    #[tokio::test]
    async fn an_answer_is_given_where_vector_and_words_agree() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_790_000_000);
        let questions = questions(None);
        let kept = question(1, "How do I reset my password?", &[1.0, 0.0]);
        questions.keep(kept, &entry("{}", now), now).unwrap();
        let similar = async |scope, text, numbers: &[f32], threshold, now| {
            let asked = question(scope, text, numbers);
            let times = (now, Instant::now());
            questions.similar(&asked, threshold, MOST, times).await
        };
        let near: &[f32] = &[0.99, 0.1];
        let text = "How can I reset my password?";
        let found = similar(1, text, near, 0.9, now).await.unwrap().unwrap();
        assert_eq!(&*found.body, b"{}");
        assert!(found.similarity.unwrap() > 0.99);
        assert_eq!(
            similar(2, text, near, 0.9, now).await,
            Ok(None),
            "another scope"
        );
        assert_eq!(
            similar(1, text, near, 0.999, now).await,
            Ok(None),
            "too far"
        );
        let negated = "How do I not reset my password?";
        assert_eq!(similar(1, negated, near, 0.9, now).await, Ok(None));
        let other = similar(1, text, &[1.0, 0.0, 0.0], 0.9, now).await;
        assert_eq!(other, Err(Fault::Dimension));
        let later = now + Duration::from_secs(61);
        assert_eq!(
            similar(1, text, near, 0.9, later).await,
            Ok(None),
            "its time"
        );
        assert_eq!(
            (
                questions.remove_expired(later),
                questions.fill().unwrap().entries
            ),
            (1, 0)
        );
    }

    #[test]
    fn entries_are_removed_by_tenant_rule_and_id() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_790_000_000);
        let questions = questions(None);
        let kept = question(1, "Where is the invoice?", &[1.0, 0.0]);
        questions.keep(kept, &entry("{}", now), now).unwrap();
        let tenant = |id: &str| Which {
            tenant: Some(id.to_owned()),
            ..Which::default()
        };
        assert_eq!(questions.remove(&tenant("b")), 0);
        assert_eq!(questions.remove(&tenant("a")), 1);
    }

    #[tokio::test]
    async fn what_was_encrypted_with_another_key_is_damaged() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_790_000_000);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("questions");
        let key = |byte: &str| Secret::new(byte.repeat(32));
        let questions = questions(Some(&key("0f")));
        let kept = question(1, "Where is the invoice?", &[1.0, 0.0]);
        questions
            .keep(kept.clone(), &entry("secret", now), now)
            .unwrap();
        assert_eq!(questions.save(&path, now).unwrap(), 1);
        let written = std::fs::read(&path).unwrap();
        assert!(!written.windows(6).any(|bytes| bytes == b"secret"));
        let load = |key: &Secret| Questions::load(&path, MOST, Some(key), now).unwrap();
        let similar = async |questions: Questions| {
            let times = (now, Instant::now());
            questions.similar(&kept, 0.9, MOST, times).await
        };
        assert!(similar(load(&key("0f"))).await.unwrap().is_some());
        assert_eq!(similar(load(&key("0e"))).await, Err(Fault::Damaged));
    }
}
