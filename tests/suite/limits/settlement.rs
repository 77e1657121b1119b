//! What a request has really used takes the place of what was set aside for it.

use super::{ANSWER, Setup, ask, chat_up_to, number, streamed_up_to, tokens_left};
use crate::support::gateway::Gateway;
use crate::support::upstream::Upstream;
use crate::support::{DONE, FINISHED, chat, delta};

/// More than any request here may use.
const LIMIT: u64 = 100_000;

async fn limited(upstream: &Upstream, rule: &str) -> Gateway {
    let setup = Setup {
        rule,
        tenant: ", limits: { tokens_per_day: 100000, window: sliding }",
        ..Setup::default()
    };
    setup.start(upstream.address)
}

/// What a request has used when it is over.
async fn used(gateway: &Gateway, body: &str, status: u16) -> u64 {
    let before = tokens_left(gateway).await;
    let response = ask(gateway, body).await;
    assert_eq!(response.status, status, "{response:?}");
    before - tokens_left(gateway).await
}

#[tokio::test]
async fn what_was_not_used_is_given_back_and_more_is_owed() {
    for (output, member) in [
        ("4", 4),
        ("50000", 50_000),
        // What no provider can mean is no usage: the request is estimated.
        ("-4", 0),
        ("9000000000000000000", 0),
    ] {
        let upstream = Upstream::start(move |_, mut reply| async move {
            let member = format!(r#""completion_tokens":{output}"#);
            let body = ANSWER.replace(r#""completion_tokens":4"#, &member);
            let body = body.replace(r#","total_tokens":10"#, "");
            reply.json("200 OK", &body).await;
            reply
        })
        .await;
        let gateway = limited(&upstream, "").await;
        let used = used(&gateway, &chat_up_to("gpt-4o", 20_000), 200).await;
        match member {
            0 => assert!((6..60).contains(&used), "{used}"),
            _ => assert_eq!(used, 6 + member),
        }
    }
}

#[tokio::test]
async fn a_debt_is_owed_until_time_has_paid_for_it() {
    let upstream = Upstream::start(|_, mut reply| async move {
        let body = ANSWER.replace(r#""completion_tokens":4"#, r#""completion_tokens":250000"#);
        reply.json("200 OK", &body).await;
        reply
    })
    .await;
    let gateway = limited(&upstream, "").await;
    assert_eq!(ask(&gateway, &chat_up_to("gpt-4o", 10)).await.status, 200);
    assert_eq!(tokens_left(&gateway).await, 0);
    let refused = ask(&gateway, &chat_up_to("gpt-4o", 1)).await;
    assert_eq!(refused.status, 429);
    assert!(number(&refused, "retry-after") > 80_000);
    assert_eq!(upstream.requests(), 1);
}

#[tokio::test]
async fn an_answer_without_usage_is_estimated() {
    let upstream = Upstream::start(|request, mut reply| async move {
        let words = "word ".repeat(400);
        if request.text().contains(r#""stream":true"#) {
            let events: String = [delta(&words), FINISHED.to_owned(), DONE.to_owned()].concat();
            reply.stream(&events).await;
        } else {
            let body = format!(r#"{{"choices":[{{"message":{{"content":"{words}"}}}}]}}"#);
            reply.json("200 OK", &body).await;
        }
        reply
    })
    .await;
    let gateway = limited(&upstream, "").await;
    for body in [chat_up_to("gpt-4o", 5000), streamed_up_to("gpt-4o", 5000)] {
        let used = used(&gateway, &body, 200).await;
        assert!((380..500).contains(&used), "{body}: {used}");
    }
}

#[tokio::test]
async fn an_error_of_the_upstream_s_before_any_output_is_free() {
    let said = r#"{"error":{"message":"no","type":"server_error","code":null,"param":null}}"#;
    for status in ["400 Bad Request", "500 Internal Server Error", "503 Busy"] {
        let upstream = Upstream::start(move |_, mut reply| async move {
            reply.json(status, said).await;
            reply
        })
        .await;
        let gateway = limited(&upstream, "").await;
        for body in [chat_up_to("gpt-4o", 5000), streamed_up_to("gpt-4o", 5000)] {
            let response = ask(&gateway, &body).await;
            assert!(response.status >= 400, "{response:?}");
            assert_eq!(tokens_left(&gateway).await, LIMIT, "{status}");
        }
    }
}

#[tokio::test]
async fn an_upstream_that_cannot_be_reached_or_says_nothing_is_free() {
    let upstream = Upstream::start(|_, mut reply| async move {
        reply.reset();
        reply
    })
    .await;
    let gateway = limited(&upstream, "").await;
    for body in [chat_up_to("gpt-4o", 5000), streamed_up_to("gpt-4o", 5000)] {
        assert_eq!(used(&gateway, &body, 502).await, 0);
    }
    upstream.stop().await;
    for body in [chat_up_to("gpt-4o", 5000), streamed_up_to("gpt-4o", 5000)] {
        let response = ask(&gateway, &body).await;
        assert!(response.status >= 500, "{response:?}");
        assert_eq!(tokens_left(&gateway).await, LIMIT);
    }
}

#[tokio::test]
async fn nor_is_a_failure_charged_that_is_told_in_a_stream_which_had_to_be_begun() {
    let upstream = Upstream::start(|_, mut reply| async move {
        // Until the client has been given the beginning of a stream.
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        reply.reset();
        reply
    })
    .await;
    let gateway = limited(&upstream, ", keepalive_after: 50ms").await;
    let before = tokens_left(&gateway).await;
    let response = ask(&gateway, &streamed_up_to("gpt-4o", 5000)).await;
    assert_eq!(response.status, 200);
    assert!(response.text().contains("error"), "{response:?}");
    assert_eq!(tokens_left(&gateway).await, before);
}

#[tokio::test]
async fn a_stream_that_is_cut_is_charged_for_what_has_passed() {
    let upstream = Upstream::start(|_, mut reply| async move {
        reply.begin_stream().await;
        reply.chunk(&delta(&"word ".repeat(100))).await;
        reply.close();
        reply
    })
    .await;
    let gateway = limited(&upstream, "").await;
    let used = used(&gateway, &streamed_up_to("gpt-4o", 5000), 200).await;
    assert!((90..200).contains(&used), "{used}");
}

#[tokio::test]
async fn so_is_one_that_tells_an_error_after_some_output() {
    let upstream = Upstream::start(|_, mut reply| async move {
        let error = r#"data: {"error":{"message":"broken","type":"server_error"}}"#;
        reply.begin_stream().await;
        reply.chunk(&delta(&"word ".repeat(100))).await;
        reply.chunk(&format!("{error}\n\n")).await;
        reply.end_stream().await;
        reply
    })
    .await;
    let gateway = limited(&upstream, "").await;
    let used = used(&gateway, &streamed_up_to("gpt-4o", 5000), 200).await;
    assert!((90..200).contains(&used), "{used}");
}

#[tokio::test]
async fn attempts_that_fail_are_not_charged_beside_the_one_that_serves() {
    let failing = Upstream::start(|_, mut reply| async move {
        let body = r#"{"error":{"message":"no"},"usage":{"prompt_tokens":9000}}"#;
        reply.json("500 Internal Server Error", body).await;
        reply
    })
    .await;
    let serving = Upstream::answering(ANSWER).await;
    let upstreams = format!("  near: {{ base_url: 'http://{}/v1' }}\n", serving.address);
    let setup = Setup {
        tenant: ", limits: { tokens_per_day: 100000, window: sliding }",
        upstreams: &upstreams,
        ..Setup::default()
    };
    let yaml = setup.yaml(failing.address);
    let two =
        "targets: [{ upstream: far, model: x, priority: 0 }, { upstream: near, priority: 1 }]";
    let yaml = yaml.replace(
        "targets: [{ upstream: far, model: gpt-4o-2024-11-20 }]",
        two,
    );
    let gateway = Gateway::start(&yaml);
    assert_eq!(used(&gateway, &chat_up_to("gpt-4o", 5000), 200).await, 10);
    assert_eq!(ask(&gateway, &chat("gpt-4o")).await.status, 200);
}
