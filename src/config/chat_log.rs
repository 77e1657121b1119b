//! The `chat_log` section: where conversations are written down, how much of them, for how long.
//!
//! Owns its keys, defaults and bounds, but for those of `rotate` and `retention` (see `config::rotation`). Does
//! not handle what a line has (see `chatlog`). A value out of bounds is reported with its place.

use std::path::PathBuf;

use super::document::{Located, Node};
use super::rotation::{self, Retention, Rotation};

/// The smallest and the largest bound on a line. What a line must have fits into the smallest;
/// `tollgate chats` reads lines up to the largest.
pub const LINE_BYTES: (usize, usize) = (8 << 10, 64 << 20);
/// Full files that are kept, unless the section says how many.
const FILES: usize = 100;

/// The `chat_log` section.
#[derive(Clone, Debug, PartialEq)]
pub struct ChatLog {
    /// The file that is written to; those that are full stand beside it.
    pub path: Located<PathBuf>,
    /// The share of requests that is written down, from 0 to 1.
    pub sample: f64,
    /// No line is longer, in bytes.
    pub max_line_bytes: usize,
    /// When a new file is begun.
    pub rotation: Rotation,
    /// When an old one is removed.
    pub retention: Retention,
    /// What is hidden.
    pub mask: Mask,
}

/// What is hidden in a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mask {
    /// The part of a client's address that names one machine.
    pub addresses: bool,
    /// What looks like a key in what was asked and answered.
    pub keys: bool,
}

/// Reads the section.
pub fn read(node: &Node<'_>) -> Option<ChatLog> {
    let mut section = node.section()?;
    let path = section.require("path").and_then(|n| read_path(&n));
    let sample = section.take("sample").and_then(|n| n.share());
    let max_line_bytes = section.take("max_bytes").and_then(|n| read_line_bytes(&n));
    let mut rotation = Rotation::default();
    let mut retention = Retention::of_files(FILES);
    rotation::take(&mut section, &mut rotation, &mut retention);
    let everything = Mask {
        addresses: true,
        keys: true,
    };
    let mask = section.take("mask").map_or(everything, |n| read_mask(&n));
    section.finish();
    Some(ChatLog {
        path: path?,
        sample: sample.unwrap_or(1.0),
        max_line_bytes: max_line_bytes.unwrap_or(1 << 20),
        rotation,
        retention,
        mask,
    })
}

fn read_path(node: &Node<'_>) -> Option<Located<PathBuf>> {
    let path = node.path()?;
    // Of `a/` and `a/.`, too, the standard library says that the name is `a`.
    let ends_in_folder = path.value.as_os_str().as_encoded_bytes().ends_with(b"/");
    if path.value.file_name().is_none() || ends_in_folder {
        let message = format!("`{}` does not name a file", path.value.display());
        node.report(message, Some("as in path: /var/log/tollgate/chats.jsonl"));
        return None;
    }
    Some(path)
}

fn read_line_bytes(node: &Node<'_>) -> Option<usize> {
    let (least, most) = LINE_BYTES;
    let bytes = node.bytes()?;
    if !(least..=most).contains(&bytes) {
        node.report("must be from 8KiB to 64MiB", None);
        return None;
    }
    Some(bytes)
}

fn read_mask(node: &Node<'_>) -> Mask {
    let mut mask = Mask::default();
    if node.says_off() {
        return mask;
    }
    for node in node.list().unwrap_or_default() {
        match node.text().as_deref() {
            Some("addresses") => mask.addresses = true,
            Some("keys") => mask.keys = true,
            Some(_) => node.report("expected addresses or keys", None),
            None => {}
        }
    }
    mask
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::{Config, Every, Variables};

    fn parse(chat_log: &str) -> Result<ChatLog, Vec<String>> {
        let text = format!(
            "upstreams: {{ a: {{ base_url: http://a }} }}\n\
             models: [{{ match: m, targets: [{{ upstream: a }}] }}]\n\
             chat_log: {chat_log}\n"
        );
        match Config::parse("t.yaml", &text, &Variables::default()) {
            Ok(config) => Ok(config.chat_log.unwrap()),
            Err(problems) => Err(problems.0.iter().map(ToString::to_string).collect()),
        }
    }

    #[test]
    fn everything_but_the_path_has_a_default() {
        let log = parse("{ path: ./chats.jsonl }").unwrap();
        assert_eq!(log.path.value, PathBuf::from("./chats.jsonl"));
        assert!((log.sample - 1.0).abs() < f64::EPSILON);
        assert_eq!(log.max_line_bytes, 1 << 20);
        let rotation = Rotation {
            max_file_bytes: 100 << 20,
            every: Every::Day,
        };
        assert_eq!(log.rotation, rotation);
        let retention = Retention {
            age: Some(Duration::from_secs(30 * 86_400)),
            files: 100,
        };
        assert_eq!(log.retention, retention);
        assert!(log.mask.addresses && log.mask.keys);
    }

    #[test]
    fn everything_can_be_said() {
        let log = parse(
            "{ path: a, sample: 0.25, max_bytes: 8KiB, rotate: { size: 64KiB, every: hour },
               retention: { age: 1h, files: 1 }, mask: [keys] }",
        )
        .unwrap();
        assert!((log.sample - 0.25).abs() < f64::EPSILON);
        assert_eq!(log.max_line_bytes, 8 << 10);
        assert_eq!(log.rotation.max_file_bytes, 64 << 10);
        assert_eq!(log.rotation.every, Every::Hour);
        assert_eq!(log.retention.age, Some(Duration::from_secs(3600)));
        assert_eq!(log.retention.files, 1);
        assert!(log.mask.keys && !log.mask.addresses);
        let log = parse("{ path: a, retention: { age: off }, mask: off, sample: '0' }").unwrap();
        assert_eq!(log.retention.age, None);
        assert_eq!(log.mask, Mask::default());
        assert!(log.sample.abs() < f64::EPSILON);
        assert_eq!(parse("{ path: a, mask: [] }").unwrap().mask, log.mask);
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "a table")]
    fn what_cannot_be_meant_is_refused() {
        for (chat_log, expected) in [
            ("{ sample: 1 }", "chat_log: `path` is missing"),
            ("true", "chat_log: expected a mapping, found a boolean"),
            ("{ path: '' }", "chat_log.path: must not be empty"),
            (
                "{ path: logs/ }",
                "chat_log.path: `logs/` does not name a file (as in path: /var/log/tollgate/",
            ),
            ("{ path: .. }", "chat_log.path: `..` does not name a file"),
            (
                "{ path: a, sample: 1.5 }",
                "chat_log.sample: expected a number from 0 to 1",
            ),
            (
                "{ path: a, sample: -1 }",
                "chat_log.sample: expected a number from 0 to 1",
            ),
            (
                "{ path: a, sample: .nan }",
                "chat_log.sample: expected a number from 0 to 1",
            ),
            (
                "{ path: a, sample: '10%' }",
                "chat_log.sample: expected a number from 0 to 1",
            ),
            (
                "{ path: a, max_bytes: 8191 }",
                "chat_log.max_bytes: must be from 8KiB to 64MiB",
            ),
            (
                "{ path: a, max_bytes: 65MiB }",
                "chat_log.max_bytes: must be from 8KiB to 64MiB",
            ),
            (
                "{ path: a, rotate: { size: 1KiB } }",
                "chat_log.rotate.size: must be at least 64KiB",
            ),
            (
                "{ path: a, rotate: { every: week } }",
                "chat_log.rotate.every: expected hour or day",
            ),
            (
                "{ path: a, rotate: day }",
                "chat_log.rotate: expected a mapping, found text",
            ),
            (
                "{ path: a, retention: { age: 59m } }",
                "chat_log.retention.age: must be at least 1h, or off",
            ),
            (
                "{ path: a, retention: { age: 30 } }",
                "chat_log.retention.age: `30` is not a duration above zero",
            ),
            (
                "{ path: a, retention: { files: 0 } }",
                "chat_log.retention.files: expected a whole number from 1 to 100000",
            ),
            (
                "{ path: a, mask: [prompts] }",
                "chat_log.mask[0]: expected addresses or keys",
            ),
            (
                "{ path: a, mask: keys }",
                "chat_log.mask: expected a list, found text",
            ),
            (
                "{ path: a, sampel: 1 }",
                "chat_log.sampel: unknown key (did you mean `sample`?)",
            ),
        ] {
            let found = parse(chat_log).unwrap_err();
            assert_eq!(found.len(), 1, "{found:?}");
            assert!(
                found[0].contains(&format!("t.yaml:3: {expected}")),
                "{found:?}"
            );
        }
    }

    #[test]
    fn a_path_that_cannot_be_written_is_told() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
        let folder = env!("CARGO_MANIFEST_DIR");
        for (path, expected) in [
            (folder.to_owned(), "is not a file"),
            (
                format!("{file}/chats.jsonl"),
                "Cargo.toml cannot be written",
            ),
            (format!("{file}/a/chats.jsonl"), "cannot be written"),
            // No permission makes a file there.
            ("/proc/x".to_owned(), "(name a file in another folder)"),
        ] {
            let found = parse(&format!("{{ path: '{path}' }}")).unwrap_err();
            assert_eq!(found.len(), 1, "{found:?}");
            assert!(found[0].contains("t.yaml:3: chat_log.path: "), "{found:?}");
            assert!(found[0].contains(expected), "{found:?}");
        }
        // What is missing of the path is made at the start, and not for a check.
        let missing = std::env::temp_dir().join("tollgate-not-there/below");
        parse(&format!("{{ path: '{}/chats.jsonl' }}", missing.display())).unwrap();
        assert!(!missing.exists());
    }
}
