//! Readers are led to the right instance, and away from it when it changes.

use std::io::ErrorKind;

use super::{
    cluster::{Build, demo, replica},
    harness::{Instance, Refusing, TestGateway, assert_connected, assert_refused, read_now},
};
use crate::api::{Health, InstanceRole, InstanceStatus, MemgraphCluster, RegistrationMode};

fn at(instance: &Instance, name: &str) -> InstanceStatus {
    replica(name, &instance.address.to_string())
}

fn strict(mut instance: InstanceStatus) -> InstanceStatus {
    instance.mode = Some(RegistrationMode::StrictSync);
    instance
}

fn lagging(mut instance: InstanceStatus) -> InstanceStatus {
    instance.data_status = Some("replicating".to_owned());
    instance
}

/// The operator had no answer of it in time, while its container runs.
fn unheard(mut instance: InstanceStatus) -> InstanceStatus {
    instance.role = InstanceRole::Unknown;
    instance.health = Health::Silent;
    instance.mode = None;
    instance.data_status = None;
    instance
}

/// A gateway that already enforces this state, whatever it showed before: each step has a term of its own.
struct Steps {
    gateway: TestGateway,
    term: i64,
}

impl Steps {
    async fn begin(cluster: &MemgraphCluster) -> Self {
        let gateway = TestGateway::serving(cluster).await;
        Self { gateway, term: 7 }
    }

    async fn next(&mut self, cluster: MemgraphCluster) {
        self.term += 1;
        self.gateway.enforce(&cluster.term(self.term)).await;
    }
}

#[tokio::test]
async fn readers_go_to_async_replicas_then_to_sync_ones_then_to_main() {
    let (main, sync, asynchronous) = (
        Instance::start().await,
        Instance::start().await,
        Instance::start().await,
    );
    let both = [strict(at(&sync, "demo-1")), at(&asynchronous, "demo-2")];
    let cluster = demo()
        .main_at("demo-0", main.address)
        .spec(|s| s.gateway.read.fallback_to_main = true);
    let mut steps = Steps::begin(&cluster.clone().instances(both.clone())).await;
    let _first = steps.gateway.read_session(&asynchronous).await;
    let _second = steps.gateway.read_session(&asynchronous).await;

    let [sync_one, async_one] = both;
    steps
        .next(
            cluster
                .clone()
                .instances([sync_one.clone(), lagging(async_one.clone())]),
        )
        .await;
    let _third = steps.gateway.read_session(&sync).await;

    steps
        .next(cluster.clone().instances([lagging(sync_one), lagging(async_one)]))
        .await;
    let _fourth = steps.gateway.read_session(&main).await;

    steps
        .next(cluster.spec(|s| s.gateway.read.fallback_to_main = false))
        .await;
    assert_refused(steps.gateway.addresses.read).await;
}

#[tokio::test]
async fn among_equals_a_reader_goes_to_the_one_with_the_fewest_sessions() {
    let (one, two) = (Instance::start().await, Instance::start().await);
    let cluster = demo().instances([at(&one, "demo-1"), at(&two, "demo-2")]);
    let gateway = TestGateway::serving(&cluster).await;
    let at_one = gateway.read_session(&one).await;
    let _at_two = gateway.read_session(&two).await;
    let _at_one = gateway.read_session(&one).await;
    let _at_two = gateway.read_session(&two).await;
    gateway.until_sessions(0, 4).await;

    drop(at_one);
    gateway.until_sessions(0, 3).await;
    let _at_one = gateway.read_session(&one).await;
}

#[tokio::test]
async fn a_reader_is_led_on_when_its_instance_refuses() {
    let (sync, gone) = (Instance::start().await, Refusing::open());
    let cluster = demo().instances([
        replica("demo-1", &gone.address.to_string()),
        strict(at(&sync, "demo-2")),
    ]);
    let gateway = TestGateway::serving(&cluster).await;
    let (mut reader, mut instance) = gateway.read_session(&sync).await;
    assert_connected(&mut reader, &mut instance).await;
}

#[tokio::test]
async fn a_reader_stays_while_its_replica_lags_and_while_main_changes() {
    let (one, new_main) = (Instance::start().await, Instance::start().await);
    let cluster = demo().instances([at(&one, "demo-1")]);
    let mut steps = Steps::begin(&cluster).await;
    let (mut reader, mut instance) = steps.gateway.read_session(&one).await;

    steps
        .next(cluster.clone().instances([lagging(at(&one, "demo-1"))]))
        .await;
    assert_connected(&mut reader, &mut instance).await;
    steps.next(cluster.clone().closed()).await;
    assert_connected(&mut reader, &mut instance).await;
    steps.next(cluster.main_at("demo-2", new_main.address)).await;
    assert_connected(&mut reader, &mut instance).await;
}

#[tokio::test]
async fn a_reader_stays_while_nothing_is_heard_of_its_replica() {
    let (one, new_main) = (Instance::start().await, Instance::start().await);
    let cluster = demo().instances([at(&one, "demo-1")]);
    let unheard = cluster.clone().instances([unheard(at(&one, "demo-1"))]);
    let mut steps = Steps::begin(&cluster).await;
    let (mut reader, mut instance) = steps.gateway.read_session(&one).await;
    for state in [
        unheard.clone(),
        unheard.clone().closed(),
        unheard.main_at("demo-2", new_main.address),
        cluster.main_at("demo-2", new_main.address),
    ] {
        steps.next(state).await;
        assert_connected(&mut reader, &mut instance).await;
    }
}

#[tokio::test]
async fn a_new_reader_is_led_to_a_replica_of_which_nothing_is_heard_only_where_there_is_no_other() {
    let (one, two) = (Instance::start().await, Instance::start().await);
    let [first, second] = [at(&one, "demo-1"), strict(at(&two, "demo-2"))];
    let mut steps = Steps::begin(&demo().instances([first.clone(), second.clone()])).await;
    let _at_one = steps.gateway.read_session(&one).await;
    steps
        .next(demo().instances([unheard(first.clone()), second.clone()]))
        .await;
    let _at_two = steps.gateway.read_session(&two).await;
    let _at_two = steps.gateway.read_session(&two).await;

    // As for an operator that is cut off from all pods.
    steps
        .next(demo().instances([unheard(first.clone()), unheard(second)]))
        .await;
    let _at_one = steps.gateway.read_session(&one).await;
    // One of them has gone indeed.
    drop(two);
    let _at_one = steps.gateway.read_session(&one).await;
    let _at_one = steps.gateway.read_session(&one).await;

    let gone = [unheard(first)].map(|mut instance| {
        instance.health = Health::Down;
        instance
    });
    steps.next(demo().instances(gone)).await;
    assert_refused(steps.gateway.addresses.read).await;
}

#[tokio::test]
async fn a_reader_is_cut_when_its_replica_becomes_main_fails_moves_or_leaves() {
    let (one, elsewhere) = (Instance::start().await, Instance::start().await);
    let cluster = demo().instances([at(&one, "demo-1")]);
    let changed = |change: fn(&mut InstanceStatus)| {
        let mut instance = at(&one, "demo-1");
        change(&mut instance);
        cluster.clone().instances([instance])
    };
    for (what, unheard_before, after) in [
        (
            "becomes main",
            cluster.clone().main_at("demo-1", one.address).closed(),
        ),
        ("deposed", changed(|i| i.role = InstanceRole::Deposed)),
        (
            "has ended",
            changed(|i| {
                i.role = InstanceRole::Unknown;
                i.health = Health::Down;
            }),
        ),
        (
            "diverged",
            changed(|i| i.data_status = Some("diverged".to_owned())),
        ),
        ("moved", cluster.clone().instances([at(&elsewhere, "demo-1")])),
        (
            "moved unheard",
            cluster.clone().instances([unheard(at(&elsewhere, "demo-1"))]),
        ),
        ("left", cluster.clone().instances([])),
    ]
    .into_iter()
    .flat_map(|(what, after)| [(what, false, after.clone()), (what, true, after)])
    {
        let what = format!("{what}, unheard before: {unheard_before}");
        let mut steps = Steps::begin(&cluster).await;
        let (reader, instance) = steps.gateway.read_session(&one).await;
        if unheard_before {
            steps
                .next(cluster.clone().instances([unheard(at(&one, "demo-1"))]))
                .await;
        }
        steps.next(after).await;
        assert_eq!(read_now(reader), Err(ErrorKind::ConnectionReset), "{what}");
        assert_eq!(read_now(instance), Err(ErrorKind::ConnectionReset), "{what}");
    }
}
