//! How what a scope counts goes with the store that several nodes share.
//!
//! Owns the admission by what the store has granted, the admission without it, what it is told and how its answer is
//! taken. Does not handle the parts themselves (see `shares`), nor the exchange (see `store`). Cannot fail.

use smallvec::SmallVec;

use super::balance::Reached;
use super::counts::{Counts, Obstacle};
use super::demand::{Demand, Now};
use super::kind::{IN_FLIGHT_RETRY, LimitKind};
use super::rate::Rate;
use super::report::{Grant, NodeUsage, Report};
use super::share::Asking;
use super::shares::Missing;

impl Counts {
    /// The same by what the store has granted.
    pub(super) fn check_granted(
        &mut self,
        demand: Demand,
        in_flight: u32,
        now: Now,
    ) -> Option<Obstacle> {
        let missing = self
            .shares
            .as_mut()?
            .check(demand, in_flight, self.latest_nanos)?;
        let Missing {
            kind, limit, asked, ..
        } = missing;
        let balance = self.balance.as_ref().filter(|_| kind.is_quota());
        // What is known to be spent tells how long it takes, too.
        let short = balance.and_then(|balance| balance.check(demand, now.wall));
        let retry_after = match short {
            Some(short) if short.kind == kind => short.retry_after,
            _ => missing.retry_after,
        };
        Some(Obstacle {
            kind,
            limit,
            asked,
            retry_after,
            // The store says which node tells of it.
            first: false,
            may_be_granted: !missing.is_certain,
        })
    }

    /// The same without the store, which so many nodes have shared.
    pub(super) fn check_alone(
        &mut self,
        demand: Demand,
        in_flight: u32,
        now: Now,
        nodes: u64,
    ) -> Option<Obstacle> {
        let parts = u32::try_from(nodes).unwrap_or(u32::MAX).max(1);
        for rate in &mut self.rates {
            rate.divide_by(nodes, self.latest_nanos);
        }
        let shares = self.shares.as_mut()?;
        shares.go_alone(nodes);
        let missing = shares.check_quota(demand);
        let all = self.concurrent;
        self.concurrent = all.map(|limit| limit.div_ceil(parts));
        let obstacle = self.check_counted(demand, in_flight, now);
        self.concurrent = all;
        let balance = self.balance.as_ref();
        let quota = missing.and_then(|kind| {
            let limits = balance?.limits();
            let (_, limit) = limits.into_iter().find(|(known, _)| *known == kind)?;
            Some(Obstacle {
                kind,
                limit,
                asked: demand.of(kind),
                retry_after: Some(IN_FLIGHT_RETRY),
                first: false,
                may_be_granted: false,
            })
        });
        obstacle.or(quota).map(|found| Obstacle {
            first: false,
            ..found
        })
    }

    /// Notes a refusal by the quota for the store, which says which node tells of it: unless only requests in flight
    /// were in the way.
    pub(super) fn report_refusal(&mut self, kind: LimitKind, demand: Demand, now: Now) {
        let balance = self.balance.as_ref();
        let short = balance.and_then(|balance| balance.check(demand, now.wall));
        if short.is_some_and(|short| short.first)
            && let Some(shares) = &mut self.shares
        {
            shares.set_refused(kind, true);
        }
    }

    /// What the store is told. `None` where nothing is shared.
    pub(super) fn report(&mut self, in_flight: u32, asking: Asking, now: Now) -> Option<Report> {
        self.begin(now);
        let shares = self.shares.as_mut()?;
        let nanos = self.latest_nanos;
        let slides = self.rates.iter().any(Rate::slides);
        let rates = self.rates.iter_mut();
        let backlogs: SmallVec<[(LimitKind, f64); 4]> =
            rates.map(|rate| (rate.kind, rate.backlog(nanos))).collect();
        let quota = self.balance.as_ref().map(|balance| balance.report());
        let report = shares.report((in_flight, asking), nanos, &backlogs, quota);
        Some(Report { slides, ..report })
    }

    /// Takes the answer to a report, for the node with this name. Returns the thresholds that this process tells of.
    pub(super) fn grant(
        &mut self,
        report: &Report,
        grant: &Grant,
        node: &str,
    ) -> SmallVec<[Reached; 2]> {
        let mut reached = SmallVec::new();
        for rate in &mut self.rates {
            rate.divide_by(1, self.latest_nanos);
        }
        let reported = report.quota.as_ref().map(|quota| quota.start);
        let current = self.period();
        let is_same = reported == current && current == Some(grant.start);
        let Some(shares) = &mut self.shares else {
            return reached;
        };
        shares.grant(report, grant, is_same);
        let Some(balance) = &mut self.balance else {
            return reached;
        };
        if Some(grant.start) > current && balance.begin_at(grant.start) {
            shares.begin_period();
        }
        if is_same {
            balance.set_spent(shares.learn(&grant.nodes, node));
            for (limit, granted) in report.limits.iter().zip(&grant.limits) {
                let (percent, others) = granted.reached;
                reached.extend(balance.reach(limit.kind, percent, others));
            }
        }
        reached
    }

    /// Learns what nodes have used of the quota in the period that began at `start`. `node` is this one.
    /// Tells whether that was new.
    pub(super) fn learn(&mut self, start: i64, nodes: &[NodeUsage], node: &str) -> bool {
        let (Some(shares), Some(balance)) = (&mut self.shares, &mut self.balance) else {
            return false;
        };
        let before = shares.spent();
        if balance.term().start == start {
            balance.set_spent(shares.learn(nodes, node));
        }
        shares.spent() != before
    }
}
