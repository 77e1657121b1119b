//! TLS on both sides, with certificates made for the test.

use std::path::Path;
use std::process::Command;

use crate::support::certificate::{Certificate, certificate};
use crate::support::gateway::{Folder, Gateway, config, with_listener};
use crate::support::tools::{require, run};
use crate::support::upstream::Upstream;
use crate::support::{CLIENT_KEY, chat, soon, until};

#[tokio::test(flavor = "multi_thread")]
async fn clients_connect_over_tls_with_both_versions() {
    let (Some(_), Some(_)) = (require(&["openssl"], "openssl"), require(&["curl"], "curl")) else {
        return;
    };
    let folder = Folder::new();
    let certificate = certificate(&folder);
    let upstream = Upstream::answering("{\"ok\":1}").await;
    let yaml = with_listener(&config(upstream.address, "", ""), &certificate.tls());
    let gateway = Gateway::start(&yaml);
    for (version, status) in [("--http1.1", "HTTP/1.1 200"), ("--http2", "HTTP/2 200")] {
        let mut command = Command::new("curl");
        command
            .args(["-sS", "-i", version, "--max-time", "20", "--cacert"])
            .arg(&certificate.authority)
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

/// A gateway that listens with TLS and masks addresses; nothing listens behind it.
fn masked(folder: &Folder) -> Gateway {
    let nothing = "127.0.0.1:1".parse().unwrap();
    let yaml = with_listener(&config(nothing, "", ""), &certificate(folder).tls());
    let yaml = yaml.replace("server:\n", "server:\n  limits: { header_timeout: 1s }\n");
    Gateway::start(&yaml.replace("mask: false", "mask: true"))
}

fn failed(cause: &str) -> String {
    format!("tollgate_tls_handshakes_failed_total{{cause=\"{cause}\"}}")
}

/// How a TLS client begins.
const HELLO: [u8; 11] = [0x16, 3, 1, 0, 200, 1, 0, 0, 196, 3, 3];

/// Connects, says something, and leaves.
async fn scan(gateway: &Gateway, said: &[u8]) {
    let mut client = gateway.connect().await;
    client.send(said).await;
    client.leave();
}

/// Every line about a handshake is at debug, and none has the client's address.
async fn assert_quiet(gateway: &Gateway, failures: usize) {
    let told = || {
        let text = gateway.output().text();
        let lines = text.lines().map(str::to_owned);
        let told = lines.filter(|line| line.contains("TLS with 127.0.0.0 failed"));
        told.collect::<Vec<_>>()
    };
    until("a line for each failure", || told().len() == failures).await;
    for line in told() {
        assert!(line.contains(" DEBUG "), "{line}");
    }
    let text = gateway.output().text();
    // What the configuration is warned of has nothing to do with connections.
    let is_of_the_start = |line: &str| line.contains(" listen") || line.contains("tollgate::cli");
    for line in text.lines().filter(|line| !is_of_the_start(line)) {
        let is_loud = line.contains(" ERROR ") || line.contains(" WARN ");
        assert!(!is_loud && !line.contains("127.0.0.1"), "{line}");
    }
}

#[tokio::test]
async fn what_is_no_tls_is_counted_and_told_at_debug_without_its_address() {
    let Some(_) = require(&["openssl"], "openssl") else {
        return;
    };
    let folder = Folder::new();
    let gateway = masked(&folder);
    // Each cause is there before it is needed.
    let metrics = Box::pin(gateway.get_admin("/metrics")).await;
    for cause in ["not_tls", "closed", "late", "failed"] {
        assert!(metrics.text().contains(&format!("{} 0", failed(cause))));
    }
    // Plain HTTP is told what is wrong.
    let mut http = gateway.connect().await;
    http.send("GET /health HTTP/1.1\r\nhost: g\r\n\r\n").await;
    let told = Box::pin(http.response()).await;
    told.assert_error(400, "invalid_request_error", Some("tls_required"), None);
    assert!(told.text().contains("https://"), "{}", told.text());
    for other in [
        &b"SSH-2.0-scan\r\n"[..],
        b"\0\0\0\x2f",
        b"\x03",
        b"\x80\x2e\x01",
    ] {
        scan(&gateway, other).await;
    }
    Box::pin(gateway.metric_becomes(&failed("not_tls"), 5.0)).await;
    gateway.connect().await.leave();
    Box::pin(gateway.metric_becomes(&failed("closed"), 1.0)).await;
    assert_quiet(&gateway, 6).await;
}

#[tokio::test]
async fn handshakes_that_fail_are_counted_and_told_at_debug_without_their_address() {
    let Some(_) = require(&["openssl"], "openssl") else {
        return;
    };
    let folder = Folder::new();
    let gateway = masked(&folder);
    scan(&gateway, &HELLO).await;
    Box::pin(gateway.metric_becomes(&failed("failed"), 1.0)).await;
    let mut nonsense = gateway.connect().await;
    nonsense
        .send([&[0x16, 3, 1, 0, 4][..], b"what"].concat())
        .await;
    Box::pin(gateway.metric_becomes(&failed("failed"), 2.0)).await;
    // A reset may come before what was sent has been read.
    let reset = gateway.connect().await.into_stream();
    reset.set_zero_linger().unwrap();
    reset.writable().await.unwrap();
    reset.try_write(&HELLO).unwrap();
    drop(reset);
    let counted = Box::pin(async {
        let mut count = 0.0;
        while count < 3.0 {
            count = gateway.metric(&failed("failed")).await;
            count += gateway.metric(&failed("closed")).await;
        }
    });
    soon("the reset is counted", counted).await;
    let mut slow = gateway.connect().await;
    slow.send([0x16]).await;
    assert!(Box::pin(slow.is_closed()).await);
    Box::pin(gateway.metric_becomes(&failed("late"), 1.0)).await;
    gateway.output().wait_for("not complete within 1s");
    assert_quiet(&gateway, 4).await;
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
    assert_eq!(output.status.code(), Some(64), "{said}");
    assert!(said.contains("not-a-certificate.pem"), "{said}");
    assert!(!said.contains("panicked"), "{said}");
}

/// What `command` says of a listener's certificate and key, and its exit code.
fn told(folder: &Folder, command: &str, cert: &Path, key: &Path) -> (Option<i32>, String) {
    let tls = format!(
        "listen: [{{ address: '127.0.0.1:0', tls: {{ cert: '{}', key: '{}' }} }}]",
        cert.display(),
        key.display()
    );
    let yaml = config("127.0.0.1:1".parse().unwrap(), "", "")
        .replace("listen: ['127.0.0.1:0']", &tls)
        .replace(", missing]", "]");
    folder.write("tollgate.yaml", yaml);
    let output = Command::new(crate::support::gateway::BINARY)
        .args([command, "-c", "tollgate.yaml"])
        .current_dir(&folder.0)
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    (output.status.code(), said.trim_end().to_owned())
}

#[test]
fn a_certificate_and_a_key_that_do_not_belong_together_are_refused() {
    if require(&["openssl"], "openssl").is_none() {
        return;
    }
    let (folder, other) = (Folder::new(), Folder::new());
    let ours = certificate(&folder);
    let theirs = certificate(&other);
    let encrypted = folder.0.join("encrypted.pem");
    run(Command::new("openssl")
        .args(["pkey", "-aes256", "-passout", "pass:x", "-in"])
        .arg(&ours.key)
        .arg("-out")
        .arg(&encrypted));
    let broken = folder.write(
        "broken.pem",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    );
    let at = |what: &str| format!("tollgate.yaml:2: server.listen[0].tls.{what}");
    let (cert, key) = (ours.cert.display(), ours.key.display());
    for (files, expected) in [
        (
            (&ours.cert, &theirs.key),
            format!(
                "{}: the key in {} does not belong to the certificate in {cert} (name the key that \
                 the certificate was made for; in the file of the certificate, its chain comes \
                 after it)",
                at("key"),
                theirs.key.display()
            ),
        ),
        (
            (&ours.key, &ours.cert),
            format!(
                "{}: {key} holds no certificate (name a file in PEM: the certificate, then its \
                 chain)",
                at("cert")
            ),
        ),
        (
            (&ours.cert, &ours.cert),
            format!(
                "{}: {cert} holds no private key (name a file in PEM that has one)",
                at("key")
            ),
        ),
        (
            (&ours.cert, &encrypted),
            format!(
                "{}: the private key in {} is encrypted (decrypt it: openssl pkey -in KEY -out \
                 PLAIN)",
                at("key"),
                encrypted.display()
            ),
        ),
    ] {
        for command in ["check", "run"] {
            let found = told(&folder, command, files.0, files.1);
            assert_eq!(found, (Some(64), expected.clone()));
        }
    }
    let (code, said) = told(&folder, "check", &broken, &ours.key);
    assert_eq!(code, Some(64), "{said}");
    assert!(
        said.contains(&format!("{} with {key} cannot be used: ", broken.display())),
        "{said}"
    );
    assert_eq!(
        told(&folder, "check", &ours.cert, &ours.key),
        (Some(0), String::new())
    );
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
