//! An answer: its header, the source of its body, and the reader that understands it.
//!
//! Owns reading the source for all of its users: they wait for first output (`first_output`) or for all of it
//! (`whole`), convert its form (`convert`), pass it on (`relay`) or read on after the client has left (`after_client`).
//! The source is an upstream's connection, the answer to an equal request, or whole bytes; the reader understands
//! events (`events`), JSON (`json`), or nothing. What comes is kept and handed to equal requests (`copies`), and read
//! for them while the client is slow (`ahead`). A stream that has told its end is not waited for as long as one that
//! has not. Does not handle what is done about a failure. Fails with the connection's error, and whose time had passed.

mod ahead;
pub mod convert;
mod copies;
mod events;
pub mod first_output;
mod held;
mod json;
mod observers;
pub mod sniff;
mod source;
pub mod whole;

use std::mem;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::HeaderValue;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::response::Parts;
use pingora::Error;

use crate::cache::{Follower, Lead};
use crate::gateway::exchange::terms::Limit;
use crate::gateway::failure::Phase;
use crate::gateway::meter::Reading;
use crate::gateway::pieces::Pieces;
use crate::openai::echo::Echo;
use crate::openai::rewrite::Rewrites;
use crate::runtime::SharedHead;
use crate::upstreams::Session;
use copies::Copies;
use source::Source;

pub use events::EventReader;
pub use json::JsonReader;
pub use observers::End;

/// A stream that has told its end gets this long to end its connection's part.
const AFTER_DONE: Duration = Duration::from_secs(2);

/// Why no more of an answer can be read.
#[derive(Debug)]
pub struct Broken {
    /// The connection's error.
    pub error: Box<Error>,
    /// What has passed, if it is a timeout.
    pub phase: Phase,
}

/// What understands the body of an answer.
pub enum Reader {
    /// A stream of events.
    Events(Box<EventReader>),
    /// JSON.
    Json(Box<JsonReader>),
    /// Nothing of it is understood.
    Opaque,
}

/// An answer.
pub struct Answer {
    /// Its header.
    pub header: Parts,
    source: Source,
    reader: Reader,
    /// What has come, and may go to the client.
    ready: Pieces,
    /// What was read to find out what the answer is, and which the reader has not taken.
    ahead: Option<Bytes>,
    /// How many bytes its reader has taken.
    read_bytes: usize,
    /// Whether nothing more comes.
    is_over: bool,
    /// How it has broken, while it was read ahead.
    broken: Option<Broken>,
    /// How its stream has ended, once nothing more comes.
    end: Option<End>,
    /// When the source has last given an event, or anything where there are none.
    last_event: Instant,
    /// What is known of it, where its reader reads another form of it.
    reading: Option<Reading>,
    /// What gets a copy of what comes of the source.
    pub copies: Copies,
    /// The key that the upstream was asked with.
    pub echo: Echo,
}

impl Answer {
    /// One that comes over an upstream's connection, of which the header has come.
    pub fn of_upstream(header: Parts, session: Session, echo: Echo) -> Self {
        Self::new(header, Source::Upstream(session), echo)
    }

    /// One that an equal request has begun to get.
    pub fn of_equal(header: Parts, follower: Follower<SharedHead>, echo: Echo) -> Self {
        Self::new(header, Source::Shared(follower), echo)
    }

    /// One that is whole.
    pub fn of_whole(header: Parts, body: Bytes) -> Self {
        let pieces = Pieces::from(body);
        Self::new(header, Source::Whole(pieces), Echo::default())
    }

    /// One in JSON that is whole, and of which all is known that is to be known.
    pub fn of_known(header: Parts, body: Bytes, rewrites: Rewrites) -> Self {
        Self {
            reader: Reader::Json(Box::new(JsonReader::of_known(rewrites))),
            ..Self::of_whole(header, body)
        }
    }

    fn new(header: Parts, source: Source, echo: Echo) -> Self {
        Self {
            header,
            source,
            reader: Reader::Opaque,
            ready: Pieces::default(),
            ahead: None,
            read_bytes: 0,
            is_over: false,
            broken: None,
            end: None,
            last_event: Instant::now(),
            reading: None,
            copies: Copies::default(),
            echo,
        }
    }

    /// Waits for more of the body, which the reader takes. Tells whether something came; if not, the
    /// answer has come to its end. May be dropped while it waits.
    ///
    /// # Errors
    /// The source broke, or the limit passed.
    pub async fn next(&mut self, limit: Limit) -> Result<bool, Broken> {
        if let Some(chunk) = self.ahead.take() {
            self.take(chunk);
            return Ok(true);
        }
        if self.is_over {
            return Ok(false);
        }
        if let Some(broken) = self.broken.take() {
            return Err(broken);
        }
        self.copies.room().await;
        match self.source.read(limit).await {
            Ok(Some(chunk)) => {
                self.take(chunk);
                Ok(true)
            }
            Ok(None) => {
                self.finish();
                Ok(false)
            }
            Err(broken) => self.broke(broken).map(|()| false),
        }
    }

    /// Takes what has come already, up to `bytes` in all. Nothing is waited for, so no time passes in
    /// it: a `next` has to follow. Tells whether the answer has come to its end.
    ///
    /// # Errors
    /// The source broke; what came before has been taken.
    pub async fn take_at_hand(&mut self, bytes: usize) -> Result<bool, Broken> {
        if let Some(broken) = self.broken.take() {
            return Err(broken);
        }
        while !self.is_over && self.ready.len() < bytes {
            match self.source.read_at_hand().await {
                None => break,
                Some(Ok(Some(chunk))) => self.take(chunk),
                Some(Ok(None)) => self.finish(),
                Some(Err(error)) => self.broke(Broken {
                    error,
                    phase: Phase::Idle,
                })?,
            }
        }
        Ok(self.is_over)
    }

    /// The source has broken. What has been said whole is not missed.
    fn broke(&mut self, broken: Broken) -> Result<(), Broken> {
        if !self.events().is_some_and(EventReader::is_finished) {
            return Err(broken);
        }
        log::debug!("an answer broke after its end: {}", broken.error);
        self.finish();
        Ok(())
    }

    /// When the next bytes have to have come, once the answer has begun: it may be silent for `idle`.
    pub fn limit(&self, idle: Duration, deadline: Instant) -> Limit {
        let silent = match self.is_done() {
            true => Instant::now() + AFTER_DONE,
            false => self.last_event + idle,
        };
        match silent < deadline {
            true => Limit {
                until: silent,
                phase: Phase::Idle,
            },
            false => Limit {
                until: deadline,
                phase: Phase::Total,
            },
        }
    }

    /// Notes that we have not listened for so long: that is not the source's silence.
    pub fn excuse(&mut self, time: Duration) {
        self.last_event += time;
    }

    fn take(&mut self, chunk: Bytes) {
        self.read_bytes += chunk.len();
        self.copies.push(&chunk);
        let Reader::Events(events) = &mut self.reader else {
            self.last_event = Instant::now();
            return self.ready.push(chunk);
        };
        let mut passed = Vec::new();
        if events.push(chunk, &mut passed) > 0 {
            self.last_event = Instant::now();
        }
        passed.into_iter().for_each(|chunk| self.ready.push(chunk));
    }

    fn finish(&mut self) {
        self.is_over = true;
        self.copies.end();
        if let Reader::Events(events) = &mut self.reader {
            let mut rest = Vec::new();
            self.end = Some(events.finish(&mut rest));
            rest.into_iter().for_each(|chunk| self.ready.push(chunk));
        }
    }

    /// The next bytes for the client. JSON is read as it passes, since until then it may be replaced.
    pub fn pass(&mut self) -> Option<Bytes> {
        loop {
            let chunk = self.ready.pop()?;
            let chunk = match &mut self.reader {
                Reader::Json(json) => json.pass(chunk),
                Reader::Events(_) | Reader::Opaque => chunk,
            };
            if !chunk.is_empty() {
                return Some(chunk);
            }
        }
    }

    /// The last bytes for the client, where the answer is whole and all before them has passed.
    pub fn pass_last(&mut self) -> Bytes {
        match &mut self.reader {
            Reader::Json(json) => json.pass_last(),
            Reader::Events(_) | Reader::Opaque => Bytes::new(),
        }
    }

    /// Takes all that is ready for the client, as one.
    pub fn take_ready(&mut self) -> Bytes {
        let ready = self.ready.join();
        self.forget();
        ready
    }

    /// Puts bytes back that were ready for the client, before what has come since.
    pub fn put_back(&mut self, bytes: Bytes) {
        self.ready.put_back(bytes);
    }

    /// Forgets what was ready for the client.
    pub fn forget(&mut self) {
        self.ready = Pieces::default();
    }

    /// Puts bytes that are whole in the place of what was to come, of another form. What was read of
    /// the answer before is what is known of it. Gives the connection that it came over.
    fn replace(&mut self, body: Bytes, media: &'static str, reader: Reader) -> Option<Session> {
        let headers = &mut self.header.headers;
        headers.remove(CONTENT_LENGTH);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(media));
        self.ready = Pieces::default();
        self.is_over = false;
        self.end = None;
        self.copies.close();
        self.reader = reader;
        let whole = Source::Whole(Pieces::from(body));
        mem::replace(&mut self.source, whole).into_session()
    }

    /// Hands it to equal requests as well.
    pub fn share(&mut self, lead: Lead<SharedHead>, head: SharedHead) {
        self.copies.share(lead, head, self.is_over);
    }

    /// Takes out of the header what will not be true of what passes.
    pub fn prepare_header(&mut self) {
        let is_changed = match &self.reader {
            // An event may be added.
            Reader::Events(_) => true,
            Reader::Json(json) => json.rewrites(),
            Reader::Opaque => false,
        };
        if is_changed {
            self.header.headers.remove(CONTENT_LENGTH);
        }
    }

    /// What reads a stream of events, where it is one.
    pub fn events(&self) -> Option<&EventReader> {
        match &self.reader {
            Reader::Events(events) => Some(events),
            Reader::Json(_) | Reader::Opaque => None,
        }
    }

    /// The same, to have something of it.
    pub fn events_mut(&mut self) -> Option<&mut EventReader> {
        match &mut self.reader {
            Reader::Events(events) => Some(events),
            Reader::Json(_) | Reader::Opaque => None,
        }
    }

    /// Whether it is read as JSON.
    pub fn is_json(&self) -> bool {
        matches!(self.reader, Reader::Json(_))
    }

    /// How many bytes have been read of it.
    pub fn read_bytes(&self) -> usize {
        self.read_bytes
    }

    /// How its stream has ended, once nothing more comes.
    pub fn end(&self) -> Option<End> {
        self.end
    }

    /// Whether its stream has told its end.
    pub fn is_done(&self) -> bool {
        self.events().is_some_and(EventReader::is_done)
    }

    /// When the last event has come, where there are events.
    pub fn last_event(&self) -> Option<Instant> {
        self.events().map(|_| self.last_event)
    }

    /// All that has come and not passed, as one.
    pub fn ready(&mut self) -> Bytes {
        self.ready.join()
    }

    /// What is known of it, now that no more of it is read: all of it, or what there is.
    pub fn reading(&mut self, is_whole: bool) -> Option<Reading> {
        let recorded = self.copies.take_recorded(is_whole);
        let known = self.reading.take();
        let reading = known.or_else(|| match &mut self.reader {
            Reader::Events(events) => Some(events.reading()),
            Reader::Json(json) => Some(json.reading(is_whole)),
            Reader::Opaque => recorded.as_ref().map(|_| Reading {
                is_whole,
                ..Reading::default()
            }),
        })?;
        Some(Reading {
            recorded,
            ..reading
        })
    }

    /// The answer is over and read: the connection that it came over, which may carry another.
    pub fn into_session(self) -> Option<Session> {
        self.source.into_session()
    }

    /// No more of it is read, and its connection is closed.
    pub async fn shutdown(&mut self) {
        // Before its client is told: that one may ask again at once.
        self.copies.stop();
        let nothing = Source::Whole(Pieces::default());
        if let Source::Upstream(mut session) = mem::replace(&mut self.source, nothing) {
            session.shutdown().await;
        }
    }
}
