//! Health checks: each server is asked from time to time.
//!
//! Owns what a check asks, and how many checks run at once. Does not handle when one is due and how
//! many results decide (see `health_state`), nor what requests show of a server (see `breaker`). Never
//! fails: what a check finds is logged when it changes the state.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::header::{HOST, USER_AGENT};
use http::{HeaderValue, Method};
use pingora::http::RequestHeader;
use tokio::sync::Semaphore;

use super::pool::Server;
use super::told::{no_answer_within, told_within};
use super::{Connector, Payload, Peer, Upstream};
use crate::config::{Ask, HealthCheck};

/// Checks are looked for this often.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// As many checks are made at once; the others come later.
const MAX_CHECKS: usize = 64;
/// As much of an answer is read, so that its connection can be used again.
const MAX_ANSWER_BYTES: usize = 64 << 10;

/// Makes the checks of whatever `upstreams` gives, as they become due, for as long as it is polled.
pub async fn watch(upstreams: impl Fn() -> Vec<Arc<Upstream>>, connector: Arc<Connector>) {
    let turns = Arc::new(Semaphore::new(MAX_CHECKS));
    let mut looks = tokio::time::interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        let now = Instant::now();
        for upstream in upstreams() {
            for (n, server) in upstream.pool.servers().iter().enumerate() {
                if upstream.health_check.is_none() {
                    server.condition.health.forget();
                    continue;
                }
                let Ok(turn) = Arc::clone(&turns).try_acquire_owned() else {
                    break;
                };
                if server.condition.health.begin(now) {
                    let (upstream, connector) = (Arc::clone(&upstream), Arc::clone(&connector));
                    tokio::spawn(async move {
                        check_one(&upstream, n, &connector).await;
                        drop(turn);
                    });
                }
            }
        }
    }
}

async fn check_one(upstream: &Upstream, position: usize, connector: &Connector) {
    let (Some(server), Some(settings)) = (
        upstream.pool.servers().get(position),
        upstream.health_check.as_ref(),
    ) else {
        return;
    };
    let checked = tokio::time::timeout(settings.timeout, check(server, settings, connector)).await;
    let found = checked.unwrap_or_else(|_| Err(no_answer_within(settings.timeout)));
    let health = &server.condition.health;
    if health.end(found, settings, Instant::now()) {
        let (name, url) = (&upstream.name, server.url());
        match (health.is_up(), health.last_failure()) {
            (true, _) => log::info!("upstream {name}: {url} is healthy again"),
            (false, what) => log::warn!(
                "upstream {name}: {url} is unhealthy and gets no requests: {}",
                what.unwrap_or_default()
            ),
        }
    }
}

async fn check(
    server: &Server,
    settings: &HealthCheck,
    connector: &Connector,
) -> Result<(), String> {
    let limit = settings.timeout;
    let until = Instant::now() + limit;
    let peers = server.peers();
    let mut found = Err("its name has no address".to_owned());
    for peer in peers.iter() {
        found = match &settings.ask {
            None => peer.reach().await.map_err(|e| told_within(&e, limit)),
            Some(ask) => {
                let status = status(peer, ask, connector, (until, limit)).await;
                status.and_then(|status| {
                    let expected = ask.expect.iter().any(|range| range.contains(&status));
                    let unexpected = || format!("it answered with status {status}");
                    expected.then_some(()).ok_or_else(unexpected)
                })
            }
        };
        if found.is_ok() {
            break;
        }
    }
    found
}

/// Asks, and tells the status of the answer.
async fn status(
    peer: &Peer,
    ask: &Ask,
    connector: &Connector,
    (until, limit): (Instant, Duration),
) -> Result<u16, String> {
    let said = |e: Box<pingora::Error>| told_within(&e, limit);
    let mut header =
        RequestHeader::build_no_case(ask.method.as_str(), ask.path.as_bytes(), Some(2))
            .map_err(said)?;
    header
        .insert_header(HOST, peer.authority.clone())
        .map_err(said)?;
    header
        .insert_header(
            USER_AGENT,
            HeaderValue::from_static("tollgate-health-check"),
        )
        .map_err(said)?;
    let connection = connector.connect(peer).await.map_err(said)?;
    let sent = connection.send(&header, &Payload::default(), until).await;
    let mut session = sent.map_err(|not_sent| said(not_sent.error))?;
    let status = session.header(until).await.map_err(said)?.status;
    // The length that an answer to HEAD tells is of a body that does not come.
    let mut left = match header.method == Method::HEAD {
        true => 0,
        false => MAX_ANSWER_BYTES,
    };
    while left > 0
        && let Some(chunk) = session.read_body(until).await.map_err(said)?
    {
        left = left.saturating_sub(chunk.len());
    }
    if left > 0 {
        connector.release(session, peer).await;
    }
    Ok(status.as_u16())
}
