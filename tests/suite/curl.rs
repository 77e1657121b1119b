//! curl, over HTTP/1.1 and cleartext HTTP/2.

use std::process::Command;

use crate::support::gateway::{Folder, Gateway, config};
use crate::support::tools::{require, run};
use crate::support::upstream::Upstream;
use crate::support::{CLIENT_KEY, DONE, PROMPT, delta};

fn curl(gateway: &Gateway, version: &str, more: &[&str], file: &std::path::Path) -> String {
    let mut command = Command::new("curl");
    command
        .args(["-sS", "-i", version, "--max-time", "20"])
        .args(["-H", "Content-Type: application/json"])
        .args(["-H", &format!("Authorization: Bearer {CLIENT_KEY}")])
        .args(more)
        .arg("--data-binary")
        .arg(format!("@{}", file.display()))
        .arg(format!("http://{}/v1/chat/completions", gateway.address));
    run(&mut command)
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_and_streams_pass_over_both_versions() {
    let Some(_) = require(&["curl"], "curl") else {
        return;
    };
    let upstream = Upstream::start(|request, mut reply| async move {
        if request.text().contains("\"stream\":true") {
            reply.begin_stream().await;
            reply.chunk(&delta("one")).await;
            reply.chunk(DONE).await;
            reply.end_stream().await;
        } else {
            reply.json("200 OK", "{\"whole\":true}").await;
        }
        reply
    })
    .await;
    // What is asked of the usage besides is not what is looked at here.
    let gateway = Gateway::start(&config(upstream.address, ", include_usage: false", ""));
    let folder = Folder::new();
    for version in ["--http1.1", "--http2-prior-knowledge"] {
        for (size, stream) in [(10, true), (1 << 20, false), (3 << 20, true)] {
            let text = format!("{PROMPT}{}", "y".repeat(size));
            let body = format!("{{\"stream\":{stream},\"model\":\"gpt-4o\",\"text\":\"{text}\"}}");
            let file = folder.write("body.json", &body);
            // With a length, and without one: curl sends chunks, or a stream of frames.
            for more in [&[][..], &["-H", "Transfer-Encoding: chunked"]] {
                let said = tokio::task::block_in_place(|| curl(&gateway, version, more, &file));
                let status = if version == "--http1.1" {
                    "HTTP/1.1 200"
                } else {
                    "HTTP/2 200"
                };
                assert!(said.contains(status), "{said}");
                let expected = if stream {
                    "data: [DONE]\n\n"
                } else {
                    "{\"whole\":true}"
                };
                assert!(said.ends_with(expected), "{said}");
                assert!(said.contains("x-request-id: req_"), "{said}");
                let seen = upstream.request().await;
                let sent = body.replace("\"gpt-4o\"", "\"gpt-4o-2024-11-20\"");
                assert!(
                    seen.text() == sent,
                    "{version} {size} {more:?}: the body differs"
                );
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_look_the_same_over_http2() {
    let Some(_) = require(&["curl"], "curl") else {
        return;
    };
    let upstream = Upstream::answering("{}").await;
    let gateway = Gateway::before(&upstream);
    let folder = Folder::new();
    let file = folder.write("body.json", "{\"model\":\"unheard-of\"}");
    let said =
        tokio::task::block_in_place(|| curl(&gateway, "--http2-prior-knowledge", &[], &file));
    assert!(
        said.contains("HTTP/2 404") && said.contains("model_not_found"),
        "{said}"
    );
}
