//! What a target changes in requests and answers.
//!
//! Owns the keys `stop`, `special_prefix`, `body`, `response_model` and `upstream_stream`, and which fields
//! of a request must not be changed. Does not handle how a body is edited (see `openai::edit`). What cannot
//! be read is reported with its place.

use serde_json::Value;

use crate::config::document::{Node, Section};

/// The changes for a target; mostly there are none.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Transforms {
    /// Words added to the request's `stop`.
    pub stop: Vec<String>,
    /// Text put before the first output of an answer.
    pub special_prefix: Option<String>,
    /// Fields that are set, whatever the client sends.
    pub set: Vec<(String, Value)>,
    /// Fields that are added where the client sends none.
    pub default: Vec<(String, Value)>,
    /// Whether an answer carries the model's name as the client asked for it.
    pub answers_as_requested: bool,
    /// Whether it is asked for streams.
    pub streams: Streams,
}

/// Whether a target is asked for a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Streams {
    /// As the client asks.
    #[default]
    AsAsked,
    /// Also where the client wants a whole answer, which is aggregated from the stream.
    Always,
    /// Never, also where the client wants a stream, which is synthesized from the answer.
    Never,
}

impl Streams {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::AsAsked, Self::Always, Self::Never];

    /// Its name in a configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::AsAsked => "as_asked",
            Self::Always => "always",
            Self::Never => "never",
        }
    }

    /// The one with a name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|streams| streams.name() == name)
    }
}

/// Reads the keys that belong here.
pub fn read(section: &mut Section<'_>) -> Transforms {
    let mut transforms = Transforms::default();
    if let Some(words) = section.take("stop").and_then(|n| n.texts()) {
        transforms.stop = words.into_iter().map(|word| word.value).collect();
    }
    if let Some(prefix) = section.take("special_prefix").and_then(|n| n.text()) {
        transforms.special_prefix = Some(prefix).filter(|prefix| !prefix.is_empty());
    }
    if let Some(mut body) = section.take("body").and_then(|n| n.section()) {
        transforms.set = body.take("set").map(|n| fields(&n)).unwrap_or_default();
        transforms.default = body.take("default").map(|n| fields(&n)).unwrap_or_default();
        body.finish();
    }
    if let Some(node) = section.take("response_model") {
        match node.text().as_deref() {
            Some("requested") => transforms.answers_as_requested = true,
            Some("upstream") | None => {}
            Some(_) => node.report(
                "expected requested or upstream",
                Some("which name of the model an answer carries"),
            ),
        }
    }
    if let Some(node) = section.take("upstream_stream")
        && let Some(text) = node.text()
    {
        match Streams::from_name(&text) {
            Some(streams) => transforms.streams = streams,
            None => node.report(
                "expected as_asked, always or never",
                Some("whether the target is asked for a stream, whatever the client wants"),
            ),
        }
    }
    transforms
}

fn fields(node: &Node<'_>) -> Vec<(String, Value)> {
    let entries = node.entries().unwrap_or_default().into_iter();
    let fields = entries.filter_map(|(name, node)| {
        check_field(&name, &node);
        Some((name, node.json()?))
    });
    fields.collect()
}

/// Reports a field that decides where a request goes, or how its answer is read.
pub fn check_field(name: &str, node: &Node<'_>) {
    let hint = match name {
        "model" => "name it as the `model` of a target",
        "stream" => "the client decides whether it wants a stream",
        _ => return,
    };
    node.report(format!("`{name}` cannot be changed here"), Some(hint));
}
