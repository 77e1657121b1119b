//! What a model rule says that can have no effect.
//!
//! Owns these warnings: they need the rule's targets, its fallbacks and its upstreams. Does not handle what is refused
//! (see `models` and `validate`). Cannot fail.

use crate::config::document::Context;
use crate::config::{Choose, Config, ModelRule};

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

/// Whether some upstream can go on with what another one has begun.
fn goes_on(rule: &ModelRule, config: &Config) -> bool {
    let fallbacks = rule.fallback.iter().filter_map(|fallback| {
        let mut rules = config.models.iter();
        rules.find(|rule| rule.matcher.value.meets(&fallback.model.value))
    });
    let targets = fallbacks.chain([rule]).flat_map(|rule| &rule.targets);
    let can = |name: &str| {
        let mut upstreams = config.upstreams.iter();
        upstreams.any(|u| u.name.value == name && u.prefill.is_possible())
    };
    // Fallbacks of fallbacks are not looked at: one of them may do.
    targets
        .map(|target| target.upstream.value.as_str())
        .any(can)
        || !rule.fallback.is_empty() && has_chain(rule, config)
}

/// Whether a fallback of the rule has fallbacks itself.
fn has_chain(rule: &ModelRule, config: &Config) -> bool {
    let mut fallbacks = rule.fallback.iter();
    fallbacks.any(|fallback| {
        let mut rules = config.models.iter();
        let served = rules.find(|rule| rule.matcher.value.meets(&fallback.model.value));
        served.is_some_and(|rule| !rule.fallback.is_empty())
    })
}
