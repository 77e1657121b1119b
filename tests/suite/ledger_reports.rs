//! What the commands say of a ledger: reports, exports and checks, while no gateway runs.

use std::path::Path;
use std::process::{Command, Output};

use tollgate::config::{Ledger, Located, OnFailure, Place};
use tollgate::ledger::journal::Position;
use tollgate::ledger::store::Database;
use tollgate::ledger::{Record, Source, Tokens};

use crate::support::gateway::{BINARY, Folder};

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

/// Loads usage of two tenants, in two months.
pub fn load(database: &Database, folder: &Path) {
    let config = config(folder);
    let record = |id: u128, at_ms: i64, tenant: &'static str| Record {
        id,
        at_ms,
        tenant,
        key: "ci",
        endpoint: "chat",
        rule: "gpt-4o",
        model: "gpt-4o",
        served_model: "gpt-4o-2024-11-20",
        upstream: "openai",
        outcome: if id == 3 { "upstream_error" } else { "ok" },
        status: 200,
        tokens: Tokens {
            input: 100,
            output: 20,
            ..Tokens::default()
        },
        source: Source::Upstream,
        cost_nanos: 250_000_000,
        charge_nanos: 500_000_000,
        period: Some(1_793_491_200),
        ..Record::default()
    };
    let day = 86_400_000;
    let records = [
        record(1, NOVEMBER, "acme"),
        record(2, NOVEMBER + day, "acme"),
        record(3, NOVEMBER + day, "zeta"),
        record(4, NOVEMBER + 30 * day, "acme"),
    ];
    let next = Position {
        segment: 1,
        offset: 1,
    };
    let mut store = database.open(&config).unwrap();
    assert_eq!(store.load(&records, next).unwrap(), 4);
}

/// A folder with a ledger and the configuration that names it.
fn folder() -> Folder {
    let folder = Folder::new();
    let ledger = folder.0.join("usage");
    std::fs::create_dir(&ledger).unwrap();
    load(&Database::Sqlite(ledger.clone()), &ledger);
    let ledger = format!("ledger: {{ path: {} }}", ledger.display());
    folder.write("tollgate.yaml", with(&ledger));
    folder
}

fn with(more: &str) -> String {
    format!(
        "upstreams: {{ far: {{ base_url: 'http://127.0.0.1:1/v1', keys: ['0123456789ab'] }} }}
models: [{{ match: m, targets: [{{ upstream: far }}] }}]
{more}
"
    )
}

fn tollgate(folder: &Folder, arguments: &[&str]) -> Output {
    let mut command = Command::new(BINARY);
    command
        .args(arguments)
        .arg("-c")
        .arg(folder.0.join("tollgate.yaml"));
    command.output().unwrap()
}

#[track_caller]
fn said(output: &Output) -> String {
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[test]
fn usage_is_a_table_with_the_figures_that_there_are() {
    let folder = folder();
    let output = tollgate(
        &folder,
        &["usage", "--by", "tenant,day", "--until", "2026-12-01"],
    );
    let wanted = "tenant  day         requests  errors  input  output  cost_usd  charge_usd\n\
                  acme    2026-11-05  1         0       100    20      0.25      0.5\n\
                  acme    2026-11-06  1         0       100    20      0.25      0.5\n\
                  zeta    2026-11-06  1         1       100    20      0.25      0.5\n";
    assert_eq!(said(&output), wanted);
}

#[test]
fn usage_and_rows_have_the_tokens_of_answers_from_the_cache() {
    let folder = folder();
    let ledger = folder.0.join("usage");
    let answered = Record {
        id: 5,
        at_ms: NOVEMBER,
        tenant: "acme",
        key: "ci",
        model: "gpt-4o",
        outcome: "ok",
        status: 200,
        tokens: Tokens {
            cached_answer: 120,
            ..Tokens::default()
        },
        source: Source::Cache,
        charge_nanos: 100_000_000,
        ..Record::default()
    };
    let mut store = Database::Sqlite(ledger.clone())
        .open(&config(&ledger))
        .unwrap();
    let next = Position {
        segment: 1,
        offset: 2,
    };
    assert_eq!(store.load(&[answered], next).unwrap(), 1);
    drop(store);
    let table = tollgate(&folder, &["usage", "--until", "2026-12-01"]);
    let wanted = "tenant  requests  errors  input  output  cached_answer  cost_usd  charge_usd\n\
                  acme    3         0       200    40      120            0.5       1.1\n\
                  zeta    1         1       100    20      0              0.25      0.5\n";
    assert_eq!(said(&table), wanted);
    let exported = tollgate(&folder, &["ledger", "export", "--format", "jsonl"]);
    let exported = said(&exported);
    let row = exported
        .lines()
        .find(|line| line.contains("\"cache\""))
        .unwrap();
    let row: serde_json::Value = serde_json::from_str(row).unwrap();
    assert_eq!(row["source"], "cache");
    assert_eq!(
        (&row["cached_answer"], &row["input"]),
        (&120.into(), &0.into())
    );
}

#[test]
fn each_command_takes_the_variables_of_a_unit() {
    let folder = folder();
    let usage = folder.0.join("usage");
    folder.write("tollgate.yaml", with("ledger: { path: '${USAGE_FOLDER}' }"));
    let variables = format!("USAGE_FOLDER={}\n", usage.display());
    let variables = folder.write("unit.env", variables);
    let variables = variables.to_str().unwrap();
    for command in [&["usage"][..], &["ledger", "check"], &["ledger", "export"]] {
        let without = tollgate(&folder, command);
        assert_eq!(without.status.code(), Some(64), "{command:?}");
        let with = tollgate(&folder, &[command, &["--env-file", variables]].concat());
        assert!(!said(&with).is_empty(), "{command:?}");
    }
}

#[test]
fn usage_is_csv_and_json_for_programs() {
    let folder = folder();
    let csv = tollgate(&folder, &["usage", "--format", "csv", "--tenant", "acme"]);
    let csv = said(&csv);
    let mut lines = csv.lines();
    assert!(
        lines
            .next()
            .unwrap()
            .starts_with("tenant,requests,errors,input,")
    );
    assert!(lines.next().unwrap().starts_with("acme,3,0,300,"));
    let json = tollgate(&folder, &["usage", "--by", "", "--format", "json"]);
    let json: serde_json::Value = serde_json::from_str(&said(&json)).unwrap();
    assert_eq!(json["rows"][0]["requests"], 4);
    assert_eq!(json["rows"][0]["charge_usd"], 2);
}

#[test]
fn every_row_is_exported_and_the_files_are_checked() {
    let folder = folder();
    let lines = said(&tollgate(
        &folder,
        &["ledger", "export", "--format", "jsonl"],
    ));
    let lines: Vec<serde_json::Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 4);
    assert_eq!(lines[0]["id"], "req_00000000000000000000000000000001");
    assert_eq!(lines[0]["at"], "2026-11-05T10:00:00.000Z");
    let csv = said(&tollgate(
        &folder,
        &["ledger", "export", "--since", "2026-12-01"],
    ));
    assert_eq!(csv.lines().count(), 2);
    let checked = said(&tollgate(&folder, &["ledger", "check"]));
    assert!(
        checked.contains("ledger-2026-11.db: ok, 3 rows"),
        "{checked}"
    );
    let file = folder.0.join("usage/ledger-2026-12.db");
    let connection = rusqlite::Connection::open(file).unwrap();
    connection.execute_batch("DELETE FROM requests").unwrap();
    let damaged = tollgate(&folder, &["ledger", "check"]);
    assert_eq!(damaged.status.code(), Some(65));
    let told = String::from_utf8_lossy(&damaged.stderr);
    assert!(
        told.contains("there are 0 rows, and the sums by day have 1"),
        "{told}"
    );
}

#[test]
fn a_damaged_month_is_told_as_such_and_the_later_ones_are_checked() {
    let folder = folder();
    let file = folder.0.join("usage/ledger-2026-11.db");
    let ruin = |bytes: &[u8], at: u64| {
        use std::os::unix::fs::FileExt;
        let file = std::fs::File::options().write(true).open(&file).unwrap();
        file.write_all_at(bytes, at).unwrap();
    };
    // The tables are still found, and what is behind them is not.
    let page = 4096;
    let pages = std::fs::metadata(&file).unwrap().len() / page;
    for number in 1..pages {
        ruin(&[0xff; 64], number * page);
    }
    // Then no SQLite opens it any more.
    for step in ["malformed", "not a database"] {
        let checked = tollgate(&folder, &["ledger", "check"]);
        let told = String::from_utf8_lossy(&checked.stderr);
        assert_eq!(checked.status.code(), Some(65), "{told}");
        assert!(
            told.contains("ledger-2026-11.db: ") && told.contains(step),
            "{told}"
        );
        let out = String::from_utf8_lossy(&checked.stdout);
        assert!(out.contains("ledger-2026-12.db: ok, 1 rows"), "{out}");
        ruin(&[0; 100], 0);
    }
}

#[test]
fn a_folder_without_a_ledger_is_an_error() {
    let folder = folder();
    let empty = folder.0.join("empty");
    std::fs::create_dir(&empty).unwrap();
    for place in [empty.clone(), folder.0.join("gone")] {
        let ledger = format!("ledger: {{ path: {} }}", place.display());
        folder.write("tollgate.yaml", with(&ledger));
        for command in [&["usage"][..], &["ledger", "check"], &["ledger", "export"]] {
            let output = tollgate(&folder, command);
            let told = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(1), "{told}");
            let expected = format!("tollgate: no ledger in {}: ", place.display());
            assert!(told.starts_with(&expected), "{told}");
            assert!(output.stdout.is_empty());
        }
    }
    // A ledger that nothing was recorded in is one.
    let ledger = format!("ledger: {{ path: {} }}", empty.display());
    folder.write("tollgate.yaml", with(&ledger));
    load(&Database::Sqlite(empty.clone()), &empty);
    std::fs::remove_file(empty.join("ledger-2026-11.db")).unwrap();
    std::fs::remove_file(empty.join("ledger-2026-12.db")).unwrap();
    assert!(said(&tollgate(&folder, &["usage"])).starts_with("tenant"));
    assert_eq!(said(&tollgate(&folder, &["ledger", "check"])), "");
}

#[test]
fn what_cannot_be_reported_is_told() {
    let folder = folder();
    let refused = |arguments: &[&str]| {
        let output = tollgate(&folder, arguments);
        (
            output.status.code(),
            String::from_utf8(output.stderr).unwrap(),
        )
    };
    let (code, told) = refused(&["usage", "--by", "colour"]);
    assert_eq!(code, Some(64));
    assert!(
        told.contains("there is no column `colour`; there are tenant, key, model, upstream, day")
    );
    let (code, told) = refused(&["usage", "--since", "2026-11-02", "--until", "2026-11-01"]);
    assert_eq!(code, Some(64));
    assert!(told.contains("must come after since"), "{told}");
    folder.write("tollgate.yaml", with(""));
    let (code, told) = refused(&["usage"]);
    assert_eq!(code, Some(64));
    assert!(told.contains("has no ledger"), "{told}");
}
