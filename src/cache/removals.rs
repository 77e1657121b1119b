//! Answers that were removed while their requests were being served.
//!
//! Owns that such an answer is not kept: a removal is noted before entries are looked through, and what comes of a
//! request that began before it is not kept where the removal fits. Does not remove what is kept (see the parent).
//! Bounded: where too many removals are noted, each counts for all answers that were being served.

use std::collections::VecDeque;
use std::time::Instant;

use parking_lot::RwLock;

use super::{Head, Which};

/// As many removals are known apart.
const MOST_REMOVALS: usize = 256;

/// The latest removals.
#[derive(Default)]
pub struct Removals(RwLock<Noted>);

#[derive(Default)]
struct Noted {
    /// The oldest first.
    each: VecDeque<(Instant, Which)>,
    /// The latest of those that are no longer known apart.
    others: Option<Instant>,
}

impl Removals {
    /// Notes a removal. To be called before anything is removed.
    pub fn note(&self, which: &Which, now: Instant) {
        let mut noted = self.0.write();
        noted.each.push_back((now, which.clone()));
        if noted.each.len() > MOST_REMOVALS {
            noted.others = noted.each.pop_front().map(|(time, _)| time);
        }
    }

    /// Keeps an answer that was looked for at this time, unless it has been removed since. No removal begins meanwhile.
    pub fn unless_removed<T>(
        &self,
        since: Instant,
        head: &Head,
        keep: impl FnOnce() -> T,
    ) -> Option<T> {
        let noted = self.0.read();
        let mut later = noted
            .each
            .iter()
            .rev()
            .take_while(|(time, _)| *time >= since);
        let is_removed = noted.others.is_some_and(|time| time >= since)
            || later.any(|(_, which)| which.fits(&head.tenant, &head.rule, &head.id));
        (!is_removed).then(keep)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::cache::entry::sample;

    fn of_tenant(tenant: &str) -> Which {
        Which {
            tenant: Some(tenant.to_owned()),
            ..Which::default()
        }
    }

    #[test]
    fn what_is_removed_while_it_is_asked_for_is_not_kept() {
        let removals = Removals::default();
        let head = sample("a", "").head;
        let (before, time) = (Instant::now(), Instant::now());
        let after = time + Duration::from_millis(1);
        let is_kept = |since| removals.unless_removed(since, &head, || ()).is_some();
        assert!(is_kept(before));
        removals.note(&of_tenant("b"), time);
        assert!(is_kept(before), "it is another tenant's");
        removals.note(&of_tenant("a"), time);
        assert!(!is_kept(before) && is_kept(after));
    }

    #[test]
    fn beyond_the_bound_a_removal_counts_for_all() {
        let removals = Removals::default();
        let head = sample("a", "").head;
        let before = Instant::now();
        let is_kept = || removals.unless_removed(before, &head, || ()).is_some();
        for _ in 0..MOST_REMOVALS {
            removals.note(&of_tenant("b"), before);
        }
        assert!(is_kept());
        removals.note(&of_tenant("b"), before);
        assert!(!is_kept());
        assert_eq!(removals.0.read().each.len(), MOST_REMOVALS);
    }
}
