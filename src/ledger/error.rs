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
    /// There is no journal in a folder.
    NoJournal(String),
    /// A folder does not say which node has recorded in it.
    Nameless(String),
    /// Not all of a journal could be loaded.
    NotLoaded(String),
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
            Self::Folder(path, error) => write!(f, "ledger: {path} cannot be used: {error}"),
            Self::Journal(error) => write!(f, "ledger: {error}"),
            Self::AllInUse { path, processes } => write!(
                f,
                "ledger: {processes} processes record in {path}, and no more can: wait until those that were \
                 replaced have ended, or end them"
            ),
            Self::Store(error) => write!(f, "ledger: {error}"),
            Self::NoJournal(path) => write!(
                f,
                "ledger: there is no journal in {path}: name the folder that was `ledger.path` of the gateway"
            ),
            Self::Nameless(path) => write!(
                f,
                "ledger: it is not known which gateway has recorded in {path}: add --node with its `server.node`"
            ),
            Self::NotLoaded(why) => write!(
                f,
                "ledger: not all is loaded, and nothing is lost; try again: {why}"
            ),
            Self::Thread(error) => write!(f, "ledger: its thread cannot be started: {error}"),
        }
    }
}

impl std::error::Error for LedgerError {}
