//! Whether the files of the configuration have changed.
//!
//! Owns what counts as a change: other bytes, found twice in a row, so that a file is not read while it is still being
//! written. Paths are followed anew each time: a link that points elsewhere, a file that was replaced by renaming and
//! one on a network folder are seen alike, which is why the system is not asked to tell of changes. Does not handle
//! what follows (see `operate`). A file that cannot be read, and what is no
//! regular file, counts as one with no bytes.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::config::ReadFile;

/// More bytes of a file are not looked at: a larger configuration is not read either.
const MAX_BYTES: u64 = 8 << 20;

/// A hash over all bytes of some files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// Of these files as they are now. Blocks.
    pub fn of<'p>(files: impl IntoIterator<Item = &'p PathBuf>) -> Self {
        let mut hash = Sha256::new();
        for file in files {
            hash.update(file.as_os_str().as_encoded_bytes());
            let content = content(file);
            hash.update((content.len() as u64).to_be_bytes());
            hash.update(content);
        }
        Self(hash.finalize().into())
    }
}

/// The first of these files that is there and is no regular one: a pipe has to be waited for, and can be read once.
/// Blocks.
pub fn first_irregular(files: &[ReadFile]) -> Option<&Path> {
    let mut files = files.iter().map(|file| file.path.as_path());
    files.find(|path| is_regular(path) == Some(false))
}

/// `None` where there is nothing.
#[allow(
    clippy::disallowed_methods,
    reason = "it is called where threads may block"
)]
fn is_regular(path: &Path) -> Option<bool> {
    Some(std::fs::metadata(path).ok()?.is_file())
}

#[allow(
    clippy::disallowed_methods,
    reason = "it is called where threads may block"
)]
fn content(file: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    if is_regular(file) != Some(true) {
        return bytes;
    }
    let read = File::open(file).and_then(|file| file.take(MAX_BYTES).read_to_end(&mut bytes));
    match read {
        Ok(_) => bytes,
        Err(_) => Vec::new(),
    }
}

/// What has been seen of some files.
#[derive(Debug, Default)]
pub struct Watch {
    acted_on: Fingerprint,
    last: Fingerprint,
}

impl Watch {
    /// Tells whether there is something new to act on.
    pub fn look(&mut self, now: Fingerprint) -> bool {
        let has_settled = now == self.last;
        self.last = now;
        let is_new = has_settled && now != self.acted_on;
        if is_new {
            self.acted_on = now;
        }
        is_new
    }

    /// Notes that what is there now has been acted on.
    pub fn act_on(&mut self, now: Fingerprint) {
        (self.acted_on, self.last) = (now, now);
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_change_is_told_once_and_only_when_it_has_settled() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("tollgate.yaml");
        let print = || Fingerprint::of([&file]);
        fs::write(&file, "one").unwrap();
        let mut watch = Watch::default();
        watch.act_on(print());
        assert!(!watch.look(print()));
        fs::write(&file, "tw").unwrap();
        assert!(!watch.look(print()), "it may still be written");
        fs::write(&file, "two").unwrap();
        assert!(!watch.look(print()));
        assert!(watch.look(print()));
        assert!(!watch.look(print()), "it was told");
        fs::write(&file, "one").unwrap();
        watch.act_on(print());
        assert!(!watch.look(print()), "it was read by another way");
    }

    #[test]
    fn a_replaced_file_another_target_of_a_link_and_a_missing_file_are_changes() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::create_dir_all(path("a")).unwrap();
        fs::create_dir_all(path("b")).unwrap();
        fs::write(path("a/c.yaml"), "first").unwrap();
        fs::write(path("b/c.yaml"), "other").unwrap();
        symlink(path("a"), path("current")).unwrap();
        let file = path("current/c.yaml");
        let print = || Fingerprint::of([&file]);
        let first = print();
        symlink(path("b"), path("next")).unwrap();
        fs::rename(path("next"), path("current")).unwrap();
        let other = print();
        assert_ne!(first, other);
        fs::write(path("new"), "renamed").unwrap();
        fs::rename(path("new"), path("b/c.yaml")).unwrap();
        let renamed = print();
        assert_ne!(other, renamed);
        fs::remove_file(path("b/c.yaml")).unwrap();
        assert_ne!(renamed, print());
    }
}
