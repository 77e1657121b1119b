//! The thread that writes the log.
//!
//! Owns the order of its jobs, and the log lines about failures: at most one a minute of each kind.
//! Does not handle the queue's limits (see `chatlog`) or the files (see `rotation`). It ends when the log
//! is dropped and the queue is empty. A line that cannot be written is counted and lost.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::time::{Duration, Instant};

use super::entry::Entry;
use crate::clock;
use crate::config::ChatLog as Config;
use crate::observe::chats::Chats;
use crate::observe::log_interval::LogInterval;
use crate::rotation::Files;

/// How often files are rotated by age and old ones removed while nothing is written.
const MAINTAIN_EVERY: Duration = Duration::from_secs(3600);

/// A job for the thread.
pub enum Job {
    /// Write the line of a request, which counts in the bytes of the queue.
    Write(Box<Entry>),
    /// Confirm that all jobs before this one are done.
    Confirm(SyncSender<()>),
}

/// The state of the thread.
pub struct Writer {
    /// The queue.
    pub jobs: Receiver<Job>,
    /// How lines are written.
    pub config: Config,
    /// The files.
    pub files: Files,
    /// The counters of lines.
    pub counts: Chats,
    /// The bytes of the entries in the queue.
    pub held: Arc<AtomicUsize>,
}

impl Writer {
    /// Does the jobs, in order.
    pub fn run(mut self) {
        let mut line = Vec::new();
        let (mut failures, mut drops) = (LogInterval::default(), LogInterval::default());
        let mut dropped = self.counts.dropped.get();
        let mut maintained = Instant::now();
        loop {
            let done = match self
                .jobs
                .recv_timeout(MAINTAIN_EVERY.saturating_sub(maintained.elapsed()))
            {
                Ok(Job::Write(entry)) => self.write(&entry, &mut line),
                Ok(Job::Confirm(done)) => {
                    // The receiver may have given up.
                    let _ = done.try_send(());
                    Ok(())
                }
                Err(RecvTimeoutError::Timeout) => Ok(()),
                Err(RecvTimeoutError::Disconnected) => return,
            };
            self.log_failure(done, &mut failures);
            if maintained.elapsed() >= MAINTAIN_EVERY {
                maintained = Instant::now();
                let done = self.files.maintain(clock::now());
                self.log_failure(done, &mut failures);
            }
            let now_dropped = self.counts.dropped.get();
            if now_dropped > dropped && drops.has_passed() {
                let lines = now_dropped - dropped;
                log::warn!("chat log: {lines} lines were dropped because the queue was full");
                dropped = now_dropped;
            }
        }
    }

    fn write(&mut self, entry: &Entry, line: &mut Vec<u8>) -> io::Result<()> {
        entry.write_line(&self.config, line);
        let written = self.files.append(line, clock::now()).map_err(|e| e.error);
        match &written {
            Ok(()) => self.counts.written.inc(),
            Err(_) => self.counts.failed.inc(),
        }
        self.held.fetch_sub(entry.size(), Ordering::AcqRel);
        // A long line must not keep its memory for ever.
        line.shrink_to(self.config.max_line_bytes);
        written
    }

    fn log_failure(&self, done: io::Result<()>, failures: &mut LogInterval) {
        if let Err(e) = done
            && failures.has_passed()
        {
            let path = self.config.path.value.display();
            log::error!("chat log: {path} cannot be written: {e}; chats are lost until it can");
        }
    }
}
