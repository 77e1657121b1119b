//! Bodies that are read, refused and rewritten; random ones against a tree.

use super::*;

fn rewrite(body: &str, model: &str) -> String {
    let slot = peek(body.as_bytes()).unwrap().slot;
    let range = range(&slot);
    let mut out = body.as_bytes()[..range.start].to_vec();
    out.extend(slot.filled(rewritten_model(model)));
    out.extend(&body.as_bytes()[range.end..]);
    String::from_utf8(out).unwrap()
}

fn range(slot: &Slot) -> Range<usize> {
    usize::try_from(slot.range.start).unwrap()..usize::try_from(slot.range.end).unwrap()
}

#[test]
fn the_top_level_is_read() {
    let body = br#" {"messages":[{"model":"inner","stream":true}], "model" : "gpt-4o" }"#;
    let peek = peek(body).unwrap();
    assert_eq!(
        (peek.model.as_deref(), peek.streaming.is_requested),
        (Some("gpt-4o"), false)
    );
    assert_eq!(&body[range(&peek.slot)], br#""gpt-4o""#);
}

#[test]
fn a_rewrite_changes_the_models_bytes_alone() {
    let body = "{ \"a\":1.0e400,\"b\":\"\\u00e9\\ud83d\\ude00\",\n\"model\"\t:\"x\",\"c\":12345678901234567890.10}";
    assert_eq!(rewrite(body, "y\"z"), body.replace("\"x\"", "\"y\\\"z\""));
}

#[test]
fn a_model_that_is_left_out_can_be_put_in() {
    for (body, expected) in [
        ("{}", r#"{"model":"m"}"#),
        (" {\n} ", " {\"model\":\"m\"\n} "),
        (r#"{"input":"x"}"#, r#"{"model":"m","input":"x"}"#),
        (
            " { \"input\" : 1.50 } ",
            " {\"model\":\"m\", \"input\" : 1.50 } ",
        ),
        (r#"{"a":1,"model": null }"#, r#"{"a":1,"model": "m" }"#),
    ] {
        assert_eq!(peek(body.as_bytes()).unwrap().model, None, "{body}");
        assert_eq!(rewrite(body, "m"), expected, "{body}");
    }
}

#[test]
fn a_models_name_is_checked_as_it_means_and_not_as_it_is_written() {
    let longest = "x".repeat(MAX_NAME_BYTES);
    let escaped = "\\u0078".repeat(MAX_NAME_BYTES);
    for name in [&longest, &escaped] {
        let body = format!("{{\"model\":\"{name}\"}}");
        let model = peek(body.as_bytes()).unwrap().model;
        assert_eq!(model.as_deref(), Some(longest.as_str()));
    }
    for (name, why) in [
        ("", NameError::Empty),
        ("\\u002e.", NameError::Dots),
        ("a\\nb", NameError::Control),
        (&format!("{longest}x"), NameError::TooLong),
        (&format!("{escaped}x"), NameError::TooLong),
    ] {
        let body = format!("{{\"model\":\"{name}\"}}");
        assert_eq!(peek(body.as_bytes()), Err(BodyError::Model(why)), "{body}");
    }
}

#[test]
fn escaped_keys_and_values_mean_what_they_say() {
    let peek = peek(br#"{"mod\u0065l":"gpt\u002d4o","stream":true}"#).unwrap();
    assert_eq!(
        (peek.model.as_deref(), peek.streaming.is_requested),
        (Some("gpt-4o"), true)
    );
}

#[test]
fn what_a_request_hangs_on_is_its_cache_key_or_its_user() {
    for (rest, affinity) in [
        (r#","user":"u","prompt_cache_key":"k""#, Some(r#""k""#)),
        (r#","user":"u","prompt_cache_key":null"#, Some(r#""u""#)),
        (r#","user":7"#, Some("7")),
        (r#","user":"""#, None),
        ("", None),
    ] {
        let body = format!(r#"{{"model":"m"{rest}}}"#);
        let found = peek(body.as_bytes()).unwrap();
        let found = found.prompt_cache_key.or(found.user);
        assert_eq!(found, affinity.map(str::as_bytes), "{body}");
    }
}

#[test]
fn nothing_is_refused_for_what_store_says() {
    for (value, store) in [
        ("true", true),
        ("false", false),
        ("null", false),
        ("4", false),
    ] {
        let body = format!(r#"{{"model":"a","store":{value},"metadata":{{"store":true}}}}"#);
        assert_eq!(peek(body.as_bytes()).unwrap().store, store, "{value}");
    }
}

#[test]
fn what_could_be_read_in_two_ways_is_refused() {
    for (body, error) in [
        (
            r#"{"model":"a","model":"b"}"#,
            BodyError::Duplicate("model"),
        ),
        (
            r#"{"model":"a","mod\u0065l":"b"}"#,
            BodyError::Duplicate("model"),
        ),
        (
            r#"{"model":"a","stream":true,"stream":false}"#,
            BodyError::Duplicate("stream"),
        ),
        (r#"{"Model":"b","model":"a"}"#, BodyError::Shadowed("model")),
        (
            r#"{"model":"a","STREAM":true}"#,
            BodyError::Shadowed("stream"),
        ),
    ] {
        assert_eq!(peek(body.as_bytes()), Err(error), "{body}");
    }
}

#[test]
fn a_body_that_is_not_utf8_is_refused_wherever_it_is_not() {
    let before: &[u8] = br#"{"model":"a","x":{"y":""#;
    for (bad, reason) in [
        (&b"\xff"[..], "no byte of UTF-8"),
        (b"\xc0\xa2", "a quote, overlong"),
        (b"\xe0\x80\xa2", "a quote, more so"),
        (b"\xf0\x80\x80\xa2", "a quote, most so"),
        (b"\xed\xa0\x80", "half of a surrogate pair"),
        (b"\xf4\x90\x80\x80", "beyond Unicode"),
        (b"\xe2\x82", "cut short"),
        (b"\xc3", "cut short by the quote"),
    ] {
        let body = [before, bad, b"\"}}"].concat();
        assert_eq!(
            peek(&body),
            Err(BodyError::NotUtf8(before.len())),
            "{reason}"
        );
    }
    // In a key, behind the object, and where it would be no JSON either.
    for body in [
        &b"{\"model\":\"a\",\"\xff\":1}"[..],
        b"{\"model\":\"a\"}\xff",
        b"\xff",
        b"\xff\xfe{\0}\0",
    ] {
        assert!(matches!(peek(body), Err(BodyError::NotUtf8(_))), "{body:?}");
    }
    let body = "{\"model\":\"a\",\"x\":\"\u{10ffff}\u{e9}\u{feff}\"}";
    assert!(peek(body.as_bytes()).is_ok());
}

#[test]
fn wrong_shapes_are_told_apart() {
    for (body, error) in [
        (r#"{"model":4}"#, BodyError::WrongType("model", "a string")),
        (
            r#"{"model":"a","stream":"true"}"#,
            BodyError::WrongType("stream", "a boolean"),
        ),
        (r#"["model"]"#, BodyError::NotAnObject),
        (r#""model""#, BodyError::NotAnObject),
        (" 4", BodyError::NotAnObject),
    ] {
        assert_eq!(peek(body.as_bytes()), Err(error), "{body}");
    }
    for body in [
        "",
        "{",
        "{]",
        "model",
        r#"{"model":"a"} x"#,
        r#"{"model":"a",}"#,
    ] {
        let result = peek(body.as_bytes());
        assert!(
            matches!(result, Err(BodyError::NotJson(_))),
            "{body}: {result:?}"
        );
    }
}

#[test]
fn depth_is_bounded_whatever_strings_hold() {
    let nested = |depth: usize| {
        format!(
            r#"{{"model":"a","x":{}{}}}"#,
            "[".repeat(depth),
            "]".repeat(depth)
        )
    };
    assert!(peek(nested(MAX_DEPTH - 1).as_bytes()).is_ok());
    assert_eq!(peek(nested(MAX_DEPTH).as_bytes()), Err(BodyError::TooDeep));
    assert_eq!(peek(nested(100_000).as_bytes()), Err(BodyError::TooDeep));
    let in_string = format!(r#"{{"model":"a","x":"\"{}\\"}}"#, "[".repeat(1000));
    assert!(peek(in_string.as_bytes()).is_ok());
}
#[test]
fn random_bodies_are_read_as_by_a_tree_and_broken_ones_do_no_harm() {
    const KEYS: [&str; 10] = [
        "model",
        "model",
        "mod\\u0065l",
        "Model",
        "stream",
        "store",
        "user",
        "prompt_cache_key",
        "messages",
        "\\\"model",
    ];
    const VALUES: [&str; 12] = [
        r#""a""#,
        r#""\u0061\"\\""#,
        r#"" \ud83d\ude00é""#,
        r#""""#,
        "true",
        "false",
        "null",
        "1.50e3",
        r#"{"model":"b","stream":true}"#,
        r#"[{"model":"}"}]"#,
        "[ ]",
        "{ }",
    ];
    let mut random = fastrand::Rng::with_seed(1);
    let mut read = 0;
    for _ in 0..20_000 {
        let member = |random: &mut fastrand::Rng| {
            let key = KEYS[random.usize(..KEYS.len())];
            let value = VALUES[random.usize(..VALUES.len())];
            format!("\"{key}\" : {value}")
        };
        let count = random.usize(1..6);
        let members: Vec<_> = (0..count).map(|_| member(&mut random)).collect();
        let body = format!(" {{{}}} ", members.join(","));
        if let Ok(found) = peek(body.as_bytes()) {
            read += 1;
            let tree: serde_json::Value = serde_json::from_str(&body).unwrap();
            assert_eq!(tree["model"].as_str(), found.model.as_deref(), "{body}");
            assert_eq!(
                tree["stream"] == true,
                found.streaming.is_requested,
                "{body}"
            );
            assert_eq!(tree["store"] == true, found.store, "{body}");
            let rewritten = rewrite(&body, "y\"z");
            let again = peek(rewritten.as_bytes()).unwrap();
            let rest = |peek: &Peek<'_>| {
                (
                    peek.streaming.is_requested,
                    peek.store,
                    peek.prompt_cache_key.or(peek.user).map(<[u8]>::to_vec),
                )
            };
            assert_eq!(
                (again.model.as_deref(), rest(&again)),
                (Some("y\"z"), rest(&found)),
                "{body}"
            );
        }
        let mut broken = body.into_bytes();
        let start = random.usize(..broken.len());
        let end = (start + random.usize(..9)).min(broken.len());
        broken.splice(start..end, VALUES[random.usize(..VALUES.len())].bytes());
        if let Ok(found) = peek(&broken) {
            let value = &broken[range(&found.slot)];
            let model: Option<String> = match value {
                b"" => None,
                value => serde_json::from_slice(value).unwrap(),
            };
            assert_eq!(
                model.as_deref(),
                found.model.as_deref(),
                "{}",
                broken.escape_ascii()
            );
        }
    }
    // Bodies that can be read have to be common, or the test says little.
    assert!(read > 1_000, "{read}");
}
