//! What systemd is told of the process, by its protocol `NOTIFY_SOCKET`.
//!
//! Owns the messages: ready, reloading, stopping, the state in words, the watchdog, and which process is the main one
//! after an upgrade. The watchdog is fed while a connection to a client listener is answered: where the listeners or
//! the threads stand still, systemd restarts the process. Without systemd nothing is sent. Does not handle when
//! something happens (see `operate`). An error is logged at debug: the process serves all the same.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::MissedTickBehavior;

use crate::runtime::Shared;

/// How often the state in words is told.
const STATUS_EVERY: Duration = Duration::from_secs(5);
/// A request that any listener of clients answers, whether it speaks TLS or not.
const PROBE: &[u8] = b"GET /health HTTP/1.0\r\nHost: localhost\r\n\r\n";

/// Tells that the process serves.
pub fn ready() {
    send(&[NotifyState::Ready]);
}

/// Tells that the configuration is read again; `ready` ends that.
pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => send(&[NotifyState::Reloading, now]),
        Err(e) => log::debug!("systemd cannot be told of a reload: {e}"),
    }
}

/// Tells that the process ends.
pub fn stopping() {
    send(&[NotifyState::Stopping]);
}

/// Tells that another process is the main one now.
pub fn main_pid(pid: u32) {
    send(&[NotifyState::MainPid(pid)]);
}

fn send(states: &[NotifyState<'_>]) {
    if let Err(e) = sd_notify::notify(states) {
        log::debug!("systemd cannot be told how the process is: {e}");
    }
}

/// Tells the state in words, from time to time, as long as it is polled.
pub async fn tell_status(shared: Arc<Shared>) {
    let mut told = String::new();
    let mut ticks = tokio::time::interval(STATUS_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let status = status(&shared);
        if status != told {
            send(&[NotifyState::Status(&status)]);
            told = status;
        }
    }
}

fn status(shared: &Shared) -> String {
    let in_flight = shared.in_flight();
    let state = match shared.is_draining() {
        true => "stopping",
        false => "serving",
    };
    format!(
        "{state}: {in_flight} requests in flight; {}",
        shared.reloads.describe()
    )
}

/// Feeds the watchdog, if systemd wants that, as long as it is polled and `listener` answers.
pub async fn feed_watchdog(listener: SocketAddr) {
    let Some(within) = sd_notify::watchdog_enabled() else {
        return;
    };
    let listener = reachable(listener);
    let mut ticks = tokio::time::interval(within / 3);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        match tokio::time::timeout(within / 3, probe(listener)).await {
            Ok(Ok(())) => send(&[NotifyState::Watchdog]),
            Ok(Err(e)) => log::warn!("watchdog: {listener} cannot be asked: {e}"),
            Err(_) => log::warn!(
                "watchdog: {listener} has not answered within {:?}",
                within / 3
            ),
        }
    }
}

/// Makes a connection, and waits for the first byte of any answer.
async fn probe(listener: SocketAddr) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(listener).await?;
    stream.write_all(PROBE).await?;
    match stream.read(&mut [0]).await? {
        0 => Err(std::io::Error::other(
            "the connection was closed without an answer",
        )),
        _ => Ok(()),
    }
}

/// The address by which this process reaches what listens on all addresses.
fn reachable(listener: SocketAddr) -> SocketAddr {
    let ip = match listener.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listener.port())
}
