//! Putting another configuration in force while the process serves.
//!
//! Owns the order: all of it is read, checked and built, and only then takes the place of the one before. Whatever
//! fails on the way leaves that one in force. Requests in flight end on what they began with. Does not handle when
//! this happens (see `operate`), what differs (see `config::Changes`), or what outlives a snapshot (see `runtime`).
//! Fails with every mistake at once.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::certificates::Certificates;
use super::{file_watch, ledger, managed, notify, open_chat_log};
use crate::chatlog::ChatLog;
use crate::config::{Changes, Config, FileKind, Origin, Server, Source};
use crate::observe::logging;
use crate::runtime::{NotReloaded, Reloaded, Runtime, Shared};

/// How long new names of upstreams are looked up before the new configuration is in force all the same.
const RESOLVE: Duration = Duration::from_secs(5);
/// More changes than these are counted in the log, not listed.
const MAX_LOGGED: usize = 100;

/// The configuration that is in force, and what is needed to put another one in its place.
pub struct Reloader {
    origin: Origin,
    shared: Arc<Shared>,
    built_in: Option<SocketAddr>,
    certificates: Arc<Certificates>,
    /// What needs a restart is as it was at the start.
    in_force: Config,
}

impl Reloader {
    /// Takes what the process has started with.
    pub fn new(
        origin: Origin,
        shared: &Arc<Shared>,
        built_in: Option<SocketAddr>,
        certificates: Certificates,
        in_force: Config,
    ) -> Self {
        shared.reloads.started(&name(&origin.source));
        Self {
            origin,
            shared: Arc::clone(shared),
            built_in,
            certificates: Arc::new(certificates),
            in_force,
        }
    }

    /// What outlives a configuration.
    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// The `server` section that is in force.
    pub fn server(&self) -> &Server {
        &self.in_force.server
    }

    /// The files of one kind that the configuration in force was read from.
    pub fn files(&self, kind: FileKind) -> Vec<PathBuf> {
        let files = self
            .in_force
            .files()
            .iter()
            .filter(|file| file.kind == kind);
        files.map(|file| file.path.clone()).collect()
    }

    /// Whether the files say something else than what is in force.
    pub async fn is_behind(&self) -> bool {
        match self.read().await {
            Ok(config) => !Changes::between(&self.in_force, &config).is_empty(),
            Err(NotReloaded::Invalid(_)) => true,
            // What can be read once is what was read.
            Err(NotReloaded::Failed(_)) => false,
        }
    }

    /// Reads the configuration again and puts it in force. `cause` is for the log.
    ///
    /// # Errors
    /// Why the one before stays in force.
    pub async fn reload(&mut self, cause: &str) -> Reloaded {
        notify::reloading();
        let outcome = self.read_and_apply().await;
        match &outcome {
            Ok(changes) => {
                self.shared.reloads.applied(&name(&self.origin.source));
                log_changes(cause, changes);
            }
            Err(not_reloaded) => {
                self.shared.reloads.refused(&not_reloaded.to_string());
                log::error!(
                    "reload ({cause}): refused, and the configuration before stays in force:"
                );
                for line in not_reloaded.to_string().lines() {
                    log::error!("  {line}");
                }
            }
        }
        notify::ready();
        outcome
    }

    /// Loads the certificates of the configuration in force anew.
    pub async fn reload_certificates(&mut self) {
        match self.load_certificates(&self.in_force).await {
            Ok(loaded) => {
                loaded.put_in_use();
                log::info!("certificates: read again, and in use for new connections");
            }
            Err(why) => log::error!("certificates: those before stay in use: {why}"),
        }
    }

    async fn load_certificates(
        &self,
        config: &Config,
    ) -> Result<super::certificates::Loaded, NotReloaded> {
        let (certificates, config) = (Arc::clone(&self.certificates), config.clone());
        let loaded = blocking(move || certificates.load(&config)).await?;
        loaded.map_err(|why| NotReloaded::Failed(format!("TLS: {why}")))
    }

    async fn read(&self) -> Result<Config, NotReloaded> {
        let (origin, files) = (self.origin.clone(), self.in_force.files().to_vec());
        let read = move || match file_watch::first_irregular(&files) {
            Some(path) => Err(NotReloaded::Failed(format!(
                "{} is no regular file, and cannot be read again",
                path.display()
            ))),
            None => origin.load().map_err(NotReloaded::Invalid),
        };
        blocking(read).await?
    }

    async fn read_and_apply(&mut self) -> Reloaded {
        let config = self.read().await?;
        check(&config, &self.in_force, self.built_in).map_err(NotReloaded::Failed)?;
        let changes = Changes::between(&self.in_force, &config);
        // A listener that waits for a restart is as it was, and each has its place among those that are open.
        let settled = config.clone().in_force_after(&self.in_force);
        let certificates = self.load_certificates(&settled).await?;
        if !changes.is_empty() {
            self.apply(&config, &settled).await?;
        }
        certificates.put_in_use();
        self.in_force = settled;
        Ok(changes)
    }

    /// Builds what the configuration amounts to, and puts it in force; `settled` is what of it holds before a restart.
    /// What can fail comes first: limits are shared by
    /// name, and follow the snapshot that is built.
    async fn apply(&mut self, config: &Config, settled: &Config) -> Result<(), NotReloaded> {
        let shared = Arc::clone(&self.shared);
        let chat_log = self.open_chat_log(config)?;
        if shared.accounts().is_none() {
            let started = ledger::start(config, &shared, ledger::Start::Alone).await;
            started.map_err(|e| NotReloaded::Failed(e.to_string()))?;
            let started = managed::start(&self.in_force_with(config), &shared).await;
            started.map_err(|e| NotReloaded::Failed(e.to_string()))?;
            // It goes on, whatever comes of the rest.
            self.in_force.ledger.clone_from(&config.ledger);
        }
        let prepared = self.prepare_ledger(config).await?;
        let runtime = self.build(settled, prepared).await?;
        if let Some(chat_log) = chat_log {
            shared.log_chats(chat_log);
        }
        logging::apply(&config.server.log);
        let (shared, settled) = (Arc::clone(&self.shared), settled.clone());
        blocking(move || shared.put_in_force(runtime, settled)).await
    }

    /// What is in force, with the ledger of another configuration.
    fn in_force_with(&self, config: &Config) -> Config {
        let mut next = self.in_force.clone();
        next.ledger.clone_from(&config.ledger);
        next
    }

    async fn prepare_ledger(&self, config: &Config) -> Result<ledger::Prepared, NotReloaded> {
        let (config, before) = (config.clone(), self.in_force.clone());
        let shared = Arc::clone(&self.shared);
        let prepared = blocking(move || ledger::prepare(&config, &before, &shared)).await?;
        prepared.map_err(NotReloaded::Failed)
    }

    /// The chat log, where another one is wanted than there is.
    fn open_chat_log(&self, config: &Config) -> Result<Option<Option<ChatLog>>, NotReloaded> {
        if config.chat_log == self.in_force.chat_log {
            return Ok(None);
        }
        let Some(wanted) = &config.chat_log else {
            return Ok(Some(None));
        };
        let opened = open_chat_log(wanted, &self.shared);
        let opened = opened.map_err(|e| NotReloaded::Failed(e.to_string()))?;
        Ok(Some(Some(opened)))
    }

    async fn build(
        &self,
        config: &Config,
        prepared: ledger::Prepared,
    ) -> Result<Runtime, NotReloaded> {
        let (shared, config, built_in) = (Arc::clone(&self.shared), config.clone(), self.built_in);
        let build = move || {
            let runtime = Runtime::new(
                &config,
                built_in,
                &shared.registry,
                &shared.limits,
                &shared.callers,
            );
            prepared.load(&runtime);
            runtime
        };
        let runtime = blocking(build).await?;
        // A name that is not known by then is looked up again later.
        let _ = tokio::time::timeout(RESOLVE, runtime.resolve_names()).await;
        Ok(runtime)
    }
}

/// Refuses what no running process may become.
fn check(config: &Config, before: &Config, built_in: Option<SocketAddr>) -> Result<(), String> {
    // A file that is cut off while it is written may have lost its end.
    if config.is_open() && !before.is_open() {
        return Err(
            "`tenants` is gone, and without it everybody on this machine would be served without a key; if that \
             is meant, restart"
                .to_owned(),
        );
    }
    let mut upstreams = config.upstreams.iter();
    match upstreams.find(|upstream| upstream.needs_built_in_server()) {
        Some(upstream) if built_in.is_none() => Err(format!(
            "upstreams.{}: the built-in provider starts with the process: restart, or `tollgate upgrade`",
            upstream.name.value
        )),
        _ => Ok(()),
    }
}

/// What the operator knows a source by, wherever it is told.
fn name(source: &Source) -> String {
    match source {
        // Fails for an empty path alone.
        Source::File(path) => match std::path::absolute(path) {
            Ok(path) => path.display().to_string(),
            Err(_) => source.to_string(),
        },
        Source::Environment | Source::Demo => source.to_string(),
    }
}

/// Does what blocks, on a thread for that.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, NotReloaded> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|e| NotReloaded::Failed(format!("internal: {e}")))
}

fn log_changes(cause: &str, changes: &Changes) {
    if changes.is_empty() {
        log::info!("reload ({cause}): nothing has changed");
        return;
    }
    match changes.applied().next() {
        Some(_) => log::info!("reload ({cause}): the new configuration is in force"),
        None => log::info!("reload ({cause}): nothing has changed that can change now"),
    }
    let lines = changes.to_string();
    for line in lines.lines().take(MAX_LOGGED) {
        log::info!("  {line}");
    }
    let more = lines.lines().count().saturating_sub(MAX_LOGGED);
    if more > 0 {
        log::info!("  and {more} more");
    }
}
