//! The chat log: requests and answers, a line of JSON for each request.
//!
//! Owns the queue between the requests and the thread that writes (`writer`), and its limits. `entry` is a request and
//! its line, `copy` copies JSON onto one line without keys, `convert` converts a log. Does not handle how files are
//! rotated (see `rotation`) or how a stream becomes one answer (see `openai::aggregate`). A request never waits: an
//! entry for which the queue is full, and a line that cannot be written, are lost and counted.

pub mod convert;
mod copy;
mod entry;
mod writer;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, SyncSender};
use std::time::{Duration, Instant};

use crate::config;
use crate::observe::chats::Chats;
use crate::rotation::{Files, Readers, Rules};
use writer::{Job, Writer};

pub use crate::rotation::all as files;
pub use entry::Entry;

/// The most entries in the queue.
const MAX_WAITING: usize = 4096;
/// The most bytes of all entries in the queue.
const MAX_HELD_BYTES: usize = 64 << 20;
/// The time between two tries at a full queue while the log closes.
const RETRY_EVERY: Duration = Duration::from_millis(5);

/// An open log. When it is dropped, the queue is still written, unless the process ends before.
pub struct ChatLog {
    jobs: SyncSender<Job>,
    held: Arc<AtomicUsize>,
    sample: f64,
    counts: Chats,
}

impl ChatLog {
    /// Opens the file, and starts the thread that writes to it.
    ///
    /// # Errors
    /// The file cannot be opened, its folder cannot be read, or no thread can be started.
    pub fn start(config: &config::ChatLog, counts: Chats) -> io::Result<Self> {
        let files = open(config)?;
        let (log, writer) = Self::new(config, files, counts);
        std::thread::Builder::new()
            .name("chat-log".to_owned())
            .spawn(|| writer.run())?;
        Ok(log)
    }

    fn new(config: &config::ChatLog, files: Files, counts: Chats) -> (Self, Writer) {
        let (jobs, waiting) = mpsc::sync_channel(MAX_WAITING);
        let held = Arc::new(AtomicUsize::new(0));
        let writer = Writer {
            jobs: waiting,
            config: config.clone(),
            files,
            counts: counts.clone(),
            held: Arc::clone(&held),
        };
        let log = Self {
            jobs,
            held,
            sample: config.sample,
            counts,
        };
        (log, writer)
    }

    /// Whether the next request is in the random sample that is logged. Call it once for a request.
    pub fn wants(&self) -> bool {
        self.sample >= 1.0 || fastrand::f64() < self.sample
    }

    /// Queues a request. Never waits: where the queue is full, the entry is dropped.
    pub fn record(&self, entry: Entry) {
        let size = entry.size();
        let has_room = self.held.fetch_add(size, Ordering::AcqRel) + size <= MAX_HELD_BYTES;
        let is_queued = has_room && self.jobs.try_send(Job::Write(Box::new(entry))).is_ok();
        if !is_queued {
            self.held.fetch_sub(size, Ordering::AcqRel);
            self.counts.dropped.inc();
        }
    }

    /// Waits until all entries so far are written, for at most `patience`. Returns whether they are.
    /// Blocks the thread.
    pub fn close(&self, patience: Duration) -> bool {
        let started = Instant::now();
        let left = || patience.saturating_sub(started.elapsed());
        let (done, is_done) = mpsc::sync_channel(1);
        let mut job = Job::Confirm(done);
        loop {
            match self.jobs.try_send(job) {
                Ok(()) => return is_done.recv_timeout(left()).is_ok(),
                Err(mpsc::TrySendError::Full(again)) if !left().is_zero() => job = again,
                Err(_) => return false,
            }
            #[allow(
                clippy::disallowed_methods,
                reason = "the gateway has stopped: this is the last thing that its thread does"
            )]
            std::thread::sleep(RETRY_EVERY);
        }
    }
}

/// Opens the file of a log.
fn open(config: &config::ChatLog) -> io::Result<Files> {
    let rules = Rules {
        readers: Readers::Owner,
        rotation: config.rotation,
        retention: config.retention,
    };
    Files::open(&config.path.value, rules)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use bytes::Bytes;
    use serde_json::Value;

    use super::entry::tests::entry;
    use super::*;
    use crate::config::{Every, Located, Mask, Place, Retention, Rotation};

    pub(super) fn config(path: &str) -> config::ChatLog {
        config::ChatLog {
            path: Located {
                value: PathBuf::from(path),
                place: Place::default(),
            },
            sample: 1.0,
            max_line_bytes: 1 << 20,
            rotation: Rotation {
                max_file_bytes: 100 << 20,
                every: Every::Day,
            },
            retention: Retention {
                age: Some(Duration::from_secs(30 * 86_400)),
                files: 100,
            },
            mask: Mask {
                addresses: true,
                keys: true,
            },
        }
    }

    const PATIENCE: Duration = Duration::from_secs(20);

    fn folder() -> (tempfile::TempDir, config::ChatLog) {
        let folder = tempfile::tempdir().unwrap();
        let config = config(folder.path().join("chats.jsonl").to_str().unwrap());
        (folder, config)
    }

    /// A log whose thread has not started.
    fn idle(config: &config::ChatLog) -> (ChatLog, Writer) {
        ChatLog::new(config, open(config).unwrap(), Chats::new().unwrap())
    }

    fn counts(log: &ChatLog) -> [u64; 3] {
        [&log.counts.written, &log.counts.dropped, &log.counts.failed].map(|count| count.get())
    }

    #[test]
    fn recorded_entries_are_in_the_file_after_close() {
        let (_folder, config) = folder();
        let log = ChatLog::start(&config, Chats::new().unwrap()).unwrap();
        std::thread::scope(|threads| {
            for _ in 0..4 {
                threads.spawn(|| (0..250).for_each(|_| log.record(entry())));
            }
        });
        assert!(log.close(PATIENCE));
        assert_eq!(counts(&log), [1000, 0, 0]);
        assert_eq!(log.held.load(Ordering::Acquire), 0);
        let text = std::fs::read_to_string(&config.path.value).unwrap();
        for line in text.lines() {
            assert_eq!(serde_json::from_str::<Value>(line).unwrap()["id"], "req_1");
        }
        assert_eq!(text.lines().count(), 1000);
    }

    #[test]
    fn entries_above_the_limit_of_the_queue_are_dropped_and_counted_without_waiting() {
        let (_folder, config) = folder();
        let (log, writer) = idle(&config);
        let small = Entry {
            request: Bytes::new(),
            answer: None,
            ..entry()
        };
        for _ in 0..=MAX_WAITING {
            log.record(small.clone());
        }
        assert_eq!(counts(&log), [0, 1, 0]);
        assert!(!log.close(Duration::from_millis(20)), "the queue is full");
        let thread = std::thread::spawn(|| writer.run());
        assert!(log.close(PATIENCE));
        let all = MAX_WAITING as u64;
        assert_eq!(counts(&log), [all, 1, 0]);
        drop(log);
        thread.join().unwrap();
    }

    #[test]
    fn entries_above_the_limit_of_bytes_are_dropped_and_counted() {
        let (_folder, config) = folder();
        let (log, writer) = idle(&config);
        let of = |bytes: usize| Entry {
            request: Bytes::from(vec![b' '; bytes]),
            answer: None,
            ..entry()
        };
        let rest = of(0).size();
        log.record(of(MAX_HELD_BYTES - 2 * rest));
        log.record(of(1));
        assert_eq!(counts(&log), [0, 1, 0]);
        log.record(of(0));
        assert_eq!(counts(&log), [0, 1, 0]);
        assert_eq!(log.held.load(Ordering::Acquire), MAX_HELD_BYTES);
        drop(log);
        let held = Arc::clone(&writer.held);
        writer.run();
        assert_eq!(held.load(Ordering::Acquire), 0);
    }

    #[test]
    fn failures_to_write_are_counted_and_writing_goes_on_when_it_can() {
        let (folder, config) = folder();
        let log = ChatLog::start(&config, Chats::new().unwrap()).unwrap();
        std::fs::remove_dir_all(folder.path()).unwrap();
        std::fs::write(folder.path(), "a file in the folder's place").unwrap();
        log.record(entry());
        log.record(entry());
        assert!(log.close(PATIENCE));
        assert_eq!(counts(&log), [0, 0, 2]);
        std::fs::remove_file(folder.path()).unwrap();
        log.record(entry());
        assert!(log.close(PATIENCE));
        assert_eq!(counts(&log), [1, 0, 2]);
    }

    #[test]
    fn a_file_that_cannot_be_opened_is_an_error_at_the_start() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml/chats.jsonl");
        assert!(ChatLog::start(&config(file), Chats::new().unwrap()).is_err());
    }

    #[test]
    fn a_dropped_log_still_writes_its_queue() {
        let (_folder, config) = folder();
        let (log, writer) = idle(&config);
        log.record(entry());
        drop(log);
        writer.run();
        let text = std::fs::read_to_string(&config.path.value).unwrap();
        assert_eq!(text.lines().count(), 1);
    }

    #[test]
    fn a_share_of_the_requests_is_wanted() {
        let (_folder, config) = folder();
        let wanted = |sample| {
            let config = config::ChatLog {
                sample,
                ..config.clone()
            };
            let (log, _) = idle(&config);
            fastrand::seed(3);
            (0..10_000).filter(|_| log.wants()).count()
        };
        assert_eq!(wanted(0.0), 0);
        assert_eq!(wanted(1.0), 10_000);
        let share = wanted(0.25);
        assert!((2300..2700).contains(&share), "{share}");
    }

    #[test]
    fn a_rotation_loses_no_line() {
        let (_folder, mut config) = folder();
        config.rotation.max_file_bytes = 2000;
        let log = ChatLog::start(&config, Chats::new().unwrap()).unwrap();
        for _ in 0..40 {
            log.record(entry());
        }
        assert!(log.close(PATIENCE));
        let files = files(&config.path.value).unwrap();
        assert!(files.len() > 5, "{files:?}");
        let texts = files
            .iter()
            .map(|path| std::fs::read_to_string(path).unwrap());
        assert_eq!(texts.map(|text| text.lines().count()).sum::<usize>(), 40);
    }
}
