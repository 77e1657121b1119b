//! The store is killed, emptied, paused or slow, and comes back.

use super::{ask_at_once, know_each_other, node, three, with_status};
use crate::limits::{ANSWER, ask};
use crate::support::chat;
use crate::support::gateway::Gateway;
use crate::support::redis::Redis;
use crate::support::upstream::Upstream;

const UP: &str = "tollgate_store_up";
const RATE: &str = ", limits: { requests_per_minute: 30, window: sliding }";

async fn all_become(gateways: &[Gateway], up: f64) {
    for gateway in gateways {
        gateway.metric_becomes(UP, up).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_store_each_gateway_serves_its_part_and_what_it_served_counts_when_it_is_back()
{
    let Some(mut redis) = Redis::start() else {
        return;
    };
    let upstream = Upstream::answering(ANSWER).await;
    let gateways = three(upstream.address, &redis, RATE);
    know_each_other(&gateways).await;
    let answers = ask_at_once(&gateways, 12, &chat("gpt-4o")).join_all().await;
    assert_eq!(with_status(&answers, 200), 12);
    redis.stop();
    all_become(&gateways, 0.0).await;
    let answers = ask_at_once(&gateways, 90, &chat("gpt-4o")).join_all().await;
    assert_eq!(with_status(&answers, 200), 18);
    assert_eq!(with_status(&answers, 429), 72);
    // It has lost all that it knew.
    redis.resume();
    all_become(&gateways, 1.0).await;
    let answers = ask_at_once(&gateways, 30, &chat("gpt-4o")).join_all().await;
    assert_eq!(with_status(&answers, 200), 0);
    assert_eq!(upstream.requests(), 30);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_has_lost_all_learns_from_the_gateways_what_was_used_of_a_quota() {
    let Some(mut redis) = Redis::start() else {
        return;
    };
    let upstream = Upstream::answering(ANSWER).await;
    let gateways = three(upstream.address, &redis, ", quota: { usd: 1, per: total }");
    know_each_other(&gateways).await;
    let answers = ask_at_once(&gateways, 4, &chat("gpt-4o")).join_all().await;
    assert_eq!(with_status(&answers, 200), 4);
    redis.stop();
    all_become(&gateways, 0.0).await;
    redis.resume();
    all_become(&gateways, 1.0).await;
    let answers = ask_at_once(&gateways, 40, &chat("gpt-4o")).join_all().await;
    assert_eq!(with_status(&answers, 200), 6);
    assert_eq!(upstream.requests(), 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_is_to_refuse_says_so_while_the_store_is_away_and_serves_when_it_is_back() {
    let Some(mut redis) = Redis::start() else {
        return;
    };
    let upstream = Upstream::answering(ANSWER).await;
    let refuse = (", limits: { rpm: 100 }", ", on_down: refuse");
    let gateway = node("a", upstream.address, &redis.url(), refuse);
    gateway.metric_becomes(UP, 1.0).await;
    redis.stop();
    gateway.metric_becomes(UP, 0.0).await;
    // What it holds already lapses.
    let refused = crate::support::soon("a refusal", async {
        loop {
            let answer = ask(&gateway, &chat("gpt-4o")).await;
            if answer.status != 200 {
                return answer;
            }
        }
    });
    let refused = refused.await;
    refused.assert_error(503, "server_error", Some("limits_unavailable"), None);
    assert_eq!(refused.header("retry-after"), Some("1"));
    let health = gateway.get_admin("/health").await;
    assert!(health.text().contains("degraded"), "{}", health.text());
    redis.resume();
    gateway.metric_becomes(UP, 1.0).await;
    assert_eq!(ask(&gateway, &chat("gpt-4o")).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_paused_is_left_alone_until_it_answers() {
    let Some(redis) = Redis::start() else { return };
    let upstream = Upstream::answering(ANSWER).await;
    let gateways = three(upstream.address, &redis, RATE);
    know_each_other(&gateways).await;
    redis.freeze();
    // Some of them wait for it, and then go on without it.
    let answers = ask_at_once(&gateways, 90, &chat("gpt-4o")).join_all().await;
    assert_eq!(with_status(&answers, 200), 30);
    all_become(&gateways, 0.0).await;
    redis.thaw();
    all_become(&gateways, 1.0).await;
    let answers = ask_at_once(&gateways, 30, &chat("gpt-4o")).join_all().await;
    assert_eq!(with_status(&answers, 200), 0);
}
