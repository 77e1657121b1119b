//! The text of a stream's events, counted once.
//!
//! Owns which events of a response repeat the text of others: it comes in deltas, and again when a text, a
//! part, an item and the whole response are done. Any of these may be missing. Does not handle how texts are
//! found, nor how many tokens they have (see `estimate`). Never fails: an event that cannot be read has no
//! text.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::estimate::{Sample, texts};
use super::json::{Object, string};
use super::sse::Event;
use super::stream_state::Stream;

/// The number of levels on which the text of a response may come, once on each.
const LEVELS: usize = 5;

/// The text in the events of one stream.
pub struct TextSample {
    stream: Stream,
    sample: Sample,
    /// How many bytes of text have come on each level.
    levels: [u64; LEVELS],
    /// How many of them are in the sample: as many as on the level that has most.
    counted: u64,
}

/// What an event has the text of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    Delta,
    Text,
    Part,
    Item,
    Response,
}

impl Level {
    /// The level of an event of a response; `None` for an event without a text of its own.
    fn of(kind: &str) -> Option<Self> {
        match kind {
            // Sound, and no text.
            "response.audio.delta" | "response.output_audio.delta" => None,
            "response.content_part.done" | "response.reasoning_summary_part.done" => {
                Some(Self::Part)
            }
            "response.output_item.done" => Some(Self::Item),
            "response.completed" | "response.incomplete" | "response.failed" => {
                Some(Self::Response)
            }
            kind if kind.ends_with(".delta") => Some(Self::Delta),
            kind if kind.ends_with(".done") => Some(Self::Text),
            _ => None,
        }
    }
}

impl TextSample {
    /// For one stream, from its first event.
    pub fn new(stream: Stream) -> Self {
        Self {
            stream,
            sample: Sample::default(),
            levels: [0; LEVELS],
            counted: 0,
        }
    }

    /// Takes the next event.
    pub fn see(&mut self, event: &Event<'_>) {
        let Ok(data) = &event.data else {
            return;
        };
        if self.stream != Stream::Responses {
            return self.sample.add_answer(data);
        }
        let Some(level) = kind(event.name, data).and_then(|kind| Level::of(&kind)) else {
            return;
        };
        // Besides its output a response repeats its request.
        let data = match level {
            Level::Response => output(data).unwrap_or_default(),
            _ => data,
        };
        let (sample, counted) = (&mut self.sample, &mut self.counted);
        let Some(bytes) = self.levels.get_mut(level as usize) else {
            return;
        };
        texts(data, |text| {
            *bytes += text.len() as u64;
            let more = bytes.saturating_sub(*counted);
            let known = (text.len() as u64).saturating_sub(more);
            let known = usize::try_from(known).unwrap_or(usize::MAX);
            sample.add(text.get(known..).unwrap_or_default());
            *counted = (*counted).max(*bytes);
        });
    }

    /// How many tokens it may have so far, from its length alone.
    pub fn rough_tokens(&self) -> u64 {
        self.sample.rough_tokens()
    }

    /// The text to be counted.
    pub fn into_sample(self) -> Sample {
        self.sample
    }
}

/// The type of an event of a response.
fn kind<'e>(name: Option<&'e [u8]>, data: &'e [u8]) -> Option<Cow<'e, str>> {
    #[derive(Deserialize)]
    struct Typed<'b> {
        #[serde(borrow, rename = "type")]
        kind: Option<&'b RawValue>,
    }
    // Some servers give all events one name.
    if let Some(name) = name.filter(|name| name.starts_with(b"response.")) {
        return str::from_utf8(name).ok().map(Cow::Borrowed);
    }
    let Object(typed) = serde_json::from_slice::<Object<Typed<'_>>>(data).ok()?;
    string(typed.kind?)
}

/// The output of the response in an event.
fn output(data: &[u8]) -> Option<&[u8]> {
    #[derive(Deserialize)]
    struct Outer<'b> {
        #[serde(borrow)]
        response: Object<Inner<'b>>,
    }
    #[derive(Deserialize)]
    struct Inner<'b> {
        #[serde(borrow)]
        output: &'b RawValue,
    }
    let Object(outer) = serde_json::from_slice::<Object<Outer<'_>>>(data).ok()?;
    let Object(inner) = outer.response;
    Some(inner.output.get().as_bytes())
}

#[cfg(test)]
#[allow(clippy::indexing_slicing)]
mod tests {
    use super::super::tokenizer::tests::tokenizer;
    use super::*;

    /// The words that are counted of a response whose events these are, one in a line.
    fn said(events: &str) -> String {
        let mut said = TextSample::new(Stream::Responses);
        for line in events.lines().map(str::trim).filter(|l| !l.is_empty()) {
            let event = |name| Event {
                name,
                data: Ok(Cow::Borrowed(line.as_bytes())),
                data_at: None,
                start: 0,
                end: 0,
            };
            said.see(&event(None));
        }
        said.into_sample().text()
    }

    const DELTAS: &str = r#"
        {"type":"response.created","response":{"instructions":[{"content":"asked"}],"output":[]}}
        {"type":"response.output_item.added","item":{"type":"message","content":[]}}
        {"type":"response.output_text.delta","delta":"forty-"}
        {"type":"response.output_text.delta","delta":"two"}"#;
    const TEXT: &str = r#"{"type":"response.output_text.done","text":"forty-two"}"#;
    const PART: &str =
        r#"{"type":"response.content_part.done","part":{"type":"output_text","text":"forty-two"}}"#;
    const ITEM: &str =
        r#"{"type":"response.output_item.done","item":{"content":[{"text":"forty-two"}]}}"#;
    const WHOLE: &str = r#"{"type":"response.completed","response":{"instructions":[{"content":"asked"}],"output":[{"content":[{"text":"forty-two"}]}],"tools":[{"name":"f","text":"no"}]}}"#;

    #[test]
    fn words_that_are_told_on_several_levels_count_once() {
        let all = [TEXT, PART, ITEM, WHOLE];
        for from in 0..=all.len() {
            let rest = all.get(from..).unwrap_or_default().join("\n");
            assert_eq!(
                said(&format!("{DELTAS}\n{rest}")),
                "forty-two",
                "deltas, {rest}"
            );
            let alone = if from < all.len() { "forty-two" } else { "" };
            assert_eq!(said(&rest), alone, "{rest}");
        }
        for (cut, text) in [(4, "forty-"), (3, "")] {
            let lines: Vec<_> = DELTAS.lines().take(cut).collect();
            assert_eq!(said(&lines.join("\n")), text);
        }
    }

    #[test]
    fn what_only_a_later_level_tells_counts_too() {
        let call = r#"{"type":"response.output_item.done","item":{"type":"function_call","arguments":"{}"}}"#;
        assert_eq!(said(&[DELTAS, ITEM, call].join("\n")), "forty-two{}");
        let whole = r#"{"type":"response.completed","response":{"output":[{"content":[{"text":"forty-two"}]},{"arguments":"{}"}]}}"#;
        assert_eq!(said(&[DELTAS, TEXT, whole].join("\n")), "forty-two{}");
        let empty = r#"{"type":"response.completed","response":{"output":[]}}"#;
        assert_eq!(said(&[DELTAS, ITEM, call, empty].join("\n")), "forty-two{}");
        let sound = r#"{"type":"response.audio.delta","delta":"AAAA"}"#;
        let transcript = r#"{"type":"response.audio.transcript.delta","delta":"hi"}"#;
        assert_eq!(said(&[sound, transcript].join("\n")), "hi");
    }

    #[test]
    fn an_event_is_known_by_its_name_too() {
        let mut said = TextSample::new(Stream::Responses);
        for (name, data) in [
            ("response.output_text.delta", r#"{"delta":"a"}"#),
            ("response.output_text.done", r#"{"text":"a"}"#),
            ("response.created", r#"{"text":"b"}"#),
            (
                "message",
                r#"{"type":"response.output_text.delta","delta":"c"}"#,
            ),
        ] {
            said.see(&Event {
                name: Some(name.as_bytes()),
                data: Ok(Cow::Borrowed(data.as_bytes())),
                data_at: None,
                start: 0,
                end: 0,
            });
        }
        assert_eq!(said.into_sample().text(), "ac");
    }

    #[test]
    fn whatever_comes_no_more_is_counted_than_was_told() {
        const PIECES: [&str; 10] = [
            r#""type":"response.output_text.delta""#,
            r#""type":"response.output_item.done""#,
            r#""type":"response.completed""#,
            r#""response":{"output":[{"text":"ab"}]}"#,
            r#""delta":"a""#,
            r#""item":{"text":"ab\u0063"}"#,
            r#""text":"é""#,
            "\"",
            "{",
            "\\",
        ];
        let mut random = fastrand::Rng::with_seed(11);
        for _ in 0..2_000 {
            let mut said = TextSample::new(Stream::Responses);
            let mut told = 0;
            for _ in 0..random.usize(1..6) {
                let pieces: Vec<_> = (0..random.usize(..4))
                    .map(|_| PIECES[random.usize(..PIECES.len())])
                    .collect();
                let data = format!("{{{}}}", pieces.join(","));
                told += data.len() as u64;
                said.see(&Event {
                    name: None,
                    data: Ok(Cow::Borrowed(data.as_bytes())),
                    data_at: None,
                    start: 0,
                    end: 0,
                });
            }
            assert!(said.counted <= told);
            assert_eq!(said.counted, said.levels.into_iter().max().unwrap());
            said.into_sample().tokens(tokenizer());
        }
    }
}
