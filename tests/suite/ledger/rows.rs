//! The ledger's rows, as SQLite gives them.

use std::collections::HashSet;
use std::path::PathBuf;
use std::time::Instant;

use rusqlite::{Connection, OpenFlags};

use crate::support::PATIENCE;
use crate::support::gateway::Folder;

/// One request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Row {
    /// As in `x-request-id`.
    pub id: String,
    pub tenant: String,
    pub endpoint: String,
    pub rule: String,
    pub model: String,
    pub served_model: String,
    pub upstream: String,
    pub status: u16,
    pub outcome: String,
    pub attempts: u16,
    pub streamed: bool,
    pub client_gone: bool,
    /// 0 for none, 1 for the upstream, 2 for an estimate, 3 for the cache.
    pub source: u8,
    pub input: i64,
    pub cache_read: i64,
    pub output: i64,
    pub cached_answer: i64,
    pub cost_nanos: i64,
    pub period: Option<i64>,
}

const SELECT: &str = "SELECT requests.id, tenants.name, endpoints.name, rules.name, models.name, served.name, \
     upstreams.name, status, outcomes.name, attempts, streamed, client_gone, source, input, cache_read, output, \
     cached_answer, cost_nanos, period FROM requests \
     JOIN names tenants ON tenants.id = tenant JOIN names endpoints ON endpoints.id = endpoint \
     JOIN names rules ON rules.id = rule JOIN names models ON models.id = model \
     JOIN names served ON served.id = served_model JOIN names upstreams ON upstreams.id = upstream \
     JOIN names outcomes ON outcomes.id = outcome ORDER BY at_ms, requests.id";

/// The months of a ledger.
pub fn files(folder: &Folder) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(&folder.0).unwrap();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| {
        let name = path.file_name().unwrap().to_str().unwrap();
        name.starts_with("ledger-2") && name.ends_with(".db")
    });
    files.sort();
    files
}

/// All rows that are there now. No two of them have the same id.
#[track_caller]
pub fn rows(folder: &Folder) -> Vec<Row> {
    let mut rows = Vec::new();
    for file in files(folder) {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
        let connection = Connection::open_with_flags(&file, flags).unwrap();
        connection.busy_timeout(PATIENCE).unwrap();
        // A file that is being made has no tables yet.
        let tables = "SELECT count(*) FROM sqlite_schema WHERE name = 'requests'";
        let tables: u32 = connection.query_row(tables, [], |row| row.get(0)).unwrap();
        if tables == 0 {
            continue;
        }
        let mut select = connection.prepare(SELECT).unwrap();
        let found = select.query_map([], row_of).unwrap();
        rows.extend(found.map(Result::unwrap));
    }
    let ids: HashSet<&str> = rows.iter().map(|row| row.id.as_str()).collect();
    assert_eq!(ids.len(), rows.len(), "a request is there twice: {rows:?}");
    rows
}

fn row_of(row: &rusqlite::Row<'_>) -> rusqlite::Result<Row> {
    Ok(Row {
        id: format!("req_{:032x}", u128::from_be_bytes(row.get(0)?)),
        tenant: row.get(1)?,
        endpoint: row.get(2)?,
        rule: row.get(3)?,
        model: row.get(4)?,
        served_model: row.get(5)?,
        upstream: row.get(6)?,
        status: row.get(7)?,
        outcome: row.get(8)?,
        attempts: row.get(9)?,
        streamed: row.get(10)?,
        client_gone: row.get(11)?,
        source: row.get(12)?,
        input: row.get(13)?,
        cache_read: row.get(14)?,
        output: row.get(15)?,
        cached_answer: row.get(16)?,
        cost_nanos: row.get(17)?,
        period: row.get(18)?,
    })
}

/// How many rows there are.
pub fn count(folder: &Folder) -> u64 {
    let count = |file: &PathBuf| -> u64 {
        let connection = Connection::open(file).unwrap();
        let sql = "SELECT count(*) FROM requests";
        let count: u32 = connection.query_row(sql, [], |row| row.get(0)).unwrap();
        count.into()
    };
    files(folder).iter().map(count).sum()
}

/// The rows, once there are so many of them.
pub async fn rows_become(folder: &Folder, count: usize) -> Vec<Row> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let found = rows(folder);
        if found.len() == count {
            return found;
        }
        assert!(
            found.len() < count && Instant::now() < deadline,
            "{count} rows were expected: {found:?}"
        );
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

/// Asserts that SQLite finds nothing wrong with a ledger, and that its sums are those of its rows.
#[track_caller]
pub fn assert_sound(folder: &Folder) {
    for file in files(folder) {
        let connection = Connection::open(&file).unwrap();
        let check = "PRAGMA integrity_check";
        let verdict: String = connection.query_row(check, [], |row| row.get(0)).unwrap();
        assert_eq!(verdict, "ok", "{}", file.display());
        for (sums, of) in [
            (
                "SELECT sum(requests), sum(input), sum(output), sum(charge_nanos) FROM daily",
                "SELECT count(*), sum(input), sum(output), sum(charge_nanos) FROM requests",
            ),
            (
                "SELECT count(DISTINCT tenant || '/' || period_start), sum(tokens), sum(charge_nanos), 0 \
                 FROM periods WHERE key = 0",
                "SELECT count(DISTINCT tenant || '/' || period), \
                 sum(input + cache_read + cache_write + output), sum(charge_nanos), 0 \
                 FROM requests WHERE period IS NOT NULL",
            ),
            (
                "SELECT count(DISTINCT tenant || '/' || key || '/' || period_start), sum(tokens), \
                 sum(charge_nanos), 0 FROM periods WHERE key <> 0",
                "SELECT count(DISTINCT tenant || '/' || key || '/' || key_period), \
                 sum(input + cache_read + cache_write + output), sum(charge_nanos), 0 \
                 FROM requests WHERE key_period IS NOT NULL",
            ),
        ] {
            let read = |sql| {
                let numbers = |row: &rusqlite::Row<'_>| {
                    (0..4).map(|at| row.get::<_, Option<i64>>(at)).collect()
                };
                let numbers: rusqlite::Result<Vec<Option<i64>>> =
                    connection.query_row(sql, [], numbers);
                numbers.unwrap()
            };
            assert_eq!(read(sums), read(of), "{}: {sums}", file.display());
        }
    }
}
