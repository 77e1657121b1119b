//! Memory that is not used any more goes back to the system.
//!
//! Owns when that is looked after, and how mimalloc is brought to it. Does not own the memory: `openai::tokenizer`
//! lets its table go, requests free what they held. Cannot fail: where no thread can be started, memory goes back
//! later.
//!
//! mimalloc gives freed memory back beside other work, and a process that has become quiet does none. Two things
//! remain to be done after a burst of requests. Each worker has to look at the blocks of its own that other workers
//! have freed; it does so once in 10,000 allocations. Then some thread has to ask for what has been free for a second
//! to be given back; one that ends does so. Both can be had without a call that is not safe.

use std::hint;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::task::JoinSet;

use crate::runtime::Shared;

/// How often it is looked after.
const EVERY: Duration = Duration::from_secs(5);
/// As many allocations of a worker, and it has looked at its blocks once. They take less than a millisecond.
const ALLOCATIONS: usize = 11_000;
/// A block that is not taken from the lists of small ones, which do not count.
const BLOCK_BYTES: usize = 2 << 10;

/// Looks after it as long as the process serves.
pub async fn tend(shared: Arc<Shared>) {
    loop {
        tokio::time::sleep(EVERY).await;
        shared.tokenizer.release_idle(Instant::now());
        give_back();
        collect_on_workers().await;
    }
}

/// Has what was free before given back, by a thread that ends. Its one allocation makes it one of the allocator's.
fn give_back() {
    let thread = thread::Builder::new().name("memory".to_owned());
    let started = thread.spawn(|| drop(hint::black_box(Box::new(0_u64))));
    // It is over at once, and nothing waits for it.
    drop(started);
}

/// Has the workers look at their blocks. One that is busy may leave its turn to another, and gets it the next time.
async fn collect_on_workers() {
    let mut turns = JoinSet::new();
    for _ in 0..Handle::current().metrics().num_workers() {
        turns.spawn(async { collect() });
    }
    turns.join_all().await;
}

fn collect() {
    for _ in 0..ALLOCATIONS {
        drop(hint::black_box(Vec::<u8>::with_capacity(BLOCK_BYTES)));
    }
}
