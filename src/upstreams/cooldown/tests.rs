//! When a key can be used, for which model and which tenant, and how it is shown.

use super::*;
use crate::upstreams::standing::{NAMED_REFUSAL, PLAIN_REFUSAL, TRIAL};

const LONGEST: Duration = Duration::from_secs(300);
const LIMITED: Fault = Fault::RateLimited;
const REFUSED: Fault = Fault::Refused;

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A key, and the time as it goes on.
struct Scene {
    key: KeyState,
    now: Instant,
    requests: u32,
    is_last: bool,
}

impl Scene {
    fn new() -> Self {
        Self {
            key: KeyState::default(),
            now: Instant::now(),
            requests: 0,
            is_last: false,
        }
    }

    fn wait(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
    }

    fn of<'a>(tenant: &'a str, model: &'a str) -> KeyUse<'a> {
        KeyUse { model, tenant }
    }

    /// Another request is asked now and meets this.
    fn meets(&mut self, tenant: &str, model: &str, fault: Fault, named: bool) -> Option<Cooled> {
        self.requests += 1;
        let request = format!("request-{}", self.requests);
        self.met_by(&request, self.now, (tenant, model), (fault, named, None))
    }

    fn met_by(
        &mut self,
        request: &str,
        asked: Instant,
        (tenant, model): (&str, &str),
        (fault, is_named, told): (Fault, bool, Option<Duration>),
    ) -> Option<Cooled> {
        let finding = Finding {
            fault,
            is_named,
            told,
            request,
            asked,
        };
        let bounds = Bounds {
            longest: LONGEST,
            is_last: self.is_last,
        };
        let wanted = Self::of(tenant, model);
        self.key.note(wanted, &finding, bounds, self.now)
    }

    fn told(&mut self, tenant: &str, model: &str, told: u64) -> Duration {
        let told = Some(seconds(told));
        let met = self.met_by("r", self.now, (tenant, model), (LIMITED, false, told));
        met.unwrap().time
    }

    fn serves(&self, tenant: &str, model: &str) {
        let wanted = Self::of(tenant, model);
        let nothing = Headroom::default();
        self.key.served(wanted, self.now, &nothing, LONGEST);
    }

    fn left(&self, tenant: &str, model: &str) -> Option<u64> {
        match self.key.readiness(Self::of(tenant, model), self.now) {
            Readiness::Cooling(left, _) => Some(left.as_secs()),
            _ => None,
        }
    }

    fn begins(&self, tenant: &str, model: &str) -> bool {
        self.key.begin(Self::of(tenant, model), 1, self.now)
    }
}

#[test]
fn a_rate_limit_is_the_models_own_and_the_tenants_until_two_have_met_it() {
    let mut scene = Scene::new();
    assert_eq!(scene.told("a", "chat", 40), seconds(40));
    assert_eq!(scene.left("a", "chat"), Some(40));
    assert_eq!(scene.left("a", "embed"), None);
    assert_eq!(scene.left("b", "chat"), None);
    scene.told("b", "chat", 20);
    let left = ["a", "b", "c"].map(|tenant| scene.left(tenant, "chat"));
    assert_eq!(left, [Some(40), Some(20), Some(20)]);
    scene.told("c", "chat", 60);
    let left = ["a", "b", "c"].map(|tenant| scene.left(tenant, "chat"));
    assert_eq!(left, [Some(40), Some(40), Some(60)]);
}

#[test]
fn the_later_end_wins() {
    let mut scene = Scene::new();
    scene.told("a", "chat", 40);
    scene.told("a", "chat", 1);
    scene.meets("a", "chat", LIMITED, false);
    assert_eq!(scene.left("a", "chat"), Some(40));
    scene.told("a", "chat", 50);
    assert_eq!(scene.left("a", "chat"), Some(50));
}

#[test]
fn a_told_time_is_bounded_and_an_untold_one_doubles_until_it_serves() {
    let mut scene = Scene::new();
    assert_eq!(scene.told("a", "chat", 301), LONGEST);
    assert_eq!(scene.told("a", "chat", 86_400), LONGEST);
    let mut scene = Scene::new();
    let meets = |scene: &mut Scene| {
        let cooled = scene.meets("a", "chat", LIMITED, false).unwrap();
        scene.now += cooled.time;
        cooled.time.as_secs()
    };
    assert_eq!([0; 7].map(|_| meets(&mut scene)), [1, 2, 4, 8, 16, 30, 30]);
    scene.serves("a", "chat");
    assert_eq!(meets(&mut scene), 1);
}

#[test]
fn what_was_under_way_when_a_cooldown_began_makes_it_no_longer() {
    let mut scene = Scene::new();
    let asked = scene.now;
    scene.wait(1);
    scene.meets("a", "chat", LIMITED, false);
    for n in 0..5 {
        let request = format!("late-{n}");
        scene.met_by(&request, asked, ("a", "chat"), (LIMITED, false, None));
    }
    assert_eq!(scene.left("a", "chat"), Some(1));
}

#[test]
fn a_plain_refusal_counts_once_two_requests_have_met_it_and_for_their_tenants_alone() {
    let mut scene = Scene::new();
    assert_eq!(scene.meets("a", "chat", REFUSED, false), None);
    // The same request shows nothing new.
    scene.met_by(
        "request-1",
        scene.now,
        ("a", "chat"),
        (REFUSED, false, None),
    );
    assert_eq!(scene.left("a", "chat"), None);
    let cooled = scene.meets("a", "chat", REFUSED, false).unwrap();
    let (time, is_whole) = (PLAIN_REFUSAL, false);
    assert_eq!(cooled, Cooled { time, is_whole });
    assert_eq!(scene.left("a", "chat"), Some(60));
    assert_eq!(scene.left("a", "embed"), None);
    assert_eq!(scene.left("b", "chat"), None);
    scene.meets("b", "chat", REFUSED, false).unwrap();
    assert!(
        scene.left("c", "chat").is_some(),
        "two tenants have shown it"
    );
}

#[test]
fn plain_refusals_of_two_tenants_hold_for_all() {
    let mut scene = Scene::new();
    scene.meets("a", "chat", REFUSED, false);
    scene.meets("b", "chat", REFUSED, false).unwrap();
    for tenant in ["a", "b", "c"] {
        assert_eq!(scene.left(tenant, "chat"), Some(60), "{tenant}");
    }
}

#[test]
fn a_success_between_two_plain_refusals_and_time_make_the_first_forgotten() {
    let mut scene = Scene::new();
    for _ in 0..5 {
        assert_eq!(scene.meets("a", "chat", REFUSED, false), None);
        scene.serves("b", "chat");
    }
    assert_eq!(scene.meets("a", "chat", REFUSED, false), None);
    scene.wait(MEMORY.as_secs() + 1);
    assert_eq!(scene.meets("a", "chat", REFUSED, false), None);
}

#[test]
fn a_named_refusal_concerns_every_model_at_once() {
    let mut scene = Scene::new();
    let cooled = scene.meets("a", "chat", REFUSED, true).unwrap();
    let (time, is_whole) = (NAMED_REFUSAL, true);
    assert_eq!(cooled, Cooled { time, is_whole });
    assert_eq!(scene.left("a", "embed"), Some(600));
    assert_eq!(
        scene.left("b", "chat"),
        None,
        "it may be about what `a` asks"
    );
    scene.meets("b", "embed", REFUSED, true).unwrap();
    assert_eq!(scene.left("c", "other"), Some(600));
}

#[test]
fn several_models_at_once_show_that_it_is_the_whole_key() {
    for fault in [LIMITED, REFUSED] {
        let mut scene = Scene::new();
        let mut is_whole = Vec::new();
        for model in ["one", "two", "three"] {
            scene.meets("a", model, fault, false);
            let cooled = scene.meets("a", model, fault, false).unwrap();
            is_whole.push(cooled.is_whole);
        }
        assert_eq!(is_whole, [false, false, true]);
        assert!(scene.left("a", "four").is_some());
        assert_eq!(scene.left("b", "four"), None);
    }
}

#[test]
fn the_last_key_is_refused_for_a_minute_and_then_tried_by_one_request_at_a_time() {
    let mut scene = Scene::new();
    scene.is_last = true;
    scene.meets("a", "chat", REFUSED, true);
    assert_eq!(scene.left("a", "chat"), Some(60));
    assert_eq!(
        scene.told("a", "embed", 200),
        seconds(200),
        "a rate limit is as told"
    );
    scene.wait(60);
    assert!(scene.begins("a", "chat"));
    assert!(!scene.begins("a", "chat"), "the trial is under way");
    scene.wait(TRIAL.as_secs());
    assert!(scene.begins("a", "chat"), "the trial told nothing");
    scene.meets("a", "chat", REFUSED, true);
    assert_eq!(scene.left("a", "chat"), Some(60), "the trial has failed");
    scene.wait(60);
    assert!(scene.begins("a", "chat"));
    scene.serves("a", "chat");
    assert!(scene.begins("a", "chat") && scene.begins("a", "other"));
}

#[test]
fn an_answer_to_what_was_asked_before_ends_no_refusal() {
    let mut scene = Scene::new();
    let asked = scene.now;
    scene.wait(1);
    scene.meets("a", "chat", REFUSED, true);
    let nothing = Headroom::default();
    let wanted = Scene::of("a", "chat");
    scene.key.served(wanted, asked, &nothing, LONGEST);
    assert_eq!(scene.left("a", "chat"), Some(600));
    scene.serves("b", "embed");
    assert_eq!(scene.left("a", "chat"), None, "the key does serve");
}

#[test]
fn as_many_models_are_kept_as_the_bound_says_and_those_that_end_first_are_forgotten() {
    let mut scene = Scene::new();
    scene.told("a", "shortest", 10);
    for n in 1..MAX_MODELS as u64 {
        // Each of another tenant: several of one would be the whole key's.
        scene.told(&format!("t{n}"), &format!("m{n}"), 100 + n);
    }
    assert_eq!(scene.key.known.lock().models.len(), MAX_MODELS);
    assert_eq!(scene.left("a", "shortest"), Some(10));
    let headroom = Headroom {
        requests: Some(Allowance {
            remaining: 0,
            resets_in: Some(seconds(60)),
        }),
        tokens: None,
    };
    let wanted = Scene::of("a", "allowance");
    scene.key.served(wanted, scene.now, &headroom, LONGEST);
    assert_eq!(scene.left("a", "shortest"), Some(10), "it takes no place");
    scene.told("b", "one-more", 50);
    assert_eq!(scene.key.known.lock().models.len(), MAX_MODELS);
    assert_eq!(scene.left("b", "one-more"), Some(50));
    assert_eq!(scene.left("a", "shortest"), None);
    assert_eq!(scene.left("t1", "m1"), Some(101));
    let long = "m".repeat(MAX_MODEL_BYTES + 1);
    assert_eq!(scene.meets("a", &long, LIMITED, false), None);
    assert!(scene.meets("a", &long[1..], LIMITED, false).is_some());
}

#[test]
fn all_of_it_is_forgotten_once_it_is_over() {
    let mut scene = Scene::new();
    scene.told("a", "chat", 40);
    scene.meets("a", "chat", REFUSED, false);
    assert!(scene.key.is_remarkable.load(Ordering::Relaxed));
    scene.wait(MEMORY.as_secs() + 41);
    assert!(scene.begins("a", "another"));
    assert!(!scene.key.is_remarkable.load(Ordering::Relaxed));
    assert!(scene.key.known.lock().models.is_empty());
}

#[test]
fn an_allowance_is_the_models_own_and_bounded() {
    let scene = Scene::new();
    let headroom = |remaining| Headroom {
        requests: Some(Allowance {
            remaining,
            resets_in: Some(seconds(86_400)),
        }),
        tokens: None,
    };
    let wanted = Scene::of("a", "chat");
    let now = Instant::now();
    scene.key.served(wanted, now, &headroom(1), LONGEST);
    assert_eq!(scene.key.readiness(wanted, now), Readiness::Ready);
    assert!(scene.key.begin(wanted, 5, now));
    assert_eq!(scene.key.readiness(wanted, now), Readiness::Exhausted);
    let other = Scene::of("a", "embed");
    assert_eq!(scene.key.readiness(other, now), Readiness::Ready);
    let later = now + LONGEST + seconds(1);
    assert_eq!(scene.key.readiness(wanted, later), Readiness::Ready);
}

#[test]
fn what_is_shown_names_the_tenant_for_which_alone_it_holds() {
    let mut scene = Scene::new();
    assert_eq!(scene.key.shown(scene.now).state, "ready");
    scene.told("a", "chat", 40);
    let shown = |scene: &Scene| {
        let models = scene.key.shown_models(scene.now);
        let mut models = models.into_iter().map(|(_, shown)| shown);
        models.next().map(|shown| (shown.state, shown.tenant))
    };
    assert_eq!(shown(&scene), Some(("cooling_down", Some("a".to_owned()))));
    scene.told("b", "chat", 40);
    assert_eq!(shown(&scene), Some(("cooling_down", None)));
    scene.wait(41);
    assert_eq!(shown(&scene), None);
    scene.meets("a", "chat", REFUSED, true);
    let key = scene.key.shown(scene.now);
    assert_eq!((key.state, key.left), ("refused", Some(seconds(600))));
    scene.wait(600);
    assert_eq!(scene.key.shown(scene.now).state, "trial");
}
