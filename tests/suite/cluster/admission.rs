//! Limits hold over all gateways, as exactly as on one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::{ask_at_once, know_each_other, node, three, with_status};
use crate::limits::{ANSWER, CHAT, ask, chat_up_to, gated};
use crate::support::client::Client;
use crate::support::gateway::Folder;
use crate::support::redis::Redis;
use crate::support::upstream::Upstream;
use crate::support::{chat, until};

#[tokio::test(flavor = "multi_thread")]
async fn of_a_hundred_requests_at_three_gateways_as_many_pass_as_the_money_is_for() {
    let Some(redis) = Redis::start() else { return };
    let gate = Arc::new(Semaphore::new(0));
    let upstream = gated(&gate).await;
    let quota = ", quota: { usd: 1, per: total }";
    let gateways = three(upstream.address, &redis, quota);
    know_each_other(&gateways).await;
    let mut asking = ask_at_once(&gateways, 100, &chat("gpt-4o"));
    let mut answers = Vec::new();
    while answers.len() < 90 {
        answers.push(asking.join_next().await.unwrap().unwrap());
    }
    assert_eq!(with_status(&answers, 429), 90);
    gate.add_permits(1_000);
    let passed = asking.join_all().await;
    assert_eq!(with_status(&passed, 200), 10);
    assert_eq!(upstream.requests(), 10);
    for gateway in &gateways {
        assert_eq!(ask(gateway, &chat("gpt-4o")).await.status, 429);
    }
    assert_eq!(upstream.requests(), 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_at_a_time_and_in_a_minute_are_those_at_all_gateways() {
    let Some(redis) = Redis::start() else { return };
    let upstream = Upstream::answering(ANSWER).await;
    let limits = ", limits: { requests_per_minute: 30, window: sliding }";
    let gateways = three(upstream.address, &redis, limits);
    know_each_other(&gateways).await;
    let answers = ask_at_once(&gateways, 100, &chat("gpt-4o"))
        .join_all()
        .await;
    assert_eq!(with_status(&answers, 200), 30);
    assert_eq!(with_status(&answers, 429), 70);

    let gate = Arc::new(Semaphore::new(0));
    let upstream = gated(&gate).await;
    let Some(redis) = Redis::start() else { return };
    let gateways = three(upstream.address, &redis, ", limits: { concurrent: 7 }");
    know_each_other(&gateways).await;
    let mut asking = ask_at_once(&gateways, 40, &chat("gpt-4o"));
    for _ in 0..33 {
        assert_eq!(asking.join_next().await.unwrap().unwrap().status, 429);
    }
    gate.add_permits(1_000);
    assert_eq!(with_status(&asking.join_all().await, 200), 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn random_requests_at_three_gateways_use_the_quota_up_and_nothing_beyond_it() {
    const REQUESTS: usize = 10_000;
    const QUOTA: u64 = 200_000;
    let Some(redis) = Redis::start() else { return };
    // It uses what it may: what is asked with takes 6 tokens, and the answer all that it may have.
    let used = Arc::new(AtomicU64::new(0));
    let counting = Arc::clone(&used);
    let upstream = Upstream::start(move |received, mut reply| {
        let used = Arc::clone(&counting);
        async move {
            let body: serde_json::Value = serde_json::from_slice(&received.body).unwrap();
            let most = body["max_tokens"].as_u64().unwrap();
            used.fetch_add(6 + most, Ordering::SeqCst);
            let usage = format!(
                r#""prompt_tokens":6,"completion_tokens":{most},"total_tokens":{}"#,
                6 + most
            );
            let usual = r#""prompt_tokens":6,"completion_tokens":4,"total_tokens":10"#;
            assert!(ANSWER.contains(usual));
            reply.json("200 OK", &ANSWER.replace(usual, &usage)).await;
            reply
        }
    })
    .await;
    let quota = format!(", quota: {{ tokens: {QUOTA}, per: total }}");
    let gateways = three(upstream.address, &redis, &quota);
    know_each_other(&gateways).await;
    let mut clients = JoinSet::new();
    for turn in 0..12_u64 {
        let address = gateways[usize::try_from(turn % 3).unwrap()].address;
        clients.spawn(async move {
            let mut random = fastrand::Rng::with_seed(turn);
            let mut client = Client::connect(address).await;
            for _ in 0..REQUESTS / 12 {
                let body = chat_up_to("gpt-4o", random.u64(1..100));
                let status = client.post(CHAT, &body).await.status;
                assert!(status == 200 || status == 429, "{status}");
            }
        });
    }
    clients.join_all().await;
    let used = used.load(Ordering::SeqCst);
    assert!(used <= QUOTA, "{used} of {QUOTA}");
    assert!(used * 100 >= QUOTA * 98, "{used} of {QUOTA}");
}

#[tokio::test(flavor = "multi_thread")]
async fn in_the_steady_state_the_store_is_called_once_for_fifty_requests_at_most() {
    let Some(redis) = Redis::start() else { return };
    let upstream = Upstream::answering(ANSWER).await;
    let limits = ", limits: { rpm: 100000, tpm: 100000000 }, quota: { tokens: 1000000000 }";
    let gateway = node("a", upstream.address, &redis.url(), (limits, ""));
    let mut client = gateway.connect().await;
    let calls = "tollgate_store_calls_total{outcome=\"ok\"}";
    // Until it knows how fast it is asked.
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(2) {
        assert_eq!(client.post(CHAT, &chat("gpt-4o")).await.status, 200);
    }
    let before = gateway.metric(calls).await;
    let begun = Instant::now();
    let mut requests = 0.0;
    while begun.elapsed() < Duration::from_secs(3) || requests < 200.0 {
        assert_eq!(client.post(CHAT, &chat("gpt-4o")).await.status, 200);
        requests += 1.0;
    }
    let made = gateway.metric(calls).await - before;
    assert!(made * 50.0 <= requests, "{made} calls for {requests}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_gateway_held_that_was_killed_is_back_within_ten_seconds() {
    let Some(redis) = Redis::start() else { return };
    let gate = Arc::new(Semaphore::new(0));
    let upstream = gated(&gate).await;
    let limits = ", limits: { concurrent: 4 }";
    let mut lost = node("a", upstream.address, &redis.url(), (limits, ""));
    let other = node("b", upstream.address, &redis.url(), (limits, ""));
    let asking = ask_at_once(std::slice::from_ref(&lost), 4, &chat("gpt-4o"));
    for _ in 0..4 {
        upstream.request().await;
    }
    assert_eq!(ask(&other, &chat("gpt-4o")).await.status, 429);
    lost.signal("KILL");
    lost.wait();
    let killed = Instant::now();
    drop(asking);
    gate.add_permits(1_000);
    while ask(&other, &chat("gpt-4o")).await.status == 429 {
        assert!(killed.elapsed() < Duration::from_secs(30));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let took = killed.elapsed();
    assert!(took < Duration::from_secs(10), "{took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_gateway_has_used_before_it_was_killed_counts_when_it_is_back() {
    let Some(redis) = Redis::start() else { return };
    let upstream = Upstream::answering(ANSWER).await;
    let quota = ", quota: { usd: 1, per: total }";
    let folder = Folder::new();
    let ledger = format!(" }}\nledger: {{ path: '{}'", folder.0.display());
    let start = || node("a", upstream.address, &redis.url(), (quota, &ledger));
    let mut first = start();
    for _ in 0..4 {
        assert_eq!(ask(&first, &chat("gpt-4o")).await.status, 200);
    }
    // The store may not know of any of them.
    first.signal("KILL");
    first.wait();
    let other = node("b", upstream.address, &redis.url(), (quota, ""));
    let gateways = [start(), other];
    // It tells the store what its ledger has.
    let told = || {
        redis
            .names()
            .iter()
            .any(|name| redis.say(&["HGETALL", name]).contains("s:a"))
    };
    until("the store knows what was used", told).await;
    let answers = ask_at_once(&gateways, 20, &chat("gpt-4o")).join_all().await;
    assert_eq!(with_status(&answers, 200), 6);
    assert_eq!(upstream.requests(), 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_threshold_is_told_by_one_gateway() {
    let Some(redis) = Redis::start() else { return };
    let upstream = Upstream::answering(ANSWER).await;
    let quota = ", quota: { usd: 1, per: total, warn_at: [50] }";
    let gateways = three(upstream.address, &redis, quota);
    know_each_other(&gateways).await;
    // One reaches the first threshold, and another one the end before it has heard of that.
    for turn in 0..20 {
        ask(&gateways[turn / 6 % 3], &chat("gpt-4o")).await;
    }
    assert_eq!(upstream.requests(), 10);
    let said = |what: &str| {
        let texts = gateways.iter().map(|gateway| gateway.output().text());
        texts.map(|text| text.matches(what).count()).sum::<usize>()
    };
    for what in ["50 % of its quota", "is used up"] {
        until(what, || said(what) > 0).await;
    }
    // The others are told of it with their next reports.
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!((said("50 % of its quota"), said("is used up")), (1, 1));
}
