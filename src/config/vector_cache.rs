//! The `vector_cache` section: answers to questions that mean the same.
//!
//! Owns its keys and defaults. Does not handle which rules use it (see `models::reuse`), what the other sections must
//! have for it (see `validate::caching`), nor how questions are compared (see `cache::meaning`). What cannot be read is
//! reported with its place.

use std::path::PathBuf;
use std::time::Duration;

use super::cache::read_memory;
use super::document::{Located, Node};
use super::redis_url::RedisUrl;
use crate::secret::Secret;

/// The only path of `embedding_endpoint`.
const EMBEDDINGS: &str = "/v1/embeddings";
/// The most numbers of a vector.
const MOST_DIMENSIONS: u32 = 16_384;
const MOST_TURNS: u32 = 100;
const MOST_TEMPERATURE: u32 = 2;
const MOST_TIMEOUT: Duration = Duration::from_secs(60);

/// How questions are compared, and where they are kept.
#[derive(Clone, Debug, PartialEq)]
pub struct VectorCache {
    /// Whether it is used.
    pub is_enabled: bool,
    /// What keeps the questions.
    pub provider: VectorProvider,
    /// Where that is: a database as a URL. `None` for memory alone.
    pub url: Option<Secret>,
    /// The key that it asks for. A Redis has its password in the URL.
    pub api_key: Option<Secret>,
    /// The memory of all questions and their answers, in bytes.
    pub memory_bytes: usize,
    /// The file in which they are kept from one start to the next.
    pub file: Option<PathBuf>,
    /// The model that makes vectors. A rule of ours serves it.
    pub embedding_model: Located<String>,
    /// How many numbers it is asked for; `None` for as many as it usually gives.
    pub dimensions: Option<u32>,
    /// The least similarity of two questions that may have one answer: above 0, and 1 at most. `None` only where it
    /// is not used, or is to be found out.
    pub threshold: Option<f32>,
    /// For how long an answer may be used; `None` for what its rule says.
    pub ttl: Option<Duration>,
    /// The most messages of the user in a request that is compared.
    pub max_turns: usize,
    /// The highest temperature of such a request.
    pub max_temperature: f64,
    /// How long a request waits for its vector and the comparison.
    pub timeout: Duration,
}

/// What keeps the questions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum VectorProvider {
    /// The process itself.
    #[default]
    Memory,
    /// A Redis that searches vectors.
    Redis,
    /// Qdrant.
    Qdrant,
    /// Weaviate.
    Weaviate,
    /// Milvus.
    Milvus,
}

impl VectorProvider {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Memory,
        Self::Redis,
        Self::Qdrant,
        Self::Weaviate,
        Self::Milvus,
    ];

    /// Its name in a configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Redis => "redis",
            Self::Qdrant => "qdrant",
            Self::Weaviate => "weaviate",
            Self::Milvus => "milvus",
        }
    }
}

impl VectorCache {
    /// It, where it is used.
    pub fn enabled(section: Option<&Located<Self>>) -> Option<&Self> {
        let section = section.map(|section| &section.value);
        section.filter(|section| section.is_enabled)
    }
}

/// Reads the section.
pub fn read(node: &Node<'_>) -> Option<Located<VectorCache>> {
    let mut section = node.section()?;
    let enabled = section.take("enabled").map(|n| n.boolean());
    let provider = section.take("provider").map(|n| read_provider(&n));
    let url = section.take("url");
    let api_key = section.take("api_key");
    let memory = section.take("memory").map(|n| read_memory(&n));
    let file = section.take("file").map(|n| n.path_beside());
    let endpoint = section.take("embedding_endpoint");
    let endpoint = endpoint.map(|n| read_endpoint(&n));
    let model = section.require("embedding_model");
    let model = model.map(|n| n.name().map(|name| n.locate(name)));
    let dimensions = section.take("dimensions");
    let dimensions = dimensions.map(|n| n.count(1, MOST_DIMENSIONS));
    let threshold = section.take("threshold").map(|n| read_threshold(&n));
    let ttl = section.take("ttl").map(|n| n.duration());
    let turns = section.take("max_turns").map(|n| n.count(1, MOST_TURNS));
    let temperature = section.take("max_temperature");
    let temperature = temperature.map(|n| n.number_up_to(MOST_TEMPERATURE));
    let timeout = section.take("timeout").map(|n| read_timeout(&n));
    section.finish();
    let provider = provider.unwrap_or(Some(VectorProvider::default()))?;
    let place = read_place(node, provider, (url, api_key))?;
    let is_memory = provider == VectorProvider::Memory;
    if !is_memory && (memory.is_some() || file.is_some()) {
        node.report(
            "`memory` and `file` are for the provider `memory`",
            Some("remove them"),
        );
        return None;
    }
    endpoint.unwrap_or(Some(()))?;
    Some(node.locate(VectorCache {
        is_enabled: enabled.unwrap_or(Some(true))?,
        provider,
        url: place.0,
        api_key: place.1,
        memory_bytes: memory.unwrap_or(Some(64 << 20))?,
        file: given(file)?,
        embedding_model: model??,
        dimensions: given(dimensions)?,
        threshold: given(threshold)?,
        ttl: given(ttl)?,
        max_turns: turns.unwrap_or(Some(1))? as usize,
        max_temperature: temperature.unwrap_or(Some(1.0))?,
        timeout: timeout.unwrap_or(Some(Duration::from_secs(1)))?,
    }))
}

/// What was read of a key that may be missing; the outer `None` where it could not be read.
fn given<T>(read: Option<Option<T>>) -> Option<Option<T>> {
    read.map_or(Some(None), |read| read.map(Some))
}

fn read_provider(node: &Node<'_>) -> Option<VectorProvider> {
    let name = node.text()?;
    let found = VectorProvider::ALL.into_iter().find(|p| p.name() == name);
    if found.is_none() {
        node.report("expected memory, redis, qdrant, weaviate or milvus", None);
    }
    found
}

/// The URL and the key of a database. What is said of them never has them in it.
fn read_place(
    node: &Node<'_>,
    provider: VectorProvider,
    (url, key): (Option<Node<'_>>, Option<Node<'_>>),
) -> Option<(Option<Secret>, Option<Secret>)> {
    if provider == VectorProvider::Memory {
        if url.is_some() || key.is_some() {
            let hint = "write the database's name as the provider, or remove them";
            node.report("`url` and `api_key` are for a database", Some(hint));
            return None;
        }
        return Some((None, None));
    }
    let Some(url) = url else {
        let example = example(provider);
        node.report("`url` is missing", Some(&format!("as in url: {example}")));
        return None;
    };
    let text = Secret::new(url.name()?);
    let is_url = match provider {
        VectorProvider::Redis => RedisUrl::read(&text).is_some(),
        _ => is_base_url(text.expose()),
    };
    if !is_url {
        let hint = format!("as in {}", example(provider));
        url.report(
            format!("expected the URL of {}", provider.name()),
            Some(&hint),
        );
        return None;
    }
    match (provider, key) {
        (VectorProvider::Redis, Some(key)) => {
            key.report(
                "the password of a Redis stands in its URL",
                Some(example(provider)),
            );
            None
        }
        (_, Some(key)) => Some((Some(text), Some(Secret::new(key.name()?)))),
        (_, None) => Some((Some(text), None)),
    }
}

fn example(provider: VectorProvider) -> &'static str {
    match provider {
        VectorProvider::Memory | VectorProvider::Redis => "redis://:PASSWORD@127.0.0.1:6379/0",
        VectorProvider::Qdrant => "http://127.0.0.1:6333",
        VectorProvider::Weaviate => "http://127.0.0.1:8080",
        VectorProvider::Milvus => "http://127.0.0.1:19530",
    }
}

/// Whether it is http:// or https://, a host, and perhaps a path: no user, no query.
fn is_base_url(text: &str) -> bool {
    let Ok(url) = text.parse::<http::Uri>() else {
        return false;
    };
    let authority = url.authority();
    let has_host = authority
        .is_some_and(|authority| !authority.host().is_empty() && !authority.as_str().contains('@'));
    matches!(url.scheme_str(), Some("http" | "https")) && has_host && url.query().is_none()
}

fn read_endpoint(node: &Node<'_>) -> Option<()> {
    if node.text()? == EMBEDDINGS {
        return Some(());
    }
    node.report(
        "expected /v1/embeddings",
        Some("the rule that serves `embedding_model` says which upstream is asked"),
    );
    None
}

/// More than 1 is no similarity, and 0 would answer anything with anything.
#[expect(
    clippy::cast_possible_truncation,
    reason = "a number from 0 to 1, with more digits than similarities have"
)]
fn read_threshold(node: &Node<'_>) -> Option<f32> {
    let threshold = node.number_up_to(1)? as f32;
    if threshold > 0.0 {
        return Some(threshold);
    }
    node.report(
        "must be above 0",
        Some("`tollgate cache calibrate` proposes one for your embedding model"),
    );
    None
}

fn read_timeout(node: &Node<'_>) -> Option<Duration> {
    let timeout = node.duration()?;
    if timeout > MOST_TIMEOUT {
        node.report("must be at most 1m", None);
        return None;
    }
    Some(timeout)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Variables};

    fn parse(section: &str) -> Result<VectorCache, Vec<String>> {
        let text = format!(
            "upstreams: {{ a: {{ base_url: http://a }} }}\n\
             models: [{{ match: e, targets: [{{ upstream: a }}] }}, \
             {{ match: m, cache: {{ by_meaning: true }}, targets: [{{ upstream: a }}] }}]\n\
             vector_cache: {section}\n"
        );
        match Config::parse("t.yaml", &text, &Variables::default()) {
            Ok(config) => Ok(config.vector_cache.unwrap().value),
            Err(problems) => Err(problems.0.iter().map(ToString::to_string).collect()),
        }
    }

    #[test]
    fn a_model_and_a_threshold_are_enough() {
        let cache = parse("{ embedding_model: e, threshold: 0.94 }").unwrap();
        assert!(cache.is_enabled);
        assert_eq!(cache.embedding_model.value, "e");
        assert_eq!(cache.threshold, Some(0.94));
        assert_eq!(cache.provider, VectorProvider::Memory);
        assert_eq!((cache.memory_bytes, cache.file), (64 << 20, None));
        assert_eq!((cache.ttl, cache.dimensions), (None, None));
        assert_eq!(
            (cache.max_turns, cache.timeout),
            (1, Duration::from_secs(1))
        );
    }

    #[test]
    fn everything_can_be_said() {
        let cache = parse(
            "{ enabled: true, provider: memory, memory: 8MiB, file: /var/q, embedding_endpoint: /v1/embeddings, \
             embedding_model: e, dimensions: 256, threshold: 1, ttl: 5m, max_turns: 3, max_temperature: 0.3, \
             timeout: 200ms }",
        )
        .unwrap();
        assert_eq!(cache.provider, VectorProvider::Memory);
        assert_eq!(cache.memory_bytes, 8 << 20);
        assert_eq!(cache.file, Some(PathBuf::from("/var/q")));
        assert_eq!((cache.threshold, cache.dimensions), (Some(1.0), Some(256)));
        assert_eq!(cache.ttl, Some(Duration::from_secs(300)));
        assert_eq!((cache.max_turns, cache.max_temperature), (3, 0.3));
        assert_eq!(cache.timeout, Duration::from_millis(200));
    }

    #[test]
    fn a_database_has_a_url_and_some_have_a_key() {
        let parse = |place: &str| {
            parse(&format!(
                "{{ embedding_model: e, threshold: 0.9, {place} }}"
            ))
        };
        let redis = parse("provider: redis, url: 'redis://:p@h/1'").unwrap();
        assert_eq!(redis.provider, VectorProvider::Redis);
        for (provider, place) in [
            (
                VectorProvider::Qdrant,
                "provider: qdrant, url: 'http://h:6333', api_key: k",
            ),
            (
                VectorProvider::Weaviate,
                "provider: weaviate, url: 'https://h', api_key: k",
            ),
            (
                VectorProvider::Milvus,
                "provider: milvus, url: 'http://h:19530/x', api_key: 'root:Milvus'",
            ),
        ] {
            let cache = parse(place).unwrap();
            assert_eq!(cache.provider, provider);
            assert!(cache.url.is_some() && cache.api_key.is_some());
        }
    }

    #[test]
    fn a_database_that_cannot_be_meant_is_refused() {
        let parse = |place: &str| {
            parse(&format!(
                "{{ embedding_model: e, threshold: 0.9, {place} }}"
            ))
        };
        for (place, expected) in [
            (
                "url: 'http://h'",
                ": `url` and `api_key` are for a database",
            ),
            ("provider: redis", ": `url` is missing (as in url: redis://"),
            (
                "provider: redis, url: 'http://h'",
                ".url: expected the URL of redis",
            ),
            (
                "provider: redis, url: 'redis://h', api_key: k",
                ".api_key: the password of a Redis stands",
            ),
            (
                "provider: qdrant, url: 'http://u:s3cret@h'",
                ".url: expected the URL of qdrant",
            ),
            (
                "provider: qdrant, url: 'http://h?a=b'",
                ".url: expected the URL of qdrant",
            ),
            (
                "provider: qdrant, url: 'h:6333'",
                ".url: expected the URL of qdrant",
            ),
            (
                "provider: qdrant, url: 'http://h', file: f",
                ": `memory` and `file` are for the provider `memory`",
            ),
            (
                "provider: pinecone",
                ".provider: expected memory, redis, qdrant, weaviate or milvus",
            ),
        ] {
            let found = parse(place).unwrap_err();
            let expected = format!("t.yaml:3: vector_cache{expected}");
            assert!(
                found.len() == 1 && found[0].starts_with(&expected),
                "{place}: {found:?}"
            );
            assert!(!found[0].contains("s3cret"), "{found:?}");
        }
    }

    #[test]
    fn one_that_is_not_used_needs_no_threshold() {
        let cache = parse("{ enabled: false, embedding_model: e }").unwrap();
        assert!(!cache.is_enabled);
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for (section, expected) in [
            ("{ threshold: 0.9 }", ": `embedding_model` is missing"),
            (
                "{ embedding_model: e }",
                ": `threshold` is missing: each embedding model has its own",
            ),
            (
                "{ embedding_model: e, threshold: 0 }",
                ".threshold: must be above 0",
            ),
            (
                "{ embedding_model: e, threshold: 94 }",
                ".threshold: expected a number from 0 to 1",
            ),
            (
                "{ embedding_model: none, threshold: 0.9 }",
                ".embedding_model: no rule serves the embedding model `none`",
            ),
            (
                "{ embedding_model: e, threshold: 0.9, embedding_endpoint: /embed }",
                ".embedding_endpoint: expected /v1/embeddings",
            ),
            (
                "{ embedding_model: e, threshold: 0.9, memory: 1KiB }",
                ".memory: must be at least 1MiB",
            ),
            (
                "{ embedding_model: e, threshold: 0.9, max_temperature: 3 }",
                ".max_temperature: expected a number from 0 to 2",
            ),
            (
                "{ embedding_model: e, threshold: 0.9, timeout: 2m }",
                ".timeout: must be at most 1m",
            ),
            (
                "{ embedding_model: e, threshold: 0.9, max_turns: 0 }",
                ".max_turns: ",
            ),
        ] {
            let found = parse(section).unwrap_err();
            let expected = format!("t.yaml:3: vector_cache{expected}");
            assert!(
                found.len() == 1 && found[0].starts_with(&expected),
                "{section}: {found:?}"
            );
        }
    }
}
