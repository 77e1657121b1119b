//! Tests of `events`.

use super::*;
use crate::gateway::pieces::JOIN_BELOW;
use crate::openai::dialect::Dialect;
use crate::openai::stream_state::Stream;

const ROLE: &str = "data: {\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\"}}]}\n\n";
const HI: &str = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"hi\"}}]}\n\n";
const STOP: &str =
    "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";
const MARK: &str = "data: [DONE]\n\n";
const ERROR: &str = "data: {\"error\":{\"message\":\"m\",\"code\":\"c\"}}\n\n";
const JUNK: &str = "data: {\"choi\n\n";

fn rewriting() -> EventReader {
    let rewrites = Rewrites {
        model: Some("ours".to_owned()),
        prefix: Some("> ".to_owned()),
    };
    let wants = Wants {
        stream: Stream::Chat,
        drops_malformed: false,
        hides_usage: true,
        aggregates: false,
        may_go_on: false,
    };
    EventReader::new(wants, &rewrites, echo())
}

#[test]
fn a_stream_is_changed_alike_however_it_is_cut() {
    let role = ROLE.replace("{\"choices\"", "{\"model\":\"up\",\"choices\"");
    let hi = HI.replace("}]}", "}],\"model\":\"up\",\"usage\":null}");
    let comment = ": {\"model\":\"up\"}\n\n";
    let stream = [&role, comment, &hi, STOP, MARK].concat();
    let expected = [
        &role.replace("\"up\"", "\"ours\""),
        comment,
        &HI.replace("hi", "> hi")
            .replace("}]}", "}],\"model\":\"ours\"}"),
        STOP,
        MARK,
    ]
    .concat();
    for ends in ["\n", "\r\n"] {
        let (stream, expected) = (stream.replace('\n', ends), expected.replace('\n', ends));
        for size in 1..=stream.len() {
            let passed = pass(&mut rewriting(), &stream, size);
            assert_eq!(
                passed,
                (expected.clone(), End::Complete),
                "pieces of {size}"
            );
        }
    }
}

#[test]
fn an_event_that_is_to_be_changed_is_held_for_as_long_as_it_is_read() {
    let text = "x".repeat(4 * MAX_HELD_BYTES);
    let long = |model: &str| {
        let hi = HI.replace("hi", &text);
        hi.replace("}]}", &format!("}}],\"model\":\"{model}\"}}"))
    };
    let stream = [&long("up"), STOP, MARK].concat();
    let (passed, end) = pass(&mut rewriting(), &stream, 1000);
    let expected = long("ours").replacen(&text, &format!("> {text}"), 1);
    assert_eq!(passed, [&expected, STOP, MARK].concat());
    assert_eq!(end, End::Complete);
    let beyond = format!("data: {}", "x".repeat(MAX_EVENT_BYTES));
    let mut out = Vec::new();
    rewriting().push(Bytes::from(beyond.clone()), &mut out);
    assert_eq!(out.concat(), beyond.as_bytes());
}

#[test]
fn nothing_is_changed_in_an_event_whose_beginning_has_passed() {
    let error = format!(
        "data: {{\"detail\":\"{}\"}}\n\n",
        "x".repeat(2 * MAX_HELD_BYTES)
    );
    let stream = [HI, &error].concat();
    let (passed, end) = pass(&mut events(false, true), &stream, 1000);
    assert_eq!((passed, end), (stream, End::Truncated));
}

fn events(drops_malformed: bool, hides_usage: bool) -> EventReader {
    let wants = Wants {
        stream: Stream::Chat,
        drops_malformed,
        hides_usage,
        aggregates: false,
        may_go_on: false,
    };
    EventReader::new(wants, &Rewrites::default(), echo())
}

const KEY: &str = "sk-canary-0123456789";

fn echo() -> Echo {
    let mut headers = http::HeaderMap::new();
    headers.insert("authorization", format!("Bearer {KEY}").parse().unwrap());
    Echo::sent(&headers, &Dialect::default())
}

#[test]
fn the_key_is_masked_in_an_error_and_in_nothing_before_it() {
    let said = HI.replace("hi", KEY);
    let error = ERROR.replace("\"m\"", &format!("\"Bearer {KEY}\""));
    let stars = "*".repeat(KEY.len());
    for ends in ["\n\n", ""] {
        let stream = [&said, error.trim_end(), ends].concat();
        for size in 1..=error.len() {
            let mut events = events(false, false);
            let (passed, end) = pass(&mut events, &stream, size);
            let error = [error.trim_end(), "\n\n"].concat().replace(KEY, &stars);
            assert!(passed.ends_with(&error), "pieces of {size}: {passed}");
            assert_eq!(end, End::Truncated);
            let told = events.error().unwrap().message.clone().unwrap();
            assert_eq!(told, format!("Bearer {stars}"));
        }
    }
    // What the model says is not looked through.
    let mut events = events(false, false);
    let healthy = [&said, STOP, MARK].concat();
    assert_eq!(pass(&mut events, &healthy, healthy.len()).0, healthy);
}

#[test]
fn the_key_is_masked_in_what_passes_before_it_could_be_read() {
    let stars = "*".repeat(KEY.len());
    let text = |key: &str| format!("{}{key} and {key}", "x".repeat(MAX_HELD_BYTES));
    let error = |key: &str| ERROR.replace("\"m\"", &format!("\"{}\"", text(key)));
    let stream = [HI, &error(KEY)].concat();
    for size in [7, 1000, 1 << 20] {
        let passed = pass(&mut events(false, false), &stream, size);
        assert_eq!(passed, ([HI, &error(&stars)].concat(), End::Truncated));
    }
}

/// What passes of a stream that comes in pieces of `size` bytes, and how it ends.
fn pass(events: &mut EventReader, stream: &str, size: usize) -> (String, End) {
    let mut out = Vec::new();
    for piece in stream.as_bytes().chunks(size) {
        events.push(Bytes::copy_from_slice(piece), &mut out);
    }
    let end = events.finish(&mut out);
    (String::from_utf8(out.concat()).unwrap(), end)
}

fn check(stream: &str, drops: bool, passes: &str, end: End) {
    for size in 1..=stream.len() {
        let mut events = events(drops, false);
        let passed = pass(&mut events, stream, size);
        assert_eq!(passed, (passes.to_owned(), end), "in pieces of {size}");
    }
}

#[test]
fn what_is_whole_passes_as_it_came() {
    for stream in [
        [ROLE, HI, STOP, MARK].concat(),
        [": ping\r\n\r\n", HI, STOP, MARK, ": after\n\n"].concat(),
        [HI, STOP, MARK].concat().replace('\n', "\r\n"),
    ] {
        check(&stream, false, &stream, End::Complete);
    }
}

#[test]
fn a_missing_mark_is_supplied_and_a_missing_blank_line_too() {
    let stream = [HI, STOP].concat();
    check(&stream, false, &[HI, STOP, MARK].concat(), End::Complete);
    let stream = [HI, STOP, MARK].concat();
    for missing in ["\n\n", "\n"] {
        let stream = stream.strip_suffix(missing).unwrap();
        check(stream, false, &[HI, STOP, MARK].concat(), End::Complete);
        let unmarked = [HI, STOP.strip_suffix(missing).unwrap()].concat();
        check(&unmarked, false, &[HI, STOP, MARK].concat(), End::Complete);
    }
}

#[test]
fn what_breaks_off_does_not_look_complete() {
    check(
        &[ROLE, HI].concat(),
        false,
        &[ROLE, HI].concat(),
        End::Truncated,
    );
    let cut = [HI, "data: {\"choices\":[{\"ind"].concat();
    check(&cut, false, HI, End::Truncated);
}

#[test]
fn nothing_follows_an_error() {
    let stream = [HI, ERROR, MARK].concat();
    check(&stream, false, &[HI, ERROR].concat(), End::Truncated);
}

#[test]
fn an_error_that_clients_do_not_know_is_kept_back_and_one_in_a_chunk_is_not() {
    for (error, passes, is_known) in [
        ("data: {\"error\":\"m\"}\n\n", true, true),
        (
            "data: {\"choices\":[{\"index\":0,\"finish_reason\":\"error\"}]}\n\n",
            true,
            false,
        ),
        ("event: error\ndata: {\"message\":\"m\"}\n\n", false, false),
        ("event: error\ndata: m\n\n", false, false),
        ("data: {\"detail\":\"m\"}\n\n", false, false),
        ("error: {\"message\":\"m\"}\n\n", false, false),
    ] {
        let stream = [HI, error, MARK].concat();
        let expected = [HI, if passes { error } else { "" }].concat();
        for size in 1..=stream.len() {
            let mut events = events(false, true);
            let passed = pass(&mut events, &stream, size);
            assert_eq!(passed, (expected.clone(), End::Truncated), "{error}");
            assert!(events.error().is_some());
            assert_eq!(events.has_told_client(), is_known, "{error}");
        }
    }
}

#[test]
fn roles_and_marks_alone_say_nothing() {
    check(ROLE, false, ROLE, End::Empty);
    check(MARK, false, MARK, End::Empty);
    check("", false, "", End::Empty);
}

#[test]
fn what_cannot_be_read_passes_or_is_dropped() {
    let stream = [HI, JUNK, JUNK, STOP, MARK].concat();
    check(&stream, false, &stream, End::Complete);
    check(&stream, true, &[HI, STOP, MARK].concat(), End::Complete);
}

#[test]
fn a_usage_that_was_not_asked_for_is_kept_back_and_read() {
    let none =
        "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"hi\"}}],\"usage\":null}\n\n";
    let last = "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":2}}\n\n";
    let finished = STOP.replace("]}\n", "],\"usage\":null}\n");
    let stream = [ROLE, none, &finished, last, MARK].concat();
    for ends in ["\n", "\r\n"] {
        let stream = stream.replace('\n', ends);
        let expected = [ROLE, HI, STOP, MARK].concat().replace('\n', ends);
        for size in 1..=stream.len() {
            let mut events = events(false, true);
            assert_eq!(
                pass(&mut events, &stream, size),
                (expected.clone(), End::Complete)
            );
            let usage = events.reading().usage.unwrap();
            assert_eq!((usage.input, usage.output), (3, 2));
        }
    }
    let unmarked = [HI, &finished].concat();
    let cut = unmarked.trim_end().to_owned();
    let passed = pass(&mut events(false, true), &cut, cut.len());
    assert_eq!(passed, ([HI, STOP, MARK].concat(), End::Complete));
}

#[test]
fn an_event_that_comes_byte_by_byte_is_held_in_few_pieces() {
    let mut events = events(false, false);
    let mut out = Vec::new();
    let long = format!("data: {}", "x".repeat(MAX_HELD_BYTES - 10));
    for byte in long.bytes() {
        events.push(Bytes::from(vec![byte]), &mut out);
    }
    assert_eq!(events.held.len(), long.len());
    assert!(events.held.count() <= MAX_HELD_BYTES / JOIN_BELOW);
    events.push(Bytes::from_static(b"\n\n"), &mut out);
    assert_eq!(out.concat(), [&long, "\n\n"].concat().as_bytes());
}

#[test]
fn an_event_beyond_the_bound_passes_in_pieces() {
    let mut events = events(false, false);
    let mut out = Vec::new();
    events.push(Bytes::from_static(HI.as_bytes()), &mut out);
    assert!(events.is_between_events());
    let long = Bytes::from(format!("data: {}", "x".repeat(MAX_HELD_BYTES)));
    let length = long.len();
    events.push(long, &mut out);
    assert_eq!(out.concat().len(), HI.len() + length);
    assert!(!events.is_between_events());
    events.push(Bytes::from_static(b"\n\n"), &mut out);
    assert!(events.is_between_events());
}
