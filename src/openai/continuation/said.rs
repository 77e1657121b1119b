//! What a client has got of a chat whose stream broke.
//!
//! Owns reading it from the answer as far as it has come. Does not handle how that is put together (see `aggregate`).
//! An answer that cannot go on in another stream gives `None`: one with calls of tools, sound, several choices, no
//! text, or an end.

use serde::Deserialize;
use serde_json::Value;

/// What a client has got.
#[derive(Clone, Debug, PartialEq)]
pub struct Said {
    /// The id of the answer.
    pub id: Option<Value>,
    /// When it was created.
    pub created: Option<Value>,
    /// The model that it names.
    pub model: Option<Value>,
    /// Its text.
    pub text: String,
}

#[derive(Deserialize)]
struct Answer {
    id: Option<Value>,
    created: Option<Value>,
    model: Option<Value>,
    #[serde(default)]
    choices: Vec<Choice>,
}

#[derive(Deserialize)]
struct Choice {
    #[serde(default)]
    message: Message,
    finish_reason: Option<Value>,
}

#[derive(Default, Deserialize)]
struct Message {
    content: Option<Value>,
    tool_calls: Option<Value>,
    function_call: Option<Value>,
    audio: Option<Value>,
    refusal: Option<Value>,
}

impl Said {
    /// Reads an answer as far as it has come.
    pub fn read(partial: &[u8]) -> Option<Self> {
        let answer: Answer = serde_json::from_slice(partial).ok()?;
        let [choice] = <[Choice; 1]>::try_from(answer.choices).ok()?;
        let message = choice.message;
        let others = [
            message.tool_calls,
            message.function_call,
            message.audio,
            message.refusal,
            choice.finish_reason,
        ];
        let has_others = others.into_iter().flatten().any(|other| !other.is_null());
        let text = match message.content {
            Some(Value::String(text)) if !has_others && !text.is_empty() => text,
            _ => return None,
        };
        Some(Self {
            id: answer.id,
            created: answer.created,
            model: answer.model,
            text,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(message: &str, more: &str) -> Option<String> {
        let partial = format!(
            r#"{{"id":"c","created":1,"model":"m","choices":[{{"index":0,"message":{{"role":"assistant",{message}}}{more}}}]}}"#
        );
        Some(Said::read(partial.as_bytes())?.text)
    }

    #[test]
    fn only_an_unfinished_text_can_go_on() {
        let finish = r#","finish_reason":null"#;
        assert_eq!(read(r#""content":"So""#, finish).as_deref(), Some("So"));
        for message in [
            r#""content":null"#,
            r#""content":"""#,
            r#""content":[{"type":"text","text":"So"}]"#,
            r#""content":"So","tool_calls":[{"id":"t"}]"#,
            r#""content":"So","function_call":{"name":"f"}"#,
            r#""content":"So","audio":{"id":"a"}"#,
            r#""content":"So","refusal":"No""#,
        ] {
            assert_eq!(read(message, finish), None, "{message}");
        }
        assert_eq!(
            read(r#""content":"So""#, r#","finish_reason":"stop""#),
            None
        );
        assert_eq!(Said::read(b"{\"choices\":[]}"), None);
        assert_eq!(Said::read(b"no JSON"), None);
    }
}
