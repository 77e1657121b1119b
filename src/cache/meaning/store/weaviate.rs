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
mod tests {
    use super::*;
    use crate::cache::meaning::store::samples::{ID, SCOPE, answer, record, vector, written};

    const UUID: &str = "f1f1f1f1-f1f1-41f1-b1f1-f1f1f1f1f1f1";
    const CLASS: &str = "TollgateQuestions1_4";

    /// The answer to a query.
    fn got(objects: Value) -> Answer {
        answer(200, json!({ "data": { "Get": { CLASS: objects } } }))
    }

    /// Answers that are neither a list nor done.
    fn others() -> Vec<Answer> {
        // What it says of a class that is not there.
        let missing = json!({
            "data": null,
            "errors": [{
                "locations": [{ "column": 7, "line": 1 }],
                "message": "Cannot query field \"TollgateQuestions1_4\" on type \"GetObjectsObj\".",
                "path": null,
            }],
        });
        let off = json!({ "error": [{ "message": "graphql api is disabled" }] });
        let objects = json!({ CLASS: [] });
        vec![
            answer(200, Value::Null),
            answer(200, json!({})),
            answer(200, json!([])),
            answer(200, missing),
            answer(
                200,
                json!({ "data": { "Get": objects }, "errors": [{ "message": "x" }] }),
            ),
            answer(200, json!({ "data": { "Get": objects }, "errors": "x" })),
            answer(200, json!({ "data": { "Get": { "Article": [] } } })),
            answer(200, json!({ "data": { "Get": [] } })),
            answer(200, json!({ "classes": {} })),
            answer(200, json!({ "classes": "none" })),
            got(json!(null)),
            got(json!("none")),
            answer(404, json!({ "data": { "Get": objects }, "classes": [] })),
            answer(409, json!({ "data": { "Get": objects }, "classes": [] })),
            answer(422, off),
        ]
    }

    #[test]
    fn the_key_stands_in_a_header() {
        let key = Secret::new("secret".to_owned());
        let expected = ("authorization", "Bearer secret".to_owned());
        assert_eq!(API.credential(&key), expected);
    }

    // https://docs.weaviate.io/weaviate/config-refs/schema
    #[test]
    fn a_class_is_made() {
        let text = |name: &str, is_filterable: bool| {
            json!({
                "name": name,
                "dataType": ["text"],
                "tokenization": "field",
                "indexFilterable": is_filterable,
                "indexSearchable": false,
            })
        };
        let class = json!({
            "class": "TollgateQuestions1_4",
            "vectorizer": "none",
            "vectorIndexType": "hnsw",
            "vectorIndexConfig": { "distance": "cosine" },
            "properties": [
                text("key", false),
                text("scope", true),
                text("tenant", true),
                text("rule", true),
                text("request", true),
                {
                    "name": "expires",
                    "dataType": ["int"],
                    "indexFilterable": true,
                    "indexRangeFilters": true,
                },
                text("text", false),
                text("value", false),
            ],
        });
        assert_eq!(API.make(4), vec![call(Method::POST, "/v1/schema", class)]);
    }

    // https://github.com/weaviate/weaviate/issues/3252
    #[test]
    fn a_class_that_exists_is_made() {
        let refused = |message: &str| json!({ "error": [{ "message": message }] });
        assert!(API.is_made(&answer(200, json!({ "class": CLASS }))));
        let exists = refused("class name \"TollgateQuestions1_4\" already exists");
        assert!(API.is_made(&answer(422, exists.clone())));
        assert!(API.is_made(&answer(422, refused("class already exists"))));
        for status in [401, 403, 404, 409] {
            assert!(!API.is_made(&answer(status, exists.clone())), "{status}");
        }
        let other = refused("no module with name \"x\" present");
        for body in [
            other,
            json!({}),
            json!([]),
            json!({ "error": "already exists" }),
        ] {
            assert!(!API.is_made(&answer(422, body.clone())), "{body}");
        }
    }

    // https://docs.weaviate.io/weaviate/api/graphql/search-operators
    // https://docs.weaviate.io/weaviate/api/graphql/filters
    #[test]
    fn the_nearest_of_a_scope_are_asked_for() {
        let wanted = Wanted {
            scope: &SCOPE,
            vector: &vector(),
            threshold: 0.75,
            now: 1_700_000_000,
        };
        let scope = "22".repeat(32);
        let expected = [
            "{Get {TollgateQuestions1_4(limit: 16, ",
            "nearVector: {vector: [0.5, -0.5, 0.5, -0.5], distance: 0.25}, ",
            "where: {operator: And, operands: [",
            &format!("{{path: [\"scope\"], operator: Equal, valueText: \"{scope}\"}}, "),
            "{path: [\"expires\"], operator: GreaterThan, valueInt: 1700000000}]}) ",
            "{key text _additional {distance}}}}",
        ];
        let expected = json!({ "query": expected.concat() });
        let expected = call(Method::POST, "/v1/graphql", expected);
        assert_eq!(API.nearest(&wanted), expected);
    }

    // https://docs.weaviate.io/weaviate/api/graphql/additional-properties
    #[test]
    fn those_that_were_found_are_read() {
        let key = ID.to_hex();
        let found = |objects: Value| API.read_near(&got(objects));
        let additional = json!({ "distance": 0.25 });
        let object = json!({ "_additional": additional, "key": key, "text": "dGV4dA==" });
        let near = Near {
            id: ID,
            similarity: 0.75,
            text: b"text".to_vec(),
        };
        assert_eq!(found(json!([])), Some(vec![]));
        assert_eq!(found(json!([object])), Some(vec![near.clone()]));
        let objects = json!([
            null,
            1,
            [],
            {},
            { "key": key, "text": "dGV4dA==" },
            { "_additional": null, "key": key, "text": "dGV4dA==" },
            { "_additional": { "distance": "0" }, "key": key, "text": "dGV4dA==" },
            { "_additional": { "distance": 1e300 }, "key": key, "text": "dGV4dA==" },
            { "_additional": additional, "key": key },
            { "_additional": additional, "text": "dGV4dA==" },
            { "_additional": additional, "key": "f1", "text": "dGV4dA==" },
            { "_additional": additional, "key": key, "text": null },
            { "_additional": additional, "key": key, "text": "no base64" },
            object,
        ]);
        assert_eq!(found(objects), Some(vec![near]));
        for other in others() {
            assert_eq!(API.read_near(&other), None, "{}", other.body);
        }
        let without_errors = json!({ "data": { "Get": { CLASS: [] } }, "errors": null });
        assert_eq!(API.read_near(&answer(200, without_errors)), Some(vec![]));
    }

    // https://docs.weaviate.io/weaviate/api/graphql/filters#by-id
    #[test]
    fn an_answer_is_asked_for_and_read() {
        let filter = format!("{{path: [\"id\"], operator: Equal, valueText: \"{UUID}\"}}");
        let expected =
            format!("{{Get {{TollgateQuestions1_4(limit: 1, where: {filter}) {{value}}}}}}");
        let expected = call(Method::POST, "/v1/graphql", json!({ "query": expected }));
        assert_eq!(API.answer(&ID, 4), expected);

        let read = |objects: Value| API.read_answer(&got(objects));
        let object = json!({ "value": "dmFsdWU=" });
        assert_eq!(read(json!([object])), Some(Some(b"value".to_vec())));
        assert_eq!(read(json!([])), Some(None));
        for object in [
            json!(null),
            json!({}),
            json!({ "value": 1 }),
            json!({ "value": "?" }),
        ] {
            assert_eq!(read(json!([object])), None, "{object}");
        }
        for other in others() {
            assert_eq!(API.read_answer(&other), None, "{}", other.body);
        }
    }

    // https://weaviate.io/developers/weaviate/api/rest_legacy/batch
    #[test]
    fn a_question_is_put_under_its_uuid() {
        let record = record();
        let object = json!({
            "class": "TollgateQuestions1_4",
            "id": UUID,
            "properties": written(),
            "vector": [0.5, -0.5, 0.5, -0.5],
        });
        let body = json!({ "objects": [object] });
        let expected = call(Method::POST, "/v1/batch/objects", body);
        assert_eq!(API.put(&record), expected);
    }

    // https://weaviate.io/developers/weaviate/api/rest_legacy/schema
    #[test]
    fn only_our_classes_are_listed() {
        let list = API.list();
        assert_eq!((list.method, list.body), (Method::GET, None));
        assert_eq!(list.path, "/v1/schema");

        let body = json!({
            "classes": [
                { "class": "TollgateQuestions1_4", "vectorizer": "none" },
                { "class": "Article" },
                { "class": "TollgateQuestions1_" },
                { "class": "TollgateQuestions1_x" },
                { "class": 1 },
                {},
                "TollgateQuestions1_5",
                { "class": "TollgateQuestions1_1536" },
            ],
        });
        let ours = ["TollgateQuestions1_4", "TollgateQuestions1_1536"];
        let ours = ours.map(str::to_owned).to_vec();
        assert_eq!(API.read_list(&answer(200, body)), Some(ours));
        for other in others() {
            assert_eq!(API.read_list(&other), None, "{}", other.body);
        }
    }

    // https://weaviate.io/developers/weaviate/api/rest_legacy/batch
    #[test]
    fn questions_are_removed_by_their_members() {
        let removal = |filter: Value| {
            let body = json!({
                "match": { "class": "TollgateQuestions1_4", "where": filter },
                "output": "minimal",
                "dryRun": false,
            });
            call(Method::DELETE, "/v1/batch/objects", body)
        };
        let members = [("tenant", "0a".repeat(16)), ("rule", "0b".repeat(16))];
        let operands = json!([
            { "path": ["tenant"], "operator": "Equal", "valueText": "0a".repeat(16) },
            { "path": ["rule"], "operator": "Equal", "valueText": "0b".repeat(16) },
        ]);
        let all_of = |operands: Value| json!({ "operator": "And", "operands": operands });
        assert_eq!(API.remove(CLASS, &members), removal(all_of(operands)));
        let all = json!([{ "path": ["expires"], "operator": "GreaterThan", "valueInt": 0 }]);
        assert_eq!(API.remove(CLASS, &[]), removal(all_of(all)));
        let expired = json!({ "path": ["expires"], "operator": "LessThanEqual", "valueInt": 7 });
        assert_eq!(API.remove_expired(CLASS, 7), removal(expired));
    }

    // https://weaviate.io/developers/weaviate/api/rest_legacy/batch
    #[test]
    fn an_object_with_errors_was_not_written() {
        let written = json!({ "class": CLASS, "id": UUID, "result": { "status": "SUCCESS" } });
        let errors = json!({ "error": [{ "message": "class 'x' not present in schema" }] });
        let failed = json!({
            "class": CLASS,
            "id": UUID,
            "result": { "errors": errors, "status": "FAILED" },
        });
        assert!(API.is_done(&answer(200, json!([written]))));
        let without = json!({ "result": { "errors": null, "status": "SUCCESS" } });
        assert!(API.is_done(&answer(200, json!([without]))));
        assert!(!API.is_done(&answer(200, json!([failed]))));
        assert!(!API.is_done(&answer(200, json!([written, failed]))));
        for object in [
            json!({ "result": { "errors": errors, "status": "SUCCESS" } }),
            json!({ "result": { "errors": errors } }),
            json!({ "result": { "status": "PENDING" } }),
            json!({ "result": { "status": 1 } }),
            json!({ "result": null }),
            json!({}),
            json!(1),
        ] {
            assert!(!API.is_done(&answer(200, json!([object]))), "{object}");
        }
        for status in [401, 404, 409, 422] {
            assert!(!API.is_done(&answer(status, json!([written]))), "{status}");
        }
        for other in others() {
            assert!(!API.is_done(&other), "{}", other.body);
        }
    }

    // https://weaviate.io/developers/weaviate/api/rest_legacy/batch
    #[test]
    fn a_removal_is_done_when_nothing_is_left() {
        let removed = |matches: u64, successful: u64, failed: u64| {
            let results = json!({
                "matches": matches,
                "limit": 10_000,
                "successful": successful,
                "failed": failed,
                "objects": null,
            });
            answer(
                200,
                json!({ "dryRun": false, "output": "minimal", "results": results }),
            )
        };
        assert!(API.is_done(&removed(0, 0, 0)));
        assert!(API.is_done(&removed(2, 2, 0)));
        assert!(!API.is_done(&removed(2, 1, 1)));
        assert!(!API.is_done(&removed(10_001, 10_000, 0)));
        for results in [json!(null), json!([]), json!({}), json!({ "failed": "0" })] {
            let body = json!({ "results": results });
            assert!(!API.is_done(&answer(200, body)), "{results}");
        }
    }
}
