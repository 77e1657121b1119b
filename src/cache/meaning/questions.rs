//! Questions that were answered, and answers to questions like them.
//!
//! Owns that an answer is given for another text only where a vector proposes it and the words agree, and the form in
//! which answers are kept: sealed, so that one is taken for nothing but what was kept with its question. Owns as well
//! whether vectors are asked for at all (`breaker`). Does not handle how a text becomes a vector, nor which requests are
//! compared (see `gateway::exchange::cache`). Fails with a [`Fault`], and the request goes on without.

use std::path::Path;
use std::time::{Duration, SystemTime};

use bytes::Bytes;

use super::agreement::Reading;
use super::vectors::{
    Bounds, FileError, InsertError, MAX_ENTRIES, ScopeKey, Stored, Vector, Vectors,
};
use crate::cache::breaker::Breaker;
use crate::cache::sealed::Sealing;
use crate::cache::{Entry, Fill, Key, KeyParts, Which};
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
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Dimension, Self::Damaged, Self::TooLarge];

    /// Its name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Dimension => "dimension",
            Self::Damaged => "damaged",
            Self::TooLarge => "too_large",
        }
    }
}

/// Questions with their answers.
pub struct Questions {
    vectors: Vectors,
    sealing: Sealing,
    encryption_key: Option<Secret>,
    /// Whether vectors are asked for.
    pub breaker: Breaker,
}

impl Questions {
    /// None yet, within so many bytes. `encryption_key`: what answers are encrypted with.
    pub fn new(most_bytes: usize, encryption_key: Option<&Secret>) -> Self {
        Self::with(Vectors::new(bounds(most_bytes)), encryption_key)
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
        Ok(Self::with(vectors, encryption_key))
    }

    fn with(vectors: Vectors, encryption_key: Option<&Secret>) -> Self {
        Self {
            vectors,
            sealing: Sealing::new(encryption_key),
            encryption_key: encryption_key.cloned(),
            breaker: Breaker::default(),
        }
    }

    /// Whether it has the answers that were encrypted with this key.
    pub fn is_with(&self, encryption_key: Option<&Secret>) -> bool {
        self.encryption_key.as_ref() == encryption_key
    }

    /// Sets the bound on the memory anew. The oldest entries above it leave.
    pub fn set_most_bytes(&self, bytes: usize) {
        self.vectors.set_most_bytes(bytes);
    }

    /// The answer to the nearest question that has at least this similarity and agrees in its words.
    ///
    /// # Errors
    /// See [`Fault`].
    pub fn similar(
        &self,
        question: &Question,
        threshold: f32,
        max_answer_bytes: usize,
        now: SystemTime,
    ) -> Result<Option<Entry>, Fault> {
        let nearest = walk(SCAN_BYTES, || {
            let reading = Reading::of(&question.text);
            let agrees = |stored: &Stored| reading.compare(&Reading::of(&stored.text)).is_ok();
            let (scope, vector) = (&question.scope, &question.vector);
            self.vectors
                .nearest(scope, vector, threshold, seconds(now), agrees)
        });
        let Some(nearest) = nearest.map_err(|_| Fault::Dimension)? else {
            return Ok(None);
        };
        let key = key(&question.scope, &nearest.stored.text);
        let sealed = &nearest.stored.answer;
        let opened = walk(sealed.len(), || {
            self.sealing.open(&key, sealed, max_answer_bytes)
        });
        let entry = opened.map_err(|_| Fault::Damaged)?;
        Ok(Some(Entry {
            similarity: Some(nearest.similarity),
            ..entry
        }))
    }

    /// Keeps an answer to a question.
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
        let head = &entry.head;
        let expires = now
            .checked_add(entry.remaining(now))
            .map_or(i64::MAX, seconds);
        let stored = Stored {
            tenant: (*head.tenant).into(),
            rule: (*head.rule).into(),
            id: head.id.clone(),
            text,
            answer: Bytes::from(sealed.ok_or(Fault::TooLarge)?),
            expires,
        };
        self.vectors
            .insert(scope, vector, stored)
            .map_err(|error| match error {
                InsertError::Vector(_) => Fault::Dimension,
                InsertError::TooLarge => Fault::TooLarge,
            })
    }

    /// Removes entries. Tells how many. It looks at all of them.
    pub fn remove(&self, which: &Which) -> usize {
        self.vectors
            .remove(|_, stored| which.fits(&stored.tenant, &stored.rule, &stored.id))
    }

    /// Removes the entries whose time has passed. Tells how many. It looks at all of them.
    pub fn remove_expired(&self, now: SystemTime) -> usize {
        self.vectors.remove_expired(seconds(now))
    }

    /// How full it is.
    pub fn fill(&self) -> Fill {
        Fill {
            entries: self.vectors.len(),
            bytes: self.vectors.bytes() as u64,
            most_bytes: self.vectors.most_bytes() as u64,
        }
    }

    /// Writes all entries to a file that its owner alone can read. Tells how many. The texts are not encrypted.
    ///
    /// # Errors
    /// What the system says.
    pub fn save(&self, path: &Path, now: SystemTime) -> Result<u64, FileError> {
        self.vectors.save(path, seconds(now))
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

/// Since the Unix epoch; a clock before it counts as there.
fn seconds(time: SystemTime) -> i64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    i64::try_from(since.unwrap_or(Duration::ZERO).as_secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::cache::Head;
    use crate::openai::rewrite::Rewrites;

    const MOST: usize = 1 << 20;

    fn entry(body: &str, now: SystemTime) -> Entry {
        let head = Head {
            tenant: "a".into(),
            rule: "m".into(),
            id: "r1".into(),
            content_type: "application/json".into(),
            is_stream: false,
            rewrites: Rewrites::default(),
            upstream: "far".into(),
            model: "m".into(),
        };
        Entry {
            head: Arc::new(head),
            body: Bytes::copy_from_slice(body.as_bytes()),
            usage: None,
            stored: now,
            ttl: Duration::from_secs(60),
            similarity: None,
        }
    }

    fn question(scope: u8, text: &str, numbers: &[f32]) -> Question {
        Question {
            scope: [scope; 32],
            text: text.into(),
            vector: Vector::new(numbers).unwrap(),
        }
    }

    #[test]
    fn an_answer_is_given_where_vector_and_words_agree() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_790_000_000);
        let questions = Questions::new(MOST, None);
        let kept = question(1, "How do I reset my password?", &[1.0, 0.0]);
        questions.keep(kept, &entry("{}", now), now).unwrap();
        let similar = |scope, text, numbers: &[f32], threshold, now| {
            questions.similar(&question(scope, text, numbers), threshold, MOST, now)
        };
        let near: &[f32] = &[0.99, 0.1];
        let text = "How can I reset my password?";
        let found = similar(1, text, near, 0.9, now).unwrap().unwrap();
        assert_eq!(&*found.body, b"{}");
        assert!(found.similarity.unwrap() > 0.99);
        assert_eq!(similar(2, text, near, 0.9, now), Ok(None), "another scope");
        assert_eq!(similar(1, text, near, 0.999, now), Ok(None), "too far");
        let negated = "How do I not reset my password?";
        assert_eq!(similar(1, negated, near, 0.9, now), Ok(None));
        let other = similar(1, text, &[1.0, 0.0, 0.0], 0.9, now);
        assert_eq!(other, Err(Fault::Dimension));
        let later = now + Duration::from_secs(61);
        assert_eq!(similar(1, text, near, 0.9, later), Ok(None), "its time");
        assert_eq!(
            (questions.remove_expired(later), questions.fill().entries),
            (1, 0)
        );
    }

    #[test]
    fn entries_are_removed_by_tenant_rule_and_id() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_790_000_000);
        let questions = Questions::new(MOST, None);
        let kept = question(1, "Where is the invoice?", &[1.0, 0.0]);
        questions.keep(kept, &entry("{}", now), now).unwrap();
        let tenant = |id: &str| Which {
            tenant: Some(id.to_owned()),
            ..Which::default()
        };
        assert_eq!(questions.remove(&tenant("b")), 0);
        assert_eq!(questions.remove(&tenant("a")), 1);
    }

    #[test]
    fn what_was_encrypted_with_another_key_is_damaged() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_790_000_000);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("questions");
        let key = |byte: &str| Secret::new(byte.repeat(32));
        let questions = Questions::new(MOST, Some(&key("0f")));
        let kept = question(1, "Where is the invoice?", &[1.0, 0.0]);
        questions
            .keep(kept.clone(), &entry("secret", now), now)
            .unwrap();
        assert_eq!(questions.save(&path, now).unwrap(), 1);
        let written = std::fs::read(&path).unwrap();
        assert!(!written.windows(6).any(|bytes| bytes == b"secret"));
        let load = |key: &Secret| Questions::load(&path, MOST, Some(key), now).unwrap();
        let similar = |questions: &Questions| questions.similar(&kept, 0.9, MOST, now);
        assert!(similar(&load(&key("0f"))).unwrap().is_some());
        assert_eq!(similar(&load(&key("0e"))), Err(Fault::Damaged));
    }
}
