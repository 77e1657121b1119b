//! The provider keys of an upstream.
//!
//! Owns which key a request gets: the next in turn, or always the same one for a tenant, because
//! what a key has made (a file, a stored response) often answers to that account alone. Values are
//! ready to send and marked sensitive, so that nothing prints them. Refuses to know what a key is
//! used for.

use std::sync::atomic::{AtomicUsize, Ordering};

use http::HeaderValue;

use crate::config::Keys;
use crate::openai::dialect::Dialect;
use crate::secret::KeyHash;

/// How many points of the ring each key has: enough that tenants spread evenly over a few keys.
const POINTS_PER_KEY: u8 = 64;

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
    /// Ours. None at all for a server that asks for none.
    Own {
        /// Header values, ready to send.
        values: Vec<HeaderValue>,
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

impl KeyRing {
    /// Builds the ring from what the operator wrote.
    pub fn new(written: &Keys, dialect: &Dialect) -> Self {
        let Keys::Own(keys) = written else {
            return Self::Passthrough;
        };
        let sendable = keys.iter().filter_map(|key| {
            let value = dialect.credential(key.expose().as_bytes())?;
            Some((value, key.expose().as_bytes()))
        });
        let (values, keys): (Vec<HeaderValue>, Vec<&[u8]>) = sendable.unzip();
        let points = keys.iter().enumerate().flat_map(|(position, key)| {
            (0..POINTS_PER_KEY)
                .map(move |n| (KeyHash::of(&[key, &[n][..]].concat()).head(), position))
        });
        let mut ring: Vec<(u64, usize)> = points.collect();
        ring.sort_unstable();
        Self::Own {
            values,
            next: AtomicUsize::new(0),
            ring,
        }
    }

    /// Our key for a request; `None` where there is none, or the client's own is sent on.
    pub fn choose(&self, turn: Turn<'_>) -> Option<&HeaderValue> {
        let Self::Own { values, next, ring } = self else {
            return None;
        };
        let position = match turn {
            Turn::Next => next
                .fetch_add(1, Ordering::Relaxed)
                .checked_rem(values.len())?,
            Turn::Of(tenant) => {
                let point = KeyHash::of(tenant.as_bytes()).head();
                let behind = ring.partition_point(|(at, _)| *at < point);
                let (_, position) = ring.get(behind).or_else(|| ring.first())?;
                *position
            }
        };
        values.get(position)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::secret::Secret;

    fn ring(keys: &[&str]) -> KeyRing {
        let keys = keys.iter().map(|k| Secret::new((*k).to_owned()));
        KeyRing::new(&Keys::Own(keys.collect()), &Dialect::default())
    }

    #[test]
    fn keys_take_turns_and_never_print() {
        let ring = ring(&["sk-a", "sk-b"]);
        let sent: Vec<_> = (0..3).filter_map(|_| ring.choose(Turn::Next)).collect();
        assert_eq!(sent, ["Bearer sk-a", "Bearer sk-b", "Bearer sk-a"]);
        assert!(!format!("{ring:?}{sent:?}").contains("sk-"));
    }

    #[test]
    fn an_empty_ring_and_the_clients_own_key_choose_nothing() {
        for turn in [Turn::Next, Turn::Of("t")] {
            assert_eq!(ring(&[]).choose(turn), None);
            let passthrough = KeyRing::new(&Keys::Passthrough, &Dialect::default());
            assert_eq!(passthrough.choose(turn), None);
        }
    }

    #[test]
    fn a_tenant_keeps_its_key_when_others_come() {
        let (three, four) = (ring(&["a", "b", "c"]), ring(&["d", "c", "b", "a"]));
        let mut tenants_of: HashMap<String, u32> = HashMap::new();
        for tenant in (0..1000).map(|n| format!("tenant-{n}")) {
            let key = |ring: &KeyRing| {
                let value = ring.choose(Turn::Of(&tenant)).unwrap();
                value.to_str().unwrap().to_owned()
            };
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
}
