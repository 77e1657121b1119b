//! What once broke the limits of several gateways, and must not again.

use std::sync::Arc;

use tokio::sync::Semaphore;

use super::{ask_at_once, know_each_other, node, node_yaml, with_status};
use crate::limits::{ANSWER, ask, ask_as, chat_up_to, gated};
use crate::support::gateway::{Folder, Gateway};
use crate::support::line::Line;
use crate::support::redis::Redis;
use crate::support::upstream::Upstream;
use crate::support::{chat, soon};

const UP: &str = "tollgate_store_up";

#[tokio::test(flavor = "multi_thread")]
async fn a_quota_whose_periods_follow_another_calendar_counts_anew() {
    let Some(redis) = Redis::start() else { return };
    let upstream = Upstream::answering(ANSWER).await;
    let start = |per: &str| {
        let quota = format!(", quota: {{ usd: 0.3, per: {per} }}");
        node("a", upstream.address, &redis.url(), (&quota, ""))
    };
    let gateway = start("day");
    let answers = ask_at_once(std::slice::from_ref(&gateway), 9, &chat("gpt-4o"));
    assert_eq!(with_status(&answers.join_all().await, 200), 3);
    // On no day do two of them begin at the same moment: the ledger knows a period by its beginning.
    for per in [
        "month, timezone: Asia/Kolkata",
        "total",
        "week, timezone: Asia/Kathmandu",
        "day, timezone: Asia/Tokyo",
    ] {
        let file = gateway.folder().0.join("tollgate.yaml");
        let before = std::fs::read_to_string(&file).unwrap();
        let begin = before.find("usd: 0.3, per: ").unwrap();
        let end = begin + before[begin..].find(" }").unwrap();
        let yaml = format!("{}usd: 0.3, per: {per}{}", &before[..begin], &before[end..]);
        std::fs::write(&file, yaml).unwrap();
        gateway.signal("HUP");
        let served = async { while ask(&gateway, &chat("gpt-4o")).await.status != 200 {} };
        soon(per, served).await;
        // Until nothing is left of it, either.
        while ask(&gateway, &chat("gpt-4o")).await.status == 200 {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_tenant_with_a_huge_debt_does_not_keep_the_others_from_the_store() {
    let Some(redis) = Redis::start() else { return };
    let upstream = Upstream::start(|_, mut reply| async move {
        let much = ANSWER
            .replace(":4,", ":900000000000,")
            .replace(":10}", ":900000000006}");
        reply.json("200 OK", &much).await;
        reply
    })
    .await;
    let limits = ", limits: { tokens_per_day: 1000 }";
    let yaml = node_yaml("a", upstream.address, &redis.url(), (limits, ""));
    let other = "  - { id: other, keys: ['other-key-of-the-tests']";
    let limited = format!("{other}, limits: {{ requests_per_minute: 5, window: sliding }}");
    let gateway = Gateway::start_quietly(&yaml.replace(other, &limited));
    gateway.metric_becomes(UP, 1.0).await;
    let little = chat_up_to("gpt-4o", 10);
    assert_eq!(ask(&gateway, &little).await.status, 200);
    assert_eq!(ask(&gateway, &little).await.status, 429);
    let mut statuses = Vec::new();
    for _ in 0..7 {
        let answer = ask_as(&gateway, crate::limits::OTHER_KEY, &chat("gpt-4o")).await;
        statuses.push(answer.status);
    }
    assert_eq!(statuses, [200, 200, 200, 200, 200, 429, 429]);
    assert!((gateway.metric("tollgate_store_alone_total").await).abs() < 1e-9);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_answers_late_is_waited_for() {
    let Some(redis) = Redis::start() else { return };
    let upstream = Upstream::answering(ANSWER).await;
    let line = Line::to(redis.socket()).await;
    let url = format!("redis://{}", line.address);
    let limits = ", limits: { requests_per_day: 20, window: sliding }";
    let gateways = ["a", "b"].map(|name| node(name, upstream.address, &url, (limits, "")));
    know_each_other(&gateways).await;
    for _ in 0..15 {
        assert_eq!(ask(&gateways[0], &chat("gpt-4o")).await.status, 200);
    }
    // 200 ms there and back. By itself, the other one would serve 10.
    line.delay(100);
    let answers = ask_at_once(&gateways[1..], 40, &chat("gpt-4o"));
    assert_eq!(with_status(&answers.join_all().await, 200), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_gateways_of_one_name_do_not_take_from_each_other_what_they_hold() {
    let Some(redis) = Redis::start() else { return };
    let gate = Arc::new(Semaphore::new(0));
    let upstream = gated(&gate).await;
    let limits = ", limits: { concurrent: 4 }";
    let folders = [(); 2].map(|()| Folder::new());
    let gateways = folders.each_ref().map(|folder| {
        let ledger = format!(" }}\nledger: {{ path: '{}'", folder.0.display());
        node("a", upstream.address, &redis.url(), (limits, &ledger))
    });
    know_each_other(&gateways).await;
    let mut asking = ask_at_once(&gateways[..1], 4, &chat("gpt-4o"));
    for _ in 0..4 {
        upstream.request().await;
    }
    for _ in 0..4 {
        let refused = ask(&gateways[1], &chat("gpt-4o")).await;
        assert_eq!(refused.status, 429);
    }
    gate.add_permits(100);
    while let Some(answer) = asking.join_next().await {
        assert_eq!(answer.unwrap().status, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_are_cut_off_at_the_end_give_back_what_they_held_and_are_told() {
    let Some(redis) = Redis::start() else { return };
    let gate = Arc::new(Semaphore::new(0));
    let upstream = gated(&gate).await;
    let limits = ", limits: { concurrent: 4 }";
    let yaml = node_yaml("a", upstream.address, &redis.url(), (limits, ""));
    let short = yaml.replace(", node: a", ", node: a, shutdown_grace: 100ms");
    let mut first = Gateway::start_quietly(&short);
    let other = node("b", upstream.address, &redis.url(), (limits, ""));
    let asking = ask_at_once(std::slice::from_ref(&first), 4, &chat("gpt-4o"));
    for _ in 0..4 {
        upstream.request().await;
    }
    assert_eq!(ask(&other, &chat("gpt-4o")).await.status, 429);
    first.signal("TERM");
    first.wait();
    drop(asking);
    gate.add_permits(100);
    let answers = ask_at_once(std::slice::from_ref(&other), 4, &chat("gpt-4o"));
    assert_eq!(with_status(&answers.join_all().await, 200), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_have_written_under_our_names_keeps_no_tenant_from_the_store() {
    let Some(redis) = Redis::start() else { return };
    let upstream = Upstream::answering(ANSWER).await;
    let limits = ", limits: { requests_per_hour: 1000 }, quota: { usd: 100 }";
    let gateway = node("a", upstream.address, &redis.url(), (limits, ""));
    assert_eq!(ask(&gateway, &chat("gpt-4o")).await.status, 200);
    let scope = || {
        let names = redis.names();
        let scope = names.iter().find(|name| name.contains("tenant."));
        scope.unwrap().clone()
    };
    // A time that has not come, as after a failover to a server with another clock; and what is nothing at all.
    let far = "9 99999999999999999";
    redis.say(&[
        "HSET",
        &scope(),
        "l:rph",
        far,
        "n:x/1",
        "junk",
        "s:x",
        "a b",
        "t:qm",
        "?",
    ]);
    redis.say(&[
        "XADD",
        "tollgate:1:{nodes}:messages",
        "*",
        "what",
        "is this",
    ]);
    assert_eq!(ask(&gateway, &chat("gpt-4o")).await.status, 200);
    let name = scope();
    redis.say(&["DEL", &name]);
    redis.say(&["SET", &name, "a text"]);
    let begun = std::time::Instant::now();
    // Until it has been reported once more.
    while redis.say(&["TYPE", &name]) != "hash" {
        assert_eq!(ask(&gateway, &chat("gpt-4o")).await.status, 200);
        assert!(begun.elapsed() < std::time::Duration::from_secs(20));
    }
    assert!((gateway.metric("tollgate_store_alone_total").await).abs() < 1e-9);
    assert!((gateway.metric(UP).await - 1.0).abs() < 1e-9);
}
