//! How often an upstream may be asked beyond the first attempts of its own requests.
//!
//! Owns, for one upstream and about the last window, the count of requests that asked it first and of
//! what it was asked besides, and says whether one more attempt is within the bound: a share of the
//! requests, or a floor that lets a quiet gateway retry at all. The rule:
//!
//! - The first attempt of a request is never refused. It counts for the upstream that it asks.
//! - A request that asks an upstream **again** (the same target, another key or server of it, another
//!   target of the same upstream) takes one attempt of that upstream's budget.
//! - A request that **moves on** to an upstream that it has not asked yet takes one attempt of the new
//!   upstream's budget if that upstream is failing, and none otherwise. An upstream is failing if at
//!   least [`MIN_FAILURES`] attempts, and more than half of what it was asked in the window, failed.
//!
//! So failures of one upstream never close the way to another that serves. When all fail, each of them
//! is failing after its first few failures, and from then on every attempt but the first of a request is
//! taken of some budget. Over any run, what is taken of one budget is at most `percent` of the requests
//! that asked its upstream first, plus `floor` for each window that has begun. This holds although the
//! window slides: the two halves that one attempt was weighed against are counted together, and no
//! attempt needs a half that another has used up. The sum over all upstreams is `percent` of all
//! requests, plus their floors.
//!
//! Does not handle what is asked again, where, and why (see `gateway/exchange/failover`). Cannot fail:
//! where the budget is spent the answer is no, and that is counted.
//!
//! Each call takes one small lock that is held for a few nanoseconds, about 20 ns in all when
//! it is free. An attempt that succeeds makes one call.

use std::time::Instant;

use parking_lot::Mutex;

use super::window::Window;
use crate::config;

/// An upstream with fewer failures in the window is not failing.
const MIN_FAILURES: u64 = 5;

/// What has been spent, and on how much.
#[derive(Debug, Default)]
pub struct Budget(Mutex<Spent>);

#[derive(Debug, Default)]
struct Spent {
    /// Requests that asked the upstream first, and the attempts taken of the budget as marked.
    window: Window,
    /// All attempts, and those that failed as marked.
    attempts: Window,
    refused: u64,
}

impl Budget {
    /// Counts a request that asks the upstream first: once, however many attempts it takes.
    pub fn deposit(&self, now: Instant, settings: &config::Budget) {
        let mut spent = self.0.lock();
        spent.window.at(now, settings.window).requests += 1;
        spent.attempts.at(now, settings.window).requests += 1;
    }

    /// Whether a request that has asked the upstream may ask it again; counts the attempt if so, and the
    /// refusal if not.
    pub fn ask_again(&self, now: Instant, settings: &config::Budget) -> bool {
        self.0.lock().withdraw(now, settings)
    }

    /// Whether a request that has asked others may ask this upstream, too; counts the attempt if so, and
    /// the refusal if not.
    pub fn move_on(&self, now: Instant, settings: &config::Budget) -> bool {
        let mut spent = self.0.lock();
        spent.attempts.at(now, settings.window);
        if spent.is_failing() {
            return spent.withdraw(now, settings);
        }
        spent.attempts.at(now, settings.window).requests += 1;
        true
    }

    /// Counts an attempt that failed because of the upstream.
    pub fn failed(&self, now: Instant, settings: &config::Budget) {
        self.0.lock().attempts.at(now, settings.window).marked += 1;
    }

    /// How many attempts have been refused so far.
    pub fn refused(&self) -> u64 {
        self.0.lock().refused
    }
}

impl Spent {
    fn withdraw(&mut self, now: Instant, settings: &config::Budget) -> bool {
        self.window.at(now, settings.window);
        let sum = self.window.sum();
        let earned = sum.requests.saturating_mul(settings.percent.into());
        let allowed = earned.saturating_add(u64::from(settings.floor) * 100);
        let granted = (sum.marked + 1).saturating_mul(100) <= allowed;
        if granted {
            self.window.at(now, settings.window).marked += 1;
            self.attempts.at(now, settings.window).requests += 1;
        } else {
            self.refused += 1;
        }
        granted
    }

    fn is_failing(&self) -> bool {
        let sum = self.attempts.sum();
        sum.marked >= MIN_FAILURES && sum.marked * 2 > sum.requests
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const SETTINGS: config::Budget = config::Budget {
        percent: 20,
        floor: 10,
        window: Duration::from_secs(10),
    };

    /// How many of `wanted` attempts are allowed at once.
    fn granted(budget: &Budget, now: Instant, settings: &config::Budget, wanted: u32) -> usize {
        (0..wanted)
            .filter(|_| budget.ask_again(now, settings))
            .count()
    }

    #[test]
    fn without_load_the_floor_is_what_there_is() {
        let (budget, now) = (Budget::default(), Instant::now());
        assert_eq!(granted(&budget, now, &SETTINGS, 50), 10);
        assert_eq!(budget.refused(), 40);
        assert_eq!(SETTINGS, config::Budget::default());
    }

    #[test]
    fn a_fifth_of_the_requests_may_be_tried_again() {
        let (budget, now) = (Budget::default(), Instant::now());
        let settings = config::Budget {
            floor: 0,
            ..SETTINGS
        };
        (0..4).for_each(|_| budget.deposit(now, &settings));
        assert_eq!(granted(&budget, now, &settings, 9), 0, "not a whole one");
        (0..100).for_each(|_| budget.deposit(now, &settings));
        assert_eq!(granted(&budget, now, &settings, 50), 20);
    }

    #[test]
    fn no_percent_and_no_floor_mean_no_retries() {
        let (budget, now) = (Budget::default(), Instant::now());
        let settings = config::Budget {
            percent: 0,
            floor: 0,
            ..SETTINGS
        };
        (0..1000).for_each(|_| budget.deposit(now, &settings));
        assert_eq!(granted(&budget, now, &settings, 5), 0);
    }

    #[test]
    fn what_a_window_has_earned_is_gone_with_it() {
        let (budget, start) = (Budget::default(), Instant::now());
        (0..1000).for_each(|_| budget.deposit(start, &SETTINGS));
        let soon = start + SETTINGS.window / 2;
        assert_eq!(granted(&budget, soon, &SETTINGS, 1000), 210);
        let spent = soon + SETTINGS.window / 2;
        assert_eq!(
            granted(&budget, spent, &SETTINGS, 1000),
            0,
            "still weighs on it"
        );
        let later = spent + SETTINGS.window;
        assert_eq!(granted(&budget, later, &SETTINGS, 1000), 10);
    }

    /// Asks as often as said first, and fails each time.
    fn fail(budget: &Budget, now: Instant, times: u32) {
        for _ in 0..times {
            budget.deposit(now, &SETTINGS);
            budget.failed(now, &SETTINGS);
        }
    }

    #[test]
    fn one_may_move_on_to_an_upstream_that_serves_however_much_has_been_spent() {
        let (budget, now) = (Budget::default(), Instant::now());
        granted(&budget, now, &SETTINGS, 50);
        assert!((0..100).all(|_| budget.move_on(now, &SETTINGS)));
        fail(&budget, now, 99);
        assert!(budget.move_on(now, &SETTINGS), "half of it is served");
    }

    #[test]
    fn to_move_on_to_an_upstream_that_fails_is_taken_of_its_budget() {
        let (budget, now) = (Budget::default(), Instant::now());
        fail(&budget, now, 4);
        assert!(budget.move_on(now, &SETTINGS), "few failures show nothing");
        fail(&budget, now, 16);
        let moved = (0..100).filter(|_| budget.move_on(now, &SETTINGS)).count();
        assert_eq!(moved, 14);
        assert_eq!(budget.refused(), 86);
        assert_eq!(granted(&budget, now, &SETTINGS, 1), 0, "it is one budget");
    }

    #[test]
    fn an_upstream_that_serves_again_may_be_moved_on_to_again() {
        let (budget, now) = (Budget::default(), Instant::now());
        fail(&budget, now, 20);
        let later = now + SETTINGS.window * 2;
        let moved = (0..100)
            .filter(|_| budget.move_on(later, &SETTINGS))
            .count();
        assert_eq!(moved, 100);
    }

    /// Numbers that look random and are the same in each run.
    struct Lcg(u64);

    impl Lcg {
        fn below(&mut self, bound: u64) -> u64 {
            let next = self.0.wrapping_mul(6_364_136_223_846_793_005);
            self.0 = next.wrapping_add(1_442_695_040_888_963_407);
            (self.0 >> 33) % bound
        }
    }

    /// One run of random settings, loads and silences; checked after every grant.
    fn run(seed: u64) {
        let mut random = Lcg(seed);
        let (longest, pace) = (10 << random.below(11), 1 + random.below(20));
        let settings = config::Budget {
            percent: u32::try_from(random.below(120)).unwrap(),
            floor: u32::try_from(random.below(15)).unwrap(),
            // Odd numbers too, whose halves are not whole.
            window: Duration::from_nanos(1 + random.below(longest)),
        };
        let budget = Budget::default();
        let start = Instant::now();
        let (mut at_nanos, mut requests, mut retries) = (0, 0_u64, 0_u64);
        for _ in 0..3000 {
            // The load changes with time: mostly bursts, sometimes a silence.
            at_nanos += match random.below(40) {
                0 => random.below(1_500 * pace),
                1..10 => random.below(100 * pace),
                _ => random.below(1 + pace),
            };
            let now = start + Duration::from_nanos(at_nanos);
            if random.below(3) == 0 {
                budget.deposit(now, &settings);
                requests += 1;
            }
            if random.below(3) > 0 && budget.ask_again(now, &settings) {
                retries += 1;
                let length = u64::try_from(settings.window.as_nanos()).unwrap();
                let begun = at_nanos / length + 1;
                let allowed = requests * u64::from(settings.percent)
                    + u64::from(settings.floor) * begun * 100;
                assert!(retries * 100 <= allowed, "seed {seed}, {settings:?}");
            }
        }
    }

    #[test]
    fn retries_stay_within_the_share_and_the_floor_of_each_window_over_any_run() {
        (0..300).for_each(run);
    }

    #[test]
    fn many_threads_together_get_no_more_than_one() {
        let (budget, now) = (Budget::default(), Instant::now());
        let got: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|_| {
                    scope.spawn(|| {
                        (0..100).for_each(|_| budget.deposit(now, &SETTINGS));
                        granted(&budget, now, &SETTINGS, 100)
                    })
                })
                .collect();
            threads.into_iter().map(|t| t.join().unwrap()).sum()
        });
        let left = granted(&budget, now, &SETTINGS, 1000);
        assert_eq!(got + left, 170);
    }
}
