//! Limits of the gateway, of a rule, of a tenant and of a key: which is in the way, and all or nothing.

use std::sync::Arc;

use tokio::sync::Semaphore;

use super::{
    ANSWER, CHAT, OTHER_KEY, Setup, ask, ask_as, assert_refused, chat_up_to, gated, number,
    tokens_left,
};
use crate::support::client::post;
use crate::support::upstream::Upstream;
use crate::support::{CLIENT_KEY, chat};

const TWO: &str = ", limits: { requests_per_hour: 2 }";

#[tokio::test]
async fn the_answer_names_what_was_in_the_way_and_a_metric_counts_it() {
    let none = Setup::default();
    for (setup, kind, whose) in [
        (
            Setup {
                more: "limits: { requests_per_hour: 2 }\n",
                ..none
            },
            "gateway",
            "this gateway",
        ),
        (Setup { rule: TWO, ..none }, "rule", "this model"),
        (
            Setup {
                tenant: TWO,
                ..none
            },
            "tenant",
            "tenant `tester`",
        ),
        (Setup { key: TWO, ..none }, "key", "key `ci`"),
    ] {
        let upstream = Upstream::answering(ANSWER).await;
        let gateway = setup.start(upstream.address);
        for _ in 0..2 {
            assert_eq!(ask(&gateway, &chat("gpt-4o")).await.status, 200, "{kind}");
        }
        let refused = ask(&gateway, &chat("gpt-4o")).await;
        assert_refused(&refused, "requests", whose, "requests_per_hour");
        assert_eq!(upstream.requests(), 2, "{kind}");
        let series =
            format!(r#"tollgate_limited_total{{limit="requests_per_hour",scope="{kind}"}}"#);
        assert!((gateway.metric(&series).await - 1.0).abs() < 0.1, "{kind}");
        let line = gateway.access_line("status=429");
        assert!(line.contains("error=rate_limit_exceeded"), "{line}");
        assert!(line.contains("upstream=- "), "{line}");
    }
}

#[tokio::test]
async fn what_a_tenant_s_limit_refuses_takes_nothing_of_the_gateway_s() {
    let upstream = Upstream::answering(ANSWER).await;
    let setup = Setup {
        more: "limits: { requests_per_day: 3, tokens_per_day: 3000, window: sliding }\n",
        tenant: ", limits: { requests_per_day: 1 }",
        ..Setup::default()
    };
    let gateway = setup.start(upstream.address);
    let large = chat_up_to("gpt-4o", 900);
    assert_eq!(ask(&gateway, &large).await.status, 200);
    for _ in 0..20 {
        let refused = ask(&gateway, &large).await;
        assert_refused(&refused, "requests", "tenant `tester`", "requests_per_day");
    }
    for _ in 0..2 {
        assert_eq!(ask_as(&gateway, OTHER_KEY, &large).await.status, 200);
    }
    let refused = ask_as(&gateway, OTHER_KEY, &large).await;
    assert_refused(&refused, "requests", "this gateway", "requests_per_day");
}

#[tokio::test]
async fn what_the_gateway_s_limit_refuses_takes_nothing_of_a_tenant_s_or_a_key_s() {
    let upstream = Upstream::answering(ANSWER).await;
    let setup = Setup {
        more: "limits: { requests_per_day: 1 }\n",
        tenant: ", limits: { requests_per_day: 5, tokens_per_day: 10000, window: sliding }",
        key: ", limits: { requests_per_day: 4 }",
        ..Setup::default()
    };
    let gateway = setup.start(upstream.address);
    assert_eq!(
        ask_as(&gateway, OTHER_KEY, &chat("gpt-4o")).await.status,
        200
    );
    for _ in 0..10 {
        let refused = ask(&gateway, &chat_up_to("gpt-4o", 1000)).await;
        assert_refused(&refused, "requests", "this gateway", "requests_per_day");
        assert_eq!(number(&refused, "x-ratelimit-limit-requests"), 4);
        assert_eq!(number(&refused, "x-ratelimit-remaining-requests"), 4);
        assert_eq!(number(&refused, "x-ratelimit-remaining-tokens"), 10_000);
    }
}

#[tokio::test]
async fn what_is_refused_for_its_tokens_counts_as_no_request() {
    let upstream = Upstream::answering(ANSWER).await;
    let setup = Setup {
        tenant: ", limits: { requests_per_day: 3, tokens_per_day: 1000, concurrent: 1 }",
        ..Setup::default()
    };
    let gateway = setup.start(upstream.address);
    for _ in 0..10 {
        tokens_left(&gateway).await;
    }
    for left in [2, 1, 0] {
        let passed = ask(&gateway, &chat_up_to("gpt-4o", 10)).await;
        assert_eq!(passed.status, 200, "{passed:?}");
        assert_eq!(number(&passed, "x-ratelimit-remaining-requests"), left);
    }
}

#[tokio::test]
async fn all_tenants_share_the_limit_of_a_rule_and_other_rules_are_free() {
    let upstream = Upstream::answering(ANSWER).await;
    let setup = Setup {
        rule: TWO,
        ..Setup::default()
    };
    let gateway = setup.start(upstream.address);
    for key in [CLIENT_KEY, OTHER_KEY] {
        assert_eq!(ask_as(&gateway, key, &chat("gpt-4o")).await.status, 200);
    }
    for key in [CLIENT_KEY, OTHER_KEY] {
        let refused = ask_as(&gateway, key, &chat("gpt-4o")).await;
        assert_refused(&refused, "requests", "this model", "requests_per_hour");
        // What is not the caller's own is not told.
        assert_eq!(refused.header("x-ratelimit-limit-requests"), None);
        assert_eq!(ask_as(&gateway, key, &chat("same-x")).await.status, 200);
    }
}

#[tokio::test]
async fn the_keys_of_a_tenant_share_its_limits_and_have_their_own_within_them() {
    let upstream = Upstream::answering(ANSWER).await;
    let setup = Setup {
        tenant: ", limits: { requests_per_hour: 5 }",
        key: TWO,
        ..Setup::default()
    };
    let yaml = setup.yaml(upstream.address);
    let yaml = yaml.replace("keys: [{ key", "keys: [a-second-key-of-it, { key");
    let gateway = crate::support::gateway::Gateway::start(&yaml);
    for _ in 0..2 {
        assert_eq!(ask(&gateway, &chat("gpt-4o")).await.status, 200);
    }
    let refused = ask(&gateway, &chat("gpt-4o")).await;
    assert_refused(&refused, "requests", "key `ci`", "requests_per_hour");
    for left in [2, 1, 0] {
        let passed = ask_as(&gateway, "a-second-key-of-it", &chat("gpt-4o")).await;
        assert_eq!(number(&passed, "x-ratelimit-remaining-requests"), left);
    }
    let refused = ask_as(&gateway, "a-second-key-of-it", &chat("gpt-4o")).await;
    assert_refused(&refused, "requests", "tenant `tester`", "requests_per_hour");
    // A key of another tenant has its own.
    assert_eq!(
        ask_as(&gateway, OTHER_KEY, &chat("gpt-4o")).await.status,
        200
    );
}

#[tokio::test]
async fn requests_in_flight_of_every_scope_count_by_themselves() {
    let gate = Arc::new(Semaphore::new(0));
    let upstream = gated(&gate).await;
    let setup = Setup {
        more: "limits: { concurrent: 2 }\n",
        tenant: ", limits: { concurrent: 1 }",
        ..Setup::default()
    };
    let gateway = setup.start(upstream.address);
    let mut first = gateway.connect().await;
    first.send(post(CHAT, "", &chat("gpt-4o"))).await;
    upstream.request().await;
    let refused = ask(&gateway, &chat("gpt-4o")).await;
    assert_refused(&refused, "requests", "tenant `tester`", "concurrent");
    let mut second = gateway.connect().await;
    let body = chat("gpt-4o");
    let head = super::request("POST", CHAT, OTHER_KEY, "", &body);
    second.send(head).await;
    upstream.request().await;
    let refused = ask_as(&gateway, OTHER_KEY, &chat("gpt-4o")).await;
    assert_refused(&refused, "requests", "this gateway", "concurrent");
    gate.add_permits(3);
    assert_eq!(first.response().await.status, 200);
    assert_eq!(second.response().await.status, 200);
    assert_eq!(ask(&gateway, &chat("gpt-4o")).await.status, 200);
}
