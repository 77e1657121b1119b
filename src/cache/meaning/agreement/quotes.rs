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
    // Where a mark is not closed, those of its kind behind it are not, either.
    let mut unclosed = Vec::new();
    let mut at = 0;
    while let Some(c) = chars.get(at).copied() {
        let rest = chars.get(at + 1..).unwrap_or_default();
        let before = at.checked_sub(1).and_then(|before| chars.get(before));
        let end = match unclosed.contains(&c) || !opens(c, before) {
            true => None,
            false => end(c, rest),
        };
        match end {
            Some(end) => {
                let inner: String = rest.iter().take(end).collect();
                found.push(inner.trim().to_lowercase());
                at += end + 2;
            }
            None => {
                if opens(c, before) && !unclosed.contains(&c) {
                    unclosed.push(c);
                }
                at += 1;
            }
        }
    }
    found.retain(|quote| !quote.is_empty());
    found
}

/// Whether a character opens a quote.
fn opens(c: char, before: Option<&char>) -> bool {
    match c {
        SINGLE => !before.is_some_and(|before| before.is_alphanumeric()),
        _ => PAIRS.iter().any(|(open, _)| *open == c),
    }
}

/// Where the quote ends that a character opens.
fn end(open: char, rest: &[char]) -> Option<usize> {
    if open == SINGLE {
        let is_letter = |c: &char| c.is_alphanumeric();
        let mut ends = rest.iter().enumerate().filter(|(_, c)| **c == SINGLE);
        let found = ends.find(|(at, _)| !rest.get(at + 1).is_some_and(is_letter));
        return found.map(|(at, _)| at);
    }
    let (_, close) = PAIRS.iter().find(|(known, _)| *known == open)?;
    rest.iter().position(|c| close.contains(c))
}
