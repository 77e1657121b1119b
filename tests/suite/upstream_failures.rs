//! An upstream that fails is told apart from one that answers, in OpenAI's form.

use crate::support::gateway::{Gateway, config};
use crate::support::upstream::Upstream;
use crate::support::{chat, streamed_chat};

async fn assert_fails(gateway: &Gateway, code: &str) {
    for body in [chat("gpt-4o"), streamed_chat("gpt-4o")] {
        let response = gateway.post("/v1/chat/completions", &body).await;
        response.assert_error(502, "server_error", Some(code), None);
        let text = response.text();
        assert!(
            !text.contains("127.0.0.1") && !text.contains("far"),
            "{text}"
        );
    }
    gateway.access_line(&format!("upstream=far status=502 error={code}"));
}

#[tokio::test]
async fn refused() {
    let upstream = Upstream::answering("{}").await;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = listener.local_addr().unwrap();
    drop(listener);
    let gateway = Gateway::start(&config(nobody, "", ""));
    assert_fails(&gateway, "upstream_unreachable").await;
    assert_eq!(upstream.requests(), 0);
}

#[tokio::test]
async fn a_name_that_is_nobodys() {
    let upstream = Upstream::answering("{}").await;
    let yaml = config(upstream.address, "", "")
        .replace(&upstream.address.to_string(), "nowhere.invalid:1");
    let gateway = Gateway::start(&yaml);
    gateway
        .output()
        .wait_for("upstream far: a name was not resolved: nowhere.invalid");
    for body in [chat("gpt-4o"), streamed_chat("gpt-4o")] {
        let response = gateway.post("/v1/chat/completions", &body).await;
        let (kind, code) = ("service_unavailable_error", "upstream_unavailable");
        response.assert_error(503, kind, Some(code), None);
        assert_eq!(response.header("retry-after"), Some("5"));
        assert!(!response.text().contains("far"), "{}", response.text());
        // Nothing has been asked.
        assert_eq!(response.header("x-tollgate-attempts"), None);
    }
    let line = gateway.access_line("status=503 error=upstream_unavailable");
    assert!(line.contains("trail=far/-:unresolved:0.0 "), "{line}");
    gateway
        .output()
        .wait_for("no target can be asked: far is unresolved");
}

#[tokio::test]
async fn closed_without_an_answer() {
    let upstream = Upstream::start(|_, mut reply| async move {
        reply.close();
        reply
    })
    .await;
    let gateway = Gateway::before(&upstream);
    assert_fails(&gateway, "upstream_reset").await;
    assert_eq!(upstream.requests(), 3, "only the stream is asked for again");
}

#[tokio::test]
async fn reset_without_an_answer() {
    let upstream = Upstream::start(|_, mut reply| async move {
        reply.reset();
        reply
    })
    .await;
    let gateway = Gateway::before(&upstream);
    assert_fails(&gateway, "upstream_reset").await;
    assert_eq!(upstream.requests(), 3, "only the stream is asked for again");
}

#[tokio::test]
async fn garbage() {
    let upstream = Upstream::start(|_, mut reply| async move {
        reply
            .raw("SSH-2.0-OpenSSH_9.2 provider-key-canary-91bc\r\n\r\n")
            .await;
        reply.close();
        reply
    })
    .await;
    let gateway = Gateway::before(&upstream);
    assert_fails(&gateway, "upstream_invalid_response").await;
}

#[tokio::test]
async fn tls_that_is_none() {
    let upstream = Upstream::start(|_, reply| async move { reply }).await;
    // The far end speaks no TLS: what it gets is no request to it, so it closes.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let answer = b"HTTP/1.1 400 Bad Request\r\n\r\n";
            let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, answer).await;
        }
    });
    let yaml = config(address, "", "").replace("http://127", "https://127");
    let gateway = Gateway::start(&yaml);
    assert_fails(&gateway, "upstream_tls").await;
    let told = gateway.output().wait_for("does it speak http://?");
    assert!(told.contains("upstream far: "), "{told}");
    assert!(!told.contains("InvalidContentType"), "{told}");
    assert_eq!(upstream.requests(), 0);
}

#[tokio::test]
async fn an_answer_that_comes_before_the_body_was_read_is_passed_on() {
    // It refuses on the header alone and closes, as servers do with bodies that are too large.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut head = [0; 1024];
                let _ = stream.read(&mut head).await;
                let body = "{\"error\":\"too large\"}";
                let answer = format!(
                    "HTTP/1.1 413 Payload Too Large\r\ncontent-type: application/json\r\n\
                     connection: close\r\ncontent-length: {}\r\n\r\n{body}",
                    body.len()
                );
                let _ = stream.write_all(answer.as_bytes()).await;
                // Reads on, so that its answer is not lost with a reset.
                let mut sink = vec![0; 1 << 20];
                while matches!(stream.read(&mut sink).await, Ok(n) if n > 0) {}
            });
        }
    });
    let gateway = Gateway::start(&config(address, "", ""));
    let large = chat("gpt-4o").replace("canary", &"x".repeat(8 << 20));
    let response = gateway.post("/v1/chat/completions", &large).await;
    assert_eq!(
        (response.status, response.text()),
        (413, "{\"error\":\"too large\"}")
    );
}
