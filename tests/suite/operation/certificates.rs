//! A certificate is read again when its files change, and one that cannot be used is not taken.

use std::process::{Command, Output};

use crate::support::certificate::certificate;
use crate::support::gateway::{Folder, Gateway, config};
use crate::support::soon;
use crate::support::tools::require;
use crate::support::upstream::Upstream;

/// A gateway that speaks TLS with the certificate in `cert.pem` and `key.pem` of a folder.
async fn with_tls(folder: &Folder) -> Gateway {
    let upstream = Upstream::answering("{}").await;
    let path = |name: &str| folder.0.join(name).display().to_string();
    let listen = format!(
        "listen: [{{ address: '127.0.0.1:0', tls: {{ cert: '{}', key: '{}' }} }}]",
        path("cert.pem"),
        path("key.pem")
    );
    let yaml = config(upstream.address, "", "").replace("listen: ['127.0.0.1:0']", &listen);
    Gateway::start(&yaml)
}

/// Asks for `/health`, and believes only the authority of one folder.
fn ask(gateway: &Gateway, authority: &Folder) -> Output {
    let port = gateway.address.port();
    Command::new("curl")
        .args(["-sS", "--noproxy", "*", "--cacert"])
        .arg(authority.0.join("ca.pem"))
        .arg(format!("https://localhost:{port}/health"))
        .output()
        .unwrap()
}

fn copy(from: &Folder, to: &Folder, name: &str) {
    std::fs::copy(from.0.join(name), to.0.join(name)).unwrap();
}

#[tokio::test]
async fn a_renewed_certificate_is_in_use_without_a_restart() {
    let (folder, renewed) = (Folder::new(), Folder::new());
    certificate(&folder);
    certificate(&renewed);
    let first = Folder::new();
    copy(&folder, &first, "ca.pem");
    let gateway = with_tls(&folder).await;
    assert!(ask(&gateway, &first).status.success());
    assert!(!ask(&gateway, &renewed).status.success());
    // One file after the other: between them, they do not belong together.
    copy(&renewed, &folder, "cert.pem");
    gateway
        .output()
        .wait_for("certificates: those before stay in use");
    assert!(ask(&gateway, &first).status.success());
    copy(&renewed, &folder, "key.pem");
    soon("the renewed certificate is in use", async {
        while !ask(&gateway, &renewed).status.success() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!(!ask(&gateway, &first).status.success());
}

#[tokio::test]
async fn a_certificate_that_has_expired_is_not_taken_for_one_that_has_not() {
    if require(&["faketime"], "faketime").is_none() {
        return;
    }
    let (folder, expired) = (Folder::new(), Folder::new());
    certificate(&folder);
    let path = |name: &str| expired.0.join(name).display().to_string();
    // It was valid for two days, ten days ago.
    let mut command = Command::new("faketime");
    command.args(["-f", "-10d", "openssl", "req", "-x509", "-newkey", "ec"]);
    command.args(["-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]);
    command.args(["-days", "2", "-subj", "/CN=localhost"]);
    command.args(["-keyout", &path("key.pem"), "-out", &path("cert.pem")]);
    assert!(command.output().unwrap().status.success());
    let gateway = with_tls(&folder).await;
    assert!(ask(&gateway, &folder).status.success());
    copy(&expired, &folder, "key.pem");
    copy(&expired, &folder, "cert.pem");
    gateway.output().wait_for("has expired");
    assert!(ask(&gateway, &folder).status.success());
    // At a start there is none before it: it is warned of.
    let late = with_tls(&folder).await;
    late.output().wait_for("the certificate has expired at");
}
