//! The life of a cluster without faults but the loss of MAIN.

use memgraph_operator::{
    api::RegistrationMode,
    memgraph::{AdminError, drop_replica, mark, probe_commit},
    plan::observation::{Marker, Role, Sight},
};

use super::{Cluster, SECOND, run, setup};
use crate::memgraph::{Exit, Holding, WriteId};

#[test]
fn every_instance_begins_as_a_replica() {
    run(async {
        let cluster = Cluster::new(1, 2).await;
        assert_eq!(cluster.role(0).await, Role::Replica);
        assert!(!cluster.world.is_main(cluster.process(1)));
    });
}

#[test]
fn writes_reach_all_copies_in_memory_and_on_disk() {
    run(async {
        let mut cluster = Cluster::bootstrapped(2, 3).await;
        let writes = [cluster.write().await, cluster.write().await];
        let world = &cluster.world;
        tokio::time::sleep(SECOND).await;
        for member in &cluster.members {
            assert_eq!(world.committed(member.process), writes);
            assert_eq!(world.holds(member.process, writes[1]), Holding::Committed);
            assert_eq!(world.on_disk(member.volume, &setup()), writes);
            assert_eq!(world.on_disk_after_power_loss(member.volume, &setup()), writes);
        }
        assert_eq!(world.holds(cluster.process(0), WriteId(77)), Holding::Missing);
        assert_eq!(cluster.client.read(SECOND).await.unwrap(), writes);
        let transaction = world.transaction(writes[0]).unwrap();
        assert!(transaction.replicas[&cluster.process(1)].two_phase);
        assert!(!transaction.replicas[&cluster.process(2)].two_phase);
        let held: Vec<_> = transaction.held().collect();
        assert_eq!(held, [cluster.process(1), cluster.process(2)]);
        assert_eq!(transaction.swallowed().count(), 0);
    });
}

#[test]
fn another_main_takes_over_and_the_old_one_follows_it() {
    run(async {
        let mut cluster = Cluster::bootstrapped(3, 3).await;
        let marker = Marker {
            lineage: "l1".to_owned(),
        };
        let other = Marker {
            lineage: "l2".to_owned(),
        };
        // Once is enough, and it is never changed.
        mark(&cluster.operator, cluster.at(0), &marker).await.unwrap();
        assert!(mark(&cluster.operator, cluster.at(0), &other).await.is_err());
        let before = cluster.write().await;
        cluster.world.kill(cluster.process(0));
        assert_eq!(cluster.world.ended(cluster.process(0)).await, Some(Exit::Killed));
        assert_eq!(cluster.sight(0).await, Sight::Refused);

        cluster.promote(1).await;
        cluster.register(1, 2, RegistrationMode::StrictSync).await;
        probe_commit(&cluster.operator, cluster.at(1)).await.unwrap();
        cluster.confirm(1).await;
        cluster.reconnect(1).await;
        let after = cluster.write().await;

        cluster.restart(0).await;
        assert_eq!(cluster.role(0).await, Role::Replica);
        cluster.register(1, 0, RegistrationMode::Async).await;
        cluster.confirm(1).await;
        let look = cluster.world.look(cluster.process(0)).unwrap();
        assert_eq!(look.marker.as_deref(), Some("l1"));
        assert_eq!(cluster.view(0).await.contents.unwrap().marker, Some(marker));
        for ordinal in 0..3 {
            assert_eq!(cluster.world.committed(cluster.process(ordinal)), [before, after]);
        }
        let listed = cluster.view(1).await.registrations;
        drop_replica(&cluster.operator, cluster.at(1), &listed[0].name)
            .await
            .unwrap();
        assert_eq!(cluster.view(1).await.registrations.len(), listed.len() - 1);
    });
}

#[test]
fn a_mark_is_streamed_to_nobody() {
    run(async {
        let mut cluster = Cluster::new(11, 2).await;
        cluster.promote(0).await;
        cluster.register(0, 1, RegistrationMode::StrictSync).await;
        let marker = Marker {
            lineage: "l1".to_owned(),
        };
        let refused = mark(&cluster.operator, cluster.at(0), &marker).await;
        assert!(matches!(refused, Err(AdminError::Precondition(_))), "{refused:?}");
        assert_eq!(cluster.view(0).await.contents.unwrap().marker, None);
    });
}

#[test]
fn a_copy_with_writes_of_its_own_is_refused() {
    run(async {
        let mut cluster = Cluster::bootstrapped(4, 2).await;
        cluster.write().await;
        // Both go on by themselves.
        let registered = cluster.view(0).await.registrations;
        drop_replica(&cluster.operator, cluster.at(0), &registered[0].name)
            .await
            .unwrap();
        cluster.write().await;
        cluster.promote(1).await;
        probe_commit(&cluster.operator, cluster.at(1)).await.unwrap();
        cluster.world.kill(cluster.process(0));
        cluster.restart(0).await;
        let refused = cluster.try_register(1, 0, RegistrationMode::Async).await;
        assert!(matches!(refused, Err(AdminError::Diverged { .. })), "{refused:?}");
    });
}

#[test]
fn an_orderly_stop_is_one() {
    run(async {
        let cluster = Cluster::bootstrapped(5, 2).await;
        cluster.world.stop(cluster.process(0));
        assert_eq!(cluster.world.ended(cluster.process(0)).await, Some(Exit::Stopped));
    });
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let life = |seed| {
        run(async move {
            let mut cluster = Cluster::bootstrapped(seed, 3).await;
            for round in 0..20 {
                cluster.try_write().await;
                if round == 7 {
                    cluster.world.power_off(cluster.members[0].pod);
                    cluster.promote(1).await;
                    cluster.reconnect(1).await;
                }
            }
            (
                cluster.world.fingerprint(),
                cluster.world.writes(),
                cluster.world.now(),
            )
        })
    };
    assert_eq!(life(6), life(6));
    assert_ne!(life(6).0, life(7).0);
}
