//! One scenario over all servers, in turns.
//!
//! Owns the order: every round gives each server one turn, and each round begins with another
//! server, so that what disturbs the machine for a while disturbs all alike. A turn opens new
//! connections, warms up over them, and measures. Also proves beforehand that each server does the
//! work that its row claims.

use std::sync::Arc;
use std::time::Duration;

use crate::cpu::{Processes, machine_busy};
use crate::load;
use crate::scenario::{MODEL, PROVIDER_KEY, SENT_MODEL, Scenario, TENANT_KEY};
use crate::servers::{Kind, Server, Workbench};
use crate::upstream::Upstream;
use crate::wire::Client;

/// Lines of an access log that wait in their queue are written by then.
const LOG_SETTLES: Duration = Duration::from_millis(300);

/// What one turn measured.
pub struct Turn {
    /// CPU time of the server for one request, in microseconds.
    pub cpu_us: f64,
    /// Requests a second.
    pub rate: f64,
    /// Half of the requests took no longer, in milliseconds.
    pub p50_ms: f64,
    /// All but one in a hundred took no longer, in milliseconds.
    pub p99_ms: f64,
    /// The share of the machine, from 0 to 1, that went to neither the server nor the benchmark.
    pub others: f64,
    /// The share of access lines that were not written, from 0 to 1.
    pub lines_lost: f64,
}

/// One server's turns.
pub struct Row {
    /// The server.
    pub kind: Kind,
    /// Its turns.
    pub turns: Vec<Turn>,
    /// The most memory that it had resident, in KiB.
    pub peak_kib: u64,
}

/// Runs a scenario on new servers.
pub async fn run(
    scenario: &Scenario,
    rounds: usize,
    bench: &Workbench,
    upstream: &Upstream,
) -> Result<Vec<Row>, String> {
    let mut servers = Vec::new();
    for kind in Kind::ALL {
        let server = Server::start(kind, bench, upstream.port)?;
        prove(&server, scenario, upstream).await?;
        servers.push(server);
    }
    let mut turns: Vec<Vec<Turn>> = servers.iter().map(|_| Vec::new()).collect();
    for round in 0..rounds {
        for place in 0..servers.len() {
            let index = (round + place) % servers.len();
            let server = &servers[index];
            let turn = take_turn(server, scenario).await.map_err(|e| {
                let (name, server) = (scenario.name, server.kind.title());
                format!("{name} through {server}: {e}")
            })?;
            turns[index].push(turn);
        }
    }
    let row = |(server, turns): (&Server, Vec<Turn>)| Row {
        kind: server.kind,
        turns,
        peak_kib: server.processes().peak_kib(),
    };
    Ok(servers.iter().zip(turns).map(row).collect())
}

async fn take_turn(server: &Server, scenario: &Scenario) -> Result<Turn, String> {
    let logs = server.kind == Kind::TollgateLogging;
    let clients = load::connect(server.port, scenario.connections).await?;
    let (clients, _) = load::drive(clients, &scenario.call, scenario.warm_up).await?;
    if logs {
        tokio::time::sleep(LOG_SETTLES).await;
        server.access_lines()?;
    }
    let processes = server.processes();
    let own = Processes::of(std::process::id());
    let (busy, own_before, before) = (machine_busy(), own.cpu_time(), processes.cpu_time());
    let (clients, measured) = load::drive(clients, &scenario.call, scenario.measured).await?;
    if logs {
        // What waits in the log's queue is the server's work, too.
        tokio::time::sleep(LOG_SETTLES).await;
    }
    let cpu = processes.cpu_time().since(&before);
    let ours = cpu + own.cpu_time().since(&own_before);
    let others = (machine_busy() - busy).saturating_sub(ours);
    drop(clients);
    let requests = measured.requests as f64;
    let lines_lost = match logs {
        true => 1.0 - server.access_lines()? as f64 / requests,
        false => 0.0,
    };
    let elapsed = measured.elapsed.as_secs_f64();
    let cores = std::thread::available_parallelism().map_or(1, usize::from) as f64;
    Ok(Turn {
        cpu_us: cpu.as_secs_f64() * 1e6 / requests,
        rate: requests / elapsed,
        p50_ms: measured.latency(0.50).as_secs_f64() * 1e3,
        p99_ms: measured.latency(0.99).as_secs_f64() * 1e3,
        others: others.as_secs_f64() / (elapsed * cores),
        lines_lost,
    })
}

/// Sends one request and checks what the upstream saw of it: tollgate must have swapped the key
/// and the model, the others must have passed both on.
async fn prove(server: &Server, scenario: &Scenario, upstream: &Upstream) -> Result<(), String> {
    upstream.watch(true);
    let mut client = Client::connect(server.port).await?;
    let answered = client.exchange(&Arc::clone(&scenario.call)).await;
    upstream.watch(false);
    let name = server.kind.title();
    answered.map_err(|e| format!("{name} does not serve {}: {e}", scenario.name))?;
    let (key, model) = match server.kind {
        Kind::Nginx | Kind::Passthrough => (TENANT_KEY, MODEL),
        Kind::Tollgate | Kind::TollgateLogging => (PROVIDER_KEY, SENT_MODEL),
    };
    let seen = upstream.seen();
    let has = |text: String| seen.contains(&text);
    match has(format!(": Bearer {key}\r\n")) && has(format!(r#""model":"{model}""#)) {
        true => Ok(()),
        false => Err(format!("{name} sent another key or model on: {seen}")),
    }
}
