//! Reports over real files.

use std::path::Path;

use super::*;
use crate::config::{self, Located, OnFailure, Place};
use crate::ledger::journal::Position;
use crate::ledger::record::{Record, Source, Tokens};

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

fn load(folder: &Path, records: &[Record<'_>]) -> Database {
    let config = config(folder);
    let database = Database::of(&config);
    let mut store = database.open(&config).unwrap();
    let next = Position {
        segment: 1,
        offset: 1,
    };
    store.load(records, next).unwrap();
    database
}

fn record<'a>(id: u128, at: &str, tenant: &'a str, model: &'a str) -> Record<'a> {
    Record {
        id,
        at_ms: time("at", at).unwrap(),
        tenant,
        key: "ci",
        model,
        upstream: "openai",
        outcome: if model == "broken" {
            "upstream_error"
        } else {
            "ok"
        },
        tokens: Tokens {
            input: 10,
            output: 1,
            ..Tokens::default()
        },
        cost_nanos: 1_000_000_001,
        charge_nanos: 2_000_000_000,
        ..Record::default()
    }
}

/// A folder with usage of two tenants in two months.
fn some(folder: &Path) -> Database {
    let records = [
        record(1, "2026-10-31T23:59:59.999Z", "acme", "gpt-4o"),
        record(2, "2026-11-01T00:00:00Z", "acme", "gpt-4o"),
        record(3, "2026-11-01T12:00:00Z", "Zeta", "gpt-4o"),
        record(4, "2026-11-02T12:00:00Z", "acme", "broken"),
        record(5, "2026-11-02T18:00:00Z", "acme", "gpt-4o"),
        record(6, "2026-11-03T00:00:00Z", "acme", "gpt-4o"),
    ];
    load(folder, &records)
}

/// The groups with their requests and errors.
fn asked(database: &Database, by: &str, since: &str, until: &str, tenant: &str) -> Vec<String> {
    let given = |text| Some(text).filter(|text: &&str| !text.is_empty());
    let query = Query::parse(Some(by), given(since), given(until), given(tenant)).unwrap();
    let rows = report(database, query).unwrap().rows.into_iter();
    let shown = rows.map(|row| {
        let [requests, errors, input, ..] = row.sums;
        assert_eq!(input, 10 * requests);
        format!("{} {requests} {errors}", row.group.join("/"))
    });
    shown.collect()
}

#[test]
fn usage_is_added_up_over_months_by_what_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let database = some(folder.path());
    assert_eq!(
        asked(&database, "tenant", "", "", ""),
        ["Zeta 1 0", "acme 5 1"]
    );
    assert_eq!(asked(&database, "", "", "", ""), [" 6 1"]);
    assert_eq!(
        asked(&database, "day,tenant,model", "2026-11-01", "", "acme"),
        [
            "2026-11-01/acme/gpt-4o 1 0",
            "2026-11-02/acme/broken 1 1",
            "2026-11-02/acme/gpt-4o 1 0",
            "2026-11-03/acme/gpt-4o 1 0"
        ]
    );
    assert_eq!(
        asked(&database, "upstream,key", "", "2026-11-01", ""),
        ["openai/ci 1 0"]
    );
    assert_eq!(asked(&database, "tenant", "", "", "nobody"), [""; 0]);
    assert_eq!(asked(&database, "tenant", "2027-01-01", "", ""), [""; 0]);
}

#[test]
fn a_time_that_begins_and_ends_within_days_counts_just_its_requests() {
    let folder = tempfile::tempdir().unwrap();
    let database = some(folder.path());
    let within = |since: &str, until: &str| asked(&database, "day", since, until, "");
    assert_eq!(
        within("2026-10-31T23:00:00Z", "2026-11-02T12:00:00.001Z"),
        ["2026-10-31 1 0", "2026-11-01 2 0", "2026-11-02 1 1"]
    );
    assert_eq!(
        within("2026-11-02T12:00:00Z", "2026-11-02T18:00:00Z"),
        ["2026-11-02 1 1"]
    );
    assert_eq!(
        within("2026-11-01T00:00:00.001Z", "2026-11-02"),
        ["2026-11-01 1 0"]
    );
    assert_eq!(
        within("2026-11-02T13:00:00Z", ""),
        ["2026-11-02 1 0", "2026-11-03 1 0"]
    );
}

#[test]
fn every_division_of_a_time_adds_up_to_the_whole() {
    let folder = tempfile::tempdir().unwrap();
    let database = some(folder.path());
    let start = time("at", "2026-10-31").unwrap();
    for hour in 0..=96 {
        let middle = start + hour * 3_600_000 + hour % 3;
        let count = |since_ms, until_ms| {
            let query = Query {
                by: Vec::new(),
                since_ms,
                until_ms,
                tenant: None,
            };
            let rows = report(&database, query).unwrap().rows;
            rows.iter().map(|row| row.sums[0]).sum::<i64>()
        };
        assert_eq!(
            count(i64::MIN, middle) + count(middle, i64::MAX),
            6,
            "{hour}"
        );
        assert_eq!(
            count(start, middle) + count(middle, start + 4 * DAY_MS),
            6,
            "{hour}"
        );
    }
}

#[test]
fn the_newest_request_says_how_far_a_report_goes() {
    let folder = tempfile::tempdir().unwrap();
    let database = some(folder.path());
    let newest = time("at", "2026-11-03").unwrap();
    assert_eq!(newest_ms(&database, newest).unwrap(), Some(newest));
    let none = Database::Sqlite(folder.path().join("missing"));
    assert_eq!(newest_ms(&none, newest).unwrap(), None);
    assert_eq!(asked(&none, "tenant", "", "", ""), [""; 0]);
}

#[test]
fn a_report_is_csv_or_json_with_exact_money() {
    let folder = tempfile::tempdir().unwrap();
    let database = some(folder.path());
    let query = Query::parse(Some("tenant"), Some("2026-11-01"), None, Some("Zeta")).unwrap();
    let report = report(&database, query).unwrap();
    let mut csv = Vec::new();
    report.write_csv(&mut csv).unwrap();
    let wanted = "tenant,requests,errors,input,cache_read,cache_write,output,reasoning,audio,image,audio_ms,\
                  searches,cached_answer,cost_usd,charge_usd\nZeta,1,0,10,0,0,1,0,0,0,0,0,0,1.000000001,2\n";
    assert_eq!(String::from_utf8(csv).unwrap(), wanted);
    let mut json = Vec::new();
    report.write_json(&mut json).unwrap();
    assert!(String::from_utf8_lossy(&json).contains("\"cost_usd\":1.000000001,"));
    let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
    assert_eq!(json["since"], "2026-11-01T00:00:00Z");
    assert_eq!(json["until"], serde_json::Value::Null);
    assert_eq!(json["rows"][0]["tenant"], "Zeta");
    assert_eq!(json["rows"][0]["input"], 10);
}

/// Loads a request that an upstream answered, and two that the cache answered, in two days.
fn answered(folder: &Path) -> Database {
    let from_cache = |id, at| Record {
        tokens: Tokens {
            cached_answer: 11,
            ..Tokens::default()
        },
        source: Source::Cache,
        upstream: "",
        cost_nanos: 0,
        charge_nanos: 0,
        ..record(id, at, "acme", "gpt-4o")
    };
    let records = [
        record(1, "2026-11-01T10:00:00Z", "acme", "gpt-4o"),
        from_cache(2, "2026-11-01T11:00:00Z"),
        from_cache(3, "2026-11-02T11:00:00Z"),
    ];
    load(folder, &records)
}

#[test]
fn an_answer_from_the_cache_is_a_request_with_tokens_of_its_own_kind() {
    let folder = tempfile::tempdir().unwrap();
    let database = answered(folder.path());
    // From the sums by day, and from the rows for the part of a day.
    for (until, wanted) in [
        ("2026-11-03", "acme,3,0,10,0,0,1,0,0,0,0,0,22,1.000000001,2"),
        (
            "2026-11-02T11:00:00Z",
            "acme,2,0,10,0,0,1,0,0,0,0,0,11,1.000000001,2",
        ),
    ] {
        let since = Some("2026-11-01T09:00:00Z");
        let query = Query::parse(None, since, Some(until), None).unwrap();
        let report = report(&database, query).unwrap();
        let mut csv = Vec::new();
        report.write_csv(&mut csv).unwrap();
        let csv = String::from_utf8(csv).unwrap();
        assert_eq!(csv.lines().nth(1), Some(wanted), "{until}");
    }
    let query = Query::parse(Some("upstream"), None, None, None).unwrap();
    let mut json = Vec::new();
    let report = report(&database, query).unwrap();
    report.write_json(&mut json).unwrap();
    let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
    let row = |at: usize| {
        let row = &json["rows"][at];
        [&row["upstream"], &row["requests"], &row["cached_answer"]].map(ToString::to_string)
    };
    assert_eq!(row(0), ["\"\"", "2", "22"]);
    assert_eq!(row(1), ["\"openai\"", "1", "0"]);
}

#[test]
fn an_answer_from_the_cache_is_exported_as_such() {
    use crate::ledger::store::export::{self, Lines};
    let folder = tempfile::tempdir().unwrap();
    let database = answered(folder.path());
    let (mut csv, mut json) = (Vec::new(), Vec::new());
    export::write_head(Lines::Csv, &mut csv).unwrap();
    let each = &mut |part: &mut dyn Part| {
        export::part(part, Lines::Csv, i64::MIN, i64::MAX, &mut csv)?;
        export::part(part, Lines::Json, i64::MIN, i64::MAX, &mut json).map(drop)
    };
    database.each_part(i64::MIN, i64::MAX, each).unwrap();
    let json = String::from_utf8(json).unwrap();
    let lines: Vec<serde_json::Value> = json
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let told = |at: usize| {
        let line = &lines[at];
        [&line["source"], &line["cached_answer"], &line["input"]].map(ToString::to_string)
    };
    assert_eq!(told(0), ["\"none\"", "0", "10"]);
    assert_eq!(told(1), ["\"cache\"", "11", "0"]);
    let csv = String::from_utf8(csv).unwrap();
    let rows: Vec<Vec<&str>> = csv.lines().map(|line| line.split(',').collect()).collect();
    let cell = |row: usize, name: &str| {
        let place = rows[0].iter().position(|column| *column == name);
        rows[row][place.unwrap()]
    };
    assert_eq!(
        (cell(2, "source"), cell(2, "cached_answer")),
        ("cache", "11")
    );
    assert_eq!((cell(2, "searches"), cell(2, "cost_usd")), ("0", "0"));
}

#[test]
fn a_record_is_exported_with_its_names() {
    use crate::ledger::store::export::{self, Lines};
    let folder = tempfile::tempdir().unwrap();
    let database = some(folder.path());
    let (mut csv, mut json) = (Vec::new(), Vec::new());
    export::write_head(Lines::Csv, &mut csv).unwrap();
    let (since_ms, until_ms) = (
        time("at", "2026-11-01").unwrap(),
        time("at", "2026-11-02").unwrap(),
    );
    let each = &mut |part: &mut dyn Part| {
        assert_eq!(
            export::part(part, Lines::Csv, since_ms, until_ms, &mut csv)?,
            2
        );
        assert_eq!(
            export::part(part, Lines::Json, since_ms, until_ms, &mut json)?,
            2
        );
        Ok(())
    };
    database.each_part(since_ms, until_ms, each).unwrap();
    let csv = String::from_utf8(csv).unwrap();
    let mut lines = csv.lines();
    assert!(
        lines
            .next()
            .unwrap()
            .starts_with("at,id,tenant,key,endpoint,")
    );
    let first = "2026-11-01T00:00:00.000Z,req_00000000000000000000000000000002,acme,ci,";
    assert!(lines.next().unwrap().starts_with(first));
    let json = String::from_utf8(json).unwrap();
    let second: serde_json::Value = serde_json::from_str(json.lines().nth(1).unwrap()).unwrap();
    assert_eq!(second["tenant"], "Zeta");
    assert_eq!(second["source"], "none");
    assert_eq!(second["streamed"], false);
    assert_eq!(second["period"], serde_json::Value::Null);
}
