//! Memory that is not used any more goes back to the system.
//!
//! Owns when that is looked after. Does not own the memory: `openai::tokenizer` lets its table go, and the allocator
//! gives back what it keeps. Cannot fail: where no thread can be started, memory goes back later.

use std::hint;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crate::runtime::Shared;

/// How often it is looked after.
const EVERY: Duration = Duration::from_secs(5);

/// Looks after it as long as the process serves.
pub async fn tend(shared: Arc<Shared>) {
    loop {
        tokio::time::sleep(EVERY).await;
        shared.tokenizer.release_idle(Instant::now());
        give_back();
    }
}

/// Has the allocator give back what has been free for a second. mimalloc does this beside other work: when a thread
/// frees many blocks, or ends. After a burst of requests no thread does either, and what the burst took would stay.
/// So a thread ends here. Its one allocation makes it one of the allocator's threads.
fn give_back() {
    let thread = thread::Builder::new().name("memory".to_owned());
    let started = thread.spawn(|| drop(hint::black_box(Box::new(0_u64))));
    // It is over at once, and nothing waits for it.
    drop(started);
}
