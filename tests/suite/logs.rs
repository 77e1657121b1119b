//! The log on stderr: its formats, its level while it runs, priorities for the journal, statistics, masking, and that
//! nothing of it is lost at the end.

use std::process::Command;

use serde_json::Value;

use crate::support::gateway::{BINARY, Folder, Gateway, config};
use crate::support::upstream::Upstream;
use crate::support::{CLIENT_KEY, chat, until};

/// The tests' configuration with other settings of the log.
fn with_log(upstream: &Upstream, log: &str) -> String {
    let yaml = config(upstream.address, "", "");
    let as_written = "log: { mask: false }";
    assert!(yaml.contains(as_written));
    yaml.replace(as_written, &format!("log: {{ {log} }}"))
}

/// Starts it as an operator does, at the level of its configuration.
fn start(yaml: &str) -> Gateway {
    Gateway::start_with(yaml, |command| {
        command.env("RUST_LOG", "");
    })
}

/// Asks `count` times on each of `clients` connections at a time.
pub(crate) async fn load(gateway: &Gateway, clients: usize, count: usize) {
    let mut all = tokio::task::JoinSet::new();
    for _ in 0..clients {
        let mut client = gateway.connect().await;
        all.spawn(async move {
            for _ in 0..count {
                let answer = client.post("/v1/chat/completions", &chat("gpt-4o")).await;
                assert_eq!(answer.status, 200);
            }
        });
    }
    all.join_all().await;
}

#[tokio::test]
async fn each_line_is_an_object_of_json_under_load() {
    let upstream = Upstream::answering("{}").await;
    let yaml = with_log(&upstream, "format: json, mask: false");
    let mut gateway = start(&yaml);
    load(&gateway, 8, 50).await;
    gateway
        .post("/v1/chat/completions", &chat("a\\\"b\\\\c=d"))
        .await;
    gateway.signal("TERM");
    assert!(gateway.wait().success());
    gateway.output().wait_for("\"message\":\"stopped\"");
    let text = gateway.output().text();
    let lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}")))
        .collect();
    for line in &lines {
        assert!(line["time"].as_str().unwrap().ends_with('Z'));
        assert!(line["level"].is_string() && line["target"].is_string());
    }
    let access: Vec<&Value> = lines
        .iter()
        .filter(|line| line["target"] == "access")
        .collect();
    assert_eq!(access.len(), 401);
    let served = access.iter().filter(|line| line["status"] == 200);
    assert_eq!(served.clone().count(), 400);
    for line in served {
        assert!(
            line["in"].is_u64() && line["ms"].is_f64() && line["own_ms"].is_f64(),
            "{line}"
        );
        assert!(line["error"].is_null() && line["cost"].is_null(), "{line}");
        assert_eq!(line["sent"], "gpt-4o-2024-11-20");
    }
    assert!(access.iter().any(|line| line["model"] == "a\"b\\c=d"));
}

/// Asks the operator's listener with a body.
async fn put(gateway: &Gateway, method: &str, body: &str) -> crate::support::client::Response {
    let length = body.len();
    let mut client = gateway.connect_admin().await;
    client
        .send(format!(
            "{method} /admin/log-level HTTP/1.1\r\nhost: localhost\r\ncontent-length: {length}\r\n\r\n{body}"
        ))
        .await;
    client.response().await
}

#[tokio::test]
async fn the_operator_sets_the_level() {
    let upstream = Upstream::answering("{}").await;
    let gateway = start(&with_log(&upstream, "mask: false"));
    let shown = gateway.get_admin("/admin/log-level").await;
    assert_eq!(
        shown.text(),
        r#"{"level":"info","set_by":"server.log.level"}"#
    );
    gateway.post("/v1/embeddings", &chat("same-one")).await;
    gateway.access_line("model=same-one");

    let set = put(&gateway, "PUT", r#"{"level":"warn"}"#).await;
    assert_eq!(
        set.text(),
        r#"{"level":"warn","set_by":"PUT /admin/log-level"}"#
    );
    gateway.post("/v1/embeddings", &chat("same-two")).await;
    // Its line would come with its count, and before the level is another.
    let series = r#"tollgate_requests_total{endpoint="embeddings",rule="same-*",status="2xx",upstream="far"}"#;
    gateway.metric_becomes(series, 2.0).await;
    assert_eq!(put(&gateway, "PUT", "debug\n").await.status, 200);
    gateway.post("/v1/embeddings", &chat("same-three")).await;
    gateway.access_line("model=same-three");
    let text = gateway.output().text();
    assert!(!text.contains("model=same-two"), "{text}");
    gateway
        .output()
        .wait_for("sets the log's level to DEBUG; it was WARN");

    for wrong in ["loud", r#"{"level":"loud"}"#, ""] {
        let refused = put(&gateway, "PUT", wrong).await;
        assert_eq!(refused.status, 400);
        assert!(
            refused
                .text()
                .contains("off, error, warn, info, debug and trace")
        );
    }
    assert_eq!(put(&gateway, "PUT", &"x".repeat(5000)).await.status, 400);
    let refused = put(&gateway, "POST", "info").await;
    assert_eq!(
        (refused.status, refused.header("allow")),
        (405, Some("GET, HEAD, PUT"))
    );
    let shown = gateway.get_admin("/admin/log-level").await;
    assert_eq!(shown.json()["level"], "debug");
}

#[tokio::test]
async fn a_reload_changes_the_log_but_not_where_it_goes() {
    let upstream = Upstream::answering("{}").await;
    let gateway = start(&with_log(&upstream, "mask: false"));
    assert_eq!(put(&gateway, "PUT", "debug").await.status, 200);
    let reload = async |log: &str| {
        let yaml = with_log(&upstream, log);
        gateway.folder().write("tollgate.yaml", yaml);
        let mut client = gateway.connect_admin().await;
        let request = "POST /admin/reload HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\n\r\n";
        client.send(request).await;
        client.response().await.json()
    };
    let reloaded = reload("format: json, mask: true, files: { path: ./log }").await;
    let waiting = reloaded["needs_restart"].to_string();
    assert!(waiting.contains("server.log.files"), "{reloaded}");
    gateway.post("/v1/embeddings", &chat("same-json")).await;
    let line = gateway.output().wait_for("\"model\":\"same-json\"");
    let line: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(line["client"], "127.0.0.0");
    let level = async || {
        gateway
            .get_admin("/admin/log-level")
            .await
            .text()
            .to_owned()
    };
    assert_eq!(
        level().await,
        r#"{"level":"debug","set_by":"PUT /admin/log-level"}"#
    );
    reload("format: json, level: warn").await;
    assert_eq!(
        level().await,
        r#"{"level":"warn","set_by":"server.log.level"}"#
    );
}

#[tokio::test]
async fn only_the_operator_sets_the_level() {
    let upstream = Upstream::answering("{}").await;
    let yaml = config(upstream.address, "", "").replace(
        "max_body:",
        "admin_token: a-token-of-the-operator\n  max_body:",
    );
    let gateway = Gateway::start_quietly(&yaml);
    assert_eq!(put(&gateway, "PUT", "debug").await.status, 401);
    assert_eq!(gateway.get_admin("/admin/log-level").await.status, 401);
}

#[tokio::test]
async fn the_journal_gets_priorities() {
    let upstream = Upstream::answering("{}").await;
    let folder = Folder::new();
    let file = folder.write("tollgate.yaml", with_log(&upstream, "mask: false"));
    for (stream, begins_with) in [
        ("$(stat -L -c %d:%i /proc/self/fd/2)", "<6>INFO  "),
        ("1:2", "2"),
    ] {
        let mut command = Command::new("sh");
        let script = format!("export JOURNAL_STREAM={stream}; exec \"$0\" run -c \"$1\"");
        command
            .args(["-c", &script, BINARY])
            .arg(&file)
            .env("RUST_LOG", "");
        let gateway = Gateway::spawn(command, Folder::new());
        gateway.post("/v1/chat/completions", &chat("gpt-4o")).await;
        let line = gateway.access_line("model=gpt-4o");
        assert!(line.starts_with(begins_with), "{line}");
        let line = gateway.output().wait_for("listening on http");
        assert!(line.starts_with(begins_with), "{line}");
    }
}

#[tokio::test]
async fn nothing_of_it_is_lost_at_the_end() {
    let upstream = Upstream::answering("{}").await;
    let mut gateway = start(&with_log(&upstream, "mask: false"));
    load(&gateway, 16, 60).await;
    gateway.signal("TERM");
    assert!(gateway.wait().success());
    gateway.output().wait_for("tollgate::server::stop stopped");
    let text = gateway.output().text();
    assert_eq!(text.matches(" access id=").count(), 16 * 60);
}

#[tokio::test]
async fn what_happened_is_told_in_numbers() {
    const USAGE: &str =
        r#"{"choices":[],"usage":{"prompt_tokens":30,"completion_tokens":12,"total_tokens":42}}"#;
    let upstream = Upstream::answering(USAGE).await;
    let gateway = start(&with_log(&upstream, "statistics: 1s"));
    load(&gateway, 1, 3).await;
    gateway.post("/v1/chat/completions", &chat("missing")).await;
    let told = |name: &str| {
        let text = gateway.output().text();
        let lines = text
            .lines()
            .filter(|line| line.contains(" statistics seconds="));
        let values = lines.filter_map(|line| {
            let (_, rest) = line.split_once(&format!(" {name}="))?;
            rest.split(' ').next()?.parse::<f64>().ok()
        });
        values.sum::<f64>()
    };
    until("the line", || told("requests") >= 4.0).await;
    until("the tokens", || told("tokens") >= 126.0).await;
    assert!((told("errors") - 1.0).abs() < 0.1);
    assert!(told("rss_bytes") > 1e6);
}

#[tokio::test]
async fn masking_hides_the_names_of_keys_and_no_other() {
    let upstream = Upstream::answering("{}").await;
    let named = format!("keys: [{{ key: '{CLIENT_KEY}', name: of-alice }}]");
    let yaml = |mask: &str| {
        let yaml = with_log(&upstream, mask);
        yaml.replace(&format!("keys: ['{CLIENT_KEY}']"), &named)
    };
    for (yaml, flag, is_masked) in [
        (yaml("mask: false"), None, false),
        (yaml("mask: false"), Some("--mask-log"), true),
        (yaml(""), None, true),
    ] {
        let gateway = Gateway::start_with(&yaml, |command| {
            command.args(flag);
        });
        gateway.post("/v1/chat/completions", &chat("gpt-4o")).await;
        let line = gateway.access_line("model=gpt-4o");
        assert_eq!(!line.contains(" key=of-alice "), is_masked, "{line}");
        assert_eq!(line.contains(" client=127.0.0.0 "), is_masked, "{line}");
        assert!(line.contains(" tenant=tester "), "{line}");
        if is_masked {
            let text = gateway.output().text();
            assert!(!text.contains("of-alice"), "{text}");
            let (_, key) = line.split_once(" key=").unwrap();
            assert!(key[..8].bytes().all(|b| b.is_ascii_hexdigit()), "{line}");
        }
    }
}

#[tokio::test]
async fn a_masked_key_that_has_expired_is_told_by_its_fingerprint() {
    let upstream = Upstream::answering("{}").await;
    let yaml = with_log(&upstream, "mask: true").replace(
        &format!("keys: ['{CLIENT_KEY}']"),
        &format!("keys: [{{ key: '{CLIENT_KEY}', name: of-alice, expires: 2020-01-01 }}]"),
    );
    let gateway = start(&yaml);
    assert_eq!(
        gateway
            .post("/v1/chat/completions", &chat("gpt-4o"))
            .await
            .status,
        401
    );
    let line = gateway.output().wait_for(" refused: the key ");
    assert!(line.ends_with(" of tenant tester is expired"), "{line}");
    // What warns of it at the start is of the configuration, and names the key by its place.
    assert!(!line.contains("of-alice"), "{line}");
}
