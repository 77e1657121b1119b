//! One scenario over all servers, in turns.
//!
//! Owns the order: every round gives each server one turn, and each round begins with another
//! server, so that what disturbs the machine for a while disturbs all alike. Rounds during which
//! other programs were busy are repeated, up to a bound. A turn opens new connections, warms up over
//! them, and measures. Also proves beforehand that each server does the work that its row claims.

use std::time::{Duration, Instant};

use crate::cpu::{Processes, machine_busy};
use crate::load;
use crate::names::{MODEL, PROVIDER_KEY, SENT_MODEL, TENANT_KEY};
use crate::scenario::{Scenario, Unit};
use crate::servers::{Kind, Server, Workbench};
use crate::upstream::Upstream;
use crate::wire::Client;

/// A round is repeated when other programs took more of the machine than this share of it.
pub const QUIET: f64 = 0.05;

/// How many rounds may be repeated.
pub fn repeated(rounds: usize) -> usize {
    rounds / 3
}

/// Lines of an access log that wait in their queue are written by then.
const LOG_SETTLES: Duration = Duration::from_millis(300);

/// What one turn measured.
pub struct Turn {
    kind: Kind,
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
    for kind in bench.with_baseline(scenario.kinds) {
        let server = Server::start(kind, bench, upstream.port)?;
        prove(&server, scenario, upstream).await?;
        servers.push(server);
    }
    let mut all = Vec::new();
    let mut quiet = 0;
    // The quietest of them count.
    while quiet < rounds && all.len() < rounds + repeated(rounds) {
        let round = take_round(&servers, scenario, all.len()).await?;
        if disturbance(&round) <= QUIET {
            quiet += 1;
        }
        all.push(round);
    }
    all.sort_by(|a, b| disturbance(a).total_cmp(&disturbance(b)));
    all.truncate(rounds);
    let mut rows: Vec<Row> = servers.iter().map(Row::of).collect();
    for turn in all.into_iter().flatten() {
        let row = rows.iter_mut().find(|row| row.kind == turn.kind);
        row.ok_or("a turn of no server")?.turns.push(turn);
    }
    Ok(rows)
}

impl Row {
    fn of(server: &Server) -> Self {
        Self {
            kind: server.kind,
            turns: Vec::new(),
            peak_kib: server.processes().peak_kib(),
        }
    }
}

/// The most that other programs took during one turn of a round.
fn disturbance(round: &[Turn]) -> f64 {
    round.iter().map(|turn| turn.others).fold(0.0, f64::max)
}

async fn take_round(
    servers: &[Server],
    scenario: &Scenario,
    first: usize,
) -> Result<Vec<Turn>, String> {
    let mut round = Vec::new();
    for place in 0..servers.len() {
        let server = &servers[(first + place) % servers.len()];
        let turn = take_turn(server, scenario).await.map_err(|e| {
            let (name, server) = (scenario.name, server.kind.title());
            format!("{name} through {server}: {e}")
        })?;
        round.push(turn);
    }
    Ok(round)
}

async fn take_turn(server: &Server, scenario: &Scenario) -> Result<Turn, String> {
    // A WebSocket leaves one line at its end, however much has passed over it.
    let logs = server.kind.logs_access() && scenario.unit != Unit::RoundTrip;
    let clients = load::connect(&server.door, scenario.connections, &scenario.call).await?;
    let (clients, _) = load::drive(clients, &scenario.call, scenario.warm_up).await?;
    if logs {
        tokio::time::sleep(LOG_SETTLES).await;
        server.access_lines()?;
    }
    let processes = server.processes();
    let own = Processes::of(std::process::id());
    let started = Instant::now();
    let (busy, own_before, before) = (machine_busy(), own.cpu_time(), processes.cpu_time());
    let (clients, measured) = load::drive(clients, &scenario.call, scenario.measured).await?;
    if logs {
        // What waits in the log's queue is the server's work, too.
        tokio::time::sleep(LOG_SETTLES).await;
    }
    let cpu = processes.cpu_time().since(&before);
    let ours = cpu + own.cpu_time().since(&own_before);
    let others = (machine_busy() - busy).saturating_sub(ours).as_secs_f64();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let others = others / (started.elapsed().as_secs_f64() * cores as f64);
    drop(clients);
    let requests = measured.requests as f64;
    let lines_lost = match logs {
        true => (1.0 - server.access_lines()? as f64 / requests).max(0.0),
        false => 0.0,
    };
    Ok(Turn {
        kind: server.kind,
        cpu_us: cpu.as_secs_f64() * 1e6 / requests,
        rate: requests / measured.elapsed.as_secs_f64(),
        p50_ms: measured.latency(0.50).as_secs_f64() * 1e3,
        p99_ms: measured.latency(0.99).as_secs_f64() * 1e3,
        others,
        lines_lost,
    })
}

/// Sends one request and checks what the upstream saw of it: tollgate must have swapped the key
/// and the model, the others must have passed both on.
async fn prove(server: &Server, scenario: &Scenario, upstream: &Upstream) -> Result<(), String> {
    upstream.watch(true);
    let answered = async {
        let mut client = Client::connect(&server.door, &scenario.call).await?;
        client.exchange(&scenario.call).await
    };
    let answered = answered.await;
    upstream.watch(false);
    let name = server.kind.title();
    answered.map_err(|e| format!("{name} does not serve {}: {e}", scenario.name))?;
    if !server.kind.asks_upstream() {
        return Ok(());
    }
    let (key, model) = match server.kind {
        kind if kind.is_tollgate() => (PROVIDER_KEY, SENT_MODEL),
        _ => (TENANT_KEY, MODEL),
    };
    let seen = upstream.seen();
    let has_key = seen.contains(&format!(": Bearer {key}\r\n"));
    match has_key
        && scenario
            .names
            .is_none_or(|name| seen.contains(&name(model)))
    {
        true => Ok(()),
        false => Err(format!("{name} sent another key or model on: {seen}")),
    }
}
