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
        let mut unmount = Command::new("umount");
        unmount.arg(self.place.path());
        // It is busy as long as a child of another test has our descriptors.
        let is_done = || unmount.output().is_ok_and(|output| output.status.success());
        match thread::panicking() {
            true => drop(unmount.output()),
            false => wait_until("unmounted", is_done),
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
fn a_journal_that_was_idle_when_the_disk_was_full_sees_that_there_is_room_again() {
    let Some(disk) = Disk::mount() else { return };
    let folder = disk.place.path().join("journal");
    let (journal, _) = open(&folder, options());
    let filler = disk.fill(0);
    // Long ones, so that a few take all the room.
    let model = "m".repeat(60 << 10);
    let long = Record {
        model: &model,
        ..record(0)
    };
    // Whatever was written is synced, so that the thread sleeps until something wakes it.
    while journal.append(&long).is_ok() {
        wait_until("synced", || !journal.shared.signal.is_dirty());
    }
    fs::remove_file(filler).unwrap();
    // Nobody appends meanwhile: requests are refused.
    wait_until("room", || !journal.is_failing());
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
    assert_eq!(end.segment, 2, "what room there is is used, too");
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
    let filler = disk.fill(10);
    append_until_full(&journal);
    assert!(journal.is_failing());
    fs::remove_file(filler).unwrap();
    wait_until("works again", || {
        let health = journal.health();
        !health.is_failing && !health.is_short_of_room
    });
    let end = journal.end();
    let length = fs::metadata(folder.join(segment_name(end.segment)))
        .unwrap()
        .len();
    assert_eq!(length, end.offset, "nothing is left of the attempts");
    drop(journal);
}
