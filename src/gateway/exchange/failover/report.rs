//! What a failed attempt says of the target.
//!
//! Owns counting it, where no other server of the upstream may still serve the request. Does not handle
//! keys and servers (see `gateway/lease/report`), nor what is tried next (see `next_step`). Cannot fail.

use crate::gateway::failed::Failed;
use crate::gateway::lease;
use crate::gateway::plan::Candidate;
use crate::openai::verdict::Blame;
use crate::runtime::Shared;

/// Counts a failure against the target; `server` is the one that was asked, `tried` are those that failed
/// before.
pub fn target_failed(
    shared: &Shared,
    failed: &Failed,
    candidate: &mut Candidate<'_>,
    server: Option<usize>,
    tried: &[usize],
) {
    let upstream = candidate.upstream;
    let reason = failed.verdict.reason;
    match reason.blames() {
        Blame::Nothing | Blame::Key => return,
        Blame::Target => {}
        // One server is not the target, while another may serve the request.
        Blame::Server => {
            if let Some(server) = server
                && upstream.pool.has_open(&[tried, &[server]].concat())
            {
                return;
            }
        }
    }
    if let Some(time) = candidate.failed() {
        let model = candidate.model.unwrap_or("as it is asked for");
        lease::ejected(shared, &upstream.name, "target", model, reason, time);
    }
}
