//! An HTTP/2 client that chooses its frames: the `h2` crate over a socket.

use std::future::poll_fn;
use std::net::SocketAddr;

use bytes::Bytes;
use h2::client::{SendRequest, handshake};
use http::{HeaderMap, Request};
use tokio::net::TcpStream;

use super::gateway::Gateway;
use super::{CLIENT_KEY, soon};

/// One connection.
pub struct Client2 {
    requests: SendRequest<Bytes>,
}

/// A whole answer.
#[derive(Debug)]
pub struct Answer2 {
    pub status: u16,
    pub body: String,
}

/// The answer to a request whose body had not ended, and how its stream was reset behind that.
#[derive(Debug)]
pub struct Refused2 {
    pub status: u16,
    pub reset: Option<h2::Reason>,
}

impl Client2 {
    /// Sends a request without a key, and a body that does not end.
    pub async fn refused(&mut self, path: &str, headers: &[(&str, &str)]) -> Refused2 {
        let mut request = Request::builder()
            .method("POST")
            .uri(format!("http://gateway{path}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        soon("a refusal over HTTP/2", async {
            let mut requests = self.requests.clone().ready().await.unwrap();
            let (answer, mut body) = requests
                .send_request(request.body(()).unwrap(), false)
                .unwrap();
            body.send_data(Bytes::from_static(b"{"), false).unwrap();
            let (head, mut stream) = answer.await.unwrap().into_parts();
            while let Some(Ok(chunk)) = stream.data().await {
                let _ = stream.flow_control().release_capacity(chunk.len());
            }
            let reset = poll_fn(|cx| body.poll_reset(cx)).await;
            Refused2 {
                status: head.status.as_u16(),
                reset: reset.ok(),
            }
        })
        .await
    }

    pub async fn connect(gateway: &Gateway) -> Self {
        Self::connect_to(gateway.address).await
    }

    pub async fn connect_to(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        let (requests, connection) = handshake(stream).await.unwrap();
        tokio::spawn(connection);
        Self { requests }
    }

    /// Sends a request whose body is these DATA frames; the last of them ends the stream. Without any,
    /// the header ends it. `Err` for a stream or connection that the gateway breaks.
    pub async fn send(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        frames: &[&str],
    ) -> Result<Answer2, h2::Error> {
        self.exchange(method, path, headers, frames, false).await
    }

    /// The same with trailers, which end the stream.
    pub async fn send_with_trailers(
        &mut self,
        path: &str,
        headers: &[(&str, &str)],
        frames: &[&str],
    ) -> Result<Answer2, h2::Error> {
        self.exchange("POST", path, headers, frames, true).await
    }

    async fn exchange(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        frames: &[&str],
        has_trailers: bool,
    ) -> Result<Answer2, h2::Error> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("http://gateway{path}"))
            .header("authorization", format!("Bearer {CLIENT_KEY}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        soon("an answer over HTTP/2", async {
            let mut requests = self.requests.clone().ready().await?;
            let (answer, mut body) = requests.send_request(
                request.body(()).unwrap(),
                frames.is_empty() && !has_trailers,
            )?;
            for (n, frame) in frames.iter().enumerate() {
                let frame = Bytes::copy_from_slice(frame.as_bytes());
                body.send_data(frame, n + 1 == frames.len() && !has_trailers)?;
            }
            if has_trailers {
                let mut trailers = HeaderMap::new();
                trailers.insert("x-checksum", "1".parse().unwrap());
                body.send_trailers(trailers)?;
            }
            let (head, mut stream) = answer.await?.into_parts();
            let mut body = Vec::new();
            while let Some(chunk) = stream.data().await {
                let chunk = chunk?;
                stream.flow_control().release_capacity(chunk.len())?;
                body.extend_from_slice(&chunk);
            }
            Ok(Answer2 {
                status: head.status.as_u16(),
                body: String::from_utf8(body).unwrap(),
            })
        })
        .await
    }
}
