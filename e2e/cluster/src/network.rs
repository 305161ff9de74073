//! The cluster's network on the host: a bridge with a cable to each box, and routes. Nothing of it leaves the machine.

use std::net::Ipv4Addr;

use anyhow::Result;

use crate::address::{AddressPlan, BoxName, Range};
use crate::process::{self, command};

/// Routes with this preference are used only where no other one fits.
const LAST_RESORT: &str = "4278198272";

/// Routes with this preference go before those of [`LAST_RESORT`]. Not 0, which `ip route del` takes for any.
const PREFERRED: &str = "1";

/// Makes the cluster's addresses unreachable, and then the bridge: at no time is there a way for a packet to one of them
/// but to this machine's own boxes.
///
/// # Errors
/// When a route or the bridge cannot be made.
pub fn make(plan: AddressPlan) -> Result<()> {
    for range in plan.ranges() {
        ip(&[
            "route",
            "replace",
            "unreachable",
            &range.to_string(),
            "metric",
            LAST_RESORT,
        ])?;
    }
    let bridge = plan.bridge();
    ip(&["link", "add", &bridge, "type", "bridge"])?;
    ip(&[
        "addr",
        "add",
        &format!("{}/{}", plan.host(), plan.machines().prefix),
        "dev",
        &bridge,
    ])?;
    ip(&["link", "set", &bridge, "up"])
}

/// Connects a box, whose network namespace is that of a process, with the bridge.
///
/// # Errors
/// When the process has ended or the bridge does not exist.
pub fn connect(plan: AddressPlan, name: BoxName, pid: i32) -> Result<()> {
    let (cable, pid) = (plan.cable(name), pid.to_string());
    // After a power cut the kernel takes the old cable away, but not at once.
    if link_exists(&cable) {
        process::succeeds(&mut command("ip", ["link", "del", &cable]));
    }
    ip(&[
        "link", "add", &cable, "type", "veth", "peer", "name", "eth0", "netns", &pid,
    ])?;
    ip(&["link", "set", &cable, "master", &plan.bridge(), "up"])?;
    if let BoxName::Node(number) = name {
        let (pods, node) = (plan.pods_of(number).to_string(), plan.address(name).to_string());
        ip(&["route", "replace", &pods, "via", &node])?;
    }
    Ok(())
}

/// Sends the host's packets for Services to these nodes, and nowhere if there are none.
///
/// # Errors
/// When the route cannot be made.
pub fn route_services(plan: AddressPlan, nodes: &[BoxName]) -> Result<()> {
    let services = plan.services().to_string();
    if nodes.is_empty() {
        // Fails when there is none, as is wanted.
        process::succeeds(&mut command(
            "ip",
            ["route", "del", &services, "metric", PREFERRED],
        ));
        return Ok(());
    }
    let addresses: Vec<Ipv4Addr> = nodes.iter().map(|node| plan.address(*node)).collect();
    process::run(
        command("ip", ["route", "replace", &services, "metric", PREFERRED]).args(next_hops(&addresses)),
    )
}

/// The words of `ip route` that share packets out among some addresses.
pub fn next_hops(addresses: &[Ipv4Addr]) -> Vec<String> {
    let hop = |address: &Ipv4Addr| ["nexthop".to_owned(), "via".to_owned(), address.to_string()];
    addresses.iter().flat_map(hop).collect()
}

/// Removes the bridge and all its cables, and at last the routes. What does not exist is no error.
///
/// # Errors
/// When something that exists cannot be removed.
pub fn remove(plan: AddressPlan) -> Result<()> {
    let bridge = plan.bridge();
    let all_boxes =
        std::iter::once(BoxName::ControlPlane).chain((1..=crate::address::MAX_NODES).map(BoxName::Node));
    let cables = all_boxes.map(|name| plan.cable(name));
    for link in cables.chain([bridge]).filter(|link| link_exists(link)) {
        // A cable may vanish with its box between the two calls.
        process::run(&mut command("ip", ["link", "del", &link]))
            .or_else(|error| if link_exists(&link) { Err(error) } else { Ok(()) })?;
    }
    let unreachable = process::output(&mut command("ip", ["-4", "route", "show", "type", "unreachable"]))?;
    for range in plan.ranges() {
        if unreachable.contains(&range.to_string()) {
            ip(&[
                "route",
                "del",
                "unreachable",
                &range.to_string(),
                "metric",
                LAST_RESORT,
            ])?;
        }
    }
    Ok(())
}

/// All IPv4 destinations for which the host has a route, but for the default route.
///
/// # Errors
/// When `ip` fails.
pub fn host_routes() -> Result<Vec<Range>> {
    let routes = process::output(&mut command("ip", ["-4", "route", "show", "table", "all"]))?;
    Ok(parse_routes(&routes))
}

/// The destinations in the output of `ip route`: the first word of a line that is a range, after the route's type if any.
fn parse_routes(routes: &str) -> Vec<Range> {
    routes
        .lines()
        .filter_map(|line| line.split_whitespace().take(2).find_map(|word| word.parse().ok()))
        .collect()
}

fn link_exists(name: &str) -> bool {
    std::path::Path::new("/sys/class/net").join(name).exists()
}

fn ip(args: &[&str]) -> Result<()> {
    process::run(&mut command("ip", args))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn destinations_are_read_from_the_output_of_ip() {
        let routes = parse_routes(
            "default via 192.0.2.1 dev eth0 \n\
             192.0.2.0/24 dev eth0 proto kernel scope link src 192.0.2.2 \n\
             unreachable 10.96.0.0/16 metric 5 \n\
             local 127.0.0.0/8 dev lo table local proto kernel \n\
             broadcast 192.0.2.255 dev eth0 table local \n\
             10.96.0.0/16 \n\tnexthop via 172.30.0.11 dev e2e0 weight 1 \n",
        );
        let texts: Vec<_> = routes.iter().map(Range::to_string).collect();
        let expected = [
            "192.0.2.0/24",
            "10.96.0.0/16",
            "127.0.0.0/8",
            "192.0.2.255/32",
            "10.96.0.0/16",
        ];
        assert_eq!(texts, expected);
    }

    #[test]
    fn next_hops_are_listed_one_by_one() {
        let hops = next_hops(&[Ipv4Addr::new(172, 30, 0, 11), Ipv4Addr::new(172, 30, 0, 12)]);
        assert_eq!(hops.join(" "), "nexthop via 172.30.0.11 nexthop via 172.30.0.12");
    }
}
