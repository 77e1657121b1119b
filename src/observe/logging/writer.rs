//! The thread that writes the log.
//!
//! Owns where lines go: to stderr, or to `info.log` with all of them and `error.log` with warnings and errors. Lines
//! that wait together are written together, and a pause follows before it looks for more: a system call and a
//! wake-up for each line would cost more than the line. Does not handle how lines wait (see `queue`) or when files
//! are rotated (see `rotation`). Lines that cannot be written are counted and lost, and the next ones are tried
//! again; what was lost is said at most once a minute, on stderr while files cannot be written.

use std::io::{self, Stderr};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use log::Level;

use super::Format;
use super::lines::{self, Style};
use super::queue::{Held, Next, Queue};
use crate::clock;
use crate::config;
use crate::observe::log_interval::LogInterval;
use crate::observe::log_lines::LogLines;
use crate::rotation::{Files, Readers, Rules, Unwritten, write_whole};

/// What is written to a pipe at once, unless one line is longer: as much as the kernel puts into it whole, so
/// that another process that writes to the same pipe cuts no line.
const PIPE_BYTES: usize = 4096;
/// What is written to a file at once, unless one line is longer. It fits into the smallest file.
const FILE_BYTES: usize = 16 << 10;
/// Between two times that the queue is emptied.
const PAUSE: Duration = Duration::from_millis(5);
/// How often files are rotated by age and old ones removed while nothing is written.
const MAINTAIN_EVERY: Duration = Duration::from_secs(3600);
/// After this time without a line it looks whether there is something to say of lost ones.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// What its own lines come from.
const TARGET: &str = "tollgate::observe::logging";

/// Where lines go.
pub enum Output {
    /// To stderr.
    Stderr(Stderr),
    /// To files.
    Files {
        /// All lines.
        info: Box<LogFile>,
        /// Warnings and errors once more.
        error: Box<LogFile>,
    },
}

/// One of the files, with what was lost of it.
pub struct LogFile {
    files: Files,
    /// Lines that were lost and not told of in the file.
    lost_lines: u64,
    told: LogInterval,
}

impl Output {
    /// Opens the files, or takes stderr where there are none.
    ///
    /// # Errors
    /// A file cannot be opened, or the folder cannot be read.
    pub fn open(files: Option<&config::LogFiles>) -> io::Result<Self> {
        let Some(wanted) = files else {
            return Ok(Self::Stderr(io::stderr()));
        };
        let rules = Rules {
            readers: Readers::Group,
            rotation: wanted.rotation,
            retention: wanted.retention,
        };
        let open = |name: &str| {
            let files = Files::open(&wanted.path.value.join(name), rules)?;
            Ok::<_, io::Error>(Box::new(LogFile {
                files,
                lost_lines: 0,
                told: LogInterval::default(),
            }))
        };
        Ok(Self::Files {
            info: open("info.log")?,
            error: open("error.log")?,
        })
    }

    /// Whether lines go to files. Then warnings and errors have one of their own.
    pub fn has_files(&self) -> bool {
        matches!(self, Self::Files { .. })
    }
}

/// The state of the thread.
pub struct Writer {
    queue: Arc<Queue>,
    output: Output,
    /// Lines that were dropped and told of.
    dropped: u64,
    drops: LogInterval,
    report: Report,
}

/// Where lines that are lost are counted and told of.
struct Report {
    format: Arc<Format>,
    lines: LogLines,
    failures: LogInterval,
}

impl Writer {
    /// Writes what comes through the queue.
    pub fn new(queue: Arc<Queue>, format: Arc<Format>, output: Output, lines: LogLines) -> Self {
        Self {
            queue,
            output,
            dropped: lines.dropped.get(),
            drops: LogInterval::default(),
            report: Report {
                format,
                lines,
                failures: LogInterval::default(),
            },
        }
    }

    /// Writes until the queue is closed and empty.
    pub fn run(mut self) {
        let mut held = Held::default();
        let mut maintained = Instant::now();
        loop {
            let next = self.queue.take(&mut held, Instant::now() + LOOK_EVERY);
            if next == Next::Lines {
                self.write(&held);
                self.queue.pause(PAUSE);
            }
            if maintained.elapsed() >= MAINTAIN_EVERY {
                maintained = Instant::now();
                self.maintain();
            }
            self.tell_of_dropped(next == Next::Closed);
            if next == Next::Closed {
                self.queue.finish();
                return;
            }
        }
    }

    fn write(&mut self, held: &Held) {
        match &mut self.output {
            Output::Stderr(stderr) => {
                for batch in batches(&held.all, PIPE_BYTES) {
                    // That stderr is gone can be told nowhere.
                    let unwritten = write_whole(stderr, batch).err();
                    let lost = unwritten.map_or(0, |unwritten| missing(&unwritten, batch));
                    self.report.lines.failed.inc_by(lost);
                }
            }
            Output::Files { info, error } => {
                info.write(&held.all, &mut self.report);
                error.write(&held.errors, &mut self.report);
            }
        }
    }

    fn maintain(&mut self) {
        let Output::Files { info, error } = &mut self.output else {
            return;
        };
        for file in [info, error] {
            if let Err(e) = file.files.maintain(clock::now()) {
                self.report.failure(file.files.path(), &e);
            }
        }
    }

    /// Tells how many lines were dropped, among the lines themselves.
    fn tell_of_dropped(&mut self, is_last: bool) {
        let now = self.report.lines.dropped.get();
        let dropped = now.saturating_sub(self.dropped);
        if dropped == 0 || !(is_last || self.drops.has_passed()) {
            return;
        }
        self.dropped = now;
        let text = format!("log: {dropped} lines were dropped because the queue was full");
        let has_files = self.output.has_files();
        let all = own_line(self.report.format.style(has_files), Level::Warn, &text).into_bytes();
        let errors = if has_files { all.clone() } else { Vec::new() };
        self.write(&Held { all, errors });
    }
}

impl LogFile {
    fn write(&mut self, lines: &[u8], report: &mut Report) {
        for batch in batches(lines, FILE_BYTES) {
            if let Err(unwritten) = self.files.append(batch, clock::now()) {
                let lost = missing(&unwritten, batch);
                self.lost_lines += lost;
                report.lines.failed.inc_by(lost);
                report.failure(self.files.path(), &unwritten.error);
            } else if self.lost_lines > 0 && self.told.has_passed() {
                self.tell_of_lost(report);
            }
        }
    }

    /// Tells how many lines are missing, now that there is room again.
    fn tell_of_lost(&mut self, report: &Report) {
        let text = format!(
            "log: {} can be written again; {} lines were lost",
            self.files.path().display(),
            self.lost_lines
        );
        let line = own_line(report.format.style(true), Level::Warn, &text);
        if self.files.append(line.as_bytes(), clock::now()).is_ok() {
            self.lost_lines = 0;
        }
    }
}

impl Report {
    /// Tells of a file that cannot be written, where it can still be told.
    fn failure(&mut self, path: &Path, error: &io::Error) {
        if !self.failures.has_passed() {
            return;
        }
        let path = path.display();
        let text = format!(
            "log: {path} cannot be written: {error}; lines of the log are lost until it can"
        );
        let line = own_line(self.format.style(false), Level::Error, &text);
        // There is nowhere else to tell it.
        let _ = write_whole(&mut io::stderr(), line.as_bytes());
    }
}

/// How many of these lines are missing, at least in part.
fn missing(unwritten: &Unwritten, lines: &[u8]) -> u64 {
    let start = lines.len().saturating_sub(unwritten.bytes);
    let missing = lines.get(start..).unwrap_or_default();
    memchr::memchr_iter(b'\n', missing).count() as u64
}

fn own_line(style: Style, level: Level, text: &str) -> String {
    let mut line = String::new();
    lines::write_text(&mut line, style, (level, TARGET), &text);
    line
}

/// Lines in pieces of whole lines, of at most `most` bytes each unless one line is longer.
fn batches(lines: &[u8], most: usize) -> impl Iterator<Item = &[u8]> {
    let mut left = lines;
    std::iter::from_fn(move || {
        let within = left
            .get(..most)
            .and_then(|head| memchr::memrchr(b'\n', head));
        let end = match within {
            _ if left.len() <= most => left.len(),
            Some(end) => end + 1,
            None => memchr::memchr(b'\n', left).map_or(left.len(), |end| end + 1),
        };
        let (batch, rest) = left.split_at_checked(end)?;
        left = rest;
        (!batch.is_empty()).then_some(batch)
    })
}

#[cfg(test)]
mod tests;
