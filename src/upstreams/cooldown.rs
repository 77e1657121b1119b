//! The state of one provider key: for which requests it can be used now.
//!
//! Owns the state of the key as a whole, and of the key with each model, within a bound. What an answer
//! shows counts against the key with that model; it counts against the whole key only where an error
//! code names the key, or where several models show it. Does not handle how long a fault lasts and for
//! which tenants (see `standing`), or the choice among keys (see `keys`). Cannot fail.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustc_hash::FxHashMap;

use super::standing::{Bounds, Fault, Finding, MEMORY, Shown, Standing};
use crate::openai::ratelimit::{Allowance, Headroom};

/// The state of as many models of one key is kept.
const MAX_MODELS: usize = 64;
/// The state of a model whose name is longer is not kept.
const MAX_MODEL_BYTES: usize = 256;
/// When as many models have the same fault at once, the whole key has it.
const SEVERAL_MODELS: usize = 3;

/// What a key is wanted for.
#[derive(Clone, Copy, Debug)]
pub struct KeyUse<'a> {
    /// The model that the upstream is asked for.
    pub model: &'a str,
    /// The id of the tenant that asks.
    pub tenant: &'a str,
}

/// A cooldown that has begun or become longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cooled {
    /// Its length, from now.
    pub time: Duration,
    /// Whether it holds for the whole key, and not for the one model alone.
    pub is_whole: bool,
}

/// Whether a key can be used now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// It can be used.
    Ready,
    /// Nothing is left of its allowance, as its provider reports it; that may be wrong.
    Exhausted,
    /// It is cooling down: the time that is left, and the fault.
    Cooling(Duration, Fault),
}

/// The state of a key; it outlives a snapshot.
#[derive(Debug, Default)]
pub struct KeyState {
    /// Whether there is any state. Nearly always there is none, and no lock is taken.
    is_remarkable: AtomicBool,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    whole: Standing,
    models: FxHashMap<Box<str>, Model>,
    /// When all of it is over and can be dropped.
    over: Option<Instant>,
}

/// The state of a key with one model.
#[derive(Debug, Default)]
struct Model {
    standing: Standing,
    requests: Option<Learnt>,
    tokens: Option<Learnt>,
}

/// What is left of an allowance: what the provider reported last, less what was sent since.
#[derive(Clone, Copy, Debug)]
struct Learnt {
    left: u64,
    until: Instant,
}

impl KeyState {
    /// Whether the key can be used.
    pub fn readiness(&self, wanted: KeyUse<'_>, now: Instant) -> Readiness {
        if !self.is_remarkable.load(Ordering::Relaxed) {
            return Readiness::Ready;
        }
        self.known.lock().readiness(wanted, now)
    }

    /// Begins a use: takes about as many tokens of what is left, and the trial where one is due.
    /// `false` where another request has taken it first.
    pub fn begin(&self, wanted: KeyUse<'_>, tokens: u64, now: Instant) -> bool {
        if !self.is_remarkable.load(Ordering::Relaxed) {
            return true;
        }
        let mut known = self.known.lock();
        if known.over.is_some_and(|over| over <= now) {
            *known = Known::default();
            self.is_remarkable.store(false, Ordering::Relaxed);
            return true;
        }
        if matches!(known.readiness(wanted, now), Readiness::Cooling(..)) {
            return false;
        }
        known.whole.begin(wanted.tenant, now);
        if let Some(model) = known.models.get_mut(wanted.model) {
            model.standing.begin(wanted.tenant, now);
            for (learnt, amount) in [(&mut model.requests, 1), (&mut model.tokens, tokens)] {
                if let Some(known) = learnt {
                    known.left = known.left.saturating_sub(amount);
                }
            }
        }
        true
    }

    /// It has served a request that was sent at `asked`. What its provider reports of its allowance
    /// counts from now on, for `longest` at most.
    pub fn served(
        &self,
        wanted: KeyUse<'_>,
        asked: Instant,
        headroom: &Headroom,
        longest: Duration,
    ) {
        if headroom.is_empty() && !self.is_remarkable.load(Ordering::Relaxed) {
            return;
        }
        let mut known = self.known.lock();
        known.whole.served(asked);
        if let Some(model) = known.models.get_mut(wanted.model) {
            model.standing.served(asked);
            if headroom.is_empty() && model.is_empty() {
                known.models.remove(wanted.model);
            }
        }
        known.learn(wanted.model, headroom, longest, Instant::now());
        let is_remarkable = !known.whole.is_empty() || !known.models.is_empty();
        // Under the lock, like all that sets it: what has just been noted must stay visible.
        self.is_remarkable.store(is_remarkable, Ordering::Relaxed);
    }

    /// Notes what an answer has shown. Returns the cooldown that follows; `None` where one request
    /// is not enough evidence for one.
    pub fn note(
        &self,
        wanted: KeyUse<'_>,
        finding: &Finding<'_>,
        bounds: Bounds,
        now: Instant,
    ) -> Option<Cooled> {
        let mut known = self.known.lock();
        if known.over.is_some_and(|over| over <= now) {
            *known = Known::default();
        }
        let cooled = known.note(wanted, finding, bounds, now);
        let over = now + MEMORY + cooled.map_or(Duration::ZERO, |cooled| cooled.time);
        known.over = known.over.max(Some(over));
        self.is_remarkable.store(true, Ordering::Relaxed);
        cooled
    }

    /// The state of the whole key, for the tenant for which it is worst.
    pub fn shown(&self, now: Instant) -> Shown {
        let known = self.known.lock();
        known.whole.shown(now).unwrap_or_else(Shown::ready)
    }

    /// The state with each model with which it is not ready, by name.
    pub fn shown_models(&self, now: Instant) -> Vec<(String, Shown)> {
        let known = self.known.lock();
        let models = known.models.iter();
        let mut shown: Vec<_> = models
            .filter_map(|(name, model)| Some((name.to_string(), model.shown(now)?)))
            .collect();
        shown.sort_by(|(one, _), (other, _)| one.cmp(other));
        shown
    }
}

impl Known {
    fn readiness(&self, wanted: KeyUse<'_>, now: Instant) -> Readiness {
        let model = self.models.get(wanted.model);
        let standings = [Some(&self.whole), model.map(|model| &model.standing)];
        let cooling = standings
            .into_iter()
            .flatten()
            .filter_map(|standing| standing.cooling(wanted.tenant, now))
            .max_by_key(|(left, _)| *left);
        match (cooling, model) {
            (Some((left, fault)), _) => Readiness::Cooling(left, fault),
            (None, Some(model)) if model.is_dry(now) => Readiness::Exhausted,
            _ => Readiness::Ready,
        }
    }

    fn note(
        &mut self,
        wanted: KeyUse<'_>,
        finding: &Finding<'_>,
        bounds: Bounds,
        now: Instant,
    ) -> Option<Cooled> {
        let tenant = wanted.tenant;
        if finding.is_named {
            let time = self.whole.note(tenant, finding, bounds, now)?;
            let is_whole = true;
            return Some(Cooled { time, is_whole });
        }
        let model = self.make_room(wanted.model)?;
        let time = model.standing.note(tenant, finding, bounds, now)?;
        let models = self.models.values();
        let ends = models.filter_map(|model| model.standing.end_for(tenant, finding.fault, now));
        let (models, first_end) = ends.fold((0, None), |(count, first), end| {
            (
                count + 1,
                Some(first.map_or(end, |first: Instant| first.min(end))),
            )
        });
        let several = first_end.filter(|_| models >= SEVERAL_MODELS);
        let Some(until) = several else {
            let is_whole = false;
            return Some(Cooled { time, is_whole });
        };
        self.whole.cool(tenant, finding.fault, until, now);
        Some(Cooled {
            time: until - now,
            is_whole: true,
        })
    }

    fn learn(&mut self, model: &str, headroom: &Headroom, longest: Duration, now: Instant) {
        if headroom.is_empty() {
            return;
        }
        let learnt = |allowance: Option<Allowance>| {
            let allowance = allowance?;
            Some(Learnt {
                left: allowance.remaining,
                until: now + allowance.resets_in?.min(longest),
            })
        };
        let (requests, tokens) = (learnt(headroom.requests), learnt(headroom.tokens));
        let ends = [requests, tokens].map(|learnt| learnt.map(|learnt| learnt.until));
        let [one, other] = ends;
        let has_room = self.models.len() < MAX_MODELS && model.len() <= MAX_MODEL_BYTES;
        let known = match self.models.get_mut(model) {
            Some(known) => known,
            // An allowance never replaces a cooldown.
            None if has_room && one.max(other).is_some() => {
                self.models.entry(model.into()).or_default()
            }
            None => return,
        };
        (known.requests, known.tokens) = (requests, tokens);
        self.over = self.over.max(one).max(other);
    }

    /// The state of a model. Where the bound is reached, the state that ends first is dropped; the
    /// next request that meets the fault shows it again.
    fn make_room(&mut self, model: &str) -> Option<&mut Model> {
        if model.len() > MAX_MODEL_BYTES {
            return None;
        }
        if self.models.len() >= MAX_MODELS && !self.models.contains_key(model) {
            let first = self.models.iter().min_by_key(|(_, model)| model.end());
            let first = first.map(|(name, _)| name.clone());
            first.and_then(|name| self.models.remove(&name));
        }
        Some(self.models.entry(model.into()).or_default())
    }
}

impl Model {
    fn is_empty(&self) -> bool {
        self.standing.is_empty() && self.requests.is_none() && self.tokens.is_none()
    }

    fn is_dry(&self, now: Instant) -> bool {
        let learnt = [self.requests, self.tokens].into_iter().flatten();
        learnt
            .into_iter()
            .any(|learnt| learnt.left == 0 && learnt.until > now)
    }

    /// When its state is over; `None` where no time is known.
    fn end(&self) -> Option<Instant> {
        let learnt = [self.requests, self.tokens].into_iter().flatten();
        let ends = learnt.map(|learnt| learnt.until);
        ends.chain(self.standing.until()).max()
    }

    fn shown(&self, now: Instant) -> Option<Shown> {
        let exhausted = || {
            self.is_dry(now).then(|| Shown {
                state: "exhausted",
                ..Shown::ready()
            })
        };
        self.standing.shown(now).or_else(exhausted)
    }
}

#[cfg(test)]
mod tests;
