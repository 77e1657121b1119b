//! The step before the first attempt: an answer that is there already, or that an equal request is about to get.
//!
//! Owns whether a request may have one, in this order: what the tenant and the request say, what the answer depends on,
//! an answer in memory, an equal request that is being asked, an answer in the second level, and an answer to a
//! question that means the same. The last comes behind an equal request, so that a thousand of them ask the second
//! level once: the one that leads asks it, and the others find its answer in memory. A request that joins no other asks
//! it at once. What is found takes the way out of every other answer. `key` tells requests apart, `inputs` has requests
//! with several, `directives` reads what a request says, `kept` finds answers that are kept, `equal` waits for another
//! request, `replay` gives an answer again, `keeping` prepares that, `meaning` compares questions. Does not handle
//! keeping an answer (see `gateway::storing`), nor the memory and the second level (see `cache`). Fails where the
//! client leaves, and for a request that wants nothing else.

mod directives;
mod equal;
mod inputs;
mod keeping;
mod kept;
mod key;
mod meaning;
mod replay;

use std::sync::Arc;
use std::time::{Duration, Instant};

use pingora::http::RequestHeader;

use super::answer::Answer;
use super::answer::first_output::NoAnswer;
use super::body::Body;
use super::requester::Requester;
use super::terms::Terms;
use crate::cache::{Head, Key, Lead, Place, Scope};
use crate::gateway::context::{Context, FromCache};
use crate::gateway::failure::Failure;
use crate::gateway::storing::{Asked, Reused, Storing};
use crate::observe::cache::CacheResult;
use crate::openai::endpoint::Exchange;
use crate::openai::reusable::{self, Certainty};
use crate::openai::usage::Usage;
use crate::runtime::{Reuse, Rule, Shared, SharedHead};
use crate::upstreams::Upstream;
use crate::workers::walk;
use directives::Directives;

pub use inputs::Each;
pub use keeping::begun;

/// A longer request is not compared with others.
const MAX_REQUEST_BYTES: usize = 4 << 20;

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
    /// It has several inputs, of which some are to be asked for.
    AskSome(Box<Each>),
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

impl Found {
    /// An answer that has begun, if it has.
    fn begun(
        context: &Context,
        head: &Head,
        begun: Result<Box<Answer>, NoAnswer>,
        terms: Terms,
    ) -> Option<Box<Self>> {
        match begun {
            Ok(answer) => Some(Box::new(Self {
                answer,
                terms,
                upstream: None,
            })),
            Err(why) => {
                let (id, first) = (&context.request.id, &head.id);
                log::debug!("{id} the answer to {first} cannot be given again: {why:?}");
                None
            }
        }
    }
}

/// An answer that was there.
struct From<'e> {
    head: &'e Arc<Head>,
    age: Duration,
    /// How near its question is; `None` for an equal request.
    similarity: Option<f32>,
}

/// What a request may do.
struct May {
    key: Key,
    /// When it began to look.
    since: Instant,
    /// For how long its answer is kept.
    stores: Option<Duration>,
    /// Where it is kept for other nodes too.
    place: Option<Place>,
    /// Whether it may wait for an equal one.
    joins: bool,
    says: Directives,
    /// Its question, once that has a vector.
    asked: Option<Asked>,
}

impl Looking<'_> {
    /// Looks for an answer.
    pub async fn look(
        &self,
        requester: &mut Requester<'_>,
        context: &mut Context,
    ) -> Result<Looked, Failure> {
        let Some(reuse) = &self.rule.reuse else {
            return Ok(Looked::Ask(None));
        };
        let mut may = match self.may(requester.request(), context, reuse) {
            Ok(may) => may,
            Err(reason) => {
                let metrics = self.shared.metrics.cache();
                metrics.bypassed(&self.rule.label, reason);
                self.note(context, CacheResult::Bypass, None);
                return Ok(Looked::Ask(None));
            }
        };
        let each = Each::look(self, requester.request(), context, reuse, &may);
        let found = match &each {
            Some(each) => self.all_of(context, each).await,
            None => self.kept(context, &may).await,
        };
        if let Some(found) = found {
            return Ok(Looked::Found(found));
        }
        if let Some(each) = each {
            self.note(context, CacheResult::Miss, None);
            if may.says.only_if_cached {
                return Err(Failure::NotCached);
            }
            self.record(context);
            return Ok(Looked::AskSome(Box::new(each)));
        }
        let joins = may.joins && !may.says.only_if_cached;
        let looked = match joins {
            true => self.join(requester, context, &may).await?,
            false => {
                let elsewhere = self.kept_elsewhere(requester, context, &may);
                elsewhere.await?.map_or(Looked::Ask(None), Looked::Found)
            }
        };
        let Looked::Ask(lead) = looked else {
            return Ok(looked);
        };
        if reuse.by_meaning && may.stores.is_some() {
            let similar = self.by_meaning(requester, context, reuse, &mut may);
            if let Some(found) = Box::pin(similar).await? {
                return Ok(Looked::Found(found));
            }
        }
        self.note(context, CacheResult::Miss, None);
        if may.says.only_if_cached {
            return Err(Failure::NotCached);
        }
        if lead.is_some() || may.stores.is_some() {
            self.record(context);
        }
        if let Some(meter) = &mut context.meter {
            meter.storing = self.storing(may, reuse);
        }
        Ok(Looked::Ask(lead))
    }

    /// What keeps the answer, where it may be kept.
    fn storing(&self, may: May, reuse: &Reuse) -> Option<Box<Storing>> {
        Some(Box::new(Storing {
            key: may.key,
            asked_at: may.since,
            ttl: may.stores?,
            place: may.place,
            tools: reuse.tools,
            endpoint: self.endpoint,
            head: None,
            asked: may.asked,
        }))
    }

    /// Has what comes of the answer kept.
    fn record(&self, context: &mut Context) {
        let most_bytes = context.runtime.settings.cache.max_answer_bytes;
        if let Some(meter) = &mut context.meter {
            meter.records = Some(most_bytes);
        }
    }

    /// What the request may do, or why it may do nothing.
    fn may(
        &self,
        request: &RequestHeader,
        context: &Context,
        reuse: &Reuse,
    ) -> Result<May, &'static str> {
        let tenant = context.tenant();
        if tenant.is_some_and(|tenant| !tenant.caches) {
            return Err("tenant");
        }
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
        let read = walk(body.len(), || reusable::request(self.endpoint, body));
        let (form, certainty) = read.map_err(reusable::Unfit::name)?;
        let (keeps, joins) = match certainty {
            Certainty::Deterministic => (true, reuse.coalesces),
            Certainty::MayDiffer => (reuse.always, reuse.coalesces_all),
        };
        let stores = reuse.ttl.filter(|_| keeps);
        if stores.is_none() && !joins {
            return Err("not_deterministic");
        }
        let key = walk(body.len(), || {
            key::key(request, context, self.endpoint, (self.rule, reuse), &form)
        });
        let level = stores.and_then(|_| self.shared.second_level());
        let place = level.map(|level| Place {
            level,
            scope: Scope::of(key::tenant(context, reuse)),
            key,
        });
        Ok(May {
            key,
            since: Instant::now(),
            stores,
            place,
            joins: joins && !says.no_cache,
            says,
            asked: None,
        })
    }

    /// What is expected of an answer that is given again.
    fn terms(&self, context: &Context, head: &Head) -> Terms {
        replay::terms(context, self.endpoint, self.body, head)
    }

    /// Counts what becomes of the request, and notes it for its client.
    fn note(&self, context: &mut Context, result: CacheResult, from: Option<&From<'_>>) {
        self.shared.metrics.cache().count(&self.rule.label, result);
        context.outcome.from_cache = Some(Box::new(FromCache {
            result,
            id: from.map(|from| from.head.id.clone()),
            age: from.map(|from| from.age).unwrap_or_default(),
            similarity: from.and_then(|from| from.similarity),
        }));
    }
}

/// Notes the answer for the settlement of its request.
fn reuse_in(context: &mut Context, head: &Arc<Head>, usage: Option<Usage>) {
    if let Some(meter) = &mut context.meter {
        meter.reused = Some(Box::new(Reused {
            head: Arc::clone(head),
            usage,
        }));
    }
}
