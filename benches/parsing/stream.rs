//! A chat's stream as OpenAI sends it, of events of [`EVENT_BYTES`] each.
//!
//! Owns its text. Does not handle how it is read (see the files beside this one).

/// X/// noise of its own, so that its length does not tell what it says.
pub const EVENT_BYTES: usize = 200;

/// The words that take turns.
const WORDS: [&str; 8] = [
    " the", " quick", ",", " brown", "\\n", " fox", " jumps", " é",
];

/// The data of the event that opens a chat.
pub const FIRST: &str = r#"{"id":"chatcmpl-Bq3","object":"chat.completion.chunk","created":1721075653,"model":"gpt-4o","choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}],"usage":null}"#;

/// The data of an event in the middle of a chat.
pub fn data(nth: usize) -> String {
    let word = WORDS.iter().cycle().nth(nth % WORDS.len()).unwrap_or(&"");
    let event = |noise: &str| {
        format!(
            r#"{{"id":"chatcmpl-Bq3","object":"chat.completion.chunk","created":1721075653,"model":"gpt-4o","choices":[{{"index":0,"delta":{{"content":"{word}"}},"finish_reason":null}}],"obfuscation":"{noise}"}}"#
        )
    };
    let left = EVENT_BYTES - "data: \n\n".len() - event("").len();
    event(&"x".repeat(left))
}

/// The middle of a chat: so many events, as bytes.
pub fn events(count: usize) -> Vec<u8> {
    let text: String = (0..count)
        .map(|nth| format!("data: {}\n\n", data(nth)))
        .collect();
    text.into_bytes()
}
