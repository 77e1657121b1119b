//! A file of variables, as systemd reads the `EnvironmentFile` of a unit.
//!
//! Owns its form, which is systemd's and not that of `.env`: nothing expands in a value, `#` within
//! one is a part of it, and a line without `=` is skipped. So a check of the file sees the values
//! that the unit will have. Does not handle the order of precedence of variables (see `expand`). Cannot
//! fail.

/// The names and values of a file, in its order.
pub fn parse(text: &str) -> Vec<(String, String)> {
    let mut variables = Vec::new();
    let mut characters = text.chars().peekable();
    while let Some(first) = characters.next() {
        if first.is_whitespace() {
            continue;
        }
        if matches!(first, '#' | ';') {
            skip_comment(&mut characters);
            continue;
        }
        let mut name = String::from(first);
        let has_value = loop {
            match characters.next() {
                Some('=') => break true,
                Some('\n') | None => break false,
                Some(character) => name.push(character),
            }
        };
        if has_value {
            variables.push((name.trim().to_owned(), value(&mut characters)));
        }
    }
    variables
}

/// A comment goes on in the next line behind a backslash.
fn skip_comment(characters: &mut impl Iterator<Item = char>) {
    let mut before = ' ';
    for character in characters {
        if character == '\n' && before != '\\' {
            return;
        }
        before = character;
    }
}

/// Quotes count at the beginning of a value, and behind the end of another quote.
fn value(characters: &mut impl Iterator<Item = char>) -> String {
    let mut value = String::new();
    // The length that trimming of white space must keep.
    let mut kept = 0;
    let mut may_quote = true;
    while let Some(character) = characters.next() {
        match character {
            '\n' => break,
            '\'' if may_quote => {
                value.extend(characters.by_ref().take_while(|c| *c != '\''));
                kept = value.len();
            }
            '"' if may_quote => {
                quoted(characters, &mut value);
                kept = value.len();
            }
            blank if blank.is_whitespace() => {
                // White space before a value, and between two quotes, is skipped.
                if !may_quote {
                    value.push(blank);
                }
            }
            '\\' => {
                may_quote = false;
                match characters.next() {
                    Some('\n') | None => {}
                    Some(next) => value.push(next),
                }
                kept = value.len();
            }
            plain => {
                may_quote = false;
                value.push(plain);
                kept = value.len();
            }
        }
    }
    value.truncate(kept);
    value
}

/// What stands up to the closing double quote.
fn quoted(characters: &mut impl Iterator<Item = char>, value: &mut String) {
    while let Some(character) = characters.next() {
        match character {
            '"' => return,
            '\\' => match characters.next() {
                Some('\n') | None => {}
                Some(next @ ('"' | '\\' | '`' | '$')) => value.push(next),
                Some(next) => value.extend(['\\', next]),
            },
            plain => value.push(plain),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_means_what_it_means_to_systemd() {
        for (text, expected) in [
            ("A=1\nB=2", &[("A", "1"), ("B", "2")][..]),
            ("# c\n; d\n\n  A=1\n", &[("A", "1")]),
            ("# a comment \\\nthat goes on\nA=1\n", &[("A", "1")]),
            ("A=$B ${C}#d\n", &[("A", "$B ${C}#d")]),
            ("A = a b \t\r\n", &[("A", "a b")]),
            ("A=\nB=x\n", &[("A", ""), ("B", "x")]),
            ("no value\nA=1\n", &[("A", "1")]),
            ("A=a=b\n", &[("A", "a=b")]),
            ("A=' a $b \\ '\n", &[("A", " a $b \\ ")]),
            ("A=\"a \\\" \\$ \\n\"\n", &[("A", "a \" $ \\n")]),
            ("A=\"a\"'b'\n", &[("A", "ab")]),
            ("A=a\"b\"\n", &[("A", "a\"b\"")]),
            ("A=a\\\nb\\c\n", &[("A", "abc")]),
            ("A='never closed\nB=1\n", &[("A", "never closed\nB=1\n")]),
            ("=1\n", &[]),
        ] {
            let found = parse(text);
            let found: Vec<_> = found.iter().map(|(k, v)| (&**k, &**v)).collect();
            assert_eq!(found, expected, "{text:?}");
        }
    }
}
