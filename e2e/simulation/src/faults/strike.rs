//! Carries faults out, and takes them back.

use std::{rc::Rc, time::Duration};

use fastrand::Rng;
use memgraph_operator::api::names;
use tokio::{
    task::spawn_local,
    time::{Instant, sleep},
};

use super::{
    kind::Kind,
    plan::Planned,
    striker::{Fragile, Striker},
};
use crate::{
    api::Outage,
    kubernetes::Node,
    memgraph::{BOLT_PORT, Disk, Path, Place, Trouble},
    processes::Instance,
    protocol::Stand,
};

impl Striker {
    /// Strikes. What it was, for the trace; none if there was nothing to strike at.
    pub fn strike(self: &Rc<Self>, fault: &Planned, stand: Stand) -> Option<String> {
        let kind = fault.kind;
        self.stand.set(Some(stand));
        let minute = Duration::from_secs(60);
        let world = &self.world;
        // Who waits for a phase of a commit would strike before the cluster is whole again.
        if kind.takes_a_copy() && self.lies_in_wait() {
            return None;
        }
        if kind.asks_the_api() && !world.kubernetes.has_api() || !self.may_strike(kind) {
            return None;
        }
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
            Kind::StandbyFreeze => self.standby().map(|slot| {
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
                let instance = self.to_be_deleted()?;
                self.delete_by_force(&instance.name)
            }
            Kind::MainKill => self.kill(self.world.main()?),
            Kind::ReplicaKill => self.kill(self.any(self.replicas())?),
            Kind::CommitPhase => Some(self.lie_in_wait(fault.phase)),
            Kind::MainFreeze => self.freeze(self.world.main()?),
            Kind::ReplicaFreeze => self.freeze(self.any(self.replicas())?),
            Kind::NodeFreeze => self.freeze_nodes(),
            Kind::PowerLoss => {
                let main = self.world.main().filter(|_| self.draw(Rng::bool));
                let instance = main.or_else(|| self.any(world.instances.live()))?;
                let node = self.world.node_of(&instance.name)?;
                let time = self.time(minute);
                self.darken(&node, time);
                Some(format!("{} ({}) for {time:?}", node.name(), instance.name))
            }
            Kind::PowerLossOfAll => {
                let nodes = world.kubernetes.instance_nodes().iter();
                for node in nodes.chain(world.kubernetes.gateway_nodes()) {
                    self.darken(node, self.time(minute));
                }
                for operator in &world.operators {
                    operator.set_power(false);
                    let operator = Rc::clone(operator);
                    self.later(self.time(minute), move |_| operator.set_power(true));
                }
                Some(String::new())
            }
            Kind::DiskEmpty => {
                let instance = self.expendable()?;
                let process = instance.process?;
                self.is_lost(Fragile::CopyLost);
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
                self.is_lost(Fragile::Unsure);
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
            Kind::Refusal => {
                let to = Path::to(self.any(world.instances.live())?.place);
                let paths = [to, to.on(BOLT_PORT), to.on(names::REPLICATION_PORT)];
                self.trouble(&[self.any(paths)?], Trouble::Refuse)
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
                Some(self.cut_off(node, self.time(minute)))
            }
            Kind::ApiCut => {
                let name = self.any(self.ways())?;
                Some(self.cut_api(&[name], self.time(minute)))
            }
            Kind::ApiOutage => Some(self.take_api_away()),
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
                let instance = self.main_or_any()?;
                self.world.delete_pod(&instance.name);
                Some(instance.name)
            }
            Kind::LongRead => self.read_long(),
            Kind::Snapshot => self.snapshot(),
            Kind::Switchover => Some(self.ask_for_switchover()),
            Kind::HumanRole => self.change_role(),
            Kind::HumanDrop => self.drop_registration(),
            Kind::HumanClaimDelete => {
                let instance = self.expendable()?;
                self.is_lost(Fragile::CopyLost);
                world.delete_claim(&instance.name);
                world.delete_pod(&instance.name);
                Some(instance.name)
            }
            Kind::HumanEdit => Some(self.edit()),
            Kind::HumanSleep => Some(self.put_to_sleep()),
            Kind::HumanRecreate => self.recreate(),
            Kind::Repeated => {
                let (late, time) = (self.time(Duration::from_secs(10)), self.time(minute));
                world.gateways.repeat(Some(late));
                self.later(time, |striker| striker.world.gateways.repeat(None));
                Some(format!("{late:?} later for {time:?}"))
            }
        }
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

    /// A frozen machine takes no packets and says nothing to the API server.
    fn freeze_nodes(self: &Rc<Self>) -> Option<String> {
        let world = &self.world;
        let main = world.main().filter(|_| self.draw(Rng::bool));
        let instance = main.or_else(|| self.any(world.instances.live()))?;
        let (process, gateway) = (instance.process?, self.gateway()?);
        let time = self.time(Duration::from_secs(60));
        world.memgraphs.freeze(process);
        self.later(time, move |striker| striker.world.memgraphs.thaw(process));
        gateway.life.freeze(Instant::now() + time);
        let nodes = [world.node_of(&instance.name), world.node_of(&gateway.name)];
        let told: Vec<_> = nodes
            .into_iter()
            .flatten()
            .map(|node| self.cut_off(node, time))
            .collect();
        Some(format!(
            "{} and {}: {}",
            instance.name,
            gateway.name,
            told.join(", ")
        ))
    }

    fn cut_off(self: &Rc<Self>, node: Node, time: Duration) -> String {
        let world = &self.world;
        let place = world.memgraphs.place(node.name());
        node.set_connected(false);
        world.way(node.name()).set(|now| now.silent = true);
        let told = self.trouble_for(&[Path::from(place), Path::to(place)], Trouble::Drop, time);
        let name = node.name().to_owned();
        self.later(time, move |striker| {
            node.set_connected(true);
            striker.world.way(node.name()).set(|now| now.silent = false);
        });
        format!("{name}: {told}")
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

    /// Nobody reaches the API server: neither what asks it, nor what tells it, nor Kubernetes' own controllers.
    fn take_api_away(self: &Rc<Self>) -> String {
        let time = self.time(Duration::from_secs(60));
        let how = if self.draw(Rng::bool) {
            Outage::Silent
        } else {
            Outage::Refuses
        };
        self.set_api(Some(how));
        let number = self.outages.get() + 1;
        self.outages.set(number);
        self.later(time, move |striker| {
            // Another one may have begun meanwhile.
            if striker.outages.get() == number {
                striker.set_api(None);
            }
        });
        format!("{how:?} for {time:?}")
    }

    pub(super) fn set_api(&self, outage: Option<Outage>) {
        self.world.kubernetes.set_api(outage.is_none());
        for name in self.all_ways() {
            self.world.way(&name).set(|now| now.outage = outage);
        }
    }

    fn cut_api(self: &Rc<Self>, names: &[String], time: Duration) -> String {
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

    /// What notes that a fault has struck of which that shows later.
    pub(super) fn hit(&self, kind: Kind) -> impl FnOnce() + use<> {
        let (struck, stand) = (Rc::clone(&self.struck), self.stand.get());
        move || struck.borrow_mut().extend(stand.map(|stand| (kind, stand)))
    }

    fn read_long(self: &Rc<Self>) -> Option<String> {
        let replica = self.any(self.replicas())?;
        let time = self.time(Duration::from_secs(60));
        let mut client = self.world.memgraphs.client(self.world.memgraphs.place("analyst"));
        let hit = self.hit(Kind::LongRead);
        spawn_local(async move {
            let patience = Duration::from_secs(5);
            let at = (replica.address, BOLT_PORT).into();
            if client.connect(at, patience).await.is_ok()
                && client.begin(patience).await.is_ok()
                && client.read(patience).await.is_ok()
            {
                hit();
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
        let hit = self.hit(Kind::Snapshot);
        spawn_local(async move {
            let patience = Duration::from_secs(60);
            if client
                .connect((replica.address, BOLT_PORT).into(), patience)
                .await
                .is_ok()
            {
                let done = client
                    .run("CREATE SNAPSHOT", bolt_server::Map::new(), patience)
                    .await;
                if done.is_ok() {
                    hit();
                }
            }
            memgraphs.set_disk_speed(replica.volume, sync, Duration::from_millis(20));
        });
        Some(told)
    }
}
