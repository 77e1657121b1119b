//! The ledger as a whole: what is recorded is in its reports and balances, also after the next start.

use super::journal::JournalError;
use super::*;
use crate::config::{Located, OnFailure, Place};

mod hand_over;

/// Starts a ledger without webhooks.
fn start(config: &config::Ledger) -> Result<Arc<Ledger>, LedgerError> {
    let counts = observe::webhooks::Webhooks::new().unwrap();
    Ledger::start(config, &WebhookPlan::default(), counts, Start::Alone)
}

fn config(folder: &Path, postgres: Option<&str>) -> config::Ledger {
    config::Ledger {
        path: Located {
            value: folder.join("ledger"),
            place: Place::default(),
        },
        postgres: postgres.map(|url| crate::secret::Secret::new(url.to_owned())),
        node: "one".to_owned(),
        on_failure: OnFailure::Serve,
        archive: None,
        retention: None,
        is_implied: false,
    }
}

fn record(id: u128) -> Record<'static> {
    Record {
        id,
        at_ms: 1_793_872_800_000,
        tenant: "acme",
        period: Some(5),
        charge_nanos: 7,
        ..Record::default()
    }
}

#[test]
fn what_is_recorded_is_in_reports_and_in_the_balances_of_the_next_start() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), None);
    let ledger = start(&config).unwrap();
    assert_eq!(ledger.balances(&[5], 6).unwrap(), []);
    ledger.record(&record(1)).unwrap();
    ledger.record(&record(2)).unwrap();
    assert!(ledger.stop(Duration::from_secs(20)));
    drop(ledger);
    let ledger = start(&config).unwrap();
    let balance = Balance {
        tenant: "acme".to_owned(),
        key: String::new(),
        node: config.node.clone(),
        period_start: 5,
        tokens: 0,
        charge_nanos: 14,
    };
    // The clock is behind: the period has not begun, and what was used in it is known.
    let later = ledger.balances(&[3], 4);
    assert_eq!(later.as_deref(), Some([balance.clone()].as_slice()));
    assert_eq!(ledger.balances(&[5, 6], 6).unwrap(), [balance]);
    let report = ledger.report(Query::default()).unwrap();
    assert_eq!(report.rows[0].sums[0], 2);
    let health = ledger.health();
    assert!(
        health.has_balances && health.not_loading.is_none(),
        "{health:?}"
    );
}

#[test]
fn it_starts_and_records_while_postgresql_is_away_and_knows_no_balances() {
    let folder = tempfile::tempdir().unwrap();
    // No server listens in a folder that has no socket.
    let host = folder.path().display().to_string().replace('/', "%2F");
    let url = format!("postgres://tollgate:secret-canary@{host}/x?sslmode=disable");
    let ledger = start(&config(folder.path(), Some(&url))).unwrap();
    ledger.record(&record(1)).unwrap();
    assert_eq!(ledger.balances(&[5], 6), None);
    assert!(!ledger.health().has_balances);
    assert!(!ledger.stop(Duration::from_secs(20)));
    let failure = ledger.health().not_loading.unwrap();
    assert!(
        failure.starts_with("no connection to ") && !failure.contains("canary"),
        "{failure}"
    );
}

#[test]
fn a_folder_that_cannot_be_made_and_one_in_use_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), None);
    std::fs::write(&config.path.value, "a file").unwrap();
    let error = start(&config).err().unwrap().to_string();
    assert!(error.contains("cannot be used"), "{error}");
    std::fs::remove_file(&config.path.value).unwrap();
    let ledger = start(&config).unwrap();
    let error = start(&config).err().unwrap();
    assert!(
        matches!(error, LedgerError::Journal(JournalError::InUse(_))),
        "{error}"
    );
    let told = error.to_string();
    assert!(
        told.contains("stop it, or write another ledger.path"),
        "{told}"
    );
    assert!(ledger.stop(Duration::from_secs(20)));
    drop(ledger);
    start(&config).unwrap();
}
