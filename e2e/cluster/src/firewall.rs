//! The host's firewall tables of a cluster: one that keeps its packets on this machine, one that breaks connections for
//! tests.

use anyhow::Result;

use crate::address::{AddressPlan, BoxName};
use crate::process::{self, command};

/// A broken connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    /// The machine whose cable is cut.
    pub machine: BoxName,
    /// Only between it and this other machine; without, between it and everything, the host included.
    pub from: Option<BoxName>,
    /// Only TCP connections to this port, in either direction; without, every packet.
    pub port: Option<u16>,
}

/// Makes both tables.
///
/// # Errors
/// When nft refuses them.
pub fn make(plan: AddressPlan) -> Result<()> {
    nft(&format!("{}{}", confinement(plan), faults(plan)))
}

/// Removes both tables. A table that does not exist is no error.
///
/// # Errors
/// When one cannot be removed.
pub fn remove(plan: AddressPlan) -> Result<()> {
    // `add` makes `delete` succeed whether or not the table exists.
    let table = plan.bridge();
    let of = |family: &str| format!("add table {family} {table}\ndelete table {family} {table}\n");
    nft(&format!("{}{}", of("inet"), of("bridge")))
}

/// Cuts a connection until [`heal`].
///
/// # Errors
/// When nft refuses it.
pub fn cut(plan: AddressPlan, cut: Cut) -> Result<()> {
    nft(&cut_elements(plan, cut))
}

/// Mends all connections.
///
/// # Errors
/// When nft refuses it.
pub fn heal(plan: AddressPlan) -> Result<()> {
    let table = plan.bridge();
    nft(&SETS
        .map(|(set, _)| format!("flush set bridge {table} {set}\n"))
        .concat())
}

/// Lets packets of the cluster's addresses pass over its own bridge only.
fn confinement(plan: AddressPlan) -> String {
    let bridge = plan.bridge();
    let ranges = plan.ranges().map(|range| range.to_string()).join(", ");
    format!(
        "table inet {bridge} {{
  chain forward {{
    type filter hook forward priority -10;
    iifname \"{bridge}\" oifname != \"{bridge}\" drop
    iifname != \"{bridge}\" oifname \"{bridge}\" drop
  }}
  chain output {{
    type filter hook output priority -10;
    ip daddr {{ {ranges} }} oifname != {{ \"{bridge}\", \"lo\" }} drop
  }}
}}
"
    )
}

/// The sets that [`cut`] fills, with the types of their elements.
const SETS: [(&str, &str); 4] = [
    ("machines", "ifname"),
    ("pairs", "ifname . ifname"),
    ("machine_ports", "ifname . inet_service"),
    ("pair_ports", "ifname . ifname . inet_service"),
];

fn faults(plan: AddressPlan) -> String {
    let sets = SETS
        .map(|(name, kind)| format!("  set {name} {{ type {kind}; }}\n"))
        .concat();
    format!(
        "table bridge {table} {{
{sets}  chain forward {{
    type filter hook forward priority -300;
    iifname @machines drop
    oifname @machines drop
    iifname . oifname @pairs drop
    iifname . tcp dport @machine_ports drop
    iifname . tcp sport @machine_ports drop
    oifname . tcp dport @machine_ports drop
    oifname . tcp sport @machine_ports drop
    iifname . oifname . tcp dport @pair_ports drop
    iifname . oifname . tcp sport @pair_ports drop
  }}
  chain input {{
    type filter hook input priority -300;
    iifname @machines drop
    iifname . tcp dport @machine_ports drop
    iifname . tcp sport @machine_ports drop
  }}
  chain output {{
    type filter hook output priority -300;
    oifname @machines drop
    oifname . tcp dport @machine_ports drop
    oifname . tcp sport @machine_ports drop
  }}
}}
",
        table = plan.bridge(),
    )
}

fn cut_elements(plan: AddressPlan, cut: Cut) -> String {
    let cable = |name: BoxName| format!("\"{}\"", plan.cable(name));
    let own = cable(cut.machine);
    let (set, elements) = match (cut.from.map(cable), cut.port) {
        (None, None) => ("machines", own),
        (None, Some(port)) => ("machine_ports", format!("{own} . {port}")),
        (Some(other), None) => ("pairs", format!("{own} . {other}, {other} . {own}")),
        (Some(other), Some(port)) => (
            "pair_ports",
            format!("{own} . {other} . {port}, {other} . {own} . {port}"),
        ),
    };
    format!("add element bridge {} {set} {{ {elements} }}\n", plan.bridge())
}

fn nft(rules: &str) -> Result<()> {
    process::output_with_input(&mut command("nft", ["-f", "-"]), rules).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn elements(from: Option<u8>, port: Option<u16>) -> String {
        let plan = AddressPlan::all().next().unwrap();
        cut_elements(
            plan,
            Cut {
                machine: BoxName::Node(1),
                from: from.map(BoxName::Node),
                port,
            },
        )
    }

    #[test]
    fn each_kind_of_cut_has_its_set() {
        assert_eq!(
            elements(None, None),
            "add element bridge e2e0 machines { \"e2e0-node1\" }\n"
        );
        assert_eq!(
            elements(None, Some(7687)),
            "add element bridge e2e0 machine_ports { \"e2e0-node1\" . 7687 }\n"
        );
        assert_eq!(
            elements(Some(2), None),
            "add element bridge e2e0 pairs { \"e2e0-node1\" . \"e2e0-node2\", \"e2e0-node2\" . \"e2e0-node1\" }\n"
        );
        assert!(
            elements(Some(2), Some(10000)).contains("pair_ports { \"e2e0-node1\" . \"e2e0-node2\" . 10000, ")
        );
    }

    #[test]
    fn every_set_is_used_and_every_range_confined() {
        let plan = AddressPlan::all().nth(3).unwrap();
        let rules = faults(plan);
        for (set, _) in SETS {
            assert!(rules.contains(&format!("@{set} drop")), "{set}");
        }
        for range in plan.ranges() {
            assert!(confinement(plan).contains(&range.to_string()));
        }
    }
}
