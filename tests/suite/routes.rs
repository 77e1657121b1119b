//! Other services, forwarded by path prefix.

use tokio::net::TcpListener;

use crate::support::gateway::{Gateway, config};
use crate::support::upstream::Upstream;
use crate::support::{CLIENT_KEY, PROVIDER_KEY};

#[tokio::test]
async fn a_route_strips_its_prefix_and_swaps_the_key() {
    let upstream = Upstream::answering("{}").await;
    let root = Upstream::answering("[]").await;
    let more =
        "routes:\n  - { prefix: /far, upstream: far }\n  - { prefix: /root/, upstream: root }\n";
    let yaml = config(upstream.address, "", more).replace(
        "models:\n",
        &format!(
            "  root: {{ base_url: 'http://{}' }}\nmodels:\n",
            root.address
        ),
    );
    let gateway = Gateway::start(&yaml);
    let mut client = gateway.connect().await;
    for (method, path, seen_path) in [
        ("POST", "/far/chat/completions", "/v1/chat/completions"),
        ("PATCH", "/far/a%2Fb/?x=1&key=k", "/v1/a%2Fb/?x=1"),
        ("GET", "/far", "/v1"),
    ] {
        client
            .send(format!(
                "{method} {path} HTTP/1.1\r\nhost: g\r\nx-goog-api-key: {CLIENT_KEY}\r\n\
                 x-goog-upload-command: start\r\ncookie: c=1\r\ncontent-length: 3\r\n\r\nabc"
            ))
            .await;
        assert_eq!(client.response().await.status, 200, "{path}");
        let seen = upstream.request().await;
        assert_eq!(
            (seen.method.as_str(), seen.path.as_str()),
            (method, seen_path)
        );
        assert_eq!(seen.text(), "abc");
        assert_eq!(
            seen.header("authorization"),
            [format!("Bearer {PROVIDER_KEY}")]
        );
        assert_eq!(seen.header("x-goog-upload-command"), ["start"]);
        assert!(seen.header("x-goog-api-key").is_empty() && seen.header("cookie").is_empty());
    }
    let response = client.get("/root").await;
    assert_eq!((response.status, response.text()), (200, "[]"));
    let seen = root.request().await;
    assert_eq!(seen.path, "/", "a URL without a path is the server's root");
    assert!(
        seen.header("authorization").is_empty(),
        "there is no key to give"
    );
    gateway.access_line("method=PATCH path=/far/a%2Fb/ model=- sent=- upstream=far status=200");
    let metrics = gateway.get_admin("/metrics").await;
    let counted =
        r#"tollgate_requests_total{endpoint="route",rule="/far",status="2xx",upstream="far"} 3"#;
    assert!(metrics.text().contains(counted), "{}", metrics.text());
}

#[tokio::test]
async fn a_route_is_for_callers_with_a_key_and_for_its_own_paths() {
    let upstream = Upstream::answering("{}").await;
    let more = "routes: [{ prefix: /far, upstream: far }]\n";
    let gateway = Gateway::start(&config(upstream.address, "", more));
    let mut client = gateway.connect().await;
    client.send("GET /far/x HTTP/1.1\r\nhost: g\r\n\r\n").await;
    let refused = client.response().await;
    refused.assert_error(401, "invalid_request_error", None, None);
    for (path, status, code) in [
        ("/farther", 404, None),
        ("/other", 404, None),
        ("/far/../v1/x", 400, Some("invalid_path")),
        ("/far//x", 400, Some("invalid_path")),
    ] {
        let refused = gateway.get(path).await;
        refused.assert_error(status, "invalid_request_error", code, None);
    }
    assert_eq!(upstream.requests(), 0);
}

#[tokio::test]
async fn a_route_whose_upstream_is_down_says_so() {
    let nobody = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let more = "routes: [{ prefix: /far, upstream: far }]\n";
    let gateway = Gateway::start(&config(nobody, "", more));
    let response = gateway.get("/far/x").await;
    response.assert_error(502, "server_error", Some("upstream_unreachable"), None);
}
