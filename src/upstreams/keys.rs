//! The provider keys of an upstream, used in turn.
//!
//! Owns the turn and the header value that carries a key, marked sensitive so that nothing prints
//! it. Refuses to know what a key is used for.

use std::sync::atomic::{AtomicUsize, Ordering};

use http::HeaderValue;

use crate::config::Keys;

/// Where the credential of a request comes from.
#[derive(Debug)]
pub enum KeyRing {
    /// Ours; `Authorization` values, ready to send. None at all for a server that asks for none.
    Own {
        /// `Bearer KEY`, each marked sensitive.
        bearers: Vec<HeaderValue>,
        /// Whose turn it is.
        next: AtomicUsize,
    },
    /// The client's.
    Passthrough,
}

impl KeyRing {
    /// Builds the ring from what the operator wrote.
    pub fn new(written: &Keys) -> Self {
        match written {
            Keys::Passthrough => Self::Passthrough,
            Keys::Own(keys) => Self::Own {
                bearers: keys
                    .iter()
                    .filter_map(|key| bearer(key.expose().as_bytes()))
                    .collect(),
                next: AtomicUsize::new(0),
            },
        }
    }

    /// The `Authorization` value for the next request, given the client's own key.
    pub fn authorization(&self, client_key: Option<&[u8]>) -> Option<HeaderValue> {
        match self {
            Self::Passthrough => client_key.and_then(bearer),
            Self::Own { bearers, next } => {
                let turn = next.fetch_add(1, Ordering::Relaxed);
                bearers.get(turn.checked_rem(bearers.len())?).cloned()
            }
        }
    }
}

/// `Bearer KEY`; `None` when the key has bytes that no header can carry.
fn bearer(key: &[u8]) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_bytes(&[b"Bearer ", key].concat()).ok()?;
    value.set_sensitive(true);
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;

    #[test]
    fn keys_take_turns_and_never_print() {
        let keys = ["sk-a", "sk-b"].map(|k| Secret::new(k.to_owned()));
        let ring = KeyRing::new(&Keys::Own(keys.to_vec()));
        let sent: Vec<_> = (0..3).filter_map(|_| ring.authorization(None)).collect();
        assert_eq!(sent, ["Bearer sk-a", "Bearer sk-b", "Bearer sk-a"]);
        assert!(!format!("{ring:?}{sent:?}").contains("sk-"));
    }

    #[test]
    fn an_empty_ring_sends_nothing_and_passthrough_sends_the_clients() {
        assert_eq!(
            KeyRing::new(&Keys::Own(vec![])).authorization(Some(b"client")),
            None
        );
        let ring = KeyRing::new(&Keys::Passthrough);
        assert_eq!(
            ring.authorization(Some(b"client")).unwrap(),
            "Bearer client"
        );
        assert_eq!(ring.authorization(None), None);
    }
}
