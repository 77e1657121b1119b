//! How long one task may keep a worker thread.
//!
//! A worker serves many requests in turn, and a task gives it back only where it waits. Owns the two ways
//! in which long work gives it back: reading yields after a bounded number of bytes; work on a large body
//! that cannot be cut is done while another thread serves the other tasks. As many pieces of such work as
//! there are processors run at a time; the others wait, each on a thread of its own.
//! Does not handle what the work is. Cannot fail.

use std::sync::LazyLock;
use std::thread;

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::Semaphore;
use tokio::task::{block_in_place, coop};

/// As many bytes are worth one of the steps that Tokio lets a task make before it has to yield, 128 of them.
const STEP_BYTES: usize = 4 << 10;
/// Work on a shorter body is done where it is: that takes some milliseconds at most, and less than the change
/// of threads is worth.
const LARGE_BYTES: usize = 1 << 20;

static TURNS: LazyLock<Semaphore> = LazyLock::new(|| {
    let processors = thread::available_parallelism().map_or(1, usize::from);
    Semaphore::new(processors)
});

/// Yields if the task has read enough for now; to be called before more is read than these bytes. At least one
/// step is counted, so that pieces of no length come to an end as well. May be dropped while it waits.
pub async fn yield_after(bytes: usize) {
    for _ in 0..=bytes / STEP_BYTES {
        coop::consume_budget().await;
    }
}

/// Does some work on this many bytes, apart from the other tasks if it takes long. The work must not call
/// this function: it would wait for itself.
pub fn walk<T>(bytes: usize, work: impl FnOnce() -> T) -> T {
    if bytes <= LARGE_BYTES {
        return work();
    }
    match Handle::try_current() {
        Ok(runtime) if runtime.runtime_flavor() == RuntimeFlavor::MultiThread => {
            #[allow(clippy::disallowed_methods, reason = "this is the place")]
            block_in_place(|| {
                // Never closed, so always acquired.
                let _turn = runtime.block_on(TURNS.acquire());
                work()
            })
        }
        // There are no other workers.
        _ => work(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn reading_without_a_pause_yields_after_half_a_megabyte() {
        let read = std::rc::Rc::new(std::cell::Cell::new(0));
        let reading = async {
            loop {
                yield_after(64 << 10).await;
                read.set(read.get() + (64 << 10));
            }
        };
        let mut reading = std::pin::pin!(reading);
        for _ in 0..3 {
            let before = read.get();
            let polled = std::future::poll_fn(|cx| {
                std::task::Poll::Ready(reading.as_mut().poll(cx).is_pending())
            });
            assert!(polled.await);
            assert!(read.get() - before <= 512 << 10, "{}", read.get() - before);
            tokio::task::yield_now().await;
        }
        assert!(read.get() > 0);
    }

    #[test]
    fn other_tasks_go_on_while_a_large_body_is_worked_on() {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .build()
            .unwrap();
        let (done, is_done) = mpsc::channel();
        runtime.block_on(async {
            let large = tokio::spawn(async move {
                let other = tokio::spawn(async move { done.send(()).unwrap() });
                // On the only worker, this would wait for ever.
                let went_on = walk(LARGE_BYTES + 1, || {
                    is_done.recv_timeout(Duration::from_secs(20))
                });
                other.await.unwrap();
                went_on.is_ok()
            });
            assert!(large.await.unwrap());
        });
    }

    #[test]
    fn no_more_large_bodies_are_worked_on_at_a_time_than_there_are_processors() {
        let most = thread::available_parallelism().map_or(1, usize::from);
        let runtime = tokio::runtime::Builder::new_multi_thread().build().unwrap();
        static NOW: AtomicUsize = AtomicUsize::new(0);
        static PEAK: AtomicUsize = AtomicUsize::new(0);
        runtime.block_on(async {
            let mut all = tokio::task::JoinSet::new();
            for _ in 0..8 * most {
                all.spawn(async {
                    walk(LARGE_BYTES + 1, || {
                        let now = NOW.fetch_add(1, Ordering::SeqCst) + 1;
                        PEAK.fetch_max(now, Ordering::SeqCst);
                        thread::sleep(Duration::from_millis(2));
                        NOW.fetch_sub(1, Ordering::SeqCst);
                    });
                });
            }
            all.join_all().await;
        });
        assert!(PEAK.load(Ordering::SeqCst) <= most);
    }

    #[tokio::test]
    async fn where_there_is_one_thread_the_work_is_done_on_it() {
        assert_eq!(walk(usize::MAX, || 7), 7);
    }
}
