//! The models that a tenant may ask for.
//!
//! Owns the list: the names that rules serve one by one, and, behind rules that serve many, the names that
//! their upstreams list. Does not handle how an upstream is asked for its list (see
//! `upstreams::catalogue`). An upstream that cannot be asked removes only its own names, and its last list
//! stays in use. Fails for a model that is unknown or not allowed.

use std::collections::HashSet;
use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use percent_encoding::percent_decode_str;
use tokio::task::JoinSet;

use super::context::Context;
use super::failure::Failure;
use crate::clock;
use crate::openai::models::{self, Model};
use crate::runtime::Shared;
use crate::upstreams::{Listed, Upstream};
use crate::workers::walk;

/// When a model was made that we know by its name alone: when this process started, so that it
/// stands still.
static CREATED: LazyLock<i64> = LazyLock::new(clock::now_unix_seconds);

/// What one model takes in a list, about.
const MODEL_BYTES: usize = 128;

/// `GET /v1/models`, as it is written.
pub async fn list(context: &Context, shared: &Arc<Shared>) -> Bytes {
    let listed = gather(context.runtime.many(), context, shared).await;
    let count: usize = listed.iter().map(|(_, one)| one.models().len()).sum();
    walk(count * MODEL_BYTES, || {
        Bytes::from(merge(context, &listed).to_string())
    })
}

/// The names that rules answer alone, and then what is listed.
fn merge(context: &Context, listed: &[(usize, Arc<Listed>)]) -> serde_json::Value {
    let runtime = &context.runtime;
    let allows = |id: &str| context.tenant().is_some_and(|t| t.allows(id));
    let exact = runtime.rules().iter().filter_map(|r| r.exact.as_deref());
    let exact: Vec<&str> = exact.filter(|name| allows(name)).collect();
    let mut seen: HashSet<String> = exact.iter().map(|&name| name.to_owned()).collect();
    let mut found: Vec<Model> = exact
        .iter()
        .map(|name| Model::named(name, *CREATED))
        .collect();
    for (position, listed) in listed {
        for model in listed.models() {
            let is_its_own = runtime.passes(&model.id, *position);
            if is_its_own && allows(&model.id) && seen.insert(model.id.clone()) {
                found.push(model.clone());
            }
        }
    }
    models::list(&found)
}

/// `GET /v1/models/{id}`, the id as it stands in the path.
pub async fn retrieve(
    context: &Context,
    shared: &Arc<Shared>,
    id: &str,
) -> Result<serde_json::Value, Failure> {
    let id = percent_decode_str(id).decode_utf8_lossy().into_owned();
    let runtime = &context.runtime;
    let allowed = context.tenant().is_some_and(|t| t.allows(&id));
    let Some(rule) = runtime.rule(&id).filter(|_| allowed) else {
        return Err(Failure::UnknownModel { model: id });
    };
    let behind: Vec<_> = runtime
        .many()
        .filter(|(position, _)| runtime.passes(&id, *position))
        .collect();
    let known = gather(behind.iter().copied(), context, shared).await;
    let found = known.iter().find_map(|(_, listed)| listed.find(&id));
    // Only where every upstream behind the rule has been heard is a model that none of them has
    // known not to exist.
    let all_heard = !behind.is_empty() && known.len() == behind.len();
    match found {
        Some(model) => Ok(model.object()),
        None if all_heard && rule.passes_all() => Err(Failure::UnknownModel { model: id }),
        None => Ok(Model::named(&id, *CREATED).object()),
    }
}

/// Asks several upstreams at once. The answers come in the order of the question; an upstream that has never
/// answered is left out.
async fn gather(
    upstreams: impl Iterator<Item = (usize, &Arc<Upstream>)>,
    context: &Context,
    shared: &Arc<Shared>,
) -> Vec<(usize, Arc<Listed>)> {
    let ttl = context.runtime.settings.models_ttl;
    let mut asking = JoinSet::new();
    for (position, upstream) in upstreams {
        let (upstream, shared) = (Arc::clone(upstream), Arc::clone(shared));
        asking.spawn(async move {
            let listed = upstream.models(&shared.connector, ttl).await;
            Some((position, listed?))
        });
    }
    let mut answers: Vec<_> = asking.join_all().await.into_iter().flatten().collect();
    answers.sort_by_key(|(position, _)| *position);
    answers
}
