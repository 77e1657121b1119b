//! Whether a server is well, by asking it from time to time.
//!
//! Owns the checks: when they are due, what is asked, and how many in a row decide. A server is
//! well until it has been found otherwise. Refuses to know what its requests say of it: `breaker`
//! does. Never fails: what a check finds is logged when it changes something.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use http::header::{HOST, USER_AGENT};
use http::{HeaderValue, Method};
use parking_lot::Mutex;
use pingora::http::RequestHeader;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use super::pool::Server;
use super::{Connector, Payload, Peer, Upstream, told};
use crate::config::HealthCheck;
use crate::ids;

/// Checks are looked for this often.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// As many checks are made at once; the others come later.
const MAX_CHECKS: usize = 64;
/// As much of an answer is read, so that its connection can be used again.
const MAX_ANSWER_BYTES: usize = 64 << 10;

/// What the checks of one server have found.
#[derive(Debug)]
pub struct Health {
    is_up: AtomicBool,
    streak: Mutex<Streak>,
    checks: AtomicU64,
}

#[derive(Debug, Default)]
struct Streak {
    /// Results in a row that speak against what is taken for true.
    against: u32,
    due: Option<Instant>,
    is_running: bool,
    /// What the last check that failed has found.
    last_failure: Option<String>,
}

impl Default for Health {
    fn default() -> Self {
        Self {
            is_up: AtomicBool::new(true),
            streak: Mutex::default(),
            checks: AtomicU64::new(0),
        }
    }
}

impl Health {
    /// Whether the server can be asked.
    pub fn is_up(&self) -> bool {
        self.is_up.load(Ordering::Relaxed)
    }

    /// How many checks have been made.
    pub fn checks(&self) -> u64 {
        self.checks.load(Ordering::Relaxed)
    }

    /// What the last check that failed has found.
    pub fn last_failure(&self) -> Option<String> {
        self.streak.lock().last_failure.clone()
    }

    /// Takes the next check, if it is due.
    fn begin(&self, now: Instant) -> bool {
        let mut streak = self.streak.lock();
        let is_due = streak.due.is_none_or(|due| due <= now);
        let begins = is_due && !streak.is_running;
        streak.is_running |= begins;
        begins
    }

    /// Takes a result. Tells whether it has changed what is taken for true.
    fn end(&self, found: Result<(), String>, settings: &HealthCheck, now: Instant) -> bool {
        self.checks.fetch_add(1, Ordering::Relaxed);
        let was_up = self.is_up();
        let mut streak = self.streak.lock();
        streak.is_running = false;
        streak.due = Some(now + jittered(settings));
        let enough = match was_up {
            true => settings.unhealthy_after,
            false => settings.healthy_after,
        };
        streak.against = match found.is_ok() == was_up {
            true => 0,
            false => streak.against.saturating_add(1),
        };
        if let Err(what) = found {
            streak.last_failure = Some(what);
        }
        let changes = streak.against >= enough;
        if changes {
            streak.against = 0;
            self.is_up.store(!was_up, Ordering::Relaxed);
        }
        changes
    }

    /// No check is wanted any more: the server is taken for well.
    fn forget(&self) {
        if !self.is_up() {
            self.is_up.store(true, Ordering::Relaxed);
        }
    }
}

/// The interval, a little sooner or later, so that many gateways do not ask at once.
fn jittered(settings: &HealthCheck) -> Duration {
    let spread = settings.interval * settings.jitter_percent / 100;
    let spread_ms = u64::try_from(spread.as_millis()).unwrap_or(u64::MAX);
    let later = ids::random_below(spread_ms.saturating_mul(2).saturating_add(1));
    settings.interval.saturating_sub(spread) + Duration::from_millis(later)
}

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
    let found = checked.unwrap_or_else(|_| Err(format!("no answer in {:?}", settings.timeout)));
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
    let until = Instant::now() + settings.timeout;
    let peers = server.peers();
    let mut found = Err("its name has no address".to_owned());
    for peer in peers.iter() {
        found = match &settings.ask {
            None => reach(peer).await,
            Some(ask) => {
                let status = status(peer, ask.method.as_str(), &ask.path, connector, until).await;
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

/// Makes a mere connection.
async fn reach(peer: &Peer) -> Result<(), String> {
    let address = peer.address().ok_or("its address is no IP address")?;
    let connected = TcpStream::connect(address).await;
    connected.map(drop).map_err(|e| e.to_string())
}

/// Asks, and tells the status of the answer.
async fn status(
    peer: &Peer,
    method: &str,
    path: &str,
    connector: &Connector,
    until: Instant,
) -> Result<u16, String> {
    let said = |e: Box<pingora::Error>| told(&e);
    let mut header =
        RequestHeader::build_no_case(method, path.as_bytes(), Some(2)).map_err(said)?;
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

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: HealthCheck = HealthCheck {
        ask: None,
        interval: Duration::from_secs(10),
        jitter_percent: 10,
        timeout: Duration::from_secs(1),
        unhealthy_after: 3,
        healthy_after: 2,
    };

    #[test]
    fn only_so_many_results_in_a_row_change_anything() {
        let health = Health::default();
        let now = Instant::now();
        let mut end = |well: bool| {
            assert!(health.begin(now + Duration::from_secs(60)));
            assert!(
                !health.begin(now + Duration::from_secs(60)),
                "one at a time"
            );
            let found = if well { Ok(()) } else { Err("gone".to_owned()) };
            health.end(found, &SETTINGS, now)
        };
        assert!(![false, false, true, false, false].into_iter().any(&mut end));
        assert!(end(false));
        assert!(!health.is_up());
        assert_eq!(health.last_failure().unwrap(), "gone");
        assert!(![true, false, true].into_iter().any(&mut end));
        assert!(end(true));
        assert!(health.is_up());
    }

    #[test]
    fn a_check_is_due_after_its_interval_give_or_take_the_jitter() {
        let health = Health::default();
        let now = Instant::now();
        assert!(health.begin(now), "the first is due at once");
        health.end(Ok(()), &SETTINGS, now);
        assert!(!health.begin(now + Duration::from_millis(8_999)));
        assert!(health.begin(now + Duration::from_millis(11_001)));
        let waits: Vec<Duration> = (0..100).map(|_| jittered(&SETTINGS)).collect();
        assert!(waits.iter().any(|wait| *wait != waits[0]));
    }
}
