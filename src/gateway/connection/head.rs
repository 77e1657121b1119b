//! The header of an HTTP/1 request, gathered before it is parsed.
//!
//! Owns the bytes of a header while it comes, its bounds, and what follows it in the same read. Pingora
//! would parse from the beginning at each piece that comes; here only new bytes are looked at, and it
//! gets a header that is whole. Does not handle what a header says (see `framing`). Fails with what the
//! client is told.

use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::BufMut;
use pingora::protocols::Stream;
use tokio::io::{AsyncReadExt, ReadBuf};

use super::super::failure::Failure;
use crate::observe::metrics::Shed;
use crate::runtime::{Held, Memory};

/// What is said of a line that begins with a blank: some servers join it with the one before.
const FOLDED: &str = "a header line is folded";
/// What is read at once. A connection keeps as many bytes of memory for its next header, and a header
/// of this size is not counted against the memory for headers.
pub const READ_BYTES: usize = 4 << 10;

/// As much is kept of what comes before it may be passed on.
pub const MAX_KEPT_BYTES: usize = READ_BYTES;

/// How much a header may take.
#[derive(Clone, Debug)]
pub struct Bounds {
    /// Bytes of one header.
    pub header: usize,
    /// Lines of one header, besides the request line.
    pub fields: usize,
    /// Bytes of all headers of all connections, beyond [`READ_BYTES`] of each.
    pub total: usize,
}

/// A header, and what has come behind it.
#[derive(Debug)]
pub struct Head {
    bytes: Vec<u8>,
    /// How many bytes have been looked at.
    searched: usize,
    /// How many lines have come.
    lines: usize,
    /// Where the header ends, once it is whole.
    end: Option<usize>,
    /// How many bytes have been passed on.
    given: usize,
    memory: Held,
}

/// What a read has brought.
#[derive(Debug)]
pub enum Came {
    /// A part of the header.
    Part,
    /// The rest of the header.
    Whole,
    /// The end of the connection.
    End,
    /// A header that is not taken.
    Refused(Failure),
}

impl Head {
    /// Nothing has come yet.
    pub fn new(memory: &Arc<Memory>) -> Self {
        Self {
            bytes: Vec::new(),
            searched: 0,
            lines: 0,
            end: None,
            given: 0,
            memory: memory.hold_none(),
        }
    }

    /// The header as it came, once it is whole and until its memory is given back.
    pub fn header(&self) -> Option<&[u8]> {
        self.bytes.get(..self.end?)
    }

    /// What has come behind the header.
    pub fn behind(&self) -> &[u8] {
        let end = self.end.unwrap_or(self.bytes.len());
        self.bytes.get(end..).unwrap_or_default()
    }

    /// Whether nothing of a header has come.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Begins the next header, if one has been passed on, with what has come behind its body.
    pub fn next(&mut self) {
        if self.given == 0 {
            return;
        }
        self.bytes.drain(..self.given);
        self.begin();
        self.release();
    }

    fn begin(&mut self) {
        (self.searched, self.lines, self.end, self.given) = (0, 0, None, 0);
    }

    /// Gives memory back once all has been passed on.
    pub fn release_if_given(&mut self) {
        if self.given > 0 && self.given == self.bytes.len() {
            self.bytes.clear();
            self.begin();
            self.release();
        }
    }

    fn release(&mut self) {
        self.bytes.shrink_to(READ_BYTES);
        self.memory.shrink_to(beyond(self.bytes.len()));
    }

    /// Passes on what fits. Tells whether there was anything.
    pub fn give(&mut self, buf: &mut ReadBuf<'_>) -> bool {
        let left = self.bytes.get(self.given..).unwrap_or_default();
        let given = left.len().min(buf.remaining());
        buf.put_slice(left.get(..given).unwrap_or_default());
        self.given += given;
        given > 0
    }

    /// Reads once.
    pub fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut Stream,
        bounds: &Bounds,
    ) -> Poll<io::Result<Came>> {
        self.bytes.reserve(READ_BYTES);
        let read = {
            let reading = pin!(stream.read_buf(&mut self.bytes));
            ready!(reading.poll(cx))?
        };
        Poll::Ready(Ok(match read {
            0 => Came::End,
            _ => self.look(bounds),
        }))
    }

    /// Reads once what is to be passed on later, behind what is still to be passed on. Gives the number of
    /// bytes; at [`MAX_KEPT_BYTES`] nothing is read, and nothing wakes the task.
    pub fn poll_keep(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut Stream,
    ) -> Poll<io::Result<usize>> {
        let kept = self.bytes.len() - self.given;
        let Some(room) = MAX_KEPT_BYTES.checked_sub(kept).filter(|room| *room > 0) else {
            return Poll::Pending;
        };
        let mut bytes = (&mut self.bytes).limit(room);
        let reading = pin!(stream.read_buf(&mut bytes));
        reading.poll(cx)
    }

    /// Looks at what has not been looked at, and finds the end of the header.
    pub fn look(&mut self, bounds: &Bounds) -> Came {
        if self.end.is_some() {
            return Came::Whole;
        }
        if self.searched == 0 {
            // Some clients end a body with a line of its own.
            let blank = self.bytes.chunks_exact(2).take_while(|c| *c == b"\r\n");
            self.bytes.drain(..blank.count() * 2);
        }
        if let Err(what) = self.walk() {
            return Came::Refused(Failure::Framing(what));
        }
        let until = self.searched;
        // The request line and the last, empty one are no headers.
        if self.lines > bounds.fields + 2 {
            let limit = bounds.fields;
            return Came::Refused(Failure::TooManyHeaders { limit });
        }
        if until > bounds.header {
            let limit = bounds.header;
            return Came::Refused(Failure::HeaderTooLarge { limit });
        }
        if !self.memory.grow_to(beyond(self.bytes.len()), bounds.total) {
            return Came::Refused(Failure::Shed(Shed::HeaderMemory));
        }
        match self.end {
            Some(_) => Came::Whole,
            None => Came::Part,
        }
    }

    /// Walks the new bytes of the header, to its end where that has come. Fails for what no header has.
    fn walk(&mut self) -> Result<(), &'static str> {
        let (bytes, from) = (&*self.bytes, self.searched);
        let at = |position: usize| bytes.get(position).copied();
        let before = |position: usize, by: usize| position.checked_sub(by).and_then(at);
        let is_folded = |line: usize| matches!(at(line), Some(b' ' | b'\t'));
        if before(from, 1) == Some(b'\n') && is_folded(from) {
            return Err(FOLDED);
        }
        let mut ends = 0;
        for end in memchr::memchr_iter(b'\n', bytes.get(from..).unwrap_or_default()) {
            let end = from + end;
            ends += 1;
            if before(end, 1) != Some(b'\r') {
                return Err("a header line ends without CR");
            }
            if before(end, 2) == Some(b'\n') {
                self.end = Some(end + 1);
                break;
            }
            if is_folded(end + 1) {
                return Err(FOLDED);
            }
        }
        let until = self.end.unwrap_or(bytes.len());
        let new = bytes.get(from..until).unwrap_or_default();
        if has_control(new) {
            return Err("its header has control characters");
        }
        let returns = memchr::memchr_iter(b'\r', new).count();
        let came_before = usize::from(new.first() == Some(&b'\n'));
        let comes_next = usize::from(new.last() == Some(&b'\r'));
        if returns + came_before != ends + comes_next
            || before(from, 1) == Some(b'\r') && came_before == 0 && !new.is_empty()
        {
            return Err("a header line has a CR within it");
        }
        self.lines += ends;
        self.searched = until;
        Ok(())
    }
}

/// Whether there are control characters other than tabs and line ends. Without a branch in it the
/// compiler makes this many bytes at a time.
fn has_control(bytes: &[u8]) -> bool {
    let found = bytes.iter().fold(0, |found, &byte| {
        let is_allowed = (byte == b'\t') | (byte == b'\r') | (byte == b'\n');
        found | (u8::from(byte < b' ') & u8::from(!is_allowed)) | u8::from(byte == 0x7f)
    });
    found != 0
}

fn beyond(bytes: usize) -> usize {
    bytes.saturating_sub(READ_BYTES)
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::{AsyncWriteExt, duplex};

    use super::*;

    const BOUNDS: Bounds = Bounds {
        header: 64 << 10,
        fields: 20,
        total: 100 << 10,
    };

    fn push(head: &mut Head, bytes: &[u8]) -> Came {
        head.bytes.extend_from_slice(bytes);
        head.look(&BOUNDS)
    }

    fn given(head: &mut Head) -> Vec<u8> {
        let mut out = Vec::new();
        loop {
            let mut piece = [0; 7];
            let mut buf = ReadBuf::new(&mut piece);
            if !head.give(&mut buf) {
                return out;
            }
            out.extend_from_slice(buf.filled());
        }
    }

    #[test]
    fn a_header_is_whole_at_its_end_however_it_is_cut() {
        let request = b"GET / HTTP/1.1\r\nhost: x\r\n\r\nbody";
        for cut in 1..request.len() - 4 {
            let mut head = Head::new(&Arc::default());
            let (first, rest) = request.split_at(cut);
            let first = push(&mut head, first);
            let is_whole = cut >= request.len() - 4;
            assert_eq!(matches!(first, Came::Whole), is_whole, "{cut}: {first:?}");
            assert!(matches!(push(&mut head, rest), Came::Whole), "{cut}");
            assert_eq!(head.header(), request.get(..request.len() - 4));
            assert_eq!(head.behind(), b"body");
            assert_eq!(given(&mut head), request);
        }
    }

    #[test]
    fn what_was_not_passed_on_begins_the_next_header() {
        let mut head = Head::new(&Arc::default());
        let one = b"GET / HTTP/1.1\r\n\r\n";
        push(&mut head, &[&one[..], b"\r\nGET /2"].concat());
        let mut piece = [0; 18];
        head.give(&mut ReadBuf::new(&mut piece));
        head.next();
        assert!(!head.is_empty());
        assert!(matches!(head.look(&BOUNDS), Came::Part));
        assert!(matches!(push(&mut head, b" HTTP/1.1\r\n\r\n"), Came::Whole));
        assert_eq!(given(&mut head), b"GET /2 HTTP/1.1\r\n\r\n");
    }

    #[tokio::test]
    async fn what_comes_early_is_kept_behind_the_rest_up_to_a_bound() {
        let (ours, mut theirs) = duplex(1 << 16);
        let mut stream: Stream = Box::new(ours);
        let mut head = Head::new(&Arc::default());
        let request = b"GET / HTTP/1.1\r\n\r\nrest";
        push(&mut head, request);
        head.give(&mut ReadBuf::new(&mut [0; 18]));
        let mut keep = async || {
            poll_fn(|cx| Poll::Ready(head.poll_keep(cx, &mut stream).map(Result::unwrap))).await
        };
        assert_eq!(keep().await, Poll::Pending);
        theirs.write_all(&[b'e'; MAX_KEPT_BYTES]).await.unwrap();
        let mut kept = 4;
        while let Poll::Ready(read) = keep().await {
            assert!(read > 0);
            kept += read;
        }
        assert_eq!(kept, MAX_KEPT_BYTES);
        drop(theirs);
        assert_eq!(
            keep().await,
            Poll::Pending,
            "what is beyond the bound is not read"
        );
        let expected = [&b"rest"[..], &[b'e'; MAX_KEPT_BYTES - 4]].concat();
        assert!(given(&mut head) == expected);
        head.release_if_given();
        let mut keep = async || {
            poll_fn(|cx| Poll::Ready(head.poll_keep(cx, &mut stream).map(Result::unwrap))).await
        };
        assert_eq!(keep().await, Poll::Ready(4));
        assert_eq!(keep().await, Poll::Ready(0), "the connection has ended");
    }

    #[test]
    fn a_header_with_control_characters_or_bare_line_ends_is_refused_at_once() {
        for bad in [
            "GET / HTTP/1.1\n",
            "GET /\0",
            "\u{16}\u{3}\u{1}",
            "\n",
            "GET /\u{7f}",
            "GET / HTTP/1.1\r\nx: y\r\n z\r\n",
            "GET / HTTP/1.1\r\n\tz\r\n",
            "GET / HTTP/1.1\r\nx: y\rz\r\n",
            "GET / HTTP/1.1\r\r\n",
        ] {
            let came = push(&mut Head::new(&Arc::default()), bad.as_bytes());
            assert!(
                matches!(came, Came::Refused(Failure::Framing(_))),
                "{bad:?}"
            );
            let mut head = Head::new(&Arc::default());
            let mut bytes = bad.as_bytes().chunks(1);
            let is_refused = bytes.any(|byte| matches!(push(&mut head, byte), Came::Refused(_)));
            assert!(is_refused, "{bad:?}, byte by byte");
        }
        let mut head = Head::new(&Arc::default());
        push(&mut head, b"GET / HTTP/1.1\r");
        assert!(
            matches!(push(&mut head, b"\n"), Came::Part),
            "one line end in two pieces"
        );
    }

    #[test]
    fn a_header_has_so_many_lines() {
        let with = |lines: usize| format!("GET / HTTP/1.1\r\n{}\r\n", "x: y\r\n".repeat(lines));
        let push = |lines| push(&mut Head::new(&Arc::default()), with(lines).as_bytes());
        assert!(matches!(push(20), Came::Whole));
        let came = push(21);
        assert!(matches!(
            came,
            Came::Refused(Failure::TooManyHeaders { limit: 20 })
        ));
    }

    #[test]
    fn a_header_has_a_bound_and_all_headers_together_have_one() {
        let memory = Arc::default();
        let long = |bytes: usize| ["GET / HTTP/1.1\r\nx: ", &"h".repeat(bytes)].concat();
        let mut head = Head::new(&memory);
        assert!(matches!(
            push(&mut head, long(60 << 10).as_bytes()),
            Came::Part
        ));
        let came = push(&mut head, &[b'h'; 5 << 10]);
        assert!(matches!(
            came,
            Came::Refused(Failure::HeaderTooLarge { .. })
        ));
        let mut second = Head::new(&memory);
        let came = push(&mut second, long(60 << 10).as_bytes());
        assert!(matches!(
            came,
            Came::Refused(Failure::Shed(Shed::HeaderMemory))
        ));
        drop(head);
        assert!(
            matches!(push(&mut second, b"h"), Came::Part),
            "the first has gone"
        );
    }
}
