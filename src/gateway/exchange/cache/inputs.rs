//! Embeddings of several texts: each has an answer of its own.
//!
//! Owns which of them are there, asking for the others alone, and the answer that all amount to. Each is kept as the
//! answer to a request for it alone, and found by one. Does not handle the shapes (see `openai::embeddings`). Such a
//! request shares no flight. Fails where an upstream's answer cannot be put together with what was there.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use pingora::http::RequestHeader;

use super::{Found, From, Looking, May, keeping, key, replay};
use crate::cache::{Entry, Head, Key};
use crate::clock;
use crate::gateway::context::Context;
use crate::gateway::exchange::answer::convert;
use crate::gateway::exchange::answer::first_output::NoAnswer;
use crate::gateway::exchange::body::Body;
use crate::gateway::exchange::failover::{Begun, Giver};
use crate::gateway::failure::{Cause, Failure, UpstreamFailure};
use crate::openai::embeddings::{self, Embeddings, Inputs};
use crate::openai::reusable;
use crate::openai::usage::{self, Usage};
use crate::runtime::{Reuse, Shared};
use crate::workers::walk;

const NAME: &str = "embeddings";
/// Each input is compared as a request of its own, with all else that the body says. Where that is more, the request is
/// taken as a whole.
const MOST_WORK_BYTES: usize = 16 << 20;

/// The inputs of one request, and what was there of them.
pub struct Each {
    inputs: Inputs,
    keys: Vec<Key>,
    found: Vec<Option<Arc<Entry>>>,
    /// When they were looked for.
    since: Instant,
    ttl: Duration,
    /// What the upstream is asked for, where that is not all of it.
    pub body: Option<Body>,
}

impl Each {
    /// Looks for each input of a request for embeddings; `None` for any other.
    pub(super) fn look(
        looking: &Looking<'_>,
        request: &RequestHeader,
        context: &Context,
        reuse: &Reuse,
        may: &May,
    ) -> Option<Self> {
        let ttl = may.stores?;
        let body = looking.body.json()?;
        if looking.endpoint.name != NAME {
            return None;
        }
        walk(body.len(), || {
            let inputs = Inputs::find(body)?;
            if inputs.work_bytes(body) > MOST_WORK_BYTES {
                return None;
            }
            let rule = (looking.rule, reuse);
            let keys = (0..inputs.count()).map(|position| {
                let one = inputs.body_of(body, position);
                let form = reusable::form(looking.endpoint, &one)?;
                Some(key::key(request, context, looking.endpoint, rule, &form))
            });
            let keys: Vec<Key> = keys.collect::<Option<_>>()?;
            let (now, today) = (Instant::now(), clock::now());
            let found = keys.iter().map(|key| {
                let entry = looking.shared.cache.get(key, now)?;
                let age = entry.age(today);
                let is_wanted = !may.says.no_cache && may.says.take(age) && age < ttl;
                // The answer to a request for it alone is kept in any shape.
                let is_one = || Embeddings::read(&entry.body, 1).is_some();
                (is_wanted && is_one()).then_some(entry)
            });
            let found: Vec<Option<Arc<Entry>>> = found.collect();
            let some = found.iter().any(Option::is_some) && found.iter().any(Option::is_none);
            let is_missing = |position: usize| matches!(found.get(position), Some(None));
            let asked = some.then(|| inputs.body_of_some(body, is_missing));
            Some(Self {
                body: asked.and_then(|asked| Body::of_json(Bytes::from(asked), false).ok()),
                inputs,
                keys,
                found,
                since: may.since,
                ttl,
            })
        })
    }

    /// The answer where all of it is there, with what was known of its first part, its age and its usage.
    pub(super) fn whole(&self) -> Option<(Arc<Head>, Bytes, Duration, Usage)> {
        let all: Vec<&Arc<Entry>> = self
            .found
            .iter()
            .map(Option::as_ref)
            .collect::<Option<_>>()?;
        let bodies: Vec<&[u8]> = all.iter().map(|entry| &*entry.body).collect();
        let tokens = all.iter().map(|entry| tokens(entry)).sum();
        let size = bodies.iter().map(|body| body.len()).sum();
        let body = walk(size, || embeddings::join(&bodies, tokens))?;
        let now = clock::now();
        let oldest = all.iter().map(|entry| entry.age(now)).max();
        let usage = Usage {
            input: tokens,
            ..Usage::default()
        };
        let head = Arc::clone(&all.first()?.head);
        Some((head, Bytes::from(body), oldest.unwrap_or_default(), usage))
    }

    /// Keeps each embedding of an upstream's answer that has begun, and puts the whole answer in its place.
    ///
    /// # Errors
    /// It cannot be read, or not be put together.
    pub async fn complete(
        &self,
        shared: &Shared,
        context: &Context,
        begun: &mut Begun<'_>,
    ) -> Result<(), Failure> {
        if !begun.answer.is_json() {
            return match self.body {
                None => Ok(()),
                Some(_) => Err(unusable("it gave no JSON")),
            };
        }
        let Some(head) = keeping::head(context, begun) else {
            return Ok(());
        };
        let keeps = !begun.giver.is_fallback();
        let change = |answer: &Bytes| self.change(shared, &head, answer, keeps);
        let changed = convert::change(&mut begun.answer, &begun.terms, change).await;
        let session = changed.map_err(|none| match none {
            NoAnswer::Broken(broken) => {
                Failure::Upstream(UpstreamFailure::read(&broken.error, broken.phase))
            }
            _ => unusable("its embeddings cannot be told apart"),
        })?;
        if let (Some(session), Giver::Asked { lease, .. }) = (session, &mut begun.giver) {
            lease.release(shared, session).await;
        }
        Ok(())
    }

    /// The whole answer; `None` where it cannot be made. What is asked for as a whole passes as it came.
    fn change(
        &self,
        shared: &Shared,
        head: &Arc<Head>,
        answer: &Bytes,
        keeps: bool,
    ) -> Option<Bytes> {
        let missing = self.found.iter().filter(|found| found.is_none()).count();
        let Some(read) = Embeddings::read(answer, missing) else {
            return self.body.is_none().then(|| answer.clone());
        };
        let places = self.found.iter().zip(self.inputs.lengths());
        let lengths = places.filter(|(found, _)| found.is_none());
        let lengths: Vec<usize> = lengths.map(|(_, length)| length).collect();
        let shares = embeddings::shares(usage::whole(answer).as_ref(), &lengths);
        let mut parts: Vec<Bytes> = Vec::with_capacity(self.found.len());
        let mut all = 0;
        let mut new = shares.into_iter().enumerate();
        for (found, key) in self.found.iter().zip(&self.keys) {
            if let Some(entry) = found {
                all += tokens(entry);
                parts.push(entry.body.clone());
                continue;
            }
            let (nth, share) = new.next()?;
            all += share;
            let entry = self.entry(head, Bytes::from(read.answer_of(nth, share)), share);
            parts.push(entry.body.clone());
            let times = (self.since, Instant::now());
            let keep = || shared.cache.put(*key, entry, times);
            let kept = || shared.removals.unless_removed(self.since, head, keep);
            if keeps && kept() == Some(false) {
                shared.metrics.cache().not_stored(&head.rule, "too_large");
            }
        }
        if self.body.is_none() {
            return Some(answer.clone());
        }
        let parts: Vec<&[u8]> = parts.iter().map(|part| &**part).collect();
        embeddings::join(&parts, all).map(Bytes::from)
    }

    fn entry(&self, head: &Arc<Head>, body: Bytes, tokens: u64) -> Entry {
        Entry {
            head: Arc::clone(head),
            body,
            usage: Some(Usage {
                input: tokens,
                ..Usage::default()
            }),
            stored: clock::now(),
            ttl: self.ttl,
            similarity: None,
        }
    }
}

fn tokens(entry: &Entry) -> u64 {
    entry.usage.as_ref().map_or(0, Usage::total_input)
}

fn unusable(detail: &'static str) -> Failure {
    Failure::Upstream(UpstreamFailure::of(Cause::InvalidResponse, detail))
}

impl Looking<'_> {
    /// The answer to a request of which each input is there.
    pub(super) async fn all_of(&self, context: &mut Context, each: &Each) -> Option<Box<Found>> {
        let (head, body, age, usage) = each.whole()?;
        let terms = self.terms(context, &head);
        let begun = replay::kept(&head, &body, true, &terms).await;
        let found = Found::begun(context, &head, begun, terms)?;
        let from = From {
            head: &head,
            age,
            similarity: None,
        };
        self.hit(context, &from, Some(usage));
        Some(found)
    }
}
