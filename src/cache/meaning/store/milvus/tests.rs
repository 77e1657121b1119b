//! Calls and answers, as the documentation shows them: the page is named above each test.

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

// milvus.io/docs: create-collection
// milvus.io/docs: load-and-release
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

// milvus.io/docs: filtered-search
// milvus.io/docs: range-search
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

// milvus.io/docs: filtered-search
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

// milvus.io/docs: get-and-scalar-query
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

// milvus.io/docs: upsert-entities
#[test]
fn a_question_is_put_under_its_key() {
    let record = record();
    let mut entity = written();
    entity["vector"] = json!([0.5, -0.5, 0.5, -0.5]);
    let expected = json!({ "collectionName": "tollgate_questions_1_4", "data": [entity] });
    let expected = post("/v2/vectordb/entities/upsert", expected);
    assert_eq!(API.put(&record), expected);
}

// milvus.io/docs: view-collections
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

// milvus.io/docs: delete-entities
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

// milvus.io/docs: upsert-entities
// milvus.io/docs: delete-entities
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
