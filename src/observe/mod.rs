//! What the operator sees: metrics and logs.
//!
//! `metrics` counts requests, `shed` names what limits refuse, `attempts` counts attempts at upstreams, `tokens`
//! usage, `money` what it costs, `recording` records of the ledger, `reloads` of the
//! configuration, `webhooks` events for webhooks, `store` calls to the store of several nodes, `chats` lines of
//! the chat log, `handshakes` TLS handshakes that fail, `callers` callers that are refused, `cache` answers
//! that are used again, and `proxy_headers`
//! connections that are refused for their PROXY header. `families` makes counters and histograms. `states` has
//! the gauges of servers, targets and keys. `series_cache` keeps the counters of a kind of request,
//! and `initial_series` creates series at zero. `logging` is the log, `log_lines` counts lines that it loses, `access`
//! writes the line of a request, `statistics` that of a time, `log_interval` tells when something may be said again,
//! and `masking` hides what a log must not hold. Does not handle requests (see `gateway`).

pub mod access;
pub mod attempts;
pub mod cache;
pub mod callers;
pub mod chats;
mod families;
pub mod handshakes;
pub mod initial_series;
pub mod log_interval;
pub mod log_lines;
pub mod logging;
pub mod masking;
pub mod metrics;
pub mod money;
pub mod proxy_headers;
pub mod recording;
pub mod reloads;
mod series_cache;
mod shed;
pub mod states;
pub mod statistics;
pub mod store;
pub mod tokens;
pub mod webhooks;
