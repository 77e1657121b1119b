//! What a request may use, and what it brings along.
//!
//! Owns the members that bound an answer's length, whether tools are offered, and whether there are images,
//! sounds or files in it. Does not handle what is set aside for it (see `gateway::reserve`). Never fails: a
//! value of another type bounds nothing.

use std::sync::LazyLock;

use aho_corasick::packed::Searcher;
use serde_json::value::RawValue;

/// The members that bound how long an answer may be.
pub(super) const OUTPUT_BOUNDS: [&str; 3] =
    ["max_tokens", "max_completion_tokens", "max_output_tokens"];

/// More choices than this are never counted on.
const MAX_CHOICES: u64 = 128;

/// What a request may use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Demand {
    /// The most tokens of output that it allows, in all of its choices; `None` where it says nothing.
    pub max_output: Option<u64>,
    /// Whether it offers tools.
    pub has_tools: bool,
}

/// The members that tell it, as they stand in a body.
#[derive(Default)]
pub(super) struct DemandMembers<'b> {
    pub(super) max_tokens: Option<&'b RawValue>,
    pub(super) max_completion_tokens: Option<&'b RawValue>,
    pub(super) max_output_tokens: Option<&'b RawValue>,
    pub(super) choices: Option<&'b RawValue>,
    pub(super) tools: Option<&'b RawValue>,
}

impl DemandMembers<'_> {
    /// Reads them; `best_of` is another number of choices.
    pub(super) fn read(&self, best_of: Option<&RawValue>) -> Demand {
        // As in `OUTPUT_BOUNDS`.
        let bounds = [
            self.max_tokens,
            self.max_completion_tokens,
            self.max_output_tokens,
        ];
        let longest = bounds.into_iter().filter_map(count).max();
        let choices = [self.choices, best_of].into_iter().filter_map(count);
        let choices = choices.max().unwrap_or(1).clamp(1, MAX_CHOICES);
        Demand {
            max_output: longest.map(|longest| longest.saturating_mul(choices)),
            has_tools: self
                .tools
                .is_some_and(|tools| !matches!(tools.get(), "null" | "[]")),
        }
    }
}

/// A whole number, in any form that JSON has for one.
fn count(value: Option<&RawValue>) -> Option<u64> {
    let text = value?.get();
    text.parse().ok().or_else(|| {
        let number: f64 = text.parse().ok()?;
        let is_whole = number >= 0.0 && number.fract() == 0.0;
        // Written without a fraction it is read like any other; what is too large is the largest.
        is_whole.then(|| format!("{number:.0}").parse().unwrap_or(u64::MAX))
    })
}

/// The types of parts that are no text.
const PARTS: [&str; 6] = [
    "\"image_url\"",
    "\"input_image\"",
    "\"input_audio\"",
    "\"input_file\"",
    "\"video_url\"",
    "\"file\"",
];

/// Finds any of them in one pass.
static FIND_PARTS: LazyLock<Option<Searcher>> = LazyLock::new(|| Searcher::new(PARTS));

/// Whether a request's body names a part that is an image, a sound, a video or a file.
pub fn is_multimodal(body: &[u8]) -> bool {
    let parts = FIND_PARTS.as_ref();
    parts.is_some_and(|parts| parts.find(body).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::openai::request::peek;

    fn demand(members: &str) -> Demand {
        peek(format!(r#"{{"model":"m",{members}}}"#).as_bytes())
            .unwrap()
            .demand
    }

    #[test]
    fn the_longest_bound_counts_for_each_choice() {
        assert_eq!(demand(r#""x":1"#), Demand::default());
        assert_eq!(demand(r#""max_tokens":100"#).max_output, Some(100));
        let both = demand(r#""max_tokens":100,"max_completion_tokens":200,"n":3"#);
        assert_eq!(both.max_output, Some(600));
        let response = demand(r#""max_output_tokens":18446744073709551615,"n":2"#);
        assert_eq!(response.max_output, Some(u64::MAX));
        assert_eq!(
            demand(r#""max_tokens":1e3,"best_of":2.0"#).max_output,
            Some(2000)
        );
        for other in ["-1", "1.5", "null", "\"7\"", "[]"] {
            let found = demand(&format!(r#""max_tokens":{other},"n":{other}"#));
            assert_eq!(found.max_output, None, "{other}");
        }
    }

    #[test]
    fn tools_and_parts_that_are_no_text_are_seen() {
        assert!(demand(r#""tools":[{"type":"function"}]"#).has_tools);
        assert!(!demand(r#""tools":[]"#).has_tools);
        assert!(is_multimodal(br#"{"type":"image_url","image_url":{}}"#));
        assert!(is_multimodal(br#"{"type": "input_audio"}"#));
        assert!(!is_multimodal(br#"{"content":"an image_url"}"#));
    }
}
