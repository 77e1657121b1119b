//! The models that a tenant may ask for.

use crate::support::gateway::Gateway;
use crate::support::upstream::Upstream;

#[tokio::test]
async fn a_tenant_sees_the_exact_names_that_it_may_ask_for() {
    let upstream = Upstream::answering("{}").await;
    let gateway = Gateway::before(&upstream);
    let list = gateway.get("/v1/models").await;
    let body = list.json();
    assert_eq!((list.status, &body["object"]), (200, &"list".into()));
    let ids: Vec<&str> = body["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|m| m["id"].as_str().unwrap())
        .collect();
    assert_eq!(ids, ["gpt-4o"], "`forbidden` is not for this tenant");
    let model = &body["data"][0];
    assert_eq!(model["object"], "model");
    assert!(model["created"].is_i64() && model["owned_by"].is_string());
}

#[tokio::test]
async fn a_model_is_told_of_by_its_id_slashes_and_escapes_included() {
    let upstream = Upstream::answering("{}").await;
    let gateway = Gateway::before(&upstream);
    for (path, id) in [
        ("/v1/models/gpt-4o", "gpt-4o"),
        ("/v1/models/same-org/name", "same-org/name"),
        ("/v1/models/same-org%2Fname", "same-org/name"),
    ] {
        let model = gateway.get(path).await;
        assert_eq!(
            (model.status, &model.json()["id"]),
            (200, &id.into()),
            "{path}"
        );
    }
    for path in ["/v1/models/forbidden", "/v1/models/unheard-of"] {
        let error = gateway.get(path).await;
        error.assert_error(
            404,
            "invalid_request_error",
            Some("model_not_found"),
            Some("model"),
        );
    }
}

#[tokio::test]
async fn the_list_is_not_for_everybody() {
    let upstream = Upstream::answering("{}").await;
    let gateway = Gateway::before(&upstream);
    let mut client = gateway.connect().await;
    client
        .send("GET /v1/models HTTP/1.1\r\nhost: g\r\n\r\n")
        .await;
    client
        .response()
        .await
        .assert_error(401, "invalid_request_error", None, None);
}
