//! The ledger: a record of what each request has used, kept through crashes.
//!
//! Owns the record and its way: into the journal before an answer ends (`journal`), from there into a database
//! (`load`, `store`), and out again as a report (`report`). Does not handle what a request has used (see
//! `openai::usage`), what it costs (see `prices`) or what a tenant may use (see `limits`). It starts without its
//! PostgreSQL, and then knows no balances until it is there; it does not start where nothing can be recorded.
//!
//! Several processes record in one folder while one of them takes over from the others: each has a journal of its own
//! (`journals`), the journals of those that have ended are loaded by the one that goes on (`others`), and what they
//! record meanwhile is told to it (`following`). What a lost node has left is loaded from elsewhere (`lost_node`).

mod error;
mod following;
pub mod journal;
mod journals;
pub mod load;
pub mod lost_node;
mod others;
mod record;
pub mod report;
pub mod store;
pub mod webhooks;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use error::LedgerError;
pub use following::Elsewhere;
pub use journal::AppendError as NotRecorded;
pub use journals::Start;
pub use others::OtherJournals;
pub use record::{Marks, Record, Source, Tokens};
pub use store::Balance;
pub use webhooks::{QuotaEvent, Spent, WebhookPlan};

use crate::config;
use crate::observe;
use following::Following;
use journal::{Journal, Position};
use journals::{NUMBERS, Numbered};
use load::{Lag, Loader};
use others::Others;
use parking_lot::Mutex;
use report::{Query, Report};
use store::{Database, Store, StoreError, Teller, Usage};
use webhooks::Webhooks;

/// For the owner alone.
const FOLDER_MODE: u32 = 0o700;
/// How long the start waits until what a journal has is loaded. Then it goes on, and the loading as well.
const LOADED_WITHIN: Duration = Duration::from_secs(30);
/// How often balances are read again because a journal has moved on too far since they were read.
const BALANCE_ATTEMPTS: usize = 5;

/// A ledger that records.
pub struct Ledger {
    /// With the name of this process's journal as that of the node.
    config: config::Ledger,
    /// What the node is called without it.
    node: String,
    number: usize,
    database: Database,
    journal: Arc<Journal>,
    // Before the webhooks, which they tell of records.
    others: Others,
    loader: Loader,
    webhooks: Arc<Webhooks>,
    /// `None` until balances are known.
    following: Mutex<Option<Following>>,
}

impl Ledger {
    /// Opens a journal, the database and the outbox of the webhooks, and loads what the journals of processes that have
    /// ended have. Blocks for as long as that takes, for half a minute at most.
    ///
    /// # Errors
    /// The folder cannot be written, another process records in it and this one is not its successor, as many processes
    /// record in it as can, or a newer release wrote the database. That PostgreSQL is away is no error.
    pub fn start(
        config: &config::Ledger,
        plan: &WebhookPlan,
        counts: observe::webhooks::Webhooks,
        start: Start,
    ) -> Result<Arc<Self>, LedgerError> {
        let folder = &config.path.value;
        make_folder(folder)?;
        let named = lost_node::note_name(folder, &config.node);
        named.map_err(|e| LedgerError::Folder(folder.display().to_string(), e))?;
        let database = Database::of(config);
        let mut store = open(&database, config)?;
        let loaded = positions(store.as_deref_mut(), &config.node)?;
        let loaded = |number: usize| loaded.get(number - 1).copied().unwrap_or_default();
        let taken = journals::take(folder, start, loaded)?;
        let Numbered { number, journal } = taken.own;
        let node = config.node.clone();
        let own = config::Ledger {
            node: journals::node(&node, number),
            ..config.clone()
        };
        let is_there = store.is_some();
        // It was opened for the node itself, whose journal is the first.
        let store = store.filter(|_| number == 1);
        let webhooks = Webhooks::start(plan, folder, config.postgres.as_ref(), counts);
        let webhooks = webhooks.map_err(LedgerError::Store)?;
        let teller: Arc<dyn Teller> = Arc::<Webhooks>::clone(&webhooks);
        let loader = Loader::start(Arc::clone(&journal), &own, store, Some(Arc::clone(&teller)));
        let loader = loader.map_err(LedgerError::Thread)?;
        let others = Others::start(config, number, taken.abandoned, teller);
        let others = others.map_err(LedgerError::Thread)?;
        let by = Instant::now() + LOADED_WITHIN;
        if is_there && !(loader.wait(LOADED_WITHIN) && others.wait(by)) {
            log::warn!(
                "ledger: the journal is still being loaded; balances are not known until it is"
            );
        }
        Ok(Arc::new(Self {
            config: own,
            node,
            number,
            database,
            journal,
            others,
            loader,
            webhooks,
            following: Mutex::new(None),
        }))
    }

    /// The name under which the database knows what this process records.
    pub fn node(&self) -> &str {
        &self.config.node
    }

    /// Leaves to a successor what one process does at a time: to deliver what waits for webhooks, to load the journals
    /// of processes that have ended, and to move old months. To be called when the successor is ready. Records and
    /// quotas' events are taken as before. Never blocks, and a second call changes nothing.
    pub fn hand_over(&self) {
        self.loader.hand_over();
        self.others.hand_over();
        self.webhooks.hand_over();
    }

    /// Records what a request was and used. On return, the end of this process loses nothing of it.
    ///
    /// # Errors
    /// It is not recorded: the disk is full or fails.
    pub fn record(&self, record: &Record<'_>) -> Result<(), NotRecorded> {
        self.journal.append(record).map(drop)
    }

    /// What tenants and keys have used in the periods that began at these times, and in those that begin after `now`,
    /// where the clock was ahead; times are in seconds since the Unix epoch. `None` while that is not known, because
    /// the database is away or a journal is still being loaded. Blocks. To be asked once before anything counts in
    /// memory: what this process records is in later answers. What other processes record after the first answer is
    /// told by [`used_elsewhere`](Self::used_elsewhere).
    pub fn balances(&self, starts: &[i64], now: i64) -> Option<Vec<Balance>> {
        if !self.loader.has_caught_up() || !self.others.has_caught_up() {
            return None;
        }
        match self.read_balances(starts, now) {
            Ok(balances) => Some(balances),
            Err(e) => {
                log::error!("ledger: balances cannot be read: {e}");
                None
            }
        }
    }

    fn read_balances(&self, starts: &[i64], now: i64) -> Result<Vec<Balance>, StoreError> {
        let nodes: Vec<String> = NUMBERS.map(|n| journals::node(&self.node, n)).collect();
        let mut store = self.database.open(&self.config)?;
        let mut following = self.following.lock();
        let mut attempts = 0;
        loop {
            let Usage {
                balances,
                positions,
            } = store.usage(starts, now, &nodes)?;
            if following.is_some() {
                return Ok(balances);
            }
            let folder = &self.config.path.value;
            let (begun, is_whole) = Following::begin(folder, self.number, &positions);
            attempts += 1;
            if is_whole || attempts == BALANCE_ATTEMPTS {
                if !is_whole {
                    log::warn!(
                        "ledger: a part of a journal is missing or cannot be read: quotas do not know what it has"
                    );
                }
                *following = Some(begun);
                return Ok(balances);
            }
        }
    }

    /// What other processes have recorded in the same folder since the last call, or since balances were first read.
    /// Nothing until they were. Blocks for as long as reading files takes.
    pub fn used_elsewhere(&self) -> Elsewhere {
        let mut following = self.following.lock();
        following.as_mut().map(Following::read).unwrap_or_default()
    }

    /// Puts another plan of webhooks in force. Blocks for as long as the outbox takes.
    ///
    /// # Errors
    /// The outbox cannot be written, or there is no thread for it. The plan before stays in force.
    pub fn change_webhooks(&self, plan: &WebhookPlan) -> Result<(), StoreError> {
        self.webhooks.reload(plan)
    }

    /// Tells webhooks of a quota. Never blocks.
    pub fn tell(&self, event: QuotaEvent) {
        self.webhooks.tell(event);
    }

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
            has_balances: self.loader.has_caught_up() && self.others.has_caught_up(),
            others: self.others.found(),
        }
    }

    /// Loads the rest, for this time at most, and ends the loaders. Blocks. Returns whether all has been loaded; what
    /// has not is loaded after the next start.
    pub fn stop(&self, within: Duration) -> bool {
        let by = Instant::now() + within;
        self.others.let_go();
        let is_loaded = self.loader.stop(within);
        self.others.stop(by);
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
    /// How the journals of other processes are.
    pub others: OtherJournals,
}

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

/// Up to where the database has each journal, in the order of their numbers; nothing where it is away.
fn positions(
    store: Option<&mut (dyn Store + 'static)>,
    node: &str,
) -> Result<Vec<Position>, LedgerError> {
    let Some(store) = store else {
        return Ok(Vec::new());
    };
    let position = |number| {
        let position = store.position_of(&journals::node(node, number));
        Ok(position.map_err(LedgerError::Store)?.unwrap_or_default())
    };
    NUMBERS.map(position).collect()
}

fn make_folder(folder: &Path) -> Result<(), LedgerError> {
    use std::os::unix::fs::DirBuilderExt;
    let mut builder = std::fs::DirBuilder::new();
    let made = builder.recursive(true).mode(FOLDER_MODE).create(folder);
    made.map_err(|e| LedgerError::Folder(folder.display().to_string(), e))
}

#[cfg(test)]
mod tests;
