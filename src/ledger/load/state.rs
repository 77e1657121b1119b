//! What the loader's thread tells others, and they tell it.
//!
//! Owns the flags and the waiting. Does not handle the work (see the head of this folder). Cannot fail.

use std::time::{Duration, Instant, SystemTime};

use parking_lot::{Condvar, Mutex};

use crate::clock;

/// How far the database is behind the journal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lag {
    /// About how many bytes of the journal have not been loaded.
    pub bytes: u64,
    /// How long ago the oldest request came whose record has not been loaded.
    pub age: Duration,
}

/// What is shared.
#[derive(Default)]
pub struct State {
    inner: Mutex<Inner>,
    changed: Condvar,
}

#[derive(Default)]
struct Inner {
    has_caught_up: bool,
    has_tried: bool,
    failure: Option<String>,
    oldest_ms: Option<i64>,
    bytes: u64,
    stop_by: Option<Instant>,
    is_handed_over: bool,
    /// Whether the thread has ended, and then whether everything was loaded.
    ended: Option<bool>,
}

impl State {
    /// How far the database is behind.
    pub fn lag(&self) -> Lag {
        let inner = self.inner.lock();
        let now = clock::now().duration_since(SystemTime::UNIX_EPOCH);
        let oldest = inner.oldest_ms.and_then(|ms| u64::try_from(ms).ok());
        let age = oldest.map(|ms| {
            now.unwrap_or_default()
                .saturating_sub(Duration::from_millis(ms))
        });
        Lag {
            bytes: inner.bytes,
            age: age.unwrap_or_default(),
        }
    }

    /// Why nothing can be loaded.
    pub fn failure(&self) -> Option<String> {
        self.inner.lock().failure.clone()
    }

    /// Whether everything was loaded once.
    pub fn has_caught_up(&self) -> bool {
        self.inner.lock().has_caught_up
    }

    /// Notes that everything is loaded.
    pub fn catch_up(&self) {
        let mut inner = self.inner.lock();
        (inner.has_tried, inner.has_caught_up) = (true, true);
        (inner.failure, inner.oldest_ms, inner.bytes) = (None, None, 0);
        self.changed.notify_all();
    }

    /// Notes what is being loaded.
    pub fn load(&self, oldest_ms: Option<i64>, bytes: u64) {
        let mut inner = self.inner.lock();
        (inner.oldest_ms, inner.bytes) = (oldest_ms, bytes);
    }

    /// Notes that an attempt has failed.
    pub fn fail(&self, failure: String, oldest_ms: Option<i64>, bytes: u64) {
        let mut inner = self.inner.lock();
        inner.has_tried = true;
        inner.failure = Some(failure);
        (inner.oldest_ms, inner.bytes) = (oldest_ms, bytes);
        self.changed.notify_all();
    }

    /// Notes that the thread has ended.
    pub fn end(&self, is_all_loaded: bool) {
        self.inner.lock().ended = Some(is_all_loaded);
        self.changed.notify_all();
    }

    /// Notes that another process takes over.
    pub fn hand_over(&self) {
        self.inner.lock().is_handed_over = true;
    }

    /// Whether another process takes over.
    pub fn is_handed_over(&self) -> bool {
        self.inner.lock().is_handed_over
    }

    /// Whether the thread is to end once everything is loaded.
    pub fn is_stopping(&self) -> bool {
        self.inner.lock().stop_by.is_some()
    }

    /// Whether the thread is to end now.
    pub fn must_end(&self) -> bool {
        let stop_by = self.inner.lock().stop_by;
        stop_by.is_some_and(|stop_by| Instant::now() >= stop_by)
    }

    /// Waits for this time, or until the thread is to end.
    pub fn pause(&self, pause: Duration) {
        let until = Instant::now() + pause;
        let mut inner = self.inner.lock();
        while inner.stop_by.is_none() {
            if self.changed.wait_until(&mut inner, until).timed_out() {
                return;
            }
        }
    }

    /// Waits until everything was loaded once, or an attempt has failed. Returns whether everything was loaded.
    pub fn wait_for_start(&self, until: Instant) -> bool {
        let mut inner = self.inner.lock();
        while !inner.has_tried {
            if self.changed.wait_until(&mut inner, until).timed_out() {
                break;
            }
        }
        inner.has_caught_up
    }

    /// Tells the thread to end by then, or by an earlier time that it was told before, and waits for it. Returns
    /// whether everything was loaded.
    pub fn stop(&self, by: Instant) -> bool {
        let mut inner = self.inner.lock();
        inner.stop_by = Some(inner.stop_by.map_or(by, |before| before.min(by)));
        self.changed.notify_all();
        while inner.ended.is_none() {
            if self.changed.wait_until(&mut inner, by).timed_out() {
                break;
            }
        }
        inner.ended.unwrap_or(false)
    }
}
