//! Bodies in any chunks; random ones against a tree.

use serde_json::Value as Json;

use super::*;

fn found<'b>(chunks: impl IntoIterator<Item = &'b [u8]>) -> Found {
    let mut scanner = UsageScanner::default();
    for chunk in chunks {
        scanner.push(chunk);
        let held: usize = scanner.found.0.iter().map(|(_, _, json)| json.len()).sum();
        assert!(held <= 9 * MAX_VALUE_BYTES);
        assert!(scanner.key.len() <= MAX_KEY_BYTES + 1);
    }
    scanner.found()
}

/// What is found in a body whole, which is the same in whatever chunks it comes.
fn check_cuts(body: &[u8], random: &mut fastrand::Rng) -> Found {
    let whole = found([body]);
    let shown = body.escape_ascii();
    assert_eq!(found(body.chunks(1)), whole, "{shown} in bytes");
    let mut rest = body;
    let mut chunks = Vec::new();
    while !rest.is_empty() {
        let (chunk, after) = rest.split_at(random.usize(..20).min(rest.len()));
        chunks.push(chunk);
        rest = after;
    }
    assert_eq!(
        found(chunks.iter().copied()),
        whole,
        "{shown} in {chunks:?}"
    );
    whole
}

fn input(body: &[u8]) -> Option<u64> {
    let mut scanner = UsageScanner::default();
    scanner.push(body);
    Some(scanner.usage()?.input)
}

#[test]
fn of_members_with_the_same_key_the_last_counts() {
    for (body, expected) in [
        (
            r#"{"usage":{"prompt_tokens":1},"usage":{"prompt_tokens":2}}"#,
            Some(2),
        ),
        (r#"{"usage":{"prompt_tokens":1},"usage":null}"#, None),
        (
            r#"{"usage":{"prompt_tokens":1},"usage":{"prompt_tokens":"#,
            None,
        ),
        (
            r#"{"response":{"usage":{"prompt_tokens":1}},"response":{"id":"r"}}"#,
            None,
        ),
        (
            r#"{"choices":[{"usage":{"prompt_tokens":1}}],"choices":null}"#,
            None,
        ),
        (
            r#"{"message":{"usage":{"prompt_tokens":1}},"message":{"usage":{"prompt_tokens":2}}}"#,
            Some(2),
        ),
    ] {
        assert_eq!(input(body.as_bytes()), expected, "{body}");
    }
}

#[test]
fn what_is_broken_tells_what_came_before() {
    for (body, expected) in [
        (r#"{"usage":{"prompt_tokens":1}"#, Some(1)),
        (r#"{"usage":{"prompt_tokens":1},"choices":[{"te"#, Some(1)),
        (
            r#"{"usage":{"prompt_tokens":1}}{"usage":{"prompt_tokens":2}}"#,
            Some(1),
        ),
        (
            r#"{"usage":{"prompt_tokens":1}]],"usage":{"prompt_tokens":2}}"#,
            Some(1),
        ),
        (r#"{"a":tru,,"usage"::{"prompt_tokens":1}"#, Some(1)),
        (r#"{"usage":{"prompt_tokens":1"#, None),
        (r#"{"usage":{"prompt_tokens":1]"#, None),
        ("\u{feff}{\"usage\":{\"prompt_tokens\":1}}", None),
    ] {
        assert_eq!(input(body.as_bytes()), expected, "{body}");
    }
    assert_eq!(
        input(b"{\"a\":\"\xff\xfe\",\"\xff\":1,\"usage\":{\"prompt_tokens\":1}}"),
        Some(1)
    );
    assert_eq!(
        input(b"{\"usage\":{\"prompt_tokens\":1,\"a\":\"\xff\"}}"),
        None
    );
    // A time that breaks off may be the beginning of a longer one.
    let mut cut = UsageScanner::default();
    cut.push(br#"{"duration":8.4"#);
    assert_eq!(cut.usage(), None);
}

#[test]
fn a_value_is_known_up_to_its_bound() {
    let usage = |bytes: usize| {
        let short = r#"{"prompt_tokens":1,"x":""}"#;
        let long = format!("x\":\"{}", "y".repeat(bytes - short.len()));
        short.replace("x\":\"", &long)
    };
    for (bytes, expected) in [(MAX_VALUE_BYTES, Some(1)), (MAX_VALUE_BYTES + 1, None)] {
        let usage = usage(bytes);
        assert_eq!(usage.len(), bytes);
        for body in [
            format!(r#"{{"usage":{usage}}}"#),
            format!(r#"{{"usage":{usage},"x":1}}"#),
            format!(r#"{{"usage":{{"prompt_tokens":9}},"usage":{usage}}}"#),
        ] {
            assert_eq!(input(body.as_bytes()), expected, "{bytes}");
            let found = found(body.as_bytes().chunks(1000));
            assert_eq!(found.counts().is_some(), expected.is_some(), "{bytes}");
        }
    }
    // Space is a part of it, and one that is too long is no reason to miss another.
    let space = " ".repeat(MAX_VALUE_BYTES);
    let other = r#""response":{"usage":{"prompt_tokens":3}}"#;
    let body = format!(r#"{{"usage":{space}{{"prompt_tokens":1}},{other}}}"#);
    assert_eq!(input(body.as_bytes()), Some(3));
}

#[test]
fn no_body_holds_more_than_nine_values() {
    let value = format!("\"{}\"", "y".repeat(MAX_VALUE_BYTES - 2));
    let own = ["usage", "service_tier", "x_groq", "meta", "duration"];
    let own = own.map(|key| format!("\"{key}\":{value}")).join(",");
    let inner = format!(r#"{{"usage":{value},"service_tier":{value},"usage":{value}}}"#);
    let all = format!(r#"{own},"response":{inner},"message":{inner},"choices":[{inner},{inner}]"#);
    let body = format!("{{{all},{all},\"{}\":1}}", "k".repeat(1 << 20));
    let found = found(body.as_bytes().chunks(10_000));
    let held: usize = found.0.iter().map(|(_, _, json)| json.len()).sum();
    assert_eq!(held, 9 * MAX_VALUE_BYTES);
}

#[test]
fn a_usage_is_found_behind_whatever_stands_before_it() {
    let text = "\\\"usage\\\":{}\\\\".repeat(100_000);
    let nested = "[{\"usage\":".repeat(100_000) + "1" + &"}]".repeat(100_000);
    let many = "{\"usage\":1},".repeat(10_000) + "1";
    for value in [format!("\"{text}\""), nested, format!("[{many}]")] {
        let body = format!(r#"{{"a":{value},"usage":{{"prompt_tokens":1}},"b":{value}}}"#);
        assert_eq!(input(body.as_bytes()), Some(1));
    }
}

#[test]
fn what_is_no_object_is_not_read_at_all() {
    for body in [
        "[{\"usage\":{\"prompt_tokens\":1}}]",
        "ID3\0{",
        "\"{",
        "}",
        ":",
    ] {
        let mut scanner = UsageScanner::default();
        scanner.push(b" \n");
        scanner.push(body.as_bytes());
        assert_eq!(scanner.container, Container::Behind, "{body}");
        scanner.push(br#"{"usage":{"prompt_tokens":1}}"#);
        assert_eq!(scanner.usage(), None, "{body}");
    }
}

/// Writes any JSON, with the keys that are wanted more often than by chance.
fn write(random: &mut fastrand::Rng, depth: usize, out: &mut String) {
    const KEYS: [&str; 12] = [
        "usage",
        "usage",
        "response",
        "message",
        "choices",
        "choices",
        "service_tier",
        "x_groq",
        "meta",
        "duration",
        "a",
        r#"usage\":"#,
    ];
    const SCALARS: [&str; 10] = [
        "null",
        "true",
        "-1.5e3",
        "0",
        r#""""#,
        r#""}""#,
        r#""a\"},{[""#,
        r#""\\""#,
        r#"":,\\\"""#,
        r#""usage""#,
    ];
    const SPACES: [&str; 4] = ["", "", " ", "\n\t "];
    let space = |random: &mut fastrand::Rng| SPACES[random.usize(..SPACES.len())];
    out.push_str(space(random));
    let kind = if depth == 0 { 0 } else { random.u8(..10) };
    match kind {
        0..4 if depth < 5 && (depth == 0 || kind < 3) => {
            out.push('{');
            let mut written = Vec::new();
            for _ in 0..random.usize(..8) {
                let key = KEYS[random.usize(..KEYS.len())];
                // In one choice, what stands twice is not told apart from two choices.
                if depth >= 2 && written.contains(&key) {
                    continue;
                }
                let comma = if written.is_empty() { "" } else { "," };
                written.push(key);
                out.push_str(&format!(
                    "{comma}{}\"{key}\"{}:",
                    space(random),
                    space(random)
                ));
                write(random, depth + 1, out);
            }
            out.push_str(space(random));
            out.push('}');
        }
        4..7 if depth < 5 => {
            out.push('[');
            for index in 0..random.usize(..4) {
                out.push_str(if index == 0 { "" } else { "," });
                write(random, depth + 1, out);
            }
            out.push(']');
        }
        _ => out.push_str(SCALARS[random.usize(..SCALARS.len())]),
    }
    out.push_str(space(random));
}

/// What is to be found, by a tree of the whole.
fn expected(body: &Json) -> Vec<(Container, Name, Json)> {
    let mut all = Vec::new();
    let mut keep = |object: &Json, container: Container, keys: &[(&str, Name)]| {
        for (key, name) in keys {
            all.extend(
                object
                    .get(key)
                    .map(|value| (container, *name, value.clone())),
            );
        }
    };
    let own = [
        ("usage", Name::Usage),
        ("service_tier", Name::Tier),
        ("x_groq", Name::Groq),
        ("meta", Name::Meta),
        ("duration", Name::Duration),
    ];
    keep(body, Container::Answer, &own);
    keep(&body["response"], Container::Response, &own[..2]);
    keep(&body["message"], Container::Message, &own[..1]);
    let choices = body["choices"].as_array().cloned().unwrap_or_default();
    let told = choices
        .iter()
        .rev()
        .find(|choice| !choice["usage"].is_null());
    keep(told.unwrap_or_default(), Container::Choice, &own[..1]);
    all
}

#[test]
fn random_bodies_are_read_as_by_a_tree_in_random_chunks() {
    let mut random = fastrand::Rng::with_seed(1);
    let (mut inner, mut in_choices) = (0, 0);
    for _ in 0..20_000 {
        let mut body = String::new();
        write(&mut random, 0, &mut body);
        let tree: Json = serde_json::from_str(&body).unwrap();
        let order =
            |(container, name, _): &(Container, Name, Json)| format!("{container:?} {name:?}");
        let found = check_cuts(body.as_bytes(), &mut random);
        let parsed = found.0.iter().map(|(container, name, json)| {
            (*container, *name, serde_json::from_slice(json).unwrap())
        });
        let mut parsed: Vec<_> = parsed.collect();
        let mut expected = expected(&tree);
        parsed.sort_by_key(order);
        expected.sort_by_key(order);
        assert_eq!(parsed, expected, "{body}");
        let containers = || expected.iter().map(|(container, _, _)| *container);
        inner += containers()
            .filter(|container| *container != Container::Answer)
            .count();
        in_choices += containers()
            .filter(|container| *container == Container::Choice)
            .count();
    }
    // Places within others have to be common, or the test says little.
    assert!(inner > 1_500 && in_choices > 300, "{inner}, {in_choices}");
}

#[test]
fn random_bytes_are_read_alike_in_random_chunks() {
    const PIECES: [&[u8]; 20] = [
        b"{",
        b"{",
        b"}",
        b"[",
        b"]",
        b",",
        b":",
        b"\"",
        b"\\",
        b" ",
        b"null",
        b"1",
        b"\xff",
        b"\"usage\":",
        b"\"usage\":{\"prompt_tokens\":1}",
        b"\"choices\":[{",
        b"\"response\":{",
        b"\"message\":{",
        b"\"meta\":",
        b",\"duration\":",
    ];
    let mut random = fastrand::Rng::with_seed(2);
    let mut told = 0;
    for _ in 0..30_000 {
        let pieces = (0..random.usize(..24)).map(|_| PIECES[random.usize(..PIECES.len())]);
        let body = [b"{".to_vec(), pieces.collect::<Vec<_>>().concat()].concat();
        let found = check_cuts(&body, &mut random);
        told += usize::from(found.counts().is_some());
    }
    assert!(told > 300, "{told}");
}
