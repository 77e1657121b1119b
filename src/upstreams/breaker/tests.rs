//! When a breaker opens, how long for, and what closes it.

use std::cell::Cell;
use std::sync::atomic::AtomicU32;

use super::*;

const SETTINGS: Ejection = Ejection {
    consecutive: 5,
    percent: 50,
    least: 20,
    window: Duration::from_secs(10),
    base: Duration::from_secs(2),
    longest: Duration::from_secs(10),
    trials: 3,
};

/// A breaker, and a clock that moves only when it is told to.
struct Bench {
    breaker: Breaker,
    settings: Ejection,
    now: Cell<Instant>,
}

impl Bench {
    fn new(settings: Ejection) -> Self {
        Self {
            breaker: Breaker::default(),
            settings,
            now: Cell::new(Instant::now()),
        }
    }

    fn wait(&self, time: Duration) {
        self.now.set(self.now.get() + time);
    }

    fn admit(&self) -> Option<Admission> {
        let (settings, now) = (&self.settings, self.now.get());
        let might = self.breaker.is_open_to(settings, now);
        let admission = self.breaker.admit(settings, now);
        assert_eq!(might, admission.is_some(), "both say the same");
        admission
    }

    fn succeed(&self, admission: Admission) {
        self.breaker
            .succeeded(admission, &self.settings, self.now.get());
    }

    fn fail(&self, admission: Admission) -> Option<Duration> {
        self.breaker
            .failed(admission, &self.settings, self.now.get(), || true)
    }

    /// Fails as often in a row as it takes, and says for how long it is ejected.
    fn fail_out(&self) -> Duration {
        for _ in 1..self.settings.consecutive {
            assert_eq!(self.fail(self.admit().unwrap()), None);
        }
        self.fail(self.admit().unwrap()).unwrap()
    }

    /// Waits until the ejection is over, and succeeds until the breaker closes.
    fn recover(&self) {
        if let State::Ejected { left } = self.state() {
            self.wait(left);
        }
        (0..self.settings.trials).for_each(|_| self.succeed(self.admit().unwrap()));
        assert_eq!(self.state(), State::Closed);
    }

    fn state(&self) -> State {
        self.breaker.state(self.now.get())
    }
}

const fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

#[test]
fn failures_in_a_row_eject_and_a_success_between_them_does_not() {
    let bench = Bench::new(SETTINGS);
    assert_eq!(SETTINGS, Ejection::default());
    for _ in 0..3 {
        for _ in 0..4 {
            assert_eq!(bench.fail(bench.admit().unwrap()), None);
        }
        bench.succeed(bench.admit().unwrap());
    }
    assert_eq!(
        (bench.state(), bench.breaker.ejections()),
        (State::Closed, 0)
    );
    assert!(!bench.breaker.is_ejected());
    assert_eq!(bench.fail_out(), seconds(2));
    bench.wait(seconds(1));
    assert_eq!(bench.state(), State::Ejected { left: seconds(1) });
    assert!(bench.admit().is_none() && bench.breaker.is_ejected());
    assert_eq!(bench.breaker.ejections(), 1);
}

#[test]
fn a_share_of_failures_ejects_once_enough_was_seen() {
    let bench = Bench::new(SETTINGS);
    for _ in 0..9 {
        bench.succeed(bench.admit().unwrap());
        assert_eq!(bench.fail(bench.admit().unwrap()), None);
    }
    bench.succeed(bench.admit().unwrap());
    assert_eq!(bench.fail(bench.admit().unwrap()), Some(seconds(2)));
}

#[test]
fn a_lesser_share_and_failures_of_long_ago_do_not_eject() {
    let bench = Bench::new(SETTINGS);
    for _ in 0..200 {
        assert_eq!(bench.fail(bench.admit().unwrap()), None);
        bench.succeed(bench.admit().unwrap());
        bench.succeed(bench.admit().unwrap());
    }
    let bench = Bench::new(SETTINGS);
    for _ in 0..200 {
        assert_eq!(
            bench.fail(bench.admit().unwrap()),
            None,
            "too few at a time"
        );
        bench.succeed(bench.admit().unwrap());
        bench.wait(seconds(2));
    }
}

#[test]
fn what_is_off_does_not_eject() {
    let off = Ejection {
        consecutive: 0,
        percent: 0,
        ..SETTINGS
    };
    let bench = Bench::new(off);
    for _ in 0..100 {
        assert_eq!(bench.fail(bench.admit().unwrap()), None);
    }
}

#[test]
fn a_pool_that_spares_no_more_keeps_it_in_and_is_asked_each_time() {
    let bench = Bench::new(SETTINGS);
    let asked = Cell::new(0);
    let fail = |answer| {
        let admission = bench.admit().unwrap();
        let may_eject = || {
            asked.set(asked.get() + 1);
            // It may look at the breaker itself.
            assert_eq!(bench.state(), State::Closed);
            answer
        };
        let now = bench.now.get();
        bench.breaker.failed(admission, &SETTINGS, now, may_eject)
    };
    (0..4).for_each(|_| assert_eq!(fail(false), None));
    assert_eq!(asked.get(), 0, "not before it matters");
    (0..3).for_each(|_| assert_eq!(fail(false), None));
    assert_eq!((asked.get(), bench.state()), (3, State::Closed));
    assert_eq!(fail(true), Some(seconds(2)));
}

#[test]
fn a_few_may_try_at_once_and_their_successes_close_it() {
    let bench = Bench::new(SETTINGS);
    bench.fail_out();
    bench.wait(seconds(2));
    assert_eq!(bench.state(), State::Trial);
    let mut trials: Vec<_> = (0..3).map(|_| bench.admit().unwrap()).collect();
    assert!(trials.iter().all(Admission::is_trial) && bench.admit().is_none());
    bench.succeed(trials.pop().unwrap());
    bench.breaker.abandoned(trials.pop().unwrap());
    trials.extend([bench.admit().unwrap(), bench.admit().unwrap()]);
    assert!(bench.admit().is_none());
    bench.succeed(trials.pop().unwrap());
    assert!(
        bench.breaker.is_ejected(),
        "an abandoned one does not count"
    );
    bench.succeed(trials.pop().unwrap());
    assert_eq!(bench.state(), State::Closed);
    assert!(!bench.breaker.is_ejected() && !bench.admit().unwrap().is_trial());
    assert_eq!(
        bench.fail(trials.pop().unwrap()),
        None,
        "too late to matter"
    );
}

#[test]
fn what_was_counted_before_an_ejection_or_a_failed_trial_is_forgotten() {
    let bench = Bench::new(Ejection {
        least: 8,
        ..SETTINGS
    });
    bench.fail_out();
    bench.wait(seconds(2));
    (0..2).for_each(|_| bench.succeed(bench.admit().unwrap()));
    assert_eq!(bench.fail(bench.admit().unwrap()), Some(seconds(4)));
    bench.wait(seconds(4));
    (0..2).for_each(|_| bench.succeed(bench.admit().unwrap()));
    assert_eq!(bench.state(), State::Trial, "two and two are not three");
    bench.succeed(bench.admit().unwrap());
    assert_eq!(bench.state(), State::Closed);
    // Neither the row nor the share goes on from before: only the eighth request ejects.
    (0..4).for_each(|_| assert_eq!(bench.fail(bench.admit().unwrap()), None));
    (0..3).for_each(|_| bench.succeed(bench.admit().unwrap()));
    assert_eq!(bench.fail(bench.admit().unwrap()), Some(seconds(8)));
}

#[test]
fn each_failed_trial_doubles_the_time_up_to_the_longest_without_asking() {
    let bench = Bench::new(SETTINGS);
    let mut times = vec![bench.fail_out()];
    for _ in 0..5 {
        bench.wait(*times.last().unwrap());
        let (trial, now) = (bench.admit().unwrap(), bench.now.get());
        let lasts = bench
            .breaker
            .failed(trial, &SETTINGS, now, || unreachable!());
        times.push(lasts.unwrap());
    }
    assert_eq!(times, [2, 4, 8, 10, 10, 10].map(seconds));
    assert_eq!(bench.breaker.ejections(), 6);
}

#[test]
fn what_fails_soon_after_it_came_back_is_out_for_longer() {
    let bench = Bench::new(SETTINGS);
    assert_eq!(bench.fail_out(), seconds(2));
    bench.recover();
    bench.wait(seconds(9));
    assert_eq!(bench.fail_out(), seconds(4));
    bench.recover();
    assert_eq!(bench.fail_out(), seconds(8));
    bench.recover();
    bench.wait(seconds(10));
    assert_eq!(bench.fail_out(), seconds(2), "forgotten");
}

#[test]
fn the_longest_bounds_the_first_too_and_a_time_without_end_is_no_harm() {
    let short = Ejection {
        longest: seconds(1),
        ..SETTINGS
    };
    assert_eq!(Bench::new(short).fail_out(), seconds(1));
    let endless = Ejection {
        base: Duration::MAX,
        longest: Duration::MAX,
        ..SETTINGS
    };
    let bench = Bench::new(endless);
    assert_eq!(bench.fail_out(), Duration::MAX);
    assert!(bench.admit().is_none());
}

#[test]
fn reports_from_before_an_ejection_change_nothing() {
    let bench = Bench::new(SETTINGS);
    let mut early: Vec<_> = (0..20).map(|_| bench.admit().unwrap()).collect();
    bench.fail_out();
    bench.wait(seconds(2));
    for _ in 0..5 {
        bench.succeed(early.pop().unwrap());
        assert_eq!(bench.fail(early.pop().unwrap()), None);
    }
    assert_eq!(bench.state(), State::Trial);
    bench.recover();
    for admission in early {
        assert_eq!(bench.fail(admission), None, "nor after it has closed");
    }
    assert_eq!(
        (bench.state(), bench.breaker.ejections()),
        (State::Closed, 1)
    );
}

#[test]
fn a_late_trial_holds_its_place_and_counts_for_nothing_else() {
    let bench = Bench::new(SETTINGS);
    bench.fail_out();
    bench.wait(seconds(2));
    let [first, second, third] = [(); 3].map(|()| bench.admit().unwrap());
    assert_eq!(bench.fail(first), Some(seconds(4)));
    assert_eq!(bench.fail(second), None, "it is out already");
    bench.wait(seconds(4));
    let trials = [(); 2].map(|()| bench.admit().unwrap());
    assert!(bench.admit().is_none(), "the third is still in flight");
    bench.succeed(third);
    trials.into_iter().for_each(|t| bench.succeed(t));
    assert_eq!(bench.state(), State::Trial, "two of this phase succeeded");
    bench.succeed(bench.admit().unwrap());
    assert_eq!(bench.state(), State::Closed);
}

#[test]
fn no_trials_at_all_are_as_one() {
    let bench = Bench::new(Ejection {
        trials: 0,
        ..SETTINGS
    });
    bench.fail_out();
    bench.wait(seconds(2));
    let trial = bench.admit().unwrap();
    assert!(bench.admit().is_none());
    bench.succeed(trial);
    assert_eq!(bench.state(), State::Closed);
}

/// One of eight that ask and report as fast as they can, while the time runs for all. Holds
/// a few admissions, so that reports come late and out of order.
fn hammer(bench: (&Breaker, Instant), clock: &AtomicU64, trials: &AtomicU32, seed: u64) -> u32 {
    let (breaker, start) = bench;
    let (mut random, mut held, mut most) = (seed, Vec::new(), 0);
    let tick = || start + Duration::from_millis(clock.fetch_add(1, Ordering::Relaxed));
    for turn in 0..20_000 {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let asks = turn < 19_000 && held.len() < 4;
        if let Some(admission) = asks.then(|| breaker.admit(&SETTINGS, tick())).flatten() {
            if admission.is_trial() {
                most = most.max(trials.fetch_add(1, Ordering::SeqCst) + 1);
            }
            held.push(admission);
            continue;
        }
        if held.is_empty() {
            continue;
        }
        let admission: Admission = held.swap_remove((random >> 40) as usize % held.len());
        if admission.is_trial() {
            trials.fetch_sub(1, Ordering::SeqCst);
        }
        match (random >> 33) % 8 {
            0 => breaker.abandoned(admission),
            1..4 => {
                breaker.failed(admission, &SETTINGS, tick(), || true);
            }
            _ => breaker.succeeded(admission, &SETTINGS, tick()),
        }
    }
    assert!(held.is_empty());
    most
}

#[test]
fn however_many_ask_at_once_no_more_trials_are_in_flight_than_may_be() {
    let (breaker, start) = (Breaker::default(), Instant::now());
    let (clock, trials) = (AtomicU64::new(0), AtomicU32::new(0));
    let most: Vec<u32> = std::thread::scope(|scope| {
        let run = |seed| hammer((&breaker, start), &clock, &trials, seed);
        let threads: Vec<_> = (1..=8).map(|n| scope.spawn(move || run(n * 977))).collect();
        threads.into_iter().map(|t| t.join().unwrap()).collect()
    });
    assert_eq!(most.into_iter().max(), Some(SETTINGS.trials));
    assert!(breaker.ejections() > 5, "{breaker:?}");
    assert_eq!(breaker.record.lock().in_flight, 0, "no place is lost");
}

#[test]
fn what_is_well_again_is_found_soon_and_little_is_spent_on_trying() {
    for requests_per_second in [2_u32, 10, 100] {
        for outage in (5..=100).step_by(5).map(seconds) {
            let bench = Bench::new(SETTINGS);
            let mut waited = Duration::ZERO;
            let (mut requests, mut trials) = (0, 0);
            let found = loop {
                requests += 1;
                if let Some(admission) = bench.admit() {
                    if waited >= outage {
                        break waited;
                    }
                    trials += u32::from(admission.is_trial());
                    bench.fail(admission);
                }
                let pause = seconds(1) / requests_per_second;
                bench.wait(pause);
                waited += pause;
            };
            let late = found - outage;
            assert!(late <= seconds(11), "{outage:?}: after {late:?}");
            assert!(trials * 10 <= requests, "{trials} of {requests}");
        }
    }
}
