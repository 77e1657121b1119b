//! Both bodies on their way, as they come.
//!
//! Owns moving the request's body to the upstream and the answer to the client, each while the other
//! goes on, within a bound on silence and the pace that a client has to keep. The client's body has
//! an end only if its framing says so: what breaks off is never ended for the upstream. Fails with what
//! the client is told; once the answer has begun, the connection breaks instead.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::response::Parts;
use http::{Method, StatusCode};
use pingora::protocols::http::{HttpTask, ServerSession};
use pingora::{Error, ErrorType};

use super::super::answer;
use super::super::attempt::MAX_HINTS;
use super::super::body::{self, Pace};
use super::super::context::Context;
use super::super::failure::{Cause, Failure, Phase, Refusal, UpstreamFailure};
use super::super::headers::{self, Media};
use super::super::refused::{self, ErrorBody};
use super::super::waiting;
use crate::openai::echo::{Echo, Masking};
use crate::upstreams::Session;

/// What is gathered into one write to the client, at most.
const MAX_WRITE_BYTES: usize = 64 << 10;
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
    client: &'a mut ServerSession,
    context: &'a mut Context,
    upstream: Session,
    /// The key that the upstream was asked with.
    echo: Echo,
    /// Masks that key in an answer that may be an error.
    masking: Option<Masking>,
    pace: Pace,
    silence: Duration,
    /// Why the upstream takes no more of the body; what it answers says more.
    unsent: Option<Box<Error>>,
}

/// What has happened.
enum Event<T> {
    Client(Result<Option<Bytes>, Failure>),
    Upstream(pingora::Result<T>),
}

impl<'a> Carry<'a> {
    /// A request whose header has been sent.
    pub fn new(
        client: &'a mut ServerSession,
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
            unsent: None,
        }
    }

    /// Sends the body on until the header of the answer is there.
    pub async fn header(&mut self) -> Result<Parts, Silent> {
        self.end_body_if_done().await;
        for _ in 0..=MAX_HINTS {
            let mut header = self.next_header().await?;
            match header.status {
                // No other protocol was asked for: what follows is no answer of HTTP's.
                StatusCode::SWITCHING_PROTOCOLS => break,
                status if status.is_informational() => {}
                _ => {
                    self.echo.mask_headers(&mut header.headers);
                    return Ok(header);
                }
            }
        }
        self.upstream.shutdown().await;
        let failure = UpstreamFailure::unanswered();
        Err(Silent::Failed(Failure::Upstream(failure)))
    }

    async fn next_header(&mut self) -> Result<Parts, Silent> {
        loop {
            let patience = match self.unsent {
                Some(_) => EARLY_ANSWER,
                None => self.silence,
            };
            self.upstream.set_read_timeout(Some(patience));
            let is_sent = self.upstream.is_sent();
            let event = tokio::select! {
                read = self.upstream.read_response_header() => Event::Upstream(read),
                came = next(self.client, &mut self.pace, is_sent) => Event::Client(came),
            };
            match event {
                Event::Client(came) => self.send(came).await.map_err(Silent::Failed)?,
                Event::Upstream(Err(e)) => return Err(self.silent(e)),
                Event::Upstream(Ok(())) => {
                    let header = self.upstream.response_header();
                    if let Some(header) = header {
                        return Ok(header.as_owned_parts());
                    }
                }
            }
        }
    }

    fn silent(&mut self, error: Box<Error>) -> Silent {
        // The write says better what has happened than the read after it.
        match (self.unsent.take(), error.etype()) {
            (Some(error), _) => Silent::Failed(Failure::Upstream(UpstreamFailure::read(
                &error,
                Phase::Total,
            ))),
            (None, ErrorType::ConnectionClosed | ErrorType::ReadError) => Silent::Closed(error),
            (None, _) => {
                let failure = UpstreamFailure::read(&error, Phase::Idle);
                Silent::Failed(Failure::Upstream(failure))
            }
        }
    }

    /// Whether the answer can pass as it comes: an error that is compressed cannot be looked through for
    /// the key.
    pub fn is_readable(&self, header: &Parts) -> bool {
        headers::is_plain(&header.headers)
            || !is_error(header.status)
            || self.client.req_header().method == Method::HEAD
    }

    /// Reads an error that is compressed. Gives the session back, for the pool to judge.
    pub async fn refusal(self, mut header: Parts, asked: Instant) -> (Option<Session>, Failure) {
        let Self {
            context,
            upstream,
            echo,
            ..
        } = self;
        let until = Instant::now() + refused::ERROR_PATIENCE;
        let read = refused::read_error(upstream, &mut header, until, until, &echo).await;
        context.waited += asked.elapsed();
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
        let refusal = Refusal {
            header,
            body,
            message: None,
            usage: None,
            rest,
        };
        (session, Failure::Refusal(Box::new(refusal)))
    }

    /// Passes the answer on to its end. Gives the session back, for the pool to judge.
    pub async fn answer(mut self, header: Parts, asked: Instant) -> Result<Session, Failure> {
        self.context.waited += asked.elapsed();
        let request = self.client.req_header();
        let header = headers::for_client(header, request, &self.context.request_id);
        if may_tell_an_error(&header) {
            self.masking = Some(Masking::new(self.echo.clone()));
        }
        self.context.commit(header.status.as_u16());
        let mut is_done = self.upstream.response_done();
        let mut tasks = vec![HttpTask::Header(Box::new(header.into()), is_done)];
        while !is_done {
            let gathered = self.gather(&mut tasks).await;
            is_done = matches!(gathered, Ok(true));
            if is_done {
                self.end(&mut tasks);
            }
            self.write(&mut tasks).await?;
            gathered.map_err(|e| self.cut(&e))?;
            if !is_done {
                match self.next_chunk().await? {
                    Some(chunk) => self.put(&mut tasks, chunk),
                    None => {
                        is_done = true;
                        self.end(&mut tasks);
                    }
                }
            }
        }
        self.write(&mut tasks).await?;
        // An answer that came before the end of the request: its rest is for no one.
        answer::discard_body(self.client, self.context).await;
        Ok(self.upstream)
    }

    /// The next bytes of the answer, while the rest of the request goes on.
    async fn next_chunk(&mut self) -> Result<Option<Bytes>, Failure> {
        loop {
            self.upstream.set_read_timeout(Some(self.silence));
            let is_sent = self.upstream.is_sent();
            let event = tokio::select! {
                read = self.upstream.read_response_body() => Event::Upstream(read),
                came = next(self.client, &mut self.pace, is_sent) => Event::Client(came),
            };
            match event {
                Event::Client(came) => self.send(came).await?,
                Event::Upstream(read) => return read.map_err(|e| self.cut(&e)),
            }
        }
    }

    /// Takes what is there already. Tells whether the answer is complete.
    async fn gather(&mut self, tasks: &mut Vec<HttpTask>) -> pingora::Result<bool> {
        // Nothing is waited for, so no timer is needed.
        self.upstream.set_read_timeout(None);
        let mut length = tasks.iter().map(body_bytes).sum::<usize>();
        while length < MAX_WRITE_BYTES {
            if self.upstream.response_done() {
                return Ok(true);
            }
            match waiting::now_or_never(self.upstream.read_response_body()).await {
                None => return Ok(false),
                Some(read) => match read? {
                    Some(chunk) => {
                        length += chunk.len();
                        self.put(tasks, chunk);
                    }
                    None => return Ok(true),
                },
            }
        }
        Ok(self.upstream.response_done())
    }

    fn put(&mut self, tasks: &mut Vec<HttpTask>, chunk: Bytes) {
        let chunk = match &mut self.masking {
            Some(masking) => masking.push(chunk),
            None => chunk,
        };
        self.put_last(tasks, chunk);
    }

    /// Ends the answer, behind what has been held back of it.
    fn end(&mut self, tasks: &mut Vec<HttpTask>) {
        if let Some(masking) = &mut self.masking {
            let rest = masking.finish();
            self.put_last(tasks, rest);
        }
        tasks.push(HttpTask::Done);
    }

    fn put_last(&mut self, tasks: &mut Vec<HttpTask>, chunk: Bytes) {
        // An empty chunk would end the body.
        if !chunk.is_empty() {
            self.context.bytes_out += chunk.len();
            tasks.push(HttpTask::Body(Some(chunk), false));
        }
    }

    async fn write(&mut self, tasks: &mut Vec<HttpTask>) -> Result<(), Failure> {
        if tasks.is_empty() {
            return Ok(());
        }
        let written = self.client.response_duplex_vec(std::mem::take(tasks)).await;
        written.map(drop).map_err(|_| Failure::ClientGone)
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
        // An empty chunk would end the body.
        if let Some(chunk) = chunk.filter(|chunk| !chunk.is_empty()) {
            self.context.bytes_in += chunk.len();
            if self.unsent.is_none() {
                self.unsent = self.upstream.write_body(chunk).await.err();
            }
        }
        self.end_body_if_done().await;
        // How long the upstream takes is not held against the client.
        self.pace.exclude(sending.elapsed());
        Ok(())
    }

    async fn end_body_if_done(&mut self) {
        if self.client.is_body_done() && self.unsent.is_none() && !self.upstream.is_sent() {
            self.unsent = self.upstream.finish_body().await.err();
        }
    }
}

fn is_error(status: StatusCode) -> bool {
    status.is_client_error() || status.is_server_error()
}

/// Whether the body of an answer may tell an error: by its status, or, under one of success, in a form in
/// which errors are told.
fn may_tell_an_error(header: &Parts) -> bool {
    let media = headers::media(&header.headers);
    is_error(header.status)
        || matches!(media, Media::Json | Media::Events) && headers::is_plain(&header.headers)
}

fn body_bytes(task: &HttpTask) -> usize {
    match task {
        HttpTask::Body(Some(chunk), _) => chunk.len(),
        _ => 0,
    }
}

/// The next bytes of the client's body; once all of it has come, nothing but that the client has gone.
async fn next(
    client: &mut ServerSession,
    pace: &mut Pace,
    is_sent: bool,
) -> Result<Option<Bytes>, Failure> {
    if is_sent || client.is_body_done() {
        waiting::client_left(client).await;
        return Err(Failure::ClientGone);
    }
    body::next(client, pace).await
}
