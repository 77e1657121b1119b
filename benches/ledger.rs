//! The ledger's database: loading a transaction of 1,000 records, and a report by day over ten million requests.

#![allow(
    clippy::unwrap_used,
    missing_docs,
    reason = "a benchmark fails by panicking"
)]

use std::path::Path;

use criterion::{Criterion, criterion_group, criterion_main};
use tollgate::config::{Ledger, Located, OnFailure, Place};
use tollgate::ledger::Record;
use tollgate::ledger::journal::Position;
use tollgate::ledger::report::{Query, report};
use tollgate::ledger::store::Database;

/// 2026-11-05T10:00:00Z.
const NOVEMBER: i64 = 1_793_872_800_000;

fn config(folder: &Path) -> Ledger {
    Ledger {
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

fn records(first: u32, tenants: &[String]) -> Vec<Record<'_>> {
    let all = tenants.iter().zip(first..);
    let all = all.map(|(tenant, id)| Record {
        id: u128::from(id),
        at_ms: NOVEMBER + i64::from(id),
        tenant,
        key: "ci",
        model: "gpt-4o",
        upstream: "openai",
        outcome: "ok",
        period: Some(5),
        ..Record::default()
    });
    all.collect()
}

fn load(c: &mut Criterion) {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path());
    let mut store = Database::of(&config).open(&config).unwrap();
    let tenants: Vec<String> = (0..1_000).map(|n| format!("tenant {n}")).collect();
    let mut first = 0;
    c.bench_function("load 1,000 records", |b| {
        b.iter(|| {
            first += 1_000;
            let next = Position {
                segment: 1,
                offset: u64::from(first),
            };
            store.load(&records(first, &tenants), next).unwrap()
        });
    });
}

fn report_by_day(c: &mut Criterion) {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path());
    let database = Database::of(&config);
    let mut store = database.open(&config).unwrap();
    let tenants = ["acme".to_owned()];
    store
        .load(&records(1, &tenants), Position::default())
        .unwrap();
    drop(store);
    // 30 days of 1,000 tenants with two keys and three models.
    let many = "WITH RECURSIVE n (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM n WHERE n < 179999) \
         INSERT INTO daily SELECT 20261101 + n % 30, 100 + n / 30 % 1000, n / 30000 % 2, n / 60000, 7, \
         55, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1 FROM n";
    let connection = rusqlite::Connection::open(folder.path().join("ledger-2026-11.db")).unwrap();
    connection.execute_batch(many).unwrap();
    let query = Query::parse(Some("day"), Some("2026-11-01"), Some("2026-12-01"), None).unwrap();
    c.bench_function("report by day over 10 million requests", |b| {
        b.iter(|| report(&database, query.clone()).unwrap());
    });
}

criterion_group!(benches, load, report_by_day);
criterion_main!(benches);
