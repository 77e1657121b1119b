//! Loading into files, what they say, and months that go.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use super::*;
use crate::config::{Located, OnFailure, Place};
use crate::ledger::record::{Source, Tokens};
use crate::ledger::store::{Database, Row, day_of};

mod several;

fn ms(text: &str) -> i64 {
    text.parse::<Timestamp>().unwrap().as_millisecond()
}

fn at(segment: u64, offset: u64) -> Position {
    Position { segment, offset }
}

fn config(folder: &Path) -> config::Ledger {
    config::Ledger {
        path: Located {
            value: folder.to_owned(),
            place: Place::default(),
        },
        postgres: None,
        node: "one".to_owned(),
        on_failure: OnFailure::Serve,
        archive: None,
        retention: None,
        is_implied: false,
    }
}

fn open(folder: &Path) -> Sqlite {
    Sqlite::open(folder, &config(folder)).unwrap()
}

fn record(id: u128, at: &str) -> Record<'static> {
    Record {
        id,
        at_ms: ms(at),
        tenant: "acme",
        key: "ci",
        endpoint: "chat",
        model: "gpt-4o",
        served_model: "gpt-4o-2024-11-20",
        upstream: "openai",
        outcome: "ok",
        status: 200,
        attempts: 1,
        tokens: Tokens {
            input: 100,
            output: 20,
            ..Tokens::default()
        },
        cost_nanos: 1_000,
        charge_nanos: 1_500,
        period: Some(1_793_491_200),
        ..Record::default()
    }
}

fn rows(folder: &Path) -> Vec<Row> {
    let mut all = Vec::new();
    let database = Database::Sqlite(folder.to_owned());
    let each = &mut |part: &mut dyn Part| {
        all.extend(part.rows((i64::MIN, 0), i64::MAX, 10_000)?);
        Ok(())
    };
    database.each_part(i64::MIN, i64::MAX, each).unwrap();
    all
}

fn check(folder: &Path) -> Vec<String> {
    let mut wrong = Vec::new();
    let database = Database::Sqlite(folder.to_owned());
    let each = &mut |part: &mut dyn Part| {
        wrong.extend(part.check(&mut std::io::sink())?);
        Ok(())
    };
    database.each_part(i64::MIN, i64::MAX, each).unwrap();
    wrong
}

fn tokens(store: &mut Sqlite) -> u64 {
    let balances = store.balances(&[1_793_491_200]).unwrap();
    balances.iter().map(|balance| balance.tokens).sum()
}

#[test]
fn records_that_are_loaded_again_count_once() {
    let folder = tempfile::tempdir().unwrap();
    let records = [
        record(1, "2026-11-05T10:00:00Z"),
        record(2, "2026-11-05T10:00:00Z"),
    ];
    let mut store = open(folder.path());
    assert_eq!(store.position().unwrap(), None);
    assert_eq!(store.load(&records, at(1, 200)).unwrap(), 2);
    assert_eq!(store.load(&records, at(1, 200)).unwrap(), 0);
    drop(store);
    let mut store = open(folder.path());
    assert_eq!(store.position().unwrap(), Some(at(1, 200)));
    let more = [records[1].clone(), record(3, "2026-11-06T10:00:00Z")];
    assert_eq!(store.load(&more, at(1, 300)).unwrap(), 1);
    assert_eq!(rows(folder.path()).len(), 3);
    assert_eq!(tokens(&mut store), 360);
    assert_eq!(check(folder.path()), [""; 0]);
}

#[test]
fn a_batch_over_the_end_of_a_month_is_whole_after_a_crash_between_its_files() {
    let folder = tempfile::tempdir().unwrap();
    let records = [
        record(1, "2026-11-30T23:59:59.999Z"),
        record(2, "2026-12-01T00:00:00Z"),
    ];
    let mut store = open(folder.path());
    // The first of the two commits, and then no more.
    let november = Month::of(records[0].at_ms);
    let first = store
        .file(november)
        .unwrap()
        .load(&[&records[0]], "one", None);
    assert_eq!(first.unwrap(), 1);
    drop(store);
    let mut store = open(folder.path());
    assert_eq!(store.position().unwrap(), None);
    assert_eq!(store.load(&records, at(1, 200)).unwrap(), 1);
    assert_eq!(store.position().unwrap(), Some(at(1, 200)));
    let days: Vec<i64> = rows(folder.path())
        .iter()
        .map(|r| day_of(r.at_ms))
        .collect();
    assert_eq!(days, [20_261_130, 20_261_201]);
    assert_eq!(tokens(&mut store), 240);
}

#[test]
fn more_months_than_are_kept_open_are_loaded() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(folder.path());
    let records: Vec<Record<'_>> = (1..=9)
        .map(|n| record(n, &format!("2026-0{n}-05T10:00:00Z")))
        .collect();
    assert_eq!(store.load(&records, at(1, 900)).unwrap(), 9);
    assert_eq!(store.load(&records, at(1, 900)).unwrap(), 0);
    assert!(store.open.len() <= MAX_OPEN);
    assert_eq!(rows(folder.path()).len(), 9);
}

#[test]
fn a_batch_without_records_moves_the_position() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(folder.path());
    assert_eq!(store.load(&[], at(2, 0)).unwrap(), 0);
    assert_eq!(open(folder.path()).position().unwrap(), Some(at(2, 0)));
}

#[test]
fn all_that_a_record_has_is_read_back() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(folder.path());
    let long = "x".repeat(5_000);
    let wanted = Record {
        model: "a\0b",
        rule: &long,
        first_byte_ms: u32::MAX,
        period: None,
        ..record(u128::MAX, "2026-11-05T10:00:00.123Z")
    };
    store.load(std::slice::from_ref(&wanted), at(1, 1)).unwrap();
    let found = rows(folder.path());
    assert_eq!(found, [Row::of(&wanted, found[0].names)]);
    let each = &mut |part: &mut dyn Part| {
        let names = part.names(&found[0].names)?;
        let short = &long[..1_024];
        let wanted = [
            "acme",
            "ci",
            "chat",
            short,
            "a?b",
            "gpt-4o-2024-11-20",
            "openai",
            "ok",
        ];
        assert_eq!(names, wanted);
        assert_eq!(part.number("acme")?, Some(found[0].names[0]));
        assert_eq!(part.number("nobody")?, None);
        assert_eq!(part.names(&[-1])?, [""]);
        Ok(())
    };
    each_part(folder.path(), 0, i64::MAX, each).unwrap();
}

#[test]
fn the_tokens_of_an_answer_from_the_cache_are_kept_and_no_quota_counts_them() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(folder.path());
    let answered = |id, cached_answer| Record {
        tokens: Tokens {
            cached_answer,
            ..Tokens::default()
        },
        source: Source::Cache,
        upstream: "",
        ..record(id, "2026-11-05T10:00:00Z")
    };
    let records = [
        answered(1, 120),
        answered(2, 30),
        record(3, "2026-11-05T10:00:00Z"),
    ];
    assert_eq!(store.load(&records[..1], at(1, 100)).unwrap(), 1);
    assert_eq!(store.load(&records, at(1, 300)).unwrap(), 2);
    let mut found = Vec::new();
    let each = &mut |part: &mut dyn Part| {
        for sql in [
            "SELECT source, cached_answer, input FROM requests ORDER BY id",
            "SELECT requests, cached_answer, input FROM daily ORDER BY cached_answer",
        ] {
            part.query(sql, 0, &mut |_, numbers| {
                found.push(numbers.to_vec());
                Ok(())
            })?;
        }
        Ok(())
    };
    each_part(folder.path(), 0, i64::MAX, each).unwrap();
    let rows = [[3, 120, 0], [3, 30, 0], [0, 0, 100]];
    let sums = [[1, 0, 100], [2, 150, 0]];
    assert_eq!(found, [&rows[..], &sums].concat());
    assert_eq!(tokens(&mut store), 120);
}

#[test]
fn a_file_of_a_newer_release_is_refused_and_untouched() {
    let folder = tempfile::tempdir().unwrap();
    let november = record(1, "2026-11-05T10:00:00Z");
    open(folder.path()).load(&[november], at(1, 1)).unwrap();
    let file = path(folder.path(), Month::parse("2026-11").unwrap());
    let connection = rusqlite::Connection::open(&file).unwrap();
    connection
        .execute_batch("UPDATE schema_version SET version = 7")
        .unwrap();
    connection
        .pragma_update(None, "journal_mode", "DELETE")
        .unwrap();
    drop(connection);
    let before = std::fs::read(&file).unwrap();
    let refused = Sqlite::open(folder.path(), &config(folder.path()))
        .err()
        .unwrap();
    assert!(matches!(
        refused,
        StoreError::Newer {
            found: 7,
            known: 1,
            ..
        }
    ));
    assert!(
        refused
            .to_string()
            .contains("ledger-2026-11.db was written by a newer release")
    );
    assert_eq!(std::fs::read(&file).unwrap(), before);
}

#[test]
fn what_is_no_database_is_told_with_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ledger-2026-11.db");
    std::fs::write(
        &file,
        "this was never a database, and it is long enough to be read as one",
    )
    .unwrap();
    let refused = Sqlite::open(folder.path(), &config(folder.path()))
        .err()
        .unwrap();
    assert!(
        refused
            .to_string()
            .contains("ledger-2026-11.db: file is not a database"),
        "{refused}"
    );
}

#[test]
fn a_sum_that_is_not_that_of_the_rows_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let november = record(1, "2026-11-05T10:00:00Z");
    open(folder.path()).load(&[november], at(1, 1)).unwrap();
    let file = path(folder.path(), Month::parse("2026-11").unwrap());
    let connection = rusqlite::Connection::open(&file).unwrap();
    connection
        .execute_batch("UPDATE daily SET requests = 3")
        .unwrap();
    let wrong = check(folder.path());
    assert_eq!(wrong.len(), 1);
    assert!(wrong[0].ends_with("there are 1 rows, and the sums by day have 3"));
}

#[test]
fn only_the_owner_may_read_a_file() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(folder.path());
    store
        .load(&[record(1, "2026-11-05T10:00:00Z")], at(1, 1))
        .unwrap();
    let mut files = 0;
    for entry in std::fs::read_dir(folder.path()).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(
            entry.metadata().unwrap().permissions().mode() & 0o777,
            0o600,
            "{entry:?}"
        );
        files += 1;
    }
    assert!(files >= 4, "{files}");
}

/// A folder with a record in each of three months, whose quota has no end.
fn three_months(folder: &Path) -> Vec<Record<'static>> {
    let times = [
        "2026-08-05T10:00:00Z",
        "2026-09-05T10:00:00Z",
        "2026-11-05T10:00:00Z",
    ];
    let records: Vec<Record<'_>> = (1..)
        .zip(times)
        .map(|(id, at)| Record {
            period: Some(0),
            ..record(id, at)
        })
        .collect();
    open(folder).load(&records, at(3, 3)).unwrap();
    records
}

fn used_in_all(store: &mut Sqlite) -> Vec<(String, u64, u64)> {
    let balances = store.balances(&[0]).unwrap();
    let mut used: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    for balance in balances {
        let sums = used.entry(balance.tenant).or_default();
        sums.0 += balance.tokens;
        sums.1 += balance.charge_nanos;
    }
    let used = used.into_iter();
    used.map(|(tenant, (tokens, nanos))| (tenant, tokens, nanos))
        .collect()
}

/// What was used: of tenants with an empty key, and with keys.
fn used_by_key(store: &mut Sqlite, start: i64) -> Vec<(String, u64)> {
    let balances = store.balances(&[start]).unwrap();
    let mut used: BTreeMap<String, u64> = BTreeMap::new();
    for balance in balances {
        *used.entry(balance.key).or_default() += balance.tokens;
    }
    used.into_iter().collect()
}

#[test]
fn what_a_key_s_quota_counts_stands_beside_its_tenant_s_and_outlives_the_months() {
    let folder = tempfile::tempdir().unwrap();
    let of_key = |id, at, key, key_period| Record {
        key,
        key_period,
        period: Some(0),
        ..record(id, at)
    };
    let records = [
        of_key(1, "2026-08-05T10:00:00Z", "ci", Some(0)),
        of_key(2, "2026-09-05T10:00:00Z", "ci", Some(0)),
        of_key(3, "2026-09-05T10:00:00Z", "web", None),
        of_key(4, "2026-09-05T10:00:00Z", "web", Some(77)),
    ];
    let mut store = open(folder.path());
    assert_eq!(store.load(&records, at(1, 1)).unwrap(), 4);
    assert_eq!(store.load(&records, at(1, 1)).unwrap(), 0);
    let owned = |key: &str, tokens| (key.to_owned(), tokens);
    let in_all = [owned("", 480), owned("ci", 240)];
    assert_eq!(used_by_key(&mut store, 0), in_all);
    assert_eq!(used_by_key(&mut store, 77), [owned("web", 120)]);
    let read: Vec<_> = rows(folder.path())
        .iter()
        .map(|row| row.key_period)
        .collect();
    assert_eq!(read, [Some(0), Some(0), None, Some(77)]);
    drop(store);
    let config = config::Ledger {
        retention: Some(60 * DAY),
        ..config(folder.path())
    };
    let mut store = Sqlite::open(folder.path(), &config).unwrap();
    let done = store.maintain(time("2036-01-01T00:00:00Z")).unwrap();
    assert_eq!(done.len(), 2, "{done:?}");
    assert_eq!(used_by_key(&mut store, 0), in_all);
}

fn time(text: &str) -> SystemTime {
    text.parse::<Timestamp>().unwrap().into()
}

const DAY: Duration = Duration::from_secs(86_400);

#[test]
fn months_go_only_when_that_was_configured() {
    let folder = tempfile::tempdir().unwrap();
    three_months(folder.path());
    let mut store = open(folder.path());
    assert_eq!(
        store.maintain(time("2036-01-01T00:00:00Z")).unwrap(),
        [""; 0]
    );
    assert_eq!(rows(folder.path()).len(), 3);
}

#[test]
fn an_old_month_is_moved_and_its_copy_is_a_ledger_again() {
    let (folder, archive) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let records = three_months(folder.path());
    let config = config::Ledger {
        archive: Some(Archive {
            after: 30 * DAY,
            path: archive.path().join("old"),
        }),
        ..config(folder.path())
    };
    let mut store = Sqlite::open(folder.path(), &config).unwrap();
    let before = used_in_all(&mut store);
    assert_eq!(before, [("acme".to_owned(), 360, 4_500)]);
    // Thirty days after the end of August, and not yet after that of September.
    let done = store.maintain(time("2026-10-02T00:00:00Z")).unwrap();
    assert_eq!(done.len(), 1);
    assert!(done[0].starts_with("2026-08 was moved to "), "{done:?}");
    assert_eq!(months(folder.path()).unwrap().len(), 2);
    assert_eq!(used_in_all(&mut store), before);
    // Put back, it counts once.
    let copy = archive.path().join("old/ledger-2026-08.db.zst");
    let file = zstd::decode_all(std::fs::File::open(copy).unwrap()).unwrap();
    std::fs::write(folder.path().join("ledger-2026-08.db"), file).unwrap();
    assert_eq!(rows(folder.path()).len(), 3);
    assert_eq!(check(folder.path()), [""; 0]);
    assert_eq!(used_in_all(&mut store), before);
    // A record that comes late makes a file of its own.
    std::fs::remove_file(folder.path().join("ledger-2026-08.db")).unwrap();
    let late = Record {
        id: 9,
        ..records[0].clone()
    };
    store.load(&[late], at(3, 4)).unwrap();
    assert_eq!(used_in_all(&mut store), [("acme".to_owned(), 480, 6_000)]);
}

#[test]
fn what_was_used_and_loaded_is_known_after_all_months_have_been_removed() {
    let (folder, archive) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    three_months(folder.path());
    std::fs::write(archive.path().join("ledger-2026-01.db.zst"), "old").unwrap();
    let config = config::Ledger {
        archive: Some(Archive {
            after: DAY,
            path: archive.path().to_owned(),
        }),
        retention: Some(60 * DAY),
        ..config(folder.path())
    };
    let mut store = Sqlite::open(folder.path(), &config).unwrap();
    let done = store.maintain(time("2036-01-01T00:00:00Z")).unwrap();
    assert_eq!(done.len(), 4);
    assert!(done[0].starts_with("2026-08 was removed"), "{done:?}");
    assert_eq!(std::fs::read_dir(archive.path()).unwrap().count(), 0);
    assert_eq!(rows(folder.path()).len(), 0);
    drop(store);
    let mut store = open(folder.path());
    assert_eq!(store.position().unwrap(), Some(at(3, 3)));
    assert_eq!(used_in_all(&mut store), [("acme".to_owned(), 360, 4_500)]);
}

#[test]
fn a_month_that_is_damaged_is_not_moved() {
    let (folder, archive) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    three_months(folder.path());
    let file = folder.path().join("ledger-2026-08.db");
    let connection = rusqlite::Connection::open(&file).unwrap();
    connection
        .pragma_update(None, "journal_mode", "DELETE")
        .unwrap();
    drop(connection);
    let mut bytes = std::fs::read(&file).unwrap();
    let place = bytes
        .windows(4)
        .rposition(|window| window == b"acme")
        .unwrap();
    let page = place / 4_096 * 4_096;
    bytes[page..page + 8].fill(0xff);
    std::fs::write(&file, &bytes).unwrap();
    let config = config::Ledger {
        archive: Some(Archive {
            after: DAY,
            path: archive.path().to_owned(),
        }),
        ..config(folder.path())
    };
    let mut store = Sqlite::open(folder.path(), &config).unwrap();
    assert!(store.maintain(time("2026-10-02T00:00:00Z")).is_err());
    assert_eq!(std::fs::read(&file).unwrap(), bytes);
    assert_eq!(std::fs::read_dir(archive.path()).unwrap().count(), 0);
}
