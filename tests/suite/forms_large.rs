//! A large form waits in a file that has no name, and the file goes with the request.

use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::support::client::Response;
use crate::support::form::{form_of, form_of_length, post_chunked, post_form};
use crate::support::gateway::{Folder, Gateway, config};
use crate::support::tools::{require, run};
use crate::support::upstream::Upstream;
use crate::support::{CLIENT_KEY, PROVIDER_KEY, until};

const MIB: usize = 1 << 20;
const PATH: &str = "/v1/audio/transcriptions";

/// The usual configuration, with forms over 1 MiB in a folder of the test.
fn spilling(upstream: SocketAddr, folder: &Folder) -> String {
    let forms = format!("server:\n  forms: {{ dir: '{}' }}\n", folder.0.display());
    config(upstream, "", "").replace("server:\n", &forms)
}

fn names_in(folder: &Folder) -> usize {
    std::fs::read_dir(&folder.0).unwrap().count()
}

async fn send(gateway: &Gateway, request: impl AsRef<[u8]>) -> Response {
    let mut client = gateway.connect().await;
    client.send(request).await;
    client.response().await
}

#[tokio::test]
async fn a_form_of_40_mib_passes_whole_and_takes_no_memory() {
    let answered = Arc::new(Semaphore::new(1));
    let may_end = Arc::clone(&answered);
    let upstream = Upstream::start(move |_, mut reply| {
        let answered = Arc::clone(&answered);
        async move {
            let head = "content-type: text/plain\r\ntransfer-encoding: chunked";
            reply
                .raw(format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n"))
                .await;
            reply.chunk("said").await;
            answered.acquire().await.unwrap().forget();
            reply.end_stream().await;
            reply
        }
    })
    .await;
    let folder = Folder::new();
    let gateway = Gateway::start(&spilling(upstream.address, &folder));
    // A first one, so that what stays for good is there already.
    let small = form_of("gpt-4o", MIB * 2);
    assert_eq!(send(&gateway, post_form(PATH, &small)).await.status, 200);
    upstream.request().await;
    let before = gateway.rss_bytes();

    let request = post_form(PATH, &form_of("gpt-4o", 40 * MIB));
    let (half, rest) = request.split_at(request.len() / 2);
    let mut client = gateway.connect().await;
    client.send(half).await;
    until("a file", || gateway.open_files_in(&folder) == 1).await;
    assert_eq!(names_in(&folder), 0, "it has no name");
    client.send(rest).await;
    let seen = upstream.request().await;
    assert!(
        seen.body == form_of("gpt-4o-2024-11-20", 40 * MIB),
        "the forms differ"
    );
    assert_eq!(seen.header("content-length"), [seen.body.len().to_string()]);
    assert_eq!(client.head().await.0, 200);
    assert_eq!(client.chunk().await.as_deref(), Some("said"));
    until("the end of the file, once the answer has begun", || {
        gateway.open_files_in(&folder) == 0
    })
    .await;
    may_end.add_permits(1);
    assert_eq!(client.chunk().await.as_deref(), Some(""));
    assert_eq!(names_in(&folder), 0);
    let grown = gateway.peak_rss_bytes().saturating_sub(before) / MIB as u64;
    assert!(grown < 10, "RSS grew by {grown} MiB");
}

#[tokio::test]
async fn forms_that_wait_at_the_same_time_do_not_mix() {
    let upstream = Upstream::start(|request, mut reply| async move {
        let length = request.body.len().to_string();
        reply.json("200 OK", &length).await;
        reply
    })
    .await;
    let folder = Folder::new();
    let gateway = Arc::new(Gateway::start(&spilling(upstream.address, &folder)));
    let sizes: Vec<usize> = (0..8).map(|n| 2 * MIB + n * 100_003).collect();
    let sending = sizes.iter().map(|&size| {
        let gateway = Arc::clone(&gateway);
        tokio::spawn(async move {
            let form = form_of("same-x", size);
            let answer = send(&gateway, post_chunked(PATH, &form, 50_000)).await;
            assert_eq!(answer.text(), form.len().to_string());
        })
    });
    for sent in sending.collect::<Vec<_>>() {
        sent.await.unwrap();
    }
    let mut seen = Vec::new();
    for _ in &sizes {
        seen.push(upstream.request().await.body);
    }
    for size in sizes {
        assert!(seen.contains(&form_of("same-x", size)), "{size} bytes");
    }
    assert_eq!((names_in(&folder), gateway.open_files_in(&folder)), (0, 0));
}

#[tokio::test]
async fn a_pooled_connection_that_has_died_is_not_a_failure_for_a_form() {
    let upstream = Upstream::start(|_, mut reply| async move {
        reply.json("200 OK", "{}").await;
        reply.reset();
        reply
    })
    .await;
    let folder = Folder::new();
    let gateway = Gateway::start(&spilling(upstream.address, &folder));
    for round in 0..10 {
        let form = form_of("same-x", 2 * MIB + round);
        assert_eq!(send(&gateway, post_form(PATH, &form)).await.status, 200);
        assert!(upstream.request().await.body == form, "round {round}");
    }
    assert_eq!(upstream.requests(), 10, "no form may arrive twice");
    assert_eq!(gateway.open_files_in(&folder), 0);
}

#[tokio::test]
async fn an_address_that_cannot_be_reached_is_passed_over_with_a_form() {
    let upstream = Upstream::answering("{}").await;
    let nobody = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let folder = Folder::new();
    let servers = format!(
        "servers: ['http://{nobody}', 'http://{}']",
        upstream.address
    );
    let url = format!("base_url: 'http://{}/v1'", upstream.address);
    let gateway = Gateway::start(&spilling(upstream.address, &folder).replace(&url, &servers));
    for round in 0..4 {
        let form = form_of("same-x", 2 * MIB + round);
        assert_eq!(send(&gateway, post_form(PATH, &form)).await.status, 200);
        assert!(upstream.request().await.body == form, "round {round}");
    }
}

#[tokio::test]
async fn an_answer_that_comes_before_the_form_was_read_is_passed_on() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut start = [0; 4096];
        stream.read_exact(&mut start).await.unwrap();
        let refusal = b"HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\nconnection: close\r\n\r\nno";
        stream.write_all(refusal).await.unwrap();
        stream.shutdown().await.unwrap();
        while stream.read(&mut start).await.is_ok_and(|read| read > 0) {}
    });
    let folder = Folder::new();
    let gateway = Gateway::start(&spilling(address, &folder));
    let answer = send(&gateway, post_form(PATH, &form_of("same-x", 20 * MIB))).await;
    assert_eq!((answer.status, answer.text()), (413, "no"));
    assert_eq!(gateway.open_files_in(&folder), 0);
}

#[tokio::test]
async fn a_client_that_leaves_in_mid_form_leaves_nothing_behind() {
    let upstream = Upstream::answering("{}").await;
    let folder = Folder::new();
    let gateway = Gateway::start(&spilling(upstream.address, &folder));
    let form = form_of("gpt-4o", 20 * MIB);
    for request in [post_form(PATH, &form), post_chunked(PATH, &form, 60_000)] {
        let mut client = gateway.connect().await;
        client.send(&request[..request.len() / 2]).await;
        until("a file", || gateway.open_files_in(&folder) == 1).await;
        client.leave();
        until("its end", || gateway.open_files_in(&folder) == 0).await;
    }
    gateway.access_line("status=499 error=client_gone");
    assert_eq!((upstream.connections(), names_in(&folder)), (0, 0));
}

#[tokio::test]
async fn without_a_place_for_files_only_large_forms_fail() {
    let upstream = Upstream::answering("{}").await;
    let folder = Folder::new();
    let gateway = Gateway::start(&spilling(upstream.address, &folder));
    let in_memory = form_of_length("same-x", MIB);
    let too_large = form_of_length("same-x", MIB + 1);
    std::fs::remove_dir(&folder.0).unwrap();
    for request in [
        post_form(PATH, &too_large),
        post_chunked(PATH, &too_large, 100_000),
        post_form(PATH, &form_of("same-x", 20 * MIB)),
    ] {
        let refused = send(&gateway, request).await;
        refused.assert_error(507, "server_error", Some("no_room"), None);
        let path = folder.0.to_str().unwrap();
        assert!(!refused.text().contains(path), "{}", refused.text());
    }
    assert_eq!(upstream.connections(), 0);
    let reason = gateway
        .output()
        .wait_for("a form could not be kept in a file");
    assert!(reason.contains("No such file or directory"), "{reason}");
    gateway.access_line("status=507 error=no_room");
    assert_eq!(
        send(&gateway, post_form(PATH, &in_memory)).await.status,
        200
    );
    std::fs::create_dir(&folder.0).unwrap();
    assert_eq!(
        send(&gateway, post_form(PATH, &too_large)).await.status,
        200
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn curl_sends_a_large_form_over_both_versions() {
    let Some(curl) = require(&["curl"], "curl") else {
        return;
    };
    let upstream = Upstream::answering(r#"{"text":"said"}"#).await;
    let folder = Folder::new();
    let gateway = Gateway::start(&spilling(upstream.address, &folder));
    let content: Vec<u8> = (0..5 * MIB).map(|at| at.to_le_bytes()[0]).collect();
    let file = gateway.folder().write("speech.mp3", &content);
    for version in ["--http1.1", "--http2-prior-knowledge"] {
        let mut command = Command::new(&curl);
        command
            .args(["-sS", "--fail", "--max-time", "20", version])
            .args(["-H", &format!("Authorization: Bearer {CLIENT_KEY}")])
            .args(["-F", &format!("file=@{}", file.display())])
            .args(["-F", "model=gpt-4o"])
            .arg(format!("http://{}{PATH}", gateway.address));
        let said = tokio::task::block_in_place(|| run(&mut command));
        assert_eq!(said, r#"{"text":"said"}"#, "{version}");
        let seen = upstream.request().await;
        let has = |part: &[u8]| memchr::memmem::find(&seen.body, part).is_some();
        assert!(has(&content), "{version}: the file differs");
        assert!(
            has(b"name=\"model\"\r\n\r\ngpt-4o-2024-11-20\r\n"),
            "{version}"
        );
    }
    assert_eq!((names_in(&folder), gateway.open_files_in(&folder)), (0, 0));
}

#[tokio::test]
async fn a_large_form_goes_over_http2_to_an_upstream() {
    let upstream = Upstream::answering("{}").await;
    let (far_folder, folder) = (Folder::new(), Folder::new());
    // Another gateway, since it speaks HTTP/2; it is asked with the client's key.
    let far = Gateway::start(&spilling(upstream.address, &far_folder));
    let to_far = config(far.address, ", http2: true", "").replace("gpt-4o-2024-11-20", "gpt-4o");
    let forms = format!("server:\n  forms: {{ dir: '{}' }}\n", folder.0.display());
    let yaml = to_far
        .replace("server:\n", &forms)
        .replace(PROVIDER_KEY, CLIENT_KEY);
    let gateway = Gateway::start(&yaml);
    for model in ["gpt-4o", "same-x"] {
        let form = form_of(model, 20 * MIB);
        let answer = send(&gateway, post_form(PATH, &form)).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let sent = form_of(&model.replace("gpt-4o", "gpt-4o-2024-11-20"), 20 * MIB);
        assert!(upstream.request().await.body == sent, "{model}");
    }
    assert_eq!(
        (
            gateway.open_files_in(&folder),
            far.open_files_in(&far_folder)
        ),
        (0, 0)
    );
}

#[tokio::test]
async fn a_client_that_leaves_while_the_answer_is_waited_for_ends_the_request() {
    let upstream = Upstream::start(|_, mut reply| async move {
        reply.wait_for_close().await;
        reply
    })
    .await;
    let folder = Folder::new();
    let gateway = Gateway::start(&spilling(upstream.address, &folder));
    let mut client = gateway.connect().await;
    client
        .send(post_form(PATH, &form_of("same-x", 2 * MIB)))
        .await;
    upstream.request().await;
    client.leave();
    upstream.closed().await;
    gateway.access_line("status=499 error=client_gone");
}
