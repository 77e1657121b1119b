//! The names of a log's files.
//!
//! `chats.jsonl` is renamed to `chats-2026-11-21T08-02-35.506Z.jsonl`, by the time of its last line; a file
//! with a name of another form is none of the log's. Does not handle when files are renamed or removed (see
//! `rotation`). Fails with the system's error where a folder cannot be read.

use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

/// All existing files of the log at a path, in the order in which they were written.
///
/// # Errors
/// Their folder cannot be read.
pub fn all(path: &Path) -> io::Result<Vec<PathBuf>> {
    let full = full(path)?.into_iter().map(|(_, path)| path);
    let current = path.exists().then(|| path.to_owned());
    Ok(full.chain(current).collect())
}

/// The full files, the oldest first, each with the time of its last line.
pub(super) fn full(path: &Path) -> io::Result<Vec<(Timestamp, PathBuf)>> {
    let Some(name) = Name::of(path) else {
        return Ok(Vec::new());
    };
    let mut files = Vec::new();
    for entry in folder_of(path).read_dir()? {
        let entry = entry?;
        let time = entry
            .file_name()
            .to_str()
            .and_then(|found| name.time(found));
        if let Some(time) = time
            && entry.file_type()?.is_file()
        {
            files.push((time, path.with_file_name(entry.file_name())));
        }
    }
    files.sort();
    Ok(files)
}

/// The folder of a file.
pub(super) fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// The names of a log's files.
pub(super) struct Name<'p> {
    stem: &'p str,
    extension: Option<&'p str>,
}

impl<'p> Name<'p> {
    /// `None` for a name that is not UTF-8.
    pub(super) fn of(path: &'p Path) -> Option<Self> {
        Some(Self {
            stem: path.file_stem()?.to_str()?,
            extension: match path.extension() {
                Some(extension) => Some(extension.to_str()?),
                None => None,
            },
        })
    }

    /// The name of a full file whose last line is of this time. No colons: not every system allows them.
    pub(super) fn full(&self, time: Timestamp) -> String {
        let time = format!("{time:.3}").replace(':', "-");
        match self.extension {
            Some(extension) => format!("{}-{time}.{extension}", self.stem),
            None => format!("{}-{time}", self.stem),
        }
    }

    /// The time in the name of a full file; `None` for any other name.
    fn time(&self, found: &str) -> Option<Timestamp> {
        let rest = found.strip_prefix(self.stem)?.strip_prefix('-')?;
        let rest = match self.extension {
            Some(extension) => rest.strip_suffix(extension)?.strip_suffix('.')?,
            None => rest,
        };
        let (date, of_day) = rest.split_once('T')?;
        let time: Timestamp = format!("{date}T{}", of_day.replace('-', ":"))
            .parse()
            .ok()?;
        (self.full(time) == found).then_some(time)
    }
}
