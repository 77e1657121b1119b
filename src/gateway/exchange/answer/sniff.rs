//! What an answer is: what its header says, unless its first bytes say otherwise.
//!
//! Owns when a header is not believed: servers label streams of events as JSON or as text, JSON as events or
//! as a web page, and transcripts as web pages; and which reader an answer gets. Does not handle how a body
//! begins (see `openai::sniff`). Fails for a web page, and as waiting for first output does.

use bytes::{Bytes, BytesMut};
use http::header::CONTENT_TYPE;
use http::{HeaderValue, StatusCode};

use super::first_output::{NoAnswer, ends_with_connection};
use super::{Answer, EventReader, JsonReader, Reader};
use crate::gateway::exchange::terms::{Limit, Terms};
use crate::gateway::headers::{self, Media};
use crate::gateway::recording::Form;
use crate::openai::rewrite::Rewrites;
use crate::openai::sniff::{Looks, MAX_SNIFFED_BYTES, looks};

/// Finds out what an answer is, sees that its header says so, and gives it a reader. What is read of it
/// meanwhile is what the reader takes first.
pub async fn recognise(answer: &mut Answer, terms: &Terms, limit: Limit) -> Result<(), NoAnswer> {
    let told = headers::media(&answer.header.headers);
    let is_plain = headers::is_plain(&answer.header.headers);
    let is_doubted = match told {
        Media::Events | Media::Html => true,
        Media::Json => terms.asked.stream || terms.wants_text,
        Media::Other => terms.asked.stream,
    };
    let seen = match is_doubted && is_plain {
        true => look(answer, limit).await?,
        false => Looks::Other,
    };
    let media = match (seen, told) {
        (Looks::Events, _) if terms.asked.stream => Media::Events,
        (Looks::Json, Media::Events | Media::Html) => Media::Json,
        // It stays as it came, its label included.
        (Looks::Other, Media::Html | Media::Json) if terms.wants_text => Media::Other,
        _ => told,
    };
    let label = match media {
        Media::Html => return Err(NoAnswer::Unusable("it answered with a web page")),
        Media::Events => Some("text/event-stream; charset=utf-8"),
        Media::Json => Some("application/json"),
        Media::Other => None,
    };
    if let Some(label) = label.filter(|_| media != told) {
        let label = HeaderValue::from_static(label);
        answer.header.headers.insert(CONTENT_TYPE, label);
    }
    answer.reader = reader(answer, media, is_plain, terms);
    // That the end of a connection is the end of such an answer cannot be told.
    let may_be_cut = media == Media::Other && ends_with_connection(&answer.header);
    if let Some(most_bytes) = terms.records.filter(|_| is_plain && !may_be_cut)
        && answer.header.status == StatusCode::OK
    {
        let form = form(answer, media, terms);
        answer.copies.record(form, most_bytes);
    }
    Ok(())
}

/// What it is, for those that get it again.
fn form(answer: &Answer, media: Media, terms: &Terms) -> Form {
    let content_type = answer.header.headers.get(CONTENT_TYPE);
    let content_type = content_type.and_then(|value| value.to_str().ok());
    Form {
        content_type: content_type.unwrap_or_default().into(),
        is_stream: media == Media::Events,
        rewrites: terms.rewrites.clone(),
    }
}

fn reader(answer: &Answer, media: Media, is_plain: bool, terms: &Terms) -> Reader {
    match media {
        Media::Events if is_plain => {
            let mut reader = EventReader::new(terms.wants, &terms.rewrites, answer.echo.clone());
            if let Some(rest) = &terms.rest {
                reader.go_on((**rest).clone());
            }
            Reader::Events(Box::new(reader))
        }
        Media::Json => {
            let rewrites = match is_plain {
                true => terms.rewrites.clone(),
                false => Rewrites::default(),
            };
            Reader::Json(Box::new(JsonReader::new(terms.keeps, rewrites)))
        }
        Media::Events | Media::Html | Media::Other => Reader::Opaque,
    }
}

/// Reads as much of an answer as shows what it is.
async fn look(answer: &mut Answer, limit: Limit) -> Result<Looks, NoAnswer> {
    let mut read = Bytes::new();
    let seen = loop {
        let Some(chunk) = answer.source.read(limit).await? else {
            break Looks::Other;
        };
        read = match read.is_empty() {
            true => chunk,
            false => {
                let mut joined = BytesMut::from(read);
                joined.extend_from_slice(&chunk);
                joined.freeze()
            }
        };
        match looks(&read) {
            Some(seen) => break seen,
            None if read.len() >= MAX_SNIFFED_BYTES => break Looks::Other,
            None => {}
        }
    };
    answer.ahead = Some(read).filter(|read| !read.is_empty());
    Ok(seen)
}
