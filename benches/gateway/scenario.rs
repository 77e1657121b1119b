//! What is asked of the servers, and how much of it.
//!
//! Owns the requests, as an OpenAI library sends them, and the sizes of a full and a quick run.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::load::Until;
use crate::names::{MODEL, TENANT_KEY};
use crate::servers::Kind;
use crate::socket;
use crate::upstream::{EVENTS, EVENTS_BEFORE_HOLD, FILE_BYTES, PACE, Upstream};
use crate::wire::{Call, Expected};

/// What goes over a WebSocket at a time.
const MESSAGE_BYTES: usize = 1 << 10;
const KEEP_ALIVE: &str = "keep-alive";
/// Before the measurement of what is short.
const WARM_UP: Until = Until::Elapsed(Duration::from_millis(300));

/// How much is measured.
#[derive(Clone, Copy)]
pub struct Size {
    /// How often each server has its turn.
    pub rounds: usize,
    /// How often the memory of streams is measured, each time with a new process.
    pub memory_rounds: usize,
    /// How long whole answers are asked for in each turn.
    pub turn: Duration,
    /// Streams that each connection asks for in each turn.
    pub streams_each: u32,
}

impl Size {
    /// About nine minutes.
    pub const FULL: Self = Self {
        rounds: 9,
        memory_rounds: 3,
        turn: Duration::from_millis(2_000),
        streams_each: 2,
    };
    /// About three minutes.
    pub const QUICK: Self = Self {
        rounds: 3,
        memory_rounds: 1,
        turn: Duration::from_millis(1_000),
        streams_each: 1,
    };
}

/// One kind of load.
pub struct Scenario {
    /// Its name on the command line.
    pub name: &'static str,
    /// Its name in the report.
    pub title: &'static str,
    /// What is said about it beside its connections.
    pub remark: &'static str,
    /// What the figures are the figures of.
    pub unit: Unit,
    /// The servers that are compared.
    pub kinds: &'static [Kind],
    /// Connections that are kept alive.
    pub connections: usize,
    /// The request and its answer.
    pub call: Arc<Call>,
    /// How a request names a model, if it does.
    pub names: Option<fn(&str) -> String>,
    /// Before the measurement.
    pub warm_up: Until,
    /// The measurement.
    pub measured: Until,
}

/// What is counted.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Requests and their answers.
    Request,
    /// Messages and their echoes.
    RoundTrip,
    /// Files, which have a gibibyte each.
    Gibibyte,
}

/// The names of all scenarios, the memory of streams and failing providers among them.
pub const NAMES: [&str; 12] = [
    "json",
    "tls",
    "store",
    "cache",
    "cache_one",
    "big",
    "stream",
    "upload",
    "download",
    "websocket",
    "rss",
    "faults",
];

/// The scenarios that measure CPU.
pub fn all(size: Size) -> [Scenario; 10] {
    let [json, tls, store, cache, cache_one, big] = whole_answers(size);
    let [upload, download] = files();
    [
        json,
        tls,
        store,
        cache,
        cache_one,
        big,
        stream(size),
        upload,
        download,
        websocket(size),
    ]
}

fn whole_answers(size: Size) -> [Scenario; 6] {
    let json = |name, title, kinds, connections, messages: String| Scenario {
        name,
        title,
        remark: "latency to the answer's end",
        unit: Unit::Request,
        kinds,
        connections,
        call: chat(&messages, "", Expected::Json(Upstream::json())),
        names: Some(model_in_json),
        warm_up: WARM_UP,
        measured: Until::Elapsed(size.turn),
    };
    [
        json(
            "json",
            "1 KB request, JSON answer",
            &Kind::ALL,
            32,
            messages(6, 128),
        ),
        json(
            "tls",
            "1 KB request, JSON answer, over TLS",
            &Kind::TLS,
            32,
            messages(6, 128),
        ),
        json(
            "store",
            "1 KB request, JSON answer, limits of several gateways",
            &Kind::STORE,
            32,
            messages(6, 128),
        ),
        json(
            "cache",
            "An answer that is given again",
            &Kind::CACHE,
            32,
            messages(6, 128),
        ),
        json(
            "cache_one",
            "The same, one client",
            &Kind::CACHE,
            1,
            messages(6, 128),
        ),
        json(
            "big",
            "1 MB request, JSON answer",
            &Kind::ALL,
            8,
            messages(50, 20_800),
        ),
    ]
}

fn stream(size: Size) -> Scenario {
    let events = Expected::Events(Upstream::stream_bytes(EVENTS));
    Scenario {
        name: "stream",
        title: "Stream of 100 events",
        remark: "latency to the first byte",
        unit: Unit::Request,
        kinds: &Kind::STREAMS,
        connections: 100,
        call: chat(&messages(6, 128), r#""stream":true,"#, events),
        names: Some(model_in_json),
        warm_up: Until::Each {
            requests: 1,
            spread: Duration::ZERO,
        },
        measured: Until::Each {
            requests: size.streams_each,
            spread: PACE * EVENTS as u32,
        },
    }
}

/// What passes unread, one file at a time. The proof that it does is all the warming up.
fn files() -> [Scenario; 2] {
    let each = |requests| Until::Each {
        requests,
        spread: Duration::ZERO,
    };
    let file = |name, title, call| Scenario {
        name,
        title,
        remark: "a file of 1 GiB in each turn, its length announced",
        unit: Unit::Gibibyte,
        kinds: &Kind::FILES,
        connections: 1,
        call: Arc::new(call),
        names: None,
        warm_up: each(0),
        measured: each(1),
    };
    let posted = head(
        "POST /v1/files",
        KEEP_ALIVE,
        &format!(
            "Content-Type: multipart/form-data; boundary=b\r\n\
             Content-Length: {FILE_BYTES}\r\n"
        ),
    );
    let upload = Call {
        opening: None,
        request: Bytes::from(posted),
        upload_bytes: FILE_BYTES,
        expected: Expected::Json(Upstream::json()),
    };
    let download = Call {
        opening: None,
        request: Bytes::from(head("GET /v1/files/file-1/content", KEEP_ALIVE, "")),
        upload_bytes: 0,
        expected: Expected::Body(FILE_BYTES),
    };
    [
        file("upload", "Tunnel, 1 GiB up", upload),
        file("download", "Tunnel, 1 GiB down", download),
    ]
}

fn websocket(size: Size) -> Scenario {
    let text = messages(1, MESSAGE_BYTES);
    let text = &text.as_bytes()[..MESSAGE_BYTES];
    let request = format!("GET /v1/realtime?model={MODEL}");
    let opening = head(&request, "Upgrade", socket::OFFER);
    Scenario {
        name: "websocket",
        title: "WebSocket, echo of 1 KB messages",
        remark: "one message under way on each; latency to the echo's end",
        unit: Unit::RoundTrip,
        kinds: &Kind::LONG,
        connections: 16,
        call: Arc::new(Call {
            opening: Some(Bytes::from(opening)),
            request: Bytes::from(socket::masked(text)),
            upload_bytes: 0,
            expected: Expected::Frame(Bytes::from(socket::plain(text))),
        }),
        names: Some(|model| format!("model={model} HTTP/1.1")),
        warm_up: WARM_UP,
        measured: Until::Elapsed(size.turn),
    }
}

/// A stream that stays open until the upstream is told to end it.
pub fn held_stream() -> Arc<Call> {
    let events = Expected::Events(Upstream::stream_bytes(EVENTS_BEFORE_HOLD));
    chat(&messages(6, 128), r#""stream":true,"user":"hold","#, events)
}

fn chat(messages: &str, fields: &str, expected: Expected) -> Arc<Call> {
    Arc::new(Call {
        opening: None,
        request: chat_request(messages, fields),
        upload_bytes: 0,
        expected,
    })
}

/// A chat of about 1 KB, with further fields in its body, each with a comma behind it.
pub fn short_chat(fields: &str) -> Bytes {
    chat_request(&messages(6, 128), fields)
}

fn chat_request(messages: &str, fields: &str) -> Bytes {
    // What the upstream looks for stands first: it reads no further.
    let body = format!(
        r#"{{"model":"{MODEL}",{fields}"temperature":0.7,"max_tokens":256,"messages":[{messages}]}}"#
    );
    let length = body.len();
    let head = head(
        "POST /v1/chat/completions",
        KEEP_ALIVE,
        &format!("Content-Type: application/json\r\nContent-Length: {length}\r\n"),
    );
    Bytes::from(head + &body)
}

fn model_in_json(model: &str) -> String {
    format!(r#""model":"{model}""#)
}

/// A request's head, `headers` being what it has of its own.
fn head(request: &str, connection: &str, headers: &str) -> String {
    format!(
        "{request} HTTP/1.1\r\n\
         Host: api.openai.com\r\n\
         Accept-Encoding: gzip, deflate\r\n\
         Connection: {connection}\r\n\
         Accept: application/json\r\n\
         User-Agent: OpenAI/Python 1.109.1\r\n\
         X-Stainless-Lang: python\r\n\
         X-Stainless-Package-Version: 1.109.1\r\n\
         X-Stainless-OS: Linux\r\n\
         X-Stainless-Arch: x64\r\n\
         X-Stainless-Runtime: CPython\r\n\
         X-Stainless-Runtime-Version: 3.12.3\r\n\
         X-Stainless-Async: false\r\n\
         X-Stainless-Retry-Count: 0\r\n\
         Authorization: Bearer {TENANT_KEY}\r\n\
         {headers}\r\n"
    )
}

/// A conversation in plain words, with the escapes that JSON text has: a line break now and then,
/// a quotation here and there.
fn messages(count: usize, bytes_each: usize) -> String {
    const TEXT: &str = concat!(
        r"The proxy reads a request, decides where it belongs, and passes it on.\n",
        r#"\"Nothing is faster than not doing it,\" they say, and then they measure it.\n"#,
        r"An answer comes back in pieces; each piece leaves as soon as it is there.\n",
    );
    let content: String = TEXT.chars().cycle().take(bytes_each).collect();
    let content = content.trim_end_matches('\\');
    let message = |number: usize| {
        let role = if number.is_multiple_of(2) {
            "user"
        } else {
            "assistant"
        };
        format!(r#"{{"role":"{role}","content":"{content}"}}"#)
    };
    (0..count).map(message).collect::<Vec<_>>().join(",")
}
