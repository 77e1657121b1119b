//! What of an answer is kept while it passes, so that it can be given again.
//!
//! Owns its bytes as they came from the upstream, before anything is changed in them, up to a bound. Does not handle
//! what is done with them (see `gateway::storing`). At the bound nothing is kept.

use bytes::{Bytes, BytesMut};

use crate::openai::rewrite::Rewrites;

/// What an answer is, as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Form {
    /// The value of its `Content-Type`.
    pub content_type: Box<str>,
    /// Whether it is a stream of events.
    pub is_stream: bool,
    /// What is changed in it for the client.
    pub rewrites: Rewrites,
}

/// A whole answer, as it came.
#[derive(Debug)]
pub struct Recorded {
    /// Its body; `None` where it was larger than the bound.
    pub body: Option<Bytes>,
    /// Whether it has been read as a whole, and tells no error.
    pub is_answer: bool,
}

/// Keeps what comes of an answer.
pub struct Recording {
    form: Form,
    pieces: Vec<Bytes>,
    bytes: usize,
    most_bytes: usize,
    /// What comes from now on is of another form.
    is_closed: bool,
    is_answer: bool,
}

impl Recording {
    /// Of an answer of which nothing has come, up to so many bytes.
    pub fn new(form: Form, most_bytes: usize) -> Self {
        Self {
            form,
            pieces: Vec::new(),
            bytes: 0,
            most_bytes,
            is_closed: false,
            is_answer: false,
        }
    }

    /// What the answer is.
    pub fn form(&self) -> &Form {
        &self.form
    }

    /// Takes what has come.
    pub fn push(&mut self, piece: &Bytes) {
        if self.is_closed {
            return;
        }
        self.bytes += piece.len();
        match self.is_too_large() {
            true => self.pieces = Vec::new(),
            false => self.pieces.push(piece.clone()),
        }
    }

    /// All that has come has been read, and tells no error.
    pub fn note_answer(&mut self) {
        self.is_answer = true;
    }

    /// Takes nothing more.
    pub fn close(&mut self) {
        self.is_closed = true;
    }

    /// Whether what comes from now on is of another form.
    pub fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// All that has come, in pieces; `None` where it is more than the bound.
    pub fn pieces(&self) -> Option<&[Bytes]> {
        (!self.is_too_large()).then_some(&self.pieces)
    }

    fn is_too_large(&self) -> bool {
        self.bytes > self.most_bytes
    }

    /// The whole answer. Its bytes are copied: the pieces may be small parts of large buffers.
    pub fn finish(self) -> Recorded {
        let body = (!self.is_too_large()).then(|| {
            let mut body = BytesMut::with_capacity(self.bytes);
            self.pieces
                .iter()
                .for_each(|piece| body.extend_from_slice(piece));
            body.freeze()
        });
        Recorded {
            body,
            is_answer: self.is_answer,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recording(most_bytes: usize) -> Recording {
        let form = Form {
            content_type: "application/json".into(),
            is_stream: false,
            rewrites: Rewrites::default(),
        };
        Recording::new(form, most_bytes)
    }

    #[test]
    fn what_comes_is_kept_up_to_the_bound() {
        let mut kept = recording(4);
        kept.push(&Bytes::from_static(b"ab"));
        kept.push(&Bytes::from_static(b"cd"));
        assert_eq!(kept.pieces().map(<[Bytes]>::len), Some(2));
        assert_eq!(kept.finish().body.as_deref(), Some(&b"abcd"[..]));
        let mut kept = recording(4);
        kept.push(&Bytes::from_static(b"abcd"));
        kept.push(&Bytes::from_static(b"e"));
        assert_eq!(kept.pieces(), None);
        assert_eq!(kept.finish().body, None);
    }

    #[test]
    fn what_comes_in_another_form_is_not() {
        let mut kept = recording(4);
        kept.push(&Bytes::from_static(b"ab"));
        kept.close();
        kept.push(&Bytes::from_static(b"cdefg"));
        assert_eq!(kept.finish().body.as_deref(), Some(&b"ab"[..]));
    }
}
