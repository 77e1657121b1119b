//! How many of something there may be at a time.
//!
//! Owns the count. Does not handle what is counted (see `shared`). Cannot fail.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Counts those that are there.
#[derive(Debug, Default)]
pub struct Gauge(AtomicUsize);

impl Gauge {
    /// Counts one more in, unless there are `limit`; it is counted out when the guard is dropped.
    pub fn enter(self: &Arc<Self>, limit: usize) -> Option<GaugePermit> {
        let more = |count: usize| (count < limit).then_some(count + 1);
        let entered = self
            .0
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, more);
        entered.ok().map(|_| GaugePermit(Arc::clone(self)))
    }

    /// Whether none is there.
    pub fn is_empty(&self) -> bool {
        self.0.load(Ordering::Acquire) == 0
    }
}

/// One that has found room.
#[derive(Debug)]
pub struct GaugePermit(Arc<Gauge>);

impl Drop for GaugePermit {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_room_for_as_many_as_the_limit_says() {
        let room = Arc::new(Gauge::default());
        let first = room.enter(2);
        let second = room.enter(2);
        assert!(first.is_some() && second.is_some());
        assert!(room.enter(2).is_none() && !room.is_empty());
        drop(first);
        assert!(room.enter(2).is_some());
        drop(second);
        assert!(room.is_empty());
    }
}
