//! What an answer costs that is given again.

use super::{STREAMED, ask, asking, certain, configured, counting, result};
use crate::ledger::rows::rows;
use crate::support::client::post;
use crate::support::gateway::{Folder, Gateway};
use crate::support::upstream::Listener;
use crate::support::{delta, soon};

const PRICES: &str = "prices: [{ model: gpt-4o-2024-11-20, input: 1000000, output: 2000000 }]\n";
const CHARGED: &str =
    r#"tollgate_charge_dollars_total{rule="gpt-4o",tenant="tester",upstream="cache"}"#;
const SAVED: &str = r#"tollgate_cache_saved_dollars_total{rule="gpt-4o"}"#;

#[tokio::test]
async fn it_costs_nothing_or_the_share_that_is_configured() {
    let upstream = counting().await;
    for (cache, charged) in [("", 0.0), ("cache: { price: 0.25 }\n", 4.75)] {
        let more = [PRICES, cache].concat();
        let gateway = Gateway::start(&configured(&upstream, "cache: true", &more));
        let mut client = gateway.connect().await;
        assert_eq!(result(&ask(&mut client, &certain("a")).await), "miss");
        gateway.access_line("tokens_in=11 tokens_out=4 cost=19.000000000");
        assert_eq!(result(&ask(&mut client, &certain("a")).await), "hit");
        gateway.access_line("cache=hit trail=- tokens_in=- tokens_out=- cost=0.000000000");
        assert!((gateway.metric(SAVED).await - 19.0).abs() < 1e-6);
        let now = gateway.metric(CHARGED).await;
        assert!((now - charged).abs() < 1e-6, "{cache}: {now}");
        // In the other form it costs the same.
        assert_eq!(
            result(&ask(&mut client, &asking("a", STREAMED)).await),
            "hit"
        );
        let now = gateway.metric(CHARGED).await;
        assert!((now - 2.0 * charged).abs() < 1e-6, "{cache}: {now}");
        let tokens = r#"tollgate_tokens_total{kind="output",rule="gpt-4o",upstream="far"}"#;
        let used = gateway.metric(tokens).await;
        assert!(
            (used - 4.0).abs() < 0.5,
            "the provider was asked once: {used}"
        );
    }
}

#[tokio::test]
async fn it_counts_as_a_request_and_uses_no_tokens_of_a_limit() {
    let upstream = counting().await;
    let yaml = configured(&upstream, "cache: true", "").replace(
        "models: [gpt-4o,",
        "limits: { requests_per_hour: 5, tokens_per_day: 60, window: sliding }, models: [gpt-4o,",
    );
    let gateway = Gateway::start(&yaml);
    let mut client = gateway.connect().await;
    let body = asking("a", r#","temperature":0,"max_tokens":4"#);
    assert_eq!(result(&ask(&mut client, &body).await), "miss");
    for _ in 0..4 {
        assert_eq!(result(&ask(&mut client, &body).await), "hit");
    }
    let refused = ask(&mut client, &body).await;
    assert_eq!(refused.status, 429, "{refused:?}");
    assert!(
        refused.text().contains("requests_per_hour"),
        "{}",
        refused.text()
    );
}

#[tokio::test]
async fn the_ledger_tells_it_from_what_a_provider_has_used() {
    let upstream = counting().await;
    let folder = Folder::new();
    let more = format!(
        "{PRICES}cache: {{ price: 0.5 }}\nledger: {{ path: '{}' }}\n",
        folder.0.display()
    );
    let mut gateway = Gateway::start(&configured(&upstream, "cache: true", &more));
    let mut client = gateway.connect().await;
    for cache in ["miss", "hit"] {
        assert_eq!(result(&ask(&mut client, &certain("a")).await), cache);
    }
    gateway.signal("TERM");
    assert!(gateway.wait().success());
    let rows = rows(&folder);
    let [miss, hit] = rows.as_slice() else {
        panic!("{rows:?}");
    };
    assert_eq!(
        (miss.source, miss.input, miss.output, miss.cached_answer),
        (1, 11, 4, 0)
    );
    assert_eq!(
        (hit.source, hit.input, hit.output, hit.cached_answer),
        (3, 0, 0, 15)
    );
    assert_eq!(
        (
            hit.upstream.as_str(),
            hit.served_model.as_str(),
            hit.attempts
        ),
        ("", "", 0)
    );
    assert_eq!((miss.cost_nanos, hit.cost_nanos), (19_000_000_000, 0));
    assert_eq!(
        (hit.status, hit.outcome.as_str(), hit.rule.as_str()),
        (200, "ok", "gpt-4o")
    );
}

#[tokio::test]
async fn one_that_is_left_before_its_end_is_charged() {
    let upstream = Listener::bind().await;
    let more = [PRICES, "cache: { price: 0.5 }\n"].concat();
    let config = crate::support::gateway::config(upstream.address, "", &more);
    let gateway = Gateway::start(&config.replace(
        "{ match: gpt-4o, targets",
        "{ match: gpt-4o, coalesce: true, targets",
    ));
    let send = async || {
        let mut client = gateway.connect().await;
        let request = post(super::CHAT, "", &asking("a", STREAMED));
        client.send(request).await;
        client
    };
    let mut first = send().await;
    let (_, mut reply) = upstream.accept().await;
    reply.begin_stream().await;
    reply.chunk(&delta("one two three four")).await;
    assert_eq!(first.head().await.0, 200);
    let mut other = send().await;
    assert_eq!(other.head().await.0, 200);
    assert!(other.chunk().await.unwrap().contains("four"));
    other.leave();
    let charged = async || while gateway.metric(CHARGED).await < 0.5 {};
    soon("it is charged", charged()).await;
    drop(reply);
}
