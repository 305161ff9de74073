//! Each fault once.

use std::{net::SocketAddr, time::Duration};

use memgraph_operator::{
    memgraph::{Bolt, BoltError, Session},
    plan::observation::{DataStatus, Role, Sight},
};
use memgraph_sim::engine::InspectedRole;
use tokio::time::{Instant, sleep};

use super::{Cluster, Member, SECOND, host, run, setup};
use crate::memgraph::{
    BOLT_PORT, Cut, Exit, Holding, Outcome, Passage, Path, Place, Setup, Status, Trouble, WriteId, relay,
};

#[test]
fn what_was_killed_has_what_it_wrote() {
    run(async {
        let mut cluster = Cluster::bootstrapped(1, 2).await;
        let write = cluster.write().await;
        for ordinal in 0..2 {
            cluster.world.kill(cluster.process(ordinal));
            cluster.restart(ordinal).await;
            assert_eq!(cluster.world.committed(cluster.process(ordinal)), [write]);
        }
        assert!(!cluster.client.is_connected() || cluster.try_write().await.1 != Outcome::Acknowledged);
    });
}

#[test]
fn a_power_loss_takes_what_was_not_synced_and_tells_nobody() {
    run(async {
        let mut lost = 0;
        for seed in 0..10 {
            let world = crate::memgraph::Memgraphs::new(seed);
            let place = world.place("node");
            let (pod, volume) = (world.add_pod(place, [10, 0, 0, 1].into()), world.volume());
            // Memgraph's own default: the log is synced every 100,000 transactions.
            let lazy = Setup::default();
            let process = world.start(pod, volume, &lazy);
            assert!(world.ready(process).await);
            let mut client = world.client(world.place("client"));
            client
                .connect(([10, 0, 0, 1], BOLT_PORT).into(), SECOND)
                .await
                .unwrap();
            assert_eq!(client.write(WriteId(1), SECOND).await, Outcome::Acknowledged);
            assert!(world.on_disk_after_power_loss(volume, &lazy).is_empty());
            world.power_off(pod);
            let before = world.now();
            assert_eq!(client.write(WriteId(2), SECOND).await, Outcome::Unknown);
            assert!(world.now() - before >= SECOND);
            assert_eq!(world.status(process), Status::Ended(Exit::PowerLost));
            lost += usize::from(world.on_disk(volume, &lazy).is_empty());
        }
        assert!((1..10).contains(&lost), "{lost}");
    });
}

#[test]
fn a_synced_write_outlives_the_power_loss_of_all() {
    run(async {
        for seed in 0..10 {
            let mut cluster = Cluster::bootstrapped(seed, 3).await;
            let write = cluster.write().await;
            for member in &cluster.members {
                cluster.world.power_off(member.pod);
            }
            for ordinal in 0..3 {
                cluster.replace_pod(ordinal).await;
            }
            let holding = |ordinal| cluster.world.holds(cluster.process(ordinal), write);
            assert_eq!((holding(0), holding(1)), (Holding::Committed, Holding::Committed));
        }
    });
}

#[test]
fn a_frozen_instance_has_a_kernel_that_answers() {
    run(async {
        let mut cluster = Cluster::bootstrapped(2, 2).await;
        cluster.world.freeze(cluster.process(0));
        assert_eq!(cluster.sight(0).await, Sight::Silent);
        let address = format!("{}:10000", cluster.members[1].address);
        assert!(cluster.operator.reaches(&address, SECOND).await);
        let bolt = format!("{}:{BOLT_PORT}", cluster.members[0].address);
        assert!(cluster.operator.reaches(&bolt, SECOND).await);
        cluster.world.thaw(cluster.process(0));
        assert_eq!(cluster.role(0).await, Role::Main);
        cluster.write().await;
    });
}

#[test]
fn a_write_waits_for_a_frozen_replica() {
    run(async {
        let mut cluster = Cluster::bootstrapped(3, 2).await;
        let (world, replica) = (cluster.world.clone(), cluster.process(1));
        world.freeze(replica);
        tokio::task::spawn_local(async move {
            sleep(Duration::from_millis(2_500)).await;
            world.thaw(replica);
        });
        let before = Instant::now();
        cluster.write().await;
        assert!(before.elapsed() > 2 * SECOND);
    });
}

/// MAIN is frozen while its request to the replica is under way. The answer is in its socket when it goes on, much
/// later than its own time-out: it is taken all the same.
#[test]
fn a_frozen_main_goes_on_where_it_was() {
    run(async {
        let mut cluster = Cluster::bootstrapped(4, 2).await;
        let (world, main) = (cluster.world.clone(), cluster.process(0));
        let (told, heard) = tokio::sync::oneshot::channel();
        let mut told = Some(told);
        world.on_step(move |step| {
            use crate::memgraph::{Blow, Deed, Doing};
            match (step.doing, told.take()) {
                (Doing::Prepare { .. }, Some(told)) => {
                    let _ = told.send(());
                    Deed::blow(Blow::Freeze(main))
                }
                (_, still) => {
                    told = still;
                    Deed::default()
                }
            }
        });
        let thawing = cluster.world.clone();
        tokio::task::spawn_local(async move {
            heard.await.unwrap();
            sleep(50 * SECOND).await;
            thawing.thaw(main);
        });
        let before = Instant::now();
        cluster.write().await;
        assert!(before.elapsed() >= 50 * SECOND);
    });
}

#[test]
fn a_lost_an_emptied_and_an_older_disk() {
    run(async {
        let mut cluster = Cluster::bootstrapped(5, 3).await;
        let first = cluster.write().await;
        sleep(SECOND).await;
        let old = cluster.world.copy(cluster.members[2].volume);
        let second = cluster.write().await;
        sleep(SECOND).await;

        cluster.world.kill(cluster.process(2));
        cluster.world.disk(cluster.members[2].volume, |disk| *disk = old);
        cluster.restart(2).await;
        assert_eq!(cluster.world.committed(cluster.process(2)), [first]);

        let volume = cluster.members[1].volume;
        cluster.world.kill(cluster.process(1));
        cluster
            .world
            .disk(volume, |disk| disk.move_folder("wal", "aside"));
        cluster.restart(1).await;
        assert_eq!(cluster.world.committed(cluster.process(1)), []);
        assert!(cluster.world.disk(volume, |disk| !disk.list("aside").is_empty()));

        cluster.world.kill(cluster.process(0));
        cluster.members[0].volume = cluster.world.volume();
        cluster.restart(0).await;
        assert!(!cluster.world.is_main(cluster.process(0)));
        assert_eq!(cluster.world.holds(cluster.process(0), second), Holding::Missing);
    });
}

#[test]
fn a_failing_disk_ends_the_process() {
    run(async {
        let mut cluster = Cluster::bootstrapped(6, 2).await;
        cluster.write().await;
        cluster.world.fail_next_sync(cluster.members[1].volume);
        let (_, outcome) = cluster.try_write().await;
        assert_eq!(
            outcome,
            Outcome::Acknowledged,
            "MAIN does not wait for the second phase"
        );
        let exit = cluster.world.ended(cluster.process(1)).await;
        assert!(matches!(exit, Some(Exit::Fatal(words)) if words.contains("While trying to sync")));
    });
}

#[test]
fn an_address_leads_to_whoever_has_it() {
    run(async {
        let mut cluster = Cluster::bootstrapped(7, 2).await;
        let address = cluster.members[1].address;
        cluster.replace_pod(1).await;
        // Nobody has it: the packets go nowhere.
        let old = SocketAddr::new(address, BOLT_PORT);
        let silent = cluster.operator.handshake(old, SECOND).await;
        assert!(matches!(silent, Err(BoltError::Deadline { .. })));
        // Now somebody else does, and knows nothing of the connections of its predecessor.
        let place = cluster.world.place("stranger");
        let pod = cluster.world.add_pod(place, address);
        let refused = cluster.operator.handshake(old, SECOND).await;
        assert!(matches!(refused, Err(BoltError::Refused { .. })));
        let process = cluster.world.start(pod, cluster.world.volume(), &setup());
        assert!(cluster.world.ready(process).await);
        cluster.operator.handshake(old, SECOND).await.unwrap();
        // MAIN finds the new pod by its name.
        cluster.write_until_acknowledged().await;
    });
}

#[test]
fn a_data_directory_has_one_process() {
    run(async {
        let mut cluster = Cluster::new(8, 1).await;
        let Member {
            place,
            volume,
            process: first,
            ..
        } = cluster.members[0];
        // The pod was deleted by force, and lives on.
        let address = cluster.next_address();
        let pod = cluster.world.add_pod(place, address);
        let second = cluster.world.start(pod, volume, &setup());
        assert_eq!(cluster.world.status(second), Status::Waiting);
        let exit = cluster.world.ended(second).await;
        assert!(matches!(exit, Some(Exit::Fatal(words)) if words.contains("lock")));
        assert!(cluster.world.now() >= 30 * SECOND);
        let third = cluster.world.start(pod, volume, &setup());
        cluster.world.kill(first);
        assert!(cluster.world.ready(third).await);
        assert_eq!(cluster.world.holder(volume), Some(third));
    });
}

#[test]
fn a_cut_holds_what_is_said_until_it_is_mended() {
    run(async {
        let mut cluster = Cluster::bootstrapped(9, 2).await;
        let (main, replica) = (cluster.members[0].place, cluster.members[1].place);
        let cut = cluster
            .world
            .trouble(Path::between(main, replica).on(10_000), Trouble::Drop);
        let world = cluster.world.clone();
        tokio::task::spawn_local(async move {
            sleep(2 * SECOND).await;
            world.mend(cut);
        });
        let before = Instant::now();
        cluster.write().await;
        // Sent again after 0.2, 0.6, 1.4 and 3 seconds.
        let took = before.elapsed();
        assert!((3 * SECOND..4 * SECOND).contains(&took), "{took:?}");
    });
}

#[test]
fn a_longer_cut_prevents_the_write() {
    run(async {
        let mut cluster = Cluster::bootstrapped(10, 2).await;
        let cut = cluster
            .world
            .cut(cluster.members[0].place, cluster.members[1].place);
        let before = Instant::now();
        let (write, outcome) = cluster.try_write().await;
        assert!(matches!(outcome, Outcome::Failed(_)), "{outcome:?}");
        let took = before.elapsed();
        assert!((5 * SECOND..6 * SECOND).contains(&took), "{took:?}");
        assert_eq!(cluster.world.holds(cluster.process(0), write), Holding::Missing);
        cut.into_iter().for_each(|cut| cluster.world.mend(cut));
        cluster.write_until_acknowledged().await;
    });
}

#[test]
fn one_port_can_be_cut_and_one_client() {
    run(async {
        let mut cluster = Cluster::bootstrapped(11, 2).await;
        let replica = cluster.members[1].place;
        cluster.world.trouble(Path::to(replica).on(10_000), Trouble::Drop);
        assert_eq!(cluster.role(1).await, Role::Replica);
        let name = format!("{}:10000", host(1));
        assert!(!cluster.operator.reaches(&name, SECOND).await);
        cluster.world.mend_all();
        assert!(cluster.operator.reaches(&name, SECOND).await);

        cluster.world.cut(cluster.office, cluster.members[0].place);
        assert_eq!(cluster.sight(0).await, Sight::Silent);
        cluster.write().await;
        cluster.world.mend_all();

        let refusal = cluster
            .world
            .trouble(Path::between(cluster.office, replica), Trouble::Refuse);
        assert_eq!(cluster.sight(1).await, Sight::Refused);
        cluster.world.mend(refusal);
        cluster.world.cut_off(cluster.shop);
        assert_eq!(cluster.try_write().await.1, Outcome::Unknown);
    });
}

/// The answer is lost, and not the question: what was asked for is done.
#[test]
fn a_cut_one_way_leaves_the_statement_done() {
    run(async {
        let cluster = Cluster::new(12, 1).await;
        let mut session = cluster.operator.session(cluster.at(0));
        session.run("SHOW VERSION", SECOND).await.unwrap();
        let node = cluster.members[0].place;
        cluster
            .world
            .trouble(Path::between(node, cluster.office), Trouble::Drop);
        let unheard = session.run("SET REPLICATION ROLE TO MAIN", SECOND).await;
        assert!(matches!(unheard, Err(BoltError::Deadline { .. })));
        assert!(cluster.world.is_main(cluster.process(0)));
        // A new connection needs both directions.
        let silent = cluster.operator.handshake(cluster.at(0), SECOND).await;
        assert!(matches!(silent, Err(BoltError::Deadline { .. })));
    });
}

#[test]
fn a_slow_path_is_slow() {
    run(async {
        let cluster = Cluster::new(13, 1).await;
        let slow = Trouble::Slow {
            by: Duration::from_millis(100),
            jitter: Duration::from_millis(50),
        };
        cluster.world.trouble(Path::to(cluster.members[0].place), slow);
        let before = Instant::now();
        cluster.operator.handshake(cluster.at(0), SECOND).await.unwrap();
        let took = before.elapsed();
        assert!(
            (Duration::from_millis(100)..SECOND / 2).contains(&took),
            "{took:?}"
        );
    });
}

#[test]
fn a_reset_ends_sessions_and_replication_heals() {
    run(async {
        let mut cluster = Cluster::bootstrapped(14, 2).await;
        cluster
            .world
            .reset(Path::to(cluster.members[0].place).on(BOLT_PORT));
        sleep(Duration::from_millis(10)).await;
        assert!(matches!(cluster.try_write().await.1, Outcome::Failed(_)));
        cluster.reconnect(0).await;
        cluster.world.reset(Path::to(cluster.members[1].place).on(10_000));
        cluster.write_until_acknowledged().await;
    });
}

/// MAIN gives up a connection whose bytes are late; they arrive after what it said on the next one.
#[test]
fn bytes_of_an_old_connection_arrive_after_those_of_a_new_one() {
    run(async {
        let mut cluster = Cluster::bootstrapped(15, 2).await;
        let first = cluster.write().await;
        cluster
            .world
            .stall(Path::to(cluster.members[1].place).on(10_000), 45 * SECOND);
        let (late, outcome) = cluster.try_write().await;
        assert!(matches!(outcome, Outcome::Failed(_)), "{outcome:?}");
        cluster.write_until_acknowledged().await;
        let newest = cluster.write().await;
        let before = cluster.world.committed(cluster.process(1));
        assert!(before.contains(&first) && before.contains(&newest) && !before.contains(&late));
        sleep(60 * SECOND).await;
        assert_eq!(cluster.world.committed(cluster.process(1)), before);
        cluster.write_until_acknowledged().await;
        let transaction = cluster.world.transaction(newest).unwrap();
        assert_eq!(transaction.held().count(), 1);
    });
}

#[test]
fn a_replica_that_was_away_follows_again() {
    run(async {
        let mut cluster = Cluster::bootstrapped(16, 3).await;
        cluster.world.kill(cluster.process(2));
        cluster.write().await;
        cluster.replace_pod(2).await;
        sleep(10 * SECOND).await;
        let registrations = cluster.view(0).await.registrations;
        let status: Vec<_> = registrations.iter().map(|known| known.status).collect();
        assert_eq!(status, [Some(DataStatus::Ready); 2]);
        let look = cluster.world.look(cluster.process(0)).unwrap();
        let InspectedRole::Main { registrations, .. } = look.inspection.role else {
            panic!("not a MAIN");
        };
        assert_eq!(registrations[1].mode, "async");
        assert_eq!(registrations[1].status, "ready");
    });
}

/// A route that a test opens and closes.
struct Route(tokio::sync::watch::Receiver<bool>);

impl Route {
    async fn pass(&self) -> Result<(), Cut> {
        if *self.0.borrow() { Ok(()) } else { Err(Cut) }
    }
}

impl Passage for Route {
    async fn towards_instance(&mut self) -> Result<(), Cut> {
        self.pass().await
    }

    async fn towards_client(&mut self) -> Result<(), Cut> {
        self.pass().await
    }

    async fn cut(&self) {
        let mut open = self.0.clone();
        // A sender that is gone never closes the route.
        if open.wait_for(|open| !open).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

async fn gateway(
    world: crate::memgraph::Memgraphs,
    place: Place,
    mut listener: crate::memgraph::Listener,
    to: SocketAddr,
    route: tokio::sync::watch::Receiver<bool>,
) {
    while let Some(client) = listener.accept().await {
        if !*route.borrow() {
            continue;
        }
        let instance = world.connect(place, to);
        tokio::task::spawn_local(relay(client, instance, Route(route.clone())));
    }
}

#[test]
fn a_gateway_passes_what_it_may_and_cuts_the_rest() {
    run(async {
        let mut cluster = Cluster::bootstrapped(17, 2).await;
        let place = cluster.world.place("gateway");
        let address = cluster.next_address();
        let pod = cluster.world.add_pod(place, address);
        let listener = cluster.world.listen(pod, BOLT_PORT);
        let (open, route) = tokio::sync::watch::channel(true);
        let door = SocketAddr::new(address, BOLT_PORT);
        let serving = tokio::task::spawn_local(gateway(
            cluster.world.clone(),
            place,
            listener,
            cluster.at(0),
            route,
        ));
        cluster.client.connect(door, SECOND).await.unwrap();
        let first = cluster.write().await;
        cluster.client.begin(SECOND).await.unwrap();
        let second = cluster.next_write();
        cluster.client.write_in_transaction(second, SECOND).await.unwrap();
        assert_eq!(
            cluster.client.commit(&[second], SECOND).await,
            Outcome::Acknowledged
        );
        assert_eq!(cluster.client.read(SECOND).await.unwrap(), [first, second]);

        // The cut comes while MAIN waits for the replica: the write is done, and nobody is told.
        cluster.world.freeze(cluster.process(1));
        let (world, replica) = (cluster.world.clone(), cluster.process(1));
        tokio::task::spawn_local(async move {
            sleep(SECOND).await;
            open.send_replace(false);
            sleep(SECOND).await;
            world.thaw(replica);
        });
        let (third, outcome) = cluster.try_write().await;
        assert_eq!(outcome, Outcome::Unknown);
        assert_eq!(cluster.world.write(third).unwrap().outcome, Outcome::Unknown);
        sleep(5 * SECOND).await;
        assert_eq!(cluster.world.holds(cluster.process(0), third), Holding::Committed);
        assert_eq!(cluster.world.acknowledged(), [first, second]);

        // A gateway that is gone is refused by its kernel.
        serving.abort();
        sleep(SECOND).await;
        assert!(cluster.client.connect(door, SECOND).await.is_err());
    });
}
