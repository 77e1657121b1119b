//! What the operator sees: metrics and logs.
//!
//! `metrics` counts requests (`series` finds their counters again) and `trials` attempts, `condition` gauges how upstreams do, `logging` sets up the log, `access` writes the line of a request, `masking`
//! hides what a log must not hold. Refuses to know how a request is served.

pub mod access;
pub mod condition;
pub mod logging;
pub mod masking;
pub mod metrics;
mod series;
pub mod trials;
