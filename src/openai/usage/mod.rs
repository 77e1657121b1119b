//! What an answer has used, in one form whatever the provider's own.
//!
//! Owns that form. `places` lists the objects of an answer that report a usage, `counts` reads one; `scanner`
//! finds these objects in a body that passes in pieces, `stream_usage` in the events of a stream. Shapes are
//! recognised by their members, never by the sender. Does not handle prices. Never fails: what cannot be
//! read is not known, and an answer that reports nothing has no usage.
//!
//! Read are chats and completions, responses, embeddings, images, transcription, speech, reranking,
//! Anthropic's messages, and a single event of Realtime. Not read are lines of a batch's files.

mod counts;
mod places;
mod scanner;
mod stream_usage;

use std::sync::LazyLock;

use memchr::memmem::{Finder, FinderRev};
use serde::Serialize;

use counts::{Counts, Fields};

pub use counts::{MAX_COUNT, MAX_TIER_BYTES};
pub use scanner::{MAX_VALUE_BYTES, UsageScanner};
pub use stream_usage::{StreamUsage, find_key};

/// What one answer has used, in tokens unless stated otherwise.
///
/// As it is read from an answer, no part is more than its whole: `cache_write_1h` is of
/// `cache_write`, `input_audio + input_image` of [`Usage::total_input`], `reasoning` as well as
/// `output_audio + output_image` of `output`. No reported number is above [`MAX_COUNT`].
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
    /// Whether this was estimated by us, not reported by the provider. What is read here never is.
    #[serde(rename = "estimated")]
    pub is_estimated: bool,
}

impl Usage {
    /// All input: read from a cache, written to one, or neither. Saturates.
    pub fn total_input(&self) -> u64 {
        let cached = self.cache_read.saturating_add(self.cache_write);
        self.input.saturating_add(cached)
    }

    /// The sum of both: what one request has used of two providers. Its tier is that of this one. Saturates.
    pub fn plus(&self, other: &Self) -> Self {
        let sum = |of: fn(&Self) -> u64| of(self).saturating_add(of(other));
        Self {
            input: sum(|u| u.input),
            cache_read: sum(|u| u.cache_read),
            cache_write: sum(|u| u.cache_write),
            cache_write_1h: sum(|u| u.cache_write_1h),
            output: sum(|u| u.output),
            reasoning: sum(|u| u.reasoning),
            input_audio: sum(|u| u.input_audio),
            input_image: sum(|u| u.input_image),
            output_audio: sum(|u| u.output_audio),
            output_image: sum(|u| u.output_image),
            audio_ms: sum(|u| u.audio_ms),
            searches: sum(|u| u.searches),
            tier: self.tier.clone(),
            is_estimated: self.is_estimated,
        }
    }

    /// All input and output. Saturates.
    pub fn total(&self) -> u64 {
        self.total_input().saturating_add(self.output)
    }
}

const USAGE_KEY: &[u8] = b"\"usage\":";
static USAGE: LazyLock<FinderRev<'static>> = LazyLock::new(|| FinderRev::new(USAGE_KEY));
/// What is reported besides.
static TIER: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\"service_tier\""));
static META: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\"meta\""));

/// The bytes after a usage are read up to this length.
const MAX_BEHIND_BYTES: usize = 1 << 10;

/// Reads a whole JSON body, as [`UsageScanner`] does.
pub fn whole(body: &[u8]) -> Option<Usage> {
    let counts = at_end(body).or_else(|| {
        let mut scanner = UsageScanner::default();
        scanner.push(body);
        scanner.found().counts()
    });
    Some(counts?.settle())
}

/// The last usage of a body: it stands at the end of nearly all bodies, and the rest need not be
/// searched. Nothing where that usage is a part of something else, or not all that is reported.
fn at_end(body: &[u8]) -> Option<Counts> {
    let (before, usage) = body.split_at_checked(USAGE.rfind(body)?)?;
    let is_in_object = before.trim_ascii_start().starts_with(b"{");
    if !is_in_object || TIER.find(before).is_some() || META.find(body).is_some() {
        return None;
    }
    let (usage, behind) = Fields::read_first(usage.get(USAGE_KEY.len()..)?)?;
    let mut counts = Counts::read(&usage)?;
    let behind = behind.trim_ascii();
    if behind != b"}" && behind.len() <= MAX_BEHIND_BYTES {
        // It stands at the top level if the last brace closes what it stands in.
        let members = [b"{", behind.strip_prefix(b",")?].concat();
        let members = Fields::read(str::from_utf8(&members).ok()?)?;
        counts.add_tier(members.service_tier);
    } else if behind != b"}" {
        return None;
    }
    Some(counts)
}

/// Takes a reference because serde gives one.
fn is_zero(count: &u64) -> bool {
    *count == 0
}

#[cfg(test)]
#[allow(clippy::too_many_lines)]
mod tests;
