//! TLS on both sides, with certificates made for the test.

use std::process::Command;

use crate::support::certificate::{Certificate, certificate};
use crate::support::gateway::{Folder, Gateway, config};
use crate::support::tools::{require, run};
use crate::support::upstream::Upstream;
use crate::support::{CLIENT_KEY, chat};

#[tokio::test(flavor = "multi_thread")]
async fn clients_connect_over_tls_with_both_versions() {
    let (Some(_), Some(_)) = (require(&["openssl"], "openssl"), require(&["curl"], "curl")) else {
        return;
    };
    let folder = Folder::new();
    let Certificate {
        authority,
        cert,
        key,
    } = certificate(&folder);
    let upstream = Upstream::answering("{\"ok\":1}").await;
    let tls = format!(
        "listen: [{{ address: '127.0.0.1:0', tls: {{ cert: '{}', key: '{}' }} }}]",
        cert.display(),
        key.display()
    );
    let yaml = config(upstream.address, "", "").replace("listen: ['127.0.0.1:0']", &tls);
    let gateway = Gateway::start(&yaml);
    for (version, status) in [("--http1.1", "HTTP/1.1 200"), ("--http2", "HTTP/2 200")] {
        let mut command = Command::new("curl");
        command
            .args(["-sS", "-i", version, "--max-time", "20", "--cacert"])
            .arg(&authority)
            .args(["-H", &format!("Authorization: Bearer {CLIENT_KEY}")])
            .args([
                "-H",
                "Content-Type: application/json",
                "-d",
                &chat("gpt-4o"),
            ])
            .arg(format!(
                "https://localhost:{}/v1/chat/completions",
                gateway.address.port()
            ))
            .args([
                "--resolve",
                &format!("localhost:{}:127.0.0.1", gateway.address.port()),
            ]);
        let said = tokio::task::block_in_place(|| run(&mut command));
        assert!(
            said.contains(status) && said.ends_with("{\"ok\":1}"),
            "{said}"
        );
    }
}

#[tokio::test]
async fn a_certificate_that_cannot_be_used_is_told_at_the_start() {
    let folder = Folder::new();
    let file = folder.write("not-a-certificate.pem", "hello");
    let tls = format!(
        "listen: [{{ address: '127.0.0.1:0', tls: {{ cert: '{0}', key: '{0}' }} }}]",
        file.display()
    );
    let yaml =
        config("127.0.0.1:1".parse().unwrap(), "", "").replace("listen: ['127.0.0.1:0']", &tls);
    let config = folder.write("tollgate.yaml", yaml);
    let output = Command::new(crate::support::gateway::BINARY)
        .args(["run", "-c"])
        .arg(config)
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("not-a-certificate.pem"), "{said}");
    assert!(!said.contains("panicked"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_is_asked_over_tls_and_its_certificate_is_checked() {
    let (Some(_), Some(nginx)) = (
        require(&["openssl"], "openssl"),
        require(&["nginx"], "nginx"),
    ) else {
        return;
    };
    let folder = Folder::new();
    let Certificate {
        authority,
        cert,
        key,
    } = certificate(&folder);
    let far = crate::nginx::Nginx::start(&nginx, |port| {
        format!(
            "server {{ listen 127.0.0.1:{port} ssl; ssl_certificate {}; ssl_certificate_key {};
               location / {{ default_type application/json; return 200 '{{\"from\":\"nginx\"}}'; }} }}",
            cert.display(),
            key.display()
        )
    });
    let yaml = config(far.address, "", "").replace("http://127.0.0.1", "https://localhost");
    // Nobody has vouched for it: refused.
    let gateway = Gateway::start(&yaml);
    let response = gateway.post("/v1/chat/completions", &chat("gpt-4o")).await;
    response.assert_error(502, "server_error", Some("upstream_tls"), None);
    // Its certificate is among those that the machine trusts: taken.
    let gateway = Gateway::start_with(&yaml, |command| {
        command.env("SSL_CERT_FILE", &authority);
    });
    let response = gateway.post("/v1/chat/completions", &chat("gpt-4o")).await;
    assert_eq!(
        (response.status, response.text()),
        (200, "{\"from\":\"nginx\"}")
    );
}
