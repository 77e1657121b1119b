//! What cannot be made or changed at run time, and what is told.

use serde_json::{Value, json};

use super::{ask, assert_refused, make_key, status_with, taken, upstream, with_ledger};
use crate::support::CLIENT_KEY;
use crate::support::gateway::{Folder, Gateway, config};

#[tokio::test]
async fn what_the_file_defines_is_shown_and_changed_there() {
    let upstream = upstream().await;
    let ledger = Folder::new();
    let gateway = Gateway::start(&with_ledger(upstream.address, &ledger));
    let tenant = taken(
        &ask(&gateway, "GET", "/admin/tenants/tester", Value::Null).await,
        200,
    );
    assert_eq!(
        (&tenant["source"], &tenant["models"][0]),
        (&json!("file"), &json!("gpt-4o"))
    );
    let keys = taken(&ask(&gateway, "GET", "/admin/keys", Value::Null).await, 200);
    let id = keys["data"][0]["id"].as_str().unwrap().to_owned();
    assert_eq!(keys["data"][0]["source"], "file");
    let there = "is defined in the configuration file: change it there";
    for (method, path, body) in [
        (
            "PATCH",
            "/admin/tenants/tester".to_owned(),
            json!({ "enabled": false }),
        ),
        ("DELETE", "/admin/tenants/tester".to_owned(), Value::Null),
        (
            "POST",
            "/admin/tenants".to_owned(),
            json!({ "id": "tester" }),
        ),
        (
            "PATCH",
            format!("/admin/keys/{id}"),
            json!({ "enabled": false }),
        ),
        ("DELETE", format!("/admin/keys/{id}"), Value::Null),
        ("POST", format!("/admin/keys/{id}/rotate"), Value::Null),
    ] {
        let refused = ask(&gateway, method, &path, body).await;
        assert_refused(&refused, 409, "defined_in_file", None, there);
    }
    assert_eq!(status_with(&gateway, CLIENT_KEY).await, 200);
}

#[tokio::test]
async fn a_mistake_is_told_with_its_field_and_what_to_write() {
    let upstream = upstream().await;
    let ledger = Folder::new();
    let gateway = Gateway::start(&with_ledger(upstream.address, &ledger));
    let (id, _) = make_key(&gateway, "tester", "ci").await;
    let path = format!("/admin/keys/{id}");
    let invalid = "invalid_definition";
    for (method, path, body, param, message) in [
        (
            "POST",
            "/admin/keys",
            json!({ "name": "x" }),
            Some("tenant"),
            "it is missing",
        ),
        (
            "POST",
            "/admin/keys",
            json!({ "tenant": 5 }),
            Some("tenant"),
            "expected text",
        ),
        (
            "POST",
            "/admin/keys",
            json!({ "tenant": "none", "name": "x" }),
            Some("tenant"),
            "there is no tenant `none`",
        ),
        (
            "POST",
            "/admin/keys",
            json!({ "tenant": "tester" }),
            Some("name"),
            "it is missing",
        ),
        (
            "POST",
            "/admin/keys",
            json!({ "tenant": "tester", "name": "x", "quota": 0 }),
            Some("quota"),
            "must be above 0",
        ),
        (
            "POST",
            "/admin/keys",
            json!({ "tenant": "tester", "name": "x", "limits": { "rpm": "many" } }),
            Some("limits.requests_per_minute"),
            "expected a whole number",
        ),
        (
            "POST",
            "/admin/tenants",
            json!({ "id": "a", "limit": {} }),
            Some("limit"),
            "did you mean `limits`?",
        ),
        (
            "POST",
            "/admin/tenants",
            json!({ "id": "a", "quota": { "usd": 5 } }),
            Some("quota"),
            "needs prices",
        ),
        (
            "PATCH",
            path.as_str(),
            json!({ "tenant": "other" }),
            Some("tenant"),
            "unknown key",
        ),
        (
            "POST",
            "/admin/keys",
            json!("[]"),
            None,
            "has to be a JSON object",
        ),
        (
            "POST",
            "/admin/keys",
            json!("{\"tenant\": \"secret-in-a-body"),
            None,
            "at line 1, column",
        ),
        (
            "GET",
            "/admin/keys?limit=0",
            Value::Null,
            Some("limit"),
            "from 1 to 1000",
        ),
        (
            "GET",
            "/admin/keys?name=x",
            Value::Null,
            None,
            "tenant, after and limit",
        ),
        (
            "GET",
            "/admin/audit?after=x",
            Value::Null,
            Some("after"),
            "is not the id of a line",
        ),
    ] {
        let refused = ask(&gateway, method, path, body).await;
        assert_refused(&refused, 400, invalid, param, message);
        assert!(!refused.text().contains("secret-in-a-body"));
    }
    let taken_name = ask(
        &gateway,
        "POST",
        "/admin/keys",
        json!({ "tenant": "tester", "name": "ci" }),
    )
    .await;
    assert_refused(
        &taken_name,
        409,
        "already_exists",
        Some("name"),
        "has the name `ci` already",
    );
    let none = ask(&gateway, "GET", "/admin/keys/key_none", Value::Null).await;
    assert_refused(&none, 404, "not_found", None, "there is no key `key_none`");
    let long = ask(&gateway, "POST", "/admin/keys", json!("x".repeat(70_000))).await;
    assert_refused(&long, 413, "body_too_large", None, "65536 bytes");
    let wrong = ask(&gateway, "PUT", "/admin/keys", Value::Null).await;
    assert_eq!(
        (wrong.status, wrong.header("allow")),
        (405, Some("GET, HEAD, POST"))
    );
}

#[tokio::test]
async fn without_a_token_in_the_request_nothing_is_told() {
    let upstream = upstream().await;
    let ledger = Folder::new();
    let gateway = Gateway::start(&with_ledger(upstream.address, &ledger));
    for path in [
        "/admin/keys",
        "/admin/tenants",
        "/admin/audit",
        "/admin/openapi.json",
    ] {
        assert_eq!(gateway.get_admin(path).await.status, 401, "{path}");
    }
}

#[tokio::test]
async fn without_tenants_or_a_ledger_nothing_is_made() {
    let upstream = upstream().await;
    let ledger = Folder::new();
    let yaml = with_ledger(upstream.address, &ledger);
    let from = yaml.find("tenants:\n").unwrap();
    let to = yaml.find("ledger:").unwrap();
    let open = Gateway::start(&format!("{}{}", &yaml[..from], &yaml[to..]));
    let refused = ask(&open, "POST", "/admin/tenants", json!({ "id": "a" })).await;
    assert_refused(
        &refused,
        409,
        "tenants_not_configured",
        None,
        "write `tenants: []` to make all tenants at run time",
    );
    assert_eq!(status_with(&open, "anything").await, 200);
    let without = config(upstream.address, "", "");
    let without = Gateway::start(&without.replace(
        "server:\n",
        &format!("server:\n  admin_token: {}\n", super::TOKEN),
    ));
    for (method, body) in [
        ("GET", Value::Null),
        ("POST", json!({ "tenant": "tester", "name": "x" })),
    ] {
        let refused = ask(&without, method, "/admin/keys", body).await;
        assert_refused(
            &refused,
            409,
            "no_ledger",
            None,
            "write `ledger: { path: … }`",
        );
    }
}

#[tokio::test]
async fn where_a_later_file_defines_the_same_the_file_holds() {
    let upstream = upstream().await;
    let ledger = Folder::new();
    let yaml = with_ledger(upstream.address, &ledger);
    let gateway = Gateway::start(&yaml);
    taken(
        &ask(
            &gateway,
            "POST",
            "/admin/tenants",
            json!({ "id": "late", "models": ["same-*"] }),
        )
        .await,
        201,
    );
    let (_, key) = make_key(&gateway, "late", "ci").await;
    let (_, named) = make_key(&gateway, "late", "main").await;
    assert_eq!(status_with(&gateway, &key).await, 404);
    let late = "  - { id: late, keys: [{ key: late-of-the-file, name: main }] }\nledger:";
    gateway
        .folder()
        .write("tollgate.yaml", yaml.replace("ledger:", late));
    taken(
        &ask(&gateway, "POST", "/admin/reload", Value::Null).await,
        200,
    );
    // Its keys are those of the file's tenant now; of two with a name, the file's holds.
    assert_eq!(status_with(&gateway, &key).await, 200);
    assert_eq!(status_with(&gateway, "late-of-the-file").await, 200);
    assert_eq!(status_with(&gateway, &named).await, 401);
    gateway.output().wait_for(
        "the tenant `late` was made at run time, and the configuration file defines it, too",
    );
    gateway.output().wait_for(
        "the key `main` of the tenant `late`, which was made at run time, is not in force",
    );
    let shown = taken(
        &ask(&gateway, "GET", "/admin/tenants/late", Value::Null).await,
        200,
    );
    assert_eq!(shown["source"], "file");
    // Without it in the file, it is what it was.
    gateway.folder().write("tollgate.yaml", &yaml);
    taken(
        &ask(&gateway, "POST", "/admin/reload", Value::Null).await,
        200,
    );
    assert_eq!(status_with(&gateway, &key).await, 404);
    assert_eq!(status_with(&gateway, &named).await, 404);
    assert_eq!(status_with(&gateway, "late-of-the-file").await, 401);
}
