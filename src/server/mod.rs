//! The process: listeners, services, signals, the end.
//!
//! Owns the order in which things start and stop. `listeners` binds the sockets. `protocol` takes a
//! client's new connection: `accept` admits or refuses it, and `handshake` makes the TLS handshake.
//! `fd_limit` finds how many connections the system allows, `operator` limits the connections of the
//! operator's listener, and `signals` waits for signals. Pingora's services run on one runtime of our
//! own and not in its `Server`, which sleeps through the whole grace period at the end, panics on an
//! address in use, and does not show the port that it got. Does not handle requests (see `gateway`,
//! `admin`). Fails before the first request or not at all.

mod accept;
mod fd_limit;
mod handshake;
mod ledger;
mod listeners;
mod operator;
mod protocol;
mod signals;

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use pingora::apps::ServerApp;
use pingora::services::listening::Service;
use pingora::services::{ServiceReadyNotifier, ServiceWithDependents};
use tokio::sync::watch;

use super::demo;
use crate::admin;
use crate::config::Config;
use crate::ledger::LedgerError;
use crate::limits::Limits;
use crate::runtime::{Runtime, Shared};
use crate::upstreams::{Registry, health};
use accept::ConnectionLimiter;
use listeners::{BoundSocket, Sockets};
use operator::Operator;
use protocol::ClientApp;

/// The time between two look-ups of the upstreams' names.
const RESOLVE_EVERY: Duration = Duration::from_secs(30);
/// The time that the last answer's bytes have to be sent.
const FLUSH: Duration = Duration::from_millis(50);
/// The time that remains to settle the usage of requests that are over.
const SETTLE: Duration = Duration::from_secs(3);
/// The time that remains to write the chat log.
const CHATS: Duration = Duration::from_secs(2);

/// The time that remains to record requests that are cut off.
const CUT: Duration = Duration::from_secs(1);

/// Why the process could not start.
#[derive(Debug)]
pub enum StartError {
    /// A listener could not be opened.
    Listen(SocketAddr, std::io::Error),
    /// The chat log cannot be opened.
    ChatLog(PathBuf, std::io::Error),
    /// The ledger cannot be opened.
    Ledger(LedgerError),
    /// A certificate or its key cannot be used.
    Tls(String),
    /// The process lacks something that it needs from the system, or a part of it is broken.
    Internal(String),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listen(address, e) if e.kind() == std::io::ErrorKind::AddrInUse => write!(
                f,
                "cannot listen on {address}: the port is in use (stop the other process, or choose \
                 another port: --port or `server.listen` for clients, `server.admin` for the operator; \
                 without a file, PORT and ADMIN)"
            ),
            Self::Listen(address, e) => write!(f, "cannot listen on {address}: {e}"),
            Self::ChatLog(path, e) => {
                write!(f, "chat_log.path: {} cannot be opened: {e}", path.display())
            }
            Self::Ledger(e) => e.fmt(f),
            Self::Tls(what) => write!(f, "TLS: {what}"),
            Self::Internal(what) => write!(f, "internal: {what}"),
        }
    }
}

/// The addresses that the process listens on.
#[derive(Clone, Debug)]
pub struct Listening {
    /// The client listeners, each with whether it speaks TLS.
    pub clients: Vec<(SocketAddr, bool)>,
    /// The operator's listener; `None` when it is off.
    pub admin: Option<SocketAddr>,
}

/// Runs until a signal ends it. `announce` is called when everything listens.
///
/// # Errors
/// Why it could not start.
pub fn run(config: &Config, announce: impl FnOnce(&Listening)) -> Result<(), StartError> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    if config.server.threads > 0 {
        builder.worker_threads(config.server.threads);
    }
    let tokio = builder
        .enable_all()
        .thread_name("tollgate")
        .build()
        .map_err(|e| StartError::Internal(e.to_string()))?;
    let outcome = tokio.block_on(serve(config, announce));
    match outcome {
        // Their tasks end here, and each is recorded as it ends.
        Ok(true) => tokio.shutdown_timeout(CUT),
        // Only idle connections and look-ups of names are left.
        _ => tokio.shutdown_background(),
    }
    outcome.map(drop)
}

/// Returns whether requests are left that are to be cut off.
async fn serve(config: &Config, announce: impl FnOnce(&Listening)) -> Result<bool, StartError> {
    let signals = signals::Signals::listen().map_err(|e| StartError::Internal(e.to_string()))?;
    let system_limit = fd_limit::max_connections(config.server.limits.connections);
    let mut sockets = Sockets::default();
    let clients: Vec<BoundSocket> = config
        .server
        .listen
        .iter()
        .map(|listener| sockets.bind(listener.address.value, listener.tls.as_ref()))
        .collect::<Result<_, _>>()?;
    let admin = match &config.server.admin {
        Some(address) => Some(sockets.bind(address.value, None)?),
        None => None,
    };
    let demo = bind_demo(config, &mut sockets)?;

    let registry = Registry::default();
    let built_in = demo.as_ref().map(|bound| bound.address);
    let limits = Limits::new();
    let runtime = Runtime::new(config, built_in, &registry, &limits);
    runtime.resolve_names().await;
    let shared = Shared::new(runtime, registry, limits);
    let shared = shared.map_err(|e| StartError::Internal(e.to_string()))?;
    start_chat_log(config, &shared)?;
    ledger::start(config, &shared).await?;
    warn_of_not_in_force(config);
    let listening = Listening {
        clients: clients.iter().map(|b| (b.address, b.is_tls())).collect(),
        admin: admin.as_ref().map(|bound| bound.address),
    };

    let (stop, stopping) = watch::channel(false);
    let fds = sockets.into_fds();
    let start = |mut service: Box<dyn ServiceWithDependents>| {
        let (ready, _) = watch::channel(false);
        let (fds, stopping) = (Some(Arc::clone(&fds)), stopping.clone());
        tokio::spawn(async move {
            let ready = ServiceReadyNotifier::new(ready);
            service.start_service(fds, stopping, 1, ready).await;
        });
    };
    let limiter = Arc::new(ConnectionLimiter::new(&shared, system_limit));
    for service in client_services(&clients, &ClientApp::new(&shared, &limiter))? {
        start(Box::new(service));
    }
    start(Box::new(service("admin", &admin, Operator::new(&shared))));
    start(Box::new(service("demo", &demo, demo::Provider)));
    tokio::spawn(refresh_names(Arc::clone(&shared)));
    tokio::spawn(tend_connections(Arc::clone(&shared)));
    tokio::spawn(watch_health(Arc::clone(&shared)));

    log_listening(&listening);
    announce(&listening);
    end(signals, stop, &shared, config.server.shutdown_grace).await;
    Ok(shared.in_flight() > 0)
}

/// The socket of the built-in provider, if an upstream uses it.
fn bind_demo(config: &Config, sockets: &mut Sockets) -> Result<Option<BoundSocket>, StartError> {
    let mut upstreams = config.upstreams.iter();
    let is_used = upstreams.any(|u| u.dialect.has_built_in_server && u.servers.is_empty());
    let any_port = SocketAddr::from(([127, 0, 0, 1], 0));
    is_used.then(|| sockets.bind(any_port, None)).transpose()
}

fn warn_of_not_in_force(config: &Config) {
    for line in config.not_in_force() {
        log::warn!("{line}: read and checked, but not in force in this version");
    }
}

fn start_chat_log(config: &Config, shared: &Shared) -> Result<(), StartError> {
    let Some(wanted) = &config.chat_log else {
        return Ok(());
    };
    let path = &wanted.path.value;
    let started = shared.log_chats(Some(wanted));
    started.map_err(|e| StartError::ChatLog(path.clone(), e))?;
    log::info!("chats are written to {}", path.display());
    Ok(())
}

/// The services of the client listeners, each with its certificate.
fn client_services(
    sockets: &[BoundSocket],
    app: &ClientApp,
) -> Result<Vec<Service<ClientApp>>, StartError> {
    let services = sockets.iter().map(|bound| {
        let app = app.with_tls(bound.handshake()?);
        Ok(service("clients", [bound], app))
    });
    services.collect()
}

/// The service of an application on its sockets.
fn service<'b, A: ServerApp + Send + Sync + 'static>(
    name: &str,
    sockets: impl IntoIterator<Item = &'b BoundSocket>,
    app: A,
) -> Service<A> {
    let mut service = Service::new(name.to_owned(), app);
    for bound in sockets {
        service.add_listener(bound.listener());
    }
    service
}

async fn refresh_names(shared: Arc<Shared>) {
    loop {
        tokio::time::sleep(RESOLVE_EVERY).await;
        shared.pin().resolve_names().await;
    }
}

async fn tend_connections(shared: Arc<Shared>) {
    shared.connector.tend().await;
}

/// Checks the current snapshot, whichever it is: a server that a reload adds is checked from then on.
async fn watch_health(shared: Arc<Shared>) {
    let connector = Arc::clone(&shared.connector);
    health::watch(move || shared.pin().upstreams().to_vec(), connector).await;
}

/// The client listeners come last: once they are logged, everything listens.
fn log_listening(listening: &Listening) {
    if let Some(address) = listening.admin {
        log::info!("operator's listener on http://{address} ({})", admin::PATHS);
    }
    for (address, tls) in &listening.clients {
        let scheme = if *tls { "https" } else { "http" };
        log::info!("listening on {scheme}://{address}");
    }
}

/// Waits for a signal, then for the requests in flight, until `grace` is over or a second signal comes.
async fn end(
    mut signals: signals::Signals,
    stop: watch::Sender<bool>,
    shared: &Shared,
    grace: Duration,
) {
    let name = signals.next().await;
    let in_flight = shared.in_flight();
    log::info!("{name}: stopping, {in_flight} requests in flight have up to {grace:?}");
    shared.start_draining();
    // Closes the listeners and the idle connections of clients.
    let _ = stop.send(true);
    tokio::select! {
        () = shared.drained() => tokio::time::sleep(FLUSH).await,
        () = tokio::time::sleep(grace) => {
            log::warn!("{} requests were cut off after {grace:?}", shared.in_flight());
        }
        name = signals.next() => {
            log::warn!("{name} again: {} requests were cut off", shared.in_flight());
        }
    }
    wait_for_settlement(shared).await;
    close_chat_log(shared).await;
    ledger::close(shared).await;
    log::info!("stopped");
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
