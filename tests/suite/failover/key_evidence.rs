//! What counts against a provider key: what an answer says of the request that it answers does not,
//! and what the requests of one tenant have shown takes no key from another.

use std::fmt::Write as _;
use std::sync::Arc;

use serde_json::Value;
use tokio::sync::Notify;

use super::{CHAT, GENEROUS, error, outcomes, serve};
use crate::support::client::{Response, post};
use crate::support::gateway::Gateway;
use crate::support::upstream::{Reply, Upstream};
use crate::support::{CLIENT_KEY, PROVIDER_KEY};

const EMBEDDINGS: &str = "/v1/embeddings";
/// What a request says that the provider refuses.
const POISON: &str = "poison";

/// A whole answer: the status line's end, header lines, the type, the body.
type Answer = (&'static str, &'static str, &'static str, String);

fn json(status: &'static str, headers: &'static str, body: String) -> Answer {
    (status, headers, "application/json", body)
}

/// An error that has a code, or none.
fn refusal(status: &'static str, message: &str, code: Option<&str>) -> Answer {
    json(status, "", error(message, "x", code))
}

async fn send(reply: &mut Reply, (status, headers, kind, body): &Answer) {
    let length = body.len();
    let head =
        format!("HTTP/1.1 {status}\r\ncontent-type: {kind}\r\n{headers}content-length: {length}");
    reply.raw(format!("{head}\r\n\r\n{body}")).await;
}

/// A provider that gives this answer to what is poisoned, and serves everything else.
async fn provider(answer: Answer) -> Upstream {
    let answer = Arc::new(answer);
    Upstream::start(move |request, mut reply| {
        let answer = Arc::clone(&answer);
        async move {
            match request.text().contains(POISON) {
                true => send(&mut reply, &answer).await,
                false => serve("far", &request, &mut reply).await,
            }
            reply
        }
    })
    .await
}

/// A gateway before one upstream with so many keys, for any model and these tenants.
fn front(far: &Upstream, keys: usize, tenants: &[&str], retries: &str) -> Gateway {
    let keys: Vec<String> = (0..keys).map(|n| format!("'{PROVIDER_KEY}-{n}'")).collect();
    let keys = keys.join(", ");
    let tenants = tenants.iter().fold(String::new(), |mut all, id| {
        writeln!(all, "  - {{ id: {id}, keys: ['{CLIENT_KEY}-{id}'] }}").unwrap();
        all
    });
    Gateway::start(&format!(
        "server:
  listen: ['127.0.0.1:0']
  admin: '127.0.0.1:0'
  log: {{ mask: false }}
  retries: {{ {GENEROUS}{retries} }}
upstreams:
  far: {{ base_url: 'http://{}/v1', keys: [{keys}] }}
models:
  - {{ match: '*', targets: [{{ upstream: far }}] }}
tenants:
{tenants}",
        far.address
    ))
}

fn body(model: &str, text: &str) -> String {
    format!(
        r#"{{"model":"{model}","input":"{text}","messages":[{{"role":"user","content":"{text}"}}]}}"#
    )
}

fn request(tenant: &str, path: &str, body: &str) -> String {
    let mine = format!("Bearer {CLIENT_KEY}-{tenant}");
    post(path, "", body).replace(&format!("Bearer {CLIENT_KEY}"), &mine)
}

async fn ask(front: &Gateway, tenant: &str, path: &str, body: &str) -> Response {
    let mut client = front.connect().await;
    client.send(request(tenant, path, body)).await;
    client.response().await
}

/// A request that the provider refuses.
async fn poison(front: &Gateway, tenant: &str, model: &str) -> Response {
    ask(front, tenant, CHAT, &body(model, POISON)).await
}

/// Asserts that a tenant is served at the first attempt, with chats and with embeddings.
async fn assert_served(front: &Gateway, tenant: &str, models: [&str; 2], what: &str) {
    for (path, model) in [(CHAT, models[0]), (EMBEDDINGS, models[1])] {
        let response = ask(front, tenant, path, &body(model, "good")).await;
        assert_eq!(response.status, 200, "{what}: {path} {response:?}");
        assert_eq!(response.header("x-tollgate-attempts"), Some("1"), "{what}");
    }
}

async fn keys(front: &Gateway) -> Vec<Value> {
    let status = front.get_admin("/status").await.json();
    status["upstreams"][0]["keys"].as_array().unwrap().clone()
}

const TWO: &[&str] = &["bad", "good"];
const LIMITED: &str = "429 Too Many Requests";

fn about_the_request() -> [Answer; 4] {
    let afford = "This request requires more credits, or fewer max_tokens. You requested up to \
                  65536 tokens, but can only afford 4000.";
    let page = (
        "403 Forbidden",
        "",
        "text/html",
        "<html>blocked</html>".to_owned(),
    );
    [
        json(
            "402 Payment Required",
            "",
            serde_json::json!({ "error": { "message": afford, "code": 402 } }).to_string(),
        ),
        page,
        refusal("403 Forbidden", "No.", Some("user_blocked")),
        refusal("401 Unauthorized", "Identifier blocked.", None),
    ]
}

#[tokio::test]
async fn what_an_answer_says_of_the_request_counts_against_no_key() {
    for answer in about_the_request() {
        let what = format!("{answer:?}");
        let far = provider(answer).await;
        let front = front(&far, 4, TWO, "");
        for n in 1..=6 {
            let refused = poison(&front, "bad", "gpt-4o").await;
            assert_eq!(refused.status, 503, "{what}");
            assert_eq!(far.requests(), 2 * n, "at most one other key: {what}");
        }
        for tenant in TWO {
            assert_served(&front, tenant, ["gpt-4o", "embed"], &what).await;
        }
        for key in keys(&front).await {
            assert_eq!(key["state"], "ready", "{what}");
            assert_eq!(key["models"], serde_json::json!({}), "{what}");
        }
    }
}

#[tokio::test]
async fn after_a_refusal_one_other_key_is_tried() {
    for answer in [
        refusal("401 Unauthorized", "No.", None),
        refusal("401 Unauthorized", "No.", Some("invalid_api_key")),
        refusal("402 Payment Required", "No.", None),
        refusal("403 Forbidden", "No.", None),
    ] {
        let what = format!("{answer:?}");
        let far = provider(answer).await;
        let front = front(&far, 4, TWO, "");
        let refused = poison(&front, "bad", "gpt-4o").await;
        let kind = "service_unavailable_error";
        refused.assert_error(503, kind, Some("upstream_account"), None);
        assert_eq!(outcomes(&front, &refused).split(' ').count(), 2, "{what}");
        assert_eq!(far.requests(), 2, "{what}");
    }
}

#[tokio::test]
async fn a_refusal_for_one_model_leaves_the_others_and_the_embeddings() {
    for message in [
        "Your organization must be verified to use the model `gpt-image-1`.",
        "You have insufficient permissions for this operation. Missing scopes: model.request",
        "You are not allowed to sample from this model",
    ] {
        let far = provider(refusal("403 Forbidden", message, None)).await;
        let front = front(&far, 3, &["good"], "");
        // Each key is asked by two requests, and then none of them any more.
        for (n, asked) in [2, 4, 6, 6, 6].into_iter().enumerate() {
            let refused = poison(&front, "good", "gpt-image-1").await;
            assert_eq!(refused.status, 503);
            assert_eq!(far.requests(), asked, "{n}: {message}");
        }
        for _ in 0..3 {
            assert_served(&front, "good", ["gpt-4o", "embed"], message).await;
        }
        for key in keys(&front).await {
            assert_eq!(key["state"], "ready");
            let model = &key["models"]["gpt-image-1"];
            assert_eq!(model["state"], "refused");
            assert!(model["for_seconds"].as_f64().unwrap() <= 60.0);
        }
    }
}

#[tokio::test]
async fn a_success_between_refusals_makes_them_forgotten() {
    let far = provider(refusal("403 Forbidden", "No.", None)).await;
    let front = front(&far, 1, &["good"], "");
    for n in 0..5 {
        assert_eq!(poison(&front, "good", "gpt-4o").await.status, 503);
        assert_eq!(far.requests(), 3 * n + 1, "the key is asked");
        assert_served(&front, "good", ["gpt-4o", "embed"], "").await;
    }
}

#[tokio::test]
async fn what_one_tenant_has_shown_takes_no_key_from_another() {
    for answer in [
        refusal("401 Unauthorized", "No.", Some("invalid_api_key")),
        refusal(
            "401 Unauthorized",
            "You must be a member of an organization.",
            None,
        ),
        refusal("402 Payment Required", "No.", None),
        refusal("403 Forbidden", "No.", None),
        refusal("400 Bad Request", "No.", Some("billing_hard_limit_reached")),
        refusal(LIMITED, "No.", Some("insufficient_quota")),
        json(
            LIMITED,
            "retry-after: 99999999999\r\n",
            error("No.", "requests", None),
        ),
        json(
            LIMITED,
            "",
            error("Please try again in 9999h.", "requests", None),
        ),
    ] {
        let what = format!("{answer:?}");
        let far = provider(answer).await;
        for count in [1, 2, 4] {
            let front = front(&far, count, TWO, "");
            for model in ["gpt-4o", "m1", "m2", "m3", "gpt-4o", "m1", "gpt-4o"] {
                assert_ne!(poison(&front, "bad", model).await.status, 200);
            }
            for _ in 0..count {
                assert_served(&front, "good", ["gpt-4o", "embed"], &what).await;
            }
        }
    }
}

#[tokio::test]
async fn what_two_tenants_have_shown_holds_for_all() {
    for (code, status) in [
        ("invalid_api_key", "401 Unauthorized"),
        ("insufficient_quota", LIMITED),
    ] {
        let far = provider(refusal(status, "No.", Some(code))).await;
        let front = front(&far, 1, &["one", "two", "three"], "");
        for (tenant, asked) in [("one", 1), ("one", 1), ("two", 2), ("three", 2)] {
            let refused = poison(&front, tenant, "gpt-4o").await;
            refused.assert_error(
                503,
                "service_unavailable_error",
                Some("upstream_account"),
                None,
            );
            assert_eq!(far.requests(), asked, "{tenant}");
            let tenant = &keys(&front).await[0]["tenant"];
            let expected = if asked == 1 {
                Value::from("one")
            } else {
                Value::Null
            };
            assert_eq!(*tenant, expected);
        }
        // It concerns the key with whatever it is asked for.
        let other = ask(&front, "three", EMBEDDINGS, &body("embed", "good")).await;
        assert_eq!((other.status, far.requests()), (503, 2));
    }
}

#[tokio::test]
async fn a_rate_limit_concerns_the_model_that_met_it() {
    let limited = json(
        LIMITED,
        "retry-after: 60\r\n",
        error("No.", "requests", None),
    );
    let far = provider(limited).await;
    let front = front(&far, 1, &["good"], "");
    for asked in [1, 1] {
        let response = poison(&front, "good", "gpt-4o").await;
        assert_eq!((response.status, far.requests()), (429, asked));
    }
    assert_served(&front, "good", ["gpt-4o-mini", "embed"], "another model").await;
    let series = r#"tollgate_key_models{state="cooling_down",upstream="far"}"#;
    front.metric_becomes(series, 1.0).await;
    let series = r#"tollgate_keys{state="ready",upstream="far"}"#;
    front.metric_becomes(series, 1.0).await;
}

#[tokio::test]
async fn three_models_that_are_rate_limited_show_that_it_is_the_keys() {
    let limited = json(
        LIMITED,
        "retry-after: 60\r\n",
        error("No.", "requests", None),
    );
    let far = provider(limited).await;
    let front = front(&far, 1, TWO, "");
    for model in ["one", "two"] {
        poison(&front, "bad", model).await;
        assert_served(&front, "bad", ["gpt-4o", "embed"], model).await;
    }
    poison(&front, "bad", "three").await;
    let before = far.requests();
    let response = ask(&front, "bad", CHAT, &body("gpt-4o", "good")).await;
    assert_eq!((response.status, far.requests()), (429, before));
    let series = r#"tollgate_keys{state="cooling_down",upstream="far"}"#;
    front.metric_becomes(series, 1.0).await;
    assert_served(&front, "good", ["gpt-4o", "embed"], "another tenant").await;
}

#[tokio::test]
async fn no_provider_makes_a_key_cool_down_for_longer_than_the_bound() {
    let slow = || error("Slow down.", "requests", None);
    for answer in [
        json(LIMITED, "retry-after: 99999999999\r\n", slow()),
        json(LIMITED, "retry-after: 1e300\r\n", slow()),
        json(LIMITED, "retry-after-ms: 99999999999999\r\n", slow()),
        json(
            LIMITED,
            "retry-after: Fri, 01 Aug 2098 12:00:00 GMT\r\n",
            slow(),
        ),
        json(
            LIMITED,
            "",
            error("Please try again in 9999h.", "requests", None),
        ),
        json(
            LIMITED,
            "x-ratelimit-remaining-requests: 0\r\nx-ratelimit-reset-requests: 9999h\r\n",
            slow(),
        ),
    ] {
        let what = format!("{answer:?}");
        let far = provider(answer).await;
        for (bound, low, high) in [("", 290.0, 300.0), (", longest_cooldown: 40s", 30.0, 40.0)] {
            let front = front(&far, 1, &["good"], bound);
            assert_eq!(poison(&front, "good", "gpt-4o").await.status, 429);
            let model = &keys(&front).await[0]["models"]["gpt-4o"];
            let seconds = model["for_seconds"].as_f64().unwrap();
            assert!((low..=high).contains(&seconds), "{seconds} {what}");
        }
    }
    for nonsense in ["-5", "NaN", "inf", "soon", ""] {
        let far = Upstream::start(move |_, mut reply| async move {
            let wait = format!("retry-after: {nonsense}\r\n");
            let body = error("Slow down.", "requests", None);
            reply.json_with(LIMITED, &wait, &body).await;
            reply
        })
        .await;
        let front = front(&far, 1, &["good"], ", attempts: 1");
        assert_eq!(poison(&front, "good", "gpt-4o").await.status, 429);
        let model = &keys(&front).await[0]["models"]["gpt-4o"];
        let seconds = model["for_seconds"].as_f64();
        assert!(seconds.is_none_or(|seconds| seconds <= 1.0), "{model}");
    }
}

#[tokio::test]
async fn an_allowance_that_is_used_up_for_long_spares_the_key_for_that_model_alone() {
    let left = "x-ratelimit-remaining-requests: 0\r\nx-ratelimit-reset-requests: 9999h\r\n";
    let far = provider(json("200 OK", left, super::answer("far"))).await;
    let front = front(&far, 2, &["good"], "");
    assert_eq!(poison(&front, "good", "gpt-4o").await.status, 200);
    far.request().await;
    let shown = keys(&front).await;
    assert_eq!(shown[0]["models"]["gpt-4o"]["state"], "exhausted");
    let mut used = Vec::new();
    for model in ["gpt-4o", "gpt-4o", "embed", "embed"] {
        let response = ask(&front, "good", CHAT, &body(model, "good")).await;
        assert_eq!(response.status, 200);
        used.push(far.request().await.header("authorization")[0].to_owned());
    }
    let is_first: Vec<bool> = used.iter().map(|key| key.ends_with("-0")).collect();
    assert_eq!(is_first[..2], [false, false]);
    assert_ne!(is_first[2], is_first[3], "they take turns");
}

#[tokio::test]
async fn the_last_key_that_can_be_used_is_refused_for_a_minute_at_most() {
    let far = provider(refusal("401 Unauthorized", "No.", Some("invalid_api_key"))).await;
    for (count, expected) in [(1, vec![60.0]), (2, vec![600.0, 60.0])] {
        let front = front(&far, count, &["good"], "");
        assert_eq!(poison(&front, "good", "gpt-4o").await.status, 503);
        for (key, longest) in keys(&front).await.iter().zip(expected) {
            assert_eq!(key["state"], "refused");
            let seconds = key["for_seconds"].as_f64().unwrap();
            assert!((longest - 10.0..=longest).contains(&seconds), "{seconds}");
        }
    }
}

#[tokio::test]
async fn a_later_failure_does_not_make_a_cooldown_shorter() {
    let gate = Arc::new(Notify::new());
    let opens = Arc::clone(&gate);
    let far = Upstream::start(move |request, mut reply| {
        let gate = Arc::clone(&gate);
        async move {
            let error = error("Slow down.", "requests", None);
            let wait = match request.text().contains("slow") {
                true => {
                    gate.notified().await;
                    ""
                }
                false => "retry-after: 40\r\n",
            };
            reply.json_with(LIMITED, wait, &error).await;
            reply
        }
    })
    .await;
    let front = front(&far, 1, &["good"], ", attempts: 1");
    let mut slow = front.connect().await;
    slow.send(request("good", CHAT, &body("gpt-4o", "slow")))
        .await;
    far.request().await;
    assert_eq!(poison(&front, "good", "gpt-4o").await.status, 429);
    opens.notify_one();
    assert_eq!(slow.response().await.status, 429);
    let model = &keys(&front).await[0]["models"]["gpt-4o"];
    let seconds = model["for_seconds"].as_f64().unwrap();
    assert!((30.0..=40.0).contains(&seconds), "{seconds}");
}

#[tokio::test]
async fn what_is_kept_of_a_key_is_bounded() {
    let limited = json(
        LIMITED,
        "retry-after: 60\r\n",
        error("No.", "requests", None),
    );
    let far = provider(limited).await;
    let tenants: Vec<String> = (0..35).map(|n| format!("t{n}")).collect();
    let tenants: Vec<&str> = tenants.iter().map(String::as_str).collect();
    let front = front(&far, 1, &tenants, ", attempts: 1");
    // Two models each: with a third, the whole key would be cooling down for the tenant.
    for (n, tenant) in tenants.iter().enumerate() {
        for model in [format!("a{n}"), format!("b{n}")] {
            assert_eq!(poison(&front, tenant, &model).await.status, 429);
        }
    }
    assert_eq!(far.requests(), 70);
    let shown = keys(&front).await;
    let models = shown[0]["models"].as_object().unwrap();
    assert_eq!(models.len(), 64);
    assert!(models.contains_key("b34") && !models.contains_key("a0"));
    let series = r#"tollgate_key_models{state="cooling_down",upstream="far"}"#;
    front.metric_becomes(series, 64.0).await;
    // What was forgotten is met again.
    assert_eq!(poison(&front, "t0", "a0").await.status, 429);
    assert_eq!(far.requests(), 71);
    assert_eq!(poison(&front, "t34", "b34").await.status, 429);
    assert_eq!(far.requests(), 71);
}
