//! The step before the first attempt: an answer that is there already, or that an equal request is about to get.
//!
//! Owns whether a request may have one, in this order: what the tenant and the request say, what the answer depends
//! on, an answer in memory, an equal request that is being asked, and an answer in the second level. The last comes
//! behind an equal request, so that a thousand of them ask the second level once: the one that leads asks it, and the
//! others find its answer in memory. A request that joins no other asks it at once. What is found takes the way out of
//! every other answer. `key` tells requests apart, `directives` reads what a request says, `replay` gives an answer again. Does not
//! handle keeping an answer (see `gateway::storing`), nor the memory and the second level (see `cache`). Fails where the client leaves, and
//! for a request that wants nothing else.

mod directives;
mod key;
mod replay;

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::answer::Answer;
use super::body::Body;
use super::failover::{Begun, Giver};
use super::keepalive::Keepalive;
use super::terms::Terms;
use super::waiting::watched;
use crate::cache::{Entry, Follower, Head, Joined, Key, Lead, Place, Scope};
use crate::clock;
use crate::gateway::context::{Context, FromCache};
use crate::gateway::failure::Failure;
use crate::gateway::session::ClientSession;
use crate::gateway::storing::{Reused, Storing};
use crate::observe::cache::CacheResult;
use crate::openai::endpoint::Exchange;
use crate::openai::reusable::{self, Certainty};
use crate::runtime::{Reuse, Rule, Shared, SharedHead};
use crate::upstreams::Upstream;
use crate::workers::walk;
use directives::Directives;

/// A longer request is not compared with others.
const MAX_REQUEST_BYTES: usize = 4 << 20;
/// A request waits this long for the answer to an equal one to begin. Then it asks for itself.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// A request follows so many others that fail. Then it asks for itself.
const MOST_LEADS: usize = 2;

/// A request whose rule uses answers again.
pub struct Looking<'l> {
    /// What all requests share.
    pub shared: &'l Shared,
    /// What is asked.
    pub endpoint: &'static Exchange,
    /// The request's body.
    pub body: &'l Body,
    /// The rule that serves it.
    pub rule: &'l Rule,
}

/// What becomes of it.
pub enum Looked {
    /// It gets this answer.
    Found(Box<Found>),
    /// It is asked. Equal requests may wait for its answer.
    Ask(Option<Lead<SharedHead>>),
}

/// An answer that was not asked for.
pub struct Found {
    /// The answer.
    pub answer: Box<Answer>,
    /// What is expected of it.
    pub terms: Terms,
    /// The upstream that is giving it to an equal request.
    pub upstream: Option<Arc<Upstream>>,
}

/// What a request may do.
struct May {
    key: Key,
    /// For how long its answer is kept.
    stores: Option<Duration>,
    /// Where it is kept for other nodes too.
    place: Option<Place>,
    /// Whether it may wait for an equal one.
    joins: bool,
    says: Directives,
}

impl Looking<'_> {
    /// Looks for an answer.
    pub async fn look(
        &self,
        client: &mut ClientSession,
        context: &mut Context,
        keepalive: &mut Keepalive,
    ) -> Result<Looked, Failure> {
        let Some(reuse) = &self.rule.reuse else {
            return Ok(Looked::Ask(None));
        };
        let may = match self.may(client, context, reuse) {
            Ok(may) => may,
            Err(reason) => {
                let metrics = self.shared.metrics.cache();
                metrics.bypassed(&self.rule.label, reason);
                self.note(context, CacheResult::Bypass, None);
                return Ok(Looked::Ask(None));
            }
        };
        if let Some(found) = self.kept(context, &may).await {
            return Ok(Looked::Found(found));
        }
        let joins = may.joins && !may.says.only_if_cached;
        let looked = match joins {
            true => self.join(client, context, keepalive, &may).await?,
            false => {
                let found = self
                    .kept_elsewhere(client, context, keepalive, &may)
                    .await?;
                found.map_or(Looked::Ask(None), Looked::Found)
            }
        };
        let lead = match looked {
            Looked::Ask(lead) => lead,
            found @ Looked::Found(_) => return Ok(found),
        };
        self.note(context, CacheResult::Miss, None);
        if may.says.only_if_cached {
            return Err(Failure::NotCached);
        }
        if let Some(meter) = &mut context.meter {
            let most_bytes = context.runtime.settings.cache.max_answer_bytes;
            meter.records = (lead.is_some() || may.stores.is_some()).then_some(most_bytes);
            meter.storing = may.stores.map(|ttl| {
                Box::new(Storing {
                    key: may.key,
                    ttl,
                    place: may.place,
                    tools: reuse.tools,
                    endpoint: self.endpoint,
                    head: None,
                })
            });
        }
        Ok(Looked::Ask(lead))
    }

    /// What the request may do, or why it may do nothing.
    fn may(
        &self,
        client: &ClientSession,
        context: &Context,
        reuse: &Reuse,
    ) -> Result<May, &'static str> {
        let tenant = context.tenant();
        if tenant.is_some_and(|tenant| !tenant.caches) {
            return Err("tenant");
        }
        let request = client.request();
        let says = match tenant.is_none_or(|tenant| tenant.obeys_cache_control) {
            true => Directives::read(&request.headers),
            false => Directives::default(),
        };
        if says.no_store {
            return Err("no_store");
        }
        let body = self.body.json().ok_or("form")?;
        if body.len() > MAX_REQUEST_BYTES {
            return Err("too_large");
        }
        let certainty = walk(body.len(), || reusable::request(self.endpoint, body));
        let certainty = certainty.map_err(reusable::Unfit::name)?;
        let (keeps, joins) = match certainty {
            Certainty::Deterministic => (true, reuse.coalesces),
            Certainty::MayDiffer => (reuse.always, reuse.coalesces_all),
        };
        let stores = reuse.ttl.filter(|_| keeps);
        if stores.is_none() && !joins {
            return Err("not_deterministic");
        }
        let key = walk(body.len(), || {
            key::key(request, context, self.endpoint, (self.rule, reuse), body)
        });
        let key = key.ok_or("form")?;
        let level = stores.and_then(|_| self.shared.second_level());
        let place = level.map(|level| Place {
            level,
            scope: Scope::of(key::tenant(context, reuse)),
            key,
        });
        Ok(May {
            key,
            stores,
            place,
            joins: joins && !says.no_cache,
            says,
        })
    }

    /// An answer in memory.
    async fn kept(&self, context: &mut Context, may: &May) -> Option<Box<Found>> {
        if may.says.no_cache {
            return None;
        }
        may.stores?;
        let entry = self.shared.cache.get(&may.key, Instant::now())?;
        self.give(context, may, &entry).await
    }

    /// An answer in the second level. It is in memory from then on.
    async fn kept_elsewhere(
        &self,
        client: &mut ClientSession,
        context: &mut Context,
        keepalive: &mut Keepalive,
        may: &May,
    ) -> Result<Option<Box<Found>>, Failure> {
        let Some(place) = may.place.as_ref().filter(|_| !may.says.no_cache) else {
            return Ok(None);
        };
        let most_bytes = context.runtime.settings.cache.max_answer_bytes;
        let asking = place.get(most_bytes);
        let Some(entry) = watched(client, context, keepalive, asking).await? else {
            return Ok(None);
        };
        let remaining = entry.remaining(clock::now());
        let memory = &self.shared.cache;
        memory.put_for(may.key, entry.clone(), remaining, Instant::now());
        Ok(self.give(context, may, &entry).await)
    }

    /// Gives an answer that is kept, unless the request asks for more than that.
    async fn give(&self, context: &mut Context, may: &May, entry: &Entry) -> Option<Box<Found>> {
        let age = entry.age(clock::now());
        if !may.says.take(age) || !self.tells_enough(entry) {
            return None;
        }
        let answer = replay::kept(&entry.head, &entry.body);
        let found = self.begin(context, &entry.head, answer, None).await?;
        self.note(context, CacheResult::Hit, Some((&entry.head, age)));
        let metrics = self.shared.metrics.cache();
        metrics.aged(&self.rule.label, age.as_secs_f64());
        reuse_in(context, &entry.head, Some(entry));
        Some(found)
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

    /// The answer that an equal request is about to get; or the request is asked itself.
    async fn join(
        &self,
        client: &mut ClientSession,
        context: &mut Context,
        keepalive: &mut Keepalive,
        may: &May,
    ) -> Result<Looked, Failure> {
        for _ in 0..MOST_LEADS {
            let mut follower = match self.shared.flights.join(may.key) {
                Joined::Alone => break,
                Joined::Leads(lead) => {
                    // The one before it may have ended just now.
                    if let Some(found) = self.kept(context, may).await {
                        return Ok(Looked::Found(found));
                    }
                    let found = self.kept_elsewhere(client, context, keepalive, may).await?;
                    return Ok(found.map_or(Looked::Ask(Some(lead)), Looked::Found));
                }
                Joined::Follows(follower) => follower,
            };
            let begun = tokio::time::timeout(LONGEST_WAIT, follower.begun());
            match watched(client, context, keepalive, begun).await? {
                Ok(Some(head)) => {
                    if let Some(found) = self.shared(context, &head, follower).await {
                        return Ok(Looked::Found(found));
                    }
                }
                // What it has found in the second level is in memory.
                Ok(None) => {
                    if let Some(found) = self.kept(context, may).await {
                        return Ok(Looked::Found(found));
                    }
                }
                Err(_) => break,
            }
        }
        Ok(Looked::Ask(None))
    }

    /// The answer that an equal request has begun to get.
    async fn shared(
        &self,
        context: &mut Context,
        head: &SharedHead,
        follower: Follower<SharedHead>,
    ) -> Option<Box<Found>> {
        let answer = replay::shared(head, follower);
        let upstream = Some(Arc::clone(&head.upstream));
        let found = self.begin(context, &head.head, answer, upstream).await?;
        let age = Duration::ZERO;
        self.note(context, CacheResult::Joined, Some((&head.head, age)));
        reuse_in(context, &head.head, None);
        Some(found)
    }

    async fn begin(
        &self,
        context: &Context,
        head: &Head,
        answer: Answer,
        upstream: Option<Arc<Upstream>>,
    ) -> Option<Box<Found>> {
        let terms = replay::terms(context, self.endpoint, self.body, head);
        let mut answer = Box::new(answer);
        let begun = Box::pin(replay::begin(&mut answer, &terms)).await;
        if let Err(why) = begun {
            let id = &context.request.id;
            log::debug!(
                "{id} the answer to {} cannot be given again: {why:?}",
                head.id
            );
            return None;
        }
        Some(Box::new(Found {
            answer,
            terms,
            upstream,
        }))
    }

    /// Counts what becomes of the request, and notes it for its client.
    fn note(&self, context: &mut Context, result: CacheResult, from: Option<(&Head, Duration)>) {
        self.shared.metrics.cache().count(&self.rule.label, result);
        context.outcome.from_cache = Some(Box::new(FromCache {
            result,
            id: from.map(|(head, _)| head.id.clone()),
            age: from.map(|(_, age)| age).unwrap_or_default(),
        }));
    }
}

/// Notes the answer for the settlement of its request.
fn reuse_in(context: &mut Context, head: &Arc<Head>, entry: Option<&Entry>) {
    if let Some(meter) = &mut context.meter {
        meter.reused = Some(Box::new(Reused {
            head: Arc::clone(head),
            usage: entry.and_then(|entry| entry.usage.clone()),
        }));
    }
}

/// An upstream's answer has begun: it is handed to equal requests, and kept once it is whole.
pub fn begun(context: &mut Context, begun: &mut Begun<'_>, lead: Option<Lead<SharedHead>>) {
    let Giver::Asked { candidate, .. } = &begun.giver else {
        return;
    };
    let Some(form) = begun.answer.recorded_form().cloned() else {
        return;
    };
    let upstream = candidate.upstream;
    let caller = context.caller.as_ref();
    let tenant = caller.filter(|caller| caller.position.is_some());
    let head = Arc::new(Head {
        tenant: tenant.map_or("", |caller| &caller.tenant.id).into(),
        rule: context
            .asked
            .rule
            .as_ref()
            .map_or("", |rule| &rule.label)
            .into(),
        id: context.request.id.as_str().into(),
        content_type: form.content_type,
        is_stream: form.is_stream,
        rewrites: form.rewrites,
        upstream: upstream.name.as_str().into(),
        model: context.model_to_send().unwrap_or_default().into(),
    });
    let is_fallback = candidate.fallback.is_some();
    if let Some(meter) = &mut context.meter {
        match &mut meter.storing {
            // The rule's own target may be back in a moment.
            storing @ Some(_) if is_fallback => *storing = None,
            Some(storing) => storing.head = Some(Arc::clone(&head)),
            None => {}
        }
    }
    if let Some(lead) = lead {
        let shared = SharedHead {
            head,
            echo: begun.answer.echo.clone(),
            upstream: Arc::clone(upstream),
        };
        begun.answer.share(lead, shared);
    }
}
