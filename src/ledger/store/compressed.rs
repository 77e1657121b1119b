//! Compressed copies of old months.
//!
//! Owns that a copy is complete, on the disk and verified before it has its name. Does not handle what is
//! copied or when the original goes (see `sqlite/old_months`, `postgres/old_months`). Fails with the file's
//! name, and leaves nothing behind.

use std::fs::{self, File};
use std::io::{self, BufReader, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::{Month, StoreError};

/// For the owner alone.
const FILE_MODE: u32 = 0o600;
const FOLDER_MODE: u32 = 0o700;
/// How hard it compresses: beyond it, files become little smaller and take much longer.
const LEVEL: i32 = 6;
/// As many archives of one month at most: more than one is there when old records came late.
const MAX_NAMES: u32 = 100;

/// The sum of what passed.
struct Summed<T> {
    inner: T,
    hash: crc32fast::Hasher,
    bytes: u64,
}

impl<T> Summed<T> {
    fn new(inner: T) -> Self {
        Self {
            inner,
            hash: crc32fast::Hasher::new(),
            bytes: 0,
        }
    }

    fn add(&mut self, bytes: &[u8]) {
        self.hash.update(bytes);
        self.bytes = self.bytes.saturating_add(bytes.len() as u64);
    }

    fn sum(&self) -> (u64, u32) {
        (self.bytes, self.hash.clone().finalize())
    }
}

impl<T: Write> Write for Summed<T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.add(bytes.get(..written).unwrap_or_default());
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl<T: Read> Read for Summed<T> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(bytes)?;
        self.add(bytes.get(..read).unwrap_or_default());
        Ok(read)
    }
}

/// Writes a compressed copy of what `write` gives, reads it back, and names it when both are the same. Returns
/// its path.
///
/// # Errors
/// The copy cannot be written, or is not what was written.
pub fn keep(
    folder: &Path,
    month: Month,
    ending: &str,
    write: impl FnOnce(&mut dyn Write) -> Result<(), StoreError>,
) -> Result<PathBuf, StoreError> {
    let mut builder = fs::DirBuilder::new();
    let made = builder.recursive(true).mode(FOLDER_MODE).create(folder);
    made.map_err(StoreError::file(folder))?;
    let part = folder.join(format!("ledger-{month}.part"));
    let kept = write_verified(&part, write).and_then(|()| {
        let path = free_name(folder, month, ending)?;
        let named = fs::rename(&part, &path);
        named.map_err(StoreError::file(&path))?;
        sync_folder(folder)?;
        Ok(path)
    });
    if kept.is_err() {
        // What it is about is told already.
        let _ = fs::remove_file(&part);
    }
    kept
}

fn write_verified(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let failed = StoreError::file(path);
    let mut options = File::options();
    let options = options.read(true).write(true).create(true).truncate(true);
    let file = options.mode(FILE_MODE).open(path).map_err(&failed)?;
    let encoder = zstd::Encoder::new(&file, LEVEL).map_err(&failed)?;
    let mut summed = Summed::new(encoder);
    write(&mut summed)?;
    let wanted = summed.sum();
    summed.inner.finish().map_err(&failed)?;
    file.sync_all().map_err(&failed)?;
    #[allow(
        clippy::disallowed_methods,
        reason = "the loader has a thread of its own"
    )]
    let again = File::open(path).map_err(&failed)?;
    let decoder = zstd::Decoder::new(again).map_err(&failed)?;
    let mut summed = Summed::new(BufReader::new(decoder));
    io::copy(&mut summed, &mut io::sink()).map_err(&failed)?;
    match summed.sum() == wanted {
        true => Ok(()),
        false => Err(StoreError::NotVerified(path.display().to_string())),
    }
}

fn free_name(folder: &Path, month: Month, ending: &str) -> Result<PathBuf, StoreError> {
    let names = (1..=MAX_NAMES).map(|number| match number {
        1 => folder.join(format!("ledger-{month}.{ending}.zst")),
        _ => folder.join(format!("ledger-{month}.{number}.{ending}.zst")),
    });
    let mut free = names.filter(|path| !path.exists());
    free.next().ok_or_else(|| {
        StoreError::Damaged(format!(
            "{} has too many archives of {month}",
            folder.display()
        ))
    })
}

/// Removes the archives of months that ended before a time. Returns their paths.
///
/// # Errors
/// The folder cannot be read, or a file cannot be removed.
pub fn remove_before(folder: &Path, before_ms: i64) -> Result<Vec<PathBuf>, StoreError> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(StoreError::file(folder)(e)),
    };
    let mut removed = Vec::new();
    for entry in entries {
        let path = entry.map_err(StoreError::file(folder))?.path();
        let month = path.file_name().and_then(|name| {
            let name = name.to_str()?.strip_suffix(".zst")?;
            Month::parse(name.strip_prefix("ledger-")?.get(..7)?)
        });
        if month.is_some_and(|month| month.end_ms() <= before_ms) {
            fs::remove_file(&path).map_err(StoreError::file(&path))?;
            removed.push(path);
        }
    }
    Ok(removed)
}

/// Puts on the disk which files a folder has.
///
/// # Errors
/// The system says so.
pub fn sync_folder(folder: &Path) -> Result<(), StoreError> {
    #[allow(
        clippy::disallowed_methods,
        reason = "the loader has a thread of its own"
    )]
    let opened = File::open(folder);
    let synced = opened.and_then(|folder| folder.sync_all());
    synced.map_err(StoreError::file(folder))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_that_fails_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let month = Month::parse("2026-01").unwrap();
        let failing = |out: &mut dyn Write| {
            out.write_all(b"half").unwrap();
            Err(StoreError::Damaged("no more".to_owned()))
        };
        assert!(keep(folder.path(), month, "db", failing).is_err());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_second_copy_of_a_month_has_a_name_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let month = Month::parse("2026-01").unwrap();
        let write = |out: &mut dyn Write| out.write_all(b"all").map_err(StoreError::Stopped);
        let names: Vec<PathBuf> = (0..2)
            .map(|_| keep(folder.path(), month, "db", write).unwrap())
            .collect();
        assert!(names[0].ends_with("ledger-2026-01.db.zst"));
        assert!(names[1].ends_with("ledger-2026-01.2.db.zst"));
        let read = File::open(&names[1]).unwrap();
        assert_eq!(zstd::decode_all(read).unwrap(), b"all");
        let none = remove_before(folder.path(), month.end_ms() - 1).unwrap();
        assert!(none.is_empty());
        let both = remove_before(folder.path(), month.end_ms()).unwrap();
        assert_eq!(both.len(), 2);
    }
}
