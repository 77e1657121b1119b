//! What may not pass does not pass in another spelling either: through the tunnel and routes alike.

use super::start;
use crate::support::CLIENT_KEY;
use crate::support::http2::Client2;

fn request(method: &str, path: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nhost: g\r\nauthorization: Bearer {CLIENT_KEY}\r\n\r\n")
}

#[tokio::test]
async fn a_path_that_servers_read_differently_reaches_no_upstream() {
    let (upstream, gateway) = start().await;
    for base in ["/v1", "/other"] {
        for path in [
            "/realtime;x/client_secrets",
            "/realtime/client_secrets;x",
            "/files/..;/realtime/client_secrets",
            "/files/%2e%2e/realtime/client_secrets",
            "/files/%252e%252e/x",
            "/realtime%3bx/client_secrets",
            "/files.",
            "/files%20",
            "/files/%20",
            "/files%09",
            "/files%00",
            "/files%0d%0ax",
            "/files//x",
            "/files/./x",
            "/files%5cx",
            "/files%c0%afx",
            "/files%23x",
            "/files%3fx",
        ] {
            let path = format!("{base}{path}");
            let mut client = gateway.connect().await;
            client.send(request("GET", &path)).await;
            let response = client.response().await;
            assert!(
                [400, 403, 404].contains(&response.status),
                "{path}: {response:?}"
            );
        }
    }
    assert_eq!(upstream.requests(), 0);
}

#[tokio::test]
async fn a_method_that_is_not_exactly_one_of_http_reaches_no_upstream() {
    let (upstream, gateway) = start().await;
    for path in ["/v1/files", "/v1/chat/completions", "/other/x"] {
        for method in [
            "post", "Get", "TRACE", "CONNECT", "PROPFIND", "GETX", "POST_",
        ] {
            let mut client = gateway.connect().await;
            client.send(request(method, path)).await;
            let response = client.response().await;
            assert!(
                [400, 404, 405].contains(&response.status),
                "{method} {path}: {response:?}"
            );
        }
        let mut client = Client2::connect(&gateway).await;
        let answer = client.send("post", path, &[], &[]).await;
        let is_refused = answer
            .as_ref()
            .map_or(true, |a| [400, 404, 405].contains(&a.status));
        assert!(is_refused, "{path}: {answer:?}");
    }
    assert_eq!(upstream.requests(), 0);
}
