//! What we read in a multipart form while its body passes.
//!
//! Owns finding the value of the part `model` and the range of its bytes, whether the part `stream` asks for
//! a stream, and whether `response_format` asks for text. Does not read files: their bytes are only searched
//! for the boundary, so that a body of any length takes the same few kilobytes. Fails at the first byte that
//! two parsers could read in two ways, since what we read decides which model a client may call, and the
//! upstream reads the form anew. The result never depends on how the body was cut into chunks.

mod error;
mod header;

use std::ops::Range;
use std::{mem, str};

use memchr::memchr;
use memchr::memmem::Finder;

use super::model_name::{self, MAX_NAME_BYTES, NameError};
use super::slot::Slot;
use error::malformed;
use header::{Field, Part};

pub use error::FormError;

/// More parts than this are refused.
pub const MAX_PARTS: usize = 1000;

/// The most bytes that the headers of one part may have, line ends and the empty line included.
pub const MAX_PART_HEADER_BYTES: usize = 16 * 1024;

/// The most bytes that the value of `model` or `stream` may have.
pub const MAX_VALUE_BYTES: usize = MAX_NAME_BYTES;

/// The most blanks between a delimiter and the end of its line, where RFC 2046 sets no bound.
const MAX_PADDING_BYTES: usize = 64;

/// How much of a chunk is joined at a time to the unsettled bytes of the chunk before. Content leaves
/// fewer bytes unsettled, so that a file's bytes are joined once per chunk.
const SEAM_BYTES: usize = 128;

/// What we read of a form.
#[derive(Debug, PartialEq, Eq)]
pub struct Form {
    /// The requested model, literally: blanks and line ends are part of it; `None` where it
    /// is left out.
    pub model: Option<String>,
    /// The range of its value in the body, or where a part for it can be added.
    pub slot: Slot,
    /// Whether a stream is requested.
    pub stream: bool,
    /// Whether the answer is to be text, as a transcript or as subtitles, and not JSON.
    pub wants_text: bool,
}

/// The values of `response_format` for an answer in text.
const TEXT_FORMATS: [&[u8]; 3] = [b"text", b"srt", b"vtt"];

/// Reads a form's body chunk by chunk.
pub struct Scanner {
    /// Searches for `--BOUNDARY`, without the CRLF that belongs to a delimiter: some parsers split
    /// a body wherever that stands, so that it is refused wherever it is no delimiter.
    boundary: Finder<'static>,
    state: State,
    /// The unsettled bytes of the chunks so far: a beginning of a delimiter or a header line, or a value.
    /// Each state bounds them.
    held: Vec<u8>,
    /// How many bytes of the body are settled.
    position: u64,
    parts: usize,
    /// Where the first boundary begins.
    begins_at: u64,
    model: Option<(String, Range<u64>)>,
    stream: Option<bool>,
    wants_text: bool,
    is_strict: bool,
}

/// What the next byte belongs to.
#[derive(Clone, Copy)]
enum State {
    /// The start of the body, up to the first boundary.
    Opening,
    /// The rest of a delimiter's line.
    Delimiter,
    /// The headers of a part.
    Headers(Part),
    /// The content of a part that we act on.
    Value(Field),
    /// The content of any other part.
    Content,
    /// The rest of the closing delimiter's line.
    Closing,
    /// The bytes after the form, which are ignored.
    Epilogue,
    /// Nothing: there was an error.
    Refused,
}

impl Scanner {
    /// Takes the value of the request's `Content-Type`; `is_strict`: nothing but the model may be named.
    ///
    /// # Errors
    /// [`FormError::NoBoundary`].
    pub fn new(content_type: &[u8], is_strict: bool) -> Result<Self, FormError> {
        let boundary = header::boundary(content_type).ok_or(FormError::NoBoundary)?;
        let boundary = [b"--", boundary].concat();
        Ok(Self {
            boundary: Finder::new(&boundary).into_owned(),
            state: State::Opening,
            held: Vec::new(),
            position: 0,
            parts: 0,
            begins_at: 0,
            model: None,
            stream: None,
            wants_text: false,
            is_strict,
        })
    }

    /// Takes the next bytes of the body.
    ///
    /// # Errors
    /// See [`FormError`]. After an error, the form stays refused.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), FormError> {
        let read = self.read(bytes);
        if read.is_err() {
            self.state = State::Refused;
        }
        read
    }

    /// The body has ended.
    ///
    /// # Errors
    /// [`FormError::Malformed`] for a form that was not closed.
    pub fn finish(self) -> Result<Form, FormError> {
        if !matches!(self.state, State::Closing | State::Epilogue) {
            return malformed("it ends before its closing delimiter");
        }
        let (stream, wants_text) = (self.stream.unwrap_or(false), self.wants_text);
        let (model, slot) = match self.model {
            Some((model, range)) => (Some(model), Slot::of_value(range)),
            None => (None, self.absent()),
        };
        Ok(Form {
            model,
            slot,
            stream,
            wants_text,
        })
    }

    /// Where a form that names no model can name one: in a part before all others.
    fn absent(&self) -> Slot {
        let boundary = String::from_utf8_lossy(self.boundary.needle());
        let header =
            format!("{boundary}\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\n");
        Slot::absent(self.begins_at, header, "\r\n")
    }

    /// Settles what was held together with the first of `bytes`, and the rest where it stands.
    fn read(&mut self, mut bytes: &[u8]) -> Result<(), FormError> {
        while !self.held.is_empty() && !bytes.is_empty() {
            let (seam, after_seam) = bytes.split_at(bytes.len().min(SEAM_BYTES));
            let mut held = mem::take(&mut self.held);
            let before_seam = held.len();
            held.extend_from_slice(seam);
            let settled = self.settle(&held)?;
            if let Some(of_seam) = settled.checked_sub(before_seam) {
                held.clear();
                bytes = bytes.get(of_seam..).unwrap_or_default();
            } else {
                held.drain(..settled);
                bytes = after_seam;
            }
            self.held = held;
        }
        let settled = self.settle(bytes)?;
        let unsettled = bytes.get(settled..).unwrap_or_default();
        self.held.extend_from_slice(unsettled);
        Ok(())
    }

    /// Goes through `bytes` state by state, and returns how many of them need not be seen again.
    fn settle(&mut self, bytes: &[u8]) -> Result<usize, FormError> {
        let mut settled = 0;
        loop {
            let rest = bytes.get(settled..).unwrap_or_default();
            // Each state returns how many bytes it has settled; none when it needs more of them.
            let step = match self.state {
                State::Opening => self.open(rest),
                State::Delimiter => self.read_delimiter(rest),
                State::Headers(part) => self.read_header(part, rest),
                State::Value(field) => self.read_value(field, rest),
                State::Content => self.skip_content(rest),
                State::Closing => self.close(rest),
                State::Epilogue => self.skip_epilogue(rest),
                State::Refused => malformed("it was refused before its end"),
            }?;
            if step == 0 {
                return Ok(settled);
            }
            settled += step;
            self.position += step as u64;
        }
    }

    /// RFC 2046 allows a preamble, but parsers differ on where it ends: only a CRLF is let through.
    fn open(&mut self, bytes: &[u8]) -> Result<usize, FormError> {
        let boundary = self.boundary.needle();
        let line = bytes.strip_prefix(b"\r\n").unwrap_or(bytes);
        if line.starts_with(boundary) {
            let before = bytes.len() - line.len();
            let settled = before + boundary.len();
            self.begins_at = before as u64;
            self.state = State::Delimiter;
            return Ok(settled);
        }
        if bytes == b"\r" || boundary.starts_with(line) {
            return Ok(0);
        }
        malformed("it does not begin with its boundary")
    }

    fn read_delimiter(&mut self, bytes: &[u8]) -> Result<usize, FormError> {
        match bytes {
            [b'-'] => return Ok(0),
            [b'-', b'-', ..] => {
                self.state = State::Closing;
                return Ok(2);
            }
            _ => {}
        }
        let settled = rest_of_line(bytes)?;
        if settled > 0 {
            self.parts += 1;
            if self.parts > MAX_PARTS {
                return Err(FormError::TooManyParts(MAX_PARTS));
            }
            self.state = State::Headers(Part::default());
        }
        Ok(settled)
    }

    fn read_header(&mut self, mut part: Part, bytes: &[u8]) -> Result<usize, FormError> {
        let end = memchr(b'\n', bytes).map(|at| at + 1);
        part.header_bytes += end.unwrap_or(bytes.len());
        if part.header_bytes > MAX_PART_HEADER_BYTES {
            return Err(FormError::HeaderTooLong(MAX_PART_HEADER_BYTES));
        }
        let Some(line) = end.and_then(|end| bytes.get(..end)) else {
            return Ok(0);
        };
        if self.boundary.find(line).is_some() {
            return malformed("its boundary stands in a part's header");
        }
        self.state = match line.strip_suffix(b"\r\n") {
            None => return malformed("a part's header ends in a bare LF"),
            Some(b"") => self.begin_content(part)?,
            Some(header) => {
                part.read(header, self.is_strict)?;
                State::Headers(part)
            }
        };
        Ok(line.len())
    }

    /// The state for the content of a part, now that its headers are known.
    fn begin_content(&self, part: Part) -> Result<State, FormError> {
        let Some(field) = part.acted_on()? else {
            return Ok(State::Content);
        };
        let seen = match field {
            Field::Model => self.model.is_some(),
            Field::Stream => self.stream.is_some(),
            // Of several the last is read, as most parsers do.
            Field::ResponseFormat => false,
        };
        if seen {
            return Err(FormError::Duplicate(field.name()));
        }
        Ok(State::Value(field))
    }

    fn skip_content(&mut self, bytes: &[u8]) -> Result<usize, FormError> {
        let (content_bytes, boundary) = self.search(bytes);
        boundary.map_or(Ok(content_bytes), |at| self.end_content(bytes, at))
    }

    /// Leaves the value unsettled until its end is seen, so that it is read in one piece.
    fn read_value(&mut self, field: Field, bytes: &[u8]) -> Result<usize, FormError> {
        let (value_bytes, boundary) = self.search(bytes);
        if value_bytes > MAX_VALUE_BYTES && !field.is_decisive() {
            self.wants_text = false;
            self.state = State::Content;
            return self.skip_content(bytes);
        }
        if value_bytes > MAX_VALUE_BYTES {
            return Err(match field {
                Field::Model => FormError::Model(NameError::TooLong),
                _ => FormError::TooLong(field.name(), MAX_VALUE_BYTES),
            });
        }
        let Some(at) = boundary else {
            return Ok(0);
        };
        let settled = self.end_content(bytes, at)?;
        let value = bytes.get(..value_bytes).unwrap_or_default();
        match field {
            Field::Model => {
                let model =
                    str::from_utf8(value).map_err(|_| FormError::Model(NameError::NotText))?;
                model_name::check(model).map_err(FormError::Model)?;
                let range = self.position..self.position + value.len() as u64;
                self.model = Some((model.to_owned(), range));
            }
            Field::Stream => {
                self.stream = Some(match value {
                    b"true" | b"True" | b"1" => true,
                    b"false" | b"False" | b"0" | b"" => false,
                    _ => return Err(FormError::WrongType(field.name(), "a boolean")),
                });
            }
            Field::ResponseFormat => self.wants_text = TEXT_FORMATS.contains(&value),
        }
        Ok(settled)
    }

    /// How many of `bytes` are certainly content, and the position of the boundary in them. Bytes at the
    /// end that may become a CRLF and a boundary are not certain.
    fn search(&self, bytes: &[u8]) -> (usize, Option<usize>) {
        let boundary = self.boundary.find(bytes);
        let earliest = (bytes.len() + 1).saturating_sub(self.boundary.needle().len());
        let content_bytes = boundary.unwrap_or(earliest).saturating_sub(2);
        (content_bytes, boundary)
    }

    /// Passes the boundary that stands in `bytes` after a part's content.
    fn end_content(&mut self, bytes: &[u8], at: usize) -> Result<usize, FormError> {
        // By the RFC this is content, but some parsers accept a bare LF before a delimiter, or the CRLF
        // that ends the headers, or none at all. No client picks a boundary that its content has, so
        // this is an attempt to show them another part than us.
        if !bytes.get(..at).is_some_and(|part| part.ends_with(b"\r\n")) {
            return malformed("its boundary stands inside a part");
        }
        self.state = State::Delimiter;
        Ok(at + self.boundary.needle().len())
    }

    fn close(&mut self, bytes: &[u8]) -> Result<usize, FormError> {
        let settled = rest_of_line(bytes)?;
        if settled > 0 {
            self.state = State::Epilogue;
        }
        Ok(settled)
    }

    fn skip_epilogue(&mut self, bytes: &[u8]) -> Result<usize, FormError> {
        match self.search(bytes) {
            (settled, None) => Ok(settled),
            (_, Some(_)) => malformed("its boundary stands after its end"),
        }
    }
}

/// How long the rest of a delimiter's line is with its CRLF; 0 as long as that is not known.
fn rest_of_line(bytes: &[u8]) -> Result<usize, FormError> {
    let blank = |byte: &&u8| matches!(byte, b' ' | b'\t');
    let padding_bytes = bytes.iter().take_while(blank).count();
    match bytes.get(padding_bytes..).unwrap_or_default() {
        _ if padding_bytes > MAX_PADDING_BYTES => {}
        [] | [b'\r'] => return Ok(0),
        [b'\r', b'\n', ..] => return Ok(padding_bytes + 2),
        _ => {}
    }
    // Some parsers take such a line for content and some for a delimiter.
    malformed("a delimiter does not end its line")
}

#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]
mod tests;
