//! What a request has used is counted, whoever tells it, and a client sees only what it has asked for.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use crate::support::client::post;
use crate::support::gateway::{Gateway, config};
use crate::support::upstream::{Reply, Upstream};
use crate::support::{DONE, PROMPT, chat, soon, streamed_chat};

const CHAT: &str = "/v1/chat/completions";
const TOLD: &str = r#"tollgate_usage_total{rule="gpt-4o",source="upstream",upstream="far"}"#;
const ESTIMATED: &str = r#"tollgate_usage_total{rule="gpt-4o",source="estimated",upstream="far"}"#;
const NOT: &str = r#"tollgate_usage_total{rule="gpt-4o",source="none",upstream="far"}"#;

/// The series that counts tokens of a kind.
fn tokens(kind: &str) -> String {
    format!(r#"tollgate_tokens_total{{kind="{kind}",rule="gpt-4o",upstream="far"}}"#)
}

/// An event that says something, as it comes with the usage still to follow.
fn said(text: &str, more: &str) -> String {
    format!(
        r#"{{"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[{{"index":0,"delta":{{"content":"{text}"}},"finish_reason":null}}]{more}}}"#
    )
}

fn finished(more: &str) -> String {
    format!(
        r#"{{"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[{{"index":0,"delta":{{}},"finish_reason":"stop"}}]{more}}}"#
    )
}

const USED: &str = r#"{"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[],"usage":{"prompt_tokens":30,"completion_tokens":7,"total_tokens":37,"prompt_tokens_details":{"cached_tokens":10},"completion_tokens_details":{"reasoning_tokens":4}}}"#;

/// A stream of data as a provider sends it.
fn stream(events: &[String]) -> String {
    let events = events.iter().map(|data| format!("data: {data}\n\n"));
    events.chain([DONE.to_owned()]).collect()
}

async fn send(reply: &mut Reply, text: &str) {
    reply.begin_stream().await;
    reply.chunk(text).await;
    reply.end_stream().await;
}

/// A provider that tells the usage of a stream where it is asked for.
async fn telling() -> Upstream {
    Upstream::start(|request, mut reply| async move {
        let null = r#","usage":null"#;
        let events = match request.text().contains(r#""include_usage":true"#) {
            true => vec![
                said("one", null),
                said("two", null),
                finished(null),
                USED.to_owned(),
            ],
            false => vec![said("one", ""), said("two", ""), finished("")],
        };
        send(&mut reply, &stream(&events)).await;
        reply
    })
    .await
}

#[tokio::test]
async fn a_stream_tells_its_usage_to_us_and_not_to_a_client_that_has_not_asked() {
    let upstream = telling().await;
    let gateway = Gateway::before(&upstream);
    let response = gateway.post(CHAT, &streamed_chat("gpt-4o")).await;
    let unasked = [said("one", ""), said("two", ""), finished("")];
    assert_eq!(response.text(), stream(&unasked));
    let asked = upstream.request().await;
    let expected = streamed_chat("gpt-4o-2024-11-20");
    let expected = expected.strip_suffix('}').unwrap();
    assert_eq!(
        asked.text(),
        format!(r#"{expected},"stream_options":{{"include_usage":true}}}}"#)
    );
    gateway.metric_becomes(TOLD, 1.0).await;
    for (kind, count) in [
        ("input", 20.0),
        ("cache_read", 10.0),
        ("cache_write", 0.0),
        ("output", 7.0),
    ] {
        gateway.metric_becomes(&tokens(kind), count).await;
    }
    let text = gateway.get_admin("/metrics").await;
    for line in [
        r#"tollgate_token_parts_total{part="reasoning",rule="gpt-4o",upstream="far"} 4"#,
        r#"gen_ai_client_token_usage_sum{gen_ai_operation_name="chat",gen_ai_provider_name="far",gen_ai_request_model="gpt-4o",gen_ai_token_type="input"} 30"#,
        r#"gen_ai_server_time_to_first_token_seconds_count{gen_ai_operation_name="chat",gen_ai_provider_name="far",gen_ai_request_model="gpt-4o"} 1"#,
        r#"gen_ai_server_time_per_output_token_seconds_count{gen_ai_operation_name="chat",gen_ai_provider_name="far",gen_ai_request_model="gpt-4o"} 1"#,
    ] {
        assert!(
            text.text().contains(line),
            "{line} is not in\n{}",
            text.text()
        );
    }
    assert!(
        gateway
            .access_line("status=200")
            .contains("tokens_in=30 tokens_out=7")
    );
}

#[tokio::test]
async fn a_client_that_asks_for_the_usage_sees_what_the_provider_sends() {
    let upstream = telling().await;
    let gateway = Gateway::before(&upstream);
    let body = streamed_chat("gpt-4o-2024-11-20").replace(
        r#""stream":true"#,
        r#""stream":true,"stream_options":{ "include_usage":true}"#,
    );
    let response = gateway.post(CHAT, &body.replace("-2024-11-20", "")).await;
    let null = r#","usage":null"#;
    let all = [
        said("one", null),
        said("two", null),
        finished(null),
        USED.to_owned(),
    ];
    // The model asked for differs in its name alone.
    assert!(response.status == 200);
    let asked = upstream.request().await;
    if asked.text().contains(r#""include_usage":true"#) {
        assert_eq!(response.text(), stream(&all));
    }
    assert_eq!(asked.text(), body, "nothing is added");
    gateway.metric_becomes(TOLD, 1.0).await;
}

#[tokio::test]
async fn an_upstream_that_is_not_asked_is_estimated() {
    let upstream = telling().await;
    let gateway = Gateway::start(&config(upstream.address, ", include_usage: false", ""));
    let response = gateway.post(CHAT, &streamed_chat("gpt-4o")).await;
    assert_eq!(response.status, 200);
    assert_eq!(
        upstream.request().await.text(),
        streamed_chat("gpt-4o-2024-11-20")
    );
    gateway.metric_becomes(ESTIMATED, 1.0).await;
    // "onetwo", as the model has said it; and a short prompt.
    assert!((1.0..=3.0).contains(&gateway.metric(&tokens("output")).await));
    let input = gateway.metric(&tokens("input")).await;
    assert!((8.0..40.0).contains(&input), "{input}");
    assert!(PROMPT.len() > 8);
}

#[tokio::test]
async fn every_endpoint_tells_it_in_its_own_way() {
    let answers = [
        (
            "/v1/chat/completions",
            r#"{"choices":[{"message":{"content":"x"}}],"usage":{"prompt_tokens":3,"completion_tokens":4}}"#,
            [3, 4],
        ),
        (
            "/v1/completions",
            r#"{"usage":{"prompt_tokens":5,"completion_tokens":1},"choices":[{"text":"x"}]}"#,
            [5, 1],
        ),
        (
            "/v1/embeddings",
            r#"{"data":[],"usage":{"prompt_tokens":6,"total_tokens":6}}"#,
            [6, 0],
        ),
        (
            "/v1/responses",
            r#"{"id":"r","object":"response","status":"completed","output":[],"usage":{"input_tokens":7,"output_tokens":8,"output_tokens_details":{"reasoning_tokens":1}}}"#,
            [7, 8],
        ),
        (
            "/v1/images/generations",
            r#"{"data":[{"b64_json":"AAAA"}],"usage":{"input_tokens":9,"output_tokens":10,"total_tokens":19}}"#,
            [9, 10],
        ),
        (
            "/v1/audio/speech",
            r#"{"usage":{"type":"duration","seconds":90}}"#,
            [0, 0],
        ),
        (
            "/v1/rerank",
            r#"{"results":[],"usage":{"total_tokens":11}}"#,
            [11, 0],
        ),
    ];
    let upstream = Upstream::start(move |request, mut reply| async move {
        let answer = answers.iter().find(|(path, ..)| *path == request.path);
        reply.json("200 OK", answer.unwrap().1).await;
        reply
    })
    .await;
    let gateway = Gateway::before(&upstream);
    let (mut input, mut output) = (0.0, 0.0);
    for (path, answer, [more_input, more_output]) in answers {
        let response = gateway.post(path, &chat("gpt-4o")).await;
        assert_eq!(response.text(), answer, "{path}");
        input += f64::from(more_input);
        output += f64::from(more_output);
        gateway.metric_becomes(&tokens("input"), input).await;
        gateway.metric_becomes(&tokens("output"), output).await;
    }
    gateway.metric_becomes(TOLD, 7.0).await;
    let sound = r#"tollgate_audio_seconds_total{rule="gpt-4o",upstream="far"}"#;
    gateway.metric_becomes(sound, 90.0).await;
}

#[tokio::test]
async fn a_response_tells_it_with_its_last_event() {
    let upstream = Upstream::start(|request, mut reply| async move {
        assert!(!request.text().contains("stream_options"));
        let events = [
            r#"{"type":"response.created","sequence_number":0,"response":{"id":"r","usage":null}}"#,
            r#"{"type":"response.output_text.delta","sequence_number":1,"delta":"hi"}"#,
            r#"{"type":"response.incomplete","sequence_number":2,"response":{"id":"r","status":"incomplete","usage":{"input_tokens":12,"output_tokens":5}}}"#,
        ];
        let text: String = events.map(|data| format!("data: {data}\n\n")).concat();
        send(&mut reply, &text).await;
        reply
    })
    .await;
    let gateway = Gateway::before(&upstream);
    let response = gateway
        .post("/v1/responses", &streamed_chat("gpt-4o"))
        .await;
    assert_eq!(response.status, 200);
    gateway.metric_becomes(TOLD, 1.0).await;
    gateway.metric_becomes(&tokens("input"), 12.0).await;
    gateway.metric_becomes(&tokens("output"), 5.0).await;
}

#[tokio::test]
async fn usage_that_is_no_usage_is_estimated_and_a_late_one_counts() {
    for (used, learnt) in [
        (
            r#"{"choices":[],"usage":{"prompt_tokens":-1,"completion_tokens":1.5}}"#,
            ESTIMATED,
        ),
        (r#"{"choices":[],"usage":"much"}"#, ESTIMATED),
        (
            r#"{"choices":[],"usage":{"prompt_tokens":1e300}}"#,
            ESTIMATED,
        ),
        (
            r#"{"choices":[],"usage":{"prompt_tokens":"8","completion_tokens":2.0}}"#,
            TOLD,
        ),
    ] {
        let upstream = Upstream::start(move |_, mut reply| async move {
            let events = [said("one", ""), finished(""), used.to_owned()];
            send(&mut reply, &stream(&events)).await;
            reply
        })
        .await;
        let gateway = Gateway::before(&upstream);
        assert_eq!(
            gateway.post(CHAT, &streamed_chat("gpt-4o")).await.status,
            200
        );
        gateway.metric_becomes(learnt, 1.0).await;
    }
    // Behind the end, in the same bytes.
    let upstream = Upstream::start(|_, mut reply| async move {
        let text = stream(&[said("one", ""), finished("")]) + "data: " + USED + "\n\n";
        send(&mut reply, &text).await;
        reply
    })
    .await;
    let gateway = Gateway::before(&upstream);
    assert_eq!(
        gateway.post(CHAT, &streamed_chat("gpt-4o")).await.status,
        200
    );
    gateway.metric_becomes(TOLD, 1.0).await;
}

#[tokio::test]
async fn of_several_usages_the_last_counts() {
    let upstream = Upstream::start(|_, mut reply| async move {
        let used = |n: u32| format!(r#","usage":{{"prompt_tokens":9,"completion_tokens":{n}}}"#);
        let events = [said("a", &used(1)), said("b", &used(2)), finished(&used(3))];
        send(&mut reply, &stream(&events)).await;
        reply
    })
    .await;
    let gateway = Gateway::before(&upstream);
    let response = gateway.post(CHAT, &streamed_chat("gpt-4o")).await;
    assert_eq!(
        response.text(),
        stream(&[said("a", ""), said("b", ""), finished("")])
    );
    gateway.metric_becomes(TOLD, 1.0).await;
    gateway.metric_becomes(&tokens("output"), 3.0).await;
}

/// An upstream whose stream goes on when the test says so, and tells its usage at the end.
async fn stepping(step: &Arc<Semaphore>) -> Upstream {
    let step = Arc::clone(step);
    Upstream::start(move |_, mut reply| {
        let step = Arc::clone(&step);
        async move {
            reply.begin_stream().await;
            let words = "several words that a tokenizer can count ".repeat(3);
            reply.event(&said(&words, r#","usage":null"#)).await;
            let went_on = tokio::select! {
                permit = step.acquire() => permit.map(|permit| permit.forget()).is_ok(),
                () = reply.wait_for_close() => false,
            };
            if went_on {
                reply.event(&finished(r#","usage":null"#)).await;
                reply.event(USED).await;
                reply.event("[DONE]").await;
                reply.end_stream().await;
            }
            reply
        }
    })
    .await
}

/// A client that reads the first words of its answer, and goes.
async fn read_and_leave(gateway: &Gateway) {
    let mut client = gateway.connect().await;
    client.send(post(CHAT, "", &streamed_chat("gpt-4o"))).await;
    client.head().await;
    client.chunk().await.unwrap();
    client.leave();
}

/// A gateway whose rule treats clients that leave like this.
fn on_client_gone(upstream: &Upstream, way: &str, drain: &str) -> Gateway {
    let yaml = config(upstream.address, "", "");
    let rule = "model: gpt-4o-2024-11-20 }]";
    let yaml = yaml.replace(rule, &format!("{rule}, on_client_gone: {way}"));
    Gateway::start(&yaml.replace("max_body: 64MiB", &format!("drain: {{ {drain} }}")))
}

#[tokio::test]
async fn the_tokens_of_a_client_that_leaves_are_estimated() {
    let upstream = stepping(&Arc::new(Semaphore::new(0))).await;
    let gateway = on_client_gone(&upstream, "estimate", "");
    read_and_leave(&gateway).await;
    upstream.closed().await;
    gateway.metric_becomes(ESTIMATED, 1.0).await;
    let output = gateway.metric(&tokens("output")).await;
    assert!((18.0..30.0).contains(&output), "{output}");
    gateway.access_line("error=client_gone");
}

#[tokio::test]
async fn the_rest_of_an_answer_is_read_so_that_its_usage_is_told() {
    let step = Arc::new(Semaphore::new(0));
    let upstream = stepping(&step).await;
    let gateway = on_client_gone(&upstream, "drain", "");
    read_and_leave(&gateway).await;
    gateway.access_line("error=client_gone");
    assert!(gateway.metric(TOLD).await < 0.5, "it is not over");
    step.add_permits(1);
    gateway.metric_becomes(TOLD, 1.0).await;
    gateway.metric_becomes(&tokens("output"), 7.0).await;
    // The connection that was read to its end serves again.
    step.add_permits(1);
    assert_eq!(
        gateway.post(CHAT, &streamed_chat("gpt-4o")).await.status,
        200
    );
    assert_eq!(upstream.connections(), 1);
}

#[tokio::test]
async fn an_upstream_that_does_not_close_behind_done_is_not_waited_for() {
    let step = Arc::new(Semaphore::new(0));
    let stepped = Arc::clone(&step);
    let upstream = Upstream::start(move |_, mut reply| {
        let step = Arc::clone(&stepped);
        async move {
            reply.begin_stream().await;
            reply.event(&said("words", r#","usage":null"#)).await;
            step.acquire().await.unwrap().forget();
            reply.event(&finished(r#","usage":null"#)).await;
            reply.event(USED).await;
            reply.event("[DONE]").await;
            reply.wait_for_close().await;
            reply
        }
    })
    .await;
    // Neither the bound on reading on nor the upstream's silence ends it.
    let gateway = on_client_gone(&upstream, "drain", "time: 10m");
    read_and_leave(&gateway).await;
    gateway.access_line("error=client_gone");
    step.add_permits(1);
    soon("the close", upstream.closed()).await;
    gateway.metric_becomes(TOLD, 1.0).await;
}

#[tokio::test]
async fn what_a_client_leaves_is_nobodys_where_the_operator_bears_it() {
    let upstream = stepping(&Arc::new(Semaphore::new(0))).await;
    let gateway = on_client_gone(&upstream, "absorb", "");
    read_and_leave(&gateway).await;
    upstream.closed().await;
    gateway.metric_becomes(NOT, 1.0).await;
    assert!(gateway.metric(&tokens("output")).await < 0.5);
}

#[tokio::test]
async fn reading_on_ends_at_each_of_its_bounds() {
    for bound in ["time: 50ms", "bytes: 4KiB"] {
        let upstream = Upstream::start(|_, mut reply| async move {
            reply.begin_stream().await;
            let event = format!("data: {}\n\n", said(&"word ".repeat(100), ""));
            reply.chunk(&event).await;
            reply
                .chunks_until_close(&event, Duration::from_millis(5))
                .await;
            reply
        })
        .await;
        let gateway = on_client_gone(&upstream, "drain", bound);
        read_and_leave(&gateway).await;
        upstream.closed().await;
        gateway.metric_becomes(ESTIMATED, 1.0).await;
    }
}

#[tokio::test]
async fn no_more_answers_are_read_on_than_there_is_room_for() {
    let step = Arc::new(Semaphore::new(0));
    let upstream = stepping(&step).await;
    let gateway = on_client_gone(&upstream, "drain", "at_once: 1");
    read_and_leave(&gateway).await;
    gateway.access_line("error=client_gone");
    read_and_leave(&gateway).await;
    upstream.closed().await;
    gateway.metric_becomes(ESTIMATED, 1.0).await;
    step.add_permits(1);
    gateway.metric_becomes(TOLD, 1.0).await;
}

#[tokio::test]
async fn a_shutdown_waits_for_nobody_who_has_left() {
    let upstream = stepping(&Arc::new(Semaphore::new(0))).await;
    let mut gateway = on_client_gone(&upstream, "drain", "time: 10m");
    read_and_leave(&gateway).await;
    gateway.access_line("error=client_gone");
    gateway.signal("TERM");
    assert!(gateway.wait().success());
    soon("the close", upstream.closed()).await;
}

#[tokio::test]
async fn a_usage_at_the_end_of_a_long_answer_is_found_in_little_memory() {
    const LENGTH: usize = 64 << 20;
    let upstream = Upstream::start(|_, mut reply| async move {
        let vectors = "0.0123456789,".repeat(LENGTH / 13);
        let body = format!(
            r#"{{"data":[{{"embedding":[{}0]}}],"usage":{{"prompt_tokens":5,"total_tokens":5}}}}"#,
            vectors
        );
        reply.json("200 OK", &body).await;
        reply
    })
    .await;
    let gateway = Gateway::before(&upstream);
    assert_eq!(
        gateway.post("/v1/embeddings", &chat("gpt-4o")).await.status,
        200
    );
    gateway.metric_becomes(TOLD, 1.0).await;
    gateway.metric_becomes(&tokens("input"), 5.0).await;
    let peak = gateway.peak_rss_bytes();
    assert!(peak < 200 << 20, "{peak}");
}

/// What an upstream sends that means no good, and what is left of it: it passes as it came, and nothing
/// grows.
#[tokio::test]
async fn a_gigabyte_without_a_line_passes_and_is_not_kept() {
    const PIECES: usize = 1 << 10;
    let upstream = Upstream::start(|_, mut reply| async move {
        reply.begin_stream().await;
        reply.event(&said("one", "")).await;
        let piece = "#".repeat(1 << 20);
        reply
            .raw(format!("{:x}\r\ndata: ", 6 + (PIECES << 20)))
            .await;
        for _ in 0..PIECES {
            reply.raw(&piece).await;
        }
        reply.raw("\r\n0\r\n\r\n").await;
        reply
    })
    .await;
    let gateway = Gateway::before(&upstream);
    let mut client = gateway.connect().await;
    client.send(post(CHAT, "", &streamed_chat("gpt-4o"))).await;
    client.head().await;
    let mut seen = 0;
    while seen < PIECES << 20 {
        let piece = client.chunk().await.unwrap();
        assert!(!piece.is_empty(), "it ended after {seen}");
        seen += piece.bytes().filter(|byte| *byte == b'#').count();
    }
    assert_eq!(seen, PIECES << 20);
    let said = gateway
        .output()
        .wait_for("an event was too long to be understood");
    assert!(said.contains("upstream far"), "{said}");
    let peak = gateway.peak_rss_bytes();
    assert!(peak < 128 << 20, "{peak}");
}

#[tokio::test]
async fn a_long_stream_takes_no_more_memory_than_a_short_one() {
    const EVENTS: usize = 100_000;
    let upstream = Upstream::start(|_, mut reply| async move {
        reply.begin_stream().await;
        let event = format!("data: {}\n\n", said("some words", r#","usage":null"#));
        let many = event.repeat(100);
        for _ in 0..EVENTS / 100 {
            reply.chunk(&many).await;
        }
        let last = [finished(r#","usage":null"#), USED.to_owned()];
        reply.chunk(&stream(&last)).await;
        reply.end_stream().await;
        reply
    })
    .await;
    let gateway = Gateway::before(&upstream);
    let body = streamed_chat("gpt-4o");
    assert_eq!(gateway.post(CHAT, &body).await.status, 200);
    let before = gateway.peak_rss_bytes();
    for _ in 0..3 {
        assert_eq!(gateway.post(CHAT, &body).await.status, 200);
    }
    gateway.metric_becomes(TOLD, 4.0).await;
    let grown = gateway.peak_rss_bytes() - before;
    // Each of these streams has 16 MB.
    assert!(grown < 8 << 20, "{grown}");
    assert!(before < 64 << 20, "{before}");
}

#[tokio::test]
async fn indexes_without_measure_and_bytes_without_meaning_pass() {
    let far =
        r#"{"choices":[{"index":4000000000,"delta":{"content":"far"},"finish_reason":"stop"}]}"#;
    let gap = r#"{"choices":[{"index":0,"delta":{"tool_calls":[{"index":7,"id":"t","function":{"name":"f","arguments":"{}"}}]}}]}"#;
    let upstream = Upstream::start(move |_, mut reply| async move {
        let events = [
            said("one", ""),
            far.to_owned(),
            gap.to_owned(),
            finished(""),
        ];
        reply.begin_stream().await;
        let mut text =
            b"data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"\xff\xfe\"}}]}\n\n"
                .to_vec();
        text.extend(stream(&events).into_bytes());
        reply.raw(format!("{:x}\r\n", text.len())).await;
        reply.raw(&text).await;
        reply.raw("\r\n").await;
        reply.end_stream().await;
        reply
    })
    .await;
    let gateway = Gateway::before(&upstream);
    let response = gateway.post(CHAT, &streamed_chat("gpt-4o")).await;
    assert_eq!(response.status, 200);
    let body = &response.body;
    let events = [
        said("one", ""),
        far.to_owned(),
        gap.to_owned(),
        finished(""),
    ];
    assert!(body.ends_with(stream(&events).as_bytes()));
    assert!(body.windows(2).any(|two| two == b"\xff\xfe"));
    gateway.metric_becomes(ESTIMATED, 1.0).await;
}

#[tokio::test]
async fn a_response_without_a_usage_is_estimated_by_what_it_says_once() {
    const WORDS: usize = 60;
    let event = |kind: &str, said: &str| format!("data: {{\"type\":\"{kind}\",{said}}}\n\n");
    let text = "word ".repeat(WORDS);
    let part = format!(r#"{{"type":"output_text","text":"{text}","annotations":[]}}"#);
    let item = format!(r#"{{"type":"message","role":"assistant","content":[{part}]}}"#);
    let whole = |output: &str| {
        format!(
            r#""response":{{"id":"r","instructions":[{{"content":"{text}"}}],"output":{output}}}"#
        )
    };
    let deltas = event("response.output_text.delta", r#""delta":"word ""#).repeat(WORDS);
    let done = event("response.output_text.done", &format!(r#""text":"{text}""#));
    let part = event("response.content_part.done", &format!(r#""part":{part}"#));
    let of_item = event("response.output_item.done", &format!(r#""item":{item}"#));
    let completed = event("response.completed", &whole(&format!("[{item}]")));
    let empty = event("response.completed", &whole("[]"));
    let created = event("response.created", &whole("[]"));
    for events in [
        [&*created, &deltas, &done, &part, &of_item, &completed].concat(),
        [&*created, &deltas, &completed].concat(),
        [&*created, &done, &of_item, &empty].concat(),
        [&*created, &completed].concat(),
        [&*created, &deltas].concat(),
    ] {
        let upstream = Upstream::start(move |_, mut reply| {
            let events = events.clone();
            async move {
                send(&mut reply, &events).await;
                reply
            }
        })
        .await;
        let gateway = Gateway::before(&upstream);
        let response = gateway
            .post("/v1/responses", &streamed_chat("gpt-4o"))
            .await;
        assert_eq!(response.status, 200);
        gateway.metric_becomes(ESTIMATED, 1.0).await;
        let counted = gateway.metric(&tokens("output")).await;
        // A token is a word and its space; the last space may be one of its own.
        let words = f64::from(u32::try_from(WORDS).unwrap());
        assert!((words - 1.0..=words + 1.0).contains(&counted), "{counted}");
    }
}
