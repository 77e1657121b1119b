//! What is understood of a stream while it passes.
//!
//! Owns telling when a stream has really begun, what it is that goes wrong in it, and how it ends;
//! and that only whole events pass, so that one of ours can stand between any two of them. Bytes
//! pass as they came. Refuses to know where they come from and go to. Never fails: what cannot be
//! understood passes, or is dropped where the operator wants that.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::openai::complaint::Complaint;
use crate::openai::progress::{Ending, Meaning, Progress, Stream};
use crate::openai::sse::Parser;

/// As much of an event that has not ended is held; of a longer one what is there passes.
const MAX_HELD_BYTES: usize = 64 << 10;
const DONE: &[u8] = b"data: [DONE]\n\n";

/// One stream's understanding.
pub struct Tap {
    parser: Parser,
    progress: Progress,
    drops_malformed: bool,
    held: Held,
    /// How many events have come.
    pub events: usize,
    /// Whether the model has said something.
    pub has_output: bool,
    /// The error that an event told.
    pub complaint: Option<Complaint>,
}

/// How a stream has come to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// As it should, or as well as can be told.
    Complete,
    /// Before its end.
    Truncated,
    /// Without saying anything.
    Empty,
}

impl Tap {
    /// For one stream, from its first byte.
    pub fn new(stream: Stream, drops_malformed: bool) -> Self {
        Self {
            parser: Parser::new(),
            progress: Progress::new(stream),
            drops_malformed,
            held: Held::default(),
            events: 0,
            has_output: false,
            complaint: None,
        }
    }

    /// Takes the next bytes, and puts into `out` what can pass: whole events, up to the first that
    /// tells an error. Gives how many events have ended in these bytes.
    pub fn push(&mut self, chunk: Bytes, out: &mut Vec<Bytes>) -> usize {
        if self.complaint.is_some() {
            return 0;
        }
        let before = self.events;
        let (mut dropped, mut last) = (Vec::new(), None);
        let (mut end_before, progress) = (self.held.start, &mut self.progress);
        let events = &mut self.events;
        let (has_output, complaint) = (&mut self.has_output, &mut self.complaint);
        let drops_malformed = self.drops_malformed;
        self.parser.push(&chunk, |event| {
            if complaint.is_some() {
                return;
            }
            *events += 1;
            // All but the first and the last events of a stream, which are not worth parsing.
            if *has_output && !drops_malformed && progress.is_more_of_the_same(&event) {
                end_before = event.end;
                return;
            }
            match progress.see(&event) {
                Meaning::Lifecycle => {}
                Meaning::Output => *has_output = true,
                Meaning::Done => *has_output |= progress.is_finished(),
                Meaning::Malformed => dropped.push(end_before..event.end),
                Meaning::Error(told) => {
                    *complaint = Some(told);
                    last = Some(event.end);
                }
            }
            end_before = event.end;
        });
        self.held.put(chunk);
        let until = last.unwrap_or_else(|| self.parser.boundary());
        if self.drops_malformed {
            for range in dropped {
                self.held.release(range.start, Some(out));
                self.held.release(range.end, None);
            }
        }
        self.held.release(until, Some(out));
        if self.complaint.is_none() && self.held.len > MAX_HELD_BYTES {
            self.held.release(u64::MAX, Some(out));
        }
        self.events - before
    }

    /// No more bytes come: what is left of them, and what the stream lacks to be complete.
    pub fn finish(&mut self, out: &mut Vec<Bytes>) -> End {
        // Some upstreams forget the blank line behind their last event.
        if let Some(event) = self.parser.unfinished()
            && self.complaint.is_none()
        {
            let meaning = self.progress.see(&event);
            self.events += 1;
            self.has_output |= meaning == Meaning::Output
                || meaning == Meaning::Done && self.progress.is_finished();
            if let Meaning::Error(told) = meaning {
                self.complaint = Some(told);
            } else if meaning == Meaning::Malformed {
                return self.end(true, out);
            }
            self.held.release(u64::MAX, Some(out));
            out.push(Bytes::from_static(b"\n\n"));
        }
        self.end(false, out)
    }

    fn end(&mut self, cut: bool, out: &mut Vec<Bytes>) -> End {
        match self.progress.ending() {
            _ if self.complaint.is_some() => End::Truncated,
            _ if !self.has_output => End::Empty,
            Ending::Unmarked => {
                out.push(Bytes::from_static(DONE));
                End::Complete
            }
            Ending::Complete => End::Complete,
            Ending::Unknown if !cut => End::Complete,
            Ending::Unknown | Ending::Truncated | Ending::Failed => End::Truncated,
        }
    }

    /// Whether all that has passed are whole events, so that one of ours can follow.
    pub fn is_between_events(&self) -> bool {
        self.held.start <= self.parser.boundary()
    }

    /// Whether the stream has told its end, so that nothing more is waited for.
    pub fn is_done(&self) -> bool {
        self.progress.is_done()
    }

    /// Whether all has been said, so that nothing is missed if no more comes.
    pub fn is_finished(&self) -> bool {
        self.is_done() || self.has_output && self.progress.is_finished()
    }
}

/// Bytes that have come and not passed.
#[derive(Default)]
struct Held {
    pieces: VecDeque<Bytes>,
    /// Where in the stream they begin.
    start: u64,
    len: usize,
}

impl Held {
    fn put(&mut self, chunk: Bytes) {
        self.len += chunk.len();
        self.pieces.push_back(chunk);
    }

    /// Lets go what stands before an offset in the stream.
    fn release(&mut self, until: u64, mut out: Option<&mut Vec<Bytes>>) {
        while self.start < until
            && let Some(mut piece) = self.pieces.pop_front()
        {
            let wanted = usize::try_from(until - self.start).unwrap_or(usize::MAX);
            if piece.len() > wanted {
                let rest = piece.split_off(wanted);
                self.pieces.push_front(rest);
            }
            self.start += piece.len() as u64;
            self.len -= piece.len();
            if let Some(out) = out.as_mut()
                && !piece.is_empty()
            {
                out.push(piece);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROLE: &str = "data: {\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\"}}]}\n\n";
    const HI: &str = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"hi\"}}]}\n\n";
    const STOP: &str =
        "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";
    const MARK: &str = "data: [DONE]\n\n";
    const ERROR: &str = "data: {\"error\":{\"message\":\"m\",\"code\":\"c\"}}\n\n";
    const JUNK: &str = "data: {\"choi\n\n";

    /// What passes of a stream that comes in pieces of `size` bytes, and how it ends.
    fn pass(tap: &mut Tap, stream: &str, size: usize) -> (String, End) {
        let mut out = Vec::new();
        for piece in stream.as_bytes().chunks(size) {
            tap.push(Bytes::copy_from_slice(piece), &mut out);
        }
        let end = tap.finish(&mut out);
        (String::from_utf8(out.concat()).unwrap(), end)
    }

    fn check(stream: &str, drops: bool, passes: &str, end: End) {
        for size in 1..=stream.len() {
            let mut tap = Tap::new(Stream::Chat, drops);
            let passed = pass(&mut tap, stream, size);
            assert_eq!(passed, (passes.to_owned(), end), "in pieces of {size}");
        }
    }

    #[test]
    fn what_is_whole_passes_as_it_came() {
        for stream in [
            [ROLE, HI, STOP, MARK].concat(),
            [": ping\r\n\r\n", HI, STOP, MARK, ": after\n\n"].concat(),
            [HI, STOP, MARK].concat().replace('\n', "\r\n"),
        ] {
            check(&stream, false, &stream, End::Complete);
        }
    }

    #[test]
    fn a_missing_mark_is_supplied_and_a_missing_blank_line_too() {
        let stream = [HI, STOP].concat();
        check(&stream, false, &[HI, STOP, MARK].concat(), End::Complete);
        let stream = [HI, STOP, "data: [DONE]"].concat();
        check(&stream, false, &[HI, STOP, MARK].concat(), End::Complete);
    }

    #[test]
    fn what_breaks_off_does_not_look_complete() {
        check(
            &[ROLE, HI].concat(),
            false,
            &[ROLE, HI].concat(),
            End::Truncated,
        );
        let cut = [HI, "data: {\"choices\":[{\"ind"].concat();
        check(&cut, false, HI, End::Truncated);
    }

    #[test]
    fn nothing_follows_an_error() {
        let stream = [HI, ERROR, MARK].concat();
        check(&stream, false, &[HI, ERROR].concat(), End::Truncated);
    }

    #[test]
    fn roles_and_marks_alone_say_nothing() {
        check(ROLE, false, ROLE, End::Empty);
        check(MARK, false, MARK, End::Empty);
        check("", false, "", End::Empty);
    }

    #[test]
    fn what_cannot_be_read_passes_or_is_dropped() {
        let stream = [HI, JUNK, JUNK, STOP, MARK].concat();
        check(&stream, false, &stream, End::Complete);
        check(&stream, true, &[HI, STOP, MARK].concat(), End::Complete);
    }

    #[test]
    fn an_event_beyond_the_bound_passes_in_pieces() {
        let mut tap = Tap::new(Stream::Chat, false);
        let mut out = Vec::new();
        tap.push(Bytes::from_static(HI.as_bytes()), &mut out);
        assert!(tap.is_between_events());
        let long = Bytes::from(format!("data: {}", "x".repeat(MAX_HELD_BYTES)));
        let length = long.len();
        tap.push(long, &mut out);
        assert_eq!(out.concat().len(), HI.len() + length);
        assert!(!tap.is_between_events());
        tap.push(Bytes::from_static(b"\n\n"), &mut out);
        assert!(tap.is_between_events());
    }
}
