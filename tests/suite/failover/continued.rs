//! A rule whose chats another upstream goes on with when their stream breaks.

use serde_json::Value;

use super::{
    CHAT, GENEROUS, Told, assert_broken, assert_whole, at, delta, error, finish, gateway, healthy,
    metric, outcomes, role, rule, token, tokens, whole,
};
use crate::support::client::{Response, post};
use crate::support::gateway::Gateway;
use crate::support::upstream::{Received, Reply, Upstream};
use crate::support::{chat, soon, streamed_chat};

const CONTINUE: &str = ", on_cut: continue";
const TIERS: &str = "{ upstream: first }, { upstream: second, priority: 1 }";
const USAGE: &str = r#"{"id":"chatcmpl-2","object":"chat.completion.chunk","created":2,"model":"m","choices":[],"usage":{"prompt_tokens":200,"completion_tokens":20,"total_tokens":220}}"#;
const TIMEOUTS: &str = ", ejection: off, timeouts: { first_token: 10s, idle: 300ms }";

/// How an answer goes wrong behind its fortieth token.
#[derive(Clone, Copy, Debug)]
enum Break {
    Close,
    Stall,
    Error,
    End,
    InAnEvent,
}

/// Says forty tokens, and breaks.
async fn breaking(how: Break) -> Upstream {
    Upstream::start(move |_, mut reply| async move {
        reply.begin_stream().await;
        tokens("say", 0..40, &mut reply).await;
        match how {
            Break::Close => reply.close(),
            Break::Stall => reply.wait_for_close().await,
            Break::Error => {
                let error = error("The server had an error.", "server_error", None);
                reply.event(&error).await;
                reply.end_stream().await;
            }
            Break::End => reply.end_stream().await,
            Break::InAnEvent => {
                reply.chunk("data: {\"choices\":[{\"delta\":{\"con").await;
                reply.close();
            }
        }
        reply
    })
    .await
}

/// What a request says that the assistant has said so far.
fn said(request: &Received) -> String {
    let body: Value = serde_json::from_slice(&request.body).unwrap();
    let last = body["messages"].as_array().unwrap().last().unwrap();
    assert_eq!(last["role"], "assistant", "{body}");
    last["content"].as_str().unwrap().to_owned()
}

/// Goes on with what has been said, as a model does that is given the beginning of its message.
async fn go_on(request: &Received, reply: &mut Reply, usage: &str) {
    let said = said(request);
    let all = whole("say");
    let rest = all
        .strip_prefix(&said)
        .expect("the beginning of the answer");
    reply.begin_stream().await;
    reply.event(&role()).await;
    for word in rest.split_inclusive(' ') {
        let content = serde_json::json!({ "content": word });
        let event = delta(&content.to_string(), "null");
        reply
            .event(&event.replace("chatcmpl-1", "chatcmpl-2"))
            .await;
    }
    reply
        .event(&finish().replace("chatcmpl-1", "chatcmpl-2"))
        .await;
    if !usage.is_empty() {
        reply.event(usage).await;
    }
    reply.event("[DONE]").await;
    reply.end_stream().await;
}

async fn going_on() -> Upstream {
    Upstream::start(|request, mut reply| async move {
        go_on(&request, &mut reply, "").await;
        reply
    })
    .await
}

fn before(first: &Upstream, second: &Upstream, prefill: &str, more: &str) -> Gateway {
    let upstreams = [
        at("first", first.address, TIMEOUTS),
        at("second", second.address, &format!(", prefill: {prefill}")),
    ];
    gateway(GENEROUS, &upstreams, &[rule("gpt-4o", TIERS, more)])
}

/// The events of a stream, but for its end.
fn events(response: &Response) -> Vec<Value> {
    let data = response.text().split("\n\n");
    let data = data.filter_map(|event| event.strip_prefix("data: "));
    let data = data.filter(|data| *data != "[DONE]");
    data.map(|data| serde_json::from_str(data).unwrap())
        .collect()
}

#[tokio::test]
async fn what_breaks_after_output_goes_on_as_one_answer() {
    for how in [
        Break::Close,
        Break::Stall,
        Break::Error,
        Break::End,
        Break::InAnEvent,
    ] {
        let (first, second) = (breaking(how).await, going_on().await);
        let gateway = before(&first, &second, "assistant", CONTINUE);
        let response = gateway.post(CHAT, &streamed_chat("gpt-4o")).await;
        assert_whole(&response, "say");
        assert!(Told::of(&response).is_done, "{how:?}");
        let events = events(&response);
        assert!(
            events.iter().all(|event| event["id"] == "chatcmpl-1"),
            "{how:?}"
        );
        let count = |is: &dyn Fn(&Value) -> bool| events.iter().filter(|event| is(event)).count();
        assert_eq!(count(&|e| e["choices"][0]["delta"]["role"].is_string()), 1);
        assert_eq!(count(&|e| e["choices"][0]["finish_reason"].is_string()), 1);
        assert_eq!(count(&|e| e["x_tollgate"]["continued"] == true), 1);
        assert_eq!((first.requests(), second.requests()), (1, 1), "{how:?}");
        assert_eq!(outcomes(&gateway, &response), "first:ok second:ok");
        let id = response.header("x-request-id").unwrap();
        let line = gateway.access_line(&format!("id={id} "));
        assert!(line.contains(":continued "), "{line}");
        assert!(line.contains(" error=- "), "{line}");
    }
}

#[tokio::test]
async fn each_kind_of_upstream_is_asked_in_its_own_form() {
    for (prefill, message, request) in [
        ("assistant", Value::Null, Value::Null),
        ("vllm", Value::Null, true.into()),
        ("mistral", true.into(), Value::Null),
        ("deepseek", true.into(), Value::Null),
    ] {
        let (first, second) = (breaking(Break::Close).await, going_on().await);
        let gateway = before(&first, &second, prefill, CONTINUE);
        let body = streamed_chat("gpt-4o").replacen('{', r#"{"max_tokens":1000,"#, 1);
        let response = gateway.post(CHAT, &body).await;
        assert_whole(&response, "say");
        let asked: Value = serde_json::from_slice(&second.request().await.body).unwrap();
        let messages = asked["messages"].as_array().unwrap();
        assert_eq!(messages.len(), 2);
        assert_eq!(messages[1]["prefix"], message, "{prefill}");
        assert_eq!(asked["continue_final_message"], request, "{prefill}");
        let bound = asked["max_tokens"].as_u64().unwrap();
        assert!((800..1000).contains(&bound), "{bound}");
    }
}

#[tokio::test]
async fn what_is_said_again_is_left_out() {
    let first = breaking(Break::Close).await;
    let second = Upstream::start(|request, mut reply| async move {
        let said = said(&request);
        assert!(said.ends_with("say38 say39 "), "{said}");
        reply.begin_stream().await;
        for n in 37..super::TOKENS {
            reply.event(&token("say", n)).await;
        }
        reply.event(&finish()).await;
        reply.event("[DONE]").await;
        reply.end_stream().await;
        reply
    })
    .await;
    let gateway = before(&first, &second, "assistant", CONTINUE);
    let response = gateway.post(CHAT, &streamed_chat("gpt-4o")).await;
    assert_whole(&response, "say");
}

#[tokio::test]
async fn the_usage_is_that_of_both() {
    let first = breaking(Break::Close).await;
    let second = Upstream::start(move |request, mut reply| async move {
        go_on(&request, &mut reply, USAGE).await;
        reply
    })
    .await;
    let gateway = before(&first, &second, "assistant", CONTINUE);
    let options = r#"{"stream_options":{"include_usage":true},"#;
    let body = streamed_chat("gpt-4o").replacen('{', options, 1);
    let response = gateway.post(CHAT, &body).await;
    assert_whole(&response, "say");
    let events = events(&response);
    let told = &events.last().unwrap()["usage"];
    let (input, output) = (&told["prompt_tokens"], &told["completion_tokens"]);
    let (input, output) = (input.as_u64().unwrap(), output.as_u64().unwrap());
    assert!(input > 205, "{told}");
    assert!(output > 60, "{told}");
    assert_eq!(told["total_tokens"], input + output);
    // Each upstream is charged for what it has said.
    let tokens = async |upstream: &str, kind: &str| {
        let labels = format!(r#"kind="{kind}",rule="gpt-4o",upstream="{upstream}""#);
        metric(&gateway, &format!("tollgate_tokens_total{{{labels}}}")).await
    };
    assert_eq!(tokens("second", "output").await, 20);
    assert_eq!(tokens("first", "output").await, output - 20);
    assert_eq!(tokens("first", "input").await, input - 200);
    // The access line has the sum.
    let id = response.header("x-request-id").unwrap();
    let line = gateway.access_line(&format!("id={id} "));
    assert!(
        line.contains(&format!("tokens_in={input} tokens_out={output} ")),
        "{line}"
    );
    // Without that option no client sees it.
    let response = gateway.post(CHAT, &streamed_chat("gpt-4o")).await;
    assert!(!response.text().contains("prompt_tokens"));
}

#[tokio::test]
async fn what_cannot_go_on_ends_with_the_error_that_it_had() {
    let second = going_on().await;
    for more in [
        r#"{"n":2,"#,
        r#"{"response_format":{"type":"json_object"},"#,
        r#"{"logprobs":true,"#,
        r#"{"store":true,"#,
    ] {
        let first = breaking(Break::Close).await;
        let gateway = before(&first, &second, "assistant", CONTINUE);
        let body = streamed_chat("gpt-4o").replacen('{', more, 1);
        assert_broken(&gateway.post(CHAT, &body).await, "upstream_cut");
    }
    // A rule that does not say so, and an upstream that is not known to continue messages.
    for (prefill, more) in [("assistant", ""), ("none", CONTINUE)] {
        let first = breaking(Break::Close).await;
        let gateway = before(&first, &second, prefill, more);
        let response = gateway.post(CHAT, &streamed_chat("gpt-4o")).await;
        assert_broken(&response, "upstream_cut");
    }
    // A call of a tool.
    let first = Upstream::start(|_, mut reply| async move {
        reply.begin_stream().await;
        reply.event(&token("say", 0)).await;
        let call =
            r#"{"tool_calls":[{"index":0,"id":"t","function":{"name":"f","arguments":""}}]}"#;
        reply.event(&delta(call, "null")).await;
        reply.close();
        reply
    })
    .await;
    let gateway = before(&first, &second, "assistant", CONTINUE);
    let response = gateway.post(CHAT, &streamed_chat("gpt-4o")).await;
    assert_broken(&response, "upstream_cut");
    // A filter is no failure that another upstream would not have.
    let first = Upstream::start(|_, mut reply| async move {
        reply.begin_stream().await;
        reply.event(&token("say", 0)).await;
        let filtered = error("Filtered.", "invalid_request_error", Some("content_filter"));
        reply.event(&filtered).await;
        reply.end_stream().await;
        reply
    })
    .await;
    let gateway = before(&first, &second, "assistant", CONTINUE);
    let response = gateway.post(CHAT, &streamed_chat("gpt-4o")).await;
    assert_broken(&response, "content_filter");
    assert_eq!(second.requests(), 0);
}

#[tokio::test]
async fn one_that_refuses_is_passed_over_and_its_refusal_is_not_told() {
    let refusing = || async {
        let body = error(
            "The last message must be the user's.",
            "invalid_request_error",
            None,
        );
        super::failing("400 Bad Request", "", body).await
    };
    let (first, second, third) = (
        breaking(Break::Close).await,
        refusing().await,
        going_on().await,
    );
    let upstreams = [
        at("first", first.address, TIMEOUTS),
        at("second", second.address, ", prefill: assistant"),
        at("third", third.address, ", prefill: vllm"),
    ];
    let more = ", fallback: [spare], on_cut: continue";
    let rules = [
        rule("gpt-4o", TIERS, more),
        rule("spare", "{ upstream: third }", ""),
    ];
    let gateway = gateway(GENEROUS, &upstreams, &rules);
    let response = gateway.post(CHAT, &streamed_chat("gpt-4o")).await;
    assert_whole(&response, "say");
    assert_eq!(
        outcomes(&gateway, &response),
        "first:ok second:bad_request third:ok"
    );

    let (first, second) = (breaking(Break::Close).await, refusing().await);
    let gateway = before(&first, &second, "assistant", CONTINUE);
    let response = gateway.post(CHAT, &streamed_chat("gpt-4o")).await;
    let told = assert_broken(&response, "upstream_cut");
    assert!(!format!("{told:?}").contains("last message"));
}

#[tokio::test]
async fn an_answer_is_continued_once() {
    let first = breaking(Break::Close).await;
    let second = Upstream::start(|request, mut reply| async move {
        said(&request);
        reply.begin_stream().await;
        reply.event(&token("say", 40)).await;
        reply.close();
        reply
    })
    .await;
    let gateway = before(&first, &second, "assistant", CONTINUE);
    let response = gateway.post(CHAT, &streamed_chat("gpt-4o")).await;
    let told = assert_broken(&response, "upstream_cut");
    assert!(told.text.ends_with("say39 say40 "), "{told:?}");
    assert_eq!((first.requests(), second.requests()), (1, 1));
}

#[tokio::test]
async fn the_target_itself_goes_on_where_there_is_no_other_and_it_was_not_silent() {
    for (how, asked) in [(Break::Close, 2), (Break::Stall, 1)] {
        let only = Upstream::start(move |request, mut reply| async move {
            match request.text().contains("assistant") {
                true => go_on(&request, &mut reply, "").await,
                false => {
                    reply.begin_stream().await;
                    tokens("say", 0..40, &mut reply).await;
                    match how {
                        Break::Stall => reply.wait_for_close().await,
                        _ => reply.close(),
                    }
                }
            }
            reply
        })
        .await;
        let more = format!("{TIMEOUTS}, prefill: vllm");
        let upstreams = [at("only", only.address, &more)];
        let rules = [rule("gpt-4o", "{ upstream: only }", CONTINUE)];
        let gateway = gateway(GENEROUS, &upstreams, &rules);
        let response = gateway.post(CHAT, &streamed_chat("gpt-4o")).await;
        match asked {
            2 => assert_whole(&response, "say"),
            _ => drop(assert_broken(&response, "upstream_timeout")),
        }
        assert_eq!(only.requests(), asked, "{how:?}");
    }
}

#[tokio::test]
async fn a_client_that_leaves_meanwhile_leaves_nothing_behind() {
    let first = breaking(Break::Close).await;
    let second = Upstream::start(|_, mut reply| async move {
        reply.wait_for_close().await;
        reply
    })
    .await;
    let gateway = before(&first, &second, "assistant", CONTINUE);
    let mut client = gateway.connect().await;
    client.send(post(CHAT, "", &streamed_chat("gpt-4o"))).await;
    soon("the second request", second.request()).await;
    drop(client);
    soon("the end of the second connection", second.closed()).await;
    gateway
        .metric_becomes("tollgate_requests_in_flight", 0.0)
        .await;
    let output = r#"tollgate_tokens_total{kind="output",rule="gpt-4o",upstream="first"}"#;
    assert!(gateway.metric(output).await > 40.0);
}

#[tokio::test]
async fn an_answer_that_does_not_break_is_as_it_was() {
    let (first, second) = (healthy("first").await, going_on().await);
    let plain = before(&first, &second, "assistant", "");
    let continuing = before(&first, &second, "assistant", CONTINUE);
    for body in [streamed_chat("gpt-4o"), chat("gpt-4o")] {
        let as_it_was = plain.post(CHAT, &body).await;
        let answer = continuing.post(CHAT, &body).await;
        assert_eq!(answer.text(), as_it_was.text());
        assert_whole(&answer, "first");
    }
    assert_eq!(second.requests(), 0);
}

/// What the SDKs make of it; the scripts are in `tests/sdk`.
async fn as_an_sdk_reads_it(script: Option<std::process::Command>) {
    let Some(script) = script else { return };
    let first = breaking(Break::Close).await;
    let second = Upstream::start(move |request, mut reply| async move {
        go_on(&request, &mut reply, USAGE).await;
        reply
    })
    .await;
    let gateway = before(&first, &second, "assistant", CONTINUE);
    crate::sdk::ask(script, &format!("http://{}/v1", gateway.address));
    assert_eq!((first.requests(), second.requests()), (2, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_python_sdk_gets_one_answer() {
    as_an_sdk_reads_it(crate::sdk::python("continued.py")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_node_sdk_gets_one_answer() {
    let folder = crate::support::gateway::Folder::new();
    as_an_sdk_reads_it(crate::sdk::node("continued.mjs", &folder)).await;
}

#[tokio::test]
async fn an_error_that_was_withheld_is_told_as_it_came_where_none_goes_on() {
    let first = Upstream::start(|_, mut reply| async move {
        reply.begin_stream().await;
        reply.event(&token("say", 0)).await;
        let error = "event: error\ndata: {\"error\":{\"message\":\"boom\",\ndata: \"type\":\"server_error\",\"code\":null}}\n\n";
        reply.chunk(error).await;
        reply.end_stream().await;
        reply
    })
    .await;
    let second = super::broken().await;
    let gateway = before(&first, &second, "assistant", CONTINUE);
    let response = gateway.post(CHAT, &streamed_chat("gpt-4o")).await;
    let told = "event: error\ndata: {\"error\":{\"message\":\"boom\",\ndata: \"type\":\"server_error\",\"code\":null}}\n\n";
    assert!(response.text().ends_with(told), "{}", response.text());
}

#[tokio::test]
async fn an_upstream_that_goes_on_in_json_has_failed() {
    let first = breaking(Break::Close).await;
    let second = Upstream::start(|_, mut reply| async move {
        reply.json("200 OK", &super::answer("second")).await;
        reply
    })
    .await;
    let gateway = before(&first, &second, "assistant", CONTINUE);
    let response = gateway.post(CHAT, &streamed_chat("gpt-4o")).await;
    assert_broken(&response, "upstream_cut");
    assert_eq!(
        outcomes(&gateway, &response),
        "first:ok second:invalid_response"
    );
}

#[tokio::test]
async fn what_was_said_counts_although_a_usage_without_it_came_first() {
    let first = Upstream::start(|_, mut reply| async move {
        reply.begin_stream().await;
        let usage = r#","usage":{"prompt_tokens":100,"completion_tokens":0,"total_tokens":100}}"#;
        let begin = role().strip_suffix('}').unwrap().to_owned() + usage;
        reply.event(&begin).await;
        for n in 0..40 {
            reply.event(&token("say", n)).await;
        }
        reply.close();
        reply
    })
    .await;
    let second = going_on().await;
    let gateway = before(&first, &second, "assistant", CONTINUE);
    let body = streamed_chat("gpt-4o").replacen('{', r#"{"max_tokens":1000,"#, 1);
    assert_whole(&gateway.post(CHAT, &body).await, "say");
    let asked: Value = serde_json::from_slice(&second.request().await.body).unwrap();
    assert!(asked["max_tokens"].as_u64().unwrap() < 970, "{asked}");
}
