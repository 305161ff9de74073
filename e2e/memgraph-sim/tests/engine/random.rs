//! Random schedules: crashes, cuts and lost messages, then peace; all copies must end up the same.

use std::{
    hash::{DefaultHasher, Hasher},
    time::Duration,
};

use bolt_server::{Value, Version};
use rand::{Rng, SeedableRng, rngs::StdRng};

use crate::{clients::Rows, network::Network};

const REPLICAS: [&str; 2] = ["b", "c"];

/// What happened, for comparison and for reading.
type Trace = Vec<String>;

fn tokens(network: &mut Network, member: &str) -> Rows {
    network.must(member, "MATCH (n:T) RETURN n.token ORDER BY n.token")
}

/// One schedule with a main `a`, a replica `b` in the given mode and an ASYNC replica `c`.
fn run(version: Version, mode: &str, seed: u64) -> (Trace, Rows) {
    let mut random = StdRng::seed_from_u64(seed);
    let mut network = Network::new(version, &["a", "b", "c"]);
    network.attach("a", "b", mode);
    network.attach("a", "c", "ASYNC");
    let mut trace = Trace::new();
    let mut acknowledged = Vec::new();
    for token in 0..40_i64 {
        let step = random.random_range(0..10);
        match step {
            0 => {
                let replica = REPLICAS[random.random_range(0..2)];
                network.kill(replica);
                network.run(Duration::from_millis(random.random_range(0..5000)));
                network.start(replica);
            }
            1 if random.random_bool(0.5) => network.restart("a"),
            2 => {
                let replica = REPLICAS[random.random_range(0..2)];
                network.black_hole(replica);
            }
            3 => network.heal(),
            4 => {
                let loss = random.random_range(0.0..0.3);
                let mut dice = StdRng::seed_from_u64(random.random());
                network.lose(move |_, _, _| dice.random_bool(loss));
            }
            5 => {
                let _ = network.query("a", "CREATE SNAPSHOT");
            }
            _ => network.run(Duration::from_millis(random.random_range(0..3000))),
        }
        let result = network.query("a", &format!("CREATE (:T {{token: {token}}})"));
        if result.is_ok() {
            acknowledged.push(vec![Value::Integer(token)]);
        }
        trace.push(format!("{step} at {:?}: {result:?}", network.now));
    }
    network.heal();
    let limit = network.now + Duration::from_secs(300);
    loop {
        // A commit tells a cached position from a real one.
        let committed = network.query("a", "CREATE (n:Probe) DELETE n").is_ok();
        // Not in step with the pings: a commit during each recovery would go on for ever.
        network.run(Duration::from_millis(2700));
        let settled = REPLICAS.iter().all(|replica| {
            network
                .replica("a", replica)
                .is_some_and(|(_, behind, status)| behind == 0 && status == "ready")
        });
        if committed && settled {
            break;
        }
        assert!(
            network.now < limit,
            "seed {seed} {mode} on {version} does not settle: {trace:#?}"
        );
    }
    let main = tokens(&mut network, "a");
    for token in &acknowledged {
        assert!(
            main.contains(token),
            "seed {seed} {mode} on {version}: {token:?} was acknowledged: {trace:#?}"
        );
    }
    for replica in REPLICAS {
        assert_eq!(
            tokens(&mut network, replica),
            main,
            "seed {seed} {mode} on {version}: {replica}: {trace:#?}"
        );
        network.restart(replica);
        assert_eq!(
            tokens(&mut network, replica),
            main,
            "seed {seed} {mode} on {version}: {replica} restarted"
        );
    }
    network.restart("a");
    assert_eq!(
        tokens(&mut network, "a"),
        main,
        "seed {seed} {mode} on {version}: main restarted"
    );
    (trace, main)
}

#[test]
fn all_copies_are_the_same_once_peace_has_come() {
    for seed in 0..20 {
        for mode in ["ASYNC", "SYNC", "STRICT_SYNC"] {
            run(Version::default(), mode, seed);
        }
        run(Version::V3_5, "STRICT_SYNC", seed);
        run(Version::Head, "STRICT_SYNC", seed);
    }
}

/// Everything that instances do while one after the other is the replica of all the others and then a main again.
fn changes_of_roles(seed: u64) -> u64 {
    let mut random = StdRng::seed_from_u64(seed);
    let names = ["a", "b", "c", "d"];
    let mut network = Network::new(Version::default(), &names);
    network.done = Some(DefaultHasher::new());
    for round in 0..6 {
        let replica = names[random.random_range(0..4)];
        let _ = network.query(replica, "SET REPLICATION ROLE TO REPLICA WITH PORT 10000");
        for main in names.iter().filter(|name| **name != replica) {
            let _ = network.query(
                main,
                &format!("REGISTER REPLICA {replica}{round} ASYNC TO '{replica}:10000'"),
            );
            let _ = network.query(main, &format!("CREATE (:T {{token: {round}}})"));
        }
        network.run(Duration::from_millis(random.random_range(0..1500)));
        network.must(replica, "SET REPLICATION ROLE TO MAIN");
        network.run(Duration::from_millis(random.random_range(0..1500)));
    }
    network.done.unwrap().finish()
}

#[test]
fn the_same_schedule_has_the_same_effects() {
    for seed in 0..20 {
        assert_eq!(changes_of_roles(seed), changes_of_roles(seed), "seed {seed}");
    }
}

#[test]
fn the_same_schedule_gives_the_same_answers() {
    for seed in 0..5 {
        assert_eq!(
            run(Version::default(), "STRICT_SYNC", seed),
            run(Version::default(), "STRICT_SYNC", seed)
        );
    }
}
