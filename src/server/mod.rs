//! The process: listeners, services, signals, the end.
//!
//! Owns the order in which things start. `listeners` opens the sockets, `inherited` takes those of systemd or of a
//! predecessor. `protocol` takes a client's new connection: `proxy_protocol` reads the client's address from a proxy,
//! `accept` admits or refuses it, and `handshake` makes the TLS handshake with one of the `certificates`. `fd_limit`
//! finds how many connections the system allows, and
//! `operator` limits the connections of the operator's listener. While the process serves, `operate` does what
//! `signals`, orders and `file_watch` ask for: `reload` puts another configuration in force, and `successor` starts the
//! process that takes over. `stop` ends it, `ledger` starts and ends the ledger, `managed` has
//! keys that are made at run time, `statistics`
//! writes a line of what happens, and `notify` tells systemd. Pingora's services run on one runtime of our
//! own and not in its `Server`, which sleeps through the whole grace period at the end, panics on an
//! address in use, and does not show the port that it got. Does not handle requests (see `gateway`,
//! `admin`). Fails before the first request or not at all.

mod accept;
mod certificates;
mod client_hello;
mod fd_limit;
mod file_watch;
mod handshake;
mod inherited;
mod ledger;
mod listeners;
mod managed;
mod memory;
mod notify;
mod operate;
mod operator;
mod protocol;
mod proxy_protocol;
mod reload;
mod signals;
mod start_error;
mod statistics;
mod stop;
mod store;
mod successor;
mod unix_socket;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use pingora::apps::ServerApp;
use pingora::services::listening::Service;
use pingora::services::{ServiceReadyNotifier, ServiceWithDependents};
use tokio::sync::{mpsc, watch};

use super::demo;
use crate::admin;
use crate::auth::CallerState;
use crate::chatlog::ChatLog;
use crate::config::{self, Config, ListenAddress, Origin, Upstream};
use crate::ids;
use crate::runtime::{Order, Orders, Runtime, Shared};
use crate::upstreams::{Registry, health};
use accept::ConnectionLimiter;
use certificates::Certificates;
pub use inherited::{Inherited, Predecessor};
use listeners::{BoundSocket, Opened, Sockets};
use operate::Operation;
use operator::Operator;
use protocol::ClientApp;
use reload::Reloader;
pub use start_error::StartError;
use stop::{End, Listeners};
use successor::Handed;

/// The time between two look-ups of the upstreams' names.
const RESOLVE_EVERY: Duration = Duration::from_secs(30);
/// The time that remains to record requests that are cut off.
const CUT: Duration = Duration::from_secs(1);

/// The addresses that the process listens on.
#[derive(Clone, Debug)]
pub struct Listening {
    /// The client listeners, each with whether it speaks TLS.
    pub clients: Vec<(ListenAddress, bool)>,
    /// The operator's listener; `None` when it is off.
    pub admin: Option<ListenAddress>,
}

/// Runs until a signal ends it. `announce` is called when everything listens.
///
/// # Errors
/// Why it could not start.
pub fn run(
    config: Config,
    origin: Origin,
    (inherited, predecessor): (Inherited, &mut Predecessor),
    announce: impl FnOnce(&Listening),
) -> Result<(), StartError> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    if config.server.threads > 0 {
        builder.worker_threads(config.server.threads);
    }
    let tokio = builder
        .enable_all()
        .thread_name("tollgate")
        .build()
        .map_err(|e| StartError::Internal(e.to_string()))?;
    let inherited = (inherited, predecessor);
    let outcome = tokio.block_on(serve(config, origin, inherited, announce));
    match &outcome {
        // Their tasks end here, and each is recorded as it ends.
        Ok(Left {
            are_cut: true,
            store,
        }) => {
            tokio.shutdown_timeout(CUT);
            if let Some(store) = store {
                store.tell();
            }
        }
        // Only idle connections and look-ups of names are left.
        _ => tokio.shutdown_background(),
    }
    outcome.map(drop)
}

/// What is left when serving has ended.
struct Left {
    /// Whether requests are left that are to be cut off.
    are_cut: bool,
    /// What the store is told then.
    store: Option<store::Rest>,
}

/// Returns what is left to be done.
async fn serve(
    config: Config,
    origin: Origin,
    (inherited, predecessor): (Inherited, &mut Predecessor),
    announce: impl FnOnce(&Listening),
) -> Result<Left, StartError> {
    let signals = signals::listen().map_err(|e| StartError::Internal(e.to_string()))?;
    let (signals, mut stops) = signals;
    let start = match predecessor.is_there() {
        true => ledger::Start::Successor,
        false => ledger::Start::Alone,
    };
    let open = Open::all(&config, inherited, predecessor.is_there())?;
    let (shared, orders) = prepare(&config, open.built_in()).await?;
    start_chat_log(&config, &shared)?;
    let store = store::start(&config, &shared).await;
    ledger::start(&config, &shared, start).await?;
    managed::start(&config, &shared).await?;
    warn_of_not_in_force(&config);
    let listening = open.listening(&config);
    let mut certificates = Certificates::default();
    let (built_in, probed) = (open.built_in(), probed(&listening, &config));
    let (listeners, sockets) = start_services(&config, open, &shared, &mut certificates)?;
    tokio::spawn(refresh_names(Arc::clone(&shared)));
    tokio::spawn(refresh_keys(Arc::clone(&shared)));
    tokio::spawn(tend_connections(Arc::clone(&shared)));
    tokio::spawn(watch_health(Arc::clone(&shared)));
    tokio::spawn(statistics::write(Arc::clone(&shared)));
    tokio::spawn(memory::tend(Arc::clone(&shared)));

    log_listening(&listening);
    announce(&listening);
    let reloader = Reloader::new(origin, &shared, built_in, certificates, config);
    // Before this process is the main one, systemd takes no word from it, and knows that the service is ready.
    if !predecessor.is_there() {
        notify::ready();
    }
    predecessor.tell_ready();
    let status = tokio::spawn(notify::tell_status(Arc::clone(&shared)));
    let watchdog = probed.map(|listener| tokio::spawn(notify::feed_watchdog(listener)));
    let mut operation = Operation::new(signals, orders, reloader, sockets);
    let end = tokio::select! {
        () = operation.run() => End::HandedOver,
        name = stops.next() => End::Stop(name),
    };
    status.abort();
    watchdog.inspect(|task| task.abort());
    let Operation {
        reloader,
        sockets,
        orders,
        ..
    } = operation;
    // With a descriptor of it left, a socket would still take connections. Who waits for an order is told that none is
    // carried out any more.
    drop((sockets, orders));
    stop::end(end, stops, &listeners, &shared, reloader.server()).await;
    let store = match store {
        Some(store) => Some(store.stop().await),
        None => None,
    };
    Ok(Left {
        are_cut: shared.in_flight() > 0,
        store,
    })
}

/// The sockets of the process, open and not yet served.
struct Open {
    sockets: Sockets,
    clients: Vec<BoundSocket>,
    admin: Option<BoundSocket>,
    demo: Option<BoundSocket>,
}

impl Open {
    /// Takes those that were inherited, and binds the others.
    fn all(config: &Config, inherited: Inherited, is_successor: bool) -> Result<Self, StartError> {
        let mut sockets = Sockets::new(inherited);
        let listen = config.server.listen.iter();
        let clients = listen
            .map(|listener| sockets.open_for_clients(listener))
            .collect::<Result<_, _>>()?;
        let admin = config.server.admin.as_ref();
        let admin = admin
            .map(|address| sockets.open(address.value, inherited::ADMIN))
            .transpose()?;
        let unclaimed = sockets.unclaimed();
        if !is_successor && !unclaimed.is_empty() {
            return Err(StartError::Unclaimed(unclaimed));
        }
        for address in unclaimed {
            log::warn!("{address} is not served any more: the configuration does not name it");
        }
        Ok(Self {
            demo: bind_demo(config, &mut sockets)?,
            sockets,
            clients,
            admin,
        })
    }

    fn built_in(&self) -> Option<SocketAddr> {
        self.demo.as_ref()?.address.ip()
    }

    fn listening(&self, config: &Config) -> Listening {
        let clients = self.clients.iter().zip(&config.server.listen);
        let clients = clients.map(|(bound, wanted)| (bound.address.clone(), wanted.tls.is_some()));
        Listening {
            clients: clients.collect(),
            admin: self.admin.as_ref().map(|bound| bound.address.clone()),
        }
    }
}

/// The listener that the watchdog asks: one without PROXY headers, where there is one.
fn probed(listening: &Listening, config: &Config) -> Option<ListenAddress> {
    let listeners = listening.clients.iter().zip(&config.server.listen);
    let asked = listeners.min_by_key(|(_, wanted)| wanted.proxy_protocol.value)?;
    Some(asked.0.0.clone())
}

/// The first snapshot, and what outlives it. `demo`: where the built-in provider listens.
///
/// # Errors
/// Something that no configuration can be blamed for.
pub async fn prepare(
    config: &Config,
    demo: Option<SocketAddr>,
) -> Result<(Arc<Shared>, mpsc::Receiver<Order>), StartError> {
    ids::mark(&config.server.node);
    let registry = Registry::default();
    let limits = store::limits(config);
    let callers = CallerState::default();
    let runtime = Runtime::new(config, demo, &registry, &limits, &callers);
    runtime.resolve_names().await;
    let (orders, asked) = Orders::queue();
    let shared = Shared::new(runtime, registry, (limits, callers), orders);
    let shared = shared.map_err(|e| StartError::Internal(e.to_string()))?;
    Ok((shared, asked))
}

/// Serves on all sockets. Returns what closes them, and descriptors of them.
fn start_services(
    config: &Config,
    open: Open,
    shared: &Arc<Shared>,
    certificates: &mut Certificates,
) -> Result<(Listeners, Vec<Handed>), StartError> {
    let system_limit = fd_limit::max_connections(config.server.limits.connections);
    let limiter = Arc::new(ConnectionLimiter::new(shared, system_limit));
    let Opened { fds, handed, files } = open.sockets.into_opened();
    let listeners = Listeners {
        files,
        clients: watch::channel(false).0,
        idle: watch::channel(false).0,
        admin: watch::channel(false).0,
    };
    let listen = config.server.listen.iter().zip(&open.clients).enumerate();
    let services: Vec<_> = listen
        .map(|(position, (listener, bound))| {
            let tls = certificates.add(&listener.address.value, listener.tls.as_ref())?;
            let idle = listeners.idle.subscribe();
            let app = ClientApp::new(shared, &limiter, (position, tls), idle);
            Ok(service("clients", [bound], app))
        })
        .collect::<Result<_, StartError>>()?;
    let start = |mut service: Box<dyn ServiceWithDependents>, stop: &watch::Sender<bool>| {
        let (ready, _) = watch::channel(false);
        let (fds, stopping) = (Some(Arc::clone(&fds)), stop.subscribe());
        tokio::spawn(async move {
            let ready = ServiceReadyNotifier::new(ready);
            service.start_service(fds, stopping, 1, ready).await;
        });
    };
    for service in services {
        start(Box::new(service), &listeners.clients);
    }
    let operator = service("admin", &open.admin, Operator::new(shared));
    start(Box::new(operator), &listeners.admin);
    let demo = service("demo", &open.demo, demo::Provider);
    start(Box::new(demo), &listeners.clients);
    Ok((listeners, handed))
}

/// The socket of the built-in provider, if an upstream uses it.
fn bind_demo(config: &Config, sockets: &mut Sockets) -> Result<Option<BoundSocket>, StartError> {
    let mut upstreams = config.upstreams.iter();
    let is_used = upstreams.any(Upstream::needs_built_in_server);
    let any_port = SocketAddr::from(([127, 0, 0, 1], 0));
    is_used.then(|| sockets.bind_own(any_port)).transpose()
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
    shared.log_chats(Some(open_chat_log(wanted, shared)?));
    log::info!("chats are written to {}", wanted.path.value.display());
    Ok(())
}

fn open_chat_log(wanted: &config::ChatLog, shared: &Shared) -> Result<ChatLog, StartError> {
    let started = ChatLog::start(wanted, shared.metrics.chats().clone());
    started.map_err(|e| StartError::ChatLog(wanted.path.value.clone(), e))
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

async fn refresh_keys(shared: Arc<Shared>) {
    shared.callers.remotes.keep_fresh().await;
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
    if let Some(address) = &listening.admin {
        log::info!("operator's listener on http://{address} ({})", admin::PATHS);
    }
    for (address, tls) in &listening.clients {
        log::info!("listening on {}", address.described(*tls));
    }
}
