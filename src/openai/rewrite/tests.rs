//! Answers and streams with another model's name and with a prefix.

use super::super::sse::MAX_EVENT_BYTES;
use super::*;

fn rewrites(model: Option<&str>, prefix: Option<&str>) -> Rewrites {
    Rewrites {
        model: model.map(str::to_owned),
        prefix: prefix.map(str::to_owned),
    }
}

fn both() -> Rewrites {
    rewrites(Some("ours"), Some("> \"hi\"\n"))
}

/// What comes of a whole answer; the empty string where it stays.
fn whole(rewrites: &Rewrites, body: &str) -> String {
    let out = rewrites.whole(body.as_bytes()).unwrap_or_default();
    String::from_utf8(out).unwrap()
}

/// What comes of a stream that is cut at these places.
fn stream(rewrites: &Rewrites, input: &[u8], cuts: impl IntoIterator<Item = usize>) -> Vec<u8> {
    let (mut rewriter, mut parser) = (Rewriter::new(rewrites), Parser::new());
    let mut changes = Changes::default();
    let mut start = 0;
    for end in cuts.into_iter().chain([input.len()]) {
        parser.push(&input[start..end], |event| {
            rewriter.see(&event, &mut changes)
        });
        start = end;
    }
    let mut patches = Patches::default();
    for Change { range, with } in changes {
        let [start, end] = [range.start, range.end].map(|at| usize::try_from(at).unwrap());
        patches.add(start..end, with);
    }
    patches.apply(input)
}

/// Checks a stream whole, in two pieces cut anywhere, and byte by byte.
fn check(rewrites: &Rewrites, input: &[u8], expected: &[u8]) {
    let shown = String::from_utf8_lossy(input);
    let check = |cuts: &[usize]| {
        let out = stream(rewrites, input, cuts.iter().copied());
        let (out, expected) = (
            String::from_utf8_lossy(&out),
            String::from_utf8_lossy(expected),
        );
        assert_eq!(out, expected, "{shown:?} cut at {cuts:?}");
    };
    check(&[]);
    (0..=input.len()).for_each(|cut| check(&[cut]));
    check(&(1..input.len()).collect::<Vec<_>>());
}

fn unchanged(input: &[u8]) {
    check(&both(), input, input);
}

#[test]
fn a_whole_answer_carries_our_model_and_keeps_its_other_bytes() {
    for (body, expected) in [
        (
            r#" {"id" : "a", "model" :"up\u002d1","x":[1.0e400,{"model":"up"}],"é":"\ud800"} "#,
            r#" {"id" : "a", "model" :"a\"b","x":[1.0e400,{"model":"up"}],"é":"\ud800"} "#,
        ),
        (
            r#"{"data":[{"embedding":[0.10]}],"mod\u0065l":"up"}"#,
            r#"{"data":[{"embedding":[0.10]}],"mod\u0065l":"a\"b"}"#,
        ),
        (
            r#"{"type":"x","response":{"id":1,"model":"up"},"model":"up"}"#,
            r#"{"type":"x","response":{"id":1,"model":"a\"b"},"model":"a\"b"}"#,
        ),
    ] {
        assert_eq!(whole(&rewrites(Some("a\"b"), None), body), expected);
    }
}

#[test]
fn the_first_output_of_each_choice_gets_the_prefix() {
    for (body, expected) in [
        (
            r#"{"choices":[{"message":{"role":"a","content" : "x"}}]}"#,
            r#"{"choices":[{"message":{"role":"a","content" : "> \"hi\"\nx"}}]}"#,
        ),
        (
            r#"{"choices":[{"index":1,"text":"\u0078"},{"text":"y","index":0}]}"#,
            r#"{"choices":[{"index":1,"text":"> \"hi\"\n\u0078"},{"text":"> \"hi\"\ny","index":0}]}"#,
        ),
        (
            r#"{"choices":[{"text":"x"},{"index":0,"text":"y"}],"model":"up"}"#,
            r#"{"choices":[{"text":"> \"hi\"\nx"},{"index":0,"text":"y"}],"model":"ours"}"#,
        ),
        (
            r#"{"model":"up","choices":[{"message":{"reasoning_content":"r","content":"x"}}]}"#,
            r#"{"model":"ours","choices":[{"message":{"reasoning_content":"r","content":"> \"hi\"\nx"}}]}"#,
        ),
    ] {
        assert_eq!(whole(&both(), body), expected);
    }
}

#[test]
fn an_answer_without_such_places_passes() {
    for body in [
        r#"{"choices":[{"message":{"content":null,"tool_calls":[]}}]}"#,
        r#"{"choices":[{"message":{"content":""}},{"text":""},{"text":null},{}]}"#,
        r#"{"choices":[{"message":{"content":[{"type":"text","text":"x"}]}}]}"#,
        r#"{"choices":[{"message":null,"delta":null,"index":null}]}"#,
        r#"{"choices":[{"message":{"reasoning_content":"x"}}]}"#,
        r#"{"choices":[],"model":""}"#,
        r#"{"choices":null,"model":null,"response":null}"#,
        r#"{"model":4}"#,
        r#"{"model":["up"]}"#,
        r#"{"model":"ours"}"#,
        r#"{"error":{"message":"model up"}}"#,
    ] {
        assert_eq!(whole(&both(), body), "", "{body}");
    }
    let body = r#"{"model":"up","choices":[{"text":"x"}]}"#;
    assert_eq!(whole(&Rewrites::default(), body), "");
    assert!(Rewrites::default().is_empty() && !both().is_empty());
}

#[test]
fn what_is_not_of_the_known_shape_passes() {
    let bodies: [&[u8]; 21] = [
        b"",
        b"up",
        b"\"model\"",
        br#"["up",null,[]]"#,
        br#"{"model":"up""#,
        br#"{"model":"up",}"#,
        br#"{"model":"up"} x"#,
        b"\xEF\xBB\xBF{\"model\":\"up\"}",
        b"{\"model\":\"up\xff\"}",
        b"{\"model\":\"up\",\"x\":\"\xff\"}",
        br#"{"model":"up","model":"up"}"#,
        br#"{"model":"up","mod\u0065l":"up"}"#,
        br#"{"model":"up","choices":{}}"#,
        br#"{"model":"up","choices":"x"}"#,
        br#"{"model":"up","choices":[7]}"#,
        br#"{"model":"up","choices":[[0,{"content":"x"},null,null]]}"#,
        br#"{"model":"up","choices":[{"delta":["x"]}]}"#,
        br#"{"model":"up","choices":[{"text":"x","text":"y"}]}"#,
        br#"{"model":"up","choices":[{"index":-1,"text":"x"}]}"#,
        br#"{"model":"up","choices":[{"index":18446744073709551616,"text":"x"}]}"#,
        br#"{"model":"up","response":"x"}"#,
    ];
    for body in bodies {
        let shown = String::from_utf8_lossy(body);
        assert_eq!(both().whole(body), None, "{shown}");
        unchanged(&[b"data: ", body, b"\n\n"].concat());
    }
}

#[test]
fn a_model_that_is_no_string_does_not_keep_the_prefix_away() {
    assert_eq!(
        whole(
            &both(),
            r#"{"model":4,"choices":[{"index":18446744073709551615,"text":"x"}]}"#
        ),
        r#"{"model":4,"choices":[{"index":18446744073709551615,"text":"> \"hi\"\nx"}]}"#
    );
}

#[test]
fn depth_costs_no_stack() {
    let nested = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let body = |model: &str| {
        format!(r#"{{"x":{nested},"model":"{model}","choices":[{{"text":{nested}}}]}}"#)
    };
    assert_eq!(whole(&both(), &body("up")), body("ours"));
    let unclosed = format!(r#"{{"model":"up","choices":{}"#, "[{\"a\":".repeat(100_000));
    assert_eq!(whole(&both(), &unclosed), "");
}

#[test]
fn the_number_of_prefixed_choices_is_bounded() {
    let choice = |index: usize, text: &str| format!(r#"{{"index":{index},"text":"{text}"}}"#);
    let body = |text: &dyn Fn(usize) -> &'static str| {
        let choices: Vec<_> = (0..MAX_CHOICES + 9)
            .map(|nth| choice(nth, text(nth)))
            .collect();
        format!(r#"{{"choices":[{}]}}"#, choices.join(","))
    };
    let plain = body(&|_| "x");
    let expected = body(&|nth| if nth < MAX_CHOICES { "> x" } else { "x" });
    assert_eq!(whole(&rewrites(None, Some("> ")), &plain), expected);

    let event =
        |nth: usize, text: &str| format!("data: {{\"choices\":[{}]}}\n\n", choice(nth, text));
    let input: String = (0..MAX_CHOICES + 9).map(|nth| event(nth, "x")).collect();
    let text = |nth: usize| if nth < MAX_CHOICES { "> x" } else { "x" };
    let expected: String = (0..MAX_CHOICES + 9)
        .map(|nth| event(nth, text(nth)))
        .collect();
    let out = stream(&rewrites(None, Some("> ")), input.as_bytes(), []);
    assert_eq!(String::from_utf8(out).unwrap(), expected);
}

/// A chat with two choices, as lines without their ends; and what is to come of it.
const CHAT: [(&str, &str); 22] = [
    (
        ": welcome {\"model\":\"up\"}",
        ": welcome {\"model\":\"up\"}",
    ),
    ("", ""),
    (
        r#"data: {"model":"","choices":[],"prompt_filter_results":[]}"#,
        r#"data: {"model":"","choices":[],"prompt_filter_results":[]}"#,
    ),
    ("", ""),
    ("event:x", "event:x"),
    (
        r#"data:{"model":"up","choices":[{"index":0,"delta":{"role":"assistant","content":""}}]} "#,
        r#"data:{"model":"ours","choices":[{"index":0,"delta":{"role":"assistant","content":""}}]} "#,
    ),
    ("id: 1", "id: 1"),
    ("", ""),
    (
        r#"data: {"choices":[{"delta":{"reasoning_content":"é"}}], "model": "up"}"#,
        r#"data: {"choices":[{"delta":{"reasoning_content":"é"}}], "model": "ours"}"#,
    ),
    ("", ""),
    (
        r#"data: {"model":"up","choices":[{"delta":{"content" : "a"}},{"index":1,"delta":{"content":null}}]}"#,
        r#"data: {"model":"ours","choices":[{"delta":{"content" : "> \"hi\"\na"}},{"index":1,"delta":{"content":null}}]}"#,
    ),
    ("", ""),
    ("", ""),
    (
        r#"data: {"choices":[{"index":1,"delta":{"content":"b"}},{"index":0,"delta":{"content":"c"}}],"model":"up"}"#,
        r#"data: {"choices":[{"index":1,"delta":{"content":"> \"hi\"\nb"}},{"index":0,"delta":{"content":"c"}}],"model":"ours"}"#,
    ),
    ("", ""),
    (r#"data: {"model":"up","#, r#"data: {"model":"up","#),
    (r#"data: "choices":[]}"#, r#"data: "choices":[]}"#),
    ("", ""),
    ("data: [DONE]", "data: [DONE]"),
    ("", ""),
    (
        r#"data: {"model":"up","usage":{}}"#,
        r#"data: {"model":"ours","usage":{}}"#,
    ),
    ("", ""),
];

/// The chat with line ends that take turns.
fn chat(ends: &[&str]) -> (String, String) {
    let (mut input, mut expected) = (String::new(), String::new());
    for ((line, rewritten), end) in CHAT.into_iter().zip(ends.iter().cycle()) {
        // A LF here would belong to the CR before.
        let joins = line.is_empty() && input.ends_with('\r') && *end == "\n";
        let end = if joins { "\r" } else { end };
        input.extend([line, end]);
        expected.extend([rewritten, end]);
    }
    (input, expected)
}

#[test]
fn a_stream_is_the_same_however_it_is_cut_and_its_lines_end() {
    let cycles: [&[&str]; 6] = [
        &["\n"],
        &["\r\n"],
        &["\r"],
        &["\n", "\r\n", "\r"],
        &["\r", "\r\n"],
        &["\r\n", "\n", "\n", "\r", "\r"],
    ];
    for ends in cycles {
        let (input, expected) = chat(ends);
        check(&both(), input.as_bytes(), expected.as_bytes());
    }
}

#[test]
fn the_stream_of_a_response_carries_our_model() {
    let event = |model: &str| {
        format!(
            "event: response.created\ndata: {{\"type\":\"response.created\",\
                 \"response\":{{\"id\":\"r\",\"model\":\"{model}\"}},\"sequence_number\":0}}\n\n\
                 event: response.output_text.delta\ndata: {{\"delta\":\"x\",\"sequence_number\":1}}\n\n"
        )
    };
    check(&both(), event("up").as_bytes(), event("ours").as_bytes());
}

#[test]
fn a_byte_order_mark_is_known_at_the_start_alone() {
    check(
        &both(),
        b"\xEF\xBB\xBFdata: {\"model\":\"up\"}\r\n\r\n",
        b"\xEF\xBB\xBFdata: {\"model\":\"ours\"}\r\n\r\n",
    );
    unchanged(b"\n\xEF\xBB\xBFdata: {\"model\":\"up\"}\n\n");
    check(
        &both(),
        b"\xEF\xBB\xBF\r\rdata:{\"model\":\"up\"}\n\n",
        b"\xEF\xBB\xBF\r\rdata:{\"model\":\"ours\"}\n\n",
    );
}

#[test]
fn what_is_no_event_of_one_json_line_passes() {
    let inputs: [&[u8]; 12] = [
        b"",
        b"\n\r\r\n\n\r",
        b"data\ndata: {\"model\":\"up\"}\n\n",
        b"data: {\"model\":\"up\"}\ndata\n\n",
        b"data: {\"model\":\"up\"}\ndata: {\"model\":\"up\"}\r\n\r\n",
        b"data\n\n",
        b"data:\n\n",
        b"Data: {\"model\":\"up\"}\n\n",
        b" data: {\"model\":\"up\"}\n\n",
        b"database: {\"model\":\"up\"}\n\n",
        b"data: {\"model\":\"up\xe2\x82\"}\r\r",
        b"data: [DONE] {\"model\":\"up\"}\n\n",
    ];
    inputs.into_iter().for_each(unchanged);
}

/// An event of so many bytes.
fn long_event(bytes: usize, model: &str, end: &str) -> Vec<u8> {
    let start = format!("data: {{\"model\":\"{model}\",\"x\":\"");
    let fill = "x".repeat(bytes - start.len() - "\"}".len() - end.len());
    [&start, &fill, "\"}", end].concat().into_bytes()
}

#[test]
fn an_event_beyond_the_bound_passes_as_it_comes() {
    let next = b"data: {\"model\":\"up\"}\n\n";
    let changed = b"data: {\"model\":\"ours\"}\n\n";
    for end in ["\n\n", "\r\r"] {
        let input = long_event(MAX_EVENT_BYTES, "up", end);
        let expected = long_event(MAX_EVENT_BYTES + 2, "ours", end);
        let longer = long_event(MAX_EVENT_BYTES + 1, "up", end);
        let input = [&input, &longer, &b"\n"[..], next].concat();
        let expected = [&expected, &longer, &b"\n"[..], changed].concat();
        for size in [input.len(), MAX_EVENT_BYTES, 99_991] {
            let cuts = (size..input.len()).step_by(size);
            let out = stream(&both(), &input, cuts);
            assert!(out == expected, "{end:?} in pieces of {size}");
        }
    }
}

#[test]
fn an_event_of_ours_is_changed_like_the_others() {
    let mut rewriter = Rewriter::new(&both());
    let event = Bytes::from_static(b"data: {\"model\":\"up\"}\n\n");
    assert_eq!(rewriter.event(event), "data: {\"model\":\"ours\"}\n\n");
    let other = Bytes::from_static(b": comment\n\n");
    assert_eq!(rewriter.event(other.clone()), other);
}

#[test]
fn random_streams_are_rewritten_alike_in_random_chunks() {
    const PIECES: [&[u8]; 18] = [
        b"\n",
        b"\n\n",
        b"\r",
        b"\r\n",
        b"\r\n\r\n",
        b"\xEF\xBB\xBF",
        b"\xff",
        b"event: x",
        b": {\"model\":\"up\"}",
        b"data",
        b"data: ",
        b"data:",
        b"{\"model\":\"up\"}",
        b"{\"model\":\"up\"}\n\n",
        b"{\"response\":{\"model\":\"up\"}}",
        b"data: {\"model\":\"up\",\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\r\n\r\n",
        b"data: {\"choices\":[{\"index\":1,\"text\":\"a\"},{\"text\":\"b\"}]}\n\n",
        b"data: {\"choices\":[{\"text\":\n\n",
    ];
    let mut random = fastrand::Rng::with_seed(1);
    let mut changed = 0;
    for _ in 0..20_000 {
        let pieces = (0..random.usize(..16)).map(|_| PIECES[random.usize(..PIECES.len())]);
        let input = pieces.collect::<Vec<_>>().concat();
        let mut cuts: Vec<_> = (0..random.usize(..8))
            .map(|_| random.usize(..=input.len()))
            .collect();
        cuts.sort_unstable();
        let whole = stream(&both(), &input, []);
        let shown = input.escape_ascii();
        let pieces = stream(&both(), &input, cuts.iter().copied());
        assert!(pieces == whole, "{shown} cut at {cuts:?}");
        assert!(
            stream(&both(), &input, 1..input.len().max(1)) == whole,
            "{shown} in bytes"
        );
        let none = stream(&Rewrites::default(), &input, cuts);
        assert!(none == input, "{shown} with nothing to change");
        changed += usize::from(whole != input);
    }
    // Changes have to be common, or the test says little.
    assert!(changed > 5_000, "{changed}");
}
