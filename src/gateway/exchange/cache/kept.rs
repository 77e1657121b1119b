//! Answers that are kept: finding them, and giving them.
//!
//! Owns whether one may be given: to this request, with what is configured now. Does not handle what is looked at first
//! (see the parent), nor the form in which it is given (see `replay`). Fails where the client leaves.

use std::time::Instant;

use super::{Found, From, Looking, May, replay, reuse_in};
use crate::cache::Entry;
use crate::clock;
use crate::gateway::context::Context;
use crate::gateway::exchange::requester::Requester;
use crate::gateway::failure::Failure;
use crate::observe::cache::CacheResult;
use crate::openai::usage::Usage;

impl Looking<'_> {
    /// An answer in memory.
    pub(super) async fn kept(&self, context: &mut Context, may: &May) -> Option<Box<Found>> {
        if may.says.no_cache {
            return None;
        }
        may.stores?;
        let entry = self.shared.cache.get(&may.key, Instant::now())?;
        if !self.may_mean(context, &entry) {
            return None;
        }
        self.give(context, may, &entry).await
    }

    /// Whether an answer may be given by what is configured now: one that was given by meaning, while its similarity is
    /// enough.
    fn may_mean(&self, context: &Context, entry: &Entry) -> bool {
        let Some(similarity) = entry.similarity else {
            return true;
        };
        let compares = self.rule.reuse.as_ref().is_some_and(|r| r.by_meaning);
        let by_meaning = context.runtime.by_meaning.as_ref().filter(|_| compares);
        by_meaning.is_some_and(|by_meaning| similarity >= by_meaning.threshold)
    }

    /// An answer in the second level. It is in memory from then on.
    pub(super) async fn kept_elsewhere(
        &self,
        requester: &mut Requester<'_>,
        context: &mut Context,
        may: &May,
    ) -> Result<Option<Box<Found>>, Failure> {
        let Some(place) = may.place.as_ref().filter(|_| !may.says.no_cache) else {
            return Ok(None);
        };
        let most_bytes = context.runtime.settings.cache.max_answer_bytes;
        let asking = place.get(most_bytes);
        let Some(entry) = requester.wait(context, asking).await? else {
            return Ok(None);
        };
        self.remember(may, &entry);
        Ok(self.give(context, may, &entry).await)
    }

    /// Has an answer in memory that was found elsewhere, unless it has been removed since.
    pub(super) fn remember(&self, may: &May, entry: &Entry) {
        let remaining = entry.remaining(clock::now());
        let memory = &self.shared.cache;
        let keep = || {
            memory.put_for(
                may.key,
                entry.clone(),
                remaining,
                (may.since, Instant::now()),
            )
        };
        self.shared
            .removals
            .unless_removed(may.since, &entry.head, keep);
    }

    /// Gives an answer that is kept, unless the request asks for more than that, or the configuration for a newer one.
    pub(super) async fn give(
        &self,
        context: &mut Context,
        may: &May,
        entry: &Entry,
    ) -> Option<Box<Found>> {
        let age = entry.age(clock::now());
        let by_meaning = context.runtime.by_meaning.as_ref();
        let by_meaning = by_meaning.filter(|_| entry.similarity.is_some());
        let longest = by_meaning
            .and_then(|by_meaning| by_meaning.ttl)
            .or(may.stores);
        let is_old = longest.is_some_and(|longest| age >= longest);
        if is_old || !may.says.take(age) || !self.tells_enough(entry) {
            return None;
        }
        let terms = self.terms(context, &entry.head);
        let is_known = entry.usage.is_some();
        let begun = replay::kept(&entry.head, &entry.body, is_known, &terms).await;
        let found = Found::begun(context, &entry.head, begun, terms)?;
        let from = From {
            head: &entry.head,
            age,
            similarity: entry.similarity,
        };
        self.hit(context, &from, entry.usage.clone());
        Some(found)
    }

    /// Counts an answer that was there, and notes it.
    pub(super) fn hit(&self, context: &mut Context, from: &From<'_>, usage: Option<Usage>) {
        let result = match from.similarity {
            Some(_) => CacheResult::Semantic,
            None => CacheResult::Hit,
        };
        self.note(context, result, Some(from));
        let metrics = self.shared.metrics.cache();
        metrics.aged(&self.rule.label, from.age.as_secs_f64());
        reuse_in(context, from.head, usage);
    }

    /// Whether a stream has the usage in it that the client wants at its end.
    fn tells_enough(&self, entry: &Entry) -> bool {
        let wants = self.body.streaming.is_requested && self.body.streaming.includes_usage;
        let is_told = entry
            .usage
            .as_ref()
            .is_some_and(|usage| !usage.is_estimated);
        !wants || is_told
    }
}
