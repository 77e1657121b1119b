//! TLS with an upstream: who vouches for it, what it is shown, and which name it has.

use super::ends::TlsEnd;
use super::{ANSWER, CHAT, beside, is_answered, over_tls};
use crate::nginx::Nginx;
use crate::support::certificate::{Certificate, certificate, certificate_for};
use crate::support::gateway::{BINARY, Folder, Gateway};
use crate::support::sm::{Relay, STRICT, sm_certificate};
use crate::support::tools::require;
use crate::support::upstream::Upstream;
use crate::support::{chat, soon};

/// The `tls` of an upstream that trusts an authority.
fn trusting(certificate: &Certificate) -> String {
    format!(", tls: {{ ca: '{}' }}", certificate.authority.display())
}

/// The same, and it shows a certificate.
fn showing(server: &Certificate, ours: &Certificate) -> String {
    let (ca, cert, key) = (&server.authority, &ours.cert, &ours.key);
    let (ca, cert, key) = (ca.display(), cert.display(), key.display());
    format!(", tls: {{ ca: '{ca}', cert: '{cert}', key: '{key}' }}")
}

/// The client is told of TLS, and the operator why.
async fn is_refused(gateway: &Gateway, model: &str, why: &str) {
    let answer = gateway.post(CHAT, &chat(model)).await;
    answer.assert_error(502, "server_error", Some("upstream_tls"), None);
    gateway.output().wait_for(why);
    gateway.access_line("error=upstream_tls");
}

#[tokio::test]
async fn an_authority_of_one_s_own_vouches_for_a_server() {
    let Some(_) = require(&["openssl"], "openssl") else {
        return;
    };
    let (folder, other) = (Folder::new(), Folder::new());
    let (known, unknown) = (certificate(&folder), certificate(&other));
    let upstream = Upstream::answering(ANSWER).await;
    let end = TlsEnd::before(upstream.address, &known, None).await;
    let yaml = over_tls(end.address, &trusting(&known));
    let url = format!("https://{}/v1", end.address);
    let gateway = Gateway::start(&beside(&yaml, &url, &trusting(&unknown)));
    let mut client = gateway.connect().await;
    is_answered(&mut client, "gpt-4o").await;
    is_answered(&mut client, "gpt-4o").await;
    // The connection that is kept is none of the other upstream's.
    is_refused(&gateway, "missing", "name the one that has in `tls.ca`").await;
    assert_eq!((end.counts(), upstream.requests()), ((1, 0), 2));
    // Without `ca`, the system's authorities decide.
    let gateway = Gateway::start(&over_tls(end.address, ""));
    is_refused(&gateway, "gpt-4o", "name the one that has in `tls.ca`").await;
}

#[tokio::test]
async fn a_target_behind_another_server_is_asked_where_one_is_not_trusted() {
    let Some(_) = require(&["openssl"], "openssl") else {
        return;
    };
    let folder = Folder::new();
    let known = certificate(&folder);
    let upstream = Upstream::answering(ANSWER).await;
    let end = TlsEnd::before(upstream.address, &known, None).await;
    let url = format!("http://{}/v1", upstream.address);
    let yaml = beside(&over_tls(end.address, ""), &url, "").replace(
        "targets: [{ upstream: far, model: gpt-4o-2024-11-20 }]",
        "targets: [{ upstream: far }, { upstream: other, priority: 2 }]",
    );
    let gateway = Gateway::start(&yaml);
    let mut client = gateway.connect().await;
    is_answered(&mut client, "gpt-4o").await;
    let line = gateway.access_line("upstream=other status=200");
    assert!(
        line.contains("trail=far/") && line.contains(":tls:"),
        "{line}"
    );
}

#[tokio::test]
async fn a_server_is_shown_a_certificate_that_it_asks_for() {
    let Some(_) = require(&["openssl"], "openssl") else {
        return;
    };
    let (folder, ours, stranger) = (Folder::new(), Folder::new(), Folder::new());
    let (server, ours) = (certificate(&folder), certificate(&ours));
    let stranger = certificate(&stranger);
    let upstream = Upstream::answering(ANSWER).await;
    let end = TlsEnd::before(upstream.address, &server, Some(&ours.authority)).await;
    let url = format!("https://{}/v1", end.address);
    let yaml = over_tls(end.address, &showing(&server, &ours));
    let gateway = Gateway::start(&beside(&yaml, &url, &trusting(&server)));
    let mut client = gateway.connect().await;
    is_answered(&mut client, "gpt-4o").await;
    // Another upstream at the same address shows none, and does not use the connection of the first.
    is_refused(&gateway, "missing", "it asks for a certificate of ours").await;
    is_answered(&mut client, "gpt-4o").await;
    assert_eq!((end.counts(), upstream.requests()), ((1, 1), 2));
    let gateway = Gateway::start(&over_tls(end.address, &showing(&server, &stranger)));
    is_refused(
        &gateway,
        "gpt-4o",
        "it does not know the authority of our certificate",
    )
    .await;
}

#[tokio::test]
async fn nginx_is_shown_a_certificate_over_both_versions_of_http() {
    let (Some(program), Some(_)) = (
        require(&["nginx"], "nginx"),
        require(&["openssl"], "openssl"),
    ) else {
        return;
    };
    let (folder, ours) = (Folder::new(), Folder::new());
    let (server, ours) = (certificate(&folder), certificate(&ours));
    let nginx = Nginx::start(&program, |port| {
        format!(
            "server {{ listen 127.0.0.1:{port} ssl http2; ssl_certificate {};
             ssl_certificate_key {}; ssl_client_certificate {}; ssl_verify_client on;
             location /v1/ {{ default_type application/json;
             return 200 '{{\"by\":\"$server_protocol\",\"conn\":$connection,\"who\":\"$ssl_client_verify\"}}'; }} }}",
            server.cert.display(),
            server.key.display(),
            ours.authority.display()
        )
    });
    let keys = showing(&server, &ours);
    for (http2, protocol) in [("", "HTTP/1.1"), (", http2: true", "HTTP/2.0")] {
        let gateway = Gateway::start(&over_tls(nginx.address, &format!("{keys}{http2}")));
        let mut connections = std::collections::HashSet::new();
        // Over one connection, so that each request finds what the one before it has left in the pool.
        let mut client = gateway.connect().await;
        for _ in 0..3 {
            let answer = client.post(CHAT, &chat("gpt-4o")).await;
            assert_eq!(answer.status, 200, "{}", answer.text());
            let said = answer.json();
            assert_eq!(
                (&said["by"], &said["who"]),
                (&protocol.into(), &"SUCCESS".into())
            );
            connections.insert(said["conn"].to_string());
        }
        assert_eq!(connections.len(), 1, "the connection is used again");
    }
}

#[tokio::test]
async fn a_server_may_have_another_name_than_its_url() {
    let Some(_) = require(&["openssl"], "openssl") else {
        return;
    };
    let folder = Folder::new();
    let named = certificate_for(&folder, &[], "DNS:api.internal");
    let upstream = Upstream::answering(ANSWER).await;
    let end = TlsEnd::before(upstream.address, &named, None).await;
    let keys = trusting(&named);
    let gateway = Gateway::start(&over_tls(end.address, &keys));
    is_refused(&gateway, "gpt-4o", "api.internal").await;
    let keys = keys.replace("tls: {", "tls: { server_name: api.internal,");
    let gateway = Gateway::start(&over_tls(end.address, &keys));
    let mut client = gateway.connect().await;
    is_answered(&mut client, "gpt-4o").await;
    // Only TLS is concerned: the request is still for the URL's host.
    let host = upstream.request().await;
    assert_eq!(host.header("host"), [end.address.to_string()]);
}

#[tokio::test]
async fn a_certificate_that_has_expired_is_refused() {
    let (Some(_), Some(_)) = (
        require(&["openssl"], "openssl"),
        require(&["faketime"], "faketime"),
    ) else {
        return;
    };
    let folder = Folder::new();
    let before = ["faketime", "-f", "-10d"];
    let expired = certificate_for(&folder, &before, "DNS:localhost,IP:127.0.0.1");
    let upstream = Upstream::answering(ANSWER).await;
    let end = TlsEnd::before(upstream.address, &expired, None).await;
    let gateway = Gateway::start(&over_tls(end.address, &trusting(&expired)));
    is_refused(&gateway, "gpt-4o", "its certificate has expired").await;
    assert_eq!(upstream.requests(), 0);
}

#[tokio::test]
async fn a_changed_authority_is_in_force_without_a_restart() {
    let Some(_) = require(&["openssl"], "openssl") else {
        return;
    };
    let (folder, other, trusted) = (Folder::new(), Folder::new(), Folder::new());
    let (known, unknown) = (certificate(&folder), certificate(&other));
    let file = trusted.0.join("ca.pem");
    std::fs::copy(&known.authority, &file).unwrap();
    let upstream = Upstream::answering(ANSWER).await;
    let end = TlsEnd::before(upstream.address, &known, None).await;
    let keys = format!(", tls: {{ ca: '{}' }}", file.display());
    let gateway = Gateway::start(&over_tls(end.address, &keys));
    let mut client = gateway.connect().await;
    is_answered(&mut client, "gpt-4o").await;
    std::fs::copy(&unknown.authority, &file).unwrap();
    gateway.output().wait_for("upstreams.far: changed (tls)");
    // The connection that waits was made while the other authority was trusted.
    soon("the connection is no longer used", async {
        while gateway.post(CHAT, &chat("gpt-4o")).await.status == 200 {}
    })
    .await;
    is_refused(&gateway, "gpt-4o", "name the one that has in `tls.ca`").await;
    assert_eq!(end.counts(), (1, 0));
    std::fs::copy(&known.authority, &file).unwrap();
    soon("the first authority is trusted again", async {
        while gateway.post(CHAT, &chat("gpt-4o")).await.status != 200 {}
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn health_checks_speak_tls_as_requests_do() {
    let Some(_) = require(&["openssl"], "openssl") else {
        return;
    };
    let folder = Folder::new();
    let known = certificate(&folder);
    let upstream = Upstream::answering(ANSWER).await;
    let end = TlsEnd::before(upstream.address, &known, None).await;
    let check = ", health_check: { path: /health, interval: 50ms, unhealthy_after: 1 }";
    let keys = format!("{}{check}", trusting(&known));
    let gateway = Gateway::start(&over_tls(end.address, &keys));
    let mut client = gateway.connect().await;
    assert_eq!(upstream.request().await.path, "/health");
    is_answered(&mut client, "gpt-4o").await;
    let gateway = Gateway::start(&over_tls(end.address, check));
    gateway
        .output()
        .wait_for("is unhealthy and gets no requests");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_is_spoken_to_by_rfc_8998() {
    let Some(_) = require(&["openssl"], "openssl") else {
        return;
    };
    let folder = Folder::new();
    let sm = sm_certificate(&folder);
    let upstream = Upstream::answering(ANSWER).await;
    let Some(relay) = Relay::server(upstream.address, &sm) else {
        return;
    };
    let ca = sm.authority.display();
    let keys = format!(", tls: {{ ca: '{ca}', sm: true }}");
    let gateway = Gateway::start(&over_tls(relay.address, &keys));
    let mut client = gateway.connect().await;
    is_answered(&mut client, "gpt-4o").await;
    relay.wait_for(&format!("{STRICT} http/1.1 full"));
    // The usual suites have nothing in common with it.
    let keys = format!(", tls: {{ ca: '{ca}' }}");
    let gateway = Gateway::start(&over_tls(relay.address, &keys));
    is_refused(&gateway, "gpt-4o", "does not agree to any of our suites").await;
}

/// What `check` says of an upstream with these keys.
fn checked(folder: &Folder, keys: &str) -> String {
    let yaml = over_tls("127.0.0.1:1".parse().unwrap(), keys);
    let file = folder.write("tollgate.yaml", yaml);
    let mut command = std::process::Command::new(BINARY);
    let output = command.args(["check", "-c"]).arg(file).output().unwrap();
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn files_that_cannot_be_used_are_reported_with_their_place() {
    let Some(_) = require(&["openssl"], "openssl") else {
        return;
    };
    let (folder, other) = (Folder::new(), Folder::new());
    let made = certificate(&folder);
    let stranger = certificate(&other);
    let stranger = stranger.key.display();
    folder.write("empty.pem", "nothing");
    for (tls, place, said) in [
        ("ca: none.pem", ".ca", "cannot read"),
        ("ca: empty.pem", ".ca", "holds no certificate"),
        ("cert: cert.pem", ".cert", "a certificate needs its `key`"),
        ("key: key.pem", ".key", "a key needs its `cert`"),
        (
            "cert: cert.pem, key: empty.pem",
            ".key",
            "holds no private key",
        ),
        (
            "cert: cert.pem, key: key.pem, sm: true",
            ".key",
            "not one of SM2",
        ),
        (
            "server_name: 'a b'",
            ".server_name",
            "neither a host's name",
        ),
        ("insecure: true", "", "unknown key"),
        (
            &format!("cert: cert.pem, key: '{stranger}'"),
            "",
            "does not belong",
        ),
    ] {
        let text = checked(&folder, &format!(", tls: {{ {tls} }}"));
        let place = format!("upstreams.far.tls{place}");
        assert!(
            text.contains(&place) && text.contains(said),
            "{tls}: {text}"
        );
    }
    // Paths are relative to the folder of the configuration.
    let text = checked(
        &folder,
        ", tls: { ca: ca.pem, cert: cert.pem, key: key.pem }",
    );
    assert!(!text.contains("upstreams.far.tls"), "{text}");
    assert!(made.cert.is_file());
}
