//! The `server.log` section: what is logged, how, and where to.
//!
//! Owns its keys and defaults. Does not handle how a line is written (see `observe::logging`), or whether the
//! folder can be written (see `validate`). What cannot be read is reported with its place, and the default is
//! used.

use std::path::PathBuf;
use std::time::Duration;

use crate::config::document::{Located, Node};
use crate::config::rotation::{self, Retention, Rotation};

/// More often, the statistics would be most of the log.
const LEAST_STATISTICS: Duration = Duration::from_secs(1);
/// Full files of each of the two that are kept, unless the section says how many.
const FILES: usize = 30;

/// The `server.log` section.
#[derive(Clone, Debug, PartialEq)]
pub struct Log {
    /// `error`, `warn`, `info`, `debug` or `trace`; `RUST_LOG` goes before it.
    pub level: log::LevelFilter,
    /// How a line looks.
    pub format: LogFormat,
    /// Whether logs show less of clients: their addresses lose their last part, and their keys have no names.
    pub mask: bool,
    /// Whether each request has its line.
    pub access: bool,
    /// The time between two lines of statistics; `None` for none.
    pub statistics: Option<Duration>,
    /// The files that lines go to; `None` for stderr.
    pub files: Option<LogFiles>,
}

/// How a line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Time, level, target and text, with fields as `key=value`.
    Text,
    /// An object of JSON.
    Json,
}

/// The files that lines go to.
#[derive(Clone, Debug, PartialEq)]
pub struct LogFiles {
    /// Their folder.
    pub path: Located<PathBuf>,
    /// When a new file is begun.
    pub rotation: Rotation,
    /// When an old one is removed.
    pub retention: Retention,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            level: log::LevelFilter::Info,
            format: LogFormat::Text,
            mask: true,
            access: true,
            statistics: Some(Duration::from_secs(30)),
            files: None,
        }
    }
}

/// Reads the section.
pub(super) fn read(node: &Node<'_>) -> Log {
    let mut log = Log::default();
    let Some(mut section) = node.section() else {
        return log;
    };
    if let Some(node) = section.take("level") {
        match node.text().map(|text| text.parse()) {
            Some(Ok(level)) => log.level = level,
            Some(Err(_)) => node.report(
                "unknown level",
                Some("one of: off, error, warn, info, debug, trace"),
            ),
            None => {}
        }
    }
    if let Some(node) = section.take("format") {
        match node.text().as_deref() {
            Some("text") => log.format = LogFormat::Text,
            Some("json") => log.format = LogFormat::Json,
            Some(_) => node.report("expected text or json", None),
            None => {}
        }
    }
    if let Some(mask) = section.take("mask").and_then(|n| n.boolean()) {
        log.mask = mask;
    }
    if let Some(access) = section.take("access").and_then(|n| n.boolean()) {
        log.access = access;
    }
    if let Some(node) = section.take("statistics") {
        read_statistics(&node, &mut log.statistics);
    }
    log.files = section.take("files").and_then(|n| read_files(&n));
    section.finish();
    log
}

fn read_statistics(node: &Node<'_>, statistics: &mut Option<Duration>) {
    if node.says_off() {
        *statistics = None;
        return;
    }
    match node.duration() {
        Some(every) if every < LEAST_STATISTICS => {
            node.report("must be at least 1s, or off", None);
        }
        Some(every) => *statistics = Some(every),
        None => {}
    }
}

fn read_files(node: &Node<'_>) -> Option<LogFiles> {
    let mut section = node.section()?;
    let path = section.require("path").and_then(|n| n.path());
    let mut rotation = Rotation::default();
    let mut retention = Retention::of_files(FILES);
    rotation::take(&mut section, &mut rotation, &mut retention);
    section.finish();
    Some(LogFiles {
        path: path?,
        rotation,
        retention,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Every, Variables};

    fn parse(log: &str) -> Result<Log, Vec<String>> {
        let text = format!(
            "upstreams: {{ a: {{ base_url: http://a }} }}\n\
             models: [{{ match: m, targets: [{{ upstream: a }}] }}]\n\
             server: {{ log: {log} }}\n"
        );
        match Config::parse("t.yaml", &text, &Variables::default()) {
            Ok(config) => Ok(config.server.log),
            Err(problems) => Err(problems.0.iter().map(ToString::to_string).collect()),
        }
    }

    #[test]
    fn everything_has_a_default() {
        let log = parse("{}").unwrap();
        assert_eq!(log.level, log::LevelFilter::Info);
        assert_eq!(log.format, LogFormat::Text);
        assert!(log.mask && log.access);
        assert_eq!(log.statistics, Some(Duration::from_secs(30)));
        assert!(log.files.is_none());
        let files = parse("{ files: { path: ./log } }").unwrap().files.unwrap();
        assert_eq!(files.path.value, PathBuf::from("./log"));
        assert_eq!(files.rotation, Rotation::default());
        assert_eq!(files.retention, Retention::of_files(30));
    }

    #[test]
    fn everything_can_be_said() {
        let log = parse(
            "{ level: off, format: json, mask: false, access: false, statistics: off,
               files: { path: a, rotate: { size: 64KiB, every: hour }, retention: { age: off, files: 2 } } }",
        )
        .unwrap();
        assert_eq!(log.level, log::LevelFilter::Off);
        assert_eq!(log.format, LogFormat::Json);
        assert!(!log.mask && !log.access);
        assert_eq!(log.statistics, None);
        let files = log.files.unwrap();
        assert_eq!(files.rotation.max_file_bytes, 64 << 10);
        assert_eq!(files.rotation.every, Every::Hour);
        assert_eq!((files.retention.age, files.retention.files), (None, 2));
        let log = parse("{ format: text, statistics: 1m }").unwrap();
        assert_eq!(log.format, LogFormat::Text);
        assert_eq!(log.statistics, Some(Duration::from_secs(60)));
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
        for (log, expected) in [
            ("{ format: xml }", "format: expected text or json"),
            (
                "{ statistics: 10ms }",
                "statistics: must be at least 1s, or off",
            ),
            (
                "{ statistics: often }",
                "statistics: `often` is not a duration above zero",
            ),
            ("{ files: {} }", "files: `path` is missing"),
            ("{ files: ./log }", "files: expected a mapping, found text"),
            ("{ files: { path: '' } }", "files.path: must not be empty"),
            (
                "{ files: { path: a, rotate: { size: 1KiB } } }",
                "files.rotate.size: must be at least 64KiB",
            ),
            (
                "{ files: { path: a, retain: 1 } }",
                "files.retain: unknown key",
            ),
            (
                &format!("{{ files: {{ path: '{file}' }} }}"),
                &format!("files.path: {file} is not a folder (name the folder of the log files"),
            ),
        ] {
            let found = parse(log).unwrap_err();
            assert_eq!(found.len(), 1, "{found:?}");
            let expected = format!("t.yaml:3: server.log.{expected}");
            assert!(found[0].contains(&expected), "{found:?}");
        }
    }
}
