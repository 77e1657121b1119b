//! The thread beside the writer: it syncs, prepares the next segment, and looks whether a disk works again.
//!
//! Owns what is to be synced, and when. While nothing is written and nothing is wrong, the thread sleeps.
//! Does not handle appends (see `writer`). What fails becomes a trouble (see `health`), and is tried again
//! every second.

use std::fs::File;
use std::io;
use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::health::Trouble;
use super::writer::MAX_UNSYNCED;
use super::{AppendError, Shared};

/// How often the thread tries again what has failed.
const RETRY_EVERY: Duration = Duration::from_secs(1);

/// What wakes the thread.
#[derive(Default)]
pub struct Signal {
    is_dirty: AtomicBool,
    is_stopped: Mutex<bool>,
    changed: Condvar,
}

impl Signal {
    /// Whether something was written since the last sync began.
    pub fn is_dirty(&self) -> bool {
        self.is_dirty.load(Ordering::Acquire)
    }

    /// Something was written.
    pub fn set_dirty(&self) {
        if !self.is_dirty.swap(true, Ordering::AcqRel) {
            // With the lock, so that it is not missed between the thread's look and its sleep.
            let _lock = self.is_stopped.lock();
            self.changed.notify_one();
        }
    }

    /// Ends the thread.
    pub fn stop(&self) {
        *self.is_stopped.lock() = true;
        self.changed.notify_one();
    }

    /// Waits until something was written, or for so long. Whether the thread goes on.
    fn wait_for_work(&self, at_most: Option<Duration>) -> bool {
        let mut is_stopped = self.is_stopped.lock();
        let is_idle = |is_stopped: &mut bool| !*is_stopped && !self.is_dirty();
        match at_most {
            Some(time) => drop(self.changed.wait_while_for(&mut is_stopped, is_idle, time)),
            None => self.changed.wait_while(&mut is_stopped, is_idle),
        }
        !*is_stopped
    }

    /// Waits for so long. Whether the thread goes on.
    fn pause(&self, time: Duration) -> bool {
        let mut is_stopped = self.is_stopped.lock();
        let goes_on = |is_stopped: &mut bool| !*is_stopped;
        self.changed.wait_while_for(&mut is_stopped, goes_on, time);
        !*is_stopped
    }
}

/// Runs the thread until it is stopped.
pub fn run(shared: &Shared) {
    loop {
        let retry = shared.monitor.has_any().then_some(RETRY_EVERY);
        if !shared.signal.wait_for_work(retry) || !shared.signal.pause(shared.options.sync_every) {
            return;
        }
        // An error is a trouble already.
        let _ = shared.sync();
        shared.prepare();
        shared.probe();
        if shared.monitor.has_any() && !shared.signal.pause(RETRY_EVERY) {
            return;
        }
    }
}

impl Shared {
    /// Notes a full segment that is not synced.
    pub fn add_unsynced(&self, file: Arc<File>) {
        self.has_folder_changed.store(true, Ordering::Release);
        let mut unsynced = self.unsynced.lock();
        if unsynced.len() < MAX_UNSYNCED {
            unsynced.push(file);
            return;
        }
        drop(unsynced);
        if let Err(e) = file.sync_data() {
            self.monitor.begin(Trouble::Sync, self.folder.path(), &e);
        }
    }

    /// Brings to the disk what was written before the call.
    pub fn sync(&self) -> io::Result<()> {
        let _one_at_a_time = self.syncing.lock();
        self.signal.is_dirty.store(false, Ordering::Release);
        let current = self.writer.lock().file();
        let full = mem::take(&mut *self.unsynced.lock());
        let mut synced = Ok(());
        for file in full.into_iter().chain([current]) {
            synced = file.sync_data().and(synced);
        }
        if self.has_folder_changed.swap(false, Ordering::AcqRel) {
            synced = self.folder.sync().and(synced);
        }
        match &synced {
            Ok(()) => self.monitor.end(Trouble::Sync, self.folder.path()),
            Err(e) => {
                self.monitor.begin(Trouble::Sync, self.folder.path(), e);
                // The system may have dropped what it could not write, and not tell it a second time.
                self.writer.lock().retire();
            }
        }
        synced
    }

    /// Prepares the next segment when the current one is half full, so that a full disk is told early.
    fn prepare(&self) {
        let current = self.writer.lock().position();
        let (options, path) = (&self.options, self.folder.path());
        let is_time = current.offset > options.segment_bytes / 2 || self.monitor.has(Trouble::Room);
        let next = current.segment + 1;
        let mut prepared = self.prepared.lock();
        if !is_time || prepared.as_ref().is_some_and(|(number, _)| *number >= next) {
            return;
        }
        let others = self.contents.lock().bytes().saturating_sub(current.offset);
        let needed = options.segment_bytes.saturating_mul(2);
        if others.saturating_add(needed) > options.max_bytes {
            let full = AppendError::Full(options.max_bytes);
            return self.monitor.begin(Trouble::Room, path, &full);
        }
        match self.folder.prepare(next, self.salt, options.segment_bytes) {
            Ok(file) => {
                *prepared = Some((next, file));
                self.monitor.end(Trouble::Room, path);
            }
            Err(e) => self.monitor.begin(Trouble::Room, path, &e),
        }
    }

    fn probe(&self) {
        if !self.monitor.has(Trouble::Write) {
            return;
        }
        match self.writer.lock().probe(self) {
            Ok(()) => self.monitor.end(Trouble::Write, self.folder.path()),
            Err(e) => self.monitor.begin(Trouble::Write, self.folder.path(), &e),
        }
    }
}
