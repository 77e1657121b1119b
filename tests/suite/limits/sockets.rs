//! Sockets are metered by what the provider's messages report, and no byte of them is changed.

use super::{Setup, ask, assert_exhausted, assert_refused};
use crate::support::chat;
use crate::support::client::Client;
use crate::support::gateway::Gateway;
use crate::support::upstream::{Listener, Reply};
use crate::support::websocket::{
    CLOSE, REALTIME, Side, TEXT, close, frame, keyed, masked, open, open_at,
};

const DONE: &str = r#"{"type":"response.done","event_id":"e","response":{"id":"r","status":"completed","usage":{"total_tokens":100,"input_tokens":60,"output_tokens":40,"input_token_details":{"cached_tokens":20}}}}"#;
const COMPLETED: &str = r#"{"type":"response.completed","sequence_number":9,"response":{"id":"r","status":"completed","usage":{"input_tokens":60,"output_tokens":40,"total_tokens":100}}}"#;
const RESPONSES: &str = "/v1/responses?model=gpt-4o";

fn tokens(kind: &str) -> String {
    format!(r#"tollgate_tokens_total{{kind="{kind}",rule="gpt-4o",upstream="far"}}"#)
}

async fn start(tenant: &str, more: &str) -> (Listener, Gateway) {
    let upstream = Listener::bind().await;
    let setup = Setup {
        server: ", passthrough: far",
        tenant,
        more,
        ..Setup::default()
    };
    let gateway = setup.start(upstream.address);
    (upstream, gateway)
}

/// Passes a message to the client, which must get each byte of it.
async fn pass(far: &mut Reply, client: &mut Client, bytes: &[u8]) {
    let ((), seen) = tokio::join!(far.raw(bytes), client.take(bytes.len()));
    assert!(seen.unwrap() == bytes);
}

#[tokio::test]
async fn each_response_that_has_ended_is_counted_with_its_tokens_and_its_cost() {
    let prices = "prices: [{ model: '*', input: 10, cached: 5, output: 20 }]\n";
    let (upstream, gateway) = start("", prices).await;
    for (path, message) in [(REALTIME, DONE), (RESPONSES, COMPLETED)] {
        let (mut client, mut far) = open_at(path, &gateway, &upstream).await;
        for _ in 0..3 {
            let delta = r#"{"type":"response.output_text.delta","delta":"\"response.done\""}"#;
            pass(&mut far, &mut client, &frame(TEXT, delta.as_bytes())).await;
            pass(&mut far, &mut client, &frame(TEXT, message.as_bytes())).await;
        }
        client.send(masked(CLOSE, &close(1000, ""))).await;
        assert_eq!(far.frame().await.unwrap().close_code(), 1000);
    }
    for (kind, count) in [("input", 300.0), ("cache_read", 60.0), ("output", 240.0)] {
        gateway.metric_becomes(&tokens(kind), count).await;
    }
    // 3 × (40 × 10 + 20 × 5 + 40 × 20) + 3 × (60 × 10 + 40 × 20), in millionths.
    let cost = r#"tollgate_cost_dollars_total{rule="gpt-4o",tenant="tester",upstream="far"}"#;
    assert!((gateway.metric(cost).await - 0.0081).abs() < 1e-9);
}

#[tokio::test]
async fn a_socket_whose_quota_is_used_up_gets_that_response_and_a_close_with_1008() {
    for (path, message) in [
        (REALTIME, DONE),
        (RESPONSES, COMPLETED),
        // At the tenant's home, where no rule leads.
        ("/v1/responses", COMPLETED),
        ("/v1/realtime?intent=transcription", DONE),
    ] {
        let quota = ", quota: { tokens: 250, per: total }";
        let (upstream, gateway) = start(quota, "").await;
        let (mut client, mut far) = open_at(path, &gateway, &upstream).await;
        let bytes = frame(TEXT, message.as_bytes());
        for _ in 0..3 {
            pass(&mut far, &mut client, &bytes).await;
        }
        let last = client.frame().await.unwrap();
        assert_eq!(last.close_code(), 1008, "{path}");
        assert!(client.is_closed().await);
        assert_eq!(far.frame().await, None, "the upstream is let go");
        drop(client);
        let line = gateway.access_line("status=101");
        assert!(line.contains("error=insufficient_quota "), "{line}");
        gateway
            .output()
            .wait_for("its quota of 250 tokens is used up");
        assert_exhausted(&ask(&gateway, &chat("gpt-4o")).await);
        let mut client = gateway.connect().await;
        client.send(keyed(path, "")).await;
        assert_exhausted(&client.response().await);
    }
}

#[tokio::test]
async fn a_quota_of_money_ends_a_socket_too() {
    let prices = "prices: [{ model: '*', input: 10, output: 20 }]\n";
    let (upstream, gateway) = start(", quota: { usd: 0.0027, per: total }", prices).await;
    let (mut client, mut far) = open(&gateway, &upstream).await;
    // 0.0014 each: the second is beyond it.
    for _ in 0..2 {
        pass(&mut far, &mut client, &frame(TEXT, DONE.as_bytes())).await;
    }
    assert_eq!(client.frame().await.unwrap().close_code(), 1008);
}

#[tokio::test]
async fn the_quota_of_its_key_ends_a_socket_and_keeps_that_key_from_another() {
    let upstream = Listener::bind().await;
    let setup = Setup {
        server: ", passthrough: far",
        key: ", quota: { tokens: 250, per: total }",
        ..Setup::default()
    };
    let gateway = setup.start(upstream.address);
    let (mut client, mut far) = open(&gateway, &upstream).await;
    let bytes = frame(TEXT, DONE.as_bytes());
    for _ in 0..3 {
        pass(&mut far, &mut client, &bytes).await;
    }
    assert_eq!(client.frame().await.unwrap().close_code(), 1008);
    let told = "key `ci` of tenant `tester`: its quota of 250 tokens is used up";
    gateway.output().wait_for(told);
    let mut client = gateway.connect().await;
    client.send(keyed(REALTIME, "")).await;
    assert_exhausted(&client.response().await);
}

#[tokio::test]
async fn the_end_of_a_quota_ends_the_other_sockets_of_its_tenant_with_their_next_response() {
    let (upstream, gateway) = start(", quota: { tokens: 250, per: total }", "").await;
    let (mut one, mut one_far) = open(&gateway, &upstream).await;
    let (mut two, mut two_far) = open(&gateway, &upstream).await;
    let bytes = frame(TEXT, DONE.as_bytes());
    for _ in 0..3 {
        pass(&mut one_far, &mut one, &bytes).await;
    }
    assert_eq!(one.frame().await.unwrap().close_code(), 1008);
    pass(&mut two_far, &mut two, &frame(TEXT, b"{}")).await;
    pass(&mut two_far, &mut two, &bytes).await;
    assert_eq!(two.frame().await.unwrap().close_code(), 1008);
}

#[tokio::test]
async fn responses_of_a_socket_count_against_rates_of_tokens() {
    let limits = ", limits: { tokens_per_day: 150, requests_per_day: 10, window: sliding }";
    let (upstream, gateway) = start(limits, "").await;
    let (mut client, mut far) = open(&gateway, &upstream).await;
    for _ in 0..3 {
        pass(&mut far, &mut client, &frame(TEXT, DONE.as_bytes())).await;
    }
    let refused = ask(&gateway, &chat("gpt-4o")).await;
    assert_refused(&refused, "tokens", "tenant `tester`", "tokens_per_day");
    // A rate does not end what has been admitted.
    pass(&mut far, &mut client, &frame(TEXT, DONE.as_bytes())).await;
}

#[tokio::test]
async fn what_cannot_be_read_passes_byte_for_byte_and_is_counted_as_that() {
    const UNREAD: &str = "tollgate_websocket_unread_messages_total";
    let (upstream, gateway) = start(", quota: { tokens: 250, per: total }", "").await;
    let (mut client, mut far) = open(&gateway, &upstream).await;
    let mut compressed = frame(TEXT, &[0xaa, 0x56, 0x2a, 0xa9, 0x2c, 0x48]);
    compressed[0] |= 0x40;
    let padding = " ".repeat(2 << 20);
    let huge = format!("{DONE}{padding}").replace("usage", "other");
    let huge = frame(TEXT, huge.as_bytes());
    for (seen, bytes) in [(1.0, &compressed), (2.0, &huge), (3.0, &compressed)] {
        pass(&mut far, &mut client, bytes).await;
        gateway.metric_becomes(UNREAD, seen).await;
    }
    // Nothing of them is charged, and the next one is read.
    pass(&mut far, &mut client, &frame(TEXT, DONE.as_bytes())).await;
    gateway.metric_becomes(&tokens("output"), 40.0).await;
    gateway.metric_becomes(UNREAD, 3.0).await;
}

#[tokio::test]
async fn a_socket_counts_as_a_request() {
    let limits = ", limits: { requests_per_day: 2 }";
    let (upstream, gateway) = start(limits, "").await;
    for path in [REALTIME, "/v1/responses"] {
        let (client, mut far) = open_at(path, &gateway, &upstream).await;
        client.leave();
        assert_eq!(far.frame().await, None);
    }
    let mut client = gateway.connect().await;
    client.send(keyed(REALTIME, "")).await;
    let refused = client.response().await;
    assert_refused(&refused, "requests", "tenant `tester`", "requests_per_day");
}

#[tokio::test]
async fn messages_of_the_client_s_are_not_taken_for_the_provider_s() {
    let (upstream, gateway) = start(", quota: { tokens: 50, per: total }", "").await;
    let (mut client, mut far) = open(&gateway, &upstream).await;
    client.send(masked(TEXT, DONE.as_bytes())).await;
    assert_eq!(far.frame().await.unwrap().payload, DONE.as_bytes());
    pass(&mut far, &mut client, &frame(TEXT, b"{}")).await;
    assert!(gateway.metric(&tokens("output")).await < 0.1);
}
