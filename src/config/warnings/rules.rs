//! What a model rule says that can have no effect.
//!
//! Owns these warnings: they need the rule's targets, its fallbacks and its upstreams. Does not handle what is refused
//! (see `models` and `validate`). Cannot fail.

use std::collections::BTreeSet;

use crate::config::document::Context;
use crate::config::{Choose, Config, ModelRule, Target};
use crate::routing::Index;

/// Notes the warnings.
pub(super) fn check(config: &Config, context: &Context<'_>) {
    for rule in &config.models {
        let place = &rule.matcher.place;
        if context.has_mistake_in(&place.path) {
            continue;
        }
        let has_one = rule.targets.len() == 1 && rule.fallback.is_empty();
        if has_one && rule.hedge_after.is_some() {
            let message = "`hedge_after` has no effect: the rule has one target and no fallback";
            context.warn(
                place,
                message.to_owned(),
                "add another target or a fallback",
            );
        }
        if rule.targets.len() == 1 && rule.choose != Choose::Weighted {
            let message = "`choose` has no effect: the rule has one target";
            context.warn(
                place,
                message.to_owned(),
                "add another target, or leave it out",
            );
        }
        let has_prices = !config.prices.is_empty();
        if rule.choose == Choose::Cheapest && rule.targets.len() > 1 && !has_prices {
            let message = "`choose: cheapest` has no effect: there are no `prices`";
            context.warn(
                place,
                message.to_owned(),
                "add the prices of the targets' models",
            );
        }
        if rule.continues && rule.commits_whole {
            let message = "`on_cut: continue` has no effect with `commit: whole`: nothing passes before it is whole";
            context.warn(place, message.to_owned(), "leave one of them out");
        } else if rule.continues && !goes_on(rule, config) {
            let message = "`on_cut: continue` has no effect: no upstream of the rule or of its fallbacks has a `prefill`";
            let hint = "write prefill: at an upstream that can go on with a message";
            context.warn(place, message.to_owned(), hint);
        }
    }
}

/// Whether some upstream of the rule, or of its fallbacks and theirs, can go on with what another one has begun.
fn goes_on(rule: &ModelRule, config: &Config) -> bool {
    let index = Index::new(config.models.iter().map(|rule| &rule.matcher.value));
    let can = |target: &Target| {
        let mut upstreams = config.upstreams.iter();
        upstreams.any(|u| u.name.value == target.upstream.value && u.prefill.is_possible())
    };
    let mut rules = vec![rule];
    // Fallbacks in a circle are a mistake, which is told elsewhere.
    let mut seen = BTreeSet::new();
    while let Some(rule) = rules.pop() {
        if rule.targets.iter().any(can) {
            return true;
        }
        let served = rule
            .fallback
            .iter()
            .filter_map(|fallback| index.find(&fallback.model.value));
        let new = served.filter(|position| seen.insert(*position));
        rules.extend(new.filter_map(|position| config.models.get(position)));
    }
    false
}
