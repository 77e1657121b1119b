//! The lines that wait to be written.
//!
//! Owns their bound, and when the thread that writes wakes up. Lines wait as bytes in one buffer, one after the
//! other: a line costs its copy and no allocation, and many are written at once. Does not handle how a line looks
//! (see `lines`) or where it goes (see `writer`). At the bound a line is dropped and counted.

use std::mem;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use crate::observe::log_lines::LogLines;

/// The most bytes that wait.
pub const MAX_HELD_BYTES: usize = 32 << 20;
/// A buffer that became larger than this gives its memory back.
const KEPT_BYTES: usize = 1 << 20;

/// Lines, each of which ends in a line break.
#[derive(Debug, Default)]
pub struct Held {
    /// All lines.
    pub all: Vec<u8>,
    /// Those of warnings and errors, once more; empty where they have no file of their own.
    pub errors: Vec<u8>,
}

impl Held {
    fn bytes(&self) -> usize {
        self.all.len() + self.errors.len()
    }

    fn clear(&mut self) {
        for buffer in [&mut self.all, &mut self.errors] {
            buffer.clear();
            buffer.shrink_to(KEPT_BYTES);
        }
    }
}

/// The queue between the threads that log and the one that writes.
#[derive(Debug)]
pub struct Queue {
    state: Mutex<State>,
    /// The thread that writes waits for it.
    wake: Condvar,
    /// The one that closes the queue waits for it.
    done: Condvar,
    /// Whether warnings and errors are kept once more.
    copies_errors: bool,
    lines: LogLines,
}

#[derive(Debug, Default)]
struct State {
    held: Held,
    /// Whether the thread sleeps until there is a line.
    is_asleep: bool,
    is_closed: bool,
    is_done: bool,
}

/// Why the thread that writes goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// There are lines.
    Lines,
    /// The time is over.
    Nothing,
    /// There are no lines, and there will be none.
    Closed,
}

impl Queue {
    /// An empty one.
    pub fn new(copies_errors: bool, lines: LogLines) -> Self {
        Self {
            state: Mutex::default(),
            wake: Condvar::new(),
            done: Condvar::new(),
            copies_errors,
            lines,
        }
    }

    /// Adds a line, with its line break. Never waits: where there is no room, the line is dropped.
    pub fn push(&self, line: &str, is_error: bool) {
        let copies = is_error && self.copies_errors;
        let size = line.len() * (1 + usize::from(copies));
        let mut state = self.state.lock();
        if state.is_done || state.held.bytes() + size > MAX_HELD_BYTES {
            drop(state);
            self.lines.dropped.inc();
            return;
        }
        state.held.all.extend_from_slice(line.as_bytes());
        if copies {
            state.held.errors.extend_from_slice(line.as_bytes());
        }
        let wakes = mem::take(&mut state.is_asleep);
        drop(state);
        if wakes {
            self.wake.notify_one();
        }
    }

    /// Waits for lines until then, and puts them into `held` in place of what is there.
    pub fn take(&self, held: &mut Held, until: Instant) -> Next {
        held.clear();
        let mut state = self.state.lock();
        while state.held.bytes() == 0 {
            if state.is_closed {
                return Next::Closed;
            }
            state.is_asleep = true;
            let waited = self.wake.wait_until(&mut state, until);
            state.is_asleep = false;
            if waited.timed_out() && state.held.bytes() == 0 && !state.is_closed {
                return Next::Nothing;
            }
        }
        mem::swap(&mut state.held, held);
        Next::Lines
    }

    /// Lets lines collect for this long, or until the queue is closed. No line ends it.
    pub fn pause(&self, time: Duration) {
        let mut state = self.state.lock();
        if !state.is_closed {
            self.wake.wait_for(&mut state, time);
        }
    }

    /// Says that everything is written that will be.
    pub fn finish(&self) {
        self.state.lock().is_done = true;
        self.done.notify_all();
    }

    /// Closes the queue, and waits until everything in it is written, for at most `patience`. Returns whether it is.
    /// Blocks the thread.
    pub fn close(&self, patience: Duration) -> bool {
        let mut state = self.state.lock();
        state.is_closed = true;
        self.wake.notify_one();
        let until = Instant::now() + patience;
        while !state.is_done {
            if self.done.wait_until(&mut state, until).timed_out() {
                return state.is_done;
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    fn queue() -> Queue {
        Queue::new(false, LogLines::new().unwrap())
    }

    fn soon() -> Instant {
        Instant::now() + PATIENCE
    }

    #[test]
    fn lines_come_out_in_their_order_and_once() {
        let queue = queue();
        let mut held = Held::default();
        queue.push("a\n", false);
        queue.push("b\n", true);
        assert_eq!(queue.take(&mut held, soon()), Next::Lines);
        assert_eq!(held.all, b"a\nb\n");
        assert!(held.errors.is_empty());
        assert_eq!(queue.take(&mut held, Instant::now()), Next::Nothing);
        assert!(held.all.is_empty());
    }

    #[test]
    fn errors_are_kept_once_more_where_they_have_a_file() {
        let queue = Queue::new(true, LogLines::new().unwrap());
        let mut held = Held::default();
        queue.push("a\n", false);
        queue.push("b\n", true);
        assert_eq!(queue.take(&mut held, soon()), Next::Lines);
        assert_eq!(
            (&held.all[..], &held.errors[..]),
            (&b"a\nb\n"[..], &b"b\n"[..])
        );
    }

    #[test]
    fn lines_above_the_bound_are_dropped_and_counted() {
        let queue = queue();
        let line = "x".repeat((1 << 20) - 1) + "\n";
        let lines = MAX_HELD_BYTES / line.len();
        for _ in 0..lines + 3 {
            queue.push(&line, false);
        }
        assert_eq!(queue.lines.dropped.get(), 3);
        let mut held = Held::default();
        assert_eq!(queue.take(&mut held, soon()), Next::Lines);
        assert_eq!(held.all.len(), MAX_HELD_BYTES);
        queue.push(&line, false);
        assert_eq!(queue.lines.dropped.get(), 3);
        // Room that was needed once is given back.
        assert_eq!(queue.take(&mut held, soon()), Next::Lines);
        assert_eq!(queue.take(&mut held, Instant::now()), Next::Nothing);
        assert!(held.all.capacity() < 2 << 20);
    }

    #[test]
    fn a_line_wakes_the_thread_that_waits() {
        let queue = queue();
        std::thread::scope(|threads| {
            let waiting = threads.spawn(|| {
                let mut held = Held::default();
                assert_eq!(queue.take(&mut held, soon()), Next::Lines);
                held.all
            });
            queue.push("a\n", false);
            assert_eq!(waiting.join().unwrap(), b"a\n");
        });
    }

    #[test]
    fn a_closed_queue_gives_what_it_has_and_then_ends() {
        let queue = queue();
        queue.push("a\n", false);
        std::thread::scope(|threads| {
            let closing = threads.spawn(|| queue.close(PATIENCE));
            let mut held = Held::default();
            assert_eq!(queue.take(&mut held, soon()), Next::Lines);
            assert_eq!(queue.take(&mut held, soon()), Next::Closed);
            queue.finish();
            assert!(closing.join().unwrap());
        });
        queue.push("b\n", false);
        assert_eq!(queue.lines.dropped.get(), 1);
    }

    #[test]
    fn closing_waits_no_longer_than_it_may() {
        let queue = queue();
        queue.push("a\n", false);
        assert!(!queue.close(Duration::from_millis(10)));
    }
}
