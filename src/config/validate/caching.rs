//! What answers by meaning need of other sections.
//!
//! Owns that the embedding model is served by a rule whose vectors can be compared, that there is a threshold, and that
//! no rule asks for answers by meaning where nothing is said of them. Every mistake is reported.

use super::{Unread, rule_hint};
use crate::config::document::Context;
use crate::config::{Config, Keys, ModelRule};
use crate::routing::{self, Matcher};

/// Notes every problem. `needs_threshold`: not where it is to be found out.
pub(super) fn check(
    config: &Config,
    unread: &Unread,
    needs_threshold: bool,
    context: &Context<'_>,
) {
    let Some(section) = &config.vector_cache else {
        if !context.has_mistake_in("vector_cache") {
            check_rules(config, context);
        }
        return;
    };
    let written = &section.value;
    if needs_threshold && written.is_enabled && written.threshold.is_none() {
        let hint =
            "find it with your own questions: tollgate cache calibrate --config FILE PAIRS.jsonl";
        context.report(
            &section.place,
            "`threshold` is missing: each embedding model has its own",
            Some(hint.to_owned()),
        );
    }
    if unread.models {
        return;
    }
    let model = &written.embedding_model;
    let matchers: Vec<&Matcher> = config.models.iter().map(|r| &r.matcher.value).collect();
    let rule = routing::Index::new(matchers.iter().copied()).find(&model.value);
    let Some(rule) = rule.and_then(|position| config.models.get(position)) else {
        let message = format!("no rule serves the embedding model `{}`", model.value);
        let hint = rule_hint(&model.value, &matchers);
        return context.report(&model.place, message, Some(hint));
    };
    if !rule.fallback.is_empty() {
        let message = format!("the rule `{}` of this model has a fallback", label(rule));
        let hint =
            "vectors of two models cannot be compared: write a rule for it without `fallback`";
        context.report(&model.place, message, Some(hint.to_owned()));
    }
    let passes = rule.targets.iter().find(|target| {
        let name = &target.upstream.value;
        let mut upstreams = config.upstreams.iter();
        let upstream = upstreams.find(|upstream| upstream.name.value == *name);
        upstream.is_some_and(|upstream| !matches!(upstream.keys, Keys::Own(_)))
    });
    if let Some(target) = passes {
        let message = format!(
            "the upstream `{}` of this model has no key of yours",
            target.upstream.value
        );
        let hint = "embeddings are asked for on behalf of tenants: give it `keys`";
        context.report(&model.place, message, Some(hint.to_owned()));
    }
}

fn check_rules(config: &Config, context: &Context<'_>) {
    let caching = config.models.iter().filter_map(|rule| rule.cache.as_ref());
    for cache in caching.filter(|cache| cache.value.by_meaning) {
        context.report(
            &cache.place,
            "`by_meaning` needs the section `vector_cache`, and there is none",
            Some("add the section with an `embedding_model` and a `threshold`, or remove `by_meaning`".to_owned()),
        );
    }
}

fn label(rule: &ModelRule) -> String {
    rule.matcher.value.label()
}
