//! The keys `cache` and `coalesce` of a rule: which of its answers are used again, and for whom.
//!
//! Owns their words. Does not handle the memory (see `config::cache`), nor how an answer is found (see
//! `gateway::exchange::cache`). Another word is reported with its place.

use std::time::Duration;

use crate::config::document::{Located, Node, Section};

/// Which answers of a rule are kept, and for whom.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Caching {
    /// For how long one may be used; `None` for what the `cache` section says.
    pub ttl: Option<Duration>,
    /// Who may get it.
    pub scope: CacheScope,
    /// Which requests may get one.
    pub when: CacheWhen,
    /// Whether one that calls tools is kept where the model may answer otherwise each time.
    pub tools: bool,
    /// Whether answers to questions that mean the same are used again.
    pub by_meaning: bool,
}

/// Who may get an answer that is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CacheScope {
    /// The tenant whose request it answered.
    #[default]
    Tenant,
    /// The credential with which it was asked for.
    Key,
    /// Every tenant that may ask for the model.
    Global,
}

impl CacheScope {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Tenant, Self::Key, Self::Global];

    /// Its name in a configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tenant => "tenant",
            Self::Key => "key",
            Self::Global => "global",
        }
    }
}

/// Which requests may get an answer that is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CacheWhen {
    /// Those to which the model answers the same each time, as far as they can say so.
    #[default]
    Deterministic,
    /// All of them.
    Always,
}

impl CacheWhen {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Deterministic, Self::Always];

    /// Its name in a configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Deterministic => "deterministic",
            Self::Always => "always",
        }
    }
}

/// Takes both keys of a rule.
pub(super) fn take(section: &mut Section<'_>) -> (Option<Located<Caching>>, Option<bool>) {
    let cache = section.take("cache");
    let cache = cache.and_then(|n| Some(n.locate(read(&n)?)));
    let coalesce = section.take("coalesce").and_then(|n| n.boolean());
    (cache, coalesce)
}

/// Reads `cache`: a mapping, or whether there is one.
fn read(node: &Node<'_>) -> Option<Caching> {
    if !node.is_mapping() {
        return match node.says_off() {
            true => None,
            false => node.boolean().map(|_| Caching::default()),
        };
    }
    let mut section = node.section()?;
    let ttl = section.take("ttl").and_then(|n| n.duration());
    let scope = section.take("scope").and_then(|n| read_scope(&n));
    let when = section.take("when").and_then(|n| read_when(&n));
    let tools = section.take("tools").and_then(|n| n.boolean());
    let by_meaning = section.take("by_meaning").and_then(|n| n.boolean());
    section.finish();
    Some(Caching {
        ttl,
        scope: scope.unwrap_or_default(),
        when: when.unwrap_or_default(),
        tools: tools.unwrap_or_default(),
        by_meaning: by_meaning.unwrap_or_default(),
    })
}

fn read_scope(node: &Node<'_>) -> Option<CacheScope> {
    let name = node.text()?;
    let found = CacheScope::ALL.into_iter().find(|s| s.name() == name);
    if found.is_none() {
        node.report("expected tenant, key or global", None);
    }
    found
}

fn read_when(node: &Node<'_>) -> Option<CacheWhen> {
    let name = node.text()?;
    let found = CacheWhen::ALL.into_iter().find(|w| w.name() == name);
    if found.is_none() {
        node.report("expected deterministic or always", None);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Variables};

    fn parse(keys: &str) -> Result<(Option<Caching>, Option<bool>), Vec<String>> {
        let text = format!(
            "upstreams: {{ a: {{ base_url: http://a }} }}\n\
             models: [{{ match: m, {keys}, targets: [{{ upstream: a }}] }}]\n"
        );
        match Config::parse("t.yaml", &text, &Variables::default()) {
            Ok(config) => {
                let rule = config.models.into_iter().next().unwrap();
                Ok((rule.cache.map(|cache| cache.value), rule.coalesce))
            }
            Err(problems) => Err(problems.0.iter().map(ToString::to_string).collect()),
        }
    }

    #[test]
    fn a_rule_uses_the_cache_where_it_says_so() {
        assert_eq!(parse("on: []").unwrap(), (None, None));
        assert_eq!(
            parse("cache: off, coalesce: true").unwrap(),
            (None, Some(true))
        );
        assert_eq!(
            parse("cache: true").unwrap(),
            (Some(Caching::default()), None)
        );
        assert_eq!(
            parse("cache: {}").unwrap(),
            (Some(Caching::default()), None)
        );
        let (caching, coalesce) =
            parse("cache: { ttl: 1d, scope: global, when: always, tools: true }, coalesce: false")
                .unwrap();
        let expected = Caching {
            ttl: Some(Duration::from_secs(24 * 3600)),
            scope: CacheScope::Global,
            when: CacheWhen::Always,
            tools: true,
            by_meaning: false,
        };
        assert_eq!((caching, coalesce), (Some(expected), Some(false)));
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for (keys, expected) in [
            ("cache: 5m", ".cache: expected true or false"),
            (
                "cache: { scope: user }",
                ".cache.scope: expected tenant, key or global",
            ),
            (
                "cache: { when: never }",
                ".cache.when: expected deterministic or always",
            ),
            ("cache: { ttl: 0 }", ".cache.ttl: `0` is not a duration"),
            ("cache: { memory: 1MiB }", ".cache.memory: unknown key"),
            ("coalesce: 7", ".coalesce: expected true or false"),
        ] {
            let found = parse(keys).unwrap_err();
            let expected = format!("t.yaml:2: models[0]{expected}");
            assert!(
                found.len() == 1 && found[0].starts_with(&expected),
                "{keys}: {found:?}"
            );
        }
    }
}
