//! Makes families of metrics: one name with labels.
//!
//! Owns nothing but the calls. Does not handle what is counted (see `metrics` and `tokens`). Fails on a
//! name or a label that Prometheus does not allow.

use prometheus::{Gauge, HistogramOpts, HistogramVec, IntCounterVec, Opts};

/// The label value for models, upstreams, paths and tenants that have no series of their own.
pub const OTHER: &str = "other";

/// Counters, one for each set of labels.
pub(super) fn counters(
    name: &str,
    help: &str,
    labels: &[&str],
) -> Result<IntCounterVec, prometheus::Error> {
    IntCounterVec::new(Opts::new(name, help), labels)
}

/// Histograms, one for each set of labels.
pub(super) fn histogram(
    name: &str,
    help: &str,
    buckets: &[f64],
    labels: &[&str],
) -> Result<HistogramVec, prometheus::Error> {
    let opts = HistogramOpts::new(name, help).buckets(buckets.to_vec());
    HistogramVec::new(opts, labels)
}

/// Which build this is: always 1, with the version as its label.
pub(super) fn build() -> Result<Gauge, prometheus::Error> {
    let help = "Always 1; the labels tell the build.";
    let opts = Opts::new("tollgate_build_info", help);
    let build = Gauge::with_opts(opts.const_label("version", env!("CARGO_PKG_VERSION")))?;
    build.set(1.0);
    Ok(build)
}
