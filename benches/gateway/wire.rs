//! HTTP/1.1 as the load generator speaks it.
//!
//! Owns one keep-alive connection: it writes a request that was built beforehand, and reads just
//! enough of the answer to be sure that it is the right one: status 200, and either exactly the
//! expected JSON, or an event stream of the expected length with its proper end, or a body of the
//! expected length; over a WebSocket, exactly the expected frame. Whatever else comes is an error in
//! words, which ends the benchmark.

use std::time::{Duration, Instant};

use bytes::Bytes;
use memchr::memmem;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;

use crate::tls::NAME;

/// The largest answer's head, or JSON with its head, that fits.
const BUFFER_BYTES: usize = 32 << 10;
/// How every stream ends.
pub const LAST_EVENT: &[u8] = b"data: [DONE]\n\n";
/// Of these are large bodies made; they are read in pieces of this size, too.
pub static BLOCK: [u8; BLOCK_BYTES] = [b'.'; BLOCK_BYTES];
/// Large enough for the calls not to matter, small enough to stay in a processor's cache.
pub const BLOCK_BYTES: usize = 256 << 10;

/// What must come back.
#[derive(Clone)]
pub enum Expected {
    /// Exactly this body, with its length announced.
    Json(Bytes),
    /// A chunked body of this many bytes in all, the last event among them.
    Events(usize),
    /// A body of this many bytes, with its length announced.
    Body(usize),
    /// Exactly this frame.
    Frame(Bytes),
}

/// A request with what must come back.
pub struct Call {
    /// What makes a WebSocket of the connection, over which requests are frames.
    pub opening: Option<Bytes>,
    /// Head and body.
    pub request: Bytes,
    /// What follows of the body, made of [`BLOCK`]s.
    pub upload_bytes: usize,
    /// The answer.
    pub expected: Expected,
}

/// A connection's bytes, in cleartext or within TLS.
trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// Where to connect on this machine.
#[derive(Clone)]
pub struct Door {
    /// The port.
    pub port: u16,
    /// What makes the handshake, where TLS is spoken.
    pub tls: Option<TlsConnector>,
}

/// One connection.
pub struct Client {
    stream: Box<dyn Stream>,
    buffer: Vec<u8>,
    filled: usize,
}

/// A stream of which the first bytes have come.
pub struct Begun {
    chunks: Chunks,
    /// From the request's first byte to the stream's first.
    pub first_byte: Duration,
}

impl Client {
    /// Connects, so that the call can be made.
    pub async fn connect(door: &Door, call: &Call) -> Result<Self, String> {
        let port = door.port;
        let stream = TcpStream::connect(("127.0.0.1", port))
            .await
            .map_err(|e| format!("cannot connect to port {port}: {e}"))?;
        stream.set_nodelay(true).map_err(|e| e.to_string())?;
        let mut client = Self {
            stream: match &door.tls {
                Some(tls) => {
                    let name = ServerName::try_from(NAME).map_err(|e| e.to_string())?;
                    let shaken = tls.connect(name, stream).await;
                    Box::new(shaken.map_err(|e| format!("TLS with port {port}: {e}"))?)
                }
                None => Box::new(stream),
            },
            buffer: vec![0; BUFFER_BYTES],
            filled: 0,
        };
        if let Some(opening) = &call.opening {
            client.write(opening).await?;
            client.read_head("101").await?;
        }
        Ok(client)
    }

    /// Sends a request and reads its answer to the end. Gives the time to that end, or to the first
    /// byte of a stream.
    pub async fn exchange(&mut self, call: &Call) -> Result<Duration, String> {
        let started = Instant::now();
        match &call.expected {
            Expected::Events(bytes) => {
                let begun = self.begin(call).await?;
                let first_byte = begun.first_byte;
                self.finish(begun, *bytes).await?;
                return Ok(first_byte);
            }
            Expected::Json(body) => {
                self.send(call).await?;
                self.read_json(body).await?;
            }
            Expected::Body(bytes) => {
                self.send(call).await?;
                self.read_body(*bytes).await?;
            }
            Expected::Frame(frame) => {
                self.send(call).await?;
                self.read_frame(frame).await?;
            }
        }
        Ok(started.elapsed())
    }

    /// Sends a request and waits for the first byte of the stream that answers it.
    pub async fn begin(&mut self, call: &Call) -> Result<Begun, String> {
        let started = Instant::now();
        self.send(call).await?;
        let head = self.read_head("200").await?;
        if head.length.is_some() {
            return Err("a stream was answered with a Content-Length".to_owned());
        }
        let mut chunks = Chunks::default();
        chunks.take(&self.buffer[head.bytes..self.filled])?;
        while chunks.payload_bytes == 0 {
            self.read_chunks(&mut chunks).await?;
        }
        Ok(Begun {
            chunks,
            first_byte: started.elapsed(),
        })
    }

    /// Reads the rest of a stream, which must have `bytes` bytes in all.
    pub async fn finish(&mut self, begun: Begun, bytes: usize) -> Result<(), String> {
        let mut chunks = begun.chunks;
        while !matches!(chunks.state, State::Done) {
            self.read_chunks(&mut chunks).await?;
        }
        self.filled = 0;
        if chunks.payload_bytes != bytes {
            let got = chunks.payload_bytes;
            return Err(format!("a stream has {got} bytes, not {bytes}"));
        }
        match chunks.tail == LAST_EVENT {
            true => Ok(()),
            false => Err("a stream does not end with [DONE]".to_owned()),
        }
    }

    async fn send(&mut self, call: &Call) -> Result<(), String> {
        self.filled = 0;
        self.write(&call.request).await?;
        let mut left = call.upload_bytes;
        while left > 0 {
            let bytes = left.min(BLOCK_BYTES);
            self.write(&BLOCK[..bytes]).await?;
            left -= bytes;
        }
        Ok(())
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), String> {
        let written = async {
            self.stream.write_all(bytes).await?;
            self.stream.flush().await
        };
        written
            .await
            .map_err(|e| format!("cannot send a request: {e}"))
    }

    async fn read_json(&mut self, body: &[u8]) -> Result<(), String> {
        let head = self.read_head("200").await?;
        let Some(length) = head.length else {
            return Err("a JSON answer has no Content-Length".to_owned());
        };
        while self.filled < head.bytes + length {
            self.read().await?;
        }
        match &self.buffer[head.bytes..self.filled] == body {
            true => Ok(()),
            false => Err(format!(
                "not the body that the upstream sent: {}",
                self.text()
            )),
        }
    }

    async fn read_body(&mut self, bytes: usize) -> Result<(), String> {
        let head = self.read_head("200").await?;
        if head.length != Some(bytes) {
            return Err(format!("not a body of {bytes} bytes: {}", self.text()));
        }
        let mut left = (head.bytes + bytes).saturating_sub(self.filled);
        let mut block = vec![0; BLOCK_BYTES];
        while left > 0 {
            let most = left.min(BLOCK_BYTES);
            match self.stream.read(&mut block[..most]).await {
                Ok(0) => return Err(format!("a body was cut {left} bytes before its end")),
                Ok(read) => left -= read,
                Err(e) => return Err(format!("cannot read a body: {e}")),
            }
        }
        Ok(())
    }

    async fn read_frame(&mut self, frame: &[u8]) -> Result<(), String> {
        while self.filled < frame.len() {
            self.read().await?;
        }
        match &self.buffer[..self.filled] == frame {
            true => Ok(()),
            false => Err(format!("not the frame that was sent: {}", self.text())),
        }
    }

    async fn read_head(&mut self, status: &str) -> Result<Head, String> {
        let mut searched = 0;
        let bytes = loop {
            self.read().await?;
            let from = searched.max(3) - 3;
            match memmem::find(&self.buffer[from..self.filled], b"\r\n\r\n") {
                Some(at) => break from + at + 4,
                None => searched = self.filled,
            }
        };
        let said = self.buffer.strip_prefix(b"HTTP/1.1 ");
        if !said.is_some_and(|said| said.starts_with(status.as_bytes())) {
            return Err(format!("not a {status}: {}", self.text()));
        }
        let length = content_length(&self.buffer[..bytes])?;
        Ok(Head { bytes, length })
    }

    async fn read(&mut self) -> Result<(), String> {
        if self.filled == self.buffer.len() {
            return Err(format!(
                "an answer of more than {BUFFER_BYTES} bytes: {}",
                self.text()
            ));
        }
        let read = self.stream.read(&mut self.buffer[self.filled..]).await;
        match read {
            Ok(0) => Err(format!("the connection was closed: {}", self.text())),
            Ok(bytes) => {
                self.filled += bytes;
                Ok(())
            }
            Err(e) => Err(format!("cannot read an answer: {e}")),
        }
    }

    async fn read_chunks(&mut self, chunks: &mut Chunks) -> Result<(), String> {
        self.filled = 0;
        self.read().await?;
        chunks.take(&self.buffer[..self.filled])
    }

    /// The beginning of what has been read, for an error.
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.buffer[..self.filled.min(400)]).into_owned()
    }
}

struct Head {
    bytes: usize,
    length: Option<usize>,
}

/// The announced length of a message's body.
pub fn content_length(head: &[u8]) -> Result<Option<usize>, String> {
    const NAME: &[u8] = b"content-length:";
    for line in head.split(|byte| *byte == b'\n') {
        if line.len() > NAME.len() && line[..NAME.len()].eq_ignore_ascii_case(NAME) {
            let value = String::from_utf8_lossy(&line[NAME.len()..]);
            let length = value.trim().parse();
            return length.map(Some).map_err(|_| format!("length {value}"));
        }
    }
    Ok(None)
}

/// Takes chunked framing off, wherever reads have cut it.
#[derive(Default)]
struct Chunks {
    state: State,
    payload_bytes: usize,
    /// The last bytes of the payload, as many as [`LAST_EVENT`] has.
    tail: Vec<u8>,
}

enum State {
    /// In a size line; the size so far.
    Size(usize),
    /// In a chunk; what is left of it.
    Data(usize),
    /// Behind a chunk; what is left of its line break.
    Break(usize),
    /// Behind the last chunk; what is left of the line break that ends the body.
    End(usize),
    Done,
}

impl Default for State {
    fn default() -> Self {
        Self::Size(0)
    }
}

impl Chunks {
    fn take(&mut self, mut input: &[u8]) -> Result<(), String> {
        while let Some(first) = input.first() {
            let mut used = 1;
            self.state = match self.state {
                State::Size(0) if *first == b'\n' => State::End(2),
                State::Size(size) if *first == b'\n' => State::Data(size),
                State::Size(size) if *first == b'\r' => State::Size(size),
                State::Size(size) => {
                    let digit = char::from(*first).to_digit(16);
                    let digit = digit.ok_or_else(|| format!("chunk size: {first:#x}"))?;
                    State::Size(size * 16 + digit as usize)
                }
                State::Data(left) => {
                    used = left.min(input.len());
                    self.note(&input[..used]);
                    match left - used {
                        0 => State::Break(2),
                        left => State::Data(left),
                    }
                }
                State::Break(1) => State::Size(0),
                State::Break(left) => State::Break(left - 1),
                State::End(1) => State::Done,
                State::End(left) => State::End(left - 1),
                State::Done => return Err("bytes after the end of a stream".to_owned()),
            };
            input = &input[used..];
        }
        Ok(())
    }

    fn note(&mut self, payload: &[u8]) {
        self.payload_bytes += payload.len();
        let from = payload.len().saturating_sub(LAST_EVENT.len());
        self.tail.extend_from_slice(&payload[from..]);
        let surplus = self.tail.len().saturating_sub(LAST_EVENT.len());
        self.tail.drain(..surplus);
    }
}
