//! SQLite: a file for each month, `ledger-2026-11.db`.
//!
//! Owns how records are divided among the files. A month's rows, their sums and the position are in one file,
//! because a commit over several files is not atomic in WAL mode. Records of several months are committed
//! file by file, and only the last commit moves the position: if it does not come to that, all are loaded
//! again, and those that are there already change nothing. The position of a node is the furthest one of all
//! files. Several processes may load into the files of a folder, in turns (see `turns`). Does not handle one file (see
//! `file`), months that are gone (see `carried`, `old_months`), or queries (see `part`). Fails with the file's name.

mod carried;
mod file;
mod old_months;
mod part;
#[cfg(test)]
mod tests;
mod turns;
mod used;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::{Balance, Checked, Month, Months, Part, Store, StoreError, Telling, Usage, compressed};
use crate::config::{self, Archive};
use crate::ledger::journal::Position;
use crate::ledger::record::Record;
use carried::Carried;
use file::MonthFile;
use turns::Turns;
use used::UsedInPeriods;

/// As many months are kept open: this one and the one before, at the border.
const MAX_OPEN: usize = 2;

/// The files of a folder, opened to be written.
pub struct Sqlite {
    folder: PathBuf,
    node: String,
    archive: Option<Archive>,
    retention: Option<std::time::Duration>,
    open: BTreeMap<Month, MonthFile>,
    /// Files with commits that a power cut would lose: `synchronous = NORMAL` does not wait for the disk.
    unsynced: BTreeSet<PathBuf>,
    carried: Carried,
    turns: Turns,
}

impl Sqlite {
    /// Opens the folder; the files are opened when they are written to.
    ///
    /// # Errors
    /// The folder cannot be read, or one of its files was written by a newer release.
    pub fn open(folder: &Path, config: &config::Ledger) -> Result<Self, StoreError> {
        let carried = Carried::open(folder)?;
        for month in months(folder)? {
            part::open(&path(folder, month))?;
        }
        Ok(Self {
            folder: folder.to_owned(),
            node: config.node.clone(),
            archive: config.archive.clone(),
            retention: config.retention,
            open: BTreeMap::new(),
            unsynced: BTreeSet::new(),
            carried,
            turns: Turns::open(folder)?,
        })
    }

    /// The file of a month that is written to.
    fn file(&mut self, month: Month) -> Result<&mut MonthFile, StoreError> {
        self.unsynced.insert(path(&self.folder, month));
        // Another process may have moved the month: what was written to its file would be lost.
        self.open.retain(|_, file| file.is_there());
        if !self.open.contains_key(&month) {
            if self.open.len() >= MAX_OPEN {
                self.open.pop_first();
            }
            let file = MonthFile::open(&path(&self.folder, month))?;
            self.open.insert(month, file);
        }
        self.open
            .get_mut(&month)
            .ok_or_else(|| StoreError::Damaged(format!("{month} is not open")))
    }

    /// What was used in the periods for which a condition of SQL is true.
    fn balances_where(&self, periods: &str) -> Result<Vec<Balance>, StoreError> {
        let mut used = UsedInPeriods::default();
        let mut files = Vec::new();
        for month in months(&self.folder)? {
            let Some(part) = part::open(&path(&self.folder, month))? else {
                continue;
            };
            files.push(part.file_id()?);
            part.balances(periods, &mut used)?;
        }
        self.carried.balances(periods, &files, &mut used)?;
        let balances = used
            .into_iter()
            .map(|((period_start, tenant, key, node), used)| Balance {
                tenant,
                key,
                node,
                period_start,
                tokens: u64::try_from(used.tokens).unwrap_or(0),
                charge_nanos: u64::try_from(used.charge_nanos).unwrap_or(0),
            });
        Ok(balances.collect())
    }
}

impl Store for Sqlite {
    fn position(&mut self) -> Result<Option<Position>, StoreError> {
        let node = self.node.clone();
        self.position_of(&node)
    }

    fn position_of(&mut self, node: &str) -> Result<Option<Position>, StoreError> {
        let mut position = self.carried.position(node)?;
        for month in months(&self.folder)? {
            let mut part = part::open(&path(&self.folder, month))?;
            let here = part.as_mut().map(|part| part.position(node)).transpose()?;
            position = position.max(here.flatten());
        }
        Ok(position)
    }

    fn load_and_tell(
        &mut self,
        records: &[Record<'_>],
        next: Position,
        telling: Option<&dyn Telling>,
    ) -> Result<usize, StoreError> {
        if let Some(telling) = telling {
            telling.tell(records)?;
        }
        let _turn = self.turns.take()?;
        let mut months: BTreeMap<Month, Vec<&Record<'_>>> = BTreeMap::new();
        let mut month_of = Months::default();
        for record in records {
            let month = months.entry(month_of.of(record.at_ms)).or_default();
            month.push(record);
        }
        let Some((last, of_last)) = months.pop_last() else {
            return self.carried.set_position(&self.node, next).map(|()| 0);
        };
        let mut loaded = 0;
        let node = self.node.clone();
        for (month, records) in months {
            loaded += self.file(month)?.load(&records, &node, None)?;
        }
        Ok(loaded + self.file(last)?.load(&of_last, &node, Some(next))?)
    }

    fn sync(&mut self) -> Result<(), StoreError> {
        while let Some(file) = self.unsynced.first() {
            for ending in ["", "-wal"] {
                sync(&with_ending(file, ending))?;
            }
            self.unsynced.pop_first();
        }
        compressed::sync_folder(&self.folder)
    }

    fn balances(&mut self, starts: &[i64]) -> Result<Vec<Balance>, StoreError> {
        self.balances_where(&format!("period_start IN ({})", used::list(starts)))
    }

    fn usage(&mut self, starts: &[i64], after: i64, nodes: &[String]) -> Result<Usage, StoreError> {
        let _turn = self.turns.take()?;
        let starts = used::list(starts);
        let periods = format!("(period_start IN ({starts}) OR period_start > {after})");
        let positions = nodes.iter().map(|node| self.position_of(node));
        Ok(Usage {
            positions: positions.collect::<Result<_, _>>()?,
            balances: self.balances_where(&periods)?,
        })
    }

    fn maintain(&mut self, now: SystemTime) -> Result<Vec<String>, StoreError> {
        old_months::maintain(self, now)
    }
}

/// Gives each file that may have rows in this time.
///
/// # Errors
/// A file cannot be read, or `each` fails.
pub fn each_part(
    folder: &Path,
    since_ms: i64,
    until_ms: i64,
    each: &mut dyn FnMut(&mut dyn Part) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    for month in months(folder)? {
        if month.end_ms() <= since_ms || month.start_ms() >= until_ms {
            continue;
        }
        if let Some(mut part) = part::open(&path(folder, month))? {
            each(&mut part)?;
        }
    }
    Ok(())
}

/// Checks each file.
///
/// # Errors
/// The folder cannot be read, or `tell` takes no more.
pub fn check(folder: &Path, checked: &mut Checked, tell: &mut dyn Write) -> Result<(), StoreError> {
    for month in months(folder)? {
        match part::open(&path(folder, month)) {
            Ok(None) => {}
            Ok(Some(mut part)) => checked.add(Ok(&mut part), tell)?,
            Err(error) => checked.add(Err(error), tell)?,
        }
    }
    Ok(())
}

/// Whether a ledger has been opened to be written in the folder.
///
/// # Errors
/// It cannot be read.
pub fn exists(folder: &Path) -> Result<bool, StoreError> {
    Ok(carried::path(folder).exists() || !months(folder)?.is_empty())
}

/// The file of a month.
fn path(folder: &Path, month: Month) -> PathBuf {
    folder.join(format!("ledger-{month}.db"))
}

/// The path of a file that SQLite keeps beside a database.
fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.to_owned().into_os_string();
    name.push(ending);
    PathBuf::from(name)
}

fn sync(path: &Path) -> Result<(), StoreError> {
    #[allow(
        clippy::disallowed_methods,
        reason = "the loader has a thread of its own"
    )]
    match File::open(path).and_then(|file| file.sync_all()) {
        // It was closed, and so brought to the disk, or it was removed.
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        synced => synced.map_err(StoreError::file(path)),
    }
}

/// The months that have a file, in their order; none where there is no folder.
fn months(folder: &Path) -> Result<Vec<Month>, StoreError> {
    let failed = StoreError::file(folder);
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(failed(e)),
    };
    let mut months = Vec::new();
    for entry in entries {
        let name = entry.map_err(&failed)?.file_name();
        let month = name.to_str().and_then(|name| {
            let month = name.strip_prefix("ledger-")?.strip_suffix(".db")?;
            Month::parse(month)
        });
        months.extend(month);
    }
    months.sort_unstable();
    Ok(months)
}
