//! How many tokens a text has, by the tokenizer of OpenAI's newer models (`o200k_base`).
//!
//! Owns the order of the steps: `pieces` cuts the text, `vocabulary` knows the tokens, `merge` counts those of a
//! piece, and `on_demand` has all of it in memory only while it is used. Does not find the texts (see `estimate`).
//! Loading fails where the embedded table cannot be read, which a test excludes; counting never fails.

mod merge;
mod on_demand;
mod pieces;
mod vocabulary;

#[cfg(test)]
pub(super) mod tests;

pub use on_demand::OnDemand;

use merge::Merge;
use pieces::Splitter;
use vocabulary::Vocabulary;

/// The table that `build.rs` writes.
static TABLE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/o200k_base.zst"));

/// A tokenizer that is ready to count.
pub struct Tokenizer {
    vocabulary: Vocabulary,
    splitter: Splitter,
}

impl Tokenizer {
    /// Reads the embedded table. Takes some milliseconds.
    ///
    /// # Errors
    /// What is wrong with the table, or with the pattern of the pieces.
    pub fn load() -> Result<Self, LoadError> {
        Ok(Self {
            vocabulary: Vocabulary::unpack(TABLE)?,
            splitter: Splitter::new()?,
        })
    }

    /// Counts the tokens of a text.
    pub fn count(&self, text: &str) -> usize {
        let mut merge = Merge::new(&self.vocabulary);
        let mut tokens = 0;
        self.splitter
            .split(text, |piece| tokens += merge.count(piece.as_bytes()));
        tokens
    }
}

/// Why a tokenizer could not be loaded.
#[derive(Debug)]
pub enum LoadError {
    /// The table cannot be decompressed, or is not what was written.
    Table(std::io::Error),
    /// The pattern of the pieces cannot be built.
    Pattern(Box<regex_automata::hybrid::BuildError>),
}

impl std::fmt::Display for LoadError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Table(e) => write!(f, "the tokenizer's table cannot be read: {e}"),
            Self::Pattern(e) => write!(f, "the tokenizer's pattern cannot be built: {e}"),
        }
    }
}
