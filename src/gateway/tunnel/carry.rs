//! Both bodies on their way, as they come.
//!
//! Owns moving the request's body to the upstream and the answer to the client, each while the other goes on,
//! within a bound on silence and the pace that a client has to keep. The client's body has an end only if its
//! framing says so: what breaks off is never ended for the upstream. Fails with what the client is told.

use std::mem;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::response::Parts;
use http::{Method, StatusCode};
use pingora::{Error, ErrorType};

use super::ahead;
use crate::gateway::client_body::{self, Pace};
use crate::gateway::context::Context;
use crate::gateway::failure::{Cause, Failure, Phase, UpstreamFailure, UpstreamRefusal};
use crate::gateway::headers::{self, Media};
use crate::gateway::pieces::Pieces;
use crate::gateway::session::{ClientSession, Part};
use crate::gateway::upstream_error::{self, ErrorBody, MAX_ERROR_BYTES};
use crate::gateway::{reply, settle};
use crate::openai::echo::{Echo, Masking};
use crate::upstreams::{Payload, Session};

/// Once so much of an answer has been gathered, it is written to the client. Each write wakes the client up, so
/// few long ones cost less than many short ones.
const GATHERED_BYTES: usize = 192 << 10;
/// An upstream that refuses a body while it is being sent gets this long for its reasons.
const EARLY_ANSWER: Duration = Duration::from_secs(1);

/// Why no answer has begun.
pub enum Silent {
    /// The connection was closed before a byte of an answer.
    Closed(Box<Error>),
    /// Anything else.
    Failed(Failure),
}

/// A request that is carried over one connection.
pub struct Carry<'a> {
    client: &'a mut ClientSession,
    context: &'a mut Context,
    upstream: Session,
    /// The key that the upstream was asked with.
    echo: Echo,
    /// Masks that key in an answer that may be an error.
    masking: Option<Masking>,
    pace: Pace,
    silence: Duration,
    /// Whether all of the client's body has come. Over HTTP/2 trailers may follow it, which are not read.
    has_come: bool,
    /// Whether the answer is an error, and what has come of it: it may say something of the key.
    keeps_error: bool,
    error: Vec<u8>,
    /// Why the upstream takes no more of the body, and until when its answer may say more.
    unsent: Option<(Box<Error>, Instant)>,
}

/// What has happened.
enum Event<T> {
    Client(Result<Option<Bytes>, Failure>),
    Upstream(pingora::Result<T>),
}

/// The last of an answer: its header, unless it has been written, and the end of its body.
pub struct Last {
    begin: Option<Part>,
    body: Pieces,
}

impl<'a> Carry<'a> {
    /// A request whose header has been sent.
    pub fn new(
        client: &'a mut ClientSession,
        context: &'a mut Context,
        upstream: Session,
        echo: Echo,
        pace: Pace,
        silence: Duration,
    ) -> Self {
        Self {
            client,
            context,
            upstream,
            echo,
            masking: None,
            pace,
            silence,
            has_come: false,
            keeps_error: false,
            error: Vec::new(),
            unsent: None,
        }
    }

    /// Sends the body on until the header of the answer is there; `ahead` is what has been read of it.
    pub async fn header(&mut self, ahead: &Payload) -> Result<Parts, Silent> {
        self.send_ahead(ahead).await;
        let has_come = self.client.is_body_done();
        self.end_body(has_come).await;
        loop {
            let until = match &self.unsent {
                Some((_, until)) => *until,
                None => Instant::now() + self.silence,
            };
            let has_come = self.has_come;
            let event = tokio::select! {
                read = self.upstream.header(until) => Event::Upstream(read),
                came = next(self.client, &mut self.pace, has_come) => Event::Client(came),
            };
            match event {
                Event::Client(came) => self.send(came).await.map_err(Silent::Failed)?,
                Event::Upstream(Ok(mut header)) => {
                    self.echo.mask_headers(&mut header.headers);
                    return Ok(header);
                }
                Event::Upstream(Err(e)) => {
                    self.upstream.shutdown().await;
                    return Err(self.silent(e));
                }
            }
        }
    }

    /// Sends what has been read of the body.
    async fn send_ahead(&mut self, ahead: &Payload) {
        let sending = Instant::now();
        let sent = ahead::send(&mut self.upstream, ahead).await;
        self.unsent = sent.err().map(unsent);
        self.pace.exclude(sending.elapsed());
    }

    fn silent(&mut self, error: Box<Error>) -> Silent {
        // The write says better what has happened than the read after it.
        match (self.unsent.take(), error.etype()) {
            (Some((error, _)), _) => Silent::Failed(unread(&error, Phase::Total)),
            (None, ErrorType::ConnectionClosed | ErrorType::ReadError) => Silent::Closed(error),
            (None, _) => Silent::Failed(unread(&error, Phase::Idle)),
        }
    }

    /// Whether the answer can pass as it comes: an error that is compressed cannot be looked through for
    /// the key.
    pub fn is_readable(&self, header: &Parts) -> bool {
        headers::is_plain(&header.headers)
            || !is_error(header.status)
            || self.client.request().method == Method::HEAD
    }

    /// Reads an error that is compressed. Gives the session back, for the pool to judge.
    pub async fn refusal(self, mut header: Parts, asked: Instant) -> (Option<Session>, Failure) {
        let Self {
            context,
            upstream,
            echo,
            ..
        } = self;
        let until = Instant::now() + upstream_error::ERROR_PATIENCE;
        let read = upstream_error::read_error(upstream, &mut header, until, until, &echo).await;
        context.outcome.waited += asked.elapsed();
        let Some(ErrorBody {
            body,
            rest,
            session,
        }) = read
        else {
            let detail = "its error, which is compressed, broke off";
            let failure = UpstreamFailure::of(Cause::Cut, detail);
            return (None, Failure::Upstream(failure));
        };
        header.headers.remove(CONTENT_LENGTH);
        let refusal = UpstreamRefusal {
            header,
            body,
            message: None,
            usage: None,
            rest,
        };
        (session, Failure::Refusal(Box::new(refusal)))
    }

    /// Passes the answer on, but for the last of it.
    pub async fn answer(&mut self, header: Parts, asked: Instant) -> Result<Last, Failure> {
        self.keeps_error = is_error(header.status);
        self.context.outcome.waited += asked.elapsed();
        let request = self.client.request();
        let header = self.context.header_for_client(header, request);
        if may_tell_an_error(&header) {
            self.masking = Some(Masking::new(self.echo.clone()));
        }
        self.context.commit(header.status.as_u16());
        let mut is_done = self.upstream.response_done();
        let mut begin = Some(Part::header(header));
        let mut body = Pieces::default();
        while !is_done {
            let gathered = self.gather(&mut body).await;
            is_done = matches!(gathered, Ok(true));
            if is_done {
                break;
            }
            self.write(begin.take(), &mut body, false).await?;
            gathered.map_err(|e| self.cut(&e))?;
            match self.next_chunk().await? {
                Some(chunk) => self.put(&mut body, chunk),
                None => is_done = true,
            }
        }
        self.end(&mut body);
        Ok(Last { begin, body })
    }

    /// Passes on the last of the answer.
    pub async fn finish(&mut self, Last { begin, mut body }: Last) -> Result<(), Failure> {
        settle::settle(self.context).await;
        self.write(begin, &mut body, true).await?;
        // An answer that came before the end of the request: its rest is for no one.
        reply::discard_body(self.client, self.context).await;
        Ok(())
    }

    /// What the request carries along.
    pub fn context(&self) -> &Context {
        self.context
    }

    /// The beginning of an error that passes.
    pub fn error(&self) -> &[u8] {
        &self.error
    }

    /// The session, for the pool to judge.
    pub fn into_session(self) -> Session {
        self.upstream
    }

    /// The next bytes of the answer, while the rest of the request goes on.
    async fn next_chunk(&mut self) -> Result<Option<Bytes>, Failure> {
        loop {
            let until = Instant::now() + self.silence;
            let has_come = self.has_come;
            let event = tokio::select! {
                read = self.upstream.read_body(until) => Event::Upstream(read),
                came = next(self.client, &mut self.pace, has_come) => Event::Client(came),
            };
            match event {
                Event::Client(came) => self.send(came).await?,
                Event::Upstream(read) => return read.map_err(|e| self.cut(&e)),
            }
        }
    }

    /// Takes what is there already. Tells whether the answer is complete.
    async fn gather(&mut self, body: &mut Pieces) -> pingora::Result<bool> {
        let mut length = body.len();
        while length < GATHERED_BYTES {
            if self.upstream.response_done() {
                return Ok(true);
            }
            match self.upstream.read_at_hand().await {
                None => return Ok(false),
                Some(read) => match read? {
                    Some(chunk) => {
                        length += chunk.len();
                        self.put(body, chunk);
                    }
                    None => return Ok(true),
                },
            }
        }
        Ok(self.upstream.response_done())
    }

    fn put(&mut self, body: &mut Pieces, chunk: Bytes) {
        if self.keeps_error {
            let room = MAX_ERROR_BYTES.saturating_sub(self.error.len());
            self.error.extend(chunk.iter().take(room));
        }
        let chunk = match &mut self.masking {
            Some(masking) => masking.push(chunk),
            None => chunk,
        };
        self.put_last(body, chunk);
    }

    /// Adds what has been held back of an answer that is complete.
    fn end(&mut self, body: &mut Pieces) {
        if let Some(masking) = &mut self.masking {
            let rest = masking.finish();
            self.put_last(body, rest);
        }
    }

    fn put_last(&mut self, body: &mut Pieces, chunk: Bytes) {
        self.context.outcome.bytes_out += chunk.len();
        body.push(chunk);
    }

    async fn write(
        &mut self,
        begin: Option<Part>,
        body: &mut Pieces,
        is_done: bool,
    ) -> Result<(), Failure> {
        let mut tasks = Vec::from_iter(begin);
        if !body.is_empty() {
            // As one piece: Pingora would copy several into a buffer that it keeps.
            tasks.push(Part::Body(mem::take(body).join()));
        }
        tasks.extend(is_done.then_some(Part::End));
        let written = self.client.write(tasks);
        written.await.map_err(|_| Failure::ClientGone)
    }

    fn cut(&self, error: &Error) -> Failure {
        Failure::Upstream(UpstreamFailure::cut(error))
    }

    /// Sends on what has come of the request's body. One that breaks off is never ended: the upstream
    /// would take it for whole.
    async fn send(&mut self, came: Result<Option<Bytes>, Failure>) -> Result<(), Failure> {
        let chunk = match came {
            Ok(chunk) => chunk,
            Err(failure) => {
                self.upstream.shutdown().await;
                return Err(failure);
            }
        };
        let sending = Instant::now();
        let is_last = chunk.is_none() || self.client.is_body_done();
        // An empty chunk would end the body.
        if let Some(chunk) = chunk.filter(|chunk| !chunk.is_empty()) {
            self.context.outcome.bytes_in += chunk.len();
            if self.unsent.is_none() {
                let written = self.upstream.write_body(chunk).await;
                self.unsent = written.err().map(unsent);
            }
        }
        self.end_body(is_last).await;
        // How long the upstream takes is not held against the client.
        self.pace.exclude(sending.elapsed());
        Ok(())
    }

    /// Ends the body for the upstream, once, when all of it has come.
    async fn end_body(&mut self, has_come: bool) {
        if has_come && !self.has_come {
            self.has_come = true;
            if self.unsent.is_none() {
                let written = self.upstream.finish_body().await;
                self.unsent = written.err().map(unsent);
            }
        }
    }
}

/// Whether an answer is an error.
pub fn is_error(status: StatusCode) -> bool {
    status.is_client_error() || status.is_server_error()
}

/// Whether the body of an answer may tell an error: by its status, or, under one of success, in a form in
/// which errors are told.
fn may_tell_an_error(header: &Parts) -> bool {
    let media = headers::media(&header.headers);
    is_error(header.status)
        || matches!(media, Media::Json | Media::Events) && headers::is_plain(&header.headers)
}

fn unread(error: &Error, phase: Phase) -> Failure {
    Failure::Upstream(UpstreamFailure::read(error, phase))
}

fn unsent(error: Box<Error>) -> (Box<Error>, Instant) {
    (error, Instant::now() + EARLY_ANSWER)
}

/// The next bytes of the client's body; once all of it has come, nothing but that the client has gone.
async fn next(
    client: &mut ClientSession,
    pace: &mut Pace,
    has_come: bool,
) -> Result<Option<Bytes>, Failure> {
    if has_come {
        client.left().await;
        return Err(Failure::ClientGone);
    }
    client_body::next(client, pace).await
}
