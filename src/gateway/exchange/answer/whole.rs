//! Holding a stream back until it is whole.
//!
//! Owns the bound on what is held, and that whatever goes wrong before the end is seen by no client. Does not handle
//! streams of which one answer is made (see `convert`), nor what is tried next (see `failover`). Fails with what came
//! instead of the rest.

use std::time::Duration;

use super::first_output::{self, NoAnswer};
use super::{Answer, End};
use crate::gateway::exchange::terms::Terms;
use crate::observe::attempts::Until;
use crate::openai::reusable::has_whole_events;
use crate::workers::walk;

/// A longer stream passes as it comes from here on.
const MAX_BYTES: usize = 8 << 20;

/// Reads a stream to its end, which has begun to say something. Its source may be silent for `idle`. Tells what has
/// ended the holding.
pub async fn hold(answer: &mut Answer, idle: Duration, terms: &Terms) -> Result<Until, NoAnswer> {
    while answer.next(answer.limit(idle, terms.deadline)).await? {
        let events = answer.events_mut();
        if let Some(error) = events.and_then(|events| first_output::told_error(events, terms)) {
            return Err(error);
        }
        if answer.read_bytes() > MAX_BYTES {
            return Ok(Until::Bytes);
        }
    }
    let events = answer.events_mut();
    if let Some(error) = events.and_then(|events| first_output::told_error(events, terms)) {
        return Err(error);
    }
    if answer.end() != Some(End::Complete) {
        return Err(NoAnswer::Cut("its stream ended before its end"));
    }
    let held = answer.ready();
    match walk(held.len(), || has_whole_events(&held)) {
        true => Ok(Until::Whole),
        false => Err(NoAnswer::Unusable("an event of its stream cannot be read")),
    }
}
