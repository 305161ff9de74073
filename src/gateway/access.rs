//! From where the clients of a port may come, and whose word counts for it. Pure.

use std::{net::IpAddr, sync::Arc};

use ipnet::IpNet;

use crate::api::{Network, ProxyProtocolSpec};

/// From where the clients of one port may come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// None: from everywhere.
    clients: Option<Networks>,
    /// Whose connections begin with the address of a client. None: nobody's.
    balancers: Option<Networks>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Networks(Arc<[IpNet]>);

impl Access {
    /// What the spec says of a port. No `clients`: from everywhere.
    #[must_use]
    pub fn new(clients: &[Network], proxy_protocol: Option<&ProxyProtocolSpec>) -> Self {
        Self {
            clients: (!clients.is_empty()).then(|| Networks::of(clients)),
            balancers: proxy_protocol.map(|spec| Networks::of(&spec.balancers)),
        }
    }

    /// Whether a client of this address is served.
    #[must_use]
    pub fn admits(&self, client: IpAddr) -> bool {
        self.clients.as_ref().is_none_or(|clients| clients.have(client))
    }

    /// Whether connections from this address begin with a header that names the client.
    #[must_use]
    pub fn is_balancer(&self, peer: IpAddr) -> bool {
        self.balancers
            .as_ref()
            .is_some_and(|balancers| balancers.have(peer))
    }
}

impl Networks {
    fn of(networks: &[Network]) -> Self {
        Self(networks.iter().map(|network| network.0).collect())
    }

    fn have(&self, address: IpAddr) -> bool {
        // An IPv4 address may come as one of IPv6.
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn networks(texts: &[&str]) -> Vec<Network> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn without_ranges_everybody_is_a_client_and_nobody_a_balancer() {
        let access = Access::new(&[], None);
        assert_eq!(access, Access::default());
        for address in ["10.0.0.1", "2001:db8::1", "::ffff:10.0.0.1"] {
            assert!(access.admits(ip(address)));
            assert!(!access.is_balancer(ip(address)));
        }
    }

    #[test]
    fn an_address_counts_by_the_bits_of_its_network() {
        let access = Access::new(&networks(&["10.1.2.3/8", "192.0.2.7/32", "2001:db8::/32"]), None);
        for inside in ["10.255.0.1", "192.0.2.7", "::ffff:10.9.9.9", "2001:db8:ffff::1"] {
            assert!(access.admits(ip(inside)), "{inside}");
        }
        for outside in [
            "11.0.0.1",
            "192.0.2.8",
            "::ffff:11.0.0.1",
            "2001:db9::1",
            "::a00:1",
        ] {
            assert!(!access.admits(ip(outside)), "{outside}");
        }
    }

    #[test]
    fn balancers_and_clients_are_different_things() {
        let balancers = networks(&["10.0.0.0/24"]);
        let access = Access::new(
            &networks(&["192.0.2.0/24"]),
            Some(&ProxyProtocolSpec { balancers }),
        );
        assert!(access.is_balancer(ip("10.0.0.1")) && !access.admits(ip("10.0.0.1")));
        assert!(!access.is_balancer(ip("192.0.2.1")) && access.admits(ip("192.0.2.1")));
    }
}
