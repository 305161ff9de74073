//! Tables for what a state of the cluster allows.

use std::{net::SocketAddr, time::Duration};

use super::cluster::{Build, demo, replica};
use crate::{
    api::{
        ConnectionRateLimit, DurationString, Health, InstanceRole, InstanceStatus, MemgraphCluster,
        RegistrationMode,
    },
    gateway::{
        access::Access,
        rate::Rate,
        routes::{Duty, Limits, Preference, Routes, Standing, Target},
    },
};

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// Name, kind and whether new sessions may go there.
fn readers(cluster: &MemgraphCluster) -> Vec<(String, Preference, bool)> {
    let routes = Routes::derive(cluster);
    routes
        .read
        .into_iter()
        .map(|offer| (offer.target.instance, offer.preference, offer.accepts_new))
        .collect()
}

fn with(change: impl FnOnce(&mut InstanceStatus)) -> MemgraphCluster {
    let mut instance = replica("demo-1", "10.0.0.11");
    change(&mut instance);
    demo().instances([instance])
}

#[test]
fn writers_are_led_to_the_main_of_an_open_ledger() {
    let routes = Routes::derive(&demo());
    assert_eq!(
        routes.read_write,
        Some(Target {
            cluster: "uid-1".to_owned(),
            instance: "demo-0".to_owned(),
            address: address("10.0.0.10:7687"),
            duty: Duty::Main { since: 7 },
        })
    );
    assert_eq!(
        (routes.cluster.as_deref(), routes.term, routes.standing),
        (Some("uid-1"), 7, Standing::Known)
    );
}

#[test]
fn the_status_tells_who_takes_tls_only_and_the_ledger_where_main_is() {
    let mut cluster = demo().instances([replica("demo-0", "10.0.0.10"), replica("demo-1", "10.0.0.11")]);
    assert!(Routes::derive(&cluster).encrypted.is_empty());
    let instances = &mut cluster.status.as_mut().unwrap().instances;
    instances[0].tls = true;
    instances[0].address = None;
    let main = [address("10.0.0.10:7687")];
    assert_eq!(Routes::derive(&cluster).encrypted, main.into());
    assert_eq!(Routes::derive(&cluster.closed()).encrypted, main.into());
}

#[test]
fn writers_are_led_nowhere_without_an_open_ledger_and_an_address() {
    let mut without_ledger = demo();
    without_ledger.status.as_mut().unwrap().ledger = None;
    let mut without_status = demo();
    without_status.status = None;
    for cluster in [
        demo().closed(),
        demo().main("demo-0", ""),
        demo().main("demo-0", "demo-0.demo-instances"),
        without_ledger,
        without_status,
    ] {
        assert_eq!(Routes::derive(&cluster).read_write, None, "{:?}", cluster.status);
    }
}

#[test]
fn an_address_may_bring_its_own_port() {
    for (text, expected) in [
        ("10.0.0.10", "10.0.0.10:7687"),
        ("10.0.0.10:9000", "10.0.0.10:9000"),
        ("fd00::1", "[fd00::1]:7687"),
        ("[fd00::1]:9000", "[fd00::1]:9000"),
    ] {
        let target = Routes::derive(&demo().main("demo-0", text)).read_write.unwrap();
        assert_eq!(target.address, address(expected));
    }
}

#[test]
fn readers_are_led_to_replicas_that_are_up_registered_and_ready() {
    use Preference::{Async, Sync};
    let one = |preference, accepts_new| vec![("demo-1".to_owned(), preference, accepts_new)];
    assert_eq!(readers(&with(|_| {})), one(Async, true));
    assert_eq!(
        readers(&with(|i| i.mode = Some(RegistrationMode::StrictSync))),
        one(Sync, true)
    );
    assert_eq!(
        readers(&with(|i| i.mode = Some(RegistrationMode::Sync))),
        one(Sync, true)
    );
}

#[test]
fn a_fenced_instance_gets_no_reader() {
    let fenced = with(|_| {}).spec(|spec| spec.fenced_instances = vec!["demo-1".to_owned()]);
    assert_eq!(readers(&fenced), []);
}

#[test]
fn a_replica_that_lags_or_lost_its_registration_keeps_its_readers_and_gets_no_new_ones() {
    for cluster in [
        with(|i| i.data_status = Some("replicating".to_owned())),
        with(|i| i.data_status = Some("recovery".to_owned())),
        with(|i| i.data_status = None),
        with(|i| i.mode = None),
    ] {
        let readers = readers(&cluster);
        assert_eq!(readers.len(), 1, "{:?}", cluster.status);
        assert!(!readers[0].2, "{:?}", cluster.status);
    }
}

#[test]
fn an_instance_that_cannot_serve_keeps_no_reader() {
    for cluster in [
        with(|i| i.health = Health::Silent),
        with(|i| i.health = Health::Down),
        with(|i| i.role = InstanceRole::Main),
        with(|i| i.role = InstanceRole::Deposed),
        with(|i| i.role = InstanceRole::Unknown),
        with(|i| i.data_status = Some("invalid".to_owned())),
        with(|i| i.data_status = Some("diverged".to_owned())),
        with(|i| i.address = None),
        with(|i| i.address = Some(String::new())),
    ] {
        assert_eq!(readers(&cluster), [], "{:?}", cluster.status);
    }
}

#[test]
fn the_ledgers_main_is_no_replica_even_before_it_is_promoted() {
    let next_main = with(|_| {}).main("demo-1", "10.0.0.11").term(8);
    assert_eq!(readers(&next_main), []);
    assert_eq!(readers(&next_main.closed()), []);
}

#[test]
fn replicas_serve_readers_while_the_route_is_closed() {
    assert_eq!(readers(&with(|_| {}).closed()).len(), 1);
}

#[test]
fn main_serves_readers_only_where_the_spec_allows_it_and_the_route_is_open() {
    let allowed = demo().spec(|s| s.gateway.read.fallback_to_main = true);
    let main = ("demo-0".to_owned(), Preference::Main, true);
    assert_eq!(readers(&demo()), []);
    assert_eq!(readers(&allowed), [main]);
    assert_eq!(
        Routes::derive(&allowed).read[0].target.duty,
        Duty::Main { since: 7 }
    );
    assert_eq!(readers(&allowed.closed()), []);
}

#[test]
fn nobody_reads_where_the_spec_has_no_read_port() {
    let disabled = with(|_| {}).spec(|s| s.gateway.read.enabled = Some(false));
    assert_eq!(readers(&disabled), []);
    assert!(Routes::derive(&disabled).read_write.is_some());
}

#[test]
fn the_bounds_are_those_of_the_spec() {
    let cluster = demo().spec(|s| {
        s.gateway.read_write.max_connections = 5;
        s.gateway.read.max_connections = 6;
        s.gateway.connect_timeout = DurationString::from_millis(250);
        s.gateway.idle_timeout = DurationString::from_millis(600_000);
        s.gateway.connection_rate_limit = Some(ConnectionRateLimit {
            per_second: 100,
            burst: None,
        });
        s.gateway.max_held_connections = 7;
        s.gateway.hold_timeout = DurationString::from_millis(3_000);
    });
    assert_eq!(
        Routes::derive(&cluster).limits,
        Limits {
            read_write: 5,
            read: 6,
            read_write_access: Access::default(),
            read_access: Access::default(),
            connect_timeout: Duration::from_millis(250),
            idle_timeout: Duration::from_secs(600),
            rate: Some(Rate {
                per_second: 100,
                burst: 200,
            }),
            held: 7,
            hold_timeout: Duration::from_secs(3),
        }
    );
}
