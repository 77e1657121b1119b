//! A provider's far end, scripted over a socket.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, mpsc};
use tokio::task::{JoinHandle, JoinSet};

use super::soon;
use super::websocket::Side;

/// A request as the upstream saw it.
#[derive(Clone, Debug)]
pub struct Received {
    pub method: String,
    pub path: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Received {
    /// All values of a header.
    pub fn header(&self, name: &str) -> Vec<&str> {
        let of_name = self
            .headers
            .iter()
            .filter(|(n, _)| n.eq_ignore_ascii_case(name));
        of_name.map(|(_, value)| value.as_str()).collect()
    }

    /// The body as text.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

/// The upstream's end of a connection.
pub struct Reply {
    stream: TcpStream,
    closing: bool,
    closed: mpsc::UnboundedSender<()>,
}

impl Reply {
    /// Sends raw bytes in one write.
    pub async fn raw(&mut self, bytes: impl AsRef<[u8]>) {
        // The gateway may have gone away: that is for the test to notice.
        let _ = self.stream.write_all(bytes.as_ref()).await;
    }

    /// A whole JSON answer.
    pub async fn json(&mut self, status: &str, body: &str) {
        self.json_with(status, "", body).await;
    }

    /// A whole JSON answer with more header lines, each ended by CRLF.
    pub async fn json_with(&mut self, status: &str, headers: &str, body: &str) {
        let head = format!(
            "HTTP/1.1 {status}\r\ncontent-type: application/json\r\n{headers}content-length: {}\r\n\r\n",
            body.len()
        );
        self.raw([head.as_bytes(), body.as_bytes()].concat()).await;
    }

    /// The header of a stream of events.
    pub async fn begin_stream(&mut self) {
        self.raw(
            "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n",
        )
        .await;
    }

    /// One event, as one chunk in one write.
    pub async fn event(&mut self, data: &str) {
        self.chunk(&format!("data: {data}\n\n")).await;
    }

    /// One chunk in one write.
    pub async fn chunk(&mut self, text: &str) {
        self.raw(format!("{:x}\r\n{text}\r\n", text.len())).await;
    }

    /// The proper end of a stream.
    pub async fn end_stream(&mut self) {
        self.raw("0\r\n\r\n").await;
    }

    /// A whole stream, cut anywhere: the network knows no events.
    pub async fn stream(&mut self, text: &str) {
        self.begin_stream().await;
        for piece in text.as_bytes().chunks(700) {
            self.raw(format!("{:x}\r\n", piece.len())).await;
            self.raw(piece).await;
            self.raw("\r\n").await;
        }
        self.end_stream().await;
    }

    /// Closes the connection once the script has ended.
    pub fn close(&mut self) {
        self.closing = true;
    }

    /// Breaks the connection with a reset.
    pub fn reset(&mut self) {
        self.stream.set_zero_linger().unwrap();
        self.closing = true;
    }

    /// The connection itself.
    pub fn into_stream(self) -> TcpStream {
        self.stream
    }

    /// Sends the same text as a chunk again and again, until the gateway closes the connection.
    pub async fn chunks_until_close(&mut self, text: &str, every: Duration) {
        let chunk = format!("{:x}\r\n{text}\r\n", text.len());
        self.repeat(&chunk, every).await;
    }

    /// Sends the same for as long as the gateway takes it.
    pub async fn flood(&mut self, text: &str) {
        while self.stream.write_all(text.as_bytes()).await.is_ok() {}
        let _ = self.closed.send(());
        self.closing = true;
    }

    /// Sends the same again and again, until the gateway closes the connection.
    pub async fn repeat(&mut self, text: &str, every: Duration) {
        let mut buffer = [0; 1024];
        loop {
            match tokio::time::timeout(every, self.stream.read(&mut buffer)).await {
                Err(_) => self.raw(text).await,
                Ok(Ok(n)) if n > 0 => {}
                Ok(_) => break,
            }
        }
        let _ = self.closed.send(());
        self.closing = true;
    }

    /// Waits until the gateway closes the connection.
    pub async fn wait_for_close(&mut self) {
        let mut buffer = [0; 1024];
        while matches!(self.stream.read(&mut buffer).await, Ok(n) if n > 0) {}
        let _ = self.closed.send(());
        self.closing = true;
    }
}

impl Side for Reply {
    async fn take(&mut self, length: usize) -> Option<Vec<u8>> {
        let mut bytes = vec![0; length];
        let read = self.stream.read_exact(&mut bytes);
        soon("more from the gateway", read).await.ok()?;
        Some(bytes)
    }
}

/// An upstream whose end of each connection the test holds in its own hands.
pub struct Listener {
    listener: TcpListener,
    pub address: SocketAddr,
}

impl Listener {
    pub async fn bind() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        Self { listener, address }
    }

    /// The next connection, and the request that came over it.
    pub async fn accept(&self) -> (Received, Reply) {
        let mut reply = self.accept_connection().await;
        let request = soon("a request at the upstream", read_request(&mut reply.stream)).await;
        (request.unwrap(), reply)
    }

    /// The next connection, once the header of a request has come over it.
    pub async fn accept_header(&self) -> Reply {
        let mut reply = self.accept_connection().await;
        let mut seen = Vec::new();
        while memchr::memmem::find(&seen, b"\r\n\r\n").is_none() {
            let read = reply.stream.read_buf(&mut seen);
            assert!(soon("a header at the upstream", read).await.unwrap() > 0);
        }
        reply
    }

    async fn accept_connection(&self) -> Reply {
        let accepted = soon("a connection to the upstream", self.listener.accept()).await;
        let (stream, _) = accepted.unwrap();
        stream.set_nodelay(true).unwrap();
        Reply {
            stream,
            closing: false,
            closed: mpsc::unbounded_channel().0,
        }
    }
}

/// A running upstream.
pub struct Upstream {
    pub address: SocketAddr,
    received: Mutex<mpsc::UnboundedReceiver<Received>>,
    closed: Mutex<mpsc::UnboundedReceiver<()>>,
    requests: Arc<AtomicUsize>,
    connections: Arc<AtomicUsize>,
    serving: JoinHandle<()>,
}

impl Upstream {
    /// Starts an upstream that runs `script` for each request.
    pub async fn start<S, F>(script: S) -> Self
    where
        S: Fn(Received, Reply) -> F + Send + Sync + 'static,
        F: Future<Output = Reply> + Send + 'static,
    {
        Self::start_at("127.0.0.1:0".parse().unwrap(), script).await
    }

    /// The same at an address, as when one that was stopped comes back.
    pub async fn start_at<S, F>(address: SocketAddr, script: S) -> Self
    where
        S: Fn(Received, Reply) -> F + Send + Sync + 'static,
        F: Future<Output = Reply> + Send + 'static,
    {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (seen, received) = mpsc::unbounded_channel();
        let (closed_tx, closed) = mpsc::unbounded_channel();
        let requests = Arc::new(AtomicUsize::new(0));
        let connections = Arc::new(AtomicUsize::new(0));
        let script = Arc::new(script);
        let counters = (Arc::clone(&requests), Arc::clone(&connections));
        let serving = tokio::spawn(async move {
            let (requests, connections) = counters;
            // They end with the loop.
            let mut open = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                stream.set_nodelay(true).unwrap();
                connections.fetch_add(1, Ordering::SeqCst);
                let (script, seen, requests) =
                    (Arc::clone(&script), seen.clone(), Arc::clone(&requests));
                let mut reply = Reply {
                    stream,
                    closing: false,
                    closed: closed_tx.clone(),
                };
                open.spawn(async move {
                    while let Some(request) = read_request(&mut reply.stream).await {
                        requests.fetch_add(1, Ordering::SeqCst);
                        let _ = seen.send(request.clone());
                        reply = script(request, reply).await;
                        if reply.closing {
                            return;
                        }
                    }
                });
            }
        });
        Self {
            address,
            received: Mutex::new(received),
            closed: Mutex::new(closed),
            requests,
            connections,
            serving,
        }
    }

    /// Listens no more, and drops every connection.
    pub async fn stop(self) {
        self.serving.abort();
        let _ = self.serving.await;
    }

    /// An upstream that answers every request with this JSON.
    pub async fn answering(body: &'static str) -> Self {
        Self::start(move |_, mut reply| async move {
            reply.json("200 OK", body).await;
            reply
        })
        .await
    }

    /// The next request that it saw.
    pub async fn request(&self) -> Received {
        let mut received = self.received.lock().await;
        soon("a request at the upstream", received.recv())
            .await
            .unwrap()
    }

    /// Waits until the gateway has closed a connection that a script waits on.
    pub async fn closed(&self) {
        let mut closed = self.closed.lock().await;
        soon("the close of an upstream connection", closed.recv())
            .await
            .unwrap();
    }

    /// How many requests it saw.
    pub fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }

    /// How many connections it accepted.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

async fn read_request(stream: &mut TcpStream) -> Option<Received> {
    let mut buffer = Vec::new();
    let (mut request, head_len) = loop {
        if let Some(parsed) = parse_head(&buffer) {
            break parsed;
        }
        let mut chunk = [0; 16 << 10];
        match stream.read(&mut chunk).await {
            Ok(n) if n > 0 => buffer.extend_from_slice(&chunk[..n]),
            _ => return None,
        }
    };
    let length: usize = request
        .header("content-length")
        .first()
        .map_or(0, |v| v.parse().unwrap());
    let mut body = buffer.split_off(head_len);
    if request.header("transfer-encoding") == ["chunked"] {
        request.body = read_chunks(stream, body).await?;
        return Some(request);
    }
    let read = body.len();
    assert!(
        read <= length,
        "bytes behind a request: {:?}",
        &body[length..]
    );
    body.resize(length, 0);
    stream
        .read_exact(&mut body[read.min(length)..])
        .await
        .ok()?;
    request.body = body;
    Some(request)
}

async fn read_chunks(stream: &mut TcpStream, mut buffer: Vec<u8>) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        if let Ok(httparse::Status::Complete((start, length))) = httparse::parse_chunk_size(&buffer)
        {
            let end = start + usize::try_from(length).unwrap();
            if buffer.len() >= end + 2 {
                body.extend_from_slice(&buffer[start..end]);
                buffer.drain(..end + 2);
                if length > 0 {
                    continue;
                }
                assert!(buffer.is_empty(), "bytes behind a request: {buffer:?}");
                return Some(body);
            }
        }
        let mut chunk = [0; 16 << 10];
        match stream.read(&mut chunk).await {
            Ok(n) if n > 0 => buffer.extend_from_slice(&chunk[..n]),
            _ => return None,
        }
    }
}

fn parse_head(buffer: &[u8]) -> Option<(Received, usize)> {
    let mut headers = [httparse::EMPTY_HEADER; 100];
    let mut head = httparse::Request::new(&mut headers);
    let httparse::Status::Complete(length) = head.parse(buffer).unwrap() else {
        return None;
    };
    let pair = |h: &httparse::Header<'_>| {
        (
            h.name.to_owned(),
            String::from_utf8_lossy(h.value).into_owned(),
        )
    };
    let request = Received {
        method: head.method?.to_owned(),
        path: head.path?.to_owned(),
        headers: head.headers.iter().map(pair).collect(),
        body: Vec::new(),
    };
    Some((request, length))
}
