//! The provider keys of an upstream.
//!
//! Owns which key a request gets: the next in turn, or always the same one for a tenant, because
//! what a key has made (a file, a stored response) often answers to that account alone; a key that
//! is cooling down leaves its turns to the others. Values are ready to send and marked sensitive, so
//! that nothing prints them. Does not decide when a key is cooling down (`cooldown`). Cannot fail.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use http::HeaderValue;

use super::book::Book;
use super::cooldown::{Cooled, KeyState, KeyUse, Readiness};
use super::standing::{Bounds, Finding};
use crate::config::Keys;
use crate::openai::dialect::Dialect;
use crate::secret::KeyHash;
use crate::weighted::mixed;

/// Whose turn it is.
#[derive(Clone, Copy, Debug)]
pub enum Turn<'a> {
    /// The next key's.
    Next,
    /// The key that always serves this tenant, or this conversation.
    Of(&'a [u8]),
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
    /// What is known of it.
    pub condition: Arc<KeyState>,
    /// The start of its hash, which decides which tenants it serves.
    seed: u64,
}

impl KeyRing {
    /// Builds the ring from what the operator wrote.
    pub fn new(written: &Keys, dialect: &Dialect, upstream: &str, states: &Book<KeyState>) -> Self {
        let Keys::Own(written) = written else {
            return Self::Passthrough;
        };
        let state = |hash: &str| states.of(format!("{upstream}\n{hash}"), KeyState::default);
        let mut keys = Vec::new();
        for key in written {
            let bytes = key.expose().as_bytes();
            let Some(value) = dialect.credential(bytes) else {
                continue;
            };
            let hash = KeyHash::of(bytes);
            keys.push(Arc::new(Key {
                value: Some(value),
                fingerprint: hash.fingerprint(),
                condition: state(&hash.to_hex()),
                seed: hash.head(),
            }));
        }
        if keys.is_empty() {
            keys.push(Arc::new(Key {
                value: None,
                fingerprint: "none".to_owned(),
                condition: state("none"),
                seed: 0,
            }));
        }
        Self::Own {
            keys,
            next: AtomicUsize::new(0),
        }
    }

    /// Our key for a request of about so many tokens, with its position: one that is ready rather than
    /// one that is exhausted, none that is cooling down and none that `tried` names. `None` where there is
    /// none such, or the client's own is sent on.
    pub fn choose(
        &self,
        wanted: KeyUse<'_>,
        turn: Turn<'_>,
        tried: &[usize],
        tokens: u64,
    ) -> Option<(usize, &Arc<Key>)> {
        let (keys, start) = self.turn(turn)?;
        let now = Instant::now();
        let begins = |key: &Key| key.condition.begin(wanted, tokens, now);
        let in_order = keys.iter().enumerate().cycle().skip(start);
        let mut exhausted = None;
        for (position, key) in in_order.take(keys.len()) {
            if tried.contains(&position) {
                continue;
            }
            match key.condition.readiness(wanted, now) {
                Readiness::Ready if begins(key) => return Some((position, key)),
                Readiness::Exhausted if exhausted.is_none() => exhausted = Some((position, key)),
                _ => {}
            }
        }
        exhausted.filter(|(_, key)| begins(key))
    }

    /// The key whose turn it is, cooling down or not, with its position: for what only its own account can
    /// serve.
    pub fn pinned(&self, turn: Turn<'_>) -> Option<(usize, &Arc<Key>)> {
        let (keys, position) = self.turn(turn)?;
        keys.get(position).map(|key| (position, key))
    }

    /// All keys, and the position of the one whose turn it is.
    fn turn(&self, turn: Turn<'_>) -> Option<(&[Arc<Key>], usize)> {
        let Self::Own { keys, next } = self else {
            return None;
        };
        let position = match turn {
            Turn::Next => next
                .fetch_add(1, Ordering::Relaxed)
                .checked_rem(keys.len())?,
            // Rendezvous hashing: the key with the highest score, so that a key that comes or goes
            // moves only what it wins or loses.
            Turn::Of(name) => {
                let name = KeyHash::of(name).head();
                let scores = keys.iter().map(|key| mixed(key.seed ^ name));
                scores.enumerate().max_by_key(|(_, score)| *score)?.0
            }
        };
        Some((keys, position))
    }

    /// The best that any key can do now.
    pub fn readiness(&self, wanted: KeyUse<'_>, now: Instant) -> Readiness {
        let Self::Own { keys, .. } = self else {
            return Readiness::Ready;
        };
        let mut best: Option<Readiness> = None;
        for key in keys {
            match (key.condition.readiness(wanted, now), best) {
                (Readiness::Ready, _) => return Readiness::Ready,
                (Readiness::Exhausted, _) => best = Some(Readiness::Exhausted),
                (other, None) => best = Some(other),
                (Readiness::Cooling(left, why), Some(Readiness::Cooling(least, _)))
                    if left < least =>
                {
                    best = Some(Readiness::Cooling(left, why));
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

    /// Notes what an answer has shown of a key; `longest` bounds what the provider says of time.
    /// Tells of the cooldown that follows, if one does.
    pub fn note(
        &self,
        key: &Key,
        wanted: KeyUse<'_>,
        finding: &Finding<'_>,
        longest: Duration,
    ) -> Option<Cooled> {
        let now = Instant::now();
        let mut others = self
            .keys()
            .iter()
            .filter(|other| !std::ptr::eq(other.as_ref(), key));
        let is_cooling = |other: &Arc<Key>| {
            matches!(
                other.condition.readiness(wanted, now),
                Readiness::Cooling(..)
            )
        };
        let bounds = Bounds {
            longest,
            is_last: others.all(is_cooling),
        };
        key.condition.note(wanted, finding, bounds, now)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::openai::ratelimit::{Allowance, Headroom};
    use crate::secret::Secret;
    use crate::upstreams::standing::Fault;

    fn ring(keys: &[&str]) -> KeyRing {
        let keys = keys.iter().map(|k| Secret::new((*k).to_owned()));
        let keys = Keys::Own(keys.collect());
        KeyRing::new(&keys, &Dialect::default(), "u", &Book::default())
    }

    fn value(key: &Key) -> String {
        let value = key.value.as_ref().unwrap();
        value.to_str().unwrap().to_owned()
    }

    const USE: KeyUse<'_> = KeyUse {
        model: "m",
        tenant: "t",
    };

    fn chosen(ring: &KeyRing, turn: Turn<'_>) -> Option<String> {
        ring.choose(USE, turn, &[], 10).map(|(_, key)| value(key))
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

    fn limited(wait: Duration) -> Finding<'static> {
        Finding {
            fault: Fault::RateLimited,
            is_named: false,
            told: Some(wait),
            request: "r",
            asked: Instant::now(),
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
        for turn in [Turn::Next, Turn::Of(b"t")] {
            assert_eq!(ring(&[]).choose(USE, turn, &[], 1).unwrap().1.value, None);
            let states = Book::default();
            let passthrough = KeyRing::new(&Keys::Passthrough, &Dialect::default(), "u", &states);
            assert!(passthrough.choose(USE, turn, &[], 1).is_none());
        }
    }

    #[test]
    fn a_tenant_keeps_its_key_when_others_come() {
        let (three, four) = (ring(&["a", "b", "c"]), ring(&["d", "c", "b", "a"]));
        let mut tenants_of: HashMap<String, u32> = HashMap::new();
        for tenant in (0..1000).map(|n| format!("tenant-{n}")) {
            let key = |ring| chosen(ring, Turn::Of(tenant.as_bytes())).unwrap();
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
    fn a_key_that_is_cooling_down_leaves_its_turns_to_the_others_even_those_of_its_tenants() {
        let ring = ring(&["a", "b"]);
        let note = |key, seconds| {
            let finding = limited(Duration::from_secs(seconds));
            ring.note(key, USE, &finding, Duration::from_secs(300))
        };
        let (_, first) = ring.choose(USE, Turn::Next, &[], 1).unwrap();
        note(first, 60).unwrap();
        for turn in [Turn::Next, Turn::Next, Turn::Of(b"x"), Turn::Of(b"y")] {
            assert_eq!(chosen(&ring, turn).unwrap(), "Bearer b");
        }
        assert_eq!(ring.readiness(USE, Instant::now()), Readiness::Ready);
        let (position, other) = ring.choose(USE, Turn::Next, &[], 1).unwrap();
        assert!(ring.choose(USE, Turn::Next, &[position], 1).is_none());
        note(other, 600).unwrap();
        assert!(ring.choose(USE, Turn::Next, &[], 1).is_none());
        assert!(
            ring.pinned(Turn::Of(b"x")).is_some(),
            "its account alone can serve"
        );
        let readiness = ring.readiness(USE, Instant::now());
        assert!(
            matches!(readiness, Readiness::Cooling(left, Fault::RateLimited) if left.as_secs() < 61),
            "{readiness:?}"
        );
        let later = Instant::now() + Duration::from_secs(61);
        assert_eq!(first.condition.readiness(USE, later), Readiness::Ready);
    }

    #[test]
    fn the_last_key_that_can_be_used_is_refused_for_a_minute_at_most() {
        let ring = ring(&["a", "b"]);
        let refused = Finding {
            fault: Fault::Refused,
            is_named: true,
            ..limited(Duration::ZERO)
        };
        let note = || {
            let (_, key) = ring.choose(USE, Turn::Next, &[], 1).unwrap();
            let cooled = ring.note(key, USE, &refused, Duration::from_secs(300));
            cooled.unwrap().time.as_secs()
        };
        assert_eq!([note(), note()], [600, 60]);
    }

    #[test]
    fn an_allowance_is_used_up_and_no_further_while_another_key_has_some() {
        let ring = ring(&["a", "b"]);
        let (a, b) = (
            ring.choose(USE, Turn::Next, &[], 0).unwrap().1,
            ring.choose(USE, Turn::Next, &[], 0).unwrap().1,
        );
        let (now, longest) = (Instant::now(), Duration::from_secs(300));
        a.condition.served(USE, now, &headroom(2, 1000), longest);
        b.condition.served(USE, now, &headroom(1000, 30), longest);
        let mut counts: HashMap<String, u32> = HashMap::new();
        for _ in 0..5 {
            *counts
                .entry(chosen(&ring, Turn::Next).unwrap())
                .or_default() += 1;
        }
        let expected = [("Bearer a".to_owned(), 2), ("Bearer b".to_owned(), 3)];
        assert_eq!(counts, expected.into());
        assert_eq!(ring.readiness(USE, Instant::now()), Readiness::Exhausted);
        assert!(
            chosen(&ring, Turn::Next).is_some(),
            "what was said may be wrong"
        );
        let other = KeyUse {
            model: "another",
            ..USE
        };
        assert_eq!(ring.readiness(other, Instant::now()), Readiness::Ready);
        let later = Instant::now() + Duration::from_secs(61);
        assert_eq!(ring.readiness(USE, later), Readiness::Ready);
    }
}
