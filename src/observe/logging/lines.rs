//! How a line looks.
//!
//! Owns both formats, the fields of lines that have some, and the priorities for the journal. Whatever a text
//! holds, it forges no field and no line. Does not handle which lines there are (see `logging`) or how much of a
//! client's text is shown (see `masking`). Cannot fail.

use std::borrow::Cow;
use std::fmt::{self, Display, Write};

use itoa::{Buffer, Integer};
use log::Level;

use crate::clock;
use crate::observe::masking;

/// The most bytes of a text that is no field; the rest is cut.
const MAX_TEXT_BYTES: usize = 64 << 10;

/// How lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Style {
    /// Whether a line is an object of JSON.
    pub is_json: bool,
    /// Whether a line begins with the priority that systemd's journal reads. The journal has its own time, so a
    /// line of text then has none.
    pub has_priority: bool,
}

/// Appends a line of text. `text` may have line breaks.
pub fn write_text(
    line: &mut String,
    style: Style,
    (level, target): (Level, &str),
    text: &dyn Display,
) {
    begin(line, style, level, target);
    let mut whole = String::new();
    // Writing to a string cannot fail, and what cannot be displayed is missing.
    let _ = write!(whole, "{text}");
    let text = cut(&whole);
    if style.is_json {
        line.push_str(",\"message\":");
        push_json(line, &text);
        line.push_str("}\n");
        return;
    }
    let text = without_controls(&text);
    match style.has_priority {
        // The journal takes each line for one of its own.
        true => {
            let next = format!("\n{}", priority(level));
            line.push_str(&text.trim_end_matches('\n').replace('\n', &next));
        }
        false => line.push_str(&text),
    }
    line.push('\n');
}

/// Appends a line of fields.
pub fn write_fields(
    line: &mut String,
    style: Style,
    (level, target): (Level, &str),
    fill: impl FnOnce(&mut Fields<'_>),
) {
    begin(line, style, level, target);
    fill(&mut Fields {
        line,
        is_json: style.is_json,
        is_first: true,
    });
    line.push_str(if style.is_json { "}\n" } else { "\n" });
}

/// What comes before the text or the fields.
fn begin(line: &mut String, style: Style, level: Level, target: &str) {
    if style.has_priority {
        line.push_str(priority(level));
    }
    if style.is_json {
        line.push_str("{\"time\":\"");
        push_time(line);
        line.push_str("\",\"level\":\"");
        line.push_str(level.as_str());
        line.push_str("\",\"target\":");
        push_json(line, target);
        return;
    }
    if !style.has_priority {
        push_time(line);
        line.push(' ');
    }
    line.push_str(match level {
        Level::Error => "ERROR ",
        Level::Warn => "WARN  ",
        Level::Info => "INFO  ",
        Level::Debug => "DEBUG ",
        Level::Trace => "TRACE ",
    });
    line.push_str(target);
    line.push(' ');
}

fn push_time(line: &mut String) {
    // Writing to a string cannot fail.
    let _ = write!(line, "{}", clock::now_rfc3339());
}

/// The priority of syslog, as `sd-daemon` has it.
fn priority(level: Level) -> &'static str {
    match level {
        Level::Error => "<3>",
        Level::Warn => "<4>",
        Level::Info => "<6>",
        Level::Debug | Level::Trace => "<7>",
    }
}

/// Fields as a line of text has them.
#[cfg(test)]
pub fn text_of(fill: impl FnOnce(&mut Fields<'_>)) -> String {
    let mut line = String::new();
    fill(&mut Fields {
        line: &mut line,
        is_json: false,
        is_first: true,
    });
    line
}

/// The fields of a line: `name=value` with `-` where there is nothing, or members of JSON with `null` there.
pub struct Fields<'l> {
    line: &'l mut String,
    is_json: bool,
    is_first: bool,
}

impl Fields<'_> {
    /// Text, which may come from a client.
    pub fn text(&mut self, name: &str, text: Option<&str>) {
        self.name(name);
        match text.filter(|text| !text.is_empty()) {
            Some(text) if self.is_json => push_json(self.line, &masking::cut(text)),
            Some(text) => masking::push_field(self.line, text),
            None => self.nothing(),
        }
    }

    /// What is displayed with letters, digits and points alone, such as an address.
    pub fn plain(&mut self, name: &str, value: Option<impl Display>) {
        self.name(name);
        // Writing to a string cannot fail.
        let _: fmt::Result = match value {
            Some(value) if self.is_json => write!(self.line, "\"{value}\""),
            Some(value) => write!(self.line, "{value}"),
            None => {
                self.nothing();
                Ok(())
            }
        };
    }

    /// A whole number.
    pub fn number(&mut self, name: &str, number: Option<impl Integer>) {
        self.name(name);
        match number {
            Some(number) => self.line.push_str(Buffer::new().format(number)),
            None => self.nothing(),
        }
    }

    /// A number with all of its digits behind the point: thousandths of something, with a scale of 1,000.
    /// A scale is a power of ten.
    pub fn fraction(&mut self, name: &str, parts: Option<u64>, scale: u64) {
        self.name(name);
        let Some(parts) = parts else {
            return self.nothing();
        };
        self.line.push_str(Buffer::new().format(parts / scale));
        self.line.push('.');
        // The digit before them keeps their zeros.
        let mut digits = Buffer::new();
        let digits = digits.format(scale + parts % scale);
        self.line.push_str(digits.get(1..).unwrap_or_default());
    }

    fn name(&mut self, name: &str) {
        if self.is_json {
            self.line.push_str(",\"");
            self.line.push_str(name);
            self.line.push_str("\":");
            return;
        }
        if !self.is_first {
            self.line.push(' ');
        }
        self.is_first = false;
        self.line.push_str(name);
        self.line.push('=');
    }

    fn nothing(&mut self) {
        self.line.push_str(if self.is_json { "null" } else { "-" });
    }
}

/// Appends text as JSON has it.
fn push_json(line: &mut String, text: &str) {
    let is_plain = |byte: u8| (b' '..0x7f).contains(&byte) && byte != b'"' && byte != b'\\';
    if masking::all_of(text, is_plain) {
        line.push('"');
        line.push_str(text);
        line.push('"');
        return;
    }
    // These stand in JSON as they are: a terminal takes the first for orders, some readers the others for the end
    // of a line.
    let is_unsafe = |c: char| matches!(c, '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{2029}');
    let text = text.replace(is_unsafe, "?");
    // Text is serialized to a string without a failure.
    line.push_str(&serde_json::to_string(&text).unwrap_or_else(|_| "null".to_owned()));
}

fn cut(text: &str) -> Cow<'_, str> {
    let end = text.floor_char_boundary(MAX_TEXT_BYTES);
    match text.get(..end) {
        Some(head) if end < text.len() => Cow::Owned(format!("{head}…")),
        _ => Cow::Borrowed(text),
    }
}

/// Without what a terminal takes for orders, which can come with what an upstream says.
fn without_controls(text: &str) -> Cow<'_, str> {
    let is_order = |c: char| c.is_control() && c != '\n';
    match text.contains(is_order) {
        true => Cow::Owned(text.replace(is_order, "?")),
        false => Cow::Borrowed(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What could end a string, a line or a field, and orders to terminals.
    const HOSTILE: &str = "a\"b\\c\nd\r\u{1b}[31m\u{9b}\u{2028}\0=é";

    fn style(is_json: bool, has_priority: bool) -> Style {
        Style {
            is_json,
            has_priority,
        }
    }

    fn text(style: Style, level: Level, text: &str) -> String {
        let mut line = String::new();
        write_text(&mut line, style, (level, "tollgate::x"), &text);
        line
    }

    fn fields(style: Style) -> String {
        let mut line = String::new();
        write_fields(&mut line, style, (Level::Info, "access"), |fields| {
            fields.text("model", Some(HOSTILE));
            fields.text("none", None);
            fields.text("empty", Some(""));
            fields.plain("client", Some("203.0.113.0"));
            fields.number("status", Some(200_u16));
            fields.number("tokens", None::<u64>);
            fields.fraction("ms", Some(12_008), 1000);
            fields.fraction("cost", Some(12_500), 1_000_000_000);
            fields.fraction("own_ms", None, 1000);
        });
        line
    }

    #[test]
    fn text_has_time_level_and_target() {
        let line = text(style(false, false), Level::Warn, "it fails");
        assert_eq!(line.find('Z'), Some("2026-11-21T07:12:00.123".len()));
        assert!(line.ends_with("Z WARN  tollgate::x it fails\n"), "{line}");
    }

    #[test]
    fn the_journal_gets_priorities_and_no_time() {
        let lines = [
            Level::Error,
            Level::Warn,
            Level::Info,
            Level::Debug,
            Level::Trace,
        ]
        .map(|level| text(style(false, true), level, "x"));
        assert_eq!(
            lines.concat(),
            "<3>ERROR tollgate::x x\n<4>WARN  tollgate::x x\n<6>INFO  tollgate::x x\n\
             <7>DEBUG tollgate::x x\n<7>TRACE tollgate::x x\n"
        );
        // The journal cuts a text at its line breaks.
        let line = text(style(false, true), Level::Error, "one\ntwo\n");
        assert_eq!(line, "<3>ERROR tollgate::x one\n<3>two\n");
        let line = text(style(true, true), Level::Error, "x");
        assert!(line.starts_with("<3>{\"time\":\"2"), "{line}");
    }

    #[test]
    fn fields_of_text_have_a_dash_for_nothing() {
        let line = fields(style(false, true));
        assert_eq!(
            line,
            "<6>INFO  access model=a?b?c?d??[31m????é none=- empty=- client=203.0.113.0 status=200 tokens=- \
             ms=12.008 cost=0.000012500 own_ms=-\n"
        );
    }

    #[test]
    fn a_line_of_json_has_typed_members_whatever_the_text_holds() {
        let line = fields(style(true, false));
        assert_eq!(line.matches('\n').count(), 1);
        assert!(!line.contains(['\u{1b}', '\u{9b}', '\r']));
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(value["level"], "INFO");
        assert_eq!(value["target"], "access");
        assert_eq!(value["model"], HOSTILE.replace(['\u{9b}', '\u{2028}'], "?"));
        assert_eq!(value["status"], 200);
        assert_eq!(value["ms"], 12.008);
        assert_eq!(value["cost"], 0.000_012_5);
        for name in ["none", "empty", "tokens", "own_ms"] {
            assert!(value[name].is_null(), "{name}");
        }
        let line = text(style(true, false), Level::Error, HOSTILE);
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(
            value["message"],
            HOSTILE.replace(['\u{9b}', '\u{2028}'], "?")
        );
        assert_eq!(line.matches('\n').count(), 1);
    }

    #[test]
    fn a_terminal_gets_no_orders() {
        assert_eq!(
            without_controls("a\x1b[31mb\rc\u{9b}d\ne"),
            "a?[31mb?c?d\ne"
        );
        assert_eq!(without_controls("é ü"), "é ü");
    }

    #[test]
    fn a_text_above_the_bound_is_cut() {
        let line = text(style(false, true), Level::Info, &"é".repeat(MAX_TEXT_BYTES));
        assert!(line.len() < MAX_TEXT_BYTES + 40);
        assert!(line.ends_with("é…\n"));
        let line = text(style(false, true), Level::Info, &"x".repeat(MAX_TEXT_BYTES));
        assert!(line.ends_with("x\n"));
    }
}
