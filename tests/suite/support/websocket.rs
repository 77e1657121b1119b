//! WebSockets by hand: openings and frames as bytes, so that a test knows what was written when.

use std::future::Future;

use super::CLIENT_KEY;
use super::client::Client;
use super::gateway::Gateway;
use super::upstream::{Listener, Reply};

/// The `Sec-WebSocket-Key` of RFC 6455's example.
pub const NONCE: &str = "dGhlIHNhbXBsZSBub25jZQ==";
/// The RFC's own answer to it.
pub const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
/// How an upstream opens a socket.
pub const OPENED: &str = "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\n\
                          connection: Upgrade\r\n\
                          sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
/// Where most tests open one.
pub const REALTIME: &str = "/v1/realtime?model=gpt-4o";

pub const TEXT: u8 = 0x1;
pub const CLOSE: u8 = 0x8;
pub const PING: u8 = 0x9;
pub const PONG: u8 = 0xa;

/// What opens a socket, but for a key; `headers` are whole lines, each ended by CRLF.
pub fn opening(path: &str, headers: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nhost: gateway\r\nupgrade: websocket\r\nconnection: Upgrade\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: {NONCE}\r\n{headers}\r\n"
    )
}

/// The same with the tests' key.
pub fn keyed(path: &str, headers: &str) -> String {
    let key = format!("authorization: Bearer {CLIENT_KEY}\r\n");
    opening(path, &[&key, headers].concat())
}

/// Opens a socket through the gateway, and gives both ends of it.
pub async fn open(gateway: &Gateway, upstream: &Listener) -> (Client, Reply) {
    open_at(REALTIME, gateway, upstream).await
}

/// The same at another path.
pub async fn open_at(path: &str, gateway: &Gateway, upstream: &Listener) -> (Client, Reply) {
    let mut client = gateway.connect().await;
    client.send(keyed(path, "")).await;
    let (_, mut far) = upstream.accept().await;
    far.raw(OPENED).await;
    assert_eq!(client.head().await.0, 101);
    (client, far)
}

/// A frame of a server's.
pub fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    [head(opcode, payload.len(), 0), payload.to_vec()].concat()
}

/// A frame of a client's, which is masked.
pub fn masked(opcode: u8, payload: &[u8]) -> Vec<u8> {
    const MASK: [u8; 4] = [0x5a, 0x00, 0xff, 0x13];
    let hidden = payload.iter().zip(MASK.iter().cycle()).map(|(b, m)| b ^ m);
    let head = [head(opcode, payload.len(), 0x80), MASK.to_vec()].concat();
    head.into_iter().chain(hidden).collect()
}

fn head(opcode: u8, length: usize, mask_bit: u8) -> Vec<u8> {
    let mut head = vec![0x80 | opcode];
    match length {
        0..126 => head.push(mask_bit | u8::try_from(length).unwrap()),
        126..65_536 => {
            head.push(mask_bit | 126);
            head.extend(u16::try_from(length).unwrap().to_be_bytes());
        }
        _ => {
            head.push(mask_bit | 127);
            head.extend((length as u64).to_be_bytes());
        }
    }
    head
}

/// The payload of a close frame.
pub fn close(code: u16, reason: &str) -> Vec<u8> {
    [&code.to_be_bytes(), reason.as_bytes()].concat()
}

/// A frame as it was received, unmasked.
#[derive(Debug, PartialEq, Eq)]
pub struct Frame {
    pub opcode: u8,
    pub payload: Vec<u8>,
}

impl Frame {
    /// The code of a close frame.
    #[track_caller]
    pub fn close_code(&self) -> u16 {
        assert_eq!(self.opcode, CLOSE, "{self:?}");
        u16::from_be_bytes(self.payload[..2].try_into().unwrap())
    }
}

/// One end of a socket.
pub trait Side: Send {
    /// The next so many bytes; `None` when the connection ends before.
    fn take(&mut self, length: usize) -> impl Future<Output = Option<Vec<u8>>> + Send;

    /// The next frame; `None` when the connection ends before.
    fn frame(&mut self) -> impl Future<Output = Option<Frame>> + Send {
        async {
            let head = self.take(2).await?;
            let length = match head[1] & 0x7f {
                126 => number(&self.take(2).await?),
                127 => number(&self.take(8).await?),
                length => usize::from(length),
            };
            let mask = match head[1] & 0x80 {
                0 => vec![0],
                _ => self.take(4).await?,
            };
            let hidden = self.take(length).await?;
            let payload = hidden.iter().zip(mask.iter().cycle());
            Some(Frame {
                opcode: head[0] & 0x0f,
                payload: payload.map(|(b, m)| b ^ m).collect(),
            })
        }
    }
}

fn number(bytes: &[u8]) -> usize {
    bytes
        .iter()
        .fold(0, |sum, byte| sum << 8 | usize::from(*byte))
}
