//! How a socket is opened: what the upstream sees of it, and what the client.

use crate::support::client::Client;
use crate::support::gateway::{Gateway, config};
use crate::support::upstream::{Listener, Received, Upstream};
use crate::support::websocket::{
    ACCEPT, NONCE, OPENED, REALTIME, Side, TEXT, frame, keyed, opening,
};
use crate::support::{CLIENT_KEY, PROVIDER_KEY};

/// Opens a socket as far as the upstream, and lets it be opened there.
async fn seen_of(gateway: &Gateway, upstream: &Listener, request: String) -> Received {
    let mut client = gateway.connect().await;
    client.send(request).await;
    let (seen, mut far) = upstream.accept().await;
    far.raw(OPENED).await;
    assert_eq!(client.head().await.0, 101);
    seen
}

/// Headers by their lower-case names, in order.
fn sorted(headers: &[(String, String)]) -> Vec<(String, &str)> {
    let pairs = headers.iter();
    let pairs = pairs.map(|(name, value)| (name.to_lowercase(), value.as_str()));
    let mut pairs: Vec<_> = pairs.collect();
    pairs.sort();
    pairs
}

fn owned<'v>(headers: &[(&str, &'v str)]) -> Vec<(String, &'v str)> {
    let pairs = headers.iter();
    pairs
        .map(|(name, value)| ((*name).to_owned(), *value))
        .collect()
}

#[tokio::test]
async fn both_sides_see_what_concerns_them_and_nothing_else() {
    let upstream = Listener::bind().await;
    let gateway = Gateway::start(&config(upstream.address, "", ""));
    let mut client = gateway.connect().await;
    let path =
        format!("/v1/realtime?a=1&model=gpt-4o&key={CLIENT_KEY}&api_key={CLIENT_KEY}&intent=x%20y");
    let headers = format!(
        "sec-websocket-protocol: realtime, openai-insecure-api-key.{CLIENT_KEY}\r\n\
         sec-websocket-protocol: openai-organization.org-1,openai-project.p\r\n\
         sec-websocket-protocol: openai-beta.realtime-v1\r\n\
         sec-websocket-extensions: permessage-deflate; client_max_window_bits\r\n\
         openai-beta: realtime=v1\r\nopenai-organization: org-1\r\nopenai-project: p\r\n\
         origin: https://app.example\r\ncookie: c=1\r\nuser-agent: browser\r\n\
         x-forwarded-for: 192.0.2.1\r\ncontent-type: text/plain\r\n"
    );
    client.send(keyed(&path, &headers)).await;
    let (seen, mut far) = upstream.accept().await;
    assert_eq!(seen.method, "GET");
    assert_eq!(
        seen.path,
        "/v1/realtime?a=1&intent=x%20y&model=gpt-4o-2024-11-20"
    );
    let host = upstream.address.to_string();
    let provider = format!("Bearer {PROVIDER_KEY}");
    let ours = owned(&[
        ("authorization", provider.as_str()),
        ("connection", "Upgrade"),
        ("host", host.as_str()),
        ("openai-beta", "realtime=v1"),
        ("sec-websocket-key", NONCE),
        (
            "sec-websocket-protocol",
            "realtime, openai-beta.realtime-v1",
        ),
        ("sec-websocket-version", "13"),
        ("upgrade", "websocket"),
        ("user-agent", "browser"),
        ("x-tollgate-hops", "1"),
    ]);
    assert_eq!(sorted(&seen.headers), ours);

    let more = "sec-websocket-protocol: openai-beta.realtime-v1\r\nset-cookie: c=1\r\n\
                openai-organization: org-2\r\nx-request-id: theirs\r\nserver: far\r\n\r\n";
    far.raw(OPENED.replace("\r\n\r\n", &format!("\r\n{more}")))
        .await;
    let (status, headers) = client.head().await;
    assert_eq!(status, 101);
    let id = headers.iter().find(|(name, _)| name == "x-request-id");
    let id = id.map_or("", |(_, value)| value.as_str());
    assert!(id.starts_with("req_"), "{headers:?}");
    let theirs = owned(&[
        ("connection", "Upgrade"),
        ("sec-websocket-accept", ACCEPT),
        ("sec-websocket-protocol", "realtime"),
        ("upgrade", "websocket"),
        ("x-request-id", id),
    ]);
    assert_eq!(sorted(&headers), theirs);
}

#[tokio::test]
async fn only_realtime_is_ever_chosen_and_only_where_it_was_offered() {
    let upstream = Listener::bind().await;
    let gateway = Gateway::start(&config(upstream.address, "", ""));
    for (offered, forwarded, chosen) in [
        ("", &[][..], None),
        (
            "openai-beta.realtime-v1",
            &["openai-beta.realtime-v1"],
            None,
        ),
        ("openai-organization.org-1", &[], None),
        ("x, realtime", &["x, realtime"], Some("realtime")),
    ] {
        let mut client = gateway.connect().await;
        let header = match offered {
            "" => String::new(),
            offered => format!("sec-websocket-protocol: {offered}\r\n"),
        };
        client.send(keyed(REALTIME, &header)).await;
        let (seen, mut far) = upstream.accept().await;
        assert_eq!(seen.header("sec-websocket-protocol"), forwarded);
        far.raw(OPENED).await;
        let (_, headers) = client.head().await;
        let mut answered = headers.iter();
        let answered =
            answered.find(|(name, _)| name.eq_ignore_ascii_case("sec-websocket-protocol"));
        assert_eq!(
            answered.map(|(_, value)| value.as_str()),
            chosen,
            "{offered}"
        );
    }
}

#[tokio::test]
async fn a_key_is_taken_from_where_clients_put_it() {
    let upstream = Listener::bind().await;
    let gateway = Gateway::start(&config(upstream.address, "", ""));
    for header in [
        format!("authorization: Bearer {CLIENT_KEY}"),
        format!("api-key: {CLIENT_KEY}"),
        format!("x-api-key: {CLIENT_KEY}"),
        format!("sec-websocket-protocol: realtime, openai-insecure-api-key.{CLIENT_KEY}"),
        // What a proxy in between asks for itself is no key of ours.
        format!(
            "authorization: Basic dTpw\r\n\
             sec-websocket-protocol: openai-insecure-api-key.{CLIENT_KEY}"
        ),
    ] {
        let request = opening(REALTIME, &format!("{header}\r\n"));
        let seen = seen_of(&gateway, &upstream, request).await;
        let provider = format!("Bearer {PROVIDER_KEY}");
        assert_eq!(seen.header("authorization"), [provider], "{header}");
        assert!(!format!("{seen:?}").contains(CLIENT_KEY), "{seen:?}");
    }
    gateway.access_line("tenant=tester method=GET path=/v1/realtime model=gpt-4o");
}

#[tokio::test]
async fn a_client_s_own_key_is_sent_on_where_it_is_to_be() {
    let upstream = Listener::bind().await;
    let keys = format!("keys: ['{PROVIDER_KEY}']");
    let yaml = config(upstream.address, "", "").replace(&keys, "keys: passthrough");
    let gateway = Gateway::start(&yaml);
    let key = format!("sec-websocket-protocol: openai-insecure-api-key.{CLIENT_KEY}\r\n");
    let seen = seen_of(&gateway, &upstream, opening(REALTIME, &key)).await;
    assert_eq!(
        seen.header("authorization"),
        [format!("Bearer {CLIENT_KEY}")]
    );
    assert!(seen.header("sec-websocket-protocol").is_empty());
}

#[tokio::test]
async fn a_server_that_is_down_is_passed_over() {
    let upstream = Listener::bind().await;
    let nobody = Listener::bind().await.address;
    let one = format!("base_url: 'http://{}/v1'", upstream.address);
    let two = format!(
        "servers: ['http://{nobody}/v1', 'http://{}/v1']",
        upstream.address
    );
    let gateway = Gateway::start(&config(upstream.address, "", "").replace(&one, &two));
    for _ in 0..4 {
        seen_of(&gateway, &upstream, keyed(REALTIME, "")).await;
    }
}

#[tokio::test]
async fn without_client_keys_anybody_may_open_one() {
    let upstream = Listener::bind().await;
    let yaml = config(upstream.address, "", "");
    let (yaml, _) = yaml.split_once("tenants:").unwrap();
    let gateway = Gateway::start(yaml);
    let seen = seen_of(&gateway, &upstream, opening(REALTIME, "")).await;
    assert_eq!(
        seen.header("authorization"),
        [format!("Bearer {PROVIDER_KEY}")]
    );
}

#[tokio::test]
async fn the_upstream_reads_the_model_that_was_checked_and_no_other() {
    let upstream = Listener::bind().await;
    let gateway = Gateway::start(&config(upstream.address, "", ""));
    for (query, sent) in [
        ("model=gpt-4o", "model=gpt-4o-2024-11-20"),
        ("model=same-x", "model=same-x"),
        ("model=same-a%2Fb+c%20d", "model=same-a%2Fb%20c%20d"),
        ("x=1&&model=gpt%2D4o&", "x=1&model=gpt-4o-2024-11-20"),
        ("deployment=forbidden&model=same-x", "model=same-x"),
        ("k%65y=secret&API_KEY=secret&model=same-x", "model=same-x"),
    ] {
        let path = format!("/v1/realtime?{query}");
        let seen = seen_of(&gateway, &upstream, keyed(&path, "")).await;
        assert_eq!(seen.path, format!("/v1/realtime?{sent}"), "{query}");
    }
}

#[tokio::test]
async fn a_dialect_says_where_a_socket_is_opened() {
    let upstream = Listener::bind().await;
    let yaml = config(
        upstream.address,
        ", dialect: { name: azure, api_version: v7 }",
        "",
    );
    let gateway = Gateway::start(&yaml.replace("/v1'", "'"));
    let request = keyed("/v1/realtime?model=gpt-4o&api-version=v1", "");
    let seen = seen_of(&gateway, &upstream, request).await;
    assert_eq!(
        seen.path,
        "/openai/realtime?deployment=gpt-4o-2024-11-20&api-version=v7"
    );
    assert_eq!(seen.header("api-key"), [PROVIDER_KEY]);
    assert!(seen.header("authorization").is_empty());
}

#[tokio::test]
async fn an_opening_is_read_as_the_rfc_lets_clients_write_it() {
    let upstream = Listener::bind().await;
    let gateway = Gateway::start(&config(upstream.address, "", ""));
    let request = keyed(REALTIME, "")
        .replace("upgrade: websocket", "UPGRADE: WebSocket")
        .replace("connection: Upgrade", "Connection: keep-alive, upgrade");
    seen_of(&gateway, &upstream, request).await;
}

#[tokio::test]
async fn a_connection_that_has_been_used_can_become_a_socket() {
    let upstream = Listener::bind().await;
    let gateway = Gateway::start(&config(upstream.address, "", ""));
    let mut client = gateway.connect().await;
    assert_eq!(client.get("/health").await.status, 200);
    client.send(keyed(REALTIME, "")).await;
    let (_, mut far) = upstream.accept().await;
    far.raw([OPENED.as_bytes(), &frame(TEXT, b"hello")].concat())
        .await;
    assert_eq!(client.head().await.0, 101);
    assert_eq!(client.frame().await.unwrap().payload, b"hello");
}

#[tokio::test]
async fn what_an_upstream_says_before_it_opens_is_not_its_answer() {
    let upstream = Listener::bind().await;
    let gateway = Gateway::start(&config(upstream.address, "", ""));
    let mut client = gateway.connect().await;
    client.send(keyed(REALTIME, "")).await;
    let (_, mut far) = upstream.accept().await;
    far.raw("HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n")
        .await;
    far.raw([OPENED.as_bytes(), &frame(TEXT, b"hello")].concat())
        .await;
    assert_eq!(client.head().await.0, 101);
    assert_eq!(client.frame().await.unwrap().payload, b"hello");
}

#[tokio::test]
async fn responses_go_to_their_model_s_upstream_or_to_the_home() {
    let far = Listener::bind().await;
    let home = Listener::bind().await;
    let yaml = config(far.address, "", "").replace(
        "models:\n",
        &format!(
            "  home: {{ base_url: 'http://{}/v1' }}\nmodels:\n",
            home.address
        ),
    );
    let tenant = |more: &str| yaml.replace("models: [gpt-4o, 'same-*', missing]", more);
    let at_home = Gateway::start(&tenant("passthrough: home"));
    let seen = seen_of(&at_home, &home, keyed("/v1/responses?x=1", "")).await;
    assert_eq!(seen.path, "/v1/responses?x=1");
    let by_model = "/v1/responses?model=gpt-4o";
    let homeless = Gateway::start(&tenant("passthrough: off"));
    let seen = seen_of(&homeless, &far, keyed(by_model, "")).await;
    assert_eq!(seen.path, "/v1/responses?model=gpt-4o-2024-11-20");
    homeless.access_line("path=/v1/responses model=gpt-4o sent=gpt-4o-2024-11-20 upstream=far");

    // Its messages may name any model of the upstream that it is opened at.
    for limited in [
        "models: [gpt-4o]".to_owned(),
        "models: [gpt-4o], passthrough: home".to_owned(),
    ] {
        let gateway = Gateway::start(&tenant(&limited));
        let mut client = gateway.connect().await;
        client.send(keyed(by_model, "")).await;
        let response = client.response().await;
        response.assert_error(
            400,
            "invalid_request_error",
            Some("invalid_handshake"),
            None,
        );
    }
    let both = Gateway::start(&tenant("models: [gpt-4o], passthrough: far"));
    seen_of(&both, &far, keyed(by_model, "")).await;
}

#[tokio::test]
async fn a_tenant_s_calls_and_sockets_reach_the_account_that_has_its_objects() {
    let upstream = Upstream::start(|request, mut reply| async move {
        match request.header("upgrade").is_empty() {
            true => reply.json("201 Created", "{}").await,
            false => {
                reply.raw(OPENED).await;
                reply.wait_for_close().await;
            }
        }
        reply
    })
    .await;
    let keys: Vec<String> = (0..8).map(|n| format!("'{PROVIDER_KEY}-{n}'")).collect();
    let yaml = config(upstream.address, "", "")
        .replace(&format!("'{PROVIDER_KEY}'"), &keys.join(", "))
        .replace(
            "server:\n",
            "server:\n  passthrough: far\n  allow_ephemeral_keys: true\n",
        );
    let gateway = Gateway::start(&yaml);
    gateway.post("/v1/realtime/calls", "{}").await;
    let account = upstream.request().await.header("authorization")[0].to_owned();
    for path in [
        "/v1/realtime?call_id=rtc_1",
        "/v1/realtime?call_id=rtc_1",
        "/v1/realtime?intent=transcription",
        "/v1/responses",
        "/v1/responses",
    ] {
        let mut client: Client = gateway.connect().await;
        client.send(keyed(path, "")).await;
        assert_eq!(client.head().await.0, 101);
        let seen = upstream.request().await;
        assert_eq!(seen.path, path);
        assert_eq!(seen.header("authorization"), [account.as_str()], "{path}");
    }
}
