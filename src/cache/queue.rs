//! What a store that several nodes share is told in the background, in the order in which it was handed over.
//!
//! Owns the bounds of what waits: by number, and by bytes. The bytes of an order count until it has been carried out.
//! Does not handle what an order says, nor who carries it out (see `second` and `meaning::store`). At a bound an order
//! is refused.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::mpsc;

/// Orders that wait.
pub const MOST_QUEUED: usize = 1024;
/// Bytes of orders that wait.
pub const MOST_QUEUED_BYTES: usize = 64 << 20;

/// Where orders are handed over.
pub struct Sender<T> {
    orders: mpsc::Sender<(T, Room)>,
    bytes: Arc<AtomicUsize>,
}

/// Where they are taken.
pub struct Receiver<T>(mpsc::Receiver<(T, Room)>);

/// What an order takes of the bytes; it gives them back when it is dropped.
pub struct Room {
    bytes: Arc<AtomicUsize>,
    weight: usize,
}

/// An empty queue.
pub fn queue<T>() -> (Sender<T>, Receiver<T>) {
    let (orders, receiver) = mpsc::channel(MOST_QUEUED);
    let bytes = Arc::default();
    (Sender { orders, bytes }, Receiver(receiver))
}

impl<T> Sender<T> {
    /// Hands an order over that holds so many bytes. Tells whether there was room for it.
    pub fn send(&self, order: T, weight: usize) -> bool {
        let before = self.bytes.fetch_add(weight, Ordering::Relaxed);
        let room = Room {
            bytes: Arc::clone(&self.bytes),
            weight,
        };
        before + weight <= MOST_QUEUED_BYTES && self.orders.try_send((order, room)).is_ok()
    }
}

impl<T> Receiver<T> {
    /// The next order, and its room, to be kept until the order has been carried out. `None` once no order can come any
    /// more. May be dropped while it waits.
    pub async fn next(&mut self) -> Option<(T, Room)> {
        self.0.recv().await
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.bytes.fetch_sub(self.weight, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_order_too_many_is_refused() {
        let (sender, mut receiver) = queue();
        for order in 0..MOST_QUEUED {
            assert!(sender.send(order, 1));
        }
        assert!(!sender.send(0, 1));
        assert_eq!(receiver.next().await.map(|(order, _)| order), Some(0));
        assert!(sender.send(0, 1));
        assert!(!sender.send(0, 1));
    }

    #[tokio::test]
    async fn an_order_takes_room_until_it_has_been_carried_out() {
        let (sender, mut receiver) = queue();
        assert!(!sender.send('a', MOST_QUEUED_BYTES + 1));
        assert!(sender.send('b', MOST_QUEUED_BYTES));
        assert!(!sender.send('c', 1));
        let taken = receiver.next().await;
        assert!(!sender.send('d', 1), "it is being carried out");
        drop(taken);
        assert!(sender.send('e', MOST_QUEUED_BYTES));
        drop(sender);
        assert!(matches!(receiver.next().await, Some(('e', _))));
        assert!(receiver.next().await.is_none());
    }
}
