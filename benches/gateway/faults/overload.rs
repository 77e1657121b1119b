//! More is asked of an upstream than it can serve.
//!
//! Owns the comparison of what is served at its capacity with what is served when four times as
//! much is asked, behind a bound on what it is asked at once.

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::exchange::Outcome;
use super::figure::{Figure, Group};
use super::load::{Load, Record};
use super::process::{Gateway, Mortal};
use super::provider::{AT_A_TIME, Manner, SLOWER, TAKES};
use super::{gateway, quantile, tell};
use crate::cpu::{Processes, machine_busy};
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
    /// Never sent, because too many were open.
    unsent: usize,
    /// What of the machine went to the gateway, to the client with the upstream, and to other
    /// programs: below 503s that come late there may lie a machine that has no more to give.
    cores: [f64; 3],
}

/// An upstream that serves 32 at a time.
pub async fn run(bench: &Workbench) -> Result<Group, String> {
    let upstream = Mortal::start(b'a', Manner::Crowded).await?;
    let settings =
        format!("max_concurrent: {AT_A_TIME}, queue: {{ length: {QUEUE}, wait: {WAIT:?} }}, ");
    let configuration = gateway(&[(upstream.port, settings.as_str())]);
    let gateway = Gateway::start(bench, "overload", &configuration).await?;
    let request: Bytes = scenario::short_chat("");
    let closed = Load::closed(gateway.port, &request, AT_A_TIME + QUEUE);
    let peak = measure(closed, &gateway).await?;
    let once = measure(Load::paced(gateway.port, &request, CAPACITY), &gateway).await?;
    let four = Load::paced(gateway.port, &request, CAPACITY * TIMES);
    let four = measure(four, &gateway).await?;
    Ok(Group {
        title: "More is asked than can be served",
        remark: format!(
            "An upstream that serves {AT_A_TIME} at a time in {} ms each, and gets slower by {} µs \
             for each that waits there; `max_concurrent: {AT_A_TIME}`, `queue: {{ length: {QUEUE}, \
             wait: {WAIT:?} }}`. At best it is {CAPACITY} requests a second.",
            TAKES.as_millis(),
            SLOWER.as_micros(),
        ),
        figures: figures(&peak, &once, &four),
    })
}

fn figures(peak: &Measured, once: &Measured, four: &Measured) -> Vec<Figure> {
    let a_second = |measured: &Measured| format!("{:.0}/s", measured.goodput);
    let connections = AT_A_TIME + QUEUE;
    let offered = CAPACITY * TIMES;
    let refused = &four.refused;
    let slowest = quantile(refused.iter().copied(), 0.99);
    let waited = refused.iter().filter(|took| **took >= WAIT).count();
    let [ours, ends, others] = four.cores.map(|cores| format!("{cores:.2}"));
    let failed = peak.failed + once.failed + four.failed;
    vec![
        Figure::told(
            format!("served in a closed loop over {connections} connections"),
            a_second(peak),
        ),
        Figure::told(format!("served of {CAPACITY}/s"), a_second(once)),
        Figure::told(format!("served of {offered}/s"), a_second(four)),
        Figure::share(
            format!("of {offered}/s, against the most of the others"),
            four.goodput / peak.goodput.max(once.goodput),
            LEAST_SHARE,
        ),
        Figure::count(format!("503s, of {offered}/s"), refused.len()),
        Figure::within("p99 of the 503s", slowest, REFUSED_WITHIN),
        Figure::count(format!("503s after {WAIT:?} and more"), waited),
        Figure::at_most("failed otherwise", failed, 0),
        Figure::count("not sent, too many being open", four.unsent),
        Figure::told("cores that the gateway took", ours),
        Figure::told("cores that the client and the upstream took", ends),
        Figure::told("cores that other programs took", others),
    ]
}

async fn measure(load: Load, gateway: &Gateway) -> Result<Measured, String> {
    tokio::time::sleep(WARM_UP).await;
    let processes = gateway.processes();
    // All that we have started are among them.
    let own = Processes::of(std::process::id());
    let from = Instant::now();
    let (busy, own_before, before) = (machine_busy(), own.cpu_time(), processes.cpu_time());
    tokio::time::sleep(MEASURED).await;
    let cpu = processes.cpu_time().since(&before);
    let ours = own.cpu_time().since(&own_before);
    let others = (machine_busy() - busy).saturating_sub(ours);
    let until = Instant::now();
    let measured = until - from;
    let cores = [cpu, ours.saturating_sub(cpu), others].map(|time| time.div_duration_f64(measured));
    let unsent = load.unsent();
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
        goodput: served as f64 / measured.as_secs_f64(),
        failed: records.len() - served - refused.len(),
        refused,
        unsent,
        cores,
    })
}
