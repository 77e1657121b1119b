//! Seeing what other processes change.
//!
//! Owns the thread that waits for it: PostgreSQL tells of a change, and of SQLite the version is looked at. Owns how
//! often the past is pruned, too. Does not handle what follows from a change (see `runtime::managed`). While the
//! database is away, it is tried again each second.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use super::store::{Retention, Store};
use super::{Managed, now_ms};

/// How long it is waited for a change before the version is asked for all the same.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long after a failure it is tried again.
const TRY_AGAIN: Duration = Duration::from_secs(1);
/// How often the past is pruned.
const PRUNE_EVERY: Duration = Duration::from_secs(3_600);
/// For how long the past is kept: 400 days.
const KEPT_MS: i64 = 400 * 86_400_000;
/// As many lines of the audit are kept.
const MOST_LINES: i64 = 1_000_000;
/// As many tenants and keys that are gone are kept, so that what has failed to see it is told.
const MOST_GONE: i64 = 100_000;

/// Starts the thread. It ends with what it is for.
pub fn start(managed: &Arc<Managed>, store: Option<Box<dyn Store>>) {
    let followed = Arc::downgrade(managed);
    let name = "tollgate-keys".to_owned();
    let started = std::thread::Builder::new()
        .name(name)
        .spawn(move || follow(&followed, store));
    if let Err(error) = started {
        log::error!("changes of keys by other processes are not seen: no thread: {error}");
    }
}

fn follow(followed: &Weak<Managed>, mut store: Option<Box<dyn Store>>) {
    let mut pruned: Option<Instant> = None;
    let mut was_away = store.is_none();
    loop {
        let Some(managed) = followed.upgrade() else {
            return;
        };
        let mut seen = managed.catch_up(&mut store);
        if let (Ok(()), Some(open)) = (&seen, &mut store)
            && pruned.is_none_or(|at| at.elapsed() >= PRUNE_EVERY)
        {
            seen = open.prune(retention());
            pruned = Some(Instant::now());
        }
        let known = managed.set().version();
        // It may end while nothing happens.
        drop(managed);
        let waited = match (seen, &mut store) {
            (Ok(()), Some(open)) => {
                if std::mem::take(&mut was_away) {
                    log::info!("changes of keys are seen again");
                }
                open.wait(known, PATIENCE)
            }
            (seen, _) => seen,
        };
        if let Err(error) = waited {
            if let Some(managed) = followed.upgrade() {
                managed.set_trouble(&error);
            }
            if !std::mem::replace(&mut was_away, true) {
                log::warn!("changes of keys by other processes are not seen: {error}");
            }
            store = None;
            #[allow(clippy::disallowed_methods, reason = "it is a thread that may block")]
            std::thread::sleep(TRY_AGAIN);
        }
    }
}

fn retention() -> Retention {
    Retention {
        before_ms: now_ms() - KEPT_MS,
        lines: MOST_LINES,
        gone: MOST_GONE,
    }
}
