//! Several processes with one folder: while one takes over from another, and when one has ended.

use super::super::journals::folder as journal_folder;
use super::*;

const PATIENCE: Duration = Duration::from_secs(30);

/// Starts a ledger; another test's child may hold a lock for a moment.
fn start_as(config: &config::Ledger, how: Start) -> Arc<Ledger> {
    let by = Instant::now() + PATIENCE;
    loop {
        let counts = observe::webhooks::Webhooks::new().unwrap();
        match Ledger::start(config, &WebhookPlan::default(), counts, how) {
            Err(LedgerError::Journal(JournalError::InUse(_)) | LedgerError::AllInUse { .. })
                if Instant::now() < by =>
            {
                std::thread::yield_now();
            }
            started => return started.unwrap(),
        }
    }
}

fn stop(ledger: Arc<Ledger>) {
    assert!(ledger.stop(PATIENCE));
}

fn record_all(ledger: &Ledger, ids: std::ops::Range<u128>) {
    for id in ids {
        ledger.record(&record(id)).unwrap();
    }
}

/// Leaves records in a journal, as a process that was killed does.
fn leave(config: &config::Ledger, number: usize, ids: std::ops::Range<u128>) {
    let path = journal_folder(&config.path.value, number);
    let by = Instant::now() + PATIENCE;
    let journal = loop {
        let options = journal::Options::default();
        match Journal::open(&path, options, Position::default()) {
            // Its records are loaded, or another test's child holds the lock for a moment.
            Err(JournalError::InUse(_)) if Instant::now() < by => std::thread::yield_now(),
            opened => break opened.unwrap().0,
        }
    };
    for id in ids {
        journal.append(&record(id)).unwrap();
    }
}

/// How many requests reports have.
fn reported(config: &config::Ledger) -> i64 {
    let report = report::report(&Database::of(config), Query::default()).unwrap();
    report.rows.iter().map(|row| row.sums[0]).sum()
}

#[track_caller]
fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let by = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < by, "{what}");
        std::thread::yield_now();
    }
}

/// What a process that starts counts of the quota: 7 for each record.
fn charged(ledger: &Ledger) -> u64 {
    let balances = ledger.balances(&[5], 6).unwrap();
    balances.iter().map(|balance| balance.charge_nanos).sum()
}

/// What it learns of other processes since then.
fn charged_elsewhere(ledger: &Ledger) -> u64 {
    let mut charged = 0;
    loop {
        let elsewhere = ledger.used_elsewhere();
        let used = elsewhere.used.iter();
        charged += used.map(|balance| balance.charge_nanos).sum::<u64>();
        if !elsewhere.is_more {
            return charged;
        }
    }
}

#[test]
fn what_two_processes_record_at_a_time_is_in_reports_once() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), None);
    let before = start_as(&config, Start::Alone);
    record_all(&before, 0..100);
    let after = start_as(&config, Start::Successor);
    std::thread::scope(|scope| {
        scope.spawn(|| record_all(&before, 100..3_000));
        scope.spawn(|| record_all(&after, 3_000..6_000));
    });
    before.hand_over();
    record_all(&before, 6_000..6_100);
    stop(before);
    stop(after);
    assert_eq!(reported(&config), 6_100);
}

#[test]
fn a_start_that_is_no_takeover_is_refused_while_any_process_records() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), None);
    let before = start_as(&config, Start::Alone);
    let after = start_as(&config, Start::Successor);
    let refused = |what: &str| {
        let error = start(&config).err().unwrap();
        let is_refused = matches!(error, LedgerError::Journal(JournalError::InUse(_)));
        assert!(is_refused, "{what}: {error}");
    };
    refused("both record");
    before.hand_over();
    stop(before);
    refused("the successor records");
    stop(after);
    stop(start_as(&config, Start::Alone));
}

#[test]
fn a_successor_takes_the_first_journal_that_is_free() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), None);
    let first = start_as(&config, Start::Alone);
    let second = start_as(&config, Start::Successor);
    assert_eq!((first.number, second.number), (1, 2));
    first.hand_over();
    stop(first);
    wait_until("the first one is free", || {
        let path = journal_folder(&config.path.value, 1);
        !journal::is_in_use(&path).unwrap()
    });
    let third = start_as(&config, Start::Successor);
    assert_eq!(third.number, 1);
    record_all(&second, 0..10);
    record_all(&third, 10..20);
    stop(second);
    stop(third);
    assert_eq!(reported(&config), 20);
}

#[test]
fn a_ninth_process_is_refused_and_told_why() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), None);
    let mut processes = vec![start_as(&config, Start::Alone)];
    for number in 2..=8 {
        let process = start_as(&config, Start::Successor);
        assert_eq!(process.number, number);
        processes.push(process);
    }
    let counts = observe::webhooks::Webhooks::new().unwrap();
    let plan = WebhookPlan::default();
    let error = Ledger::start(&config, &plan, counts, Start::Successor);
    let error = error.err().unwrap().to_string();
    assert!(error.contains("8 processes record in"), "{error}");
    for (process, id) in processes.iter().zip(0..) {
        process.record(&record(id)).unwrap();
    }
    for process in processes {
        stop(process);
    }
    assert_eq!(reported(&config), 8);
}

#[test]
fn what_processes_have_left_is_loaded_before_balances_are_known() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), None);
    for (number, first) in [(1, 0), (2, 100), (5, 200)] {
        leave(&config, number, first..first + 10);
    }
    let ledger = start_as(&config, Start::Alone);
    assert_eq!(charged(&ledger), 30 * 7);
    assert_eq!(charged_elsewhere(&ledger), 0);
    assert_eq!(reported(&config), 30);
    stop(ledger);
}

#[test]
fn what_a_process_leaves_is_loaded_while_another_one_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), None);
    let ledger = start_as(&config, Start::Alone);
    assert_eq!(charged(&ledger), 0);
    leave(&config, 2, 0..10);
    wait_until("it is loaded", || reported(&config) == 10);
    // Again under the same number, as by the next one that ends.
    leave(&config, 2, 10..20);
    wait_until("it is loaded again", || reported(&config) == 20);
    assert_eq!(charged_elsewhere(&ledger), 20 * 7);
    assert_eq!(charged_elsewhere(&ledger), 0);
    stop(ledger);
}

#[test]
fn a_process_that_has_handed_over_leaves_the_journals_of_others_alone() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), None);
    let before = start_as(&config, Start::Alone);
    let after = start_as(&config, Start::Successor);
    before.hand_over();
    before.hand_over();
    leave(&config, 3, 0..10);
    wait_until("it is loaded", || reported(&config) == 10);
    // The successor is killed: nobody serves, so nothing is loaded until the next start.
    stop(after);
    leave(&config, 3, 10..20);
    record_all(&before, 20..30);
    stop(before);
    assert_eq!(reported(&config), 20);
    stop(start_as(&config, Start::Alone));
    assert_eq!(reported(&config), 30);
}

#[test]
fn a_successor_counts_all_that_its_predecessor_has_used_and_uses() {
    const RECORDS: u128 = 20_000;
    for attempt in 0..5 {
        let folder = tempfile::tempdir().unwrap();
        let config = config(folder.path(), None);
        let before = start_as(&config, Start::Alone);
        assert_eq!(charged(&before), 0);
        std::thread::scope(|scope| {
            let recording = scope.spawn(|| record_all(&before, 0..RECORDS));
            for _ in 0..attempt * 1_000 {
                std::thread::yield_now();
            }
            let after = start_as(&config, Start::Successor);
            let mut sum = charged(&after);
            sum += charged_elsewhere(&after);
            record_all(&after, RECORDS..RECORDS + 10);
            recording.join().unwrap();
            sum += charged_elsewhere(&after);
            assert_eq!(u128::from(sum), RECORDS * 7);
            // The predecessor learns what its successor uses, too.
            assert_eq!(charged_elsewhere(&before), 70);
            stop(after);
        });
        stop(before);
        assert_eq!(reported(&config), 20_010);
    }
}

#[test]
fn many_processes_that_follow_each_other_lose_and_double_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), None);
    let mut current = start_as(&config, Start::Alone);
    assert_eq!(charged(&current), 0);
    let mut next_id = 0;
    std::thread::scope(|scope| {
        for _ in 0..20 {
            let after = start_as(&config, Start::Successor);
            let counted = charged(&after) + charged_elsewhere(&after);
            assert_eq!(u128::from(counted), next_id * 7);
            current.hand_over();
            let (first, rest) = (next_id..next_id + 200, next_id + 200..next_id + 400);
            record_all(&after, first);
            record_all(&current, rest);
            next_id += 400;
            assert_eq!(charged_elsewhere(&after), 200 * 7);
            let ending = std::mem::replace(&mut current, after);
            // Some end at once, others later.
            scope.spawn(move || stop(ending));
        }
    });
    stop(current);
    assert_eq!(
        i128::from(reported(&config)),
        i128::try_from(next_id).unwrap()
    );
}
