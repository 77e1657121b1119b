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
mod tests {
    use super::*;
    use crate::cache::meaning::store::samples::{ID, SCOPE, answer, record, vector, written};

    const UUID: &str = "f1f1f1f1-f1f1-f1f1-f1f1-f1f1f1f1f1f1";

    /// Answers that are neither a list nor done.
    fn others() -> Vec<Answer> {
        // What it says of a collection that is not there.
        let missing = json!({
            "status": { "error": "Not found: Collection `tollgate_questions_1_4` doesn't exist!" },
            "time": 0.000_02,
        });
        vec![
            answer(200, Value::Null),
            answer(200, json!({})),
            answer(200, json!([])),
            answer(200, json!({ "result": null, "status": "ok" })),
            answer(200, json!({ "result": "points", "status": "ok" })),
            answer(200, json!({ "result": { "points": {} }, "status": "ok" })),
            answer(200, json!({ "result": { "collections": 1, "status": 1 } })),
            answer(404, missing.clone()),
            answer(409, missing.clone()),
            answer(422, missing),
            answer(403, json!("forbidden")),
        ]
    }

    #[test]
    fn the_key_stands_in_a_header() {
        let key = Secret::new("secret".to_owned());
        assert_eq!(API.credential(&key), ("api-key", "secret".to_owned()));
    }

    // https://api.qdrant.tech/api-reference/collections/create-collection
    // https://api.qdrant.tech/api-reference/indexes/create-field-index
    // https://qdrant.tech/documentation/manage-data/multitenancy/
    #[test]
    fn a_collection_is_made_with_its_indexes() {
        let index = |field: &str, schema: Value| {
            let path = "/collections/tollgate_questions_1_4/index?wait=true".to_owned();
            let body = json!({ "field_name": field, "field_schema": schema });
            call(Method::PUT, path, body)
        };
        let collection = call(
            Method::PUT,
            "/collections/tollgate_questions_1_4".to_owned(),
            json!({ "vectors": { "size": 4, "distance": "Cosine" } }),
        );
        let expected = vec![
            collection,
            index("scope", json!({ "type": "keyword", "is_tenant": true })),
            index("expires", json!("integer")),
            index("tenant", json!("keyword")),
            index("rule", json!("keyword")),
            index("request", json!("keyword")),
        ];
        assert_eq!(API.make(4), expected);
    }

    #[test]
    fn a_collection_that_exists_is_made() {
        let done = json!({ "result": true, "status": "ok", "time": 0.05 });
        assert!(API.is_made(&answer(200, done)));
        let error = "Wrong input: Collection `tollgate_questions_1_4` already exists!";
        let exists = json!({ "status": { "error": error }, "time": 0.000_1 });
        assert!(API.is_made(&answer(409, exists)));
        for status in [400, 403, 404, 422] {
            assert!(!API.is_made(&answer(status, json!({}))), "{status}");
        }
    }

    // https://api.qdrant.tech/api-reference/search/query-points
    #[test]
    fn the_nearest_of_a_scope_are_asked_for() {
        let wanted = Wanted {
            scope: &SCOPE,
            vector: &vector(),
            threshold: 0.75,
            now: 1_700_000_000,
        };
        let expected = call(
            Method::POST,
            "/collections/tollgate_questions_1_4/points/query".to_owned(),
            json!({
                "query": [0.5, -0.5, 0.5, -0.5],
                "filter": {
                    "must": [
                        { "key": "scope", "match": { "value": "22".repeat(32) } },
                        { "key": "expires", "range": { "gt": 1_700_000_000 } },
                    ],
                },
                "score_threshold": 0.75_f32 - 1e-6,
                "limit": 16,
                "with_payload": ["key", "text"],
                "with_vector": false,
            }),
        );
        assert_eq!(API.nearest(&wanted), expected);
    }

    // https://api.qdrant.tech/api-reference/search/query-points
    #[test]
    fn those_that_were_found_are_read() {
        let key = ID.to_hex();
        let found = |points: Value| {
            let body = json!({ "result": { "points": points }, "status": "ok", "time": 0.001 });
            API.read_near(&answer(200, body))
        };
        let whole = json!({ "key": key, "text": "dGV4dA==" });
        let point = json!({ "id": UUID, "version": 3, "score": 0.75, "payload": whole });
        let near = Near {
            id: ID,
            similarity: 0.75,
            text: b"text".to_vec(),
        };
        assert_eq!(found(json!([])), Some(vec![]));
        assert_eq!(found(json!([point])), Some(vec![near.clone()]));
        let points = json!([
            null,
            1,
            [],
            {},
            { "id": UUID, "version": 3, "payload": whole },
            { "id": UUID, "version": 3, "score": "0.75", "payload": whole },
            { "id": UUID, "version": 3, "score": 1e300, "payload": whole },
            { "id": UUID, "version": 3, "score": 0.75 },
            { "id": UUID, "version": 3, "score": 0.75, "payload": null },
            { "id": UUID, "version": 3, "score": 0.75, "payload": { "key": key } },
            { "id": UUID, "version": 3, "score": 0.75, "payload": { "text": "dGV4dA==" } },
            { "id": UUID, "score": 0.75, "payload": { "key": "f1", "text": "dGV4dA==" } },
            { "id": UUID, "score": 0.75, "payload": { "key": key, "text": "no base64" } },
            { "id": UUID, "score": 0.75, "payload": { "key": key, "text": 1 } },
            point,
        ]);
        assert_eq!(found(points), Some(vec![near]));
        for other in others() {
            assert_eq!(API.read_near(&other), None, "{}", other.body);
        }
    }

    // https://api.qdrant.tech/api-reference/points/get-points
    #[test]
    fn an_answer_is_asked_for_and_read() {
        let expected = call(
            Method::POST,
            "/collections/tollgate_questions_1_4/points".to_owned(),
            json!({ "ids": [UUID], "with_payload": ["value"], "with_vector": false }),
        );
        assert_eq!(API.answer(&ID, 4), expected);

        let read = |result: Value| {
            let body = json!({ "result": result, "status": "ok", "time": 0.001 });
            API.read_answer(&answer(200, body))
        };
        let point = json!({ "id": UUID, "payload": { "value": "dmFsdWU=" } });
        assert_eq!(read(json!([point])), Some(Some(b"value".to_vec())));
        assert_eq!(read(json!([])), Some(None));
        for payload in [
            json!(null),
            json!({}),
            json!({ "value": 1 }),
            json!({ "value": "?" }),
        ] {
            assert_eq!(read(json!([{ "id": UUID, "payload": payload }])), None);
        }
        for other in others() {
            assert_eq!(API.read_answer(&other), None, "{}", other.body);
        }
    }

    // https://api.qdrant.tech/api-reference/points/upsert-points
    #[test]
    fn a_question_is_put_under_its_uuid() {
        let record = record();
        let payload = written();
        let vector = [0.5, -0.5, 0.5, -0.5];
        let expected = call(
            Method::PUT,
            "/collections/tollgate_questions_1_4/points?wait=true".to_owned(),
            json!({ "points": [{ "id": UUID, "vector": vector, "payload": payload }] }),
        );
        assert_eq!(API.put(&record), expected);
    }

    // https://api.qdrant.tech/api-reference/collections/get-collections
    #[test]
    fn only_our_collections_are_listed() {
        let list = API.list();
        assert_eq!((list.method, list.body), (Method::GET, None));
        assert_eq!(list.path, "/collections");

        let body = json!({
            "result": {
                "collections": [
                    { "name": "tollgate_questions_1_4" },
                    { "name": "arivis-dc" },
                    { "name": "tollgate_questions_1_" },
                    { "name": "tollgate_questions_1_4/../x" },
                    { "name": 1 },
                    {},
                    "tollgate_questions_1_5",
                    { "name": "tollgate_questions_1_1536" },
                ],
            },
            "status": "ok",
            "time": 0.000_05,
        });
        let ours = ["tollgate_questions_1_4", "tollgate_questions_1_1536"];
        let ours = ours.map(str::to_owned).to_vec();
        assert_eq!(API.read_list(&answer(200, body)), Some(ours));
        for other in others() {
            assert_eq!(API.read_list(&other), None, "{}", other.body);
        }
    }

    // https://api.qdrant.tech/api-reference/points/delete-points
    #[test]
    fn questions_are_removed_by_their_members() {
        let removal = |must: Value| {
            let path = "/collections/tollgate_questions_1_4/points/delete?wait=true";
            let body = json!({ "filter": { "must": must } });
            call(Method::POST, path.to_owned(), body)
        };
        let members = [("tenant", "0a".repeat(16)), ("rule", "0b".repeat(16))];
        let must = json!([
            { "key": "tenant", "match": { "value": "0a".repeat(16) } },
            { "key": "rule", "match": { "value": "0b".repeat(16) } },
        ]);
        let removed = API.remove("tollgate_questions_1_4", &members);
        assert_eq!(removed, removal(must));
        let all = json!([{ "key": "expires", "range": { "gte": 0 } }]);
        assert_eq!(API.remove("tollgate_questions_1_4", &[]), removal(all));
        let expired = json!([{ "key": "expires", "range": { "lte": 7 } }]);
        let removed = API.remove_expired("tollgate_questions_1_4", 7);
        assert_eq!(removed, removal(expired));
    }

    // https://api.qdrant.tech/api-reference/points/upsert-points
    // https://api.qdrant.tech/api-reference/points/delete-points
    #[test]
    fn only_an_update_is_done() {
        let update = |status: Value| {
            let result = json!({ "operation_id": 0, "status": status });
            answer(
                200,
                json!({ "result": result, "status": "ok", "time": 0.001 }),
            )
        };
        assert!(API.is_done(&update(json!("completed"))));
        assert!(API.is_done(&update(json!("acknowledged"))));
        assert!(!API.is_done(&update(json!("clock_rejected"))));
        assert!(!API.is_done(&update(json!(1))));
        for other in others() {
            assert!(!API.is_done(&other), "{}", other.body);
        }
    }
}
