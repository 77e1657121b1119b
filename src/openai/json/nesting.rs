//! Where strings and values end, in JSON that may come in pieces.
//!
//! Owns the two rules that every reader of JSON's bytes needs: a quote behind a backslash ends no string, and
//! a bracket within a string opens nothing. Does not check that the bytes are JSON, nor that brackets match.
//! Never fails: any bytes, cut into pieces anywhere, give the same ends.

use std::mem;

use memchr::memchr2;

/// A position in JSON.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::openai) struct Nesting {
    /// How many objects and arrays are open.
    depth: u64,
    is_in_string: bool,
    /// The last byte was a backslash in a string.
    is_escaped: bool,
}

impl Nesting {
    /// Whether it is within a value that is not complete, in an object or array at this depth.
    pub(in crate::openai) fn is_within_value(&self, depth: u64) -> bool {
        self.is_in_string || self.depth > depth
    }

    /// An opening quote has been passed.
    pub(in crate::openai) fn begin_string(&mut self) {
        self.is_in_string = true;
    }

    /// An opening bracket has been passed.
    pub(in crate::openai) fn open(&mut self) {
        self.depth += 1;
    }

    /// A closing bracket has been passed.
    pub(in crate::openai) fn close(&mut self) {
        self.depth = self.depth.saturating_sub(1);
    }

    /// The position of the quote that closes the string; `None` where it goes on behind these bytes.
    pub(in crate::openai) fn end_string(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut at = usize::from(mem::take(&mut self.is_escaped));
        while let Some(found) = bytes.get(at..).and_then(|rest| memchr2(b'"', b'\\', rest)) {
            at += found;
            if bytes.get(at) == Some(&b'"') {
                self.is_in_string = false;
                return Some(at);
            }
            at += 2;
        }
        self.is_escaped = at > bytes.len();
        None
    }

    /// Passes bytes up to the first closing quote or bracket of any kind behind which so many objects and
    /// arrays are open. Gives the number of bytes, that one included; `None` where all bytes are passed before.
    pub(in crate::openai) fn pass_until(
        &mut self,
        bytes: &[u8],
        is_there: impl Fn(u64) -> bool,
    ) -> Option<usize> {
        let mut at = 0;
        loop {
            if self.is_in_string {
                at += self.end_string(bytes.get(at..)?)? + 1;
                if is_there(self.depth) {
                    return Some(at);
                }
            }
            let is_mark = |byte: &u8| matches!(byte, b'"' | b'{' | b'}' | b'[' | b']');
            let rest = bytes.get(at..)?;
            at += rest.iter().position(is_mark)?;
            match bytes.get(at)? {
                b'"' => self.begin_string(),
                b'{' | b'[' => self.open(),
                _ => self.close(),
            }
            at += 1;
            if !self.is_in_string && is_there(self.depth) {
                return Some(at);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where a value ends that begins with the first of these bytes, however they are cut.
    fn end(json: &[u8]) -> Option<usize> {
        let whole = Nesting::default().pass_until(json, |depth| depth == 0);
        for cut in 0..=json.len() {
            let (first, second) = json.split_at(cut);
            let mut nesting = Nesting::default();
            let end = nesting.pass_until(first, |depth| depth == 0);
            let end = end.or_else(|| {
                let end = nesting.pass_until(second, |depth| depth == 0);
                end.map(|end| cut + end)
            });
            assert_eq!(end, whole, "cut at {cut}");
        }
        whole
    }

    #[test]
    fn a_value_ends_with_its_last_bracket_or_quote() {
        for (json, length) in [
            (&br#""a\"]\\" ]"#[..], 8),
            (br#"{"}":["\\",{}],"\"":"]"}, "#, 24),
            (b"[[[]]]]", 6),
        ] {
            assert_eq!(end(json), Some(length), "{}", json.escape_ascii());
        }
        for json in [&br#"{"a":"}""#[..], br#""\""#, b"[", b"", b" 1 "] {
            assert_eq!(end(json), None, "{}", json.escape_ascii());
        }
    }

    #[test]
    fn what_closes_more_than_is_open_leaves_nothing_open() {
        let mut nesting = Nesting::default();
        assert_eq!(nesting.pass_until(b"]]]{", |depth| depth == 1), Some(4));
        assert_eq!(nesting.depth, 1);
    }
}
