//! The last event of a stream that has begun and fails.
//!
//! Owns that event and what is noted of the failure. Does not handle whether an event can follow (see
//! `relay`), nor its format (see `openai::error` and `openai::failed_response`). Fails when the client has
//! gone.

use bytes::Bytes;

use super::answer::EventReader;
use crate::clock;
use crate::gateway::context::Context;
use crate::gateway::failure::Failure;
use crate::gateway::session::{ClientSession, Part};
use crate::gateway::settle;
use crate::openai::endpoint::StreamError;
use crate::openai::failed_response::BrokenResponse;

/// The event that tells why nothing follows on what `tap` has heard of the stream; `None` where nothing of it
/// has been passed on.
pub fn last_event(
    failure: &Failure,
    form: StreamError,
    events: Option<&EventReader>,
    context: &Context,
) -> Bytes {
    let error = failure.api_error();
    let broken = match form {
        StreamError::Event => events.map(EventReader::partial),
        StreamError::Data => None,
    };
    let Some((response, sequence_number)) = broken else {
        return Bytes::from(error.event(form, 0));
    };
    let broken = BrokenResponse {
        response: response.as_deref(),
        sequence_number,
        model: context.asked.model.as_deref().unwrap_or_default(),
        created: clock::now_unix_seconds(),
    };
    Bytes::from(broken.event(&error))
}

/// Ends a stream with the event that tells why.
pub async fn tell(
    client: &mut ClientSession,
    context: &mut Context,
    failure: &Failure,
    event: Bytes,
) -> Result<(), Failure> {
    context.log_failure(failure);
    context.outcome.error = failure.api_error().code;
    context.outcome.bytes_out += event.len();
    settle::settle(context).await;
    end(client, vec![Part::Body(event)]).await
}

/// Ends a stream behind what is still to be written.
pub async fn end(client: &mut ClientSession, mut tasks: Vec<Part>) -> Result<(), Failure> {
    tasks.push(Part::End);
    let written = client.write(tasks).await;
    written.map_err(|_| Failure::ClientGone)
}
