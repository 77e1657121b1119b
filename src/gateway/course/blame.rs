//! Who had a part in an attempt, and what it says of them.
//!
//! Owns counting a success or a failure for the server, the target and the key, and telling the
//! operator of what that changes. Refuses to know what is tried next.

use std::time::Duration;

use super::{Asked, Begun};
use crate::gateway::attempt::{Failed, Terms};
use crate::gateway::outgoing;
use crate::gateway::plan::Candidate;
use crate::openai::verdict::{Blame, Reason};
use crate::runtime::Shared;
use crate::upstreams::{Key, KeyRing, Rest, Seat};

/// Counts a success for everyone who had a part in it.
pub fn praise<'r>(
    asked: Asked,
    terms: Terms,
    mut candidate: Candidate<'r>,
    key: Option<(usize, &Key)>,
) -> Begun<'r> {
    let Asked {
        answer,
        mut seat,
        place,
    } = asked;
    candidate.upstream.pool.succeeded(&mut seat);
    candidate.succeeded();
    if let Some((_, key)) = key {
        key.served(&outgoing::headroom(&answer));
    }
    Begun {
        answer,
        terms,
        candidate,
        seat,
        place,
    }
}

/// Counts a failure against whoever is to blame for it; `tried` are the servers that failed before.
pub fn blame(
    shared: &Shared,
    failed: &Failed,
    candidate: &mut Candidate<'_>,
    seat: Option<Seat>,
    key: Option<&Key>,
    tried: &[usize],
) {
    let upstream = candidate.upstream;
    let (name, reason) = (upstream.name.as_str(), failed.verdict.reason);
    match reason.blames() {
        Blame::Nobody => return,
        Blame::Key => {
            if let Some(key) = key {
                rest(name, &upstream.keys, key, failed);
            }
            return;
        }
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

fn rest(name: &str, keys: &KeyRing, key: &Key, failed: &Failed) {
    let why = match failed.verdict.reason {
        Reason::OutOfCredit => Rest::OutOfCredit,
        Reason::KeyRefused => Rest::Refused,
        _ => Rest::RateLimited,
    };
    let time = keys.rest(key, why, failed.wait);
    let fingerprint = &key.fingerprint;
    match why {
        Rest::RateLimited => log::info!("upstream {name}: key {fingerprint} rests for {time:?}"),
        Rest::Refused => {
            log::warn!("upstream {name}: key {fingerprint} is refused, and not used for {time:?}")
        }
        Rest::OutOfCredit => log::warn!(
            "upstream {name}: the account of key {fingerprint} has no money left, and is not used \
             for {time:?}"
        ),
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
    shared.metrics.trials().ejected(upstream, kind);
}
