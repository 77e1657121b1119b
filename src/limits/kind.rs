//! The kinds of limits, and how long one has to wait for them.
//!
//! Owns their names and their windows. Does not handle their values (see `config::RateLimits` and `config::Quota`).
//! Cannot fail.

use std::time::Duration;

/// After how long a request may try again when only requests in flight are in its way: their end is not known.
pub(super) const IN_FLIGHT_RETRY: Duration = Duration::from_secs(1);

const SECOND_NANOS: u64 = 1_000_000_000;

/// What is limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LimitKind {
    /// Requests in a second.
    RequestsPerSecond,
    /// Requests in a minute.
    RequestsPerMinute,
    /// Requests in an hour.
    RequestsPerHour,
    /// Requests in a day of 24 hours.
    RequestsPerDay,
    /// Tokens in a minute.
    TokensPerMinute,
    /// Tokens in a day of 24 hours.
    TokensPerDay,
    /// Requests at a time.
    Concurrent,
    /// Tokens in the period of a quota.
    QuotaTokens,
    /// Nano-dollars in the period of a quota.
    QuotaMoney,
}

impl LimitKind {
    /// The name of its setting.
    pub fn name(self) -> &'static str {
        match self {
            Self::RequestsPerSecond => "requests_per_second",
            Self::RequestsPerMinute => "requests_per_minute",
            Self::RequestsPerHour => "requests_per_hour",
            Self::RequestsPerDay => "requests_per_day",
            Self::TokensPerMinute => "tokens_per_minute",
            Self::TokensPerDay => "tokens_per_day",
            Self::Concurrent => "concurrent",
            Self::QuotaTokens => "quota.tokens",
            Self::QuotaMoney => "quota.usd",
        }
    }

    /// Whether it is a quota, and no limit of a rate or of requests at a time.
    pub fn is_quota(self) -> bool {
        matches!(self, Self::QuotaTokens | Self::QuotaMoney)
    }

    /// Whether it is a rate of tokens.
    pub(super) fn is_token_rate(self) -> bool {
        matches!(self, Self::TokensPerMinute | Self::TokensPerDay)
    }

    /// The window of a rate; 0 for what is none.
    pub(super) fn window_nanos(self) -> u64 {
        match self {
            Self::RequestsPerSecond => SECOND_NANOS,
            Self::RequestsPerMinute | Self::TokensPerMinute => 60 * SECOND_NANOS,
            Self::RequestsPerHour => 3_600 * SECOND_NANOS,
            Self::RequestsPerDay | Self::TokensPerDay => 86_400 * SECOND_NANOS,
            Self::Concurrent | Self::QuotaTokens | Self::QuotaMoney => 0,
        }
    }
}
