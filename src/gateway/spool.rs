//! A body that has to wait: in memory or, when it is large, in a file without a name that goes with the request.
//!
//! Owns where the bytes wait until they can be sent. Does not handle what they are. A full disk refuses the request
//! and nothing else.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::failure::{Failure, Unreadable};
use crate::config::Forms;
use crate::upstreams::Payload;

/// What is gathered before it is written to a file.
const WRITE_BYTES: usize = 256 << 10;

/// A body that is whole.
#[derive(Debug)]
pub enum Held {
    /// In memory.
    Memory(Bytes),
    /// In a file, with its length.
    File(Arc<File>, u64),
}

impl Held {
    /// Its length in bytes.
    pub fn len(&self) -> usize {
        match self {
            Self::Memory(bytes) => bytes.len(),
            Self::File(_, length) => usize::try_from(*length).unwrap_or(usize::MAX),
        }
    }

    /// Adds a part of it to what is sent.
    pub fn add_to(&self, payload: &mut Payload, range: Range<u64>) {
        match self {
            Self::Memory(bytes) => {
                let within =
                    |at: u64| usize::try_from(at).map_or(bytes.len(), |at| at.min(bytes.len()));
                payload.push(bytes.slice(within(range.start)..within(range.end)));
            }
            Self::File(file, _) => payload.push_file(Arc::clone(file), range),
        }
    }
}

/// Where the bytes of a body are gathered.
#[derive(Default)]
pub struct Spool {
    /// What has not been written to the file; all of it while there is none.
    memory: BytesMut,
    file: Option<Arc<File>>,
    /// How much there is in both.
    len: usize,
}

impl Spool {
    /// Adds the next bytes, within the bounds that the operator has set.
    ///
    /// # Errors
    /// The body is too large, or there is no room for it.
    pub async fn push(&mut self, chunk: Bytes, limits: &Forms) -> Result<(), Failure> {
        if self.len + chunk.len() > limits.max_bytes {
            let limit = limits.max_bytes;
            return Err(Failure::Unreadable(Unreadable::TooLarge { limit }));
        }
        self.store(chunk, limits).await.map_err(no_room)
    }

    async fn store(&mut self, chunk: Bytes, limits: &Forms) -> io::Result<()> {
        self.len += chunk.len();
        self.memory.extend_from_slice(&chunk);
        if self.file.is_none() && self.len > limits.in_memory_bytes {
            let dir = limits.dir.as_ref().map(|dir| dir.value.clone());
            self.file = Some(Arc::new(blocking(move || create(dir)).await?));
        }
        match self.file {
            Some(_) if self.memory.len() >= WRITE_BYTES => self.write().await,
            _ => Ok(()),
        }
    }

    async fn write(&mut self) -> io::Result<()> {
        let Some(file) = self.file.clone() else {
            return Ok(());
        };
        let chunk = self.memory.split().freeze();
        let at = (self.len - chunk.len()) as u64;
        blocking(move || file.write_all_at(&chunk, at)).await
    }

    /// All of it.
    ///
    /// # Errors
    /// There is no room for it.
    pub async fn finish(mut self) -> Result<Held, Failure> {
        self.write().await.map_err(no_room)?;
        Ok(match self.file {
            Some(file) => Held::File(file, self.len as u64),
            None => Held::Memory(self.memory.freeze()),
        })
    }
}

fn no_room(error: io::Error) -> Failure {
    Failure::Unreadable(Unreadable::NoRoom(error.to_string()))
}

fn create(dir: Option<std::path::PathBuf>) -> io::Result<File> {
    tempfile::tempfile_in(dir.unwrap_or_else(std::env::temp_dir))
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let outcome = tokio::task::spawn_blocking(work).await;
    outcome.map_err(io::Error::other)?
}
