//! Client certificates: which lead to which tenant, and which are refused where.

use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, HandshakeKind, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{refused, yaml};
use crate::support::authority::{Authority, Made};
use crate::support::gateway::{Folder, Gateway, with_listener};
use crate::support::tools::require;
use crate::support::upstream::Upstream;
use crate::support::{chat, soon};

const TENANTS: &str = "tenants:
  - id: batch
    auth: [mtls]
    mtls:
      - { cn: batch }
      - { dns: Batch.Internal }
      - { uri: 'spiffe://example/batch' }
      - { subject: 'CN=job\\, nightly,O=Example' }
      - { subject: 'CN=Zo\\C3\\AB,O=Ex\\C3\\A4mple' }
      - { subject: 'OU=parts+CN=two,O=Example' }
  - id: other
    keys: [a-key-of-another-tenant]
    mtls: [{ email: other@example.org }]
";

/// An authority, a gateway that trusts it, and the file with the list of what it has revoked.
struct Scene {
    authority: Authority,
    gateway: Gateway,
    upstream: Upstream,
    list: PathBuf,
    _folder: Folder,
}

/// Whether the tools are there that a test needs.
fn has_tools() -> bool {
    ["openssl", "curl", "faketime"]
        .iter()
        .all(|tool| require(&[tool], tool).is_some())
}

impl Scene {
    async fn start(clients: &str, listener: &str, server: &str) -> Self {
        let (authority, folder) = (Authority::new("clients"), Folder::new());
        let list = folder.0.join("crl.pem");
        authority.list(&list);
        let served = authority.make("server", "/CN=localhost", "DNS:localhost");
        let upstream = Upstream::answering("{\"ok\":1}").await;
        let tls = format!(
            "tls: {{ {}, clients: {{ ca: '{}', crl: '{}'{clients} }} }}{listener}",
            served.files(),
            authority.cert.display(),
            list.display()
        );
        let yaml = with_listener(&yaml(&upstream, TENANTS), &tls);
        let yaml = yaml.replace("server:\n", &format!("server:\n{server}"));
        Self {
            gateway: Gateway::start(&yaml),
            authority,
            upstream,
            list,
            _folder: folder,
        }
    }

    /// Asks with curl, a certificate and these arguments.
    fn ask(&self, made: Option<&Made>, more: &[&str]) -> Output {
        let mut command = Command::new("curl");
        command.args([
            "-sS",
            "--max-time",
            "20",
            "-w",
            "\n%{http_code}",
            "--cacert",
        ]);
        command.arg(&self.authority.cert);
        if let Some(made) = made {
            command
                .arg("--cert")
                .arg(&made.cert)
                .arg("--key")
                .arg(&made.key);
        }
        command.args([
            "-H",
            "Content-Type: application/json",
            "-d",
            &chat("gpt-4o"),
        ]);
        command.args(more).arg(format!(
            "https://localhost:{}/v1/chat/completions",
            self.gateway.address.port()
        ));
        tokio::task::block_in_place(|| command.output().unwrap())
    }

    /// The status and the body of an answer.
    fn answer(&self, made: Option<&Made>, more: &[&str]) -> (String, String) {
        let output = self.ask(made, more);
        let said = String::from_utf8(output.stdout).unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        let (body, status) = said.rsplit_once('\n').unwrap_or_default();
        assert_ne!(status, "000", "{error}");
        (status.to_owned(), body.to_owned())
    }

    /// Asserts that a handshake fails for this cause, as often as that has been counted.
    async fn assert_no_handshake(&self, made: Option<&Made>, cause: &str, times: f64) {
        for version in ["--tlsv1.3", "--tls-max=1.2"] {
            let (name, value) = version.split_once('=').unwrap_or((version, ""));
            let more: Vec<&str> = [name, value]
                .into_iter()
                .filter(|arg| !arg.is_empty())
                .collect();
            let output = self.ask(made, &more);
            assert!(!output.status.success(), "{cause}: {output:?}");
        }
        let series = format!("tollgate_tls_handshakes_failed_total{{cause=\"{cause}\"}}");
        self.gateway.metric_becomes(&series, times).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_leads_to_the_tenant_that_has_one_of_its_names() {
    if !has_tools() {
        return;
    }
    let scene = Scene::start("", "", "").await;
    let authority = &scene.authority;
    for (file, subject, names, shown) in [
        ("cn", "/CN=batch", "DNS:x", "key=cn:batch tenant=batch"),
        (
            "dns",
            "/O=x",
            "DNS:x,DNS:batch.INTERNAL",
            "key=dns:batch.internal tenant=batch",
        ),
        (
            "uri",
            "/CN=x",
            "URI:spiffe://example/batch",
            "key=uri:spiffe://example/batch tenant=batch",
        ),
        (
            "subject",
            "/O=Example/CN=job, nightly",
            "DNS:x",
            "tenant=batch",
        ),
        ("utf8", "/O=Exämple/CN=Zoë", "DNS:x", "tenant=batch"),
        (
            "parts",
            "/O=Example/OU=parts+CN=two",
            "DNS:x",
            "tenant=batch",
        ),
        (
            "email",
            "/CN=x",
            "email:other@example.org",
            "key=email:other@example.org tenant=other",
        ),
    ] {
        let made = authority.make(file, subject, names);
        for version in ["--http1.1", "--http2"] {
            let answer = scene.answer(Some(&made), &[version]);
            assert_eq!(
                answer,
                ("200".to_owned(), "{\"ok\":1}".to_owned()),
                "{file}"
            );
        }
        scene.gateway.access_line(shown);
    }
    for (file, subject, names, said, reason) in [
        (
            "none",
            "/CN=nobody",
            "DNS:x",
            "belongs to no tenant",
            "unknown",
        ),
        (
            "kind",
            "/CN=batch.internal",
            "DNS:x",
            "belongs to no tenant",
            "unknown",
        ),
        (
            "job",
            "/O=Example/CN=job",
            "DNS:x",
            "belongs to no tenant",
            "unknown",
        ),
        (
            "both",
            "/CN=batch",
            "email:other@example.org",
            "names of several tenants",
            "ambiguous",
        ),
    ] {
        let made = authority.make(file, subject, names);
        let (status, body) = scene.answer(Some(&made), &[]);
        assert_eq!(status, "401", "{body}");
        assert!(
            body.contains(said) && body.contains("invalid_certificate"),
            "{body}"
        );
        assert!(scene.gateway.metric(&refused("mtls", reason)).await > 0.0);
    }
    assert_eq!(scene.upstream.requests(), 14);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handshake_fails_without_a_certificate_that_is_trusted() {
    if !has_tools() {
        return;
    }
    let scene = Scene::start("", "", "").await;
    scene.assert_no_handshake(None, "no_certificate", 2.0).await;
    let strange = Authority::new("clients").make("a", "/CN=batch", "DNS:x");
    // A client that was told whose certificates are wanted may leave its own out.
    let output = scene.ask(Some(&strange), &[]);
    assert!(!output.status.success());
    let expired = scene.authority.make_expired("old", "/CN=batch");
    scene
        .assert_no_handshake(Some(&expired), "certificate_expired", 2.0)
        .await;
    let revoked = scene.authority.make("gone", "/CN=batch", "DNS:x");
    scene.authority.revoke(&revoked);
    scene.authority.list(&scene.list);
    soon("the list is in use", async {
        while scene.ask(Some(&revoked), &[]).status.success() {}
    })
    .await;
    let series = "tollgate_tls_handshakes_failed_total{cause=\"certificate_revoked\"}";
    assert!(scene.gateway.metric(series).await > 0.0);
    let good = scene.authority.make("good", "/CN=batch", "DNS:x");
    assert_eq!(scene.answer(Some(&good), &[]).0, "200");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_a_certificate_is_optional_a_key_does_as_well_and_is_looked_at_first() {
    if !has_tools() {
        return;
    }
    let scene = Scene::start(", required: false", "", "").await;
    let made = scene.authority.make("a", "/CN=batch", "DNS:x");
    let key = ["-H", "Authorization: Bearer a-key-of-another-tenant"];
    let wrong = ["-H", "Authorization: Bearer wrong-key"];
    assert_eq!(scene.answer(None, &key).0, "200");
    assert_eq!(scene.answer(None, &[]).0, "401");
    assert_eq!(scene.answer(Some(&made), &[]).0, "200");
    scene.gateway.access_line("key=cn:batch tenant=batch");
    assert_eq!(scene.answer(Some(&made), &key).0, "200");
    assert_eq!(scene.answer(Some(&made), &wrong).0, "401");
    let other = Scene::start(", required: false", ", auth: [mtls]", "").await;
    let made = other.authority.make("a", "/CN=batch", "DNS:x");
    // OpenAI's clients send a key whatever they are told. It is not looked at where keys do not count.
    assert_eq!(other.answer(Some(&made), &wrong).0, "200");
    assert_eq!(other.answer(None, &key).0, "401");
    assert_eq!(other.gateway.metric(&refused("key", "method")).await, 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_another_origin_cannot_call_with_the_certificate_of_its_visitor() {
    if !has_tools() {
        return;
    }
    let cors = "  cors: { origins: ['https://app.example'], credentials: true }\n";
    let scene = Scene::start("", "", cors).await;
    let made = scene.authority.make("a", "/CN=batch", "DNS:x");
    for header in [
        "Origin: https://evil.example",
        "Origin: null",
        "Sec-Fetch-Site: cross-site",
        "Sec-Fetch-Site: same-site",
    ] {
        let (status, body) = scene.answer(Some(&made), &["-H", header]);
        assert_eq!(status, "403", "{header}");
        assert!(body.contains("origin_not_allowed"), "{body}");
    }
    assert_eq!(scene.upstream.requests(), 0);
    assert_eq!(scene.gateway.metric(&refused("mtls", "origin")).await, 4.0);
    for header in [
        "Origin: https://app.example",
        "Sec-Fetch-Site: none",
        "Sec-Fetch-Site: same-origin",
    ] {
        assert_eq!(
            scene.answer(Some(&made), &["-H", header]).0,
            "200",
            "{header}"
        );
    }
}

/// A client that keeps its connection, and its sessions.
struct Kept {
    connector: TlsConnector,
    gateway: std::net::SocketAddr,
}

impl Kept {
    fn new(scene: &Scene, made: &Made) -> Self {
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_file(&scene.authority.cert).unwrap())
            .unwrap();
        let chain = vec![CertificateDer::from_pem_file(&made.cert).unwrap()];
        let key = PrivateKeyDer::from_pem_file(&made.key).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider);
        let config = config.with_safe_default_protocol_versions().unwrap();
        let config = config
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key);
        Self {
            connector: TlsConnector::from(Arc::new(config.unwrap())),
            gateway: scene.gateway.address,
        }
    }

    async fn connect(&self) -> TlsStream<tokio::net::TcpStream> {
        let tcp = tokio::net::TcpStream::connect(self.gateway).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        self.connector.connect(name, tcp).await.unwrap()
    }
}

/// The status line of an answer to a request on a connection; empty where that is closed.
async fn status(stream: &mut TlsStream<tokio::net::TcpStream>) -> String {
    let request = "GET /v1/models HTTP/1.1\r\nhost: a\r\n\r\n";
    if stream.write_all(request.as_bytes()).await.is_err() {
        return String::new();
    }
    let mut said = Vec::new();
    let mut bytes = [0; 4096];
    while !said.ends_with(b"}") {
        match stream.read(&mut bytes).await {
            Ok(0) | Err(_) => break,
            Ok(count) => said.extend_from_slice(&bytes[..count]),
        }
    }
    let said = String::from_utf8_lossy(&said).into_owned();
    said.lines().next().unwrap_or_default().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_is_revoked_ends_on_connections_that_are_open_and_in_sessions_that_are_resumed()
 {
    if !has_tools() {
        return;
    }
    let scene = Scene::start("", "", "").await;
    let (bad, good) = (
        scene.authority.make("bad", "/CN=batch", "DNS:x"),
        scene.authority.make("good", "/CN=batch", "DNS:x"),
    );
    let (bad_client, good_client) = (Kept::new(&scene, &bad), Kept::new(&scene, &good));
    let (mut open, mut kept) = (bad_client.connect().await, good_client.connect().await);
    assert!(status(&mut open).await.contains("200"));
    assert!(status(&mut kept).await.contains("200"));
    // A session that is resumed brings its certificate along.
    let mut again = good_client.connect().await;
    assert_eq!(
        again.get_ref().1.handshake_kind(),
        Some(HandshakeKind::Resumed)
    );
    assert!(status(&mut again).await.contains("200"));
    scene.authority.revoke(&bad);
    scene.authority.list(&scene.list);
    soon("the open connection is refused", async {
        while status(&mut open).await.contains("200") {}
    })
    .await;
    assert!(scene.gateway.metric(&refused("mtls", "revoked")).await > 0.0);
    let mut resumed = bad_client.connect().await;
    assert_eq!(status(&mut resumed).await, "", "its session is not resumed");
    assert!(
        status(&mut kept).await.contains("200"),
        "another certificate holds"
    );
}
