//! The method of signed requests: from a signature to the tenant whose key has made it.
//!
//! Owns what is accepted of a signature, in this order: a key of a tenant has made it, it is of this time, and the key
//! holds. That it counts once is left to [`Signature::take`], which follows when everything else is known. `nonces` has
//! those that have been used. Does not handle what a signature covers (see `crate::signature`), nor the body, which
//! comes later. Fails with [`Refused`]; nothing of a signature is in it.

mod nonces;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;

use crate::clock;
use crate::config::{Lapse, SignatureTerms, Validity};
use crate::signature::{BodyDigest, Fault, Message, Signed, SigningKey};

pub use nonces::{Nonces, NotOnce};
use nonces::{Once, Used, Windows};

/// A key that requests are signed with.
#[derive(Clone, Debug)]
pub struct SignatureKey {
    /// Its id, which no other key has.
    pub id: Arc<str>,
    /// Its id in the log, which may not show the other.
    pub logged_id: Arc<str>,
    /// What it signs with.
    pub key: SigningKey,
    /// The position of the tenant that owns it.
    pub tenant: usize,
    /// Whether and until when it holds.
    pub validity: Validity,
}

/// Why a signature is not accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// It cannot be read, or is not what it has to be.
    Malformed(Fault),
    /// No key has its key's id.
    Unknown,
    /// Its key has not made it.
    Signature,
    /// It is older than the window, by the seconds of both.
    Late(i64, i64),
    /// It says that it has expired.
    Expired,
    /// It is of a time to come, by more than the window; by the seconds of both.
    Early(i64, i64),
    /// The key does not hold: its id in the log.
    Lapsed(Arc<str>, Lapse),
    /// It does not count.
    NotOnce(NotOnce),
    /// The body is not what was signed.
    Body,
}

impl Refused {
    /// Its name in metrics.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Malformed(fault) => fault.reason(),
            Self::Unknown => "unknown",
            Self::Signature => "signature",
            Self::Late(..) | Self::Expired => "late",
            Self::Early(..) => "early",
            Self::Lapsed(_, lapse) => lapse.name(),
            Self::NotOnce(NotOnce::Replayed) => "replayed",
            Self::NotOnce(NotOnce::Full) => "nonces",
            Self::Body => "body",
        }
    }
}

/// For the log, and where it says nothing of keys, for the client.
impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(fault) => fault.fmt(f),
            Self::Unknown | Self::Signature => f.write_str("the signature is not valid"),
            Self::Late(age_s, window_s) => write!(
                f,
                "the signature was created {age_s} s ago, and at most {window_s} s are accepted"
            ),
            Self::Expired => f.write_str("the signature has expired"),
            Self::Early(by_s, window_s) => write!(
                f,
                "the signature was created {by_s} s in the future, in seconds since 1970, and at most {window_s} s \
                 are accepted"
            ),
            Self::Lapsed(id, lapse) => write!(f, "the signature's key {id} is {}", lapse.name()),
            Self::NotOnce(NotOnce::Replayed) => f.write_str("the signature's nonce has been used"),
            Self::NotOnce(NotOnce::Full) => {
                f.write_str("too many requests have been signed with this key lately")
            }
            Self::Body => f.write_str("the body is not the one that was signed"),
        }
    }
}

/// A signature that has been accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    /// What the body has to be.
    pub body: BodyDigest,
    once: Once,
}

impl Signature {
    /// Uses it up; `now_s` is the second since the epoch.
    ///
    /// # Errors
    /// It has been used, or that cannot be remembered.
    pub fn take(&self, now_s: i64) -> Result<(), NotOnce> {
        self.once.take(now_s)
    }

    /// Whether it is the same as another.
    pub fn is(&self, other: &Self) -> bool {
        self.once == other.once
    }
}

/// The keys of every tenant.
#[derive(Debug)]
pub struct Signatures {
    keys: HashMap<Arc<str>, (SignatureKey, Arc<Used>)>,
    windows: Windows,
    /// As many nonces of a key are kept.
    nonces: usize,
    /// Takes as long as a key, where there is none.
    stranger: Option<SigningKey>,
}

impl Signatures {
    /// Takes the keys, what holds for all of them, and the nonces that have been used.
    pub fn new(keys: Vec<SignatureKey>, terms: SignatureTerms, nonces: &Nonces) -> Self {
        let keys = keys.into_iter().map(|key| {
            let used = nonces.of(&key.id);
            (Arc::clone(&key.id), (key, used))
        });
        let window_s = i64::try_from(terms.window.as_secs()).unwrap_or(i64::MAX);
        Self {
            keys: keys.collect(),
            windows: nonces.windows(window_s, clock::now_unix_seconds()),
            nonces: usize::try_from(terms.nonces).unwrap_or(usize::MAX),
            stranger: SigningKey::new(&fastrand::u128(..).to_ne_bytes()),
        }
    }

    /// Whether there is no key.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The key that has signed a request, and the signature, which does not count yet.
    ///
    /// # Errors
    /// Why it is not accepted.
    pub fn accept(
        &self,
        message: &Message<'_>,
        now: Timestamp,
    ) -> Result<(&SignatureKey, Signature), Refused> {
        let signed = Signed::read(message).map_err(Refused::Malformed)?;
        let Some((key, used)) = self.keys.get(signed.key_id.as_str()) else {
            // How long it takes does not tell which ids there are.
            std::hint::black_box(self.stranger.as_ref().map(|key| signed.is_by(key)));
            return Err(Refused::Unknown);
        };
        if !signed.is_by(&key.key) {
            return Err(Refused::Signature);
        }
        let (now_s, created_s) = (now.as_second(), signed.created_s);
        let window_s = self.windows.of(created_s);
        if created_s > now_s.saturating_add(window_s) {
            return Err(Refused::Early(created_s.saturating_sub(now_s), window_s));
        }
        if created_s < now_s.saturating_sub(window_s) {
            return Err(Refused::Late(now_s.saturating_sub(created_s), window_s));
        }
        if signed.expires_s.is_some_and(|end_s| end_s <= now_s) {
            return Err(Refused::Expired);
        }
        if let Some(lapse) = key.validity.lapse(now) {
            return Err(Refused::Lapsed(Arc::clone(&key.logged_id), lapse));
        }
        let until_s = created_s.saturating_add(window_s.saturating_mul(2));
        let once = Once::new(used, &signed.nonce, until_s, self.nonces);
        let body = signed.body;
        Ok((key, Signature { body, once }))
    }
}

#[cfg(test)]
mod tests;
