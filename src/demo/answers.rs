//! The answers of the built-in provider.
//!
//! Owns reading a request and building the answer, whole or as events. Does not handle connections (see
//! `demo`) or the form of `/v1/responses` (see `response`). Fails with a status and a message.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::response::Response;
use crate::{clock, ids};

/// Its models.
const MODELS: [&str; 7] = [
    "echo",
    "lorem",
    "embed",
    "fault-429",
    "fault-500",
    "fault-cut",
    "fault-stall",
];
const LOREM: &str = "Lorem ipsum dolor sit amet, consectetur adipiscing elit, sed do eiusmod \
tempor incididunt ut labore et dolore magna aliqua. Ut enim ad minim veniam, quis nostrud \
exercitation ullamco laboris nisi ut aliquip ex ea commodo consequat.";

/// The creation time of its models: the beginning of 2026, in Unix seconds.
const CREATED: i64 = 1_767_225_600;
/// The length of an embedding.
const DIMENSIONS: usize = 16;

/// The list of its models.
pub fn models() -> String {
    let entry = |id| json!({"id": id, "object": "model", "created": CREATED, "owned_by": "demo"});
    let data: Vec<Value> = MODELS.into_iter().map(entry).collect();
    json!({"object": "list", "data": data}).to_string()
}

/// A fault on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// 429 with a Retry-After.
    RateLimited,
    /// 500.
    Broken,
    /// The connection breaks within the answer.
    Cut,
    /// The answer stops, and the connection stays open.
    Stall,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Chat,
    Completion,
    Embedding,
    Response,
}

/// A request as it was understood.
#[derive(Debug)]
pub struct DemoRequest {
    kind: Kind,
    model: String,
    /// The text of the answer, or the texts to embed.
    texts: Vec<String>,
    prompt_tokens: usize,
    /// Whether the client wants a stream.
    pub stream: bool,
    include_usage: bool,
    base64: bool,
    /// The fault that it asks for.
    pub fault: Option<Fault>,
    id: String,
    created: i64,
    /// The request's body.
    body: Value,
}

/// The body of an error.
pub fn error(status: StatusCode, kind: &str, code: Option<&str>, message: &str) -> String {
    let code = code
        .map(str::to_owned)
        .or((status == StatusCode::NOT_FOUND).then(|| "model_not_found".to_owned()));
    json!({ "error": { "message": message, "type": kind, "param": null, "code": code } })
        .to_string()
}

impl DemoRequest {
    /// Reads a request.
    ///
    /// # Errors
    /// The status and message of the answer.
    pub fn read(path: &str, body: &[u8]) -> Result<Self, (StatusCode, String)> {
        let kind = match path {
            "/v1/chat/completions" => Kind::Chat,
            "/v1/completions" => Kind::Completion,
            "/v1/embeddings" => Kind::Embedding,
            "/v1/responses" => Kind::Response,
            _ => {
                return Err((
                    StatusCode::NOT_FOUND,
                    format!("The demo does not serve {path}."),
                ));
            }
        };
        let body: Value = serde_json::from_slice(body)
            .map_err(|e| (StatusCode::BAD_REQUEST, format!("not JSON: {e}")))?;
        let model = text(&body, "/model").unwrap_or_default();
        let fault = match model.as_str() {
            "fault-429" => Some(Fault::RateLimited),
            "fault-500" => Some(Fault::Broken),
            "fault-cut" => Some(Fault::Cut),
            "fault-stall" => Some(Fault::Stall),
            "echo" | "lorem" | "embed" => None,
            "" => {
                let message = format!("`model` is missing: name one of {}.", MODELS.join(", "));
                return Err((StatusCode::BAD_REQUEST, message));
            }
            _ => {
                let models = MODELS.join(", ");
                let message = format!("The demo has no model `{model}`: it has {models}.");
                return Err((StatusCode::NOT_FOUND, message));
            }
        };
        let texts = prompt(kind, &body);
        let answers_lorem = model == "lorem" || fault.is_some();
        Ok(Self {
            kind,
            prompt_tokens: texts.iter().map(|text| count_tokens(text)).sum(),
            texts: match kind != Kind::Embedding && answers_lorem {
                true => vec![LOREM.to_owned()],
                false => texts,
            },
            stream: kind != Kind::Embedding && flag(&body, "/stream"),
            include_usage: flag(&body, "/stream_options/include_usage"),
            base64: text(&body, "/encoding_format").as_deref() == Some("base64"),
            model,
            fault,
            id: format!("demo-{}", ids::request_id()),
            created: clock::now_unix_seconds(),
            body,
        })
    }

    /// Whether words come at reading speed.
    pub fn is_paced(&self) -> bool {
        self.model == "lorem" || self.fault.is_some()
    }

    fn answer(&self) -> &str {
        self.texts.first().map_or("", String::as_str)
    }

    fn response(&self) -> Response<'_> {
        Response {
            id: &self.id,
            created: self.created,
            request: &self.body,
            text: self.answer(),
            tokens: (self.prompt_tokens, count_tokens(self.answer())),
        }
    }

    fn usage(&self) -> Value {
        let prompt = self.prompt_tokens;
        let completion = count_tokens(self.answer());
        json!({
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
        })
    }

    fn object(&self, object: &str, choices: Value) -> Value {
        json!({
            "id": self.id,
            "object": object,
            "created": self.created,
            "model": self.model,
            "choices": choices,
        })
    }

    /// The answer as one JSON body.
    pub fn whole_answer(&self) -> String {
        let mut answer = match self.kind {
            Kind::Embedding => return self.embeddings().to_string(),
            Kind::Response => return self.response().whole().to_string(),
            Kind::Chat => {
                let message =
                    json!({ "role": "assistant", "content": self.answer(), "refusal": null });
                let choice = json!([{ "index": 0, "message": message, "logprobs": null, "finish_reason": "stop" }]);
                self.object("chat.completion", choice)
            }
            Kind::Completion => {
                let choice = json!([{ "index": 0, "text": self.answer(), "logprobs": null, "finish_reason": "stop" }]);
                self.object("text_completion", choice)
            }
        };
        if let Some(object) = answer.as_object_mut() {
            object.insert("usage".to_owned(), self.usage());
        }
        answer.to_string()
    }

    /// The answer as events, a word each, with the endpoint's end of a stream.
    pub fn events(&self) -> Vec<String> {
        if self.kind == Kind::Response {
            return self.response().events();
        }
        let mut chunks = Vec::new();
        if self.kind == Kind::Chat {
            chunks.push(self.chunk(json!({ "role": "assistant", "content": "" }), None));
        }
        for word in self.answer().split_inclusive(' ') {
            chunks.push(self.chunk(json!({ "content": word }), None));
        }
        chunks.push(self.chunk(json!({}), Some("stop")));
        if self.include_usage {
            for chunk in &mut chunks {
                insert(chunk, "usage", Value::Null);
            }
            let mut last = self.object(self.chunk_object(), json!([]));
            insert(&mut last, "usage", self.usage());
            chunks.push(last);
        }
        let events = chunks.into_iter().map(|chunk| format!("data: {chunk}\n\n"));
        events.chain(["data: [DONE]\n\n".to_owned()]).collect()
    }

    fn chunk_object(&self) -> &'static str {
        match self.kind {
            Kind::Completion => "text_completion",
            _ => "chat.completion.chunk",
        }
    }

    fn chunk(&self, delta: Value, finish: Option<&str>) -> Value {
        let choice = match self.kind {
            Kind::Completion => {
                let text = delta.get("content").cloned().unwrap_or_else(|| json!(""));
                json!([{ "index": 0, "text": text, "logprobs": null, "finish_reason": finish }])
            }
            _ => json!([{ "index": 0, "delta": delta, "logprobs": null, "finish_reason": finish }]),
        };
        self.object(self.chunk_object(), choice)
    }

    fn embeddings(&self) -> Value {
        let data: Vec<Value> = self
            .texts
            .iter()
            .enumerate()
            .map(|(index, text)| {
                let vector = embed(text);
                let embedding = match self.base64 {
                    true => {
                        let bytes: Vec<u8> = vector.iter().flat_map(|v| v.to_le_bytes()).collect();
                        json!(STANDARD.encode(bytes))
                    }
                    false => json!(vector),
                };
                json!({ "object": "embedding", "index": index, "embedding": embedding })
            })
            .collect();
        json!({
            "object": "list",
            "data": data,
            "model": self.model,
            "usage": { "prompt_tokens": self.prompt_tokens, "total_tokens": self.prompt_tokens },
        })
    }
}

fn insert(object: &mut Value, key: &str, value: Value) {
    if let Some(object) = object.as_object_mut() {
        object.insert(key.to_owned(), value);
    }
}

/// The client's text; for embeddings, one text each.
fn prompt(kind: Kind, body: &Value) -> Vec<String> {
    match kind {
        Kind::Chat => {
            let messages = body.pointer("/messages").and_then(Value::as_array);
            let last = messages.and_then(|messages| messages.last());
            vec![last.map(content).unwrap_or_default()]
        }
        Kind::Completion => vec![
            texts(body, "/prompt")
                .into_iter()
                .next()
                .unwrap_or_default(),
        ],
        Kind::Embedding => texts(body, "/input"),
        Kind::Response => vec![match body.pointer("/input") {
            Some(Value::Array(items)) => items.last().map(content).unwrap_or_default(),
            Some(Value::String(input)) => input.clone(),
            _ => String::new(),
        }],
    }
}

/// A message's content: text, or the texts of its parts.
fn content(message: &Value) -> String {
    match message.pointer("/content") {
        Some(Value::Array(parts)) => {
            let texts = parts.iter().filter_map(|part| text(part, "/text"));
            texts.collect::<Vec<_>>().join(" ")
        }
        Some(Value::String(content)) => content.clone(),
        _ => String::new(),
    }
}

fn texts(body: &Value, pointer: &str) -> Vec<String> {
    match body.pointer(pointer) {
        Some(Value::Array(items)) => items
            .iter()
            .map(|item| {
                item.as_str()
                    .map_or_else(|| item.to_string(), str::to_owned)
            })
            .collect(),
        Some(Value::String(text)) => vec![text.clone()],
        _ => Vec::new(),
    }
}

fn text(body: &Value, pointer: &str) -> Option<String> {
    body.pointer(pointer)?.as_str().map(str::to_owned)
}

fn flag(body: &Value, pointer: &str) -> bool {
    body.pointer(pointer).and_then(Value::as_bool) == Some(true)
}

/// A word counts as a token.
fn count_tokens(text: &str) -> usize {
    text.split_whitespace().count()
}

/// A unit vector that depends on the text alone.
fn embed(text: &str) -> Vec<f32> {
    let hash = Sha256::digest(text.as_bytes());
    let raw: Vec<f32> = hash
        .iter()
        .take(DIMENSIONS)
        .map(|byte| f32::from(*byte) / 127.5 - 1.0)
        .collect();
    let length = raw
        .iter()
        .map(|v| v * v)
        .sum::<f32>()
        .sqrt()
        .max(f32::EPSILON);
    raw.iter().map(|v| v / length).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(path: &str, body: Value) -> DemoRequest {
        DemoRequest::read(path, body.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn echo_answers_with_the_last_message_whole_and_streamed() {
        let body = json!({"model": "echo", "stream": true, "stream_options": {"include_usage": true},
            "messages": [{"role": "user", "content": [{"type": "text", "text": "hello world"}]}]});
        let asked = asked("/v1/chat/completions", body);
        let whole: Value = serde_json::from_str(&asked.whole_answer()).unwrap();
        assert_eq!(
            whole.pointer("/choices/0/message/content"),
            Some(&json!("hello world"))
        );
        let events = asked.events();
        assert_eq!(events.last().unwrap(), "data: [DONE]\n\n");
        assert!(
            events.iter().any(|e| e.contains("\"total_tokens\":4")),
            "{events:?}"
        );
    }

    #[test]
    fn embeddings_come_in_both_encodings_with_the_same_numbers() {
        let floats = asked(
            "/v1/embeddings",
            json!({"model": "embed", "input": ["a", "b"]}),
        );
        let whole: Value = serde_json::from_str(&floats.whole_answer()).unwrap();
        let numbers = whole
            .pointer("/data/1/embedding")
            .unwrap()
            .as_array()
            .unwrap();
        assert_eq!(numbers.len(), DIMENSIONS);
        let encoded = asked(
            "/v1/embeddings",
            json!({"model": "embed", "input": "b", "encoding_format": "base64"}),
        );
        let whole: Value = serde_json::from_str(&encoded.whole_answer()).unwrap();
        let text = whole
            .pointer("/data/0/embedding")
            .unwrap()
            .as_str()
            .unwrap();
        let bytes = STANDARD.decode(text).unwrap();
        let first = f32::from_le_bytes(bytes[..4].try_into().unwrap());
        assert!((f64::from(first) - numbers[0].as_f64().unwrap()).abs() < 1e-6);
    }

    #[test]
    fn unknown_models_and_paths_differ_from_invalid_bodies() {
        let status = |path, body: &[u8]| DemoRequest::read(path, body).unwrap_err().0;
        assert_eq!(status("/v1/x", b"{}"), StatusCode::NOT_FOUND);
        assert_eq!(
            status("/v1/embeddings", b"{\"model\":\"x\"}"),
            StatusCode::NOT_FOUND
        );
        assert_eq!(status("/v1/embeddings", b"{"), StatusCode::BAD_REQUEST);
        let known = "echo, lorem, embed, fault-429, fault-500, fault-cut, fault-stall";
        for (body, told) in [
            (
                "{}",
                (
                    StatusCode::BAD_REQUEST,
                    format!("`model` is missing: name one of {known}."),
                ),
            ),
            (
                r#"{"model":"x"}"#,
                (
                    StatusCode::NOT_FOUND,
                    format!("The demo has no model `x`: it has {known}."),
                ),
            ),
        ] {
            let refused = DemoRequest::read("/v1/responses", body.as_bytes()).unwrap_err();
            assert_eq!(refused, told);
        }
    }

    #[test]
    fn each_model_of_the_list_has_a_time_and_is_served() {
        let list: Value = serde_json::from_str(&models()).unwrap();
        for model in list["data"].as_array().unwrap() {
            assert!(model["created"].as_i64().unwrap() > 0, "{model}");
            asked("/v1/chat/completions", json!({ "model": model["id"] }));
        }
    }
}
