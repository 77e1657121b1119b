//! The `models` section: what clients may ask for, and what serves it.
//!
//! Owns the keys of rules, targets and fallbacks; `matcher` reads names of models. Does not handle
//! whether the upstreams that it names exist (see `validate`). What cannot be read is reported with its
//! place.

mod choose;
mod matcher;
mod on_client_gone;
mod reuse;
mod transforms;

use std::time::Duration;

use super::document::{Located, Node};
use super::limits::{self, RateLimits};
use super::problem::nearest;
use crate::openai::verdict::{Reason, Reasons};
use crate::routing::Matcher;

pub use choose::Choose;
pub use matcher::read_all_allowed;
pub use on_client_gone::OnClientGone;
pub use reuse::{CacheScope, CacheWhen, Caching};
pub use transforms::{Streams, Transforms, check_field};

/// The name in metrics of the rule by which requests that name no model go to a home.
const HOME_RULE: &str = "passthrough";

/// One model rule.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelRule {
    /// Which names it serves.
    pub matcher: Located<Matcher>,
    /// What serves them; never empty.
    pub targets: Vec<Target>,
    /// Which of its targets with the same priority is asked first.
    pub choose: Choose,
    /// After what time without output a second candidate is asked beside the first; `None` for never.
    pub hedge_after: Option<Duration>,
    /// What is asked for when the targets fail, in this order.
    pub fallback: Vec<Fallback>,
    /// The failures on which another target or a fallback is asked.
    pub on: Reasons,
    /// Whether a fallback is asked before the same target is asked once more.
    pub changes_model_at_once: bool,
    /// Whether a client gets an answer once it is whole, and nothing of it before.
    pub commits_whole: bool,
    /// Whether another upstream goes on with a chat whose stream broke after output.
    pub continues: bool,
    /// How long a client that waits for a stream gets nothing; `None` for no bound.
    pub keepalive_after: Option<Duration>,
    /// Whether events of a stream that cannot be read are kept from the client.
    pub drops_malformed: bool,
    /// How usage is counted where the client has left.
    pub on_client_gone: OnClientGone,
    /// How much all tenants together may ask of it in a time.
    pub limits: Option<RateLimits>,
    /// Which of its answers are kept to be given again; `None` for none.
    pub cache: Option<Located<Caching>>,
    /// Whether equal requests at the same time share one answer; `None`: where its answers are kept.
    pub coalesce: Option<bool>,
    /// Whether requests of one conversation go to the same target and key while these are well.
    pub follows_conversations: bool,
}

impl ModelRule {
    /// The rule by which requests that name no model go to a home; no name is matched by it.
    pub fn to_home(upstream: Located<String>) -> Self {
        let name = HOME_RULE.to_owned();
        Self {
            matcher: Located {
                value: Matcher::Exact(name),
                place: upstream.place.clone(),
            },
            targets: vec![Target {
                upstream,
                model: None,
                weight: 1,
                priority: 0,
                transforms: Transforms::default(),
            }],
            choose: Choose::default(),
            hedge_after: None,
            fallback: Vec::new(),
            on: Reasons::moving_on(),
            changes_model_at_once: false,
            commits_whole: false,
            continues: false,
            keepalive_after: None,
            drops_malformed: false,
            on_client_gone: OnClientGone::default(),
            limits: None,
            cache: None,
            coalesce: None,
            follows_conversations: true,
        }
    }
}

/// What is asked for when the targets of a rule fail.
#[derive(Clone, Debug, PartialEq)]
pub struct Fallback {
    /// A model's name, which some rule serves.
    pub model: Located<String>,
    /// The failures on which it is asked for.
    pub on: Reasons,
}

/// An upstream and the model to ask it for.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    /// The upstream's name.
    pub upstream: Located<String>,
    /// The name to ask for; `None` for the client's own.
    pub model: Option<String>,
    /// Its share against its siblings of the same priority.
    pub weight: u32,
    /// The lowest comes first; a higher one is asked only when nothing lower can be.
    pub priority: u32,
    /// What it wants changed in requests and answers.
    pub transforms: Transforms,
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
        .and_then(|n| Some(n.locate(matcher::read(&n)?)));
    let targets = section.require("targets").map(|n| read_targets(&n));
    let choose = section.take("choose").and_then(|n| choose::read(&n));
    let hedge_after = section.take("hedge_after").and_then(|n| n.duration());
    let fallback = section.take("fallback");
    let on = section.take("on").map(|n| read_reasons(&n));
    let usual = on.unwrap_or_else(Reasons::to_another_model);
    let fallback = fallback.map(|n| read_fallbacks(&n, usual));
    let fallback_at = section.take("fallback_at");
    let fallback_at = fallback_at.and_then(|n| is_second(&n, "retried", "once"));
    let commits_whole = section.take("commit");
    let commits_whole = commits_whole.and_then(|n| is_second(&n, "output", "whole"));
    let continues = section.take("on_cut");
    let continues = continues.and_then(|n| is_second(&n, "error", "continue"));
    let keepalive_after = section.take("keepalive_after").and_then(|n| n.duration());
    let malformed = section.take("malformed_events");
    let drops_malformed = malformed.is_some_and(|n| match n.text().as_deref() {
        Some("drop") => true,
        Some("pass") | None => false,
        Some(_) => {
            n.report("expected pass or drop", None);
            false
        }
    });
    let on_client_gone = section.take("on_client_gone");
    let on_client_gone = on_client_gone.and_then(|n| on_client_gone::read(&n));
    let limits = limits::take(&mut section);
    let (cache, coalesce) = reuse::take(&mut section);
    let affinity = section.take("affinity").and_then(|n| read_affinity(&n));
    section.finish();
    Some(ModelRule {
        matcher: matcher?,
        targets: targets?,
        choose: choose.unwrap_or_default(),
        hedge_after,
        fallback: fallback.unwrap_or_default(),
        on: on.unwrap_or_else(Reasons::moving_on),
        changes_model_at_once: fallback_at.unwrap_or(false),
        commits_whole: commits_whole.unwrap_or(false),
        continues: continues.unwrap_or(false),
        keepalive_after,
        drops_malformed,
        on_client_gone: on_client_gone.unwrap_or_default(),
        limits,
        cache,
        coalesce,
        follows_conversations: affinity.unwrap_or(true),
    })
}

/// Whether the value is the second of these two words.
fn is_second(node: &Node<'_>, first: &str, second: &str) -> Option<bool> {
    let word = node.text()?;
    if word == first || word == second {
        return Some(word == second);
    }
    node.report(format!("expected {first} or {second}"), None);
    None
}

/// Whether conversations are followed.
fn read_affinity(node: &Node<'_>) -> Option<bool> {
    match node.text()?.as_str() {
        "conversation" => Some(true),
        "off" | "false" => Some(false),
        _ => {
            node.report("expected conversation or off", None);
            None
        }
    }
}

const ONE_FALLBACK: &str =
    "a fallback is asked for by name: write one that the rule serves, as in gpt-4o";
const ONE_TARGET: &str =
    "write one name, or leave `model` out to pass on what the client asked for";

fn read_fallbacks(node: &Node<'_>, usual: Reasons) -> Vec<Fallback> {
    let items = node.list().unwrap_or_default();
    let fallbacks = items.iter().filter_map(|item| read_fallback(item, usual));
    fallbacks.collect()
}

/// A model's name, or a mapping of one with the failures that lead to it, in place of the usual ones.
fn read_fallback(node: &Node<'_>, usual: Reasons) -> Option<Fallback> {
    if !node.is_mapping() {
        return Some(Fallback {
            model: node.locate(matcher::read_one(node, ONE_FALLBACK)?),
            on: usual,
        });
    }
    let mut section = node.section()?;
    let model = section
        .require("model")
        .and_then(|n| Some(n.locate(matcher::read_one(&n, ONE_FALLBACK)?)));
    let on = section.take("on").map(|n| read_reasons(&n));
    section.finish();
    Some(Fallback {
        model: model?,
        on: on.unwrap_or(usual),
    })
}

fn read_reasons(node: &Node<'_>) -> Reasons {
    let items = node.list().unwrap_or_default();
    let reasons = items.iter().filter_map(|item| {
        let name = item.name()?;
        let reason = Reason::parse(&name);
        if reason.is_none() {
            let names = || Reason::ALL.iter().map(|reason| reason.name());
            let hint = match nearest(&name, names()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("there are: {}", names().collect::<Vec<_>>().join(", ")),
            };
            item.report(format!("no failure is called `{name}`"), Some(&hint));
        }
        reason
    });
    reasons.collect()
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
        node.report(
            "at least one target needs a weight above 0",
            Some("leave `weight` out for 1, or raise it"),
        );
    }
    targets.into_iter().flatten().collect()
}

fn read_target(node: &Node<'_>) -> Option<Target> {
    let mut section = node.section()?;
    let upstream = section
        .require("upstream")
        .and_then(|n| Some(n.locate(n.name()?)));
    let model = section
        .take("model")
        .and_then(|n| matcher::read_one(&n, ONE_TARGET));
    let weight = section.take("weight").map(|n| n.weight());
    let priority = section.take("priority").and_then(|n| n.count(0, 100));
    let transforms = transforms::read(&mut section);
    section.finish();
    Some(Target {
        upstream: upstream?,
        model,
        weight: weight.unwrap_or(Some(1))?,
        priority: priority.unwrap_or(0),
        transforms,
    })
}
