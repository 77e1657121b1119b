//! Questions from one start to the next.
//!
//! Owns when their file is read and written, and what is told of that. Does not handle its form (see `cache::meaning`).
//! A file that cannot be read is left as it is until the process ends, and there are no questions; one that cannot be
//! written is told in the log.

use std::path::PathBuf;
use std::sync::Arc;

use crate::cache::meaning::Questions;
use crate::cache::meaning::vectors::FileError;
use crate::clock;
use crate::config::{self, Config, VectorCache};

/// Where questions are kept.
#[derive(Debug)]
pub struct Kept {
    /// The bound on their memory.
    pub bytes: usize,
    file: Option<PathBuf>,
}

impl Kept {
    /// What is written; `None` where questions are not compared.
    pub(super) fn new(config: &Config) -> Option<Self> {
        let written = VectorCache::enabled(config.vector_cache.as_ref())?;
        Some(Self {
            bytes: written.memory_bytes,
            file: written.file.clone(),
        })
    }
}

/// Those of the file; none where there is no file, or none that can be read.
pub(super) fn load(kept: &Kept, cache: &config::Cache) -> Arc<Questions> {
    let key = cache.encryption_key.as_ref();
    let Some(path) = &kept.file else {
        return Arc::new(Questions::new(kept.bytes, key));
    };
    let shown = path.display();
    let questions = match Questions::load(path, kept.bytes, key, clock::now()) {
        Ok(questions) => {
            let count = questions.fill().entries;
            log::info!("cache: {count} questions were read from {shown}");
            questions
        }
        Err(error) => {
            match error {
                FileError::Io(e) if e.kind() == std::io::ErrorKind::NotFound => {}
                error => log::warn!(
                    "cache: {shown} cannot be read, and the cache by meaning begins empty: {error}"
                ),
            }
            Questions::new(kept.bytes, key)
        }
    };
    Arc::new(questions)
}

/// Writes them to their file, where there is one.
pub(super) fn save(questions: &Questions, kept: &Kept) {
    let Some(path) = &kept.file else {
        return;
    };
    match questions.save(path, clock::now()) {
        Ok(count) => log::info!(
            "cache: {count} questions were written to {}",
            path.display()
        ),
        Err(error) => log::error!(
            "cache: the questions cannot be written to {}: {error}",
            path.display()
        ),
    }
}
