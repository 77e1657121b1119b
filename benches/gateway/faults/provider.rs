//! The providers that fail.
//!
//! Owns three of them: one that answers well until its process is killed, one that fails at once,
//! and one that serves only so many at a time and gets slower when it is asked for more. What it
//! answers tells its name, so that a client sees who has served it. Knows only as much of HTTP as
//! the gateway sends; what it cannot read ends the connection.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use memchr::memmem;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use crate::wire::{LAST_EVENT, content_length};

/// Events of a stream, without the last, `[DONE]`.
pub const EVENTS: usize = 5;
/// From the request to a stream's first event, and between two of them.
pub const PACE: Duration = Duration::from_millis(5);
/// How long a whole answer takes.
pub const TAKES: Duration = Duration::from_millis(20);
/// How many the crowded provider serves at a time.
pub const AT_A_TIME: usize = 32;
/// How much longer it takes for each that waits.
pub const SLOWER: Duration = Duration::from_micros(100);
/// What stands before a provider's name in each event and in each whole answer.
pub const SIGNATURE: &[u8] = b"\"system_fingerprint\":\"fp_";

/// The largest request that fits.
const BUFFER_BYTES: usize = 64 << 10;
const JSON: &str = "content-type: application/json\r\n";
const STREAM: &str = "content-type: text/event-stream\r\ntransfer-encoding: chunked\r\n";
const ERROR: &str = r#"{"error":{"message":"The server had an error while processing your request.","type":"server_error","param":null,"code":null}}"#;

/// What a provider does.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// Answers: a stream to who asks for one, JSON to others.
    Well,
    /// Answers with 500, at once.
    Fails,
    /// Answers with JSON, to [`AT_A_TIME`] at a time.
    Crowded,
}

impl Manner {
    const WORDS: [(Self, &str); 3] = [
        (Self::Well, "well"),
        (Self::Fails, "fails"),
        (Self::Crowded, "crowded"),
    ];

    /// Its name on the command line.
    pub fn word(self) -> &'static str {
        let word = Self::WORDS.iter().find(|(manner, _)| *manner == self);
        word.map_or("", |(_, word)| word)
    }

    /// The one with this name.
    pub fn of(word: &str) -> Option<Self> {
        let manner = Self::WORDS.iter().find(|(_, known)| *known == word);
        manner.map(|(manner, _)| *manner)
    }
}

/// One provider.
pub struct Provider {
    name: u8,
    manner: Manner,
    asked: AtomicUsize,
    waiting: AtomicUsize,
    places: Semaphore,
}

impl Provider {
    /// One with a name of one letter.
    pub fn new(name: u8, manner: Manner) -> Arc<Self> {
        Arc::new(Self {
            name,
            manner,
            asked: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            places: Semaphore::new(AT_A_TIME),
        })
    }

    /// Starts it on a free port, within this process.
    pub async fn start(self: &Arc<Self>) -> Result<u16, String> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await;
        let listener = listener.map_err(|e| e.to_string())?;
        let port = listener.local_addr().map_err(|e| e.to_string())?.port();
        tokio::spawn(Arc::clone(self).listen(listener));
        Ok(port)
    }

    /// Serves whoever connects.
    pub async fn listen(self: Arc<Self>, listener: TcpListener) {
        while let Ok((socket, _)) = listener.accept().await {
            let provider = Arc::clone(&self);
            // A connection that breaks is missed by the gateway at the other end.
            tokio::spawn(async move { provider.serve(socket).await });
        }
    }

    /// How many requests have come.
    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }

    async fn serve(&self, mut socket: TcpStream) -> io::Result<()> {
        socket.set_nodelay(true)?;
        let mut buffer = vec![0; BUFFER_BYTES];
        while let Some(wants_stream) = read_request(&mut socket, &mut buffer).await? {
            self.asked.fetch_add(1, Ordering::Relaxed);
            match (self.manner, wants_stream) {
                (Manner::Fails, _) => {
                    let answer = whole("500 Internal Server Error", ERROR);
                    socket.write_all(answer.as_bytes()).await?;
                }
                (Manner::Well, true) => self.stream(&mut socket).await?,
                (Manner::Well, false) => {
                    tokio::time::sleep(TAKES).await;
                    socket.write_all(self.json().as_bytes()).await?;
                }
                (Manner::Crowded, _) => {
                    self.work().await;
                    socket.write_all(self.json().as_bytes()).await?;
                }
            }
        }
        Ok(())
    }

    /// Waits for a place, and takes the longer the more wait behind.
    async fn work(&self) {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let place = self.places.acquire().await;
        let others = self.waiting.fetch_sub(1, Ordering::Relaxed) - 1;
        tokio::time::sleep(TAKES + SLOWER * others as u32).await;
        drop(place);
    }

    async fn stream(&self, socket: &mut TcpStream) -> io::Result<()> {
        tokio::time::sleep(PACE).await;
        let head = format!("HTTP/1.1 200 OK\r\n{STREAM}\r\n");
        let mut piece = head.into_bytes();
        for number in 0..EVENTS {
            if number > 0 {
                tokio::time::sleep(PACE).await;
            }
            piece.extend(chunk(self.event(number).as_bytes()));
            socket.write_all(&piece).await?;
            piece.clear();
        }
        let end = [chunk(LAST_EVENT), b"0\r\n\r\n".to_vec()].concat();
        socket.write_all(&end).await
    }

    fn event(&self, number: usize) -> String {
        format!(
            "data: {{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\
             \"created\":1767225600,\"model\":\"gpt-4o\",{},\"choices\":[{{\"index\":0,\
             \"delta\":{{\"content\":\" word{number}\"}},\"finish_reason\":null}}]}}\n\n",
            self.signed()
        )
    }

    fn json(&self) -> String {
        let body = format!(
            "{{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion\",\"created\":1767225600,\
             \"model\":\"gpt-4o\",{},\"choices\":[{{\"index\":0,\"message\":\
             {{\"role\":\"assistant\",\"content\":\"All is well.\"}},\"finish_reason\":\"stop\"}}],\
             \"usage\":{{\"prompt_tokens\":9,\"completion_tokens\":4,\"total_tokens\":13}}}}",
            self.signed()
        );
        whole("200 OK", &body)
    }

    fn signed(&self) -> String {
        let signature = String::from_utf8_lossy(SIGNATURE);
        format!("{signature}{}\"", char::from(self.name))
    }
}

fn whole(status: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\n{JSON}content-length: {length}\r\n\r\n{body}")
}

fn chunk(payload: &[u8]) -> Vec<u8> {
    let size = format!("{:x}\r\n", payload.len());
    [size.as_bytes(), payload, b"\r\n"].concat()
}

/// Reads a whole request and tells whether it asks for a stream; `None` when the connection ends.
async fn read_request(socket: &mut TcpStream, buffer: &mut [u8]) -> io::Result<Option<bool>> {
    let mut filled = 0;
    let mut whole = None;
    while whole.is_none_or(|whole| filled < whole) {
        // Nothing is read into a buffer that is full, which ends the connection.
        match socket.read(&mut buffer[filled..]).await? {
            0 => return Ok(None),
            read => filled += read,
        }
        if whole.is_none()
            && let Some(at) = memmem::find(&buffer[..filled], b"\r\n\r\n")
        {
            let length = content_length(&buffer[..at + 4]);
            let length = length.map_err(|_| io::ErrorKind::InvalidData)?;
            whole = Some(at + 4 + length.unwrap_or(0));
        }
    }
    let wants_stream = memmem::find(&buffer[..filled], br#""stream":true"#).is_some();
    Ok(Some(wants_stream))
}
