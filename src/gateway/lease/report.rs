//! What an attempt shows of what it held.
//!
//! Owns counting its success or failure for the key, the server and the budget of the upstream, and telling
//! the operator of what that changes. Does not decide what is tried next (see `exchange/failover`), when a
//! key is cooling down (see `upstreams/cooldown`), nor when a server is ejected (see `upstreams/breaker`).
//! Cannot fail.

use std::time::{Duration, Instant};

use super::{Lease, key_use};
use crate::gateway::context::Context;
use crate::gateway::failed::is_the_clients;
use crate::gateway::key_news::{self, log_cooldown};
use crate::openai::ratelimit::Headroom;
use crate::openai::verdict::{Blame, Reason, Scope, Verdict};
use crate::runtime::Shared;
use crate::upstreams::{Fault, Finding};

impl Lease {
    /// The upstream has served: counts for the server and the key, and so does what the answer says of the
    /// key's allowance.
    pub fn report_success(&mut self, context: &Context, headroom: &Headroom) {
        self.upstream.pool.succeeded(&mut self.server);
        self.accepted(context, headroom);
    }

    /// The upstream has not served. Counts for the key or the server, as far as the verdict says something of
    /// them. `wait` is how long the upstream asks us to wait.
    pub fn report_failure(
        &mut self,
        shared: &Shared,
        context: &Context,
        verdict: Verdict,
        wait: Option<Duration>,
    ) {
        match verdict.reason.blames() {
            Blame::Key => self.key_failed(shared, context, verdict, wait),
            Blame::Server => {
                self.count_failure(context);
                self.server_failed(shared, verdict.reason);
            }
            Blame::Target => self.count_failure(context),
            // It has looked at what was asked, and so has taken the key: what it says of the request ends a
            // cooldown after a refusal, and a trial.
            Blame::Nothing if is_the_clients(verdict.reason) => {
                self.accepted(context, &Headroom::default());
            }
            Blame::Nothing => {}
        }
    }

    /// The answer broke off after it had been reported as a success.
    pub fn report_broken(&mut self, shared: &Shared, context: &Context) {
        self.count_failure(context);
        self.server_failed(shared, Reason::Cut);
    }

    /// Counts against the upstream as a whole.
    fn count_failure(&self, context: &Context) {
        let settings = &context.runtime.settings.retries.budget;
        self.upstream.budget.failed(Instant::now(), settings);
    }

    fn accepted(&self, context: &Context, headroom: &Headroom) {
        if let Some(key) = self.our_key() {
            let longest = context.runtime.settings.retries.longest_cooldown;
            let wanted = key_use(context, self.account.as_deref());
            let nothing = Headroom::default();
            // An allowance is a model's: the account's key does not change because of it.
            let headroom = match self.account {
                None => headroom,
                Some(_) => &nothing,
            };
            key.condition.served(wanted, self.since, headroom, longest);
        }
    }

    fn key_failed(
        &self,
        shared: &Shared,
        context: &Context,
        verdict: Verdict,
        wait: Option<Duration>,
    ) {
        let Some(key) = self.our_key() else {
            return;
        };
        if verdict.scope == Scope::Request {
            return;
        }
        let finding = Finding {
            fault: match verdict.reason {
                Reason::OutOfCredit => Fault::OutOfCredit,
                Reason::KeyRefused => Fault::Refused,
                _ => Fault::RateLimited,
            },
            is_named: verdict.scope == Scope::Key,
            told: wait,
            request: &context.request.id,
            asked: self.since,
        };
        let longest = context.runtime.settings.retries.longest_cooldown;
        let wanted = key_use(context, self.account.as_deref());
        key_news::tell(shared, &self.upstream.name, key, wanted, &finding);
        if let Some(cooled) = self.upstream.keys.note(key, wanted, &finding, longest) {
            log_cooldown(&self.upstream.name, key, wanted, finding.fault, cooled);
        }
    }

    pub(super) fn server_failed(&mut self, shared: &Shared, reason: Reason) {
        let pool = &self.upstream.pool;
        if let Some(time) = pool.failed(&mut self.server) {
            let server = pool.servers().get(self.server.server);
            let url = server.map_or_else(String::new, |server| server.url().to_string());
            ejected(shared, &self.upstream.name, "server", &url, reason, time);
        }
    }
}

/// Tells the operator of a server or a target that is ejected, and counts it.
pub fn ejected(
    shared: &Shared,
    upstream: &str,
    kind: &'static str,
    what: &str,
    reason: Reason,
    time: Duration,
) {
    log::warn!("upstream {upstream}: {kind} {what} fails ({reason}) and is ejected for {time:?}");
    shared.metrics.attempts().ejected(upstream, kind);
}
