//! Recorded events of each API, errors, endings, and what may be skipped.

use super::*;
use crate::openai::upstream_error::MAX_TEXT_BYTES;

fn event<'a>(name: Option<&'a str>, data: &'a [u8]) -> Event<'a> {
    Event {
        name: name.map(str::as_bytes),
        data: Ok(Cow::Borrowed(data)),
        data_at: None,
        start: 0,
        end: 0,
    }
}

/// What an event means that comes first in a stream.
fn first(stream: Stream, data: impl AsRef<[u8]>) -> Meaning {
    StreamState::new(stream).see(&event(None, data.as_ref()))
}

/// The error that an event tells.
fn error(stream: Stream, name: Option<&str>, data: impl AsRef<[u8]>) -> UpstreamError {
    let data = data.as_ref();
    let mut progress = StreamState::new(stream);
    let Meaning::Error(error) = progress.see(&event(name, data)) else {
        panic!("no error: {}", String::from_utf8_lossy(data));
    };
    assert_eq!(progress.ending(), Ending::Failed);
    error
}

fn told(code: &str, kind: &str, message: &str, status: u16) -> UpstreamError {
    let text = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    UpstreamError {
        code: text(code),
        kind: text(kind),
        message: text(message),
        status: Some(status).filter(|status| *status > 0),
    }
}

/// Checks what each event of a stream means, by the letter before it: `-` nothing yet, `+`
/// output, `.` done, `?` malformed, `!` an error; and how the stream ends.
fn check(stream: Stream, events: &str, ending: Ending) {
    let mut progress = StreamState::new(stream);
    for line in events
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
    {
        let (expected, data) = line.split_at(1);
        let letter = match progress.see(&event(None, data.as_bytes())) {
            Meaning::Lifecycle => "-",
            Meaning::Output => "+",
            Meaning::Done => ".",
            Meaning::Error(_) => "!",
            Meaning::Malformed => "?",
        };
        assert_eq!(letter, expected, "{stream:?} {line}");
    }
    assert_eq!(progress.ending(), ending, "{events}");
    let ended = matches!(ending, Ending::Complete | Ending::Unmarked);
    assert!(!ended || progress.is_finished(), "{events}");
}

/// Checks a stream as it is, without its last event, and without its last two.
fn check_cut(stream: Stream, events: &str, endings: [Ending; 3]) {
    let lines: Vec<_> = events.trim().lines().collect();
    for (cut, ending) in endings.into_iter().enumerate() {
        check(stream, &lines[..lines.len() - cut].join("\n"), ending);
    }
}

#[test]
fn what_only_goes_on_need_not_be_seen() {
    let mut chat = StreamState::new(Stream::Chat);
    let more = r#"{"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":null}]}"#;
    let is_more = |chat: &StreamState, json: &str| chat.can_skip(&event(None, json.as_bytes()));
    assert!(!is_more(&chat, more), "no choice has begun");
    chat.see(&event(None, more.as_bytes()));
    assert!(is_more(&chat, more));
    assert!(is_more(&chat, &more.replace(':', ": ")));
    for other in [
        r#"{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#,
        r#"{"choices":[{"index":0,"delta":{},"finish_reason": "stop"}]}"#,
        r#"{"choices":[{"index":0,"delta":{},"finish_reason" : "stop"}]}"#,
        r#"{"choices":[{"index" :1,"delta":{"content":"a"}}]}"#,
        r#"{"choices":[{"index":0,"delta":{"audio":{"expires_at":7}}}]}"#,
        r#"{"choices":[{"index":1,"delta":{"content":"a"}}]}"#,
        r#"{"choices":[{"index":01,"delta":{"content":"a"}}]}"#,
        r#"{"error":{"message":"m"}}"#,
        r#"{"object":"error"}"#,
        r#"{"detail":"m"}"#,
        r#"{"code":500,"message":"m"}"#,
        r#"{"choices":null,"base_resp":{"status_code":1002}}"#,
        "[DONE]",
        "",
    ] {
        assert!(!is_more(&chat, other), "{other}");
    }
    let mut other = StreamState::new(Stream::Chat);
    other.see(&event(None, more.replace(":0", ":1").as_bytes()));
    assert!(!is_more(&other, more), "another choice has begun");
    let responses = StreamState::new(Stream::Responses);
    let named = |name| responses.can_skip(&event(Some(name), b"{}"));
    assert!(named("response.output_text.delta"));
    assert!(!named("response.completed") && !named("error"));
}

const MARKED: [Ending; 3] = [Ending::Complete, Ending::Unmarked, Ending::Truncated];

#[test]
fn a_chat_of_openai_is_read() {
    check_cut(
        Stream::Chat,
        r#"
            -{"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"gpt-4o","service_tier":"default","system_fingerprint":"fp_1","choices":[{"index":0,"delta":{"role":"assistant","content":"","refusal":null},"logprobs":null,"finish_reason":null}],"usage":null,"obfuscation":"x1"}
            +{"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"gpt-4o","choices":[{"index":0,"delta":{"content":"Hi"},"logprobs":null,"finish_reason":null}],"usage":null,"obfuscation":"x"}
            -{"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"gpt-4o","choices":[],"usage":{"prompt_tokens":1}}
            +{"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"gpt-4o","choices":[{"index":0,"delta":{},"logprobs":null,"finish_reason":"stop"}],"usage":null}
            .[DONE]
            "#,
        MARKED,
    );
    check_cut(
        Stream::Chat,
        r#"
            -{"choices":[{"index":0,"delta":{"role":"assistant","content":null},"finish_reason":null}]}
            +{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"call_1","type":"function","function":{"name":"f","arguments":""}}]},"finish_reason":null}]}
            -{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":""}}]},"finish_reason":null}]}
            +{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{\""}}]},"finish_reason":null}]}
            +{"choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}]}
            .[DONE]
            "#,
        MARKED,
    );
}

#[test]
fn a_chat_of_azure_is_read() {
    check_cut(
        Stream::Chat,
        r#"
            -{"choices":[],"created":0,"id":"","model":"","object":"","prompt_filter_results":[{"prompt_index":0,"content_filter_results":{"hate":{"filtered":false,"severity":"safe"}}}]}
            -{"choices":[{"content_filter_results":{},"delta":{"content":"","refusal":null,"role":"assistant"},"finish_reason":null,"index":0,"logprobs":null}],"id":"c","object":"chat.completion.chunk"}
            +{"choices":[{"content_filter_results":{"hate":{"filtered":false}},"delta":{"content":"Hi"},"finish_reason":null,"index":0,"logprobs":null}],"id":"c","object":"chat.completion.chunk"}
            -{"choices":[{"content_filter_offsets":{"check_offset":1,"start_offset":1,"end_offset":2},"content_filter_results":{},"finish_reason":null,"index":0}],"created":0,"id":"","model":"","object":""}
            +{"choices":[{"content_filter_results":{},"delta":{},"finish_reason":"stop","index":0,"logprobs":null}],"id":"c","object":"chat.completion.chunk"}
            .[DONE]
            "#,
        MARKED,
    );
}

#[test]
fn a_chat_of_deepseek_is_read() {
    check_cut(
        Stream::Chat,
        r#"
            -{"id":"d","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"role":"assistant","content":null,"reasoning_content":""},"logprobs":null,"finish_reason":null}]}
            +{"id":"d","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":null,"reasoning_content":"Well"},"logprobs":null,"finish_reason":null}]}
            +{"id":"d","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"Hi","reasoning_content":null},"logprobs":null,"finish_reason":null}]}
            +{"id":"d","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"","reasoning_content":null},"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"prompt_cache_hit_tokens":0}}
            .[DONE]
            "#,
        MARKED,
    );
}

#[test]
fn a_chat_of_groq_is_read() {
    check_cut(
        Stream::Chat,
        r#"
            -{"id":"g","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}],"x_groq":{"id":"req_1"}}
            +{"id":"g","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"reasoning":"Well","channel":"analysis"},"finish_reason":null}]}
            +{"id":"g","object":"chat.completion.chunk","choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"x_groq":{"id":"req_1","usage":{"total_tokens":2}}}
            .[DONE]
            "#,
        MARKED,
    );
    assert_eq!(
        error(
            Stream::Chat,
            Some("error"),
            r#"{"error":{"message":"over capacity","type":"internal_server_error","code":"over_capacity","status_code":503}}"#,
        ),
        told(
            "over_capacity",
            "internal_server_error",
            "over capacity",
            503
        )
    );
}

#[test]
fn a_chat_of_mistral_is_read() {
    check_cut(
        Stream::Chat,
        r#"
            -{"id":"m","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}
            +{"id":"m","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":[{"type":"thinking","thinking":[{"type":"text","text":"Well"}]}]},"finish_reason":null}]}
            +{"id":"m","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"","tool_calls":[{"id":"t","function":{"name":"f","arguments":"{}"},"index":0}]},"finish_reason":"tool_calls"}],"usage":{"total_tokens":2}}
            .[DONE]
            "#,
        MARKED,
    );
    assert_eq!(
        error(
            Stream::Chat,
            None,
            r#"{"object":"error","message":"Service tier capacity exceeded","type":"invalid_request_error","param":null,"code":"3505"}"#,
        ),
        told(
            "3505",
            "invalid_request_error",
            "Service tier capacity exceeded",
            0
        )
    );
}

#[test]
fn a_chat_of_xai_is_read() {
    check_cut(
        Stream::Chat,
        r#"
            +{"id":"x","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"reasoning_content":"Well","role":"assistant"}}]}
            +{"id":"x","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"Hi","role":"assistant"}}],"usage":{"total_tokens":1}}
            +{"id":"x","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"","role":"assistant"},"finish_reason":"stop"}]}
            -{"id":"x","object":"chat.completion.chunk","choices":[],"usage":{"total_tokens":2},"citations":["https://x.ai"]}
            .[DONE]
            "#,
        [Ending::Complete, Ending::Unmarked, Ending::Unmarked],
    );
    assert_eq!(
        error(
            Stream::Chat,
            None,
            r#"{"code":"The service is currently unavailable","error":"Try again"}"#
        ),
        told("The service is currently unavailable", "", "Try again", 0)
    );
}

#[test]
fn a_legacy_completion_is_read() {
    check_cut(
        Stream::Completions,
        r#"
            -{"id":"cmpl","object":"text_completion","choices":[{"text":"","index":0,"logprobs":null,"finish_reason":null}]}
            +{"id":"cmpl","object":"text_completion","choices":[{"text":"Hi","index":0,"logprobs":null,"finish_reason":null}]}
            +{"id":"cmpl","object":"text_completion","choices":[{"text":"","index":0,"logprobs":null,"finish_reason":"length"}]}
            .[DONE]
            "#,
        MARKED,
    );
}

#[test]
fn a_response_is_read() {
    let said = r#"
            -{"type":"response.created","sequence_number":0,"response":{"id":"r","status":"in_progress","error":null,"usage":null}}
            -{"type":"response.queued","sequence_number":1,"response":{"id":"r"}}
            -{"type":"response.in_progress","sequence_number":2,"response":{"id":"r"}}
            -{"type":"response.mcp_list_tools.completed","sequence_number":3}
            -{"type":"response.output_item.added","sequence_number":4,"item":{"type":"reasoning","summary":[]}}
            -{"type":"response.reasoning_summary_part.added","part":{"type":"summary_text","text":""}}
            +{"type":"response.reasoning_summary_text.delta","delta":"Well"}
            +{"type":"response.output_item.done","item":{"type":"reasoning"}}
            -{"type":"response.content_part.added","part":{"type":"output_text","text":""}}
            -{"type":"response.output_text.delta","delta":""}
            +{"type":"response.output_text.delta","delta":"Hi","logprobs":[]}
            +{"type":"response.output_text.annotation.added","annotation":{"type":"url_citation"}}
            +{"type":"response.output_text.done","text":"Hi"}
            -{"type":"response.web_search_call.in_progress"}
            +{"type":"response.web_search_call.searching"}
            +{"type":"response.function_call_arguments.delta","delta":"{"}
            +{"type":"response.custom_tool_call_input.delta","delta":"x"}
            +{"type":"response.image_generation_call.partial_image","partial_image_b64":"aGk="}
            +{"type":"response.audio.delta","delta":"aGk="}
            +{"type":"response.telepathy","thought":null}
            +{"type":"response.telepathy.delta","delta":{"thought":1}}
            -{"type":"keepalive","sequence_number":9}
            "#;
    for (end, ending) in [
        (
            r#".{"type":"response.completed","response":{"status":"completed"}}"#,
            Ending::Complete,
        ),
        (
            r#".{"type":"response.incomplete","response":{"error":null}}"#,
            Ending::Complete,
        ),
        (
            r#"!{"type":"response.failed","response":{"error":{"code":"x"}}}"#,
            Ending::Failed,
        ),
        (".[DONE]", Ending::Truncated),
        ("", Ending::Truncated),
    ] {
        check(Stream::Responses, &format!("{said}{end}"), ending);
    }
}

#[test]
fn the_name_of_an_event_stands_in_for_its_type() {
    for (name, data, expected) in [
        (Some("response.created"), "{}", Meaning::Lifecycle),
        (Some("response.completed"), "{}", Meaning::Done),
        (
            Some("response.output_text.delta"),
            r#"{"delta":"x"}"#,
            Meaning::Output,
        ),
        (
            Some("response.created"),
            r#"{"type":"response.completed"}"#,
            Meaning::Done,
        ),
        (
            Some("response.created"),
            r#"{"type":7}"#,
            Meaning::Lifecycle,
        ),
        (
            None,
            r#"{"type":"response\u002ecreated"}"#,
            Meaning::Lifecycle,
        ),
        (None, r#"{"type":7,"delta":"x"}"#, Meaning::Malformed),
        (None, "{}", Meaning::Malformed),
        (Some("response.created"), "[]", Meaning::Malformed),
    ] {
        let mut progress = StreamState::new(Stream::Responses);
        let meaning = progress.see(&event(name, data.as_bytes()));
        assert_eq!(meaning, expected, "{name:?} {data}");
    }
    let named = Event {
        name: Some(b"response.\xff"),
        ..event(None, b"{}")
    };
    assert_eq!(
        StreamState::new(Stream::Responses).see(&named),
        Meaning::Malformed
    );
}

#[test]
fn of_other_apis_any_data_is_output() {
    for data in [
        "{\"type\":\"transcript.text.delta\",\"delta\":\"\"}",
        "[]",
        "text",
        "",
        "{",
    ] {
        assert_eq!(first(Stream::Other, data), Meaning::Output, "{data}");
    }
    assert_eq!(first(Stream::Other, b"\xff"), Meaning::Output);
    check(
        Stream::Other,
        r#"+{"type":"speech.audio.done"}"#,
        Ending::Unknown,
    );
    check(Stream::Other, r#"!{"error":{"code":"x"}}"#, Ending::Failed);
    assert_eq!(
        error(
            Stream::Other,
            Some("error"),
            r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#
        ),
        told("", "overloaded_error", "Overloaded", 0)
    );
}

#[test]
fn each_kind_of_output_in_a_chat_is_known() {
    for (delta, says) in [
        (r#"{"content":" "}"#, true),
        (r#"{"refusal":"No"}"#, true),
        (r#"{"reasoning_content":"x"}"#, true),
        (
            r#"{"reasoning":"x","reasoning_content":"x","content":""}"#,
            true,
        ),
        (
            r#"{"reasoning_details":[{"type":"reasoning.text","text":"x"}]}"#,
            true,
        ),
        (r#"{"images":[{"image_url":{"url":"data:"}}]}"#, true),
        (r#"{"function_call":{"name":"f"}}"#, true),
        (r#"{"function_call":{"arguments":"{"}}"#, true),
        (
            r#"{"tool_calls":[{"custom":{"name":"","input":"x"}}]}"#,
            true,
        ),
        (
            r#"{"tool_calls":[{},{"function":{"arguments":{"a":1}}}]}"#,
            true,
        ),
        (r#"{"audio":{"id":"a","transcript":"x"}}"#, true),
        (r#"{"audio":{"data":"aGk="}}"#, true),
        // Of a shape that is not known, but in the place of output.
        (r#""text""#, true),
        (r#"["text"]"#, true),
        (r#"{"content":{"text":"x"}}"#, true),
        (r#"{"content":"x","content":"y"}"#, true),
        (r#"{"tool_calls":{"function":{}}}"#, true),
        (r#"{"tool_calls":["x"]}"#, true),
        (r#"{"tool_calls":[{"function":"f()"}]}"#, true),
        (r#"{"function_call":"auto"}"#, true),
        (r#"{"audio":"aGk="}"#, true),
        // Nothing.
        ("{}", false),
        ("null", false),
        ("[ ]", false),
        (r#""""#, false),
        (
            r#"{"role":"assistant","content":[],"refusal":null,"reasoning":{ }}"#,
            false,
        ),
        (
            r#"{"tool_calls":[],"function_call":null,"audio":null,"images":[]}"#,
            false,
        ),
        (
            r#"{"tool_calls":[{"index":0,"id":"c","type":"function"}]}"#,
            false,
        ),
        (
            r#"{"tool_calls":[{"function":{"name":"","arguments":null}}]}"#,
            false,
        ),
        (r#"{"function_call":{"name":""}}"#, false),
        (r#"{"audio":{"id":"a","transcript":"","data":null}}"#, false),
        (r#"{"role":7,"content":false}"#, false),
    ] {
        let json = format!(r#"{{"choices":[{{"delta":{delta}}}]}}"#);
        let expected = if says {
            Meaning::Output
        } else {
            Meaning::Lifecycle
        };
        assert_eq!(first(Stream::Chat, &json), expected, "{json}");
    }
}

#[test]
fn sound_that_expires_is_finished() {
    check(
        Stream::Chat,
        r#"
            -{"choices":[{"index":0,"delta":{"role":"assistant","audio":{"id":"a"}}}]}
            +{"choices":[{"index":0,"delta":{"audio":{"data":"aGk=","expires_at":7}}}]}
            "#,
        Ending::Truncated,
    );
    check(
        Stream::Chat,
        r#"
            +{"choices":[{"index":0,"delta":{"audio":{"data":"aGk="}}}]}
            +{"choices":[{"index":0,"delta":{"audio":{"expires_at":7}}}]}
            "#,
        Ending::Unmarked,
    );
}

#[test]
fn every_choice_that_began_has_to_be_finished() {
    let choice = |index: &str, reason: &str| {
        format!(r#"+{{"choices":[{{"index":{index},"text":"x","finish_reason":{reason}}}]}}"#)
    };
    let stop = r#""stop""#;
    for (choices, ending) in [
        (vec![("0", stop)], Ending::Unmarked),
        (vec![("0", stop), ("1", "null")], Ending::Truncated),
        (vec![("1", stop), ("0", stop)], Ending::Unmarked),
        (
            vec![("1", "null"), ("0", stop), ("1", stop), ("1", "null")],
            Ending::Unmarked,
        ),
        // An empty reason is none, and so is what is no string.
        (vec![("0", "\"\"")], Ending::Truncated),
        (vec![("0", "7")], Ending::Truncated),
        (vec![("0", "[\"stop\"]")], Ending::Truncated),
        // No index is the first, and one that is none cannot be told apart.
        (vec![("null", "null"), ("0", stop)], Ending::Unmarked),
        (vec![("18446744073709551615", stop)], Ending::Unmarked),
        (vec![("18446744073709551616", stop)], Ending::Unknown),
        (vec![("0", stop), ("-1", stop)], Ending::Unknown),
        (vec![("0", stop), ("\"0\"", stop)], Ending::Unknown),
        (vec![("0", stop), ("0.5", stop)], Ending::Unknown),
    ] {
        let events: Vec<_> = choices
            .into_iter()
            .map(|(i, reason)| choice(i, reason))
            .collect();
        check(Stream::Completions, &events.join("\n"), ending);
        let marked = format!("{}\n.[DONE]", events.join("\n"));
        let mut progress = StreamState::new(Stream::Completions);
        for line in marked.lines() {
            progress.see(&event(None, &line.as_bytes()[1..]));
        }
        assert_eq!(progress.ending(), Ending::Complete, "{marked}");
        assert!(progress.is_done());
    }
}

#[test]
fn the_number_of_choices_is_bounded() {
    let list = |count: usize| {
        let choice = |nth| format!(r#"{{"index":{nth},"text":"","finish_reason":"stop"}}"#);
        (0..count).map(choice).collect::<Vec<_>>()
    };
    for (count, ending) in [
        (MAX_CHOICES, Ending::Unmarked),
        (MAX_CHOICES + 1, Ending::Unknown),
        (100_000, Ending::Unknown),
    ] {
        let mut together = StreamState::new(Stream::Chat);
        let json = format!(r#"{{"choices":[{}]}}"#, list(count).join(","));
        assert_eq!(together.see(&event(None, json.as_bytes())), Meaning::Output);
        let mut apart = StreamState::new(Stream::Chat);
        for choice in list(count) {
            let json = format!(r#"{{"choices":[{choice}]}}"#);
            apart.see(&event(None, json.as_bytes()));
        }
        for progress in [together, apart] {
            assert_eq!(progress.ending(), ending);
            assert_eq!(progress.choices.len(), MAX_CHOICES);
            assert_eq!(progress.is_finished(), ending == Ending::Unmarked);
        }
    }
}

#[test]
fn a_chunk_without_choices_says_nothing() {
    for data in [
        r#"{"choices":[]}"#,
        r#"{"choices":[ ],"usage":null}"#,
        r#"{"choices":null,"usage":{"total_tokens":1}}"#,
        r#"{"choices":null,"object":"chat.completion.chunk"}"#,
        r#"{"prompt_filter_results":[{}]}"#,
        r#"{"choices":[],"error":null}"#,
        r#"{"choices":[],"error":""}"#,
        r#"{"choices":[],"error":{}}"#,
        r#"{"choices":[],"error":false}"#,
        r#" {"choices":[{}]} "#,
    ] {
        assert_eq!(first(Stream::Chat, data), Meaning::Lifecycle, "{data}");
    }
}

#[test]
fn what_is_not_of_a_known_shape_is_malformed() {
    let cases: [&[u8]; 18] = [
        b"",
        b" ",
        b"x",
        b"<html>",
        b"7",
        b"\"x\"",
        b"null",
        b"{}",
        b"{",
        br#"[{"choices":[]}]"#,
        br#"["error"]"#,
        br#"{"choices":[]"#,
        br#"{"choices":[]} x"#,
        br#"{"choices":"x"}"#,
        br#"{"choices":{"0":{}}}"#,
        br#"{"choices":["x"]}"#,
        br#"{"choices":[],"choices":[]}"#,
        b"{\"choices\":[],\"x\":\"\xff\"}",
    ];
    for data in cases {
        let shown = String::from_utf8_lossy(data);
        assert_eq!(first(Stream::Chat, data), Meaning::Malformed, "{shown}");
    }
    check(Stream::Chat, "?{}", Ending::Truncated);
    check(Stream::Chat, "", Ending::Truncated);
    check(Stream::Responses, "?x", Ending::Truncated);
}

#[test]
fn an_error_is_read_wherever_it_stands() {
    for (data, expected) in [
        (
            r#"{"error":{"message":"m","type":"server_error","param":null,"code":null}}"#,
            told("", "server_error", "m", 0),
        ),
        (
            r#"{"id":"o","choices":[{"delta":{"content":""},"finish_reason":"error"}],"error":{"code":502,"message":"m"}}"#,
            told("", "", "m", 502),
        ),
        (
            r#"{"error":{"code":"401","message":"m"}}"#,
            told("", "", "m", 401),
        ),
        (
            r#"{"error":{"code":"1300"},"status":429}"#,
            told("1300", "", "", 429),
        ),
        (
            r#"{"type":"error","status":400,"error":{"type":"t","code":"c","message":"m"},"message":"outer"}"#,
            told("c", "t", "m", 400),
        ),
        (
            r#"{"type":"error","code":"server_error","message":"m","param":null,"sequence_number":3}"#,
            told("server_error", "", "m", 0),
        ),
        (
            r#"{"type":"response.failed","response":{"status":"failed","error":{"code":"rate_limit_exceeded","message":"m"}}}"#,
            told("rate_limit_exceeded", "", "m", 0),
        ),
        (
            r#"{"type":"response.failed","response":null}"#,
            told("", "", "", 0),
        ),
        (
            r#"{"object":"error","message":"m","type":"BadRequestError","code":400}"#,
            told("", "BadRequestError", "m", 400),
        ),
        (r#"{"error":"m","choices":"x"}"#, told("", "", "m", 0)),
        (r#"{"error":true}"#, told("", "", "", 0)),
        (r#"{"error":["m"]}"#, told("", "", "", 0)),
        (
            r#"{"error":{"code":{},"type":[],"message":7,"status":"BAD","status_code":200}}"#,
            told("", "BAD", "7", 0),
        ),
        (r#"{"error":{"code":"a","code":"b"}}"#, told("", "", "", 0)),
        (
            r#"{"error":{"message":"\ud800","code":"\u0061"}}"#,
            told("a", "", "", 0),
        ),
    ] {
        for stream in [
            Stream::Chat,
            Stream::Completions,
            Stream::Responses,
            Stream::Other,
        ] {
            assert_eq!(error(stream, None, data), expected, "{data}");
        }
    }
}

#[test]
fn an_event_that_is_called_an_error_is_one() {
    for (data, expected) in [
        (
            r#"{"message":"m","code":"c","type":"t"}"#,
            told("c", "", "m", 0),
        ),
        (r#"{"choices":[]}"#, told("", "", "", 0)),
        (r#""m""#, told("", "", "m", 0)),
        ("Bad Gateway", told("", "", "Bad Gateway", 0)),
        ("", told("", "", "", 0)),
    ] {
        for stream in [Stream::Chat, Stream::Responses, Stream::Other] {
            assert_eq!(error(stream, Some("error"), data), expected, "{data}");
        }
    }
    let broken = error(Stream::Chat, Some("error"), b"x\xff");
    assert_eq!(broken.message.as_deref(), Some("x\u{fffd}"));
}

#[test]
fn the_texts_of_an_error_are_bounded() {
    let long = "é".repeat(MAX_TEXT_BYTES);
    let json = format!(
        r#"{{"error":{{"message":"x{long}","code":"{long}","type":{}}}}}"#,
        "7".repeat(1 << 20)
    );
    let error = error(Stream::Chat, None, json);
    for text in [error.message, error.code, error.kind] {
        let bytes = text.unwrap().len();
        assert!((MAX_TEXT_BYTES - 1..=MAX_TEXT_BYTES).contains(&bytes));
    }
}

#[test]
fn an_error_without_an_envelope_is_one() {
    for (data, expected) in [
        (r#"{"detail":"m"}"#, told("", "", "m", 0)),
        (r#"{"code":500,"message":"m"}"#, told("", "", "m", 500)),
        (
            r#"[{"error":{"code":429,"message":"m"}}]"#,
            told("", "", "m", 429),
        ),
        (r#"{"event":"error","message":"m"}"#, told("", "", "m", 0)),
        (
            r#"{"choices":null,"base_resp":{"status_code":1002,"status_msg":"m"}}"#,
            told("1002", "", "m", 0),
        ),
    ] {
        for stream in [
            Stream::Chat,
            Stream::Completions,
            Stream::Responses,
            Stream::Other,
        ] {
            assert_eq!(error(stream, None, data), expected, "{data}");
            let mut begun = StreamState::new(stream);
            let output = r#"{"type":"x.delta","delta":"x","choices":[{"index":0,"text":"x"}]}"#;
            assert_eq!(begun.see(&event(None, output.as_bytes())), Meaning::Output);
            assert!(!begun.can_skip(&event(None, data.as_bytes())));
        }
    }
}

#[test]
fn a_choice_that_has_failed_is_an_error_unless_another_goes_on() {
    for (data, expected) in [
        (
            r#"{"choices":[{"index":0,"delta":{"content":""},"finish_reason":"error","error":{"code":502,"message":"m"}}]}"#,
            told("", "", "m", 502),
        ),
        (
            r#"{"choices":[{"index":0,"delta":{"content":"x"},"finish_reason":"error"}]}"#,
            told("", "", "", 0),
        ),
        (
            r#"{"choices":[{"index":0,"delta":{},"finish_reason":"abort"}]}"#,
            told("abort", "", "", 0),
        ),
        (
            r#"{"choices":[{"index":0,"delta":{}}],"x_groq":{"error":"m"}}"#,
            told("", "", "m", 0),
        ),
    ] {
        for stream in [Stream::Chat, Stream::Completions] {
            assert_eq!(error(stream, None, data), expected, "{data}");
        }
    }
    check(
        Stream::Chat,
        r#"
            +{"choices":[{"index":0,"delta":{"content":"x"}},{"index":1,"delta":{},"finish_reason":"error"}]}
            "#,
        Ending::Truncated,
    );
}

#[test]
fn an_error_before_the_end_fails_the_stream_and_one_after_it_does_not() {
    let finished = r#"+{"choices":[{"text":"x","finish_reason":"stop"}]}"#;
    let failed = r#"!{"error":{"message":"m"}}"#;
    for (events, ending) in [
        ([finished, failed, ".[DONE]"], Ending::Failed),
        ([finished, ".[DONE]", failed], Ending::Complete),
    ] {
        check(Stream::Chat, &events.join("\n"), ending);
    }
}

#[test]
fn the_end_marker_is_what_begins_like_it() {
    for data in [
        "[DONE]",
        "[DONE] ",
        " [DONE]",
        "[DONE]x",
        "[DONE] {\"error\":1}",
    ] {
        for stream in [Stream::Chat, Stream::Responses, Stream::Other] {
            assert_eq!(first(stream, data), Meaning::Done, "{data}");
        }
    }
    assert_eq!(first(Stream::Chat, "[done]"), Meaning::Malformed);
}

#[test]
fn an_event_that_is_too_long_is_output_and_leaves_the_end_unknown() {
    let long = Event {
        name: None,
        data: Err(TooLong),
        data_at: None,
        start: 0,
        end: 0,
    };
    let stop = event(None, br#"{"choices":[{"text":"","finish_reason":"stop"}]}"#);
    for stream in [Stream::Chat, Stream::Responses, Stream::Other] {
        let mut progress = StreamState::new(stream);
        assert_eq!(progress.see(&long), Meaning::Output);
        progress.see(&stop);
        assert_eq!(progress.ending(), Ending::Unknown);
        assert!(!progress.is_finished());
    }
}

#[test]
fn depth_costs_no_stack() {
    let nested = |open: &str, close: &str| open.repeat(100_000) + "1" + &close.repeat(100_000);
    for inner in [nested("[", "]"), nested("{\"a\":", "}")] {
        for (json, expected) in [
            (
                format!(r#"{{"choices":[{{"delta":{{"content":{inner}}}}}]}}"#),
                Meaning::Output,
            ),
            (
                format!(r#"{{"choices":[{{"delta":{{"tool_calls":{inner}}}}}]}}"#),
                Meaning::Output,
            ),
            (
                format!(r#"{{"choices":[{{"delta":{{"x":{inner}}}}}]}}"#),
                Meaning::Lifecycle,
            ),
            (
                format!(r#"{{"x":{inner},"choices":[]}}"#),
                Meaning::Lifecycle,
            ),
            (
                format!(r#"{{"choices":{}}}"#, nested("[", "]")),
                Meaning::Malformed,
            ),
            (
                format!(r#"{{"error":{inner}}}"#),
                Meaning::Error(UpstreamError::default()),
            ),
            ("{\"choices\":[".repeat(100_000), Meaning::Malformed),
            (inner.clone(), Meaning::Malformed),
        ] {
            assert_eq!(first(Stream::Chat, &json), expected, "{}", &json[..40]);
        }
    }
}

#[test]
fn no_bytes_do_any_harm() {
    let sample = br#"{"error":null,"type":"response.x.delta","delta":"x","choices":[{"index":0,"delta":{"content":"","tool_calls":[{"function":{"name":"f"}}],"audio":{"expires_at":1}},"finish_reason":"stop"}],"response":{"error":{"code":1}}}"#;
    let mut seed = 1u64;
    let mut below = |bound: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        usize::try_from(seed >> 33).unwrap() % bound
    };
    let values: [&[u8]; 12] = [
        b"null",
        b"1e400",
        b"-1",
        b"\"\"",
        b"[]",
        b"{}",
        b"\xff",
        b"\"",
        b"{",
        b"[",
        b",",
        b"\"error\"",
    ];
    for _ in 0..20_000 {
        let mut data = sample.to_vec();
        for _ in 0..=below(3) {
            let start = below(data.len());
            let end = (start + below(9)).min(data.len());
            data.splice(start..end, values[below(values.len())].iter().copied());
        }
        for stream in [
            Stream::Chat,
            Stream::Completions,
            Stream::Responses,
            Stream::Other,
        ] {
            let mut progress = StreamState::new(stream);
            progress.see(&event(None, &data));
            progress.see(&event(Some("error"), &data));
            progress.ending();
        }
    }
}
#[test]
fn an_event_that_need_not_be_seen_would_have_changed_nothing() {
    const MEMBERS: [&str; 16] = [
        r#""index":0"#,
        r#""index":0"#,
        r#""index" : 0"#,
        r#""index":1"#,
        r#""index" :1"#,
        r#""index":null"#,
        r#""delta":{}"#,
        r#""delta":{"content":"a"}"#,
        r#""delta":{"content":"\"index\":1,\"finish_reason\":\"stop\""}"#,
        r#""delta":{"audio":{"data":"aGk="}}"#,
        r#""delta":{"audio":{"expires_at":7}}"#,
        r#""delta":{"tool_calls":[{"index":1,"function":{"arguments":"{"}}]}"#,
        r#""finish_reason":null"#,
        r#""finish_reason":"stop""#,
        r#""finish_reason" : "stop""#,
        r#""text":"finish_reason""#,
    ];
    const REST: [&str; 8] = [
        "}",
        "}",
        "}",
        r#","usage":null}"#,
        r#","error":null}"#,
        r#","error":{"message":"m"}}"#,
        r#","type":"error"}"#,
        "",
    ];
    let mut random = fastrand::Rng::with_seed(1);
    let mut skipped = 0;
    for _ in 0..40_000 {
        let stream = [Stream::Chat, Stream::Completions][random.usize(..2)];
        let mut progress = StreamState::new(stream);
        for _ in 0..random.usize(1..5) {
            let choice = |random: &mut fastrand::Rng| {
                let count = random.usize(..3);
                let mut members = random.choose_multiple(MEMBERS, count);
                // As nearly all servers begin a choice.
                if random.u8(..4) > 0 {
                    members.insert(0, r#""index":0"#);
                }
                format!("{{{}}}", members.join(","))
            };
            let count = random.usize(..3);
            let choices: Vec<_> = (0..count).map(|_| choice(&mut random)).collect();
            let rest = REST[random.usize(..REST.len())];
            let json = format!(r#"{{"choices":[{}]{rest}"#, choices.join(","));
            let event = event(None, json.as_bytes());
            let before = (progress.choices.clone(), progress.ending());
            let is_more = progress.can_skip(&event);
            let meaning = progress.see(&event);
            if is_more {
                skipped += 1;
                assert!(
                    !matches!(meaning, Meaning::Done | Meaning::Error(_)),
                    "{json}"
                );
                assert_eq!(
                    (progress.choices.clone(), progress.ending()),
                    before,
                    "{json}"
                );
            }
        }
    }
    // Such events have to be common, or the test says little.
    assert!(skipped > 2_000, "{skipped}");
}
