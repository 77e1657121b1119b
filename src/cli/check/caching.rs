//! The table of answers that are used again.
//!
//! Owns its columns. Does not handle what they mean (see `gateway::exchange::cache`). Cannot fail.

use crate::cli::table::row;
use crate::config::{CacheWhen, Config, ModelRule, VectorCache, write_size};

/// One row for each rule that uses answers again.
pub(super) fn caching(config: &Config) -> Vec<Vec<String>> {
    let mut table = vec![row(&[
        "CACHE",
        "KEPT",
        "GIVEN TO",
        "REQUESTS",
        "EQUAL ONES",
        "BY MEANING",
        "MEMORY",
    ])];
    let section = config.cache.clone().unwrap_or_default().value;
    let memory = write_size(section.memory_bytes as u64);
    table.extend(config.models.iter().filter_map(|rule| {
        let cache = rule.cache.as_ref().map(|cache| &cache.value);
        let shares = rule.coalesce.unwrap_or(cache.is_some());
        if cache.is_none() && !shares {
            return None;
        }
        let kept = cache.map(|cache| cache.ttl.unwrap_or(section.ttl));
        let kept = kept.map_or("-".to_owned(), |ttl| {
            humantime::format_duration(ttl).to_string()
        });
        Some(vec![
            rule.matcher.value.label(),
            kept,
            cache
                .map_or("tenant", |cache| cache.scope.name())
                .to_owned(),
            which(rule).to_owned(),
            if shares { "share one" } else { "each its own" }.to_owned(),
            by_meaning(rule, config),
            cache.map_or("-".to_owned(), |_| memory.clone()),
        ])
    }));
    table
}

/// The least similarity of a question whose answer is given to another.
fn by_meaning(rule: &ModelRule, config: &Config) -> String {
    let compares = rule
        .cache
        .as_ref()
        .is_some_and(|cache| cache.value.by_meaning);
    let section = VectorCache::enabled(config.vector_cache.as_ref()).filter(|_| compares);
    let threshold = section.and_then(|section| section.threshold);
    threshold.map_or("-".to_owned(), |threshold| format!("from {threshold}"))
}

/// Which requests may get an answer again.
fn which(rule: &ModelRule) -> &'static str {
    let when = rule.cache.as_ref().map(|cache| cache.value.when);
    match when {
        Some(CacheWhen::Deterministic) => "temperature 0 or a seed",
        Some(CacheWhen::Always) | None => "all",
    }
}
