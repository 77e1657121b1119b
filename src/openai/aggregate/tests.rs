//! Streams as they were recorded, quirks one by one, bounds, and hostile bytes.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::*;
use crate::openai::sse::Parser;

fn recorded() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/recorded")
}

fn aggregator(stream: Stream) -> Aggregator {
    Aggregator::for_stream(stream).unwrap()
}

/// Has a gatherer see each line, which is the data of an event.
fn seen(stream: Stream, events: &str) -> Aggregator {
    let mut aggregator = aggregator(stream);
    for line in events.lines() {
        aggregator.see(line.as_bytes()).unwrap();
    }
    aggregator
}

fn gathered(stream: Stream, events: &str) -> Value {
    let answer = seen(stream, events).finish().unwrap();
    serde_json::from_slice(&answer).unwrap()
}

/// The message of a chat whose deltas these are, one in a line.
fn message(deltas: &str) -> Value {
    let mut events = String::new();
    for delta in deltas
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
    {
        events += &format!("{{\"choices\":[{{\"index\":0,\"delta\":{delta}}}]}}\n");
    }
    let answer = gathered(Stream::Chat, &(events + "[DONE]"));
    answer["choices"][0]["message"].clone()
}

fn calls(deltas: &str) -> Value {
    let wrapped = deltas
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty());
    let wrapped: Vec<_> = wrapped
        .map(|calls| format!("{{\"tool_calls\":{calls}}}"))
        .collect();
    message(&wrapped.join("\n"))["tool_calls"].clone()
}

#[test]
fn recorded_streams_make_the_answers_of_their_providers() {
    let mut count = 0;
    for entry in fs::read_dir(recorded()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "sse") {
            continue;
        }
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let stream = match name.as_str() {
            "openai_responses" => Stream::Responses,
            "openai_completions" => Stream::Completions,
            _ => Stream::Chat,
        };
        let mut aggregator = aggregator(stream);
        let mut parser = Parser::new();
        parser.push(&fs::read(&path).unwrap(), |event| {
            aggregator.see(&event.data.unwrap()).unwrap();
        });
        let answer: Value = serde_json::from_slice(&aggregator.finish().unwrap()).unwrap();
        let expected = fs::read(path.with_extension("json")).unwrap();
        let expected: Value = serde_json::from_slice(&expected).unwrap();
        assert_eq!(answer, expected, "{name}");
        count += 1;
    }
    assert_eq!(count, 16);
}

#[test]
fn an_answer_is_written_as_the_api_does() {
    let events = concat!(
        r#"{"id":"c","created":1755345600,"model":"m","service_tier":null,"system_fingerprint":"f","choices":[{"delta":{"content":"\ud83d"},"index":0,"logprobs":{"content":[{"logprob":-1.9361265e-07}]}}]}"#,
        "\n",
        r#"{"id":"c","created":1,"model":"n","service_tier":"default","system_fingerprint":null,"choices":[{"delta":{"content":"\ude00 \"ü\""},"index":0,"logprobs":{"content":[ {"logprob":-0.10} ],"refusal":null},"finish_reason":"stop"}],"usage":null}"#,
        "\n",
        r#"{"id":"c","choices":[],"usage":{"total_tokens":3}}"#,
    );
    let answer = String::from_utf8(seen(Stream::Chat, events).finish().unwrap()).unwrap();
    let expected = r#"{"id":"c","object":"chat.completion","created":1755345600,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"\ud83d\ude00 \"ü\"","refusal":null},"logprobs":{"content":[{"logprob":-1.9361265e-07},{"logprob":-0.10}],"refusal":null},"finish_reason":"stop"}],"usage":{"total_tokens":3},"service_tier":"default","system_fingerprint":"f"}"#;
    assert_eq!(answer, expected);
}

#[test]
fn usage_is_the_last_and_never_summed() {
    let events = r#"{"choices":[{"delta":{"content":"a"}}],"usage":{"total_tokens":5}}
{"choices":[{"delta":{},"finish_reason":"stop"}],"usage":{"total_tokens":6}}
{"choices":[],"usage":null}"#;
    let answer = gathered(Stream::Chat, events);
    assert_eq!(answer["usage"], json!({"total_tokens": 6}));
    let without = gathered(
        Stream::Chat,
        r#"{"choices":[{"finish_reason":"stop"}],"usage":null}"#,
    );
    assert_eq!(without.get("usage"), None);
}

#[test]
fn of_what_a_filter_found_the_last_that_says_something_is_kept() {
    let events = r#"{"choices":[],"prompt_filter_results":[{"prompt_index":0}]}
{"choices":[{"delta":{"content":"a"},"content_filter_results":{}}],"mark":"a"}
{"choices":[{"delta":{},"content_filter_results":{"hate":1},"stop_reason":"x"}],"mark":"b"}
{"choices":[{"delta":{},"content_filter_results":{"hate":2},"stop_reason":null}],"mark":null}
{"choices":[{"finish_reason":"stop","content_filter_results":{},"stop_reason":""}],"prompt_filter_results":[]}"#;
    let answer = gathered(Stream::Chat, events);
    assert_eq!(
        answer["prompt_filter_results"],
        json!([{"prompt_index": 0}])
    );
    assert_eq!(answer["mark"], "b");
    assert_eq!(
        answer["choices"][0]["content_filter_results"],
        json!({"hate": 2})
    );
    assert_eq!(answer["choices"][0]["stop_reason"], "");
}

#[test]
fn choices_come_in_any_order_and_leave_sorted() {
    let events = r#"{"choices":[{"index":4000000000,"delta":{"content":"c"},"finish_reason":"stop"}]}
{"choices":[{"index":1,"delta":{"content":"b"}},{"delta":{"content":"a"}}]}
{"choices":[{"index":null,"delta":{"content":"A"},"finish_reason":"length"},{"index":1,"delta":{"content":"B"},"finish_reason":"stop"}]}
{"choices":[{"index":1,"delta":{},"finish_reason":""},{"index":0,"finish_reason":7},{"index":0,"delta":null,"finish_reason":null}]}"#;
    let answer = gathered(Stream::Chat, events);
    let choices = answer["choices"].as_array().unwrap();
    let told: Vec<_> = choices
        .iter()
        .map(|choice| {
            let content = &choice["message"]["content"];
            json!([choice["index"], content, choice["finish_reason"]])
        })
        .collect();
    let expected = [
        json!([0, "aA", "length"]),
        json!([1, "bB", "stop"]),
        json!([4_000_000_000_u64, "c", "stop"]),
    ];
    assert_eq!(told, expected);
}

#[test]
fn a_stream_that_ends_before_its_answer_gives_none() {
    let half = r#"{"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":"stop"},{"index":1,"delta":{}}]}"#;
    let finish = |events: &str| seen(Stream::Chat, events).finish().unwrap_err();
    assert_eq!(finish(half), Incomplete::Truncated);
    assert_eq!(finish(""), Incomplete::Empty);
    assert_eq!(finish("[DONE]"), Incomplete::Empty);
    assert_eq!(
        finish(r#"{"choices":[],"usage":{"a":1}}"#),
        Incomplete::Empty
    );
    let whole = seen(Stream::Chat, &format!("{half}\n[DONE]")).finish();
    assert!(whole.is_ok());
    let begun = r#"{"type":"response.created","response":{"id":"r","status":"in_progress"}}"#;
    let finish = |events: &str| seen(Stream::Responses, events).finish().unwrap_err();
    assert_eq!(finish(begun), Incomplete::Truncated);
    assert_eq!(finish(&format!("{begun}\n[DONE]")), Incomplete::Truncated);
    assert_eq!(finish(""), Incomplete::Empty);
}

#[test]
fn what_is_not_of_the_known_shape_leaves_the_answer_unknown() {
    let good = r#"{"choices":[{"delta":{"content":"a"},"finish_reason":"stop"}]}"#;
    for bad in [
        "{",
        "7",
        "[]",
        r#"{"choices":7}"#,
        r#"{"choices":[7]}"#,
        r#"{"choices":[{"index":-1}]}"#,
        r#"{"choices":[{"index":"0"}]}"#,
        r#"{"choices":[{"delta":"a"}]}"#,
        r#"{"choices":[{"delta":{"tool_calls":[{"index":0.5}]}}]}"#,
        r#"{"choices":[{"delta":{"tool_calls":7}}]}"#,
        r#"{"choices":[{"delta":{"audio":{"data":"a=bc"}}}]}"#,
    ] {
        let finished = seen(Stream::Chat, &format!("{good}\n{bad}")).finish();
        assert_eq!(finished, Err(Incomplete::Malformed), "{bad}");
    }
    let mut aggregator = aggregator(Stream::Chat);
    aggregator.see(good.as_bytes()).unwrap();
    aggregator.see(b"{\"\xff\":1}").unwrap();
    assert_eq!(aggregator.finish(), Err(Incomplete::Malformed));
}

#[test]
fn what_is_no_chunk_and_what_comes_behind_the_end_says_nothing() {
    let events = r#"{"type":"ping"}

{"choices":null,"object":"chat.completion.chunk"}
{"choices":[{"delta":null},{"delta":{"content":"a","obfuscation":"x"},"finish_reason":"stop"}],"obfuscation":"x"}
[DONE]
{"choices":[{"delta":{"content":"b"}}]}"#;
    let answer = gathered(Stream::Chat, events);
    let message = json!({"role": "assistant", "content": "a", "refusal": null});
    let expected = json!({"object": "chat.completion", "choices": [
        {"index": 0, "message": message, "logprobs": null, "finish_reason": "stop"}
    ]});
    assert_eq!(answer, expected);
}

#[test]
fn a_text_is_null_until_the_first_string() {
    let said = message(r#"{"role":"assistant","content":null,"reasoning":null}"#);
    assert_eq!(said["content"], Value::Null);
    assert_eq!(said["reasoning"], Value::Null);
    let said = message(r#"{"role":"assistant","content":""}"#);
    assert_eq!(said["content"], "");
    let said = message(
        r#"
        {"role":"assistant","content":""}
        {"role":"tool","tool_calls":[{"index":0,"id":"i","function":{"name":"f"}}]}
        {"content":""}
        "#,
    );
    assert_eq!(said["content"], Value::Null);
    assert_eq!(said["role"], "assistant");
    let said = message(
        r#"
        {"content":"Look"}
        {"tool_calls":[{"index":0,"id":"i","function":{"name":"f"}}],"reasoning_content":"R"}
        {"content":null,"reasoning_content":"S"}
        {"content":"ing"}
        "#,
    );
    assert_eq!(said["content"], "Looking");
    assert_eq!(said["reasoning_content"], "RS");
}

#[test]
fn a_content_in_parts_keeps_them_all() {
    let said = message(
        r#"
        {"content":"a"}
        {"content":[{"type":"thinking","thinking":[{"type":"text","text":"t"}]}]}
        {"content":""}
        {"content":"b"}
        "#,
    );
    let expected = json!([
        {"type": "text", "text": "a"},
        {"type": "thinking", "thinking": [{"type": "text", "text": "t"}]},
        {"type": "text", "text": "b"},
    ]);
    assert_eq!(said["content"], expected);
}

#[test]
fn a_call_is_put_together_by_its_index() {
    let said = calls(
        r#"
        [{"index":7,"id":"b","type":"function","function":{"name":"g","arguments":null}}]
        [{"index":2,"id":"a","type":"function","function":{"name":"f","arguments":"{"}}]
        [{"index":2,"id":"","type":"","function":{"name":"","arguments":"\"x\":1"}},{"index":7,"id":"b","type":"function","function":{"name":"g","arguments":"[]"}}]
        [{"index":2,"id":"a","type":"function","function":{"name":"f","arguments":"}"}}]
        "#,
    );
    let expected = json!([
        {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{\"x\":1}"}},
        {"id": "b", "type": "function", "function": {"name": "g", "arguments": "[]"}},
    ]);
    assert_eq!(said, expected);
}

#[test]
fn a_new_id_at_the_same_index_is_a_new_call() {
    let said = calls(
        r#"
        [{"index":0,"id":"a","type":"function","function":{"name":"f","arguments":"1"}},{"index":0,"id":"b","type":"function","function":{"name":"g","arguments":"2"}}]
        [{"index":0,"function":{"arguments":"3"}}]
        [{"index":0,"id":"a","function":{"arguments":"4"}}]
        "#,
    );
    let expected = json!([
        {"id": "a", "type": "function", "function": {"name": "f", "arguments": "14"}},
        {"id": "b", "type": "function", "function": {"name": "g", "arguments": "23"}},
    ]);
    assert_eq!(said, expected);
}

#[test]
fn a_call_without_an_index_is_known_by_its_id_or_is_the_last() {
    let said = calls(
        r#"
        [{"id":"a","function":{"name":"f","arguments":"1"}},{"id":"b","function":{"name":"g","arguments":"2"}}]
        [{"id":"a","function":{"arguments":"3"}}]
        [{"function":{"arguments":"4"}}]
        [{"function":{"name":"h","arguments":{"x": 1.50}}}]
        [{"id":"c"}]
        "#,
    );
    let expected = json!([
        {"id": "a", "type": "function", "function": {"name": "f", "arguments": "13"}},
        {"id": "b", "type": "function", "function": {"name": "g", "arguments": "24"}},
        {"id": "c", "type": "function", "function": {"name": "h", "arguments": "{\"x\": 1.50}"}},
    ]);
    assert_eq!(said, expected);
}

#[test]
fn a_call_keeps_what_is_not_known_of_it() {
    let said = calls(
        r#"
        [{"index":0,"id":"a","type":"custom","custom":{"name":"f","input":"x"},"extra":{"s":"1","n":1}}]
        [{"index":0,"custom":{"input":"y"},"extra":{"s":"2","n":2}}]
        [{"index":1,"custom":{"name":"g"}}]
        "#,
    );
    let expected = json!([
        {"id": "a", "type": "custom", "custom": {"name": "f", "input": "xy"}, "extra": {"s": "12", "n": 2}},
        {"type": "custom", "custom": {"name": "g", "input": ""}},
    ]);
    assert_eq!(said, expected);
}

#[test]
fn what_ended_well_has_a_finish_reason() {
    for (delta, expected) in [
        (r#"{"content":"a"}"#, "stop"),
        (r#"{"tool_calls":[{"index":0,"id":"i"}]}"#, "tool_calls"),
        (r#"{"function_call":{"name":"f"}}"#, "function_call"),
    ] {
        let events = format!("{{\"choices\":[{{\"delta\":{delta},\"finish_reason\":\"\"}}]}}");
        let answer = gathered(Stream::Chat, &format!("{events}\n[DONE]"));
        assert_eq!(answer["choices"][0]["finish_reason"], expected, "{delta}");
        let partial = seen(Stream::Chat, &events).partial().unwrap();
        let partial: Value = serde_json::from_slice(&partial).unwrap();
        assert_eq!(partial["choices"][0]["finish_reason"], Value::Null);
    }
    let sound = r#"{"choices":[{"delta":{"audio":{"expires_at":9}}}]}"#;
    let answer = gathered(Stream::Chat, sound);
    assert_eq!(answer["choices"][0]["finish_reason"], "stop");
}

#[test]
fn sound_is_joined_however_it_is_cut() {
    // "Hello, sound" is SGVsbG8sIHNvdW5k.
    for pieces in [
        &["SGVsbG8sIHNvdW5k"][..],
        &["SGVsbA==", "bywgc291bmQ="],
        &["SGVsbA==", "bywg", "c291bmQ"],
        &["SGVs", "b", "G8", "", "sIHNvdW5k"],
    ] {
        let deltas: Vec<_> = pieces
            .iter()
            .map(|piece| format!(r#"{{"audio":{{"id":"a","data":"{piece}","transcript":"t"}}}}"#))
            .collect();
        let said = message(&deltas.join("\n"));
        let expected =
            json!({"id": "a", "data": "SGVsbG8sIHNvdW5k", "transcript": "t".repeat(pieces.len())});
        assert_eq!(said["audio"], expected, "{pieces:?}");
    }
}

#[test]
fn reasoning_details_are_merged_by_index_and_type_or_appended() {
    let said = message(
        r#"
        {"reasoning_details":[{"type":"reasoning.text","text":"a","format":"f","index":0,"signature":null}]}
        {"reasoning_details":[{"type":"reasoning.text","text":"b","format":"f","index":0},{"type":"reasoning.encrypted","data":"d","index":0}]}
        {"reasoning_details":[{"type":"x"},{"type":"y"}]}
        {"reasoning_details":[{"type":"reasoning.text","text":"","index":0,"signature":"s"}]}
        {"reasoning_details":null}
        "#,
    );
    let expected = json!([
        {"type": "reasoning.text", "text": "ab", "format": "f", "index": 0, "signature": "s"},
        {"type": "reasoning.encrypted", "data": "d", "index": 0},
        {"type": "x"},
        {"type": "y"},
    ]);
    assert_eq!(said["reasoning_details"], expected);
}

#[test]
fn lists_go_on_from_piece_to_piece() {
    let image = |url: &str, index: &str| {
        format!(r#"{{"images":[{{"type":"image_url","image_url":{{"url":"{url}"}}{index}}}]}}"#)
    };
    let urls = |images: &[String]| {
        let said = message(&images.join("\n"));
        let images = said["images"].as_array().unwrap().iter();
        let urls = images.map(|image| image["image_url"]["url"].as_str().unwrap().to_owned());
        urls.collect::<String>()
    };
    // By their indexes; without any; all with the same; the same again.
    for (indexes, expected) in [
        ([",\"index\":0", ",\"index\":1"], "ab"),
        (["", ""], "ab"),
        ([",\"index\":0", ",\"index\":0"], "ab"),
        ([",\"index\":null", ",\"index\":\"x\""], "ab"),
    ] {
        let [a, b] = indexes;
        assert_eq!(
            urls(&[image("a", a), image("b", b)]),
            expected,
            "{indexes:?}"
        );
    }
    let again = image("a", ",\"index\":0");
    assert_eq!(urls(&[again.clone(), again]), "a");
    let said = message(
        r#"
        {"ids":[1],"items":[{"id":"a"}],"words":["a"],"mixed":[{"x":1},2],"own":{"citations":[1]},"none":[]}
        {"ids":[1, 2],"items":[{"id":"b"}],"words":[ ],"mixed":[[3],null],"own":{"citations":[2]}}
        {"ids":null,"items":[],"words":["b"],"own":{"citations":[3]}}
        "#,
    );
    assert_eq!(said["ids"], json!([1, 1, 2]));
    assert_eq!(said["items"], json!([{"id": "a"}, {"id": "b"}]));
    assert_eq!(said["words"], json!(["a", "b"]));
    assert_eq!(said["mixed"], json!([{"x": 1}, 2, [3], null]));
    assert_eq!(said["own"], json!({"citations": [1, 2, 3]}));
    assert_eq!(said["none"], json!([]));
}

#[test]
fn blocks_of_thinking_go_on_until_they_are_signed() {
    let said = message(
        r#"
        {"thinking_blocks":[{"type":"thinking","thinking":"Let me","signature":null}]}
        {"thinking_blocks":[{"type":"thinking","thinking":" see"}]}
        {"thinking_blocks":[{"type":"thinking","thinking":"","signature":"S1"}]}
        {"thinking_blocks":[{"type":"redacted_thinking","data":"D"}]}
        {"thinking_blocks":[{"type":"redacted_thinking","data":"E"}]}
        {"thinking_blocks":[{"type":"thinking","thinking":"So","signature":""}]}
        {"thinking_blocks":[{"type":"thinking","thinking":".","signature":"S2"},{"type":"thinking","thinking":"Next"}]}
        "#,
    );
    let expected = json!([
        {"type": "thinking", "thinking": "Let me see", "signature": "S1"},
        {"type": "redacted_thinking", "data": "D"},
        {"type": "redacted_thinking", "data": "E"},
        {"type": "thinking", "thinking": "So.", "signature": "S2"},
        {"type": "thinking", "thinking": "Next"},
    ]);
    assert_eq!(said["thinking_blocks"], expected);
}

#[test]
fn lists_of_a_choice_go_on_and_those_beside_the_choices_are_told_again() {
    let events = r#"{"prompt_token_ids":[1,2],"citations":["a"],"choices":[{"delta":{"content":"a"},"token_ids":[10]}]}
{"citations":["a","b"],"choices":[{"delta":{"content":"b"},"token_ids":[11,12]}]}
{"citations":[],"choices":[{"delta":{},"finish_reason":"stop","token_ids":[13]}]}"#;
    let answer = gathered(Stream::Chat, events);
    assert_eq!(answer["choices"][0]["token_ids"], json!([10, 11, 12, 13]));
    assert_eq!(answer["prompt_token_ids"], json!([1, 2]));
    assert_eq!(answer["citations"], json!(["a", "b"]));
}

#[test]
fn what_is_not_known_of_a_message_is_kept() {
    let said = message(
        r#"
        {"note":"a","plan":{"step":"x","done":false,"deep":{"n":1}},"seen":[1],"annotations":[{"n":1}]}
        {"note":"b","plan":{"step":"y","done":true,"deep":{"m":2}},"seen":[2],"annotations":[]}
        {"note":null,"plan":null,"seen":null,"annotations":[{"n":2}]}
        "#,
    );
    assert_eq!(said["note"], "ab");
    let plan = json!({"step": "xy", "done": true, "deep": {"n": 1, "m": 2}});
    assert_eq!(said["plan"], plan);
    assert_eq!(said["seen"], json!([1, 2]));
    assert_eq!(said["annotations"], json!([{"n": 1}, {"n": 2}]));
}

#[test]
fn depth_is_merged_to_a_bound_and_costs_no_stack() {
    let deep = |levels: usize, end: &str| r#"{"a":"#.repeat(levels) + end + &"}".repeat(levels);
    // The member itself is the first level.
    let merged = message(&format!(
        "{}\n{}",
        deep(MAX_DEPTH + 1, "\"x\""),
        deep(MAX_DEPTH + 1, "\"y\"")
    ));
    assert!(merged.to_string().contains("\"xy\""));
    let kept = message(&format!(
        "{}\n{}",
        deep(MAX_DEPTH + 2, "{\"x\":1}"),
        deep(MAX_DEPTH + 2, "{\"y\":1}")
    ));
    assert!(!kept.to_string().contains('x') && kept.to_string().contains('y'));
    let mut aggregator = aggregator(Stream::Chat);
    let nested = "[".repeat(100_000) + &"]".repeat(100_000);
    let event = format!(r#"{{"choices":[{{"delta":{{"a":{nested}}}}}]}}"#);
    for _ in 0..2 {
        aggregator.see(event.as_bytes()).unwrap();
    }
    assert!(aggregator.partial().unwrap().len() > 200_000);
}

#[test]
fn more_parts_than_any_answer_has_are_too_many() {
    let one_of_each = |count: usize, part: fn(usize) -> String| {
        let parts: Vec<_> = (0..count).map(part).collect();
        let mut aggregator = aggregator(Stream::Chat);
        let event = format!(r#"{{"choices":[{}]}}"#, parts.join(","));
        let outcome = aggregator.see(event.as_bytes());
        assert_eq!(outcome, aggregator.see(b"[DONE]"), "once is for ever");
        assert_eq!(
            outcome.is_err(),
            aggregator.finish() == Err(Incomplete::TooLarge)
        );
        outcome
    };
    for part in [
        (|n| format!(r#"{{"index":{}}}"#, n * 1_000_000)) as fn(usize) -> String,
        |n| format!(r#"{{"delta":{{"tool_calls":[{{"index":{n}}}]}}}}"#),
        |n| format!(r#"{{"delta":{{"reasoning_details":[{{"index":{n}}}]}}}}"#),
        |n| {
            format!(
                r#"{{"delta":{{"thinking_blocks":[{{"type":"thinking","signature":"{n}"}}]}}}}"#
            )
        },
        |n| format!(r#"{{"delta":{{"unknown{n}":1}}}}"#),
        |n| format!(r#"{{"unknown{n}":1}}"#),
    ] {
        assert_eq!(one_of_each(MAX_ITEMS, part), Ok(()));
        assert_eq!(one_of_each(MAX_ITEMS + 1, part), Err(TooLarge));
    }
}

#[test]
fn more_bytes_than_the_bound_are_too_many() {
    let piece = |bytes: usize| {
        let text = "x".repeat(bytes);
        format!(r#"{{"choices":[{{"delta":{{"content":"{text}"}}}}]}}"#)
    };
    let mut aggregator = aggregator(Stream::Chat);
    let part = MAX_AGGREGATED_BYTES / 4;
    for _ in 0..3 {
        aggregator.see(piece(part).as_bytes()).unwrap();
    }
    // One byte is the quote, and the choice counts as well.
    let left = part - 1 - value::SLOT_BYTES;
    aggregator.see(piece(left).as_bytes()).unwrap();
    aggregator.see(piece(0).as_bytes()).unwrap();
    assert_eq!(aggregator.see(piece(1).as_bytes()), Err(TooLarge));
    assert_eq!(aggregator.see(b"[DONE]"), Err(TooLarge));
    let partial = aggregator.partial().unwrap();
    assert!(partial.len() > MAX_AGGREGATED_BYTES - value::SLOT_BYTES);
}

#[test]
fn what_is_replaced_counts_no_more() {
    let mut aggregator = aggregator(Stream::Chat);
    let usage = "9".repeat(MAX_AGGREGATED_BYTES / 3);
    for n in 1..=8 {
        let event = format!(r#"{{"choices":[{{"index":0}}],"usage":[{n}{usage}]}}"#);
        aggregator.see(event.as_bytes()).unwrap();
    }
    // The place of what has shrunk is free again.
    aggregator.see(br#"{"choices":[],"usage":{}}"#).unwrap();
    let text = "x".repeat(MAX_AGGREGATED_BYTES / 5 * 4);
    let event = format!(r#"{{"choices":[{{"delta":{{"content":"{text}"}}}}]}}"#);
    aggregator.see(event.as_bytes()).unwrap();
    aggregator.see(b"[DONE]").unwrap();
    assert!(aggregator.finish().is_ok());
}

#[test]
fn a_legacy_completion_is_gathered() {
    let events = r#"{"id":"c","object":"text_completion","choices":[{"text":"b","index":1,"logprobs":null,"finish_reason":null}]}
{"id":"c","object":"text_completion","choices":[{"text":"a","index":0,"logprobs":{"tokens":["a"],"text_offset":[0],"top_logprobs":null},"finish_reason":null}]}
{"id":"c","object":"text_completion","choices":[{"text":"A","index":0,"logprobs":{"tokens":["A"],"text_offset":[1],"top_logprobs":null},"finish_reason":"length"},{"index":1,"finish_reason":"stop"}]}"#;
    let logprobs = json!({"tokens": ["a", "A"], "text_offset": [0, 1], "top_logprobs": null});
    let expected = json!({"id": "c", "object": "text_completion", "choices": [
        {"text": "aA", "index": 0, "logprobs": logprobs, "finish_reason": "length"},
        {"text": "b", "index": 1, "logprobs": null, "finish_reason": "stop"},
    ]});
    assert_eq!(gathered(Stream::Completions, events), expected);
}

#[test]
fn a_response_is_its_last_event_byte_for_byte() {
    for kind in ["completed", "incomplete", "failed"] {
        let response = r#"{ "id" : "r", "temperature":1.0, "output":[] }"#;
        let events = format!(
            "{{\"type\":\"response.created\",\"response\":{{\"id\":\"r\"}}}}\n{{\"type\":\"response.{kind}\",\"response\":{response} }}\n{{\"type\":\"response.failed\",\"response\":{{}}}}\n[DONE]"
        );
        let answer = seen(Stream::Responses, &events).finish().unwrap();
        assert_eq!(answer, response.as_bytes());
        let partial = seen(Stream::Responses, &events).partial().unwrap();
        assert_eq!(partial, response.as_bytes());
    }
}

/// The output of a response whose last event does not tell it.
fn rebuilt(events: &str) -> Value {
    let begun = r#"{"type":"response.created","response":{"id":"r","output":[]}}"#;
    let outputs = [r#","output":[]"#, r#","output":null"#, ""].map(|output| {
        let end = format!(
            r#"{{"type":"response.completed","response":{{"id":"r","status":"completed"{output}}}}}"#
        );
        gathered(Stream::Responses, &[begun, events.trim(), &end].join("\n"))["output"].take()
    });
    assert!(outputs.iter().all(|output| *output == outputs[0]));
    let [output, ..] = outputs;
    output
}

#[test]
fn an_output_that_the_last_event_lacks_is_that_of_the_items() {
    const MESSAGE: &str = r#"{"id":"m","type":"message","status":"in_progress","content":[]}"#;
    let added =
        format!(r#"{{"type":"response.output_item.added","output_index":0,"item":{MESSAGE}}}"#);
    let done = r#"{"type":"response.output_item.done","output_index":0,"item":{"id":"m","type":"message","status":"completed","content":[{"type":"output_text","text":"forty-two","annotations":[]}]}}"#;
    let deltas = r#"{"type":"response.output_text.delta","output_index":0,"content_index":0,"delta":"forty-"}
{"type":"response.output_text.delta","output_index":0,"content_index":0,"delta":"two"}"#;
    let text = r#"{"type":"response.output_text.done","output_index":0,"content_index":0,"text":"forty-two"}"#;
    let bare = r#"{"type":"response.output_item.done","output_index":0,"item":{"id":"m","type":"message","status":"completed","content":[]}}"#;
    let expected = json!([{"id": "m", "type": "message", "status": "completed", "content": [
        {"type": "output_text", "text": "forty-two", "annotations": []},
    ]}]);
    for events in [
        vec![&added, deltas, text, done],
        vec![&added, deltas, done],
        vec![done],
        vec![&added, deltas],
        vec![&added, text],
        vec![&added, deltas, text],
        vec![&added, deltas, bare],
        vec![
            &added,
            r#"{"type":"response.output_text.delta","output_index":0,"delta":"cut"}"#,
            text,
        ],
    ] {
        assert_eq!(rebuilt(&events.join("\n")), expected, "{events:?}");
    }
    let cited = r#"{"type":"response.output_text.annotation.added","output_index":0,"content_index":0,"annotation_index":0,"annotation":{"n":1}}
{"type":"response.output_text.annotation.added","output_index":0,"content_index":0,"annotation_index":1,"annotation":{"n":2}}"#;
    let output = rebuilt(&[&added, deltas, cited].join("\n"));
    assert_eq!(
        output[0]["content"][0]["annotations"],
        json!([{"n": 1}, {"n": 2}])
    );
    assert_eq!(output[0]["content"][0]["text"], "forty-two");
    let call = r#"{"type":"response.output_item.added","output_index":2,"item":{"type":"function_call","call_id":"c","name":"f","arguments":"","status":"in_progress"}}
{"type":"response.function_call_arguments.done","output_index":2,"arguments":"{}"}
{"type":"response.output_item.done","output_index":1,"item":{"type":"image_generation_call","status":"generating"}}"#;
    let output = rebuilt(&[&added, deltas, call].join("\n"));
    let expected = json!([
        {"type": "image_generation_call", "status": "generating"},
        {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}", "status": "completed"},
    ]);
    assert_eq!(json!([output[1], output[2]]), expected);
}

#[test]
fn an_output_is_not_put_together_from_what_could_not_be_read() {
    let item = r#"{"type":"response.output_item.done","item":{"type":"message","content":[]}}"#;
    let end = |output: &str| {
        format!(r#"{{"type":"response.completed","response":{{"id":"r","output":{output}}}}}"#)
    };
    let events = |output: &str| [item, "{\"type\":\"response.out", &end(output)].join("\n");
    let answer = seen(Stream::Responses, &events("[]")).finish();
    assert_eq!(answer, Err(Incomplete::Malformed));
    assert!(seen(Stream::Responses, &events("[1]")).finish().is_ok());
}

#[test]
fn of_a_response_that_may_break_no_more_is_kept_than_is_told_then() {
    let mut aggregator = Aggregator::for_failure();
    let long = "x".repeat(10_000);
    let created = format!(
        r#"{{"type":"response.created","response":{{"id":"r","instructions":"{long}","tools":[{{"d":"{long}"}}],"text":{{"format":"{long}"}},"model":"m"}}}}"#
    );
    aggregator.see(created.as_bytes()).unwrap();
    let partial = aggregator.partial().unwrap();
    let expected = json!({"id": "r", "instructions": null, "tools": [], "text": null, "model": "m", "output": []});
    assert_eq!(serde_json::from_slice::<Value>(&partial).unwrap(), expected);
    aggregator
        .see(br#"{"type":"response.output_item.added","item":{"type":"message"}}"#)
        .unwrap();
    let delta = format!(r#"{{"type":"response.output_text.delta","delta":"{long}"}}"#);
    let taken = (0..100)
        .take_while(|_| aggregator.see(delta.as_bytes()).is_ok())
        .count();
    assert_eq!(taken, MAX_PARTIAL_BYTES / long.len());
    let partial = aggregator.partial().unwrap();
    assert!((taken * long.len()..MAX_PARTIAL_BYTES).contains(&partial.len()));
    // Nothing is kept of one that has ended.
    let mut aggregator = Aggregator::for_failure();
    aggregator.see(created.as_bytes()).unwrap();
    aggregator
        .see(br#"{"type":"response.completed","response":{"id":"r"}}"#)
        .unwrap();
    assert_eq!(aggregator.partial(), None);
}

#[test]
fn of_a_response_that_was_left_there_is_what_came() {
    let sse = fs::read_to_string(recorded().join("openai_responses.sse")).unwrap();
    let events = sse.lines().filter_map(|line| line.strip_prefix("data: "));
    let events: Vec<_> = events.collect();
    let partial = |cut: usize| {
        let partial = seen(Stream::Responses, &events[..events.len() - cut].join("\n")).partial();
        serde_json::from_slice::<Value>(&partial.unwrap()).unwrap()
    };
    let whole = partial(0);
    let without_end = partial(1);
    assert_eq!(without_end["status"], "in_progress");
    assert_eq!(without_end["output"], whole["output"]);
    let in_arguments = partial(4);
    assert_eq!(in_arguments["output"][2]["arguments"], "{\"city\":");
    let in_text = partial(events.len() - 12);
    assert_eq!(in_text["output"][0], whole["output"][0]);
    let text = json!([{"type": "output_text", "text": "Let me", "annotations": []}]);
    assert_eq!(in_text["output"][1]["content"], text);
    let odd = r#"{"type":"response.created","response":{"id":"r"}}
{"type":"response.output_item.added","item":{"type":"function_call"}}
{"type":"response.function_call_arguments.delta","delta":"a"}
{"type":"response.function_call_arguments.delta","content_index":1,"delta":"b"}"#;
    let partial = seen(Stream::Responses, odd).partial().unwrap();
    let expected = json!({"id": "r", "output": [{"type": "function_call", "arguments": "ab"}]});
    assert_eq!(serde_json::from_slice::<Value>(&partial).unwrap(), expected);
    assert!(seen(Stream::Responses, "").partial().is_none());
}

#[test]
fn other_streams_are_not_gathered() {
    assert!(Aggregator::for_stream(Stream::Other).is_none());
}

/// What hostile bytes are made of.
const WORDS: [&str; 28] = [
    "{",
    "}",
    "[",
    "]",
    ":",
    ",",
    "\"",
    "\\",
    "\"choices\":[{",
    "\"index\":0",
    "\"delta\":{",
    "\"content\":",
    "\"tool_calls\":[{",
    "\"function\":{",
    "\"arguments\":",
    "\"audio\":{",
    "\"data\":\"QQ==\"",
    "null",
    "1",
    "\"a\"",
    "\\ud83d",
    "}]}",
    "\"finish_reason\":\"stop\"",
    "\"type\":\"response.output_text.delta\"",
    "\"item\":{",
    "\"response\":{",
    "\u{0}",
    "é",
];

/// What they are put into.
const WHOLE: [&str; 5] = [
    r#"{"choices":[{"index":0,"delta":{"content":"a","tool_calls":[{"index":0,"id":"i","function":{"name":"f","arguments":"{}"}}]},"finish_reason":null}],"usage":null}"#,
    r#"{"type":"response.output_item.added","output_index":0,"item":{"type":"message","content":[]}}"#,
    r#"{"type":"response.output_text.delta","output_index":0,"content_index":0,"delta":"a"}"#,
    r#"{"type":"response.created","response":{"id":"r","output":[]}}"#,
    r#"{"choices":[{"delta":{"audio":{"data":"QUJD"},"reasoning_details":[{"index":0,"text":"a"}],"x":{"y":{"z":"1"}}}}]}"#,
];

#[test]
fn whatever_comes_no_byte_of_it_panics_and_every_answer_is_json() {
    let mut random = fastrand::Rng::with_seed(17);
    for round in 0..4_000 {
        let stream = [Stream::Chat, Stream::Completions, Stream::Responses][round % 3];
        let mut aggregator = aggregator(stream);
        for _ in 0..random.usize(1..12) {
            let mut event = WHOLE[random.usize(..WHOLE.len())].as_bytes().to_vec();
            for _ in 0..random.usize(..4) {
                let word = WORDS[random.usize(..WORDS.len())].as_bytes();
                let at = random.usize(..=event.len());
                let to = (at + random.usize(..4)).min(event.len());
                event.splice(at..to, word.iter().copied());
            }
            let _ = aggregator.see(&event);
        }
        if random.bool() {
            let _ = aggregator.see(b"[DONE]");
        }
        let answer = if random.bool() {
            aggregator.finish().ok()
        } else {
            aggregator.partial()
        };
        if let Some(answer) = answer {
            serde_json::from_slice::<&serde_json::value::RawValue>(&answer).unwrap();
        }
    }
}
