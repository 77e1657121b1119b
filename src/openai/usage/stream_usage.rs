//! The usage of a stream.
//!
//! Owns which of a stream's events are worth reading, and what remains known when several tell a
//! usage. Refuses to know how events are framed, and where a stream ends. Never fails: an event
//! that cannot be read tells nothing.

use std::sync::LazyLock;

use memchr::memmem::Finder;

use super::Usage;
use super::counts::Counts;
use super::members::Members;

/// The key that every event with a usage has.
static USAGE: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\"usage\""));

/// Counts what one stream has used, from the data of its events.
///
/// The last usage that can be read is that of the stream; nothing is summed. Only Anthropic's is
/// told piece by piece: what an event leaves out stays as it was told before.
///
/// Where a stream ends is its reader's to know: a server that tells its usage behind `[DONE]` tells
/// it all the same, to those who still give its events to this.
#[derive(Debug, Default)]
pub struct StreamUsage {
    told: Option<Counts>,
    /// What comes tells only what has changed.
    is_message: bool,
}

impl StreamUsage {
    /// Takes the data of the next event. One without a usage is not parsed.
    pub fn see(&mut self, data: &[u8]) {
        if let Some(at) = find_key(data) {
            self.see_at(data, at);
        }
    }

    /// The same of an event that mentions a usage, first at this place.
    pub fn see_at(&mut self, data: &[u8], at: usize) {
        if !may_tell(data.get(at..).unwrap_or_default()) {
            return;
        }
        let mut members = Members::default();
        members.push(data);
        let found = members.found();
        let Some(newer) = found.counts() else {
            return;
        };
        let begins = found.begins_message();
        self.told = match self.told.take() {
            Some(told) if self.is_message && !begins => Some(told.changed_by(newer)),
            _ => Some(newer),
        };
        self.is_message |= begins;
    }

    /// What the events so far have told.
    pub fn usage(&self) -> Option<Usage> {
        self.told.clone().map(Counts::settle)
    }
}

/// Where a usage is mentioned first in some JSON: what has no such key tells none.
pub fn find_key(data: &[u8]) -> Option<usize> {
    USAGE.find(data)
}

/// Whether something may tell a usage: a key of that name has a value that is not null.
fn may_tell(data: &[u8]) -> bool {
    USAGE.find_iter(data).any(|at| {
        let behind = data.get(at + USAGE.needle().len()..).unwrap_or_default();
        let value = behind.trim_ascii_start().strip_prefix(b":");
        value.is_some_and(|value| !value.trim_ascii_start().starts_with(b"null"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_event_with_a_usage_that_is_not_null_is_worth_reading() {
        for (data, expected) in [
            (r#"{"usage":{"prompt_tokens":1}}"#, true),
            ("{\"usage\" \n:\t {}}", true),
            (r#"{"usage":null,"x_groq":{"usage":{}}}"#, true),
            (r#"{"usage":1"#, true),
            (r#"{"usage":"#, true),
            (r#"{"usage":null}"#, false),
            ("{\"usage\" \n:\t null}", false),
            (r#"{"usage"}"#, false),
            (r#"{"usage"#, false),
            (r#"{"content":"usage"}"#, false),
            (r#"{"content":"\"usage\":1"}"#, false),
            (r#"{"usages":1,"usage_breakdown":{}}"#, false),
            ("[DONE]", false),
            ("", false),
        ] {
            assert_eq!(may_tell(data.as_bytes()), expected, "{data}");
        }
    }

    #[test]
    fn bytes_that_are_no_text_tell_nothing_and_undo_nothing() {
        let mut stream_usage = StreamUsage::default();
        stream_usage.see(b"{\"usage\":{\"prompt_tokens\":1,\"x\":\"\xff\"}}");
        assert_eq!(stream_usage.usage(), None);
        stream_usage.see(b"{\"x\":\"\xff\",\"usage\":{\"prompt_tokens\":1}}");
        let told = stream_usage.usage();
        assert_eq!(told.as_ref().map(|usage| usage.input), Some(1));
        stream_usage.see(b"\"usage\":{\"prompt_tokens\":2}}");
        stream_usage.see(b"{\"usage\":{\"prompt_tokens\":2");
        assert_eq!(stream_usage.usage(), told);
    }
}
