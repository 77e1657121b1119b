//! The `server.forms` section: how bodies in `multipart/form-data` are read.
//!
//! Owns its keys and defaults. Does not handle how a form is read (see `gateway`). A value out of bounds
//! is reported with its place.

use std::path::PathBuf;

use crate::config::document::{Located, Node};

/// The `server.forms` section.
#[derive(Clone, Debug, PartialEq)]
pub struct Forms {
    /// The largest form that is read, in bytes.
    pub max_bytes: usize,
    /// A larger form is kept in a file, not in memory.
    pub in_memory_bytes: usize,
    /// Where such files are made; `None` for the system's own place.
    pub dir: Option<Located<PathBuf>>,
}

impl Default for Forms {
    fn default() -> Self {
        Self {
            max_bytes: 128 << 20,
            in_memory_bytes: 1 << 20,
            dir: None,
        }
    }
}

/// Reads the section.
pub(super) fn read(node: &Node<'_>) -> Forms {
    let mut forms = Forms::default();
    let Some(mut section) = node.section() else {
        return forms;
    };
    if let Some(bytes) = section.take("max").and_then(|n| n.bytes()) {
        forms.max_bytes = bytes;
    }
    if let Some(bytes) = section.take("in_memory").and_then(|n| n.bytes()) {
        forms.in_memory_bytes = bytes;
    }
    if let Some(dir) = section.take("dir").and_then(|n| n.path()) {
        forms.dir = Some(dir);
    }
    section.finish();
    forms
}
