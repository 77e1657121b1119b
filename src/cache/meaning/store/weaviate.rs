//! How Weaviate is asked over REST and GraphQL, from version 1.19 on.
//!
//! Owns the paths and the bodies of calls, and what is read of an answer. There is one class for
//! each dimension:
//!
//! ```text
//! TollgateQuestions1_DIMENSION           objects, each with a UUID, a vector and these properties:
//!                                        key, scope, tenant, rule, request, expires, text, value
//! ```
//!
//! GraphQL has to be on: no REST call looks for the objects near a vector. GraphQL is deprecated
//! since October 2026 and is off on new clusters of the Weaviate Cloud. The UUID of an object is
//! the first half of the key of its question, with the bits of version 4. Texts and values stand
//! there in base64. Does not handle sending (see `rest`), nor when questions are
//! removed. Fails with `None` or `false` where an answer is another one; an object that cannot be
//! read is skipped.

use serde::Deserialize;
use serde_json::{Value, json};
use ureq::http::Method;
use uuid::Builder;

use super::rest::{Answer, Api, Call, bytes, is_ours, members};
use super::{MOST_NEAR, Near, Record, Wanted, bearer};
use crate::cache::Key;
use crate::secret::Secret;

const PREFIX: &str = "TollgateQuestions1_";

/// How it is asked.
pub(super) static API: Weaviate = Weaviate;

/// Weaviate, from version 1.19 on.
pub(super) struct Weaviate;

impl Api for Weaviate {
    fn credential(&self, key: &Secret) -> (&'static str, String) {
        ("authorization", bearer(key))
    }

    fn make(&self, dimension: usize) -> Vec<Call> {
        let text = |name: &str, is_filterable: bool| {
            json!({
                "name": name,
                "dataType": ["text"],
                "tokenization": "field",
                "indexFilterable": is_filterable,
                "indexSearchable": false,
            })
        };
        let properties = [
            text("key", false),
            text("scope", true),
            text("tenant", true),
            text("rule", true),
            text("request", true),
            // Versions before 1.26 do not know the index of ranges, and ignore it.
            json!({
                "name": "expires",
                "dataType": ["int"],
                "indexFilterable": true,
                "indexRangeFilters": true,
            }),
            text("text", false),
            text("value", false),
        ];
        let class = json!({
            "class": name(dimension),
            "vectorizer": "none",
            "vectorIndexType": "hnsw",
            "vectorIndexConfig": { "distance": "cosine" },
            "properties": properties,
        });
        vec![call(Method::POST, "/v1/schema", class)]
    }

    fn is_made(&self, answer: &Answer) -> bool {
        let errors = answer.body.get("error").and_then(Value::as_array);
        let mut errors = errors.into_iter().flatten();
        match answer.status {
            200 => true,
            422 => errors.any(|error| {
                let message = error.get("message").and_then(Value::as_str);
                message.is_some_and(|message| message.contains("already exists"))
            }),
            _ => false,
        }
    }

    fn nearest(&self, wanted: &Wanted<'_>) -> Call {
        let numbers = wanted.vector.numbers();
        let (scope, now) = (Key(*wanted.scope).to_hex(), wanted.now);
        let class = name(numbers.len());
        let distance = (1.0 - wanted.threshold).max(0.0);
        let scope = format!("{{path: [\"scope\"], operator: Equal, valueText: \"{scope}\"}}");
        let later = format!("{{path: [\"expires\"], operator: GreaterThan, valueInt: {now}}}");
        let arguments = format!(
            "limit: {MOST_NEAR}, nearVector: {{vector: {numbers:?}, distance: {distance:?}}}, \
             where: {{operator: And, operands: [{scope}, {later}]}}"
        );
        let members = "key text _additional {distance}";
        query(&format!("{{Get {{{class}({arguments}) {{{members}}}}}}}"))
    }

    fn read_near(&self, answer: &Answer) -> Option<Vec<Near>> {
        Some(found(answer)?.iter().filter_map(near).collect())
    }

    fn answer(&self, id: &Key, dimension: usize) -> Call {
        let (class, id) = (name(dimension), uuid(id));
        let filter = format!("{{path: [\"id\"], operator: Equal, valueText: \"{id}\"}}");
        let arguments = format!("limit: 1, where: {filter}");
        query(&format!("{{Get {{{class}({arguments}) {{value}}}}}}"))
    }

    fn read_answer(&self, answer: &Answer) -> Option<Option<Vec<u8>>> {
        match found(answer)?.first() {
            Some(object) => bytes(object.get("value")?).map(Some),
            None => Some(None),
        }
    }

    fn put(&self, record: &Record) -> Call {
        let numbers = record.vector.numbers();
        let properties = members(record);
        let object = json!({
            "class": name(numbers.len()),
            "id": uuid(&record.id),
            "properties": properties,
            "vector": numbers,
        });
        // The answer repeats the object. The member `fields`, which leaves properties out of the
        // answer, leaves them out of what is written, too.
        let body = json!({ "objects": [object] });
        call(Method::POST, "/v1/batch/objects", body)
    }

    fn list(&self) -> Call {
        Call {
            method: Method::GET,
            path: "/v1/schema".to_owned(),
            body: None,
        }
    }

    fn read_list(&self, answer: &Answer) -> Option<Vec<String>> {
        let body = (answer.status == 200).then_some(&answer.body)?;
        let classes = body.get("classes")?.as_array()?.iter();
        let names = classes.filter_map(|class| class.get("class")?.as_str());
        let ours = names.filter(|name| is_ours(name, PREFIX));
        Some(ours.map(str::to_owned).collect())
    }

    /// One call removes as many objects at most as `QUERY_MAXIMUM_RESULTS` of the server says:
    /// 10,000, where it was not set. Where there are more, it is not done.
    fn remove(&self, collection: &str, members: &[(&'static str, String)]) -> Call {
        let operands = members.iter();
        let operands = operands.map(
            |(name, value)| json!({ "path": [name], "operator": "Equal", "valueText": value }),
        );
        let mut operands: Vec<Value> = operands.collect();
        if operands.is_empty() {
            // True of every question.
            let any = json!({ "path": ["expires"], "operator": "GreaterThan", "valueInt": 0 });
            operands.push(any);
        }
        delete(
            collection,
            &json!({ "operator": "And", "operands": operands }),
        )
    }

    fn remove_expired(&self, collection: &str, now: i64) -> Call {
        let filter = json!({ "path": ["expires"], "operator": "LessThanEqual", "valueInt": now });
        delete(collection, &filter)
    }

    fn is_done(&self, answer: &Answer) -> bool {
        let is_done = match &answer.body {
            Value::Array(objects) => !objects.is_empty() && objects.iter().all(is_written),
            body => is_removed(body).unwrap_or_default(),
        };
        answer.status == 200 && is_done
    }
}

fn delete(collection: &str, filter: &Value) -> Call {
    let body = json!({
        "match": { "class": collection, "where": filter },
        "output": "minimal",
        "dryRun": false,
    });
    call(Method::DELETE, "/v1/batch/objects", body)
}

fn call(method: Method, path: &str, body: Value) -> Call {
    Call {
        method,
        path: path.to_owned(),
        body: Some(body),
    }
}

fn query(query: &str) -> Call {
    call(Method::POST, "/v1/graphql", json!({ "query": query }))
}

fn name(dimension: usize) -> String {
    format!("{PREFIX}{dimension}")
}

fn uuid(id: &Key) -> String {
    let half = id.0.first_chunk::<16>().copied().unwrap_or_default();
    Builder::from_random_bytes(half).into_uuid().to_string()
}

/// The objects in the answer to a query, which come under the name of their class. Errors come
/// with the status 200.
fn found(answer: &Answer) -> Option<&Vec<Value>> {
    let body = (answer.status == 200).then_some(&answer.body)?;
    match body.get("errors") {
        None | Some(Value::Null) => {}
        Some(Value::Array(errors)) if errors.is_empty() => {}
        Some(_) => return None,
    }
    let mut classes = body.pointer("/data/Get")?.as_object()?.iter();
    let (_, objects) = classes.find(|(class, _)| is_ours(class, PREFIX))?;
    objects.as_array()
}

fn near(object: &Value) -> Option<Near> {
    // With the distance cosine, it is 1 less the cosine.
    let distance = f32::deserialize(object.pointer("/_additional/distance")?).ok();
    Some(Near {
        id: Key::from_hex(object.get("key")?.as_str()?)?,
        similarity: 1.0 - distance.filter(|distance| distance.is_finite())?,
        text: bytes(object.get("text")?)?,
    })
}

/// Of an object in the answer to a batch.
fn is_written(object: &Value) -> bool {
    let status = object.pointer("/result/status").and_then(Value::as_str);
    let errors = object.pointer("/result/errors");
    status == Some("SUCCESS") && errors.is_none_or(Value::is_null)
}

/// Of the answer to a removal: whether all that matched was removed.
fn is_removed(body: &Value) -> Option<bool> {
    let results = body.get("results")?;
    let count = |name: &str| results.get(name)?.as_u64();
    let (matches, successful) = (count("matches")?, count("successful")?);
    Some(successful >= matches && count("failed")? == 0)
}

#[cfg(test)]
mod tests;
