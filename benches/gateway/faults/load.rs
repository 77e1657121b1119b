//! The load of these scenarios: so many requests a second whatever becomes of them, or a closed
//! loop.
//!
//! Owns when requests are sent, over which connections, and what came of each. A failure is what is
//! counted here, and never ends the load. Bounded: by the requests that may be open at once, those
//! beyond being counted and not sent, and by the time that each may take.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::task::JoinSet;

use super::exchange::{Connection, Outcome, Reply};

/// Requests that may be open at once.
const OPEN: usize = 3_000;
/// A request that takes longer has failed.
const TOO_LONG: Duration = Duration::from_secs(10);
const TICK: Duration = Duration::from_millis(1);

/// What came of one request.
pub struct Record {
    /// When it was sent.
    pub begun: Instant,
    /// Until its answer's end.
    pub took: Duration,
    /// The attempts that its answer names; 1, if it names none.
    pub attempts: u32,
    /// What came.
    pub outcome: Outcome,
}

impl Record {
    /// When its answer had ended.
    pub fn ended(&self) -> Instant {
        self.begun + self.took
    }

    /// The provider that served it.
    pub fn served_by(&self) -> Option<u8> {
        match self.outcome {
            Outcome::Served(name) => Some(name),
            _ => None,
        }
    }
}

/// Load on a gateway, until it is ended or dropped.
pub struct Load {
    /// When it began.
    pub begun: Instant,
    shared: Arc<Shared>,
    tasks: JoinSet<()>,
}

struct Shared {
    port: u16,
    request: Bytes,
    is_over: AtomicBool,
    unsent: AtomicUsize,
    idle: Mutex<Vec<Connection>>,
    records: Mutex<Vec<Record>>,
}

impl Load {
    /// So many requests a second.
    pub fn paced(port: u16, request: &Bytes, rate: u32) -> Self {
        let mut load = Self::new(port, request);
        let shared = Arc::clone(&load.shared);
        load.tasks.spawn(async move { shared.pace(rate).await });
        load
    }

    /// As many requests at a time, each followed by the next.
    pub fn closed(port: u16, request: &Bytes, connections: usize) -> Self {
        let mut load = Self::new(port, request);
        for _ in 0..connections {
            let shared = Arc::clone(&load.shared);
            load.tasks.spawn(async move {
                while !shared.is_over() {
                    Arc::clone(&shared).ask().await;
                }
            });
        }
        load
    }

    fn new(port: u16, request: &Bytes) -> Self {
        Self {
            begun: Instant::now(),
            shared: Arc::new(Shared {
                port,
                request: request.clone(),
                is_over: AtomicBool::new(false),
                unsent: AtomicUsize::new(0),
                idle: Mutex::default(),
                records: Mutex::default(),
            }),
            tasks: JoinSet::new(),
        }
    }

    /// Whether a request has been served by a provider since then.
    pub fn was_served(&self, name: u8, since: Instant) -> bool {
        let records = self.shared.records.lock();
        let mut late = records.iter().rev().filter(|record| record.begun >= since);
        late.any(|record| record.served_by() == Some(name))
    }

    /// How many were not sent, because too many were open.
    pub fn unsent(&self) -> usize {
        self.shared.unsent.load(Ordering::Relaxed)
    }

    /// Sends no more, waits for what is open, and gives all, in the order in which they were sent.
    pub async fn end(mut self) -> Result<Vec<Record>, String> {
        self.shared.is_over.store(true, Ordering::Relaxed);
        while let Some(joined) = self.tasks.join_next().await {
            joined.map_err(|e| e.to_string())?;
        }
        let mut records = std::mem::take(&mut *self.shared.records.lock());
        records.sort_by_key(|record| record.begun);
        Ok(records)
    }
}

impl Shared {
    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }

    async fn pace(self: Arc<Self>, rate: u32) {
        let begun = Instant::now();
        let mut open = JoinSet::new();
        let mut sent = 0;
        while !self.is_over() {
            let due = begun.elapsed().as_secs_f64() * f64::from(rate);
            let due = due as u64;
            for _ in sent..due {
                match open.len() < OPEN {
                    true => drop(open.spawn(Arc::clone(&self).ask())),
                    false => drop(self.unsent.fetch_add(1, Ordering::Relaxed)),
                }
            }
            sent = due;
            while open.try_join_next().is_some() {}
            tokio::time::sleep(TICK).await;
        }
        while open.join_next().await.is_some() {}
    }

    async fn ask(self: Arc<Self>) {
        let begun = Instant::now();
        let asked = tokio::time::timeout(TOO_LONG, self.exchange()).await;
        let reply = asked.unwrap_or_else(|_| Reply::none(format!("not within {TOO_LONG:?}")));
        self.records.lock().push(Record {
            begun,
            took: begun.elapsed(),
            attempts: reply.attempts,
            outcome: reply.outcome,
        });
    }

    async fn exchange(&self) -> Reply {
        let idle = self.idle.lock().pop();
        let connection = match idle {
            Some(connection) => Ok(connection),
            None => Connection::open(self.port).await,
        };
        let mut connection = match connection {
            Ok(connection) => connection,
            Err(e) => return Reply::none(e),
        };
        let reply = connection.exchange(&self.request).await;
        if reply.is_whole {
            self.idle.lock().push(connection);
        }
        reply
    }
}
