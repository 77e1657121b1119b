//! Questions in databases that are asked over REST.
//!
//! None of them can be installed here. So a script stands for each: it keeps what is written, and answers as its
//! documentation shows. With `TOLLGATE_TEST_QDRANT_URL`, `TOLLGATE_TEST_WEAVIATE_URL` or `TOLLGATE_TEST_MILVUS_URL` the
//! same test asks a real one.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use super::meaning::{
    Provider, QUESTION, SECTION, SIMILAR, Vectors, asking, compared, gets, is_similar,
};
use super::{ask, ask_with, is};
use crate::support::gateway::Gateway;
use crate::support::upstream::{Received, Reply, Upstream};
use crate::support::{soon, until};

const ONLY: &str = "cache-control: only-if-cached\r\n";

/// What a script has kept: the members of the question, and every call.
#[derive(Default)]
struct Database {
    question: Mutex<Option<Value>>,
    calls: Mutex<Vec<String>>,
    keys: Mutex<Vec<String>>,
}

type Script = fn(&Database, &str, &Value) -> (&'static str, Value);

/// A script on a port of its own.
async fn scripted(script: Script) -> (Upstream, Arc<Database>) {
    let database = Arc::<Database>::default();
    let kept = Arc::clone(&database);
    let upstream = Upstream::start(move |request: Received, mut reply: Reply| {
        let kept = Arc::clone(&kept);
        async move {
            let call = format!("{} {}", request.method, request.path);
            kept.calls.lock().unwrap().push(call.clone());
            let keys = ["api-key", "authorization"].map(|name| request.header(name).join(""));
            kept.keys.lock().unwrap().push(keys.concat());
            let body = serde_json::from_slice(&request.body).unwrap_or(Value::Null);
            let (status, answer) = script(&kept, &call, &body);
            reply.json(status, &answer.to_string()).await;
            reply
        }
    });
    (upstream.await, database)
}

fn qdrant(database: &Database, call: &str, body: &Value) -> (&'static str, Value) {
    let mut question = database.question.lock().unwrap();
    let ok = |result: Value| json!({ "result": result, "status": "ok", "time": 0.001 });
    let done = ok(json!({ "operation_id": 1, "status": "completed" }));
    let answer = match call {
        "PUT /collections/tollgate_questions_1_2" => ok(json!(true)),
        "GET /collections" => ok(json!({ "collections": [{ "name": "tollgate_questions_1_2" }] })),
        _ if call.contains("/index") => done,
        _ if call.starts_with("PUT ") => {
            *question = Some(body["points"][0].clone());
            done
        }
        _ if call.contains("/points/query") => {
            let scope = &body["filter"]["must"][0]["match"]["value"];
            let found = question.iter().filter(|q| q["payload"]["scope"] == *scope);
            let points =
                found.map(|q| json!({ "id": q["id"], "score": 0.99, "payload": q["payload"] }));
            ok(json!({ "points": points.collect::<Vec<_>>() }))
        }
        _ if call.contains("/points/delete") => {
            *question = None;
            done
        }
        _ => {
            let found = question.iter();
            ok(found
                .map(|q| json!({ "id": q["id"], "payload": q["payload"] }))
                .collect())
        }
    };
    ("200 OK", answer)
}

fn weaviate(database: &Database, call: &str, body: &Value) -> (&'static str, Value) {
    let mut question = database.question.lock().unwrap();
    let answer = match call {
        "POST /v1/schema" => json!({ "class": "TollgateQuestions1_2" }),
        "GET /v1/schema" => json!({ "classes": [{ "class": "TollgateQuestions1_2" }] }),
        "POST /v1/batch/objects" => {
            let object = body["objects"][0].clone();
            *question = Some(object.clone());
            json!([{ "id": object["id"], "result": { "status": "SUCCESS" } }])
        }
        "DELETE /v1/batch/objects" => {
            let count = usize::from(question.take().is_some());
            json!({ "results": { "matches": count, "successful": count, "failed": 0 } })
        }
        _ => {
            let query = body["query"].as_str().unwrap();
            let found = question.iter().map(|q| q["properties"].clone());
            let found = found.filter(|properties| {
                let scope = properties["scope"].as_str().unwrap();
                !query.contains("nearVector") || query.contains(scope)
            });
            let objects = found.map(|mut properties| {
                properties["_additional"] = json!({ "distance": 0.01 });
                properties
            });
            json!({ "data": { "Get": { "TollgateQuestions1_2": objects.collect::<Vec<_>>() } } })
        }
    };
    ("200 OK", answer)
}

fn milvus(database: &Database, call: &str, body: &Value) -> (&'static str, Value) {
    let mut question = database.question.lock().unwrap();
    let path = call.trim_start_matches("POST /v2/vectordb/");
    let data = match path {
        "collections/list" => json!(["tollgate_questions_1_2"]),
        "entities/upsert" => {
            *question = Some(body["data"][0].clone());
            json!({ "upsertCount": 1 })
        }
        "entities/delete" => {
            *question = None;
            json!({})
        }
        "entities/search" => {
            let filter = body["filter"].as_str().unwrap();
            let found = question.iter().cloned();
            let found = found.filter(|q| filter.contains(q["scope"].as_str().unwrap()));
            let found = found.map(|mut q| {
                q["distance"] = json!(0.99);
                q
            });
            found.collect()
        }
        "entities/query" => question.iter().cloned().collect(),
        _ => json!({}),
    };
    ("200 OK", json!({ "code": 0, "data": data }))
}

/// What one node was asked another answers, once the database has it; then it is removed, in the background.
async fn exchange(name: &str, url: &str) -> [Gateway; 2] {
    let provider = Provider::start(Vectors::Good).await;
    let store = format!("timeout: 20s, provider: {name}, url: '{url}', api_key: k3y");
    let section = SECTION.replace("max_turns: 2", &store);
    let yaml = provider.configured(&section, "");
    let [a, b] = [(); 2].map(|()| Gateway::start(&yaml));
    let first = ask(&mut a.connect().await, &asking(QUESTION)).await;
    is(&first, "answer 1", "miss");
    let mut client = b.connect().await;
    let finding = async {
        loop {
            let response = ask_with(&mut client, ONLY, &asking(SIMILAR)).await;
            if response.status == 200 {
                return response;
            }
        }
    };
    is_similar(&soon(name, finding).await, "answer 1");
    let system = r#"{"model":"gpt-4o","messages":[{"role":"system","content":"x"},{"role":"user","content":"How do I reset my password?"}]}"#;
    let other = ask_with(&mut client, ONLY, system).await;
    assert_eq!(other.status, 504, "another scope");
    let mut admin = a.connect_admin().await;
    let remove = "DELETE /admin/cache HTTP/1.1\r\nHost: localhost\r\n\r\n";
    admin.send(remove).await;
    assert_eq!(admin.response().await.status, 200);
    [a, b]
}

async fn exchanges(name: &str, script: Script, variable: &str) {
    let (upstream, database) = scripted(script).await;
    let _nodes = exchange(name, &format!("http://{}", upstream.address)).await;
    until("the removal", || {
        database.question.lock().unwrap().is_none()
    })
    .await;
    let keys = database.keys.lock().unwrap().clone();
    assert!(keys.iter().all(|key| key.ends_with("k3y")), "{keys:?}");
    if let Ok(url) = std::env::var(variable) {
        exchange(name, &url).await;
    }
}

#[tokio::test]
async fn qdrant_keeps_questions() {
    exchanges("qdrant", qdrant, "TOLLGATE_TEST_QDRANT_URL").await;
}

#[tokio::test]
async fn weaviate_keeps_questions() {
    exchanges("weaviate", weaviate, "TOLLGATE_TEST_WEAVIATE_URL").await;
}

#[tokio::test]
async fn milvus_keeps_questions() {
    exchanges("milvus", milvus, "TOLLGATE_TEST_MILVUS_URL").await;
}

fn failing(_: &Database, _: &str, _: &Value) -> (&'static str, Value) {
    ("500 Internal Server Error", json!({ "status": "error" }))
}

/// As from a collection of vectors of another length.
fn refusing(_: &Database, call: &str, _: &Value) -> (&'static str, Value) {
    match call.contains("/points") {
        true => (
            "400 Bad Request",
            json!({ "status": { "error": "Wrong input: Vector dimension error" } }),
        ),
        false => ("200 OK", json!({ "result": true })),
    }
}

/// As from a server of another version.
fn foreign(_: &Database, _: &str, _: &Value) -> (&'static str, Value) {
    ("200 OK", json!("hello"))
}

#[tokio::test]
async fn a_database_that_fails_or_is_another_one_fails_no_request() {
    let scripts: [Script; 3] = [failing, refusing, foreign];
    for script in scripts {
        for name in ["qdrant", "weaviate", "milvus"] {
            let (upstream, _) = scripted(script).await;
            let provider = Provider::start(Vectors::Good).await;
            let url = format!("http://{}", upstream.address);
            let store = format!("timeout: 20s, provider: {name}, url: '{url}'");
            let section = SECTION.replace("max_turns: 2", &store);
            let gateway = Gateway::start(&provider.configured(&section, ""));
            let mut client = gateway.connect().await;
            gets(&mut client, QUESTION, "answer 1", "miss").await;
            gets(&mut client, SIMILAR, "answer 2", "miss").await;
            gets(&mut client, SIMILAR, "answer 2", "hit").await;
            compared(&gateway, "store_failed", 2.0).await;
            gateway
                .output()
                .wait_for("cache: the database of vectors answers with");
        }
    }
}
