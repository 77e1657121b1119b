//! Reading a form: it is scanned while it comes, and waits until it can be sent.
//!
//! Owns the order of these. Does not handle what its parts hold (see `openai::form`), nor where it waits (see `spool`).
//! Fails with what the client is told.

use http::HeaderValue;
use http::header::CONTENT_TYPE;

use super::Body;
use crate::config::Forms;
use crate::gateway::client_body::{self, Pace};
use crate::gateway::failure::Failure;
use crate::gateway::session::ClientSession;
use crate::gateway::spool::Spool;
use crate::openai::demand::Demand;
use crate::openai::form::Scanner;
use crate::openai::streaming::Streaming;

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
    let mut spool = Spool::default();
    while let Some(chunk) = client_body::next(session, &mut pace).await? {
        scanner.push(&chunk).map_err(Failure::Form)?;
        spool.push(chunk, limits).await?;
    }
    let form = scanner.finish().map_err(Failure::Form)?;
    Ok(Body {
        model: form.model,
        slot: form.slot,
        streaming: Streaming::of_form(form.stream),
        wants_text: form.wants_text,
        store: false,
        demand: Demand::default(),
        prompt_cache_key: None,
        user: None,
        is_form: true,
        held: spool.finish().await?,
    })
}
