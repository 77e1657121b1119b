//! What the operator asks of the process, from wherever it is asked.
//!
//! Owns the queue of orders between the listeners and the loop that carries them out one by one (`server::operate`).
//! It is short: an order that finds it full is refused, and its sender is told so. Does not handle how an order is
//! carried out. Fails with a text for the operator.

use std::fmt;

use tokio::sync::{mpsc, oneshot};

use crate::config::{Changes, Problems};

/// As many orders wait at a time.
const MAX_WAITING: usize = 8;

/// An order, and where its outcome goes.
#[derive(Debug)]
pub enum Order {
    /// Read the configuration again, and put it in force.
    Reload(oneshot::Sender<Reloaded>),
    /// Do so if one of its files has changed. The outcome is in the log.
    ReloadIfChanged(oneshot::Sender<()>),
    /// Start the binary that is on disk, and hand over to it. The outcome is the process id of the new process.
    Upgrade(oneshot::Sender<Result<u32, String>>),
}

/// What a reload has changed, or why nothing has.
pub type Reloaded = Result<Changes, NotReloaded>;

/// Why a configuration was not put in force. The one before stays.
#[derive(Debug)]
pub enum NotReloaded {
    /// It has mistakes.
    Invalid(Problems),
    /// It has none, and something that it needs is not there.
    Failed(String),
}

impl fmt::Display for NotReloaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalid(problems) => f.write_str(problems.to_string().trim_end()),
            Self::Failed(why) => f.write_str(why),
        }
    }
}

/// Why an order was not carried out.
#[derive(Debug, PartialEq, Eq)]
pub enum NotTaken {
    /// Too many wait already.
    Busy,
    /// The process is ending.
    Ending,
}

/// The sender's end of the queue.
#[derive(Clone, Debug)]
pub struct Orders(mpsc::Sender<Order>);

impl Orders {
    /// The queue: the end that gives orders, and the end that takes them.
    pub fn queue() -> (Self, mpsc::Receiver<Order>) {
        let (orders, taken) = mpsc::channel(MAX_WAITING);
        (Self(orders), taken)
    }

    /// Has the configuration read again.
    ///
    /// # Errors
    /// The order was not carried out.
    pub async fn reload(&self) -> Result<Reloaded, NotTaken> {
        self.give(Order::Reload).await
    }

    /// Has the configuration read again if one of its files has changed.
    ///
    /// # Errors
    /// The order was not carried out.
    pub async fn reload_if_changed(&self) -> Result<(), NotTaken> {
        self.give(Order::ReloadIfChanged).await
    }

    /// Has the process hand over to the binary that is on disk.
    ///
    /// # Errors
    /// The order was not carried out.
    pub async fn upgrade(&self) -> Result<Result<u32, String>, NotTaken> {
        self.give(Order::Upgrade).await
    }

    async fn give<T>(&self, order: fn(oneshot::Sender<T>) -> Order) -> Result<T, NotTaken> {
        let (outcome, done) = oneshot::channel();
        self.0.try_send(order(outcome)).map_err(|e| match e {
            mpsc::error::TrySendError::Full(_) => NotTaken::Busy,
            mpsc::error::TrySendError::Closed(_) => NotTaken::Ending,
        })?;
        done.await.map_err(|_| NotTaken::Ending)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_order_that_finds_the_queue_full_is_refused() {
        let (orders, mut taken) = Orders::queue();
        let waiting: Vec<_> = (0..MAX_WAITING)
            .map(|_| {
                let orders = orders.clone();
                tokio::spawn(async move { orders.reload_if_changed().await })
            })
            .collect();
        while taken.len() < MAX_WAITING {
            tokio::task::yield_now().await;
        }
        assert_eq!(orders.reload_if_changed().await, Err(NotTaken::Busy));
        for _ in 0..MAX_WAITING {
            let Some(Order::ReloadIfChanged(outcome)) = taken.recv().await else {
                unreachable!("no other order was given");
            };
            outcome.send(()).unwrap();
        }
        for one in waiting {
            assert_eq!(one.await.unwrap(), Ok(()));
        }
        drop(taken);
        assert_eq!(orders.reload_if_changed().await, Err(NotTaken::Ending));
    }
}
