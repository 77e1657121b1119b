//! The keys that an issuer publishes at a URL.
//!
//! Owns when they are asked for: at the start, from time to time, and when a token names a key that is not among them,
//! at most once in [`LEAST_PAUSE`]. The last good keys stay until others come. Kept by URL from one snapshot to the
//! next. Does not handle asking itself (see `fetch`). Cannot fail: a failure is logged when it begins and when
//! it ends.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use parking_lot::Mutex;
use tokio::sync::watch;

use super::fetch;
use crate::config::JwksUrl;
use crate::jwt::KeySet;

/// Keys are not asked for more often because a token names one that is not known.
const LEAST_PAUSE: Duration = Duration::from_secs(30);
/// Where no keys are known, they are asked for this often.
const WITHOUT_KEYS: Duration = Duration::from_secs(5);
/// How often it is looked whether something is due.
const TICK: Duration = Duration::from_millis(250);
/// How long a request waits for keys.
const PATIENCE: Duration = Duration::from_secs(3);
/// As many requests wait for one issuer's keys.
const MOST_WAITING: usize = 64;

/// The keys at one URL.
#[derive(Debug)]
pub struct Remote {
    /// The issuer, in metrics and in the log.
    issuer: String,
    at: JwksUrl,
    keys: ArcSwapOption<KeySet>,
    state: Mutex<State>,
    /// How often they have been asked for, with success or not. A request that waits looks for a change.
    done: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct State {
    /// When they were asked for last.
    last_try: Option<Instant>,
    is_asking: bool,
    /// Whether a token has named a key that is not known.
    is_wanted: bool,
    /// Whether the last try has failed.
    is_failing: bool,
    /// When it was done with success last.
    last_success: Option<Instant>,
}

/// How the keys of an issuer stand.
#[derive(Debug)]
pub struct Standing {
    /// The issuer.
    pub name: String,
    /// How long ago they were had; `None` where they never were.
    pub age: Option<Duration>,
    /// Whether the last try has failed.
    pub is_failing: bool,
}

impl Eq for Remote {}

/// Two are equal where they are the same one.
impl PartialEq for Remote {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
    }
}

impl Remote {
    fn new(issuer: &str, at: &JwksUrl) -> Self {
        Self {
            issuer: issuer.to_owned(),
            at: at.clone(),
            keys: ArcSwapOption::empty(),
            state: Mutex::default(),
            done: watch::channel(0).0,
        }
    }

    /// The keys, where there are some.
    pub fn keys(&self) -> Option<Arc<KeySet>> {
        self.keys.load_full()
    }

    /// Waits until the keys have been asked for, for a token whose key is not among them. Returns whether they have
    /// been: not where that was done a moment ago, takes too long, or where too many wait already.
    pub async fn ask_again(&self) -> bool {
        let mut done = self.done.subscribe();
        if self.done.receiver_count() > MOST_WAITING {
            return false;
        }
        {
            let mut state = self.state.lock();
            let is_recent = |at: Instant| at.elapsed() < self.pause();
            match state.is_asking {
                true => {}
                false if state.last_try.is_some_and(is_recent) => return false,
                false => state.is_wanted = true,
            }
        }
        done.borrow_and_update();
        let changed = tokio::time::timeout(PATIENCE, done.changed()).await;
        matches!(changed, Ok(Ok(())))
    }

    fn pause(&self) -> Duration {
        match self.keys.load().is_some() {
            true => LEAST_PAUSE,
            false => WITHOUT_KEYS,
        }
    }

    /// Takes the turn to ask, where it is time.
    fn is_due(&self) -> bool {
        let mut state = self.state.lock();
        let age = state.last_try.map(|at| at.elapsed());
        let is_due = match age {
            None => true,
            Some(_) if state.is_wanted => true,
            Some(age) if state.is_failing => age >= self.pause(),
            Some(age) => age >= self.at.refresh,
        };
        if state.is_asking || !is_due {
            return false;
        }
        state.is_asking = true;
        state.is_wanted = false;
        state.last_try = Some(Instant::now());
        true
    }

    /// Notes what has come of asking.
    fn note(&self, asked: Result<KeySet, String>) {
        let mut state = self.state.lock();
        state.is_asking = false;
        match asked {
            Ok(keys) => {
                if state.is_failing {
                    log::info!("the keys of the issuer {} are there again", self.issuer);
                }
                state.is_failing = false;
                state.last_success = Some(Instant::now());
                // What was verified with the same keys stays so.
                if self.keys.load().as_deref() != Some(&keys) {
                    self.keys.store(Some(Arc::new(keys)));
                }
            }
            Err(why) => {
                if !state.is_failing {
                    let meanwhile = match self.keys.load().is_some() {
                        true => "the last ones stay in use",
                        false => "its tokens are refused until then",
                    };
                    let issuer = &self.issuer;
                    log::warn!("the keys of the issuer {issuer} cannot be had: {why}; {meanwhile}");
                }
                state.is_failing = true;
            }
        }
        drop(state);
        self.done.send_modify(|times| *times += 1);
    }

    #[cfg(test)]
    pub(super) fn note_for_test(&self, asked: Result<KeySet, String>) {
        self.note(asked);
    }
}

/// All published keys, from one snapshot to the next.
#[derive(Debug, Default)]
pub struct Remotes(Mutex<HashMap<(String, JwksUrl), Arc<Remote>>>);

impl Remotes {
    /// The keys of an issuer at a URL: the same as long as a snapshot has them.
    pub fn of(&self, issuer: &str, at: &JwksUrl) -> Arc<Remote> {
        let mut all = self.0.lock();
        let name = (issuer.to_owned(), at.clone());
        let known = all.entry(name);
        Arc::clone(known.or_insert_with(|| Arc::new(Remote::new(issuer, at))))
    }

    /// How all of them stand.
    pub fn standing(&self) -> Vec<Standing> {
        let all = self.0.lock();
        let standing = all.values().map(|remote| {
            let state = remote.state.lock();
            Standing {
                name: remote.issuer.clone(),
                age: state.last_success.map(|at| at.elapsed()),
                is_failing: state.is_failing,
            }
        });
        standing.collect()
    }

    /// Forgets those that no snapshot has any more.
    pub fn forget_unused(&self) {
        self.0
            .lock()
            .retain(|_, remote| Arc::strong_count(remote) > 1);
    }

    /// Asks for whatever is due, as long as the process serves.
    pub async fn keep_fresh(&self) {
        loop {
            let all: Vec<Arc<Remote>> = self.0.lock().values().cloned().collect();
            for remote in all.into_iter().filter(|remote| remote.is_due()) {
                let at = remote.at.clone();
                tokio::spawn(async move {
                    let asked = tokio::task::spawn_blocking(move || fetch::keys(&at)).await;
                    remote
                        .note(asked.unwrap_or_else(|_| Err("the look-up was cut off".to_owned())));
                });
            }
            tokio::time::sleep(TICK).await;
        }
    }
}
