//! The method of JSON Web Tokens: from a token to the tenant that it belongs to.
//!
//! Owns what is accepted of an issuer, in this order: the issuer is known, the algorithm is one of its own, a key of
//! its has signed the token, the audience is ours, the time is right, and the claims name a tenant. A token that has
//! been accepted is remembered by its whole hash until it expires, its issuer's keys change or the configuration does.
//! `remote` has the keys that an issuer publishes, `fetch` asks for them, `limits` reads those of a token. Does not
//! handle the form of tokens (see `crate::jwt`). Fails with [`Refused`]; nothing of a token is in it.

mod fetch;
mod limits;
mod remote;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use quick_cache::sync::Cache;

use crate::config::{Issuer, IssuerKeys, RateLimits, TenantOf};
use crate::jwt::{Claims, KeySet, Malformed, Token, Unverified};
use crate::secret::KeyHash;

pub use remote::{Remote, Remotes};

/// As many tokens are remembered; a further one takes the place of one that has not been used for long.
const REMEMBERED: usize = 16_384;
/// A longer subject is cut in reports.
const MAX_SUBJECT_BYTES: usize = 128;
/// As many models of a token are kept.
const MAX_MODELS: usize = 1_000;

/// Why a token is not accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// It cannot be read.
    Malformed(Malformed),
    /// Its issuer is not known.
    Issuer,
    /// It is signed by another algorithm than its issuer may use.
    Algorithm,
    /// Its issuer's keys are not known yet.
    NoKeys(Arc<Remote>),
    /// No key of its issuer may have signed it. Where its issuer publishes keys, it may have a new one.
    UnknownKey(Option<Arc<Remote>>),
    /// Its signature does not fit.
    Signature,
    /// It is for another audience.
    Audience,
    /// It has expired.
    Expired,
    /// It is not valid yet.
    Early,
    /// A claim is missing, or has another type than it must have.
    Claim(&'static str),
    /// It names a tenant that there is not.
    Tenant,
}

impl Refused {
    /// Its name in metrics.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "malformed",
            Self::Issuer => "issuer",
            Self::Algorithm => "algorithm",
            Self::NoKeys(_) => "no_keys",
            Self::UnknownKey(_) => "unknown_key",
            Self::Signature => "signature",
            Self::Audience => "audience",
            Self::Expired => "expired",
            Self::Early => "early",
            Self::Claim(_) => "claim",
            Self::Tenant => "tenant",
        }
    }
}

/// For the log, and for the client, which has made the token or got it.
impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed(Malformed::TooLong) => "the token is longer than 16 KiB",
            Self::Malformed(Malformed::Form) => "the token is malformed",
            Self::Malformed(Malformed::Algorithm) => {
                "the token's header names no algorithm that is accepted"
            }
            Self::Malformed(Malformed::Critical) => {
                "the token's header asks for what is not supported"
            }
            Self::Malformed(Malformed::Type) => "the token's header has another type than JWT",
            Self::Issuer => "the token's issuer is not accepted",
            Self::Algorithm => "the token's algorithm is not accepted of its issuer",
            Self::NoKeys(_) => "the keys of the token's issuer are not known yet",
            Self::UnknownKey(_) => "the token is signed with a key that its issuer does not have",
            Self::Signature => "the token's signature is not valid",
            Self::Audience => "the token is for another audience",
            Self::Expired => "the token has expired",
            Self::Early => "the token is not valid yet",
            Self::Claim(name) => {
                return write!(f, "the token's claim {name} is missing or cannot be read");
            }
            Self::Tenant => "the token names a tenant that does not exist",
        })
    }
}

/// What a token amounts to.
#[derive(Debug)]
pub struct Accepted {
    /// The position of its tenant.
    pub tenant: usize,
    /// Its subject, for reports.
    pub subject: Arc<str>,
    /// A name for its subject that tells nothing about it.
    pub masked: Arc<str>,
    /// The models that it may ask for; `None` for those of its tenant.
    pub models: Option<Arc<Vec<String>>>,
    /// The limits that it brings, besides those of its tenant.
    pub limits: Option<Arc<OwnLimits>>,
}

/// Limits that a token brings, for all tokens of its subject.
#[derive(Debug, PartialEq, Eq)]
pub struct OwnLimits {
    /// Its issuer.
    pub issuer: String,
    /// Its subject.
    pub subject: String,
    /// What is limited.
    pub rates: RateLimits,
}

/// A token that has been accepted before.
struct Remembered {
    accepted: Arc<Accepted>,
    /// When it ceases to be valid, in seconds since the epoch, with the leeway.
    end_s: i64,
    /// The keys that it was verified with.
    keys: Arc<KeySet>,
    issuer: usize,
}

/// The issuers of one snapshot, and the tokens that have been accepted in it.
pub struct Tokens {
    issuers: Vec<Trusted>,
    by_name: HashMap<String, usize>,
    /// The positions of the tenants.
    tenants: HashMap<Arc<str>, usize>,
    remembered: Cache<KeyHash, Arc<Remembered>>,
}

/// An issuer, with where its keys are.
struct Trusted {
    written: Issuer,
    keys: Keys,
}

enum Keys {
    Here(Arc<KeySet>),
    At(Arc<Remote>),
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.by_name.keys()).finish()
    }
}

impl Tokens {
    /// Takes the issuers, the ids of the tenants in their order, and the keys that are published.
    pub fn new(issuers: &[Issuer], tenants: impl Iterator<Item = Arc<str>>, at: &Remotes) -> Self {
        let names = issuers.iter().map(|issuer| issuer.issuer.value.clone());
        let trusted = issuers.iter().map(|issuer| Trusted {
            keys: match &issuer.keys {
                IssuerKeys::Here(keys) => Keys::Here(Arc::new(keys.clone())),
                IssuerKeys::At(url) => Keys::At(at.of(&issuer.issuer.value, url)),
            },
            written: issuer.clone(),
        });
        Self {
            by_name: names.enumerate().map(|(at, name)| (name, at)).collect(),
            issuers: trusted.collect(),
            tenants: tenants.enumerate().map(|(at, id)| (id, at)).collect(),
            remembered: Cache::new(if issuers.is_empty() { 1 } else { REMEMBERED }),
        }
    }

    /// Whether no issuer is trusted.
    pub fn is_empty(&self) -> bool {
        self.issuers.is_empty()
    }

    /// What a token amounts to now.
    ///
    /// # Errors
    /// Why it is not accepted.
    pub fn accept(&self, token: &[u8], now: Timestamp) -> Result<Arc<Accepted>, Refused> {
        let now_s = now.as_second();
        let hash = KeyHash::of(token);
        if let Some(known) = self.remembered.get(&hash) {
            match self.holds(&known) {
                true if now_s >= known.end_s => return Err(Refused::Expired),
                true => return Ok(Arc::clone(&known.accepted)),
                // Its issuer has other keys by now.
                false => drop(self.remembered.remove(&hash)),
            }
        }
        let read = Token::read(token).map_err(Refused::Malformed)?;
        let named = read
            .claimed_issuer()
            .and_then(|name| self.by_name.get(name));
        let position = *named.ok_or(Refused::Issuer)?;
        let issuer = self.issuers.get(position).ok_or(Refused::Issuer)?;
        if !issuer.written.algorithms.contains(&read.algorithm()) {
            return Err(Refused::Algorithm);
        }
        let (claims, keys) = issuer.verify(read)?;
        let end_s = issuer.check(&claims, now_s)?;
        let accepted = Arc::new(self.amounts_to(issuer, &claims)?);
        let remembered = Remembered {
            accepted: Arc::clone(&accepted),
            end_s,
            keys,
            issuer: position,
        };
        self.remembered.insert(hash, Arc::new(remembered));
        Ok(accepted)
    }

    /// Whether a token's issuer has the keys that it was verified with.
    fn holds(&self, known: &Remembered) -> bool {
        let issuer = self.issuers.get(known.issuer);
        let keys = issuer.and_then(Trusted::current);
        keys.is_some_and(|keys| Arc::ptr_eq(&keys, &known.keys))
    }

    fn amounts_to(&self, issuer: &Trusted, claims: &Claims) -> Result<Accepted, Refused> {
        let written = &issuer.written;
        let tenant = match &written.tenant {
            TenantOf::Id(id) => id.value.as_str(),
            TenantOf::Claim(path) => {
                let id = claims.text(path).map_err(|_| Refused::Claim("tenant"))?;
                id.ok_or(Refused::Claim("tenant"))?
            }
        };
        let tenant = self.tenants.get(tenant).ok_or(Refused::Tenant)?;
        let models = match &written.models_claim {
            Some(path) => claims.texts(path).map_err(|_| Refused::Claim("models"))?,
            None => None,
        };
        if models
            .as_ref()
            .is_some_and(|models| models.len() > MAX_MODELS)
        {
            return Err(Refused::Claim("models"));
        }
        let subject = claims.text("sub").map_err(|_| Refused::Claim("sub"))?;
        let subject = subject.unwrap_or_default();
        let limits = own_limits(written, claims, subject)?;
        let subject = shown(subject);
        Ok(Accepted {
            limits: limits.map(Arc::new),
            tenant: *tenant,
            masked: KeyHash::of(subject.as_bytes()).fingerprint().into(),
            subject: subject.into(),
            models: models.map(Arc::new),
        })
    }
}

/// The limits of a token. They are for its subject, so that it needs one.
fn own_limits(
    issuer: &Issuer,
    claims: &Claims,
    subject: &str,
) -> Result<Option<OwnLimits>, Refused> {
    let claim = issuer.limits_claim.as_ref();
    let Some(claim) = claim.and_then(|path| claims.get(path)) else {
        return Ok(None);
    };
    let rates = limits::read(claim).ok_or(Refused::Claim("limits"))?;
    if rates == RateLimits::default() {
        return Ok(None);
    }
    if subject.is_empty() {
        return Err(Refused::Claim("sub"));
    }
    Ok(Some(OwnLimits {
        issuer: issuer.issuer.value.clone(),
        subject: subject.to_owned(),
        rates,
    }))
}

impl Trusted {
    fn current(&self) -> Option<Arc<KeySet>> {
        match &self.keys {
            Keys::Here(keys) => Some(Arc::clone(keys)),
            Keys::At(remote) => remote.keys(),
        }
    }

    /// Verifies the signature. Gives what the token says, and the keys by which that is known.
    fn verify(&self, token: Token<'_>) -> Result<(Claims, Arc<KeySet>), Refused> {
        let remote = match &self.keys {
            Keys::At(remote) => Some(remote),
            Keys::Here(_) => None,
        };
        let keys = match (self.current(), remote) {
            (Some(keys), _) => keys,
            (None, Some(remote)) => return Err(Refused::NoKeys(Arc::clone(remote))),
            (None, None) => return Err(Refused::UnknownKey(None)),
        };
        let claims = token.verify(&keys).map_err(|unverified| match unverified {
            Unverified::NoKey => Refused::UnknownKey(remote.cloned()),
            Unverified::Signature => Refused::Signature,
        })?;
        Ok((claims, keys))
    }

    /// Checks issuer, audience and times. Gives the second from which on the token is not accepted any more.
    fn check(&self, claims: &Claims, now_s: i64) -> Result<i64, Refused> {
        let written = &self.written;
        if claims.text("iss") != Ok(Some(written.issuer.value.as_str())) {
            return Err(Refused::Issuer);
        }
        let audiences = audiences(claims)?;
        if !audiences.iter().any(|a| written.audiences.contains(a)) {
            return Err(Refused::Audience);
        }
        let leeway_s = i64::try_from(written.leeway.as_secs()).unwrap_or(i64::MAX);
        let second = |name| claims.second(name).map_err(|_| Refused::Claim(name));
        let end_s = second("exp")?.ok_or(Refused::Claim("exp"))?;
        let end_s = end_s.saturating_add(leeway_s);
        if now_s >= end_s {
            return Err(Refused::Expired);
        }
        let soonest_s = now_s.saturating_add(leeway_s);
        for name in ["nbf", "iat"] {
            if second(name)?.is_some_and(|start_s| start_s > soonest_s) {
                return Err(Refused::Early);
            }
        }
        Ok(end_s)
    }
}

/// `aud`: a text, or a list of texts. A text with spaces is one audience.
fn audiences(claims: &Claims) -> Result<Vec<String>, Refused> {
    match claims.text("aud") {
        Ok(Some(audience)) => Ok(vec![audience.to_owned()]),
        Ok(None) => Err(Refused::Claim("aud")),
        Err(_) => {
            let audiences = claims.texts("aud").map_err(|_| Refused::Claim("aud"))?;
            Ok(audiences.unwrap_or_default())
        }
    }
}

/// A subject as reports have it: one line, and not too long.
fn shown(subject: &str) -> String {
    let mut shown: String = subject.chars().filter(|c| !c.is_control()).collect();
    let end = (0..=MAX_SUBJECT_BYTES)
        .rev()
        .find(|at| shown.is_char_boundary(*at));
    shown.truncate(end.unwrap_or_default());
    shown
}

#[cfg(test)]
mod tests;
