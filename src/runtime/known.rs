//! Which labels a snapshot's metrics can have.
//!
//! Owns finding the pairs of a rule and an upstream that requests can really have: a rule's own
//! targets and those of its fallbacks, each once, not the product of all rules and upstreams. Does
//! not handle which series begin at zero (see `observe/initial_series.rs`). Cannot fail.

use super::{Rule, Runtime};
use crate::observe::initial_series::Names;
use crate::observe::metrics::OTHER;

/// The rule label of what passes unread.
pub const PASSTHROUGH: &str = "passthrough";
/// The rule label of what is forwarded by prefix.
pub const ROUTE: &str = "route";

/// What the configuration of a snapshot names.
pub fn known(runtime: &Runtime) -> Names<'_> {
    let name = |position: usize| runtime.upstreams.get(position).map(|u| u.name.as_str());
    let routes = runtime.routes.iter().filter_map(|route| {
        let upstream = name(route.upstream)?;
        Some((ROUTE, route.prefix.as_str(), upstream))
    });
    let tenants = runtime.tenants.iter().chain(&runtime.anonymous);
    let mut homes: Vec<usize> = tenants.filter_map(|tenant| tenant.home).collect();
    homes.sort_unstable();
    homes.dedup();
    let homes = homes.into_iter().filter_map(name);
    Names {
        upstreams: runtime.upstreams.iter().map(|u| u.name.as_str()).collect(),
        rules: runtime
            .rules
            .iter()
            .chain(runtime.home_rules.values())
            .flat_map(|r| pairs(r, runtime))
            .collect(),
        tunnelled: homes
            .map(|upstream| (PASSTHROUGH, OTHER, upstream))
            .chain(routes)
            .collect(),
        reusing: runtime
            .rules
            .iter()
            .filter(|rule| rule.reuse.is_some())
            .map(|rule| rule.label.as_str())
            .collect(),
    }
}

fn pairs<'r>(rule: &'r Rule, runtime: &'r Runtime) -> Vec<(&'r str, &'r str)> {
    let fallbacks = rule.fallbacks.iter().filter_map(|f| runtime.fallback(f));
    let rules = std::iter::once(rule).chain(fallbacks.map(AsRef::as_ref));
    let targets = rules.flat_map(|rule| rule.targets.all());
    let mut positions: Vec<usize> = targets.map(|target| target.upstream).collect();
    positions.sort_unstable();
    positions.dedup();
    let upstreams = positions
        .into_iter()
        .filter_map(|p| runtime.upstreams.get(p));
    upstreams
        .map(|upstream| (rule.label.as_str(), upstream.name.as_str()))
        .collect()
}
