//! A ledger that cannot be used is told at the start, and nothing is changed.

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use rusqlite::Connection;

use super::rows::{files, rows_become};
use super::{CHAT, stop, used, with_ledger};
use crate::support::chat;
use crate::support::gateway::{BINARY, Folder, Gateway, assert_no_secret};
use crate::support::upstream::Upstream;

/// The configuration is invalid.
const EXIT_CONFIG: i32 = 64;
/// The configuration is valid, and the process could not start.
const EXIT_START: i32 = 1;

/// Where the header of a segment has its version, and its checksum; the header stands twice.
const VERSION_AT: usize = 8;
const CHECKSUM_AT: usize = 28;
const HEADER_BYTES: usize = 32;

/// Starts a gateway that ends at once, and gives its exit code and what it says.
#[track_caller]
fn refused(yaml: &str) -> (i32, String) {
    let folder = Folder::new();
    let file = folder.write("tollgate.yaml", yaml);
    let mut command = Command::new(BINARY);
    let Output { status, stderr, .. } = command.args(["run", "-c"]).arg(file).output().unwrap();
    let said = String::from_utf8(stderr).unwrap();
    assert_no_secret(&said);
    let code = status.code();
    (code.unwrap_or_else(|| panic!("{status}:\n{said}")), said)
}

#[track_caller]
fn assert_says(said: &str, words: &[&str]) {
    for word in words {
        assert!(said.contains(word), "`{word}` is not in:\n{said}");
    }
    assert!(!said.contains("panicked"), "{said}");
    assert!(!said.contains(" listening on "), "{said}");
}

/// The only segment of a ledger's journal.
pub fn segment(ledger: &Folder) -> PathBuf {
    ledger.0.join("journal/00000000000000000001.journal")
}

/// A ledger in which a gateway has recorded one request.
async fn with_a_row(yaml: &str, ledger: &Folder) {
    let mut gateway = Gateway::start(yaml);
    assert_eq!(gateway.post(CHAT, &chat("gpt-4o")).await.status, 200);
    stop(&mut gateway);
    rows_become(ledger, 1).await;
}

#[tokio::test]
async fn a_second_process_on_one_folder_does_not_start_and_the_first_goes_on() {
    let upstream = Upstream::start(|_, mut reply| async move {
        reply.json("200 OK", &used(5)).await;
        reply
    })
    .await;
    let ledger = Folder::new();
    let yaml = with_ledger(upstream.address, &ledger, "");
    let mut first = Gateway::start(&yaml);
    assert_eq!(first.post(CHAT, &chat("gpt-4o")).await.status, 200);
    let (code, said) = refused(&yaml);
    assert_eq!(code, EXIT_START, "{said}");
    let journal = ledger.0.join("journal").display().to_string();
    assert_says(
        &said,
        &["ledger: ", &journal, "is in use by another process"],
    );
    assert_eq!(first.post(CHAT, &chat("gpt-4o")).await.status, 200);
    rows_become(&ledger, 2).await;
    stop(&mut first);
    // Then there is room for another.
    let mut second = Gateway::start(&yaml);
    assert_eq!(second.post(CHAT, &chat("gpt-4o")).await.status, 200);
    stop(&mut second);
    rows_become(&ledger, 3).await;
}

#[tokio::test]
async fn a_database_of_a_newer_release_is_refused_and_stays_as_it_is() {
    let (upstream, ledger) = (Upstream::answering("{}").await, Folder::new());
    let yaml = with_ledger(upstream.address, &ledger, "");
    with_a_row(&yaml, &ledger).await;
    let file = files(&ledger).remove(0);
    let connection = Connection::open(&file).unwrap();
    connection
        .execute("UPDATE schema_version SET version = 1000", [])
        .unwrap();
    connection.close().unwrap();
    let before = std::fs::read(&file).unwrap();
    let (code, said) = refused(&yaml);
    assert_eq!(code, EXIT_START, "{said}");
    let name = file.display().to_string();
    assert_says(
        &said,
        &[&name, "was written by a newer release", "version 1000"],
    );
    assert!(std::fs::read(&file).unwrap() == before, "it was changed");
}

#[tokio::test]
async fn a_journal_of_a_newer_release_is_refused_and_stays_as_it_is() {
    let (upstream, ledger) = (Upstream::answering("{}").await, Folder::new());
    let yaml = with_ledger(upstream.address, &ledger, "");
    with_a_row(&yaml, &ledger).await;
    let name = segment(&ledger);
    make_newer(&name);
    let before = std::fs::read(&name).unwrap();
    let (code, said) = refused(&yaml);
    assert_eq!(code, EXIT_START, "{said}");
    let name_in_message = name.display().to_string();
    assert_says(
        &said,
        &[
            &name_in_message,
            "is of version 1000",
            "use the program that wrote it",
        ],
    );
    assert!(std::fs::read(&name).unwrap() == before, "it was changed");
}

/// Gives a segment a header as a newer release writes it.
fn make_newer(segment: &Path) {
    let file = std::fs::File::options().write(true).open(segment).unwrap();
    let mut header = std::fs::read(segment).unwrap();
    header.truncate(HEADER_BYTES);
    header[VERSION_AT..VERSION_AT + 4].copy_from_slice(&1000_u32.to_le_bytes());
    let checksum = crc32fast::hash(&header[..CHECKSUM_AT]).to_le_bytes();
    header[CHECKSUM_AT..].copy_from_slice(&checksum);
    file.write_all_at(&[header.clone(), header].concat(), 0)
        .unwrap();
}

#[tokio::test]
async fn a_path_that_cannot_be_a_ledger_is_told_with_its_place() {
    let upstream = Upstream::answering("{}").await;
    let folder = Folder::new();
    let file = Folder(folder.write("file", "not a folder"));
    let yaml = with_ledger(upstream.address, &file, "");
    let (code, said) = refused(&yaml);
    assert_eq!(code, EXIT_CONFIG, "{said}");
    assert_says(&said, &["ledger.path", "is not a folder"]);
    assert_eq!(std::fs::read_to_string(&file.0).unwrap(), "not a folder");

    // Nobody can make a folder there, root neither.
    let nowhere = Folder(PathBuf::from("/proc/tollgate/ledger"));
    let (code, said) = refused(&with_ledger(upstream.address, &nowhere, ""));
    assert_eq!(code, EXIT_CONFIG, "{said}");
    assert_says(&said, &["ledger.path", "/proc cannot be written"]);

    // A folder where a file of the ledger should be.
    let ledger = Folder::new();
    std::fs::create_dir_all(segment(&ledger)).unwrap();
    let (code, said) = refused(&with_ledger(upstream.address, &ledger, ""));
    assert_eq!(code, EXIT_START, "{said}");
    assert_says(&said, &["ledger: ", "00000000000000000001.journal"]);
}
