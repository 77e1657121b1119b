//! The files that the scripts upload: the same bytes on both sides, so that each can compare.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::support::PROMPT;
use crate::support::gateway::Folder;

/// Names and sizes. The last two are larger than what the gateway keeps of a form in memory.
const SIZES: [(&str, usize); 5] = [
    ("speech.mp3", 300_000),
    ("image.png", 50_000),
    ("mask.png", 9_001),
    ("long speech “ü”.mp3", 5 << 20),
    ("large.bin", 20 << 20),
];

/// What every sample holds again and again: what could be taken for the end of a part of a form, or
/// of a chunk, and what must not be logged.
const TEMPTING: &str = "\r\n--\r\n0\r\n\r\n";
const EVERY: usize = 4093;

/// The files by their names.
#[derive(Clone)]
pub struct Samples(Arc<BTreeMap<&'static str, Vec<u8>>>);

impl Samples {
    /// Writes the files into a folder.
    pub fn write(folder: &Folder) -> Self {
        let of_size = |(name, size)| {
            let content = bytes(size);
            folder.write(name, &content);
            (name, content)
        };
        Self(Arc::new(SIZES.map(of_size).into()))
    }

    /// The bytes of a file, if it is one of ours.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.0.get(name).map(Vec::as_slice)
    }
}

/// Bytes of every value, in an order that does not repeat: Marsaglia's xorshift64.
fn bytes(size: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d ^ size as u64;
    let mut bytes = Vec::with_capacity(size + 8);
    while bytes.len() < size {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend(state.to_le_bytes());
    }
    bytes.truncate(size);
    let tempting = [TEMPTING, PROMPT].concat();
    for at in (0..size - tempting.len()).step_by(EVERY) {
        bytes[at..at + tempting.len()].copy_from_slice(tempting.as_bytes());
    }
    bytes
}
