//! Where one frame of a WebSocket ends and the next begins.
//!
//! Owns following one direction, over any chunks. Does not handle what a message says (see `messages`), nor
//! whether frames are as RFC 6455 has them: that is for the two sides. Cannot fail.

/// A piece of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'p> {
    /// What the frame is: 0 continues a message, 1 is text, 2 is binary, from 8 on it is control.
    pub opcode: u8,
    /// Whether an extension has changed the payload, as `permessage-deflate` does. Only the first frame
    /// of a message tells.
    pub is_compressed: bool,
    /// Whether its message ends with this piece.
    pub is_final: bool,
    /// The bytes of this piece, masked where a client sent them.
    pub payload: &'p [u8],
}

/// Follows the frames of one direction, to know where one ends and whether the last was a close.
#[derive(Debug, Default)]
pub struct Frames {
    /// The bytes of a frame's header so far; 14 at most.
    header: [u8; 14],
    header_bytes: usize,
    /// What is left of the payload of the frame whose header has been read.
    payload_left: u64,
    /// Whether a close frame has passed.
    closed: bool,
    /// How many frames have begun.
    count: u64,
}

impl Frames {
    /// Takes the next bytes.
    pub fn pass(&mut self, bytes: &[u8]) {
        self.pass_to(bytes, |_| {});
    }

    /// Takes the next bytes, and hands on each piece of a payload, and each frame without one.
    pub fn pass_to(&mut self, mut bytes: &[u8], mut each: impl FnMut(Frame<'_>)) {
        loop {
            let left = usize::try_from(self.payload_left).unwrap_or(usize::MAX);
            let (payload, behind) = bytes.split_at(bytes.len().min(left));
            self.payload_left -= payload.len() as u64;
            if !payload.is_empty() {
                each(self.frame(payload));
            }
            bytes = behind;
            let Some((byte, rest)) = bytes.split_first() else {
                return;
            };
            bytes = rest;
            if let Some(slot) = self.header.get_mut(self.header_bytes) {
                *slot = *byte;
            }
            self.header_bytes += 1;
            if let Some(length) = self.payload_bytes() {
                self.closed |= self.header.first().is_some_and(|first| first & 0x0f == 0x8);
                self.count += 1;
                self.payload_left = length;
                self.header_bytes = 0;
                if length == 0 {
                    each(self.frame(&[]));
                }
            }
        }
    }

    /// A piece of the frame whose header has been read last.
    fn frame<'p>(&self, payload: &'p [u8]) -> Frame<'p> {
        let [first, ..] = self.header;
        Frame {
            opcode: first & 0x0f,
            is_compressed: first & 0x40 != 0,
            is_final: first & 0x80 != 0 && self.payload_left == 0,
            payload,
        }
    }

    /// The length of the payload, once the header is complete.
    fn payload_bytes(&self) -> Option<u64> {
        let [_, second, rest @ ..] = &self.header;
        let mask_bytes = if second & 0x80 == 0 { 0 } else { 4 };
        let (length_bytes, short) = match second & 0x7f {
            126 => (2, None),
            127 => (8, None),
            length => (0, Some(u64::from(length))),
        };
        if self.header_bytes < 2 + length_bytes + mask_bytes {
            return None;
        }
        let long = rest.iter().take(length_bytes);
        Some(short.unwrap_or_else(|| long.fold(0, |sum, byte| sum << 8 | u64::from(*byte))))
    }

    /// Whether the bytes so far end with a whole frame, so that one of ours may follow.
    pub fn is_between(&self) -> bool {
        self.payload_left == 0 && self.header_bytes == 0
    }

    /// Whether a close frame has passed: nothing may follow it.
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// How many frames have passed, or begun to.
    pub fn count(&self) -> u64 {
        self.count
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::openai::websocket;

    #[test]
    fn frames_are_told_apart_over_any_chunks() {
        let masked = [b"\x81\x83abcd".as_slice(), b"xyz"].concat();
        let stream = [
            websocket::text_frame(b""),
            websocket::text_frame(&[7; 125]),
            websocket::text_frame(&[7; 126]),
            websocket::text_frame(&[7; 70_000]),
            masked,
        ]
        .concat();
        let ends = [2, 129, 259, 70_269, 70_278];
        for size in [1, 2, 3, 1000, 100_000] {
            let mut frames = Frames::default();
            let mut seen = 0;
            for chunk in stream.chunks(size) {
                frames.pass(chunk);
                seen += chunk.len();
                assert_eq!(
                    frames.is_between(),
                    ends.contains(&seen),
                    "{seen} by {size}"
                );
            }
            assert_eq!((frames.count(), frames.is_closed()), (5, false));
            frames.pass(&websocket::close_frame(websocket::Close::Restart, ""));
            assert!(frames.is_closed() && frames.is_between());
        }
    }
}
