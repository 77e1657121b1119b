//! Answers to questions that mean the same.
//!
//! Owns which requests are compared, what must be equal besides the text, and how long that may take. It comes after
//! everything that finds the answer to an equal request. A vector is asked for in a task of its own: where a client
//! leaves or the time is over, it is read and paid for all the same. Does not handle the comparison (see
//! `cache::meaning`), nor asking for a vector (see `embedding`). Never fails a request: whatever goes wrong is counted,
//! and the request is asked as any other.

use std::sync::Arc;
use std::time::Instant;

use tokio::time::timeout_at;

use super::{Found, Looking, May, key};
use crate::cache::meaning::vectors::Vector;
use crate::cache::meaning::{Fault, Question, Questions};
use crate::clock;
use crate::gateway::context::Context;
use crate::gateway::exchange::embedding::{self, NoVector};
use crate::gateway::exchange::requester::Requester;
use crate::gateway::failure::Failure;
use crate::gateway::storing::Asked;
use crate::openai::question::{self, Form, Unsuited};
use crate::runtime::{ByMeaning, Reuse};
use crate::workers::walk;

/// The temperature of a request that names none.
const USUAL_TEMPERATURE: f64 = 1.0;
/// As many vectors are asked for at a time.
const MOST_EMBEDDINGS: usize = 1024;

/// Why a request was not compared.
enum NotCompared {
    /// This stands in the way. The request goes on.
    Reason(&'static str),
    /// The request has failed.
    Failed(Failure),
}

impl From<&'static str> for NotCompared {
    fn from(reason: &'static str) -> Self {
        Self::Reason(reason)
    }
}

impl From<Failure> for NotCompared {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl Looking<'_> {
    /// An answer to a question that means the same. The question is noted in `may`, to be kept.
    pub(super) async fn by_meaning(
        &self,
        requester: &mut Requester<'_>,
        context: &mut Context,
        reuse: &Reuse,
        may: &mut May,
    ) -> Result<Option<Box<Found>>, Failure> {
        let runtime = Arc::clone(&context.runtime);
        let (Some(by_meaning), Some(questions)) = (&runtime.by_meaning, self.shared.questions())
        else {
            return Ok(None);
        };
        let compared = self.compare(requester, context, (reuse, by_meaning), &questions, may);
        let (found, result) = match compared.await {
            Ok(Some(found)) => (Some(found), "hit"),
            Ok(None) => (None, "miss"),
            Err(NotCompared::Reason(reason)) => (None, reason),
            Err(NotCompared::Failed(failure)) => return Err(failure),
        };
        self.shared
            .metrics
            .cache()
            .compared(&self.rule.label, result);
        Ok(found)
    }

    /// The same.
    async fn compare(
        &self,
        requester: &mut Requester<'_>,
        context: &mut Context,
        (reuse, by_meaning): (&Reuse, &ByMeaning),
        questions: &Arc<Questions>,
        may: &mut May,
    ) -> Result<Option<Box<Found>>, NotCompared> {
        let (scope, text) = self.read(requester, context, (reuse, by_meaning))?;
        let until = Instant::now() + by_meaning.timeout;
        let vector = embed(
            requester,
            context,
            (by_meaning, until),
            questions,
            text.clone(),
        );
        let question = Question {
            scope,
            text,
            vector: vector.await?,
        };
        let now = clock::now();
        let most_bytes = context.runtime.settings.cache.max_answer_bytes;
        let found = match may.says.no_cache {
            true => Ok(None),
            false => {
                let similar =
                    questions.similar(&question, by_meaning.threshold, most_bytes, (now, until));
                requester.wait(context, similar).await?
            }
        };
        let questions = Arc::clone(questions);
        may.asked = Some(Asked {
            question,
            questions,
            ttl: by_meaning.ttl,
        });
        let Some(entry) = found.map_err(Fault::name)? else {
            return Ok(None);
        };
        let given = self.give(context, may, &entry).await;
        if given.is_some() {
            // Equal requests find it without a vector of their own.
            self.remember(may, &entry);
        }
        Ok(given)
    }

    /// What must be equal, and the text that is compared.
    fn read(
        &self,
        requester: &Requester<'_>,
        context: &Context,
        (reuse, by_meaning): (&Reuse, &ByMeaning),
    ) -> Result<(question::Hash, Box<str>), &'static str> {
        let form = Form::of(self.endpoint).ok_or("endpoint")?;
        let body = self.body.json().ok_or("form")?;
        let question = walk(body.len(), || question::read(form, body));
        let question = question.map_err(Unsuited::name)?;
        if question.turns > by_meaning.max_turns {
            return Err("turns");
        }
        if question.temperature.unwrap_or(USUAL_TEMPERATURE) > by_meaning.max_temperature {
            return Err("temperature");
        }
        let rule = (self.rule, reuse);
        let request = requester.request();
        let scope = key::scope(
            request,
            context,
            self.endpoint,
            rule,
            &[&by_meaning.space.0, &question.rest],
        );
        Ok((scope.0, question.text.into()))
    }
}

/// The vector of a text, if it comes in time.
async fn embed(
    requester: &mut Requester<'_>,
    context: &mut Context,
    (by_meaning, until): (&ByMeaning, Instant),
    questions: &Arc<Questions>,
    text: Box<str>,
) -> Result<Vector, NotCompared> {
    let shared = Arc::clone(context.in_flight.shared());
    let place = shared.embeddings.enter(MOST_EMBEDDINGS).ok_or("busy")?;
    let admission = questions.breaker.admit(Instant::now()).ok_or("skipped")?;
    let beside = context.beside();
    let asking = tokio::spawn(async move {
        let vector = Box::pin(embedding::vector(beside, &text)).await;
        drop(place);
        vector
    });
    let asked = requester.wait(context, timeout_at(until.into(), asking));
    let result = match asked.await? {
        Ok(Ok(Ok(vector))) => Ok(vector),
        Ok(Ok(Err(none))) => {
            let id = &context.request.id;
            log::warn!("{id} no vector of {}: {none}", by_meaning.model);
            Err(match none {
                NoVector::Unusable => "embedding_unusable",
                NoVector::Failed(_) | NoVector::Refused(..) => "embedding_failed",
            })
        }
        // The task has panicked, or the process ends.
        Ok(Err(_)) => Err("embedding_failed"),
        Err(_) => Err("embedding_timeout"),
    };
    match &result {
        Ok(_) => {
            if admission.succeeded() {
                log::info!("cache: there are vectors of {} again", by_meaning.model);
            }
        }
        Err(reason) => {
            if admission.failed(Instant::now()) {
                log::warn!(
                    "cache: five requests in a row got no vector of {} ({reason}); none is asked for during a pause. \
                     If vectors come late, raise `vector_cache.timeout`",
                    by_meaning.model
                );
            }
        }
    }
    Ok(result?)
}
