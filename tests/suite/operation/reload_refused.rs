//! A configuration that cannot be put in force changes nothing, and says what is wrong.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::reload::plain;
use super::{FILE, order};
use crate::support::chat;
use crate::support::gateway::Gateway;
use crate::support::upstream::Upstream;

const SUCCESSFUL: &str = "tollgate_config_last_reload_successful";

async fn still_serves(gateway: &Gateway) {
    let answer = gateway.post("/v1/chat/completions", &chat("gpt-4o")).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
}

#[tokio::test]
async fn a_file_with_mistakes_is_refused_with_all_of_them() {
    let upstream = Upstream::answering("{}").await;
    let gateway = Gateway::start(&plain(&upstream));
    let good = plain(&upstream);
    gateway.metric_becomes(SUCCESSFUL, 1.0).await;
    let half = &good[..good.len() / 2];
    let mistakes = good
        .replace("base_url", "basurl")
        .replace("models: [gpt-4o,", "modls: [gpt-4o,");
    for (text, wanted) in [
        (half, vec![FILE]),
        ("", vec!["the file is empty (0 bytes)"]),
        (mistakes.as_str(), vec!["basurl", "modls"]),
    ] {
        gateway.folder().write(FILE, text);
        let answer = order(&gateway, "/admin/reload").await;
        assert_eq!(answer.status, 422, "{}", answer.text());
        let answer = answer.json();
        let message = answer["error"]["message"].as_str().unwrap();
        let problems = answer["problems"].to_string();
        for wanted in wanted {
            assert!(
                message.contains(wanted) && problems.contains(wanted),
                "{answer}"
            );
        }
        still_serves(&gateway).await;
        gateway.metric_becomes(SUCCESSFUL, 0.0).await;
    }
    gateway
        .output()
        .wait_for("refused, and the configuration before stays in force");
    gateway.folder().write(FILE, &good);
    assert_eq!(order(&gateway, "/admin/reload").await.status, 200);
    gateway.metric_becomes(SUCCESSFUL, 1.0).await;
}

#[tokio::test]
async fn a_file_that_is_gone_or_cannot_be_read_is_refused() {
    let upstream = Upstream::answering("{}").await;
    let gateway = Gateway::start(&plain(&upstream));
    let file = gateway.folder().0.join(FILE);
    fs::rename(&file, gateway.folder().0.join("away")).unwrap();
    let answer = order(&gateway, "/admin/reload").await;
    assert_eq!(answer.status, 422);
    assert!(
        answer.text().contains("cannot be read"),
        "{}",
        answer.text()
    );
    // A folder in its place: for the superuser, no file is unreadable.
    fs::create_dir(&file).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o000)).unwrap();
    assert_eq!(order(&gateway, "/admin/reload").await.status, 503);
    still_serves(&gateway).await;
}

#[tokio::test]
async fn a_chat_log_that_cannot_be_opened_is_refused_whole() {
    let upstream = Upstream::answering("{}").await;
    let gateway = Gateway::start(&plain(&upstream));
    let yaml = format!(
        "{}\nchat_log: {{ path: /proc/none/chats.jsonl }}",
        plain(&upstream)
    )
    .replace("match: gpt-4o,", "match: other,")
    .replace("models: [gpt-4o,", "models: [other,");
    gateway.folder().write(FILE, yaml);
    let answer = order(&gateway, "/admin/reload").await;
    assert!(answer.status >= 400, "{}", answer.text());
    assert!(answer.text().contains("chat_log.path"), "{}", answer.text());
    still_serves(&gateway).await;
}

#[tokio::test]
async fn orders_take_post_alone_and_only_from_who_may_ask() {
    let upstream = Upstream::answering("{}").await;
    let yaml = plain(&upstream).replace(
        "server:\n",
        "server:\n  admin_token: 0123456789abcdef0123456789abcdef\n",
    );
    let gateway = Gateway::start(&yaml);
    assert_eq!(order(&gateway, "/admin/reload").await.status, 401);
    assert_eq!(order(&gateway, "/admin/upgrade").await.status, 401);
    let gateway = Gateway::start(&plain(&upstream));
    let answer = gateway.get_admin("/admin/reload").await;
    assert_eq!(answer.status, 405);
    assert_eq!(answer.header("allow"), Some("POST"));
}

async fn refused(gateway: &Gateway, yaml: &str, wanted: &str) {
    gateway.folder().write(FILE, yaml);
    let answer = order(gateway, "/admin/reload").await;
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert!(answer.text().contains(wanted), "{}", answer.text());
}

#[tokio::test]
async fn a_file_that_has_lost_its_tenants_does_not_open_the_gateway() {
    let upstream = Upstream::answering("{}").await;
    let gateway = Gateway::start(&plain(&upstream));
    let yaml = plain(&upstream);
    let (without, _) = yaml.split_once("tenants:").unwrap();
    refused(&gateway, without, "`tenants` is gone").await;
    let mut client = gateway.connect().await;
    let body = chat("gpt-4o");
    client
        .send(format!(
            "POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n{body}",
            body.len()
        ))
        .await;
    assert_eq!(client.response().await.status, 401);
    still_serves(&gateway).await;
}

#[tokio::test]
async fn the_built_in_provider_does_not_come_with_a_reload() {
    let upstream = Upstream::answering("{}").await;
    let gateway = Gateway::start(&plain(&upstream));
    let yaml = plain(&upstream).replace("upstreams:\n", "upstreams:\n  demo: { dialect: demo }\n");
    refused(&gateway, &yaml, "upstreams.demo").await;
    still_serves(&gateway).await;
}

#[tokio::test]
async fn a_pipe_in_place_of_the_file_is_refused_and_holds_up_nothing() {
    let upstream = Upstream::answering("{}").await;
    let yaml = plain(&upstream).replace("  reload_on_change: false\n", "");
    let mut gateway = Gateway::start(&yaml);
    let file = gateway.folder().0.join(FILE);
    fs::remove_file(&file).unwrap();
    let made = std::process::Command::new("mkfifo").arg(&file).status();
    assert!(made.unwrap().success());
    let answer = order(&gateway, "/admin/reload").await;
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert!(
        answer.text().contains("no regular file"),
        "{}",
        answer.text()
    );
    still_serves(&gateway).await;
    gateway.signal("TERM");
    assert!(gateway.wait().success());
}

#[tokio::test]
async fn what_was_counted_is_not_lost_by_a_reload_that_is_refused() {
    let upstream = Upstream::answering("{}").await;
    let limited = |limit: &str, more: &str| {
        plain(&upstream).replace(
            "{ id: tester,",
            &format!("{{ id: tester, limits: {{ {limit} }},"),
        ) + more
    };
    let gateway = Gateway::start(&limited("requests_per_day: 1", ""));
    still_serves(&gateway).await;
    let other = limited(
        "requests_per_hour: 9",
        "\nchat_log: { path: /proc/none/chats.jsonl }",
    );
    gateway.folder().write(FILE, other);
    assert!(order(&gateway, "/admin/reload").await.status >= 400);
    let answer = gateway.post("/v1/chat/completions", &chat("gpt-4o")).await;
    assert_eq!(answer.status, 429);
}
