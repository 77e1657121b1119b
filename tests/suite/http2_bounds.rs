//! What a client may have open and send at a time over one HTTP/2 connection: it is announced, and it holds.
//!
//! The client writes its frames by hand, as a client that keeps to what it is told would never reach a bound.

use std::collections::BTreeMap;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::gateway::{Gateway, config};
use crate::support::upstream::Upstream;
use crate::support::{CLIENT_KEY, soon};

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;

const FLOW_CONTROL_ERROR: u32 = 3;
const FRAME_SIZE_ERROR: u32 = 6;
const REFUSED_STREAM: u32 = 7;
const ENHANCE_YOUR_CALM: u32 = 11;

const END_HEADERS: u8 = 4;
const END_STREAM: u8 = 1;

/// A client that writes frames.
struct Frames(TcpStream);

/// A frame that came.
#[derive(Debug)]
struct Frame {
    kind: u8,
    stream: u32,
    payload: Vec<u8>,
}

impl Frame {
    fn widens_the_connection(&self) -> bool {
        self.kind == WINDOW_UPDATE && self.stream == 0
    }

    /// The last four bytes of RST_STREAM, or those of GOAWAY behind its stream.
    fn error(&self) -> u32 {
        let at = if self.kind == GOAWAY { 4 } else { 0 };
        u32::from_be_bytes(self.payload[at..at + 4].try_into().unwrap())
    }
}

impl Frames {
    /// Opens a connection, and gives the settings that are announced.
    async fn open(gateway: &Gateway) -> (Self, BTreeMap<u16, u32>) {
        let mut frames = Self(TcpStream::connect(gateway.address).await.unwrap());
        let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
        frames.0.write_all(preface).await.unwrap();
        frames.send(SETTINGS, 0, 0, &[]).await;
        let settings = frames.until(|frame| frame.kind == SETTINGS).await;
        let pairs = settings.payload.chunks(6).map(|pair| {
            let id = u16::from_be_bytes([pair[0], pair[1]]);
            (id, u32::from_be_bytes(pair[2..].try_into().unwrap()))
        });
        let pairs = pairs.collect();
        (frames, pairs)
    }

    async fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let bytes = frame(kind, flags, stream, payload);
        // What the gateway does not take, it has ended the connection for.
        let _ = self.0.write_all(&bytes).await;
    }

    /// Begins a chat, whose body keeps its stream open.
    async fn begin(&mut self, stream: u32) {
        self.send(HEADERS, END_HEADERS, stream, &fields()).await;
    }

    async fn next(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        soon("a frame", self.0.read_exact(&mut head)).await.ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; usize::try_from(length).unwrap()];
        self.0.read_exact(&mut payload).await.ok()?;
        Some(Frame {
            kind: head[3],
            stream: u32::from_be_bytes(head[5..].try_into().unwrap()),
            payload,
        })
    }

    /// How the connection, or a stream of it, is ended. `None`: what was sent in excess was unread when the gateway
    /// closed, so that the connection was reset and its last frame is lost.
    async fn end(&mut self) -> Option<(u8, u32)> {
        loop {
            let frame = self.next().await?;
            if [RST_STREAM, GOAWAY].contains(&frame.kind) {
                return Some((frame.kind, frame.error()));
            }
        }
    }

    async fn until(&mut self, wanted: impl Fn(&Frame) -> bool) -> Frame {
        loop {
            let frame = self.next().await;
            let frame = frame.expect("the connection ended before the frame");
            if wanted(&frame) {
                return frame;
            }
        }
    }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let head = [length[1], length[2], length[3], kind, flags];
    [&head[..], &stream.to_be_bytes(), payload].concat()
}

/// The fields of a chat with the tests' key, by HPACK without Huffman's code.
fn fields() -> Vec<u8> {
    // POST and http have an index.
    let mut fields = vec![0x83, 0x86];
    let key = format!("Bearer {CLIENT_KEY}");
    // So have the names of :path, :authority, content-type and authorization. Above 14 an index takes two bytes.
    for (index, value) in [
        (&[0x04][..], "/v1/chat/completions"),
        (&[0x01], "gateway"),
        (&[0x0f, 31 - 15], "application/json"),
        (&[0x0f, 23 - 15], &key),
    ] {
        fields.extend(index);
        fields.push(u8::try_from(value.len()).unwrap());
        fields.extend(value.bytes());
    }
    fields
}

/// A gateway with these keys of `server.http2`.
fn bounded(upstream: &Upstream, http2: &str) -> Gateway {
    let yaml = config(upstream.address, "", "");
    Gateway::start(&yaml.replace("server:\n", &format!("server:\n  http2: {{ {http2} }}\n")))
}

#[tokio::test]
async fn what_is_configured_is_announced() {
    let upstream = Upstream::answering("{}").await;
    // By default what RFC 9113 begins with is not said.
    let gateway = bounded(&upstream, "");
    let (_, settings) = Frames::open(&gateway).await;
    let said = |id| settings.get(&id).copied();
    assert_eq!(said(3), Some(100), "{settings:?}");
    assert!(said(4).is_none_or(|window| window == 65_535));
    assert!(said(5).is_none_or(|frame| frame == 16_384));
    let gateway = bounded(
        &upstream,
        "max_concurrent_streams: 7, initial_window: 1MiB, connection_window: 2MiB, max_frame_size: 32KiB",
    );
    let (mut frames, settings) = Frames::open(&gateway).await;
    assert_eq!(settings[&3], 7);
    assert_eq!(settings[&4], 1 << 20);
    assert_eq!(settings[&5], 32 << 10);
    let grown = frames.until(Frame::widens_the_connection).await.payload;
    let grown = u32::from_be_bytes(grown.try_into().unwrap());
    assert_eq!(grown, (2 << 20) - 65_535);
    assert_eq!(settings[&6], 32 << 10, "twice `limits.http2_header`");
}

#[tokio::test]
async fn a_stream_too_many_is_refused_and_the_others_go_on() {
    let upstream = Upstream::answering("{}").await;
    let gateway = bounded(&upstream, "max_concurrent_streams: 2");
    let (mut frames, _) = Frames::open(&gateway).await;
    for stream in [1, 3, 5] {
        frames.begin(stream).await;
    }
    let refused = frames.until(|frame| frame.kind == RST_STREAM).await;
    assert_eq!((refused.stream, refused.error()), (5, REFUSED_STREAM));
    // The others are told that they name no model.
    for stream in [1, 3] {
        frames.send(DATA, END_STREAM, stream, b"{}").await;
    }
    for _ in 0..2 {
        let answered = frames.until(|frame| frame.kind == HEADERS).await;
        assert_ne!(answered.stream, 5);
    }
}

#[tokio::test]
async fn a_window_and_a_frame_are_not_exceeded() {
    let upstream = Upstream::answering("{}").await;
    let data = |count: usize, size: usize| frame(DATA, 0, 1, &vec![b' '; size]).repeat(count);
    for (http2, sent, ended, error) in [
        (
            "initial_window: 16KiB, connection_window: 64MiB",
            data(64, 16 << 10),
            RST_STREAM,
            FLOW_CONTROL_ERROR,
        ),
        (
            "initial_window: 16MiB, connection_window: 65535",
            data(64, 16 << 10),
            GOAWAY,
            FLOW_CONTROL_ERROR,
        ),
        (
            "max_frame_size: 16KiB, initial_window: 1MiB",
            data(1, (16 << 10) + 1),
            GOAWAY,
            FRAME_SIZE_ERROR,
        ),
    ] {
        let gateway = bounded(&upstream, http2);
        let (mut frames, _) = Frames::open(&gateway).await;
        // Until it is told of, a longer window of the connection does not hold.
        if http2.contains("connection_window: 64MiB") {
            frames.until(Frame::widens_the_connection).await;
        }
        frames.begin(1).await;
        let _ = frames.0.write_all(&sent).await;
        match frames.end().await {
            Some(end) => assert_eq!(end, (ended, error), "{http2}"),
            None => assert_eq!(ended, GOAWAY, "{http2}"),
        }
        assert_eq!(gateway.get("/health").await.status, 200);
    }
    let gateway = bounded(&upstream, "max_frame_size: 32KiB");
    let (mut frames, _) = Frames::open(&gateway).await;
    frames.begin(1).await;
    frames.send(DATA, END_STREAM, 1, &[b' '; 20 << 10]).await;
    frames.until(|frame| frame.kind == HEADERS).await;
}

#[tokio::test]
async fn a_client_that_resets_its_streams_at_once_loses_its_connection() {
    let upstream = Upstream::answering("{}").await;
    for (resets, http2) in [(400_u32, "max_pending_resets: 5"), (400, "")] {
        let gateway = bounded(&upstream, http2);
        let (mut frames, _) = Frames::open(&gateway).await;
        let mut all = Vec::new();
        for n in 0..resets {
            let stream = 2 * n + 1;
            all.extend(frame(HEADERS, END_HEADERS, stream, &fields()));
            all.extend(frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes()));
        }
        let _ = frames.0.write_all(&all).await;
        let refused = (RST_STREAM, REFUSED_STREAM);
        let mut end = frames.end().await;
        // Streams beyond `max_concurrent_streams` are refused before.
        while end == Some(refused) {
            end = frames.end().await;
        }
        assert!(
            end.is_none_or(|end| end == (GOAWAY, ENHANCE_YOUR_CALM)),
            "{http2}: {end:?}"
        );
        assert_eq!(gateway.get("/health").await.status, 200);
    }
}

#[tokio::test]
async fn a_reload_holds_for_the_next_connection() {
    let upstream = Upstream::answering("{}").await;
    let gateway = bounded(&upstream, "max_concurrent_streams: 7");
    let yaml = config(upstream.address, "", "");
    let other = "server:\n  http2: { max_concurrent_streams: 9 }\n";
    gateway
        .folder()
        .write("tollgate.yaml", yaml.replace("server:\n", other));
    gateway.output().wait_for("server.http2: changed");
    let (_, settings) = Frames::open(&gateway).await;
    assert_eq!(settings[&3], 9);
}
