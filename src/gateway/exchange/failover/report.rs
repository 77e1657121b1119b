//! What an attempt says of the server, the target and the key that had a part in it.
//!
//! Owns counting its success or failure for each of them, and telling the operator of what that
//! changes. Does not decide what is tried next (`next_step`), nor when a key is cooling down
//! (`upstreams/cooldown`). Cannot fail.

use std::time::{Duration, Instant};

use super::{Asked, Begun};
use crate::gateway::context::Context;
use crate::gateway::exchange::failed::Failed;
use crate::gateway::exchange::outgoing;
use crate::gateway::exchange::terms::Terms;
use crate::gateway::plan::Candidate;
use crate::openai::ratelimit::Headroom;
use crate::openai::verdict::{Blame, Reason, Scope};
use crate::runtime::Shared;
use crate::upstreams::{Cooled, Fault, Finding, Key, KeyUse, ServerLease};

/// Counts a success for the server and the target that had a part in it.
pub fn praise<'r>(asked: Asked, terms: Terms, mut candidate: Candidate<'r>) -> Begun<'r> {
    let Asked {
        answer,
        mut seat,
        place,
    } = asked;
    candidate.upstream.pool.succeeded(&mut seat);
    candidate.succeeded();
    Begun {
        answer,
        terms,
        candidate,
        seat,
        place,
    }
}

/// Counts a success for the key that the upstream was asked with at a time.
pub fn served(
    context: &Context,
    candidate: &Candidate<'_>,
    key: &Key,
    asked: &Asked,
    started: Instant,
) {
    let longest = context.runtime.settings.retries.longest_cooldown;
    let wanted = outgoing::key_use(context, candidate.model);
    let headroom = outgoing::headroom(&asked.answer);
    key.condition.served(wanted, started, &headroom, longest);
}

/// Notes that the upstream has looked at what was asked, and so has taken the key: what it says of the
/// request ends a cooldown after a refusal, and a trial.
pub fn accepted(context: &Context, candidate: &Candidate<'_>, key: &Key, started: Instant) {
    let longest = context.runtime.settings.retries.longest_cooldown;
    let wanted = outgoing::key_use(context, candidate.model);
    let nothing = Headroom::default();
    key.condition.served(wanted, started, &nothing, longest);
}

/// Counts a failure against the key that the upstream was asked with at a time, as far as it says
/// something of the key.
pub fn note(
    context: &Context,
    candidate: &Candidate<'_>,
    key: &Key,
    failed: &Failed,
    started: Instant,
) {
    if failed.verdict.scope == Scope::Request {
        return;
    }
    let finding = Finding {
        fault: match failed.verdict.reason {
            Reason::OutOfCredit => Fault::OutOfCredit,
            Reason::KeyRefused => Fault::Refused,
            _ => Fault::RateLimited,
        },
        is_named: failed.verdict.scope == Scope::Key,
        told: failed.wait,
        request: &context.request.id,
        asked: started,
    };
    let longest = context.runtime.settings.retries.longest_cooldown;
    let wanted = outgoing::key_use(context, candidate.model);
    let keys = &candidate.upstream.keys;
    if let Some(cooled) = keys.note(key, wanted, &finding, longest) {
        tell(&candidate.upstream.name, key, wanted, finding.fault, cooled);
    }
}

/// Tells the operator of a key that is cooling down.
fn tell(upstream: &str, key: &Key, wanted: KeyUse<'_>, fault: Fault, cooled: Cooled) {
    let KeyUse { model, tenant } = wanted;
    let scope = match cooled.is_whole {
        true => "with every model".to_owned(),
        // A client may have named it.
        false => format!("with {model:.200}"),
    };
    let (level, what) = match fault {
        Fault::RateLimited => (log::Level::Info, "is rate-limited"),
        Fault::Refused => (log::Level::Warn, "is refused"),
        Fault::OutOfCredit => (log::Level::Warn, "has no money left"),
    };
    log::log!(
        level,
        "upstream {upstream}: key {} {what} and is cooling down {scope} for {:?}, as a request of \
         tenant {tenant} has shown",
        key.fingerprint,
        cooled.time
    );
}

/// Counts a failure against the server or the target; `tried` are the servers that failed before.
pub fn blame(
    shared: &Shared,
    failed: &Failed,
    candidate: &mut Candidate<'_>,
    seat: Option<ServerLease>,
    tried: &[usize],
) {
    let upstream = candidate.upstream;
    let (name, reason) = (upstream.name.as_str(), failed.verdict.reason);
    match reason.blames() {
        Blame::Nobody | Blame::Key => return,
        Blame::Target => {}
        Blame::Server => {
            if let Some(mut seat) = seat {
                if let Some(time) = upstream.pool.failed(&mut seat) {
                    let server = upstream.pool.servers().get(seat.server);
                    let url = server.map_or_else(String::new, |server| server.url().to_string());
                    ejected(shared, name, "server", &url, reason, time);
                }
                // One server is not the target, while another may serve the request.
                if upstream.pool.has_open(&[tried, &[seat.server]].concat()) {
                    return;
                }
            }
        }
    }
    if let Some(time) = candidate.failed() {
        let model = candidate.model.unwrap_or("as it is asked for");
        ejected(shared, name, "target", model, reason, time);
    }
}

fn ejected(
    shared: &Shared,
    upstream: &str,
    kind: &'static str,
    what: &str,
    reason: Reason,
    time: Duration,
) {
    log::warn!("upstream {upstream}: {kind} {what} fails ({reason}) and is left out for {time:?}");
    shared.metrics.attempts().ejected(upstream, kind);
}
