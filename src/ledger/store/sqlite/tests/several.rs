//! Several processes that load into the files of one folder.

use super::*;

fn store(folder: &Path, node: &str) -> Sqlite {
    let config = config::Ledger {
        node: node.to_owned(),
        ..config(folder)
    };
    Sqlite::open(folder, &config).unwrap()
}

#[test]
fn two_that_load_the_same_months_at_a_time_count_each_record_once() {
    const BATCHES: u64 = 40;
    let folder = tempfile::tempdir().unwrap();
    let load = |node: &str, first: u128| {
        let mut store = store(folder.path(), node);
        for batch in 0..BATCHES {
            let id = first + u128::from(batch) * 2;
            let records = [
                record(id, "2026-11-30T23:59:59Z"),
                record(id + 1, "2026-12-01T00:00:01Z"),
                // Both have this one.
                record(1_000_000, "2026-11-30T23:59:59Z"),
            ];
            store.load(&records, at(1, batch + 1)).unwrap();
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(|| load("one", 0));
        scope.spawn(|| load("one#2", 10_000));
    });
    assert_eq!(rows(folder.path()).len(), 161);
    assert_eq!(check(folder.path()), [""; 0]);
    let mut store = store(folder.path(), "one");
    assert_eq!(tokens(&mut store), 161 * 120);
    let nodes = ["one", "one#2", "one#3"].map(str::to_owned);
    let usage = store.usage(&[1_793_491_200], i64::MAX, &nodes).unwrap();
    let loaded = Some(at(1, BATCHES));
    assert_eq!(usage.positions, [loaded, loaded, None]);
    let mut used: Vec<_> = usage.balances.iter().map(|b| &b.node).collect();
    used.sort();
    assert_eq!(used, ["one", "one#2"]);
    let sum: u64 = usage.balances.iter().map(|b| b.tokens).sum();
    assert_eq!(sum, 161 * 120);
}

#[test]
fn balances_and_positions_are_of_one_moment() {
    let folder = tempfile::tempdir().unwrap();
    let loading = || {
        let mut store = store(folder.path(), "one#2");
        for batch in 0..200_u64 {
            let months = ["2026-11-30T23:59:59Z", "2026-12-01T00:00:01Z"];
            let at_time = months[usize::try_from(batch % 2).unwrap()];
            let id = u128::from(batch);
            store
                .load(&[record(id, at_time)], at(1, batch + 1))
                .unwrap();
        }
    };
    std::thread::scope(|scope| {
        let loader = scope.spawn(loading);
        let mut store = store(folder.path(), "one");
        while !loader.is_finished() {
            let nodes = ["one#2".to_owned()];
            let usage = store.usage(&[1_793_491_200], i64::MAX, &nodes).unwrap();
            let loaded = usage.positions[0].map_or(0, |position| position.offset);
            let used: u64 = usage.balances.iter().map(|b| b.tokens).sum();
            assert_eq!(used, loaded * 120);
        }
    });
}

#[test]
fn what_comes_late_for_a_month_that_another_process_has_removed_goes_to_a_new_file() {
    let folder = tempfile::tempdir().unwrap();
    let mut one = store(folder.path(), "one");
    one.load(&[record(1, "2025-03-05T10:00:00Z")], at(1, 100))
        .unwrap();
    let mut other = store(folder.path(), "one#2");
    other.retention = Some(30 * DAY);
    let done = other.maintain(time("2026-10-02T00:00:00Z")).unwrap();
    assert_eq!(done.len(), 1, "{done:?}");
    one.load(&[record(2, "2025-03-05T10:00:00Z")], at(1, 200))
        .unwrap();
    assert_eq!(rows(folder.path()).len(), 1);
    assert_eq!(one.position().unwrap(), Some(at(1, 200)));
}

#[test]
fn two_that_make_the_same_file_at_a_time_make_one() {
    for _ in 0..20 {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new.db");
        let schema =
            "CREATE TABLE schema_version (version INTEGER); CREATE TABLE other (a INTEGER);";
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| crate::store::sqlite::open(&path, &[schema]).unwrap());
            }
        });
    }
}
