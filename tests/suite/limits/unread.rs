//! What passes through and what goes by a route counts as a request, and holds a permit.

use super::{ANSWER, OTHER_KEY, Setup, ask, assert_exhausted, assert_refused, number, request};
use crate::support::upstream::{Listener, Upstream};
use crate::support::{CLIENT_KEY, chat};

const ROUTES: &str = "routes: [{ prefix: /far, upstream: far }]\n";

#[tokio::test]
async fn each_counts_as_a_request_of_its_tenant_and_of_the_gateway() {
    let upstream = Upstream::answering(ANSWER).await;
    let more = format!("limits: {{ requests_per_day: 5 }}\n{ROUTES}");
    let setup = Setup {
        server: ", passthrough: far",
        tenant: ", limits: { requests_per_day: 4 }",
        more: &more,
        ..Setup::default()
    };
    let gateway = setup.start(upstream.address);
    let mut client = gateway.connect().await;
    for (method, path) in [
        ("GET", "/v1/files"),
        ("POST", "/v1/files"),
        ("GET", "/far/anything"),
        ("DELETE", "/far/x/y"),
    ] {
        client.send(request(method, path, CLIENT_KEY, "", "")).await;
        assert_eq!(client.response().await.status, 200, "{method} {path}");
    }
    for path in ["/v1/files", "/far/anything"] {
        let refused = gateway.get(path).await;
        assert_refused(&refused, "requests", "tenant `tester`", "requests_per_day");
        let wait = number(&refused, "retry-after");
        assert!(wait > 60 && refused.header("x-should-retry") == Some("false"));
    }
    assert_refused(
        &ask(&gateway, &chat("gpt-4o")).await,
        "requests",
        "tenant `tester`",
        "requests_per_day",
    );
    for status in [200, 429] {
        let head = request("GET", "/far/anything", OTHER_KEY, "", "");
        client.send(head).await;
        assert_eq!(client.response().await.status, status);
    }
    assert_eq!(upstream.requests(), 5);
}

#[tokio::test]
async fn each_holds_a_permit_until_its_answer_has_ended() {
    let upstream = Listener::bind().await;
    let setup = Setup {
        server: ", passthrough: far",
        tenant: ", limits: { concurrent: 1 }",
        more: ROUTES,
        ..Setup::default()
    };
    let gateway = setup.start(upstream.address);
    for path in ["/v1/files", "/far/anything"] {
        let mut client = gateway.connect().await;
        client.send(request("GET", path, CLIENT_KEY, "", "")).await;
        let (_, mut far) = upstream.accept().await;
        far.raw("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{")
            .await;
        for other in ["/v1/files", "/far/anything"] {
            let refused = gateway.get(other).await;
            assert_refused(&refused, "requests", "tenant `tester`", "concurrent");
        }
        far.raw("}").await;
        drop(far);
        assert_eq!(client.response().await.text(), "{}");
    }
}

#[tokio::test]
async fn none_passes_where_a_quota_has_nothing_left() {
    let upstream = Upstream::answering(ANSWER).await;
    let setup = Setup {
        server: ", passthrough: far",
        tenant: ", quota: { tokens: 10, per: total }",
        more: ROUTES,
        ..Setup::default()
    };
    let gateway = setup.start(upstream.address);
    for path in ["/v1/files", "/far/anything"] {
        assert_eq!(gateway.get(path).await.status, 200, "{path}");
    }
    // The ten tokens of an answer.
    let body = r#"{"model":"gpt-4o","input":"x"}"#;
    assert_eq!(gateway.post("/v1/embeddings", body).await.status, 200);
    for path in ["/v1/files", "/far/anything"] {
        assert_exhausted(&gateway.get(path).await);
    }
    assert_eq!(upstream.requests(), 3);
}

#[tokio::test]
async fn health_is_no_request_of_anybody_s() {
    let upstream = Upstream::answering(ANSWER).await;
    let setup = Setup {
        more: "limits: { requests_per_day: 1 }\n",
        ..Setup::default()
    };
    let gateway = setup.start(upstream.address);
    for _ in 0..3 {
        assert_eq!(gateway.get("/health").await.status, 200);
    }
    assert_eq!(ask(&gateway, &chat("gpt-4o")).await.status, 200);
    assert_eq!(ask(&gateway, &chat("gpt-4o")).await.status, 429);
    assert_eq!(gateway.get("/health").await.status, 200);
}
