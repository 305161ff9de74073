//! A replica is what its main was at the replica's timestamp.

use std::{collections::BTreeMap, time::Duration};

use bolt_server::Version;
use rand::{Rng, SeedableRng, rngs::StdRng, seq::IndexedRandom};

use super::{OnDisk, cluster, content, modes, seeds, watch::Watch, write};
use crate::{clients::prepare, network::Network};

const REPLICAS: [&str; 2] = ["b", "c"];

/// What main looked like, by timestamp.
type States = BTreeMap<u64, Vec<String>>;

fn note(network: &mut Network, states: &mut States) {
    let durable = OnDisk::read(network, "a").durable();
    let content = content(network, "a");
    if let Some(before) = states.insert(durable, content.clone()) {
        assert_eq!(before, content, "main changed without a commit");
    }
}

/// Compares a replica that runs; the result is whether it could be compared.
fn check(network: &mut Network, states: &States, replica: &str, run: &str) -> bool {
    if !network.is_ready(replica) {
        return false;
    }
    let before = OnDisk::read(network, replica);
    if before.is_undecided() {
        // A prepared change of the schema shows before it is decided, as an enum does on MAIN.
        return false;
    }
    let seen = content(network, replica);
    if OnDisk::read(network, replica) != before {
        // It went on meanwhile.
        return false;
    }
    let before = before.durable();
    let Some(expected) = states.get(&before) else {
        return false;
    };
    assert_eq!(&seen, expected, "{run}: {replica} at {before}");
    true
}

fn run(version: Version, modes: [&str; 2], seed: u64) {
    let run = format!("seed {seed}, {modes:?} on {version}");
    let mut random = StdRng::seed_from_u64(seed);
    let mut network = cluster(version, &["a", "b", "c"]);
    let mut states = States::new();
    let watch = Watch::on(&mut network, seed);
    let enums = !modes.contains(&"STRICT_SYNC");
    for (replica, mode) in REPLICAS.iter().zip(modes) {
        if random.random_bool(0.4) {
            let _ = network.query("a", &write(&mut random, 1, enums));
        }
        network.attach("a", replica, mode);
    }
    note(&mut network, &mut states);
    for token in 2..30 {
        let replica = *REPLICAS.choose(&mut random).unwrap();
        match random.random_range(0..16) {
            0 => network.kill(replica),
            1 | 2 => {
                for replica in REPLICAS {
                    if !network.is_ready(replica) {
                        network.start(replica);
                        network.until_ready(replica);
                    }
                }
            }
            3 => {
                // In the middle of a commit.
                let client = network.client("a");
                let query = write(&mut random, token, enums);
                network.request(&client, bolt_server::Request::Begin(Default::default()));
                let _ = network.run_on(&client, &query);
                network.send_request(&client, bolt_server::Request::Commit);
                network.run(Duration::from_micros(random.random_range(0..3000)));
                network.restart("a");
            }
            4 => watch.faults.set(random.random_range(0.0..0.2)),
            5 | 6 => watch.faults.set(0.0),
            7 => {
                let _ = network.query("a", "CREATE SNAPSHOT");
            }
            8 => {
                let client = network.client("a");
                network.send_request(&client, prepare("MATCH (n) RETURN n"));
                network.run(Duration::from_millis(random.random_range(0..4000)));
            }
            _ => network.run(Duration::from_millis(random.random_range(0..1500))),
        }
        note(&mut network, &mut states);
        let _ = network.query("a", &write(&mut random, token, enums));
        note(&mut network, &mut states);
        for replica in REPLICAS {
            check(&mut network, &states, replica, &run);
        }
    }
    watch.faults.set(0.0);
    for replica in REPLICAS {
        if !network.is_ready(replica) {
            network.start(replica);
            network.until_ready(replica);
        }
    }
    network.run(Duration::from_secs(60));
    // A commit tells a cached position from a real one.
    let limit = network.now + Duration::from_secs(200);
    loop {
        let committed = network.query("a", "CREATE (n:Probe) DELETE n").is_ok();
        network.run(Duration::from_millis(2700));
        let ready = |network: &mut Network, replica: &&str| network.status("a", replica) == "ready";
        if committed && REPLICAS.iter().all(|replica| ready(&mut network, replica)) {
            break;
        }
        assert!(network.now < limit, "{run} does not settle");
    }
    note(&mut network, &mut states);
    let durable = OnDisk::read(&mut network, "a").durable();
    for replica in REPLICAS {
        assert_eq!(
            OnDisk::read(&mut network, replica).durable(),
            durable,
            "{run}: {replica}"
        );
        assert!(check(&mut network, &states, replica, &run));
        network.restart(replica);
        assert!(check(&mut network, &states, replica, &run));
    }
}

#[test]
fn a_replica_is_what_its_main_was_at_that_timestamp() {
    for version in Version::ALL {
        for seed in seeds(6) {
            // Not SYNC beside STRICT_SYNC, which Memgraph has broken.
            for mode in modes(version) {
                run(version, [mode, "ASYNC"], seed);
            }
        }
    }
}
