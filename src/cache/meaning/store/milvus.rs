//! How Milvus is asked over REST, from version 2.5 on.
//!
//! Owns the paths and the bodies of calls, and what is read of an answer. There is one collection
//! for each dimension:
//!
//! ```text
//! tollgate_questions_1_DIMENSION         entities, each with a vector and these fields:
//!                                        key, scope, tenant, rule, request, expires, text, value
//! ```
//!
//! Texts and values stand there in base64. A string of Milvus has 65,535 bytes at most: a question
//! with a longer one is refused when it is put. Does not handle sending (see `rest`), nor when
//! questions are removed. Errors come with the status 200 and a code. Fails with `None`
//! or `false` where an answer is another one; an entity that cannot be read is skipped.

use serde::Deserialize;
use serde_json::{Value, json};
use ureq::http::Method;

use super::rest::{Answer, Api, Call, bytes, is_ours, members};
use super::{MOST_NEAR, Near, Record, Wanted, bearer};
use crate::cache::Key;
use crate::secret::Secret;

const PREFIX: &str = "tollgate_questions_1_";
/// The most bytes of a string.
const LONGEST: &str = "65535";
/// The radius of a search leaves out what lies on it: it is smaller than the threshold by this.
const JUST_BELOW: f32 = 1e-6;

/// How it is asked.
pub(super) static API: Milvus = Milvus;

/// Milvus, from version 2.5 on.
pub(super) struct Milvus;

impl Api for Milvus {
    fn credential(&self, key: &Secret) -> (&'static str, String) {
        ("authorization", bearer(key))
    }

    fn make(&self, dimension: usize) -> Vec<Call> {
        let collection = name(dimension);
        let schema = json!({
            "autoID": false,
            "enableDynamicField": false,
            "fields": fields(dimension),
        });
        let indexes = json!([
            {
                "fieldName": "vector",
                "indexName": "vector",
                "indexType": "AUTOINDEX",
                "metricType": "COSINE",
            },
            { "fieldName": "scope", "indexName": "scope", "indexType": "INVERTED" },
        ]);
        let create = json!({
            "collectionName": collection,
            "schema": schema,
            "indexParams": indexes,
        });
        // To create it with indexes loads it. One that was there may have been released.
        vec![
            call("collections/create", create),
            call("collections/load", json!({ "collectionName": collection })),
        ]
    }

    fn is_made(&self, answer: &Answer) -> bool {
        // To create one again succeeds, but not after a restart of some versions.
        let message = answer.body.get("message").and_then(Value::as_str);
        let exists = message.is_some_and(|message| {
            message.contains("duplicate collection") || message.contains("already exist")
        });
        answer.status == 200 && (exists || code(answer) == Some(0))
    }

    fn nearest(&self, wanted: &Wanted<'_>) -> Call {
        let numbers = wanted.vector.numbers();
        let (scope, now) = (Key(*wanted.scope).to_hex(), wanted.now);
        let body = json!({
            "collectionName": name(numbers.len()),
            "data": [numbers],
            "annsField": "vector",
            "filter": format!("scope == \"{scope}\" and expires > {now}"),
            "limit": MOST_NEAR,
            "outputFields": ["key", "text"],
            "searchParams": { "params": { "radius": wanted.threshold - JUST_BELOW } },
        });
        call("entities/search", body)
    }

    fn read_near(&self, answer: &Answer) -> Option<Vec<Near>> {
        Some(list(answer)?.iter().filter_map(near).collect())
    }

    fn answer(&self, id: &Key, dimension: usize) -> Call {
        let body = json!({
            "collectionName": name(dimension),
            "filter": format!("key == \"{}\"", id.to_hex()),
            "limit": 1,
            "outputFields": ["value"],
        });
        call("entities/query", body)
    }

    fn read_answer(&self, answer: &Answer) -> Option<Option<Vec<u8>>> {
        match list(answer)?.first() {
            Some(entity) => bytes(entity.get("value")?).map(Some),
            None => Some(None),
        }
    }

    fn put(&self, record: &Record) -> Call {
        let numbers = record.vector.numbers();
        let mut entity = members(record);
        entity.insert("vector".to_owned(), json!(numbers));
        let body = json!({ "collectionName": name(numbers.len()), "data": [entity] });
        call("entities/upsert", body)
    }

    fn list(&self) -> Call {
        call("collections/list", json!({}))
    }

    fn read_list(&self, answer: &Answer) -> Option<Vec<String>> {
        let names = list(answer)?.iter().filter_map(Value::as_str);
        let ours = names.filter(|name| is_ours(name, PREFIX));
        Some(ours.map(str::to_owned).collect())
    }

    fn remove(&self, collection: &str, members: &[(&'static str, String)]) -> Call {
        let conditions = members.iter();
        let conditions = conditions.map(|(name, value)| format!("{name} == \"{value}\""));
        let conditions: Vec<_> = conditions.collect();
        let filter = match conditions.is_empty() {
            // True of every question.
            true => "expires >= 0".to_owned(),
            false => conditions.join(" and "),
        };
        delete(collection, &filter)
    }

    fn remove_expired(&self, collection: &str, now: i64) -> Call {
        delete(collection, &format!("expires <= {now}"))
    }

    fn is_done(&self, answer: &Answer) -> bool {
        answer.status == 200 && code(answer) == Some(0)
    }
}

fn delete(collection: &str, filter: &str) -> Call {
    let body = json!({ "collectionName": collection, "filter": filter });
    call("entities/delete", body)
}

/// All calls are of one method.
fn call(path: &str, body: Value) -> Call {
    Call {
        method: Method::POST,
        path: format!("/v2/vectordb/{path}"),
        body: Some(body),
    }
}

fn name(dimension: usize) -> String {
    format!("{PREFIX}{dimension}")
}

fn fields(dimension: usize) -> Value {
    let text = |name: &str, longest: &str| {
        json!({
            "fieldName": name,
            "dataType": "VarChar",
            "elementTypeParams": { "max_length": longest },
        })
    };
    json!([
        {
            "fieldName": "key",
            "dataType": "VarChar",
            "isPrimary": true,
            "elementTypeParams": { "max_length": "64" },
        },
        text("scope", "64"),
        text("tenant", "64"),
        text("rule", "64"),
        text("request", "64"),
        { "fieldName": "expires", "dataType": "Int64" },
        text("text", LONGEST),
        text("value", LONGEST),
        {
            "fieldName": "vector",
            "dataType": "FloatVector",
            "elementTypeParams": { "dim": dimension.to_string() },
        },
    ])
}

/// 0 where nothing has failed.
fn code(answer: &Answer) -> Option<i64> {
    answer.body.get("code")?.as_i64()
}

fn list(answer: &Answer) -> Option<&Vec<Value>> {
    let is_list = answer.status == 200 && code(answer) == Some(0);
    let body = is_list.then_some(&answer.body)?;
    body.get("data")?.as_array()
}

fn near(entity: &Value) -> Option<Near> {
    // With the metric COSINE, what is called the distance is the cosine.
    let cosine = f32::deserialize(entity.get("distance")?).ok();
    Some(Near {
        id: Key::from_hex(entity.get("key")?.as_str()?)?,
        similarity: cosine.filter(|cosine| cosine.is_finite())?,
        text: bytes(entity.get("text")?)?,
    })
}

#[cfg(test)]
mod tests;
