//! The provider keys of an upstream.
//!
//! Owns which key a request gets: the next in turn, or always the same one for a tenant, because
//! what a key has made (a file, a stored response) often answers to that account alone; and which
//! keys rest, for how long, because their provider has said so. Values are ready to send and marked
//! sensitive, so that nothing prints them. Refuses to know what a key is used for.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use http::HeaderValue;
use parking_lot::Mutex;

use super::conditions::Conditions;
use crate::config::Keys;
use crate::openai::dialect::Dialect;
use crate::openai::ratelimit::{Allowance, Headroom};
use crate::secret::KeyHash;

/// How many points of the ring each key has: enough that tenants spread evenly over a few keys.
const POINTS_PER_KEY: u8 = 64;
/// A key whose provider says "too many", and not for how long, rests for this at first, and twice
/// as long each time.
const FIRST_REST: Duration = Duration::from_secs(1);
const LONGEST_REST: Duration = Duration::from_secs(30);
/// A key that is refused, or has no money left, is not tried again for this long; a lone key is
/// sooner, since nothing else can serve.
const EJECTION: Duration = Duration::from_secs(600);
const EJECTION_OF_ALL: Duration = Duration::from_secs(30);

/// Whose turn it is.
#[derive(Clone, Copy, Debug)]
pub enum Turn<'a> {
    /// The next key's.
    Next,
    /// The key that always serves this tenant.
    Of(&'a str),
}

/// Where the credential of a request comes from.
#[derive(Debug)]
pub enum KeyRing {
    /// Ours.
    Own {
        /// In the order of the configuration; one without a value for a server that asks for none.
        keys: Vec<Arc<Key>>,
        /// Whose turn it is.
        next: AtomicUsize,
        /// Points in order, each with the position of the key that it belongs to. A tenant has the
        /// key of the first point behind its own, so that a key that comes or goes moves only the
        /// tenants that it wins or loses.
        ring: Vec<(u64, usize)>,
    },
    /// The client's.
    Passthrough,
}

/// One key.
#[derive(Debug)]
pub struct Key {
    /// The header's value, ready to send; `None` where the server asks for no key.
    pub value: Option<HeaderValue>,
    /// Names it in logs and tables: the start of its hash, or `none`.
    pub fingerprint: String,
    /// How it does.
    condition: Arc<KeyCondition>,
}

/// How a key does; outlives a snapshot.
#[derive(Debug, Default)]
pub struct KeyCondition {
    /// Whether there is anything to know: no rest, no allowance, no strike. Nearly always not.
    is_remarkable: AtomicBool,
    doing: Mutex<Doing>,
}

#[derive(Debug, Default)]
struct Doing {
    rest: Option<(Instant, Rest)>,
    /// How often in a row it was "too many", without a time.
    strikes: u32,
    requests: Option<Learnt>,
    tokens: Option<Learnt>,
}

/// What is left of an allowance, as the provider said last and less what was asked for since.
#[derive(Clone, Copy, Debug)]
struct Learnt {
    left: u64,
    until: Instant,
}

/// Why a key rests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rest {
    /// The provider said "too many".
    RateLimited,
    /// The provider does not accept it.
    Refused,
    /// The account has no money left.
    OutOfCredit,
}

impl Rest {
    /// Its name in metrics and tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::RateLimited => "cooling",
            Self::Refused => "refused",
            Self::OutOfCredit => "out_of_credit",
        }
    }
}

/// Whether a key can be used now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// It can.
    Ready,
    /// By what its provider has said, nothing is left of its allowance; that may be wrong.
    Dry,
    /// It rests for so long.
    Resting(Duration, Rest),
}

impl KeyRing {
    /// Builds the ring from what the operator wrote.
    pub fn new(written: &Keys, dialect: &Dialect, upstream: &str, conditions: &Conditions) -> Self {
        let Keys::Own(written) = written else {
            return Self::Passthrough;
        };
        let mut keys = Vec::new();
        let mut ring = Vec::new();
        for key in written {
            let bytes = key.expose().as_bytes();
            let Some(value) = dialect.credential(bytes) else {
                continue;
            };
            let position = keys.len();
            let points = (0..POINTS_PER_KEY).map(|n| [bytes, &[n][..]].concat());
            ring.extend(points.map(|point| (KeyHash::of(&point).head(), position)));
            let hash = KeyHash::of(bytes);
            keys.push(Arc::new(Key {
                value: Some(value),
                fingerprint: hash.fingerprint(),
                condition: conditions.key(upstream, &hash.to_hex()),
            }));
        }
        if keys.is_empty() {
            ring.push((0, 0));
            keys.push(Arc::new(Key {
                value: None,
                fingerprint: "none".to_owned(),
                condition: conditions.key(upstream, "none"),
            }));
        }
        ring.sort_unstable();
        Self::Own {
            keys,
            next: AtomicUsize::new(0),
            ring,
        }
    }

    /// Our key for a request of about so many tokens, with its position: one that is ready rather than
    /// one that is dry, none that rests and none that `tried` names. `None` where there is none such,
    /// or the client's own is sent on.
    pub fn choose(&self, turn: Turn<'_>, tried: &[usize], tokens: u64) -> Option<(usize, &Key)> {
        let (keys, start) = self.turn(turn)?;
        let now = Instant::now();
        let in_order = keys.iter().enumerate().cycle().skip(start);
        let mut dry = None;
        for (position, key) in in_order.take(keys.len()) {
            if tried.contains(&position) {
                continue;
            }
            match key.readiness(now) {
                Readiness::Ready => {
                    key.condition.spend(tokens, now);
                    return Some((position, key));
                }
                Readiness::Dry if dry.is_none() => dry = Some((position, key.as_ref())),
                _ => {}
            }
        }
        dry
    }

    /// The key whose turn it is, whether it rests or not: for what only its own account can serve.
    pub fn pinned(&self, turn: Turn<'_>) -> Option<&Arc<Key>> {
        let (keys, position) = self.turn(turn)?;
        keys.get(position)
    }

    /// All keys, and the position of the one whose turn it is.
    fn turn(&self, turn: Turn<'_>) -> Option<(&[Arc<Key>], usize)> {
        let Self::Own { keys, next, ring } = self else {
            return None;
        };
        let position = match turn {
            Turn::Next => next
                .fetch_add(1, Ordering::Relaxed)
                .checked_rem(keys.len())?,
            Turn::Of(tenant) => {
                let point = KeyHash::of(tenant.as_bytes()).head();
                let behind = ring.partition_point(|(at, _)| *at < point);
                let (_, position) = ring.get(behind).or_else(|| ring.first())?;
                *position
            }
        };
        Some((keys, position))
    }

    /// The best that any key can do now.
    pub fn readiness(&self, now: Instant) -> Readiness {
        let Self::Own { keys, .. } = self else {
            return Readiness::Ready;
        };
        let mut best: Option<Readiness> = None;
        for key in keys {
            match (key.readiness(now), best) {
                (Readiness::Ready, _) => return Readiness::Ready,
                (Readiness::Dry, _) => best = Some(Readiness::Dry),
                (other, None) => best = Some(other),
                (Readiness::Resting(left, why), Some(Readiness::Resting(least, _)))
                    if left < least =>
                {
                    best = Some(Readiness::Resting(left, why));
                }
                _ => {}
            }
        }
        best.unwrap_or(Readiness::Ready)
    }

    /// The keys, for tables; none where the client's own is sent on.
    pub fn keys(&self) -> &[Arc<Key>] {
        match self {
            Self::Own { keys, .. } => keys,
            Self::Passthrough => &[],
        }
    }

    /// Whether a key of ours is sent, rather than the client's own.
    pub fn are_ours(&self) -> bool {
        matches!(self, Self::Own { .. })
    }

    /// Lets a key rest that its provider does not serve now, and tells for how long.
    pub fn rest(&self, key: &Key, why: Rest, told: Option<Duration>) -> Duration {
        let is_lone = self.keys().len() == 1;
        let mut doing = key.condition.doing.lock();
        // Under the lock: whoever has just found nothing to know must not be the last to say so.
        key.condition.is_remarkable.store(true, Ordering::Relaxed);
        let time = match why {
            Rest::RateLimited => told.unwrap_or_else(|| {
                let doubled = FIRST_REST.saturating_mul(1 << doing.strikes.min(10));
                doubled.min(LONGEST_REST)
            }),
            Rest::Refused | Rest::OutOfCredit if is_lone => EJECTION_OF_ALL,
            Rest::Refused | Rest::OutOfCredit => EJECTION,
        };
        doing.strikes = doing.strikes.saturating_add(1);
        doing.rest = Some((Instant::now() + time, why));
        time
    }
}

impl Key {
    /// Whether it can be used.
    pub fn readiness(&self, now: Instant) -> Readiness {
        if !self.condition.is_remarkable.load(Ordering::Relaxed) {
            return Readiness::Ready;
        }
        let doing = self.condition.doing.lock();
        match doing.rest {
            Some((until, why)) if until > now => {
                return Readiness::Resting(until - now, why);
            }
            _ => {}
        }
        let is_dry = |learnt: Option<Learnt>| {
            learnt.is_some_and(|learnt| learnt.left == 0 && learnt.until > now)
        };
        match is_dry(doing.requests) || is_dry(doing.tokens) {
            true => Readiness::Dry,
            false => Readiness::Ready,
        }
    }

    /// It has served; what its provider said of its allowance counts from now on.
    pub fn served(&self, headroom: &Headroom) {
        let condition = &self.condition;
        if headroom.is_empty() && !condition.is_remarkable.load(Ordering::Relaxed) {
            return;
        }
        let mut doing = condition.doing.lock();
        doing.strikes = 0;
        if headroom.is_empty() {
            let is_remarkable =
                doing.rest.is_some() || doing.requests.is_some() || doing.tokens.is_some();
            condition
                .is_remarkable
                .store(is_remarkable, Ordering::Relaxed);
            return;
        }
        condition.is_remarkable.store(true, Ordering::Relaxed);
        let now = Instant::now();
        let learnt = |allowance: Option<Allowance>| {
            let allowance = allowance?;
            Some(Learnt {
                left: allowance.remaining,
                until: now + allowance.resets_in?,
            })
        };
        doing.requests = learnt(headroom.requests);
        doing.tokens = learnt(headroom.tokens);
    }
}

impl KeyCondition {
    fn spend(&self, tokens: u64, now: Instant) {
        if !self.is_remarkable.load(Ordering::Relaxed) {
            return;
        }
        let mut doing = self.doing.lock();
        let doing = &mut *doing;
        // A rest that is over is forgotten.
        doing.rest = doing.rest.filter(|(until, _)| *until > now);
        for (learnt, amount) in [(&mut doing.requests, 1), (&mut doing.tokens, tokens)] {
            if let Some(known) = learnt {
                known.left = known.left.saturating_sub(amount);
                if known.until <= now {
                    *learnt = None;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::secret::Secret;

    fn ring(keys: &[&str]) -> KeyRing {
        let keys = keys.iter().map(|k| Secret::new((*k).to_owned()));
        let keys = Keys::Own(keys.collect());
        KeyRing::new(&keys, &Dialect::default(), "u", &Conditions::default())
    }

    fn value(key: &Key) -> String {
        let value = key.value.as_ref().unwrap();
        value.to_str().unwrap().to_owned()
    }

    fn chosen(ring: &KeyRing, turn: Turn<'_>) -> Option<String> {
        ring.choose(turn, &[], 10).map(|(_, key)| value(key))
    }

    fn headroom(requests: u64, tokens: u64) -> Headroom {
        let allowance = |remaining| {
            Some(Allowance {
                remaining,
                resets_in: Some(Duration::from_secs(60)),
            })
        };
        Headroom {
            requests: allowance(requests),
            tokens: allowance(tokens),
        }
    }

    #[test]
    fn keys_take_turns_and_never_print() {
        let ring = ring(&["sk-a", "sk-b"]);
        let sent: Vec<_> = (0..3).filter_map(|_| chosen(&ring, Turn::Next)).collect();
        assert_eq!(sent, ["Bearer sk-a", "Bearer sk-b", "Bearer sk-a"]);
        assert!(!format!("{ring:?}").contains("sk-"));
    }

    #[test]
    fn a_server_without_keys_has_one_that_says_nothing_and_the_clients_own_is_never_ours() {
        for turn in [Turn::Next, Turn::Of("t")] {
            assert_eq!(ring(&[]).choose(turn, &[], 1).unwrap().1.value, None);
            let conditions = Conditions::default();
            let passthrough =
                KeyRing::new(&Keys::Passthrough, &Dialect::default(), "u", &conditions);
            assert!(passthrough.choose(turn, &[], 1).is_none());
        }
    }

    #[test]
    fn a_tenant_keeps_its_key_when_others_come() {
        let (three, four) = (ring(&["a", "b", "c"]), ring(&["d", "c", "b", "a"]));
        let mut tenants_of: HashMap<String, u32> = HashMap::new();
        for tenant in (0..1000).map(|n| format!("tenant-{n}")) {
            let key = |ring| chosen(ring, Turn::Of(&tenant)).unwrap();
            assert_eq!(key(&three), key(&three));
            if key(&four) != "Bearer d" {
                assert_eq!(key(&four), key(&three), "{tenant}");
            }
            *tenants_of.entry(key(&four)).or_default() += 1;
        }
        assert_eq!(tenants_of.len(), 4);
        assert!(
            tenants_of.values().all(|n| (100..450).contains(n)),
            "{tenants_of:?}"
        );
    }

    #[test]
    fn a_key_that_rests_leaves_its_turns_to_the_others_even_those_of_its_tenants() {
        let ring = ring(&["a", "b"]);
        let (_, first) = ring.choose(Turn::Next, &[], 1).unwrap();
        ring.rest(first, Rest::RateLimited, Some(Duration::from_secs(60)));
        for turn in [Turn::Next, Turn::Next, Turn::Of("x"), Turn::Of("y")] {
            assert_eq!(chosen(&ring, turn).unwrap(), "Bearer b");
        }
        assert_eq!(ring.readiness(Instant::now()), Readiness::Ready);
        let (position, other) = ring.choose(Turn::Next, &[], 1).unwrap();
        assert!(ring.choose(Turn::Next, &[position], 1).is_none());
        ring.rest(other, Rest::OutOfCredit, None);
        assert!(ring.choose(Turn::Next, &[], 1).is_none());
        assert!(
            ring.pinned(Turn::Of("x")).is_some(),
            "its account alone can serve"
        );
        let readiness = ring.readiness(Instant::now());
        assert!(
            matches!(readiness, Readiness::Resting(left, Rest::RateLimited) if left.as_secs() < 61),
            "{readiness:?}"
        );
        let later = Instant::now() + Duration::from_secs(61);
        assert_eq!(first.readiness(later), Readiness::Ready);
    }

    #[test]
    fn who_is_told_no_time_rests_longer_each_time_until_it_serves() {
        let ring = ring(&["a"]);
        let (_, key) = ring.choose(Turn::Next, &[], 1).unwrap();
        let rest = || ring.rest(key, Rest::RateLimited, None).as_secs();
        assert_eq!([rest(), rest(), rest()], [1, 2, 4]);
        assert_eq!((0..9).map(|_| rest()).max(), Some(30));
        key.served(&Headroom::default());
        assert_eq!(rest(), 1);
        assert_eq!(ring.rest(key, Rest::Refused, None), EJECTION_OF_ALL);
    }

    #[test]
    fn an_allowance_is_used_up_and_no_further_while_another_key_has_some() {
        let ring = ring(&["a", "b"]);
        let (a, b) = (
            ring.choose(Turn::Next, &[], 0).unwrap().1,
            ring.choose(Turn::Next, &[], 0).unwrap().1,
        );
        a.served(&headroom(2, 1000));
        b.served(&headroom(1000, 30));
        let mut counts: HashMap<String, u32> = HashMap::new();
        for _ in 0..5 {
            *counts
                .entry(chosen(&ring, Turn::Next).unwrap())
                .or_default() += 1;
        }
        let expected = [("Bearer a".to_owned(), 2), ("Bearer b".to_owned(), 3)];
        assert_eq!(counts, expected.into());
        assert_eq!(ring.readiness(Instant::now()), Readiness::Dry);
        assert!(
            chosen(&ring, Turn::Next).is_some(),
            "what was said may be wrong"
        );
        let later = Instant::now() + Duration::from_secs(61);
        assert_eq!(ring.readiness(later), Readiness::Ready);
    }
}
