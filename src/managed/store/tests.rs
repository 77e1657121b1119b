//! What both databases promise: SQLite here; PostgreSQL is asked through the binary (`tests/suite/managed`).

use serde_json::json;

use super::super::row::{Actor, KeyRow, Previous, TenantRow};
use super::*;

fn definition(value: serde_json::Value) -> Definition {
    value.as_object().unwrap().clone()
}

fn tenant(id: &str) -> TenantRow {
    TenantRow {
        id: id.to_owned(),
        definition: definition(json!({ "name": "A" })),
        created_ms: 1,
        updated_ms: 2,
        deleted_ms: None,
    }
}

fn key(id: &str, text: &str) -> KeyRow {
    KeyRow {
        id: id.to_owned(),
        tenant: "a".to_owned(),
        hash: KeyHash::of(text.as_bytes()),
        hint: "tg_…abcd".to_owned(),
        previous: None,
        definition: definition(json!({ "name": id })),
        created_ms: 1,
        updated_ms: 2,
        revoked_ms: None,
    }
}

fn line(at_ms: i64, tenant: &str) -> AuditRow {
    AuditRow {
        id: 0,
        at_ms,
        action: "key.create".to_owned(),
        actor: Actor {
            name: "op@host".to_owned(),
            credential: "admin_token".to_owned(),
            source: "127.0.0.1".to_owned(),
        },
        tenant: tenant.to_owned(),
        key: Some("k1".to_owned()),
        before: None,
        after: Some(json!({ "name": "ci" })),
    }
}

fn write(store: &mut dyn Store, batch: &Batch) {
    let mut once = Some(batch.clone());
    store.change(0, &mut |_| once.take()).unwrap();
}

fn store() -> (tempfile::TempDir, Box<dyn Store>) {
    let folder = tempfile::tempdir().unwrap();
    let store = Place::File(folder.path().join("keys.db"));
    let store = store.open(true).unwrap();
    (folder, store)
}

#[test]
fn what_was_written_is_read_with_every_member() {
    let (folder, mut store) = store();
    let rotated = KeyRow {
        previous: Some(Previous {
            hash: KeyHash::of(b"old"),
            hint: "tg_…oldd".to_owned(),
            until_ms: 99,
        }),
        ..key("k1", "one")
    };
    let batch = Batch {
        tenants: vec![tenant("a")],
        keys: vec![rotated.clone(), key("k2", "two")],
        audit: vec![line(5, "a")],
    };
    write(&mut *store, &batch);
    let read = store.read(0).unwrap();
    assert_eq!((read.version, read.is_whole), (1, true));
    assert_eq!(read.tenants, [tenant("a")]);
    assert_eq!(read.keys, [rotated, key("k2", "two")]);
    let audit = store.audit(None, None, 10).unwrap();
    assert_eq!(
        audit,
        [AuditRow {
            id: 1,
            ..line(5, "a")
        }]
    );
    let mode = std::os::unix::fs::MetadataExt::mode(
        &std::fs::metadata(folder.path().join("keys.db")).unwrap(),
    );
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn only_what_has_changed_since_is_read_again() {
    let (_folder, mut store) = store();
    write(
        &mut *store,
        &Batch {
            tenants: vec![tenant("a")],
            keys: vec![key("k1", "one")],
            ..Batch::default()
        },
    );
    let revoked = KeyRow {
        revoked_ms: Some(9),
        ..key("k1", "one")
    };
    write(
        &mut *store,
        &Batch {
            keys: vec![revoked.clone(), key("k2", "two")],
            ..Batch::default()
        },
    );
    let read = store.read(1).unwrap();
    assert_eq!(
        (read.version, read.is_whole, read.tenants.len()),
        (2, false, 0)
    );
    assert_eq!(read.keys, [revoked, key("k2", "two")]);
    assert_eq!(store.read(2).unwrap().keys, []);
    assert_eq!(store.version().unwrap(), 2);
}

#[test]
fn a_change_that_is_refused_writes_nothing_and_one_that_clashes_fails() {
    let (_folder, mut store) = store();
    store.change(0, &mut |_| None).unwrap();
    assert_eq!(store.version().unwrap(), 0);
    write(
        &mut *store,
        &Batch {
            keys: vec![key("k1", "one")],
            ..Batch::default()
        },
    );
    let clash = Batch {
        tenants: vec![tenant("a")],
        keys: vec![key("k2", "one")],
        ..Batch::default()
    };
    assert!(store.change(0, &mut |_| Some(clash.clone())).is_err());
    let read = store.read(0).unwrap();
    assert_eq!(
        (read.version, read.tenants.len(), read.keys.len()),
        (1, 0, 1)
    );
}

#[test]
fn another_process_sees_a_change_while_it_waits() {
    let (folder, mut store) = store();
    let mut other = Place::File(folder.path().join("keys.db"))
        .open(true)
        .unwrap();
    assert_eq!(other.version().unwrap(), 0);
    let waiting = std::thread::spawn(move || {
        other.wait(0, Duration::from_secs(60)).unwrap();
        other.read(0).unwrap().keys.len()
    });
    // Whenever it begins to wait, it does not wait for the end of its patience.
    for n in 0..100 {
        write(
            &mut *store,
            &Batch {
                keys: vec![key(&format!("k{n}"), &format!("{n}"))],
                ..Batch::default()
            },
        );
        if waiting.is_finished() {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(waiting.join().unwrap() > 0);
}

#[test]
fn the_audit_comes_in_pages_newest_first_and_of_one_tenant() {
    let (_folder, mut store) = store();
    for at in 0..10 {
        let of = if at % 2 == 0 { "a" } else { "b" };
        write(
            &mut *store,
            &Batch {
                audit: vec![line(at, of)],
                ..Batch::default()
            },
        );
    }
    let at = |lines: Vec<AuditRow>| lines.iter().map(|line| line.at_ms).collect::<Vec<_>>();
    let page = store.audit(None, None, 4).unwrap();
    let last = page.last().unwrap().id;
    assert_eq!(at(page), [9, 8, 7, 6]);
    assert_eq!(at(store.audit(Some(last), None, 4).unwrap()), [5, 4, 3, 2]);
    assert_eq!(at(store.audit(None, Some("b"), 3).unwrap()), [9, 7, 5]);
}

#[test]
#[expect(clippy::too_many_lines, reason = "its batches")]
fn the_past_is_kept_for_a_time_and_up_to_a_number_and_a_reader_that_has_missed_it_reads_all_again()
{
    let (_folder, mut store) = store();
    let gone = |id: &str, text: &str, at| KeyRow {
        revoked_ms: Some(at),
        ..key(id, text)
    };
    write(
        &mut *store,
        &Batch {
            keys: vec![gone("k1", "1", 10), key("k2", "2")],
            audit: vec![line(10, "a")],
            ..Batch::default()
        },
    );
    write(
        &mut *store,
        &Batch {
            keys: vec![gone("k3", "3", 20)],
            audit: vec![line(20, "a")],
            ..Batch::default()
        },
    );
    write(
        &mut *store,
        &Batch {
            keys: vec![gone("k4", "4", 30)],
            audit: vec![line(30, "a")],
            ..Batch::default()
        },
    );
    let kept = |store: &mut Box<dyn Store>| {
        let keys = store.read(0).unwrap().keys;
        let keys: Vec<String> = keys.into_iter().map(|key| key.id).collect();
        (keys, store.audit(None, None, 10).unwrap().len())
    };
    let all = Retention {
        before_ms: 0,
        lines: 10,
        gone: 10,
    };
    store.prune(all).unwrap();
    assert!(!store.read(1).unwrap().is_whole);
    store
        .prune(Retention {
            before_ms: 15,
            ..all
        })
        .unwrap();
    assert_eq!(
        kept(&mut store),
        (vec!["k2".into(), "k3".into(), "k4".into()], 2)
    );
    let read = store.read(1).unwrap();
    assert!(read.is_whole && read.keys.len() == 3);
    assert!(!store.read(3).unwrap().is_whole);
    store
        .prune(Retention {
            lines: 1,
            gone: 1,
            ..all
        })
        .unwrap();
    assert_eq!(kept(&mut store), (vec!["k2".into(), "k4".into()], 1));
}

#[test]
fn a_file_of_a_newer_release_is_left_alone() {
    let (folder, store) = store();
    drop(store);
    let path = folder.path().join("keys.db");
    let connection = rusqlite::Connection::open(&path).unwrap();
    connection
        .execute("UPDATE schema_version SET version = 9", [])
        .unwrap();
    let error = Place::File(path).open(true).err().unwrap();
    assert!(error.to_string().contains("newer release"), "{error}");
}
