//! Who is asked: by weight, by tier, by key of a cache; and who is left out, for how long, and how
//! many at most.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::{
    CHAT, GENEROUS, among, assert_whole, at, broken, counted, gateway, healthy, metric, nobody,
    outcomes, rule, serve,
};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::support::client::post;
use crate::support::gateway::Gateway;
use crate::support::upstream::Upstream;
use crate::support::{PATIENCE, chat, streamed_chat, until};

/// Asserts that of 1,000 requests each had its share, within one in a hundred.
fn assert_shares(upstreams: &[&Upstream], shares: &[usize]) {
    for (upstream, share) in upstreams.iter().zip(shares) {
        let requests = upstream.requests();
        assert!(requests.abs_diff(*share) <= 10, "{requests} of {share}");
    }
}

async fn thousand(front: &Gateway) {
    let mut clients = JoinSet::new();
    for _ in 0..4 {
        let mut client = front.connect().await;
        clients.spawn(async move {
            for _ in 0..250 {
                let response = client.post(CHAT, &chat("gpt-4o")).await;
                assert_eq!(response.status, 200);
            }
        });
    }
    while let Some(done) = clients.join_next().await {
        done.unwrap();
    }
}

#[tokio::test]
async fn targets_are_asked_by_weight() {
    let (first, second) = (healthy("first").await, healthy("second").await);
    let upstreams = [
        at("first", first.address, ""),
        at("second", second.address, ""),
    ];
    let targets = "{ upstream: first, weight: 70 }, { upstream: second, weight: 30 }";
    let front = gateway(GENEROUS, &upstreams, &[rule("gpt-4o", targets, "")]);
    thousand(&front).await;
    assert_shares(&[&first, &second], &[700, 300]);
}

#[tokio::test]
async fn servers_are_asked_by_weight() {
    let (first, second) = (healthy("first").await, healthy("second").await);
    let servers = [(first.address, 3), (second.address, 1)];
    let far = among("far", &servers, ", balance: weighted");
    let front = gateway(GENEROUS, &[far], &[rule("gpt-4o", "{ upstream: far }", "")]);
    thousand(&front).await;
    assert_shares(&[&first, &second], &[750, 250]);
}

#[tokio::test]
async fn every_balance_asks_all_servers_that_are_well() {
    for balance in ["weighted", "random", "least_requests"] {
        let (first, second) = (healthy("far").await, healthy("far").await);
        let servers = [(first.address, 1), (nobody(), 1), (second.address, 1)];
        let more = format!(", balance: {balance}");
        let far = among("far", &servers, &more);
        let front = gateway(GENEROUS, &[far], &[rule("gpt-4o", "{ upstream: far }", "")]);
        let mut client = front.connect().await;
        for _ in 0..40 {
            let response = client.post(CHAT, &chat("gpt-4o")).await;
            assert_whole(&response, "far");
        }
        assert!(first.requests() >= 5 && second.requests() >= 5, "{balance}");
    }
}

#[tokio::test]
async fn a_lower_tier_is_asked_only_when_nothing_above_it_is_well() {
    let well = Arc::new(AtomicBool::new(true));
    let mut tier = Vec::new();
    for _ in 0..2 {
        let well = Arc::clone(&well);
        tier.push(
            Upstream::start(move |request, mut reply| {
                let well = well.load(Ordering::SeqCst);
                async move {
                    match well {
                        true => serve("above", &request, &mut reply).await,
                        false => reply.json("500 Internal Server Error", "{}").await,
                    }
                    reply
                }
            })
            .await,
        );
    }
    let (third, fourth) = (healthy("below").await, healthy("never").await);
    let more = ", ejection: { consecutive: 2, base: 1h, longest: 1h }";
    let upstreams = [
        at("a", tier[0].address, more),
        at("b", tier[1].address, more),
        at("c", third.address, ""),
        at("d", fourth.address, ""),
    ];
    let targets = "{ upstream: d, priority: 7 }, { upstream: c, priority: 3 }, \
                   { upstream: a, priority: 1 }, { upstream: b, priority: 1 }";
    let front = gateway(GENEROUS, &upstreams, &[rule("gpt-4o", targets, "")]);
    let mut client = front.connect().await;
    for _ in 0..20 {
        assert_whole(&client.post(CHAT, &chat("gpt-4o")).await, "above");
    }
    assert_eq!((tier[0].requests(), tier[1].requests()), (10, 10));
    assert_eq!(third.requests(), 0);
    well.store(false, Ordering::SeqCst);
    for _ in 0..20 {
        assert_whole(&client.post(CHAT, &chat("gpt-4o")).await, "below");
    }
    assert_eq!((third.requests(), fourth.requests()), (20, 0));
}

/// A chat whose answer may come from a cache.
fn cached(key: &str) -> String {
    chat("gpt-4o").replacen('{', &format!("{{{key},"), 1)
}

/// Who answers this request, three times in a row.
async fn home(front: &Gateway, body: &str) -> String {
    let mut homes = Vec::new();
    for _ in 0..3 {
        let response = front.post(CHAT, body).await;
        assert_eq!(response.status, 200, "{response:?}");
        homes.push(response.text().to_owned());
    }
    assert!(homes.iter().all(|home| *home == homes[0]), "{homes:?}");
    homes.swap_remove(0)
}

#[tokio::test]
async fn what_shares_a_cache_is_asked_at_the_same_server() {
    let names = [r#"{"n":0}"#, r#"{"n":1}"#, r#"{"n":2}"#, r#"{"n":3}"#];
    let mut far = Vec::new();
    for name in names {
        far.push(Upstream::answering(name).await);
    }
    let servers: Vec<(SocketAddr, u32)> = far.iter().map(|u| (u.address, 1)).collect();
    let more = ", balance: consistent, ejection: { consecutive: 1, base: 1h, longest: 1h }";
    let upstream = among("far", &servers, more);
    let front = gateway(
        GENEROUS,
        &[upstream],
        &[rule("gpt-4o", "{ upstream: far }", "")],
    );
    let keys: Vec<String> = (0..24)
        .map(|n| match n % 2 {
            0 => cached(&format!(r#""prompt_cache_key":"cache-{n}""#)),
            _ => cached(&format!(r#""user":"user-{n}""#)),
        })
        .collect();
    let mut homes = Vec::new();
    for key in &keys {
        homes.push(home(&front, key).await);
    }
    let shares = counted(&homes);
    assert_eq!(shares.len(), 4, "each has a share: {shares:?}");
    // The cache's key goes before the user.
    let both = cached(r#""prompt_cache_key":"cache-0","user":"user-1""#);
    assert_eq!(home(&front, &both).await, homes[0]);
    // When one of them goes, only what it had moves.
    let gone = far.remove(0);
    gone.stop().await;
    for (key, before) in keys.iter().zip(&homes) {
        let now = home(&front, key).await;
        assert_ne!(now, names[0]);
        assert!(now == *before || before == names[0], "{before} to {now}");
    }
}

#[tokio::test]
async fn a_tenant_is_asked_for_at_one_server_where_that_is_wanted() {
    let (first, second) = (healthy("far").await, healthy("far").await);
    let servers = [(first.address, 1), (second.address, 1)];
    let more = ", balance: consistent, consistent_by: tenant";
    let far = among("far", &servers, more);
    let front = gateway(GENEROUS, &[far], &[rule("gpt-4o", "{ upstream: far }", "")]);
    for n in 0..12 {
        let body = cached(&format!(r#""prompt_cache_key":"cache-{n}""#));
        assert_whole(&front.post(CHAT, &body).await, "far");
    }
    let mut requests = [first.requests(), second.requests()];
    requests.sort_unstable();
    assert_eq!(requests, [0, 12]);
}

#[tokio::test]
async fn at_most_half_of_a_pool_is_left_out() {
    let bad = [broken().await, broken().await, broken().await];
    let good = healthy("far").await;
    let mut servers: Vec<(SocketAddr, u32)> = bad.iter().map(|u| (u.address, 1)).collect();
    servers.push((good.address, 1));
    let more = ", ejection: { consecutive: 2, base: 1h, longest: 1h }";
    let far = among("far", &servers, more);
    let front = gateway(GENEROUS, &[far], &[rule("gpt-4o", "{ upstream: far }", "")]);
    let mut client = front.connect().await;
    for _ in 0..40 {
        assert_whole(&client.post(CHAT, &chat("gpt-4o")).await, "far");
    }
    let series = r#"tollgate_ejections_total{kind="server",upstream="far"}"#;
    assert_eq!(metric(&front, series).await, 2);
    let mut asked: Vec<usize> = bad.iter().map(Upstream::requests).collect();
    asked.sort_unstable();
    assert_eq!(asked[..2], [2, 2], "two are left out");
    assert!(asked[2] > 2, "the third is not: {asked:?}");
}

/// A server that fails while it is told to.
async fn switched(fails: &Arc<AtomicBool>) -> Upstream {
    let fails = Arc::clone(fails);
    Upstream::start(move |request, mut reply| {
        let fails = fails.load(Ordering::SeqCst);
        async move {
            match fails {
                true => reply.json("500 Internal Server Error", "{}").await,
                false => serve("far", &request, &mut reply).await,
            }
            reply
        }
    })
    .await
}

#[tokio::test]
async fn what_was_left_out_for_a_growing_time_comes_back_after_a_trial() {
    let fails = Arc::new(AtomicBool::new(true));
    let (bad, good) = (switched(&fails).await, healthy("far").await);
    let more = ", ejection: { consecutive: 2, base: 200ms, longest: 400ms, trials: 1 }";
    let far = among("far", &[(bad.address, 1), (good.address, 1)], more);
    let front = gateway(GENEROUS, &[far], &[rule("gpt-4o", "{ upstream: far }", "")]);
    let url = format!("server http://{}", bad.address);
    let mut client = front.connect().await;
    let ejections = || {
        let said = front.output().text();
        let lines = said.lines().filter(|line| line.contains(&url));
        let times =
            lines.filter_map(|line| Some(line.split_once(" is ejected for ")?.1.to_owned()));
        times.collect::<Vec<_>>()
    };
    // Clients notice nothing of the failures nor of the trials.
    let deadline = std::time::Instant::now() + PATIENCE;
    while ejections().len() < 4 {
        assert!(std::time::Instant::now() < deadline, "{:?}", ejections());
        assert_whole(&client.post(CHAT, &streamed_chat("gpt-4o")).await, "far");
    }
    assert_eq!(ejections()[..4], ["200ms", "400ms", "400ms", "400ms"]);
    // Two failures, and one for each trial.
    assert_eq!(bad.requests(), 5);
    fails.store(false, Ordering::SeqCst);
    while bad.requests() < 15 {
        assert!(
            std::time::Instant::now() < deadline,
            "it does not come back"
        );
        let response = client.post(CHAT, &chat("gpt-4o")).await;
        assert_whole(&response, "far");
        assert_eq!(outcomes(&front, &response), "far:ok");
    }
}

#[tokio::test]
async fn a_trial_is_a_few_requests_and_no_more() {
    // It fails twice, and holds whatever comes then.
    let step = Arc::new(Semaphore::new(0));
    let (held, turn) = (Arc::clone(&step), AtomicUsize::new(0));
    let bad = Upstream::start(move |request, mut reply| {
        let (held, turn) = (Arc::clone(&held), turn.fetch_add(1, Ordering::SeqCst));
        async move {
            if turn < 2 {
                reply.json("500 Internal Server Error", "{}").await;
                return reply;
            }
            held.acquire().await.unwrap().forget();
            serve("far", &request, &mut reply).await;
            reply
        }
    })
    .await;
    let good = healthy("far").await;
    let more = ", ejection: { consecutive: 2, base: 100ms, longest: 100ms, trials: 1 }";
    let far = among("far", &[(bad.address, 1), (good.address, 1)], more);
    let front = gateway(GENEROUS, &[far], &[rule("gpt-4o", "{ upstream: far }", "")]);
    let deadline = std::time::Instant::now() + PATIENCE;
    let trial = loop {
        assert!(std::time::Instant::now() < deadline, "there is no trial");
        let mut client = front.connect().await;
        let before = good.requests();
        client.send(post(CHAT, "", &chat("gpt-4o"))).await;
        until("a request", || {
            good.requests() > before || bad.requests() == 3
        })
        .await;
        if bad.requests() == 3 {
            break client;
        }
        assert_whole(&client.response().await, "far");
    };
    let mut client = front.connect().await;
    for _ in 0..20 {
        assert_whole(&client.post(CHAT, &chat("gpt-4o")).await, "far");
    }
    assert_eq!(bad.requests(), 3, "nobody else is sent there meanwhile");
    step.add_permits(100);
    let mut trial = trial;
    assert_whole(&trial.response().await, "far");
    for _ in 0..20 {
        assert_whole(&client.post(CHAT, &chat("gpt-4o")).await, "far");
    }
    assert!(bad.requests() >= 12, "it is back");
}

#[tokio::test]
async fn a_ratio_of_failures_leaves_out_too() {
    let turn = Arc::new(AtomicBool::new(false));
    let flapping = Upstream::start(move |request, mut reply| {
        let fails = turn.fetch_not(Ordering::SeqCst);
        async move {
            match fails {
                true => reply.json("500 Internal Server Error", "{}").await,
                false => serve("far", &request, &mut reply).await,
            }
            reply
        }
    })
    .await;
    let good = healthy("far").await;
    let more = ", ejection: { consecutive: 1000, percent: 50, least: 10, window: 1h, \
                base: 1h, longest: 1h }";
    let far = among("far", &[(flapping.address, 1), (good.address, 1)], more);
    let front = gateway(GENEROUS, &[far], &[rule("gpt-4o", "{ upstream: far }", "")]);
    let mut client = front.connect().await;
    for _ in 0..60 {
        assert_whole(&client.post(CHAT, &chat("gpt-4o")).await, "far");
    }
    let requests = flapping.requests();
    assert!(
        (10..=12).contains(&requests),
        "{requests} until it was left out"
    );
}

#[tokio::test]
async fn least_requests_asks_the_one_with_the_least() {
    let step = Arc::new(Semaphore::new(0));
    let held = Arc::clone(&step);
    let slow = Upstream::start(move |request, mut reply| {
        let held = Arc::clone(&held);
        async move {
            held.acquire().await.unwrap().forget();
            serve("far", &request, &mut reply).await;
            reply
        }
    })
    .await;
    let fast = healthy("far").await;
    let servers = [(slow.address, 1), (fast.address, 1)];
    let far = among("far", &servers, ", balance: least_requests");
    let front = gateway(GENEROUS, &[far], &[rule("gpt-4o", "{ upstream: far }", "")]);
    let mut waiting = Vec::new();
    // Until one is held by the slow one, either may be asked.
    for n in 1..=40 {
        let mut client = front.connect().await;
        client.send(post(CHAT, "", &chat("gpt-4o"))).await;
        let asked = || slow.requests() + fast.requests();
        until("one more request", || asked() == n).await;
        if slow.requests() == 0 {
            assert_whole(&client.response().await, "far");
        } else {
            waiting.push(client);
        }
    }
    // The last of the fast one's may not be over yet when the next comes.
    assert!(slow.requests() <= 3, "{} of 40", slow.requests());
}
