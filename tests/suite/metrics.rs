//! Health and metrics, as an operator reads them.

use crate::support::client::{Client, post};
use crate::support::gateway::Gateway;
use crate::support::upstream::Upstream;
use crate::support::{chat, delta, soon};

#[tokio::test]
async fn health_is_told_on_both_listeners() {
    let upstream = Upstream::answering("{}").await;
    let gateway = Gateway::before(&upstream);
    for health in [
        gateway.get("/health").await,
        gateway.get_admin("/health").await,
    ] {
        let body = health.json();
        assert_eq!((health.status, &body["status"]), (200, &"ok".into()));
        assert_eq!(body["pid"], gateway.pid());
        assert_eq!(body["version"], env!("CARGO_PKG_VERSION"));
        assert!(body["uptime_seconds"].is_u64());
        assert!(body["time"].as_str().unwrap().ends_with('Z'));
    }
}

#[tokio::test]
async fn requests_are_counted_by_what_the_configuration_names() {
    let upstream = Upstream::answering("{}").await;
    let gateway = Gateway::before(&upstream);
    let body = chat("gpt-4o");
    for _ in 0..3 {
        gateway.post("/v1/chat/completions", &body).await;
    }
    gateway.post("/v1/embeddings", &chat("same-x")).await;
    gateway
        .post("/v1/chat/completions", &chat("made-up-by-a-client"))
        .await;
    gateway.post("/made/up/by/a/client", "{}").await;
    let total = counted(&gateway, 6).await;
    assert_eq!(total["error_count"], 2);
    assert_eq!(total["model_redirects"], 3);
    assert!(total["cpu_cores"].as_u64().unwrap() >= 1);
    assert!(total["uptime_seconds"].is_u64());
    let response = gateway.get_admin("/metrics").await;
    assert!(
        response
            .header("content-type")
            .unwrap()
            .starts_with("text/plain; version=0.0.4")
    );
    let text = response.text();
    let chat_labels = r#"endpoint="chat_completions",rule="gpt-4o""#;
    let bytes = 3 * body.len() + chat("made-up-by-a-client").len();
    for line in [
        format!(r#"tollgate_requests_total{{{chat_labels},status="2xx",upstream="far"}} 3"#),
        r#"tollgate_requests_total{endpoint="embeddings",rule="same-*",status="2xx",upstream="far"} 1"#.to_owned(),
        r#"tollgate_requests_total{endpoint="chat_completions",rule="other",status="4xx",upstream="other"} 1"#.to_owned(),
        r#"tollgate_requests_total{endpoint="other",rule="other",status="4xx",upstream="other"} 1"#.to_owned(),
        format!(r#"tollgate_request_duration_seconds_count{{{chat_labels},upstream="far"}} 3"#),
        format!(r#"tollgate_time_to_first_byte_seconds_count{{{chat_labels},upstream="far"}} 3"#),
        format!(r#"tollgate_request_bytes_total{{endpoint="chat_completions"}} {bytes}"#),
        "tollgate_requests_in_flight 0".to_owned(),
        format!(r#"tollgate_build_info{{version="{}"}} 1"#, env!("CARGO_PKG_VERSION")),
    ] {
        assert!(text.contains(&line), "{line} is not in\n{text}");
    }
    assert!(text.contains("tollgate_overhead_seconds_bucket"));
    assert!(!text.contains("made-up"), "a client's words are no labels");
}

/// The counters, once `count` requests are counted and none is in flight: a request is counted just after its last
/// byte, and is in flight until all of it is counted.
async fn counted(gateway: &Gateway, count: u64) -> serde_json::Value {
    let admin = gateway.admin.unwrap();
    let reached = async {
        loop {
            let mut client = Client::connect(admin).await;
            client
                .send(
                    "GET /metrics HTTP/1.1\r\nhost: localhost\r\naccept: application/json\r\n\r\n",
                )
                .await;
            let body = client.response().await.json();
            if body["total_requests"].as_u64().unwrap() >= count && body["active_requests"] == 0 {
                return body;
            }
        }
    };
    soon("all requests are counted", reached).await
}

#[tokio::test]
async fn the_first_failure_is_an_increase() {
    let upstream = Upstream::start(|_, mut reply| async move {
        let error =
            r#"{"error":{"message":"broken","type":"server_error","param":null,"code":null}}"#;
        reply.json("500 Internal Server Error", error).await;
        reply
    })
    .await;
    let more = "routes: [{ prefix: /far, upstream: far }]";
    let yaml = crate::support::gateway::config(upstream.address, "", more)
        .replace("server:\n", "server:\n  passthrough: far\n");
    let gateway = Gateway::start(&yaml);
    let before = gateway.get_admin("/metrics").await.text().to_owned();
    let failed = r#"tollgate_requests_total{endpoint="chat_completions",rule="gpt-4o",status="5xx",upstream="far"}"#;
    let refused = r#"tollgate_requests_total{endpoint="chat_completions",rule="other",status="4xx",upstream="other"}"#;
    let attempts = r#"tollgate_attempts_total{upstream="far",verdict="server_error"}"#;
    for series in [
        failed,
        refused,
        attempts,
        r#"tollgate_attempts_total{upstream="far",verdict="busy"}"#,
        r#"tollgate_requests_total{endpoint="images_edits",rule="same-*",status="5xx",upstream="far"}"#,
        r#"tollgate_requests_total{endpoint="passthrough",rule="other",status="5xx",upstream="far"}"#,
        r#"tollgate_requests_total{endpoint="route",rule="/far",status="5xx",upstream="far"}"#,
        r#"tollgate_tokens_total{kind="input",rule="same-*",upstream="far"}"#,
        r#"tollgate_ejections_total{kind="target",upstream="far"}"#,
    ] {
        let line = format!("\n{series} 0\n");
        assert!(before.contains(&line), "{series} is not in\n{before}");
    }
    for model in ["gpt-4o", "unheard-of"] {
        gateway.post("/v1/chat/completions", &chat(model)).await;
    }
    gateway.metric_becomes(failed, 1.0).await;
    gateway.metric_becomes(refused, 1.0).await;
    assert!(gateway.metric(attempts).await > 0.0);
}

#[tokio::test]
async fn answers_that_break_are_counted_by_cause() {
    let upstream = Upstream::start(|_, mut reply| async move {
        reply.begin_stream().await;
        reply.chunk(&delta("one")).await;
        reply.close();
        reply
    })
    .await;
    let gateway = Gateway::before(&upstream);
    gateway
        .post("/v1/completions", &crate::support::streamed_chat("gpt-4o"))
        .await;
    assert_eq!(counted(&gateway, 1).await["error_count"], 1);
    let text = gateway.get_admin("/metrics").await;
    let line = r#"tollgate_answers_broken_total{cause="upstream_cut",endpoint="completions",rule="gpt-4o",upstream="far"} 1"#;
    assert!(text.text().contains(line), "{}", text.text());
}

#[tokio::test]
async fn requests_in_flight_are_counted_while_they_are() {
    let upstream = Upstream::start(|_, mut reply| async move {
        reply.begin_stream().await;
        reply.chunk(&delta("one")).await;
        reply.wait_for_close().await;
        reply
    })
    .await;
    let gateway = Gateway::before(&upstream);
    let mut clients = Vec::new();
    for _ in 0..3 {
        let mut client = gateway.connect().await;
        let body = crate::support::streamed_chat("gpt-4o");
        client
            .send(crate::support::client::post(
                "/v1/chat/completions",
                "",
                &body,
            ))
            .await;
        client.head().await;
        clients.push(client);
    }
    assert!(
        gateway
            .get_admin("/metrics")
            .await
            .text()
            .contains("tollgate_requests_in_flight 3")
    );
    drop(clients);
    // A request is counted before it is let go.
    let all_gone = async {
        let none = "tollgate_requests_in_flight 0";
        while !gateway.get_admin("/metrics").await.text().contains(none) {}
    };
    soon("the end of the last request", all_gone).await;
}

#[tokio::test]
async fn the_operators_listener_serves_nothing_else() {
    let upstream = Upstream::answering("{}").await;
    let gateway = Gateway::before(&upstream);
    let unknown = gateway.get_admin("/v1/models").await;
    assert_eq!(unknown.status, 404);
    let told =
        "There is no /v1/models; there are /health, /metrics, /status and those below /admin/.";
    assert_eq!(unknown.json()["error"]["message"], told);
    assert_eq!(unknown.json()["error"]["type"], "invalid_request_error");
    let mut client = gateway.connect_admin().await;
    let request = post("/metrics", "", "{}").replace("host: gateway", "host: localhost");
    client.send(request).await;
    let post = client.response().await;
    assert_eq!(
        (post.status, post.header("allow")),
        (405, Some("GET, HEAD"))
    );
}

#[tokio::test]
async fn the_operators_listener_answers_to_its_own_names_alone() {
    let upstream = Upstream::answering("{}").await;
    let yaml = crate::support::gateway::config(upstream.address, "", "")
        .replace("server:\n", "server:\n  admin_hosts: [tollgate.internal]\n");
    let gateway = Gateway::start(&yaml);
    let ask = async |host: &str| {
        let mut client = gateway.connect_admin().await;
        client
            .send(format!("GET /status HTTP/1.1\r\n{host}\r\n"))
            .await;
        client.response().await
    };
    for host in [
        "localhost:9464",
        "127.0.0.1:9464",
        "[::1]",
        "Tollgate.Internal",
    ] {
        let answer = ask(&format!("host: {host}\r\n")).await;
        assert_eq!(answer.status, 200, "{host}");
    }
    for host in [
        "evil.example",
        "evil.example:9464",
        "localhost.evil.example",
    ] {
        let refused = ask(&format!("host: {host}\r\n")).await;
        assert_eq!(refused.status, 421, "{host}");
        let message = refused.json()["error"]["message"].clone();
        assert!(
            message.as_str().unwrap().contains("server.admin_hosts"),
            "{message}"
        );
        assert!(!refused.text().contains("upstreams"), "nothing is shown");
    }
    // Two hosts are no HTTP: the connection is closed.
    let mut both = gateway.connect_admin().await;
    both.send("GET /status HTTP/1.1\r\nhost: localhost\r\nhost: evil.example\r\n\r\n")
        .await;
    assert!(both.is_closed().await);
    assert_eq!(ask("").await.status, 400);
    let mut old = gateway.connect_admin().await;
    old.send("GET /health HTTP/1.0\r\n\r\n").await;
    assert_eq!(old.response().await.status, 200, "HTTP/1.0 names no host");
}

#[tokio::test]
async fn the_operators_listener_has_a_bound_on_connections_and_on_their_time() {
    let upstream = Upstream::answering("{}").await;
    let yaml = crate::support::gateway::config(upstream.address, "", "")
        .replace("server:\n", "server:\n  limits: { header_timeout: 1s }\n");
    let gateway = Gateway::start(&yaml);
    let mut half = Vec::new();
    for _ in 0..64 {
        let mut client = gateway.connect_admin().await;
        client.send("GET /sta").await;
        half.push(client);
    }
    // All are accepted in order, so these are counted by the time that one more is.
    let mut beyond = gateway.connect_admin().await;
    assert!(beyond.is_closed().await);
    // Clients notice nothing.
    let answer = gateway.post("/v1/chat/completions", &chat("gpt-4o")).await;
    assert_eq!(answer.status, 200);
    for mut client in half {
        assert!(client.is_closed().await, "its time is over");
    }
    gateway.metric_becomes("tollgate_connections", 0.0).await;
}

#[tokio::test]
async fn every_metric_is_documented() {
    let upstream = Upstream::answering("{}").await;
    let gateway = Gateway::before(&upstream);
    gateway.post("/v1/chat/completions", &chat("gpt-4o")).await;
    let text = gateway.get_admin("/metrics").await;
    let docs =
        std::fs::read_to_string(crate::support::tools::root().join("docs/reference/metrics.md"))
            .unwrap();
    for line in text
        .text()
        .lines()
        .filter_map(|l| l.strip_prefix("# TYPE tollgate_"))
    {
        let name = line.split(' ').next().unwrap();
        assert!(
            docs.contains(&format!("tollgate_{name}")),
            "tollgate_{name} is not documented"
        );
    }
}
