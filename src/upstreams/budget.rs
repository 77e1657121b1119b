//! How many attempts may be made beyond the first.
//!
//! Owns the count of requests and of their retries over about the last window, and says whether
//! one more retry is within a share of the requests, or within a floor that lets a quiet gateway
//! retry at all. So an upstream that fails is never sent much more than its usual load. Refuses to
//! know what is retried, where, and why. Cannot fail: where the budget is spent the answer is no,
//! and that is counted.
//!
//! Over any run, the retries are at most `percent` of the requests plus `floor` for each window
//! that has begun. This holds although the window slides: the two halves that one retry was
//! weighed against are counted together, and no retry needs a half that another has used up.
//!
//! Each call takes one small lock that is held for a few nanoseconds, about 20 ns in all when
//! nobody else wants it.

use std::time::Instant;

use parking_lot::Mutex;

use super::window::Window;
use crate::config;

/// What has been spent, and on how much.
#[derive(Debug, Default)]
pub struct Budget(Mutex<Spent>);

#[derive(Debug, Default)]
struct Spent {
    /// Requests, and the retries as marked.
    window: Window,
    refused: u64,
}

impl Budget {
    /// Counts a request: once, however many attempts it takes.
    pub fn deposit(&self, now: Instant, settings: &config::Budget) {
        self.0.lock().window.at(now, settings.window).requests += 1;
    }

    /// Whether one more attempt may be made; counts it if so, and the refusal if not.
    pub fn withdraw(&self, now: Instant, settings: &config::Budget) -> bool {
        let mut spent = self.0.lock();
        spent.window.at(now, settings.window);
        let sum = spent.window.sum();
        let earned = sum.requests.saturating_mul(settings.percent.into());
        let allowed = earned.saturating_add(u64::from(settings.floor) * 100);
        let granted = (sum.marked + 1).saturating_mul(100) <= allowed;
        if granted {
            spent.window.at(now, settings.window).marked += 1;
        } else {
            spent.refused += 1;
        }
        granted
    }

    /// How many attempts have been refused so far.
    pub fn refused(&self) -> u64 {
        self.0.lock().refused
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
            .filter(|_| budget.withdraw(now, settings))
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
            if random.below(3) > 0 && budget.withdraw(now, &settings) {
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
