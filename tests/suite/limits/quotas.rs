//! Quotas: exactly what is left passes, however many ask at the same time, and the end is told as OpenAI tells it.

use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::{ANSWER, CHAT, Setup, ask, assert_exhausted, chat_up_to, gated, number};
use crate::support::client::{Client, Response};
use crate::support::gateway::Gateway;
use crate::support::upstream::Upstream;
use crate::support::{chat, soon};

/// A dime for each request.
const DIME: &str = "prices: [{ model: '*', request: 0.10 }]\n";

/// Asks so many times at once.
pub fn ask_at_once(gateway: &Gateway, times: usize, body: &str) -> JoinSet<Response> {
    let mut asking = JoinSet::new();
    for _ in 0..times {
        let (address, body) = (gateway.address, body.to_owned());
        asking.spawn(async move {
            let mut client = Client::connect(address).await;
            client.post(CHAT, &body).await
        });
    }
    asking
}

/// The next answer that comes.
pub async fn next(asking: &mut JoinSet<Response>) -> Response {
    let next = soon("an answer of many", asking.join_next()).await;
    next.unwrap().unwrap()
}

/// Asks 100 times at once, where there is room for 10 that are held until the others have their answer.
async fn ten_of_a_hundred_pass(tenant: &str, more: &str, body: &str) -> (Gateway, Upstream) {
    let gate = Arc::new(Semaphore::new(0));
    let upstream = gated(&gate).await;
    let setup = Setup {
        tenant,
        more,
        ..Setup::default()
    };
    let gateway = Gateway::start_quietly(&setup.yaml(upstream.address));
    let mut asking = ask_at_once(&gateway, 100, body);
    for _ in 0..90 {
        assert_exhausted(&next(&mut asking).await);
    }
    gate.add_permits(1000);
    for _ in 0..10 {
        assert_eq!(next(&mut asking).await.status, 200);
    }
    assert_eq!(upstream.requests(), 10);
    (gateway, upstream)
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_hundred_requests_at_once_as_many_pass_as_the_money_is_for() {
    let quota = ", quota: { usd: 1, per: total }";
    let (gateway, upstream) = ten_of_a_hundred_pass(quota, DIME, &chat("gpt-4o")).await;
    assert_exhausted(&ask(&gateway, &chat("gpt-4o")).await);
    assert_eq!(upstream.requests(), 10);
    let charged = r#"tollgate_charge_dollars_total{rule="gpt-4o",tenant="tester",upstream="far"}"#;
    assert!((gateway.metric(charged).await - 1.0).abs() < 1e-9);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_hundred_requests_at_once_as_many_pass_as_the_tokens_are_for() {
    // What is asked with takes 5 to 50 tokens more. Each has then used 10.
    let body = chat_up_to("gpt-4o", 10_000);
    let quota = ", quota: { tokens: 100600, per: total }";
    let (gateway, _upstream) = ten_of_a_hundred_pass(quota, "", &body).await;
    // What they have not used is left.
    let mut asking = ask_at_once(&gateway, 9, &body);
    for _ in 0..9 {
        assert_eq!(next(&mut asking).await.status, 200);
    }
}

#[tokio::test]
async fn the_operator_sees_the_limits_in_force_and_what_a_quota_has_left() {
    let gate = Arc::new(Semaphore::new(0));
    let upstream = gated(&gate).await;
    let setup = Setup {
        tenant: ", limits: { rpm: 60 }, quota: { tokens: 200000, per: month }",
        ..Setup::default()
    };
    let gateway = setup.start(upstream.address);
    let status = async || {
        let status = gateway.get_admin("/status").await.json();
        assert_eq!(status["tenants_left_out"], 0);
        // The other tenant has neither.
        assert_eq!(status["tenants"].as_array().unwrap().len(), 1);
        status["tenants"][0].clone()
    };
    let mut asking = ask_at_once(&gateway, 1, &chat_up_to("gpt-4o", 10_000));
    upstream.request().await;
    let held = status().await;
    assert_eq!(
        (&held["id"], &held["in_flight"]),
        (&"tester".into(), &1.into())
    );
    assert_eq!(
        held["limits"],
        serde_json::json!({"requests_per_minute": 60})
    );
    let tokens = &held["quota"]["tokens"];
    assert_eq!(
        (&tokens["limit"], &tokens["used"]),
        (&200_000.into(), &0.into())
    );
    assert!(tokens["reserved"].as_u64().unwrap() > 10_000, "{held}");
    assert!(held["quota"]["period_end"].is_string(), "{held}");
    gate.add_permits(1);
    assert_eq!(next(&mut asking).await.status, 200);
    let settled = async {
        while status().await["quota"]["tokens"]["used"] != 10 {
            tokio::task::yield_now().await;
        }
    };
    soon("the settlement", settled).await;
    assert_eq!(status().await["quota"]["tokens"]["reserved"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn exactly_as_many_pass_where_answers_come_at_once_too() {
    let upstream = Upstream::answering(ANSWER).await;
    let setup = Setup {
        tenant: ", quota: { usd: 1, per: month }",
        more: DIME,
        ..Setup::default()
    };
    let gateway = Gateway::start_quietly(&setup.yaml(upstream.address));
    let mut asking = ask_at_once(&gateway, 100, &chat("gpt-4o"));
    let mut passed = 0;
    for _ in 0..100 {
        let response = next(&mut asking).await;
        match response.status {
            200 => passed += 1,
            _ => assert_exhausted(&response),
        }
    }
    assert_eq!((passed, upstream.requests()), (10, 10));
}

#[tokio::test]
async fn a_quota_that_begins_anew_says_when_and_one_that_does_not_says_nothing() {
    let upstream = Upstream::answering(ANSWER).await;
    for (per, longest_s) in [
        ("day", Some(86_400)),
        ("week", Some(7 * 86_400)),
        ("month", Some(31 * 86_400)),
        ("total", None),
    ] {
        let quota = format!(", quota: {{ usd: 0.10, per: {per} }}");
        let setup = Setup {
            tenant: &quota,
            more: DIME,
            ..Setup::default()
        };
        let gateway = setup.start(upstream.address);
        assert_eq!(ask(&gateway, &chat("gpt-4o")).await.status, 200, "{per}");
        let refused = ask(&gateway, &chat("gpt-4o")).await;
        assert_exhausted(&refused);
        let body = refused.json();
        let message = body["error"]["message"].as_str().unwrap();
        let words = "You exceeded your current quota of $0.1, please check your plan and billing \
                     details.";
        assert!(message.starts_with(words), "{message}");
        match longest_s {
            Some(longest_s) => {
                let wait = number(&refused, "retry-after");
                assert!((1..=longest_s).contains(&wait), "{per}: {wait}");
                let told = (wait > 60).then_some("false");
                assert_eq!(refused.header("x-should-retry"), told);
            }
            None => {
                assert_eq!(refused.header("retry-after"), None);
                assert_eq!(refused.header("x-should-retry"), Some("false"));
            }
        }
        let line = gateway.access_line("status=429");
        assert!(line.contains("error=insufficient_quota"), "{line}");
        let series =
            |kind: &str| format!(r#"tollgate_limited_total{{limit="{kind}",scope="tenant"}}"#);
        let metrics = gateway.get_admin("/metrics").await;
        let counted = metrics
            .text()
            .contains(&format!("{} 1", series("quota.usd")));
        assert!(counted, "{}", metrics.text());
        let first = gateway.output().wait_for("its quota of $0.1 is used up");
        assert!(first.contains("tenant `tester`"), "{first}");
        ask(&gateway, &chat("gpt-4o")).await;
        let told = gateway.output().text().matches("is used up").count();
        assert_eq!(told, 1, "it is told once a period");
    }
}

#[tokio::test]
async fn a_number_alone_is_a_quota_of_tokens_a_month() {
    let upstream = Upstream::answering(ANSWER).await;
    let setup = Setup {
        tenant: ", quota: 200",
        ..Setup::default()
    };
    let gateway = setup.start(upstream.address);
    let body = chat_up_to("gpt-4o", 100);
    assert_eq!(ask(&gateway, &body).await.status, 200);
    let refused = ask(&gateway, &chat_up_to("gpt-4o", 172)).await;
    assert_exhausted(&refused);
    assert!(refused.text().contains("quota of 200 tokens"));
    assert!(number(&refused, "retry-after") <= 31 * 86_400);
    // What fits still passes.
    assert_eq!(ask(&gateway, &body).await.status, 200);
}

#[tokio::test]
async fn what_was_admitted_finishes_and_what_it_has_used_beyond_the_quota_is_owed() {
    let upstream = Upstream::start(|_, mut reply| async move {
        let far_more = ANSWER.replace(r#""completion_tokens":4"#, r#""completion_tokens":5000"#);
        reply.json("200 OK", &far_more).await;
        reply
    })
    .await;
    let setup = Setup {
        tenant: ", quota: { tokens: 1000, warn_at: [50%, 80%] }",
        ..Setup::default()
    };
    let gateway = setup.start(upstream.address);
    let passed = ask(&gateway, &chat_up_to("gpt-4o", 100)).await;
    assert!(passed.status == 200 && passed.complete);
    let refused = ask(&gateway, &chat_up_to("gpt-4o", 1)).await;
    assert_exhausted(&refused);
    assert_eq!(upstream.requests(), 1);
    for said in [
        "50 % of its quota",
        "80 % of its quota",
        "its quota of 1000 tokens is used up",
    ] {
        let told = format!("tenant `tester`: {said}");
        gateway.output().wait_for(&told);
        assert_eq!(gateway.output().text().matches(&told).count(), 1, "{told}");
    }
}

#[tokio::test]
async fn the_quotas_of_tenants_are_apart_and_no_key_gets_around_its_tenant_s() {
    let upstream = Upstream::answering(ANSWER).await;
    let setup = Setup {
        tenant: ", quota: { usd: 0.20, per: total }",
        more: DIME,
        ..Setup::default()
    };
    let yaml = setup.yaml(upstream.address);
    let yaml = yaml.replace("keys: [{ key", "keys: [a-second-key-of-it, { key");
    let gateway = Gateway::start(&yaml);
    assert_eq!(ask(&gateway, &chat("gpt-4o")).await.status, 200);
    let second = "a-second-key-of-it";
    let passed = super::ask_as(&gateway, second, &chat("same-x")).await;
    assert_eq!(passed.status, 200);
    for key in [second, crate::support::CLIENT_KEY] {
        assert_exhausted(&super::ask_as(&gateway, key, &chat("gpt-4o")).await);
    }
    for _ in 0..3 {
        let passed = super::ask_as(&gateway, super::OTHER_KEY, &chat("gpt-4o")).await;
        assert_eq!(passed.status, 200);
    }
}

#[tokio::test]
async fn every_threshold_is_told_once_and_when_it_is_reached() {
    let upstream = Upstream::answering(ANSWER).await;
    let setup = Setup {
        tenant: ", quota: { usd: 1, per: total, warn_at: [20%, 40%] }",
        more: DIME,
        ..Setup::default()
    };
    let gateway = setup.start(upstream.address);
    for asked in 1..=10 {
        assert_eq!(ask(&gateway, &chat("gpt-4o")).await.status, 200);
        for (said, at) in [
            ("20 % of", 2),
            ("40 % of", 4),
            ("its quota of $1 is used up", 10),
        ] {
            let told = format!("tenant `tester`: {said}");
            if asked == at {
                gateway.output().wait_for(&told);
            }
            let times = gateway.output().text().matches(&told).count();
            assert_eq!(times, usize::from(asked >= at), "{said} at {asked}");
        }
    }
}
