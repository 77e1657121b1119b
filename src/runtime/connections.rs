//! How many connections clients have open, in total and of each address.
//!
//! Owns the counts: an admitted connection holds a [`ConnectionPermit`] until it is dropped. An address
//! is known only while it has a connection, so there are never more addresses than connections. Does
//! not handle what becomes of a connection that is refused (see `server/accept.rs`).

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;

/// The counts.
#[derive(Debug, Default)]
pub struct Connections {
    // Taken twice for each connection, never for a request.
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    total: usize,
    of: HashMap<IpAddr, usize>,
}

impl Counts {
    /// Counts a connection of an address, unless it has as many as it may have.
    fn add(&mut self, address: IpAddr, limit: usize) -> Result<(), AtLimit> {
        let count = self.of.get(&address).copied().unwrap_or_default();
        if count >= limit {
            return Err(AtLimit::Address);
        }
        self.of.insert(address, count + 1);
        Ok(())
    }
}

/// Which limit is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtLimit {
    /// All connections together.
    Total,
    /// Those of its address.
    Address,
}

impl Connections {
    /// Counts a connection, unless there are `limit` of them already, or its address has as many as it
    /// may have.
    ///
    /// # Errors
    /// The limit that is reached.
    pub fn admit(
        self: &Arc<Self>,
        limit: usize,
        address: Option<(IpAddr, usize)>,
    ) -> Result<ConnectionPermit, AtLimit> {
        let mut counts = self.counts.lock();
        if counts.total >= limit {
            return Err(AtLimit::Total);
        }
        if let Some((address, limit)) = address {
            counts.add(address, limit)?;
        }
        counts.total += 1;
        Ok(ConnectionPermit {
            connections: Arc::clone(self),
            address: address.map(|(address, _)| address),
        })
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.counts.lock().total
    }
}

/// A connection that is counted.
#[derive(Debug)]
pub struct ConnectionPermit {
    connections: Arc<Connections>,
    address: Option<IpAddr>,
}

impl ConnectionPermit {
    /// Counts the connection for an address that became known later, unless that has as many as it may have. It was
    /// counted for none.
    ///
    /// # Errors
    /// The limit that is reached.
    pub fn count_for(&mut self, address: IpAddr, limit: usize) -> Result<(), AtLimit> {
        self.connections.counts.lock().add(address, limit)?;
        self.address = Some(address);
        Ok(())
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        let mut counts = self.connections.counts.lock();
        counts.total -= 1;
        let Some(address) = self.address else { return };
        if let Some(count) = counts.of.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                counts.of.remove(&address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_limit_holds_and_a_dropped_permit_is_free_again() {
        let connections = Arc::new(Connections::default());
        let [one, other] = ["192.0.2.1", "192.0.2.2"].map(|a| a.parse::<IpAddr>().unwrap());
        let admit = |address: Option<IpAddr>| connections.admit(3, address.map(|a| (a, 2)));
        let first = admit(Some(one)).unwrap();
        let second = admit(Some(one)).unwrap();
        assert_eq!(admit(Some(one)).unwrap_err(), AtLimit::Address);
        let third = admit(Some(other)).unwrap();
        assert_eq!(admit(None).unwrap_err(), AtLimit::Total);
        drop(first);
        let exempt = admit(None).unwrap();
        assert_eq!(connections.count(), 3);
        // One that was counted for no address counts for it once it is known.
        let mut exempt = exempt;
        exempt.count_for(other, 2).unwrap();
        drop(second);
        let mut late = admit(None).unwrap();
        assert_eq!(late.count_for(other, 2), Err(AtLimit::Address));
        assert_eq!(connections.count(), 3);
        drop((late, third, exempt));
        assert_eq!(connections.count(), 0);
        assert!(connections.counts.lock().of.is_empty());
    }
}
