//! The faults of a provider key: how they are shown, how long they last, and for which tenants.
//!
//! Owns the state machine of a cooldown. Its rules stand as a table in docs/reference/failover.md,
//! "Keys". Does not handle whether the whole key or one model of it has the fault (see `cooldown`), and
//! does not read answers (see `openai/verdict` and `openai/ratelimit`). Cannot fail. Its size is fixed
//! but for the ids of a tenant and of a request.

use std::time::{Duration, Instant};

/// A refusal whose code names no fault of the key counts when as many requests have met it.
const PLAIN_REFUSALS: u32 = 2;
/// Evidence that is older does not count.
pub(super) const MEMORY: Duration = Duration::from_secs(600);
/// The cooldown after a code that names a fault of the key.
pub(super) const NAMED_REFUSAL: Duration = Duration::from_secs(600);
/// The first cooldown after plain refusals; it doubles up to `NAMED_REFUSAL`.
pub(super) const PLAIN_REFUSAL: Duration = Duration::from_secs(60);
/// The longest cooldown after a refusal where no other key can be used.
const LAST_KEY: Duration = Duration::from_secs(60);
/// After a refusal one request tries the key again; for this long no other request uses it.
pub(super) const TRIAL: Duration = Duration::from_secs(5);
/// The first cooldown after a rate limit without a time; it doubles up to `LONGEST_UNTOLD`.
const FIRST_UNTOLD: Duration = Duration::from_secs(1);
const LONGEST_UNTOLD: Duration = Duration::from_secs(30);

/// What is wrong with a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It has sent more than its rate limit.
    RateLimited,
    /// The provider refuses it.
    Refused,
    /// Its account has no credit left.
    OutOfCredit,
}

impl Fault {
    /// Its name in metrics and tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::RateLimited => "cooling_down",
            Self::Refused => "refused",
            Self::OutOfCredit => "out_of_credit",
        }
    }
}

/// What an answer has shown of a key.
#[derive(Clone, Copy, Debug)]
pub struct Finding<'a> {
    /// What is wrong with it.
    pub fault: Fault,
    /// Whether the answer names a fault of the key as a whole.
    pub is_named: bool,
    /// How long the provider asks us to wait, where it does.
    pub told: Option<Duration>,
    /// The id of the request that met the fault.
    pub request: &'a str,
    /// When the request was sent.
    pub asked: Instant,
}

/// The bounds of a cooldown.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// The longest one after a rate limit, whatever the provider asks for.
    pub longest: Duration,
    /// Whether no other key of the upstream can be used.
    pub is_last: bool,
}

/// How a key, or a key with one model, is shown to the operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// `ready`, `exhausted`, `trial` or the name of a fault.
    pub state: &'static str,
    /// The time that is left of its cooldown.
    pub left: Option<Duration>,
    /// The tenant, where it holds for that one alone.
    pub tenant: Option<String>,
}

/// Faults, of a whole key or of a key with one model.
#[derive(Debug, Default)]
pub(super) struct Standing {
    cooldown: Option<Cooldown>,
    suspicion: Option<Suspicion>,
    /// Cooldowns since it has served.
    strikes: u32,
}

/// Plain refusals since it has served.
#[derive(Debug)]
struct Suspicion {
    /// The tenant that met the first.
    tenant: Box<str>,
    /// The request that met the last, and when.
    request: Box<str>,
    at: Instant,
    /// By how many requests they were met.
    requests: u32,
}

#[derive(Debug)]
struct Cooldown {
    fault: Fault,
    since: Instant,
    /// The tenant whose requests have shown the longest time, and when that ends.
    tenant: Box<str>,
    until: Instant,
    /// When it ends for all other tenants: two tenants have met a fault that lasts as long. `None`
    /// if one tenant alone has met it.
    for_all: Option<Instant>,
    /// Until then one request tries the key, and no other uses it.
    trial: Option<Instant>,
}

impl Standing {
    /// Whether there is no state to keep.
    pub(super) fn is_empty(&self) -> bool {
        self.cooldown.is_none() && self.suspicion.is_none() && self.strikes == 0
    }

    /// The time that is left of a cooldown for a tenant, and the fault.
    pub(super) fn cooling(&self, tenant: &str, now: Instant) -> Option<(Duration, Fault)> {
        let cooldown = self.cooldown.as_ref()?;
        let end = cooldown.end(tenant)?.max(cooldown.trial.unwrap_or(now));
        (end > now).then(|| (end - now, cooldown.fault))
    }

    /// When the cooldown of a tenant ends, if it has this fault.
    pub(super) fn end_for(&self, tenant: &str, fault: Fault, now: Instant) -> Option<Instant> {
        let cooldown = self.cooldown.as_ref()?;
        let end = cooldown.end(tenant).filter(|end| *end > now)?;
        (cooldown.fault == fault).then_some(end)
    }

    /// When its cooldown ends for the last tenant.
    pub(super) fn until(&self) -> Option<Instant> {
        Some(self.cooldown.as_ref()?.until)
    }

    /// A request is about to use the key. After a refusal it is the trial.
    pub(super) fn begin(&mut self, tenant: &str, now: Instant) {
        if let Some(cooldown) = &mut self.cooldown
            && cooldown.fault != Fault::RateLimited
            && cooldown.end(tenant).is_some()
        {
            cooldown.trial = Some(now + TRIAL);
        }
    }

    /// The key has served a request that was sent at `asked`.
    pub(super) fn served(&mut self, asked: Instant) {
        self.suspicion = None;
        self.strikes = 0;
        // An answer to a request that was sent before the cooldown shows nothing of it; and a rate
        // limit lasts as long as its provider says.
        self.cooldown.take_if(|cooldown| {
            cooldown.fault != Fault::RateLimited && cooldown.since <= asked
                || cooldown.fault == Fault::RateLimited && cooldown.until <= asked
        });
    }

    /// Notes what an answer to a tenant has shown. Returns the length of the cooldown; `None` where
    /// that is not enough evidence for one.
    pub(super) fn note(
        &mut self,
        tenant: &str,
        finding: &Finding<'_>,
        bounds: Bounds,
        now: Instant,
    ) -> Option<Duration> {
        let fault = finding.fault;
        let is_plain = fault != Fault::RateLimited && !finding.is_named;
        if is_plain && !self.is_confirmed(tenant, finding, now) {
            return None;
        }
        // A request that was in flight when a cooldown began belongs to that cooldown.
        let cooldown = self.cooldown.as_ref();
        if cooldown.is_none_or(|cooldown| finding.asked >= cooldown.since) {
            self.strikes = self.strikes.saturating_add(1);
        }
        let before = self.strikes.saturating_sub(1);
        let time = match fault {
            Fault::RateLimited => {
                let untold = || doubled(FIRST_UNTOLD, before).min(LONGEST_UNTOLD);
                finding.told.unwrap_or_else(untold).min(bounds.longest)
            }
            _ if finding.is_named => NAMED_REFUSAL,
            _ => doubled(PLAIN_REFUSAL, before).min(NAMED_REFUSAL),
        };
        let time = match fault != Fault::RateLimited && bounds.is_last {
            true => time.min(LAST_KEY),
            false => time,
        };
        let first = self.suspicion.as_ref().filter(|_| is_plain);
        let first = first.map(|first| first.tenant.clone());
        self.cool(tenant, fault, now + time, now);
        if let Some(first) = first {
            self.cool(&first, fault, now + time, now);
        }
        Some(time)
    }

    /// Notes a plain refusal. Returns whether enough requests have met one.
    fn is_confirmed(&mut self, tenant: &str, finding: &Finding<'_>, now: Instant) -> bool {
        let is_old = |suspicion: &mut Suspicion| now - suspicion.at > MEMORY;
        self.suspicion.take_if(is_old);
        let suspicion = self.suspicion.get_or_insert_with(|| Suspicion {
            tenant: tenant.into(),
            request: "".into(),
            at: now,
            requests: 0,
        });
        if *suspicion.request != *finding.request {
            suspicion.request = finding.request.into();
            suspicion.at = now;
            suspicion.requests = suspicion.requests.saturating_add(1);
        }
        suspicion.requests >= PLAIN_REFUSALS
    }

    /// Begins or extends a cooldown that a tenant's request has shown. The later end wins.
    pub(super) fn cool(&mut self, tenant: &str, fault: Fault, until: Instant, now: Instant) {
        match &mut self.cooldown {
            Some(cooldown) => cooldown.extend(tenant, fault, until, now),
            None => {
                self.cooldown = Some(Cooldown {
                    fault,
                    since: now,
                    tenant: tenant.into(),
                    until,
                    for_all: None,
                    trial: None,
                });
            }
        }
    }

    /// How it is shown to the operator, during a cooldown or before a trial.
    pub(super) fn shown(&self, now: Instant) -> Option<Shown> {
        let cooldown = self.cooldown.as_ref()?;
        let end = cooldown.until.max(cooldown.trial.unwrap_or(now));
        let is_over = end <= now;
        let is_shared = cooldown
            .for_all
            .is_some_and(|end| end > now || cooldown.until <= now);
        let state = match (is_over, cooldown.fault) {
            (true, Fault::RateLimited) => return None,
            (true, _) => "trial",
            (false, fault) => fault.name(),
        };
        Some(Shown {
            state,
            left: (!is_over).then(|| end - now),
            tenant: (!is_shared).then(|| cooldown.tenant.to_string()),
        })
    }
}

impl Cooldown {
    /// When it ends for a tenant; `None` if that tenant has none.
    fn end(&self, tenant: &str) -> Option<Instant> {
        match *self.tenant == *tenant {
            true => Some(self.until),
            false => self.for_all,
        }
    }

    fn extend(&mut self, tenant: &str, fault: Fault, until: Instant, now: Instant) {
        self.trial = None;
        let is_same = *self.tenant == *tenant;
        if until <= self.until {
            if !is_same {
                self.for_all = self.for_all.max(Some(until));
            }
            return;
        }
        if !is_same {
            if self.until > now {
                self.for_all = self.for_all.max(Some(self.until));
            }
            self.tenant = tenant.into();
        }
        (self.fault, self.since, self.until) = (fault, now, until);
    }
}

impl Shown {
    pub(super) fn ready() -> Self {
        Self {
            state: "ready",
            left: None,
            tenant: None,
        }
    }
}

fn doubled(first: Duration, strikes: u32) -> Duration {
    first.saturating_mul(1 << strikes.min(10))
}
