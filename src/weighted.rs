//! Choosing by weight.
//!
//! Owns weighted round robin, the weighted random choice and the weighted choice by a number, by which targets of a
//! rule and servers of a pool are chosen. Does not handle what is chosen: it gives a position among the weights that it
//! was built with, and asks whether that one can be used. Gives `None` where none can.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::ids;

/// As many turns of positions that cannot be used are given up; then the first that can is taken.
const MAX_TURNS: usize = 64;

/// Positions, each as often as its weight says.
#[derive(Debug, Default)]
pub struct Wheel {
    slots: Vec<usize>,
    next: AtomicUsize,
}

impl Wheel {
    /// Takes the weight of each position; one of 0 is never chosen.
    pub fn new(weights: &[u32]) -> Self {
        Self {
            slots: spread(weights),
            next: AtomicUsize::new(0),
        }
    }

    /// The next position that can be used: long-run shares equal the weights.
    pub fn in_turn(&self, can: impl Fn(usize) -> bool) -> Option<usize> {
        let slots = self.slots.len();
        let turn = || self.next.fetch_add(1, Ordering::Relaxed).checked_rem(slots);
        self.choose(slots.min(MAX_TURNS), turn, can)
    }

    /// A random position that can be used, each as probable as its weight says.
    pub fn at_random(&self, can: impl Fn(usize) -> bool) -> Option<usize> {
        let slots = u64::try_from(self.slots.len()).ok()?;
        let turn = || usize::try_from(ids::random_below(slots)).ok();
        let turns = if slots == 0 { 0 } else { MAX_TURNS };
        self.choose(turns, turn, can)
    }

    /// The turn of a position that cannot be used is given up as a whole: if the position behind it got
    /// the turn, that one would have more than its share.
    fn choose(
        &self,
        turns: usize,
        slot: impl Fn() -> Option<usize>,
        can: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        (0..turns)
            .filter_map(|_| self.slots.get(slot()?).copied())
            .find(|position| can(*position))
            .or_else(|| self.slots.iter().copied().find(|position| can(*position)))
    }
}

/// How well a position suits a number. The position with the highest score among some is the number's: by weighted
/// rendezvous hashing each has its share of all numbers, and one that comes or goes moves no others.
pub fn score(number: u64, position: u64, weight: u32) -> f64 {
    let bits = mixed(number ^ mixed(position.wrapping_add(1)));
    // In the open interval from 0 to 1; the 53 bits that a float tells apart.
    let share = ((bits >> 11) as f64 + 0.5) / (1_u64 << 53) as f64;
    f64::from(weight) / -share.ln()
}

/// Spreads what differs in few bits over all of them: the last step of `SplitMix64`.
pub fn mixed(mut bits: u64) -> u64 {
    bits = (bits ^ bits >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ bits >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ bits >> 31
}

/// Smooth weighted round robin, written out once: each turn every position gains its weight, the
/// richest is taken and pays the total. So 3:1 goes a a b a, not a a a b.
fn spread(weights: &[u32]) -> Vec<usize> {
    let divisor = weights.iter().copied().fold(0, greatest_common_divisor);
    let weights: Vec<i64> = weights
        .iter()
        .map(|w| i64::from(w.checked_div(divisor).unwrap_or(0)))
        .collect();
    let total: i64 = weights.iter().sum();
    let mut credit = vec![0i64; weights.len()];
    (0..total)
        .filter_map(|_| {
            for (have, gain) in credit.iter_mut().zip(&weights) {
                *have += gain;
            }
            let (position, have) = credit
                .iter_mut()
                .enumerate()
                .max_by(|(i, a), (j, b)| a.cmp(b).then(j.cmp(i)))?;
            *have -= total;
            Some(position)
        })
        .collect()
}

fn greatest_common_divisor(a: u32, b: u32) -> u32 {
    match b {
        0 => a,
        _ => greatest_common_divisor(b, a % b),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUNDS: usize = 100_000;

    fn counts<const N: usize>(choose: impl Fn() -> Option<usize>) -> [usize; N] {
        let mut counts = [0; N];
        for _ in 0..ROUNDS {
            counts[choose().unwrap()] += 1;
        }
        counts
    }

    #[test]
    fn turns_match_the_weights_also_where_one_cannot_be_used() {
        let wheel = Wheel::new(&[500, 300, 200, 0]);
        let all = counts(|| wheel.in_turn(|_| true));
        assert_eq!(all, [50_000, 30_000, 20_000, 0]);
        let some = counts(|| wheel.in_turn(|n| n != 0));
        assert_eq!(some, [0, 60_000, 40_000, 0]);
    }

    #[test]
    fn numbers_are_shared_out_by_weight_and_stay_where_they_are() {
        let weights = [5, 3, 2];
        let best = |number: u64, positions: &[usize]| {
            let score = |position: &usize| score(number, *position as u64, weights[*position]);
            let all = positions.iter().copied();
            all.max_by(|a, b| score(a).total_cmp(&score(b))).unwrap()
        };
        let mut counts = [0_usize; 3];
        for number in 0..ROUNDS as u64 {
            let chosen = best(mixed(number), &[0, 1, 2]);
            counts[chosen] += 1;
            if chosen != 1 {
                assert_eq!(best(mixed(number), &[0, 2]), chosen);
            }
        }
        for (seen, expected) in counts.into_iter().zip([50_000, 30_000, 20_000]) {
            assert!(seen.abs_diff(expected) < ROUNDS / 100, "{counts:?}");
        }
    }

    #[test]
    fn turns_of_one_position_are_spread() {
        assert_eq!(spread(&[3, 1]), vec![0, 0, 1, 0]);
    }

    #[test]
    fn random_choices_match_the_weights_within_a_percent() {
        let wheel = Wheel::new(&[5, 3, 2, 0]);
        let seen: [usize; 4] = counts(|| wheel.at_random(|_| true));
        for (seen, expected) in seen.into_iter().zip([50_000, 30_000, 20_000, 0]) {
            assert!(seen.abs_diff(expected) < ROUNDS / 100, "{seen}");
        }
    }

    #[test]
    fn a_position_that_has_nearly_every_turn_leaves_none_waiting_when_it_cannot_be_used() {
        let wheel = Wheel::new(&[999, 1]);
        assert_eq!(wheel.in_turn(|n| n == 1), Some(1));
        assert_eq!(wheel.at_random(|n| n == 1), Some(1));
    }

    #[test]
    fn none_is_chosen_where_none_can_be_used_or_none_has_a_weight() {
        let wheel = Wheel::new(&[1, 2]);
        assert_eq!(wheel.in_turn(|_| false), None);
        assert_eq!(wheel.at_random(|_| false), None);
        assert_eq!(Wheel::new(&[0]).in_turn(|_| true), None);
        assert_eq!(Wheel::default().at_random(|_| true), None);
    }
}
