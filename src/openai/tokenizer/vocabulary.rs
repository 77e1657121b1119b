//! The tokens, and the rank of each.
//!
//! Owns the table in memory: all tokens in one buffer, and an index of their ranks by a hash of their bytes, about
//! 4 MiB in all. Does not write the table (see `build.rs`). Fails where the table is not what was written.

use std::hash::{BuildHasher, Hasher};
use std::io;
use std::ops::Range;

use hashbrown::HashTable;
use rustc_hash::FxBuildHasher;

use super::LoadError;

/// More than the table takes, so that a damaged one cannot take all memory.
const MAX_TABLE_BYTES: usize = 4 << 20;

/// The tokens, by their bytes.
pub struct Vocabulary {
    /// The table as it was unpacked; the tokens stand at its end, in the order of their ranks.
    table: Vec<u8>,
    /// Where in the table each token begins, and where the last one ends.
    starts: Vec<u32>,
    /// The rank of each token, at the hash of its bytes. Its keys come from the table alone.
    ranks: HashTable<u32>,
    /// The length of the longest token.
    longest_bytes: usize,
}

impl Vocabulary {
    /// Unpacks a table that `build.rs` has written.
    ///
    /// # Errors
    /// It cannot be decompressed, or its lengths do not fit together.
    pub fn unpack(packed: &[u8]) -> Result<Self, LoadError> {
        let table = zstd::bulk::decompress(packed, MAX_TABLE_BYTES).map_err(LoadError::Table)?;
        Self::index(table).ok_or_else(|| {
            let damaged = io::Error::from(io::ErrorKind::InvalidData);
            LoadError::Table(damaged)
        })
    }

    fn index(mut table: Vec<u8>) -> Option<Self> {
        // Decompression reserves as much as there might be.
        table.shrink_to_fit();
        let (count, rest) = table.split_first_chunk()?;
        let count = u32::from_le_bytes(*count);
        let lengths = rest.get(..usize::try_from(count).ok()?)?;
        let longest_bytes = usize::from(*lengths.iter().max()?);
        let mut end = u32::try_from(count.to_le_bytes().len())
            .ok()?
            .checked_add(count)?;
        let mut starts = Vec::with_capacity(lengths.len() + 1);
        for length in lengths {
            starts.push(end);
            end = end.checked_add(u32::from(*length))?;
        }
        starts.push(end);
        if usize::try_from(end).ok()? != table.len() {
            return None;
        }
        let mut vocabulary = Self {
            ranks: HashTable::with_capacity(starts.len()),
            table,
            starts,
            longest_bytes,
        };
        for rank in 0..count {
            let place = hash(vocabulary.token(rank));
            let mut ranks = std::mem::take(&mut vocabulary.ranks);
            ranks.insert_unique(place, rank, |rank| hash(vocabulary.token(*rank)));
            vocabulary.ranks = ranks;
        }
        Some(vocabulary)
    }

    /// The rank of a token; `None` if these bytes are none. A lower rank is merged first.
    pub fn rank(&self, bytes: &[u8]) -> Option<u32> {
        // Most of what is asked for is short, and to hash what is long takes time.
        if bytes.len() > self.longest_bytes {
            return None;
        }
        let found = self
            .ranks
            .find(hash(bytes), |rank| self.token(*rank) == bytes);
        found.copied()
    }

    /// The bytes of a token; none if there is no such rank.
    fn token(&self, rank: u32) -> &[u8] {
        let range = self.range(rank);
        range
            .and_then(|range| self.table.get(range))
            .unwrap_or_default()
    }

    fn range(&self, rank: u32) -> Option<Range<usize>> {
        let rank = usize::try_from(rank).ok()?;
        let [start, end] = self.starts.get(rank..)?.first_chunk()?;
        Some(usize::try_from(*start).ok()?..usize::try_from(*end).ok()?)
    }
}

fn hash(bytes: &[u8]) -> u64 {
    let mut hasher = FxBuildHasher.build_hasher();
    hasher.write(bytes);
    hasher.finish()
}
