//! The files that a configuration was read from.
//!
//! Owns what kinds there are. Does not handle reading them (see `sources`, `expand` and the section files), nor
//! watching them (see `server`). Cannot fail.

use std::path::{Path, PathBuf};

/// A file that has a part in a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadFile {
    /// Its path, absolute; links in it are not followed.
    pub path: PathBuf,
    /// What its content is for.
    pub kind: FileKind,
}

/// What the content of a file is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// It is a part of the configuration: YAML, variables, prices, a credential.
    Configuration,
    /// It is named in the configuration: a certificate or its key.
    Certificate,
}

impl ReadFile {
    /// A file by its path, relative to the working directory where it is not absolute.
    pub fn new(path: &Path, kind: FileKind) -> Self {
        // Fails for an empty path and without a working directory alone.
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
        Self { path, kind }
    }
}

/// Adds a file that is not in the list yet.
pub fn add(file: ReadFile, files: &mut Vec<ReadFile>) {
    if !files.contains(&file) {
        files.push(file);
    }
}
