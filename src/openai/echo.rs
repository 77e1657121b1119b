//! Our key in what an upstream sends back.
//!
//! Some servers, and proxies in front of them, put the key of the request into their errors and headers. The
//! key is known, so it is masked wherever it stands, plain or escaped as JSON allows, by as many `*` as it
//! has bytes: lengths stay true. Owns finding it, also across the pieces of a body. Does not decide which
//! parts of an answer are searched (see `gateway::exchange`), nor mask what only looks like a key (see
//! `chatlog`). Never fails.

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue};
use memchr::memchr2;

use super::dialect::Dialect;
use super::upstream_error::UpstreamError;

/// A shorter key is a word, such as `EMPTY` for a server without keys, and is not masked.
const LEAST_BYTES: usize = 8;
const MASK: u8 = b'*';

/// The key of a request to an upstream.
#[derive(Clone, Default)]
pub struct Echo {
    /// The header's value that carried it.
    credential: Option<HeaderValue>,
    /// How many of its bytes come before the key.
    prefix_bytes: usize,
}

/// What was found in some bytes.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    /// The whole key, from this position to that one.
    Whole(usize, usize),
    /// A beginning of the key from this position on, with this many of its bytes.
    Beginning(usize, usize),
}

/// How the next byte of the key compares.
enum Step {
    /// It is there, in so many bytes.
    Is(usize),
    /// It matches as far as the bytes go.
    MayBe,
    No,
}

impl Echo {
    /// The key in the header of a request.
    pub fn sent(headers: &HeaderMap, dialect: &Dialect) -> Self {
        let Some(credential) = headers.get(&dialect.key_header) else {
            return Self::default();
        };
        let prefix = dialect.key_prefix.as_bytes();
        let head = credential.as_bytes().get(..prefix.len());
        let has_prefix = head.is_some_and(|head| head.eq_ignore_ascii_case(prefix));
        let prefix_bytes = if has_prefix { prefix.len() } else { 0 };
        let is_secret = credential.len() >= prefix_bytes + LEAST_BYTES;
        Self {
            credential: is_secret.then(|| credential.clone()),
            prefix_bytes,
        }
    }

    fn key(&self) -> &[u8] {
        let credential = self.credential.as_ref().map(HeaderValue::as_bytes);
        credential
            .and_then(|bytes| bytes.get(self.prefix_bytes..))
            .unwrap_or_default()
    }

    /// The same bytes with the key masked; where they were cut within the key, its beginning too.
    pub fn mask(&self, bytes: Bytes) -> Bytes {
        let mut masking = Masking::new(self.clone());
        let masked = masking.push(bytes);
        let rest = masking.finish();
        match rest.is_empty() {
            true => masked,
            false => Bytes::from([masked, rest].concat()),
        }
    }

    /// Masks the key in the values of an answer's header.
    pub fn mask_headers(&self, headers: &mut HeaderMap) {
        let key_bytes = self.key().len();
        if key_bytes == 0 {
            return;
        }
        for value in headers.values_mut() {
            if value.len() < key_bytes || self.next(value.as_bytes(), 0).is_none() {
                continue;
            }
            let masked = self.mask(Bytes::copy_from_slice(value.as_bytes()));
            if let Ok(masked) = HeaderValue::from_maybe_shared(masked) {
                *value = masked;
            }
        }
    }

    /// Masks the key in an upstream's error.
    pub fn mask_error(&self, error: &mut UpstreamError) {
        let UpstreamError {
            code,
            kind,
            message,
            status: _,
        } = error;
        for text in [code, kind, message].into_iter().flatten() {
            let masked = self.mask(Bytes::from(std::mem::take(text)));
            *text = String::from_utf8_lossy(&masked).into_owned();
        }
    }

    /// The first position from `from` on where the key is, or begins at the end.
    fn next(&self, bytes: &[u8], from: usize) -> Option<Seen> {
        let first = *self.key().first()?;
        let mut at = from;
        loop {
            at += memchr2(first, b'\\', bytes.get(at..)?)?;
            if let Some(seen) = self.compare(bytes, at) {
                return Some(seen);
            }
            at += 1;
        }
    }

    fn compare(&self, bytes: &[u8], start: usize) -> Option<Seen> {
        let mut end = start;
        for (count, &wanted) in self.key().iter().enumerate() {
            match step(bytes.get(end..).unwrap_or_default(), wanted) {
                Step::Is(length) => end += length,
                Step::MayBe => return Some(Seen::Beginning(start, count)),
                Step::No => return None,
            }
        }
        Some(Seen::Whole(start, end))
    }
}

/// Compares the next byte of the key with the bytes: itself, or a JSON escape of it.
fn step(bytes: &[u8], wanted: u8) -> Step {
    let literal = |byte: u8| match byte == wanted {
        true => Step::Is(1),
        false => Step::No,
    };
    match bytes {
        [] | [b'\\'] => Step::MayBe,
        [b'\\', b'u', digits @ ..] => {
            let digits = digits.get(..4).unwrap_or(digits);
            let expected = [
                b'0',
                b'0',
                hexadecimal(wanted >> 4),
                hexadecimal(wanted & 15),
            ];
            let mut pairs = expected.iter().zip(digits);
            let is_right = pairs.all(|(expected, digit)| expected.eq_ignore_ascii_case(digit));
            match (is_right, digits.len()) {
                (true, 4) => Step::Is(6),
                (true, _) => Step::MayBe,
                (false, _) => literal(b'\\'),
            }
        }
        [b'\\', b @ (b'/' | b'"' | b'\\'), ..] if *b == wanted => Step::Is(2),
        [byte, ..] => literal(*byte),
    }
}

fn hexadecimal(digit: u8) -> u8 {
    match digit {
        0..=9 => b'0' + digit,
        _ => b'a' + digit - 10,
    }
}

/// Masks the key in a body that comes in pieces. At most a beginning of the key is held back, six bytes for
/// each of its own.
pub struct Masking {
    echo: Echo,
    /// What may turn out to be the key.
    held: BytesMut,
}

impl Masking {
    /// For one body.
    pub fn new(echo: Echo) -> Self {
        Self {
            echo,
            held: BytesMut::new(),
        }
    }

    /// Takes the next bytes, and gives the bytes that can pass; there may be none.
    pub fn push(&mut self, chunk: Bytes) -> Bytes {
        let mut bytes = match self.held.is_empty() {
            true => chunk,
            false => {
                self.held.extend_from_slice(&chunk);
                self.held.split().freeze()
            }
        };
        let mut masked: Option<BytesMut> = None;
        let (mut at, mut end) = (0, bytes.len());
        while let Some(seen) = self.echo.next(&bytes, at) {
            match seen {
                Seen::Whole(from, to) => {
                    let masked = masked.get_or_insert_with(|| BytesMut::from(&*bytes));
                    if let Some(key) = masked.get_mut(from..to) {
                        key.fill(MASK);
                    }
                    at = to;
                }
                Seen::Beginning(from, _) => {
                    self.held
                        .extend_from_slice(bytes.get(from..).unwrap_or_default());
                    end = from;
                    break;
                }
            }
        }
        if let Some(masked) = masked {
            bytes = masked.freeze();
        }
        bytes.truncate(end);
        bytes
    }

    /// Masks pieces in the place where they stand, from this one on.
    pub fn mask_pieces(&mut self, pieces: &mut Vec<Bytes>, from: usize) {
        for piece in pieces.iter_mut().skip(from) {
            *piece = self.push(std::mem::take(piece));
        }
        pieces.retain(|piece| !piece.is_empty());
    }

    /// The end of the body: gives the bytes that were held back. A beginning of the key that is long enough
    /// to be a secret is masked.
    pub fn finish(&mut self) -> Bytes {
        let mut held = self.held.split();
        if let Some(Seen::Beginning(0, count)) = self.echo.next(&held, 0)
            && count >= LEAST_BYTES
        {
            held.fill(MASK);
        }
        held.freeze()
    }
}

#[cfg(test)]
#[allow(clippy::indexing_slicing)]
mod tests {
    use super::*;

    const KEY: &str = "sk-up/KEY+0123456789";

    fn echo(header: &'static str, value: &str) -> Echo {
        let mut dialect = Dialect::default();
        dialect.set_key_header(http::HeaderName::from_static(header));
        let mut headers = HeaderMap::new();
        headers.insert(header, value.parse().unwrap());
        Echo::sent(&headers, &dialect)
    }

    fn of_key(key: &str) -> Echo {
        echo("authorization", &format!("Bearer {key}"))
    }

    fn masked(text: &str) -> String {
        let masked = of_key(KEY).mask(Bytes::copy_from_slice(text.as_bytes()));
        String::from_utf8(masked.to_vec()).unwrap()
    }

    /// The key with each byte escaped, with these hexadecimal digits.
    fn escaped(upper: bool) -> String {
        let one = |byte| match upper {
            true => format!("\\u{byte:04X}"),
            false => format!("\\u{byte:04x}"),
        };
        KEY.bytes().map(one).collect()
    }

    #[test]
    fn the_key_is_masked_by_as_many_bytes_however_it_is_written() {
        let mixed = KEY.replace('/', "\\/").replace('K', "\\u004b");
        for written in [KEY.to_owned(), escaped(false), escaped(true), mixed] {
            let text = format!("{{\"m\":\"Bearer {written}, \\n{written}\"}}");
            let stars = "*".repeat(written.len());
            assert_eq!(masked(&text), text.replace(&written, &stars), "{written}");
        }
    }

    #[test]
    fn what_is_not_the_key_stays() {
        for text in [
            "",
            "s",
            "sk-up/KEX+0123456789",
            "sk-up/KEY+012345678 9",
            "\\",
            "\\u0073\\u006x",
            "sk-usk-up",
            "C:\\sk\\u0074",
        ] {
            assert_eq!(masked(text), text);
        }
        // What comes behind a beginning of it is not overlooked.
        let text = format!("sk-up/sk-sk-up/K{KEY}{KEY}s");
        let stars = "*".repeat(KEY.len());
        assert_eq!(masked(&text), text.replace(KEY, &stars));
    }

    #[test]
    fn a_text_that_is_cut_within_the_key_loses_what_there_is_of_it() {
        assert_eq!(masked("key sk-up/KE"), "key ********");
        assert_eq!(masked("key sk-up/K"), "key sk-up/K");
        assert_eq!(
            masked(&format!("key {}", &escaped(false)[..50])),
            format!("key {}", "*".repeat(50))
        );
    }

    #[test]
    fn pieces_do_not_matter_and_little_is_held_back() {
        let text = format!("x {KEY} sk-up {} {KEY}s\\u00", escaped(false));
        let expected = masked(&text);
        for size in 1..=text.len() {
            let mut masking = Masking::new(of_key(KEY));
            let mut out = Vec::new();
            for piece in text.as_bytes().chunks(size) {
                out.push(masking.push(Bytes::copy_from_slice(piece)));
                assert!(masking.held.len() < 6 * KEY.len(), "pieces of {size}");
            }
            out.push(masking.finish());
            assert_eq!(
                String::from_utf8(out.concat()).unwrap(),
                expected,
                "pieces of {size}"
            );
        }
    }

    #[test]
    fn random_texts_are_masked_alike_in_any_pieces() {
        let pieces = [
            "sk-", "up/", "KEY", "+0123", "456789", KEY, "\\u0073", "\\u006b", "\\/", "\\", "s",
            " ",
        ];
        let mut random = fastrand::Rng::with_seed(13);
        for _ in 0..5000 {
            let text: String = (0..random.usize(..12))
                .map(|_| pieces[random.usize(..pieces.len())])
                .collect();
            let whole = masked(&text);
            assert_eq!(whole.len(), text.len());
            assert!(!whole.contains(KEY), "{text}");
            let mut masking = Masking::new(of_key(KEY));
            let mut out = Vec::new();
            let mut rest = text.as_bytes();
            while !rest.is_empty() {
                let (piece, after) = rest.split_at(random.usize(1..=rest.len()));
                out.push(masking.push(Bytes::copy_from_slice(piece)));
                rest = after;
            }
            out.push(masking.finish());
            assert_eq!(String::from_utf8(out.concat()).unwrap(), whole, "{text}");
        }
    }

    #[test]
    fn what_holds_no_key_is_not_copied() {
        let bytes = Bytes::from_static(b"a healthy answer, all in all");
        assert_eq!(of_key(KEY).mask(bytes.clone()).as_ptr(), bytes.as_ptr());
        assert_eq!(Echo::default().mask(bytes.clone()).as_ptr(), bytes.as_ptr());
    }

    #[test]
    fn the_key_is_what_the_dialect_puts_into_its_header() {
        let text = || Bytes::from_static(b"Bearer sk-12345 api-key");
        let masked = |echo: &Echo| String::from_utf8(echo.mask(text()).to_vec()).unwrap();
        assert_eq!(
            masked(&echo("authorization", "Bearer sk-12345")),
            "Bearer ******** api-key"
        );
        assert_eq!(
            masked(&echo("api-key", "sk-12345")),
            "Bearer ******** api-key"
        );
        // Too short to be a secret.
        assert_eq!(
            masked(&echo("api-key", "sk-1234")),
            "Bearer sk-12345 api-key"
        );
        assert_eq!(
            masked(&echo("authorization", "Bearer api-key")),
            "Bearer sk-12345 api-key"
        );
    }

    #[test]
    fn headers_and_complaints_are_masked() {
        let mut headers = HeaderMap::new();
        headers.insert("x-debug", format!("Bearer {KEY}!").parse().unwrap());
        headers.append("x-debug", KEY.parse().unwrap());
        headers.insert("x-other", "sk-up".parse().unwrap());
        of_key(KEY).mask_headers(&mut headers);
        let stars = "*".repeat(KEY.len());
        let all: Vec<_> = headers.get_all("x-debug").iter().collect();
        assert_eq!(all, [&format!("Bearer {stars}!"), &stars]);
        assert_eq!(headers["x-other"], "sk-up");

        let text = Some(format!("é {KEY}"));
        let mut error = UpstreamError {
            code: text.clone(),
            kind: text.clone(),
            message: text,
            status: Some(400),
        };
        of_key(KEY).mask_error(&mut error);
        let text = Some(format!("é {stars}"));
        assert_eq!(
            [error.code, error.kind, error.message],
            [text.clone(), text.clone(), text]
        );
    }
}
