//! Which lines are converted to what, and what is reported of invalid lines.

use serde_json::{Value, json};

use super::*;
use crate::chatlog::entry::Entry;
use crate::chatlog::entry::tests::entry;
use crate::chatlog::tests::config;

fn line(entry: &Entry) -> String {
    let mut line = Vec::new();
    entry.write_line(&config("c"), &mut line);
    String::from_utf8(line).unwrap()
}

/// The output of a log, the numbers of its lines, and what is reported of invalid ones.
fn converted(format: Format, filter: Filter, log: &str) -> (String, Summary, Vec<String>) {
    let mut out = Vec::new();
    let mut reported = Vec::new();
    let mut converter = Converter::new(format, filter, &mut out);
    let report = |number, fault| reported.push(format!("{number}: {fault}"));
    converter.read(log.as_bytes(), report).unwrap();
    let summary = converter.finish().unwrap();
    (String::from_utf8(out).unwrap(), summary, reported)
}

fn examples(entry: &Entry) -> (Vec<Value>, u64) {
    let (text, summary, reported) = converted(Format::Examples, Filter::default(), &line(entry));
    assert_eq!(reported, [""; 0]);
    let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
    (lines.collect(), summary.unfit)
}

#[test]
fn lines_become_one_array_or_stay_lines() {
    let one = line(&entry());
    let two = line(&Entry {
        model: "other".to_owned(),
        ..entry()
    });
    for log in [String::new(), one.clone(), format!("{one}\n{two}")] {
        let (json, summary, reported) = converted(Format::Json, Filter::default(), &log);
        let array: Vec<Value> = serde_json::from_str(&json).unwrap();
        let (lines, ..) = converted(Format::JsonLines, Filter::default(), &log);
        let of_lines = lines
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap());
        assert_eq!(array, of_lines.collect::<Vec<_>>());
        assert_eq!(summary.written, array.len() as u64);
        assert_eq!(lines, log.replace("\n\n", "\n"));
        assert_eq!(reported, [""; 0]);
    }
}

#[test]
fn only_lines_that_meet_every_condition_are_written() {
    let log = line(&entry());
    let is_written = |filter| converted(Format::JsonLines, filter, &log).1.written == 1;
    let since = |time: &str| Filter {
        since: Some(time.parse().unwrap()),
        ..Filter::default()
    };
    assert!(is_written(since("2026-11-21T08:02:35.506Z")));
    assert!(!is_written(since("2026-11-21T08:02:35.507Z")));
    let of = |tenant: &str, model: &str| Filter {
        since: None,
        tenant: Some(tenant.to_owned()),
        model: Some(model.to_owned()),
    };
    assert!(is_written(of("internal", "gpt-4o")));
    assert!(!is_written(of("internal", "gpt-4")));
    assert!(!is_written(of("intern", "gpt-4o")));
}

#[test]
fn invalid_lines_are_reported_by_number_and_without_their_text() {
    let good = line(&entry());
    let torn = &good[..good.len() - 10];
    let log = format!(
        "{good}{torn}\n\n{{\"secret\":1}}\n[\"secret\"]\n{good}\u{0}\n{{\"time\":\"secret\"}}\nsecret"
    );
    let (text, summary, reported) = converted(Format::JsonLines, Filter::default(), &log);
    assert_eq!(text, [&*good, &*good].concat());
    assert_eq!((summary.written, summary.invalid), (2, 6));
    assert_eq!(
        reported,
        [
            &format!("2: not JSON, at column {}", torn.len()),
            "4: not a line of the chat log",
            "5: not a line of the chat log",
            "7: not JSON, at column 1",
            "8: not a line of the chat log",
            "9: not JSON, at column 1",
        ]
    );
}

#[test]
fn a_line_that_is_too_long_is_skipped_and_costs_no_more_memory() {
    let good = line(&entry());
    let filler = [b' '; 1 << 16];
    let long = io::repeat(b' ').take(MAX_LINE_BYTES as u64 * 2);
    let fits = io::repeat(b' ').take(MAX_LINE_BYTES as u64 - good.len() as u64);
    let log = fits
        .chain(good.as_bytes())
        .chain(long)
        .chain(&filler[..])
        .chain(&b"\n"[..])
        .chain(good.as_bytes());
    let mut reported = Vec::new();
    let mut converter = Converter::new(Format::JsonLines, Filter::default(), Vec::new());
    let report = |number, fault| reported.push((number, fault));
    converter.read(io::BufReader::new(log), report).unwrap();
    assert_eq!(reported, [(2, Fault::TooLong)]);
    assert!(converter.line.capacity() <= 2 * MAX_LINE_BYTES);
    assert_eq!(converter.finish().unwrap().written, 2);
}

#[test]
fn an_example_ends_in_the_assistants_answer() {
    let (examples, unfit) = examples(&entry());
    assert_eq!(unfit, 0);
    assert_eq!(
        examples,
        [json!({
            "messages": [
                {"role": "user", "content": "hello"},
                {"role": "assistant", "content": "hi"},
            ],
            "tools": [{"type": "function", "function": {"name": "f"}}],
        })]
    );
}

#[test]
fn tool_calls_are_in_the_example_and_what_no_request_has_is_not() {
    let calls = json!([{"id": "c1", "type": "function",
                        "function": {"name": "f", "arguments": "{}"}}]);
    let answer = json!({"choices": [{"index": 0, "finish_reason": "tool_calls", "message": {
        "role": "assistant", "content": null, "refusal": null, "annotations": [],
        "reasoning_content": "hm", "tool_calls": calls,
    }}]});
    let (examples, _) = examples(&Entry {
        answer: Some(answer.to_string().into()),
        ..entry()
    });
    let expected = json!({"role": "assistant", "content": null, "tool_calls": calls});
    assert_eq!(examples[0]["messages"][1], expected);
}

#[test]
fn an_incomplete_answer_or_another_endpoint_makes_no_example() {
    let answered = |message: Value, reason: &str| Entry {
        answer: Some(
            json!({"choices": [{"message": message, "finish_reason": reason}]})
                .to_string()
                .into(),
        ),
        ..entry()
    };
    let said = |content: &str| json!({"content": content});
    let asked = |request: &'static str| Entry {
        request: request.as_bytes().into(),
        ..entry()
    };
    let long = format!(
        "{{\"messages\":[{{}}],\"tools\":\"{}\"}}",
        "x".repeat(2 << 20)
    );
    assert_eq!(examples(&answered(said("hi"), "stop")).1, 0);
    for unfit in [
        Entry {
            status: 201,
            ..entry()
        },
        Entry {
            is_partial: true,
            ..entry()
        },
        Entry {
            endpoint: "responses",
            ..entry()
        },
        Entry {
            answer: None,
            ..entry()
        },
        Entry {
            answer: Some("not json".into()),
            ..entry()
        },
        Entry {
            answer: Some(r#"{"choices":[]}"#.into()),
            ..entry()
        },
        Entry {
            request: long.into(),
            ..entry()
        },
        answered(said("hi"), "length"),
        answered(said("hi"), "content_filter"),
        answered(said(""), "stop"),
        answered(json!({"content": null, "tool_calls": []}), "stop"),
        asked("{}"),
        asked(r#"{"messages":[]}"#),
        asked(r#"{"messages":"hi"}"#),
    ] {
        assert_eq!(examples(&unfit), (Vec::new(), 1), "{unfit:?}");
    }
}

#[test]
fn no_line_causes_a_panic() {
    let mut random = fastrand::Rng::with_seed(5);
    let good = line(&entry());
    for _ in 0..3000 {
        let mut bytes = good.clone().into_bytes();
        for _ in 0..random.usize(1..4) {
            let at = random.usize(..bytes.len());
            match random.bool() {
                true => bytes[at] = random.u8(..),
                false => drop(bytes.remove(at)),
            }
        }
        for format in [Format::Json, Format::Examples] {
            let mut converter = Converter::new(format, Filter::default(), Vec::new());
            converter.read(&*bytes, |_, _| ()).unwrap();
            converter.finish().unwrap();
        }
    }
}
