//! Which target of a priority is asked first.
//!
//! Owns what each way of choosing goes by: weights, how fast targets have answered, what they are expected to cost,
//! and how many requests their upstreams serve. A conversation keeps its target whichever way that is. A target that
//! was out a moment ago, or of which too little is known, gets its share by weight and no more. Does not handle which
//! targets can be asked, or the order of priorities (see `plan` and `routing`). Cannot fail.

use std::time::{Duration, Instant};

use super::{Plan, Strictness};
use crate::clock;
use crate::config::Choose;
use crate::ids;
use crate::openai::estimate::BYTES_PER_TOKEN;
use crate::routing::{Lot, Offer, Target};

/// A target that was out gets no more than its share for so long.
const JUST_BACK: Duration = Duration::from_secs(30);
/// One request in so many goes by weight although another target is the fastest, to learn how fast the others are now.
const LOOKS_AGAIN: u64 = 20;

/// How much is asked and answered, by what is known of it before.
#[derive(Clone, Copy, Debug, Default)]
pub struct Expected {
    /// The bytes of the request.
    pub bytes: usize,
    /// The bound on the output, in tokens, where the request names one.
    pub max_output: Option<u64>,
    /// Whether a stream is wanted.
    pub is_stream: bool,
}

/// Why a target was chosen before its siblings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ground {
    /// Its conversation goes there.
    Conversation,
    /// It has got its share by weight: too little is known of it, it was out a moment ago, or it is looked at again.
    Share,
    /// It goes on with an answer that another upstream has begun.
    Continued,
    /// It is the best by what its rule goes by.
    Best(Choose),
}

impl Ground {
    /// Its word in the access line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Conversation => "conversation",
            Self::Share => "share",
            Self::Continued => "continued",
            Self::Best(by) => by.name(),
        }
    }
}

impl Plan<'_, '_> {
    /// The position of the target that is asked next, and why, where its rule says how to choose.
    pub(super) fn choose(&self, strictness: Strictness) -> Option<(usize, Option<Ground>)> {
        let now = Instant::now();
        let rule = self.current.rule;
        let can = |position| {
            self.last != Some(position)
                && !self.tried.contains(&position)
                && self.is_open(position, strictness, now)
        };
        match (self.steered_to, rule.choose) {
            (None, Choose::Weighted) => Some((rule.targets.choose(can)?, None)),
            (Some(number), by) => {
                let ground = (by != Choose::Weighted).then_some(Ground::Conversation);
                Some((rule.targets.choose_for(number, can)?, ground))
            }
            (None, by) => {
                let (position, lot) = self.choose_by(by, &can, now)?;
                let ground = match lot {
                    Lot::Least => Ground::Best(by),
                    Lot::Share => Ground::Share,
                };
                Some((position, Some(ground)))
            }
        }
    }

    fn choose_by(
        &self,
        by: Choose,
        can: &dyn Fn(usize) -> bool,
        now: Instant,
    ) -> Option<(usize, Lot)> {
        let is_fastest = by == Choose::Fastest;
        let cost = |position| self.cost(by, position).unwrap_or(f64::INFINITY);
        let is_known = |position| !self.is_just_back(position, now) && self.is_known(by, position);
        self.current.rule.targets.choose_least(&Offer {
            can,
            is_known: &is_known,
            cost: &cost,
            of_two: is_fastest,
            looks_again: is_fastest && ids::random_below(LOOKS_AGAIN) == 0,
        })
    }

    /// Whether a target, or what serves it, was out a moment ago.
    fn is_just_back(&self, position: usize, now: Instant) -> bool {
        let rule = self.current.rule;
        let breaker = rule.breaker(position);
        let upstream = rule
            .targets
            .get(position)
            .and_then(|t| self.runtime.upstream(t));
        breaker.is_some_and(|breaker| breaker.is_just_back(JUST_BACK, now))
            || upstream.is_some_and(|upstream| upstream.pool.is_just_back(JUST_BACK, now))
    }

    /// Whether enough is known of a target. What has no price is known to have none, and comes last.
    fn is_known(&self, by: Choose, position: usize) -> bool {
        by != Choose::Fastest || self.cost(by, position).is_some()
    }

    /// What is compared: seconds, nano-dollars, or requests for each unit of weight.
    fn cost(&self, by: Choose, position: usize) -> Option<f64> {
        let rule = self.current.rule;
        let target = rule.targets.get(position)?;
        match by {
            Choose::Weighted => None,
            Choose::Fastest => rule.speed(position)?.expected(self.expected.is_stream),
            Choose::Cheapest => self.price(target),
            Choose::LeastBusy => {
                let serving = self.runtime.upstream(target)?.pool.in_flight();
                Some(serving as f64 / f64::from(target.weight.max(1)))
            }
        }
    }

    /// What the request is expected to cost at a target, in nano-dollars.
    fn price(&self, target: &Target) -> Option<f64> {
        let upstream = self.runtime.upstream(target)?;
        let usual = self.rule.output.usual();
        let output = self
            .expected
            .max_output
            .map_or(usual, |most| most.min(usual));
        let input = self.expected.bytes as u64 / BYTES_PER_TOKEN;
        let model = self.key_use(target).model;
        let now = clock::timestamp();
        let prices = &self.runtime.metering;
        let cost = prices.expected_cost((&upstream.name, model), (input, output), now)?;
        Some(cost as f64)
    }
}
