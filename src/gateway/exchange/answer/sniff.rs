//! What an answer is: what its header says, unless its first bytes say otherwise.
//!
//! Owns when a header is not believed: servers label streams of events as JSON or as text, JSON as events or
//! as a web page, and transcripts as web pages. How a body begins is known to `openai::sniff`. Fails as `hold`
//! does while it waits for those bytes, and for a web page.

use std::time::Instant;

use bytes::{Bytes, BytesMut};
use http::HeaderValue;
use http::header::CONTENT_TYPE;

use super::events::EventReader;
use super::first_output::{self, NoAnswer};
use crate::gateway::exchange::attempt::{Answer, Terms};
use crate::gateway::headers::{self, Media};
use crate::openai::sniff::{Looks, MAX_SNIFFED_BYTES, looks};

/// Finds out what an answer is, and sees that its header says so. What is read of it meanwhile is what `hold`
/// reads next.
pub async fn recognise(answer: &mut Answer, terms: &Terms, until: Instant) -> Result<(), NoAnswer> {
    let told = headers::media(&answer.header.headers);
    let is_plain = headers::is_plain(&answer.header.headers);
    let is_doubted = match told {
        Media::Events | Media::Html => true,
        Media::Json => terms.asked.stream || terms.wants_text,
        Media::Other => terms.asked.stream,
    };
    let seen = match is_doubted && is_plain {
        true => look(answer, until).await?,
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
    answer.is_json = media == Media::Json;
    answer.events = (media == Media::Events && is_plain)
        .then(|| Box::new(EventReader::new(terms.wants, answer.echo.clone())));
    Ok(())
}

/// Reads as much of an answer as shows what it is.
async fn look(answer: &mut Answer, until: Instant) -> Result<Looks, NoAnswer> {
    let mut read = Bytes::new();
    let seen = loop {
        let Some(chunk) = first_output::next(answer, until).await? else {
            // The end is found once more by whatever reads on.
            answer.complete = false;
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
