//! Calls and answers, as the documentation shows them: the page is named above each test.

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
