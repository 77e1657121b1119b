//! The official SDKs see limits and quotas as those of OpenAI: the scripts in `tests/sdk` do the asking.

use std::process::Command;

use super::{ANSWER, OTHER_KEY, Setup};
use crate::sdk::{ask, node, python};
use crate::support::gateway::{Folder, Gateway};
use crate::support::upstream::Upstream;
use crate::support::{DONE, FINISHED, delta};

/// Runs a script, and asserts that it asked no more often than it had to.
async fn sees_limits(script: Option<Command>) {
    let Some(mut script) = script else { return };
    let upstream = Upstream::start(|request, mut reply| async move {
        if request.text().contains(r#""stream":true"#) {
            reply.stream(&[&delta("x"), FINISHED, DONE].concat()).await;
        } else {
            reply.json("200 OK", ANSWER).await;
        }
        reply
    })
    .await;
    let setup = Setup {
        rule: ", limits: { requests_per_day: 1 }",
        tenant: ", limits: { requests_per_day: 1000, tokens_per_day: 100000, window: sliding }",
        more: "prices: [{ model: '*', request: 0.10 }]\n",
        ..Setup::default()
    };
    let yaml = setup.yaml(upstream.address);
    let other = format!("keys: ['{OTHER_KEY}']");
    assert!(yaml.contains(&other));
    let quota = ", quota: { usd: 0.10, per: total }";
    let yaml = yaml.replace(&other, &format!("{other}{quota}"));
    let gateway = Gateway::start(&yaml);
    script.env("POOR_KEY", OTHER_KEY);
    ask(script, &format!("http://{}/v1", gateway.address));
    for (limit, scope, times) in [
        ("requests_per_day", "rule", 2.0),
        ("tokens_per_day", "tenant", 1.0),
        ("quota.usd", "tenant", 1.0),
    ] {
        let series = format!(r#"tollgate_limited_total{{limit="{limit}",scope="{scope}"}}"#);
        let counted = gateway.metric(&series).await;
        assert!((counted - times).abs() < 0.1, "{series} {counted}");
    }
    assert_eq!(upstream.requests(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_python_sdk_raises_its_own_exceptions_and_does_not_ask_again_in_vain() {
    sees_limits(python("limits.py")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_node_sdk_raises_its_own_exceptions_and_does_not_ask_again_in_vain() {
    let folder = Folder::new();
    sees_limits(node("limits.mjs", &folder)).await;
}
