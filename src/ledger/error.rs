//! Why a ledger cannot start.
//!
//! Owns the error and its text for the operator. Does not handle what follows (see `server`). Cannot fail.

use std::fmt;
use std::io;

use super::journal::JournalError;
use super::store::StoreError;

/// Why a ledger cannot start.
#[derive(Debug)]
pub enum LedgerError {
    /// Its folder cannot be made.
    Folder(String, io::Error),
    /// Its journal cannot be opened.
    Journal(JournalError),
    /// As many processes record in its folder as can.
    AllInUse {
        /// The folder.
        path: String,
        /// How many they are.
        processes: usize,
    },
    /// Its database cannot be opened.
    Store(StoreError),
    /// Its thread cannot be started.
    Thread(io::Error),
}

impl From<JournalError> for LedgerError {
    fn from(error: JournalError) -> Self {
        Self::Journal(error)
    }
}

impl fmt::Display for LedgerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(path, error) => write!(f, "ledger: {path} cannot be made: {error}"),
            Self::Journal(error) => write!(f, "ledger: {error}"),
            Self::AllInUse { path, processes } => write!(
                f,
                "ledger: {processes} processes record in {path}, and no more can: wait until those that were \
                 replaced have ended, or end them"
            ),
            Self::Store(error) => write!(f, "ledger: {error}"),
            Self::Thread(error) => write!(f, "ledger: its thread cannot be started: {error}"),
        }
    }
}

impl std::error::Error for LedgerError {}
