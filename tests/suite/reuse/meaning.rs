//! Answers to questions that mean the same.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::{CHAT, answer, ask, ask_with, is, result, told};
use crate::ledger::rows::rows;
use crate::support::CLIENT_KEY;
use crate::support::client::{Client, Response, post};
use crate::support::gateway::{Folder, Gateway, config};
use crate::support::upstream::{Received, Reply, Upstream};
use crate::support::{soon, until};

pub(super) const SECTION: &str =
    "vector_cache: { embedding_model: small, threshold: 0.9, max_turns: 2 }\n";
/// A question, and another way to ask it.
pub(super) const QUESTION: &str = "How do I reset my password?";
pub(super) const SIMILAR: &str = "How can I reset my password?";

/// What answers a request for a vector.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Vectors {
    /// By what the text is about.
    Good,
    /// 400.
    Fail,
    /// One without numbers.
    Empty,
    /// None.
    Never,
}

/// Counts requests for vectors and for answers; the text of an answer says which it was, from 1 on.
pub(super) struct Provider {
    pub(super) upstream: Upstream,
    vectors: Arc<AtomicUsize>,
    answers: Arc<AtomicUsize>,
}

impl Provider {
    pub(super) async fn start(kind: Vectors) -> Self {
        let (vectors, answers) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let counts = (Arc::clone(&vectors), Arc::clone(&answers));
        let upstream = Upstream::start(move |request, reply| {
            let counts = (Arc::clone(&counts.0), Arc::clone(&counts.1));
            serve(kind, counts, request, reply)
        });
        Self {
            upstream: upstream.await,
            vectors,
            answers,
        }
    }

    pub(super) fn vectors(&self) -> usize {
        self.vectors.load(Ordering::SeqCst)
    }

    pub(super) fn answers(&self) -> usize {
        self.answers.load(Ordering::SeqCst)
    }

    /// The configuration of a gateway before it.
    pub(super) fn configured(&self, section: &str, more: &str) -> String {
        let more = [more, section].concat();
        config(self.upstream.address, "", &more)
            .replace(
                "{ match: gpt-4o, targets",
                "{ match: gpt-4o, cache: { when: always, by_meaning: true }, targets",
            )
            .replace("{ match: forbidden,", "{ match: small,")
    }

    fn gateway(&self) -> Gateway {
        Gateway::start(&self.configured(SECTION, ""))
    }
}

async fn serve(
    kind: Vectors,
    (vectors, answers): (Arc<AtomicUsize>, Arc<AtomicUsize>),
    request: Received,
    mut reply: Reply,
) -> Reply {
    let text = request.text();
    if !request.path.ends_with("/embeddings") {
        let number = 1 + answers.fetch_add(1, Ordering::SeqCst);
        let text = format!("answer {number}");
        match request.text().contains("\"stream\":true") {
            true => reply.stream(&super::events(&text, true)).await,
            false => reply.json("200 OK", &answer(&text)).await,
        }
        return reply;
    }
    vectors.fetch_add(1, Ordering::SeqCst);
    let vector = match text.contains("password") {
        true => format!("[1, {}]", text.len() as f32 / 1000.0),
        false => "[0, 1]".to_owned(),
    };
    let usage = r#""usage":{"prompt_tokens":7,"total_tokens":7}"#;
    match kind {
        Vectors::Good => {
            let body = format!(
                r#"{{"object":"list","data":[{{"object":"embedding","index":0,"embedding":{vector}}}],"model":"small",{usage}}}"#
            );
            reply.json("200 OK", &body).await;
        }
        Vectors::Fail => reply.json("400 Bad Request", "{}").await,
        Vectors::Empty => {
            reply
                .json("200 OK", r#"{"data":[{"index":0,"embedding":[]}]}"#)
                .await;
        }
        Vectors::Never => reply.wait_for_close().await,
    }
    reply
}

/// Asks, and sees what comes.
pub(super) async fn gets(client: &mut Client, text: &str, answer: &str, cache: &str) {
    is(&ask(client, &asking(text)).await, answer, cache);
}

/// A request that asks this of a model.
pub(super) fn asking(text: &str) -> String {
    super::asking(text, "")
}

#[track_caller]
pub(super) fn is_similar(response: &Response, text: &str) {
    is(response, text, "semantic");
    let similarity: f32 = response
        .header("x-tollgate-similarity")
        .and_then(|similarity| similarity.parse().ok())
        .unwrap();
    assert!((0.9..=1.0).contains(&similarity), "{similarity}");
    assert!(response.header("age").is_some(), "{response:?}");
}

/// That the comparison came to this so often.
pub(super) async fn compared(gateway: &Gateway, result: &str, times: f64) {
    let series = format!(r#"tollgate_cache_by_meaning_total{{result="{result}",rule="gpt-4o"}}"#);
    let counted = gateway.metric(&series).await;
    assert!((counted - times).abs() < 0.1, "{result}: {counted}");
}

#[tokio::test]
async fn a_question_that_means_the_same_gets_the_answer() {
    let provider = Provider::start(Vectors::Good).await;
    let gateway = provider.gateway();
    let mut client = gateway.connect().await;
    let first = ask(&mut client, &asking(QUESTION)).await;
    is(&first, "answer 1", "miss");
    let similar = ask(&mut client, &asking(SIMILAR)).await;
    is_similar(&similar, "answer 1");
    let id = similar.header("x-tollgate-cache-id");
    assert_eq!(id, first.header("x-request-id"));
    gateway.access_line("cache=semantic");
    assert_eq!((provider.answers(), provider.vectors()), (1, 2));
    // From now on it is found without a vector, as a stream as well.
    is_similar(&ask(&mut client, &asking(SIMILAR)).await, "answer 1");
    let streamed = super::asking(SIMILAR, r#","stream":true"#);
    is_similar(&ask(&mut client, &streamed).await, "answer 1");
    gets(&mut client, QUESTION, "answer 1", "hit").await;
    assert_eq!((provider.answers(), provider.vectors()), (1, 2));
    compared(&gateway, "hit", 1.0).await;
    compared(&gateway, "miss", 1.0).await;
    let total = r#"tollgate_cache_requests_total{result="semantic",rule="gpt-4o"}"#;
    assert!((gateway.metric(total).await - 3.0).abs() < 0.1);
}

#[tokio::test]
async fn a_stream_that_was_kept_is_an_answer_to_another_question_in_either_form() {
    let provider = Provider::start(Vectors::Good).await;
    let gateway = provider.gateway();
    let mut client = gateway.connect().await;
    let streamed = |text| super::asking(text, r#","stream":true"#);
    is(
        &ask(&mut client, &streamed(QUESTION)).await,
        "answer 1",
        "miss",
    );
    is_similar(&ask(&mut client, &asking(SIMILAR)).await, "answer 1");
    let other = "How could I reset my password?";
    is_similar(&ask(&mut client, &streamed(other)).await, "answer 1");
    assert_eq!(provider.answers(), 1);
}

#[tokio::test]
async fn what_differs_in_anything_else_gets_an_answer_of_its_own() {
    let provider = Provider::start(Vectors::Good).await;
    let gateway = provider.gateway();
    let mut client = gateway.connect().await;
    gets(&mut client, QUESTION, "answer 1", "miss").await;
    let with_system = |system: &str| {
        format!(
            r#"{{"model":"gpt-4o","messages":[{{"role":"system","content":"{system}"}},{{"role":"user","content":"{SIMILAR}"}}]}}"#
        )
    };
    for body in [
        // The vector is near, and the words disagree.
        asking("How do I not reset my password?"),
        asking("How do I reset my password 2?"),
        asking("Wie setze ich mein password zurück?"),
        // Another topic.
        asking("How is the weather?"),
        super::asking(SIMILAR, r#","max_tokens":5"#),
        super::asking(SIMILAR, r#","seed":1"#),
        with_system("Be brief."),
        with_system("Be long."),
    ] {
        let response = ask(&mut client, &body).await;
        assert_eq!(result(&response), "miss", "{body}");
    }
    assert_eq!(provider.answers(), 9);
    // Those are not compared: no vector is asked for.
    let before = provider.vectors();
    let turns = r#"{"role":"user","content":"a"},{"role":"assistant","content":"b"},"#;
    let three = format!(
        r#"{{"model":"gpt-4o","messages":[{turns}{turns}{{"role":"user","content":"{SIMILAR}"}}]}}"#
    );
    for (body, reason) in [
        (super::asking(SIMILAR, r#","n":2"#), "choices"),
        (
            super::asking(SIMILAR, r#","tools":[{"type":"function"}]"#),
            "tools",
        ),
        (
            super::asking(SIMILAR, r#","temperature":1.5"#),
            "temperature",
        ),
        (three, "turns"),
    ] {
        let response = ask(&mut client, &body).await;
        assert_eq!(result(&response), "miss", "{body}");
        compared(&gateway, reason, 1.0).await;
    }
    assert_eq!(provider.vectors(), before);
}

#[tokio::test]
async fn nothing_of_one_tenant_reaches_another() {
    let provider = Provider::start(Vectors::Good).await;
    let more = "  - { id: other, keys: [key-of-other-1] }\n";
    let gateway = Gateway::start(&provider.configured(SECTION, more));
    let mut client = gateway.connect().await;
    gets(&mut client, QUESTION, "answer 1", "miss").await;
    let others = post(CHAT, "", &asking(SIMILAR)).replace(CLIENT_KEY, "key-of-other-1");
    client.send(&others).await;
    is(&client.response().await, "answer 2", "miss");
    is_similar(&ask(&mut client, &asking(SIMILAR)).await, "answer 1");
    let others = post(CHAT, "", &asking("How could I reset my password?"));
    client
        .send(others.replace(CLIENT_KEY, "key-of-other-1"))
        .await;
    is_similar(&client.response().await, "answer 2");
}

/// A random number from a seed, which repeats in a failing run.
fn next(state: &mut u64) -> usize {
    *state = state
        .wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1);
    usize::try_from(*state >> 33).unwrap()
}

#[tokio::test]
async fn two_tenants_ask_a_thousand_times_and_never_get_an_answer_of_the_other_s() {
    // Each answer names the tenant for which it was asked, as `user` says, which is not compared.
    let upstream = Upstream::start(|request, mut reply| async move {
        let text = request.text();
        let body = match text.contains("\"input\"") {
            true => r#"{"data":[{"index":0,"embedding":[1,0]}],"usage":{"prompt_tokens":7,"total_tokens":7}}"#.to_owned(),
            false => answer(text.split("whose-").nth(1).unwrap().split('"').next().unwrap()),
        };
        reply.json("200 OK", &body).await;
        reply
    })
    .await;
    let provider = Provider {
        upstream,
        vectors: Arc::default(),
        answers: Arc::default(),
    };
    let more = "  - { id: other, keys: [key-of-other-1] }\n";
    let gateway = Gateway::start(&provider.configured(SECTION, more));
    let mut client = gateway.connect().await;
    let mut state = 7;
    let mut similar = 0;
    for _ in 0..1000 {
        let (name, key) =
            [("tester", CLIENT_KEY), ("other", "key-of-other-1")][next(&mut state) % 2];
        let verb = ["do", "can", "could", "should", "might"][next(&mut state) % 5];
        let thing = ["password", "token", "account"][next(&mut state) % 3];
        let stream = ["", r#","stream":true"#][next(&mut state) % 2];
        let body = super::asking(&format!("How {verb} I reset my {thing}?"), stream);
        let body = body.replace("}]", &format!("}}],\"user\":\"whose-{name}\""));
        client
            .send(post(CHAT, "", &body).replace(CLIENT_KEY, key))
            .await;
        let response = client.response().await;
        assert!(
            response.text().contains(name),
            "{name}: {}",
            response.text()
        );
        similar += usize::from(result(&response) == "semantic");
    }
    assert!(similar > 10, "{similar}");
}

#[tokio::test]
async fn a_vector_that_cannot_be_had_fails_no_request() {
    for (kind, timeout, reason) in [
        (Vectors::Fail, "20s", "embedding_failed"),
        (Vectors::Empty, "20s", "embedding_unusable"),
        (Vectors::Never, "100ms", "embedding_timeout"),
    ] {
        let provider = Provider::start(kind).await;
        let section = SECTION.replace("max_turns: 2", &format!("timeout: {timeout}"));
        let gateway = Gateway::start(&provider.configured(&section, ""));
        let mut client = gateway.connect().await;
        gets(&mut client, QUESTION, "answer 1", "miss").await;
        gets(&mut client, SIMILAR, "answer 2", "miss").await;
        // Equal requests get their answers.
        gets(&mut client, QUESTION, "answer 1", "hit").await;
        compared(&gateway, reason, 2.0).await;
        for text in ["password a", "password b", "password c", "password d"] {
            assert_eq!(result(&ask(&mut client, &asking(text)).await), "miss");
        }
        // After five failures in a row it is left alone.
        compared(&gateway, reason, 5.0).await;
        compared(&gateway, "skipped", 1.0).await;
    }
}

#[tokio::test]
async fn a_vector_is_recorded_and_charged_to_the_tenant() {
    let provider = Provider::start(Vectors::Good).await;
    let folder = Folder::new();
    let more = format!(
        "prices: [{{ model: small, input: 1000000 }}]\nledger: {{ path: '{}' }}\n",
        folder.0.display()
    );
    let yaml = provider.configured(SECTION, &more).replace(
        "models: [gpt-4o,",
        "quota: { tokens: 100000 }, limits: { requests_per_minute: 2, concurrent: 1 }, models: [gpt-4o,",
    );
    let mut gateway = Gateway::start(&yaml);
    let mut client = gateway.connect().await;
    gets(&mut client, QUESTION, "answer 1", "miss").await;
    is_similar(&ask(&mut client, &asking(SIMILAR)).await, "answer 1");
    let spent = gateway.get_admin("/status").await.json();
    let tenants = spent["tenants"].to_string();
    // 15 of the answer, and 7 of each vector.
    assert!(tenants.contains("29"), "{tenants}");
    gateway.signal("TERM");
    assert!(gateway.wait().success());
    let rows = rows(&folder);
    let vectors: Vec<_> = rows
        .iter()
        .filter(|row| row.endpoint == "embeddings")
        .collect();
    assert_eq!((rows.len(), vectors.len()), (4, 2), "{rows:?}");
    for row in vectors {
        assert_eq!(
            (row.tenant.as_str(), row.rule.as_str()),
            ("tester", "small")
        );
        assert_eq!((row.source, row.input, row.output), (1, 7, 0));
        assert_eq!((row.status, row.outcome.as_str()), (200, "ok"));
        assert_eq!(row.cost_nanos, 7_000_000_000);
        assert!(row.period.is_some());
    }
}

#[tokio::test]
async fn equal_questions_at_the_same_time_ask_for_one_vector() {
    let provider = Provider::start(Vectors::Good).await;
    let gateway = Arc::new(provider.gateway());
    let mut client = gateway.connect().await;
    gets(&mut client, QUESTION, "answer 1", "miss").await;
    let asking_all = (0..50).map(|_| {
        let gateway = Arc::clone(&gateway);
        tokio::spawn(async move {
            let mut client = gateway.connect().await;
            told(&ask(&mut client, &asking(SIMILAR)).await).0
        })
    });
    for one in asking_all.collect::<Vec<_>>() {
        assert_eq!(soon("an answer", one).await.unwrap(), "answer 1");
    }
    assert_eq!((provider.answers(), provider.vectors()), (1, 2));
}

#[tokio::test]
async fn a_client_that_leaves_pays_for_its_vector() {
    let provider = Provider::start(Vectors::Never).await;
    let section = SECTION.replace("max_turns: 2", "timeout: 60s");
    let gateway = Gateway::start(&provider.configured(&section, ""));
    let mut client = gateway.connect().await;
    client.send(post(CHAT, "", &asking(QUESTION))).await;
    until("the vector is asked for", || provider.vectors() == 1).await;
    client.leave();
    gateway.access_line("status=499");
    // Its upstream has not been left alone by that.
    tokio::time::timeout(Duration::from_millis(200), provider.upstream.closed())
        .await
        .expect_err("the vector is still waited for");
}

#[tokio::test]
async fn what_a_request_says_holds_here_too() {
    let provider = Provider::start(Vectors::Good).await;
    let gateway = provider.gateway();
    let mut client = gateway.connect().await;
    gets(&mut client, QUESTION, "answer 1", "miss").await;
    let only = "Cache-Control: only-if-cached\r\n";
    is_similar(
        &ask_with(&mut client, only, &asking(SIMILAR)).await,
        "answer 1",
    );
    let other = ask_with(&mut client, only, &asking("How is the weather?")).await;
    assert_eq!(other.status, 504, "{other:?}");
    let no_store = "Cache-Control: no-store\r\n";
    is(
        &ask_with(&mut client, no_store, &asking(SIMILAR)).await,
        "answer 2",
        "bypass",
    );
    // A new answer takes the place of the old one.
    let no_cache = "Cache-Control: no-cache\r\n";
    is(
        &ask_with(&mut client, no_cache, &asking(QUESTION)).await,
        "answer 3",
        "miss",
    );
    let other = "How could I reset my password?";
    is_similar(&ask(&mut client, &asking(other)).await, "answer 3");
}

#[tokio::test]
async fn questions_are_removed_with_their_answers() {
    let provider = Provider::start(Vectors::Good).await;
    let gateway = provider.gateway();
    let mut client = gateway.connect().await;
    gets(&mut client, QUESTION, "answer 1", "miss").await;
    let shown = gateway.get_admin("/admin/cache").await.json();
    assert_eq!(shown["questions"]["entries"], 1, "{shown}");
    let mut admin = gateway.connect_admin().await;
    admin
        .send("DELETE /admin/cache?tenant=tester HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await;
    assert_eq!(admin.response().await.json()["removed"], 2);
    gets(&mut client, SIMILAR, "answer 2", "miss").await;
}

async fn restarted(mut gateway: Gateway, yaml: &str) -> (Gateway, Client) {
    gateway.signal("TERM");
    assert!(gateway.wait().success());
    let gateway = Gateway::start(yaml);
    let client = gateway.connect().await;
    (gateway, client)
}

#[tokio::test]
async fn questions_are_kept_over_a_restart_in_a_file() {
    let provider = Provider::start(Vectors::Good).await;
    let folder = Folder::new();
    let path = folder.0.join("questions");
    let key = "cache: { encryption_key: MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY= }\n";
    let section = SECTION.replace("max_turns: 2", &format!("file: '{}'", path.display()));
    let yaml = provider.configured(&section, key);
    let gateway = Gateway::start(&yaml);
    let mut client = gateway.connect().await;
    gets(&mut client, QUESTION, "answer 1", "miss").await;
    let (gateway, mut client) = restarted(gateway, &yaml).await;
    is_similar(&ask(&mut client, &asking(SIMILAR)).await, "answer 1");
    let written = std::fs::read(&path).unwrap();
    assert!(!written.windows(8).any(|bytes| bytes == b"answer 1"));
    // One that is damaged is told of, and nothing of it is used.
    std::fs::write(&path, b"TGQUEST\nrubbish").unwrap();
    let damaged = Gateway::start(&yaml);
    damaged
        .output()
        .wait_for("cannot be read, and the cache by meaning begins empty");
    let mut client = damaged.connect().await;
    gets(&mut client, SIMILAR, "answer 2", "miss").await;
    drop(gateway);
}

#[tokio::test]
async fn a_reload_that_asks_for_more_takes_back_what_was_given() {
    for (from, to) in [
        ("threshold: 0.9,", "threshold: 1,"),
        ("embedding_model", "enabled: false, embedding_model"),
        (", by_meaning: true", ""),
    ] {
        let provider = Provider::start(Vectors::Good).await;
        let yaml = provider.configured(SECTION, "");
        let gateway = Gateway::start(&yaml);
        let mut client = gateway.connect().await;
        gets(&mut client, QUESTION, "answer 1", "miss").await;
        is_similar(&ask(&mut client, &asking(SIMILAR)).await, "answer 1");
        gateway
            .folder()
            .write("tollgate.yaml", yaml.replace(from, to));
        gateway.signal("HUP");
        let applied = "tollgate_config_reloads_total{outcome=\"applied\"}";
        gateway.metric_becomes(applied, 1.0).await;
        gets(&mut client, SIMILAR, "answer 2", "miss").await;
        gets(&mut client, QUESTION, "answer 1", "hit").await;
    }
}
