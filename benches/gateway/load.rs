//! The closed loop: so many connections, each sending its next request when the last is answered.
//!
//! Owns how long a loop runs and what it measures on its side: how many requests, how fast, and
//! how long each took. The first answer that is not right ends the loop with an error.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::wire::{Call, Client, Door};

/// A loop that takes longer than this has failed.
const TOO_LONG: Duration = Duration::from_secs(60);

/// When a loop ends.
#[derive(Clone, Copy)]
pub enum Until {
    /// No request is begun after this.
    Elapsed(Duration),
    /// Each connection has made so many requests, the first of them spread over `spread`.
    Each {
        /// Requests of each connection.
        requests: u32,
        /// From the first connection's beginning to the last one's.
        spread: Duration,
    },
}

/// What a loop measured.
pub struct Measured {
    /// Requests that were answered.
    pub requests: u64,
    /// From the first request's beginning to the last one's end.
    pub elapsed: Duration,
    sorted: Vec<Duration>,
}

impl Measured {
    /// The time within which a share of the requests, from 0 to 1, was answered.
    pub fn latency(&self, share: f64) -> Duration {
        let last = self.sorted.len() - 1;
        self.sorted[(last as f64 * share).round() as usize]
    }
}

/// Opens keep-alive connections for a call.
pub async fn connect(door: &Door, connections: usize, call: &Call) -> Result<Vec<Client>, String> {
    let mut clients = Vec::with_capacity(connections);
    for _ in 0..connections {
        clients.push(Client::connect(door, call).await?);
    }
    Ok(clients)
}

/// Runs a loop over `clients` and hands them back.
pub async fn drive(
    clients: Vec<Client>,
    call: &Arc<Call>,
    until: Until,
) -> Result<(Vec<Client>, Measured), String> {
    let started = Instant::now();
    let mut tasks = JoinSet::new();
    let count = clients.len() as u32;
    for (index, client) in clients.into_iter().enumerate() {
        let call = Arc::clone(call);
        let delay = match until {
            Until::Elapsed(_) => Duration::ZERO,
            Until::Each { spread, .. } => spread * index as u32 / count,
        };
        tasks.spawn(async move {
            if !delay.is_zero() {
                tokio::time::sleep(delay).await;
            }
            repeat(client, &call, until).await
        });
    }
    let mut clients = Vec::new();
    let mut sorted = Vec::new();
    let gathered = async {
        while let Some(joined) = tasks.join_next().await {
            let (client, latencies) = joined.map_err(|e| e.to_string())??;
            clients.push(client);
            sorted.extend(latencies);
        }
        Ok::<(), String>(())
    };
    tokio::time::timeout(TOO_LONG, gathered)
        .await
        .map_err(|_| format!("the answers did not come within {TOO_LONG:?}"))??;
    let elapsed = started.elapsed();
    sorted.sort_unstable();
    let requests = sorted.len() as u64;
    let measured = Measured {
        requests,
        elapsed,
        sorted,
    };
    Ok((clients, measured))
}

async fn repeat(
    mut client: Client,
    call: &Call,
    until: Until,
) -> Result<(Client, Vec<Duration>), String> {
    let started = Instant::now();
    let mut latencies = Vec::new();
    let is_over = |count: usize| match until {
        Until::Elapsed(limit) => started.elapsed() >= limit,
        Until::Each { requests, .. } => count >= requests as usize,
    };
    while !is_over(latencies.len()) {
        latencies.push(client.exchange(call).await?);
    }
    Ok((client, latencies))
}
