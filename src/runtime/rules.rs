//! Model rules as they run.
//!
//! Owns building them from what the operator wrote, with the fallbacks of fallbacks, and the rules by
//! which requests that name no model go to a home. Does not find the rule of a name (see `routing`).
//! Cannot fail: validation has seen to it that each name leads somewhere.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::metered::{self, Metered};
use super::usual::UsualOutput;
use super::{Reuse, Transforms, home, position};
use crate::config::{self, Choose, Config, Ejection, ModelRule, Passthrough};
use crate::limits::{Limits, ScopeName};
use crate::openai::demand::Demand;
use crate::openai::endpoint::Exchange;
use crate::openai::verdict::Reasons;
use crate::routing::{Index, Matcher, Target, Targets};
use crate::upstreams::{Breaker, Registry, Speed, TargetState, Upstream};

/// As many fallbacks of a rule are known, those of its fallbacks included.
const MAX_FALLBACKS: usize = 16;

/// A model rule.
#[derive(Debug)]
pub struct Rule {
    /// Its name in metrics and logs.
    pub label: String,
    /// The name that it serves, where that is one alone.
    pub exact: Option<String>,
    /// What serves it.
    pub targets: Targets,
    /// Which of its targets with the same priority is asked first.
    pub choose: Choose,
    /// After what time without output a second candidate is asked beside the first; `None` for never.
    pub hedge_after: Option<Duration>,
    /// The failures on which another target is asked.
    pub on: Reasons,
    /// Whether a fallback is asked before the same target is asked once more.
    pub changes_model_at_once: bool,
    /// Whether a client gets an answer once it is whole, and nothing of it before.
    pub commits_whole: bool,
    /// Whether another upstream goes on with a chat whose stream broke after output.
    pub continues: bool,
    /// What is asked for when the targets fail, in this order; the fallbacks of fallbacks follow.
    pub fallbacks: Vec<Fallback>,
    /// How long a client that waits for a stream hears nothing.
    pub keepalive_after: Option<Duration>,
    /// Whether events that cannot be read are kept from the client.
    pub drops_malformed: bool,
    /// Whether requests of one conversation go to the same target and key.
    pub follows_conversations: bool,
    /// How usage is counted where the client has left.
    pub on_client_gone: config::OnClientGone,
    /// What is limited of it.
    pub metered: Option<Metered>,
    /// Which of its answers are used again; `None` where none are.
    pub reuse: Option<Reuse>,
    /// How long its answers usually are.
    pub output: UsualOutput,
    /// What each target wants changed, by its position.
    transforms: Vec<Transforms>,
    /// What has been learnt of each target, by its position.
    states: Vec<Arc<TargetState>>,
    /// The upstreams that are asked for whatever name the client gives.
    pub(super) passes_to: Vec<usize>,
    passes_all: bool,
}

impl Rule {
    /// Whether each of its targets is asked for whatever name the client gives.
    pub fn passes_all(&self) -> bool {
        self.passes_all
    }

    /// What the target at a position wants changed.
    pub fn transforms(&self, position: usize) -> Option<&Transforms> {
        self.transforms.get(position)
    }

    /// What a request may use, whichever target serves it: a target may set or add a bound of its own.
    pub fn demand(&self, endpoint: &Exchange, asked: Demand) -> Demand {
        let transforms = self.transforms.iter();
        let demands = transforms.map(|target| target.edits(endpoint).demand(asked));
        // Without any bound it may use more than with one.
        let most = demands.max_by_key(|demand| demand.max_output.unwrap_or(u64::MAX));
        most.unwrap_or(asked)
    }

    /// The breaker of the target at a position.
    pub fn breaker(&self, position: usize) -> Option<&Breaker> {
        self.states.get(position).map(|state| &state.breaker)
    }

    /// How fast the target at a position answers.
    pub fn speed(&self, position: usize) -> Option<&Speed> {
        self.states.get(position).map(|state| &state.speed)
    }

    /// When the target at a position, of this upstream, is ejected; `None` where nothing else can be
    /// asked.
    pub fn guard<'r>(
        &'r self,
        position: usize,
        upstream: &'r Upstream,
    ) -> Option<(&'r Breaker, &'r Ejection)> {
        let has_several = self.states.len() + self.fallbacks.len() > 1;
        let breaker = self.breaker(position).filter(|_| has_several)?;
        Some((breaker, upstream.pool.ejection()?))
    }

    /// Whether one more target may be ejected: at most half of those that the rule can ask.
    pub fn may_eject(&self) -> bool {
        let weighted = self.targets.all().iter().filter(|target| target.weight > 0);
        let out = self
            .states
            .iter()
            .filter(|state| state.breaker.is_ejected());
        (out.count() + 1) * 2 <= weighted.count() + self.fallbacks.len()
    }
}

/// A client that waits for a whole stream hears something so often.
const WHOLE_KEEPALIVE: Duration = Duration::from_secs(15);

/// What is asked for when the targets of a rule fail.
#[derive(Debug)]
pub struct Fallback {
    /// The model.
    pub model: String,
    /// The position of the rule that serves it.
    pub(super) rule: usize,
    /// The failures on which it is asked for.
    pub on: Reasons,
}

/// A rule for each upstream that is a home: requests that name no model go there by it.
pub(super) fn home_rules(
    config: &Config,
    index: &Index,
    registry: &Registry,
    limits: &Limits,
) -> HashMap<usize, Arc<Rule>> {
    let tenants = config.tenants.iter();
    let homes = tenants.filter_map(|tenant| tenant.passthrough.as_ref());
    let homes = homes.chain([&config.server.passthrough]);
    let rules = homes.filter_map(|passthrough| {
        let Passthrough::To(name) = passthrough else {
            return None;
        };
        let written = ModelRule::to_home(name.clone());
        Some((
            home(passthrough, config)?,
            rule(&written, config, index, registry, limits),
        ))
    });
    rules.collect()
}

/// Builds a rule from what the operator wrote.
pub(super) fn rule(
    written: &ModelRule,
    config: &Config,
    index: &Index,
    registry: &Registry,
    limits: &Limits,
) -> Arc<Rule> {
    let matcher = &written.matcher.value;
    let label = matcher.label();
    let (mut targets, mut transforms, mut states) = (Vec::new(), Vec::new(), Vec::new());
    for target in &written.targets {
        let name = &target.upstream.value;
        let Some(upstream) = position(name, config) else {
            continue;
        };
        if let Some(asked) = config.upstreams.get(upstream) {
            transforms.push(Transforms::new(&target.transforms, &asked.dialect));
            states.push(registry.target(&label, name, target.model.as_deref()));
            targets.push(Target {
                upstream,
                model: target.model.clone(),
                weight: target.weight,
                priority: target.priority,
            });
        }
    }
    let unnamed = targets.iter().filter(|target| target.model.is_none());
    let passes_to: Vec<usize> = unnamed.map(|target| target.upstream).collect();
    let scope = ScopeName::Rule(label.clone());
    Arc::new(Rule {
        metered: metered::metered(limits, scope, written.limits.as_ref(), None),
        reuse: Reuse::new(written, config),
        output: UsualOutput::default(),
        label,
        exact: match matcher {
            Matcher::Exact(name) => Some(name.clone()),
            Matcher::Prefix(_) | Matcher::Keyword(_) => None,
        },
        targets: Targets::new(targets),
        choose: written.choose,
        hedge_after: written.hedge_after,
        on: written.on,
        changes_model_at_once: written.changes_model_at_once,
        commits_whole: written.commits_whole,
        continues: written.continues,
        fallbacks: fallbacks(written, config, index),
        keepalive_after: written
            .keepalive_after
            .or(written.commits_whole.then_some(WHOLE_KEEPALIVE)),
        drops_malformed: written.drops_malformed,
        follows_conversations: written.follows_conversations,
        on_client_gone: written.on_client_gone,
        transforms,
        states,
        passes_all: passes_to.len() == written.targets.len(),
        passes_to,
    })
}

/// The fallbacks of a rule, then those of each of them, each once. Validation has seen to it that
/// none runs in a circle.
fn fallbacks(written: &ModelRule, config: &Config, index: &Index) -> Vec<Fallback> {
    let mut found: Vec<Fallback> = Vec::new();
    let mut rules = vec![written];
    while let Some(rule) = rules.pop() {
        for fallback in &rule.fallback {
            let model = &fallback.model.value;
            let Some(position) = index.find(model) else {
                continue;
            };
            let is_new = found.iter().all(|known| known.model != *model);
            if is_new && found.len() < MAX_FALLBACKS {
                found.push(Fallback {
                    model: model.clone(),
                    rule: position,
                    on: fallback.on,
                });
                rules.splice(0..0, config.models.get(position));
            }
        }
    }
    found
}
