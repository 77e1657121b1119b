//! Queries of the ledger's database in the pages run, and find something.

use tollgate::ledger::store::Database;

use super::{assert_none, fences};
use crate::ledger_reports;
use crate::support::gateway::Folder;

#[test]
fn each_query_of_the_ledger_finds_something() {
    let folder = Folder::new();
    ledger_reports::load(&Database::Sqlite(folder.0.clone()), &folder.0);
    let file = folder.0.join("ledger-2026-11.db");
    let connection = rusqlite::Connection::open(file).unwrap();
    let queries = fences("sql");
    assert!(!queries.is_empty());
    let mut mistakes = Vec::new();
    for fence in queries {
        let found = connection.query_row(&fence.text, [], |_| Ok(()));
        mistakes.extend(found.err().map(|e| format!("{}: {e}", fence.place)));
    }
    assert_none(&mistakes);
}
