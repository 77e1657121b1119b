//! Which process delivers what waits in an outbox.
//!
//! Owns the lock `outbox.lock`: the process that has it sends messages or moves them, and no other one does. Does not
//! handle when a process takes it or gives it up (see the head of this folder). The end of a process gives it up. Fails
//! if the lock cannot be opened.

use std::fs::File;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;
use rustix::io::Errno;

/// The name of the lock in the ledger's folder.
const FILE: &str = "outbox.lock";
/// For the owner alone.
const MODE: u32 = 0o600;

/// The lock, which this process may have.
#[derive(Debug)]
pub struct Duty {
    path: PathBuf,
    held: Option<File>,
}

impl Duty {
    /// In the folder of an outbox; not taken yet.
    pub fn beside(outbox: &Path) -> Self {
        Self {
            path: outbox.with_file_name(FILE),
            held: None,
        }
    }

    /// Whether this process has it.
    pub fn is_held(&self) -> bool {
        self.held.is_some()
    }

    /// Takes it, if no process has it. Returns whether this process has it then.
    ///
    /// # Errors
    /// The file cannot be opened or locked.
    pub fn take(&mut self) -> io::Result<bool> {
        if self.is_held() {
            return Ok(true);
        }
        let mut options = File::options();
        let file = options.append(true).create(true).mode(MODE);
        let file = file.open(&self.path)?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => self.held = Some(file),
            Err(Errno::WOULDBLOCK) => {}
            Err(e) => return Err(e.into()),
        }
        Ok(self.is_held())
    }

    /// Gives it up.
    pub fn give_up(&mut self) {
        self.held = None;
    }
}
