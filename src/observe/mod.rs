//! What the operator sees: metrics and logs.
//!
//! `metrics` counts requests (`families` makes counters and histograms, `series` finds them again), `attempts` attempts, `tokens` what was
//! used, `chats` lines of the chat log and `handshakes` TLS that fails; `zeros` has series begin before
//! they are needed; `condition` gauges how upstreams do, `logging` sets up the log, `access` writes the line of a request, `masking` hides what a log must not hold. Refuses to
//! know how a request is served.

pub mod access;
pub mod attempts;
pub mod chats;
mod families;
pub mod handshakes;
pub mod logging;
pub mod masking;
pub mod metrics;
mod series;
pub mod states;
pub mod tokens;
pub mod zeros;
