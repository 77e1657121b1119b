//! Signed requests: made by `http-message-signatures` and by hand, altered on their way, and sent again.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as BASE64;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

use super::{bearer, refused, yaml};
use crate::sdk::{ask_as, python};
use crate::support::client::{Client, Response};
use crate::support::gateway::Gateway;
use crate::support::http2::Client2;
use crate::support::upstream::Upstream;
use crate::support::{DONE, FINISHED, chat, delta};

const SECRET: &str = "a-canary-of-a-secret-with-32-bytes-or-more";

const SECTIONS: &str = "auth:
  hmac: { window: 2m }
tenants:
  - id: batch
    auth: [hmac]
    hmac:
      - { id: k1, secret: a-canary-of-a-secret-with-32-bytes-or-more }
      - { id: off, secret: a-canary-of-a-secret-with-32-bytes-or-more, enabled: false }
  - { id: other, keys: [a-key-of-another-tenant] }
";

/// A request, and how it is signed.
#[derive(Clone)]
struct Signed {
    method: &'static str,
    path: String,
    content_type: String,
    body: Vec<u8>,
    nonce: String,
    key: &'static str,
    age_s: i64,
}

impl Signed {
    fn post(path: &str, body: impl Into<Vec<u8>>) -> Self {
        Self {
            method: "POST",
            path: path.to_owned(),
            content_type: "application/json".to_owned(),
            body: body.into(),
            nonce: fastrand::u128(..).to_string(),
            key: "k1",
            age_s: 0,
        }
    }

    fn chat() -> Self {
        Self::post("/v1/chat/completions", chat("gpt-4o"))
    }

    fn get(path: &str) -> Self {
        Self {
            method: "GET",
            ..Self::post(path, "")
        }
    }

    /// The headers of the signature.
    fn headers(&self) -> [(&'static str, String); 3] {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let created = i64::try_from(now.as_secs()).unwrap() - self.age_s;
        let (path, query) = self.path.split_once('?').unwrap_or((&self.path, ""));
        let digest = BASE64.encode(Sha256::digest(&self.body));
        let digest = format!("sha-256=:{digest}:");
        let input = format!(
            "(\"@method\" \"@path\" \"@query\" \"content-digest\");created={created};nonce=\"{}\";keyid=\"{}\"",
            self.nonce, self.key
        );
        let base = format!(
            "\"@method\": {}\n\"@path\": {path}\n\"@query\": ?{query}\n\"content-digest\": {digest}\n\
             \"@signature-params\": {input}",
            self.method
        );
        let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
        mac.update(base.as_bytes());
        let tag = BASE64.encode(mac.finalize().into_bytes());
        [
            ("content-digest", digest),
            ("signature-input", format!("sig={input}")),
            ("signature", format!("sig=:{tag}:")),
        ]
    }

    fn head(&self) -> String {
        let headers = self
            .headers()
            .map(|(name, value)| format!("{name}: {value}\r\n"));
        format!(
            "{} {} HTTP/1.1\r\nhost: a\r\ncontent-type: {}\r\n{}",
            self.method,
            self.path,
            self.content_type,
            headers.concat()
        )
    }

    /// Sends the request with this body instead of the one that was signed.
    async fn send_with(&self, gateway: &Gateway, body: &[u8]) -> Response {
        let mut client = Client::connect(gateway.address).await;
        let head = format!("{}content-length: {}\r\n\r\n", self.head(), body.len());
        client.send([head.as_bytes(), body].concat()).await;
        client.response().await
    }

    /// The same in chunks of one byte.
    async fn send_in_chunks(&self, gateway: &Gateway, body: &[u8]) -> Response {
        let mut client = Client::connect(gateway.address).await;
        let chunks = body
            .iter()
            .flat_map(|byte| [b"1\r\n", &[*byte][..], b"\r\n"].concat());
        let head = format!("{}transfer-encoding: chunked\r\n\r\n", self.head());
        let all: Vec<u8> = head.into_bytes().into_iter().chain(chunks).collect();
        client.send([&all[..], b"0\r\n\r\n"].concat()).await;
        client.response().await
    }

    async fn send(&self, gateway: &Gateway) -> Response {
        self.send_with(gateway, &self.body).await
    }
}

#[track_caller]
fn assert_refused(response: &Response, said: &str) {
    response.assert_error(
        401,
        "invalid_request_error",
        Some("invalid_signature"),
        None,
    );
    let message = response.json()["error"]["message"].to_string();
    assert!(message.contains(said), "{message}");
}

/// A form with a file for a transcription, and its type.
fn form(audio: &str) -> (String, String) {
    let part = |name: &str, value: &str| {
        format!("--b\r\ncontent-disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
    };
    let file = format!(
        "--b\r\ncontent-disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\n\r\n{audio}\r\n--b--\r\n"
    );
    (
        "multipart/form-data; boundary=b".to_owned(),
        part("model", "gpt-4o") + &file,
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_signed_by_a_package_of_others_are_served_whatever_they_are() {
    let Some(script) = python("signed.py") else {
        return;
    };
    let upstream = Upstream::start(|request, mut reply| async move {
        match request.text().contains("\"stream\":true") {
            true => {
                let text = format!("{}{FINISHED}{DONE}", delta("Hello"));
                reply.stream(&text).await;
            }
            false => {
                reply
                    .json("200 OK", "{\"id\": \"file-1\", \"object\": \"file\"}")
                    .await
            }
        }
        reply
    })
    .await;
    let sections = format!(
        "{SECTIONS}  - {{ id: home, passthrough: far, hmac: [{{ id: k2, secret: {SECRET} }}] }}\n"
    );
    let gateway = Gateway::start(&yaml(&upstream, &sections));
    let mut script = script;
    script.env("SECRET", SECRET);
    ask_as(
        script,
        &format!("http://{}/v1", gateway.address),
        "not-a-key",
    );
    gateway.access_line("key=k1 tenant=batch");
    crate::support::gateway::assert_no_secret(&gateway.output().text());
    assert!(!gateway.output().text().contains("canary-of-a-secret"));
}

#[tokio::test]
async fn a_body_that_is_not_the_signed_one_reaches_no_upstream() {
    let upstream = Upstream::answering("{}").await;
    let sections = SECTIONS.replace(
        "    auth: [hmac]\n",
        "    auth: [hmac]\n    passthrough: far\n",
    );
    let gateway = Gateway::start(&yaml(&upstream, &sections));
    let (form_type, form_body) = form("sound");
    let transcription = |path: &str| Signed {
        content_type: form_type.clone(),
        ..Signed::post(path, form_body.clone())
    };
    let file = |path: &str| Signed {
        content_type: "application/octet-stream".to_owned(),
        ..Signed::post(path, vec![b'x'; 3 << 20])
    };
    let kinds = [
        Signed::chat(),
        transcription("/v1/audio/transcriptions"),
        transcription("/v1/files"),
        file("/v1/uploads/u/parts"),
        Signed::post("/v1/vector_stores", "{\"name\": \"a\"}"),
        Signed::post("/v1/vector_stores?a=b", "[]"),
    ];
    for signed in &kinds {
        let path = &signed.path;
        assert_eq!(signed.send(&gateway).await.status, 200, "{path}");
        assert!(
            upstream
                .request()
                .await
                .body
                .ends_with(&signed.body[signed.body.len() - 2..])
        );
        let (last, rest) = signed.body.split_last().unwrap();
        let altered = [rest, &[last ^ 1]].concat();
        let longer = [&signed.body[..], b" "].concat();
        let bodies = [&altered[..], rest, &longer, b""];
        for body in bodies {
            let again = Signed {
                nonce: fastrand::u128(..).to_string(),
                ..signed.clone()
            };
            // A form that is cut is no form, which is told first.
            let answer = again.send_with(&gateway, body).await;
            assert!(
                [400, 401].contains(&answer.status),
                "{path}: {}",
                answer.text()
            );
            if body.len() < 1_000 {
                let chunked = Signed {
                    nonce: fastrand::u128(..).to_string(),
                    ..signed.clone()
                };
                let answer = chunked.send_in_chunks(&gateway, body).await;
                assert!(
                    [400, 401].contains(&answer.status),
                    "{path}: {}",
                    answer.text()
                );
            }
        }
    }
    assert_eq!(upstream.requests(), kinds.len(), "nothing else was asked");
    assert!(gateway.metric(&refused("hmac", "body")).await > 20.0);
    let answer = Signed::chat().send_with(&gateway, b"{}").await;
    assert_refused(&answer, "The body is not the one that was signed.");
}

#[tokio::test]
async fn a_signature_counts_once_also_after_a_reload_and_with_a_second_look_at_the_caller() {
    let upstream = Upstream::answering("{}").await;
    let yaml =
        yaml(&upstream, SECTIONS).replace("server:\n", "server:\n  reload_on_models: true\n");
    let gateway = Gateway::start(&yaml);
    let signed = Signed::chat();
    assert_eq!(signed.send(&gateway).await.status, 200);
    let replayed = "The signature's nonce has been used.";
    assert_refused(&signed.send(&gateway).await, replayed);
    let changed = yaml.replace("window: 2m", "window: 3m");
    gateway.folder().write("tollgate.yaml", changed);
    gateway.signal("HUP");
    gateway
        .metric_becomes("tollgate_config_reloads_total{outcome=\"applied\"}", 1.0)
        .await;
    assert_refused(&signed.send(&gateway).await, replayed);
    // The list looks for changes, and for the caller again.
    let list = Signed::get("/v1/models");
    assert_eq!(list.send(&gateway).await.status, 200);
    assert_refused(&list.send(&gateway).await, replayed);
    assert_eq!(gateway.metric(&refused("hmac", "replayed")).await, 3.0);
}

#[tokio::test]
async fn a_key_has_so_many_nonces_and_another_has_its_own() {
    let upstream = Upstream::answering("{}").await;
    let sections =
        format!("{SECTIONS}  - {{ id: calm, hmac: [{{ id: k2, secret: {SECRET} }}] }}\n");
    let few = yaml(&upstream, &sections).replace("window: 2m", "nonces: 50");
    let gateway = Gateway::start(&few);
    for _ in 0..50 {
        assert_eq!(Signed::get("/v1/models").send(&gateway).await.status, 200);
    }
    let full = Signed::get("/v1/models").send(&gateway).await;
    full.assert_error(429, "requests", Some("too_many_signatures"), None);
    assert_eq!(full.header("retry-after"), Some("1"));
    let other = Signed {
        key: "k2",
        ..Signed::get("/v1/models")
    };
    assert_eq!(other.send(&gateway).await.status, 200);
    assert_eq!(gateway.metric(&refused("hmac", "nonces")).await, 1.0);
}

#[tokio::test]
async fn what_is_refused_says_what_to_change_and_nothing_of_keys() {
    let upstream = Upstream::answering("{}").await;
    let gateway = Gateway::start(&yaml(&upstream, SECTIONS));
    let of = |key, age_s| Signed {
        key,
        age_s,
        ..Signed::chat()
    };
    assert_refused(
        &of("k1", 125).send(&gateway).await,
        " s ago, and at most 120 s are accepted",
    );
    assert_refused(
        &of("k1", -125).send(&gateway).await,
        " s in the future, in seconds since 1970, and at most 120 s are accepted",
    );
    let (unknown, disabled) = (
        of("k9", 0).send(&gateway).await,
        of("off", 0).send(&gateway).await,
    );
    assert_refused(&unknown, "The signature is not valid.");
    assert_eq!(
        unknown.json()["error"]["message"],
        disabled.json()["error"]["message"]
    );
    gateway
        .output()
        .wait_for("refused: the signature's key off is disabled");
    // What is sent besides does not count.
    let head = "POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n";
    let mut client = Client::connect(gateway.address).await;
    client
        .send(format!(
            "{head}authorization: Bearer a-key-of-another-tenant\r\nsignature-input: sig=()\r\n\r\n{{}}"
        ))
        .await;
    let answer = client.response().await;
    assert_refused(&answer, "The signature's parameter keyid is missing");
    let accepted = answer.header("accept-signature").unwrap();
    assert!(
        accepted.contains("\"content-digest\");created;keyid;nonce"),
        "{accepted}"
    );
    assert_eq!(upstream.requests(), 0);
    for reason in ["late", "early", "unknown", "disabled", "malformed"] {
        assert_eq!(
            gateway.metric(&refused("hmac", reason)).await,
            1.0,
            "{reason}"
        );
    }
}

#[tokio::test]
async fn a_listener_and_a_tenant_take_the_methods_that_they_name() {
    let upstream = Upstream::answering("{}").await;
    let gateway = Gateway::start(&yaml(&upstream, SECTIONS));
    assert_eq!(
        bearer(&gateway, "a-key-of-another-tenant").await.status,
        200
    );
    assert_eq!(Signed::chat().send(&gateway).await.status, 200);
    let keys_only =
        yaml(&upstream, SECTIONS).replace("auth: [hmac]", "auth: [key]\n    keys: [one-of-batch]");
    let gateway = Gateway::start(&keys_only);
    assert_refused(
        &Signed::chat().send(&gateway).await,
        "The signature is not valid.",
    );
    assert_eq!(gateway.metric(&refused("hmac", "method")).await, 1.0);
}

#[tokio::test]
async fn a_signed_request_over_http2_is_checked_to_its_last_byte() {
    let upstream = Upstream::answering("{}").await;
    let gateway = Gateway::start(&yaml(&upstream, SECTIONS));
    let signed = Signed::chat();
    let altered = signed.body.iter().map(|byte| byte ^ 1).collect::<Vec<u8>>();
    for (body, status) in [(&signed.body, 200), (&altered, 401)] {
        let again = Signed {
            nonce: fastrand::u128(..).to_string(),
            ..signed.clone()
        };
        let headers = again.headers();
        let mut all: Vec<(&str, &str)> = headers.iter().map(|(n, v)| (*n, v.as_str())).collect();
        all.push(("content-type", "application/json"));
        let body = String::from_utf8_lossy(body).into_owned();
        let mut client = Client2::connect(&gateway).await;
        let answer = client
            .send("POST", "/v1/chat/completions", &all, &[&body, ""])
            .await
            .unwrap();
        assert_eq!(answer.status, status);
    }
    assert_eq!(upstream.requests(), 1);
}
