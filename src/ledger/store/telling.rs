//! What follows a record into the database: what is told of it.
//!
//! Owns what a store asks of it. A store in SQLite has it told before the records are loaded, so that none is left out.
//! A store in PostgreSQL has it written by the transaction that loads them, for new records alone. Does not handle what
//! is told, and to which receivers (see `webhooks`). What cannot be told keeps its records from being loaded.

use std::pin::Pin;

use tokio_postgres::Transaction;

use super::StoreError;
use crate::ledger::record::Record;
use crate::store::postgres::Session;

/// What is being written.
pub type Written<'t> = Pin<Box<dyn Future<Output = Result<(), StoreError>> + 't>>;

/// What is told of some records.
pub trait Telling {
    /// Tells of records that are loaded next. To be called again with the same records where these were not loaded:
    /// what waits to be told already is not told again.
    ///
    /// # Errors
    /// They should not count as loaded.
    fn tell(&self, records: &[Record<'_>]) -> Result<(), StoreError>;

    /// Makes the tables that [`tell_within`](Self::tell_within) needs.
    ///
    /// # Errors
    /// They cannot be made.
    fn prepare(&self, session: &mut Session) -> Result<(), StoreError>;

    /// Tells of records that are new, as a part of the transaction that loads them.
    fn tell_within<'t>(
        &'t self,
        transaction: &'t Transaction<'t>,
        new: &'t [&'t Record<'t>],
    ) -> Written<'t>;

    /// Says that the records are loaded.
    fn told(&self);
}

/// What makes something to be told of the next records.
pub trait Teller: Send + Sync {
    /// As it is now; `None` while nothing is told.
    fn telling(&self) -> Option<Box<dyn Telling>>;
}
