//! The usage of a stream.
//!
//! Owns which events of a stream are worth reading, and what is known when several report a usage. Does not
//! handle how events are framed (see `sse`), nor where a stream ends (see `stream_state`). Never fails: an
//! event that cannot be read reports nothing.

use std::sync::LazyLock;

use memchr::memmem::Finder;

use super::Usage;
use super::counts::Counts;
use super::scanner::UsageScanner;

/// The key that every event with a usage has.
static USAGE: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\"usage\""));

/// Counts what one stream has used, from the data of its events.
///
/// The last usage that can be read is that of the stream; nothing is summed. Only Anthropic's is
/// reported in pieces: what an event leaves out stays as it was reported before.
///
/// The caller decides where a stream ends: a usage after `[DONE]` counts if its event is given to this.
#[derive(Debug, Default)]
pub struct StreamUsage {
    reported: Option<Counts>,
    /// Later events report only what has changed.
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
        if !may_report(data.get(at..).unwrap_or_default()) {
            return;
        }
        let mut scanner = UsageScanner::default();
        scanner.push(data);
        let found = scanner.found();
        let Some(newer) = found.counts() else {
            return;
        };
        let begins = found.begins_message();
        self.reported = match self.reported.take() {
            Some(older) if self.is_message && !begins => Some(older.changed_by(newer)),
            _ => Some(newer),
        };
        self.is_message |= begins;
    }

    /// What the events so far have reported.
    pub fn usage(&self) -> Option<Usage> {
        self.reported.clone().map(Counts::settle)
    }
}

/// The position of the first key `usage` in some JSON; without one there is no usage.
pub fn find_key(data: &[u8]) -> Option<usize> {
    USAGE.find(data)
}

/// Whether some JSON may report a usage: a key of that name has a value that is not null.
fn may_report(data: &[u8]) -> bool {
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
            assert_eq!(may_report(data.as_bytes()), expected, "{data}");
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
