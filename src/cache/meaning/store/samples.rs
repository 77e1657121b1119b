//! What the tests of the databases have in common: a question, and answers to calls.

use serde_json::{Value, json};

use super::rest::Answer;
use super::{Names, Record};
use crate::cache::Key;
use crate::cache::meaning::vectors::Vector;

pub(super) const ID: Key = Key([0xf1; 32]);
pub(super) const SCOPE: [u8; 32] = [0x22; 32];

pub(super) fn vector() -> Vector {
    // These numbers are those of a vector of unit length already.
    Vector::new(&[0.5, -0.5, 0.5, -0.5]).unwrap()
}

pub(super) fn answer(status: u16, body: Value) -> Answer {
    Answer { status, body }
}

pub(super) fn record() -> Record {
    Record {
        id: ID,
        scope: SCOPE,
        vector: vector(),
        names: Names::new("acme", "chat", "request-1"),
        expires: 1_800_000_000,
        ttl: 60,
        text: b"text".to_vec(),
        value: b"value".to_vec(),
    }
}

/// What is written of it, but for its vector.
pub(super) fn written() -> Value {
    let [(_, tenant), (_, rule), (_, request)] = record().names.members().map(owned);
    json!({
        "key": "f1".repeat(32),
        "scope": "22".repeat(32),
        "tenant": tenant,
        "rule": rule,
        "request": request,
        "expires": 1_800_000_000,
        "text": "dGV4dA==",
        "value": "dmFsdWU=",
    })
}

fn owned((name, value): (&'static str, &str)) -> (&'static str, String) {
    (name, value.to_owned())
}
