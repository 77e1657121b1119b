//! The request by which an upstream goes on with an answer.
//!
//! Owns which requests can be continued, and the request for the rest: the messages of the first one and the text so
//! far as the assistant's, a bound on the output that is smaller by what has been said, and what the upstream needs to
//! be told. All bytes before the end of the messages stay as they are. Does not handle models and streams, which are
//! written in as in any request. A request that cannot be continued gives `None`.

use std::ops::Range;

use bytes::Bytes;
use serde_json::value::RawValue;

use super::Prefill;
use crate::openai::json::{
    Text, WalkError, entries, equals, is_absent, is_truthy, items, object, quoted, range_in,
};
use crate::openai::patches::Patches;

/// The members that bound the output of a chat.
const BOUNDS: [&str; 2] = ["max_tokens", "max_completion_tokens"];

/// Whether a chat can be continued: it has one choice, of plain text, and the last message is not the assistant's.
/// In a schema, in sound, or with probabilities the rest of a text would not be the rest of the answer.
pub fn can_be_continued(body: &[u8]) -> bool {
    let mut can = true;
    let mut has_messages = false;
    let walked = entries::<Text<'_>, WalkError>(body, |Text(key), value| {
        match &*key {
            "messages" => {
                has_messages = true;
                can &= last_message(value).is_some_and(|last| !is_of_assistant(last));
            }
            "n" | "best_of" => can &= is_absent(Some(value)) || equals(Some(value), "1"),
            "response_format" => can &= is_absent(Some(value)) || is_text(value),
            "logprobs" | "echo" => can &= !is_truthy(Some(value)),
            "top_logprobs" => can &= is_absent(Some(value)) || equals(Some(value), "0"),
            "modalities" => can &= !value.get().contains("\"audio\""),
            "audio" | "prediction" | "continue_final_message" | "guided_json" => {
                can &= is_absent(Some(value));
            }
            "store" => can &= !is_truthy(Some(value)),
            _ => {}
        }
        Ok(())
    });
    walked.is_ok() && can && has_messages
}

/// The request for the rest of an answer of which `text` has been said, in about `tokens` tokens.
pub fn continued(body: &[u8], text: &str, tokens: u64, prefill: Prefill) -> Option<Vec<u8>> {
    let mut patches = Patches::default();
    let mut messages: Option<Range<usize>> = None;
    let mut known: Vec<&'static str> = Vec::new();
    let mut changes: Vec<(Range<usize>, String)> = Vec::new();
    let walked = entries::<Text<'_>, WalkError>(body, |Text(key), value| {
        let range = range_in(body, value.get().as_bytes());
        if key == "messages" {
            messages = Some(range);
        } else if BOUNDS.contains(&&*key) {
            if let Ok(bound) = value.get().parse::<u64>() {
                changes.push((range, bound.saturating_sub(tokens).max(1).to_string()));
            }
        } else if let Some((name, json)) = prefill.request().iter().find(|(name, _)| key == *name) {
            known.push(name);
            changes.push((range, (*json).to_owned()));
        }
        Ok(())
    });
    walked.ok()?;
    // Behind the last message; there is one, or nothing would have been said.
    let at = messages?.end.checked_sub(1)?;
    let mut message = format!(",{{\"role\":\"assistant\",\"content\":{}", quoted(text));
    for (name, json) in prefill.message() {
        message += &format!(",\"{name}\":{json}");
    }
    message.push('}');
    changes.push((at..at, message));
    let end = body.iter().rposition(|byte| *byte == b'}')?;
    let missing = prefill.request().iter();
    let missing = missing.filter(|(name, _)| !known.contains(name));
    let added: String = missing
        .map(|(name, json)| format!(",\"{name}\":{json}"))
        .collect();
    changes.push((end..end, added));
    changes.sort_by_key(|(range, _)| range.start);
    for (range, with) in changes {
        patches.add(range, Bytes::from(with));
    }
    Some(patches.apply(body))
}

fn last_message(messages: &RawValue) -> Option<&RawValue> {
    let mut last = None;
    let walked = items::<WalkError>(messages.get(), |message| {
        last = Some(message);
        Ok(())
    });
    walked.ok().and(last)
}

fn is_of_assistant(message: &RawValue) -> bool {
    #[derive(serde::Deserialize)]
    struct Role<'b> {
        #[serde(borrow, default)]
        role: Option<&'b RawValue>,
    }
    object::<Role<'_>>(message).is_none_or(|message| equals(message.role, "\"assistant\""))
}

/// Whether a format is that of plain text.
fn is_text(format: &RawValue) -> bool {
    #[derive(serde::Deserialize)]
    struct Format<'b> {
        #[serde(borrow, default, rename = "type")]
        kind: Option<&'b RawValue>,
    }
    object::<Format<'_>>(format).is_some_and(|format| equals(format.kind, "\"text\""))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const MESSAGES: &str = r#""messages":[{"role":"user","content":"Tell [me] {more}"}]"#;

    #[test]
    fn what_is_not_plain_text_of_one_choice_is_not_continued() {
        for more in [
            "",
            r#","n":1"#,
            r#","n":null,"tools":[{"type":"function"}]"#,
            r#","response_format":{"type":"text"},"logprobs":false"#,
            r#","modalities":["text"],"store":false"#,
        ] {
            let body = format!("{{{MESSAGES}{more}}}");
            assert!(can_be_continued(body.as_bytes()), "{body}");
        }
        for more in [
            r#","n":2"#,
            r#","response_format":{"type":"json_object"}"#,
            r#","response_format":{"type":"json_schema","json_schema":{}}"#,
            r#","logprobs":true"#,
            r#","top_logprobs":3"#,
            r#","modalities":["text","audio"]"#,
            r#","audio":{"voice":"x"}"#,
            r#","store":true"#,
        ] {
            let body = format!("{{{MESSAGES}{more}}}");
            assert!(!can_be_continued(body.as_bytes()), "{body}");
        }
        for body in [
            "{}",
            r#"{"messages":[]}"#,
            r#"{"messages":[{"role":"user"},{"role":"assistant","content":"So"}]}"#,
            r#"{"messages":["text"]}"#,
        ] {
            assert!(!can_be_continued(body.as_bytes()), "{body}");
        }
    }

    fn asked(body: &str, prefill: Prefill) -> Value {
        let asked = continued(body.as_bytes(), "It was \"a\n", 40, prefill).unwrap();
        assert!(asked.starts_with(body.split_once("}]").unwrap().0.as_bytes()));
        serde_json::from_slice(&asked).unwrap()
    }

    #[test]
    fn each_kind_of_upstream_is_asked_as_its_documentation_says() {
        let body =
            format!("{{ {MESSAGES} , \"max_tokens\": 100, \"add_generation_prompt\": true }} ");
        let plain = json!({ "role": "assistant", "content": "It was \"a\n" });
        let prefix = json!({ "role": "assistant", "content": "It was \"a\n", "prefix": true });
        for (prefill, message) in [
            (Prefill::Assistant, &plain),
            (Prefill::Vllm, &plain),
            (Prefill::Mistral, &prefix),
            (Prefill::Deepseek, &prefix),
        ] {
            let asked = asked(&body, prefill);
            assert_eq!(asked["messages"][0]["content"], "Tell [me] {more}");
            assert_eq!(&asked["messages"][1], message, "{prefill:?}");
            assert_eq!(asked["max_tokens"], 60);
            let is_vllm = prefill == Prefill::Vllm;
            assert_eq!(asked["continue_final_message"] == true, is_vllm);
            assert_eq!(asked["add_generation_prompt"], !is_vllm);
        }
    }

    #[test]
    fn a_bound_that_has_been_reached_leaves_one_token() {
        let body = format!("{{\"max_completion_tokens\":10,{MESSAGES}}}");
        let asked = continued(body.as_bytes(), "So", 40, Prefill::Assistant).unwrap();
        let asked: Value = serde_json::from_slice(&asked).unwrap();
        assert_eq!(asked["max_completion_tokens"], 1);
    }
}
