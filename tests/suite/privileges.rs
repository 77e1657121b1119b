//! What reaches beyond the request that makes it is refused, unless the operator allows it: keys of
//! the provider's, calls, administration, reports on the whole account.

use crate::support::CLIENT_KEY;
use crate::support::client::Response;
use crate::support::gateway::{Gateway, config};
use crate::support::upstream::Upstream;

/// The tests' configuration with a home for every tenant, and these lines in `server`.
fn at_home(upstream: &Upstream, server: &str) -> String {
    let server = format!("server:\n  passthrough: far\n{server}");
    config(upstream.address, "", "").replace("server:\n", &server)
}

async fn ask(gateway: &Gateway, method: &str, path: &str, key: &str) -> Response {
    let mut client = gateway.connect().await;
    let body = match method {
        "POST" => "content-length: 2\r\n\r\n{}",
        _ => "\r\n",
    };
    client
        .send(format!(
            "{method} {path} HTTP/1.1\r\nhost: g\r\nauthorization: Bearer {key}\r\n{body}"
        ))
        .await;
    client.response().await
}

const EPHEMERAL: &str = "ephemeral_keys_not_allowed";
const CALLS: &str = "calls_not_allowed";
const ACCOUNT: &str = "account_keys_not_allowed";
const ADMINISTRATION: &str = "administration_not_allowed";
const REPORTS: &str = "usage_reports_not_allowed";

/// What is refused by default, and what it is told.
const GUARDED: [(&str, &str, &str); 14] = [
    ("POST", "/v1/realtime/client_secrets", EPHEMERAL),
    ("POST", "/v1/realtime/sessions", EPHEMERAL),
    ("POST", "/v1/realtime/client%5Fsecrets/", EPHEMERAL),
    ("POST", "/v1/%72ealtime/client_secrets", EPHEMERAL),
    ("POST", "/v1/chatkit/sessions", EPHEMERAL),
    ("POST", "/v1/realtime/calls", CALLS),
    ("POST", "/v1/realtime/calls/c/accept", CALLS),
    ("POST", "/v1/organization/admin_api_keys", ACCOUNT),
    (
        "POST",
        "/v1/organization/projects/p/service_accounts",
        ACCOUNT,
    ),
    ("GET", "/v1/organization/users", ADMINISTRATION),
    ("POST", "/v1/organization/invites", ADMINISTRATION),
    ("POST", "/v1/organization/costs", ADMINISTRATION),
    ("GET", "/v1/organization/costs", REPORTS),
    ("GET", "/v1/organization/usage/completions", REPORTS),
];

#[tokio::test]
async fn each_kind_is_refused_with_its_own_message() {
    let upstream = Upstream::answering("{}").await;
    let gateway = Gateway::start(&at_home(&upstream, ""));
    let mut messages = std::collections::HashMap::new();
    for (method, path, code) in GUARDED {
        let response = ask(&gateway, method, path, CLIENT_KEY).await;
        response.assert_error(403, "invalid_request_error", Some(code), None);
        let error = response.json();
        let message = error["error"]["message"].as_str().unwrap();
        let what = message.strip_prefix(path).unwrap().to_owned();
        assert_eq!(*messages.entry(code).or_insert_with(|| what.clone()), what);
    }
    let different: std::collections::HashSet<_> = messages.values().collect();
    assert_eq!((messages.len(), different.len()), (5, 5));
    assert!(messages[CALLS].contains("call") && messages[ADMINISTRATION].contains("administers"));
    for path in [
        "/v1/files/../realtime/client_secrets",
        "/v1/files/%2e%2e/realtime/calls",
        "/v1//realtime/client_secrets",
        "/v1/files%5c..%5crealtime%5ccalls",
        "/v1/realtime/calls/%2e%2e/hangup",
    ] {
        let response = ask(&gateway, "POST", path, CLIENT_KEY).await;
        response.assert_error(400, "invalid_request_error", Some("invalid_path"), None);
    }
    assert_eq!(upstream.requests(), 0);
}

#[tokio::test]
async fn what_ends_a_call_hands_out_nothing() {
    let upstream = Upstream::answering("{}").await;
    let gateway = Gateway::start(&at_home(&upstream, ""));
    for path in ["/v1/realtime/calls/c/hangup", "/v1/realtime/calls/c/reject"] {
        let response = ask(&gateway, "POST", path, CLIENT_KEY).await;
        assert_eq!(response.status, 200, "{path}");
        assert_eq!(upstream.request().await.path, path);
    }
}

#[tokio::test]
async fn each_setting_allows_what_it_names_and_nothing_else() {
    let upstream = Upstream::answering("{}").await;
    for (setting, allowed) in [
        ("allow_ephemeral_keys", &[EPHEMERAL, CALLS][..]),
        ("allow_administration", &[ACCOUNT, ADMINISTRATION]),
        ("allow_usage_reports", &[REPORTS]),
    ] {
        let gateway = Gateway::start(&at_home(&upstream, &format!("  {setting}: true\n")));
        for (method, path, code) in GUARDED {
            let status = ask(&gateway, method, path, CLIENT_KEY).await.status;
            let expected = if allowed.contains(&code) { 200 } else { 403 };
            assert_eq!(status, expected, "{setting}: {method} {path}");
        }
    }
}

#[tokio::test]
async fn a_tenants_own_setting_goes_before_the_servers() {
    let upstream = Upstream::answering("{}").await;
    let other = format!("{CLIENT_KEY}-2");
    let yaml = at_home(&upstream, "  allow_usage_reports: true\n")
        .replace("id: tester,", "id: tester, allow_usage_reports: false,")
        + &format!("  - {{ id: other, keys: ['{other}'], allow_administration: true }}\n");
    let gateway = Gateway::start(&yaml);
    let costs = "/v1/organization/costs";
    let users = "/v1/organization/users";
    for (key, path, status) in [
        (CLIENT_KEY, costs, 403),
        (CLIENT_KEY, users, 403),
        (&other, costs, 200),
        (&other, users, 200),
    ] {
        let answer = ask(&gateway, "GET", path, key).await;
        assert_eq!(answer.status, status, "{path}");
    }
}
