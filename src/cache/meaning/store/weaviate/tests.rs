//! Calls and answers, as the documentation shows them: the page is named above each test.

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
    let expected = format!("{{Get {{TollgateQuestions1_4(limit: 1, where: {filter}) {{value}}}}}}");
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
