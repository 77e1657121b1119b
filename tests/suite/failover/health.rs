//! Health checks: an unhealthy server gets no requests until it is healthy again.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::{
    CHAT, GENEROUS, TIERS, among, assert_whole, at, gateway, healthy, nobody, outcomes, rule, serve,
};
use crate::support::gateway::Gateway;
use crate::support::upstream::Upstream;
use crate::support::{chat, until};

/// What the servers of `far` are asked for, in a gateway that leaves nothing out by itself.
fn looked_after(servers: &[&Upstream], check: &str) -> Gateway {
    let servers: Vec<_> = servers.iter().map(|u| (u.address, 1)).collect();
    let more = format!(", ejection: off, health_check: {{ interval: 100ms, {check} }}");
    let far = among("far", &servers, &more);
    gateway(GENEROUS, &[far], &[rule("gpt-4o", "{ upstream: far }", "")])
}

/// A server that answers checks with whatever status it is told to, and serves in any case.
async fn checked(status: &Arc<AtomicUsize>, chats: &Arc<AtomicUsize>) -> Upstream {
    let (status, chats) = (Arc::clone(status), Arc::clone(chats));
    Upstream::start(move |request, mut reply| {
        let (status, chats) = (Arc::clone(&status), Arc::clone(&chats));
        async move {
            if request.path == "/ready" {
                assert_eq!(request.method, "HEAD");
                assert!(request.header("authorization").is_empty());
                let status = status.load(Ordering::SeqCst);
                let head = format!("HTTP/1.1 {status} As Told\r\ncontent-length: 0\r\n\r\n");
                reply.raw(head).await;
            } else {
                chats.fetch_add(1, Ordering::SeqCst);
                serve("far", &request, &mut reply).await;
            }
            reply
        }
    })
    .await
}

/// Sends some requests, all of which are served at once.
async fn served(front: &Gateway, count: usize) {
    let mut client = front.connect().await;
    for _ in 0..count {
        let response = client.post(CHAT, &chat("gpt-4o")).await;
        assert_whole(&response, "far");
        assert_eq!(outcomes(front, &response), "far:ok");
    }
}

/// Waits until this has been said so many times, and lets the servers answer meanwhile.
async fn said(front: &Gateway, what: &str, times: usize) {
    let count = || front.output().text().matches(what).count();
    until(what, || count() >= times).await;
}

#[tokio::test]
async fn a_status_that_is_not_expected_takes_a_server_out_until_it_is_expected_again() {
    let (status, chats) = (Arc::new(AtomicUsize::new(204)), Arc::default());
    let first = checked(&status, &chats).await;
    let (well, others) = (Arc::new(AtomicUsize::new(204)), Arc::default());
    let second = checked(&well, &others).await;
    let check = "path: /ready, method: HEAD, expect: [204, 301-302], \
                 unhealthy_after: 2, healthy_after: 2";
    let front = looked_after(&[&first, &second], check);
    served(&front, 10).await;
    assert_eq!(
        (chats.load(Ordering::SeqCst), others.load(Ordering::SeqCst)),
        (5, 5)
    );
    // 200 is fine elsewhere, but is not what was expected here.
    for (n, (bad, good)) in [(200, 302), (503, 204)].into_iter().enumerate() {
        status.store(bad, Ordering::SeqCst);
        said(&front, "is unhealthy", n + 1).await;
        let before = chats.load(Ordering::SeqCst);
        served(&front, 10).await;
        assert_eq!(chats.load(Ordering::SeqCst), before, "it is out");
        status.store(good, Ordering::SeqCst);
        said(&front, "is healthy again", n + 1).await;
        served(&front, 10).await;
        assert_eq!(chats.load(Ordering::SeqCst), before + 5, "it is back");
    }
    let line = front.output().wait_for("is unhealthy");
    assert!(line.contains(&first.address.to_string()), "{line}");
}

#[tokio::test]
async fn fewer_failures_than_the_threshold_take_nothing_out() {
    // Two of three checks fail, and three in a row would be needed.
    let turn = AtomicUsize::new(0);
    let first = Upstream::start(move |request, mut reply| {
        let is_third = request.path == "/ready" && turn.fetch_add(1, Ordering::SeqCst) % 3 == 2;
        async move {
            match (request.path.as_str(), is_third) {
                ("/ready", false) => reply.json("500 Internal Server Error", "{}").await,
                ("/ready", true) => reply.json("200 OK", "{}").await,
                _ => serve("far", &request, &mut reply).await,
            }
            reply
        }
    })
    .await;
    let front = looked_after(&[&first], "path: /ready, unhealthy_after: 3");
    until("a dozen checks", || first.requests() >= 12).await;
    served(&front, 2).await;
    assert!(!front.output().text().contains("is unhealthy"));
}

#[tokio::test]
async fn a_server_that_takes_no_connections_is_out_until_it_does() {
    let (first, second) = (healthy("far").await, healthy("far").await);
    let address = first.address;
    let front = looked_after(&[&first, &second], "unhealthy_after: 2, healthy_after: 2");
    served(&front, 10).await;
    assert_eq!((first.requests(), second.requests()), (5, 5));
    first.stop().await;
    said(&front, "is unhealthy", 1).await;
    served(&front, 10).await;
    assert_eq!(second.requests(), 15);
    let back = Upstream::start_at(address, |request, mut reply| async move {
        serve("far", &request, &mut reply).await;
        reply
    })
    .await;
    said(&front, "is healthy again", 1).await;
    served(&front, 10).await;
    assert_eq!((back.requests(), second.requests()), (5, 20));
}

#[tokio::test]
async fn a_check_that_is_not_answered_in_time_has_failed() {
    let first = Upstream::start(|request, mut reply| async move {
        match request.path.as_str() {
            "/ready" => reply.wait_for_close().await,
            _ => serve("far", &request, &mut reply).await,
        }
        reply
    })
    .await;
    let second = healthy("far").await;
    let check = "path: /ready, timeout: 1s, unhealthy_after: 1";
    let front = looked_after(&[&first, &second], check);
    let out = format!("http://{}/v1 is unhealthy", first.address);
    said(&front, &out, 1).await;
    served(&front, 4).await;
}

#[tokio::test]
async fn an_unhealthy_upstream_is_skipped() {
    let second = healthy("second").await;
    let check = ", health_check: { interval: 100ms, unhealthy_after: 1 }";
    let upstreams = [
        at("first", nobody(), check),
        at("second", second.address, ""),
    ];
    let rules = [
        rule("gpt-4o", TIERS, ""),
        rule("alone", "{ upstream: first }", ""),
    ];
    let front = gateway(GENEROUS, &upstreams, &rules);
    said(&front, "is unhealthy", 1).await;
    let response = front.post(CHAT, &chat("gpt-4o")).await;
    assert_whole(&response, "second");
    assert_eq!(outcomes(&front, &response), "second:ok");
    // Alone, it is told at once, and when to come again.
    let response = front.post(CHAT, &chat("alone")).await;
    let code = Some("upstream_unavailable");
    response.assert_error(503, "service_unavailable_error", code, None);
    assert!(response.header("retry-after").is_some(), "{response:?}");
    assert_eq!(outcomes(&front, &response), "first:unhealthy");
}
