//! Turns of the processes that use the files of one folder.
//!
//! Owns the lock `turn.lock`: it is held while records are loaded, while a month is moved or removed, and while
//! balances are read, because each of these takes several files, and a commit over several files is not atomic. Does
//! not handle readers of one file, which SQLite takes care of. Fails if another process takes its turn for too long.

use std::fs::File;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::fs::FlockOperation;
use rustix::io::Errno;

use super::super::StoreError;

/// How long a turn is waited for. A month that is moved may take longer: then it is tried again later.
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// How often it is looked whether the turn has come.
const LOOK_EVERY: Duration = Duration::from_millis(2);
/// For the owner alone.
const MODE: u32 = 0o600;

/// The lock, opened.
pub struct Turns {
    path: PathBuf,
    file: Arc<File>,
}

/// A turn, until it is dropped. Only one at a time is to be taken of the same [`Turns`].
pub struct Turn(Arc<File>);

impl Turns {
    /// Opens or makes the file of the lock.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn open(folder: &Path) -> Result<Self, StoreError> {
        let path = folder.join("turn.lock");
        let opened = File::options()
            .append(true)
            .create(true)
            .mode(MODE)
            .open(&path);
        let file = Arc::new(opened.map_err(StoreError::file(&path))?);
        Ok(Self { path, file })
    }

    /// Waits for a turn.
    ///
    /// # Errors
    /// Another process takes its turn for five seconds, or the lock fails.
    pub fn take(&self) -> Result<Turn, StoreError> {
        let until = Instant::now() + LONGEST_WAIT;
        loop {
            match rustix::fs::flock(&self.file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Turn(Arc::clone(&self.file))),
                Err(Errno::WOULDBLOCK) if Instant::now() < until => {}
                Err(Errno::WOULDBLOCK) => {
                    let place = self.path.display().to_string();
                    return Err(StoreError::Busy(place));
                }
                Err(Errno::INTR) => continue,
                Err(e) => return Err(StoreError::file(&self.path)(io::Error::from(e))),
            }
            #[allow(
                clippy::disallowed_methods,
                reason = "whoever uses a database has a thread that may block"
            )]
            std::thread::sleep(LOOK_EVERY);
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        // It ends with the file at the latest.
        let _ = rustix::fs::flock(&self.0, FlockOperation::Unlock);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[test]
    fn a_turn_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let (one, other) = (
            Turns::open(folder.path()).unwrap(),
            Turns::open(folder.path()).unwrap(),
        );
        let turn = one.take().unwrap();
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let _turn = other.take().unwrap();
                assert!(is_over.load(Ordering::SeqCst));
            });
            is_over.store(true, Ordering::SeqCst);
            drop(turn);
        });
    }

    #[test]
    fn a_turn_that_does_not_come_is_an_error_that_names_the_lock() {
        let folder = tempfile::tempdir().unwrap();
        let (one, other) = (
            Turns::open(folder.path()).unwrap(),
            Turns::open(folder.path()).unwrap(),
        );
        let _turn = one.take().unwrap();
        let error = other.take().err().unwrap().to_string();
        assert!(error.contains("turn.lock"), "{error}");
    }
}
