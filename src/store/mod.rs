//! Databases: the connections that several engines have.
//!
//! `postgres` connects to PostgreSQL, `sqlite` opens files of SQLite, and both make and upgrade the tables of the
//! engine that uses them. Does not handle what is in those tables (see `ledger::store` and `managed::store`).
//! Everything here blocks: it is called on threads for that. Fails with a [`StoreError`].

mod error;
pub mod postgres;
pub mod sqlite;

pub use error::StoreError;
