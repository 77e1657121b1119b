//! Connections to databases, for the engines that keep something there.
//!
//! Owns how they are made. Does not handle what is kept in them (see `cache`, `ledger` and `limits`). Fails with the
//! errors of each.

pub mod redis;
