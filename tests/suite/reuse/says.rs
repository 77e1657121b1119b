//! What a request says itself: `Cache-Control`.

use super::{ask, ask_with, certain, configured, counting, gateway, is, result};
use crate::support::gateway::Gateway;

#[tokio::test]
async fn a_request_can_ask_for_a_new_answer_which_is_kept() {
    let upstream = counting().await;
    let gateway = gateway(&upstream, "cache: true");
    let mut client = gateway.connect().await;
    for (header, text, cache) in [
        ("", "answer 1", "miss"),
        ("cache-control: no-cache\r\n", "answer 2", "miss"),
        ("", "answer 2", "hit"),
        ("cache-control: max-age=0\r\n", "answer 3", "miss"),
        ("cache-control: max-age=60\r\n", "answer 3", "hit"),
        ("cache-control: no-store\r\n", "answer 4", "bypass"),
        ("", "answer 3", "hit"),
        ("cache-control: only-if-cached\r\n", "answer 3", "hit"),
    ] {
        is(
            &ask_with(&mut client, header, &certain("a")).await,
            text,
            cache,
        );
    }
    let series = r#"tollgate_cache_requests_total{result="hit",rule="gpt-4o"}"#;
    gateway.metric_becomes(series, 4.0).await;
    let series = r#"tollgate_cache_bypasses_total{reason="no_store",rule="gpt-4o"}"#;
    gateway.metric_becomes(series, 1.0).await;
}

#[tokio::test]
async fn a_request_that_wants_nothing_else_is_told_that_nothing_is_there() {
    let upstream = counting().await;
    let gateway = gateway(&upstream, "cache: true");
    let mut client = gateway.connect().await;
    let only = "cache-control: only-if-cached\r\n";
    let response = ask_with(&mut client, only, &certain("a")).await;
    response.assert_error(504, "invalid_request_error", Some("not_cached"), None);
    assert_eq!(response.header("x-should-retry"), Some("false"));
    assert_eq!(upstream.requests(), 0);
    // The connection serves on.
    is(&ask(&mut client, &certain("a")).await, "answer 1", "miss");
}

#[tokio::test]
async fn a_tenant_may_not_be_asked() {
    let upstream = counting().await;
    let yaml = configured(&upstream, "cache: true", "").replace(
        "models: [gpt-4o,",
        "cache_control: ignore, models: [gpt-4o,",
    );
    let gateway = Gateway::start(&yaml);
    let mut client = gateway.connect().await;
    for (directive, text, cache) in [
        ("no-store", "answer 1", "miss"),
        ("no-cache", "answer 1", "hit"),
        ("max-age=0", "answer 1", "hit"),
    ] {
        let header = format!("cache-control: {directive}\r\n");
        is(
            &ask_with(&mut client, &header, &certain("a")).await,
            text,
            cache,
        );
    }
    let only = ask_with(
        &mut client,
        "cache-control: only-if-cached\r\n",
        &certain("b"),
    )
    .await;
    assert_eq!((only.status, result(&only)), (200, "miss"));
}
