//! TLS on both sides, with certificates made for the test.

use std::path::Path;
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
