//! What the provider answers, and how it comes.

use serde_json::{Map, Value, json};

use crate::support::upstream::Reply;

/// What the provider says of itself in each answer. The first two are not for the client.
const ABOUT_ITSELF: &str = "x-request-id: req-of-the-provider\r\n\
                            openai-organization: org-of-the-provider\r\n\
                            openai-processing-ms: 7\r\n";

/// An answer.
pub struct Answer {
    status: &'static str,
    /// Header lines, each ended by CRLF.
    headers: String,
    body: Body,
    end: End,
}

enum Body {
    /// With its length announced.
    Whole(Vec<u8>),
    Chunks(Vec<Vec<u8>>),
}

#[derive(PartialEq)]
enum End {
    Proper,
    /// The connection breaks in the middle.
    Broken,
    /// There is none until the connection is closed from the other side.
    Never,
}

impl Answer {
    fn new(kind: &str, body: Body) -> Self {
        Self {
            status: "200 OK",
            headers: format!("content-type: {kind}\r\n{ABOUT_ITSELF}"),
            body,
            end: End::Proper,
        }
    }

    /// An answer in JSON.
    pub fn json(value: &Value) -> Self {
        Self::bytes("application/json", value.to_string())
    }

    /// An error in OpenAI's form.
    pub fn error(status: &'static str, error: Value) -> Self {
        let answer = Self::json(&json!({ "error": error }));
        Self { status, ..answer }
    }

    /// What is missing.
    pub fn missing(object: &str, id: &str) -> Self {
        let message = format!("No such {object}: {id}");
        let kind = "invalid_request_error";
        let error = json!({ "message": message, "type": kind, "param": "id", "code": null });
        Self::error("404 Not Found", error)
    }

    /// Bytes of a type.
    pub fn bytes(kind: &str, bytes: impl Into<Vec<u8>>) -> Self {
        Self::new(kind, Body::Whole(bytes.into()))
    }

    /// Bytes of a type, without their length.
    pub fn chunks<'b>(kind: &str, chunks: impl Iterator<Item = &'b [u8]>) -> Self {
        Self::new(kind, Body::Chunks(chunks.map(<[u8]>::to_vec).collect()))
    }

    /// Events by their types, each with its other fields.
    pub fn events(events: &[(&str, Value)]) -> Self {
        let event = |(number, (kind, fields)): (usize, &(&str, Value))| {
            let mut data = json!({ "type": kind, "sequence_number": number });
            merge(&mut data, fields);
            format!("event: {kind}\ndata: {data}\n\n").into_bytes()
        };
        let events = events.iter().enumerate().map(event);
        Self::new("text/event-stream", Body::Chunks(events.collect()))
    }

    /// The same with one more header line.
    pub fn with(mut self, header: &str) -> Self {
        self.headers.push_str(header);
        self.headers.push_str("\r\n");
        self
    }

    /// The same, but the connection breaks in the middle of it.
    pub fn broken(self) -> Self {
        let end = End::Broken;
        Self { end, ..self }
    }

    /// The same, but half of it is all that comes.
    pub fn endless(self) -> Self {
        let end = End::Never;
        Self { end, ..self }
    }

    /// Sends it.
    pub async fn send(self, reply: &mut Reply) {
        let framing = match &self.body {
            Body::Whole(bytes) => format!("content-length: {}", bytes.len()),
            Body::Chunks(_) => "transfer-encoding: chunked".to_owned(),
        };
        let (status, headers) = (self.status, self.headers);
        let head = format!("HTTP/1.1 {status}\r\n{headers}{framing}\r\n\r\n");
        reply.raw(head).await;
        let whole = self.end == End::Proper;
        match self.body {
            Body::Whole(bytes) if whole => reply.raw(bytes).await,
            Body::Whole(bytes) => reply.raw(&bytes[..bytes.len() / 2]).await,
            Body::Chunks(chunks) => {
                for chunk in chunks {
                    let size = format!("{:x}\r\n", chunk.len());
                    reply.raw([size.as_bytes(), &chunk, b"\r\n"].concat()).await;
                }
                if whole {
                    reply.end_stream().await;
                }
            }
        }
        match self.end {
            End::Proper => {}
            End::Broken => reply.close(),
            End::Never => reply.wait_for_close().await,
        }
    }
}

/// Sets fields of an object.
pub fn merge(object: &mut Value, fields: &Value) {
    let none = Map::new();
    for (name, value) in fields.as_object().unwrap_or(&none) {
        object[name] = value.clone();
    }
}
