//! How Qdrant is asked over REST, from version 1.11 on.
//!
//! Owns the paths and the bodies of calls, and what is read of an answer. There is one collection
//! for each dimension:
//!
//! ```text
//! tollgate_questions_1_DIMENSION         points, each with a UUID, a vector and a payload:
//!                                        key, scope, tenant, rule, request, expires, text, value
//! ```
//!
//! The UUID of a point is the first half of the key of its question. Texts and values stand there
//! in base64. Does not handle sending (see `rest`), nor when questions are removed.
//! Fails with `None` or `false` where an answer is another one; a point that cannot be read is
//! skipped.

use serde::Deserialize;
use serde_json::{Value, json};
use ureq::http::Method;
use uuid::Uuid;

use super::rest::{Answer, Api, Call, bytes, is_ours, members};
use super::{MOST_NEAR, Near, Record, Wanted};
use crate::cache::Key;
use crate::secret::Secret;

const PREFIX: &str = "tollgate_questions_1_";
/// A search leaves out a score that is the threshold itself: it is told a smaller one, by this.
const JUST_BELOW: f32 = 1e-6;

/// How it is asked.
pub(super) static API: Qdrant = Qdrant;

/// Qdrant, from version 1.11 on.
pub(super) struct Qdrant;

impl Api for Qdrant {
    fn credential(&self, key: &Secret) -> (&'static str, String) {
        ("api-key", key.expose().to_owned())
    }

    fn make(&self, dimension: usize) -> Vec<Call> {
        let collection = json!({ "vectors": { "size": dimension, "distance": "Cosine" } });
        let indexes = [
            ("scope", json!({ "type": "keyword", "is_tenant": true })),
            ("expires", json!("integer")),
            ("tenant", json!("keyword")),
            ("rule", json!("keyword")),
            ("request", json!("keyword")),
        ];
        let path = path(dimension);
        let indexes = indexes.into_iter().map(|(field, schema)| {
            let index = json!({ "field_name": field, "field_schema": schema });
            call(Method::PUT, format!("{path}/index?wait=true"), index)
        });
        let first = call(Method::PUT, path.clone(), collection);
        std::iter::once(first).chain(indexes).collect()
    }

    fn is_made(&self, answer: &Answer) -> bool {
        // 409: a collection of that name exists.
        matches!(answer.status, 200 | 409)
    }

    fn nearest(&self, wanted: &Wanted<'_>) -> Call {
        let numbers = wanted.vector.numbers();
        let body = json!({
            "query": numbers,
            "filter": {
                "must": [
                    { "key": "scope", "match": { "value": Key(*wanted.scope).to_hex() } },
                    { "key": "expires", "range": { "gt": wanted.now } },
                ],
            },
            "score_threshold": wanted.threshold - JUST_BELOW,
            "limit": MOST_NEAR,
            "with_payload": ["key", "text"],
            "with_vector": false,
        });
        let path = format!("{}/points/query", path(numbers.len()));
        call(Method::POST, path, body)
    }

    fn read_near(&self, answer: &Answer) -> Option<Vec<Near>> {
        let points = list(answer, "/result/points")?;
        Some(points.iter().filter_map(near).collect())
    }

    fn answer(&self, id: &Key, dimension: usize) -> Call {
        let body = json!({ "ids": [uuid(id)], "with_payload": ["value"], "with_vector": false });
        call(Method::POST, format!("{}/points", path(dimension)), body)
    }

    fn read_answer(&self, answer: &Answer) -> Option<Option<Vec<u8>>> {
        match list(answer, "/result")?.first() {
            Some(point) => bytes(point.pointer("/payload/value")?).map(Some),
            None => Some(None),
        }
    }

    fn put(&self, record: &Record) -> Call {
        let numbers = record.vector.numbers();
        let payload = members(record);
        let point = json!({ "id": uuid(&record.id), "vector": numbers, "payload": payload });
        let path = format!("{}/points?wait=true", path(numbers.len()));
        call(Method::PUT, path, json!({ "points": [point] }))
    }

    fn list(&self) -> Call {
        Call {
            method: Method::GET,
            path: "/collections".to_owned(),
            body: None,
        }
    }

    fn read_list(&self, answer: &Answer) -> Option<Vec<String>> {
        let collections = list(answer, "/result/collections")?.iter();
        let names = collections.filter_map(|collection| collection.get("name")?.as_str());
        let ours = names.filter(|name| is_ours(name, PREFIX));
        Some(ours.map(str::to_owned).collect())
    }

    fn remove(&self, collection: &str, members: &[(&'static str, String)]) -> Call {
        let conditions = members.iter();
        let conditions =
            conditions.map(|(name, value)| json!({ "key": name, "match": { "value": value } }));
        let mut must: Vec<Value> = conditions.collect();
        if must.is_empty() {
            // True of every question.
            must.push(json!({ "key": "expires", "range": { "gte": 0 } }));
        }
        delete(collection, &must)
    }

    fn remove_expired(&self, collection: &str, now: i64) -> Call {
        delete(
            collection,
            &[json!({ "key": "expires", "range": { "lte": now } })],
        )
    }

    fn is_done(&self, answer: &Answer) -> bool {
        let status = answer.body.pointer("/result/status");
        let status = status.and_then(Value::as_str);
        answer.status == 200 && matches!(status, Some("completed" | "acknowledged"))
    }
}

fn delete(collection: &str, must: &[Value]) -> Call {
    let path = format!("/collections/{collection}/points/delete?wait=true");
    let body = json!({ "filter": { "must": must } });
    call(Method::POST, path, body)
}

fn call(method: Method, path: String, body: Value) -> Call {
    Call {
        method,
        path,
        body: Some(body),
    }
}

fn path(dimension: usize) -> String {
    format!("/collections/{PREFIX}{dimension}")
}

fn uuid(id: &Key) -> String {
    let half = id.0.first_chunk::<16>().copied().unwrap_or_default();
    Uuid::from_bytes(half).to_string()
}

fn list<'a>(answer: &'a Answer, pointer: &str) -> Option<&'a Vec<Value>> {
    let body = (answer.status == 200).then_some(&answer.body)?;
    body.pointer(pointer)?.as_array()
}

fn near(point: &Value) -> Option<Near> {
    // With the distance Cosine, the score is the cosine.
    let score = f32::deserialize(point.get("score")?).ok();
    Some(Near {
        id: Key::from_hex(point.pointer("/payload/key")?.as_str()?)?,
        similarity: score.filter(|score| score.is_finite())?,
        text: bytes(point.pointer("/payload/text")?)?,
    })
}

#[cfg(test)]
mod tests;
