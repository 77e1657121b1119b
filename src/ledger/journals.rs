//! The journals in a ledger's folder: one for each process that records in it.
//!
//! Owns their names, and which of them a process takes at its start: `journal`, or `journal-2` to `journal-8` while
//! processes that it replaces have the others. `docs/decisions/journal.md` says why each process has its own. Does not
//! handle what becomes of those of processes that have ended (see `others`). Fails where other processes are in the
//! way, or where a journal cannot be read.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::LedgerError;
use super::journal::{Journal, JournalError, Options, Position, Recovered};

/// The numbers of the journals. As many processes can record in one folder at a time.
pub const NUMBERS: RangeInclusive<usize> = 1..=8;

/// How a process comes to a ledger.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// No other process may record in the folder: two gateways with one ledger are a mistake, because the limits of one
    /// do not know of the other's requests.
    #[default]
    Alone,
    /// It takes over from processes that record in the folder until their last requests have ended.
    Successor,
}

/// What a process has taken.
pub struct Taken {
    /// Its own journal.
    pub own: Numbered,
    /// Those of processes that have ended. What they have is to be loaded.
    pub abandoned: Vec<Numbered>,
}

/// A journal and its number.
pub struct Numbered {
    /// One of [`NUMBERS`].
    pub number: usize,
    /// The journal.
    pub journal: Arc<Journal>,
}

/// The folder of a journal.
pub fn folder(ledger: &Path, number: usize) -> PathBuf {
    match number {
        1 => ledger.join("journal"),
        _ => ledger.join(format!("journal-{number}")),
    }
}

/// What a journal is called in the database. No node has such a name by itself: `#` is in none.
pub fn node(name: &str, number: usize) -> String {
    match number {
        1 => name.to_owned(),
        _ => format!("{name}#{number}"),
    }
}

/// Takes a journal, and those that no process has. `loaded` says up to where the database has each of them.
///
/// # Errors
/// [`JournalError::InUse`], or [`LedgerError::AllInUse`] for a successor; else a journal cannot be read. No journal is
/// held then.
pub fn take(
    ledger: &Path,
    start: Start,
    loaded: impl Fn(usize) -> Position,
) -> Result<Taken, LedgerError> {
    let mut own = None;
    let mut abandoned = Vec::new();
    for number in NUMBERS {
        let is_needed = own.is_none() || folder(ledger, number).exists();
        if !is_needed {
            continue;
        }
        match open(ledger, number, loaded(number)) {
            Ok(opened) if own.is_none() => own = Some(opened),
            Ok(opened) => abandoned.push(opened),
            Err(JournalError::InUse(_)) if start == Start::Successor => {}
            Err(error) => return Err(error.into()),
        }
    }
    let own = own.ok_or_else(|| LedgerError::AllInUse {
        path: ledger.display().to_string(),
        processes: NUMBERS.count(),
    })?;
    Ok(Taken { own, abandoned })
}

/// Opens one, and tells the operator what a crash or the disk has damaged.
///
/// # Errors
/// See [`Journal::open`].
pub fn open(ledger: &Path, number: usize, loaded: Position) -> Result<Numbered, JournalError> {
    let path = folder(ledger, number);
    let (journal, recovered) = Journal::open(&path, Options::default(), loaded)?;
    tell(&path, &recovered);
    let journal = Arc::new(journal);
    Ok(Numbered { number, journal })
}

fn tell(journal: &Path, recovered: &Recovered) {
    let journal = journal.display();
    for warning in &recovered.warnings {
        log::warn!("journal {journal}: {warning}");
    }
    if recovered.more_warnings > 0 {
        log::warn!(
            "journal {journal}: {} more such warnings",
            recovered.more_warnings
        );
    }
}
