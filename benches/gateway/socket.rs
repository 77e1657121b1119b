//! WebSockets as the benchmark speaks them.
//!
//! Owns how one is opened and the frames that go over it: text messages of one frame each, masked
//! as clients must, and plain as servers must. Knows no other frames; one that it cannot read is
//! an error, which ends the connection and so the benchmark.

use std::io;

/// What a client sends to open one, besides what every request has.
pub const OFFER: &str = "Upgrade: websocket\r\n\
    Sec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
/// What a server says to that. The key is always the same, and so is what answers it.
pub const ACCEPTED: &str = "HTTP/1.1 101 Switching Protocols\r\n\
    connection: Upgrade\r\n\
    upgrade: websocket\r\n\
    sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// The end of a message, which is text.
const FINAL_TEXT: u8 = 0x81;
/// Stands in place of a length that takes the next two bytes.
const LONG: u8 = 126;
const MASKED: u8 = 0x80;
const MASK: [u8; 4] = [0x1d, 0xb7, 0x52, 0xe9];
/// A masked frame has its mask here,
const MASK_AT: usize = 4;
/// and its text here.
const TEXT_AT: usize = MASK_AT + MASK.len();

/// A client's frame. `text` has from 126 to 65535 bytes.
pub fn masked(text: &[u8]) -> Vec<u8> {
    let mut frame = header(text, MASKED);
    frame.extend_from_slice(&MASK);
    frame.extend(text.iter().zip(MASK.iter().cycle()).map(|(b, m)| b ^ m));
    frame
}

/// A server's frame, of the same sizes.
pub fn plain(text: &[u8]) -> Vec<u8> {
    [&header(text, 0), text].concat()
}

/// How many bytes the client's frame has with which `bytes` begin, once all of them are there.
pub fn whole(bytes: &[u8]) -> io::Result<Option<usize>> {
    let Some(header) = bytes.get(..TEXT_AT) else {
        return Ok(None);
    };
    if header[..2] != [FINAL_TEXT, MASKED | LONG] {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let payload = usize::from(u16::from_be_bytes([header[2], header[3]]));
    let frame = TEXT_AT + payload;
    Ok((bytes.len() >= frame).then_some(frame))
}

/// The text of a client's whole frame.
pub fn unmasked(frame: &[u8]) -> Vec<u8> {
    let (header, payload) = frame.split_at(TEXT_AT);
    let mask = header[MASK_AT..].iter().cycle();
    payload.iter().zip(mask).map(|(b, m)| b ^ m).collect()
}

fn header(text: &[u8], masked: u8) -> Vec<u8> {
    let [high, low] = (text.len() as u16).to_be_bytes();
    vec![FINAL_TEXT, masked | LONG, high, low]
}
