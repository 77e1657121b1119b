//! Keeping an answer, so that it can be given again.
//!
//! Owns what is known of a request for that, from the step that looks for an answer to its settlement: an answer is
//! kept once it is whole, and before its last byte is written, so that a client that asks again at once finds it. Does
//! not handle which requests there are (see `exchange::cache`), nor where answers are kept, in memory and for other
//! nodes (see `cache`). What cannot be kept is counted.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::recording::Recorded;
use crate::cache::meaning::{Fault, Question, Questions};
use crate::cache::{Entry, Head, Key, Place};
use crate::clock;
use crate::openai::endpoint::Exchange;
use crate::openai::reusable::{self, Said};
use crate::openai::usage::Usage;
use crate::runtime::Shared;
use crate::workers::walk;

/// Why an answer is not kept, beside what it says.
const TOO_LARGE: &str = "too_large";

/// What keeps an answer, once it is whole.
pub struct Storing {
    /// Under which key.
    pub key: Key,
    /// When it was looked for.
    pub asked_at: Instant,
    /// For how long.
    pub ttl: Duration,
    /// Where it is kept for other nodes too.
    pub place: Option<Place>,
    /// Whether it may call tools.
    pub tools: bool,
    /// The endpoint that was asked.
    pub endpoint: &'static Exchange,
    /// What was known of it when it began.
    pub head: Option<Arc<Head>>,
    /// The question that it answers, where questions are compared.
    pub asked: Option<Asked>,
}

/// A question that is kept with its answer.
pub struct Asked {
    /// It, with its vector.
    pub question: Question,
    /// What keeps it.
    pub questions: Arc<Questions>,
    /// For how long; `None` for as long as the answer.
    pub ttl: Option<Duration>,
}

/// An answer that was given again.
pub struct Reused {
    /// What was known of it when it began.
    pub head: Arc<Head>,
    /// What it has used, where that is known.
    pub usage: Option<Usage>,
}

impl Storing {
    /// Keeps a whole answer.
    pub fn store(self, shared: &Shared, recorded: Recorded, usage: Option<&Usage>) {
        let Some(head) = self.head.clone() else {
            return;
        };
        let rule = head.rule.clone();
        if let Err(reason) = self.put(shared, head, recorded, usage) {
            shared.metrics.cache().not_stored(&rule, reason);
        }
    }

    fn put(
        self,
        shared: &Shared,
        head: Arc<Head>,
        recorded: Recorded,
        usage: Option<&Usage>,
    ) -> Result<(), &'static str> {
        let body = recorded.body.ok_or(TOO_LARGE)?;
        let said = Said {
            body: &body,
            is_stream: head.is_stream,
            is_answer: recorded.is_answer,
        };
        let fit = walk(body.len(), || {
            reusable::answer(self.endpoint, said, self.tools)
        });
        fit.map_err(reusable::Refused::name)?;
        let entry = Entry {
            head,
            body,
            usage: usage.cloned(),
            stored: clock::now(),
            ttl: self.ttl,
            similarity: None,
        };
        let head = Arc::clone(&entry.head);
        let kept = shared
            .removals
            .unless_removed(self.asked_at, &head, || self.keep(shared, entry));
        // What was removed is not wanted.
        kept.unwrap_or(Ok(()))
    }

    fn keep(self, shared: &Shared, entry: Entry) -> Result<(), &'static str> {
        let question = self.asked.map(|asked| (asked, entry.clone()));
        let elsewhere = self.place.map(|place| (place, entry.clone()));
        if !shared
            .cache
            .put(self.key, entry, (self.asked_at, Instant::now()))
        {
            return Err(TOO_LARGE);
        }
        if let Some((place, entry)) = elsewhere {
            place.put(entry);
        }
        match question {
            Some((asked, entry)) => asked.keep(entry),
            None => Ok(()),
        }
    }
}

impl Asked {
    fn keep(self, entry: Entry) -> Result<(), &'static str> {
        let entry = Entry {
            ttl: self.ttl.unwrap_or(entry.ttl),
            ..entry
        };
        let kept = self.questions.keep(self.question, &entry, clock::now());
        kept.map_err(Fault::name)
    }
}
