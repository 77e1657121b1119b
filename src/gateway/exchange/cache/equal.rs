//! Equal requests at the same time: waiting for the answer to another.
//!
//! Owns how long one waits, and for how many others that fail. Does not handle who leads and what followers get (see
//! `cache::flights`). Fails where the client leaves.

use std::sync::Arc;
use std::time::Duration;

use super::{Found, From, Looked, Looking, May, replay, reuse_in};
use crate::cache::{Follower, Joined};
use crate::gateway::context::Context;
use crate::gateway::exchange::requester::Requester;
use crate::gateway::failure::Failure;
use crate::observe::cache::CacheResult;
use crate::runtime::SharedHead;

/// A request waits this long for the answer to an equal one to begin. Then it asks for itself.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// A request follows so many others that fail. Then it asks for itself.
const MOST_LEADS: usize = 2;

impl Looking<'_> {
    /// The answer that an equal request is about to get; or the request is asked itself.
    pub(super) async fn join(
        &self,
        requester: &mut Requester<'_>,
        context: &mut Context,
        may: &May,
    ) -> Result<Looked, Failure> {
        for _ in 0..MOST_LEADS {
            let mut follower = match self.shared.flights.join(may.key) {
                Joined::Alone => break,
                Joined::Leads(lead) => {
                    // The one before it may have ended just now.
                    if let Some(found) = self.kept(context, may).await {
                        return Ok(Looked::Found(found));
                    }
                    let found = self.kept_elsewhere(requester, context, may).await?;
                    return Ok(found.map_or(Looked::Ask(Some(lead)), Looked::Found));
                }
                Joined::Follows(follower) => follower,
            };
            let begun = tokio::time::timeout(LONGEST_WAIT, follower.begun());
            match requester.wait(context, begun).await? {
                Ok(Some(head)) => {
                    if let Some(found) = self.shared(context, &head, follower).await {
                        return Ok(Looked::Found(found));
                    }
                }
                // What it has found in the second level is in memory.
                Ok(None) => {
                    if let Some(found) = self.kept(context, may).await {
                        return Ok(Looked::Found(found));
                    }
                }
                Err(_) => break,
            }
        }
        Ok(Looked::Ask(None))
    }

    /// The answer that an equal request has begun to get.
    async fn shared(
        &self,
        context: &mut Context,
        head: &SharedHead,
        follower: Follower<SharedHead>,
    ) -> Option<Box<Found>> {
        let terms = self.terms(context, &head.head);
        let begun = replay::shared(head, follower, &terms).await;
        let mut found = Found::begun(context, &head.head, begun, terms)?;
        found.upstream = Some(Arc::clone(&head.upstream));
        let from = From {
            head: &head.head,
            age: Duration::ZERO,
            similarity: None,
        };
        self.note(context, CacheResult::Joined, Some(&from));
        reuse_in(context, &head.head, None);
        Some(found)
    }
}
