//! Admission: all limits of a request at once, or none.
//!
//! Owns the order in which scopes are locked, and that a refusal changes nothing. Does not handle what a scope counts
//! (see `counts`), what happens to a reservation (see `reservation`), or limits that several nodes share (see
//! `sharing`). Fails with a [`Refusal`].

use std::sync::Arc;

use parking_lot::MutexGuard;
use smallvec::SmallVec;

use super::counts::{Counts, Mode, Obstacle};
use super::demand::{Demand, Now};
use super::refusal::Refusal;
use super::reservation::Reservation;
use super::scope::Scope;
use super::standing::Standing;

/// Scopes, few of them.
pub(super) type Scopes = SmallVec<[Arc<Scope>; 4]>;

/// Admission on one node: what the scopes count is all that there is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Local;

/// Why a request was not admitted.
#[derive(Debug)]
pub(super) struct NotAdmitted {
    pub(super) refusal: Box<Refusal>,
    /// The scopes for which the store that several nodes share may know better; none where one scope is certain.
    pub(super) short: Scopes,
}

type Locked<'a> = SmallVec<[(&'a Arc<Scope>, MutexGuard<'a, Counts>); 4]>;

impl Local {
    /// Reserves one request, a permit and the demand in each of the scopes, or nothing in any of them.
    ///
    /// # Errors
    ///
    /// The limit that is in the way. Nothing was counted then.
    pub fn reserve(
        &self,
        scopes: &[Arc<Scope>],
        demand: Demand,
        now: Now,
    ) -> Result<Reservation, Box<Refusal>> {
        admit(scopes, demand, now, Mode::Granted).map_err(|not| not.refusal)
    }
}

/// Admits a request by all of its scopes, or by none.
pub(super) fn admit(
    scopes: &[Arc<Scope>],
    demand: Demand,
    now: Now,
    mode: Mode,
) -> Result<Reservation, NotAdmitted> {
    let mut locked = lock(scopes);
    let mut worst: Option<(&Arc<Scope>, Obstacle)> = None;
    let mut short = Scopes::new();
    let mut is_certain = false;
    for (scope, counts) in &mut locked {
        counts.begin(now);
        let Some(found) = counts.check(demand, scope.in_flight(), now, mode) else {
            continue;
        };
        match found.may_be_granted {
            true => short.push(Arc::clone(scope)),
            false => is_certain = true,
        }
        if worst.is_none_or(|(_, known)| found.is_worse_than(&known)) {
            worst = Some((*scope, found));
        }
    }
    if let Some((scope, obstacle)) = worst {
        if is_certain {
            short.clear();
        }
        let refusal = refuse(locked, scope, obstacle, (demand, now));
        let refusal = Box::new(refusal);
        return Err(NotAdmitted { refusal, short });
    }
    let mut reservation = Reservation::new(locked.len(), demand);
    for (scope, counts) in &mut locked {
        scope.take_permit();
        reservation.hold(scope, counts.reserve(demand), counts.counts_usage());
        scope.note_use(counts);
    }
    Ok(reservation)
}

/// Locks each scope once, in the order that holds everywhere.
fn lock(scopes: &[Arc<Scope>]) -> Locked<'_> {
    if scopes.is_sorted_by(|one, next| one.order(next).is_lt()) {
        return scopes.iter().map(|scope| (scope, scope.lock())).collect();
    }
    let mut sorted: SmallVec<[&Arc<Scope>; 4]> = scopes.iter().collect();
    sorted.sort_unstable_by(|one, other| one.order(other));
    sorted.dedup_by(|one, other| Arc::ptr_eq(one, other));

    sorted
        .into_iter()
        .map(|scope| (scope, scope.lock()))
        .collect()
}

fn refuse(
    mut locked: Locked<'_>,
    by: &Arc<Scope>,
    obstacle: Obstacle,
    (demand, now): (Demand, Now),
) -> Refusal {
    let mut standing = Standing::default();
    for (scope, counts) in &mut locked {
        if scope.name().is_told() {
            counts.add_standing(&mut standing);
        }
        if !Arc::ptr_eq(scope, by) {
            continue;
        }
        if obstacle.first {
            counts.note_refusal();
        } else if obstacle.kind.is_quota() && !obstacle.may_be_granted {
            counts.report_refusal(obstacle.kind, demand, now);
        }
    }
    Refusal {
        kind: obstacle.kind,
        scope: Arc::clone(by),
        limit: obstacle.limit,
        asked: obstacle.asked,
        retry_after: obstacle.retry_after,
        first_of_quota: obstacle.first,
        standing: standing.told(),
    }
}
