//! One rate by a window that slides.
//!
//! Owns the ring of counts that such a rate amounts to. Does not handle which rates a scope has (see `scope`), or the
//! default algorithm (see `gcra`). Cannot fail: what would overflow saturates, and that admits less.
//!
//! The window is cut into 59 slots, and the ring has 60: a window that ends now begins somewhere in the oldest one,
//! which is counted as a whole. So no window ever passes more than the limit, and what was admitted is forgotten at
//! most one slot later than it could be.

use std::time::Duration;

/// Slots of a ring.
const SLOTS: u64 = 60;

/// A rate and what was counted against it.
#[derive(Clone, Debug)]
pub(super) struct Sliding {
    limit: u64,
    slot_nanos: u64,
    /// `None` until something is counted.
    ring: Option<Box<Ring>>,
}

/// What was counted in each of the last [`SLOTS`] slots.
#[derive(Clone, Debug)]
struct Ring {
    /// The number of the current slot: its time, divided by the length of a slot.
    newest: u64,
    /// The sum of `counts`.
    total: u64,
    /// The count of slot number `n` is at `n` modulo [`SLOTS`].
    counts: [u64; 60],
}

impl Sliding {
    /// An unused rate: `limit` units in any `window_nanos`.
    pub(super) fn new(limit: u64, window_nanos: u64) -> Self {
        Self {
            limit,
            slot_nanos: window_nanos.div_ceil(SLOTS - 1).max(1),
            ring: None,
        }
    }

    /// Goes on with another limit. What was counted stays.
    pub(super) fn change_limit(&mut self, limit: u64) {
        self.limit = limit;
    }

    /// Whether `units` fit. If not, how long until they do; `None` if they never do.
    pub(super) fn check(&mut self, units: u64, now_nanos: u64) -> Result<(), Option<Duration>> {
        if units > self.limit {
            return Err(None);
        }
        let most = self.limit - units;
        let Some(ring) = self.ring.as_mut() else {
            return Ok(());
        };
        ring.advance(now_nanos / self.slot_nanos);
        if ring.total <= most {
            return Ok(());
        }
        let slot = ring.slot_that_leaves(ring.total - most);
        Err(Some(self.until_it_leaves(slot, now_nanos)))
    }

    /// Counts `units`, whether they fit or not.
    pub(super) fn add(&mut self, units: u64, now_nanos: u64) {
        let slot = now_nanos / self.slot_nanos;
        let ring = self.ring.get_or_insert_with(|| {
            Box::new(Ring {
                newest: slot,
                total: 0,
                counts: [0; 60],
            })
        });
        ring.advance(slot);
        let newest = ring.newest;
        // The sum saturates before a slot does, and takes in only what the slot takes in.
        let units = units.min(u64::MAX - ring.total);
        if let Some(count) = ring.count(newest) {
            *count = count.saturating_add(units);
            ring.total = ring.total.saturating_add(units);
        }
    }

    /// Units that would be admitted at once, and until all are.
    pub(super) fn standing(&mut self, now_nanos: u64) -> (u64, Duration) {
        let Some(ring) = self.ring.as_mut() else {
            return (self.limit, Duration::ZERO);
        };
        ring.advance(now_nanos / self.slot_nanos);
        let remaining = self.limit.saturating_sub(ring.total);
        if ring.total == 0 {
            return (remaining, Duration::ZERO);
        }
        let slot = ring.slot_that_leaves(ring.total);
        (remaining, self.until_it_leaves(slot, now_nanos))
    }

    /// The units in the window.
    #[expect(clippy::cast_precision_loss, reason = "a unit more or less of 10^15")]
    pub(super) fn counted(&mut self, now_nanos: u64) -> f64 {
        let slot = now_nanos / self.slot_nanos;
        self.ring.as_mut().map_or(0.0, |ring| {
            ring.advance(slot);
            ring.total as f64
        })
    }

    fn until_it_leaves(&self, slot: u64, now_nanos: u64) -> Duration {
        let leaves = slot.saturating_add(SLOTS).saturating_mul(self.slot_nanos);
        Duration::from_nanos(leaves.saturating_sub(now_nanos))
    }
}

impl Ring {
    fn count(&mut self, slot: u64) -> Option<&mut u64> {
        let place = usize::try_from(slot % SLOTS).ok()?;
        self.counts.get_mut(place)
    }

    /// Makes `slot` the current one. An earlier one than the current changes nothing.
    fn advance(&mut self, slot: u64) {
        let steps = slot.saturating_sub(self.newest);
        if steps >= SLOTS {
            self.counts = [0; 60];
            self.total = 0;
        } else {
            for passed in 1..=steps {
                let next = self.newest.saturating_add(passed);
                let left = self.count(next).map_or(0, std::mem::take);
                self.total = self.total.saturating_sub(left);
            }
        }
        self.newest = self.newest.max(slot);
    }

    /// The slot with which at least `units` have left the ring.
    fn slot_that_leaves(&mut self, units: u64) -> u64 {
        let mut left = 0_u64;
        let oldest = self.newest.saturating_sub(SLOTS - 1);
        for slot in oldest..self.newest {
            left = left.saturating_add(self.count(slot).map_or(0, |count| *count));
            if left >= units {
                return slot;
            }
        }
        self.newest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;
    const MINUTE: u64 = 60 * SECOND;

    fn admit(rate: &mut Sliding, units: u64, now: u64) -> bool {
        let fits = rate.check(units, now).is_ok();
        if fits {
            rate.add(units, now);
        }
        fits
    }

    #[test]
    fn no_window_passes_more_than_the_limit_however_requests_arrive() {
        for seed in 0..50 {
            let mut random = fastrand::Rng::with_seed(seed);
            let window = random.u64(SECOND..3 * MINUTE);
            let limit = random.u64(5..200);
            let mut rate = Sliding::new(limit, window);
            let mut passed: Vec<(u64, u64)> = Vec::new();
            let mut now = random.u64(..MINUTE);
            let longest_pause = window / random.u64(1..200);
            for _ in 0..3_000 {
                now += random.u64(0..=longest_pause);
                let units = random.u64(1..=limit.min(9));
                if admit(&mut rate, units, now) {
                    passed.push((now, units));
                }
            }
            let mut sum = 0;
            let mut end = 0;
            for (from, units) in &passed {
                while let Some((at, units)) = passed.get(end).filter(|(at, _)| at - from < window) {
                    assert!(at >= from);
                    sum += units;
                    end += 1;
                }
                assert!(sum <= limit, "{sum} > {limit} with seed {seed}");
                sum -= units;
            }
            assert!(passed.len() > 5, "seed {seed} admits nothing");
        }
    }

    #[test]
    fn a_whole_limit_passes_again_one_window_and_one_slot_later() {
        let mut rate = Sliding::new(10, MINUTE);
        assert!(admit(&mut rate, 10, 0));
        let wait = rate.check(1, 0).unwrap_err().unwrap();
        assert!(wait >= Duration::from_secs(60) && wait < Duration::from_secs(62));
        let then = u64::try_from(wait.as_nanos()).unwrap();
        assert!(!admit(&mut rate, 1, then - 1));
        assert!(admit(&mut rate, 10, then));
    }

    #[test]
    fn a_debt_waits_until_enough_has_left() {
        let mut rate = Sliding::new(10, MINUTE);
        rate.add(25, 0);
        assert!(rate.check(0, 59 * SECOND).is_err());
        assert_eq!(rate.check(11, 0), Err(None));
        rate.add(u64::MAX, SECOND);
        assert!(!admit(&mut rate, 1, 30 * SECOND));
        assert_eq!(rate.standing(30 * SECOND).0, 0);
        assert!(admit(&mut rate, 10, 200 * SECOND));
    }

    #[test]
    fn a_clock_that_stands_or_goes_back_forgets_nothing() {
        let mut rate = Sliding::new(10, MINUTE);
        rate.add(10, 50 * SECOND);
        assert!(rate.check(1, 0).is_err());
        rate.add(1, 0);
        assert_eq!(rate.standing(50 * SECOND).0, 0);
    }
}
