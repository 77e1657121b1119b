//! The third step: the request's body, whole and bounded, and what it asks for.
//!
//! Owns reading it, and what of it is sent to a candidate. A JSON body that comes in one read is used as it
//! is, without a copy; a longer one is collected. Does not handle forms (see `form`), nor how fast a body
//! has to come (see `client_body`). Fails for a body that cannot be served.

mod form;

use std::borrow::Cow;
use std::ops::Range;
use std::time::Instant;

use bytes::{Bytes, BytesMut};

use crate::gateway::admit::Content;
use crate::gateway::client_body::{self, Pace};
use crate::gateway::failure::{Failure, Unreadable};
use crate::gateway::session::ClientSession;
use crate::gateway::spool::Held;
use crate::openai::demand::{self, Demand};
use crate::openai::edit::Edits;
use crate::openai::estimate::Prompt;
use crate::openai::patches::Patches;
use crate::openai::references;
use crate::openai::request::{self, BodyError};
use crate::openai::slot::Slot;
use crate::openai::streaming::{StreamMode, Streaming};
use crate::runtime::Settings;
use crate::upstreams::Payload;
use crate::workers::walk;

/// What is set aside at once for a body that does not announce its length.
const FIRST_CAPACITY: usize = 64 << 10;

/// A request's body.
#[derive(Debug)]
pub struct Body {
    /// The model that it asks for; `None` where it names none.
    pub model: Option<String>,
    /// What it says of a stream.
    pub streaming: Streaming,
    /// Whether it asks for an answer in plain text.
    pub wants_text: bool,
    /// Whether it asks that the answer be kept.
    pub store: bool,
    /// What it may use.
    pub demand: Demand,
    /// Its `prompt_cache_key`.
    pub prompt_cache_key: Option<Bytes>,
    /// Its `user`.
    pub user: Option<Bytes>,
    /// Where the model's name stands, or can be put.
    slot: Slot,
    is_form: bool,
    held: Held,
}

impl Body {
    /// One in JSON; `is_strict`: it may name nothing but its model.
    ///
    /// # Errors
    /// It cannot be served.
    pub fn of_json(bytes: Bytes, is_strict: bool) -> Result<Self, Failure> {
        let peek = walk(bytes.len(), || request::peek(&bytes)).map_err(Failure::Body)?;
        if is_strict && let Some(reference) = walk(bytes.len(), || references::find(&bytes)) {
            return Err(Failure::Names(reference));
        }
        Ok(Self {
            model: peek.model.map(Cow::into_owned),
            slot: peek.slot,
            streaming: peek.streaming,
            wants_text: false,
            store: peek.store,
            demand: peek.demand,
            prompt_cache_key: peek.prompt_cache_key.map(|key| bytes.slice_ref(key)),
            user: peek.user.map(|user| bytes.slice_ref(user)),
            is_form: false,
            held: Held::Memory(bytes),
        })
    }

    /// Whether it is a form.
    pub fn is_form(&self) -> bool {
        self.is_form
    }

    /// What an estimate of its tokens is made from, where it is JSON.
    pub fn prompt(&self) -> Option<Prompt> {
        self.json()
            .map(|bytes| walk(bytes.len(), || Prompt::new(bytes)))
    }

    /// Whether it has parts that are no text.
    pub fn is_multimodal(&self) -> bool {
        self.json()
            .is_some_and(|bytes| demand::is_multimodal(bytes))
    }

    /// The whole of it, where it is JSON.
    pub fn json(&self) -> Option<&Bytes> {
        match &self.held {
            Held::Memory(bytes) if !self.is_form => Some(bytes),
            _ => None,
        }
    }

    /// Its length in bytes.
    pub fn len(&self) -> usize {
        self.held.len()
    }

    /// What is sent: the body as it came, but for the model's name where `model` replaces it or is
    /// put where the client has named none, and in JSON for how a stream is asked for and what `edits` change.
    pub fn payload(
        &self,
        model: Option<&str>,
        asked: StreamMode,
        edits: &Edits,
    ) -> Result<Payload, Failure> {
        if let Some(bytes) = self.json() {
            return self.json_payload(bytes, model, asked, edits);
        }
        let length = self.len() as u64;
        let Some(model) = model else {
            return Ok(self.slice(Payload::default(), 0..length));
        };
        let Range { start, end } = self.slot.range;
        let mut payload = self.slice(Payload::default(), 0..start);
        payload.push(self.slot.filled(model.as_bytes().to_vec()));
        Ok(self.slice(payload, end..length))
    }

    fn json_payload(
        &self,
        bytes: &Bytes,
        model: Option<&str>,
        asked: StreamMode,
        edits: &Edits,
    ) -> Result<Payload, Failure> {
        let within = |at: u64| usize::try_from(at).unwrap_or(bytes.len());
        let mut patches = Patches::default();
        if let Some(model) = model {
            let Range { start, end } = self.slot.range;
            let name = self.slot.filled(request::rewritten_model(model));
            patches.add(within(start)..within(end), name);
        }
        self.streaming.patch(bytes, asked, &mut patches);
        if edits.is_empty() {
            let mut payload = Payload::default();
            patches.pieces(bytes).for_each(|piece| payload.push(piece));
            return Ok(payload);
        }
        let edited = walk(bytes.len(), || edits.apply(&patches.apply(bytes)));
        let edited = edited.map_err(|e| Failure::Body(BodyError::NotJson(e.to_string())))?;
        Ok(Payload::from(Bytes::from(edited)))
    }

    fn slice(&self, mut payload: Payload, range: Range<u64>) -> Payload {
        self.held.add_to(&mut payload, range);
        payload
    }
}

/// Reads a whole body, and what it asks for; `is_strict`: it may name nothing but its model.
pub async fn read(
    session: &mut ClientSession,
    content: Content,
    settings: &Settings,
    is_strict: bool,
) -> Result<Body, Failure> {
    let pace = Pace::new(Instant::now(), 0, &settings.limits);
    if content == Content::Form {
        return Box::pin(form::read(session, pace, &settings.forms, is_strict)).await;
    }
    let bytes = gather(session, pace, settings.max_body_bytes).await?;
    Body::of_json(bytes, is_strict)
}

/// Reads the whole body into memory, of `limit` bytes at most.
async fn gather(
    session: &mut ClientSession,
    mut pace: Pace,
    limit: usize,
) -> Result<Bytes, Failure> {
    let declared = begin(session, limit).await?;
    let Some(first) = client_body::next(session, &mut pace).await? else {
        return Ok(Bytes::new());
    };
    if first.len() <= limit && session.is_body_done() {
        return Ok(first);
    }
    let mut body = BytesMut::with_capacity(declared.unwrap_or(FIRST_CAPACITY).max(first.len()));
    body.extend_from_slice(&first);
    while body.len() <= limit {
        match client_body::next(session, &mut pace).await? {
            Some(chunk) => body.extend_from_slice(&chunk),
            None => return Ok(body.freeze()),
        }
    }
    Err(Failure::Unreadable(Unreadable::TooLarge { limit }))
}

/// Refuses a body that announces more than `limit`, and bids the client go on where it waits for
/// that. Gives the announced length.
async fn begin(session: &mut ClientSession, limit: usize) -> Result<Option<usize>, Failure> {
    let declared = client_body::declared_length(session);
    if declared.is_some_and(|length| length > limit) {
        return Err(Failure::Unreadable(Unreadable::TooLarge { limit }));
    }
    client_body::invite(session).await?;
    Ok(declared)
}
