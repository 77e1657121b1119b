//! Questions from one start to the next.
//!
//! Owns when their file is read and written, and what is told of that. Does not handle its form (see `cache::meaning`).
//! A file that cannot be read is left as it is until the process ends, and there are no questions; one that cannot be
//! written is told in the log.

use std::fs::DirBuilder;
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::sync::Arc;

use crate::cache::meaning::Questions;
use crate::cache::meaning::vectors::FileError;
use crate::clock;
use crate::config::{self, VectorCache};
use crate::observe::cache::StoreCounts;

/// Those of the file; none where there is no file, or none that can be read.
pub(super) fn load(
    written: &VectorCache,
    cache: &config::Cache,
    counts: StoreCounts,
) -> Arc<Questions> {
    let key = cache.encryption_key.as_ref();
    let Some(path) = &written.file else {
        return Arc::new(Questions::new(written, key, counts));
    };
    let shown = path.display();
    match Questions::load(path, written.memory_bytes, key, clock::now()) {
        Ok(questions) => {
            let count = questions.fill().map_or(0, |fill| fill.entries);
            log::info!("cache: questions read from {shown}: {count}");
            return Arc::new(questions);
        }
        Err(FileError::Io(e)) if e.kind() == ErrorKind::NotFound => {}
        Err(error) => {
            log::warn!(
                "cache: {shown} cannot be read, and the cache by meaning begins empty: {error}"
            );
        }
    }
    Arc::new(Questions::new(written, key, counts))
}

/// Writes them to their file, where there is one.
pub(super) fn save(questions: &Questions, written: &VectorCache) {
    let Some(path) = &written.file else {
        return;
    };
    let shown = path.display();
    let folder = path.parent().unwrap_or(path);
    let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
    let saved = made.map_err(FileError::Io);
    match saved.and_then(|()| questions.save(path, clock::now())) {
        Ok(count) => log::info!("cache: questions written to {shown}: {count}"),
        Err(error) => log::error!("cache: the questions cannot be written to {shown}: {error}"),
    }
}
