//! What an answer has used, in one form whatever the provider's own.
//!
//! Owns that form. `places` says where an answer tells it, `counts` what is told there; `members`
//! finds the places in a body that passes, `tally` in the events of a stream. Shapes are told apart
//! by their members, never by who sent them. Refuses to know prices, and who is to pay. Never
//! fails: what cannot be read is not known, and an answer that tells nothing has no usage.
//!
//! Read are chats and completions, responses, embeddings, images, transcription, speech, reranking,
//! Anthropic's messages, and a single event of Realtime. Not read are lines of a batch's files.

mod counts;
mod members;
mod places;
mod tally;

use std::sync::LazyLock;

use memchr::memmem::{Finder, FinderRev};
use serde::Serialize;

pub use counts::{MAX_COUNT, MAX_TIER_BYTES};
pub use members::{MAX_VALUE_BYTES, Members};
pub use tally::Tally;

/// What one answer has used, in tokens unless said otherwise.
///
/// As it is read from an answer, no part is more than its whole: `cache_write_1h` is of
/// `cache_write`, `input_audio + input_image` of [`Usage::total_input`], `reasoning` as well as
/// `output_audio + output_image` of `output`. No number that was told is above [`MAX_COUNT`].
///
/// Serialised, it is an object with the names of its members, without those that are zero or not
/// known. `input`, `output` and `estimated` are always there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Usage {
    /// Input that was neither read from a cache nor written to one.
    pub input: u64,
    /// Input that was read from a cache.
    #[serde(skip_serializing_if = "is_zero")]
    pub cache_read: u64,
    /// Input that was written to a cache.
    #[serde(skip_serializing_if = "is_zero")]
    pub cache_write: u64,
    /// What of `cache_write` is kept for an hour, and has a price of its own.
    #[serde(skip_serializing_if = "is_zero")]
    pub cache_write_1h: u64,
    /// All output, that of reasoning and of audio included.
    pub output: u64,
    /// What of the output was reasoning.
    #[serde(skip_serializing_if = "is_zero")]
    pub reasoning: u64,
    /// What of the whole input was audio, read from a cache or not.
    #[serde(skip_serializing_if = "is_zero")]
    pub input_audio: u64,
    /// What of the whole input was images, read from a cache or not.
    #[serde(skip_serializing_if = "is_zero")]
    pub input_image: u64,
    /// What of the output was audio.
    #[serde(skip_serializing_if = "is_zero")]
    pub output_audio: u64,
    /// What of the output was images.
    #[serde(skip_serializing_if = "is_zero")]
    pub output_image: u64,
    /// Audio that is priced by its time, in ms. No tokens are counted for it.
    #[serde(skip_serializing_if = "is_zero")]
    pub audio_ms: u64,
    /// Searches that are priced each: units of reranking, or searches of the web.
    #[serde(skip_serializing_if = "is_zero")]
    pub searches: u64,
    /// The service tier as served, at most [`MAX_TIER_BYTES`] letters, digits, `_`, `-` and `.`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tier: Option<String>,
    /// Whether this was reckoned by us, not told by the provider. What is read here never is.
    #[serde(rename = "estimated")]
    pub is_estimated: bool,
}

impl Usage {
    /// All input: read from a cache, written to one, or neither. Saturates.
    pub fn total_input(&self) -> u64 {
        let cached = self.cache_read.saturating_add(self.cache_write);
        self.input.saturating_add(cached)
    }

    /// All input and output. Saturates.
    pub fn total(&self) -> u64 {
        self.total_input().saturating_add(self.output)
    }
}

static USAGE: LazyLock<FinderRev<'static>> = LazyLock::new(|| FinderRev::new(b"\"usage\":"));
/// What is told besides, if it stands before the usage.
static TIER: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\"service_tier\""));
static META: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\"meta\""));

/// Reads a whole JSON body, as [`Members`] does.
pub fn whole(body: &[u8]) -> Option<Usage> {
    end_of(body).and_then(Members::usage).or_else(|| {
        let mut members = Members::default();
        members.push(body);
        members.usage()
    })
}

/// The end of a body, from its last usage on: there it stands in nearly all, and the rest need not be
/// looked through. Nothing where that usage is a part of something else, or is not all that is told.
fn end_of(body: &[u8]) -> Option<Members> {
    let key = USAGE.rfind(body)?;
    let before = body.get(..key)?.trim_ascii_start();
    if !before.starts_with(b"{") || TIER.find(before).is_some() || META.find(before).is_some() {
        return None;
    }
    let (last, end) = body.get(key..)?.trim_ascii_end().split_last()?;
    let mut members = Members::default();
    members.push(b"{");
    members.push(end);
    // It stands at the top level if the last brace closes what it stands in.
    let is_within = !members.is_over();
    members.push(&[*last]);
    (is_within && members.is_over()).then_some(members)
}

/// Takes a reference because serde gives one.
fn is_zero(count: &u64) -> bool {
    *count == 0
}

#[cfg(test)]
#[allow(clippy::too_many_lines)]
mod tests;
