//! No event does any harm, and a reader that skips what it can skip ends in the same state.
#![no_main]

use std::borrow::Cow;

use libfuzzer_sys::fuzz_target;
use tollgate::openai::stream_state::{Meaning, StreamState, Stream};
use tollgate::openai::sse::Event;

/// What events are called; most have no name.
const NAMES: [&str; 8] = [
    "",
    "",
    "",
    "",
    "response.output_text.delta",
    "response.completed",
    "error",
    "x",
];

/// What a choice has in it, and what stands behind all of them.
const MEMBERS: [&str; 16] = [
    r#""index":0"#,
    r#""index" : 0"#,
    r#""index":1"#,
    r#""index" : 1"#,
    r#""index":null"#,
    r#""delta":{}"#,
    r#""delta":{"content":"a"}"#,
    r#""delta":{"content":"\"index\":1"}"#,
    r#""delta":{"audio":{"data":"aGk="}}"#,
    r#""delta":{"audio":{"expires_at":7}}"#,
    r#""delta":{"tool_calls":[{"index":1,"function":{"arguments":"{"}}]}"#,
    r#""finish_reason":null"#,
    r#""finish_reason":"stop""#,
    r#""finish_reason" : "stop""#,
    r#""finish_reason":"""#,
    r#""text":"a""#,
];
const BEHIND: [&str; 8] = [
    "",
    "",
    "",
    r#","usage":{}"#,
    r#","error":null"#,
    r#","error":{"message":"m"}"#,
    r#","object":"error""#,
    r#","delta":"a""#,
];

fuzz_target!(|input: (u8, Vec<(u8, &[u8])>)| {
    let (stream, events) = input;
    let stream = match stream % 4 {
        0 => Stream::Responses,
        1 => Stream::Other,
        2 => Stream::Completions,
        _ => Stream::Chat,
    };
    let (mut all, mut some) = (StreamState::new(stream), StreamState::new(stream));
    for (head, body) in events {
        let data = data(head, body);
        let name = NAMES[usize::from(head) % NAMES.len()];
        let event = Event {
            name: Some(name.as_bytes()).filter(|name| !name.is_empty()),
            data: Ok(Cow::Borrowed(&data)),
            data_at: None,
            start: 0,
            end: 0,
        };
        let meaning = all.see(&event);
        if !some.can_skip(&event) || !is_as_servers_write(&data) {
            assert_eq!(some.see(&event), meaning);
        } else {
            assert!(!matches!(meaning, Meaning::Done | Meaning::Error(_)));
        }
        let known = |stream_state: &StreamState| {
            (
                stream_state.is_finished(),
                stream_state.is_done(),
                stream_state.ending(),
            )
        };
        assert_eq!(known(&some), known(&all));
    }
});

/// The data of an event: any bytes, or an object whose choices have these members.
fn data(head: u8, body: &[u8]) -> Vec<u8> {
    if head >= 128 {
        return body.to_vec();
    }
    let member = |byte: &u8| MEMBERS[usize::from(*byte) % MEMBERS.len()];
    let choice = |members: &[u8]| members.iter().map(member).collect::<Vec<_>>().join(",");
    let choices: Vec<_> = body.split(|byte| *byte == 255).map(choice).collect();
    let behind = BEHIND[usize::from(head) / NAMES.len() % BEHIND.len()];
    format!(r#"{{"choices":[{{{}}}]{behind}}}"#, choices.join("},{")).into_bytes()
}

/// Whether no key may be written with escapes, no type tell of an event what its name does not, and
/// no list be longer than any answer's: what need not be seen is found without parsing, and on that
/// account.
fn is_as_servers_write(data: &[u8]) -> bool {
    let has = |text: &str| data.windows(text.len()).any(|part| part == text.as_bytes());
    let objects = data.iter().filter(|byte| **byte == b'{').count();
    !has("\\u") && !has("\"type\"") && objects <= 128
}
