//! What is wrong with a text that is not YAML.
//!
//! Owns finding the usual mistakes from the parser's message and from the line, and what to change about
//! each. Does not handle a document that is YAML and has other keys (see `document`). Cannot fail: an
//! unknown mistake keeps the parser's message.

/// What is wrong, where, and what to do about it.
#[derive(Debug, PartialEq, Eq)]
pub struct Slip<'e> {
    /// The line to be changed, counted from 1.
    pub line: usize,
    /// What is wrong.
    pub message: &'e str,
    /// What to change.
    pub hint: &'static str,
}

/// What to change where the parser's message has the first of these; the first row that fits counts.
const HINTS: [(&str, &str); 11] = [
    (
        "anchor",
        "quote a value that begins with * or &, as in \"*\"",
    ),
    (
        "expected ',' or",
        "close the bracket; within brackets, quote a value that has one of its own, as in \
         [\"${NAME}\"]",
    ),
    ("illegal placement of ':'", "close the bracket that is open"),
    (
        "mapping values are not allowed",
        "write a space after each colon, here and on the line above; indent the keys of one mapping \
         alike; quote a value that has `: ` in it",
    ),
    (
        "did not find expected key",
        "indent the keys of one mapping alike; quote a value that begins with [ or {",
    ),
    (
        "did not find expected '-'",
        "indent the entries of one list alike, and what is not of it otherwise",
    ),
    (
        "escape",
        "write \\\\ for \\ between double quotes, or use single quotes",
    ),
    ("quoted scalar", "close the quote that is opened here"),
    (
        "unexpected character",
        "quote a value that begins with @, ` or %",
    ),
    (
        "duplicated key",
        "write each key once: put the values of both together, or remove one",
    ),
    ("bracket", "quote a value that begins with ] or }"),
];

const TAB: &str = "a tab in the indentation";
const USE_SPACES: &str = "use spaces";

/// Explains what the parser reports of a line, counted from 1.
pub fn explain<'e>(text: &str, line: usize, said: &'e str) -> Slip<'e> {
    let is_about_tabs = said.contains("tab");
    let from = text.lines().enumerate().skip(line.saturating_sub(1));
    // The parser stands where the value before the tab begins: the tab is on that line or below.
    let reach = if is_about_tabs { usize::MAX } else { 1 };
    let mut tabs = from
        .take(reach)
        .filter(|(_, text)| is_indented_by_tab(text));
    if let Some((above, _)) = tabs.next() {
        return Slip {
            line: above + 1,
            message: TAB,
            hint: USE_SPACES,
        };
    }
    let hint = HINTS.iter().find(|(words, _)| said.contains(words));
    Slip {
        line,
        message: said,
        hint: match hint {
            Some((_, hint)) => hint,
            None if is_about_tabs => USE_SPACES,
            None => "compare it with conf/tollgate.yaml",
        },
    }
}

fn is_indented_by_tab(line: &str) -> bool {
    let rest = line.trim_start_matches([' ', '\t']);
    !rest.is_empty() && line.trim_start_matches(' ').starts_with('\t')
}
