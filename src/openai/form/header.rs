//! The headers of a form: the request's `Content-Type` and those of each part.
//!
//! Owns the grammar of header lines, values and parameters, and which part we act on. Does not cut them out
//! of the body (see `form`). Fails where parsers are known to differ: on folded lines, on names and
//! boundaries that are encoded or given twice, on fields that are files.

use memchr::memchr;

use super::super::references;
use super::error::{FormError, malformed};

/// The longest boundary that RFC 2046 allows.
const MAX_BOUNDARY_BYTES: usize = 70;

/// A part that we act on.
#[derive(Clone, Copy)]
pub(super) enum Field {
    Model,
    Stream,
    /// Decides only the form of an answer: a form is not refused because of it.
    ResponseFormat,
}

impl Field {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Model => "model",
            Self::Stream => "stream",
            Self::ResponseFormat => "response_format",
        }
    }

    /// Whether a form is refused if this field can be read in two ways.
    pub(super) fn is_decisive(self) -> bool {
        !matches!(self, Self::ResponseFormat)
    }

    fn named(name: &[u8]) -> Result<Option<Self>, FormError> {
        for field in [Self::Model, Self::Stream] {
            let ours = field.name();
            if name == ours.as_bytes() {
                return Ok(Some(field));
            }
            if name.eq_ignore_ascii_case(ours.as_bytes()) {
                return Err(FormError::Shadowed(ours));
            }
        }
        let format = Self::ResponseFormat;
        Ok(Some(format).filter(|format| name == format.name().as_bytes()))
    }
}

/// What the headers of a part say so far.
#[derive(Clone, Copy, Default)]
pub(super) struct Part {
    /// How many bytes of headers were read, line ends included.
    pub(super) header_bytes: usize,
    disposition: Option<Disposition>,
    is_encoded: bool,
}

#[derive(Clone, Copy)]
struct Disposition {
    field: Option<Field>,
    is_file: bool,
}

impl Part {
    /// Takes a header line without its CRLF; `is_strict`: of a form that may name nothing but its model.
    pub(super) fn read(&mut self, line: &[u8], is_strict: bool) -> Result<(), FormError> {
        if line.starts_with(b" ") || line.starts_with(b"\t") {
            return malformed("a part's header is folded");
        }
        // A bare CR above all, which ends the line for some parsers.
        if line.iter().any(|&b| b.is_ascii_control() && b != b'\t') {
            return malformed("a part's header holds a control character");
        }
        let (name, rest) = split_token(line);
        let value = match rest {
            [b':', value @ ..] if !name.is_empty() => value.trim_ascii(),
            _ => return malformed("a part's header has no name"),
        };
        if name.eq_ignore_ascii_case(b"Content-Disposition") {
            let disposition = Disposition::parse(value, is_strict)?;
            if self.disposition.replace(disposition).is_some() {
                return malformed("a part has two Content-Dispositions");
            }
        }
        if name.eq_ignore_ascii_case(b"Content-Transfer-Encoding") {
            let plain: [&[u8]; 3] = [b"7bit", b"8bit", b"binary"];
            self.is_encoded |= !plain.iter().any(|p| value.eq_ignore_ascii_case(p));
        }
        Ok(())
    }

    /// The field of the part, now that all its headers were read; `None` for a part that we ignore.
    pub(super) fn acted_on(self) -> Result<Option<Field>, FormError> {
        let Some(Disposition { field, is_file }) = self.disposition else {
            return malformed("a part has no Content-Disposition");
        };
        match field {
            Some(Field::Model) if is_file => malformed("'model' is a file"),
            Some(Field::Stream) if is_file => malformed("'stream' is a file"),
            Some(Field::Model) if self.is_encoded => malformed("'model' is transfer-encoded"),
            Some(Field::Stream) if self.is_encoded => malformed("'stream' is transfer-encoded"),
            Some(Field::ResponseFormat) if is_file || self.is_encoded => Ok(None),
            _ => Ok(field),
        }
    }
}

impl Disposition {
    fn parse(value: &[u8], is_strict: bool) -> Result<Self, FormError> {
        let Some(value) = Value::parse(value) else {
            return malformed("a part's Content-Disposition cannot be read");
        };
        if !value.kind.eq_ignore_ascii_case(b"form-data") {
            return malformed("a part's Content-Disposition is not form-data");
        }
        // Parsers differ on which backslashes escape. Browsers write a quote as `%22`, which is
        // in no name of ours, so that it needs no decoding.
        let name = value.sole(b"name").filter(|name| !name.contains(&b'\\'));
        let Some(name) = name else {
            return malformed("a part does not have one plain name");
        };
        if let Some(reference) = references::of_part(name).filter(|_| is_strict) {
            return Err(FormError::Names(reference));
        }
        Ok(Self {
            field: Field::named(name)?,
            is_file: value.all(b"filename").next().is_some(),
        })
    }
}

/// The boundary that a request's `Content-Type` gives.
pub(super) fn boundary(content_type: &[u8]) -> Option<&[u8]> {
    let value = Value::parse(content_type.trim_ascii())?;
    if !value.kind.eq_ignore_ascii_case(b"multipart/form-data") {
        return None;
    }
    let allowed = |b: &u8| b.is_ascii_alphanumeric() || b"'()+_,-./:=? ".contains(b);
    value.sole(b"boundary").filter(|boundary| {
        (1..=MAX_BOUNDARY_BYTES).contains(&boundary.len())
            && boundary.iter().all(allowed)
            && !boundary.ends_with(b" ")
    })
}

/// A header's value.
struct Value<'h> {
    /// The text before the first semicolon.
    kind: &'h [u8],
    /// Keys and their values, without quotes but with escapes.
    parameters: Vec<(&'h [u8], &'h [u8])>,
}

impl<'h> Value<'h> {
    fn parse(value: &'h [u8]) -> Option<Self> {
        let (kind, mut rest) = value.split_at(memchr(b';', value).unwrap_or(value.len()));
        let mut parameters = Vec::new();
        // Some clients end the last parameter with a semicolon, too.
        while !rest.is_empty() && rest != b";" {
            let (key, value) = split_token(rest.strip_prefix(b";")?.trim_ascii_start());
            let value = value.strip_prefix(b"=").filter(|_| !key.is_empty())?;
            let (value, after) = match value.strip_prefix(b"\"") {
                Some(quoted) => split_quoted(quoted)?,
                None => Some(split_token(value)).filter(|(token, _)| !token.is_empty())?,
            };
            parameters.push((key, value));
            rest = after.trim_ascii_start();
        }
        let kind = kind.trim_ascii_end();
        Some(Self { kind, parameters })
    }

    /// The parameters of this name, also in the encodings of RFC 2231 and 5987: `name*`, `name*0`.
    fn all(&self, name: &'static [u8]) -> impl Iterator<Item = &(&'h [u8], &'h [u8])> {
        self.parameters.iter().filter(|(key, _)| {
            let plain = key.split(|&b| b == b'*').next().unwrap_or_default();
            plain.eq_ignore_ascii_case(name)
        })
    }

    /// The one parameter of this name. A second or an encoded one counts for some parsers only.
    fn sole(&self, name: &'static [u8]) -> Option<&'h [u8]> {
        let mut all = self.all(name);
        match (all.next(), all.next()) {
            (Some((key, value)), None) if !key.contains(&b'*') => Some(value),
            _ => None,
        }
    }
}

/// Splits off the token, as RFC 9110 has it, that `text` begins with.
fn split_token(text: &[u8]) -> (&[u8], &[u8]) {
    let in_token = |b: &u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(b);
    let end = text.iter().position(|b| !in_token(b));
    text.split_at(end.unwrap_or(text.len()))
}

/// Splits at the closing quote of a string whose opening quote has been passed.
fn split_quoted(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut escaped = false;
    let end = text.iter().position(|&b| {
        let closes = b == b'"' && !escaped;
        escaped = b == b'\\' && !escaped;
        closes
    })?;
    Some((text.get(..end)?, text.get(end + 1..)?))
}
