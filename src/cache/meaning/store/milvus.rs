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
mod tests {
    use super::*;
    use crate::cache::meaning::store::samples::{ID, SCOPE, answer, record, vector, written};

    fn post(path: &str, body: Value) -> Call {
        Call {
            method: Method::POST,
            path: path.to_owned(),
            body: Some(body),
        }
    }

    /// Answers that are no list.
    fn others() -> Vec<Answer> {
        let missing = json!({
            "code": 100,
            "message": "can't find collection[database=default][collection=tollgate_questions_1_4]",
        });
        vec![
            answer(200, Value::Null),
            answer(200, json!({})),
            answer(200, json!([])),
            answer(200, json!({ "data": [] })),
            answer(200, json!({ "code": "0", "data": [] })),
            answer(200, json!({ "code": 0, "data": {} })),
            answer(200, json!({ "code": 0, "data": "none" })),
            answer(
                200,
                json!({ "code": 101, "data": [], "message": "collection not loaded" }),
            ),
            answer(200, missing.clone()),
            answer(404, missing),
            answer(409, json!({ "code": 0, "data": [] })),
            answer(422, json!({ "code": 0, "data": [] })),
            answer(
                401,
                json!({ "code": 1800, "message": "user hasn't authenticated" }),
            ),
        ]
    }

    #[test]
    fn the_key_stands_in_a_header() {
        let key = Secret::new("root:secret".to_owned());
        let expected = ("authorization", "Bearer root:secret".to_owned());
        assert_eq!(API.credential(&key), expected);
    }

    // https://milvus.io/docs/create-collection.md
    // https://milvus.io/docs/load-and-release.md
    #[test]
    fn a_collection_is_made_and_loaded() {
        let text = |name: &str, longest: &str| {
            json!({
                "fieldName": name,
                "dataType": "VarChar",
                "elementTypeParams": { "max_length": longest },
            })
        };
        let create = json!({
            "collectionName": "tollgate_questions_1_4",
            "schema": {
                "autoID": false,
                "enableDynamicField": false,
                "fields": [
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
                    text("text", "65535"),
                    text("value", "65535"),
                    {
                        "fieldName": "vector",
                        "dataType": "FloatVector",
                        "elementTypeParams": { "dim": "4" },
                    },
                ],
            },
            "indexParams": [
                {
                    "fieldName": "vector",
                    "indexName": "vector",
                    "indexType": "AUTOINDEX",
                    "metricType": "COSINE",
                },
                { "fieldName": "scope", "indexName": "scope", "indexType": "INVERTED" },
            ],
        });
        let load = json!({ "collectionName": "tollgate_questions_1_4" });
        let expected = vec![
            post("/v2/vectordb/collections/create", create),
            post("/v2/vectordb/collections/load", load),
        ];
        assert_eq!(API.make(4), expected);
    }

    // https://github.com/milvus-io/milvus/issues/50321
    // https://github.com/milvus-io/milvus/issues/40955
    #[test]
    fn a_collection_that_exists_is_made() {
        assert!(API.is_made(&answer(200, json!({ "code": 0, "data": {} }))));
        let exists = json!({
            "code": 65535,
            "message": "create duplicate collection with different parameters, collection: x",
        });
        assert!(API.is_made(&answer(200, exists.clone())));
        assert!(!API.is_made(&answer(409, exists)));
        let refused = json!({ "code": 1100, "message": "invalid dimension: 1" });
        for body in [refused, json!({}), json!([]), json!({ "code": "0" })] {
            assert!(!API.is_made(&answer(200, body.clone())), "{body}");
        }
        assert!(!API.is_made(&answer(404, json!({ "code": 0 }))));
    }

    // https://milvus.io/docs/filtered-search.md
    // https://milvus.io/docs/range-search.md
    #[test]
    fn the_nearest_of_a_scope_are_asked_for() {
        let wanted = Wanted {
            scope: &SCOPE,
            vector: &vector(),
            threshold: 0.75,
            now: 1_700_000_000,
        };
        let scope = "22".repeat(32);
        let expected = json!({
            "collectionName": "tollgate_questions_1_4",
            "data": [[0.5, -0.5, 0.5, -0.5]],
            "annsField": "vector",
            "filter": format!("scope == \"{scope}\" and expires > 1700000000"),
            "limit": 16,
            "outputFields": ["key", "text"],
            "searchParams": { "params": { "radius": 0.75_f32 - 1e-6 } },
        });
        let expected = post("/v2/vectordb/entities/search", expected);
        assert_eq!(API.nearest(&wanted), expected);
    }

    // https://milvus.io/docs/filtered-search.md
    #[test]
    fn those_that_were_found_are_read() {
        let key = ID.to_hex();
        let found = |entities: Value| {
            let body = json!({ "code": 0, "cost": 0, "data": entities });
            API.read_near(&answer(200, body))
        };
        let entity = json!({ "distance": 0.75, "id": key, "key": key, "text": "dGV4dA==" });
        let near = Near {
            id: ID,
            similarity: 0.75,
            text: b"text".to_vec(),
        };
        assert_eq!(found(json!([])), Some(vec![]));
        assert_eq!(found(json!([entity])), Some(vec![near.clone()]));
        let entities = json!([
            null,
            1,
            [],
            {},
            { "key": key, "text": "dGV4dA==" },
            { "distance": "0.75", "key": key, "text": "dGV4dA==" },
            { "distance": 1e300, "key": key, "text": "dGV4dA==" },
            { "distance": 0.75, "key": key },
            { "distance": 0.75, "text": "dGV4dA==" },
            { "distance": 0.75, "key": "f1", "text": "dGV4dA==" },
            { "distance": 0.75, "key": 1, "text": "dGV4dA==" },
            { "distance": 0.75, "key": key, "text": "no base64" },
            entity,
        ]);
        assert_eq!(found(entities), Some(vec![near]));
        for other in others() {
            assert_eq!(API.read_near(&other), None, "{}", other.body);
        }
    }

    // https://milvus.io/docs/get-and-scalar-query.md
    #[test]
    fn an_answer_is_asked_for_and_read() {
        let key = ID.to_hex();
        let expected = json!({
            "collectionName": "tollgate_questions_1_4",
            "filter": format!("key == \"{key}\""),
            "limit": 1,
            "outputFields": ["value"],
        });
        let expected = post("/v2/vectordb/entities/query", expected);
        assert_eq!(API.answer(&ID, 4), expected);

        let read = |entities: Value| {
            let body = json!({ "code": 0, "cost": 0, "data": entities });
            API.read_answer(&answer(200, body))
        };
        let entity = json!({ "key": key, "value": "dmFsdWU=" });
        assert_eq!(read(json!([entity])), Some(Some(b"value".to_vec())));
        assert_eq!(read(json!([])), Some(None));
        for entity in [
            json!(null),
            json!({}),
            json!({ "value": 1 }),
            json!({ "value": "?" }),
        ] {
            assert_eq!(read(json!([entity])), None, "{entity}");
        }
        for other in others() {
            assert_eq!(API.read_answer(&other), None, "{}", other.body);
        }
    }

    // https://milvus.io/docs/upsert-entities.md
    #[test]
    fn a_question_is_put_under_its_key() {
        let record = record();
        let mut entity = written();
        entity["vector"] = json!([0.5, -0.5, 0.5, -0.5]);
        let expected = json!({ "collectionName": "tollgate_questions_1_4", "data": [entity] });
        let expected = post("/v2/vectordb/entities/upsert", expected);
        assert_eq!(API.put(&record), expected);
    }

    // https://milvus.io/docs/view-collections.md
    #[test]
    fn only_our_collections_are_listed() {
        let expected = post("/v2/vectordb/collections/list", json!({}));
        assert_eq!(API.list(), expected);

        let names = json!([
            "quick_setup_new",
            "tollgate_questions_1_4",
            "tollgate_questions_1_",
            "tollgate_questions_1_x",
            1,
            {},
            "tollgate_questions_1_1536",
        ]);
        let ours = ["tollgate_questions_1_4", "tollgate_questions_1_1536"];
        let ours = ours.map(str::to_owned).to_vec();
        let listed = answer(200, json!({ "code": 0, "data": names }));
        assert_eq!(API.read_list(&listed), Some(ours));
        for other in others() {
            assert_eq!(API.read_list(&other), None, "{}", other.body);
        }
    }

    // https://milvus.io/docs/delete-entities.md
    #[test]
    fn questions_are_removed_by_their_members() {
        let removal = |filter: &str| {
            let body = json!({ "collectionName": "tollgate_questions_1_4", "filter": filter });
            post("/v2/vectordb/entities/delete", body)
        };
        let (tenant, rule) = ("0a".repeat(16), "0b".repeat(16));
        let filter = format!("tenant == \"{tenant}\" and rule == \"{rule}\"");
        let members = [("tenant", tenant), ("rule", rule)];
        let removed = API.remove("tollgate_questions_1_4", &members);
        assert_eq!(removed, removal(&filter));
        let all = API.remove("tollgate_questions_1_4", &[]);
        assert_eq!(all, removal("expires >= 0"));
        let expired = API.remove_expired("tollgate_questions_1_4", 7);
        assert_eq!(expired, removal("expires <= 7"));
    }

    // https://milvus.io/docs/upsert-entities.md
    // https://milvus.io/docs/delete-entities.md
    #[test]
    fn only_the_code_0_is_done() {
        let upserted = json!({ "upsertCount": 1, "upsertIds": [ID.to_hex()] });
        let upserted = json!({ "code": 0, "cost": 0, "data": upserted });
        assert!(API.is_done(&answer(200, upserted)));
        assert!(API.is_done(&answer(200, json!({ "code": 0, "cost": 0, "data": {} }))));
        let too_long = json!({
            "code": 1100,
            "message": "length of varchar field value exceeds max length: 70000 > 65535",
        });
        for body in [
            too_long,
            json!({}),
            json!([]),
            json!({ "code": "0" }),
            json!(null),
        ] {
            assert!(!API.is_done(&answer(200, body.clone())), "{body}");
        }
        for status in [401, 404, 409, 422] {
            assert!(
                !API.is_done(&answer(status, json!({ "code": 0 }))),
                "{status}"
            );
        }
    }
}
