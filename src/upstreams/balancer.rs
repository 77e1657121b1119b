//! Which server of a pool is next.
//!
//! Owns the choice: in turn or at random (see `weighted`), by load, or by a key with the ring of Pingora's
//! load balancer. Does not handle what a server is (see `pool`): it gives a position among those that it
//! was built with, and asks whether that one can be used. Gives `None` where none can.

use std::net::{Ipv6Addr, SocketAddr};

use pingora::protocols::l4::socket::SocketAddr as PingoraAddr;
use pingora_load_balancing::selection::Consistent;
use pingora_load_balancing::{Backend, Backends, Extensions, LoadBalancer, discovery};

use crate::config::Balance;
use crate::secret::KeyHash;
use crate::weighted::Wheel;

/// As many points of the ring are looked at; each server has 160 for each unit of weight.
const MAX_POINTS: usize = 100_000;

/// Chooses among servers.
pub struct Balancer {
    kind: Kind,
    weights: Vec<u32>,
}

enum Kind {
    Weighted(Wheel),
    Random(Wheel),
    Least(Wheel),
    Consistent(LoadBalancer<Consistent>),
}

/// A server's position, on the backend that stands for it.
#[derive(Clone, Copy)]
struct Position(usize);

impl Balancer {
    /// Takes servers by name, with their weights.
    pub fn new(balance: Balance, servers: impl Iterator<Item = (String, u32)>) -> Self {
        let (names, weights): (Vec<String>, Vec<u32>) = servers.unzip();
        let wheel = || Wheel::new(&weights);
        let kind = match balance {
            Balance::Weighted => Kind::Weighted(wheel()),
            Balance::Random => Kind::Random(wheel()),
            Balance::LeastRequests => Kind::Least(wheel()),
            Balance::Consistent(_) => {
                let named = names.iter().zip(&weights).enumerate();
                let backends = named.filter_map(|(n, (name, weight))| backend(n, name, *weight));
                let backends = Backends::new(discovery::Static::new(backends.collect()));
                Kind::Consistent(LoadBalancer::from_backends(backends))
            }
        };
        Self { kind, weights }
    }

    /// Builds the ring of a consistent choice; before that no server is on it.
    ///
    /// # Errors
    /// What Pingora says.
    pub async fn update(&self) -> Result<(), Box<pingora::Error>> {
        match &self.kind {
            Kind::Weighted(_) | Kind::Random(_) | Kind::Least(_) => Ok(()),
            Kind::Consistent(balancer) => balancer.update().await,
        }
    }

    /// The position of the next server that can be used; `load` tells how busy one is.
    pub fn choose(
        &self,
        key: &[u8],
        can: impl Fn(usize) -> bool + Copy,
        load: impl Fn(usize) -> usize,
    ) -> Option<usize> {
        match &self.kind {
            Kind::Weighted(wheel) => wheel.in_turn(can),
            Kind::Random(wheel) => wheel.at_random(can),
            Kind::Least(wheel) => {
                let first = wheel.at_random(can)?;
                let other = wheel.at_random(|n| n != first && can(n)).unwrap_or(first);
                let share = |n: usize| {
                    let weight = self.weights.get(n).copied().unwrap_or(1).max(1);
                    load(n).saturating_mul(1000) / usize::try_from(weight).unwrap_or(1)
                };
                Some(match share(other) < share(first) {
                    true => other,
                    false => first,
                })
            }
            Kind::Consistent(balancer) => balancer
                .select_with(key, MAX_POINTS, |backend, _| {
                    position(backend).is_some_and(can)
                })
                .and_then(|backend| position(&backend))
                .or_else(|| (0..self.weights.len()).find(|n| can(*n))),
        }
    }
}

fn position(backend: &Backend) -> Option<usize> {
    backend.ext.get::<Position>().map(|Position(n)| *n)
}

/// Pingora's balancer tells servers apart by address and weight alone, so two with the same are one to
/// it. But two servers may share an address, and one may have several. So each gets an address that is
/// made of its name: the same key leads to the same name, whatever else is in the list.
fn backend(position: usize, name: &str, weight: u32) -> Option<Backend> {
    if weight == 0 {
        return None;
    }
    let hash = |salt: u8| KeyHash::of(&[name.as_bytes(), &[salt]].concat()).head();
    let address = u128::from(hash(0)) << 64 | u128::from(hash(1));
    let mut ext = Extensions::new();
    ext.insert(Position(position));
    Some(Backend {
        addr: PingoraAddr::Inet(SocketAddr::from((Ipv6Addr::from(address), 0))),
        // A weight is at most 1000.
        weight: usize::try_from(weight).unwrap_or(1),
        ext,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::config::ConsistentBy;

    async fn balancer(balance: Balance, servers: &[(&str, u32)]) -> Balancer {
        let servers = servers
            .iter()
            .map(|(name, weight)| ((*name).to_owned(), *weight));
        let balancer = Balancer::new(balance, servers);
        balancer.update().await.unwrap();
        balancer
    }

    fn counts(
        balancer: &Balancer,
        rounds: u32,
        can: impl Fn(usize) -> bool + Copy,
    ) -> HashMap<usize, u32> {
        let mut counts = HashMap::new();
        for _ in 0..rounds {
            let chosen = balancer.choose(b"", can, |_| 0).unwrap();
            *counts.entry(chosen).or_default() += 1;
        }
        counts
    }

    const THREE: [(&str, u32); 3] = [("a", 5), ("b", 3), ("c", 2)];

    #[tokio::test]
    async fn turns_match_the_weights_also_when_one_cannot_be_used() {
        let balancer = balancer(Balance::Weighted, &THREE).await;
        let all = counts(&balancer, 10_000, |_| true);
        assert_eq!(all, [(0, 5000), (1, 3000), (2, 2000)].into());
        let two = counts(&balancer, 10_000, |n| n != 0);
        assert_eq!(two, [(1, 6000), (2, 4000)].into());
    }

    #[tokio::test]
    async fn of_two_the_less_busy_is_taken() {
        let balancer = balancer(Balance::LeastRequests, &[("a", 1), ("b", 1)]).await;
        for _ in 0..1000 {
            assert_eq!(balancer.choose(b"", |_| true, |n| n), Some(0));
            assert_eq!(balancer.choose(b"", |n| n == 1, |n| n), Some(1));
        }
    }

    #[tokio::test]
    async fn a_key_keeps_its_server_and_moves_only_when_that_cannot_be_used() {
        let by = Balance::Consistent(ConsistentBy::default());
        let three = balancer(by, &[("a", 1), ("b", 1), ("c", 1)]).await;
        let two = balancer(by, &[("c", 1), ("a", 1)]).await;
        let mut servers: HashMap<usize, u32> = HashMap::new();
        for key in (0..1000).map(|n| format!("key-{n}")) {
            let key = key.as_bytes();
            let chosen = three.choose(key, |_| true, |_| 0).unwrap();
            assert_eq!(three.choose(key, |_| true, |_| 0), Some(chosen));
            let other = three.choose(key, |n| n != 1, |_| 0).unwrap();
            assert!(chosen == 1 || other == chosen);
            // The same names in another order, without one: nobody else moves.
            let moved = two.choose(key, |_| true, |_| 0).unwrap();
            assert_eq!(moved, if other == 2 { 0 } else { 1 });
            *servers.entry(chosen).or_default() += 1;
        }
        assert!(
            servers.values().all(|n| (200..500).contains(n)),
            "{servers:?}"
        );
    }

    #[tokio::test]
    async fn none_is_chosen_when_none_can_be_used() {
        for balance in [
            Balance::Weighted,
            Balance::Random,
            Balance::LeastRequests,
            Balance::Consistent(ConsistentBy::default()),
        ] {
            let balancer = balancer(balance, &THREE).await;
            assert_eq!(balancer.choose(b"x", |_| false, |_| 0), None);
            assert_eq!(balancer.choose(b"x", |n| n == 2, |_| 0), Some(2));
        }
    }
}
