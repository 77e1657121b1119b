//! An outbox that several processes write to, one of which sends.
//!
//! Owns what a process forgets when another one has written: what it knows of the file in memory. Only the process that
//! sends keeps a message open from one transaction to the next, because only that one knows that it has not been sent.
//! Does not handle which process that is (see `duty`). Fails with SQLite's error.

use super::{Sqlite, Waiting, tables};
use crate::store::StoreError;

impl Sqlite {
    /// Says whether this process sends.
    ///
    /// # Errors
    /// The file cannot be read. It is in force all the same.
    pub fn set_sending(&mut self, is_sending: bool) -> Result<(), StoreError> {
        self.is_sending = is_sending;
        self.close_all();
        self.attempt(Sqlite::count)
    }

    /// Learns what other processes have written.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn look(&mut self) -> Result<(), StoreError> {
        self.attempt(Sqlite::learn)
    }

    /// Learns what other processes have written, at the start of a transaction.
    pub(super) fn learn(&mut self) -> rusqlite::Result<()> {
        if !self.is_sending {
            self.close_all();
        }
        let version = tables::version(&self.connection)?;
        if self.version == Some(version) {
            return Ok(());
        }
        let open: Vec<_> = self.waiting.iter().filter_map(Waiting::open_of).collect();
        self.count()?;
        for (receiver, open) in open {
            // At a bound, another process may have dropped it.
            if tables::has_message(&self.connection, open.message)?
                && let Some(waiting) = self.waiting.get_mut(&receiver)
            {
                waiting.open = Some(open);
            }
        }
        let known = tables::receivers(&self.connection)?;
        self.names.retain(|number, _| known.contains(number));
        self.version = Some(version);
        Ok(())
    }

    fn close_all(&mut self) {
        for waiting in self.waiting.values_mut() {
            waiting.open = None;
        }
    }
}
