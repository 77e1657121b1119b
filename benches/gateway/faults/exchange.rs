//! One request and whatever becomes of it.
//!
//! Owns the reading of an answer that may be an error, break, or never come, and says which of them
//! it was. What was served is checked: it must come from one provider alone, signed by it in each
//! event, and have its proper end.

use memchr::memmem;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::provider::{EVENTS, SIGNATURE};
use crate::wire::{LAST_EVENT, content_length};

/// An answer that is longer has failed.
const MOST_BYTES: usize = 256 << 10;
/// So much of an answer is told of a failure.
const TOLD_BYTES: usize = 600;

/// What came of a request.
pub enum Outcome {
    /// A right answer, and whose it is.
    Served(u8),
    /// An answer that had begun with status 200, and then broke or told an error.
    Broken(String),
    /// Another status.
    Refused(u16, String),
    /// No answer at all.
    Nothing(String),
}

/// An answer.
pub struct Reply {
    /// What it is.
    pub outcome: Outcome,
    /// The attempts that it names; 1, if it names none.
    pub attempts: u32,
    /// Whether the connection can be used again.
    pub is_whole: bool,
}

impl Reply {
    /// None came, and why.
    pub fn none(why: String) -> Self {
        Self {
            outcome: Outcome::Nothing(why),
            attempts: 1,
            is_whole: false,
        }
    }
}

/// A connection that is kept alive.
pub struct Connection {
    stream: TcpStream,
}

impl Connection {
    /// Connects to a port of this machine.
    pub async fn open(port: u16) -> Result<Self, String> {
        let stream = TcpStream::connect(("127.0.0.1", port)).await;
        let stream = stream.map_err(|e| format!("cannot connect: {e}"))?;
        stream.set_nodelay(true).map_err(|e| e.to_string())?;
        Ok(Self { stream })
    }

    /// Sends a request and reads what comes.
    pub async fn exchange(&mut self, request: &[u8]) -> Reply {
        if let Err(e) = self.stream.write_all(request).await {
            return Reply::none(format!("cannot send: {e}"));
        }
        let mut answer = Vec::with_capacity(4 << 10);
        let why = loop {
            match self.stream.read_buf(&mut answer).await {
                Ok(0) => break "the connection was closed".to_owned(),
                Ok(_) if is_whole(&answer) => return read(&answer, true),
                Ok(_) if answer.len() > MOST_BYTES => break "it is too long".to_owned(),
                Ok(_) => {}
                Err(e) => break format!("cannot read: {e}"),
            }
        };
        match head(&answer) {
            Some(_) => read(&answer, false),
            None => Reply::none(why),
        }
    }
}

fn head(answer: &[u8]) -> Option<&[u8]> {
    let at = memmem::find(answer, b"\r\n\r\n")?;
    answer.get(..at + 4)
}

fn is_whole(answer: &[u8]) -> bool {
    let Some(head) = head(answer) else {
        return false;
    };
    match content_length(head) {
        Ok(Some(length)) => answer.len() >= head.len() + length,
        Ok(None) => answer.ends_with(b"\r\n0\r\n\r\n"),
        Err(_) => false,
    }
}

/// Reads an answer whose head has come.
fn read(answer: &[u8], is_whole: bool) -> Reply {
    let text = String::from_utf8_lossy(&answer[..answer.len().min(TOLD_BYTES)]).into_owned();
    let number = |from: &str, text: &str| {
        let (_, rest) = text.split_once(from)?;
        let digits = rest.split(|c: char| !c.is_ascii_digit()).next();
        digits?.parse::<u32>().ok()
    };
    let status = number("HTTP/1.1 ", &text).unwrap_or_default();
    let attempts = number("x-tollgate-attempts: ", &text.to_ascii_lowercase()).unwrap_or(1);
    let outcome = match (status, signer(answer)) {
        (200, Some(name)) if is_whole => Outcome::Served(name),
        (200, _) => Outcome::Broken(text),
        _ => Outcome::Refused(status as u16, text),
    };
    Reply {
        outcome,
        attempts,
        is_whole,
    }
}

/// Who has signed all of a right answer.
fn signer(answer: &[u8]) -> Option<u8> {
    let mut names = memmem::find_iter(answer, SIGNATURE).map(|at| answer.get(at + SIGNATURE.len()));
    let first = names.next()??;
    let others = names.try_fold(0, |count, name| (name == Some(first)).then_some(count + 1))?;
    let is_stream = memmem::find(answer, b"\"chat.completion.chunk\"").is_some();
    let is_right = match is_stream {
        true => others + 1 == EVENTS && memmem::find(answer, LAST_EVENT).is_some(),
        false => others == 0,
    };
    is_right.then_some(*first)
}
