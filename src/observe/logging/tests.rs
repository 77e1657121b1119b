//! What changes while the process runs, and lines that log others.

use super::queue::{Held, Next};
use super::*;
use std::time::Instant;

fn logging(rust_log: Option<&str>) -> Logging {
    let config = config::Log::default();
    let rust_log = rust_log.map(str::to_owned);
    Logging {
        filter: ArcSwap::from_pointee(Filter::new(config.level, rust_log.as_deref())),
        format: Arc::new(Format {
            is_json: AtomicBool::new(false),
            is_journal: true,
        }),
        queue: Arc::new(Queue::new(false, LogLines::new().unwrap())),
        has_files: false,
        chosen: Mutex::new(Chosen {
            configured: config.level,
            set_by: by_configuration(rust_log.as_ref()),
        }),
        rust_log,
    }
}

fn text(log: &Logging) -> String {
    let mut held = Held::default();
    assert_eq!(log.queue.take(&mut held, Instant::now()), Next::Lines);
    String::from_utf8(held.all).unwrap()
}

fn is_heard(log: &Logging, level: Level) -> bool {
    let metadata = Metadata::builder()
        .target("tollgate::x")
        .level(level)
        .build();
    log.enabled(&metadata)
}

#[test]
fn a_level_that_was_set_goes_on_until_the_configuration_has_another() {
    let log = logging(None);
    let mut config = config::Log::default();
    log.chosen.lock().set_by = SetBy::Request;
    log.set_filter(Filter::new(LevelFilter::Debug, None));
    log.apply(&config);
    assert!(is_heard(&log, Level::Debug));
    config.level = LevelFilter::Warn;
    log.apply(&config);
    assert!(!is_heard(&log, Level::Info) && is_heard(&log, Level::Warn));
    assert_eq!(log.chosen.lock().set_by, SetBy::Configuration);
}

#[test]
fn rust_log_goes_before_a_level_of_the_configuration() {
    let log = logging(Some("tollgate::x=trace"));
    assert_eq!(log.chosen.lock().set_by, SetBy::RustLog);
    let config = config::Log {
        level: LevelFilter::Error,
        ..config::Log::default()
    };
    log.apply(&config);
    assert!(is_heard(&log, Level::Trace));
    assert_eq!(log.chosen.lock().set_by, SetBy::RustLog);
}

#[test]
fn the_format_changes_at_once() {
    let log = logging(None);
    let config = config::Log {
        format: LogFormat::Json,
        ..config::Log::default()
    };
    log.apply(&config);
    log.write(Level::Info, |line, style| {
        lines::write_fields(line, style, (Level::Info, ACCESS), |fields| {
            fields.number("status", Some(200));
        });
    });
    let line = text(&log);
    assert!(line.starts_with("<6>{\"time\":"), "{line}");
    assert!(
        line.ends_with("\"target\":\"access\",\"status\":200}\n"),
        "{line}"
    );
}

#[test]
fn what_is_displayed_in_a_line_may_log_itself() {
    let log = logging(None);
    log.write(Level::Info, |line, _| {
        log.write(Level::Info, |line, _| line.push_str("inner\n"));
        line.push_str("outer\n");
    });
    assert_eq!(text(&log), "inner\nouter\n");
}
