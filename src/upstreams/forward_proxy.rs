//! Asking a forward proxy for a connection (CONNECT, RFC 9110).
//!
//! Owns the request and what its answer must be: a status of success, in a header that is not too long, with nothing
//! behind it before we have spoken. Does not handle connecting to the proxy, nor how long it may take (see `dial`).
//! Fails with [`UNREACHABLE`] where the proxy does not answer and with [`REFUSED`] where its answer is another. The
//! words hold nothing that the proxy has sent but the status.

use std::hash::{Hash, Hasher};

use pingora::protocols::l4::stream::Stream as Socket;
use pingora::{Error, ErrorType, Result};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::told::told;
use crate::config;
use crate::secret::Secret;

/// The custom error of a proxy that cannot be connected to, or does not answer.
pub const UNREACHABLE: &str = "ProxyUnreachable";
/// The custom error of a proxy that does not make the connection.
pub const REFUSED: &str = "ProxyRefused";

/// A longer header is not read.
const MAX_HEADER_BYTES: usize = 8 << 10;
const MAX_HEADERS: usize = 64;

/// A proxy, and where its connections are to lead.
#[derive(Debug)]
pub struct ForwardProxy {
    /// Its host and port.
    name: String,
    /// The host and port of the server.
    target: String,
    authorization: Option<Secret>,
}

impl Hash for ForwardProxy {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.target.hash(state);
        let authorization = self.authorization.as_ref();
        authorization.map(Secret::expose).hash(state);
    }
}

impl ForwardProxy {
    /// For connections to a server.
    pub fn new(proxy: &config::Proxy, host: &str, port: u16) -> Self {
        Self {
            name: proxy.to_string(),
            target: match host.contains(':') {
                true => format!("[{host}]:{port}"),
                false => format!("{host}:{port}"),
            },
            authorization: proxy.authorization.clone(),
        }
    }

    /// Its host and port.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The error where the proxy cannot be connected to.
    pub fn unreachable(&self, error: &Error) -> Box<Error> {
        let what = match error.etype() {
            ErrorType::ConnectTimedout => "timeouts.connect has passed".to_owned(),
            _ => told(error),
        };
        failed(UNREACHABLE, format!("its proxy cannot be reached: {what}"))
    }

    /// Asks over a connection to the proxy. After it, the connection leads to the server.
    ///
    /// # Errors
    /// [`UNREACHABLE`] and [`REFUSED`].
    pub async fn ask(&self, socket: &mut Socket) -> Result<()> {
        let target = &self.target;
        let mut request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n");
        if let Some(authorization) = &self.authorization {
            request += "Proxy-Authorization: ";
            request += authorization.expose();
            request += "\r\n";
        }
        request += "\r\n";
        let broke = |e| failed(UNREACHABLE, format!("its proxy broke off: {e}"));
        socket.write_all(request.as_bytes()).await.map_err(broke)?;
        socket.flush().await.map_err(broke)?;
        let mut answer = Vec::with_capacity(512);
        loop {
            if socket.read_buf(&mut answer).await.map_err(broke)? == 0 {
                let what = "its proxy closed the connection without an answer";
                return Err(failed(UNREACHABLE, what.to_owned()));
            }
            if let Some(refused) = judge(&answer) {
                return refused.map_err(|what| failed(REFUSED, what));
            }
            if answer.len() >= MAX_HEADER_BYTES {
                let what = format!(
                    "the header of its proxy's answer has more than {MAX_HEADER_BYTES} bytes"
                );
                return Err(failed(REFUSED, what));
            }
        }
    }
}

fn failed(kind: &'static str, what: String) -> Box<Error> {
    Error::explain(ErrorType::Custom(kind), what)
}

/// What an answer says, as far as it has come; `None` while more of it has to come. A body is none: RFC 9110 has
/// the connection begin behind the header.
fn judge(answer: &[u8]) -> Option<Result<(), String>> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut parsed = httparse::Response::new(&mut headers);
    let end = match parsed.parse(answer) {
        Ok(httparse::Status::Partial) => return None,
        Ok(httparse::Status::Complete(end)) => end,
        Err(_) => return Some(Err("what its proxy answered is no HTTP".to_owned())),
    };
    Some(match parsed.code {
        Some(200..=299) if end == answer.len() => Ok(()),
        Some(200..=299) => Err("its proxy sent bytes that nothing was asked for".to_owned()),
        Some(407) => {
            Err("its proxy answered with status 407: it asks for other credentials".to_owned())
        }
        Some(status) => Err(format!("its proxy answered with status {status}")),
        None => Err("what its proxy answered is no HTTP".to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_judged_once_its_header_is_whole() {
        assert!(judge(b"HTTP/1.1 200 Conn").is_none());
        assert!(judge(b"HTTP/1.1 200 Connection established\r\nvia: p\r\n").is_none());
        let done = judge(b"HTTP/1.1 200 Connection established\r\nvia: p\r\n\r\n");
        assert_eq!(done, Some(Ok(())));
        assert_eq!(judge(b"HTTP/1.0 204\r\n\r\n"), Some(Ok(())));
    }

    #[test]
    fn anything_else_is_refused_and_nothing_that_was_sent_is_told() {
        for (answer, words) in [
            (
                &b"HTTP/1.1 407 sk-secret\r\nx: sk-secret\r\n\r\n"[..],
                "407",
            ),
            (b"HTTP/1.1 503 sk-secret\r\n\r\nsk-secret", "503"),
            (b"HTTP/1.1 200 OK\r\n\r\nsk-secret", "nothing was asked"),
            (b"SSH-2.0-sk-secret\r\n", "no HTTP"),
            (b"HTTP/1.1 101 sk-secret\r\n\r\n", "101"),
        ] {
            let said = judge(answer).unwrap().unwrap_err();
            assert!(said.contains(words) && !said.contains("sk-"), "{said}");
        }
    }
}
