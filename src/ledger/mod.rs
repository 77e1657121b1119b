//! The ledger: a record of what each request has used, kept through crashes.
//!
//! Owns the record and its way: into the journal before an answer ends, from there into a database, and out
//! again as a report. Does not handle what a request has used (see `openai::usage`), what it costs (see
//! `prices`) or what a tenant may use (see `limits`).

pub mod journal;
pub mod load;
mod record;
pub mod store;

pub use record::{Marks, Record, Source, Tokens};
