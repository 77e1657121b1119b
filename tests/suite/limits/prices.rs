//! What requests cost: in the access line, in metrics, in the chat log, and of a quota. All sums here are made by hand.

use super::{CHAT, OTHER_KEY, Setup, ask, ask_as, streamed_up_to};
use crate::support::gateway::Gateway;
use crate::support::upstream::Upstream;
use crate::support::{DONE, FINISHED, chat, delta};

/// 1000 of input, 400 of them cached; 300 of output, 100 of them reasoning.
const USAGE: &str = r#""usage":{"prompt_tokens":1000,"completion_tokens":300,"total_tokens":1300,"prompt_tokens_details":{"cached_tokens":400},"completion_tokens_details":{"reasoning_tokens":100}}"#;

const PRICES: &str = "prices:
  - { model: gpt-4o-2024-11-20, input: 2.50, cached: 1.25, output: 10, reasoning: 12 }
  - { model: 'same-*', input: 3, output: 6, request: 0.001 }
";

/// (600 × 2.50 + 400 × 1.25 + 200 × 10 + 100 × 12) / 10^6
const COST: &str = "0.005200000";
/// (1000 × 3 + 300 × 6) / 10^6 + 0.001
const SAME_COST: &str = "0.005800000";

/// An upstream that has used this in JSON and in streams.
pub async fn using(usage: &'static str) -> Upstream {
    Upstream::start(move |request, mut reply| async move {
        if request.text().contains(r#""stream":true"#) {
            let last = format!("data: {{\"choices\":[],{usage}}}\n\n");
            reply
                .stream(&[&delta("x"), FINISHED, &last, DONE].concat())
                .await;
        } else {
            let body = format!(r#"{{"choices":[{{"message":{{"content":"x"}}}}],{usage}}}"#);
            reply.json("200 OK", &body).await;
        }
        reply
    })
    .await
}

/// The dollars that a metric has counted of the rule `gpt-4o`.
async fn dollars(gateway: &Gateway, what: &str, tenant: &str) -> f64 {
    let name = format!("tollgate_{what}_dollars_total");
    let series = format!(r#"{name}{{rule="gpt-4o",tenant="{tenant}",upstream="far"}}"#);
    gateway.metric(&series).await
}

fn assert_dollars(found: f64, expected: f64) {
    assert!((found - expected).abs() < 1e-9, "{found} for {expected}");
}

#[tokio::test]
async fn each_kind_of_token_has_its_price_and_the_access_line_the_sum() {
    let upstream = using(USAGE).await;
    let setup = Setup {
        more: PRICES,
        ..Setup::default()
    };
    let gateway = setup.start(upstream.address);
    for body in [chat("gpt-4o"), streamed_up_to("gpt-4o", 300)] {
        assert_eq!(ask(&gateway, &body).await.status, 200);
    }
    assert_eq!(ask(&gateway, &chat("same-x")).await.status, 200);
    let same = gateway.access_line("model=same-x");
    assert!(same.ends_with(&format!(" cost={SAME_COST}")), "{same}");
    let text = gateway.output().text();
    let lines = text.lines().filter(|line| line.contains(" access id="));
    let costs = lines.filter(|line| line.ends_with(&format!(" cost={COST}")));
    assert_eq!(costs.count(), 2, "{text}");
    assert_dollars(dollars(&gateway, "cost", "tester").await, 0.0104);
    assert_dollars(dollars(&gateway, "charge", "tester").await, 0.0104);
}

#[tokio::test]
async fn a_markup_changes_what_a_tenant_is_charged_and_not_what_it_costs() {
    let upstream = using(USAGE).await;
    let setup = Setup {
        tenant: ", markup: 12.5%",
        more: PRICES,
        ..Setup::default()
    };
    let gateway = setup.start(upstream.address);
    assert_eq!(ask(&gateway, &chat("gpt-4o")).await.status, 200);
    assert_eq!(
        ask_as(&gateway, OTHER_KEY, &chat("gpt-4o")).await.status,
        200
    );
    assert_dollars(dollars(&gateway, "cost", "tester").await, 0.0052);
    assert_dollars(dollars(&gateway, "charge", "tester").await, 0.00585);
    assert_dollars(dollars(&gateway, "charge", "other").await, 0.0052);
}

#[tokio::test]
async fn a_tenant_s_own_prices_hold_for_what_they_name_and_the_markup_for_the_rest() {
    let upstream = using(USAGE).await;
    let setup = Setup {
        tenant: ", markup: 50%, prices: [{ model: gpt-4o-2024-11-20, input: 1, output: 2 }]",
        more: PRICES,
        ..Setup::default()
    };
    let gateway = setup.start(upstream.address);
    assert_eq!(ask(&gateway, &chat("gpt-4o")).await.status, 200);
    assert_eq!(ask(&gateway, &chat("same-x")).await.status, 200);
    // (1000 × 1 + 300 × 2) / 10^6
    assert_dollars(dollars(&gateway, "charge", "tester").await, 0.0016);
    assert_dollars(dollars(&gateway, "cost", "tester").await, 0.0052);
    let series = r#"tollgate_charge_dollars_total{rule="same-*",tenant="tester",upstream="far"}"#;
    assert_dollars(gateway.metric(series).await, 0.0087);
}

#[tokio::test]
async fn a_quota_of_money_counts_what_the_tenant_is_charged() {
    let upstream = using(USAGE).await;
    // Two at 0.0078; a third one would be beyond it.
    let setup = Setup {
        tenant: ", markup: 50%, quota: { usd: 0.02, per: total }",
        more: PRICES,
        ..Setup::default()
    };
    let gateway = setup.start(upstream.address);
    let body = super::chat_up_to("gpt-4o", 300);
    for _ in 0..2 {
        assert_eq!(ask(&gateway, &body).await.status, 200);
    }
    // 300 × 12 × 1.5 / 10^6 for the output alone, of 0.0044 that are left.
    super::assert_exhausted(&ask(&gateway, &body).await);
    // A small one fits.
    assert_eq!(
        ask(&gateway, &super::chat_up_to("gpt-4o", 100))
            .await
            .status,
        200
    );
    super::assert_exhausted(&ask(&gateway, &super::chat_up_to("gpt-4o", 1)).await);
    assert_dollars(dollars(&gateway, "charge", "tester").await, 0.0234);
}

#[tokio::test]
async fn the_chat_log_says_what_a_request_has_cost() {
    let upstream = using(USAGE).await;
    let more = format!("{PRICES}chat_log: {{ path: chats.jsonl }}\n");
    let setup = Setup {
        tenant: ", markup: 50%",
        more: &more,
        ..Setup::default()
    };
    let gateway = setup.start(upstream.address);
    assert_eq!(ask(&gateway, &chat("gpt-4o")).await.status, 200);
    let file = gateway.folder().0.join("chats.jsonl");
    let read = || std::fs::read_to_string(&file).unwrap_or_default();
    crate::support::until("a line of the chat log", || read().ends_with('\n')).await;
    let line: serde_json::Value = serde_json::from_str(read().trim()).unwrap();
    // Digit by digit: a float would be wrong in the end.
    assert_eq!(line["cost_usd"].to_string(), "0.0052", "{line}");
    assert!(read().contains(r#""cost_usd":0.0052"#), "{}", read());
}

#[tokio::test]
async fn an_error_costs_nothing_and_an_estimate_costs_what_is_estimated() {
    let upstream = Upstream::start(|request, mut reply| async move {
        let said = "word ".repeat(1000);
        if request.text().contains("same-bad") {
            let error = r#"{"error":{"message":"no"}}"#;
            reply.json("400 Bad Request", error).await;
        } else {
            let body = format!(r#"{{"choices":[{{"message":{{"content":"{said}"}}}}]}}"#);
            reply.json("200 OK", &body).await;
        }
        reply
    })
    .await;
    let setup = Setup {
        more: PRICES,
        ..Setup::default()
    };
    let gateway = setup.start(upstream.address);
    let refused = gateway.post(CHAT, &chat("same-bad")).await;
    assert_eq!(refused.status, 400);
    assert!(gateway.access_line("status=400").ends_with(" cost=-"));
    assert_eq!(ask(&gateway, &chat("gpt-4o")).await.status, 200);
    // About 1000 words at ten dollars a million, and little of input.
    let cost = dollars(&gateway, "cost", "tester").await;
    assert!((0.0095..0.0115).contains(&cost), "{cost}");
}
