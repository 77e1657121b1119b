//! Answers that come back whole from their streams, and what a client sees of one.

use std::fs;
use std::path::PathBuf;

use serde_json::{Map, Value, json};

use super::*;
use crate::openai::aggregate::Aggregator;
use crate::openai::sse::Parser;

/// The events of a stream, each with its name and data.
fn events(stream: &[u8]) -> Vec<(String, String)> {
    let mut events = Vec::new();
    let mut parser = Parser::new();
    parser.push(stream, |event| {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let name = event.name.map(text).unwrap_or_default();
        events.push((name, text(&event.data.unwrap())));
    });
    assert!(parser.is_between_events());
    events
}

fn unfolded(stream: Stream, answer: &Value, include_usage: bool) -> Vec<(String, String)> {
    // As the API writes answers: over several lines.
    let answer = serde_json::to_vec_pretty(answer).unwrap();
    events(&synthesize(stream, &answer, include_usage).unwrap())
}

fn gathered(stream: Stream, events: &[(String, String)]) -> Value {
    let mut aggregator = Aggregator::for_stream(stream).unwrap();
    for (_, data) in events {
        aggregator.see(data.as_bytes()).unwrap();
    }
    serde_json::from_slice(&aggregator.finish().unwrap()).unwrap()
}

fn data(events: &[(String, String)]) -> Vec<Value> {
    let data = events.iter().map(|(_, data)| data);
    let read = |data: &String| serde_json::from_str(data).unwrap_or(Value::Null);
    data.map(read).collect()
}

#[test]
fn recorded_answers_come_back_from_their_streams() {
    let recorded = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/recorded");
    let mut count = 0;
    for entry in fs::read_dir(recorded).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let answer: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        let stream = match answer["object"].as_str().unwrap() {
            "chat.completion" => Stream::Chat,
            "text_completion" => Stream::Completions,
            _ => Stream::Responses,
        };
        let events = unfolded(stream, &answer, true);
        assert_eq!(gathered(stream, &events), answer, "{}", path.display());
        count += 1;
    }
    assert_eq!(count, 16);
}

#[test]
fn a_chat_is_told_as_openai_does() {
    let answer = json!({
        "id": "c", "object": "chat.completion", "created": 1, "model": "m",
        "choices": [{
            "index": 0,
            "message": {
                "role": "assistant", "content": "Hi\n", "refusal": null, "reasoning_content": "R",
                "annotations": [{"type": "url_citation"}],
                "tool_calls": [{"id": "i", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
            },
            "logprobs": {"content": [{"token": "Hi"}], "refusal": null},
            "finish_reason": "tool_calls",
        }],
        "usage": {"total_tokens": 2}, "system_fingerprint": "f",
    });
    let events = unfolded(Stream::Chat, &answer, true);
    let chunks = data(&events);
    let deltas: Vec<_> = chunks
        .iter()
        .map(|chunk| &chunk["choices"][0]["delta"])
        .collect();
    let call = json!({"index": 0, "id": "i", "type": "function", "function": {"name": "f", "arguments": "{}"}});
    let expected = [
        &json!({"role": "assistant", "content": "", "refusal": null}),
        &json!({"reasoning_content": "R"}),
        &json!({"content": "Hi\n"}),
        &json!({"tool_calls": [call]}),
        &json!({"annotations": [{"type": "url_citation"}]}),
        &json!({}),
        &Value::Null,
        &Value::Null,
    ];
    assert_eq!(deltas, expected);
    assert_eq!(
        chunks[2]["choices"][0]["logprobs"]["content"],
        json!([{"token": "Hi"}])
    );
    assert_eq!(chunks[5]["choices"][0]["finish_reason"], "tool_calls");
    assert_eq!(chunks[6]["choices"], json!([]));
    assert_eq!(chunks[6]["usage"], json!({"total_tokens": 2}));
    assert_eq!(events[7].1, "[DONE]");
    for chunk in &chunks[..6] {
        assert_eq!(chunk["object"], "chat.completion.chunk");
        assert_eq!(chunk["system_fingerprint"], "f");
        assert_eq!(chunk.get("usage"), Some(&Value::Null));
    }
    let without = unfolded(Stream::Chat, &answer, false);
    assert_eq!(without.len(), events.len() - 1);
    assert!(without.iter().all(|(_, data)| !data.contains("usage")));
}

#[test]
fn what_is_not_known_of_a_choice_is_in_its_first_chunk_and_in_its_last() {
    let choice = |index: u64| {
        json!({
            "index": index, "message": {"role": "assistant", "content": "Hi"},
            "finish_reason": "stop", "native_finish_reason": "end_turn",
        })
    };
    let answer = json!({"choices": [choice(0), choice(1)]});
    let chunks = data(&unfolded(Stream::Chat, &answer, false));
    let told = chunks[..6].iter().map(|chunk| {
        let choice = &chunk["choices"][0];
        (
            choice["index"].as_u64(),
            choice["native_finish_reason"].as_str(),
        )
    });
    let each = |index| [Some("end_turn"), None, Some("end_turn")].map(|told| (Some(index), told));
    assert_eq!(told.collect::<Vec<_>>(), [each(0), each(1)].concat());
}

#[test]
fn calls_are_numbered_from_zero_without_gaps() {
    let answer =
        br#"{"choices":[{"message":{"tool_calls":[{"id":"a","index":3},{"index":7,"id":"b"}]}}]}"#;
    let events = events(&synthesize(Stream::Chat, answer, false).unwrap());
    let calls: Vec<_> = events
        .iter()
        .filter_map(|(_, data)| data.split_once("\"tool_calls\":"))
        .map(|(_, rest)| rest.split_once('}').unwrap().0)
        .collect();
    assert_eq!(
        calls,
        ["[{\"index\":0,\"id\":\"a\"", "[{\"index\":1,\"id\":\"b\""]
    );
    let last = &events[events.len() - 2].1;
    assert!(
        last.ends_with("\"finish_reason\":\"tool_calls\"}]}"),
        "{last}"
    );
}

#[test]
fn a_response_is_told_in_order() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/recorded/openai_responses");
    let answer: Value =
        serde_json::from_slice(&fs::read(path.with_extension("json")).unwrap()).unwrap();
    let ours = unfolded(Stream::Responses, &answer, false);
    let theirs = events(&fs::read(path.with_extension("sse")).unwrap());
    let mut names: Vec<_> = theirs.iter().map(|(name, _)| name).collect();
    // They tell a text in several pieces.
    names.dedup();
    assert_eq!(ours.iter().map(|(name, _)| name).collect::<Vec<_>>(), names);
    let is_no_delta = |(name, _): &&(String, String)| !name.ends_with(".delta");
    let told = |events: &[(String, String)]| -> Vec<Value> {
        let events: Vec<_> = events.iter().filter(is_no_delta).cloned().collect();
        let mut told = data(&events);
        for event in &mut told {
            event.as_object_mut().unwrap().remove("sequence_number");
            if let Some(response) = event.get_mut("response") {
                // Nothing has come of it yet.
                response.as_object_mut().unwrap().remove("completed_at");
            }
        }
        told
    };
    assert_eq!(told(&ours), told(&theirs));
    for (number, (name, data)) in ours.iter().enumerate() {
        let event: Value = serde_json::from_str(data).unwrap();
        assert_eq!(event["sequence_number"], number);
        assert_eq!(event["type"], name.as_str());
    }
}

#[test]
fn every_kind_of_item_is_told() {
    let annotation = json!({"type": "url_citation", "url": "u"});
    let answer = json!({"id": "r", "object": "response", "status": "incomplete", "output": [
        {"id": "a", "type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "t"}]},
        {"id": "b", "type": "web_search_call", "status": "completed"},
        {"id": "c", "type": "custom_tool_call", "name": "f", "input": "x"},
        {"id": "d", "type": "message", "role": "assistant", "status": "incomplete", "content": [
            {"type": "refusal", "refusal": "no"},
            {"type": "output_text", "text": "", "annotations": [annotation], "logprobs": null},
            {"type": "unknown", "x": 1},
        ]},
    ]});
    let events = unfolded(Stream::Responses, &answer, false);
    let names: Vec<_> = events
        .iter()
        .map(|(name, _)| name.strip_prefix("response.").unwrap())
        .collect();
    let expected = "created in_progress
        output_item.added content_part.added reasoning_text.delta reasoning_text.done content_part.done output_item.done
        output_item.added output_item.done
        output_item.added custom_tool_call_input.delta custom_tool_call_input.done output_item.done
        output_item.added
        content_part.added refusal.delta refusal.done content_part.done
        content_part.added output_text.annotation.added output_text.done content_part.done
        content_part.added content_part.done
        output_item.done incomplete";
    assert_eq!(names, expected.split_whitespace().collect::<Vec<_>>());
    assert_eq!(gathered(Stream::Responses, &events), answer);
}

#[test]
fn what_is_not_of_the_known_shape_is_not_unfolded() {
    for (stream, answer) in [
        (Stream::Chat, ""),
        (Stream::Chat, "{"),
        (Stream::Chat, "[]"),
        (Stream::Chat, "{}"),
        (Stream::Chat, r#"{"choices":[]}"#),
        (Stream::Chat, r#"{"choices":[{}]}"#),
        (Stream::Chat, r#"{"choices":[{"text":"a"}]}"#),
        (
            Stream::Chat,
            r#"{"choices":[{"index":"0","message":{"content":"a"}}]}"#,
        ),
        (Stream::Chat, r#"{"choices":[{"message":"a"}]}"#),
        (
            Stream::Chat,
            r#"{"choices":[{"message":{"tool_calls":[7]}}]}"#,
        ),
        (Stream::Chat, r#"{"error":{"message":"m"}}"#),
        (
            Stream::Completions,
            r#"{"choices":[{"message":{"content":"a"}}]}"#,
        ),
        (Stream::Completions, r#"{"choices":[{"text":7}]}"#),
        (Stream::Responses, r#"{"object":"response","output":[]}"#),
        (
            Stream::Responses,
            r#"{"object":"response","status":"queued","output":[]}"#,
        ),
        (
            Stream::Responses,
            r#"{"object":"response","status":"completed"}"#,
        ),
        (Stream::Responses, r#"{"status":"completed","output":[]}"#),
        (
            Stream::Responses,
            r#"{"object":"response","status":"completed","output":[7]}"#,
        ),
        (
            Stream::Responses,
            r#"{"object":"response","status":"completed","output":[{"type":"message","content":[{"type":"output_text","text":7}]}]}"#,
        ),
        (
            Stream::Other,
            r#"{"choices":[{"message":{"content":"a"}}]}"#,
        ),
    ] {
        assert_eq!(
            synthesize(stream, answer.as_bytes(), true),
            None,
            "{answer}"
        );
    }
    assert_eq!(synthesize(Stream::Chat, b"{\"a\":\"\xff\"}", true), None);
}

#[test]
fn an_answer_that_needs_more_than_the_bound_is_not_unfolded() {
    let answer = br#"{"id":"c","choices":[{"message":{"content":"a"},"finish_reason":"stop"}]}"#;
    let whole = synthesize(Stream::Chat, answer, true).unwrap();
    let within = |limit| synthesize_within(limit, Stream::Chat, answer, true);
    assert_eq!(within(whole.len()), Some(whole.clone()));
    assert_eq!(within(whole.len() - 1), None);
    // Each choice repeats the name of the model.
    let name = "m".repeat(1 << 20);
    let choices = vec![r#"{"message":{"content":"a"}}"#; 60].join(",");
    let many = format!(r#"{{"model":"{name}","choices":[{choices}]}}"#);
    assert_eq!(synthesize(Stream::Chat, many.as_bytes(), true), None);
}

#[test]
fn a_line_break_ends_no_event() {
    let pretty = "{\r\n \"id\" : \"a\\\" \\\\\",\n\t\"x\\n y\": [ 1.0 ,\r2 ]\n}";
    assert_eq!(
        on_one_line(pretty),
        "{\"id\":\"a\\\" \\\\\",\"x\\n y\":[1.0,2]}"
    );
}

/// Answers at random, of the shape that the API gives.
struct Answers(fastrand::Rng);

impl Answers {
    fn text(&mut self) -> String {
        let pieces = [
            "a", "é", "☀️", "\n", "\"", "\\", "{", "data: ", " ", "\r\n", "\u{1}", "0",
        ];
        (0..self.0.usize(1..8))
            .map(|_| pieces[self.0.usize(..pieces.len())])
            .collect()
    }

    /// One that is the same however it is read.
    fn number(&mut self) -> f64 {
        f64::from(self.0.i16(..)) / 64.0
    }

    fn list(&mut self, of: fn(&mut Self) -> Value) -> Value {
        (0..self.0.usize(1..4)).map(|_| of(self)).collect()
    }

    fn maybe(&mut self, object: &mut Value, name: &str, value: fn(&mut Self) -> Value) {
        if self.0.u8(..3) == 0 {
            object[name] = value(self);
        }
    }

    fn unknown(&mut self) -> Value {
        match self.0.u8(..6) {
            0 => Value::Null,
            1 => json!(self.0.bool()),
            2 => json!(self.0.i64(..)),
            3 => json!(self.text()),
            4 => json!([1.5, self.text()]),
            _ => json!({"a": self.text(), "b": {"c": [], "d": self.number()}}),
        }
    }

    fn logprobs(&mut self) -> Value {
        let token = |answers: &mut Self| json!({"token": answers.text(), "logprob": -answers.number(), "bytes": null, "top_logprobs": []});
        json!({"content": self.list(token), "refusal": null})
    }

    fn calls(&mut self) -> Value {
        let mut calls = self.list(|answers| match answers.0.u8(..3) {
            0 => json!({"type": "custom", "custom": {"name": "c", "input": answers.text()}}),
            1 => json!({"type": "function", "function": {"name": "f", "arguments": ""}, "extra_content": answers.unknown()}),
            _ => json!({"type": "function", "function": {"name": "f", "arguments": answers.text()}}),
        });
        for (place, call) in calls.as_array_mut().unwrap().iter_mut().enumerate() {
            call["id"] = json!(format!("call_{place}"));
        }
        calls
    }

    fn message(&mut self) -> Value {
        let mut message = json!({"role": "assistant", "content": null, "refusal": null});
        self.maybe(&mut message, "tool_calls", Self::calls);
        // An empty content beside calls is only what came with the role.
        match self.0.u8(..4) {
            0 => {}
            1 if message.get("tool_calls").is_none() => message["content"] = json!(""),
            _ => message["content"] = json!(self.text()),
        }
        if message["content"] != "" {
            self.maybe(&mut message, "refusal", |answers| json!(answers.text()));
            self.maybe(&mut message, "audio", |answers| {
                json!({"id": "a", "data": "SGVsbG8=", "expires_at": 9, "transcript": answers.text()})
            });
            self.maybe(
                &mut message,
                "function_call",
                |answers| json!({"name": "f", "arguments": answers.text()}),
            );
        }
        self.maybe(&mut message, "reasoning_content", |answers| {
            json!(answers.text())
        });
        self.maybe(&mut message, "reasoning", |_| Value::Null);
        self.maybe(&mut message, "reasoning_details", |answers| {
            json!([{"type": "reasoning.text", "text": answers.text(), "index": 0}, {"type": "reasoning.encrypted", "data": "d", "index": 1}])
        });
        self.maybe(&mut message, "annotations", |answers| {
            answers.list(Self::unknown_object)
        });
        self.maybe(&mut message, "unknown", Self::unknown);
        message
    }

    fn unknown_object(&mut self) -> Value {
        json!({"x": self.unknown()})
    }

    fn answer(&mut self, stream: Stream) -> Value {
        let mut choices = Vec::new();
        for index in 0..self.0.usize(1..4) {
            let mut choice = json!({"index": index, "logprobs": null, "finish_reason": "length"});
            if stream == Stream::Chat {
                choice["message"] = self.message();
                self.maybe(&mut choice, "logprobs", Self::logprobs);
            } else {
                choice["text"] = json!(self.text());
                self.maybe(&mut choice, "logprobs", |answers| {
                    json!({"tokens": [answers.text()], "text_offset": [0], "top_logprobs": null})
                });
            }
            self.maybe(&mut choice, "native_finish_reason", |_| json!("end_turn"));
            self.maybe(&mut choice, "content_filter_results", Self::unknown_object);
            choices.push(choice);
        }
        let object = if stream == Stream::Chat {
            "chat.completion"
        } else {
            "text_completion"
        };
        let mut answer = json!({"id": "c", "object": object, "created": 1_755_345_600, "model": "m", "choices": choices});
        self.maybe(
            &mut answer,
            "usage",
            |answers| json!({"total_tokens": answers.0.u32(..), "cost": 0.1}),
        );
        self.maybe(&mut answer, "service_tier", |_| Value::Null);
        self.maybe(&mut answer, "system_fingerprint", |answers| {
            json!(answers.text())
        });
        self.maybe(&mut answer, "prompt_filter_results", |answers| {
            answers.list(Self::unknown_object)
        });
        self.maybe(&mut answer, "unknown", Self::unknown);
        answer
    }

    fn response(&mut self) -> Value {
        let item = |answers: &mut Self| {
            let text = answers.text();
            match answers.0.u8(..6) {
                0 => {
                    json!({"id": "i", "type": "message", "role": "assistant", "status": "completed", "content": [{"type": "output_text", "text": text, "annotations": [], "logprobs": []}]})
                }
                1 => {
                    json!({"id": "i", "type": "function_call", "name": "f", "arguments": text, "call_id": "c", "status": "completed"})
                }
                2 => {
                    json!({"id": "i", "type": "custom_tool_call", "name": "f", "input": text, "call_id": "c"})
                }
                3 => {
                    json!({"id": "i", "type": "reasoning", "summary": [{"type": "summary_text", "text": text}]})
                }
                4 => {
                    json!({"type": "message", "content": [{"type": "refusal", "refusal": text}, {"type": "x"}]})
                }
                _ => json!({"type": "image_generation_call", "result": text}),
            }
        };
        let status = ["completed", "incomplete", "failed"][self.0.usize(..3)];
        json!({"id": "r", "object": "response", "status": status, "output": self.list(item), "usage": self.unknown(), "x": self.unknown()})
    }
}

#[test]
fn every_answer_comes_back_from_its_stream() {
    let mut answers = Answers(fastrand::Rng::with_seed(5));
    for _ in 0..500 {
        for stream in [Stream::Chat, Stream::Completions, Stream::Responses] {
            let answer = match stream {
                Stream::Responses => answers.response(),
                _ => answers.answer(stream),
            };
            let events = unfolded(stream, &answer, true);
            assert_eq!(gathered(stream, &events), answer);
            let mut without = answer;
            let without_usage = unfolded(stream, &without, false);
            if stream != Stream::Responses {
                without
                    .as_object_mut()
                    .map(|answer: &mut Map<_, _>| answer.remove("usage"));
            }
            assert_eq!(gathered(stream, &without_usage), without);
        }
    }
}

#[test]
fn whatever_is_unfolded_is_a_stream_of_json() {
    let mut answers = Answers(fastrand::Rng::with_seed(9));
    for round in 0..3_000 {
        let stream = [Stream::Chat, Stream::Completions, Stream::Responses][round % 3];
        let answer = match stream {
            Stream::Responses => answers.response(),
            _ => answers.answer(stream),
        };
        let mut answer = answer.to_string();
        for _ in 0..answers.0.usize(..3) {
            // A member or value in the place of another.
            let others = [
                "null",
                "7",
                "\"x\"",
                "[]",
                "{}",
                "[7]",
                "[null]",
                "{\"index\":\"x\"}",
            ];
            let colons: Vec<_> = answer.match_indices("\":").map(|(at, _)| at + 2).collect();
            let at = colons[answers.0.usize(..colons.len())];
            let rest = &answer[at..];
            let mut values = serde_json::Deserializer::from_str(rest).into_iter::<Value>();
            if !matches!(values.next(), Some(Ok(_))) {
                continue;
            }
            let to = at + values.byte_offset();
            answer.replace_range(at..to, others[answers.0.usize(..others.len())]);
        }
        let Some(unfolded) = synthesize(stream, answer.as_bytes(), answers.0.bool()) else {
            continue;
        };
        for (_, data) in events(&unfolded) {
            assert!(
                data == "[DONE]" || serde_json::from_str::<Value>(&data).is_ok(),
                "{data}"
            );
        }
    }
}
