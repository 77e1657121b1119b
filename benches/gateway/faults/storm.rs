//! All upstreams fail, and are not to be asked much more often because of it.

use std::time::Duration;

use super::exchange::Outcome;
use super::figure::{self, Figure, Group};
use super::load::Load;
use super::process::Gateway;
use super::provider::{Manner, Provider};
use super::{gateway, quantile};
use crate::scenario;
use crate::servers::Workbench;

const RATE: u32 = 200;
const LASTS: Duration = Duration::from_secs(10);
/// `retries.budget_percent`, `budget_floor` and `budget_window`, as they come.
const PERCENT: usize = 20;
const FLOOR: usize = 10;
const WINDOW: Duration = Duration::from_secs(10);

/// Two upstreams that answer with 500.
pub async fn run(bench: &Workbench) -> Result<Group, String> {
    let upstreams = [b'a', b'b'].map(|name| Provider::new(name, Manner::Fails));
    let ports = [upstreams[0].start().await?, upstreams[1].start().await?];
    let configuration = gateway(&ports.map(|port| (port, "")));
    let gateway = Gateway::start(bench, "storm", &configuration).await?;
    let load = Load::paced(gateway.port, &scenario::short_chat(""), RATE);
    tokio::time::sleep(LASTS).await;
    let records = load.end().await?;
    // Those of the window, and one more: it slides, and may begin before the load.
    let windows = LASTS.div_duration_f64(WINDOW).ceil() as usize + 1;
    let requests = records.len();
    let limit = requests + requests * PERCENT / 100 + FLOOR * windows * upstreams.len();
    let attempts: usize = upstreams.iter().map(|upstream| upstream.asked()).sum();
    let told = |status| {
        let is_told = |outcome: &Outcome| matches!(outcome, Outcome::Refused(s, _) if *s == status);
        records.iter().filter(|r| is_told(&r.outcome)).count()
    };
    let slowest = quantile(records.iter().map(|record| record.took), 0.99);
    let slowest = slowest.map_or_else(String::new, figure::in_words);
    Ok(Group {
        title: "All upstreams fail",
        remark: format!(
            "{RATE} requests a second for {LASTS:?}; both of two upstreams answer with 500 at once. \
             No more than {PERCENT} % of the requests may be tried again, and {FLOOR} for each \
             upstream in each of {windows} windows."
        ),
        figures: vec![
            Figure::count("requests", requests),
            Figure::at_most("attempts at the upstreams", attempts, limit),
            Figure::told(
                "attempts for each request",
                format!("{:.3}", attempts as f64 / requests as f64),
            ),
            Figure::count("requests that got the upstream's 500", told(500)),
            Figure::told("p99 of the answers", slowest),
        ],
    })
}
