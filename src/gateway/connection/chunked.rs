//! The framing of a chunked request body, followed as it comes.
//!
//! Pingora reads chunks leniently: an empty chunk size is the last chunk to it, and what stands in
//! trailers it does not look at. Another server on the way may read such a body differently, so that
//! one request becomes two. Here a body is followed by the grammar of RFC 9112 §7.1, and one that
//! breaks it ends its connection. Does not touch any byte. Constant memory.

/// How many digits a chunk's size may have.
const MAX_SIZE_DIGITS: usize = 16;
/// How long the extensions of one chunk may be.
const MAX_EXTENSION_BYTES: usize = 256;
/// How long all trailers may be.
const MAX_TRAILER_BYTES: usize = 8 << 10;

/// Where in a chunked body the next byte stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Digits of a size; how many have come.
    Size(usize),
    /// Behind a size, before its extensions: blanks.
    Blank,
    /// In extensions; how many bytes have come.
    Extension(usize),
    /// The LF behind a size.
    SizeEnd,
    /// Bytes of a chunk.
    Data,
    /// The CR behind a chunk.
    DataCr,
    /// The LF behind a chunk.
    DataLf,
    /// The first byte of a trailer, or the CR of the end.
    Line,
    /// In the name of a trailer.
    Name,
    /// In the value of a trailer.
    Value,
    /// The LF behind a trailer.
    ValueEnd,
    /// The LF of the end.
    End,
    /// Behind the end.
    Done,
}

/// A chunked body, as far as it has come.
#[derive(Debug)]
pub struct Chunked {
    state: State,
    /// The size of the current chunk, or what is left of it.
    left: u64,
    trailer_bytes: usize,
}

impl Default for Chunked {
    fn default() -> Self {
        Self {
            state: State::Size(0),
            left: 0,
            trailer_bytes: 0,
        }
    }
}

impl Chunked {
    /// Follows more bytes. `false` when the body is malformed; what stands behind its end is not
    /// looked at.
    #[must_use]
    pub fn follow(&mut self, mut bytes: &[u8]) -> bool {
        while let Some((byte, rest)) = bytes.split_first() {
            if self.state == State::Done {
                return true;
            }
            if self.state == State::Data {
                let left = usize::try_from(self.left).unwrap_or(usize::MAX);
                let taken = left.min(bytes.len());
                self.left -= taken as u64;
                bytes = bytes.get(taken..).unwrap_or_default();
                if self.left == 0 {
                    self.state = State::DataCr;
                }
                continue;
            }
            match self.next(*byte) {
                Some(state) => self.state = state,
                None => return false,
            }
            bytes = rest;
        }
        true
    }

    /// The state behind a byte of the framing; `None` where it may not stand.
    fn next(&mut self, byte: u8) -> Option<State> {
        if matches!(self.state, State::Name | State::Value | State::Line) {
            self.trailer_bytes += 1;
            if self.trailer_bytes > MAX_TRAILER_BYTES {
                return None;
            }
        }
        match (self.state, byte) {
            (State::Size(digits), _) if byte.is_ascii_hexdigit() && digits < MAX_SIZE_DIGITS => {
                let digit = char::from(byte).to_digit(16)?;
                self.left = self.left.checked_mul(16)?.checked_add(u64::from(digit))?;
                Some(State::Size(digits + 1))
            }
            // A size has at least one digit.
            (State::Size(0), _) => None,
            (State::Size(_) | State::Blank, b' ' | b'\t') => Some(State::Blank),
            (State::Size(_) | State::Blank, b';') => Some(State::Extension(0)),
            (State::Size(_) | State::Blank | State::Extension(_), b'\r') => Some(State::SizeEnd),
            (State::Extension(length), _) if is_text(byte) && length < MAX_EXTENSION_BYTES => {
                Some(State::Extension(length + 1))
            }
            (State::SizeEnd, b'\n') if self.left == 0 => Some(State::Line),
            (State::SizeEnd, b'\n') => Some(State::Data),
            (State::DataCr, b'\r') => Some(State::DataLf),
            (State::DataLf, b'\n') => Some(State::Size(0)),
            (State::Line, b'\r') => Some(State::End),
            (State::Line | State::Name, _) if is_token(byte) => Some(State::Name),
            (State::Name, b':') => Some(State::Value),
            (State::Value, b'\r') => Some(State::ValueEnd),
            (State::Value, _) if is_text(byte) => Some(State::Value),
            (State::ValueEnd, b'\n') => Some(State::Line),
            (State::End, b'\n') => Some(State::Done),
            _ => None,
        }
    }
}

/// Whether a byte may stand in a value.
fn is_text(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7f)
}

/// Whether a byte may stand in a name.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether a body is well-formed as far as it goes, and at its end, however it is cut.
    fn follow(body: &str) -> (bool, bool) {
        let mut whole = Chunked::default();
        let is_well = whole.follow(body.as_bytes());
        let mut cut = Chunked::default();
        let each = body.as_bytes().iter().all(|byte| cut.follow(&[*byte]));
        assert_eq!(each, is_well, "{body:?}");
        let is_done = whole.state == State::Done;
        assert_eq!(is_well && cut.state == State::Done, is_well && is_done);
        (is_well, is_done)
    }

    #[test]
    fn well_formed_bodies_are_followed_to_their_end() {
        for body in [
            "0\r\n\r\n",
            "5\r\nhello\r\n0\r\n\r\n",
            "1\r\na\r\nA\r\n0123456789\r\n00\r\n\r\n",
            "5;name=value\r\nhello\r\n0;x=\"y\"\r\n\r\n",
            "5 ; a\r\nhello\r\n0\r\nx-sum: 1\r\ny:\r\n\r\n",
            "0\r\n\r\nGET / HTTP/1.1\r\n",
        ] {
            assert_eq!(follow(body), (true, true), "{body:?}");
        }
        assert_eq!(follow("5\r\nhel"), (true, false));
    }

    #[test]
    fn what_another_server_may_read_differently_is_malformed() {
        for body in [
            "\r\n\r\n",
            "\r\nhello",
            ";x\r\n\r\n",
            " 5\r\nhello\r\n",
            "0x5\r\nhello\r\n",
            "+5\r\nhello\r\n",
            "-1\r\n",
            "5\nhello\r\n",
            "5\rhello",
            "5\r\nhello0\r\n\r\n",
            "5\r\nhello\n0\r\n\r\n",
            "5;a\nb\r\nhello\r\n",
            "5;a\0\r\nhello\r\n",
            "5 5\r\nhello\r\n",
            "11111111111111111\r\n",
            "0\r\njunk\r\n\r\n",
            "0\r\n x: y\r\n\r\n",
            "0\r\nx: y\n\r\n",
            "0\r\n: y\r\n\r\n",
            "0\r\nx: y\0\r\n\r\n",
            "0\r\n\rX",
        ] {
            assert!(!follow(body).0, "{body:?}");
        }
    }

    #[test]
    fn extensions_and_trailers_have_a_bound() {
        let extension = |length: usize| format!("5;{}\r\n", "e".repeat(length));
        assert!(follow(&extension(MAX_EXTENSION_BYTES)).0);
        assert!(!follow(&extension(MAX_EXTENSION_BYTES + 1)).0);
        let trailer = |length: usize| format!("0\r\nx:{}\r\n\r\n", "t".repeat(length));
        assert!(follow(&trailer(MAX_TRAILER_BYTES - 10)).0);
        assert!(!follow(&trailer(MAX_TRAILER_BYTES)).0);
    }
}
