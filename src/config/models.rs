//! The `models` section: what clients may ask for, and who serves it.
//!
//! Owns its keys. Refuses to know whether the upstreams that it names exist: `validate` does.

use super::document::{Located, Node};
use super::manners::{self, Manners};
use super::upstreams::read_weight;

/// One model rule.
#[derive(Clone, Debug)]
pub struct ModelRule {
    /// Which names it answers.
    pub matcher: Located<Matcher>,
    /// Who serves them; never empty.
    pub targets: Vec<Target>,
    /// Names served when the targets fail, in this order.
    pub fallback: Vec<Located<String>>,
}

/// Which names a rule answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Matcher {
    /// This name alone.
    Exact(String),
    /// Names that begin with it; empty for all names, written `"*"`.
    Prefix(String),
    /// Names that contain it.
    Keyword(String),
}

impl Matcher {
    /// The rule's name in metrics, logs and tables: `gpt-4o`, `deepseek-*`, `*gpt-4*`.
    pub fn label(&self) -> String {
        match self {
            Self::Exact(name) => name.clone(),
            Self::Prefix(prefix) => format!("{prefix}*"),
            Self::Keyword(word) => format!("*{word}*"),
        }
    }
}

/// An upstream and the model to ask it for.
#[derive(Clone, Debug)]
pub struct Target {
    /// The upstream's name.
    pub upstream: Located<String>,
    /// The name to ask for; `None` passes on what the client asked.
    pub model: Option<String>,
    /// Its share against its siblings.
    pub weight: u32,
    /// What it wants changed in requests and answers.
    pub manners: Manners,
}

/// Reads the section.
pub fn read(node: &Node<'_>) -> Vec<ModelRule> {
    let rules = node.list().unwrap_or_default();
    if node.is_list() && rules.is_empty() {
        node.report(
            "at least one rule is needed",
            Some("- { match: gpt-4o, targets: [{ upstream: NAME }] }"),
        );
    }
    rules.iter().filter_map(read_rule).collect()
}

fn read_rule(node: &Node<'_>) -> Option<ModelRule> {
    let mut section = node.section()?;
    let matcher = section
        .require("match")
        .and_then(|n| Some(n.locate(read_matcher(&n)?)));
    let targets = section.require("targets").map(|n| read_targets(&n));
    let fallback = section.take("fallback").and_then(|n| n.texts());
    section.finish();
    Some(ModelRule {
        matcher: matcher?,
        targets: targets?,
        fallback: fallback.unwrap_or_default(),
    })
}

fn read_matcher(node: &Node<'_>) -> Option<Matcher> {
    if !node.is_mapping() {
        return node.name().map(|name| match name.as_str() {
            "*" => Matcher::Prefix(String::new()),
            _ => Matcher::Exact(name),
        });
    }
    let mut section = node.section()?;
    let prefix = section.take("prefix").map(|n| n.name());
    let keyword = section.take("keyword").map(|n| n.name());
    section.finish();
    match (prefix, keyword) {
        (Some(prefix), None) => prefix.map(Matcher::Prefix),
        (None, Some(keyword)) => keyword.map(Matcher::Keyword),
        _ => {
            node.report(
                "expected one of `prefix` and `keyword`",
                Some("match: gpt-4o, match: { prefix: gpt- } or match: { keyword: gpt }"),
            );
            None
        }
    }
}

fn read_targets(node: &Node<'_>) -> Vec<Target> {
    let Some(items) = node.list() else {
        return Vec::new();
    };
    let targets: Vec<Option<Target>> = items.iter().map(read_target).collect();
    if targets.is_empty() {
        node.report(
            "at least one target is needed",
            Some("targets: [{ upstream: NAME }]"),
        );
    } else if targets.iter().flatten().all(|t| t.weight == 0) && targets.iter().all(Option::is_some)
    {
        node.report("at least one target needs a weight above 0", None);
    }
    targets.into_iter().flatten().collect()
}

fn read_target(node: &Node<'_>) -> Option<Target> {
    let mut section = node.section()?;
    let upstream = section
        .require("upstream")
        .and_then(|n| Some(n.locate(n.name()?)));
    let model = section.take("model").and_then(|n| n.name());
    let weight = section.take("weight").map(|n| read_weight(&n));
    let manners = manners::read(&mut section);
    section.finish();
    Some(Target {
        upstream: upstream?,
        model,
        weight: weight.unwrap_or(Some(1))?,
        manners,
    })
}
