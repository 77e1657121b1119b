//! Whether stderr is systemd's journal.
//!
//! Owns the comparison of `JOURNAL_STREAM` with stderr, as systemd.exec(5) has it: a process may inherit the
//! variable and have another stderr. Does not handle the priorities (see `lines`). What cannot be read is no journal.

use rustix::fs::fstat;

/// Whether stderr is what `JOURNAL_STREAM` names, as `DEVICE:INODE`.
pub fn is_stderr(journal_stream: Option<&str>) -> bool {
    let Some(named) = journal_stream.and_then(read) else {
        return false;
    };
    fstat(std::io::stderr()).is_ok_and(|found| named == (found.st_dev, found.st_ino))
}

fn read(journal_stream: &str) -> Option<(u64, u64)> {
    let (device, inode) = journal_stream.split_once(':')?;
    Some((device.parse().ok()?, inode.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stderr_is_the_journal_only_if_device_and_inode_are_its_own() {
        let found = fstat(std::io::stderr()).unwrap();
        let (device, inode) = (found.st_dev, found.st_ino);
        assert!(is_stderr(Some(&format!("{device}:{inode}"))));
        for other in [
            format!("{device}:{}", inode + 1),
            format!("{}:{inode}", device + 1),
            format!("{device}"),
            "x:y".to_owned(),
            String::new(),
        ] {
            assert!(!is_stderr(Some(&other)), "{other}");
        }
        assert!(!is_stderr(None));
    }
}
