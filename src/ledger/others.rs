//! The journals of other processes: what those have left that have ended is loaded.
//!
//! Owns a thread that looks at the folder every second. A journal that no process has open, and that has grown since it
//! was loaded, is opened and loaded under its own name, as the process would have done that wrote it. It is held until
//! its segments are removed. A process that hands over leaves this to its successor. Does not handle the loading (see
//! `load`), or what quotas learn of other processes (see `following`). It holds seven journals at most. What fails is
//! tried again, and no record is left out.

use std::io;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::journal::{self, JournalError, Position};
use super::journals::{self, NUMBERS, Numbered};
use super::load::Loader;
use super::store::Teller;
use crate::config;
use crate::observe::log_interval::LogInterval;

/// How often the folder is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The longest pause after a failure. Pauses double until then.
const LONGEST_PAUSE: Duration = Duration::from_secs(16);
/// How long the loading of one journal may take before the next one has its turn.
const LOAD_WITHIN: Duration = Duration::from_secs(600);

/// How the journals of other processes are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OtherJournals {
    /// As many processes record, beside this one.
    pub in_use: usize,
    /// Journals of processes that have ended, which are not loaded yet.
    pub waiting: usize,
}

/// The thread that looks after them.
pub struct Others {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    found: OtherJournals,
    has_caught_up: bool,
    must_end: bool,
    has_ended: bool,
    /// What loads one of them now.
    loader: Option<Arc<Loader>>,
}

impl Others {
    /// Starts with the journals that were found at the start. `own` is the number of this process's own journal, and
    /// `config` names the node without it.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn start(
        config: &config::Ledger,
        own: usize,
        abandoned: Vec<Numbered>,
        teller: Arc<dyn Teller>,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        shared.state.lock().found.waiting = abandoned.len();
        let thread = Thread {
            config: config.clone(),
            own,
            teller,
            shared: Arc::clone(&shared),
            waiting: abandoned,
            loaded: Vec::new(),
            ends: [None; NUMBER_COUNT],
            logged: LogInterval::default(),
        };
        let spawned = thread::Builder::new().name("journals".to_owned());
        spawned.spawn(move || thread.run())?;
        Ok(Self { shared })
    }

    /// Whether all that was found at the start is loaded.
    pub fn has_caught_up(&self) -> bool {
        self.shared.state.lock().has_caught_up
    }

    /// Waits until that is so, or for this time. Returns whether it is so.
    pub fn wait(&self, until: Instant) -> bool {
        let mut state = self.shared.state.lock();
        while !state.has_caught_up && !state.has_ended {
            if self
                .shared
                .changed
                .wait_until(&mut state, until)
                .timed_out()
            {
                break;
            }
        }
        state.has_caught_up
    }

    /// How they are.
    pub fn found(&self) -> OtherJournals {
        self.shared.state.lock().found
    }

    /// Lets go of them: another process takes over, and loads what is not loaded.
    pub fn hand_over(&self) {
        let in_use = self.found().in_use.max(1);
        self.shared.note(OtherJournals { in_use, waiting: 0 });
        self.let_go();
    }

    /// Lets go of them. What is not loaded is loaded by another process, or after the next start.
    pub fn let_go(&self) {
        let mut state = self.shared.state.lock();
        state.must_end = true;
        let loader = state.loader.take();
        self.shared.changed.notify_all();
        drop(state);
        if let Some(loader) = loader {
            loader.stop(Duration::ZERO);
        }
    }

    /// Lets go of them, and waits for this time at most until that is done.
    pub fn stop(&self, by: Instant) {
        self.let_go();
        let mut state = self.shared.state.lock();
        while !state.has_ended {
            if self.shared.changed.wait_until(&mut state, by).timed_out() {
                return;
            }
        }
    }
}

impl Drop for Others {
    fn drop(&mut self) {
        self.let_go();
    }
}

/// One more than there are numbers, which begin at 1.
const NUMBER_COUNT: usize = *NUMBERS.end() + 1;

struct Thread {
    config: config::Ledger,
    own: usize,
    teller: Arc<dyn Teller>,
    shared: Arc<Shared>,
    /// Held, and to be loaded.
    waiting: Vec<Numbered>,
    /// Held and loaded. Another process may still read their segments.
    loaded: Vec<Numbered>,
    /// Up to where each of them is loaded, by its number.
    ends: [Option<Position>; NUMBER_COUNT],
    logged: LogInterval,
}

impl Thread {
    fn run(mut self) {
        let mut pause = LOOK_EVERY;
        while !self.shared.must_end() {
            self.load_waiting();
            let has_failed = !self.waiting.is_empty();
            if !has_failed {
                self.shared.catch_up();
            }
            self.clear_loaded();
            let in_use = self.look();
            let waiting = self.waiting.len();
            self.shared.note(OtherJournals { in_use, waiting });
            pause = match (has_failed, waiting) {
                (false, 0) => LOOK_EVERY,
                (false, _) => Duration::ZERO,
                (true, _) => (pause.max(LOOK_EVERY) * 2).min(LONGEST_PAUSE),
            };
            self.shared.pause(pause);
        }
        // Whoever waits for the end may open them.
        self.waiting.clear();
        self.loaded.clear();
        self.shared.end();
    }

    /// Loads those that are held, and lets go of each that is loaded.
    fn load_waiting(&mut self) {
        for numbered in std::mem::take(&mut self.waiting) {
            if !self.shared.must_end() && self.load(&numbered) {
                self.loaded.push(numbered);
            } else {
                self.waiting.push(numbered);
            }
        }
    }

    /// Removes the segments of those that are loaded, and lets go of each whose segments are removed.
    fn clear_loaded(&mut self) {
        for numbered in std::mem::take(&mut self.loaded) {
            let Numbered { number, journal } = &numbered;
            journal.remove_before(journal.end());
            if !journal.is_short() {
                self.loaded.push(numbered);
            } else if let Some(known) = self.ends.get_mut(*number) {
                *known = Some(journal.end());
            }
        }
    }

    fn load(&mut self, numbered: &Numbered) -> bool {
        let config = config::Ledger {
            node: journals::node(&self.config.node, numbered.number),
            ..self.config.clone()
        };
        let (journal, teller) = (Arc::clone(&numbered.journal), Arc::clone(&self.teller));
        match Loader::start(journal, &config, None, Some(teller)) {
            Ok(loader) => {
                let loader = Arc::new(loader);
                self.shared.load(&loader);
                let is_loaded = loader.stop(LOAD_WITHIN);
                self.shared.state.lock().loader = None;
                is_loaded
            }
            Err(e) => {
                self.log(numbered.number, &e);
                false
            }
        }
    }

    /// Takes those that processes have left since they were loaded. Returns how many are in use.
    fn look(&mut self) -> usize {
        let mut in_use = 0;
        for number in NUMBERS {
            let mut held = self.waiting.iter().chain(&self.loaded);
            let is_held = held.any(|held| held.number == number);
            if number == self.own || is_held {
                continue;
            }
            match self.find(number) {
                Ok(Some(numbered)) => self.waiting.push(numbered),
                Ok(None) => {}
                Err(JournalError::InUse(_)) => in_use += 1,
                Err(e) => self.log(number, &e),
            }
        }
        in_use
    }

    /// Opens one that has grown since it was loaded.
    fn find(&mut self, number: usize) -> Result<Option<Numbered>, JournalError> {
        let folder = journals::folder(&self.config.path.value, number);
        let failed = |e| JournalError::Io(folder.clone(), e);
        let Some(end) = journal::end_in(&folder).map_err(failed)? else {
            return Ok(None);
        };
        if journal::is_in_use(&folder).map_err(failed)? {
            return Err(JournalError::InUse(folder));
        }
        if self.ends.get(number) == Some(&Some(end)) {
            return Ok(None);
        }
        journals::open(&self.config.path.value, number, Position::default()).map(Some)
    }

    fn log(&mut self, number: usize, error: &dyn std::fmt::Display) {
        if self.logged.has_passed() {
            let folder = journals::folder(&self.config.path.value, number);
            let folder = folder.display();
            log::error!("ledger: {folder} of a process that has ended is loaded later: {error}");
        }
    }
}

impl Shared {
    fn must_end(&self) -> bool {
        self.state.lock().must_end
    }

    fn note(&self, found: OtherJournals) {
        let mut state = self.state.lock();
        if !state.must_end {
            state.found = found;
        }
    }

    fn catch_up(&self) {
        self.state.lock().has_caught_up = true;
        self.changed.notify_all();
    }

    /// Notes what is loading, so that it can be ended.
    fn load(&self, loader: &Arc<Loader>) {
        let mut state = self.state.lock();
        if state.must_end {
            drop(state);
            loader.stop(Duration::ZERO);
        } else {
            state.loader = Some(Arc::clone(loader));
        }
    }

    fn pause(&self, pause: Duration) {
        let until = Instant::now() + pause;
        let mut state = self.state.lock();
        while !state.must_end {
            if self.changed.wait_until(&mut state, until).timed_out() {
                return;
            }
        }
    }

    fn end(&self) {
        self.state.lock().has_ended = true;
        self.changed.notify_all();
    }
}
