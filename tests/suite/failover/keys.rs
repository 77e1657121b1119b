//! A provider key that is refused or runs dry: another takes over at once, and the operator is told
//! whose it is by its fingerprint alone.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Mutex;

use super::{
    CHAT, GENEROUS, assert_whole, at, error, gateway, healthy, outcomes, rule, serve, trail,
};
use crate::support::gateway::Gateway;
use crate::support::upstream::Upstream;
use crate::support::{PROVIDER_KEY, chat, streamed_chat, until};

/// A refusal of a key: the status, header lines, and body.
type Refusal = (&'static str, &'static str, String);

/// A provider that refuses the key `…-a`, for as long as `refuses`, and serves any other.
async fn refusing_a(refusal: Refusal, refuses: &Arc<AtomicBool>) -> Upstream {
    let refuses = Arc::clone(refuses);
    Upstream::start(move |request, mut reply| {
        let ((status, headers, body), refuses) = (refusal.clone(), Arc::clone(&refuses));
        async move {
            let is_a = request.header("authorization")[0].ends_with("-a");
            match is_a && refuses.load(Ordering::SeqCst) {
                true => reply.json_with(status, headers, &body).await,
                false => serve("far", &request, &mut reply).await,
            }
            reply
        }
    })
    .await
}

fn always() -> Arc<AtomicBool> {
    Arc::new(AtomicBool::new(true))
}

/// A gateway in front of one upstream with these keys.
fn with_keys(far: &Upstream, keys: &[&str]) -> Gateway {
    let keys: Vec<String> = keys
        .iter()
        .map(|k| format!("'{PROVIDER_KEY}-{k}'"))
        .collect();
    let upstream =
        at("far", far.address, "").replace(&format!("'{PROVIDER_KEY}-far'"), &keys.join(", "));
    gateway(
        GENEROUS,
        &[upstream],
        &[rule("gpt-4o", "{ upstream: far }", "")],
    )
}

/// Sends some requests, all of which are served. Gives how often `…-a` was used.
async fn served(front: &Gateway, far: &Upstream, count: usize) -> usize {
    let before = far.requests();
    let mut client = front.connect().await;
    for n in 0..count {
        let body = [chat("gpt-4o"), streamed_chat("gpt-4o")][n % 2].clone();
        let response = client.post(CHAT, &body).await;
        assert_whole(&response, "far");
    }
    let mut uses = 0;
    for _ in before..far.requests() {
        let request = far.request().await;
        uses += usize::from(request.header("authorization")[0].ends_with("-a"));
    }
    uses
}

fn rate_limited() -> String {
    let code = Some("rate_limit_exceeded");
    error("Rate limit reached.", "requests", code)
}

#[tokio::test]
async fn a_429_makes_the_key_cool_down_until_it_may_be_used_again() {
    let waits = [
        "retry-after: 600\r\n",
        "retry-after-ms: 600000\r\n",
        "retry-after: Thu, 31 Dec 2099 23:59:59 GMT\r\n",
        "x-ratelimit-remaining-requests: 0\r\nx-ratelimit-reset-requests: 10m0s\r\n",
        "x-ratelimit-remaining-tokens: 0\r\nx-ratelimit-reset-tokens: 10m0s\r\n",
    ];
    for wait in waits {
        let refusal = ("429 Too Many Requests", wait, rate_limited());
        let far = refusing_a(refusal, &always()).await;
        let front = with_keys(&far, &["a", "b"]);
        let uses = served(&front, &far, 12).await;
        assert_eq!((uses, far.requests()), (1, 13), "{wait}");
    }
}

#[tokio::test]
async fn a_key_is_used_again_once_its_cooldown_is_over() {
    let refuses = always();
    let refusal = (
        "429 Too Many Requests",
        "retry-after-ms: 300\r\n",
        rate_limited(),
    );
    let far = refusing_a(refusal, &refuses).await;
    let front = with_keys(&far, &["a", "b"]);
    assert_eq!(served(&front, &far, 4).await.min(1), 1);
    refuses.store(false, Ordering::SeqCst);
    let mut uses = 0;
    let deadline = Instant::now() + crate::support::PATIENCE;
    while uses == 0 {
        assert!(Instant::now() < deadline, "the key is never used again");
        uses = served(&front, &far, 2).await;
    }
}

#[tokio::test]
async fn a_key_that_is_refused_is_left_out_and_told_by_its_fingerprint() {
    let invalid = error(
        "Incorrect API key provided.",
        "invalid_request_error",
        Some("invalid_api_key"),
    );
    let broke = |code| error("You have no money left.", "insufficient_quota", Some(code));
    // What names a fault of the key counts at once, and any other refusal when a second request has
    // met it.
    let refusals: [(Refusal, &str, usize); 6] = [
        (("401 Unauthorized", "", invalid.clone()), "key_refused", 1),
        (
            (
                "403 Forbidden",
                "",
                error("No access.", "request_forbidden", None),
            ),
            "key_refused",
            2,
        ),
        (
            ("429 Too Many Requests", "", broke("insufficient_quota")),
            "out_of_credit",
            1,
        ),
        (
            (
                "429 Too Many Requests",
                "",
                broke("credit_balance_exhausted"),
            ),
            "out_of_credit",
            1,
        ),
        (
            (
                "429 Too Many Requests",
                "retry-after: 1\r\n",
                broke("project_spend_limit_exceeded"),
            ),
            "out_of_credit",
            1,
        ),
        (
            (
                "402 Payment Required",
                "",
                error("Pay.", "billing_error", None),
            ),
            "out_of_credit",
            2,
        ),
    ];
    for (refusal, reason, asked) in refusals {
        let far = refusing_a(refusal, &always()).await;
        let front = with_keys(&far, &["a", "b"]);
        let uses = served(&front, &far, 12).await;
        assert_eq!((uses, far.requests()), (asked, 12 + asked), "{reason}");
        let line = front.access_line(&format!(":{reason}:"));
        let (_, trail) = line.split_once("trail=far/").unwrap();
        let (fingerprint, _) = trail.split_once(':').unwrap();
        let names_it = |line: &str| {
            line.contains("WARN") && line.contains(fingerprint) && line.contains("far")
        };
        until("a warning that names the key", || {
            front.output().text().lines().any(names_it)
        })
        .await;
        let said = front.output().text();
        assert!(!PROVIDER_KEY.contains(fingerprint));
        assert!(!said.contains(PROVIDER_KEY));
    }
}

#[tokio::test]
async fn an_account_that_is_refused_altogether_is_not_the_clients_affair() {
    let body = error(
        "Incorrect API key provided: provid***-a.",
        "invalid_request_error",
        Some("invalid_api_key"),
    );
    let far = refusing_a(("401 Unauthorized", "", body), &always()).await;
    let front = with_keys(&far, &["a"]);
    for told in ["a:key_refused", "-:refused"] {
        let response = front.post(CHAT, &chat("gpt-4o")).await;
        let code = Some("upstream_account");
        response.assert_error(503, "service_unavailable_error", code, None);
        assert!(
            !response.text().contains("provid***"),
            "{}",
            response.text()
        );
        let trail = trail(&front, &response);
        let [one] = trail.as_slice() else {
            panic!("one entry is expected: {}", trail.len());
        };
        let key = if one.key == "-" { "-" } else { "a" };
        // The key is not asked with again.
        assert_eq!(format!("{key}:{}", one.outcome), told);
    }
    assert_eq!(far.requests(), 1);
}

#[tokio::test]
async fn an_upstream_without_a_key_to_use_is_passed_over() {
    let body = error(
        "No access.",
        "invalid_request_error",
        Some("invalid_api_key"),
    );
    let far = refusing_a(("401 Unauthorized", "", body), &always()).await;
    let second = healthy("second").await;
    let upstreams = [
        at("first", far.address, "").replace("-first'", "-a'"),
        at("second", second.address, ""),
    ];
    let front = gateway(GENEROUS, &upstreams, &[rule("gpt-4o", super::TIERS, "")]);
    for expected in ["first:key_refused second:ok", "second:ok", "second:ok"] {
        let response = front.post(CHAT, &chat("gpt-4o")).await;
        assert_whole(&response, "second");
        assert_eq!(outcomes(&front, &response), expected);
    }
}

#[tokio::test]
async fn a_short_wait_is_waited_for_when_nothing_else_is_left() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let times = Arc::clone(&seen);
    let far = Upstream::start(move |request, mut reply| {
        let times = Arc::clone(&times);
        async move {
            let mut times = times.lock().await;
            times.push(Instant::now());
            match times.len() {
                1 => {
                    let wait = "retry-after: 1\r\n";
                    let body = rate_limited();
                    reply.json_with("429 Too Many Requests", wait, &body).await;
                }
                _ => serve("far", &request, &mut reply).await,
            }
            reply
        }
    })
    .await;
    let front = with_keys(&far, &["a"]);
    let response = front.post(CHAT, &chat("gpt-4o")).await;
    assert_whole(&response, "far");
    assert_eq!(outcomes(&front, &response), "far:rate_limited far:ok");
    let seen = seen.lock().await;
    assert_eq!(seen.len(), 2);
    assert!(
        seen[1] - seen[0] >= Duration::from_secs(1),
        "not before its time"
    );
}

#[tokio::test]
async fn a_request_that_finds_all_keys_cooling_down_for_a_moment_waits() {
    let refuses = always();
    let refusal = (
        "429 Too Many Requests",
        "retry-after: 1\r\n",
        rate_limited(),
    );
    let far = refusing_a(refusal, &refuses).await;
    let front = with_keys(&far, &["a"]);
    // The first waits for its key, and the second finds that it is cooling down.
    let body = chat("gpt-4o");
    let first = front.post(CHAT, &body);
    let second = async {
        let is_cooling = || front.output().text().contains("is cooling down");
        until("the cooldown", is_cooling).await;
        refuses.store(false, Ordering::SeqCst);
        front.post(CHAT, &chat("gpt-4o")).await
    };
    let (first, second) = tokio::join!(first, second);
    assert_whole(&first, "far");
    assert_whole(&second, "far");
    assert_eq!(far.requests(), 3);
}

#[tokio::test]
async fn what_a_key_has_left_is_known_before_it_runs_dry() {
    for left in [
        "x-ratelimit-remaining-requests: 0\r\nx-ratelimit-reset-requests: 10m0s\r\n",
        "x-ratelimit-remaining-tokens: 0\r\nx-ratelimit-reset-tokens: 10m0s\r\n",
    ] {
        let far = Upstream::start(move |request, mut reply| async move {
            let is_a = request.header("authorization")[0].ends_with("-a");
            let headers = if is_a { left } else { "" };
            reply
                .json_with("200 OK", headers, &super::answer("far"))
                .await;
            reply
        })
        .await;
        let front = with_keys(&far, &["a", "b"]);
        let uses = served_in_json(&front, &far, 12).await;
        assert_eq!((uses, far.requests()), (1, 12), "{left}");
    }
}

async fn served_in_json(front: &Gateway, far: &Upstream, count: usize) -> usize {
    let mut client = front.connect().await;
    let mut uses = 0;
    for _ in 0..count {
        let response = client.post(CHAT, &chat("gpt-4o")).await;
        assert_whole(&response, "far");
        let request = far.request().await;
        uses += usize::from(request.header("authorization")[0].ends_with("-a"));
    }
    uses
}
