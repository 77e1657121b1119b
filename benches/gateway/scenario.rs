//! What is asked of the servers, and how much of it.
//!
//! Owns the requests, as an OpenAI library sends them, and the sizes of a full and a quick run.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::load::Until;
use crate::upstream::{EVENTS, EVENTS_BEFORE_HOLD, PACE, Upstream};
use crate::wire::{Call, Expected};

/// The key of the tenant, which clients send.
pub const TENANT_KEY: &str = "sk-tenant-0c1d2e3f4a5b6c7d8e9f0a1b2c3d4e5f";
/// The provider's key, which tollgate sends in its place.
pub const PROVIDER_KEY: &str = "sk-provider-9f8e7d6c5b4a3f2e1d0c9b8a7f6e5d4c";
/// The model that clients ask for.
pub const MODEL: &str = "gpt-4o";
/// The model that tollgate asks for in its place.
pub const SENT_MODEL: &str = "gpt-4o-2024-11-20";

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
    /// About five minutes.
    pub const FULL: Self = Self {
        rounds: 9,
        memory_rounds: 3,
        turn: Duration::from_millis(2_000),
        streams_each: 2,
    };
    /// About one minute.
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
    /// What the latencies are the latencies of.
    pub latency_of: &'static str,
    /// Connections that are kept alive.
    pub connections: usize,
    /// The request and its answer.
    pub call: Arc<Call>,
    /// Before the measurement.
    pub warm_up: Until,
    /// The measurement.
    pub measured: Until,
}

/// The names of all scenarios, the memory of streams among them.
pub const NAMES: [&str; 4] = ["json", "big", "stream", "rss"];

/// The scenarios that measure CPU.
pub fn all(size: Size) -> [Scenario; 3] {
    let json = Expected::Json(Upstream::json());
    let warm_up = Until::Elapsed(Duration::from_millis(300));
    let measured = Until::Elapsed(size.turn);
    [
        Scenario {
            name: "json",
            title: "1 KB request, JSON answer",
            latency_of: "to the answer's end",
            connections: 32,
            call: call(&messages(6, 128), "", json.clone()),
            warm_up,
            measured,
        },
        Scenario {
            name: "big",
            title: "1 MB request, JSON answer",
            latency_of: "to the answer's end",
            connections: 8,
            call: call(&messages(50, 20_800), "", json),
            warm_up,
            measured,
        },
        Scenario {
            name: "stream",
            title: "Stream of 100 events",
            latency_of: "to the first byte",
            connections: 100,
            call: call(
                &messages(6, 128),
                r#""stream":true,"#,
                Expected::Events(Upstream::stream_bytes(EVENTS)),
            ),
            warm_up: Until::Each {
                requests: 1,
                spread: Duration::ZERO,
            },
            measured: Until::Each {
                requests: size.streams_each,
                spread: PACE * EVENTS as u32,
            },
        },
    ]
}

/// A stream that stays open until the upstream is told to end it.
pub fn held_stream() -> Arc<Call> {
    let events = Expected::Events(Upstream::stream_bytes(EVENTS_BEFORE_HOLD));
    call(&messages(6, 128), r#""stream":true,"user":"hold","#, events)
}

fn call(messages: &str, fields: &str, expected: Expected) -> Arc<Call> {
    // What the upstream looks for stands first: it reads no further.
    let body = format!(
        r#"{{"model":"{MODEL}",{fields}"temperature":0.7,"max_tokens":256,"messages":[{messages}]}}"#
    );
    let length = body.len();
    let request = format!(
        "POST /v1/chat/completions HTTP/1.1\r\n\
         Host: api.openai.com\r\n\
         Accept-Encoding: gzip, deflate\r\n\
         Connection: keep-alive\r\n\
         Accept: application/json\r\n\
         Content-Type: application/json\r\n\
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
         Content-Length: {length}\r\n\r\n{body}"
    );
    Arc::new(Call {
        request: Bytes::from(request),
        expected,
    })
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
