//! Which addresses and interface names a cluster uses: pure arithmetic on its index.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

/// Largest number of nodes of a cluster.
pub const MAX_NODES: u8 = 9;

/// Largest number of clusters on a machine at once.
pub const MAX_CLUSTERS: u8 = 8;

/// Port of the API server, as on most clusters.
pub const API_PORT: u16 = 6443;

/// A machine of the cluster. Its text form is `cp`, `node1`, `node2`, ..
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BoxName {
    /// The control plane: etcd, API server, controllers, scheduler.
    ControlPlane,
    /// A node that runs pods, counted from 1.
    Node(u8),
}

impl fmt::Display for BoxName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ControlPlane => f.write_str("cp"),
            Self::Node(number) => write!(f, "node{number}"),
        }
    }
}

impl FromStr for BoxName {
    type Err = anyhow::Error;

    fn from_str(name: &str) -> Result<Self> {
        if name == "cp" {
            return Ok(Self::ControlPlane);
        }
        let number = name.strip_prefix("node").and_then(|digits| digits.parse().ok());
        match number {
            Some(number) if (1..=MAX_NODES).contains(&number) => Ok(Self::Node(number)),
            _ => bail!("there is no machine '{name}': use cp or node1 to node{MAX_NODES}"),
        }
    }
}

/// An IPv4 range in CIDR form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// First address.
    pub network: Ipv4Addr,
    /// Number of leading bits that all its addresses share.
    pub prefix: u8,
}

impl Range {
    const fn new(a: u8, b: u8, c: u8, prefix: u8) -> Self {
        Self {
            network: Ipv4Addr::new(a, b, c, 0),
            prefix,
        }
    }

    /// Whether the two ranges have an address in common.
    pub fn overlaps(self, other: Self) -> bool {
        let shared = self.prefix.min(other.prefix);
        let mask = u32::MAX.checked_shl(32 - u32::from(shared)).unwrap_or(0);
        self.network.to_bits() & mask == other.network.to_bits() & mask
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.prefix)
    }
}

impl FromStr for Range {
    type Err = anyhow::Error;

    /// Reads `10.0.0.0/8`, or a single address.
    fn from_str(text: &str) -> Result<Self> {
        let (network, prefix) = text.split_once('/').unwrap_or((text, "32"));
        let network = network
            .parse()
            .with_context(|| format!("'{text}' is not an IPv4 range"))?;
        let prefix = prefix.parse().ok().filter(|prefix| *prefix <= 32);
        Ok(Self {
            network,
            prefix: prefix.with_context(|| format!("'{text}' is not an IPv4 range"))?,
        })
    }
}

/// The addresses of one cluster. Clusters with different indices share none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AddressPlan {
    index: u8,
}

impl AddressPlan {
    /// The plans that a new cluster may choose from, the preferred one first.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..MAX_CLUSTERS).map(|index| Self { index })
    }

    /// Name of the host's bridge that joins the boxes, and of the firewall tables.
    pub fn bridge(self) -> String {
        format!("e2e{}", self.index)
    }

    /// Name of the host's end of the cable to a box (at most 15 characters, the kernel's limit).
    pub fn cable(self, name: BoxName) -> String {
        format!("e2e{}-{name}", self.index)
    }

    /// The boxes' own addresses, and the host's among them.
    pub fn machines(self) -> Range {
        Range::new(172, 30, self.index, 24)
    }

    /// The pods' addresses, on all nodes.
    pub fn pods(self) -> Range {
        Range::new(10, 244 + self.index, 0, 16)
    }

    /// The addresses of the pods of one node.
    pub fn pods_of(self, node: u8) -> Range {
        Range::new(10, 244 + self.index, node, 24)
    }

    /// The Services' cluster IPs.
    pub fn services(self) -> Range {
        Range::new(10, 96 + self.index, 0, 16)
    }

    /// Everything that must never leave the machine.
    pub fn ranges(self) -> [Range; 3] {
        [self.machines(), self.pods(), self.services()]
    }

    /// The host's address on the bridge.
    pub fn host(self) -> Ipv4Addr {
        self.machine(1)
    }

    /// A box's address.
    pub fn address(self, name: BoxName) -> Ipv4Addr {
        match name {
            BoxName::ControlPlane => self.machine(2),
            BoxName::Node(number) => self.machine(10 + number),
        }
    }

    /// Cluster IP of the Service `kubernetes`.
    pub fn api_service(self) -> Ipv4Addr {
        Ipv4Addr::new(10, 96 + self.index, 0, 1)
    }

    /// Cluster IP of the cluster's DNS.
    pub fn dns_service(self) -> Ipv4Addr {
        Ipv4Addr::new(10, 96 + self.index, 0, 10)
    }

    fn machine(self, last: u8) -> Ipv4Addr {
        Ipv4Addr::new(172, 30, self.index, last)
    }
}

/// The first plan that neither another cluster uses nor a route of the host that would take precedence. (A wider route, such
/// as a VPN's, gives way to the cluster's.)
///
/// # Errors
/// When all are taken.
pub fn choose(used: &[AddressPlan], routes: &[Range]) -> Result<AddressPlan> {
    let taken = |own: &Range| {
        routes
            .iter()
            .any(|route| own.overlaps(*route) && route.prefix >= own.prefix)
    };
    let free = |plan: &AddressPlan| !used.contains(plan) && !plan.ranges().iter().any(taken);
    AddressPlan::all().find(free).context(
        "no free address ranges: this machine has other clusters, or routes, in all of 172.30.0.0-172.30.7.0, \
         10.244-10.251 and 10.96-10.103; remove a cluster with `devcluster down --name NAME`",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(text: &str) -> Range {
        text.parse().unwrap()
    }

    #[test]
    fn no_two_clusters_share_an_address() {
        for one in AddressPlan::all() {
            for other in AddressPlan::all().filter(|other| *other != one) {
                for (a, b) in one
                    .ranges()
                    .into_iter()
                    .flat_map(|a| other.ranges().map(|b| (a, b)))
                {
                    assert!(!a.overlaps(b), "{a} overlaps {b}");
                }
            }
        }
    }

    #[test]
    fn every_address_lies_in_its_range() {
        for plan in AddressPlan::all() {
            let host = |address: Ipv4Addr| Range {
                network: address,
                prefix: 32,
            };
            assert!(plan.machines().overlaps(host(plan.host())));
            assert!(plan.services().overlaps(host(plan.dns_service())));
            assert!(plan.services().overlaps(host(plan.api_service())));
            for node in 1..=MAX_NODES {
                assert!(plan.machines().overlaps(host(plan.address(BoxName::Node(node)))));
                assert!(plan.pods().overlaps(plan.pods_of(node)));
            }
        }
    }

    #[test]
    fn interface_names_fit_the_kernel() {
        for plan in AddressPlan::all() {
            assert!(plan.cable(BoxName::Node(MAX_NODES)).len() <= 15);
        }
    }

    #[test]
    fn ranges_overlap_when_one_holds_the_other() {
        assert!(range("172.30.0.0/16").overlaps(range("172.30.3.0/24")));
        assert!(range("0.0.0.0/0").overlaps(range("10.0.0.0/8")));
        assert!(!range("172.30.0.0/24").overlaps(range("172.30.1.0/24")));
        assert!(range("172.30.0.1").overlaps(range("172.30.0.0/24")));
    }

    #[test]
    fn the_first_free_plan_is_chosen() {
        let plans: Vec<_> = AddressPlan::all().collect();
        assert_eq!(choose(&[], &[]).unwrap(), plans[0]);
        assert_eq!(choose(&plans[..1], &[]).unwrap(), plans[1]);
        assert_eq!(choose(&plans[..1], &[range("10.245.7.0/24")]).unwrap(), plans[2]);
        assert_eq!(
            choose(&[], &[range("10.0.0.0/8")]).unwrap(),
            plans[0],
            "a wider route gives way"
        );
        assert!(choose(&plans, &[]).is_err());
    }

    #[test]
    fn box_names_read_as_they_are_written() {
        for name in [BoxName::ControlPlane, BoxName::Node(1), BoxName::Node(MAX_NODES)] {
            assert_eq!(name.to_string().parse::<BoxName>().unwrap(), name);
        }
        for wrong in ["", "node", "node0", "node10", "cp1", "Node1"] {
            assert!(wrong.parse::<BoxName>().is_err(), "{wrong}");
        }
    }
}
