//! Copies JSON as it was written, onto one line and with the keys in its strings masked.
//!
//! Owns what looks like a key. Numbers, escapes and the order of fields stay, which a parsed tree would
//! not keep. Does not handle the meaning of fields (see `entry`). Cannot fail: text that is not JSON is
//! copied as far as possible.

use crate::openai::json::string_length;

/// How keys begin, and how long they are at least.
const KEYS: [(&[u8], usize); 15] = [
    (b"sk-", 20),
    (b"sk_live_", 24),
    (b"rk_live_", 24),
    (b"gsk_", 40),
    (b"xai-", 40),
    (b"pplx-", 40),
    (b"nvapi-", 40),
    (b"hf_", 36),
    (b"AIza", 39),
    (b"AKIA", 20),
    (b"ghp_", 40),
    (b"github_pat_", 60),
    (b"glpat-", 26),
    (b"xoxb-", 24),
    (b"xoxp-", 24),
];
/// What a token follows on in a header.
const BEARER: &[u8] = b"bearer";
/// A shorter token is a word.
const LEAST_TOKEN: usize = 16;
/// As much of a key is shown, to tell which it was.
const SHOWN: usize = 4;
/// What stands for the rest.
const HIDDEN: &[u8] = "…".as_bytes();

/// Copies a JSON value to the end of a line, without the spaces and line breaks between its parts;
/// `hides_keys`: with what looks like a key cut. Never adds more than the value is long.
pub fn copy(json: &str, hides_keys: bool, line: &mut Vec<u8>) {
    let mut rest = json.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'"' {
            if !byte.is_ascii_whitespace() {
                line.push(byte);
            }
            continue;
        }
        let (text, after) = rest.split_at(string_length(rest));
        line.push(byte);
        match hides_keys {
            true => hide_keys(text, line),
            false => line.extend_from_slice(text),
        }
        rest = after;
        if let Some((&quote, after)) = rest.split_first() {
            line.push(quote);
            rest = after;
        }
    }
}

/// Copies the text of a string, as it stands in JSON, word by word: a key begins where a word does.
fn hide_keys(text: &[u8], line: &mut Vec<u8>) {
    let mut rest = text;
    let mut follows_bearer = false;
    while !rest.is_empty() {
        let gap = gap_length(rest);
        let (between, after) = rest.split_at(gap);
        line.extend_from_slice(between);
        let token = token_length(after);
        let follows = follows_bearer && !between.is_empty();
        let is_token =
            follows && token >= LEAST_TOKEN && after.iter().take(token).any(u8::is_ascii_digit);
        let word = word_length(after);
        let hidden = match is_token {
            true => token,
            false if is_key(after, word) => word,
            false => 0,
        };
        let length = hidden.max(word);
        let (piece, after) = after.split_at(length);
        follows_bearer = piece.eq_ignore_ascii_case(BEARER);
        match hidden {
            0 => line.extend_from_slice(piece),
            _ => {
                line.extend_from_slice(piece.get(..SHOWN).unwrap_or(piece));
                line.extend_from_slice(HIDDEN);
            }
        }
        rest = after;
    }
}

fn is_key(bytes: &[u8], length: usize) -> bool {
    KEYS.iter()
        .any(|(prefix, least)| length >= *least && bytes.starts_with(prefix))
}

fn is_in_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')
}

fn word_length(bytes: &[u8]) -> usize {
    let end = bytes.iter().position(|&byte| !is_in_word(byte));
    end.unwrap_or(bytes.len())
}

/// As far as goes what RFC 6750 allows; some write a slash as `\/`.
fn token_length(bytes: &[u8]) -> usize {
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        at += match byte {
            b'\\' if bytes.get(at + 1) == Some(&b'/') => 2,
            b'.' | b'~' | b'+' | b'/' | b'=' => 1,
            _ if is_in_word(byte) => 1,
            _ => break,
        };
    }
    at
}

/// How far it is to the next word. The letter of an escape, as in `\n`, is no part of one.
fn gap_length(bytes: &[u8]) -> usize {
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        at += match byte {
            b'\\' if bytes.get(at + 1) == Some(&b'u') => 6,
            b'\\' => 2,
            _ if is_in_word(byte) => break,
            _ => 1,
        };
    }
    at.min(bytes.len())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn copied(json: &str, hides_keys: bool) -> String {
        let mut line = Vec::new();
        copy(json, hides_keys, &mut line);
        String::from_utf8(line).unwrap()
    }

    /// What becomes of text between quotes.
    fn hidden(text: &str) -> String {
        let copied = copied(&Value::from(text).to_string(), true);
        serde_json::from_str(&copied).unwrap()
    }

    #[test]
    fn json_is_copied_as_it_was_written_but_for_the_spaces_between() {
        let json = "{ \"b\" : [ 1.50, 1e2 ],\r\n\t\"a b\\\" \\u00e9\" : \"x  y\\n\" , \"é\":null }";
        for hides_keys in [false, true] {
            assert_eq!(
                copied(json, hides_keys),
                "{\"b\":[1.50,1e2],\"a b\\\" \\u00e9\":\"x  y\\n\",\"é\":null}"
            );
        }
    }

    #[test]
    fn what_looks_like_a_key_is_cut() {
        let long = "A1b2C3d4E5f6G7h8I9j0".repeat(4);
        for (text, expected) in [
            (format!("sk-{long}"), "sk-A…".to_owned()),
            (
                format!("my key:\nsk-proj-{long}."),
                "my key:\nsk-p….".to_owned(),
            ),
            (format!("k=gsk_{long}&x"), "k=gsk_…&x".to_owned()),
            (
                format!("\tAIza{long} hf_{long}"),
                "\tAIza… hf_A…".to_owned(),
            ),
            (format!("é\u{1}AKIA{long}\\"), "é\u{1}AKIA…\\".to_owned()),
            (
                format!("Authorization: Bearer {long}.x/y+z== end"),
                "Authorization: Bearer A1b2… end".to_owned(),
            ),
            (format!("bearer  sk-{long}"), "bearer  sk-A…".to_owned()),
        ] {
            assert_eq!(hidden(&text), expected);
        }
        // The slash is escaped by some.
        assert_eq!(
            copied(r#""Bearer a1b2c3d4\/e5f6g7h8i9""#, true),
            "\"Bearer a1b2…\""
        );
    }

    #[test]
    fn words_stay() {
        for text in [
            "a task-with-hyphens-and-a-very-long-name and risk-assessment-of-something",
            "sk-learn, sk-12345, hf_model_download_path, xai-is-a-company",
            "The bearer of this letter; Bearer authentication-and-authorization",
            "bearer",
            "",
        ] {
            assert_eq!(hidden(text), text);
        }
    }

    #[test]
    fn a_length_below_the_least_is_a_word_and_the_least_is_a_key() {
        for (prefix, least) in KEYS {
            let prefix = std::str::from_utf8(prefix).unwrap();
            let key = format!("{prefix}{}", "x".repeat(least - prefix.len()));
            assert_eq!(hidden(&key), format!("{}…", &key[..SHOWN.min(key.len())]));
            let word = &key[..key.len() - 1];
            assert_eq!(hidden(word), word);
        }
        let token = format!("Bearer 1{}", "x".repeat(LEAST_TOKEN - 1));
        assert_eq!(hidden(&token), "Bearer 1xxx…");
        assert_eq!(hidden(&token[..token.len() - 1]), token[..token.len() - 1]);
    }

    fn text(random: &mut fastrand::Rng) -> String {
        let pieces = [
            "sk-", "Bearer ", "AKIA", "\\", "\"", "\n", "\u{0}", "é", "🦀", " ", "a1-_", "/", "u00",
        ];
        (0..random.usize(..20))
            .map(|_| pieces[random.usize(..pieces.len())])
            .collect()
    }

    fn value(random: &mut fastrand::Rng, depth: usize) -> Value {
        match random.usize(..if depth < 4 { 5 } else { 3 }) {
            0 => json!(random.f64()),
            1 | 2 => Value::from(text(random)),
            3 => (0..random.usize(..4))
                .map(|_| value(random, depth + 1))
                .collect(),
            _ => {
                let count = random.usize(..4);
                let mut member = |_| (text(random), value(random, depth + 1));
                let members: Vec<_> = (0..count).map(&mut member).collect();
                Value::Object(members.into_iter().collect())
            }
        }
    }

    #[test]
    fn any_json_stays_that_json_on_one_line() {
        let mut random = fastrand::Rng::with_seed(11);
        for _ in 0..2000 {
            let value = value(&mut random, 0);
            let pretty = serde_json::to_string_pretty(&value).unwrap();
            assert_eq!(copied(&pretty, false), value.to_string());
            let hidden = copied(&pretty, true);
            assert!(hidden.len() <= pretty.len());
            assert!(!hidden.contains('\n'));
            serde_json::from_str::<Value>(&hidden).unwrap();
        }
    }

    #[test]
    fn no_bytes_make_it_panic_or_grow() {
        let mut random = fastrand::Rng::with_seed(12);
        for _ in 0..5000 {
            let text = format!("\"{}", text(&mut random));
            for hides_keys in [false, true] {
                assert!(copied(&text, hides_keys).len() <= text.len());
            }
        }
    }
}
