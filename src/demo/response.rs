//! The demo's answers of `/v1/responses`, whole and as events.
//!
//! Owns their form: OpenAI's published types with every required field, so that the SDKs' own checks
//! pass. Does not handle the text of the answer (see `answers`). Cannot fail.

use serde_json::{Map, Value, json};

/// The content of a response.
pub struct Response<'a> {
    /// Its id, without the prefix of the object's kind.
    pub id: &'a str,
    /// Its creation time, in Unix seconds.
    pub created: i64,
    /// The request. The response repeats its settings.
    pub request: &'a Value,
    /// The text.
    pub text: &'a str,
    /// Input and output tokens.
    pub tokens: (usize, usize),
}

/// The settings that a response repeats, each with its default.
fn settings() -> [(&'static str, Value); 14] {
    [
        ("background", json!(false)),
        ("instructions", Value::Null),
        ("max_output_tokens", Value::Null),
        ("metadata", json!({})),
        ("model", Value::Null),
        ("parallel_tool_calls", json!(true)),
        ("previous_response_id", Value::Null),
        ("reasoning", json!({ "effort": null, "summary": null })),
        ("store", json!(false)),
        ("temperature", json!(1.0)),
        ("text", json!({ "format": { "type": "text" } })),
        ("tool_choice", json!("auto")),
        ("tools", json!([])),
        ("top_p", json!(1.0)),
    ]
}

impl Response<'_> {
    /// The whole response.
    pub fn whole(&self) -> Value {
        let (input, output) = self.tokens;
        let usage = json!({
            "input_tokens": input,
            "input_tokens_details": { "cached_tokens": 0, "cache_write_tokens": 0 },
            "output_tokens": output,
            "output_tokens_details": { "reasoning_tokens": 0 },
            "total_tokens": input + output,
        });
        let item = self.item("completed", json!([self.part(self.text)]));
        self.object("completed", json!([item]), usage)
    }

    /// The events, a word each.
    pub fn events(&self) -> Vec<String> {
        let mut events = Events::default();
        let begun = || json!({ "response": self.object("in_progress", json!([]), Value::Null) });
        events.add("response.created", begun());
        events.add("response.in_progress", begun());
        let item = self.item("in_progress", json!([]));
        events.add(
            "response.output_item.added",
            json!({ "output_index": 0, "item": item }),
        );
        let part = |text| self.within(json!({ "part": self.part(text) }));
        events.add("response.content_part.added", part(""));
        for word in self.text.split_inclusive(' ') {
            let delta = self.within(json!({ "delta": word, "logprobs": [] }));
            events.add("response.output_text.delta", delta);
        }
        let done = self.within(json!({ "text": self.text, "logprobs": [] }));
        events.add("response.output_text.done", done);
        events.add("response.content_part.done", part(self.text));
        let item = self.item("completed", json!([self.part(self.text)]));
        events.add(
            "response.output_item.done",
            json!({ "output_index": 0, "item": item }),
        );
        events.add("response.completed", json!({ "response": self.whole() }));
        events.all
    }

    fn object(&self, status: &str, output: Value, usage: Value) -> Value {
        let mut object = Map::new();
        let mut set = |name: &str, value| object.insert(name.to_owned(), value);
        set("id", json!(format!("resp_{}", self.id)));
        set("object", json!("response"));
        set("created_at", json!(self.created));
        set("status", json!(status));
        set("error", Value::Null);
        set("incomplete_details", Value::Null);
        set("output", output);
        set("usage", usage);
        for (name, default) in settings() {
            let given = self.request.get(name).filter(|given| !given.is_null());
            set(name, given.cloned().unwrap_or(default));
        }
        Value::Object(object)
    }

    fn item_id(&self) -> String {
        format!("msg_{}", self.id)
    }

    fn item(&self, status: &str, content: Value) -> Value {
        json!({
            "id": self.item_id(),
            "type": "message",
            "status": status,
            "role": "assistant",
            "content": content,
        })
    }

    fn part(&self, text: &str) -> Value {
        json!({ "type": "output_text", "text": text, "annotations": [], "logprobs": [] })
    }

    /// An event's fields, with their position in the response.
    fn within(&self, mut fields: Value) -> Value {
        if let Some(fields) = fields.as_object_mut() {
            fields.insert("item_id".to_owned(), json!(self.item_id()));
            fields.insert("output_index".to_owned(), json!(0));
            fields.insert("content_index".to_owned(), json!(0));
        }
        fields
    }
}

/// Events, numbered in their order.
#[derive(Default)]
struct Events {
    all: Vec<String>,
}

impl Events {
    fn add(&mut self, kind: &str, mut event: Value) {
        if let Some(event) = event.as_object_mut() {
            event.insert("type".to_owned(), json!(kind));
            event.insert("sequence_number".to_owned(), json!(self.all.len()));
        }
        self.all.push(format!("event: {kind}\ndata: {event}\n\n"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_numbered_and_amount_to_the_whole() {
        let request = json!({"model": "echo", "input": "a b", "temperature": 0.5, "tools": null});
        let response = Response {
            id: "1",
            created: 7,
            request: &request,
            text: "a b",
            tokens: (2, 2),
        };
        let whole = response.whole();
        assert_eq!(
            (&whole["model"], &whole["temperature"]),
            (&json!("echo"), &json!(0.5))
        );
        assert_eq!(whole["tools"], json!([]));
        assert_eq!(whole["output"][0]["content"][0]["text"], "a b");
        let mut text = String::new();
        let events = response.events();
        for (number, event) in events.iter().enumerate() {
            let (kind, data) = event.split_once("\ndata: ").unwrap();
            let data: Value = serde_json::from_str(data.trim_end()).unwrap();
            assert_eq!(data["sequence_number"], json!(number));
            assert_eq!(
                Some(data["type"].as_str().unwrap()),
                kind.strip_prefix("event: ")
            );
            text += data["delta"].as_str().unwrap_or_default();
            if number + 1 == events.len() {
                assert_eq!(data["response"], whole);
            }
        }
        assert_eq!(text, "a b");
    }
}
