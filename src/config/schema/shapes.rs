//! What values look like, as JSON Schema says it.
//!
//! Owns a shape for each kind of value that `document` reads. Every value may name a variable: `${NAME}`. Does
//! not handle which key has which shape (see the other files). Cannot fail.

use serde_json::{Map, Value, json};

/// A key: its name, what it is for, and what its value looks like.
pub(super) type Key = (&'static str, &'static str, Value);

/// A mapping with these keys and no other.
pub(super) fn section(required: &[&str], keys: impl IntoIterator<Item = Key>) -> Value {
    let keys = keys.into_iter();
    let properties: Map<String, Value> = keys
        .map(|(name, about, shape)| (name.to_owned(), with(shape, "description", json!(about))))
        .collect();
    let section = json!({
        "type": "object",
        "properties": properties,
        "additionalProperties": false,
    });
    match required {
        [] => section,
        names => with(section, "required", json!(names)),
    }
}

/// The same shape with what stands for an absent value.
pub(super) fn or(shape: Value, default: impl Into<Value>) -> Value {
    with(shape, "default", default.into())
}

/// The same shape with one more member.
fn with(mut shape: Value, name: &str, member: Value) -> Value {
    if let Some(members) = shape.as_object_mut() {
        members.insert(name.to_owned(), member);
    }
    shape
}

/// A mapping from names of the operator's choosing.
pub(super) fn map(shape: Value) -> Value {
    json!({ "type": "object", "additionalProperties": shape })
}

pub(super) fn list(shape: Value) -> Value {
    json!({ "type": "array", "items": shape })
}

/// A list of one shape, or another shape alone.
pub(super) fn list_or(shape: Value, other: Value) -> Value {
    one_of([list(shape), other])
}

/// Any of several shapes.
pub(super) fn one_of(shapes: impl IntoIterator<Item = Value>) -> Value {
    json!({ "anyOf": shapes.into_iter().collect::<Vec<_>>() })
}

/// A shape, or the word `off`, which YAML 1.1 reads as false.
pub(super) fn or_off(shape: Value) -> Value {
    one_of([shape, json!({ "enum": ["off", "false", false] })])
}

/// A shape that the document has once.
pub(super) fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#/$defs/{name}") })
}

/// Text; a number or a boolean is taken as it is written.
pub(super) fn text() -> Value {
    json!({ "type": ["string", "integer", "boolean"] })
}

pub(super) fn boolean() -> Value {
    json!({ "type": ["boolean", "string"], "pattern": "^(true|false)$|\\$\\{" })
}

/// A whole number within bounds.
pub(super) fn integer(low: u64, high: u64) -> Value {
    json!({
        "type": ["integer", "string"],
        "minimum": low,
        "maximum": high,
        "pattern": "^\\s*[0-9]+\\s*$|\\$\\{",
    })
}

/// One of these words.
pub(super) fn word<'w>(words: impl IntoIterator<Item = &'w str>) -> Value {
    one_of([
        json!({ "enum": words.into_iter().collect::<Vec<_>>() }),
        reference("variable"),
    ])
}

/// A number with decimals, and perhaps a sign behind it.
pub(super) fn decimal(sign: &str) -> Value {
    json!({
        "type": ["number", "string"],
        "minimum": 0,
        "pattern": format!("^\\s*[0-9]+(\\.[0-9]*)?\\s*{sign}$|\\$\\{{"),
    })
}

pub(super) fn duration() -> Value {
    reference("duration")
}

pub(super) fn size() -> Value {
    reference("size")
}

/// A day, or a time with its zone.
pub(super) fn moment() -> Value {
    json!({ "type": "string", "pattern": "^\\s*[0-9]{4}-[0-9]{2}-[0-9]{2}|\\$\\{" })
}

/// A value of any form.
pub(super) fn anything() -> Value {
    json!({})
}

pub(super) fn variable_definition() -> Value {
    json!({
        "type": "string",
        "pattern": "\\$\\{",
        "description": "Text with a variable: ${NAME}, ${NAME:-default}, ${NAME[0]} or ${credential:NAME}.",
    })
}

pub(super) fn duration_definition() -> Value {
    json!({
        "type": "string",
        "pattern": "^\\s*([0-9]+\\s*[a-zA-Zµ]+\\s*)+$|\\$\\{",
        "description": "A duration with its unit, as in 250ms, 3s, 10m or 1h 30m.",
    })
}

pub(super) fn size_definition() -> Value {
    json!({
        "type": ["string", "integer"],
        "pattern": "^\\s*[0-9]+(\\.[0-9]+)?\\s*[a-zA-Z]*\\s*$|\\$\\{",
        "minimum": 1,
        "description": "A size, as in 500KB, 32MiB, or a number of bytes.",
    })
}
