//! One node's part of all limits of a scope, where several nodes share them.
//!
//! Owns which limits are shared, what each step of a request does to them, for how long a grant holds, and what each
//! node is known to have used of a quota. Does not handle one limit by itself (see `share`), what the scope counts
//! without the store (see `counts`), or the exchange with the store (see `store`). Cannot fail.
//!
//! What nodes have used of a quota is a number for each of them that only grows. Whatever is told of it twice, late or
//! by another node counts once: the larger number holds.

use std::sync::Arc;
use std::time::Duration;

use super::demand::Demand;
use super::kind::LimitKind;
use super::report::{Grant, NodeUsage, Report, ReportedQuota};
use super::share::{Asking, Share};

/// For so long after it was asked for, a grant holds. The store keeps it for longer, see `store`.
pub(super) const GRANT_NANOS: u64 = 6_000_000_000;
/// So long a refusal of the store is taken for what it would say again.
const REFUSAL_NANOS: u64 = 100_000_000;

/// A node's part of all limits of one scope.
#[derive(Debug, Default)]
pub(super) struct Shares {
    limits: Vec<(Share, Revision)>,
    epoch: Arc<str>,
    /// When it was reported last, and answered. On the clock of the requests.
    reported_nanos: u64,
    granted_nanos: u64,
    /// Until when what was granted holds.
    holds_until_nanos: u64,
    /// Whether it goes on without the store.
    is_alone: bool,
    own: Demand,
    others: Vec<NodeUsage>,
    has_refused: [bool; 2],
}

/// With which rules a limit began.
type Revision = u32;

/// How soon the store is to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Urgency {
    /// It knows all, and this node holds nothing.
    Never,
    /// Before what this node holds lapses.
    Later,
    /// There is something that it does not know.
    Soon,
    /// Other nodes may need what this one holds and does not use.
    Now,
}

/// Why a request does not fit into what was granted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Missing {
    pub(super) kind: LimitKind,
    pub(super) limit: u64,
    pub(super) asked: u64,
    pub(super) retry_after: Option<Duration>,
    /// Whether the store would say no: it has just done so, or the request is larger than the limit.
    pub(super) is_certain: bool,
}

impl Shares {
    /// Shares these limits from now on. What is counted for a limit that stays, stays.
    pub(super) fn change_rules(
        &mut self,
        limits: impl Iterator<Item = (LimitKind, u64)>,
        has_new_quota: bool,
        revision: u32,
    ) {
        if has_new_quota {
            self.limits.retain(|(share, _)| !share.kind.is_quota());
            self.begin_period();
        }
        let mut before = std::mem::take(&mut self.limits);
        for (kind, limit) in limits {
            let place = before.iter().position(|(share, _)| share.kind == kind);
            let (mut share, since) = match place {
                Some(place) => before.swap_remove(place),
                None => (Share::new(kind, limit), revision),
            };
            if place.is_none() {
                share.load(of(kind, self.own));
            }
            if share.limit != limit {
                share.limit = limit;
                // What was too much for another limit says nothing of this one.
                self.set_refused(kind, false);
            }
            self.limits.push((share, since));
        }
    }

    /// A new period of the quota has begun.
    pub(super) fn begin_period(&mut self) {
        self.own = Demand::default();
        self.others.clear();
        self.has_refused = [false; 2];
        for (share, _) in &mut self.limits {
            if share.kind.is_quota() {
                share.begin();
            }
        }
    }

    /// What the nodes are known to have used of the quota in its period, this one among them, which is `own`. Returns
    /// the sum.
    pub(super) fn learn(&mut self, nodes: &[NodeUsage], own: &str) -> Demand {
        for told in nodes {
            if &*told.node == own {
                let more = Demand {
                    tokens: told.used.tokens.saturating_sub(self.own.tokens),
                    nanos: told.used.nanos.saturating_sub(self.own.nanos),
                };
                self.own = self.own.plus(more);
                for (share, _) in &mut self.limits {
                    share.load(of(share.kind, more));
                }
                continue;
            }
            match self.others.iter_mut().find(|known| known.node == told.node) {
                Some(known) => {
                    known.used.tokens = known.used.tokens.max(told.used.tokens);
                    known.used.nanos = known.used.nanos.max(told.used.nanos);
                }
                None => self.others.push(told.clone()),
            }
        }
        self.spent()
    }

    /// What all nodes are known to have used of the quota in its period.
    pub(super) fn spent(&self) -> Demand {
        let others = self.others.iter();
        others.fold(self.own, |all, node| all.plus(node.used))
    }

    /// What is missing for a request, while `in_flight` others have a permit. Of several limits, the one with the
    /// longest wait.
    pub(super) fn check(
        &mut self,
        demand: Demand,
        in_flight: u32,
        now_nanos: u64,
    ) -> Option<Missing> {
        self.lapse(now_nanos);
        let is_fresh = now_nanos.saturating_sub(self.granted_nanos) < REFUSAL_NANOS;
        let has_answer = self.granted_nanos > 0 && is_fresh;
        let mut worst: Option<Missing> = None;
        for (share, _) in &mut self.limits {
            let asked = demand.of(share.kind);
            if share.kind == LimitKind::Concurrent {
                share.set_reserved(u64::from(in_flight));
            }
            if share.fits(asked) {
                continue;
            }
            let found = Missing {
                kind: share.kind,
                limit: share.limit,
                asked,
                retry_after: share.retry_after(asked),
                is_certain: asked > share.limit || has_answer && share.was_refused(asked),
            };
            let wait = |of: &Missing| of.retry_after.unwrap_or(Duration::MAX);
            let is_certain = found.is_certain || worst.is_some_and(|worst| worst.is_certain);
            if worst.is_none_or(|worst| wait(&found) > wait(&worst)) {
                worst = Some(found);
            }
            if let Some(worst) = &mut worst {
                worst.is_certain = is_certain;
            }
        }
        worst
    }

    /// Gives up what was granted, once another node may have it.
    fn lapse(&mut self, now_nanos: u64) {
        if now_nanos >= self.holds_until_nanos && !self.is_alone {
            for (share, _) in &mut self.limits {
                share.lapse();
            }
        }
    }

    /// Goes on without the store: with an equal part of what was left of a quota when it was last known.
    pub(super) fn go_alone(&mut self, nodes: u64) {
        if std::mem::replace(&mut self.is_alone, true) {
            return;
        }
        let spent = self.spent();
        for (share, _) in &mut self.limits {
            if share.kind.is_quota() {
                let left = share.limit.saturating_sub(of(share.kind, spent));
                share.go_alone(left, nodes);
            }
        }
    }

    /// What is missing of a quota for a request while it goes on without the store.
    pub(super) fn check_quota(&self, demand: Demand) -> Option<LimitKind> {
        let quotas = self.limits.iter().map(|(share, _)| share);
        let mut quotas = quotas.filter(|share| share.kind.is_quota());
        let missing = quotas.find(|share| !share.fits(demand.of(share.kind)));
        missing.map(|share| share.kind)
    }

    /// Counts a request, and sets its demand aside.
    pub(super) fn reserve(&mut self, demand: Demand) {
        for (share, _) in &mut self.limits {
            let asked = demand.of(share.kind);
            match share.kind {
                // The permits are counted elsewhere.
                LimitKind::Concurrent => share.note_asked(asked),
                kind if kind.is_quota() || kind.is_token_rate() => share.reserve(asked),
                _ => share.count(asked),
            }
        }
    }

    /// Gives back what was set aside under a revision of the rules; of the quota only where its period goes on.
    pub(super) fn give_back(&mut self, reserved: Demand, revision: u32, has_period: bool) {
        for (share, since) in &mut self.limits {
            let kind = share.kind;
            let counts = match kind.is_quota() {
                true => has_period,
                false => kind.is_token_rate() && *since <= revision,
            };
            if counts {
                share.give_back(reserved.of(kind));
            }
        }
    }

    /// Counts what was used; of the quota only where its period goes on.
    pub(super) fn spend(&mut self, used: Demand, has_period: bool) {
        if has_period {
            self.own = self.own.plus(used);
        }
        for (share, _) in &mut self.limits {
            if share.kind.is_token_rate() || share.kind.is_quota() && has_period {
                share.add(used.of(share.kind));
            }
        }
    }

    /// Notes that a request waits for the store, or does so no more.
    pub(super) fn need(&mut self, demand: Demand, waits: bool) {
        for (share, _) in &mut self.limits {
            let asked = demand.of(share.kind);
            match waits {
                true => share.need(asked),
                false => share.forget_need(asked),
            }
        }
    }

    /// Notes whether a request was refused for want of a quota.
    pub(super) fn set_refused(&mut self, kind: LimitKind, is_refused: bool) {
        let place = usize::from(kind == LimitKind::QuotaMoney);
        if let Some(refused) = self.has_refused.get_mut(place).filter(|_| kind.is_quota()) {
            *refused = is_refused;
        }
    }

    /// Whether more of a limit is to be asked for before it is needed.
    pub(super) fn is_low(&self) -> bool {
        !self.is_alone && self.limits.iter().any(|(share, _)| share.is_low())
    }

    /// Whether it is to be told to the store, and how soon.
    pub(super) fn urgency(&self) -> Urgency {
        let shares = || self.limits.iter().map(|(share, _)| share);
        if shares().any(Share::hoards) {
            Urgency::Now
        } else if shares().any(Share::has_news) {
            Urgency::Soon
        } else if shares().any(Share::holds) {
            Urgency::Later
        } else {
            Urgency::Never
        }
    }

    /// When it was reported last.
    pub(super) fn reported_nanos(&self) -> u64 {
        self.reported_nanos
    }

    /// What the store is told. `backlogs` says of rates how much time has not paid for.
    pub(super) fn report(
        &mut self,
        (in_flight, asking): (u32, Asking),
        now_nanos: u64,
        backlogs: &[(LimitKind, f64)],
        quota: Option<ReportedQuota>,
    ) -> Report {
        self.lapse(now_nanos);
        let elapsed = Duration::from_nanos(now_nanos.saturating_sub(self.reported_nanos));
        self.reported_nanos = now_nanos;
        let limits = self.limits.iter_mut().map(|(share, _)| {
            if share.kind == LimitKind::Concurrent {
                share.set_reserved(u64::from(in_flight));
            }
            let backlog = backlogs.iter().find(|(kind, _)| *kind == share.kind);
            share.report(elapsed, asking, backlog.map_or(0.0, |(_, units)| *units))
        });
        Report {
            limits: limits.collect(),
            epoch: Arc::clone(&self.epoch),
            quota: quota.map(|quota| ReportedQuota {
                own: self.own,
                others: self.others.clone(),
                has_refused: self.has_refused,
                ..quota
            }),
            slides: false,
        }
    }

    /// Takes the answer to a report that was made at a time.
    pub(super) fn grant(&mut self, report: &Report, grant: &Grant, is_same_period: bool) {
        self.epoch = Arc::clone(&grant.epoch);
        self.granted_nanos = self.reported_nanos;
        self.holds_until_nanos = self.reported_nanos.saturating_add(GRANT_NANOS);
        self.is_alone = false;
        for (reported, granted) in report.limits.iter().zip(&grant.limits) {
            let mut shares = self.limits.iter_mut().map(|(share, _)| share);
            let share = shares.find(|share| share.kind == reported.kind);
            if let Some(share) = share.filter(|share| is_same_period || !share.kind.is_quota()) {
                share.grant(reported, granted);
            }
        }
    }

    /// How a rate stands.
    pub(super) fn standing(&self, kind: LimitKind) -> Option<(u64, Duration)> {
        let share = self.limits.iter().find(|(share, _)| share.kind == kind);
        share.and_then(|(share, _)| share.standing())
    }
}

/// What of it counts for a quota, and nothing for another limit.
fn of(kind: LimitKind, used: Demand) -> u64 {
    match kind.is_quota() {
        true => used.of(kind),
        false => 0,
    }
}
