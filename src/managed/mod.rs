//! Tenants and keys that are made while the gateway runs.
//!
//! [`Managed`] keeps them in the ledger's database (`store`), knows all of them (`set`), and makes changes: `rules`
//! says which ones there are, `known` what they are checked against, `tenant_changes`, `key_changes` and `import` what
//! each writes, and `generate` makes the text of a key. `follow` sees what other processes change. Owns what is known
//! and whether it is known. Does not handle what of it is in force beside a configuration file (see
//! `runtime::managed`), nor HTTP (see `admin::managed`). Everything that changes blocks. Where the database is away,
//! what is known stays, and a change fails with [`Refused`].

mod change;
mod follow;
mod generate;
mod import;
mod key_changes;
mod known;
mod row;
mod rules;
mod set;
mod store;
mod tenant_changes;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::{Mutex, RwLock, RwLockReadGuard};
use tokio::sync::watch;

pub use change::{Change, Outcome, Refused};
pub use import::read as read_import;
pub use known::Bounds;
use known::{Known, Pending};
pub use row::{Actor, AuditRow, Definition, KeyRow, TenantRow, moment};
use row::{Batch, Delta};
pub use set::{KeyEntry, Set, TenantEntry};
pub use store::Place;
use store::Store;

use crate::clock;
use crate::config::{self, Config};
use crate::store::StoreError;

/// The name of the file beside the ledger's.
const FILE: &str = "keys.db";
/// More changes of one request than these are counted in the log, not listed.
const MAX_LOGGED: usize = 20;

/// Tenants and keys that are made at run time.
pub struct Managed {
    place: Place,
    bounds: Bounds,
    set: RwLock<Set>,
    is_loaded: AtomicBool,
    /// The connection by which changes are made. It is opened with the first one.
    writer: Mutex<Option<Box<dyn Store>>>,
    /// Why changes of other processes are not seen; `None` while they are.
    trouble: Mutex<Option<String>>,
    /// The version that is known. It changes when something has.
    version: watch::Sender<i64>,
}

impl Managed {
    /// Begins to know what is in the database of a ledger. Where PostgreSQL is away, that is later. Blocks.
    ///
    /// # Errors
    /// The database cannot be used.
    pub fn start(ledger: &config::Ledger) -> Result<Arc<Self>, StoreError> {
        let place = match &ledger.postgres {
            Some(url) => Place::Postgres(url.clone()),
            None => Place::File(ledger.path.value.join(FILE)),
        };
        Self::at(place, Bounds::default())
    }

    /// The same at a place, within bounds.
    ///
    /// # Errors
    /// The database cannot be used.
    pub fn at(place: Place, bounds: Bounds) -> Result<Arc<Self>, StoreError> {
        let managed = Arc::new(Self {
            place,
            bounds,
            set: RwLock::default(),
            is_loaded: AtomicBool::new(false),
            writer: Mutex::new(None),
            trouble: Mutex::new(None),
            version: watch::channel(0).0,
        });
        let mut store = None;
        match managed.catch_up(&mut store) {
            Ok(()) => {}
            Err(error) if error.is_of_postgres() => {
                log::error!(
                    "keys that were made at run time are not known until their database is there: {error}"
                );
                store = None;
                managed.set_trouble(&error);
            }
            Err(error) => return Err(error),
        }
        follow::start(&managed, store);
        Ok(managed)
    }

    /// Whether it is known what there is.
    pub fn is_loaded(&self) -> bool {
        self.is_loaded.load(Ordering::Acquire)
    }

    /// What there is.
    pub fn set(&self) -> RwLockReadGuard<'_, Set> {
        self.set.read()
    }

    /// Tells of changes, those of this process among them.
    pub fn versions(&self) -> watch::Receiver<i64> {
        self.version.subscribe()
    }

    /// What is wrong, for `/health`.
    pub fn trouble(&self) -> Option<&'static str> {
        let is_away = self.trouble.lock().is_some();
        match (is_away, self.is_loaded()) {
            (false, _) => None,
            (true, false) => {
                Some("keys that were made at run time are not known yet: their database is away")
            }
            (true, true) => Some("changes of keys are not seen: their database is away"),
        }
    }

    /// Makes a change, against what a file says. It is in the database when this returns, and known here.
    ///
    /// # Errors
    /// Why nothing has changed.
    pub fn change(
        &self,
        change: &Change,
        actor: &Actor,
        config: &Config,
    ) -> Result<Outcome, Refused> {
        let mut writer = self.writer.lock();
        let mut planned = None;
        let mut made = self.try_change(&mut writer, change, actor, config, &mut planned);
        // A connection that was kept may have ended since. Nothing was asked by it.
        if planned.is_none() && matches!(&made, Err(error) if error.is_of_postgres()) {
            made = self.try_change(&mut writer, change, actor, config, &mut planned);
        }
        made?;
        drop(writer);
        let Some(planned) = planned else {
            return Err(StoreError::Ended.into());
        };
        let (batch, version, pending) = planned?;
        log_changes(&batch);
        self.take(Delta {
            version,
            is_whole: false,
            tenants: batch.tenants,
            keys: batch.keys,
        });
        self.outcome(pending)
    }

    fn try_change(
        &self,
        writer: &mut Option<Box<dyn Store>>,
        change: &Change,
        actor: &Actor,
        config: &Config,
        planned: &mut Option<Result<(Batch, i64, Pending), Refused>>,
    ) -> Result<(), StoreError> {
        let mut store = match writer.take() {
            Some(store) => store,
            None => self.place.open(false)?,
        };
        let since = match self.is_loaded() {
            true => self.set.read().version(),
            false => 0,
        };
        store.change(since, &mut |delta| {
            let version = delta.version + 1;
            self.take(delta);
            let known = Known {
                set: &self.set.read(),
                config,
                bounds: self.bounds,
            };
            match known.plan(change, actor, now_ms()) {
                Ok(plan) => {
                    let batch = plan.batch;
                    *planned = Some(Ok((batch.clone(), version, plan.outcome)));
                    Some(batch)
                }
                Err(refused) => {
                    *planned = Some(Err(refused));
                    None
                }
            }
        })?;
        *writer = Some(store);
        Ok(())
    }

    fn outcome(&self, pending: Pending) -> Result<Outcome, Refused> {
        let set = self.set.read();
        // Another change may have removed it already.
        let gone = || Refused::NotFound("such entry any more".to_owned());
        match pending {
            Pending::Tenant(id) => {
                let entry = set.tenant(&id).ok_or_else(gone)?;
                Ok(Outcome::Tenant(Arc::clone(entry)))
            }
            Pending::Key(id, secret) => {
                let entry = Arc::clone(set.key(&id).ok_or_else(gone)?);
                Ok(match secret {
                    Some(secret) => Outcome::Shown(entry, secret),
                    None => Outcome::Key(entry),
                })
            }
            Pending::Done(outcome) => Ok(outcome),
        }
    }

    /// Lines of the audit before one, or the newest, of a tenant or of all. Blocks.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn audit(
        &self,
        before: Option<i64>,
        tenant: Option<&str>,
        limit: i64,
    ) -> Result<Vec<AuditRow>, StoreError> {
        // No tenant is called so, and PostgreSQL takes it for no text.
        if tenant.is_some_and(|tenant| tenant.contains('\0')) {
            return Ok(Vec::new());
        }
        let mut writer = self.writer.lock();
        let mut attempts = 0;
        loop {
            let had_one = writer.is_some();
            let mut store = match writer.take() {
                Some(store) => store,
                None => self.place.open(false)?,
            };
            match store.audit(before, tenant, limit) {
                Err(error) if error.is_of_postgres() && had_one && attempts == 0 => attempts += 1,
                read => {
                    *writer = read.is_ok().then_some(store);
                    return read;
                }
            }
        }
    }

    /// Looks for what has changed, by a connection that is opened where there is none.
    fn catch_up(&self, store: &mut Option<Box<dyn Store>>) -> Result<(), StoreError> {
        let open = match store {
            Some(open) => open,
            None => store.insert(self.place.open(true)?),
        };
        let version = open.version()?;
        let known = self.set.read().version();
        if !self.is_loaded() || version > known {
            let since = if self.is_loaded() { known } else { 0 };
            self.take(open.read(since)?);
        } else if version < known {
            // Another database has its place, or an older state of it.
            log::warn!(
                "the database of the keys is older than what is known: everything is read again"
            );
            let delta = open.read(0)?;
            *self.set.write() = Set::default();
            self.take(delta);
        }
        *self.trouble.lock() = None;
        Ok(())
    }

    /// Takes what was read, unless more is known by now.
    fn take(&self, delta: Delta) {
        let mut set = self.set.write();
        if self.is_loaded() && delta.version <= set.version() {
            return;
        }
        set.apply(delta);
        let version = set.version();
        self.is_loaded.store(true, Ordering::Release);
        drop(set);
        self.version.send_replace(version);
    }

    fn set_trouble(&self, error: &StoreError) {
        *self.trouble.lock() = Some(error.to_string());
    }
}

fn now_ms() -> i64 {
    let since = clock::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    })
}

/// The line of each change, in the log.
fn log_changes(batch: &Batch) {
    for line in batch.audit.iter().take(MAX_LOGGED) {
        log::info!(
            "audit {} tenant={} key={} by={} actor={:?} from={}",
            line.action,
            line.tenant,
            line.key.as_deref().unwrap_or("-"),
            line.actor.credential,
            line.actor.name,
            line.actor.source
        );
    }
    let more = batch.audit.len().saturating_sub(MAX_LOGGED);
    if more > 0 {
        log::info!("audit and {more} more of the same request");
    }
}

#[cfg(test)]
mod tests;
