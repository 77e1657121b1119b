//! Whether the journal works.
//!
//! Owns the three troubles that it may have, the last error, and the log lines about them: at most one a
//! minute about each, and one when a trouble that was logged ends. Does not handle what follows from them (see
//! `writer` and `keeper`; `gateway` refuses requests). Cannot fail.

use std::path::Path;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// The least time between two log lines about one trouble, whether it lasts or comes and goes.
const LOG_EVERY: Duration = Duration::from_secs(60);

/// What may be wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Trouble {
    /// Records cannot be written.
    Write = 1,
    /// What is written may not be on the disk.
    Sync = 2,
    /// There is no room for another segment: records are written until the current one is full.
    Room = 4,
}

/// How the journal is.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Health {
    /// Records cannot be written, or not be brought to the disk.
    pub is_failing: bool,
    /// The disk, or the journal's own bound, has no room for another segment.
    pub is_short_of_room: bool,
    /// The last error since it has worked.
    pub last_error: Option<String>,
    /// The bytes of all segments that are not removed.
    pub bytes: u64,
}

/// The troubles that there are.
#[derive(Default)]
pub struct Monitor {
    troubles: AtomicU8,
    told: Mutex<Told>,
}

#[derive(Default)]
struct Told {
    last_error: Option<String>,
    /// When a trouble was logged, at most once for each.
    logged: Vec<(Trouble, Instant)>,
    /// The troubles whose beginning was logged, and whose end was not, as bits.
    announced: u8,
}

impl Trouble {
    fn what(self) -> &'static str {
        match self {
            Trouble::Write => "usage records cannot be written",
            Trouble::Sync => "usage records may not be on the disk",
            Trouble::Room => "there is no room for another segment",
        }
    }
}

impl Monitor {
    /// Something went wrong.
    pub fn begin(&self, trouble: Trouble, path: &Path, error: &dyn std::fmt::Display) {
        self.troubles.fetch_or(trouble as u8, Ordering::AcqRel);
        let mut told = self.told.lock();
        told.last_error = Some(error.to_string());
        let last = told.logged.iter().find(|(logged, _)| *logged == trouble);
        if last.is_some_and(|(_, at)| at.elapsed() < LOG_EVERY) {
            return;
        }
        told.logged.retain(|(logged, _)| *logged != trouble);
        told.logged.push((trouble, Instant::now()));
        told.announced |= trouble as u8;
        let what = trouble.what();
        log::error!("journal {}: {what}: {error}", path.display());
    }

    /// It works.
    pub fn end(&self, trouble: Trouble, path: &Path) {
        if !self.has(trouble) {
            return;
        }
        let before = self.troubles.fetch_and(!(trouble as u8), Ordering::AcqRel);
        let mut told = self.told.lock();
        if before == trouble as u8 {
            told.last_error = None;
        }
        if told.announced & trouble as u8 != 0 {
            told.announced &= !(trouble as u8);
            let what = trouble.what();
            log::warn!("journal {}: it works again, after: {what}", path.display());
        }
    }

    /// Whether there is this trouble.
    pub fn has(&self, trouble: Trouble) -> bool {
        self.troubles.load(Ordering::Acquire) & trouble as u8 != 0
    }

    /// Whether there is any.
    pub fn has_any(&self) -> bool {
        self.troubles.load(Ordering::Acquire) != 0
    }

    /// Whether records cannot be written, or not be brought to the disk.
    pub fn is_failing(&self) -> bool {
        self.has(Trouble::Write) || self.has(Trouble::Sync)
    }

    /// What is told of it.
    pub fn health(&self, bytes: u64) -> Health {
        Health {
            is_failing: self.is_failing(),
            is_short_of_room: self.has(Trouble::Room),
            last_error: self.told.lock().last_error.clone(),
            bytes,
        }
    }
}
