//! What the members of a usage mean.
//!
//! Owns the spellings of every count, what is a valid count, and the conventions by which counts contain each
//! other. Does not handle the place of a usage (see `places`). Never fails: an invalid count is ignored.

use std::borrow::Cow;
use std::time::Duration;

use serde::de::MapAccess;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::Usage;
use crate::openai::json::{self, read_fields};

/// A greater number than this is no count.
pub const MAX_COUNT: u64 = 1_000_000_000_000;

/// A longer service tier is ignored: cut, it could be the name of another.
pub const MAX_TIER_BYTES: usize = 32;

/// Declares the members that are read. One place for all objects: their names do not clash.
macro_rules! fields {
    ($($name:ident)*) => {
        /// The members of a usage, or of an object in it, each with its JSON; of those with the same
        /// key the last counts.
        #[derive(Default)]
        pub(super) struct Fields<'b> {
            $(pub(super) $name: Json<'b>,)*
        }

        impl<'b> json::Fields<'b> for Fields<'b> {
            fn slot(&mut self, key: &str) -> Option<&mut Json<'b>> {
                match key {
                    $(stringify!($name) => Some(&mut self.$name),)*
                    _ => None,
                }
            }

            /// Reads it as text too, so that bytes which are no text spoil the whole object wherever
            /// they stand.
            fn other<A: MapAccess<'b>>(
                &mut self,
                _key: Cow<'b, str>,
                object: &mut A,
            ) -> Result<(), A::Error> {
                object.next_value::<&RawValue>().map(drop)
            }
        }
    };
}

/// The JSON of a member, if it is there.
pub(super) type Json<'b> = Option<&'b RawValue>;

fields! {
    prompt_tokens input_tokens completion_tokens output_tokens total_tokens
    prompt_tokens_details input_tokens_details input_token_details
    completion_tokens_details output_tokens_details output_token_details
    cached_tokens num_cached_tokens prompt_cache_hit_tokens cache_read_input_tokens
    cache_write_tokens cache_creation_input_tokens
    cache_creation ephemeral_1h_input_tokens ephemeral_5m_input_tokens
    reasoning_tokens audio_tokens image_tokens
    seconds prompt_audio_seconds
    server_tool_use web_search_requests num_search_queries search_units
    billed_units tokens usage service_tier
}

impl<'b> Deserialize<'b> for Fields<'b> {
    fn deserialize<D: Deserializer<'b>>(deserializer: D) -> Result<Self, D::Error> {
        read_fields(deserializer)
    }
}

impl<'b> Fields<'b> {
    /// Reads an object; `None` for anything else.
    pub(super) fn read(json: &'b str) -> Option<Self> {
        serde_json::from_str(json).ok()
    }

    /// Reads the first object, and gives the bytes after it.
    pub(super) fn read_first(json: &'b [u8]) -> Option<(Self, &'b [u8])> {
        let mut values = serde_json::Deserializer::from_slice(json).into_iter();
        let fields = values.next()?.ok()?;
        Some((fields, json.get(values.byte_offset()..)?))
    }

    /// Reads a member that is an object.
    pub(super) fn of(json: Json<'b>) -> Option<Self> {
        Self::read(json?.get())
    }
}

/// The greatest of these counts: where a server knows several spellings, they are equal, or one is
/// an idle zero.
fn greatest<const N: usize>(values: [Json<'_>; N]) -> Option<u64> {
    let counts = values.into_iter().filter_map(|json| count(json?.get()));
    counts.max()
}

/// The counts of a usage as they were reported, at least one of them. Which of them contain each other
/// is settled at the end, for the counts of a message come in several events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    input: Option<u64>,
    output: Option<u64>,
    total: Option<u64>,
    cache_read: Option<u64>,
    cache_write: Option<u64>,
    cache_write_1h: Option<u64>,
    reasoning: Option<u64>,
    input_audio: Option<u64>,
    input_image: Option<u64>,
    output_audio: Option<u64>,
    output_image: Option<u64>,
    audio_ms: Option<u64>,
    searches: Option<u64>,
    tier: Option<String>,
    /// The input is without what was read from a cache or written to one: Anthropic's convention.
    /// With all others it is included.
    excludes_cache: bool,
}

impl Counts {
    /// Reads a usage, or Cohere's `meta`; `None` if it has no input, output, time or searches.
    pub(super) fn read(usage: &Fields<'_>) -> Option<Self> {
        // Billed units take precedence over counted tokens.
        let cohere = [Fields::of(usage.billed_units), Fields::of(usage.tokens)];
        let cohere = |json: for<'f> fn(&Fields<'f>) -> Json<'f>| {
            let mut objects = cohere.iter().flatten();
            objects.find_map(|fields| greatest([json(fields)]))
        };
        let tools = Fields::of(usage.server_tool_use).unwrap_or_default();
        let times = [usage.seconds, usage.prompt_audio_seconds];
        let counts = Self {
            input: greatest([usage.prompt_tokens, usage.input_tokens])
                .or_else(|| cohere(|of| of.input_tokens)),
            output: greatest([usage.completion_tokens, usage.output_tokens])
                .or_else(|| cohere(|of| of.output_tokens)),
            total: greatest([usage.total_tokens]),
            audio_ms: times
                .into_iter()
                .filter_map(|json| milliseconds(json?.get()))
                .max(),
            searches: greatest([tools.web_search_requests, usage.num_search_queries])
                .max(cohere(|of| of.search_units)),
            ..Self::default()
        };
        let tokens = [counts.input, counts.output, counts.total];
        let priced = [counts.audio_ms, counts.searches];
        let has_counts = tokens.iter().chain(&priced).any(Option::is_some);
        has_counts.then(|| counts.with_caches(usage).with_parts(usage))
    }

    /// Audio of this many seconds, without any other count.
    pub(super) fn of_audio(json: &str) -> Option<Self> {
        let audio_ms = Some(milliseconds(json)?);
        Some(Self {
            audio_ms,
            ..Self::default()
        })
    }

    fn with_caches(mut self, usage: &Fields<'_>) -> Self {
        let beside_read = greatest([usage.cache_read_input_tokens]);
        let kept = Fields::of(usage.cache_creation).unwrap_or_default();
        let hour = greatest([kept.ephemeral_1h_input_tokens]);
        let minutes = greatest([kept.ephemeral_5m_input_tokens]);
        let kept = hour.or(minutes);
        let kept = kept.map(|_| hour.unwrap_or_default() + minutes.unwrap_or_default());
        let beside_written = greatest([usage.cache_creation_input_tokens]).max(kept);
        // Other servers borrow these names, beside a prompt that includes them.
        self.excludes_cache = greatest([usage.prompt_tokens]).unwrap_or_default() == 0
            && beside_read.or(beside_written).is_some();
        self.cache_write_1h = hour;
        self.cache_write = beside_written;
        self.cache_read = beside_read.max(greatest([
            usage.prompt_cache_hit_tokens,
            usage.cached_tokens,
            usage.num_cached_tokens,
        ]));
        self.add_tier(usage.service_tier);
        self
    }

    /// Adds what input and output are made of.
    fn with_parts(mut self, usage: &Fields<'_>) -> Self {
        let input = [
            usage.prompt_tokens_details,
            usage.input_tokens_details,
            // Realtime and transcription leave out the s.
            usage.input_token_details,
        ];
        for details in input.into_iter().filter_map(Fields::of) {
            self.cache_read = self.cache_read.max(greatest([details.cached_tokens]));
            self.cache_write = self.cache_write.max(greatest([
                details.cache_write_tokens,
                details.cache_creation_input_tokens,
            ]));
            self.input_audio = self.input_audio.max(greatest([details.audio_tokens]));
            self.input_image = self.input_image.max(greatest([details.image_tokens]));
        }
        let output = [
            usage.completion_tokens_details,
            usage.output_tokens_details,
            usage.output_token_details,
        ];
        self.reasoning = greatest([usage.reasoning_tokens]);
        for details in output.into_iter().filter_map(Fields::of) {
            self.reasoning = self.reasoning.max(greatest([details.reasoning_tokens]));
            self.output_audio = self.output_audio.max(greatest([details.audio_tokens]));
            self.output_image = self.output_image.max(greatest([details.image_tokens]));
        }
        self
    }

    /// Adds the searches of another place, if none are reported here.
    pub(super) fn with_searches_of(mut self, other: &Self) -> Self {
        self.searches = self.searches.or(other.searches);
        self
    }

    /// Adds the tier beside the usage, if the usage has none.
    pub(super) fn add_tier(&mut self, json: Json<'_>) {
        if self.tier.is_none() {
            self.tier = json.and_then(|json| tier(json.get()));
        }
    }

    /// What is known after a newer usage that has only what has changed.
    pub(super) fn changed_by(self, newer: Self) -> Self {
        Self {
            input: newer.input.or(self.input),
            output: newer.output.or(self.output),
            total: newer.total.or(self.total),
            cache_read: newer.cache_read.or(self.cache_read),
            cache_write: newer.cache_write.or(self.cache_write),
            cache_write_1h: newer.cache_write_1h.or(self.cache_write_1h),
            reasoning: newer.reasoning.or(self.reasoning),
            input_audio: newer.input_audio.or(self.input_audio),
            input_image: newer.input_image.or(self.input_image),
            output_audio: newer.output_audio.or(self.output_audio),
            output_image: newer.output_image.or(self.output_image),
            audio_ms: newer.audio_ms.or(self.audio_ms),
            searches: newer.searches.or(self.searches),
            tier: newer.tier.or(self.tier),
            excludes_cache: self.excludes_cache || newer.excludes_cache,
        }
    }

    /// The normal form.
    pub(super) fn settle(self) -> Usage {
        let count = Option::unwrap_or_default;
        let (read, written) = (count(self.cache_read), count(self.cache_write));
        let input = self.whole_input();
        let (output, reasoning) = self.whole_output(input);
        let cache_read = read.min(input);
        let cache_write = written.min(input - cache_read);
        let input_audio = count(self.input_audio).min(input);
        let output_audio = count(self.output_audio).min(output);
        Usage {
            input: input - cache_read - cache_write,
            cache_read,
            cache_write,
            cache_write_1h: count(self.cache_write_1h).min(cache_write),
            output,
            reasoning,
            input_audio,
            input_image: count(self.input_image).min(input - input_audio),
            output_audio,
            output_image: count(self.output_image).min(output - output_audio),
            audio_ms: count(self.audio_ms),
            searches: count(self.searches),
            tier: self.tier,
            is_estimated: false,
        }
    }

    /// All input. A total without an input includes the input; a total alone is all input, as servers that
    /// rerank report it.
    fn whole_input(&self) -> u64 {
        match (self.input, self.total) {
            (None, Some(total)) => total.saturating_sub(self.output.unwrap_or_default()),
            (input, _) if self.excludes_cache || self.totals_cache() => {
                input.unwrap_or_default() + self.cached()
            }
            (input, _) => input.unwrap_or_default(),
        }
    }

    /// What was read from a cache or written to one.
    fn cached(&self) -> u64 {
        self.cache_read.unwrap_or_default() + self.cache_write.unwrap_or_default()
    }

    /// Whether the total is input, output and the cached tokens, so that the input excludes these: so do
    /// translations of Bedrock's usage.
    fn totals_cache(&self) -> bool {
        let cached = self.cached();
        let besides = [self.input, self.output, Some(cached)];
        let sum = besides.into_iter().flatten().sum();
        cached > 0 && self.total == Some(sum) && self.reasoning != Some(cached)
    }

    /// All output, and what of it was reasoning.
    ///
    /// What the total has beyond input and output is output that was not reported: xAI leaves out the
    /// reasoning that it reports, Gemini a reasoning that it does not report. With audio that is priced by
    /// its time, it is that audio: so does Mistral, and it is not counted twice. Reasoning of more
    /// than the output cannot be a part of it, and is added: so does Perplexity.
    fn whole_output(&self, input: u64) -> (u64, u64) {
        let in_total = self.total.unwrap_or_default().saturating_sub(input);
        let untold = match self.audio_ms {
            Some(1..) => 0,
            _ => in_total.saturating_sub(self.output.unwrap_or_default()),
        };
        let is_thought = self.output.is_some() && self.reasoning.is_none();
        let output = self.output.unwrap_or_default() + untold;
        let reasoning = match self.reasoning {
            None if is_thought => untold,
            reasoning => reasoning.unwrap_or_default(),
        };
        if reasoning > output {
            (output + reasoning, reasoning)
        } else {
            (output, reasoning)
        }
    }
}

/// A count: a whole number, also with a fraction of zeros, or a string of digits. No other value is
/// one, and none above [`MAX_COUNT`]; nor is one with an exponent, for none needs it.
fn count(json: &str) -> Option<u64> {
    let digits = match json.strip_prefix('"') {
        Some(text) => text.strip_suffix('"')?,
        None => match json.split_once('.') {
            Some((whole, zeros)) if zeros.bytes().all(|digit| digit == b'0') => whole,
            Some(_) => return None,
            None => json,
        },
    };
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok().filter(|count| *count <= MAX_COUNT)
}

/// Seconds, as a number or as a string with one; what is below a millisecond is cut off. A time of
/// more than [`MAX_COUNT`] milliseconds is none.
fn milliseconds(json: &str) -> Option<u64> {
    let text = json
        .strip_prefix('"')
        .map_or(Some(json), |text| text.strip_suffix('"'))?;
    let time = Duration::try_from_secs_f64(text.parse().ok()?).ok()?;
    let milliseconds = u64::try_from(time.as_millis()).ok()?;
    Some(milliseconds).filter(|count| *count <= MAX_COUNT)
}

/// A service tier. It is a word, for it is written to logs and compared with names in prices.
fn tier(json: &str) -> Option<String> {
    let word = json.strip_prefix('"')?.strip_suffix('"')?;
    let in_word = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    let is_word = (1..=MAX_TIER_BYTES).contains(&word.len()) && word.bytes().all(in_word);
    is_word.then(|| word.to_owned())
}

#[cfg(test)]
mod tests;
