//! The TLS handshake of a new connection.
//!
//! Owns making it within a bound of time, and what becomes of a connection that does not get
//! through it: it is counted, told at debug with the client's address as `log.mask` has it, and
//! closed; one that speaks plain HTTP is told to speak TLS. Pingora's listener would make the
//! handshake itself, and log each failure as an error with the whole address, so that one port
//! scan fills the log. Which certificate is shown is decided in `listeners.rs`, whether there is
//! room for the connection in `arrivals.rs`.

use std::fmt;
use std::time::Duration;

use pingora::listeners::tls::Acceptor;
use pingora::protocols::Stream;
use pingora::protocols::l4::stream::Stream as TcpStream;

use crate::gateway;
use crate::observe::handshakes::Unsecured;
use crate::observe::masking;
use crate::runtime::Shared;

/// The first byte of every TLS connection: a record of the handshake.
const HANDSHAKE_RECORD: u8 = 0x16;
/// How long, and for how many bytes, a client that speaks plain HTTP may take to leave.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 64 << 10;

/// Makes connections secure, with the certificate of one listener.
pub struct Handshake {
    acceptor: Acceptor,
}

/// Why one could not be made secure, and what the operator is told of it.
struct Failed {
    cause: Unsecured,
    detail: String,
    /// The connection, where the client speaks plain HTTP and can be told so.
    plain_http: Option<Stream>,
}

impl Failed {
    fn of(cause: Unsecured, detail: impl fmt::Display) -> Self {
        Self {
            cause,
            detail: detail.to_string().replace('\n', " "),
            plain_http: None,
        }
    }
}

impl Handshake {
    /// Makes handshakes by a listener's settings.
    pub fn new(acceptor: Acceptor) -> Self {
        Self { acceptor }
    }

    /// Makes a connection secure; `None` for one that is over.
    pub async fn secure(&self, stream: Stream, shared: &Shared) -> Option<Stream> {
        let client = stream
            .get_socket_digest()
            .and_then(|socket| Some(socket.peer_addr()?.as_inet()?.ip().to_canonical()));
        let limit = shared.pin().settings.limits.header_timeout;
        let made = tokio::time::timeout(limit, self.shake_hands(stream)).await;
        let failed = match made {
            Ok(Ok(stream)) => return Some(stream),
            Ok(Err(failed)) => failed,
            Err(_) => Failed::of(Unsecured::Late, format!("not complete after {limit:?}")),
        };
        shared.metrics.handshakes().failed(failed.cause);
        if log::log_enabled!(log::Level::Debug) {
            let masks = shared.pin().settings.mask_addresses;
            let client = client.map(|ip| if masks { masking::address(ip) } else { ip });
            let client = client.map_or_else(|| "-".to_owned(), |ip| ip.to_string());
            log::debug!("TLS with {client} failed: {}", failed.detail);
        }
        if let Some(stream) = failed.plain_http {
            tell_plain_http(stream).await;
        }
        None
    }

    async fn shake_hands(&self, mut stream: Stream) -> Result<Stream, Failed> {
        let mut first = [0];
        let peeked = stream.try_peek(&mut first).await;
        peeked.map_err(|e| {
            let detail = format!("the client said nothing: {e}");
            Failed::of(Unsecured::Closed, detail)
        })?;
        if first != [HANDSHAKE_RECORD] {
            // A method of HTTP begins with a capital letter.
            let is_http = first.iter().all(u8::is_ascii_uppercase);
            let detail = match is_http {
                true => "the client speaks plain HTTP",
                false => "what the client speaks is not TLS",
            };
            return Err(Failed {
                plain_http: is_http.then_some(stream),
                ..Failed::of(Unsecured::NotTls, detail)
            });
        }
        let tcp = stream.into_any().downcast::<TcpStream>();
        let tcp =
            tcp.map_err(|_| Failed::of(Unsecured::Failed, "the connection is no TCP stream"))?;
        let secured = self.acceptor.tls_handshake(*tcp).await;
        Ok(Box::new(
            secured.map_err(|e| Failed::of(Unsecured::Failed, e))?,
        ))
    }
}

async fn tell_plain_http(mut stream: Stream) {
    let answer = gateway::tls_required();
    let telling = gateway::last_words(&mut stream, &answer, LINGER_BYTES);
    // Whether it was read or not, it is over.
    let _ = tokio::time::timeout(LINGER, telling).await;
}
