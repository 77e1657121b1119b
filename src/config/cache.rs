//! The `cache` section: the memory of answers that may be given again, and what holds for all of them.
//!
//! Owns its keys and defaults. Does not handle which rules use it (see `models::reuse`), nor how answers are kept
//! (see `cache`). What cannot be read is reported with its place.

use std::time::Duration;

use super::document::{Located, Node};
use super::redis_url;
use crate::secret::Secret;

/// The smallest memory that has a use.
const LEAST_MEMORY: usize = 1 << 20;
/// The largest answer that can be kept, whatever is written.
const MOST_ANSWER: usize = 32 << 20;
/// The most tokens a second of a stream that is replayed.
const MOST_TOKENS: u64 = 1_000_000;

/// What holds for all answers that are kept.
#[derive(Clone, Debug, PartialEq)]
pub struct Cache {
    /// The memory of all of them, in bytes.
    pub memory_bytes: usize,
    /// For how long one may be used, unless its rule says so.
    pub ttl: Duration,
    /// A larger one is not kept, in bytes.
    pub max_answer_bytes: usize,
    /// The share of its first price that a tenant is charged each time it is used, in millionths.
    pub price_ppm: u32,
    /// How fast a stream is replayed; `None` for at once.
    pub replay_tokens_per_second: Option<u64>,
    /// The Redis that several nodes share answers in, as a URL.
    pub redis: Option<Secret>,
    /// What answers are encrypted with there: 32 bytes, in base64 or hexadecimal.
    pub encryption_key: Option<Secret>,
}

impl Default for Cache {
    fn default() -> Self {
        Self {
            memory_bytes: 256 << 20,
            ttl: Duration::from_secs(3600),
            max_answer_bytes: 1 << 20,
            price_ppm: 0,
            replay_tokens_per_second: None,
            redis: None,
            encryption_key: None,
        }
    }
}

/// Reads the section.
pub fn read(node: &Node<'_>) -> Option<Located<Cache>> {
    let mut section = node.section()?;
    let defaults = Cache::default();
    let memory = section.take("memory").map(|n| read_memory(&n));
    let ttl = section.take("ttl").map(|n| n.duration());
    let max_answer = section.take("max_answer").map(|n| read_answer(&n));
    let price = section.take("price").map(|n| n.share().map(millionths));
    let speed = section.take("replay_tokens_per_second");
    let speed = speed.map(|n| n.limit_up_to(MOST_TOKENS));
    let redis = section.take("redis").map(|n| redis_url::read(&n));
    let key = section.take("encryption_key").map(|n| read_key(&n));
    section.finish();
    let cache = Cache {
        memory_bytes: memory.unwrap_or(Some(defaults.memory_bytes))?,
        ttl: ttl.unwrap_or(Some(defaults.ttl))?,
        max_answer_bytes: max_answer.unwrap_or(Some(defaults.max_answer_bytes))?,
        price_ppm: price.unwrap_or(Some(defaults.price_ppm))?,
        replay_tokens_per_second: speed.unwrap_or_default(),
        redis: redis.map_or(Some(None), |redis| redis.map(Some))?,
        encryption_key: key.map_or(Some(None), |key| key.map(Some))?,
    };
    if cache.max_answer_bytes > cache.memory_bytes / 2 {
        node.report(
            "`max_answer` must be at most half of `memory`",
            Some("raise `memory`, or lower `max_answer`"),
        );
        return None;
    }
    Some(node.locate(cache))
}

/// A share from 0 to 1, as a whole number that money is counted with.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a share is from 0 to 1"
)]
fn millionths(share: f64) -> u32 {
    (share * 1e6).round() as u32
}

/// A memory of answers, in bytes.
pub(super) fn read_memory(node: &Node<'_>) -> Option<usize> {
    let bytes = node.bytes()?;
    if bytes < LEAST_MEMORY {
        node.report("must be at least 1MiB", None);
        return None;
    }
    Some(bytes)
}

fn read_answer(node: &Node<'_>) -> Option<usize> {
    let bytes = node.bytes()?;
    if bytes > MOST_ANSWER {
        node.report("must be at most 32MiB", None);
        return None;
    }
    Some(bytes)
}

fn read_key(node: &Node<'_>) -> Option<Secret> {
    let key = Secret::new(node.name()?);
    if key.to_key().is_none() {
        let hint = "make one with: openssl rand -base64 32";
        node.report("expected 32 bytes, in base64 or hexadecimal", Some(hint));
        return None;
    }
    Some(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Variables};

    fn parse(cache: &str) -> Result<Cache, Vec<String>> {
        let text = format!(
            "upstreams: {{ a: {{ base_url: http://a }} }}\n\
             models: [{{ match: m, cache: true, targets: [{{ upstream: a }}] }}]\n\
             cache: {cache}\n"
        );
        match Config::parse("t.yaml", &text, &Variables::default()) {
            Ok(config) => Ok(config.cache.unwrap().value),
            Err(problems) => Err(problems.0.iter().map(ToString::to_string).collect()),
        }
    }

    #[test]
    fn everything_has_a_default_and_can_be_said() {
        assert_eq!(parse("{}").unwrap(), Cache::default());
        let key = "0f".repeat(32);
        let cache = parse(&format!(
            "{{ memory: 64MiB, ttl: 5m, max_answer: 2MiB, price: 0.25, replay_tokens_per_second: 80, \
             redis: 'rediss://u:p%40@h/2', encryption_key: {key} }}"
        ));
        let expected = Cache {
            memory_bytes: 64 << 20,
            ttl: Duration::from_secs(300),
            max_answer_bytes: 2 << 20,
            price_ppm: 250_000,
            replay_tokens_per_second: Some(80),
            redis: Some(Secret::new("rediss://u:p%40@h/2".to_owned())),
            encryption_key: Some(Secret::new(key)),
        };
        assert_eq!(cache.unwrap(), expected);
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for (cache, expected) in [
            (
                "{ redis: 127.0.0.1:6379 }",
                ".redis: expected the URL of a Redis database",
            ),
            (
                "{ redis: redis://h/x }",
                ".redis: expected the URL of a Redis database",
            ),
            (
                "{ redis: 'http://u:s3cret@h' }",
                ".redis: expected the URL of a Redis database",
            ),
            (
                "{ encryption_key: aGVsbG8= }",
                ".encryption_key: expected 32 bytes, in base64 or hexadecimal (make one with: openssl rand -base64 32)",
            ),
            ("true", ": expected a mapping, found a boolean"),
            ("{ memory: 1KiB }", ".memory: must be at least 1MiB"),
            ("{ memory: 0 }", ".memory: `0` is not a size"),
            ("{ ttl: 0s }", ".ttl: `0s` is not a duration above zero"),
            ("{ max_answer: 1GiB }", ".max_answer: must be at most 32MiB"),
            ("{ price: 2 }", ".price: expected a number from 0 to 1"),
            (
                "{ replay_tokens_per_second: 0 }",
                ".replay_tokens_per_second: must be above 0",
            ),
            (
                "{ memory: 1MiB }",
                ": `max_answer` must be at most half of `memory`",
            ),
            ("{ size: 5MiB }", ".size: unknown key"),
        ] {
            let found = parse(cache).unwrap_err();
            let expected = format!("t.yaml:3: cache{expected}");
            assert!(
                found.len() == 1 && found[0].starts_with(&expected),
                "{cache}: {found:?}"
            );
        }
    }
}
