//! An answer comes back in the form that the client asks for.

use super::{
    CHAT, STREAMED, STREAMED_WITH_USAGE, USAGE, ask, asking, certain, configured, counting,
    gateway, is, result,
};
use crate::support::gateway::Gateway;
use crate::support::upstream::Upstream;

#[tokio::test]
async fn a_stream_comes_back_as_a_stream_and_as_one_answer() {
    let upstream = counting().await;
    let gateway = gateway(&upstream, "cache: true");
    let mut client = gateway.connect().await;
    let first = ask(&mut client, &asking("a", STREAMED)).await;
    is(&first, "answer 1", "miss");
    let again = ask(&mut client, &asking("a", STREAMED)).await;
    is(&again, "answer 1", "hit");
    assert_eq!(again.text(), first.text(), "byte for byte");
    assert!(!again.text().contains("usage"), "nobody has asked for it");
    assert_eq!(again.header("content-type"), first.header("content-type"));
    assert_eq!(again.header("cache-control"), Some("no-cache"));
    let with_usage = ask(&mut client, &asking("a", STREAMED_WITH_USAGE)).await;
    is(&with_usage, "answer 1", "hit");
    assert!(with_usage.text().contains(USAGE), "{}", with_usage.text());
    let whole = ask(&mut client, &certain("a")).await;
    is(&whole, "answer 1", "hit");
    let body = whole.json();
    assert_eq!(body["choices"][0]["message"]["content"], "answer 1");
    assert_eq!(body["usage"]["total_tokens"], 15);
    assert_eq!(upstream.requests(), 1);
}

#[tokio::test]
async fn one_answer_comes_back_as_a_stream() {
    let upstream = counting().await;
    let gateway = gateway(&upstream, "cache: true");
    let mut client = gateway.connect().await;
    is(&ask(&mut client, &certain("a")).await, "answer 1", "miss");
    let streamed = ask(&mut client, &asking("a", STREAMED)).await;
    is(&streamed, "answer 1", "hit");
    assert!(
        streamed.text().ends_with("data: [DONE]\n\n"),
        "{}",
        streamed.text()
    );
    assert!(!streamed.text().contains("prompt_tokens"));
    assert_eq!(
        streamed.header("content-type"),
        Some("text/event-stream; charset=utf-8")
    );
    let with_usage = ask(&mut client, &asking("a", STREAMED_WITH_USAGE)).await;
    is(&with_usage, "answer 1", "hit");
    assert!(with_usage.text().contains(USAGE), "{}", with_usage.text());
    assert_eq!(upstream.requests(), 1);
}

#[tokio::test]
async fn what_a_target_changes_is_changed_each_time() {
    let upstream = counting().await;
    let yaml = configured(&upstream, "cache: true", "").replace(
        "model: gpt-4o-2024-11-20 }",
        "model: gpt-4o-2024-11-20, response_model: requested, special_prefix: 'so: ' }",
    );
    let gateway = Gateway::start(&yaml);
    let mut client = gateway.connect().await;
    for cache in ["miss", "hit"] {
        let whole = ask(&mut client, &certain("a")).await;
        assert_eq!(result(&whole), cache);
        let body = whole.json();
        assert_eq!(body["model"], "gpt-4o");
        assert_eq!(body["choices"][0]["message"]["content"], "so: answer 1");
    }
    let streamed = ask(&mut client, &asking("a", STREAMED)).await;
    assert_eq!(result(&streamed), "hit");
    assert!(streamed.text().contains("so: "), "{}", streamed.text());
    assert!(
        streamed.text().contains("\"model\":\"gpt-4o\""),
        "{}",
        streamed.text()
    );
}

#[tokio::test]
async fn a_target_that_is_only_asked_for_streams_serves_both_forms_again() {
    let upstream = counting().await;
    let yaml = configured(&upstream, "cache: true", "").replace(
        "model: gpt-4o-2024-11-20 }",
        "model: gpt-4o-2024-11-20, upstream_stream: always }",
    );
    let gateway = Gateway::start(&yaml);
    let mut client = gateway.connect().await;
    let first = ask(&mut client, &certain("a")).await;
    is(&first, "answer 1", "miss");
    let again = ask(&mut client, &certain("a")).await;
    is(&again, "answer 1", "hit");
    assert_eq!(again.json(), first.json());
    is(
        &ask(&mut client, &asking("a", STREAMED)).await,
        "answer 1",
        "hit",
    );
}

#[tokio::test]
async fn a_stream_without_usage_is_no_answer_for_a_client_that_wants_it() {
    let upstream = Upstream::start(|_, mut reply| async move {
        reply.stream(&super::events("answer 1", false)).await;
        reply
    })
    .await;
    let gateway = gateway(&upstream, "cache: true");
    let mut client = gateway.connect().await;
    is(
        &ask(&mut client, &asking("a", STREAMED)).await,
        "answer 1",
        "miss",
    );
    is(
        &ask(&mut client, &asking("a", STREAMED)).await,
        "answer 1",
        "hit",
    );
    is(
        &ask(&mut client, &asking("a", STREAMED_WITH_USAGE)).await,
        "answer 1",
        "miss",
    );
}

#[tokio::test]
async fn a_client_that_leaves_a_replayed_stream_leaves_nothing_behind() {
    let upstream = counting().await;
    let gateway = gateway(&upstream, "cache: true");
    let mut client = gateway.connect().await;
    is(
        &ask(&mut client, &asking("a", STREAMED)).await,
        "answer 1",
        "miss",
    );
    for _ in 0..3 {
        let mut gone = gateway.connect().await;
        gone.send(crate::support::client::post(
            CHAT,
            "",
            &asking("a", STREAMED),
        ))
        .await;
        gone.leave();
    }
    is(
        &ask(&mut client, &asking("a", STREAMED)).await,
        "answer 1",
        "hit",
    );
    gateway
        .metric_becomes("tollgate_requests_in_flight", 0.0)
        .await;
}

#[tokio::test]
async fn a_kept_stream_is_replayed_as_fast_as_is_configured() {
    let upstream = Upstream::start(|_, mut reply| async move {
        let words = "answer 1\\n".to_owned() + &"word ".repeat(60);
        let events: String = (0..10).map(|_| crate::support::delta(&words)).collect();
        reply
            .stream(&[&events, crate::support::FINISHED, crate::support::DONE].concat())
            .await;
        reply
    })
    .await;
    let mut times = Vec::new();
    for more in ["", "cache: { replay_tokens_per_second: 1000 }"] {
        let gateway = Gateway::start(&configured(&upstream, "cache: true", more));
        let mut client = gateway.connect().await;
        let first = ask(&mut client, &asking("a", STREAMED)).await;
        assert_eq!(result(&first), "miss");
        let started = std::time::Instant::now();
        let again = ask(&mut client, &asking("a", STREAMED)).await;
        times.push(started.elapsed());
        assert_eq!((result(&again), again.text()), ("hit", first.text()));
    }
    // About 600 tokens at 1,000 in a second.
    let slow = std::time::Duration::from_millis(300);
    assert!(times[1] > slow, "{times:?}");
}
