//! The thread that writes the log.
//!
//! Owns the order of what it does, and what it says of failures: once a minute, however many there
//! are. Refuses to know who asks. It ends when nobody can ask any more, and everything asked is done.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::time::{Duration, Instant};

use super::entry::Entry;
use super::files::Files;
use crate::clock;
use crate::config::ChatLog as Config;
use crate::observe::chats::Chats;

/// Time is looked at so often: for files of yesterday, and for those that are old.
const TEND_EVERY: Duration = Duration::from_secs(3600);
/// The same is not said again before.
const SAY_EVERY: Duration = Duration::from_secs(60);

/// What the thread is asked for.
pub enum Job {
    /// To write the line of a request, which counts in the bytes that are held.
    Write(Box<Entry>),
    /// To say when it has come to this.
    Tell(SyncSender<()>),
}

/// What the thread has.
pub struct Writer {
    /// What it is asked for.
    pub jobs: Receiver<Job>,
    /// How the lines look.
    pub config: Config,
    /// Where they go.
    pub files: Files,
    /// What becomes of them.
    pub counts: Chats,
    /// Bytes of entries that wait.
    pub held: Arc<AtomicUsize>,
}

impl Writer {
    /// Does what it is asked for.
    pub fn run(mut self) {
        let mut line = Vec::new();
        let (mut failures, mut drops) = (Once::default(), Once::default());
        let mut dropped = self.counts.dropped.get();
        let mut tended = Instant::now();
        loop {
            let done = match self
                .jobs
                .recv_timeout(TEND_EVERY.saturating_sub(tended.elapsed()))
            {
                Ok(Job::Write(entry)) => self.write(&entry, &mut line),
                Ok(Job::Tell(teller)) => {
                    // Who asked may have given up.
                    let _ = teller.try_send(());
                    Ok(())
                }
                Err(RecvTimeoutError::Timeout) => Ok(()),
                Err(RecvTimeoutError::Disconnected) => return,
            };
            self.say_failure(done, &mut failures);
            if tended.elapsed() >= TEND_EVERY {
                tended = Instant::now();
                let done = self.files.tend(clock::now());
                self.say_failure(done, &mut failures);
            }
            let now_dropped = self.counts.dropped.get();
            if now_dropped > dropped && drops.may() {
                let lines = now_dropped - dropped;
                log::warn!("chat log: {lines} lines were dropped: more came than could be written");
                dropped = now_dropped;
            }
        }
    }

    fn write(&mut self, entry: &Entry, line: &mut Vec<u8>) -> io::Result<()> {
        entry.write_line(&self.config, line);
        let written = self.files.append(line, clock::now());
        match &written {
            Ok(()) => self.counts.written.inc(),
            Err(_) => self.counts.failed.inc(),
        }
        self.held.fetch_sub(entry.size(), Ordering::AcqRel);
        // One long line is no reason to keep as much for ever.
        line.shrink_to(self.config.max_line_bytes);
        written
    }

    fn say_failure(&self, done: io::Result<()>, failures: &mut Once) {
        if let Err(e) = done
            && failures.may()
        {
            let path = self.config.path.value.display();
            log::error!("chat log: {path} cannot be written: {e}; chats are lost until it can");
        }
    }
}

/// Lets something be said now and then.
#[derive(Default)]
struct Once(Option<Instant>);

impl Once {
    fn may(&mut self) -> bool {
        let may = self.0.is_none_or(|last| last.elapsed() >= SAY_EVERY);
        if may {
            self.0 = Some(Instant::now());
        }
        may
    }
}
