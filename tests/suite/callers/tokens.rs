//! Tokens made by PyJWT and by jose, and a provider of identities that fails, is slow and takes new keys.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use serde_json::{Value, json};

use super::{ask, bearer, refused, yaml};
use crate::sdk::{node, python};
use crate::support::certificate::certificate;
use crate::support::gateway::{Folder, Gateway};
use crate::support::tools::{require, root, run};
use crate::support::upstream::Upstream;
use crate::support::{chat, soon};
use crate::upstream_connections::ends::TlsEnd;

/// An identity provider that publishes keys.
struct Idp {
    server: Upstream,
    keys: Arc<Mutex<Value>>,
    is_down: Arc<AtomicBool>,
}

impl Idp {
    async fn start(keys: Value) -> Self {
        let keys = Arc::new(Mutex::new(keys));
        let is_down = Arc::new(AtomicBool::new(false));
        let (published, down) = (Arc::clone(&keys), Arc::clone(&is_down));
        let server = Upstream::start(move |_, mut reply| {
            let (text, is_down) = (published.lock().to_string(), down.load(Ordering::SeqCst));
            async move {
                match is_down {
                    true => reply.json("503 Service Unavailable", "{}").await,
                    false => reply.json("200 OK", &text).await,
                }
                reply
            }
        })
        .await;
        Self {
            server,
            keys,
            is_down,
        }
    }
}

/// Runs a script that makes tokens.
fn made(command: Option<Command>) -> Option<Value> {
    let mut command = command?;
    command.arg(keys());
    let said = tokio::task::block_in_place(|| run(&mut command));
    Some(serde_json::from_str(&said).unwrap())
}

fn keys() -> PathBuf {
    root().join("tests/fixtures/keys")
}

fn sections(idp: &Idp) -> String {
    format!(
        "auth:
  jwt:
    - issuer: https://idp.example
      audience: tollgate
      algorithms: [RS256, RS512, PS256, PS384, ES256, ES384, EdDSA]
      jwks: {{ url: 'http://{}/jwks.json' }}
      tenant_claim: tenant
      models_claim: models
      limits_claim: limits
    - issuer: https://secret.example
      audience: tollgate
      algorithms: [HS256]
      secret: {}
      tenant: team-a
tenants:
  - id: team-a
  - {{ id: closed, enabled: false }}
  - {{ id: keys-only, auth: key, keys: [a-key-of-keys-only] }}
",
        idp.server.address,
        "s".repeat(32)
    )
}

/// Waits until the keys of the provider are known.
async fn knows_keys(gateway: &Gateway, token: &str) {
    soon("the keys of the issuer", async {
        while bearer(gateway, token).await.status == 503 {}
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_of_pyjwt_lead_to_their_tenant_and_wrong_ones_nowhere() {
    let Some(made) = made(python("tokens.py")) else {
        return;
    };
    let token = |name: &str| made["tokens"][name].as_str().unwrap().to_owned();
    let idp = Idp::start(made["jwks"].clone()).await;
    let upstream = Upstream::answering("{}").await;
    let gateway = Gateway::start(&yaml(&upstream, &sections(&idp)));
    knows_keys(&gateway, &token("RS256")).await;
    for name in [
        "RS256", "RS512", "PS256", "ES256", "ES384", "EdDSA", "HS256",
    ] {
        assert_eq!(bearer(&gateway, &token(name)).await.status, 200, "{name}");
    }
    gateway.access_line("key=python tenant=team-a");
    // Wherever clients put a key.
    for header in ["api-key", "x-api-key", "x-goog-api-key"] {
        let headers = format!("{header}: {}\r\n", token("ES256"));
        assert_eq!(ask(&gateway, &headers).await.status, 200, "{header}");
    }
    for (name, reason) in [
        ("expired", "expired"),
        ("early", "early"),
        ("audience", "audience"),
        ("issuer", "issuer"),
        ("tenant", "tenant"),
        ("none", "malformed"),
    ] {
        let answer = bearer(&gateway, &token(name)).await;
        answer.assert_error(401, "invalid_request_error", Some("invalid_token"), None);
        let challenge = answer.header("www-authenticate").unwrap();
        assert!(
            challenge.starts_with("Bearer error=\"invalid_token\""),
            "{challenge}"
        );
        gateway.metric_becomes(&refused("jwt", reason), 1.0).await;
    }
    for (name, reason) in [("disabled", "disabled"), ("method", "method")] {
        assert_eq!(bearer(&gateway, &token(name)).await.status, 401, "{name}");
        gateway.metric_becomes(&refused("jwt", reason), 1.0).await;
    }
    // Nothing of a token is in the log, which is at its most talkative.
    let said = gateway.output().text();
    for token in made["tokens"].as_object().unwrap().values() {
        let signature = token.as_str().unwrap().rsplit('.').next().unwrap();
        assert!(signature.is_empty() || !said.contains(signature));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_of_jose_lead_to_their_tenant() {
    let folder = Folder::new();
    let Some(made) = made(node("tokens.mjs", &folder)) else {
        return;
    };
    let idp = Idp::start(made["jwks"].clone()).await;
    let upstream = Upstream::answering("{}").await;
    let gateway = Gateway::start(&yaml(&upstream, &sections(&idp)));
    let tokens = made["tokens"].as_object().unwrap();
    knows_keys(&gateway, tokens["RS256"].as_str().unwrap()).await;
    for (name, token) in tokens {
        let answer = bearer(&gateway, token.as_str().unwrap()).await;
        assert_eq!(answer.status, 200, "{name}");
    }
    gateway.access_line("key=node tenant=team-a");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_url_of_an_issuer_may_have_an_authority_of_its_own() {
    if require(&["openssl"], "openssl").is_none() {
        return;
    }
    let Some(made) = made(python("tokens.py")) else {
        return;
    };
    let token = made["tokens"]["RS256"].as_str().unwrap();
    let folder = Folder::new();
    let certificate = certificate(&folder);
    let idp = Idp::start(made["jwks"].clone()).await;
    let end = TlsEnd::before(idp.server.address, &certificate, None).await;
    let upstream = Upstream::answering("{}").await;
    let plain = format!("url: 'http://{}/jwks.json'", idp.server.address);
    let url = format!("url: 'https://localhost:{}/jwks.json'", end.address.port());
    let with_ca = format!("{url}, ca: '{}'", certificate.authority.display());
    let sections = |keys: &str| sections(&idp).replace(&plain, keys);
    let gateway = Gateway::start(&yaml(&upstream, &sections(&with_ca)));
    knows_keys(&gateway, token).await;
    assert_eq!(bearer(&gateway, token).await.status, 200);
    // The system's authorities do not vouch for it.
    let gateway = Gateway::start(&yaml(&upstream, &sections(&url)));
    let failing = "tollgate_jwks_failing{issuer=\"https://idp.example\"}";
    gateway.metric_becomes(failing, 1.0).await;
    assert_eq!(bearer(&gateway, token).await.status, 503);
    gateway
        .output()
        .wait_for("the keys of the issuer https://idp.example cannot be had");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_may_bring_limits_for_its_subject() {
    let Some(made) = made(python("tokens.py")) else {
        return;
    };
    let token = |name: &str| made["tokens"][name].as_str().unwrap().to_owned();
    let idp = Idp::start(made["jwks"].clone()).await;
    let upstream = Upstream::answering("{}").await;
    let gateway = Gateway::start(&yaml(&upstream, &sections(&idp)));
    knows_keys(&gateway, &token("RS256")).await;
    assert_eq!(bearer(&gateway, &token("limited")).await.status, 200);
    let second = bearer(&gateway, &token("limited again")).await;
    assert_eq!(second.status, 200);
    assert_eq!(second.header("x-ratelimit-limit-requests"), Some("2"));
    let third = bearer(&gateway, &token("limited")).await;
    third.assert_error(429, "requests", Some("rate_limit_exceeded"), None);
    assert!(
        third.text().contains("for your token on"),
        "{}",
        third.text()
    );
    let limited = "tollgate_limited_total{limit=\"requests_per_minute\",scope=\"subject\"}";
    assert_eq!(gateway.metric(limited).await, 1.0);
    assert_eq!(
        bearer(&gateway, &token("another subject")).await.status,
        200
    );
    assert_eq!(bearer(&gateway, &token("RS256")).await.status, 200);
    let mistaken = bearer(&gateway, &token("mistaken")).await;
    mistaken.assert_error(401, "invalid_request_error", Some("invalid_token"), None);
    // The keys of the issuer stand as they should.
    let failing = "tollgate_jwks_failing{issuer=\"https://idp.example\"}";
    assert_eq!(gateway.metric(failing).await, 0.0);
    let age = "tollgate_jwks_age_seconds{issuer=\"https://idp.example\"}";
    assert!(gateway.metric(age).await < 60.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_may_have_fewer_models_than_its_tenant() {
    let Some(made) = made(python("tokens.py")) else {
        return;
    };
    let idp = Idp::start(made["jwks"].clone()).await;
    let upstream = Upstream::answering("{}").await;
    let more = "models:\n  - { match: other, targets: [{ upstream: far }] }\n";
    let gateway = Gateway::start(&yaml(&upstream, &sections(&idp)).replacen("models:\n", more, 1));
    let narrow = made["tokens"]["narrow"].as_str().unwrap();
    let wide = made["tokens"]["RS256"].as_str().unwrap();
    knows_keys(&gateway, wide).await;
    let asks = async |token: &str, model: &str| {
        let mut client = gateway.connect().await;
        let body = chat(model);
        client
            .send(format!(
                "POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {token}\r\n\
                 content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            ))
            .await;
        client.response().await.status
    };
    assert_eq!(asks(wide, "other").await, 200);
    assert_eq!(asks(narrow, "gpt-4o").await, 200);
    assert_eq!(asks(narrow, "other").await, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_cannot_be_had_are_told_and_the_last_good_ones_stay() {
    let Some(made) = made(python("tokens.py")) else {
        return;
    };
    let token = made["tokens"]["RS256"].as_str().unwrap();
    let idp = Idp::start(made["jwks"].clone()).await;
    idp.is_down.store(true, Ordering::SeqCst);
    let upstream = Upstream::answering("{}").await;
    let gateway = Gateway::start(&yaml(&upstream, &sections(&idp)));
    let answer = bearer(&gateway, token).await;
    let code = Some("identity_provider_unavailable");
    answer.assert_error(503, "server_error", code, None);
    assert_eq!(answer.header("retry-after"), Some("5"));
    gateway
        .output()
        .wait_for("the keys of the issuer https://idp.example cannot be had: it answered with 503");
    // Callers with other methods are served meanwhile.
    let secret = made["tokens"]["HS256"].as_str().unwrap();
    assert_eq!(bearer(&gateway, secret).await.status, 200);
    idp.is_down.store(false, Ordering::SeqCst);
    knows_keys(&gateway, token).await;
    assert_eq!(bearer(&gateway, token).await.status, 200);
    gateway.output().wait_for("are there again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_key_of_the_issuer_is_asked_for_once_in_a_while() {
    let Some(made) = made(python("tokens.py")) else {
        return;
    };
    let all = made["jwks"]["keys"].as_array().unwrap().clone();
    let is_rsa = |key: &Value| key["kid"] == "rsa";
    let (rsa, others): (Vec<Value>, Vec<Value>) = all.into_iter().partition(is_rsa);
    let idp = Idp::start(json!({ "keys": rsa })).await;
    let upstream = Upstream::answering("{}").await;
    let gateway = Gateway::start(&yaml(&upstream, &sections(&idp)));
    let token = |name: &str| made["tokens"][name].as_str().unwrap();
    knows_keys(&gateway, token("RS256")).await;
    // The keys have been got a moment ago: they are not asked for again.
    let both = [rsa, others].concat();
    *idp.keys.lock() = json!({ "keys": both });
    let asked = idp.server.requests();
    for _ in 0..20 {
        let answer = bearer(&gateway, token("ES256")).await;
        answer.assert_error(401, "invalid_request_error", Some("invalid_token"), None);
    }
    assert_eq!(idp.server.requests(), asked);
    gateway
        .metric_becomes(&refused("jwt", "unknown_key"), 20.0)
        .await;
    assert_eq!(bearer(&gateway, token("RS256")).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_in_a_file_are_read_again_when_it_changes() {
    let Some(made) = made(python("tokens.py")) else {
        return;
    };
    let folder = Folder::new();
    let write = |is_wanted: fn(&Value) -> bool| {
        let keys = made["jwks"]["keys"].as_array().unwrap().iter();
        let keys: Vec<&Value> = keys.filter(|key| is_wanted(key)).collect();
        folder.write("keys.json", json!({ "keys": keys }).to_string())
    };
    let file = write(|key| key["kid"] == "rsa");
    let upstream = Upstream::answering("{}").await;
    let gateway = Gateway::start(&yaml(
        &upstream,
        &format!(
            "auth:
  jwt:
    - issuer: https://idp.example
      audience: tollgate
      algorithms: [RS256, ES256]
      jwks: {{ file: '{}' }}
      tenant: team-a
tenants: [{{ id: team-a }}]
",
            file.display()
        ),
    ));
    let token = |name: &str| made["tokens"][name].as_str().unwrap();
    assert_eq!(bearer(&gateway, token("RS256")).await.status, 200);
    assert_eq!(bearer(&gateway, token("ES256")).await.status, 401);
    write(|key| key["kid"] == "p256");
    soon("the other key", async {
        while bearer(&gateway, token("ES256")).await.status != 200 {}
    })
    .await;
    assert_eq!(bearer(&gateway, token("RS256")).await.status, 401);
}
