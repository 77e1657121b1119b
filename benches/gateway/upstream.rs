//! The provider's stand-in: a static server that costs as little as it can.
//!
//! Owns what it answers: a small JSON, a paced event stream, or a stream that stays open until it
//! is told to end, which of them is said at the very beginning of a request's body; the contents of
//! a large file; and each message of a WebSocket with its echo. Runs inside the benchmark, so its
//! CPU is nobody's row. A request that it cannot read gets a 400, which ends the benchmark.

use std::fmt::Write;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use memchr::memmem;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::socket;
use crate::wire::{BLOCK, BLOCK_BYTES, LAST_EVENT, content_length};

/// Events of a stream, without the last, `[DONE]`.
pub const EVENTS: usize = 100;
/// Between two events of a stream.
pub const PACE: Duration = Duration::from_millis(6);
/// Events that a stream gives before it stays open.
pub const EVENTS_BEFORE_HOLD: usize = 3;
/// The size of a file.
pub const FILE_BYTES: usize = 1 << 30;

/// From the opening of a WebSocket until it is accepted. Pingora's proxy takes the end of the
/// request for the end of the socket when the two reach it at once.
const ACCEPTS_AFTER: Duration = Duration::from_millis(20);
/// How much of a body is looked at.
const LOOKED_AT_BYTES: usize = 2048;
/// What a provider's answer carries besides its type and length.
const HEADERS: &str = "date: Thu, 01 Jan 2026 00:00:00 GMT\r\n\
    server: cloudflare\r\n\
    openai-organization: bench\r\n\
    openai-processing-ms: 321\r\n\
    openai-version: 2020-10-01\r\n\
    x-ratelimit-limit-requests: 10000\r\n\
    x-ratelimit-remaining-requests: 9999\r\n\
    x-ratelimit-remaining-tokens: 29999945\r\n\
    x-request-id: req_4f1c2a9b8d7e6f5a4b3c2d1e0f9a8b7c\r\n";
/// What a provider adds to each event of a stream whose usage it is asked for, and the event that tells
/// it.
const NO_USAGE_YET: &str = r#","usage":null"#;
const USAGE: &str = concat!(
    r#"data: {"id":"chatcmpl-BmKzVb4yT2hQ8sXw1nRc","object":"chat.completion.chunk","created":1767225600,"model":"gpt-4o-2024-11-20","choices":[],"usage":{"prompt_tokens":231,"completion_tokens":100,"total_tokens":331}}"#,
    "\n\n"
);
const JSON: &str = r#"{"id":"chatcmpl-BmKzVb4yT2hQ8sXw1nRc","object":"chat.completion","created":1767225600,"model":"gpt-4o-2024-11-20","choices":[{"index":0,"message":{"role":"assistant","content":"A reverse proxy takes requests in place of the servers behind it, and hands their answers back as though they were its own.","refusal":null,"annotations":[]},"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":231,"completion_tokens":27,"total_tokens":258,"prompt_tokens_details":{"cached_tokens":0,"audio_tokens":0}},"service_tier":"default","system_fingerprint":"fp_b7faba9ef5"}"#;

/// The upstream, while it runs.
pub struct Upstream {
    /// Where it listens on 127.0.0.1.
    pub port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    json: Bytes,
    stream_head: Bytes,
    /// The same for a stream that does not say that it is one of events.
    plain_head: Bytes,
    /// Without usage, and as they are where usage is asked for.
    events: [Vec<Bytes>; 2],
    end: [Bytes; 2],
    /// Ends the streams that are held open, each time something is sent.
    release: watch::Sender<()>,
    is_watched: AtomicBool,
    seen: Mutex<String>,
}

impl Upstream {
    /// Starts it on a free port.
    pub async fn start() -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let port = listener.local_addr()?.port();
        let shared = Arc::new(Shared::new());
        let serving = Arc::clone(&shared);
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let shared = Arc::clone(&serving);
                // A connection that breaks is missed by the client at the other end.
                tokio::spawn(async move { serve(socket, &shared).await });
            }
        });
        Ok(Self { port, shared })
    }

    /// The JSON body.
    pub fn json() -> Bytes {
        Bytes::from_static(JSON.as_bytes())
    }

    /// The bytes of a stream of so many events and its end.
    pub fn stream_bytes(events: usize) -> usize {
        (0..events).map(|n| event(n, "").len()).sum::<usize>() + LAST_EVENT.len()
    }

    /// Ends the streams that are held open.
    pub fn release(&self) {
        self.shared.release.send_replace(());
    }

    /// Notes what arrives from now on, or no longer.
    pub fn watch(&self, watched: bool) {
        self.shared.is_watched.store(watched, Ordering::Release);
    }

    /// The head of the last request that was noted, and the beginning of its body.
    pub fn seen(&self) -> String {
        self.shared.seen.lock().clone()
    }
}

impl Shared {
    fn new() -> Self {
        let length = JSON.len();
        let stream_head = |media: &str| {
            Bytes::from(format!(
                "HTTP/1.1 200 OK\r\ncontent-type: {media}; charset=utf-8\r\n\
                 transfer-encoding: chunked\r\n{HEADERS}\r\n"
            ))
        };
        let events = |more: &str| {
            let events = (0..EVENTS).map(|n| Bytes::from(chunk(event(n, more).as_bytes())));
            events.collect()
        };
        let end = |usage: &str| {
            let last = [usage.as_bytes(), LAST_EVENT].concat();
            Bytes::from([chunk(&last), b"0\r\n\r\n".to_vec()].concat())
        };
        Self {
            json: Bytes::from(format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\
                 content-length: {length}\r\n{HEADERS}\r\n{JSON}"
            )),
            stream_head: stream_head("text/event-stream"),
            plain_head: stream_head("text/plain"),
            events: ["", NO_USAGE_YET].map(events),
            end: ["", USAGE].map(end),
            release: watch::Sender::new(()),
            is_watched: AtomicBool::new(false),
            seen: Mutex::default(),
        }
    }
}

/// About 200 bytes, as a chat model sends them for each token.
fn event(number: usize, more: &str) -> String {
    let mut text = String::from(
        r#"data: {"id":"chatcmpl-BmKzVb4yT2hQ8sXw1nRc","object":"chat.completion.chunk","created":1767225600,"model":"gpt-4o-2024-11-20","choices":[{"index":0,"delta":{"content":" word"#,
    );
    let _ = write!(text, "{number:03}");
    text.push_str("\"},\"finish_reason\":null}]");
    text.push_str(more);
    text.push_str("}\n\n");
    text
}

fn chunk(payload: &[u8]) -> Vec<u8> {
    let size = format!("{:x}\r\n", payload.len());
    [size.as_bytes(), payload, b"\r\n"].concat()
}

/// What a request asks for.
enum Asked {
    Json,
    /// Its usage too, or not.
    Stream(bool),
    /// The same, without saying what it is.
    Plain,
    Hold(bool),
    File,
    Socket,
    Unreadable,
}

async fn serve(mut socket: TcpStream, shared: &Shared) -> io::Result<()> {
    socket.set_nodelay(true)?;
    let mut buffer = vec![0; BLOCK_BYTES];
    while let Some(asked) = read_request(&mut socket, &mut buffer, shared).await? {
        match asked {
            Asked::Json => socket.write_all(&shared.json).await?,
            Asked::Stream(usage) => {
                stream(&mut socket, shared, &shared.stream_head, usage).await?;
            }
            Asked::Plain => stream(&mut socket, shared, &shared.plain_head, false).await?,
            Asked::Hold(usage) => {
                let mut released = shared.release.subscribe();
                socket.write_all(&shared.stream_head).await?;
                let events = &shared.events[usize::from(usage)];
                for event in events.iter().take(EVENTS_BEFORE_HOLD) {
                    socket.write_all(event).await?;
                }
                // The sender lives as long as `shared`.
                let _ = released.changed().await;
                socket.write_all(&shared.end[usize::from(usage)]).await?;
            }
            Asked::File => {
                let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {FILE_BYTES}\r\n\r\n");
                socket.write_all(head.as_bytes()).await?;
                for _ in 0..FILE_BYTES / BLOCK_BYTES {
                    socket.write_all(&BLOCK).await?;
                }
            }
            Asked::Socket => {
                tokio::time::sleep(ACCEPTS_AFTER).await;
                socket.write_all(socket::ACCEPTED.as_bytes()).await?;
                return echo(&mut socket, &mut buffer).await;
            }
            Asked::Unreadable => {
                let refusal = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n";
                return socket.write_all(refusal).await;
            }
        }
    }
    Ok(())
}

/// A stream of events at the pace of a model.
async fn stream(
    socket: &mut TcpStream,
    shared: &Shared,
    head: &[u8],
    usage: bool,
) -> io::Result<()> {
    let mut due = Instant::now();
    socket.write_all(head).await?;
    for event in &shared.events[usize::from(usage)] {
        socket.write_all(event).await?;
        due += PACE;
        tokio::time::sleep_until(due).await;
    }
    socket.write_all(&shared.end[usize::from(usage)]).await
}

/// Sends every message back until the other side closes.
async fn echo(socket: &mut TcpStream, buffer: &mut [u8]) -> io::Result<()> {
    let mut filled = 0;
    loop {
        match socket.read(&mut buffer[filled..]).await? {
            0 => return Ok(()),
            read => filled += read,
        }
        while let Some(frame) = socket::whole(&buffer[..filled])? {
            let text = socket::unmasked(&buffer[..frame]);
            socket.write_all(&socket::plain(&text)).await?;
            buffer.copy_within(frame..filled, 0);
            filled -= frame;
        }
    }
}

/// Reads a whole request; `None` when the connection ends.
async fn read_request(
    socket: &mut TcpStream,
    buffer: &mut [u8],
    shared: &Shared,
) -> io::Result<Option<Asked>> {
    let mut filled = 0;
    let head = loop {
        if filled == buffer.len() {
            return Ok(Some(Asked::Unreadable));
        }
        match socket.read(&mut buffer[filled..]).await? {
            0 => return Ok(None),
            read => filled += read,
        }
        if let Some(at) = memmem::find(&buffer[..filled], b"\r\n\r\n") {
            break at + 4;
        }
    };
    let length = match content_length(&buffer[..head]) {
        Ok(Some(length)) => length,
        Ok(None) if buffer.starts_with(b"GET ") => 0,
        _ => return Ok(Some(Asked::Unreadable)),
    };
    let looked_at = head + length.min(LOOKED_AT_BYTES);
    while filled < looked_at {
        match socket.read(&mut buffer[filled..]).await? {
            0 => return Ok(None),
            read => filled += read,
        }
    }
    if shared.is_watched.load(Ordering::Acquire) {
        *shared.seen.lock() = String::from_utf8_lossy(&buffer[..looked_at]).into_owned();
    }
    let asked = asked(&buffer[..head], &buffer[head..looked_at]);
    let mut left = (head + length).saturating_sub(filled);
    while left > 0 {
        match socket.read(buffer).await? {
            0 => return Ok(None),
            read => left = left.saturating_sub(read),
        }
    }
    Ok(Some(asked))
}

fn asked(head: &[u8], body: &[u8]) -> Asked {
    let path = [
        (&b"POST /v1/files "[..], Asked::Json),
        (b"GET /v1/files/", Asked::File),
        (b"GET /v1/realtime?", Asked::Socket),
    ];
    if let Some((_, asked)) = path.into_iter().find(|(path, _)| head.starts_with(path)) {
        return asked;
    }
    if head.starts_with(b"POST /plain/v1/chat/completions ") {
        return Asked::Plain;
    }
    if !head.starts_with(b"POST /v1/chat/completions ") {
        return Asked::Unreadable;
    }
    let says = |what: &[u8]| memmem::find(body, what).is_some();
    let usage = says(br#""include_usage":true"#);
    match (says(br#""stream":true"#), says(br#""user":"hold""#)) {
        (true, true) => Asked::Hold(usage),
        (true, false) => Asked::Stream(usage),
        (false, _) => Asked::Json,
    }
}
