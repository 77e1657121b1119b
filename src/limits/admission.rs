//! Admission: all limits of a request at once, or none.
//!
//! Owns the order in which scopes are locked, and that a refusal changes nothing. Does not handle what a scope counts
//! (see `counts`), or what happens to a reservation (see `reservation`). Fails with a [`Refusal`].

use std::sync::Arc;

use parking_lot::MutexGuard;
use smallvec::SmallVec;

use super::counts::{Counts, Obstacle};
use super::demand::{Demand, Now};
use super::refusal::Refusal;
use super::reservation::Reservation;
use super::scope::Scope;
use super::standing::Standing;

/// Who admits requests: one node by itself ([`Local`]), or several that share what they count.
pub trait Admission: Send + Sync {
    /// Reserves one request, a permit and the demand in each of the scopes, or nothing in any of them.
    ///
    /// # Errors
    ///
    /// The limit that is in the way. Nothing was counted then.
    fn reserve(
        &self,
        scopes: &[Arc<Scope>],
        demand: Demand,
        now: Now,
    ) -> Result<Reservation, Box<Refusal>>;
}

/// One node: what the scopes count is all that there is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Local;

type Locked<'a> = SmallVec<[(&'a Arc<Scope>, MutexGuard<'a, Counts>); 4]>;

impl Admission for Local {
    fn reserve(
        &self,
        scopes: &[Arc<Scope>],
        demand: Demand,
        now: Now,
    ) -> Result<Reservation, Box<Refusal>> {
        let mut locked = lock(scopes);
        let mut worst: Option<(&Arc<Scope>, Obstacle)> = None;
        for (scope, counts) in &mut locked {
            counts.begin(now);
            let Some(found) = counts.check(demand, scope.in_flight(), now) else {
                continue;
            };
            if worst.is_none_or(|(_, known)| found.is_worse_than(&known)) {
                worst = Some((*scope, found));
            }
        }
        if let Some((scope, obstacle)) = worst {
            return Err(Box::new(refuse(locked, scope, obstacle)));
        }
        let mut reservation = Reservation::new(locked.len(), demand);
        for (scope, counts) in &mut locked {
            scope.take_permit();
            reservation.hold(scope, counts.reserve(demand), counts.counts_usage());
        }
        Ok(reservation)
    }
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

fn refuse(mut locked: Locked<'_>, by: &Arc<Scope>, obstacle: Obstacle) -> Refusal {
    let mut standing = Standing::default();
    for (scope, counts) in &mut locked {
        if scope.name().is_told() {
            counts.add_standing(&mut standing);
        }
        if obstacle.first && Arc::ptr_eq(scope, by) {
            counts.note_refusal();
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
