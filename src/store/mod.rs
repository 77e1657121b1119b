//! Databases: the connections that several engines have.
//!
//! `postgres` connects to PostgreSQL, `sqlite` opens files of SQLite, and both make and upgrade the tables of the
//! engine that uses them: what blocks there is called on threads for that. `redis` connects to Redis and Valkey. Does
//! not handle what is kept (see `cache`, `ledger`, `limits` and `managed`). Fails with the error of each.

mod error;
pub mod postgres;
pub mod redis;
pub mod sqlite;

pub use error::StoreError;
