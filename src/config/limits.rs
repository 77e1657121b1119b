//! Rate limits: of the whole gateway, of a tenant, of a key, of a model rule.
//!
//! Owns the keys of a `limits` mapping. Does not handle `server.limits`, which bounds what one connection
//! may cost (see `config::server::limits`), nor how a limit is kept (see `limits`). What cannot be read is
//! reported with its place.

/// How much may be asked in a time. `None` for no limit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RateLimits {
    /// Requests in a second.
    pub requests_per_second: Option<u64>,
    /// Requests in a minute.
    pub requests_per_minute: Option<u64>,
    /// Requests in an hour.
    pub requests_per_hour: Option<u64>,
    /// Requests in a day.
    pub requests_per_day: Option<u64>,
    /// Tokens of input and output in a minute.
    pub tokens_per_minute: Option<u64>,
    /// Tokens of input and output in a day.
    pub tokens_per_day: Option<u64>,
    /// Requests at a time.
    pub concurrent: Option<u32>,
    /// Tokens of output in a minute, at which streams are slowed down and not refused.
    pub stream_tokens_per_minute: Option<u64>,
    /// How the windows of the rates move.
    pub window: Window,
}

/// How the window of a rate moves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Window {
    /// The generic cell rate algorithm: steady, with a burst of one whole limit.
    #[default]
    Gcra,
    /// A sliding window: never more than the limit in any window.
    Sliding,
}
