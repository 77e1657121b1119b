//! The log: which lines pass, how they look, and where they go.
//!
//! Owns the log of the process, and what of it changes while it runs. `filter` decides which lines pass, `lines`
//! puts them together, `queue` keeps them until `writer` writes them, on a thread of its own, so that a slow reader
//! of the log never slows a request. `journal` finds out whether stderr is systemd's journal. Does not handle what a
//! request's line has (see `access`). Fails at the start where a file cannot be opened; later, lines are lost and
//! counted.

mod filter;
mod journal;
mod lines;
mod queue;
mod writer;

use std::cell::RefCell;
use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use log::{Level, LevelFilter, Log, Metadata, Record};
use parking_lot::Mutex;

use crate::config::{self, LogFormat};
use crate::observe::log_lines::LogLines;
use filter::Filter;
use lines::Style;
use queue::Queue;
use writer::{Output, Writer};

pub use lines::Fields;
#[cfg(test)]
pub use lines::text_of;

/// What the lines of requests are told from others by.
pub const ACCESS: &str = "access";
/// What the lines of statistics are told from others by.
pub const STATISTICS: &str = "statistics";

/// How long the end of the process waits until everything is written. Only a reader that does not read takes longer.
const CLOSE: Duration = Duration::from_secs(5);
/// A thread's buffer that became larger than this is not kept.
const KEPT_BYTES: usize = 16 << 10;

/// The log of the process. It begins once, before anything is served.
static LOG: OnceLock<Logging> = OnceLock::new();

/// Why the log could not begin.
#[derive(Debug)]
pub enum LogError {
    /// Its files cannot be opened.
    Files(PathBuf, std::io::Error),
    /// The process lacks something that it needs from the system, or a part of it is broken.
    Internal(String),
}

impl fmt::Display for LogError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Files(path, e) => write!(
                f,
                "server.log.files.path: {} cannot be written: {e} (give write permission for it and the files in it \
                 to the user that runs Tollgate, name another folder, or remove `files` to log to stderr)",
                path.display()
            ),
            Self::Internal(what) => write!(f, "internal: log: {what}"),
        }
    }
}

/// What decides which lines pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetBy {
    /// `server.log.level`.
    Configuration,
    /// The variable `RUST_LOG`.
    RustLog,
    /// A request of the operator, while the process runs.
    Request,
}

impl SetBy {
    /// Its name, as the operator knows it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Configuration => "server.log.level",
            Self::RustLog => "RUST_LOG",
            Self::Request => "PUT /admin/log-level",
        }
    }
}

/// The log of a process.
struct Logging {
    filter: ArcSwap<Filter>,
    format: Arc<Format>,
    queue: Arc<Queue>,
    /// Whether lines go to files, which have no use for priorities.
    has_files: bool,
    rust_log: Option<String>,
    chosen: Mutex<Chosen>,
}

/// What was asked for last.
struct Chosen {
    configured: LevelFilter,
    set_by: SetBy,
}

/// How lines look at the moment.
#[derive(Debug)]
struct Format {
    is_json: AtomicBool,
    /// Whether stderr is the journal.
    is_journal: bool,
}

impl Format {
    fn style(&self, is_for_file: bool) -> Style {
        Style {
            is_json: self.is_json.load(Ordering::Relaxed),
            has_priority: self.is_journal && !is_for_file,
        }
    }
}

/// Keeps the log; when dropped, what is queued is written out.
pub struct LogGuard(Option<&'static Logging>);

impl Drop for LogGuard {
    fn drop(&mut self) {
        if let Some(log) = self.0 {
            // What a reader that does not read has not taken by then is lost with the process.
            log.queue.close(CLOSE);
        }
    }
}

/// Begins the log; call it once. `journal_stream` is the variable `JOURNAL_STREAM`, which systemd sets.
///
/// # Errors
/// A file cannot be opened, or there is no thread to be had.
pub fn start(config: &config::Log, journal_stream: Option<&str>) -> Result<LogGuard, LogError> {
    let internal = |e: &dyn fmt::Display| LogError::Internal(e.to_string());
    let counts = LogLines::shared().map_err(|e| internal(&e))?;
    let output = Output::open(config.files.as_ref()).map_err(|e| {
        let files = config.files.as_ref();
        LogError::Files(files.map_or_else(PathBuf::new, |f| f.path.value.clone()), e)
    })?;
    let queue = Arc::new(Queue::new(output.has_files(), counts.clone()));
    let format = Arc::new(Format {
        is_json: AtomicBool::new(config.format == LogFormat::Json),
        is_journal: journal::is_stderr(journal_stream),
    });
    let rust_log = rust_log();
    let set_by = by_configuration(rust_log.as_ref());
    let logging = Logging {
        filter: ArcSwap::from_pointee(Filter::new(config.level, rust_log.as_deref())),
        format: Arc::clone(&format),
        queue: Arc::clone(&queue),
        has_files: output.has_files(),
        rust_log,
        chosen: Mutex::new(Chosen {
            configured: config.level,
            set_by,
        }),
    };
    if LOG.set(logging).is_err() {
        // A second call, as in tests that share a process, keeps the first log.
        return Ok(LogGuard(None));
    }
    let writer = Writer::new(queue, format, output, counts);
    let thread = std::thread::Builder::new().name("log".to_owned());
    thread.spawn(|| writer.run()).map_err(|e| internal(&e))?;
    let Some(log) = LOG.get() else {
        return Ok(LogGuard(None));
    };
    // It fails where another library has set one, which none does.
    let _ = log::set_logger(log);
    log::set_max_level(log.filter.load().most_detailed());
    Ok(LogGuard(Some(log)))
}

#[allow(
    clippy::disallowed_methods,
    reason = "it is of the environment alone, as with other programs, and not of `.env`"
)]
fn rust_log() -> Option<String> {
    std::env::var("RUST_LOG")
        .ok()
        .filter(|rust_log| !rust_log.is_empty())
}

fn by_configuration(rust_log: Option<&String>) -> SetBy {
    match rust_log {
        Some(_) => SetBy::RustLog,
        None => SetBy::Configuration,
    }
}

/// Applies another configuration while the process runs: the format, and the level where that is another than the
/// configuration had. A level that the operator has set goes on otherwise. `mask`, `access` and `statistics` are
/// taken from the snapshot, and `files` take effect with the next start.
pub fn apply(config: &config::Log) {
    if let Some(log) = LOG.get() {
        log.apply(config);
    }
}

/// Sets the level while the process runs, in place of `server.log.level` and `RUST_LOG`, until
/// [`apply`] gets another level than the configuration has now.
pub fn set_level(level: LevelFilter) {
    if let Some(log) = LOG.get() {
        log.chosen.lock().set_by = SetBy::Request;
        log.set_filter(Filter::new(level, None));
    }
}

/// The level of the most detailed lines that pass, and what has set it.
pub fn level() -> (LevelFilter, SetBy) {
    match LOG.get() {
        Some(log) => (log.filter.load().most_detailed(), log.chosen.lock().set_by),
        None => (LevelFilter::Off, SetBy::Configuration),
    }
}

/// Writes a line of fields, without asking whether it passes: ask `log::log_enabled!` before.
pub fn write_fields(level: Level, target: &str, fill: impl FnOnce(&mut Fields<'_>)) {
    if let Some(log) = LOG.get() {
        log.write(level, |line, style| {
            lines::write_fields(line, style, (level, target), fill);
        });
    }
}

thread_local! {
    /// The line that is being put together.
    static LINE: RefCell<String> = const { RefCell::new(String::new()) };
}

impl Logging {
    fn set_filter(&self, filter: Filter) {
        let level = filter.most_detailed();
        self.filter.store(Arc::new(filter));
        log::set_max_level(level);
    }

    fn apply(&self, config: &config::Log) {
        let is_json = config.format == LogFormat::Json;
        self.format.is_json.store(is_json, Ordering::Relaxed);
        let mut chosen = self.chosen.lock();
        if chosen.configured != config.level {
            chosen.configured = config.level;
            chosen.set_by = by_configuration(self.rust_log.as_ref());
            self.set_filter(Filter::new(config.level, self.rust_log.as_deref()));
        }
    }

    /// Puts a line together in a buffer of the thread's own, and queues it.
    fn write(&self, level: Level, fill: impl FnOnce(&mut String, Style)) {
        let style = self.format.style(self.has_files);
        let is_error = level <= Level::Warn;
        LINE.with(|line| {
            // What is displayed in a line may log, too.
            let Ok(mut line) = line.try_borrow_mut() else {
                let mut line = String::new();
                fill(&mut line, style);
                return self.queue.push(&line, is_error);
            };
            line.clear();
            fill(&mut line, style);
            self.queue.push(&line, is_error);
            line.shrink_to(KEPT_BYTES);
        });
    }
}

impl Log for Logging {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.filter.load().enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        if self.filter.load().passes(record) {
            let (level, target) = (record.level(), record.target());
            self.write(level, |line, style| {
                lines::write_text(line, style, (level, target), record.args());
            });
        }
    }

    /// The thread that writes does not wait for it.
    fn flush(&self) {}
}

#[cfg(test)]
mod tests;
