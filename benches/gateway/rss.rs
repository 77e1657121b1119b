//! The memory of an open stream.
//!
//! Owns opening many streams at once through a new process and reading how much its memory grew.
//! Every stream is then ended by the upstream and read to its end, which proves that it was open.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use crate::load;
use crate::scenario::{self, Size};
use crate::servers::{Kind, Server, Workbench};
use crate::upstream::Upstream;
use crate::wire::{Begun, Call, Client, Door, Expected};

/// Streams that are open at once.
pub const STREAMS: usize = 2_000;
/// How many are opened side by side: a burst of all would measure the queue of `accept`.
const OPENED_AT_ONCE: usize = 100;
/// From the last stream's first event until the memory is read.
const SETTLES: Duration = Duration::from_millis(500);
/// Opening all streams, or ending them, must not take longer.
const TOO_LONG: Duration = Duration::from_secs(30);

/// What one process had resident.
pub struct Memory {
    /// Before the streams, warm, in KiB.
    pub before_kib: u64,
    /// With all streams open, in KiB.
    pub open_kib: u64,
}

impl Memory {
    /// How much each stream added, in KiB.
    pub fn per_stream_kib(&self) -> f64 {
        (self.open_kib as f64 - self.before_kib as f64) / STREAMS as f64
    }
}

/// Measures each server so many times.
pub async fn run(
    size: Size,
    bench: &Workbench,
    upstream: &Upstream,
) -> Result<Vec<(Kind, Vec<Memory>)>, String> {
    let kinds = bench.with_baseline(&Kind::LONG).into_iter();
    let mut rows: Vec<(Kind, Vec<Memory>)> = kinds.map(|kind| (kind, Vec::new())).collect();
    for _ in 0..size.memory_rounds {
        for (kind, memories) in &mut rows {
            let memory = measure(*kind, bench, upstream).await;
            memories.push(memory.map_err(|e| format!("streams through {}: {e}", kind.title()))?);
        }
    }
    Ok(rows)
}

async fn measure(kind: Kind, bench: &Workbench, upstream: &Upstream) -> Result<Memory, String> {
    let server = Server::start(kind, bench, upstream.port)?;
    for scenario in scenario::all(Size::QUICK) {
        if ["json", "stream"].contains(&scenario.name) {
            let clients = load::connect(&server.door, 32, &scenario.call).await?;
            load::drive(clients, &scenario.call, scenario.warm_up).await?;
        }
    }
    tokio::time::sleep(SETTLES).await;
    let processes = server.processes();
    let before_kib = processes.resident_kib();
    let call = scenario::held_stream();
    let open = within(open(&server.door, &call)).await?;
    tokio::time::sleep(SETTLES).await;
    let open_kib = processes.resident_kib();
    upstream.release();
    within(end(open, &call)).await?;
    Ok(Memory {
        before_kib,
        open_kib,
    })
}

async fn within<T>(step: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    let outcome = tokio::time::timeout(TOO_LONG, step).await;
    outcome.map_err(|_| format!("not within {TOO_LONG:?}"))?
}

async fn open(door: &Door, call: &Arc<Call>) -> Result<Vec<(Client, Begun)>, String> {
    let mut open = Vec::with_capacity(STREAMS);
    while open.len() < STREAMS {
        let mut tasks = JoinSet::new();
        for _ in 0..OPENED_AT_ONCE {
            let (door, call) = (door.clone(), Arc::clone(call));
            tasks.spawn(async move {
                let mut client = Client::connect(&door, &call).await?;
                let begun = client.begin(&call).await?;
                Ok::<_, String>((client, begun))
            });
        }
        while let Some(joined) = tasks.join_next().await {
            open.push(joined.map_err(|e| e.to_string())??);
        }
    }
    Ok(open)
}

async fn end(open: Vec<(Client, Begun)>, call: &Call) -> Result<(), String> {
    let Expected::Events(bytes) = call.expected else {
        return Err("a stream is expected".to_owned());
    };
    for (mut client, begun) in open {
        client.finish(begun, bytes).await?;
    }
    Ok(())
}
