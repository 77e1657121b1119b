//! The log: where it goes, how a line looks, which levels pass.
//!
//! Lines go to stderr through a bounded queue and a thread of their own, so that a slow reader of
//! the log never slows a request; at the bound lines are dropped, and the count of them is logged
//! at the end. The thread writes the lines that wait together, and pauses before it looks for more: a
//! system call and a wake-up for each line would cost more than the line. Pingora and the libraries
//! under it print raw headers at debug and trace, the swapped key among them, so nothing but our own
//! records passes below info. What they report as an error though a client did it, and could do it a
//! thousand times a second, is taken for debug.

use std::borrow::Cow;
use std::io::{self, BufWriter, Write};
use std::thread;
use std::time::Duration;

use log::{Level, LevelFilter, Log, Metadata, Record};
use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};

use super::access;
use crate::clock;

/// Lines that wait to be written, at most.
const MAX_QUEUED_LINES: usize = 65_536;
/// What is written at once, unless one line is longer: as much as the kernel puts into a pipe whole, so
/// that another process that writes to the same pipe cuts no line.
const WRITE_BYTES: usize = 4096;
/// Between two times that the queue is emptied.
const PAUSE: Duration = Duration::from_millis(5);

/// Keeps the log's thread; when dropped, what is queued is written out.
pub struct LogGuard {
    _worker: WorkerGuard,
    dropped: ErrorCounter,
}

impl Drop for LogGuard {
    fn drop(&mut self) {
        let lines = self.dropped.dropped_lines();
        if lines > 0 {
            log::warn!("{lines} log lines were dropped because their reader was too slow");
        }
    }
}

/// Sets the log up; call it once. `RUST_LOG` goes before `level`.
pub fn start(level: LevelFilter) -> LogGuard {
    let (writer, worker) = NonBlockingBuilder::default()
        .buffered_lines_limit(MAX_QUEUED_LINES)
        .lossy(true)
        .finish(Batches::of(io::stderr()));
    let dropped = writer.error_counter();
    let logger = env_logger::Builder::new()
        .filter_level(level)
        // At info it tells of each listener's end and of each service's start: ours say enough.
        .filter_module("pingora", level.min(LevelFilter::Warn))
        .parse_default_env()
        .target(env_logger::Target::Pipe(Box::new(writer)))
        .format(write_line)
        .build();
    log::set_max_level(logger.filter());
    // A second call, as in tests that share a process, keeps the first log.
    let _ = log::set_boxed_logger(Box::new(OwnBelowInfo(logger)));
    LogGuard {
        _worker: worker,
        dropped,
    }
}

/// x
pub fn apply(_: &crate::config::Log) {}

/// Joins lines into few writes. The log's thread flushes it each time that the queue is empty.
struct Batches<W: Write>(BufWriter<W>);

impl<W: Write> Batches<W> {
    fn of(stderr: W) -> Self {
        Self(BufWriter::with_capacity(WRITE_BYTES, stderr))
    }
}

impl<W: Write> Write for Batches<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.write(line)
    }

    #[allow(clippy::disallowed_methods, reason = "the log has a thread of its own")]
    fn flush(&mut self) -> io::Result<()> {
        if !self.0.buffer().is_empty() {
            self.0.flush()?;
            thread::sleep(PAUSE);
        }
        Ok(())
    }
}

fn write_line(out: &mut env_logger::fmt::Formatter, record: &Record<'_>) -> io::Result<()> {
    write!(
        out,
        "{} {:5} {} ",
        clock::now_rfc3339(),
        record.level(),
        record.target()
    )?;
    match record.target() {
        // Has masked what is not ours.
        access::TARGET => writeln!(out, "{}", record.args()),
        _ => writeln!(out, "{}", without_controls(&record.args().to_string())),
    }
}

/// Without what a terminal takes for orders, which can come with what an upstream says.
fn without_controls(text: &str) -> Cow<'_, str> {
    let is_order = |c: char| c.is_control() && c != '\n';
    match text.contains(is_order) {
        true => Cow::Owned(text.replace(is_order, "?")),
        false => Cow::Borrowed(text),
    }
}

/// Modules of the libraries whose warnings and errors are about what a client has sent.
const OF_CLIENTS: [&str; 4] = [
    "pingora_core::apps",
    "pingora_core::protocols::http",
    "pingora_core::protocols::tls",
    "rustls",
];

/// Lets records below info pass only when they are ours, whatever `RUST_LOG` says.
struct OwnBelowInfo(env_logger::Logger);

fn is_of_clients(target: &str) -> bool {
    let rest = |module: &&str| target.strip_prefix(*module);
    let mut rests = OF_CLIENTS.iter().filter_map(rest);
    rests.any(|rest| rest.is_empty() || rest.starts_with("::"))
}

fn is_ours(target: &str) -> bool {
    target == access::TARGET || target.split("::").next() == Some("tollgate")
}

impl Log for OwnBelowInfo {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let target = metadata.target();
        if target != access::TARGET && is_of_clients(target) {
            let as_debug = Metadata::builder()
                .target(target)
                .level(Level::Debug)
                .build();
            return metadata.level() <= LevelFilter::Info && self.0.enabled(&as_debug);
        }
        (metadata.level() <= LevelFilter::Info || is_ours(target)) && self.0.enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            self.0.log(record);
        }
    }

    fn flush(&self) {
        self.0.flush();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_records_pass_below_info() {
        let logger = env_logger::Builder::new()
            .filter_level(LevelFilter::Trace)
            .build();
        let logger = OwnBelowInfo(logger);
        let enabled = |target, level| {
            let metadata = Metadata::builder().target(target).level(level).build();
            logger.enabled(&metadata)
        };
        assert!(enabled("tollgate::gateway", log::Level::Trace));
        assert!(enabled("pingora_core::server", log::Level::Info));
        assert!(!enabled("pingora_core::protocols", log::Level::Debug));
        assert!(!enabled("tollgate_evil", log::Level::Debug));
        assert!(!enabled("h2::codec", log::Level::Trace));
    }

    #[test]
    fn lines_that_wait_are_written_together_and_whole() {
        #[derive(Default)]
        struct Writes(Vec<Vec<u8>>);
        impl Write for Writes {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.0.push(bytes.to_vec());
                Ok(bytes.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut batches = Batches::of(Writes::default());
        let line = |length: usize| "x".repeat(length - 1) + "\n";
        let lines = [line(300).repeat(20), line(WRITE_BYTES + 1), line(10)].concat();
        for line in lines.split_inclusive('\n') {
            batches.write_all(line.as_bytes()).unwrap();
        }
        batches.flush().unwrap();
        let writes = &batches.0.get_ref().0;
        assert_eq!(writes.concat(), lines.as_bytes());
        assert_eq!(
            writes.len(),
            4,
            "two of short lines, the long one, the last"
        );
        assert!(writes.iter().all(|write| write.ends_with(b"\n")));
    }

    #[test]
    fn a_terminal_gets_no_orders() {
        assert_eq!(
            without_controls("a\x1b[31mb\rc\u{9b}d\ne"),
            "a?[31mb?c?d\ne"
        );
        assert_eq!(without_controls("é ü"), "é ü");
    }

    #[test]
    fn what_clients_can_cause_is_taken_for_debug() {
        let enabled = |level, target| {
            let logger = env_logger::Builder::new().filter_level(level).build();
            let mut metadata = Metadata::builder();
            let metadata = metadata.target(target).level(Level::Error).build();
            OwnBelowInfo(logger).enabled(&metadata)
        };
        for target in ["pingora_core::apps", "rustls::msgs::handshake"] {
            assert!(!enabled(LevelFilter::Info, target), "{target}");
            assert!(enabled(LevelFilter::Debug, target), "{target}");
        }
        assert!(enabled(
            LevelFilter::Info,
            "pingora_core::services::listening"
        ));
        assert!(enabled(LevelFilter::Info, "rustls_native_certs"));
    }
}
