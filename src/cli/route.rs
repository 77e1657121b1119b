//! What `tollgate check --model` prints: the targets that a request would try, and why.
//!
//! Owns the text. The gateway's own plan chooses the targets, on a snapshot in which every server is
//! healthy and every key is ready. Targets of one priority share the requests, so they are shown by
//! weight. It resolves no name and connects to nothing. Does not handle the states of servers and keys
//! in a running gateway (see `admin::status`). Fails for a tenant that the configuration lacks.

use super::table::{align, row};
use crate::auth::CallerState;
use crate::config::{Choose, Config, ModelRule, nearest};
use crate::gateway::Plan;
use crate::limits::Limits;
use crate::openai::model_name;
use crate::openai::verdict::Reason;
use crate::routing::{Matcher, Target};
use crate::runtime::{Rule, Runtime};
use crate::tenants::Tenant;
use crate::upstreams::Registry;

/// The route of one request.
pub struct Route {
    /// The text to print.
    pub text: String,
    /// Whether the request would be served.
    pub is_served: bool,
}

/// A target that may be asked, and when.
struct Step<'r> {
    /// The position of its fallback; `None` for a target of the requested model.
    fallback: Option<usize>,
    name: Option<&'r str>,
    target: &'r Target,
    upstream: &'r str,
    asked_for: Option<&'r str>,
    /// The failures after which it is asked.
    on: Vec<Reason>,
}

/// Describes the route of a request for `model`, of the tenant with this id or of any.
///
/// # Errors
/// No tenant has the id. The text is for the operator.
pub fn describe(config: &Config, model: &str, tenant: Option<&str>) -> Result<Route, String> {
    let runtime = snapshot(config)?;
    let any = Tenant::anonymous();
    let caller = match tenant {
        None => &any,
        Some(id) => runtime
            .tenant_called(id)
            .ok_or_else(|| unknown_tenant(id, config))?,
    };
    let mut facts = vec![
        row(&["model", model]),
        row(&["tenant", &describe_tenant(config, model, tenant)]),
    ];
    let Some(rule) = Plan::rule_for(&runtime, caller, model) else {
        facts.push(row(&["refused", &why_refused(caller, model)]));
        return Ok(Route {
            text: align(&facts).trim_end().to_owned(),
            is_served: false,
        });
    };
    let written = config.models.iter().enumerate();
    let mut written = written.filter(|(_, r)| r.matcher.value.label() == rule.label);
    if let Some((position, written)) = written.next() {
        let line = written.matcher.place.line.unwrap_or_default();
        let how = how(&written.matcher.value);
        let described = format!("{}, models[{position}] in line {line}: {how}", rule.label);
        facts.push(row(&["rule", &described]));
    }
    let others = overridden(config, rule, model);
    if !others.is_empty() {
        facts.push(row(&["overrides", &others.join(", ")]));
    }
    Ok(Route {
        text: format!("{}\n{}", align(&facts), describe_steps(&runtime, rule)),
        is_served: true,
    })
}

/// A snapshot in which every server has an address, as a plan skips a server without one. Nothing is
/// connected to, so each gets an address that needs no look-up.
fn snapshot(config: &Config) -> Result<Runtime, String> {
    let mut config = config.clone();
    config.upstreams.iter_mut().for_each(|u| u.proxy = None);
    let servers = config.upstreams.iter_mut().flat_map(|u| &mut u.servers);
    servers.for_each(|server| server.url.host = "127.0.0.1".to_owned());
    let built_in = Some(([127, 0, 0, 1], 0).into());
    let runtime = Runtime::new(
        &config,
        built_in,
        &Registry::default(),
        &Limits::new(),
        &CallerState::default(),
    );
    let tokio = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| format!("the route cannot be planned: {e}"))?;
    tokio.block_on(runtime.resolve_names());
    Ok(runtime)
}

fn unknown_tenant(id: &str, config: &Config) -> String {
    let known = || config.tenants.iter().map(|t| t.id.value.as_str());
    let hint = match nearest(id, known()) {
        Some(near) => format!("did you mean `{near}`?"),
        None if config.is_open() => "there are no tenants: leave it out".to_owned(),
        None if config.tenants.is_empty() => "the configuration has none".to_owned(),
        None => format!("tenants are: {}", known().collect::<Vec<_>>().join(", ")),
    };
    format!("--tenant: no tenant has the id `{id}` ({hint})")
}

fn describe_tenant(config: &Config, model: &str, tenant: Option<&str>) -> String {
    if config.is_open() {
        return "every client on this machine may ask for any model".to_owned();
    }
    if config.tenants.is_empty() {
        return "none that the configuration has; those that are made at run time may".to_owned();
    }
    let listed = |t: &crate::config::Tenant| {
        let names = t.models.as_ref()?.iter();
        Some(names.map(|name| name.value.clone()).collect::<Vec<_>>())
    };
    if let Some(id) = tenant {
        let mut tenants = config.tenants.iter();
        let found = tenants.find(|t| t.id.value == id);
        return match found.and_then(listed) {
            Some(names) => format!("{id} may ask for {} only", names.join(", ")),
            None => format!("{id} may ask for any model"),
        };
    }
    let may = |t: &&crate::config::Tenant| Tenant::new(t.id.value.clone(), listed(t)).allows(model);
    let (may, not): (Vec<_>, Vec<_>) = config.tenants.iter().partition(may);
    let ids = |tenants: &[&crate::config::Tenant]| {
        let ids = tenants.iter().map(|t| t.id.value.as_str());
        ids.collect::<Vec<_>>().join(", ")
    };
    match (may.as_slice(), not.as_slice()) {
        (may, []) => format!("any of {}", ids(may)),
        ([], not) => format!("none: {} may not ask for it", ids(not)),
        (may, not) => format!("{}; {} may not ask for it", ids(may), ids(not)),
    }
}

fn why_refused(caller: &Tenant, model: &str) -> String {
    if let Err(why) = model_name::check(model) {
        return format!("400 invalid_value: the name of the model is invalid: {why}");
    }
    let why = match caller.allows(model) {
        false => "it is not in the tenant's `models`",
        true => "no rule serves it, and there is none for \"*\"",
    };
    format!("404 model_not_found: {why}")
}

fn how(matcher: &Matcher) -> &'static str {
    match matcher {
        Matcher::Exact(_) => "exactly this name",
        Matcher::Prefix(prefix) if prefix.is_empty() => "any name that no other rule serves",
        Matcher::Prefix(_) => "the longest prefix that the name begins with",
        Matcher::Keyword(_) => "the first keyword that the name contains",
    }
}

/// The other rules that match the model. The rule that serves it overrides them.
fn overridden(config: &Config, rule: &Rule, model: &str) -> Vec<String> {
    let meets = |r: &&ModelRule| r.matcher.value.meets(model);
    let labels = config.models.iter().filter(meets);
    let labels = labels.map(|r| r.matcher.value.label());
    labels.filter(|label| *label != rule.label).collect()
}

fn describe_steps(runtime: &Runtime, rule: &Rule) -> String {
    let steps = steps(runtime, rule);
    if steps.is_empty() {
        return "No target of the rule has a server with a weight above 0.".to_owned();
    }
    let mut table = vec![row(&[
        "ORDER",
        "UPSTREAM",
        "SENT MODEL",
        "PRIORITY",
        "WEIGHT",
        "FALLBACK",
        "ASKED",
    ])];
    let tier = |step: &Step<'_>| (step.fallback, step.target.priority);
    let all = Reason::ALL.iter().copied();
    let failures: Vec<Reason> = all.filter(|reason| rule.on.contains(*reason)).collect();
    let mut order = 0;
    let mut last = None;
    for step in &steps {
        let here = tier(step);
        if last.replace(here) != Some(here) {
            order += 1;
        }
        let siblings = steps.iter().filter(|s| tier(s) == here);
        let total: u32 = siblings.map(|s| s.target.weight).sum();
        table.push(vec![
            order.to_string(),
            step.upstream.to_owned(),
            step.asked_for.unwrap_or("the same").to_owned(),
            step.target.priority.to_string(),
            step.target.weight.to_string(),
            step.name.unwrap_or("-").to_owned(),
            match (order, step.target.weight) {
                (1, weight) if weight == total => "first".to_owned(),
                (1, weight) if rule.choose == Choose::Weighted => {
                    format!("first, {weight} of {total} requests")
                }
                (1, _) => format!("first, if it is the best: choose: {}", rule.choose.name()),
                _ => after(&step.on, &failures),
            },
        ]);
    }
    let rest = match steps.len() {
        1 => "No other target is asked after a failure.".to_owned(),
        _ => format!(
            "Failures here are {}. After any other failure no other target is asked.",
            names(&failures)
        ),
    };
    let more = breaks_and_waits(runtime, rule, &steps);
    format!("{}\n{rest}{more}", align(&table))
}

/// What follows when a stream says nothing or breaks, where the rule says that.
fn breaks_and_waits(runtime: &Runtime, rule: &Rule, steps: &[Step<'_>]) -> String {
    let mut text = String::new();
    if let Some(after) = rule.hedge_after.filter(|_| steps.len() > 1) {
        let after = humantime::format_duration(after);
        text += &format!(
            "\nIf a stream has said nothing for {after}, the next target is asked as well."
        );
    }
    if rule.commits_whole {
        text += "\nA client gets an answer once it is whole.";
    } else if rule.continues {
        let upstreams = steps
            .iter()
            .filter_map(|step| runtime.upstream(step.target));
        let mut can: Vec<&str> = upstreams
            .filter(|upstream| upstream.prefill.is_possible())
            .map(|upstream| upstream.name.as_str())
            .collect();
        can.sort_unstable();
        can.dedup();
        text += &match can.is_empty() {
            true => {
                "\nA chat that breaks off ends with an error: no upstream here has a `prefill`."
                    .to_owned()
            }
            false => format!("\nA chat that breaks off goes on at: {}.", can.join(", ")),
        };
    }
    text
}

/// After what a target is asked, where the rule moves on after `failures`.
fn after(on: &[Reason], failures: &[Reason]) -> String {
    let is_usual = failures.iter().all(|reason| on.contains(reason));
    let others = on.iter().filter(|reason| !failures.contains(reason));
    let others: Vec<Reason> = others.copied().collect();
    match (is_usual, others.is_empty()) {
        (true, true) => "after a failure".to_owned(),
        (true, false) => format!("after a failure or {}", names(&others)),
        (false, _) => format!("after {}", names(on)),
    }
}

/// Every target that is asked first or after some failure, in order.
fn steps<'r>(runtime: &'r Runtime, rule: &'r Rule) -> Vec<Step<'r>> {
    let mut steps: Vec<Step<'r>> = Vec::new();
    for why in Reason::ALL.iter().copied() {
        let mut plan = Plan::along(runtime, rule, "", None);
        let first = plan.first().ok();
        let mut is_first = true;
        let mut next = first;
        while let Some(candidate) = next {
            let Some(target) = candidate.target() else {
                break;
            };
            let name = candidate.fallback;
            let is_known =
                |step: &&mut Step<'_>| step.name == name && std::ptr::eq(step.target, target);
            let on = (!is_first).then_some(why);
            match steps.iter_mut().find(is_known) {
                Some(step) => step.on.extend(on),
                None => steps.push(Step {
                    fallback: rule.fallbacks.iter().position(|f| Some(&*f.model) == name),
                    name,
                    target,
                    upstream: &candidate.upstream.name,
                    asked_for: candidate.model,
                    on: on.into_iter().collect(),
                }),
            }
            is_first = false;
            next = plan.next_target(why).or_else(|| plan.next_model(why));
        }
    }
    steps.sort_by_key(|step| {
        let target = step.target;
        (
            step.fallback,
            target.priority,
            std::cmp::Reverse(target.weight),
        )
    });
    steps
}

fn names(reasons: &[Reason]) -> String {
    let names: Vec<&str> = reasons.iter().map(|reason| reason.name()).collect();
    names.join(", ")
}
