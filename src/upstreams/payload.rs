//! The body of a request, as it is written.
//!
//! Owns its pieces, some in memory and some in a file, and reading the latter in turn, off the
//! threads that serve. Nothing in it is used up by writing it, so it can be written again.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::Bytes;

/// What is read of a file at once.
const READ_BYTES: u64 = 256 << 10;

/// A body in pieces.
#[derive(Debug, Default)]
pub struct Payload(Vec<Piece>);

#[derive(Debug)]
enum Piece {
    Memory(Bytes),
    File(Arc<File>, Range<u64>),
}

impl Piece {
    fn memory(&self) -> Option<&Bytes> {
        match self {
            Self::Memory(bytes) => Some(bytes),
            Self::File(..) => None,
        }
    }
}

impl Payload {
    /// Adds bytes.
    pub fn push(&mut self, bytes: Bytes) {
        self.0.push(Piece::Memory(bytes));
    }

    /// Adds a part of a file.
    pub fn push_file(&mut self, file: Arc<File>, range: Range<u64>) {
        self.0.push(Piece::File(file, range));
    }

    /// Its length in bytes.
    pub fn len(&self) -> u64 {
        let lengths = self.0.iter().map(|piece| match piece {
            Piece::Memory(bytes) => bytes.len() as u64,
            Piece::File(_, range) => range.end.saturating_sub(range.start),
        });
        lengths.sum()
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Its bytes, where all of them are in memory.
    pub fn in_memory(&self) -> Option<impl Iterator<Item = &Bytes>> {
        let all = self.0.iter().all(|piece| piece.memory().is_some());
        all.then(|| self.0.iter().filter_map(Piece::memory))
    }

    /// Walks its bytes.
    pub fn chunks(&self) -> Chunks<'_> {
        Chunks {
            pieces: self.0.iter(),
            file: None,
        }
    }
}

impl From<Bytes> for Payload {
    fn from(bytes: Bytes) -> Self {
        Self(vec![Piece::Memory(bytes)])
    }
}

/// The bytes of a body, in turn.
pub struct Chunks<'a> {
    pieces: std::slice::Iter<'a, Piece>,
    file: Option<(Arc<File>, Range<u64>)>,
}

impl Chunks<'_> {
    /// The next bytes; `None` at the end.
    ///
    /// # Errors
    /// What the system says of a file that cannot be read.
    pub async fn next(&mut self) -> io::Result<Option<Bytes>> {
        loop {
            if let Some((file, range)) = self.file.take()
                && !range.is_empty()
            {
                let end = range.end.min(range.start.saturating_add(READ_BYTES));
                let chunk = read(Arc::clone(&file), range.start..end).await?;
                self.file = Some((file, end..range.end));
                return Ok(Some(chunk));
            }
            match self.pieces.next() {
                None => return Ok(None),
                Some(Piece::Memory(bytes)) if bytes.is_empty() => {}
                Some(Piece::Memory(bytes)) => return Ok(Some(bytes.clone())),
                Some(Piece::File(file, range)) => {
                    self.file = Some((Arc::clone(file), range.clone()));
                }
            }
        }
    }
}

async fn read(file: Arc<File>, range: Range<u64>) -> io::Result<Bytes> {
    let reading = tokio::task::spawn_blocking(move || {
        let length = usize::try_from(range.end - range.start).unwrap_or_default();
        let mut chunk = vec![0; length];
        file.read_exact_at(&mut chunk, range.start)?;
        Ok(Bytes::from(chunk))
    });
    reading.await.map_err(io::Error::other)?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn pieces_of_memory_and_files_are_walked_in_their_order() {
        let file = tempfile::tempfile().unwrap();
        let content: Vec<u8> = (0..600_000u32).map(|n| n.to_le_bytes()[0]).collect();
        file.write_all_at(&content, 0).unwrap();
        let file = Arc::new(file);
        let mut payload = Payload::from(Bytes::from_static(b"head"));
        payload.push_file(Arc::clone(&file), 10..590_000);
        payload.push(Bytes::new());
        payload.push(Bytes::from_static(b"tail"));
        payload.push_file(file, 0..0);
        let expected = [b"head", &content[10..590_000], b"tail"].concat();
        assert_eq!(payload.len(), expected.len() as u64);
        assert!(payload.in_memory().is_none());
        for _ in 0..2 {
            let mut chunks = payload.chunks();
            let mut seen = Vec::new();
            while let Some(chunk) = chunks.next().await.unwrap() {
                seen.extend_from_slice(&chunk);
            }
            assert!(seen == expected, "the same bytes each time");
        }
    }

    #[tokio::test]
    async fn a_file_that_is_too_short_is_an_error() {
        let mut payload = Payload::default();
        payload.push_file(Arc::new(tempfile::tempfile().unwrap()), 0..10);
        assert!(payload.chunks().next().await.is_err());
    }
}
