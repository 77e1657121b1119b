//! Failing over has its bounds: for one request, for all together, for requests that run in a circle,
//! and for how much an upstream is asked at once.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::{
    CHAT, GENEROUS, TIERS, assert_whole, at, broken, error, gateway, healthy, metric, outcomes,
    rule, serve, trail,
};
use crate::support::client::{Client, Response, post};
use crate::support::gateway::Gateway;
use crate::support::upstream::Upstream;
use crate::support::{PROVIDER_KEY, chat, streamed_chat, until};

/// So many upstreams, all of which fail, as targets of one rule.
async fn all_failing(count: usize, retries: &str, more: &str) -> (Vec<Upstream>, Gateway) {
    let mut far = Vec::new();
    for _ in 0..count {
        far.push(broken().await);
    }
    let named = far.iter().enumerate();
    let upstreams: Vec<String> = named
        .map(|(n, u)| at(&format!("far{n}"), u.address, more))
        .collect();
    let targets: Vec<String> = (0..count)
        .map(|n| format!("{{ upstream: far{n} }}"))
        .collect();
    let rules = [rule("gpt-4o", &targets.join(", "), "")];
    (far, gateway(retries, &upstreams, &rules))
}

fn asked(far: &[Upstream]) -> usize {
    far.iter().map(Upstream::requests).sum()
}

#[tokio::test]
async fn a_request_has_so_many_attempts() {
    for attempts in [1, 3, 5] {
        let retries = format!("{GENEROUS}, attempts: {attempts}");
        let (far, front) = all_failing(6, &retries, "").await;
        let response = front.post(CHAT, &chat("gpt-4o")).await;
        response.assert_error(500, "server_error", None, None);
        assert_eq!(asked(&far), attempts);
        assert!(far.iter().all(|u| u.requests() <= 1), "each once at most");
        let told = response.header("x-tollgate-attempts").unwrap();
        assert_eq!(told, attempts.to_string());
        assert_eq!(response.header("x-should-retry"), Some("false"));
        assert_eq!(trail(&front, &response).len(), attempts);
    }
}

#[tokio::test]
async fn the_trail_tells_who_was_asked_with_which_key() {
    let (first, second) = (broken().await, healthy("second").await);
    let front = super::one_then_other(&at("first", first.address, ""), &second);
    let response = front.post(CHAT, &streamed_chat("gpt-4o")).await;
    assert_eq!(response.header("x-tollgate-attempts"), Some("2"));
    let trail = trail(&front, &response);
    assert_eq!(outcomes(&front, &response), "first:server_error second:ok");
    assert_ne!(trail[0].key, trail[1].key, "a fingerprint for each key");
    for tried in &trail {
        assert_eq!(tried.key.len(), 8, "{trail:?}");
        assert!(
            tried.key.chars().all(|c| c.is_ascii_hexdigit()),
            "{trail:?}"
        );
        assert!(!PROVIDER_KEY.contains(&tried.key));
    }
    for (upstream, verdict) in [("first", "server_error"), ("second", "ok")] {
        let labels = format!(r#"upstream="{upstream}",verdict="{verdict}""#);
        let series = format!("tollgate_attempts_total{{{labels}}}");
        assert_eq!(metric(&front, &series).await, 1, "{series}");
    }
}

/// Sends 200 requests from several clients. Gives how many were told of the failure.
async fn two_hundred(front: &Gateway) {
    let mut clients = JoinSet::new();
    for n in 0..4 {
        let mut client = front.connect().await;
        let body = [chat("gpt-4o"), streamed_chat("gpt-4o")][n % 2].clone();
        clients.spawn(async move {
            for _ in 0..50 {
                let response = client.post(CHAT, &body).await;
                assert!((500..=503).contains(&response.status), "{response:?}");
                assert!(response.json()["error"]["message"].is_string());
            }
        });
    }
    while let Some(done) = clients.join_next().await {
        done.unwrap();
    }
}

/// How often an upstream that fails may be moved on to before it is known to fail: five failures, and more
/// than half of what it is asked, of which each of four clients has one under way.
const UNTIL_FAILING: usize = 9;

#[tokio::test]
async fn each_upstream_has_a_budget_for_further_attempts() {
    // The defaults: 20 percent, and ten for each upstream.
    let retries = "backoff: 10ms, budget_window: 10m";
    for more in [", ejection: off", ""] {
        let (far, front) = all_failing(4, retries, more).await;
        two_hundred(&front).await;
        let attempts = asked(&far);
        let most = 200 + 40 + 4 * (10 + UNTIL_FAILING);
        assert!(attempts <= most, "{attempts} attempts");
        if !more.is_empty() {
            assert!(attempts >= 200 + 4 * 10, "{attempts} attempts");
            let mut refused = 0;
            for n in 0..4 {
                let series = format!(r#"tollgate_retries_refused_total{{upstream="far{n}"}}"#);
                refused += metric(&front, &series).await;
            }
            assert!(refused >= 100, "{refused}");
        }
    }
}

#[tokio::test]
async fn a_budget_of_nothing_leaves_the_first_attempt() {
    let retries = "backoff: 10ms, budget_percent: 0, budget_floor: 0";
    let (far, front) = all_failing(3, retries, ", ejection: off").await;
    two_hundred(&front).await;
    let attempts = asked(&far);
    assert!(attempts <= 200 + 3 * UNTIL_FAILING, "{attempts} attempts");
}

#[tokio::test]
async fn failures_of_one_upstream_leave_the_way_to_another() {
    let (first, second) = (broken().await, healthy("second").await);
    let upstreams = [
        at("first", first.address, ", ejection: off"),
        at("second", second.address, ""),
    ];
    let rules = [
        rule("alone", "{ upstream: first }", ""),
        rule("gpt-4o", TIERS, ""),
    ];
    // As they come, but that no window ends.
    let front = gateway("backoff: 1ms, budget_window: 10m", &upstreams, &rules);
    let series = r#"tollgate_retries_refused_total{upstream="first"}"#;
    while metric(&front, series).await < 3 {
        let response = front.post(CHAT, &chat("alone")).await;
        response.assert_error(500, "server_error", None, None);
    }
    for _ in 0..20 {
        let response = front.post(CHAT, &chat("gpt-4o")).await;
        assert_whole(&response, "second");
        assert_eq!(response.header("x-tollgate-attempts"), Some("2"));
    }
}

#[tokio::test]
async fn a_server_that_fails_does_not_keep_a_request_from_its_fallback() {
    let (one, two) = (broken().await, broken().await);
    let second = healthy("second").await;
    let servers = [(one.address, 1), (two.address, 1)];
    let upstreams = [
        super::among("first", &servers, ", ejection: off"),
        at("second", second.address, ""),
    ];
    let retries = "backoff: 1ms, budget_percent: 0, budget_floor: 0";
    let front = gateway(retries, &upstreams, &[rule("gpt-4o", TIERS, "")]);
    for _ in 0..3 {
        // The other server is not asked: the first upstream has nothing left for that.
        let response = front.post(CHAT, &chat("gpt-4o")).await;
        assert_whole(&response, "second");
        assert_eq!(outcomes(&front, &response), "first:server_error second:ok");
    }
    assert_eq!(one.requests() + two.requests(), 3);
}

#[tokio::test]
async fn what_need_not_be_tried_again_spends_none_of_the_budget() {
    // A client whose requests are wrong takes nothing from others.
    let first = Upstream::start(|request, mut reply| async move {
        match request.text().contains("wrong") {
            true => {
                let body = error("No.", "invalid_request_error", Some("unsupported_value"));
                reply.json("400 Bad Request", &body).await;
            }
            false => {
                let body = error("The server had an error.", "server_error", None);
                reply.json("500 Internal Server Error", &body).await;
            }
        }
        reply
    })
    .await;
    let upstreams = [at("first", first.address, ", ejection: off")];
    let rules = [
        rule("wrong", "{ upstream: first }", ""),
        rule("gpt-4o", "{ upstream: first }", ""),
    ];
    let retries = "backoff: 1ms, budget_percent: 0, budget_floor: 1, budget_window: 10m";
    let front = gateway(retries, &upstreams, &rules);
    for _ in 0..10 {
        let response = front.post(CHAT, &chat("wrong")).await;
        assert_eq!(response.status, 400);
    }
    for attempts in ["2", "1"] {
        let response = front.post(CHAT, &chat("gpt-4o")).await;
        response.assert_error(500, "server_error", None, None);
        assert_eq!(response.header("x-tollgate-attempts"), Some(attempts));
    }
}

async fn with_hops(front: &Gateway, hops: &str) -> Response {
    let mut client = front.connect().await;
    let header = format!("x-tollgate-hops: {hops}\r\n");
    client.send(post(CHAT, &header, &chat("gpt-4o"))).await;
    client.response().await
}

#[tokio::test]
async fn a_request_that_has_come_through_too_many_gateways_is_refused() {
    let first = healthy("first").await;
    let upstreams = [at("first", first.address, "")];
    let rules = [rule("gpt-4o", "{ upstream: first }", "")];
    let front = gateway(&format!("{GENEROUS}, hops: 3"), &upstreams, &rules);
    for hops in ["3", "4", "99"] {
        let response = with_hops(&front, hops).await;
        let code = Some("loop_detected");
        response.assert_error(508, "invalid_request_error", code, None);
    }
    assert_eq!(first.requests(), 0);
    for (hops, onwards) in [("0", "1"), ("2", "3")] {
        assert_whole(&with_hops(&front, hops).await, "first");
        assert_eq!(first.request().await.header("x-tollgate-hops"), [onwards]);
    }
    assert_whole(&front.post(CHAT, &chat("gpt-4o")).await, "first");
    assert_eq!(first.request().await.header("x-tollgate-hops"), ["1"]);
}

#[tokio::test]
async fn a_circle_of_gateways_comes_to_its_end() {
    let address: Arc<OnceLock<SocketAddr>> = Arc::default();
    let front_of = Arc::clone(&address);
    // An upstream that leads back to us, as another gateway would that is set up wrong.
    let circle = Upstream::start(move |request, mut reply| {
        let address = *front_of.get().unwrap();
        async move {
            let hops = request.header("x-tollgate-hops")[0];
            let header = format!("x-tollgate-hops: {hops}\r\n");
            let mut client = Client::connect(address).await;
            client.send(post(CHAT, &header, &chat("gpt-4o"))).await;
            let answer = client.response().await;
            let retry = answer.header("x-should-retry");
            let retry = retry.map_or(String::new(), |v| format!("x-should-retry: {v}\r\n"));
            let status = format!("{} Answer", answer.status);
            reply.json_with(&status, &retry, answer.text()).await;
            reply
        }
    })
    .await;
    let upstreams = [at("first", circle.address, "")];
    let front = gateway(
        GENEROUS,
        &upstreams,
        &[rule("gpt-4o", "{ upstream: first }", "")],
    );
    address.set(front.address).unwrap();
    let response = front.post(CHAT, &chat("gpt-4o")).await;
    response.assert_error(508, "invalid_request_error", Some("loop_detected"), None);
    assert_eq!(response.header("x-should-retry"), Some("false"));
    // The last gateway says that there is no use in trying again, so nobody on the way does.
    assert_eq!(circle.requests(), 4);
}

/// A provider that holds every request until it is let.
async fn holding(step: &Arc<Semaphore>) -> Upstream {
    let step = Arc::clone(step);
    Upstream::start(move |request, mut reply| {
        let step = Arc::clone(&step);
        async move {
            step.acquire().await.unwrap().forget();
            serve("first", &request, &mut reply).await;
            reply
        }
    })
    .await
}

/// A client that has sent its request.
async fn asking(front: &Gateway) -> Client {
    let mut client = front.connect().await;
    client.send(post(CHAT, "", &chat("gpt-4o"))).await;
    client
}

#[track_caller]
fn assert_busy(response: &Response) {
    let code = Some("upstream_busy");
    response.assert_error(503, "service_unavailable_error", code, None);
    let wait = response.header("retry-after").unwrap();
    assert!(wait.parse::<u32>().unwrap() >= 1, "{wait}");
}

#[tokio::test]
async fn an_upstream_takes_so_many_requests_and_so_many_wait() {
    let step = Arc::new(Semaphore::new(0));
    let first = holding(&step).await;
    let more = ", max_concurrent: 2, queue: { length: 1, wait: 1h }";
    let upstreams = [at("first", first.address, more)];
    let front = gateway(
        GENEROUS,
        &upstreams,
        &[rule("gpt-4o", "{ upstream: first }", "")],
    );
    let mut clients = JoinSet::new();
    for _ in 0..4 {
        let mut client = asking(&front).await;
        clients.spawn(async move { client.response().await });
    }
    // Two are served, one waits, and one is told.
    assert_busy(&clients.join_next().await.unwrap().unwrap());
    until("two requests", || first.requests() == 2).await;
    step.add_permits(1);
    assert_whole(&clients.join_next().await.unwrap().unwrap(), "first");
    until("the one that waited", || first.requests() == 3).await;
    step.add_permits(2);
    while let Some(response) = clients.join_next().await {
        assert_whole(&response.unwrap(), "first");
    }
    assert_eq!(first.requests(), 3);
}

#[tokio::test]
async fn who_has_waited_long_enough_for_a_place_is_told() {
    let step = Arc::new(Semaphore::new(0));
    let first = holding(&step).await;
    let more = ", max_concurrent: 1, queue: { length: 8, wait: 200ms }";
    let upstreams = [at("first", first.address, more)];
    let front = gateway(
        GENEROUS,
        &upstreams,
        &[rule("gpt-4o", "{ upstream: first }", "")],
    );
    let mut served = asking(&front).await;
    first.request().await;
    let response = asking(&front).await.response().await;
    assert_busy(&response);
    step.add_permits(1);
    assert_whole(&served.response().await, "first");
    assert_eq!(first.requests(), 1);
}

#[tokio::test]
async fn a_busy_upstream_is_passed_over() {
    let step = Arc::new(Semaphore::new(0));
    let (first, second) = (holding(&step).await, healthy("second").await);
    let more = ", max_concurrent: 1, queue: { length: 0, wait: 1h }";
    let front = super::one_then_other(&at("first", first.address, more), &second);
    let mut served = asking(&front).await;
    first.request().await;
    let response = front.post(CHAT, &chat("gpt-4o")).await;
    assert_whole(&response, "second");
    step.add_permits(1);
    assert_whole(&served.response().await, "first");
    assert_eq!((first.requests(), second.requests()), (1, 1));
}

#[tokio::test]
async fn a_place_is_free_again_however_its_request_ends() {
    let step = Arc::new(Semaphore::new(0));
    let first = holding(&step).await;
    let more = ", max_concurrent: 1, queue: { length: 1, wait: 1h }";
    let upstreams = [at("first", first.address, more)];
    let front = gateway(
        GENEROUS,
        &upstreams,
        &[rule("gpt-4o", "{ upstream: first }", "")],
    );
    for n in 1..=3 {
        let client = asking(&front).await;
        until("a request", || first.requests() == n).await;
        client.leave();
    }
    let mut client = asking(&front).await;
    until("the last request", || first.requests() == 4).await;
    step.add_permits(4);
    assert_whole(&client.response().await, "first");
}
