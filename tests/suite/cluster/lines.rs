//! The line to the store is slow or cut, and clocks differ.

use std::process::Command;

use super::{ask_at_once, know_each_other, node, node_yaml, with_status};
use crate::limits::{ANSWER, CHAT, ask};
use crate::support::chat;
use crate::support::gateway::Gateway;
use crate::support::line::Line;
use crate::support::redis::Redis;
use crate::support::tools::faketime_library;
use crate::support::upstream::Upstream;

const RATE: &str = ", limits: { requests_per_minute: 30, window: sliding }";

#[tokio::test(flavor = "multi_thread")]
async fn over_a_slow_line_few_requests_wait_and_no_limit_is_exceeded() {
    let Some(redis) = Redis::start() else { return };
    let upstream = Upstream::answering(ANSWER).await;
    let line = Line::to(redis.socket()).await;
    line.delay(50);
    let url = format!("redis://{}", line.address);
    let limits = ", limits: { requests_per_minute: 2000, window: sliding }";
    let gateways = ["a", "b"].map(|name| node(name, upstream.address, &url, (limits, "")));
    know_each_other(&gateways).await;
    let mut passed = 0;
    for gateway in gateways.iter().cycle() {
        let mut client = gateway.connect().await;
        for _ in 0..100 {
            match client.post(CHAT, &chat("gpt-4o")).await.status {
                200 => passed += 1,
                status => assert_eq!(status, 429),
            }
        }
        if passed >= 1_000 {
            break;
        }
    }
    let mut waited = 0.0;
    for gateway in &gateways {
        waited += gateway.metric("tollgate_store_waits_total").await;
    }
    assert!(
        waited * 10.0 < f64::from(passed),
        "{waited} of {passed} waited"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_is_cut_off_serves_its_part_and_the_others_get_back_what_it_held() {
    let Some(redis) = Redis::start() else { return };
    let upstream = Upstream::answering(ANSWER).await;
    let line = Line::to(redis.socket()).await;
    let url = format!("redis://{}", line.address);
    let gateways = [
        node("a", upstream.address, &url, (RATE, "")),
        node("b", upstream.address, &redis.url(), (RATE, "")),
    ];
    know_each_other(&gateways).await;
    line.cut(true);
    gateways[0].metric_becomes("tollgate_store_up", 0.0).await;
    let alone = ask_at_once(&gateways[..1], 40, &chat("gpt-4o"));
    assert_eq!(with_status(&alone.join_all().await, 200), 15);
    line.cut(false);
    gateways[0].metric_becomes("tollgate_store_up", 1.0).await;
    // What it has served without the store counts for both.
    let answers = ask_at_once(&gateways, 60, &chat("gpt-4o")).join_all().await;
    assert_eq!(with_status(&answers, 200), 15);
}

#[tokio::test(flavor = "multi_thread")]
async fn clocks_that_are_thirty_seconds_apart_change_nothing() {
    let Some(redis) = Redis::start() else { return };
    let Some(library) = faketime_library() else {
        return;
    };
    let upstream = Upstream::answering(ANSWER).await;
    let quota = ", limits: { requests_per_minute: 12 }, quota: { usd: 1, per: day }";
    let start = |name: &str, ahead: &str| {
        let yaml = node_yaml(name, upstream.address, &redis.url(), (quota, ""));
        Gateway::start_with(&yaml, |command: &mut Command| {
            command.env("RUST_LOG", "info").env("LD_PRELOAD", &library);
            command.env("FAKETIME", ahead);
            command.env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        })
    };
    let gateways = [start("a", "+0"), start("b", "+30s"), start("c", "-30s")];
    know_each_other(&gateways).await;
    let answers = ask_at_once(&gateways, 60, &chat("gpt-4o")).join_all().await;
    assert_eq!(with_status(&answers, 200), 10);
    for gateway in &gateways {
        assert_eq!(ask(gateway, &chat("gpt-4o")).await.status, 429);
    }
}
