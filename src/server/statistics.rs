//! The line of statistics, at its times.
//!
//! Owns the clock of it: `server.log.statistics` of the current snapshot, so that a reload changes it. Does not
//! handle what a line has (see `observe::statistics`). Cannot fail, and ends with the process.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::observe::statistics::{Statistics, Totals};
use crate::runtime::Shared;

/// Where there are no lines, how often it looks whether there are to be some.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// Writes lines until the process ends.
pub async fn write(shared: Arc<Shared>) {
    let mut statistics = Statistics::since(totals(&shared), Instant::now());
    loop {
        let every = shared.pin().settings.statistics;
        tokio::time::sleep(every.unwrap_or(LOOK_EVERY)).await;
        match every {
            Some(_) => statistics.write(totals(&shared), Instant::now()),
            None => statistics = Statistics::since(totals(&shared), Instant::now()),
        }
    }
}

fn totals(shared: &Shared) -> Totals {
    shared.metrics.totals(shared.in_flight())
}
