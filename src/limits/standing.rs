//! How the rates of a tenant and its key stand, for the headers of an answer.
//!
//! Owns which of several rates is told. Does not handle the headers (see `gateway`). Cannot fail.

use std::time::Duration;

use super::kind::LimitKind;

/// The tightest rates of requests and of tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// The rate of requests with the fewest left; `None` where there is none.
    pub requests: Option<RateStanding>,
    /// The rate of tokens with the fewest left; `None` where there is none.
    pub tokens: Option<RateStanding>,
}

/// How one rate stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateStanding {
    /// Which rate it is.
    pub kind: LimitKind,
    /// How much passes in a window.
    pub limit: u64,
    /// How much would be admitted at once.
    pub remaining: u64,
    /// Until the whole limit would be, if nothing else came.
    pub reset: Duration,
}

impl Standing {
    /// Takes one more rate into account.
    pub(super) fn add(&mut self, rate: RateStanding) {
        let place = if rate.kind.is_token_rate() {
            &mut self.tokens
        } else {
            &mut self.requests
        };
        let is_tighter = place.is_none_or(|told| {
            rate.remaining < told.remaining
                || (rate.remaining == told.remaining && rate.reset > told.reset)
        });
        if is_tighter {
            *place = Some(rate);
        }
    }

    /// `None` if there is nothing to tell.
    pub(super) fn told(self) -> Option<Self> {
        (self.requests.is_some() || self.tokens.is_some()).then_some(self)
    }
}
