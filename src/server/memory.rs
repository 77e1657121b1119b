//! Memory that is not used any more goes back to the system.
//!
//! Owns when that is looked after, and how mimalloc is brought to it. Does not own the memory: `openai::tokenizer`
//! lets its table go, `cache` removes answers whose time has passed, requests free what they held. Cannot fail: where
//! no thread can be started, memory goes back later.
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
/// Answers whose time has passed are looked for in one of so many turns: once a minute. A request that asks for one
/// before is not given it.
const TURNS_OF_CACHE: u64 = 12;
/// As many allocations of a worker, and it has looked at its blocks once. They take less than a millisecond.
const ALLOCATIONS: usize = 11_000;
/// A block that is not taken from the lists of small ones, which do not count.
const BLOCK_BYTES: usize = 2 << 10;

/// Looks after it as long as the process serves.
pub async fn tend(shared: Arc<Shared>) {
    for turn in 1_u64.. {
        tokio::time::sleep(EVERY).await;
        shared.tokenizer.release_idle(Instant::now());
        if turn.is_multiple_of(TURNS_OF_CACHE) {
            remove_expired(&shared).await;
        }
        give_back();
        collect_on_workers().await;
    }
}

/// Removes answers whose time has passed. It looks at all of them, so it is no work for a thread that serves.
async fn remove_expired(shared: &Arc<Shared>) {
    let of_thread = Arc::clone(shared);
    let removing = tokio::task::spawn_blocking(move || of_thread.forget_expired_answers());
    if let Ok(removed @ 1..) = removing.await {
        log::debug!("{removed} answers are not kept any more: their time has passed");
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::CallerState;
    use crate::cache::{Entry, KeyParts, sample};
    use crate::config::{Config, Variables};
    use crate::limits::Limits;
    use crate::runtime::{Orders, Runtime};
    use crate::upstreams::Registry;

    fn shared() -> Arc<Shared> {
        let text = "upstreams: { a: { base_url: 'http://127.0.0.1:1' } }\n\
                    models: [{ match: m, targets: [{ upstream: a }] }]\n";
        let config = Config::parse("t.yaml", text, &Variables::default()).unwrap();
        let (registry, limits) = (Registry::default(), Limits::new());
        let callers = CallerState::default();
        let runtime = Runtime::new(&config, None, &registry, &limits, &callers);
        let (orders, _) = Orders::queue();
        Shared::new(runtime, registry, (limits, callers), orders).unwrap()
    }

    fn keep(shared: &Shared, id: &str, ttl: Duration) {
        let entry = Entry {
            ttl,
            ..sample("t", "{}")
        };
        let mut parts = KeyParts::new("test");
        parts.add(id.as_bytes());
        assert!(
            shared
                .cache
                .put(parts.finish(), entry, (Instant::now(), Instant::now()))
        );
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_leaves_the_memory_within_a_minute_after_its_time() {
        let shared = shared();
        keep(&shared, "over", Duration::ZERO);
        keep(&shared, "in time", Duration::from_secs(3600));
        let task = tokio::spawn(tend(Arc::clone(&shared)));
        tokio::time::sleep(Duration::from_secs(50)).await;
        assert_eq!(shared.cache.fill().entries, 2);
        tokio::time::sleep(Duration::from_secs(14)).await;
        assert_eq!(shared.cache.fill().entries, 1);
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(shared.cache.fill().entries, 1, "the other stays");
        task.abort();
    }
}
