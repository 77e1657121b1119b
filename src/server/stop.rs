//! The end of the process.
//!
//! Owns the order: `/health` says that the process is draining and answers close their connections; new connections
//! are still taken for the notice; connections that are kept open may be used once more after a hand-over; requests in
//! flight have the grace; what they have used is settled, recorded and written. Does not handle what starts it (see
//! `operate`). Fails by warnings: the process ends all the same.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::signals::StopSignals;
use super::unix_socket::SocketFile;
use super::{ledger, notify};
use crate::config::Server;
use crate::runtime::Shared;

/// The time that the last answer's bytes have to be sent.
const FLUSH: Duration = Duration::from_millis(50);
/// The time that the first requests of connections have that were taken last.
const FIRST_REQUESTS: Duration = Duration::from_millis(300);
/// The time that remains to settle the usage of requests that are over.
const SETTLE: Duration = Duration::from_secs(3);
/// The time that remains to write the chat log.
const CHATS: Duration = Duration::from_secs(2);

/// How long a connection that is kept open may send another request to a process that has handed over. A proxy that
/// reuses its connections may do so in the very moment in which one is closed, and must not send that request again.
const KEPT: Duration = Duration::from_secs(5);

/// Why the process ends.
#[derive(Clone, Copy, Debug)]
pub enum End {
    /// This signal has come.
    Stop(&'static str),
    /// Another process serves.
    HandedOver,
}

/// What closes the listeners.
pub struct Listeners {
    /// Those of clients.
    pub clients: watch::Sender<bool>,
    /// Connections of clients that wait for a next request, over HTTP/1.
    pub idle: watch::Sender<bool>,
    /// The operator's.
    pub admin: watch::Sender<bool>,
    /// The files of the clients' Unix sockets that are to be removed with them.
    pub files: Vec<SocketFile>,
}

impl Listeners {
    /// Takes no more clients. The files of their sockets go, too, unless a successor serves them on.
    fn close(&self, end: End) {
        if let End::Stop(_) = end {
            self.files.iter().for_each(SocketFile::remove);
        }
        let _ = self.clients.send(true);
    }
}

/// Ends what is served. A second signal to stop cuts off what is in flight.
pub async fn end(
    end: End,
    mut signals: StopSignals,
    listeners: &Listeners,
    shared: &Arc<Shared>,
    server: &Server,
) {
    let in_flight = shared.in_flight();
    let (notice, grace) = (server.shutdown_notice, server.shutdown_grace);
    match end {
        End::Stop(name) => {
            log::info!("{name}: stopping, {in_flight} requests in flight have up to {grace:?}");
            notify::stopping();
        }
        End::HandedOver => {
            log::info!("handed over: {in_flight} requests in flight have up to {grace:?}");
            // The successor answers the operator from now on.
            let _ = listeners.admin.send(true);
            ledger::hand_over(shared);
        }
    }
    shared.start_draining();
    let draining = async {
        if let End::Stop(_) = end
            && !notice.is_zero()
        {
            log::info!("new connections are still taken for {notice:?}");
            tokio::time::sleep(notice).await;
        }
        listeners.close(end);
        let until = Instant::now() + grace;
        if let End::HandedOver = end {
            // Answers close their connections from now on.
            wait_for_kept(shared, grace).await;
        }
        let _ = listeners.idle.send(true);
        if shared.connections.count() > 0 {
            tokio::time::sleep(FIRST_REQUESTS).await;
        }
        let drained = tokio::time::timeout_at(until, shared.drained()).await;
        match drained {
            Ok(()) => tokio::time::sleep(FLUSH).await,
            Err(_) => log::warn!(
                "{} requests were cut off after {grace:?}",
                shared.in_flight()
            ),
        }
    };
    let cut = tokio::select! {
        () = draining => None,
        name = signals.next() => Some(name),
    };
    if let Some(name) = cut {
        listeners.close(end);
        let _ = listeners.idle.send(true);
        log::warn!("{name} again: {} requests were cut off", shared.in_flight());
    }
    wait_for_settlement(shared).await;
    if let End::Stop(_) = end {
        save_questions(shared).await;
    }
    close_chat_log(shared).await;
    ledger::close(shared).await;
    let _ = listeners.admin.send(true);
    log::info!("stopped");
}

/// Waits until clients have closed their connections, or have had the time for another request on them.
async fn wait_for_kept(shared: &Shared, grace: Duration) {
    let closing = async {
        while shared.connections.count() > 0 {
            tokio::time::sleep(FLUSH).await;
        }
    };
    // Those that are left have not been used for so long.
    let _ = tokio::time::timeout(KEPT.min(grace), closing).await;
}

/// Waits until the usage of requests that are over is settled, for at most `SETTLE`.
async fn wait_for_settlement(shared: &Shared) {
    let settling = async {
        while !(shared.drains.is_empty() && shared.estimates.is_empty()) {
            tokio::time::sleep(FLUSH).await;
        }
    };
    if tokio::time::timeout(SETTLE, settling).await.is_err() {
        log::warn!("the usage of some requests was not settled within {SETTLE:?}");
    }
}

/// Writes the questions to their file, where there is one, for the process that comes next.
pub async fn save_questions(shared: &Arc<Shared>) {
    let of_thread = Arc::clone(shared);
    let saving = tokio::task::spawn_blocking(move || of_thread.save_questions());
    if let Err(error) = saving.await {
        log::error!("cache: the questions cannot be written: {error}");
    }
}

/// Waits until the last lines of the chat log are written, for at most `CHATS`.
async fn close_chat_log(shared: &Shared) {
    let Some(chats) = shared.chat_log() else {
        return;
    };
    let closed = tokio::task::spawn_blocking(move || chats.close(CHATS)).await;
    if !matches!(closed, Ok(true)) {
        log::warn!("chat log: its last lines were not written within {CHATS:?}");
    }
}
