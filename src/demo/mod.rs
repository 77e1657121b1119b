//! The built-in provider behind `tollgate run --demo` and `dialect: demo`.
//!
//! Owns a small server of the OpenAI API on a loopback port, so that a request takes its real path:
//! chat, completions and responses, streamed or not, embeddings, and faults by the model's name.
//! `answers` builds the answers, and `response` those of `/v1/responses`. It asks for no key. Does not
//! handle anything of the gateway: it is the far end of the network. Fails by breaking the connection.

mod answers;
mod response;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderValue, StatusCode};
use pingora::apps::{HttpPersistentSettings, HttpServerApp, ReusedHttpStream};
use pingora::http::ResponseHeader;
use pingora::protocols::http::{HttpTask, ServerSession};
use pingora::server::ShutdownWatch;

use answers::{DemoRequest, Fault};

/// The largest request that is read.
const MAX_BODY_BYTES: usize = 64 << 20;
/// The time between two words of `lorem`: the speed at which people read.
const PACE: Duration = Duration::from_millis(40);
/// The number of words before a fault within an answer.
const WORDS_BEFORE_FAULT: usize = 5;

/// The provider.
pub struct Provider;

#[async_trait]
impl HttpServerApp for Provider {
    async fn process_new_http(
        self: &Arc<Self>,
        mut session: ServerSession,
        _shutdown: &ShutdownWatch,
    ) -> Option<ReusedHttpStream> {
        if !session.read_request().await.ok()? {
            return None;
        }
        session.set_keepalive(Some(60));
        let body = read_body(&mut session).await?;
        let path = session.req_header().uri.path().to_owned();
        answer(&mut session, &path, &body).await?;
        let settings = HttpPersistentSettings::for_session(&session);
        let stream = session.finish().await.ok()??;
        Some(ReusedHttpStream::from_reusable_stream(stream, settings))
    }
}

async fn read_body(session: &mut ServerSession) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    while let Some(chunk) = session.read_request_body().await.ok()? {
        body.extend_from_slice(&chunk);
        if body.len() > MAX_BODY_BYTES {
            return None;
        }
    }
    Some(body)
}

/// Answers one request; `None` breaks the connection.
async fn answer(session: &mut ServerSession, path: &str, body: &[u8]) -> Option<()> {
    if path == "/v1/models" {
        return whole(session, StatusCode::OK, answers::models()).await;
    }
    let request = match DemoRequest::read(path, body) {
        Ok(request) => request,
        Err((status, message)) => {
            let body = answers::error(status, "invalid_request_error", None, &message);
            return whole(session, status, body).await;
        }
    };
    match request.fault {
        Some(Fault::RateLimited) => return rate_limited(session).await,
        Some(Fault::Broken) => {
            let status = StatusCode::INTERNAL_SERVER_ERROR;
            let body = answers::error(status, "server_error", None, "The demo broke on purpose.");
            return whole(session, status, body).await;
        }
        Some(Fault::Stall) if !request.stream => return std::future::pending().await,
        Some(Fault::Cut) if !request.stream => return cut(session, request.whole_answer()).await,
        _ => {}
    }
    match request.stream {
        true => stream(session, &request).await,
        false => whole(session, StatusCode::OK, request.whole_answer()).await,
    }
}

async fn whole(session: &mut ServerSession, status: StatusCode, body: String) -> Option<()> {
    let header = json_header(status, body.len())?;
    send(
        session,
        vec![
            HttpTask::Header(Box::new(header), false),
            HttpTask::Body(Some(Bytes::from(body)), true),
        ],
    )
    .await
}

async fn rate_limited(session: &mut ServerSession) -> Option<()> {
    let status = StatusCode::TOO_MANY_REQUESTS;
    let message = "Rate limit reached on purpose. Please try again in 1s.";
    let body = answers::error(status, "requests", Some("rate_limit_exceeded"), message);
    let mut header = json_header(status, body.len())?;
    header.insert_header("retry-after", "1").ok()?;
    send(
        session,
        vec![
            HttpTask::Header(Box::new(header), false),
            HttpTask::Body(Some(Bytes::from(body)), true),
        ],
    )
    .await
}

/// Announces a whole answer, sends its first bytes, and breaks the connection.
async fn cut(session: &mut ServerSession, body: String) -> Option<()> {
    let header = json_header(StatusCode::OK, body.len())?;
    let start = Bytes::from(body).split_to(8);
    send(
        session,
        vec![
            HttpTask::Header(Box::new(header), false),
            HttpTask::Body(Some(start), false),
        ],
    )
    .await?;
    None
}

async fn stream(session: &mut ServerSession, request: &DemoRequest) -> Option<()> {
    let mut header = ResponseHeader::build(StatusCode::OK, Some(4)).ok()?;
    let event_stream = HeaderValue::from_static("text/event-stream; charset=utf-8");
    header.insert_header("content-type", event_stream).ok()?;
    header.insert_header("transfer-encoding", "chunked").ok()?;
    send(session, vec![HttpTask::Header(Box::new(header), false)]).await?;
    for (count, event) in request.events().into_iter().enumerate() {
        if count == WORDS_BEFORE_FAULT {
            match request.fault {
                Some(Fault::Cut) => return None,
                Some(Fault::Stall) => return std::future::pending().await,
                _ => {}
            }
        }
        if count > 0 && request.is_paced() {
            tokio::time::sleep(PACE).await;
        }
        send(
            session,
            vec![HttpTask::Body(Some(Bytes::from(event)), false)],
        )
        .await?;
    }
    send(session, vec![HttpTask::Done]).await
}

fn json_header(status: StatusCode, length: usize) -> Option<ResponseHeader> {
    let mut header = ResponseHeader::build(status, Some(4)).ok()?;
    header
        .insert_header("content-type", "application/json")
        .ok()?;
    header.insert_header("content-length", length).ok()?;
    Some(header)
}

async fn send(session: &mut ServerSession, tasks: Vec<HttpTask>) -> Option<()> {
    session.response_duplex_vec(tasks).await.ok().map(drop)
}
