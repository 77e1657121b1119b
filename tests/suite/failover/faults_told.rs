//! Failures that end with the client, or with nobody: what may have been charged for, what is the
//! client's own fault, and providers that fail now and then or all at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::{
    CHAT, GENEROUS, TIERS, assert_whole, at, broken, counted, error, failing, gateway, healthy,
    nobody, one_then_other, outcomes, rule, serve,
};
use crate::support::upstream::Upstream;
use crate::support::{chat, streamed_chat};

/// A provider that takes a request whole and resets the connection.
async fn resetting() -> Upstream {
    Upstream::start(|_, mut reply| async move {
        reply.reset();
        reply
    })
    .await
}

/// The same behind half of an answer.
async fn resetting_in_the_middle() -> Upstream {
    Upstream::start(|_, mut reply| async move {
        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n";
        let half = format!("{head}content-length: 500\r\n\r\n{{\"id\":");
        reply.raw(half).await;
        reply.reset();
        reply
    })
    .await
}

#[tokio::test]
async fn a_request_that_was_sent_whole_is_not_sent_twice() {
    let faults = [
        (resetting().await, "upstream_reset"),
        (resetting_in_the_middle().await, "upstream_cut"),
    ];
    for (first, code) in faults {
        let second = healthy("second").await;
        let front = one_then_other(&at("first", first.address, ""), &second);
        let response = front.post(CHAT, &chat("gpt-4o")).await;
        response.assert_error(502, "server_error", Some(code), None);
        // Whether it may cost twice is for the client to decide.
        assert_eq!(response.header("x-should-retry"), None);
        assert_eq!(response.header("x-tollgate-attempts"), Some("1"));
        assert_eq!((first.requests(), second.requests()), (1, 0));
        assert_eq!(outcomes(&front, &response), "first:lost");
    }
}

#[tokio::test]
async fn a_request_that_may_be_sent_twice_goes_to_the_next() {
    for first in [resetting().await, resetting_in_the_middle().await] {
        let second = healthy("second").await;
        let far = at("first", first.address, ", resend_lost: true");
        let front = one_then_other(&far, &second);
        let response = front.post(CHAT, &chat("gpt-4o")).await;
        assert_whole(&response, "second");
        assert_eq!((first.requests(), second.requests()), (1, 1));
        assert_eq!(outcomes(&front, &response), "first:lost second:ok");
    }
}

#[tokio::test]
async fn a_silent_answer_in_json_is_given_up_when_the_whole_time_is_over() {
    let first = Upstream::start(|_, mut reply| async move {
        reply.wait_for_close().await;
        reply
    })
    .await;
    let far = at("first", first.address, ", timeouts: { total: 300ms }");
    let front = gateway(
        GENEROUS,
        &[far],
        &[rule("gpt-4o", "{ upstream: first }", "")],
    );
    let response = front.post(CHAT, &chat("gpt-4o")).await;
    response.assert_error(504, "server_error", Some("upstream_timeout"), None);
    first.closed().await;
    assert_eq!(first.requests(), 1, "a silent route is not tried twice");
}

#[tokio::test]
async fn the_whole_time_covers_all_attempts() {
    // Each is silent for less than the whole time, all of them for more.
    let mut far = Vec::new();
    for _ in 0..6 {
        far.push(
            Upstream::start(|_, mut reply| async move {
                reply.wait_for_close().await;
                reply
            })
            .await,
        );
    }
    let times = ", timeouts: { first_token: 400ms, total: 600ms }";
    let names: Vec<String> = (0..far.len()).map(|n| format!("far{n}")).collect();
    let pairs = names.iter().zip(&far);
    let upstreams: Vec<String> = pairs.map(|(name, u)| at(name, u.address, times)).collect();
    let targets: Vec<String> = names
        .iter()
        .map(|name| format!("{{ upstream: {name} }}"))
        .collect();
    let rules = [rule("gpt-4o", &targets.join(", "), "")];
    let retries = format!("{GENEROUS}, attempts: 6");
    let front = gateway(&retries, &upstreams, &rules);
    let response = front.post(CHAT, &streamed_chat("gpt-4o")).await;
    response.assert_error(504, "server_error", Some("upstream_timeout"), None);
    let asked: usize = far.iter().map(Upstream::requests).sum();
    assert_eq!(asked, 2, "{}", outcomes(&front, &response));
}

/// Errors that are the client's own: status, code, reason.
const OF_CLIENTS: [(&str, &str, &str); 3] = [
    ("400 Bad Request", "content_filter", "content_filter"),
    (
        "400 Bad Request",
        "context_length_exceeded",
        "context_length",
    ),
    ("400 Bad Request", "unsupported_value", "bad_request"),
];

async fn refusing(status: &'static str, code: &'static str) -> Upstream {
    let body = error(
        "The request is not fine.",
        "invalid_request_error",
        Some(code),
    );
    failing(status, "", body).await
}

#[tokio::test]
async fn what_is_the_clients_own_fault_is_told_to_the_client() {
    for (status, code, reason) in OF_CLIENTS {
        for body in [chat("gpt-4o"), streamed_chat("gpt-4o")] {
            let (first, second) = (refusing(status, code).await, healthy("second").await);
            let front = one_then_other(&at("first", first.address, ""), &second);
            let response = front.post(CHAT, &body).await;
            response.assert_error(400, "invalid_request_error", Some(code), None);
            assert_eq!((first.requests(), second.requests()), (1, 0), "{code}");
            assert_eq!(outcomes(&front, &response), format!("first:{reason}"));
        }
    }
}

#[tokio::test]
async fn a_request_that_is_too_long_by_an_engines_words_goes_to_a_fallback() {
    let sglang =
        "The input (41000 tokens) is longer than the model's context length (32768 tokens).";
    let vllm =
        "The decoder prompt (length 70012) is longer than the maximum model length of 32768.";
    let output =
        "max_tokens is too large: 100000. This model supports at most 16384 completion tokens.";
    let quoted = "Invalid value: 'prompt is too long: 210000 tokens > 200000 maximum'.";
    for (message, is_too_long) in [
        (sglang, true),
        (vllm, true),
        (output, false),
        (quoted, false),
    ] {
        let told = serde_json::json!({
            "object": "error", "message": message, "type": "BadRequestError", "param": null, "code": 400,
        });
        let first = failing("400 Bad Request", "", told.to_string()).await;
        let long = healthy("long").await;
        let upstreams = [at("first", first.address, ""), at("long", long.address, "")];
        let rules = [
            rule("gpt-4o", "{ upstream: first }", ", fallback: [long]"),
            rule("long", "{ upstream: long }", ""),
        ];
        let front = gateway(GENEROUS, &upstreams, &rules);
        let response = front.post(CHAT, &chat("gpt-4o")).await;
        if is_too_long {
            assert_whole(&response, "long");
        } else {
            assert_eq!((response.status, long.requests()), (400, 0), "{message}");
            assert_eq!(outcomes(&front, &response), "first:bad_request");
        }
    }
}

#[tokio::test]
async fn a_request_that_is_too_long_goes_to_other_models_alone_and_where_the_rule_says_nothing_else()
 {
    for (on, is_answered) in [("", true), (", on: [overloaded]", false)] {
        let first = refusing("400 Bad Request", "context_length_exceeded").await;
        let longer = refusing("400 Bad Request", "context_length_exceeded").await;
        let (second, longest) = (healthy("second").await, healthy("longest").await);
        let upstreams = [
            at("first", first.address, ""),
            at("second", second.address, ""),
            at("longer", longer.address, ""),
            at("longest", longest.address, ""),
        ];
        let more = format!(", fallback: [longer, longest]{on}");
        let rules = [
            rule("gpt-4o", TIERS, &more),
            rule(
                "longer",
                "{ upstream: longer }, { upstream: second, priority: 1 }",
                "",
            ),
            rule("longest", "{ upstream: longest }", ""),
        ];
        let front = gateway(GENEROUS, &upstreams, &rules);
        let response = front.post(CHAT, &chat("gpt-4o")).await;
        if is_answered {
            assert_whole(&response, "longest");
            let asked = outcomes(&front, &response);
            assert_eq!(
                asked,
                "first:context_length longer:context_length longest:ok"
            );
        } else {
            assert_eq!((response.status, first.requests()), (400, 1));
        }
        assert_eq!(second.requests(), 0, "it has the same model");
    }
}

#[tokio::test]
async fn a_fallback_may_be_named_for_what_is_the_clients_own_fault() {
    for (status, code, reason) in OF_CLIENTS {
        let first = refusing(status, code).await;
        let (second, third) = (healthy("second").await, healthy("third").await);
        let upstreams = [
            at("first", first.address, ""),
            at("second", second.address, ""),
            at("third", third.address, ""),
        ];
        let other = match reason {
            "content_filter" => "context_length",
            _ => "content_filter",
        };
        let named = format!(
            ", fallback: [{{ model: other, on: [{other}] }}, {{ model: spare, on: [{reason}] }}]"
        );
        let rules = [
            rule("gpt-4o", "{ upstream: first }", &named),
            rule("other", "{ upstream: second }", ""),
            rule("spare", "{ upstream: third }", ""),
        ];
        let front = gateway(GENEROUS, &upstreams, &rules);
        let response = front.post(CHAT, &chat("gpt-4o")).await;
        assert_whole(&response, "third");
        assert_eq!(second.requests(), 0, "it is not for {reason}");
        let asked = third.request().await;
        assert!(
            asked.text().contains(r#""model":"spare""#),
            "{}",
            asked.text()
        );
        let expected = format!("first:{reason} third:ok");
        assert_eq!(outcomes(&front, &response), expected);
    }
}

#[tokio::test]
async fn a_rule_says_on_which_failures_another_is_asked() {
    let (first, second) = (broken().await, healthy("second").await);
    let upstreams = [
        at("first", first.address, ""),
        at("second", second.address, ""),
    ];
    let rules = [
        rule("gpt-4o", TIERS, ", on: [rate_limited]"),
        rule("gpt-5", TIERS, ", on: [server_error]"),
    ];
    let front = gateway(GENEROUS, &upstreams, &rules);
    let response = front.post(CHAT, &chat("gpt-4o")).await;
    response.assert_error(500, "server_error", None, None);
    assert_eq!(second.requests(), 0);
    let response = front.post(CHAT, &chat("gpt-5")).await;
    assert_whole(&response, "second");
}

#[tokio::test]
async fn fallbacks_are_asked_in_their_order() {
    let (first, second, third) = (broken().await, broken().await, healthy("third").await);
    let upstreams = [
        at("first", first.address, ""),
        at("second", second.address, ""),
        at("third", third.address, ""),
    ];
    let rules = [
        rule(
            "gpt-4o",
            "{ upstream: first }",
            ", fallback: [other, spare]",
        ),
        rule("other", "{ upstream: second }", ""),
        rule("spare", "{ upstream: third }", ""),
    ];
    let front = gateway(GENEROUS, &upstreams, &rules);
    let response = front.post(CHAT, &streamed_chat("gpt-4o")).await;
    assert_whole(&response, "third");
    let expected = "first:server_error first:server_error second:server_error third:ok";
    assert_eq!(outcomes(&front, &response), expected);
    assert!(second.request().await.text().contains(r#""model":"other""#));
}

#[tokio::test]
async fn one_that_flaps_is_not_noticed() {
    let turn = Arc::new(AtomicUsize::new(0));
    let first = Upstream::start(move |request, mut reply| {
        let turn = turn.fetch_add(1, Ordering::SeqCst);
        async move {
            match turn % 2 {
                0 => reply.json("500 Internal Server Error", "{}").await,
                _ => serve("first", &request, &mut reply).await,
            }
            reply
        }
    })
    .await;
    let second = healthy("second").await;
    let far = at("first", first.address, ", ejection: off");
    let front = one_then_other(&far, &second);
    let mut client = front.connect().await;
    for n in 0..20 {
        let body = [chat("gpt-4o"), streamed_chat("gpt-4o")][n / 2 % 2].clone();
        let response = client.post(CHAT, &body).await;
        assert_whole(&response, ["second", "first"][n % 2]);
    }
    assert_eq!((first.requests(), second.requests()), (20, 10));
}

#[tokio::test]
async fn when_all_are_down_the_client_is_told() {
    let (first, second) = (broken().await, nobody());
    let upstreams = [at("first", first.address, ""), at("second", second, "")];
    let front = gateway(GENEROUS, &upstreams, &[rule("gpt-4o", TIERS, "")]);
    for body in [chat("gpt-4o"), streamed_chat("gpt-4o")] {
        let response = front.post(CHAT, &body).await;
        let code = response.json()["error"]["code"].clone();
        match response.status {
            500 => response.assert_error(500, "server_error", None, None),
            _ => response.assert_error(502, "server_error", code.as_str(), None),
        }
        assert_eq!(response.header("x-should-retry"), Some("false"));
        let attempts: usize = response
            .header("x-tollgate-attempts")
            .unwrap()
            .parse()
            .unwrap();
        assert!((2..=4).contains(&attempts), "{attempts}");
        let trail = outcomes(&front, &response);
        assert!(
            trail.starts_with("first:server_error second:unreachable"),
            "{trail}"
        );
    }
}

#[tokio::test]
async fn one_of_five_servers_that_is_slow_is_not_noticed() {
    let slow = Upstream::start(|_, mut reply| async move {
        reply.begin_stream().await;
        reply.wait_for_close().await;
        reply
    })
    .await;
    let mut servers = vec![(slow.address, 1)];
    let mut fast = Vec::new();
    for _ in 0..4 {
        let upstream = healthy("fast").await;
        servers.push((upstream.address, 1));
        fast.push(upstream);
    }
    let more = ", timeouts: { first_token: 300ms }, \
                ejection: { consecutive: 2, base: 1h, longest: 1h }";
    let far = super::among("far", &servers, more);
    let front = gateway(GENEROUS, &[far], &[rule("gpt-4o", "{ upstream: far }", "")]);
    let mut client = front.connect().await;
    let mut trails = Vec::new();
    for _ in 0..40 {
        let response = client.post(CHAT, &streamed_chat("gpt-4o")).await;
        assert_whole(&response, "fast");
        trails.push(outcomes(&front, &response));
    }
    let trails = counted(trails);
    assert_eq!(trails["far:silent far:ok"], 2, "{trails:?}");
    assert_eq!(trails["far:ok"], 38, "{trails:?}");
    assert_eq!(slow.requests(), 2, "then it was left out");
    assert!(fast.iter().all(|upstream| upstream.requests() >= 9));
}
