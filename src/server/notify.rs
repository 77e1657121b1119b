//! What systemd is told of the process, by its protocol `NOTIFY_SOCKET`.
//!
//! Owns the messages: ready, reloading, stopping, the state in words, the watchdog, and which process is the main one
//! after an upgrade. The watchdog is fed while a connection to a client listener is answered: where the listeners or
//! the threads stand still, systemd restarts the process. Without systemd nothing is sent. Does not handle when
//! something happens (see `operate`). Messages go through a queue to a thread of their own. An error is logged at
//! debug, and the process serves all the same.

use std::sync::mpsc::{self, SyncSender};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::MissedTickBehavior;

use crate::config::{ListenAddress, from_here};
use crate::runtime::Shared;

/// How often the state in words is told.
const STATUS_EVERY: Duration = Duration::from_secs(5);
/// The messages that wait at most; the next one is lost.
const MAX_QUEUED: usize = 16;
/// The watchdog is not fed more often, whatever systemd wants.
const LEAST_WATCHDOG: Duration = Duration::from_millis(100);
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

/// Queues a message. systemd may not take it now, and nothing waits for that.
fn send(states: &[NotifyState<'_>]) {
    static MESSAGES: LazyLock<Option<SyncSender<String>>> = LazyLock::new(messenger);
    let Some(messages) = &*MESSAGES else { return };
    let lines: Vec<String> = states.iter().map(ToString::to_string).collect();
    if messages.try_send(lines.join("\n")).is_err() {
        log::debug!("systemd takes no messages: {} is lost", lines.join(", "));
    }
}

/// A thread that hands messages to systemd one by one. `None` without systemd.
#[allow(
    clippy::disallowed_methods,
    reason = "systemd's protocol, not a setting"
)]
fn messenger() -> Option<SyncSender<String>> {
    std::env::var_os("NOTIFY_SOCKET")?;
    let (messages, queued) = mpsc::sync_channel::<String>(MAX_QUEUED);
    let tell = move || {
        for message in queued {
            if let Err(e) = sd_notify::notify(&[NotifyState::Custom(&message)]) {
                log::debug!("systemd cannot be told how the process is: {e}");
            }
        }
    };
    let started = std::thread::Builder::new().name("systemd".to_owned());
    started.spawn(tell).ok()?;
    Some(messages)
}

/// Tells the state of a process that serves in words, from time to time, as long as it is polled.
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
    let configuration = shared.reloads.describe();
    format!("serving: {in_flight} requests in flight; {configuration}")
}

/// Feeds the watchdog, if systemd wants that, as long as it is polled and `listener` answers.
pub async fn feed_watchdog(listener: ListenAddress) {
    let Some(within) = sd_notify::watchdog_enabled() else {
        return;
    };
    let every = (within / 3).max(LEAST_WATCHDOG);
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        match tokio::time::timeout(every, probe(&listener)).await {
            Ok(Ok(())) => send(&[NotifyState::Watchdog]),
            Ok(Err(e)) => log::warn!("watchdog: {listener} cannot be asked: {e}"),
            Err(_) => log::warn!("watchdog: {listener} has not answered within {every:?}"),
        }
    }
}

/// Makes a connection, and waits for the first byte of any answer, or for its end: a listener may close connections
/// from this machine, and what closes them is alive.
async fn probe(listener: &ListenAddress) -> std::io::Result<()> {
    match listener {
        ListenAddress::Ip(address) => ask(TcpStream::connect(from_here(*address)).await?).await,
        ListenAddress::Unix(path) => ask(UnixStream::connect(&**path).await?).await,
    }
}

async fn ask(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> std::io::Result<()> {
    stream.write_all(PROBE).await?;
    match stream.read(&mut [0]).await {
        // What was sent has not been read.
        Err(e) if e.kind() == std::io::ErrorKind::ConnectionReset => Ok(()),
        read => read.map(drop),
    }
}
