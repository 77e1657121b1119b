//! Batches, the two files, lines that are lost and told of, and two processes at the same files.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use super::*;
use crate::config::{Every, Located, LogFiles, Place, Retention, Rotation};

const PATIENCE: Duration = Duration::from_secs(20);

/// A log in a folder, which a thread writes.
struct Case {
    folder: PathBuf,
    queue: Arc<Queue>,
    lines: LogLines,
}

impl Case {
    fn begin(folder: PathBuf, max_file_bytes: u64) -> Self {
        let files = LogFiles {
            path: Located {
                value: folder.clone(),
                place: Place::default(),
            },
            rotation: Rotation {
                max_file_bytes,
                every: Every::Day,
            },
            retention: Retention {
                age: None,
                files: 100_000,
            },
        };
        let lines = LogLines::new().unwrap();
        let output = Output::open(Some(&files)).unwrap();
        let queue = Arc::new(Queue::new(true, lines.clone()));
        let format = Arc::new(Format {
            is_json: AtomicBool::new(false),
            is_journal: false,
        });
        let writer = Writer::new(Arc::clone(&queue), format, output, lines.clone());
        std::thread::spawn(|| writer.run());
        Self {
            folder,
            queue,
            lines,
        }
    }

    /// What the files of one name hold, in the order in which it was written.
    fn text(&self, name: &str) -> String {
        let paths = crate::rotation::all(&self.folder.join(name)).unwrap();
        let texts = paths.iter().map(|path| fs::read_to_string(path).unwrap());
        texts.collect()
    }

    fn becomes(&self, name: &str, is_so: impl Fn(&str) -> bool) {
        let started = Instant::now();
        while !is_so(&self.text(name)) {
            assert!(started.elapsed() < PATIENCE, "{}", self.text(name));
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

#[test]
fn lines_are_written_together_and_whole() {
    let line = |length: usize| "x".repeat(length - 1) + "\n";
    let lines = [line(300).repeat(20), line(PIPE_BYTES + 1), line(10)].concat();
    let all: Vec<&[u8]> = batches(lines.as_bytes(), PIPE_BYTES).collect();
    assert_eq!(all.concat(), lines.as_bytes());
    assert_eq!(all.len(), 4, "two of short lines, the long one, the last");
    assert!(all.iter().all(|batch| batch.ends_with(b"\n")));
    assert_eq!(batches(b"", PIPE_BYTES).count(), 0);
    let fits = line(PIPE_BYTES).repeat(2);
    assert_eq!(batches(fits.as_bytes(), PIPE_BYTES).count(), 2);
}

#[test]
fn all_lines_are_in_one_file_and_errors_in_another_too() {
    let folder = tempfile::tempdir().unwrap();
    let case = Case::begin(folder.path().join("a/log"), 100 << 20);
    case.queue.push("one\n", false);
    case.queue.push("two\n", true);
    assert!(case.queue.close(PATIENCE));
    assert_eq!(case.text("info.log"), "one\ntwo\n");
    assert_eq!(case.text("error.log"), "two\n");
}

#[test]
fn rotation_loses_and_doubles_nothing_with_two_processes_at_it() {
    const LINES: usize = 20_000;
    let folder = tempfile::tempdir().unwrap();
    let both = [0, 1].map(|_| Case::begin(folder.path().to_owned(), 64 << 10));
    std::thread::scope(|threads| {
        for (writer, case) in both.iter().enumerate() {
            threads.spawn(move || {
                for count in 0..LINES {
                    let line = format!("{writer} {count:08} {:>60}\n", "x");
                    case.queue.push(&line, false);
                    // Long enough to be in several batches.
                    if count.is_multiple_of(1000) {
                        std::thread::yield_now();
                    }
                }
                assert!(case.queue.close(PATIENCE));
            });
        }
    });
    let text = both[0].text("info.log");
    for writer in ["0 ", "1 "] {
        let of_it = text.lines().filter(|line| line.starts_with(writer));
        let mut numbers: Vec<usize> = of_it.map(|line| line[2..10].parse().unwrap()).collect();
        // A line that comes while the other process renames the file is in the full one, before later lines.
        numbers.sort_unstable();
        assert!(numbers.into_iter().eq(0..LINES), "{writer}");
    }
    let files = crate::rotation::all(&folder.path().join("info.log")).unwrap();
    assert!(files.len() > 20, "{}", files.len());
    let full = &files[..files.len() - 1];
    let least = full.iter().map(|path| path.metadata().unwrap().len()).min();
    assert!(least.unwrap() > (64 << 10) - FILE_BYTES as u64);
}

#[test]
fn lines_that_cannot_be_written_are_counted_and_later_ones_are_written() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let case = Case::begin(log.clone(), 100 << 20);
    case.queue.push("one\n", false);
    case.becomes("info.log", |text| text == "one\n");
    fs::remove_dir_all(&log).unwrap();
    fs::write(&log, "a file in the folder's place").unwrap();
    for _ in 0..3 {
        case.queue.push("lost\n", true);
    }
    let started = Instant::now();
    // Three in each of the two files.
    while case.lines.failed.get() < 6 {
        assert!(started.elapsed() < PATIENCE);
        std::thread::sleep(Duration::from_millis(1));
    }
    fs::remove_file(&log).unwrap();
    case.queue.push("two\n", true);
    assert!(case.queue.close(PATIENCE));
    for name in ["info.log", "error.log"] {
        let text = case.text(name);
        assert!(text.starts_with("two\n"), "{text}");
        let told = format!("{name} can be written again; 3 lines were lost\n");
        assert!(text.ends_with(&told), "{text}");
    }
    assert_eq!(case.lines.failed.get(), 6);
}

#[test]
fn a_moved_file_is_made_again() {
    let folder = tempfile::tempdir().unwrap();
    let case = Case::begin(folder.path().to_owned(), 100 << 20);
    case.queue.push("one\n", false);
    case.becomes("info.log", |text| text == "one\n");
    fs::rename(folder.path().join("info.log"), folder.path().join("old")).unwrap();
    case.queue.push("two\n", false);
    assert!(case.queue.close(PATIENCE));
    assert_eq!(case.text("info.log"), "two\n");
}

#[test]
fn dropped_lines_are_told_of_among_the_others() {
    let folder = tempfile::tempdir().unwrap();
    let case = Case::begin(folder.path().to_owned(), 100 << 20);
    // As if two had found the queue full.
    case.lines.dropped.inc_by(2);
    case.queue.push("one\n", false);
    assert!(case.queue.close(PATIENCE));
    for name in ["info.log", "error.log"] {
        let text = case.text(name);
        let told = "WARN  tollgate::observe::logging log: 2 lines were dropped because the queue was full\n";
        assert_eq!(text.matches(told).count(), 1, "{text}");
    }
}
