//! `rotate` and `retention`: when a log file is full, and when full files are removed.
//!
//! Owns both sections and their bounds; `chat_log` and `server.log.files` have them. Does not handle how
//! files are rotated (see `rotation`) or the defaults of either log. A value out of bounds is reported with
//! its place, and the default is used.

use std::time::Duration;

use super::document::{Node, Section};

/// Files may not be smaller: each is looked at whenever one is created.
const LEAST_FILE_BYTES: usize = 64 << 10;
/// Age is looked at once an hour.
const LEAST_AGE: Duration = Duration::from_secs(3600);
/// The most files that can be kept.
const MOST_FILES: u64 = 100_000;

/// When a new file is begun: whatever comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rotation {
    /// A file has at most so many bytes, unless it is a single line.
    pub max_file_bytes: u64,
    /// A file has the lines of one such time.
    pub every: Every,
}

/// The time that one file is for, in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Every {
    /// An hour.
    Hour,
    /// A day.
    Day,
}

/// When a file that is full is removed: whatever comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// When its last line is older; `None` for no such bound.
    pub age: Option<Duration>,
    /// When there are as many that are younger.
    pub files: usize,
}

impl Default for Rotation {
    fn default() -> Self {
        Self {
            max_file_bytes: 100 << 20,
            every: Every::Day,
        }
    }
}

impl Retention {
    /// So many files, and 30 days.
    pub(super) fn of_files(files: usize) -> Self {
        Self {
            age: Some(Duration::from_secs(30 * 24 * 3600)),
            files,
        }
    }
}

impl Every {
    /// Its name, as it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::Hour => "hour",
            Self::Day => "day",
        }
    }
}

/// Takes `rotate` and `retention` out of a section. What is not written keeps the value that it has.
pub(super) fn take(section: &mut Section<'_>, rotation: &mut Rotation, retention: &mut Retention) {
    if let Some(node) = section.take("rotate") {
        read_rotation(&node, rotation);
    }
    if let Some(node) = section.take("retention") {
        read_retention(&node, retention);
    }
}

fn read_rotation(node: &Node<'_>, rotation: &mut Rotation) {
    let Some(mut section) = node.section() else {
        return;
    };
    if let Some(node) = section.take("size") {
        match node.bytes() {
            Some(bytes) if bytes < LEAST_FILE_BYTES => {
                node.report("must be at least 64KiB", None);
            }
            Some(bytes) => rotation.max_file_bytes = u64::try_from(bytes).unwrap_or(u64::MAX),
            None => {}
        }
    }
    if let Some(node) = section.take("every") {
        match node.text().as_deref() {
            Some("hour") => rotation.every = Every::Hour,
            Some("day") => rotation.every = Every::Day,
            Some(_) => node.report("expected hour or day", None),
            None => {}
        }
    }
    section.finish();
}

fn read_retention(node: &Node<'_>, retention: &mut Retention) {
    let Some(mut section) = node.section() else {
        return;
    };
    if let Some(node) = section.take("age") {
        match node.text().as_deref() {
            Some("off" | "false") => retention.age = None,
            Some(_) => match node.duration() {
                Some(age) if age < LEAST_AGE => node.report("must be at least 1h, or off", None),
                Some(age) => retention.age = Some(age),
                None => {}
            },
            None => {}
        }
    }
    if let Some(files) = section.take("files").and_then(|n| n.integer(1, MOST_FILES)) {
        retention.files = usize::try_from(files).unwrap_or(usize::MAX);
    }
    section.finish();
}
