//! What happens while an answer is being asked for: a newer one comes, or it is removed; and what a reload asks for.

use super::{CHAT, answer, asking, certain, configured, gateway, is, result};
use crate::support::client::{Client, post};
use crate::support::gateway::{Gateway, config};
use crate::support::upstream::Listener;

const KEYS: &str = "cache: true, coalesce: false";

fn before(upstream: &Listener, keys: &str) -> Gateway {
    let keys = format!("{{ match: gpt-4o, {keys}, targets");
    let yaml = config(upstream.address, "", "");
    Gateway::start(&yaml.replace("{ match: gpt-4o, targets", &keys))
}

/// Sends a request and leaves its answer to be read.
async fn send(gateway: &Gateway, headers: &str) -> Client {
    let mut client = gateway.connect().await;
    client.send(post(CHAT, headers, &certain("a"))).await;
    client
}

#[tokio::test]
async fn a_newer_answer_stays_where_an_older_one_comes_late() {
    let upstream = Listener::bind().await;
    let gateway = before(&upstream, KEYS);
    let mut slow = send(&gateway, "").await;
    let (_, mut late) = upstream.accept().await;
    let mut fresh = send(&gateway, "cache-control: no-cache\r\n").await;
    let (_, mut reply) = upstream.accept().await;
    reply.json("200 OK", &answer("answer 2")).await;
    is(&fresh.response().await, "answer 2", "miss");
    late.json("200 OK", &answer("answer 1")).await;
    is(&slow.response().await, "answer 1", "miss");
    let mut next = send(&gateway, "").await;
    is(&next.response().await, "answer 2", "hit");
}

#[tokio::test]
async fn what_is_removed_while_it_is_asked_for_is_not_kept() {
    let upstream = Listener::bind().await;
    for (query, is_kept) in [("", false), ("?tenant=tester", false), ("?tenant=b", true)] {
        let gateway = before(&upstream, KEYS);
        let mut client = send(&gateway, "").await;
        let (_, mut reply) = upstream.accept().await;
        let mut operator = gateway.connect_admin().await;
        let removal = format!("DELETE /admin/cache{query} HTTP/1.1\r\nhost: localhost\r\n\r\n");
        operator.send(removal).await;
        assert_eq!(operator.response().await.status, 200);
        reply.json("200 OK", &answer("answer 1")).await;
        is(&client.response().await, "answer 1", "miss");
        let kept = gateway.metric("tollgate_cache_entries").await;
        assert_eq!(kept > 0.5, is_kept, "{query}");
    }
}

#[tokio::test]
async fn a_shorter_time_holds_for_what_is_kept_already() {
    let upstream = super::counting().await;
    let keys = "cache: { when: always }";
    let gateway = gateway(&upstream, keys);
    let mut client = gateway.connect().await;
    assert_eq!(
        result(&super::ask(&mut client, &asking("a", "")).await),
        "miss"
    );
    let yaml = configured(&upstream, "cache: { when: always, ttl: 1ms }", "");
    gateway.folder().write("tollgate.yaml", &yaml);
    gateway.signal("HUP");
    let applied = "tollgate_config_reloads_total{outcome=\"applied\"}";
    gateway.metric_becomes(applied, 1.0).await;
    let mut client = gateway.connect().await;
    is(
        &super::ask(&mut client, &asking("a", "")).await,
        "answer 2",
        "miss",
    );
}
