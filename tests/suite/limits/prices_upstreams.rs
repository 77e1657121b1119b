//! Whose price holds: that of the upstream and of the model which have served, at the time; and what has none.

use super::prices::using;
use super::{Setup, ask};
use crate::support::chat;
use crate::support::gateway::Gateway;
use crate::support::upstream::Upstream;

const USAGE: &str = r#""usage":{"prompt_tokens":1000,"completion_tokens":0,"total_tokens":1000}"#;

/// What of the access line's end tells the cost.
#[track_caller]
fn assert_cost(gateway: &Gateway, wanted: &str, cost: &str) {
    let line = gateway.access_line(wanted);
    assert!(line.ends_with(&format!(" cost={cost}")), "{line}");
}

#[tokio::test]
async fn a_price_of_the_upstream_beats_one_of_any_and_the_longest_name_the_others() {
    let upstream = using(USAGE).await;
    let setup = Setup {
        more: "prices:
  - { model: '*', input: 1 }
  - { model: 'same-*', input: 2 }
  - { model: 'same-long*', input: 3 }
  - { model: same-long-exact, input: 4 }
  - { model: same-long-exact, upstream: far, input: 5 }
  - { model: 'same-dear*', upstream: far, input: 6 }
  - { model: same-old, until: 2020-01-01, input: 8 }
  - { model: same-old, from: 2020-01-01, until: 9000-01-01, input: 7 }
",
        ..Setup::default()
    };
    let gateway = setup.start(upstream.address);
    for (model, cost) in [
        ("gpt-4o", "0.001000000"),
        ("same-x", "0.002000000"),
        ("same-long-x", "0.003000000"),
        ("same-long-exact", "0.005000000"),
        ("same-dearest", "0.006000000"),
        ("same-old", "0.007000000"),
    ] {
        assert_eq!(ask(&gateway, &chat(model)).await.status, 200);
        assert_cost(&gateway, &format!("model={model} "), cost);
    }
}

#[tokio::test]
async fn the_upstream_that_has_served_is_the_one_that_is_paid() {
    let failing = Upstream::start(|_, mut reply| async move {
        let body = format!(r#"{{"error":{{"message":"no"}},{USAGE}}}"#);
        reply.json("500 Internal Server Error", &body).await;
        reply
    })
    .await;
    let serving = using(USAGE).await;
    let upstreams = format!("  near: {{ base_url: 'http://{}/v1' }}\n", serving.address);
    let setup = Setup {
        upstreams: &upstreams,
        more: "prices:
  - { model: '*', upstream: far, input: 100 }
  - { model: small, upstream: near, input: 0.5 }
",
        ..Setup::default()
    };
    let yaml = setup.yaml(failing.address);
    let one = "targets: [{ upstream: far, model: gpt-4o-2024-11-20 }]";
    let two =
        "targets: [{ upstream: far, priority: 0 }, { upstream: near, model: small, priority: 1 }]";
    assert!(yaml.contains(one));
    let gateway = Gateway::start(&yaml.replace(one, two));
    assert_eq!(ask(&gateway, &chat("gpt-4o")).await.status, 200);
    assert_cost(&gateway, "upstream=near status=200", "0.000500000");
    let cost = |upstream: &str| {
        format!(
            r#"tollgate_cost_dollars_total{{rule="gpt-4o",tenant="tester",upstream="{upstream}"}}"#
        )
    };
    assert!((gateway.metric(&cost("near")).await - 0.0005).abs() < 1e-12);
    assert!(gateway.metric(&cost("far")).await < 1e-12);
}

#[tokio::test]
async fn a_model_without_a_price_is_told_at_the_start_costs_nothing_and_is_counted() {
    let upstream = using(USAGE).await;
    let setup = Setup {
        tenant: ", markup: 20%, quota: { usd: 0.000001, per: total }",
        more: "prices: [{ model: another, input: 1 }]\n",
        ..Setup::default()
    };
    let gateway = setup.start(upstream.address);
    let said = gateway.output().wait_for("gpt-4o-2024-11-20");
    assert!(said.contains("price"), "{said}");
    for _ in 0..3 {
        assert_eq!(ask(&gateway, &chat("gpt-4o")).await.status, 200);
    }
    assert_cost(&gateway, "status=200", "-");
    let unpriced = r#"tollgate_unpriced_total{rule="gpt-4o",upstream="far"}"#;
    assert!((gateway.metric(unpriced).await - 3.0).abs() < 0.1);
    let metrics = gateway.get_admin("/metrics").await;
    assert!(!metrics.text().contains("tollgate_cost_dollars_total{"));
}

#[tokio::test]
async fn without_any_prices_nothing_is_said_of_costs() {
    let upstream = using(USAGE).await;
    let gateway = Setup::default().start(upstream.address);
    assert_eq!(ask(&gateway, &chat("gpt-4o")).await.status, 200);
    assert_cost(&gateway, "status=200", "-");
    let metrics = gateway.get_admin("/metrics").await;
    assert!(!metrics.text().contains("tollgate_unpriced_total{"));
}
