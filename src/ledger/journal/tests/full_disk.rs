//! A disk that is full: a small one in memory, which only root can mount.
//! Others see SKIP, and a failure with `TOLLGATE_REQUIRE_ALL=1`.

#![allow(clippy::print_stderr, reason = "a test that is skipped says so")]

use std::process::Command;

use super::*;

/// A file system of 2 MiB, until it is dropped.
struct Disk {
    place: tempfile::TempDir,
}

impl Disk {
    fn mount() -> Option<Self> {
        let place = tempfile::tempdir().unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=2m", "tmpfs"]);
        let mounted = mount.arg(place.path()).output();
        if mounted.is_ok_and(|output| output.status.success()) {
            return Some(Self { place });
        }
        let must_run = std::env::var("TOLLGATE_REQUIRE_ALL").as_deref() == Ok("1");
        assert!(
            !must_run,
            "a test would be skipped: a file system cannot be mounted"
        );
        eprintln!("SKIP a file system cannot be mounted");
        None
    }

    /// Takes all room but so many KiB of 4 each, and returns the file to remove.
    fn fill(&self, left: usize) -> std::path::PathBuf {
        let path = self.place.path().join("filler");
        let mut length = 0;
        fs::write(&path, "").unwrap();
        let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
        let step = 4096;
        while rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), length, step)
            .is_ok()
        {
            length += step;
        }
        file.set_len(length - step * left as u64).unwrap();
        path
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg(self.place.path()).status();
        if !thread::panicking() {
            assert!(unmounted.unwrap().success());
        }
    }
}

fn options() -> Options {
    Options {
        segment_bytes: 256 * 1024,
        sync_every: Duration::from_millis(1),
        ..Options::default()
    }
}

/// Appends until it fails. How many records were written, and the error.
fn append_until_full(journal: &Journal) -> (u128, AppendError) {
    let mut written = 0;
    loop {
        match journal.append(&record(written)) {
            Ok(_) => written += 1,
            Err(e) => return (written, e),
        }
    }
}

#[test]
fn a_full_disk_is_told_before_a_record_is_lost() {
    let Some(disk) = Disk::mount() else { return };
    let folder = disk.place.path().join("journal");
    let (journal, _) = open(&folder, options());
    disk.fill(4);
    while journal.end().offset <= options().segment_bytes / 2 {
        append(&journal, 0..1);
    }
    wait_until("short of room", || journal.health().is_short_of_room);
    assert!(!journal.is_failing());
    assert_eq!(journal.end().segment, 1);
    append(&journal, 0..1);
    drop(journal);
}

#[test]
fn a_full_disk_costs_no_record_that_was_confirmed_and_appends_go_on_when_it_has_room() {
    let Some(disk) = Disk::mount() else { return };
    let folder = disk.place.path().join("journal");
    // Without the thread, which would look at the disk itself.
    let alone = Options {
        sync_every: Duration::from_secs(3600),
        ..options()
    };
    let (journal, _) = open(&folder, alone);
    let filler = disk.fill(10);
    let (written, error) = append_until_full(&journal);
    let is_full = matches!(&error, AppendError::Io(e) if e.kind() == io::ErrorKind::StorageFull);
    assert!(is_full, "{error:?}");
    assert!(journal.is_failing());
    assert!(written > 1000, "the allocated room is used");
    let end = journal.end();
    let segment = folder.join(segment_name(end.segment));
    assert_eq!(fs::metadata(&segment).unwrap().len(), end.offset, "cut off");
    assert_eq!(read_all(&journal), (0..written).collect::<Vec<_>>());
    fs::remove_file(filler).unwrap();
    append(&journal, written..written + 1);
    assert!(!journal.is_failing());
    drop(journal);
    let (journal, recovered) = open(&folder, options());
    assert_eq!(recovered.warnings, Vec::<String>::new());
    assert_eq!(read_all(&journal), (0..=written).collect::<Vec<_>>());
    drop(journal);
}

#[test]
fn a_journal_on_a_disk_that_has_room_again_works_without_an_append() {
    let Some(disk) = Disk::mount() else { return };
    let folder = disk.place.path().join("journal");
    let (journal, _) = open(&folder, options());
    let filler = disk.fill(0);
    append_until_full(&journal);
    assert!(journal.is_failing());
    fs::remove_file(filler).unwrap();
    wait_until("works again", || {
        let health = journal.health();
        !health.is_failing && !health.is_short_of_room
    });
    drop(journal);
}
