//! Keys with names, dates and prefixes: which are accepted, and what the log says of the others.

use std::process::Command;

use super::bearer;
use crate::support::client::Response;
use crate::support::gateway::{BINARY, Folder, Gateway};
use crate::support::upstream::Upstream;

/// The usual configuration with these tenants in place of its own.
fn yaml(upstream: &Upstream, tenants: &str) -> String {
    super::yaml(upstream, &format!("tenants:\n{tenants}"))
}

/// Asserts that a key is refused as one that nobody has, and gives the rest of the message.
#[track_caller]
fn assert_unknown(response: &Response) {
    response.assert_error(401, "invalid_request_error", Some("invalid_api_key"), None);
    let message = response.json()["error"]["message"].to_string();
    assert!(
        message.starts_with("\"Incorrect API key provided: "),
        "{message}"
    );
}

#[tokio::test]
async fn a_key_that_does_not_hold_is_refused_like_an_unknown_one_and_the_log_says_why() {
    let upstream = Upstream::answering("{}").await;
    let gateway = Gateway::start(&yaml(
        &upstream,
        "  - id: open
    keys:
      - a-key-that-holds
      - { key: a-key-with-a-date, name: dated, expires: 9000-01-01 }
      - { key: a-key-that-has-expired, name: old, expires: 2020-01-01 }
      - { key: a-key-that-is-disabled, name: off, enabled: false }
  - { id: closed, enabled: false, keys: [a-key-of-a-disabled-tenant] }
  - { id: ended, expires: 2020-01-01, keys: [a-key-of-a-tenant-that-has-ended] }
",
    ));
    for key in ["a-key-that-holds", "a-key-with-a-date"] {
        assert_eq!(bearer(&gateway, key).await.status, 200, "{key}");
    }
    assert_eq!(upstream.requests(), 2);
    for (key, said) in [
        (
            "a-key-that-has-expired",
            "refused: the key old of tenant open is expired",
        ),
        (
            "a-key-that-is-disabled",
            "refused: the key off of tenant open is disabled",
        ),
        (
            "a-key-of-a-disabled-tenant",
            "refused: the tenant closed is disabled",
        ),
        (
            "a-key-of-a-tenant-that-has-ended",
            "refused: the tenant ended is expired",
        ),
    ] {
        assert_unknown(&bearer(&gateway, key).await);
        gateway.output().wait_for(said);
    }
    assert_unknown(&bearer(&gateway, "a-key-of-nobody").await);
    assert_eq!(upstream.requests(), 2);
}

#[tokio::test]
async fn a_prefix_tells_the_operator_whose_a_wrong_key_would_be_and_grants_nothing() {
    let upstream = Upstream::answering("{}").await;
    let gateway = Gateway::start(&yaml(
        &upstream,
        "  - { id: reseller, key_prefix: rs1_, keys: [rs1_0123456789] }
  - { id: later, key_prefix: lt_ }
",
    ));
    assert_eq!(bearer(&gateway, "rs1_0123456789").await.status, 200);
    for (key, said) in [
        (
            "rs1_wrong",
            "refused: an unknown key with the prefix of tenant reseller",
        ),
        (
            "lt_any",
            "refused: an unknown key with the prefix of tenant later",
        ),
    ] {
        assert_unknown(&bearer(&gateway, key).await);
        gateway.output().wait_for(said);
    }
    assert_unknown(&bearer(&gateway, "0123456789").await);
    assert_eq!(upstream.requests(), 1);
    gateway
        .output()
        .wait_for("the tenant `later` has no keys in the configuration");
}

#[test]
fn check_shows_who_may_use_how_much() {
    let folder = Folder::new();
    let more: String = (4..20).map(|n| format!(", o_{n}")).collect();
    let file = folder.write(
        "tollgate.yaml",
        "server: { node: gateway-1 }
store: { redis: ['redis://u:s3cret@h:26379'], sentinel: mymaster, nodes: 3 }
upstreams: { a: { base_url: http://a.example } }
models: [{ match: m, targets: [{ upstream: a }], limits: { concurrent: 3 } }]
limits: { rpm: 6000 }
prices: [{ model: m, input: 2.50, cached: 1.25, output: 10 }]
webhook: { url: 'https://billing.example/hook?token=s3cret', secret: s3cret-s3cret-s3cret }
tenants:
  - id: one
    key_prefix: o_
    keys: [o_1, o_2, { key: o_3, name: ci, limits: { tpm: 5, window: sliding } }{more}]
    limits: { rpm: 60, concurrent: 8 }
    quota: { tokens: 500000, usd: 0.5, timezone: Europe/Berlin }
    expires: 9000-01-01
    markup: 12.5%
    webhook: https://one.example/s3cret
  - { id: two, keys: [t] }
"
        .replace("{more}", &more),
    );
    let output = Command::new(BINARY)
        .arg("check")
        .arg(file)
        .current_dir(&folder.0)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let said = String::from_utf8(output.stdout).unwrap();
    // The columns are as wide as their widest cell.
    let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    let lines: Vec<String> = said.lines().map(words).collect();
    for expected in [
        "the whole gateway requests_per_minute 6000",
        "model m concurrent 3",
        "tenant one requests_per_minute 60, concurrent 8",
        "key ci of one tokens_per_minute 5, window sliding",
        "one 500000 tokens and 0.5 USD per month, Europe/Berlin 9000-01-01T00:00:00Z o_ markup 12.5% https://one.example",
        "m any - - input 2.5, cached 1.25, output 10",
        "ledger (the default, as there is no `ledger`) SQLite in the folder gateway-1 serve never never",
        "h:26379/0 the master mymaster of Sentinels local_share 3",
        "https://billing.example usage, threshold, exhausted yes",
    ] {
        assert!(
            lines.iter().any(|line| line == expected),
            "{expected} in\n{said}"
        );
    }
    assert!(said.contains("ci ") && said.contains(", 3 more"), "{said}");
    assert!(!said.contains("s3cret"), "{said}");
}

#[test]
fn check_warns_of_what_is_refused_by_now_and_of_a_markup_on_nothing() {
    let folder = Folder::new();
    let file = folder.write(
        "tollgate.yaml",
        "upstreams: { a: { base_url: http://a.example } }
models: [{ match: m, targets: [{ upstream: a }] }]
tenants:
  - id: one
    markup: 20%
    keys:
      - { key: k1, name: old, expires: 2020-01-01 }
      - { key: k2, name: off, expires: 2020-01-01, enabled: false }
      - { key: k3, name: new, expires: 9000-01-01 }
      - { key: k4, name: plain }
  - { id: two, expires: 2021-01-01, keys: [k5] }
",
    );
    let checked = Command::new(BINARY).arg("check").arg(&file).output();
    let checked = checked.unwrap();
    assert!(checked.status.success(), "{checked:?}");
    let warned = String::from_utf8(checked.stderr).unwrap();
    let wanted = [
        "4: warning: tenants[0]: `markup` has no effect: there are no general prices that it is added to",
        "7: warning: tenants[0].keys[0].key: the key `old` has expired: it is refused since 2020-01-01T00:00:00Z",
        "11: warning: tenants[1]: the tenant `two` has expired: since 2021-01-01T00:00:00Z all of its keys are refused",
    ];
    for wanted in wanted {
        let wanted = format!("{}:{wanted} (", file.display());
        assert!(warned.contains(&wanted), "{wanted} in\n{warned}");
    }
    assert_eq!(warned.lines().count(), wanted.len(), "{warned}");
    let said = String::from_utf8(checked.stdout).unwrap();
    for wanted in [
        "… (expired 2020-01-01T00:00:00Z), off ",
        "… (disabled), new ",
        "… (until 9000-01-01T00:00:00Z), plain ",
        "expired 2021-01-01T00:00:00Z",
    ] {
        assert!(said.contains(wanted), "{wanted} in\n{said}");
    }
}
