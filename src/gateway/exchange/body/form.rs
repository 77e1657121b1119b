//! Reading a form: it is scanned while it comes, and kept in memory or, when it is large, in a file
//! without a name that goes with the request.
//!
//! Owns where a form waits until it can be sent. Does not handle what its parts hold (see `openai::form`).
//! A full disk refuses the request and nothing else.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::HeaderValue;
use http::header::CONTENT_TYPE;

use super::{Body, Held};
use crate::config::Forms;
use crate::gateway::client_body::{self, Pace};
use crate::gateway::failure::{Failure, Unreadable};
use crate::gateway::session::ClientSession;
use crate::openai::demand::Demand;
use crate::openai::form::Scanner;
use crate::openai::streaming::Streaming;

/// What is gathered before it is written to a file.
const WRITE_BYTES: usize = 256 << 10;

/// Reads a form, within the bounds that the operator has set.
pub async fn read(
    session: &mut ClientSession,
    mut pace: Pace,
    limits: &Forms,
    is_strict: bool,
) -> Result<Body, Failure> {
    let content_type = session.request().headers.get(CONTENT_TYPE);
    let content_type = content_type.map_or(&b""[..], HeaderValue::as_bytes);
    let mut scanner = Scanner::new(content_type, is_strict).map_err(Failure::Form)?;
    super::begin(session, limits.max_bytes).await?;
    let mut store = Store::default();
    while let Some(chunk) = client_body::next(session, &mut pace).await? {
        scanner.push(&chunk).map_err(Failure::Form)?;
        if store.len + chunk.len() > limits.max_bytes {
            let limit = limits.max_bytes;
            return Err(Failure::Unreadable(Unreadable::TooLarge { limit }));
        }
        store.push(chunk, limits).await.map_err(no_room)?;
    }
    let form = scanner.finish().map_err(Failure::Form)?;
    Ok(Body {
        model: form.model,
        slot: form.slot,
        streaming: Streaming::of_form(form.stream),
        wants_text: form.wants_text,
        store: false,
        demand: Demand::default(),
        affinity: None,
        is_form: true,
        held: store.finish().await.map_err(no_room)?,
    })
}

fn no_room(error: io::Error) -> Failure {
    Failure::Unreadable(Unreadable::NoRoom(error.to_string()))
}

/// Where the bytes of a form wait.
#[derive(Default)]
struct Store {
    /// What has not been written to the file; all of it while there is none.
    memory: BytesMut,
    file: Option<Arc<File>>,
    /// How much there is in both.
    len: usize,
}

impl Store {
    async fn push(&mut self, chunk: Bytes, limits: &Forms) -> io::Result<()> {
        self.len += chunk.len();
        self.memory.extend_from_slice(&chunk);
        if self.file.is_none() && self.len > limits.in_memory_bytes {
            let dir = limits.dir.as_ref().map(|dir| dir.value.clone());
            self.file = Some(Arc::new(blocking(move || create(dir)).await?));
        }
        match self.file {
            Some(_) if self.memory.len() >= WRITE_BYTES => self.write().await,
            _ => Ok(()),
        }
    }

    async fn write(&mut self) -> io::Result<()> {
        let Some(file) = self.file.clone() else {
            return Ok(());
        };
        let chunk = self.memory.split().freeze();
        let at = (self.len - chunk.len()) as u64;
        blocking(move || file.write_all_at(&chunk, at)).await
    }

    async fn finish(mut self) -> io::Result<Held> {
        self.write().await?;
        Ok(match self.file {
            Some(file) => Held::File(file, self.len as u64),
            None => Held::Memory(self.memory.freeze()),
        })
    }
}

fn create(dir: Option<std::path::PathBuf>) -> io::Result<File> {
    tempfile::tempfile_in(dir.unwrap_or_else(std::env::temp_dir))
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let outcome = tokio::task::spawn_blocking(work).await;
    outcome.map_err(io::Error::other)?
}
