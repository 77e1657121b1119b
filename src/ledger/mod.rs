//! The ledger: a record of what each request has used, kept through crashes.
//!
//! Owns the record and its way: into the journal before an answer ends (`journal`), from there into a database
//! (`load`, `store`), and out again as a report (`report`). Does not handle what a request has used (see
//! `openai::usage`), what it costs (see `prices`) or what a tenant may use (see `limits`). It starts without its
//! PostgreSQL, and then knows no balances until it is there; it does not start where nothing can be recorded.

pub mod journal;
pub mod load;
mod record;
pub mod report;
pub mod store;
pub mod webhooks;

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use journal::AppendError as NotRecorded;
pub use record::{Marks, Record, Source, Tokens};
pub use store::Balance;
pub use webhooks::{QuotaEvent, Spent, WebhookPlan};

use crate::config;
use crate::observe;
use journal::{Journal, JournalError, Recovered};
use load::{Lag, Loader};
use report::{Query, Report};
use store::{Database, Store, StoreError};
use webhooks::Webhooks;

/// The folder of the journal within that of the ledger.
const JOURNAL: &str = "journal";
/// For the owner alone.
const FOLDER_MODE: u32 = 0o700;
/// How long the start waits until what a journal has is loaded. Then it goes on, and the loading as well.
const LOADED_WITHIN: Duration = Duration::from_secs(30);

/// A ledger that records.
pub struct Ledger {
    config: config::Ledger,
    database: Database,
    journal: Arc<Journal>,
    loader: Loader,
    webhooks: Arc<Webhooks>,
}

/// How a ledger starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// No other process records in its folder.
    Alone,
    /// Another process still does, and ends soon.
    Successor,
}

impl Ledger {
    /// Opens the journal, the database and the outbox of the webhooks, and loads what the journal has. Blocks for as long as that takes, for
    /// half a minute at most.
    ///
    /// # Errors
    /// The folder cannot be written, another process records in it, or a newer release wrote the database. That
    /// PostgreSQL is away is no error.
    pub fn start(
        config: &config::Ledger,
        plan: &WebhookPlan,
        counts: observe::webhooks::Webhooks,
        _start: Start,
    ) -> Result<Arc<Self>, LedgerError> {
        let folder = &config.path.value;
        make_folder(folder)?;
        let database = Database::of(config);
        let mut store = open(&database, config)?;
        let loaded = match &mut store {
            Some(store) => store.position().map_err(LedgerError::Store)?,
            None => None,
        };
        let loaded = loaded.unwrap_or_default();
        let options = journal::Options::default();
        let (journal, recovered) = Journal::open(&folder.join(JOURNAL), options, loaded)?;
        tell(&folder.join(JOURNAL), &recovered);
        let journal = Arc::new(journal);
        let is_there = store.is_some();
        let webhooks = Webhooks::start(plan, folder, counts).map_err(LedgerError::Store)?;
        let told = Some(Arc::clone(&webhooks));
        let loader = Loader::start(Arc::clone(&journal), config, store, told);
        let loader = loader.map_err(LedgerError::Thread)?;
        if is_there && !loader.wait(LOADED_WITHIN) {
            log::warn!(
                "ledger: the journal is still being loaded; balances are not known until it is"
            );
        }
        Ok(Arc::new(Self {
            config: config.clone(),
            database,
            journal,
            loader,
            webhooks,
        }))
    }

    /// Records what a request was and used. On return, the end of this process loses nothing of it.
    ///
    /// # Errors
    /// It is not recorded: the disk is full or fails.
    pub fn record(&self, record: &Record<'_>) -> Result<(), NotRecorded> {
        self.journal.append(record).map(drop)
    }

    /// What tenants have used in the periods that began at these times, and in those that begin after `now`, where
    /// the clock was ahead; times are in seconds since the Unix epoch. `None` while that is not known, because the
    /// database is away or the journal is still being loaded. Blocks. To be asked once before anything counts in
    /// memory: what this process records is in later answers.
    pub fn balances(&self, starts: &[i64], now: i64) -> Option<Vec<Balance>> {
        if !self.loader.has_caught_up() {
            return None;
        }
        let opened = self.database.open(&self.config);
        let read = opened.and_then(|mut store| {
            let mut balances = store.balances(starts)?;
            balances.append(&mut store.later_balances(now)?);
            Ok(balances)
        });
        match read {
            Ok(balances) => Some(balances),
            Err(e) => {
                log::error!("ledger: balances cannot be read: {e}");
                None
            }
        }
    }

    /// Tells webhooks of a quota. Never blocks.
    pub fn tell(&self, event: QuotaEvent) {
        self.webhooks.tell(event);
    }

    /// Puts another plan of webhooks in force. Blocks.
    ///
    /// # Errors
    /// The outbox cannot be written. The plan before stays in force.
    pub fn change_webhooks(&self, plan: &WebhookPlan) -> Result<(), StoreError> {
        self.webhooks.reload(plan)
    }

    /// Lets a process that takes over do what only one may.
    pub fn hand_over(&self) {}

    /// Makes a report of what has been loaded. Blocks.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn report(&self, query: Query) -> Result<Report, StoreError> {
        report::report(&self.database, query)
    }

    /// Whether records cannot be written.
    pub fn is_failing(&self) -> bool {
        self.journal.is_failing()
    }

    /// How it is.
    pub fn health(&self) -> Health {
        Health {
            journal: self.journal.health(),
            lag: self.loader.lag(),
            not_loading: self.loader.failure(),
            has_balances: self.loader.has_caught_up(),
        }
    }

    /// Loads the rest, for this time at most, and ends the loader. Blocks. Returns whether all has been loaded; what
    /// has not is loaded after the next start.
    pub fn stop(&self, within: Duration) -> bool {
        let by = Instant::now() + within;
        let is_loaded = self.loader.stop(within);
        let is_told = self
            .webhooks
            .stop(by.saturating_duration_since(Instant::now()));
        is_loaded && is_told
    }
}

/// How the ledger is, for `/health` and metrics.
#[derive(Debug)]
pub struct Health {
    /// The journal: whether records can be written, and how large it is.
    pub journal: journal::Health,
    /// How far the database is behind the journal.
    pub lag: Lag,
    /// Why nothing can be loaded, while that is so.
    pub not_loading: Option<String>,
    /// Whether balances can be known.
    pub has_balances: bool,
}

/// Why a ledger cannot start.
#[derive(Debug)]
pub enum LedgerError {
    /// Its folder cannot be made.
    Folder(String, io::Error),
    /// Its journal cannot be opened.
    Journal(JournalError),
    /// Its database cannot be opened.
    Store(StoreError),
    /// Its thread cannot be started.
    Thread(io::Error),
}

impl From<JournalError> for LedgerError {
    fn from(error: JournalError) -> Self {
        Self::Journal(error)
    }
}

impl fmt::Display for LedgerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(path, error) => write!(f, "ledger: {path} cannot be made: {error}"),
            Self::Journal(error) => write!(f, "ledger: {error}"),
            Self::Store(error) => write!(f, "ledger: {error}"),
            Self::Thread(error) => write!(f, "ledger: its thread cannot be started: {error}"),
        }
    }
}

impl std::error::Error for LedgerError {}

/// Opens the database; `None` where it is a PostgreSQL that is away.
fn open(
    database: &Database,
    config: &config::Ledger,
) -> Result<Option<Box<dyn Store>>, LedgerError> {
    match database.open(config) {
        Ok(store) => Ok(Some(store)),
        Err(error) if error.is_of_postgres() => {
            log::error!("ledger: it starts without its database, and loads usage later: {error}");
            Ok(None)
        }
        Err(error) => Err(LedgerError::Store(error)),
    }
}

/// Tells the operator what of the journal a crash or the disk has damaged.
fn tell(journal: &Path, recovered: &Recovered) {
    let journal = journal.display();
    for warning in &recovered.warnings {
        log::warn!("journal {journal}: {warning}");
    }
    if recovered.more_warnings > 0 {
        log::warn!(
            "journal {journal}: {} more such warnings",
            recovered.more_warnings
        );
    }
}

fn make_folder(folder: &Path) -> Result<(), LedgerError> {
    use std::os::unix::fs::DirBuilderExt;
    let mut builder = std::fs::DirBuilder::new();
    let made = builder.recursive(true).mode(FOLDER_MODE).create(folder);
    made.map_err(|e| LedgerError::Folder(folder.display().to_string(), e))
}

#[cfg(test)]
mod tests;
