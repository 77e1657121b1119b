//! Sets of networks, and who may come from where.
//!
//! Owns whether an address is in a set, which takes a look-up for each length of prefix that the set has, however many
//! networks it has. An IPv4 address that is written as an IPv6 one (`::ffff:192.0.2.1`) counts as the IPv4 address, in
//! a set and when it is looked up. Cannot fail.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use rustc_hash::FxHashSet;

/// The bits of `::ffff:0:0/96`, in which IPv6 writes IPv4 addresses.
const MAPPED_BITS: u8 = 96;

/// A set of networks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks {
    v4: Vec<SameLength<Ipv4Net>>,
    v6: Vec<SameLength<Ipv6Net>>,
}

/// The networks whose prefixes have one length.
#[derive(Clone, Debug, PartialEq, Eq)]
struct SameLength<N: std::hash::Hash + Eq> {
    length: u8,
    networks: FxHashSet<N>,
}

impl FromIterator<IpNet> for Networks {
    fn from_iter<T: IntoIterator<Item = IpNet>>(networks: T) -> Self {
        let mut set = Self::default();
        for network in networks {
            match unmapped(network.trunc()) {
                IpNet::V4(net) => add(&mut set.v4, net.prefix_len(), net),
                IpNet::V6(net) => add(&mut set.v6, net.prefix_len(), net),
            }
        }
        set
    }
}

impl Networks {
    /// Whether an address is in one of them.
    pub fn contain(&self, address: IpAddr) -> bool {
        match address.to_canonical() {
            IpAddr::V4(ip) => self.v4.iter().any(|same| {
                let network = Ipv4Net::new(ip, same.length).map(|net| net.trunc());
                network.is_ok_and(|network| same.networks.contains(&network))
            }),
            IpAddr::V6(ip) => self.v6.iter().any(|same| {
                let network = Ipv6Net::new(ip, same.length).map(|net| net.trunc());
                network.is_ok_and(|network| same.networks.contains(&network))
            }),
        }
    }
}

fn add<N: std::hash::Hash + Eq>(all: &mut Vec<SameLength<N>>, length: u8, network: N) {
    match all.iter_mut().find(|same| same.length == length) {
        Some(same) => drop(same.networks.insert(network)),
        None => all.push(SameLength {
            length,
            networks: FxHashSet::from_iter([network]),
        }),
    }
}

/// A network of mapped addresses as the IPv4 network that it stands for.
fn unmapped(network: IpNet) -> IpNet {
    if let IpNet::V6(net) = network
        && let Some(ip) = net.network().to_ipv4_mapped()
        && let Some(length) = net.prefix_len().checked_sub(MAPPED_BITS)
        && let Ok(net) = Ipv4Net::new(ip, length)
    {
        return IpNet::V4(net);
    }
    network
}

/// Who may come, by their address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AddressRules {
    /// Those that may, where not all may.
    pub allow: Option<Networks>,
    /// Those that may not, even if the other list has them.
    pub deny: Networks,
}

impl AddressRules {
    /// Whether one may come from this address. `None` stands for this machine: a socket that is not of IP.
    pub fn permit(&self, address: Option<IpAddr>) -> bool {
        let address = address.unwrap_or(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST));
        !self.deny.contain(address) && self.allow.as_ref().is_none_or(|set| set.contain(address))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(networks: &[&str]) -> Networks {
        networks
            .iter()
            .map(|net| net.parse::<IpNet>().unwrap())
            .collect()
    }

    #[test]
    fn a_set_has_what_its_networks_have() {
        let set = set(&[
            "10.0.0.0/8",
            "192.0.2.7/32",
            "2001:db8::/32",
            "::ffff:198.51.100.0/120",
        ]);
        for (address, is_in) in [
            ("10.255.0.1", true),
            ("11.0.0.1", false),
            ("192.0.2.7", true),
            ("192.0.2.8", false),
            ("::ffff:10.0.0.1", true),
            ("::ffff:11.0.0.1", false),
            ("198.51.100.9", true),
            ("::ffff:198.51.100.9", true),
            ("198.51.101.9", false),
            ("2001:db8:ffff::1", true),
            ("2001:db9::1", false),
            ("::10.0.0.1", false),
        ] {
            assert_eq!(set.contain(address.parse().unwrap()), is_in, "{address}");
        }
        assert!(!Networks::default().contain("127.0.0.1".parse().unwrap()));
        let all: Networks = ["0.0.0.0/0".parse::<IpNet>().unwrap()]
            .into_iter()
            .collect();
        assert!(all.contain("::ffff:1.2.3.4".parse().unwrap()));
        assert!(!all.contain("2001:db8::1".parse().unwrap()));
    }

    #[test]
    fn it_agrees_with_looking_at_each_network() {
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..200 {
            let networks: Vec<IpNet> = (0..random.usize(1..40))
                .map(|_| match random.bool() {
                    true => Ipv4Net::new(random.u32(..).into(), random.u8(0..=32)).map(IpNet::V4),
                    false => {
                        Ipv6Net::new(random.u128(..).into(), random.u8(0..=128)).map(IpNet::V6)
                    }
                })
                .map(Result::unwrap)
                .collect();
            let set: Networks = networks.iter().copied().collect();
            for _ in 0..50 {
                let near = networks[random.usize(..networks.len())].addr();
                let address: IpAddr = match (near, random.bool()) {
                    (IpAddr::V4(ip), true) => {
                        IpAddr::V4((u32::from(ip) ^ (1 << random.u32(0..32))).into())
                    }
                    (IpAddr::V4(ip), false) => IpAddr::V4(ip),
                    (IpAddr::V6(ip), true) => {
                        IpAddr::V6((u128::from(ip) ^ (1 << random.u32(0..128))).into())
                    }
                    (IpAddr::V6(ip), false) => IpAddr::V6(ip),
                };
                let naive = networks
                    .iter()
                    .any(|net| net.contains(&address.to_canonical()));
                assert_eq!(set.contain(address), naive, "{address} in {networks:?}");
            }
        }
    }

    #[test]
    fn what_is_denied_is_denied_even_if_it_is_allowed() {
        let ip = |text: &str| Some(text.parse().unwrap());
        let rules = AddressRules {
            allow: Some(set(&["10.0.0.0/8"])),
            deny: set(&["10.6.6.0/24"]),
        };
        assert!(rules.permit(ip("10.0.0.1")));
        assert!(!rules.permit(ip("10.6.6.6")));
        assert!(!rules.permit(ip("::ffff:10.6.6.6")));
        assert!(!rules.permit(ip("192.0.2.1")));
        assert!(!rules.permit(None));
        let rules = AddressRules {
            allow: None,
            ..rules
        };
        assert!(rules.permit(ip("192.0.2.1")) && rules.permit(None));
        assert!(!rules.permit(ip("10.6.6.6")));
        assert!(AddressRules::default().permit(ip("2001:db8::1")));
    }
}
