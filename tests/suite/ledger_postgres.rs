//! The ledger in a real PostgreSQL: each record once, what nodes share, and months that go.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tollgate::config::{Archive, Ledger, Located, OnFailure, Place};
use tollgate::ledger::journal::Position;
use tollgate::ledger::report::{Query, report};
use tollgate::ledger::store::{Database, Part, Store, StoreError};
use tollgate::ledger::{Balance, Record, Source, Start, Tokens, WebhookPlan};
use tollgate::observe::webhooks::Webhooks;
use tollgate::secret::Secret;

use crate::support::postgres::Postgres;

/// 2026-11-05T10:00:00Z.
const NOVEMBER: i64 = 1_793_872_800_000;
const DAY_MS: i64 = 86_400_000;

fn config(url: &str, node: &str) -> Ledger {
    Ledger {
        path: Located {
            value: "unused".into(),
            place: Place::default(),
        },
        postgres: Some(Secret::new(url.to_owned())),
        node: node.to_owned(),
        on_failure: OnFailure::Serve,
        archive: None,
        retention: None,
        is_implied: false,
    }
}

fn open(config: &Ledger) -> Result<Box<dyn Store>, StoreError> {
    Database::of(config).open(config)
}

fn at(segment: u64, offset: u64) -> Position {
    Position { segment, offset }
}

fn record(id: u128, at_ms: i64) -> Record<'static> {
    Record {
        id,
        at_ms,
        tenant: "acme",
        key: "ci",
        endpoint: "chat",
        model: "gpt-4o",
        upstream: "openai",
        outcome: "ok",
        status: 200,
        tokens: Tokens {
            input: 100,
            output: 20,
            ..Tokens::default()
        },
        cost_nanos: 1_000,
        charge_nanos: 1_500,
        period: Some(0),
        ..Record::default()
    }
}

/// What tenants have used without an end of the period.
fn used(store: &mut dyn Store) -> Vec<(String, u64, u64)> {
    let balances = store.balances(&[0, 77]).unwrap();
    let mut used: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    for balance in balances.into_iter().filter(|b| b.key.is_empty()) {
        let sums = used.entry(balance.tenant).or_default();
        sums.0 += balance.tokens;
        sums.1 += balance.charge_nanos;
    }
    let used = used.into_iter();
    used.map(|(tenant, (tokens, nanos))| (tenant, tokens, nanos))
        .collect()
}

#[test]
fn records_that_are_loaded_again_count_once_and_nodes_share_the_sums() {
    let Some(server) = Postgres::start() else {
        return;
    };
    let (one, two) = (config(&server.url(), "one"), config(&server.url(), "two"));
    let mut first = open(&one).unwrap();
    let mut second = open(&two).unwrap();
    assert_eq!(first.position().unwrap(), None);
    // Over the end of a month, with a repeated record, a text that PostgreSQL does not take, and no period.
    let odd = Record {
        model: "a\0b",
        outcome: "upstream_error",
        period: None,
        cost_nanos: u64::MAX,
        ..record(3, NOVEMBER)
    };
    let december = record(2, NOVEMBER + 30 * DAY_MS);
    let records = [record(1, NOVEMBER), december.clone(), odd, december];
    assert_eq!(first.load(&records, at(1, 400)).unwrap(), 3);
    assert_eq!(first.load(&records, at(1, 400)).unwrap(), 0);
    assert_eq!(second.load(&records[..1], at(9, 9)).unwrap(), 0);
    assert_eq!(second.load(&[record(4, NOVEMBER)], at(9, 10)).unwrap(), 1);
    assert_eq!(first.position().unwrap(), Some(at(1, 400)));
    assert_eq!(second.position().unwrap(), Some(at(9, 10)));
    assert_eq!(first.load(&[], at(2, 0)).unwrap(), 0);
    assert_eq!(open(&one).unwrap().position().unwrap(), Some(at(2, 0)));
    assert_eq!(used(&mut *first), [("acme".to_owned(), 360, 4_500)]);
    // What a key's quota counts stands beside it, in the calendar of the key.
    let with_key = Record {
        key_period: Some(77),
        ..record(5, NOVEMBER)
    };
    let load = |store: &mut dyn Store| store.load(std::slice::from_ref(&with_key), at(2, 1));
    assert_eq!(load(&mut *first).unwrap(), 1);
    assert_eq!(load(&mut *first).unwrap(), 0);
    let of_key = first.balances(&[77]).unwrap();
    let of_key: Vec<_> = of_key
        .iter()
        .map(|b| (b.tenant.as_str(), b.key.as_str(), b.tokens))
        .collect();
    assert_eq!(of_key, [("acme", "ci", 120)]);
    let of_tenant = first.balances(&[0]).unwrap();
    assert!(of_tenant.iter().all(|b| b.key.is_empty()), "{of_tenant:?}");
    assert_eq!(of_tenant.iter().map(|b| b.tokens).sum::<u64>(), 480);
    let sums = "SELECT day, name, requests, errors, input, cost_nanos FROM tollgate.daily \
                JOIN tollgate.names ON names.id = model ORDER BY day, name";
    let sums = server.query(sums);
    let wanted = "20261105|a?b|1|1|100|1000000000000000\n20261105|gpt-4o|3|0|300|3000\n\
                  20261205|gpt-4o|1|0|100|1000";
    assert_eq!(sums, wanted);
    let partitions =
        "SELECT count(*) FROM pg_inherits WHERE inhparent = 'tollgate.requests'::regclass";
    assert_eq!(server.query(partitions), "2");
    let id = "SELECT min(id::text) FROM tollgate.requests";
    assert_eq!(server.query(id), "00000000-0000-0000-0000-000000000001");
}

#[test]
fn the_tokens_of_an_answer_from_the_cache_are_kept_and_no_quota_counts_them() {
    let Some(server) = Postgres::start() else {
        return;
    };
    let config = config(&server.url(), "one");
    let mut store = open(&config).unwrap();
    let answered = |id, cached_answer| Record {
        tokens: Tokens {
            cached_answer,
            ..Tokens::default()
        },
        source: Source::Cache,
        ..record(id, NOVEMBER)
    };
    let records = [answered(1, 120), answered(2, 30), record(3, NOVEMBER)];
    assert_eq!(store.load(&records[..1], at(1, 100)).unwrap(), 1);
    assert_eq!(store.load(&records, at(1, 300)).unwrap(), 2);
    let rows = "SELECT source, cached_answer, input FROM tollgate.requests ORDER BY id";
    assert_eq!(server.query(rows), "3|120|0\n3|30|0\n0|0|100");
    let sums = "SELECT requests, cached_answer, input FROM tollgate.daily";
    assert_eq!(server.query(sums), "3|150|100");
    assert_eq!(used(&mut *store), [("acme".to_owned(), 120, 4_500)]);
    let database = Database::of(&config);
    // The sums by day, and the rows of a part of it.
    for until_ms in [NOVEMBER + DAY_MS, NOVEMBER + 1] {
        let query = Query {
            until_ms,
            ..Query::default()
        };
        let report = report(&database, query).unwrap();
        let mut csv = Vec::new();
        report.write_csv(&mut csv).unwrap();
        let csv = String::from_utf8(csv).unwrap();
        let wanted = "acme,3,0,100,0,0,20,0,0,0,0,0,150,0.000003,0.0000045";
        assert_eq!(csv.lines().nth(1), Some(wanted), "{until_ms}");
    }
}

#[test]
fn processes_that_take_over_from_each_other_count_each_request_once() {
    const PATIENCE: Duration = Duration::from_secs(30);
    let Some(server) = Postgres::start() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(&server.url(), "one");
    config.path.value = folder.path().to_owned();
    let start = |how| -> Arc<tollgate::ledger::Ledger> {
        let counts = Webhooks::new().unwrap();
        tollgate::ledger::Ledger::start(&config, &WebhookPlan::default(), counts, how).unwrap()
    };
    let charged = |used: Vec<Balance>| used.iter().map(|b| b.charge_nanos).sum::<u64>();
    let record_all = |ledger: &tollgate::ledger::Ledger, ids: std::ops::Range<u128>| {
        for id in ids {
            ledger.record(&record(id, NOVEMBER)).unwrap();
        }
    };

    let before = start(Start::Alone);
    assert_eq!(before.balances(&[0], 0).unwrap(), []);
    let after = std::thread::scope(|scope| {
        let recording = scope.spawn(|| record_all(&before, 0..3_000));
        let after = start(Start::Successor);
        let mut sum = charged(after.balances(&[0], 0).unwrap());
        record_all(&after, 3_000..3_010);
        recording.join().unwrap();
        // Less than is read at once.
        sum += charged(after.used_elsewhere().used);
        assert_eq!(sum, 3_000 * 1_500);
        assert_eq!(charged(before.used_elsewhere().used), 10 * 1_500);
        after
    });
    before.hand_over();
    record_all(&before, 3_010..3_100);
    // It ends before all is loaded, as by a kill.
    drop(before);
    let count = || server.query("SELECT count(*) FROM tollgate.requests");
    let by = Instant::now() + PATIENCE;
    while count() != "3100" {
        assert!(Instant::now() < by, "{}", count());
    }
    assert_eq!(charged(after.used_elsewhere().used), 90 * 1_500);
    assert!(after.stop(PATIENCE));
    let mut store = open(&config).unwrap();
    assert_eq!(
        used(&mut *store),
        [("acme".to_owned(), 3_100 * 120, 3_100 * 1_500)]
    );
    let nodes = server.query("SELECT node FROM tollgate.positions ORDER BY node");
    assert_eq!(nodes.lines().collect::<Vec<_>>(), ["one", "one#2"]);
}

#[test]
fn what_a_crash_of_the_server_interrupts_is_loaded_once() {
    let Some(mut server) = Postgres::start() else {
        return;
    };
    let config = config(&server.url(), "one");
    let mut store = open(&config).unwrap();
    assert_eq!(store.load(&[record(1, NOVEMBER)], at(1, 100)).unwrap(), 1);
    server.stop();
    assert!(store.load(&[record(2, NOVEMBER)], at(1, 200)).is_err());
    let away = open(&config).err().unwrap();
    assert!(
        away.to_string()
            .contains("which ledger.postgres names: PostgreSQL: error connecting to server"),
        "{away}"
    );
    server.resume();
    let mut store = open(&config).unwrap();
    assert_eq!(store.position().unwrap(), Some(at(1, 100)));
    assert_eq!(store.load(&[record(2, NOVEMBER)], at(1, 200)).unwrap(), 1);
    assert_eq!(used(&mut *store), [("acme".to_owned(), 240, 3_000)]);
}

#[test]
fn tables_of_a_newer_release_are_refused_and_untouched() {
    let Some(server) = Postgres::start() else {
        return;
    };
    let config = config(&server.url(), "one");
    drop(open(&config).unwrap());
    server.query("UPDATE tollgate.schema_version SET version = 7");
    let refused = open(&config).err().unwrap();
    assert!(matches!(
        refused,
        StoreError::Newer {
            found: 7,
            known: 1,
            ..
        }
    ));
    let each = &mut |_: &mut dyn Part| Ok(());
    let reading = Database::of(&config).each_part(0, 1, each);
    assert!(matches!(reading, Err(StoreError::Newer { .. })));
    assert_eq!(
        server.query("SELECT version FROM tollgate.schema_version"),
        "7"
    );
}

#[test]
fn many_names_and_rows_are_read_back_in_their_order() {
    let Some(server) = Postgres::start() else {
        return;
    };
    let config = config(&server.url(), "one");
    let mut store = open(&config).unwrap();
    let names: Vec<String> = (0..1_000).map(|n| format!("model {n}")).collect();
    let records: Vec<Record<'_>> = (0..1_000)
        .map(|n| Record {
            model: &names[n],
            ..record(n as u128, NOVEMBER + 7 - i64::try_from(n).unwrap() % 7)
        })
        .collect();
    assert_eq!(store.load(&records, at(1, 1)).unwrap(), 1_000);
    let mut pages = Vec::new();
    let mut groups = 0;
    let each = &mut |part: &mut dyn Part| {
        let mut after = (NOVEMBER, u128::MAX);
        loop {
            let rows = part.rows(after, NOVEMBER + 7, 100)?;
            let Some(last) = rows.last() else { break };
            after = (last.at_ms, last.id);
            pages.push(
                rows.iter()
                    .map(|row| (row.at_ms, row.id))
                    .collect::<Vec<_>>(),
            );
        }
        let number = part.number("model 7")?.unwrap();
        assert_eq!(
            part.names(&[number, -1, number])?,
            ["model 7", "", "model 7"]
        );
        assert_eq!(part.number("a\0b")?, None);
        part.query("SELECT model::bigint FROM daily", 0, &mut |_, _| {
            groups += 1;
            Ok(())
        })?;
        assert_eq!(part.check(&mut std::io::sink())?, [""; 0]);
        Ok(())
    };
    Database::of(&config).each_part(0, i64::MAX, each).unwrap();
    let read: Vec<(i64, u128)> = pages.concat();
    let mut wanted: Vec<(i64, u128)> = records.iter().map(|r| (r.at_ms, r.id)).collect();
    wanted.retain(|(at_ms, _)| *at_ms < NOVEMBER + 7);
    wanted.sort_unstable();
    assert_eq!(read, wanted);
    assert_eq!(groups, 1_000);
}

#[test]
fn an_old_month_becomes_a_file_its_sums_stay_and_retention_removes_them() {
    let Some(server) = Postgres::start() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let archive = Archive {
        after: Duration::from_secs(30 * 86_400),
        path: folder.path().join("old"),
    };
    let config = Ledger {
        archive: Some(archive),
        ..config(&server.url(), "one")
    };
    let mut store = open(&config).unwrap();
    // One has the quota of a key, too, in a period of its own: long before, and without an end.
    let of_key = |id, key_period| Record {
        key_period: Some(key_period),
        ..record(id, NOVEMBER)
    };
    let records = [of_key(1, 77), record(2, NOVEMBER + 30 * DAY_MS)];
    store.load(&records, at(1, 400)).unwrap();
    // Thirty-one days after the end of November.
    let now =
        SystemTime::UNIX_EPOCH + Duration::from_millis((NOVEMBER + 57 * DAY_MS).unsigned_abs());
    let done = store.maintain(now).unwrap();
    assert_eq!(done.len(), 1, "{done:?}");
    let lines = lines(&folder.path().join("old/ledger-2026-11.jsonl.zst"));
    assert_eq!(lines.len(), 1);
    assert_eq!(lines[0]["id"], "req_00000000000000000000000000000001");
    assert_eq!(lines[0]["charge_usd"], 0.000_001_5);
    let count = |table: &str| server.query(&format!("SELECT count(*) FROM tollgate.{table}"));
    assert_eq!(
        (count("requests"), count("daily")),
        ("1".to_owned(), "2".to_owned())
    );
    assert_eq!(used(&mut *store), [("acme".to_owned(), 240, 3_000)]);
    // A record that comes late has a partition again.
    assert_eq!(store.load(&[of_key(3, 0)], at(1, 500)).unwrap(), 1);
    assert_eq!(store.balances(&[77]).unwrap().len(), 1);
    drop(store);
    let config = Ledger {
        retention: Some(Duration::from_secs(90 * 86_400)),
        ..config
    };
    let mut store = open(&config).unwrap();
    let done = store
        .maintain(now + Duration::from_secs(300 * 86_400))
        .unwrap();
    assert_eq!(done.len(), 3, "{done:?}");
    assert_eq!(
        (count("requests"), count("daily")),
        ("0".to_owned(), "0".to_owned())
    );
    assert_eq!(
        std::fs::read_dir(folder.path().join("old"))
            .unwrap()
            .count(),
        0
    );
    // What was used with a key in a period that is over goes; what still counts stays.
    assert_eq!(store.balances(&[77]).unwrap(), []);
    let mut left = store.balances(&[0]).unwrap();
    left.sort_by(|one, other| one.key.cmp(&other.key));
    let left: Vec<_> = left.iter().map(|b| (b.key.as_str(), b.tokens)).collect();
    assert_eq!(left, [("", 360), ("ci", 120)]);
}

fn lines(path: &Path) -> Vec<serde_json::Value> {
    let file = std::fs::File::open(path).unwrap();
    let text = zstd::decode_all(file).unwrap();
    let lines = std::str::from_utf8(&text).unwrap().lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}
