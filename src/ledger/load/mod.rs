//! The loader: from the journal into the database, on a thread of its own.
//!
//! Owns when records are loaded and removed from the journal, the pauses between attempts while the database is
//! away, and how far behind it is. It holds one batch of the journal at a time; what waits is in the journal,
//! which has the bound. Does not handle transactions (see `store`). A failure is logged at most once a minute and
//! tried again until it succeeds: no record is left out.

mod state;

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use super::journal::{Journal, Position};
use super::record::Record;
use super::store::{Database, Months, Store, StoreError, Teller};
use crate::observe::log_interval::LogInterval;
use crate::{clock, config};
use state::State;

pub use state::Lag;

/// About as much of the journal is read at once.
const BATCH_BYTES: usize = 1 << 20;
/// As many records are loaded in one transaction.
const BATCH_RECORDS: usize = 1_000;
/// How often the journal is looked at while nothing comes.
const POLL: Duration = Duration::from_millis(200);
/// The pauses between attempts, from the first to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// How often old months are looked for.
const MAINTAIN_EVERY: Duration = Duration::from_secs(3_600);

/// A loader that runs.
pub struct Loader {
    state: Arc<State>,
}

impl Loader {
    /// Starts loading, with a store that is open already if there is one, and what tells of records.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn start(
        journal: Arc<Journal>,
        config: &config::Ledger,
        store: Option<Box<dyn Store>>,
        teller: Option<Arc<dyn Teller>>,
    ) -> std::io::Result<Self> {
        let state = Arc::new(State::default());
        let thread = Thread {
            journal,
            teller,
            database: Database::of(config),
            config: config.clone(),
            state: Arc::clone(&state),
            position: None,
            maintained: None,
            logged: LogInterval::default(),
        };
        let spawned = thread::Builder::new().name("ledger".to_owned());
        let told = Arc::clone(&state);
        spawned.spawn(move || {
            // A caller that waits for the end may open the journal anew: the thread has closed it by then.
            let is_all_loaded = thread.run(store);
            told.end(is_all_loaded);
        })?;
        Ok(Self { state })
    }

    /// How far the database is behind the journal.
    pub fn lag(&self) -> Lag {
        self.state.lag()
    }

    /// Why nothing can be loaded, while that is so.
    pub fn failure(&self) -> Option<String> {
        self.state.failure()
    }

    /// Whether all that the journal had at the start has been loaded: only then are balances complete.
    pub fn has_caught_up(&self) -> bool {
        self.state.has_caught_up()
    }

    /// Waits until that is so, or until an attempt has failed, or for this time. Returns whether it is so.
    pub fn wait(&self, within: Duration) -> bool {
        self.state.wait_for_start(Instant::now() + within)
    }

    /// Leaves old months to the process that takes over.
    pub fn hand_over(&self) {
        self.state.hand_over();
    }

    /// Loads the rest, for this time at most. Returns whether all has been loaded. What has not is loaded after
    /// the next start.
    pub fn stop(&self, within: Duration) -> bool {
        self.state.stop(Instant::now() + within)
    }
}

impl Drop for Loader {
    fn drop(&mut self) {
        self.state.stop(Instant::now());
    }
}

struct Thread {
    journal: Arc<Journal>,
    /// Tells of records that are loaded.
    teller: Option<Arc<dyn Teller>>,
    database: Database,
    config: config::Ledger,
    state: Arc<State>,
    /// Up to where the journal has been loaded, once that is known.
    position: Option<Position>,
    maintained: Option<Instant>,
    logged: LogInterval,
}

impl Thread {
    /// Loads until it is told to stop. Returns whether everything has been loaded.
    fn run(mut self, mut store: Option<Box<dyn Store>>) -> bool {
        let mut pause = FIRST_PAUSE;
        loop {
            let opened = match store.take() {
                Some(store) => Ok(store),
                None => self.database.open(&self.config),
            };
            let done = opened.and_then(|mut store| self.load_all(&mut *store, &mut pause));
            let Err(error) = done else {
                return true;
            };
            self.log(&error);
            let oldest = self.oldest();
            self.state
                .fail(error.to_string(), oldest, self.unloaded_bytes());
            if self.state.is_stopping() {
                return false;
            }
            // Several nodes do not come back at the same moment.
            let jitter = pause.mul_f64(fastrand::f64() / 4.0);
            self.state.pause(pause + jitter);
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Loads until it is told to stop and nothing is left.
    fn load_all(&mut self, store: &mut dyn Store, pause: &mut Duration) -> Result<(), StoreError> {
        let mut position = self.start(store)?;
        let mut kept_from = None;
        loop {
            self.position = Some(position);
            // Asked first: what was recorded before the stop is then in what is read.
            let is_stopping = self.state.is_stopping();
            let batch = self.journal.read(position, BATCH_BYTES);
            let batch = batch.map_err(|e| StoreError::Journal(e.to_string()))?;
            let (places, records): (Vec<Position>, Vec<Record<'_>>) = batch.records().unzip();
            if records.is_empty() && batch.next() == position {
                // The database works: the next failure is a new one.
                *pause = FIRST_PAUSE;
                self.state.catch_up();
                if is_stopping {
                    return store.sync();
                }
                self.maintain(store)?;
                self.state.pause(POLL);
                continue;
            }
            position = self.load(store, &records, &places, batch.next())?;
            *pause = FIRST_PAUSE;
            if kept_from != Some(position.segment) {
                // Only what the database cannot lose any more is removed.
                store.sync()?;
                self.journal.remove_before(position);
                kept_from = Some(position.segment);
            }
        }
    }

    /// Where to begin.
    fn start(&self, store: &mut dyn Store) -> Result<Position, StoreError> {
        let position = store.position()?.unwrap_or_default();
        if position <= self.journal.end() {
            return Ok(position);
        }
        log::warn!(
            "ledger: the database has more of the journal than there is; all of the journal is loaded, and \
             what the database has already counts once"
        );
        Ok(Position::default())
    }

    /// Loads records in transactions, each of which stands at its place. Returns up to where all is loaded.
    fn load(
        &self,
        store: &mut dyn Store,
        records: &[Record<'_>],
        places: &[Position],
        end: Position,
    ) -> Result<Position, StoreError> {
        if records.is_empty() {
            store.load(&[], end)?;
            return Ok(end);
        }
        let mut done = 0;
        while let Some(rest @ [oldest, ..]) = records.get(done..) {
            let begin = places.get(done).copied().unwrap_or(end);
            self.state
                .load(Some(oldest.at_ms), self.unloaded_bytes_from(begin));
            let chunk = rest.get(..batch(rest)).unwrap_or(rest);
            done += chunk.len();
            let next = places.get(done).copied().unwrap_or(end);
            let telling = self.teller.as_ref().and_then(|teller| teller.telling());
            store.load_and_tell(chunk, next, telling.as_deref())?;
            if let Some(telling) = telling {
                telling.told();
            }
            if self.state.must_end() && done < records.len() {
                // The rest is loaded after the next start.
                return Err(StoreError::Journal(
                    "there was no time to load the rest".to_owned(),
                ));
            }
        }
        Ok(end)
    }

    fn maintain(&mut self, store: &mut dyn Store) -> Result<(), StoreError> {
        let is_soon = |last: Instant| last.elapsed() < MAINTAIN_EVERY;
        if self.state.is_handed_over() || self.maintained.is_some_and(is_soon) {
            return Ok(());
        }
        self.maintained = Some(Instant::now());
        match store.maintain(clock::now()) {
            Ok(done) => {
                for line in done {
                    log::info!("ledger: {line}");
                }
                Ok(())
            }
            // PostgreSQL's connection may be broken; a file that cannot be moved keeps nothing else from going on.
            Err(error) if error.is_of_postgres() => Err(error),
            Err(error) => {
                log::error!("ledger: a month was not moved or removed: {error}");
                Ok(())
            }
        }
    }

    /// When the oldest record came that is not loaded.
    fn oldest(&self) -> Option<i64> {
        let batch = self
            .journal
            .read(self.position.unwrap_or_default(), 1)
            .ok()?;
        batch.records().next().map(|(_, record)| record.at_ms)
    }

    fn unloaded_bytes(&self) -> u64 {
        self.unloaded_bytes_from(self.position.unwrap_or_default())
    }

    fn unloaded_bytes_from(&self, position: Position) -> u64 {
        let end = self.journal.end();
        if end.segment == position.segment {
            return end.offset.saturating_sub(position.offset);
        }
        // Full segments have about the same size.
        let all = self.journal.health().bytes;
        all.saturating_sub(position.offset)
    }

    fn log(&mut self, error: &StoreError) {
        if self.logged.has_passed() {
            log::error!("ledger: usage is kept in the journal and loaded later: {error}");
        }
    }
}

/// How many of these records are loaded in one transaction: those of one month, so that all of it is done or nothing.
/// Another process that reads balances takes up the journal where it is done.
fn batch(records: &[Record<'_>]) -> usize {
    let mut months = Months::default();
    let first = records.first().map(|record| months.of(record.at_ms));
    let of_first = records.iter().take(BATCH_RECORDS);
    of_first
        .take_while(|record| Some(months.of(record.at_ms)) == first)
        .count()
}

#[cfg(test)]
mod tests;
