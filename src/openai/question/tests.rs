//! What is asked, what belongs to the hash of the rest, and which requests are left alone.

use serde_json::{Value, json};

use super::*;
use crate::openai::endpoint::Endpoint;

fn read_json(form: Form, body: &Value) -> Result<Question<'static>, Unsuited> {
    let body = body.to_string();
    let question = read(form, body.as_bytes())?;
    Ok(Question {
        text: Cow::Owned(question.text.into_owned()),
        ..question
    })
}

fn chat(members: &Value) -> Result<Question<'static>, Unsuited> {
    let mut body = json!({ "model": "m", "messages": [{ "role": "user", "content": "Why?" }] });
    let all = body.as_object_mut().unwrap();
    all.extend(members.as_object().unwrap().clone());
    read_json(Form::Chat, &body)
}

fn rest(members: &Value) -> Hash {
    chat(members).unwrap().rest
}

fn messages(messages: &Value) -> Result<Question<'static>, Unsuited> {
    chat(&json!({ "messages": messages }))
}

#[test]
fn the_last_text_of_the_user_is_found_in_each_form() {
    let question = chat(&json!({ "temperature": 0.5 })).unwrap();
    assert_eq!(question.text, "Why?");
    assert_eq!((question.turns, question.temperature), (1, Some(0.5)));
    let history = messages(&json!([
        { "role": "system", "content": "Be brief." },
        { "role": "user", "content": [{ "type": "text", "text": "a" }, { "type": "text", "text": "b" }] },
        { "role": "assistant", "content": null, "refusal": "no" },
        { "role": "user", "content": [{ "type": "text", "text": "c\u{e9}" }] },
    ]));
    let history = history.unwrap();
    assert_eq!((&*history.text, history.turns), ("c\u{e9}", 2));
    assert_eq!(history.temperature, None);
    let prompt = json!({ "model": "m", "prompt": "Once" });
    assert_eq!(read_json(Form::Completion, &prompt).unwrap().text, "Once");
    let input = json!({ "input": "Who?", "instructions": "x" });
    assert_eq!(read_json(Form::Response, &input).unwrap().text, "Who?");
    let input = json!({ "input": [{ "type": "message", "role": "user",
        "content": [{ "type": "input_text", "text": "Who?" }] }] });
    assert_eq!(read_json(Form::Response, &input).unwrap().text, "Who?");
}

#[test]
fn a_text_without_escapes_is_borrowed() {
    let question = read(Form::Completion, br#"{"prompt":"plain"}"#).unwrap();
    assert!(matches!(question.text, Cow::Borrowed("plain")));
    let question = read(Form::Completion, br#"{"prompt":"two\nlines"}"#).unwrap();
    assert_eq!(question.text, "two\nlines");
}

#[test]
fn the_text_is_no_part_of_the_hash_and_its_spelling_makes_no_difference() {
    let plain = read(Form::Chat, br#"{"model":"m","temperature":1,"seed":null,"logit_bias":{"a":1,"b":2.5},"messages":[{"role":"user","content":"A"}]}"#).unwrap();
    for other in [
        r#"{"model":"m","temperature":1,"logit_bias":{"a":1,"b":2.5},"messages":[{"role":"user","content":"B"}]}"#,
        " { \"messages\" : [ {\"content\":\"C\", \"role\":\"\\u0075ser\"} ],\n\"temperature\":1.0, \"logit_bias\":{\"b\":25e-1,\"\\u0061\":1e0}, \"model\":\"m\" } ",
    ] {
        let question = read(Form::Chat, other.as_bytes()).unwrap();
        assert_eq!(question.rest, plain.rest, "{other}");
        assert_ne!(question.text, plain.text);
    }
}

#[test]
fn numbers_count_as_they_are_and_inner_names_that_stand_twice_in_their_order() {
    let of = |members: &str| {
        let body = format!(r#"{{{members},"messages":[{{"role":"user","content":"a"}}]}}"#);
        read(Form::Chat, body.as_bytes()).map(|question| question.rest)
    };
    assert_ne!(of(r#""x":{"y":1,"y":2}"#), of(r#""x":{"y":2,"y":1}"#));
    assert_ne!(of(r#""x":{"y":1,"y":2}"#), of(r#""x":{"y":2}"#));
    let large = ["18446744073709551614", "18446744073709551615"];
    let [one, other] = large.map(|seed| of(&format!("\"seed\":{seed}")));
    assert_ne!(one, other);
    let larger = of(r#""seed":18446744073709551616"#);
    assert_eq!(larger, Err(Unsuited::Malformed));
}

#[test]
fn what_changes_no_answer_is_left_out() {
    for (key, value) in [
        ("stream", json!(true)),
        ("stream_options", json!({ "include_usage": true })),
        ("user", json!("u1")),
        ("safety_identifier", json!("s1")),
        ("metadata", json!({ "a": "b" })),
        ("prompt_cache_key", json!("k")),
        ("prompt_cache_retention", json!("24h")),
        ("seed", json!(null)),
    ] {
        assert_eq!(rest(&json!({ key: value })), rest(&json!({})), "{key}");
    }
}

#[test]
fn what_a_response_repeats_is_covered() {
    let rest = |members: &str| {
        let body = format!(r#"{{"input":"a"{members}}}"#);
        read(Form::Response, body.as_bytes()).unwrap().rest
    };
    for members in [
        r#","user":"u1""#,
        r#","metadata":{"a":"b"}"#,
        r#","safety_identifier":"s1""#,
        r#","prompt_cache_key":"k""#,
    ] {
        assert_ne!(rest(members), rest(""), "{members}");
    }
    assert_eq!(rest(r#","stream":true"#), rest(""));
}

#[test]
fn everything_else_is_covered() {
    let message = |text: &str| json!({ "role": "user", "content": text });
    let part = |part: Value| json!([{ "role": "user", "content": [part] }]);
    let bodies = [
        json!({}),
        json!({ "model": "other" }),
        json!({ "temperature": 0 }),
        json!({ "temperature": 0.25 }),
        json!({ "seed": 1 }),
        json!({ "seed": "1" }),
        json!({ "seed": u64::MAX }),
        json!({ "seed": u64::MAX - 1 }),
        json!({ "seed": i64::MIN }),
        json!({ "store": false }),
        json!({ "logprobs": true }),
        json!({ "max_tokens": 5 }),
        json!({ "stop": ["a", "b"] }),
        json!({ "stop": ["b", "a"] }),
        json!({ "stop": ["ab"] }),
        json!({ "stop": [["a"], "b"] }),
        json!({ "response_format": { "type": "json_object" } }),
        json!({ "some_new_member": {} }),
        json!({ "some_new_member": [] }),
        json!({ "some_new_member": { "inner": null } }),
        json!({ "messages": [{ "role": "user", "content": "x", "name": "n" }] }),
        json!({ "messages": part(json!({ "type": "text", "text": "x" })) }),
        json!({ "messages": part(json!({ "type": "text", "text": "x", "cache_control": {} })) }),
        json!({ "messages": [message("earlier"), message("x")] }),
        json!({ "messages": [message("other"), message("x")] }),
        json!({ "messages": [message("a"), message("b"), message("x")] }),
        json!({ "messages": [message("b"), message("a"), message("x")] }),
        json!({ "messages": [{ "role": "system", "content": "a" }, message("x")] }),
        json!({ "messages": [{ "role": "developer", "content": "a" }, message("x")] }),
        json!({ "messages": [{ "role": "assistant", "content": "a" }, message("x")] }),
    ];
    let hashes: Vec<Hash> = bodies.iter().map(rest).collect();
    for (n, hash) in hashes.iter().enumerate() {
        let earlier = hashes[..n].iter().position(|other| other == hash);
        assert_eq!(earlier.map(|at| &bodies[at]), None, "{}", bodies[n]);
    }
    let forms = [Form::Completion, Form::Response];
    let bodies = [json!({ "prompt": "x" }), json!({ "input": "x" })];
    let [prompt, input] = [0, 1].map(|n| read_json(forms[n], &bodies[n]).unwrap().rest);
    assert_ne!(prompt, input);
}

#[test]
fn tools_and_other_parts_than_text_are_left_alone() {
    use Unsuited::{NotText, Tools};
    let user = json!({ "role": "user", "content": "x" });
    for (members, why) in [
        (json!({ "tools": [{ "type": "function" }] }), Tools),
        (json!({ "functions": [{ "name": "f" }] }), Tools),
        (
            json!({ "web_search_options": { "user_location": {} } }),
            Tools,
        ),
        (json!({ "web_search_options": {} }), Tools),
        (json!({ "data_sources": [{}] }), Tools),
        (json!({ "audio": { "voice": "alloy" } }), NotText),
        (json!({ "modalities": ["text", "audio"] }), NotText),
        (
            json!({ "messages": [{ "role": "tool", "content": "1" }, user] }),
            Tools,
        ),
        (
            json!({ "messages": [{ "role": "assistant", "tool_calls": [{}] }, user] }),
            Tools,
        ),
        (
            json!({ "messages": [{ "role": "assistant", "audio": { "id": "a" } }, user] }),
            NotText,
        ),
        (
            json!({ "messages": [{ "role": "user", "content": "x", "images": ["b"] }] }),
            NotText,
        ),
    ] {
        assert_eq!(chat(&members), Err(why), "{members}");
    }
    for nothing in [
        json!({ "tools": [] }),
        json!({ "audio": null }),
        json!({ "modalities": ["text"] }),
    ] {
        assert!(chat(&nothing).is_ok(), "{nothing}");
    }
}

#[test]
fn parts_and_items_of_other_types_are_left_alone() {
    use Unsuited::{NotText, Tools};
    let user = json!({ "role": "user", "content": "x" });
    for kind in [
        "image_url",
        "input_image",
        "input_audio",
        "file",
        "input_file",
        "new",
        "",
    ] {
        let content = json!([{ "type": "text", "text": "x" }, { "type": kind, kind: {} }]);
        let last = messages(&json!([{ "role": "user", "content": content }]));
        assert_eq!(last, Err(NotText), "{kind}");
        let earlier = messages(&json!([{ "role": "user", "content": content }, user]));
        assert_eq!(earlier, Err(NotText), "{kind}");
    }
    for kind in [
        "function_call_output",
        "reasoning",
        "item_reference",
        "web_search_call",
    ] {
        let body = json!({ "input": [{ "type": kind, "role": "user" }, user] });
        assert_eq!(read_json(Form::Response, &body), Err(Tools), "{kind}");
    }
}

#[test]
fn several_answers_later_ones_and_those_that_repeat_the_text_are_left_alone() {
    for key in ["n", "best_of"] {
        for several in [json!(2), json!(0), json!("1"), json!([1]), json!(1.5)] {
            let members = json!({ key: several });
            assert_eq!(chat(&members), Err(Unsuited::Choices), "{members}");
        }
        for one in [json!(1), json!(1.0), json!(null)] {
            assert!(chat(&json!({ key: one })).is_ok());
        }
    }
    let body = json!({ "input": "x", "background": true });
    assert_eq!(read_json(Form::Response, &body), Err(Unsuited::Background));
    let body = json!({ "prompt": "x", "echo": true });
    assert_eq!(read_json(Form::Completion, &body), Err(Unsuited::Echo));
}

#[test]
fn what_names_something_that_is_kept_is_left_alone() {
    for members in [
        json!({ "previous_response_id": "resp_1" }),
        json!({ "conversation": "conv_1" }),
        json!({ "conversation": { "id": "conv_1" } }),
        json!({ "prompt": { "id": "pmpt_1" } }),
        json!({ "models": ["other"] }),
    ] {
        let mut body = json!({ "input": "x" });
        body.as_object_mut()
            .unwrap()
            .extend(members.as_object().unwrap().clone());
        assert_eq!(
            read_json(Form::Response, &body),
            Err(Unsuited::Named),
            "{body}"
        );
    }
}

#[test]
fn one_text_of_the_user_must_come_last() {
    use Unsuited::{Malformed, NoText, NotText, SeveralTexts};
    let text = json!({ "type": "text", "text": "x" });
    for (list, why) in [
        (json!([]), NoText),
        (json!([{ "role": "assistant", "content": "x" }]), NoText),
        (
            json!([{ "role": "user", "content": "x" }, { "role": "system", "content": "y" }]),
            NoText,
        ),
        (json!([{ "role": "user", "content": " \n" }]), NoText),
        (json!([{ "role": "user", "content": [] }]), NoText),
        (json!([{ "role": "user", "content": null }]), NoText),
        (json!([{ "role": "user" }]), NoText),
        (
            json!([{ "role": "user", "content": [text, text] }]),
            SeveralTexts,
        ),
        (json!([{ "role": "user", "content": 7 }]), NotText),
        (json!([{ "role": "user", "content": ["x"] }]), NotText),
        (json!([{ "role": "somebody", "content": "x" }]), Malformed),
        (json!([{ "content": "x" }]), Malformed),
        (json!(["x"]), Malformed),
        (json!({}), Malformed),
        (json!("x"), Malformed),
        (json!(null), NoText),
    ] {
        assert_eq!(messages(&list), Err(why), "{list}");
    }
    let list = json!({ "prompt": ["a", "b"] });
    assert_eq!(read_json(Form::Completion, &list), Err(SeveralTexts));
    let tokens = json!({ "prompt": 5 });
    assert_eq!(read_json(Form::Completion, &tokens), Err(NotText));
}

#[test]
fn a_text_ends_at_its_bound() {
    let longest = "x".repeat(MAX_TEXT_BYTES);
    let ask = |text: &str| messages(&json!([{ "role": "user", "content": text }]));
    assert_eq!(ask(&longest).unwrap().text, longest);
    assert_eq!(ask(&format!("{longest}x")), Err(Unsuited::TooLong));
}

#[test]
fn what_can_be_read_in_two_ways_is_left_alone() {
    for body in [
        r#"{"messages":[{"role":"user","content":"a"}],"messages":[]}"#,
        r#"{"messages":[{"role":"user","content":"a","content":"b"}]}"#,
        r#"{"messages":[{"role":"user","role":"system","content":"a"}]}"#,
        r#"{"messages":[{"role":"user","Content":"a","content":"b"}]}"#,
        r#"{"Tools":[],"messages":[{"role":"user","content":"a"}]}"#,
        r#"{"seed":1,"seed":1,"messages":[{"role":"user","content":"a"}]}"#,
        r#"{"temperature":"0","messages":[{"role":"user","content":"a"}]}"#,
        r#"{"messages":[{"role":"user","content":"a"}]} {}"#,
        r#"{"messages":[{"role":"user","content":"\ud800"}]}"#,
    ] {
        let read = read(Form::Chat, body.as_bytes());
        assert!(
            matches!(read, Err(Unsuited::Malformed | Unsuited::NotText)),
            "{body}: {read:?}"
        );
    }
}

#[test]
fn no_bytes_panic_and_depth_is_bounded() {
    let body = r#"{"model":"m","n":1,"messages":[{"role":"user","content":[{"type":"text","text":"Why\u00e9?"}]}],"x":[1.5,{"y":null}]}"#;
    for form in [Form::Chat, Form::Completion, Form::Response] {
        for end in 0..body.len() {
            assert!(read(form, &body.as_bytes()[..end]).is_err());
        }
        for at in 0..body.len() {
            for byte in [b'"', b'{', b'}', b'[', b',', b'\\', b'0', 0, 0xff] {
                let mut changed = body.as_bytes().to_vec();
                changed[at] = byte;
                let _ = read(form, &changed);
            }
        }
        for other in ["", "null", "[]", "7", "\"x\"", "{}", "{\"prompt\":{}}"] {
            assert!(read(form, other.as_bytes()).is_err(), "{other}");
        }
    }
    let deep = |levels: usize| {
        let nested = format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        let body = format!(r#"{{"x":{nested},"prompt":"a"}}"#);
        read(Form::Completion, body.as_bytes()).map(drop)
    };
    assert_eq!(deep(MAX_DEPTH - 1), Ok(()));
    assert_eq!(deep(MAX_DEPTH), Err(Unsuited::TooDeep));
    assert_eq!(deep(100_000), Err(Unsuited::TooDeep));
}

#[test]
fn only_endpoints_that_are_asked_a_question_have_a_form() {
    for (path, form) in [
        ("/v1/chat/completions", Some(Form::Chat)),
        ("/v1/completions", Some(Form::Completion)),
        ("/v1/responses", Some(Form::Response)),
        ("/v1/responses/compact", None),
        ("/v1/responses/input_tokens", None),
        ("/v1/embeddings", None),
        ("/v1/images/generations", None),
    ] {
        let found = match Endpoint::find(path) {
            Some(Endpoint::Exchange(exchange)) => Form::of(exchange),
            _ => None,
        };
        assert_eq!(found, form, "{path}");
    }
}
