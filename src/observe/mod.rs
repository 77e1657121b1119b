//! What the operator sees: metrics and logs.
//!
//! `metrics` counts requests, `shed` names what limits refuse, `attempts` counts attempts at upstreams, `tokens`
//! usage, `money` what it costs, `recording` records of the ledger, `reloads` of the
//! configuration, `webhooks` events for webhooks, `chats` lines of
//! the chat log, and `handshakes` TLS handshakes that fail. `families` makes counters and histograms. `states` has
//! the gauges of servers, targets and keys. `series_cache` keeps the counters of a kind of request,
//! and `initial_series` creates series at zero. `logging` sets up the log, `access` writes the line of a request,
//! and `masking` hides what a log must not hold. Does not handle requests (see `gateway`).

pub mod access;
pub mod attempts;
pub mod chats;
mod families;
pub mod handshakes;
pub mod initial_series;
pub mod log_interval;
pub mod logging;
pub mod masking;
pub mod metrics;
pub mod money;
pub mod recording;
pub mod reloads;
mod series_cache;
mod shed;
pub mod states;
pub mod tokens;
pub mod webhooks;
