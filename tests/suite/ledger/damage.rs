//! A journal that a crash or a disk has damaged: the gateway starts, says what is lost, and loads the rest.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use super::refused_starts::segment;
use super::rows::{assert_sound, files, rows, rows_become};
use super::{CHAT, kill, stop, used, with_ledger};
use crate::support::chat;
use crate::support::gateway::{Folder, Gateway};
use crate::support::upstream::Upstream;

/// A ledger with a journal of some records, and the ids of their requests in their order.
struct Prepared {
    upstream: Upstream,
    ledger: Folder,
    yaml: String,
    ids: Vec<String>,
}

impl Prepared {
    /// Lets a gateway record so many requests, and ends it.
    async fn new(requests: usize) -> Self {
        let upstream = Upstream::start(|_, mut reply| async move {
            reply.json("200 OK", &used(5)).await;
            reply
        })
        .await;
        let ledger = Folder::new();
        let yaml = with_ledger(upstream.address, &ledger, "");
        let mut gateway = Gateway::start(&yaml);
        let mut ids = Vec::new();
        for _ in 0..requests {
            ids.push(answered(&gateway).await);
        }
        rows_become(&ledger, requests).await;
        kill(&mut gateway);
        Self {
            upstream,
            ledger,
            yaml,
            ids,
        }
    }

    /// Removes the database: all of the journal is to be loaded then.
    fn unload(&self) {
        for file in files(&self.ledger) {
            for ending in ["", "-wal", "-shm"] {
                let mut name = file.clone().into_os_string();
                name.push(ending);
                let _ = std::fs::remove_file(PathBuf::from(name));
            }
        }
    }

    fn file(&self) -> File {
        let mut options = File::options();
        options.read(true).write(true);
        options.open(segment(&self.ledger)).unwrap()
    }

    fn ids_there(&self) -> Vec<String> {
        assert_sound(&self.ledger);
        let rows = rows(&self.ledger).into_iter();
        rows.map(|row| row.id).collect()
    }
}

/// Asks once, and gives the request's id.
async fn answered(gateway: &Gateway) -> String {
    let response = gateway.post(CHAT, &chat("gpt-4o")).await;
    assert_eq!(response.status, 200, "{response:?}");
    response.header("x-request-id").unwrap().to_owned()
}

#[tokio::test]
async fn a_record_that_was_being_written_is_cut_off_and_told() {
    let mut journal = Prepared::new(5).await;
    journal.unload();
    let file = journal.file();
    let length = file.metadata().unwrap().len();
    file.set_len(length - 10).unwrap();
    let mut gateway = Gateway::start(&journal.yaml);
    let said = gateway.output().wait_for("no whole record");
    assert!(said.contains(" WARN "), "{said}");
    assert!(
        said.contains("bytes of 00000000000000000001.journal"),
        "{said}"
    );
    let name = journal.ledger.0.join("journal").display().to_string();
    assert!(said.contains(&name), "{said}");
    rows_become(&journal.ledger, 4).await;
    journal.ids.pop();
    assert_eq!(journal.ids_there(), journal.ids);
    // It goes on behind the cut.
    journal.ids.push(answered(&gateway).await);
    stop(&mut gateway);
    assert_eq!(journal.ids_there(), journal.ids);
    assert_eq!(journal.upstream.requests(), 6);
}

#[tokio::test]
async fn what_is_loaded_stays_when_the_end_of_the_journal_is_lost() {
    let mut journal = Prepared::new(3).await;
    let file = journal.file();
    file.set_len(file.metadata().unwrap().len() - 10).unwrap();
    for _ in 0..2 {
        let mut gateway = Gateway::start(&journal.yaml);
        journal.ids.push(answered(&gateway).await);
        kill(&mut gateway);
    }
    let mut gateway = Gateway::start(&journal.yaml);
    stop(&mut gateway);
    assert_eq!(journal.ids_there(), journal.ids);
}

#[tokio::test]
async fn a_corrupt_byte_costs_one_record_and_is_told() {
    let mut journal = Prepared::new(5).await;
    journal.unload();
    let file = journal.file();
    let middle = file.metadata().unwrap().len() / 2;
    let mut byte = [0];
    file.read_exact_at(&mut byte, middle).unwrap();
    file.write_all_at(&[byte[0] ^ 0xff], middle).unwrap();
    let mut gateway = Gateway::start(&journal.yaml);
    let said = gateway
        .output()
        .wait_for("cannot be read: they are skipped");
    assert!(said.contains(" WARN "), "{said}");
    assert!(
        said.contains("bytes of 00000000000000000001.journal"),
        "{said}"
    );
    assert!(said.contains("its other 4 records are not"), "{said}");
    rows_become(&journal.ledger, 4).await;
    journal.ids.remove(2);
    assert_eq!(journal.ids_there(), journal.ids);
    journal.ids.push(answered(&gateway).await);
    stop(&mut gateway);
    assert_eq!(journal.ids_there(), journal.ids);
    // The damaged segment is kept for the operator.
    let kept = segment(&journal.ledger).with_extension("corrupt");
    assert!(kept.is_file(), "{}", kept.display());
}

#[tokio::test]
async fn a_journal_without_anything_wrong_is_not_warned_of() {
    let journal = Prepared::new(2).await;
    let mut gateway = Gateway::start(&journal.yaml);
    stop(&mut gateway);
    let said = gateway.output().text();
    let mut warnings = said
        .lines()
        .filter(|line| line.contains(" WARN ") && line.contains("journal"));
    assert_eq!(warnings.next(), None);
    assert_eq!(journal.ids_there(), journal.ids);
}
