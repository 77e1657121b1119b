//! What a request names besides its model.
//!
//! Owns the table of fields that name another model, or something that is stored in the provider's account,
//! and finding one of them in JSON, without a tree, or by the name of a form's part. A tenant that is
//! `strict` may use none of them. Does not handle what follows (see `gateway::failure`), nor the `model`
//! itself (see `request`). A field that is null or empty names nothing. Never fails: what is not JSON names
//! nothing.

use std::fmt;
use std::sync::LazyLock;

use serde::Deserializer;
use serde::de::{DeserializeSeed, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::canonical::Value;
use super::json::Text;

/// What a field names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Names {
    /// A model.
    Model,
    /// Something that is stored in the provider's account.
    Stored,
}

/// A field of a request: its path, with `[]` for each item of a list, and what it names.
#[derive(Debug, PartialEq, Eq)]
pub struct Reference {
    /// The path, as in `tools[].model`.
    pub path: &'static str,
    /// What it names.
    pub names: Names,
}

const fn model(path: &'static str) -> Reference {
    let names = Names::Model;
    Reference { path, names }
}

const fn stored(path: &'static str) -> Reference {
    let names = Names::Stored;
    Reference { path, names }
}

/// OpenAI's own, and those of providers with its API. A new field that is not text for the model may
/// belong here.
static REFERENCES: &[Reference] = &[
    // Other models to fall back to, or to work with.
    model("models"),
    model("fallbacks"),
    model("fallback_models"),
    model("draft_model"),
    model("speculative_model"),
    model("adapter_id"),
    model("deployment"),
    model("deployment_id"),
    model("engine"),
    model("plugins[].model"),
    model("plugins[].models"),
    model("plugins[].allowed_models"),
    model("tools[].model"),
    model("tools[].models"),
    model("tools[].parameters.model"),
    model("tools[].parameters.models"),
    model("moderation.model"),
    model("transcription.model"),
    model("input_audio_transcription.model"),
    model("audio.input.transcription.model"),
    model("session.model"),
    model("session.input_audio_transcription.model"),
    model("session.audio.input.transcription.model"),
    model("data_sources[].parameters.embedding_dependency.deployment_name"),
    model("data_sources[].parameters.embedding_dependency.model_id"),
    model("extra_body.models"),
    // What was asked and answered before.
    stored("previous_response_id"),
    stored("conversation"),
    stored("conversation.id"),
    stored("conversation_id"),
    stored("thread_id"),
    stored("input[].id"),
    stored("messages[].audio.id"),
    // Prompts, assistants and the like.
    stored("prompt.id"),
    stored("prompt_id"),
    stored("preset"),
    stored("assistant_id"),
    stored("agent_id"),
    stored("agent.name"),
    stored("agent_reference.name"),
    stored("skill_id"),
    stored("voice.id"),
    stored("audio.voice.id"),
    stored("session.prompt.id"),
    stored("cached_content"),
    stored("google.cached_content"),
    stored("extra_body.google.cached_content"),
    // Files, wherever one may be used.
    stored("file_id"),
    stored("file_ids"),
    stored("input_file_id"),
    stored("training_file"),
    stored("validation_file"),
    stored("attachments[].file_id"),
    stored("input[].file_id"),
    stored("input[].content[].file_id"),
    stored("input[].output.file_id"),
    stored("input[].output[].file_id"),
    stored("messages[].attachments[].file_id"),
    stored("messages[].content[].file_id"),
    stored("messages[].content[].file.file_id"),
    stored("messages[].content[].image_file.file_id"),
    stored("messages[].content[].source.file_id"),
    stored("image.file_id"),
    stored("image[].file_id"),
    stored("images[].file_id"),
    stored("mask.file_id"),
    stored("input_reference.file_id"),
    stored("tools[].file_ids"),
    stored("tools[].input_image_mask.file_id"),
    // Stores that are searched.
    stored("vector_store_id"),
    stored("vector_store_ids"),
    stored("tools[].vector_store_ids"),
    stored("tools[].collection_ids"),
    stored("tools[].library_ids"),
    stored("tool_resources.file_search.vector_store_ids"),
    stored("tool_resources.code_interpreter.file_ids"),
    // Containers, which hold files and what runs on them.
    stored("container"),
    stored("container.id"),
    stored("container.file_ids"),
    stored("container.skills[].skill_id"),
    stored("container_id"),
    stored("input[].container_id"),
    stored("input[].environment.container_id"),
    stored("tools[].container"),
    stored("tools[].container.id"),
    stored("tools[].container.file_ids"),
    stored("tools[].container.skills[].skill_id"),
    stored("tools[].container_id"),
    stored("tools[].environment.container_id"),
    stored("tools[].environment.skills[].skill_id"),
    stored("tools[].environment.file_ids"),
];

/// The table as a tree of names, so that a body is read once.
#[derive(Default)]
struct Node {
    /// What is named here.
    here: Option<&'static Reference>,
    children: Vec<(&'static str, Node)>,
}

/// The name of any item of a list.
const ITEM: &str = "[]";

static TREE: LazyLock<Node> = LazyLock::new(|| {
    let mut root = Node::default();
    for reference in REFERENCES {
        let steps = reference.path.split('.');
        let steps = steps.flat_map(|step| match step.strip_suffix(ITEM) {
            Some(name) => [Some(name), Some(ITEM)],
            None => [Some(step), None],
        });
        root.add(steps.flatten(), reference);
    }
    root
});

impl Node {
    fn add(&mut self, steps: impl Iterator<Item = &'static str>, reference: &'static Reference) {
        let mut node = self;
        for name in steps {
            let known = node.children.iter().position(|(known, _)| *known == name);
            let at = known.unwrap_or(node.children.len());
            if known.is_none() {
                node.children.push((name, Self::default()));
            }
            let Some((_, child)) = node.children.get_mut(at) else {
                return;
            };
            node = child;
        }
        node.here = Some(reference);
    }

    /// The child of this name. Some servers read names in any case.
    fn child(&self, name: &[u8]) -> Option<&Self> {
        let mut children = self.children.iter();
        let child = children.find(|(known, _)| known.as_bytes().eq_ignore_ascii_case(name));
        child.map(|(_, node)| node)
    }
}

/// The first field of a JSON body that names something.
pub fn find(json: &[u8]) -> Option<&'static Reference> {
    let mut found = None;
    let seed = Look {
        node: &TREE,
        found: &mut found,
    };
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    // It ends with the first match; a body that is no JSON has been refused before.
    let _ = seed.deserialize(&mut deserializer);
    found
}

/// The same in the canonical form of a body.
pub fn find_in(value: Value<'_>) -> Option<&'static Reference> {
    look(value, &TREE)
}

/// Searches a value at a node of the table.
fn look(value: Value<'_>, node: &Node) -> Option<&'static Reference> {
    match value {
        Value::Null | Value::Bool(false) => None,
        Value::Text([]) => None,
        Value::Bool(true) | Value::Number(_) | Value::Text(_) => node.here,
        Value::Object(mut members) => {
            members.find_map(|(name, value)| look(value, node.child(name)?))
        }
        Value::List(mut items) => {
            let is_filled = items.clone().next().is_some();
            let inside = node.child(ITEM.as_bytes());
            let found = inside.and_then(|node| items.find_map(|item| look(item, node)));
            found.or(node.here.filter(|_| is_filled))
        }
    }
}

/// What a parameter of a query names, by its decoded name. A model has its place in the body.
pub fn of_parameter(name: &str) -> Option<&'static Reference> {
    static MODEL: Reference = model("model");
    match name.eq_ignore_ascii_case(MODEL.path) {
        true => Some(&MODEL),
        false => of_part(name.as_bytes()),
    }
}

/// What a part of a form names, by its name, in which brackets stand for members and items.
pub fn of_part(name: &[u8]) -> Option<&'static Reference> {
    let name = str::from_utf8(name).ok()?;
    let mut node = &*TREE;
    for step in name.split(['[', '.']) {
        let step = step.trim_end_matches(']');
        let is_item = step.bytes().all(|byte| byte.is_ascii_digit());
        node = match is_item {
            // `models[]` is a list in one part for each item.
            true => node.child(ITEM.as_bytes()).unwrap_or(node),
            false => {
                let step = step.as_bytes();
                let inside = || node.child(ITEM.as_bytes())?.child(step);
                node.child(step).or_else(inside)?
            }
        };
    }
    node.here
}

/// Searches a value at a node of the table.
struct Look<'f> {
    node: &'f Node,
    found: &'f mut Option<&'static Reference>,
}

impl Look<'_> {
    /// Notes a text, a number or an item of a list; an object names something only by its members.
    fn note<E: Error>(self) -> Result<(), E> {
        match self.node.here {
            Some(reference) => {
                *self.found = Some(reference);
                Err(E::custom("found"))
            }
            None => Ok(()),
        }
    }
}

impl<'b> DeserializeSeed<'b> for Look<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'b>>(self, value: D) -> Result<(), D::Error> {
        value.deserialize_any(self)
    }
}

impl<'b> Visitor<'b> for Look<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<(), E> {
        match value {
            true => self.note(),
            false => Ok(()),
        }
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        match text.is_empty() {
            true => Ok(()),
            false => self.note(),
        }
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<(), E> {
        self.note()
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<(), E> {
        self.note()
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<(), E> {
        self.note()
    }

    fn visit_map<A: MapAccess<'b>>(self, mut object: A) -> Result<(), A::Error> {
        while let Some(Text(key)) = object.next_key()? {
            match self.node.child(key.as_bytes()) {
                Some(node) => {
                    let found = &mut *self.found;
                    object.next_value_seed(Look { node, found })?;
                }
                None => drop(object.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'b>>(self, mut list: A) -> Result<(), A::Error> {
        let mut is_filled = false;
        loop {
            let more = match self.node.child(ITEM.as_bytes()) {
                Some(node) => {
                    let found = &mut *self.found;
                    list.next_element_seed(Look { node, found })?.is_some()
                }
                None => list.next_element::<IgnoredAny>()?.is_some(),
            };
            if !more {
                break;
            }
            is_filled = true;
        }
        match is_filled {
            true => self.note(),
            false => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::openai::canonical::Canonical;

    fn found(json: &str) -> Option<&'static str> {
        let found = find(json.as_bytes());
        if let Ok(canonical) = Canonical::of(json.as_bytes(), |_| false) {
            assert_eq!(find_in(canonical.value()), found, "{json}");
        }
        found.map(|reference| reference.path)
    }

    /// A body in which this path leads to this value.
    fn body(path: &str, value: Value) -> Value {
        path.rsplit('.')
            .fold(value, |value, step| match step.strip_suffix(ITEM) {
                Some(name) => json!({ name: [{}, value] }),
                None => json!({ step: value }),
            })
    }

    #[test]
    fn each_field_of_the_table_is_found_unless_it_is_empty() {
        for reference in REFERENCES {
            for value in [json!("x"), json!(["x"]), json!([{"a": 1}]), json!(7)] {
                let json = body(reference.path, value).to_string();
                assert_eq!(found(&json), Some(reference.path), "{json}");
            }
            for nothing in [
                json!(null),
                json!(""),
                json!([]),
                json!({"a": 1}),
                json!(false),
            ] {
                let json = body(reference.path, nothing).to_string();
                assert_eq!(found(&json), None, "{json}");
            }
        }
    }

    #[test]
    fn a_path_stands_in_the_table_once() {
        for (n, reference) in REFERENCES.iter().enumerate() {
            assert!(
                !REFERENCES[..n]
                    .iter()
                    .any(|other| other.path == reference.path),
                "{reference:?}"
            );
        }
    }

    #[test]
    fn a_name_is_known_however_it_is_written() {
        for json in [
            r#"{"Models":["x"]}"#,
            r#"{"mod\u0065ls":["x"]}"#,
            r#"{"models":null,"models":["x"]}"#,
            r#"{ "a":[1,{"b":2}], "models" : "x" }"#,
        ] {
            assert_eq!(found(json), Some("models"), "{json}");
        }
    }

    #[test]
    fn what_is_text_for_the_model_or_for_its_tools_names_nothing() {
        let body = json!({
            "model": "m",
            "prompt": "models",
            "instructions": "file_id",
            "metadata": { "models": ["x"], "file_id": "f", "conversation": "c" },
            "messages": [{ "role": "user", "content": "previous_response_id" },
                         { "role": "user", "content": [{ "type": "text", "text": "x" }], "id": "x", "model": "x" }],
            "input": [{ "role": "user", "content": [{ "type": "input_text", "text": "x" }], "call_id": "c" }],
            "tools": [{ "type": "function", "name": "models", "parameters":
                { "type": "object", "properties": { "model": { "type": "string" }, "file_id": {} } } },
                { "type": "function", "function": { "name": "f", "parameters": { "properties": { "models": {} } } } },
                { "type": "code_interpreter", "container": { "type": "auto", "memory_limit": "1g" } }],
            "response_format": { "type": "json_schema", "json_schema": { "schema": { "properties": { "container": {} } } } },
            "audio": { "voice": "alloy", "format": "wav" },
            "voice": "alloy",
            "conversation": null,
        });
        assert_eq!(found(&body.to_string()), None);
    }

    #[test]
    fn what_is_no_json_names_nothing_and_depth_costs_no_stack() {
        for json in [
            "",
            "[",
            "{\"models\"",
            "7",
            "null",
            "[{\"models\":[\"x\"]}]",
        ] {
            assert_eq!(found(json), None, "{json}");
        }
        let deep = format!("{{\"a\":{}1{}}}", "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(found(&deep), None);
        let deep = format!("{{\"models\":{}1{}}}", "[".repeat(60), "]".repeat(60));
        assert_eq!(found(&deep), Some("models"));
    }

    #[test]
    fn parts_of_forms_are_known_by_their_names() {
        for (name, path) in [
            ("models", Some("models")),
            ("models[]", Some("models")),
            ("Models[0]", Some("models")),
            ("image[file_id]", Some("image.file_id")),
            ("image[][file_id]", Some("image[].file_id")),
            ("image[0].file_id", Some("image[].file_id")),
            ("tools[1][model]", Some("tools[].model")),
            ("mask.file_id", Some("mask.file_id")),
            ("previous_response_id", Some("previous_response_id")),
            ("image", None),
            ("image[]", None),
            ("model", None),
            ("prompt", None),
            ("file", None),
            ("[]", None),
            ("", None),
        ] {
            let found = of_part(name.as_bytes()).map(|reference| reference.path);
            assert_eq!(found, path, "{name}");
        }
    }
}
