//! Who may come from where: to a listener, to the operator's listener, and as a tenant.

use super::{ask, refused, yaml};
use crate::support::CLIENT_KEY;
use crate::support::client::Client;
use crate::support::gateway::{Gateway, config, with_listener};
use crate::support::upstream::Upstream;

fn key() -> String {
    format!("authorization: Bearer {CLIENT_KEY}\r\n")
}

fn turned_away(listener: &str) -> String {
    format!("tollgate_addresses_refused_total{{listener=\"{listener}\"}}")
}

/// A gateway whose listener has these rules, and these keys of `server`.
fn listening(upstream: &Upstream, rules: &str, more: &str) -> Gateway {
    let yaml = with_listener(
        &config(upstream.address, "", ""),
        &format!("addresses: {rules}"),
    );
    Gateway::start(&yaml.replace("server:\n", &format!("server:\n  {more}\n")))
}

#[tokio::test]
async fn a_connection_from_elsewhere_is_closed_and_told_nothing() {
    let upstream = Upstream::answering("{}").await;
    let gateway = listening(&upstream, "{ allow: [127.0.0.2], deny: [127.0.0.3] }", "");
    let mut client = Client::connect(gateway.address).await;
    assert!(client.is_closed().await);
    let mut client = Client::connect_from("127.0.0.3", gateway.address).await;
    assert!(client.is_closed().await);
    gateway.metric_becomes(&turned_away("clients"), 2.0).await;
    assert_eq!(upstream.requests(), 0);
    let mut client = Client::connect_from("127.0.0.2", gateway.address).await;
    let answer = client.get("/v1/models").await;
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn behind_a_trusted_proxy_the_address_that_it_names_counts() {
    let upstream = Upstream::answering("{}").await;
    let rules = "{ deny: [192.0.2.0/24] }";
    let gateway = listening(&upstream, rules, "trusted_proxies: [127.0.0.1]");
    for (from, status) in [
        ("192.0.2.7", 403),
        ("::ffff:192.0.2.7", 403),
        ("198.51.100.1", 200),
    ] {
        let headers = format!("{}x-forwarded-for: {from}\r\n", key());
        let answer = ask(&gateway, &headers).await;
        assert_eq!(answer.status, status, "{from}");
        if status == 403 {
            let code = Some("address_not_allowed");
            answer.assert_error(403, "invalid_request_error", code, None);
        }
    }
    gateway.metric_becomes(&turned_away("clients"), 2.0).await;
    assert_eq!(upstream.requests(), 1);
}

#[tokio::test]
async fn a_tenant_s_key_works_from_its_addresses_alone() {
    let upstream = Upstream::answering("{}").await;
    let tenants = format!(
        "tenants:
  - {{ id: office, keys: ['{CLIENT_KEY}'], addresses: {{ allow: [127.0.0.2] }} }}
  - {{ id: anywhere, keys: [a-key-for-anywhere] }}
"
    );
    let gateway = Gateway::start(&yaml(&upstream, &tenants));
    let answer = ask(&gateway, &key()).await;
    let code = Some("address_not_allowed");
    answer.assert_error(403, "invalid_request_error", code, None);
    gateway
        .output()
        .wait_for("refused: the tenant office does not come from this address");
    gateway
        .metric_becomes(&refused("key", "address"), 1.0)
        .await;
    let mut client = Client::connect_from("127.0.0.2", gateway.address).await;
    assert_eq!(client.get("/v1/models").await.status, 200);
    let answer = ask(&gateway, "authorization: Bearer a-key-for-anywhere\r\n").await;
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn the_operator_s_listener_has_a_list_of_its_own() {
    let upstream = Upstream::answering("{}").await;
    let rules = "server:\n  admin_addresses: { deny: [127.0.0.2] }\n";
    let yaml = config(upstream.address, "", "").replace("server:\n", rules);
    let gateway = Gateway::start(&yaml);
    let mut client = Client::connect_from("127.0.0.2", gateway.admin.unwrap()).await;
    assert!(client.is_closed().await);
    gateway.metric_becomes(&turned_away("admin"), 1.0).await;
}

#[tokio::test]
async fn a_reload_changes_the_list_for_the_next_request_of_an_open_connection() {
    let upstream = Upstream::answering("{}").await;
    let gateway = listening(&upstream, "{ deny: [192.0.2.1] }", "");
    let mut client = Client::connect(gateway.address).await;
    assert_eq!(client.get("/v1/models").await.status, 200);
    let file = gateway.folder().0.join("tollgate.yaml");
    let yaml = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, yaml.replace("192.0.2.1", "127.0.0.1")).unwrap();
    gateway.output().wait_for("server.listen[127.0.0.1:0]");
    let answer = client.get("/v1/models").await;
    let code = Some("address_not_allowed");
    answer.assert_error(403, "invalid_request_error", code, None);
    let mut client = Client::connect(gateway.address).await;
    assert!(client.is_closed().await);
}
