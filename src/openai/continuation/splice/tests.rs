//! How events are changed: texts, identity, usage.

use super::*;
use crate::openai::sse::Parser;

fn rest(text: &str, shows_usage: bool) -> Rest {
    Rest {
        said: Said {
            id: Some("chatcmpl-first".into()),
            created: Some(7.into()),
            model: Some("asked".into()),
            text: text.to_owned(),
        },
        repeats: Repeats::Words,
        used: (100, 40),
        shows_usage,
    }
}

/// What the client gets of these events: the data of each.
fn spliced(rest: Rest, events: &[String]) -> Vec<String> {
    let mut splicer = Splicer::new(rest);
    let mut all = Vec::new();
    for event in events {
        let stream = format!("data: {event}\n\n");
        let mut changes = Changes::default();
        let mut parser = Parser::new();
        parser.push(&Bytes::from(stream.clone()), |event| {
            splicer.see(&event, &mut changes);
        });
        let mut with: Vec<_> = changes.into_iter().map(|change| change.with).collect();
        let text = match with.pop() {
            Some(with) => String::from_utf8(with.to_vec()).unwrap(),
            None => stream,
        };
        all.extend(text.split_terminator("\n\n").map(|event| {
            let data = event.strip_prefix("data: ").unwrap();
            data.to_owned()
        }));
    }
    all
}

fn delta(delta: &str, finish: &str) -> String {
    format!(
        r#"{{"id":"other","object":"chat.completion.chunk","created":9,"model":"b","choices":[{{"index":0,"delta":{delta},"finish_reason":{finish}}}],"usage":null}}"#
    )
}

fn text_of(events: &[String]) -> String {
    let text = events.iter().filter_map(|event| {
        let event: Value = serde_json::from_str(event).ok()?;
        Some(event["choices"][0]["delta"]["content"].as_str()?.to_owned())
    });
    text.collect()
}

fn pieces(text: &str) -> Vec<String> {
    let mut events = vec![delta(r#"{"role":"assistant","content":""}"#, "null")];
    for piece in text.split_inclusive(' ') {
        events.push(delta(&json!({ "content": piece }).to_string(), "null"));
    }
    events.push(delta("{}", "\"stop\""));
    events.push("[DONE]".to_owned());
    events
}

#[test]
fn the_rest_has_the_identity_of_the_first_and_no_role_again() {
    let events = spliced(rest("Once upon", false), &pieces(" a time"));
    assert_eq!(text_of(&events), " a time");
    assert_eq!(events.last().unwrap(), "[DONE]");
    for event in &events[..events.len() - 1] {
        let event: Value = serde_json::from_str(event).unwrap();
        assert_eq!(event["id"], "chatcmpl-first");
        assert_eq!(
            (&event["created"], &event["model"]),
            (&7.into(), &"asked".into())
        );
        assert!(event["choices"][0]["delta"]["role"].is_null());
    }
    let finish: Value = serde_json::from_str(&events[events.len() - 2]).unwrap();
    assert_eq!(finish["choices"][0]["finish_reason"], "stop");
    assert_eq!(finish["x_tollgate"], json!({ "continued": true }));
}

#[test]
fn what_repeats_the_end_is_left_out_and_nothing_else() {
    for (said, next, rest_of) in [
        ("The quick brown fox", "brown fox jumps", " jumps"),
        ("The quick brown fox", "fox jumps", " jumps"),
        ("The quick brown fox", "The quick brown fox jumps", " jumps"),
        ("The quick brown fox", " jumps over", " jumps over"),
        ("The quick brown f", "ox jumps", "ox jumps"),
        // A word that was cut, and is said again.
        ("It is Hel", "Hello to you", "lo to you"),
        ("Grüße aus Köln am Rhein", "Köln am Rhein.", "."),
        // By chance: numbers, letters, tables, code.
        ("It costs 11", "1 dollars", "1 dollars"),
        ("the", "ethereal", "ethereal"),
        ("a", "apple", "apple"),
        ("if x:\n    ", "    return 1", "    return 1"),
        ("|a|b|\n|---", "|---|\n", "|---|\n"),
        ("[0, 0, ", "0, 0, 7]", "0, 0, 7]"),
        ("x", "", ""),
    ] {
        let events = spliced(rest(said, false), &pieces(next));
        assert_eq!(text_of(&events), rest_of, "{said:?} {next:?}");
    }
    let long = "word ".repeat(100);
    let again = format!("{}end", "word ".repeat(40));
    assert_eq!(
        text_of(&spliced(rest(&long, false), &pieces(&again))),
        "end"
    );
}

#[test]
fn it_depends_on_the_kind_of_upstream_what_may_be_said_again() {
    let said = "word ".repeat(100);
    for (repeats, next, rest_of) in [
        (Repeats::Nothing, "word word word end", "word word word end"),
        (Repeats::All, "word word word end", "word word word end"),
        (Repeats::All, &format!("{said}end"), "end"),
        (Repeats::Words, &format!("{said}end"), "end"),
    ] {
        let rest = Rest {
            repeats,
            ..rest(&said, false)
        };
        assert_eq!(
            text_of(&spliced(rest, &pieces(next))),
            rest_of,
            "{repeats:?}"
        );
    }
}

#[test]
fn members_that_say_nothing_end_no_search_for_a_repetition() {
    for begin in [
        r#"{"role":"assistant","content":"","tool_calls":[]}"#,
        r#"{"role":"assistant","content":"","reasoning_content":""}"#,
        r#"{"content":null,"reasoning_content":"Well."}"#,
    ] {
        let events = [
            delta(begin, "null"),
            delta(r#"{"content":"brown fox jumps"}"#, r#""""#),
            delta("{}", r#""stop""#),
        ];
        let events = spliced(rest("The quick brown fox", false), &events);
        assert_eq!(text_of(&events), " jumps", "{begin}");
        let noted = events.iter().filter(|event| event.contains("x_tollgate"));
        assert_eq!(noted.count(), 1, "{begin}");
    }
}

#[test]
fn a_chunk_with_half_a_character_gets_the_identity_of_the_first() {
    let half = delta(r#"{"content":"\ud83d"}"#, "null");
    let events = spliced(rest("So it is", false), &[half]);
    assert!(events[0].contains(r#""id":"chatcmpl-first""#), "{events:?}");
    assert!(events[0].contains(r#"\ud83d"#), "{events:?}");
}

#[test]
fn text_is_held_only_while_it_may_repeat_something() {
    let events = spliced(rest("The quick brown fox", false), &pieces("jumps over it"));
    let first: Value = serde_json::from_str(&events[0]).unwrap();
    assert_eq!(first["choices"][0]["delta"]["content"], "jumps ");
    // Held to the end, it comes with the end.
    let held = [delta(r#"{"content":"brown"}"#, "null"), "[DONE]".to_owned()];
    let events = spliced(rest("The quick brown fox", false), &held);
    assert_eq!((text_of(&events).as_str(), events.len()), ("brown", 2));
    let mut splicer = Splicer::new(rest("brown fox", false));
    assert_eq!(splicer.take("brown"), "");
    let last = splicer.finish().unwrap();
    assert!(last.starts_with(b"data: {"), "{last:?}");
    assert_eq!(splicer.finish(), None);
}

#[test]
fn the_usage_is_that_of_both_or_kept_from_the_client() {
    let usage = r#"{"choices":[],"usage":{"prompt_tokens":140,"completion_tokens":20,"total_tokens":160,"prompt_tokens_details":{"cached_tokens":3}}}"#;
    let events = spliced(rest("So", true), &[usage.to_owned()]);
    let shown: Value = serde_json::from_str(&events[0]).unwrap();
    let expected = json!({
        "prompt_tokens": 240, "completion_tokens": 60, "total_tokens": 300,
        "prompt_tokens_details": { "cached_tokens": 3 },
    });
    assert_eq!(shown["usage"], expected);
    assert!(spliced(rest("So", false), &[usage.to_owned()]).is_empty());
}

#[test]
fn what_is_no_chunk_passes_and_other_members_do_too() {
    let error = r#"{"error":{"message":"no"}}"#.to_owned();
    assert_eq!(
        spliced(rest("So", false), std::slice::from_ref(&error)),
        [error]
    );
    let call = delta(
        r#"{"tool_calls":[{"index":0,"id":"t"}],"content":null}"#,
        "null",
    );
    let events = spliced(
        rest("So be it", false),
        &[delta(r#"{"content":"So"}"#, "null"), call],
    );
    let event: Value = serde_json::from_str(&events[0]).unwrap();
    assert_eq!(events.len(), 1);
    assert_eq!(event["choices"][0]["delta"]["tool_calls"][0]["id"], "t");
    assert_eq!(event["choices"][0]["delta"]["content"], "So");
}
