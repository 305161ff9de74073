//! Carries faults out, and takes them back.

use std::{cell::RefCell, collections::BTreeSet, rc::Rc, time::Duration};

use fastrand::Rng;
use memgraph_operator::api::names;
use memgraph_sim::engine::InspectedRole;
use serde_json::json;
use tokio::{
    task::spawn_local,
    time::{Instant, sleep},
};

use super::{kind::Kind, phase::Phase, plan::Planned};
use crate::{
    api::Resource,
    kubernetes::Node,
    memgraph::{BOLT_PORT, Blow, Deed, Disk, Fate, Path, Place, Step, Trouble, Volume},
    processes::{Gateway, Instance, OperatorSlot},
    world::{CLUSTER, World, cluster_key},
};

/// What waits for a phase of a commit.
#[derive(Clone, Copy, Debug)]
struct Ambush {
    phase: Phase,
    deed: Mischief,
    until: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mischief {
    KillMain,
    KillWhoActs,
    KillTheOther,
    Lose,
    LastOne,
    Late(Duration),
}

/// For how long somebody waits for a phase of a commit.
const AMBUSH: Duration = Duration::from_secs(30);

/// Strikes at the world.
pub struct Striker {
    world: Rc<World>,
    chance: RefCell<Rng>,
    ambush: Rc<RefCell<Option<Ambush>>>,
    /// Phases of commits in which MAIN was killed as planned.
    phases: Rc<RefCell<BTreeSet<Phase>>>,
    /// Copies of volumes, to be put back later.
    copies: RefCell<Vec<(Volume, Disk)>>,
    requests: std::cell::Cell<u32>,
    /// Whether a copy of the data was taken away and the cluster was not whole again since.
    fragile: std::cell::Cell<bool>,
}

impl Striker {
    /// One that has done nothing yet.
    #[must_use]
    pub fn new(world: Rc<World>, chance: Rng) -> Rc<Self> {
        let ambush: Rc<RefCell<Option<Ambush>>> = Rc::default();
        let waiting = Rc::clone(&ambush);
        let phases: Rc<RefCell<BTreeSet<Phase>>> = Rc::default();
        let met = Rc::clone(&phases);
        let trace = world.trace.clone();
        world.memgraphs.on_step(move |step| {
            let mut waiting = waiting.borrow_mut();
            let Some(ambush) = *waiting else {
                return Deed::default();
            };
            if Instant::now() > ambush.until {
                *waiting = None;
            } else if Phase::of(step.doing) == ambush.phase {
                *waiting = None;
                trace.note(|| format!("ambush: {:?} at {:?}", ambush.deed, step.doing));
                if ambush.deed == Mischief::KillMain {
                    met.borrow_mut().insert(ambush.phase);
                }
                return deed(step, ambush.deed);
            }
            Deed::default()
        });
        Rc::new(Self {
            world,
            chance: chance.into(),
            ambush,
            phases,
            copies: RefCell::default(),
            requests: std::cell::Cell::new(0),
            fragile: std::cell::Cell::new(false),
        })
    }

    fn draw<T>(&self, draw: impl FnOnce(&mut Rng) -> T) -> T {
        draw(&mut self.chance.borrow_mut())
    }

    fn any<T>(&self, list: impl IntoIterator<Item = T>) -> Option<T> {
        let list: Vec<T> = list.into_iter().collect();
        if list.is_empty() {
            return None;
        }
        let at = self.draw(|chance| chance.usize(0..list.len()));
        list.into_iter().nth(at)
    }

    /// A time of up to `most`: short ones are as likely as long ones.
    fn time(&self, most: Duration) -> Duration {
        let part = self.draw(Rng::f64);
        Duration::from_millis(50) + most.mul_f64(part * part * part)
    }

    fn replicas(&self) -> Vec<Instance> {
        let main = self.world.main().map(|main| main.name);
        let mut all = self.world.instances.live();
        all.retain(|instance| Some(&instance.name) != main.as_ref());
        all
    }

    fn standby(&self) -> Option<Rc<OperatorSlot>> {
        let leader = self.world.leader().map(|leader| leader.name().to_owned());
        let mut slots = self.world.operators.iter();
        slots.find(|slot| Some(slot.name()) != leader.as_deref()).cloned()
    }

    fn gateway(&self) -> Option<Gateway> {
        self.any(self.world.gateways.all())
    }

    fn places(&self) -> Vec<Place> {
        let nodes = self.world.kubernetes.instance_nodes().iter();
        let names = nodes
            .chain(self.world.kubernetes.gateway_nodes())
            .map(|node| node.name());
        let operators = self.world.operators.iter().map(|operator| operator.name());
        names
            .chain(operators)
            .map(|name| self.world.memgraphs.place(name))
            .collect()
    }

    fn ways(&self) -> Vec<String> {
        let nodes = self
            .world
            .kubernetes
            .gateway_nodes()
            .iter()
            .map(|node| node.name());
        let operators = self.world.operators.iter().map(|operator| operator.name());
        nodes.chain(operators).map(str::to_owned).collect()
    }

    /// Does something later.
    fn later(self: &Rc<Self>, time: Duration, deed: impl FnOnce(&Self) + 'static) {
        let striker = Rc::clone(self);
        spawn_local(async move {
            sleep(time).await;
            deed(&striker);
        });
    }

    /// Takes a copy of every volume as soon as all are there, and then from time to time, for as long as the world lasts.
    pub async fn keep_copies(self: Rc<Self>) {
        let mut pause = Duration::from_millis(200);
        loop {
            sleep(pause).await;
            let live = self.world.instances.live();
            let copies: Vec<_> = live
                .iter()
                .map(|instance| (instance.volume, self.world.memgraphs.copy(instance.volume)))
                .collect();
            if copies.len() >= self.world.kubernetes.instance_nodes().len() {
                pause = Duration::from_secs(30);
            }
            *self.copies.borrow_mut() = copies;
        }
    }

    /// Whether a fault may strike now. One copy of the data may be lost at a time: until the cluster is whole again, nothing
    /// else happens, and if it does not become whole, nothing at all.
    pub async fn is_whole(self: &Rc<Self>) -> bool {
        if !self.fragile.get() {
            return true;
        }
        let patience = Duration::from_secs(120);
        if !self.world.settled(self.world.promise.in_sync(), patience).await {
            return false;
        }
        // What was seen may be older than the loss.
        sleep(Duration::from_secs(3)).await;
        if !self.world.settled(self.world.promise.in_sync(), patience).await {
            return false;
        }
        self.fragile.set(false);
        self.world.watchman.set_meddled(false);
        true
    }

    /// Phases of commits in which MAIN was killed as planned.
    #[must_use]
    pub fn phases(&self) -> usize {
        self.phases.borrow().len()
    }

    /// An instance whose data may be lost now: any one while all is well, and else one that the ledger does not rely on.
    fn expendable(&self) -> Option<Instance> {
        let mut instances = self.world.instances.live();
        if !self.world.is_settled(self.world.promise.in_sync()) {
            let ledger = self.world.ledger()?;
            instances.retain(|instance| !ledger.relies_on(&instance.name));
        }
        self.any(instances)
    }

    /// Strikes. What it was, for the trace; none if there was nothing to strike at.
    pub fn strike(self: &Rc<Self>, fault: &Planned) -> Option<String> {
        let kind = fault.kind;
        let minute = Duration::from_secs(60);
        let world = &self.world;
        match kind {
            Kind::LeaderCrash => self.world.leader().map(|slot| {
                slot.crash();
                slot.name().to_owned()
            }),
            Kind::StandbyCrash => self.standby().map(|slot| {
                slot.crash();
                slot.name().to_owned()
            }),
            Kind::LeaderStop => self.world.leader().map(|slot| {
                slot.terminate();
                slot.name().to_owned()
            }),
            Kind::LeaderFreeze => self.world.leader().map(|slot| {
                let time = self.time(minute);
                slot.freeze(time);
                format!("{} for {time:?}", slot.name())
            }),
            Kind::GatewayCrash => self.gateway().map(|gateway| {
                gateway.life.end();
                gateway.name
            }),
            Kind::GatewayFreeze => self.gateway().map(|gateway| {
                let time = self.time(minute);
                gateway.life.freeze(Instant::now() + time);
                format!("{} for {time:?}", gateway.name)
            }),
            Kind::GatewayForceDelete => {
                let gateway = self.gateway()?;
                self.delete_by_force(&gateway.name)
            }
            Kind::PodForceDelete => {
                let instance = self.any(world.instances.live())?;
                self.delete_by_force(&instance.name)
            }
            Kind::MainKill => self.kill(self.world.main()?),
            Kind::ReplicaKill => self.kill(self.any(self.replicas())?),
            Kind::CommitPhase => Some(self.lie_in_wait(fault.phase)),
            Kind::MainFreeze => self.freeze(self.world.main()?),
            Kind::ReplicaFreeze => self.freeze(self.any(self.replicas())?),
            Kind::PowerLoss => {
                let main = self.world.main().filter(|_| self.draw(Rng::bool));
                let instance = main.or_else(|| self.any(world.instances.live()))?;
                let node = self.world.node_of(&instance.name)?;
                let time = self.time(minute);
                self.darken(&node, time);
                Some(format!("{} ({}) for {time:?}", node.name(), instance.name))
            }
            Kind::PowerLossOfAll => {
                for node in world.kubernetes.instance_nodes() {
                    self.darken(node, self.time(minute));
                }
                Some(String::new())
            }
            Kind::DiskEmpty => {
                let instance = self.expendable()?;
                let process = instance.process?;
                self.fragile.set(true);
                world.memgraphs.kill(process);
                world
                    .memgraphs
                    .disk(instance.volume, |disk| *disk = Disk::default());
                Some(instance.name)
            }
            Kind::DiskOlder => {
                let instance = self.expendable()?;
                let process = instance.process?;
                let copies = self.copies.borrow();
                let (_, copy) = copies.iter().find(|(volume, _)| *volume == instance.volume)?;
                self.fragile.set(true);
                world.memgraphs.kill(process);
                world.memgraphs.disk(instance.volume, |disk| *disk = copy.clone());
                world.watchman.put_back(&instance.name);
                Some(instance.name)
            }
            Kind::OneWay => {
                let (from, to) = (self.any(self.places())?, self.any(self.places())?);
                self.trouble(&[Path::between(from, to)], Trouble::Drop)
            }
            Kind::ReplicationCut => {
                let (one, other) = (self.world.main()?.place, self.any(self.replicas())?.place);
                let port = names::REPLICATION_PORT;
                self.trouble(
                    &[
                        Path::between(one, other).on(port),
                        Path::between(other, one).on(port),
                    ],
                    Trouble::Drop,
                )
            }
            Kind::BoltCut => {
                let instance = self.any(world.instances.live())?;
                let paths: Vec<_> = world
                    .operators
                    .iter()
                    .map(|operator| world.memgraphs.place(operator.name()))
                    .map(|place| Path::between(place, instance.place).on(BOLT_PORT))
                    .collect();
                self.trouble(&paths, Trouble::Drop)
            }
            Kind::SlowNetwork => {
                let (from, to) = (self.any(self.places())?, self.any(self.places())?);
                let by = self.time(Duration::from_millis(700));
                self.trouble(
                    &[Path::between(from, to), Path::between(to, from)],
                    Trouble::Slow { by, jitter: by },
                )
            }
            Kind::NodeCut => {
                let nodes = world.kubernetes.instance_nodes().iter();
                let node = self.any(nodes.chain(world.kubernetes.gateway_nodes()))?.clone();
                let place = world.memgraphs.place(node.name());
                let time = self.time(minute);
                node.set_connected(false);
                world.way(node.name()).set(|now| now.silent = true);
                let told = self.trouble_for(&[Path::from(place), Path::to(place)], Trouble::Drop, time);
                let name = node.name().to_owned();
                self.later(time, move |striker| {
                    node.set_connected(true);
                    striker.world.way(node.name()).set(|now| now.silent = false);
                });
                Some(format!("{name}: {told}"))
            }
            Kind::ApiCut => {
                let name = self.any(self.ways())?;
                Some(self.cut_api(&[name]))
            }
            Kind::ApiOutage => Some(self.cut_api(&self.ways())),
            Kind::ApiLostAnswers => {
                Some(self.worsen(|now| now.lost_answers = 0.3, |now| now.lost_answers = 0.0))
            }
            Kind::ApiSlow => {
                let delay = self.time(Duration::from_secs(3));
                Some(self.worsen(
                    move |now| now.delay = delay,
                    |now| now.delay = Duration::from_millis(3),
                ))
            }
            Kind::WatchLag => {
                let lag = self.time(Duration::from_secs(15));
                Some(self.worsen(
                    move |now| now.lag = lag,
                    |now| now.lag = Duration::from_millis(10),
                ))
            }
            Kind::LostEvents => {
                world.api.store().compact();
                Some(String::new())
            }
            Kind::StatusLag => {
                let nodes = world.kubernetes.instance_nodes().iter();
                let node = self.any(nodes.chain(world.kubernetes.gateway_nodes()))?.clone();
                let (lag, time) = (self.time(Duration::from_secs(20)), self.time(minute));
                node.set_lag(Some(lag));
                let told = format!("{} by {lag:?} for {time:?}", node.name());
                self.later(time, move |_| node.set_lag(None));
                Some(told)
            }
            Kind::PodDelete => {
                let main = self.world.main().filter(|_| self.draw(Rng::bool));
                let instance = main.or_else(|| self.any(world.instances.live()))?;
                self.world.delete_pod(&instance.name);
                Some(instance.name)
            }
            Kind::LongRead => self.read_long(),
            Kind::Snapshot => self.snapshot(),
            Kind::Switchover => {
                let number = self.requests.replace(self.requests.get() + 1);
                let target = self.any(self.replicas()).map(|instance| instance.name);
                let target = target.filter(|_| self.draw(Rng::bool));
                let told = format!("{target:?}");
                self.world.edit_spec(|spec| {
                    spec["switchover"] = json!({"requestId": format!("request-{number}")});
                    if let Some(target) = target {
                        spec["switchover"]["target"] = json!(target);
                    }
                });
                Some(told)
            }
            Kind::HumanRole => self.change_role(),
            Kind::HumanDrop => self.drop_registration(),
            Kind::HumanClaimDelete => {
                let instance = self.expendable()?;
                self.fragile.set(true);
                world.delete_claim(&instance.name);
                world.delete_pod(&instance.name);
                Some(instance.name)
            }
            Kind::HumanEdit => {
                let told = match self.draw(|chance| chance.u32(0..5)) {
                    // All instances are started anew, one after the other.
                    0 => (
                        "config",
                        json!({"query-execution-timeout-sec": self.draw(|chance| chance.u32(600..=609)).to_string()}),
                    ),
                    1 => (
                        "replication",
                        json!({"syncReplicas": self.draw(|chance| chance.u32(1..=2))}),
                    ),
                    2 => (
                        "replication",
                        json!({"electableInstances": self.draw(|chance| chance.u32(3..=5))}),
                    ),
                    3 => (
                        "gateway",
                        json!({"replicas": self.draw(|chance| chance.u32(1..=3))}),
                    ),
                    _ => ("replicas", json!(self.draw(|chance| chance.u32(3..=4)))),
                };
                let (field, value) = told.clone();
                self.world.edit_spec(|spec| spec[field] = value);
                Some(format!("{told:?}"))
            }
            Kind::HumanRecreate => self.recreate(),
            Kind::Repeated => {
                let (late, time) = (self.time(Duration::from_secs(10)), self.time(minute));
                world.gateways.repeat(Some(late));
                self.later(time, |striker| striker.world.gateways.repeat(None));
                Some(format!("{late:?} later for {time:?}"))
            }
        }
    }

    /// Deletes the cluster, and makes it again as it was. Its claims stay.
    fn recreate(self: &Rc<Self>) -> Option<String> {
        let mut store = self.world.api.store();
        let spec = store.get(&Resource::clusters(), &cluster_key())?["spec"].clone();
        store.remove(&Resource::clusters(), &cluster_key());
        drop(store);
        self.fragile.set(true);
        let time = Duration::from_secs(1) + self.time(Duration::from_secs(20));
        self.later(time, move |striker| striker.world.create_cluster(&spec));
        Some(format!("after {time:?}"))
    }

    fn kill(&self, instance: Instance) -> Option<String> {
        self.world.memgraphs.kill(instance.process?);
        Some(instance.name)
    }

    fn freeze(self: &Rc<Self>, instance: Instance) -> Option<String> {
        let process = instance.process?;
        let time = self.time(Duration::from_secs(60));
        self.world.memgraphs.freeze(process);
        self.later(time, move |striker| striker.world.memgraphs.thaw(process));
        Some(format!("{} for {time:?}", instance.name))
    }

    /// Waits for a phase of a commit: the given one, in which MAIN is killed, or any, in which anything happens.
    fn lie_in_wait(&self, phase: Option<Phase>) -> String {
        let late = self.time(Duration::from_secs(20));
        let deeds = [
            Mischief::KillMain,
            Mischief::KillWhoActs,
            Mischief::KillTheOther,
            Mischief::Lose,
            Mischief::LastOne,
            Mischief::Late(late),
        ];
        let any = self.any(deeds).unwrap_or(Mischief::KillMain);
        let ambush = Ambush {
            deed: if phase.is_some() { Mischief::KillMain } else { any },
            phase: phase.or_else(|| self.any(Phase::ALL)).unwrap_or(Phase::Prepare),
            until: Instant::now() + AMBUSH,
        };
        *self.ambush.borrow_mut() = Some(ambush);
        format!("{:?} at {:?}", ambush.deed, ambush.phase)
    }

    fn darken(self: &Rc<Self>, node: &Node, time: Duration) {
        node.set_power(false);
        let node = node.clone();
        self.later(time, move |_| node.set_power(true));
    }

    fn trouble(self: &Rc<Self>, paths: &[Path], trouble: Trouble) -> Option<String> {
        let time = self.time(Duration::from_secs(60));
        Some(self.trouble_for(paths, trouble, time))
    }

    fn trouble_for(self: &Rc<Self>, paths: &[Path], trouble: Trouble, time: Duration) -> String {
        for path in paths {
            let id = self.world.memgraphs.trouble(*path, trouble);
            self.later(time, move |striker| striker.world.memgraphs.mend(id));
        }
        let name = |place: Option<Place>| place.map(|place| self.world.memgraphs.place_name(place));
        let told: Vec<_> = paths
            .iter()
            .map(|path| format!("{:?}->{:?}:{:?}", name(path.from), name(path.to), path.port))
            .collect();
        format!("{trouble:?} {} for {time:?}", told.join(" "))
    }

    fn cut_api(self: &Rc<Self>, names: &[String]) -> String {
        let time = self.time(Duration::from_secs(60));
        let silent = self.draw(Rng::bool);
        for name in names {
            self.world.way(name).set(|now| {
                now.silent = silent;
                now.refuses = !silent;
            });
            let name = name.clone();
            self.later(time, move |striker| {
                striker.world.way(&name).set(|now| {
                    now.silent = false;
                    now.refuses = false;
                });
            });
        }
        format!("{names:?} silent {silent} for {time:?}")
    }

    /// Makes the ways of some to the API server worse for a while.
    fn worsen(
        self: &Rc<Self>,
        worse: impl Fn(&mut crate::api::Conditions) + 'static,
        better: impl Fn(&mut crate::api::Conditions) + 'static,
    ) -> String {
        let mut names = self.ways();
        if self.draw(Rng::bool) {
            names = self.any(names).into_iter().collect();
        }
        let time = self.time(Duration::from_secs(60));
        for name in &names {
            self.world.way(name).set(&worse);
        }
        let told = format!("{names:?} for {time:?}");
        self.later(time, move |striker| {
            for name in &names {
                striker.world.way(name).set(&better);
            }
        });
        told
    }

    fn delete_by_force(self: &Rc<Self>, name: &str) -> Option<String> {
        let node = self.world.delete_by_force(name)?;
        let time = self.time(Duration::from_secs(90));
        let told = format!("{name} on {} for {time:?}", node.name());
        self.later(time, move |_| node.set_connected(true));
        Some(told)
    }

    fn read_long(self: &Rc<Self>) -> Option<String> {
        let replica = self.any(self.replicas())?;
        let time = self.time(Duration::from_secs(60));
        let mut client = self.world.memgraphs.client(self.world.memgraphs.place("analyst"));
        spawn_local(async move {
            let patience = Duration::from_secs(5);
            let at = (replica.address, BOLT_PORT).into();
            if client.connect(at, patience).await.is_ok()
                && client.begin(patience).await.is_ok()
                && client.read(patience).await.is_ok()
            {
                sleep(time).await;
            }
        });
        Some(format!("{time:?}"))
    }

    fn snapshot(self: &Rc<Self>) -> Option<String> {
        let replica = self.any(self.replicas())?;
        let time = self.time(Duration::from_secs(30));
        let memgraphs = self.world.memgraphs.clone();
        let sync = Duration::from_micros(400);
        memgraphs.set_disk_speed(replica.volume, sync, time);
        let told = format!("{} takes {time:?}", replica.name);
        let mut client = memgraphs.client(memgraphs.place("analyst"));
        spawn_local(async move {
            let patience = Duration::from_secs(60);
            if client
                .connect((replica.address, BOLT_PORT).into(), patience)
                .await
                .is_ok()
            {
                let _ = client.run("CREATE SNAPSHOT", bolt_map(), patience).await;
            }
            memgraphs.set_disk_speed(replica.volume, sync, Duration::from_millis(20));
        });
        Some(told)
    }

    /// A human gives a command to an instance.
    fn command(self: &Rc<Self>, instance: &Instance, statement: String) -> String {
        let mut client = self.world.memgraphs.client(self.world.memgraphs.place("human"));
        let at = (instance.address, BOLT_PORT).into();
        let told = format!("{} at {}", statement, instance.name);
        let trace = self.world.trace.clone();
        spawn_local(async move {
            let patience = Duration::from_secs(5);
            if client.connect(at, patience).await.is_ok() {
                let done = client.run(&statement, bolt_map(), patience).await;
                trace.note(|| format!("human: {statement}: {:?}", done.map(drop)));
            }
        });
        told
    }

    fn change_role(self: &Rc<Self>) -> Option<String> {
        self.fragile.set(true);
        self.world.watchman.set_meddled(true);
        if self.draw(Rng::bool) {
            let replica = self.any(self.replicas())?;
            Some(self.command(&replica, "SET REPLICATION ROLE TO MAIN".to_owned()))
        } else {
            let demote = format!(
                "SET REPLICATION ROLE TO REPLICA WITH PORT {}",
                names::REPLICATION_PORT
            );
            Some(self.command(&self.world.main()?, demote))
        }
    }

    /// A human drops a registration of MAIN, or of the MAIN that was one before and lives on while another one is made.
    fn drop_registration(self: &Rc<Self>) -> Option<String> {
        let known = self.world.main().into_iter();
        let mut found = known.chain(self.world.instances.live()).filter_map(|instance| {
            let look = self.world.memgraphs.look(instance.process?)?;
            match look.inspection.role {
                InspectedRole::Main { registrations, .. } if !registrations.is_empty() => {
                    Some((instance, registrations))
                }
                _ => None,
            }
        });
        let (main, registrations) = found.next()?;
        let registration = self.any(registrations)?;
        self.fragile.set(true);
        self.world.watchman.set_meddled(true);
        Some(self.command(&main, format!("DROP REPLICA {}", registration.name)))
    }

    /// Everything is as it should be from now on, except for what was done to data.
    pub fn heal(&self) {
        *self.ambush.borrow_mut() = None;
        self.world.memgraphs.mend_all();
        self.world.gateways.repeat(None);
        let nodes = self.world.kubernetes.instance_nodes().iter();
        for node in nodes.chain(self.world.kubernetes.gateway_nodes()) {
            node.set_power(true);
            node.set_connected(true);
            node.set_lag(None);
        }
        for name in self.ways() {
            self.world
                .way(&name)
                .set(|now| *now = crate::api::Conditions::default());
        }
        for instance in self.world.instances.live() {
            if let Some(process) = instance.process {
                self.world.memgraphs.thaw(process);
            }
        }
        self.world
            .trace
            .note(|| format!("the faults of {CLUSTER} are over"));
    }
}

fn bolt_map() -> bolt_server::Map {
    bolt_server::Map::new()
}

fn deed(step: &Step, mischief: Mischief) -> Deed {
    match (mischief, step.peer) {
        (Mischief::KillMain, Some(peer)) if Phase::of(step.doing).is_of_replica() => {
            Deed::blow(Blow::Kill(peer))
        }
        (Mischief::KillTheOther, Some(peer)) => Deed::blow(Blow::Kill(peer)),
        (Mischief::KillMain | Mischief::KillWhoActs | Mischief::KillTheOther, _) => {
            Deed::blow(Blow::Kill(step.process))
        }
        (Mischief::Lose, _) => Deed::fate(Fate::Reset),
        (Mischief::LastOne, _) => Deed::fate(Fate::LastOne),
        (Mischief::Late(by), _) => Deed::fate(Fate::Late(by)),
    }
}
