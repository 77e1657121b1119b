//! More is asked of an upstream than it can serve.
//!
//! Owns the comparison of what is served at its capacity with what is served when four times as
//! much is asked, behind a bound on what it is asked at once.

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::exchange::Outcome;
use super::figure::{Figure, Group};
use super::load::{Load, Record};
use super::process::Gateway;
use super::provider::{AT_A_TIME, Manner, Provider, SLOWER, TAKES};
use super::{gateway, quantile, tell};
use crate::scenario;
use crate::servers::Workbench;

const QUEUE: usize = 32;
const WAIT: Duration = Duration::from_millis(100);
/// As many requests a second can be served, if no time is lost between them.
const CAPACITY: u32 = 1_600;
/// How many times that is asked.
const TIMES: u32 = 4;
const WARM_UP: Duration = Duration::from_secs(1);
const MEASURED: Duration = Duration::from_secs(5);
const LEAST_SHARE: f64 = 0.9;
const REFUSED_WITHIN: Duration = Duration::from_millis(50);

/// What was served, and how the others were sent away.
struct Measured {
    /// Requests that were served in a second.
    goodput: f64,
    /// The time to each 503.
    refused: Vec<Duration>,
    /// Neither of the two.
    failed: usize,
}

/// An upstream that serves 32 at a time.
pub async fn run(bench: &Workbench) -> Result<Group, String> {
    let upstream = Provider::new(b'a', Manner::Crowded);
    let port = upstream.start().await?;
    let settings =
        format!("max_concurrent: {AT_A_TIME}, queue: {{ length: {QUEUE}, wait: {WAIT:?} }}, ");
    let configuration = gateway(&[(port, settings.as_str())]);
    let gateway = Gateway::start(bench, "overload", &configuration).await?;
    let request: Bytes = scenario::short_chat("");
    let closed = Load::closed(gateway.port, &request, AT_A_TIME + QUEUE);
    let peak = measure(closed).await?;
    let once = measure(Load::paced(gateway.port, &request, CAPACITY)).await?;
    let four = measure(Load::paced(gateway.port, &request, CAPACITY * TIMES)).await?;
    let a_second = |measured: &Measured| format!("{:.0}/s", measured.goodput);
    let waited = four.refused.iter().filter(|took| **took >= WAIT).count();
    Ok(Group {
        title: "More is asked than can be served",
        remark: format!(
            "An upstream that serves {AT_A_TIME} at a time in {} ms each, and gets slower by {} µs \
             for each that waits there; `max_concurrent: {AT_A_TIME}`, `queue: {{ length: {QUEUE}, \
             wait: {WAIT:?} }}`. At best it is {CAPACITY} requests a second.",
            TAKES.as_millis(),
            SLOWER.as_micros(),
        ),
        figures: vec![
            Figure::told(
                format!(
                    "served in a closed loop over {} connections",
                    AT_A_TIME + QUEUE
                ),
                a_second(&peak),
            ),
            Figure::told(format!("served of {CAPACITY}/s"), a_second(&once)),
            Figure::told(format!("served of {}/s", CAPACITY * TIMES), a_second(&four)),
            Figure::share(
                "the latter against the most of the former",
                four.goodput / peak.goodput.max(once.goodput),
                LEAST_SHARE,
            ),
            Figure::count("503s", four.refused.len()),
            Figure::within(
                "p99 of the 503s",
                quantile(four.refused.iter().copied(), 0.99),
                REFUSED_WITHIN,
            ),
            Figure::count("503s after the wait in the queue", waited),
            Figure::at_most(
                "failed otherwise",
                peak.failed + once.failed + four.failed,
                0,
            ),
        ],
    })
}

async fn measure(load: Load) -> Result<Measured, String> {
    tokio::time::sleep(WARM_UP + MEASURED).await;
    let from = load.begun + WARM_UP;
    let until = Instant::now();
    let records = load.end().await?;
    let is_within = |record: &&Record| (from..until).contains(&record.ended());
    let records: Vec<&Record> = records.iter().filter(is_within).collect();
    let served = records.iter().filter(|r| r.served_by().is_some()).count();
    let is_refused = |record: &Record| matches!(record.outcome, Outcome::Refused(503, _));
    let refused = records.iter().filter(|record| is_refused(record));
    let refused: Vec<Duration> = refused.map(|record| record.took).collect();
    let others = records.iter().copied();
    tell(others.filter(|record| record.served_by().is_none() && !is_refused(record)));
    Ok(Measured {
        goodput: served as f64 / (until - from).as_secs_f64(),
        failed: records.len() - served - refused.len(),
        refused,
    })
}
