//! `GET /admin/usage` asks for the operator's token, or answers this machine alone.

use crate::support::gateway::{Gateway, config};
use crate::support::upstream::Upstream;

const TOKEN: &str = "token-of-the-operator";

#[tokio::test]
async fn with_a_token_only_the_token_opens_what_is_below_admin() {
    let upstream = Upstream::answering("{}").await;
    let yaml = config(upstream.address, "", "");
    let with_token = format!("server:\n  admin_token: {TOKEN}\n");
    let gateway = Gateway::start(&yaml.replace("server:\n", &with_token));
    let refused = gateway.get_admin("/admin/usage").await;
    assert_eq!(refused.status, 401);
    assert_eq!(refused.json()["error"]["type"], "authentication_error");
    assert_eq!(refused.header("www-authenticate"), Some("Bearer"));
    for (given, status) in [(TOKEN, 404), ("token-of-another-one", 401)] {
        let mut client = gateway.connect_admin().await;
        let request = format!(
            "GET /admin/nothing HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {given}\r\n\r\n"
        );
        client.send(request).await;
        assert_eq!(client.response().await.status, status, "{given}");
    }
    // What is not below it stays open.
    assert_eq!(gateway.get_admin("/health").await.status, 200);
}

#[tokio::test]
async fn without_a_token_this_machine_may_ask() {
    let upstream = Upstream::answering("{}").await;
    let gateway = Gateway::start(&config(upstream.address, "", ""));
    let other = gateway.get_admin("/admin/nothing").await;
    assert_eq!(other.status, 404);
    assert_eq!(other.json()["error"]["type"], "invalid_request_error");
}
