//! What clients notice when providers fail.
//!
//! Owns the order of these scenarios, the gateway's configuration in them, and the words of their
//! section in the report. Each has a gateway and providers of its own:
//!
//! ```text
//! outage     one of two upstreams is killed        load       requests at a rate, or in a loop
//! storm      all fail                              exchange   one of them, whatever comes of it
//! overload   more is asked than can be served      provider   the providers that fail
//! figure     measured, target, verdict             process    gateways, and providers to kill
//! ```
//!
//! A figure that misses its target is reported, and ends nothing; only a process that does not start
//! does.

mod exchange;
mod figure;
mod load;
mod outage;
mod overload;
mod process;
mod provider;
mod storm;

use std::fmt::Write;
use std::time::Duration;

use crate::names::{MODEL, PROVIDER_KEY, TENANT_KEY};
use crate::servers::{WORKERS, Workbench};
use exchange::Outcome;
pub use figure::Group;
use load::Record;
pub use process::serve_if_told;

const INTRODUCTION: &str = "\
    What clients notice of them; everything is at its default but what is said. Requests are sent \
    at a fixed rate, whatever becomes of those before them, and none is sent twice by the client. \
    Client, gateway and upstreams share this machine, and only Tollgate is measured.";
/// As many failures are told in full.
const TOLD: usize = 3;

/// Runs all.
pub async fn run(bench: &Workbench) -> Result<Vec<Group>, String> {
    let mut groups = Vec::new();
    eprintln!("an upstream is killed …");
    groups.push(outage::streams(bench).await?);
    groups.push(outage::whole_answers(bench).await?);
    eprintln!("all upstreams fail …");
    groups.push(storm::run(bench).await?);
    eprintln!("an upstream is asked too much …");
    groups.push(overload::run(bench).await?);
    Ok(groups)
}

/// The section of the report.
pub fn section(groups: &[Group]) -> String {
    format!(
        "## Failing providers\n\n{}\n\n{}",
        figure::wrapped(INTRODUCTION),
        figure::tables(groups)
    )
}

/// A gateway before upstreams with these ports and settings, each with the same weight.
fn gateway(upstreams: &[(u16, &str)]) -> String {
    let mut entries = String::new();
    let mut targets = String::new();
    for (number, (port, settings)) in upstreams.iter().enumerate() {
        let _ = writeln!(
            entries,
            "  provider-{number}: {{ {settings}base_url: \"http://127.0.0.1:{port}/v1\", \
             keys: [{PROVIDER_KEY}] }}"
        );
        let _ = write!(targets, "{{ upstream: provider-{number}, weight: 1 }}, ");
    }
    format!(
        "server:
  listen: [{{ address: \"127.0.0.1:0\" }}]
  admin: off
  threads: {WORKERS}
upstreams:
{entries}models:
  - match: {MODEL}
    targets: [{targets}]
tenants:
  - id: bench
    keys: [{TENANT_KEY}]
"
    )
}

/// Says what the first of some failures were.
fn tell<'a>(failures: impl Iterator<Item = &'a Record>) {
    for record in failures.take(TOLD) {
        let why = match &record.outcome {
            Outcome::Served(_) => continue,
            Outcome::Broken(text) | Outcome::Refused(_, text) | Outcome::Nothing(text) => text,
        };
        eprintln!("failed after {:?}: {why}", record.took);
    }
}

/// The time within which a share of the requests, from 0 to 1, had ended.
fn quantile(times: impl Iterator<Item = Duration>, share: f64) -> Option<Duration> {
    let mut sorted: Vec<Duration> = times.collect();
    sorted.sort_unstable();
    let last = sorted.len().checked_sub(1)?;
    sorted.get((last as f64 * share).round() as usize).copied()
}
