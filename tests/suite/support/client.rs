//! A client that sees bytes: HTTP/1.1 by hand, so that a test knows what was written when.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use super::websocket::Side;
use super::{CLIENT_KEY, PATIENCE, soon, within};

/// One connection.
pub struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
    /// How long it waits for an answer, and for each part of it.
    pub patience: Duration,
}

/// A whole answer.
#[derive(Debug)]
pub struct Response {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// Whether the answer came to its proper end.
    pub complete: bool,
}

impl Response {
    /// The first value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut of_name = self
            .headers
            .iter()
            .filter(|(n, _)| n.eq_ignore_ascii_case(name));
        of_name.next().map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|e| panic!("{e} in {:?}", String::from_utf8_lossy(&self.body)))
    }

    /// Asserts on the status and all four keys of an error in OpenAI's form.
    #[track_caller]
    pub fn assert_error(&self, status: u16, kind: &str, code: Option<&str>, param: Option<&str>) {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.header("content-type"), Some("application/json"));
        assert!(
            self.header("x-request-id")
                .is_some_and(|id| id.starts_with("req_"))
        );
        let body = self.json();
        let error = body["error"].as_object().unwrap();
        let mut keys: Vec<&str> = error.keys().map(String::as_str).collect();
        keys.sort_unstable();
        assert_eq!(keys, ["code", "message", "param", "type"]);
        assert_eq!(error["type"], Value::from(kind), "{body}");
        assert_eq!(error["code"], Value::from(code), "{body}");
        assert_eq!(error["param"], Value::from(param), "{body}");
        assert!(
            error["message"].as_str().is_some_and(|m| m.len() > 10),
            "{body}"
        );
    }
}

/// How the body of an answer is framed.
enum Framing {
    Length(usize),
    Chunked,
    UntilClose,
}

impl Client {
    pub async fn connect(address: SocketAddr) -> Self {
        Self::over(TcpStream::connect(address).await.unwrap())
    }

    /// Connects from an address of this machine's.
    pub async fn connect_from(ip: &str, address: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(format!("{ip}:0").parse().unwrap()).unwrap();
        Self::over(socket.connect(address).await.unwrap())
    }

    fn over(stream: TcpStream) -> Self {
        stream.set_nodelay(true).unwrap();
        Self {
            stream,
            buffer: Vec::new(),
            patience: PATIENCE,
        }
    }

    /// Sends raw bytes.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let sent = self.stream.write_all(bytes.as_ref());
        soon("a write of the client", sent).await.unwrap();
    }

    /// Sends raw bytes as far as the gateway takes them.
    pub async fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        soon(
            "a write of the client",
            self.stream.write_all(bytes.as_ref()),
        )
        .await
        .is_ok()
    }

    /// Posts JSON with the tests' key, and reads the answer.
    pub async fn post(&mut self, path: &str, body: &str) -> Response {
        self.send(post(path, "", body)).await;
        self.response().await
    }

    pub async fn get(&mut self, path: &str) -> Response {
        self.send(format!(
            "GET {path} HTTP/1.1\r\nhost: gateway\r\nauthorization: Bearer {CLIENT_KEY}\r\n\r\n"
        ))
        .await;
        self.response().await
    }

    /// Reads a whole answer.
    pub async fn response(&mut self) -> Response {
        within(self.patience, "an answer", self.read_response()).await
    }

    async fn read_response(&mut self) -> Response {
        let (status, headers) = loop {
            let head = self.head().await;
            if head.0 >= 200 {
                break head;
            }
        };
        let mut response = Response {
            status,
            headers,
            body: Vec::new(),
            complete: true,
        };
        match framing(&response) {
            Framing::Length(length) => {
                while self.buffer.len() < length && self.read().await {}
                response.complete = self.buffer.len() >= length;
                let rest = self.buffer.split_off(length.min(self.buffer.len()));
                response.body = std::mem::replace(&mut self.buffer, rest);
            }
            Framing::Chunked => loop {
                match self.read_chunk().await {
                    Some(chunk) if chunk.is_empty() => break,
                    Some(chunk) => response.body.extend(chunk),
                    None => {
                        response.complete = false;
                        break;
                    }
                }
            },
            Framing::UntilClose => {
                while self.read().await {}
                response.body = std::mem::take(&mut self.buffer);
            }
        }
        response
    }

    /// Reads the header of an answer, an informational one too.
    pub async fn head(&mut self) -> (u16, Vec<(String, String)>) {
        loop {
            if let Some((head, length)) = parse_head(&self.buffer) {
                self.buffer.drain(..length);
                return head;
            }
            let more = within(self.patience, "the header of an answer", self.read()).await;
            assert!(more, "the connection was closed before an answer");
        }
    }

    /// Reads one chunk as it was framed; empty at the proper end, `None` when it broke off.
    pub async fn chunk(&mut self) -> Option<String> {
        let chunk = soon("a chunk", self.read_chunk()).await?;
        Some(String::from_utf8(chunk).unwrap())
    }

    async fn read_chunk(&mut self) -> Option<Vec<u8>> {
        loop {
            if let Ok(httparse::Status::Complete((start, length))) =
                httparse::parse_chunk_size(&self.buffer)
            {
                let end = start + usize::try_from(length).unwrap();
                if self.buffer.len() >= end + 2 {
                    let chunk = self.buffer[start..end].to_vec();
                    self.buffer.drain(..end + 2);
                    return Some(chunk);
                }
            }
            if !self.read().await {
                return None;
            }
        }
    }

    /// Whether the gateway closes the connection, with nothing more said.
    pub async fn is_closed(&mut self) -> bool {
        let read = soon("the end of the connection", self.read()).await;
        !read && self.buffer.is_empty()
    }

    /// The connection itself, with nothing read ahead.
    pub fn into_stream(self) -> TcpStream {
        assert!(self.buffer.is_empty());
        self.stream
    }

    /// Says nothing more, as a program does that has been ended.
    pub fn leave(self) {
        drop(self);
    }

    async fn read(&mut self) -> bool {
        let mut chunk = [0; 64 << 10];
        match self.stream.read(&mut chunk).await {
            Ok(n) if n > 0 => {
                self.buffer.extend_from_slice(&chunk[..n]);
                true
            }
            _ => false,
        }
    }

    /// What one read of the socket gives: what the gateway wrote at once.
    pub async fn one_read(&mut self) -> String {
        assert!(self.buffer.is_empty());
        assert!(soon("a write of the gateway", self.read()).await);
        String::from_utf8(std::mem::take(&mut self.buffer)).unwrap()
    }
}

impl Side for Client {
    async fn take(&mut self, length: usize) -> Option<Vec<u8>> {
        while self.buffer.len() < length {
            if !soon("more from the gateway", self.read()).await {
                return None;
            }
        }
        let rest = self.buffer.split_off(length);
        Some(std::mem::replace(&mut self.buffer, rest))
    }
}

/// A POST with the tests' key; `headers` are whole lines, each ended by CRLF.
pub fn post(path: &str, headers: &str, body: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nhost: gateway\r\nauthorization: Bearer {CLIENT_KEY}\r\n\
         content-type: application/json\r\n{headers}content-length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn framing(response: &Response) -> Framing {
    let chunked = response
        .header("transfer-encoding")
        .is_some_and(|v| v.contains("chunked"));
    // It has no body, and says nothing of its length.
    if response.status == 204 {
        return Framing::Length(0);
    }
    match response.header("content-length") {
        Some(length) => Framing::Length(length.parse().unwrap()),
        None if chunked => Framing::Chunked,
        None => Framing::UntilClose,
    }
}

type Head = (u16, Vec<(String, String)>);

fn parse_head(buffer: &[u8]) -> Option<(Head, usize)> {
    let mut headers = [httparse::EMPTY_HEADER; 100];
    let mut head = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(length) = head.parse(buffer).unwrap() else {
        return None;
    };
    let pair = |h: &httparse::Header<'_>| {
        (
            h.name.to_owned(),
            String::from_utf8_lossy(h.value).into_owned(),
        )
    };
    let headers = head.headers.iter().map(pair).collect();
    Some(((head.code?, headers), length))
}
