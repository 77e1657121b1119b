//! The demo, as a newcomer meets it.

use std::process::Command;

use crate::sdk;
use crate::support::gateway::{BINARY, Folder, Gateway};
use crate::support::tools;

/// The key that the demo prints.
const DEMO_KEY: &str = "tollgate-demo-key";

fn demo() -> Gateway {
    let mut command = Command::new(BINARY);
    command.args(["run", "--demo", "--port", "0"]);
    Gateway::spawn(command, Folder::new())
}

#[test]
fn its_curl_lines_work_when_pasted() {
    let Some(_) = tools::require(&["curl"], "curl") else {
        return;
    };
    let gateway = demo();
    gateway.output().wait_for("Ctrl-C stops it");
    let text = gateway.output().text();
    let lines: Vec<&str> = text
        .lines()
        .filter(|l| l.trim().starts_with("curl "))
        .collect();
    assert_eq!(lines.len(), 4, "{text}");
    let outputs: Vec<String> = lines
        .iter()
        .map(|line| tools::run(Command::new("sh").arg("-c").arg(line)))
        .collect();
    assert!(outputs[0].contains("consequat.") && outputs[0].ends_with("data: [DONE]\n\n"));
    let whole: serde_json::Value = serde_json::from_str(&outputs[1]).unwrap();
    assert_eq!(whole["choices"][0]["message"]["content"], "hello");
    let response: serde_json::Value = serde_json::from_str(&outputs[2]).unwrap();
    assert_eq!(response["output"][0]["content"][0]["text"], "hello");
    assert!(outputs[3].contains("upstream_cut") && !outputs[3].contains("[DONE]"));
    // Only a stream needs curl not to gather what it prints.
    let unbuffered: Vec<bool> = lines.iter().map(|l| l.contains(" -N ")).collect();
    assert_eq!(unbuffered, [true, false, false, true]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_examples_of_the_python_sdk_work() {
    let Some(command) = sdk::python("demo.py") else {
        return;
    };
    let gateway = demo();
    sdk::ask_as(command, &format!("http://{}/v1", gateway.address), DEMO_KEY);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_examples_of_the_node_sdk_work() {
    let folder = Folder::new();
    let Some(command) = sdk::node("demo.mjs", &folder) else {
        return;
    };
    let gateway = demo();
    sdk::ask_as(command, &format!("http://{}/v1", gateway.address), DEMO_KEY);
}

#[tokio::test]
async fn its_responses_break_as_its_chats_do() {
    let gateway = demo();
    let body = r#"{"model":"fault-cut","stream":true,"input":"hello"}"#;
    let request = crate::support::client::post("/v1/responses", "", body);
    let mut client = gateway.connect().await;
    client
        .send(request.replace(crate::support::CLIENT_KEY, DEMO_KEY))
        .await;
    let cut = client.response().await;
    let text = cut.text();
    assert_eq!(cut.status, 200, "{text}");
    assert!(text.contains("response.output_text.delta"), "{text}");
    // What there was of it is told, in the form of this API.
    assert!(text.contains("event: response.failed"), "{text}");
    assert!(!text.contains("response.completed"), "{text}");
}

#[tokio::test]
async fn its_faults_are_what_they_are_called() {
    let gateway = demo();
    let post = async |model: &str, stream: bool| {
        let body = format!(r#"{{"model":"{model}","stream":{stream},"messages":[]}}"#);
        let mut client = gateway.connect().await;
        let request = crate::support::client::post("/v1/chat/completions", "", &body)
            .replace(crate::support::CLIENT_KEY, DEMO_KEY);
        client.send(request).await;
        client
    };
    let limited = post("fault-429", false).await.response().await;
    limited.assert_error(429, "requests", Some("rate_limit_exceeded"), None);
    assert_eq!(limited.header("retry-after"), Some("1"));
    let broken = post("fault-500", true).await.response().await;
    assert_eq!(
        (broken.status, &broken.json()["error"]["type"]),
        (500, &"server_error".into())
    );
    let cut = post("fault-cut", false).await.response().await;
    cut.assert_error(502, "server_error", Some("upstream_cut"), None);
    let cut = post("fault-cut", true).await.response().await;
    assert_eq!(cut.status, 200);
    assert!(cut.text().contains("upstream_cut") && !cut.text().contains("[DONE]"));
    let mut stalled = post("fault-stall", true).await;
    assert_eq!(stalled.head().await.0, 200);
    assert!(stalled.chunk().await.is_some());
    stalled.leave();
    gateway.access_line(
        "model=fault-stall sent=fault-stall upstream=demo status=200 error=client_gone",
    );
}
