//! What is known of months whose files have been moved or removed: `ledger-carried.db`.
//!
//! Owns what was used in their periods, and the positions that they had. What a file has used is carried under
//! the file's id before the file goes. While the file is there its own tables count, so a crash between the
//! two counts nothing twice, and neither does a file that is put back. Only periods that may still go on are
//! carried: that bounds the rows to the tenants and keys that have such a quota, times the months. Does not handle
//! which months go (see `old_months`). Fails with the file's name.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, TransactionBehavior, params};

use super::super::StoreError;
use super::file::{position, set_position};
use super::used::{UsedInPeriods, add_used};
use crate::ledger::journal::Position;
use crate::store::sqlite;

/// The changes that lead from each version of the tables to the next.
const MIGRATIONS: [&str; 1] = [include_str!("../schema/carried_1.sql")];

/// The file in a folder. It is made when the folder is opened to be written for the first time.
pub fn path(folder: &Path) -> PathBuf {
    folder.join("ledger-carried.db")
}

/// The file, opened to be written.
pub struct Carried {
    path: PathBuf,
    connection: Connection,
}

impl Carried {
    /// Opens or makes the file.
    ///
    /// # Errors
    /// It cannot be written, or a newer release wrote it.
    pub fn open(folder: &Path) -> Result<Self, StoreError> {
        let path = path(folder);
        let connection = sqlite::open(&path, &MIGRATIONS)?;
        Ok(Self { path, connection })
    }

    /// A node's position.
    ///
    /// # Errors
    /// SQLite fails.
    pub fn position(&self, node: &str) -> Result<Option<Position>, StoreError> {
        position(&self.connection, node).map_err(StoreError::sqlite(&self.path))
    }

    /// Moves a node's position.
    ///
    /// # Errors
    /// SQLite fails.
    pub fn set_position(&self, node: &str, to: Position) -> Result<(), StoreError> {
        set_position(&self.connection, node, to).map_err(StoreError::sqlite(&self.path))
    }

    /// Takes over what a file has, in one transaction.
    ///
    /// # Errors
    /// SQLite fails. Nothing was taken over.
    pub fn carry(
        &mut self,
        file: &[u8],
        used: &UsedInPeriods,
        positions: &[(String, Position)],
    ) -> Result<(), StoreError> {
        let mut carry = || {
            let behavior = TransactionBehavior::Immediate;
            let transaction = self.connection.transaction_with_behavior(behavior)?;
            for ((period_start, tenant, key, node), used) in used {
                transaction.execute(
                    "INSERT OR REPLACE INTO periods VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                    params![
                        file,
                        period_start,
                        tenant,
                        key,
                        node,
                        used.tokens,
                        used.charge_nanos
                    ],
                )?;
            }
            for (node, to) in positions {
                if position(&transaction, node)? < Some(*to) {
                    set_position(&transaction, node, *to)?;
                }
            }
            transaction.commit()
        };
        carry().map_err(StoreError::sqlite(&self.path))
    }

    /// Adds up what was used in the periods for which a condition of SQL on `period_start` is true, without what
    /// the files that are there have themselves.
    ///
    /// # Errors
    /// SQLite fails.
    pub fn balances(
        &self,
        periods: &str,
        there: &[Vec<u8>],
        used: &mut UsedInPeriods,
    ) -> Result<(), StoreError> {
        let there = there.iter().map(|id| format!("x'{}'", hex::encode(id)));
        let there: Vec<String> = there.collect();
        let sql = format!(
            "SELECT period_start, tenant, key, node, tokens, charge_nanos FROM periods \
             WHERE {periods} AND file NOT IN ({})",
            there.join(", ")
        );
        let added = add_used(&self.connection, &sql, used);
        added.map_err(StoreError::sqlite(&self.path))
    }
}
