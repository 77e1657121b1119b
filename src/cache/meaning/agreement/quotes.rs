//! What stands in quotes, or between the marks of a title.
//!
//! Owns which marks open and close. Does not compare (see `agreement`). Never fails: a mark without its
//! counterpart quotes nothing.

/// Marks that open, with those that close. `„` and `“` differ by language: one closes what another opens.
const PAIRS: [(char, &[char]); 13] = [
    ('"', &['"', '”']),
    ('“', &['”', '"', '“']),
    ('„', &['“', '”', '"']),
    ('«', &['»']),
    ('»', &['«']),
    ('‹', &['›']),
    ('「', &['」']),
    ('『', &['』']),
    ('《', &['》']),
    ('〈', &['〉']),
    ('＂', &['＂']),
    ('`', &['`']),
    ('‘', &['’']),
];
/// It is an apostrophe, too: it opens behind a space and closes before one.
const SINGLE: char = '\'';

/// The quoted parts of a text, in lower case and without space at their ends.
pub(super) fn quoted(text: &str) -> Vec<String> {
    let chars: Vec<char> = text.chars().collect();
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(c) = chars.get(at).copied() {
        let rest = chars.get(at + 1..).unwrap_or_default();
        let before = at.checked_sub(1).and_then(|before| chars.get(before));
        match end(c, before, rest) {
            Some(end) => {
                let inner: String = rest.iter().take(end).collect();
                found.push(inner.trim().to_lowercase());
                at += end + 2;
            }
            None => at += 1,
        }
    }
    found.retain(|quote| !quote.is_empty());
    found
}

/// Where the quote ends that a character opens.
fn end(open: char, before: Option<&char>, rest: &[char]) -> Option<usize> {
    let is_letter = |c: Option<&char>| c.is_some_and(|c| c.is_alphanumeric());
    if open == SINGLE {
        if is_letter(before) {
            return None;
        }
        let mut ends = rest.iter().enumerate().filter(|(_, c)| **c == SINGLE);
        let found = ends.find(|(at, _)| !is_letter(rest.get(at + 1)));
        return found.map(|(at, _)| at);
    }
    let (_, close) = PAIRS.iter().find(|(known, _)| *known == open)?;
    rest.iter().position(|c| close.contains(c))
}
