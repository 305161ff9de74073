//! Who strikes: what it knows of the world, and whom it chooses.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeSet,
    rc::Rc,
    time::Duration,
};

use fastrand::Rng;
use tokio::{
    task::spawn_local,
    time::{Instant, sleep},
};

use super::{
    ambush::{self, Ambush},
    kind::Kind,
    phase::Phase,
};
use crate::{
    coverage::During,
    memgraph::{Disk, Place, Volume},
    processes::{Gateway, Instance, OperatorSlot},
    protocol::Stand,
    remedy::Remedy,
    world::{CLUSTER, World},
};

/// Strikes at the world.
pub struct Striker {
    pub(super) world: Rc<World>,
    pub(super) chance: RefCell<Rng>,
    pub(super) ambush: Rc<RefCell<Option<Ambush>>>,
    /// Phases of commits in which MAIN was killed as planned.
    pub(super) phases: Rc<RefCell<BTreeSet<Phase>>>,
    /// Copies of volumes, to be put back later.
    pub(super) copies: RefCell<Vec<(Volume, Disk)>>,
    pub(super) requests: Cell<u32>,
    /// Whether a copy of the data was taken away and the cluster was not whole again since.
    pub(super) fragile: Cell<Fragile>,
    /// When that was.
    lost_at: Cell<Option<Instant>>,
    /// How often the API server was taken away.
    pub(super) outages: Cell<u32>,
    /// Faults of which it shows later whether they have struck: those that have, and where the operator was.
    pub(super) struck: Rc<RefCell<Vec<(Kind, Stand)>>>,
    /// Where the operator was when the present fault struck.
    pub(super) stand: Cell<Option<Stand>>,
    /// What was done as conditions asked for it.
    remedied: RefCell<Vec<String>>,
}

/// For how long a status may tell of a time before the loss of a copy, and how long a cluster may take to be whole again.
const STALE: Duration = Duration::from_secs(3);
const PATIENCE: Duration = Duration::from_secs(120);
/// How long a human takes to read what a cluster asks for.
const READING: Duration = Duration::from_secs(20);

/// What may not be relied on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fragile {
    /// Nothing: all copies are there.
    No,
    /// One copy is gone. The others are what they were.
    CopyLost,
    /// A copy is an older one in place, or a human has changed instances by hand: what the others are worth is not known to everybody.
    Unsure,
}

impl Striker {
    /// One that has done nothing yet.
    #[must_use]
    pub fn new(world: Rc<World>, chance: Rng) -> Rc<Self> {
        let ambush: Rc<RefCell<Option<Ambush>>> = Rc::default();
        let waiting = Rc::clone(&ambush);
        let phases: Rc<RefCell<BTreeSet<Phase>>> = Rc::default();
        let met = Rc::clone(&phases);
        let struck: Rc<RefCell<Vec<(Kind, Stand)>>> = Rc::default();
        let (hits, trace, protocol) = (Rc::clone(&struck), world.trace.clone(), world.protocol.clone());
        world
            .memgraphs
            .on_step(move |step| ambush::strike_at(step, &waiting, &met, &hits, &protocol, &trace));
        Rc::new(Self {
            world,
            chance: chance.into(),
            ambush,
            phases,
            copies: RefCell::default(),
            requests: Cell::new(0),
            fragile: Cell::new(Fragile::No),
            outages: Cell::new(0),
            lost_at: Cell::new(None),
            struck,
            stand: Cell::new(None),
            remedied: RefCell::default(),
        })
    }

    pub(super) fn draw<T>(&self, draw: impl FnOnce(&mut Rng) -> T) -> T {
        draw(&mut self.chance.borrow_mut())
    }

    pub(super) fn any<T>(&self, list: impl IntoIterator<Item = T>) -> Option<T> {
        let list: Vec<T> = list.into_iter().collect();
        if list.is_empty() {
            return None;
        }
        let at = self.draw(|chance| chance.usize(0..list.len()));
        list.into_iter().nth(at)
    }

    /// A time of up to `most`: short ones are as likely as long ones.
    pub(super) fn time(&self, most: Duration) -> Duration {
        let part = self.draw(Rng::f64);
        Duration::from_millis(50) + most.mul_f64(part * part * part)
    }

    pub(super) fn replicas(&self) -> Vec<Instance> {
        let main = self.world.main().map(|main| main.name);
        let mut all = self.world.instances.live();
        all.retain(|instance| Some(&instance.name) != main.as_ref());
        all
    }

    pub(super) fn standby(&self) -> Option<Rc<OperatorSlot>> {
        let leader = self.world.leader().map(|leader| leader.name().to_owned());
        let mut slots = self.world.operators.iter();
        slots.find(|slot| Some(slot.name()) != leader.as_deref()).cloned()
    }

    pub(super) fn gateway(&self) -> Option<Gateway> {
        self.any(self.world.gateways.all())
    }

    pub(super) fn places(&self) -> Vec<Place> {
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

    pub(super) fn ways(&self) -> Vec<String> {
        let nodes = self
            .world
            .kubernetes
            .gateway_nodes()
            .iter()
            .map(|node| node.name());
        let operators = self.world.operators.iter().map(|operator| operator.name());
        nodes.chain(operators).map(str::to_owned).collect()
    }

    /// The same, and those of the nodes of instances.
    pub(super) fn all_ways(&self) -> Vec<String> {
        let nodes = self.world.kubernetes.instance_nodes().iter();
        let nodes = nodes.map(|node| node.name().to_owned());
        self.ways().into_iter().chain(nodes).collect()
    }

    /// Does something that asks the API server, later: as soon as that is there.
    pub(super) fn ask_later(self: &Rc<Self>, time: Duration, deed: impl FnOnce(&Self) + 'static) {
        let striker = Rc::clone(self);
        spawn_local(async move {
            sleep(time).await;
            striker.world.kubernetes.with_api().await;
            deed(&striker);
        });
    }

    /// Does something later.
    pub(super) fn later(self: &Rc<Self>, time: Duration, deed: impl FnOnce(&Self) + 'static) {
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

    /// A copy of the data cannot be relied on from now on.
    pub(super) fn is_lost(&self, how: Fragile) {
        self.lost_at.set(Some(Instant::now()));
        if self.fragile.get() != Fragile::Unsure {
            self.fragile.set(how);
        }
    }

    /// Whether a fault of this kind oversteps nothing now: one copy may be lost at a time, and while one is, processes may still end and
    /// messages be lost.
    pub(super) fn may_strike(&self, kind: Kind) -> bool {
        match self.fragile.get() {
            Fragile::No => true,
            Fragile::CopyLost => kind.spares_data(),
            Fragile::Unsure => false,
        }
    }

    /// Of the faults of which that shows later: those that have struck since this was asked last.
    #[must_use]
    pub fn take_struck(&self) -> Vec<(Kind, Stand)> {
        std::mem::take(&mut self.struck.borrow_mut())
    }

    /// Whether a fault of this kind may strike, now or when the cluster is whole again, which is waited for. If it does not become
    /// whole, nothing strikes at all.
    pub async fn is_whole_for(self: &Rc<Self>, kind: Kind) -> bool {
        self.see_whether_whole();
        if self.may_strike(kind) {
            return true;
        }
        let began = Instant::now();
        let mut reads_at = READING;
        while began.elapsed() < PATIENCE {
            sleep(Duration::from_millis(100)).await;
            if began.elapsed() >= reads_at {
                reads_at += READING;
                self.help();
            }
            self.see_whether_whole();
            if self.may_strike(kind) {
                return true;
            }
        }
        false
    }

    /// Does what the cluster asks a human for, where nothing is given up by that.
    fn help(&self) {
        let world = &self.world;
        let Some((_, message)) = world.stalled().filter(|_| world.kubernetes.has_api()) else {
            return;
        };
        let remedy = Remedy::named_in(&message);
        let remedy = remedy.filter(|remedy| world.gives_nothing_up(remedy));
        if let Some(done) = remedy.and_then(|remedy| world.apply(&remedy)) {
            world.trace.note(|| format!("REMEDY {done}"));
            self.remedied.borrow_mut().push(done);
        }
    }

    /// What was done as conditions asked for it.
    #[must_use]
    pub fn remedied(&self) -> Vec<String> {
        self.remedied.borrow().clone()
    }

    /// Notes that all copies are there again, if they are: as far as the status tells, unless that may be older than the loss, and by
    /// what instances hold.
    fn see_whether_whole(&self) {
        let is_lost = self.fragile.get() != Fragile::No;
        let is_fresh = self.lost_at.get().is_none_or(|lost| lost.elapsed() < STALE);
        let world = &self.world;
        if is_lost && !is_fresh && world.is_settled(world.promise.in_sync()) && world.has_all_copies() {
            self.fragile.set(Fragile::No);
            world.watchman.set_meddled(false);
        }
    }

    /// What lasts now.
    #[must_use]
    pub fn lasting(&self) -> Vec<During> {
        let outage = (!self.world.kubernetes.has_api()).then_some(During::Outage);
        let copy_lost = (self.fragile.get() == Fragile::CopyLost).then_some(During::CopyLost);
        outage.into_iter().chain(copy_lost).collect()
    }

    /// The phases of commits in which MAIN was not killed yet.
    #[must_use]
    pub fn missing_phases(&self) -> Vec<Phase> {
        let met = self.phases.borrow();
        let all = Phase::ALL.into_iter();
        all.filter(|phase| !met.contains(phase)).collect()
    }

    /// Phases of commits in which MAIN was killed as planned.
    #[must_use]
    pub fn phases(&self) -> usize {
        self.phases.borrow().len()
    }

    /// An instance whose data may be lost now: any one while all is well, and else one that the ledger does not rely on.
    pub(super) fn expendable(&self) -> Option<Instance> {
        let mut instances = self.world.instances.live();
        if !self.world.is_settled(self.world.promise.in_sync()) || !self.world.has_all_copies() {
            let ledger = self.world.ledger()?;
            instances.retain(|instance| !ledger.relies_on(&instance.name));
        }
        self.any(instances)
    }

    /// An instance whose pod may be deleted now: any one, unless its data would go with it.
    pub(super) fn to_be_deleted(&self) -> Option<Instance> {
        if !self.world.has_data_in_pods() {
            return self.any(self.world.instances.live());
        }
        let instance = self.expendable()?;
        self.is_lost(Fragile::Unsure);
        Some(instance)
    }

    /// The same, half of the time MAIN.
    pub(super) fn main_or_any(&self) -> Option<Instance> {
        if self.world.has_data_in_pods() {
            return self.to_be_deleted();
        }
        let main = self.world.main().filter(|_| self.draw(Rng::bool));
        main.or_else(|| self.to_be_deleted())
    }

    /// Everything is as it should be from now on, except for what was done to data.
    pub fn heal(&self) {
        *self.ambush.borrow_mut() = None;
        self.set_api(None);
        self.world.wake();
        self.world.memgraphs.mend_all();
        self.world.gateways.repeat(None);
        let nodes = self.world.kubernetes.instance_nodes().iter();
        for node in nodes.chain(self.world.kubernetes.gateway_nodes()) {
            node.set_power(true);
            node.set_connected(true);
            node.set_lag(None);
        }
        for name in self.all_ways() {
            self.world
                .way(&name)
                .set(|now| *now = crate::api::Conditions::default());
        }
        for instance in self.world.instances.live() {
            if let Some(process) = instance.process {
                self.world.memgraphs.thaw(process);
            }
        }
        for operator in &self.world.operators {
            operator.set_power(true);
            operator.thaw();
        }
        for gateway in self.world.gateways.all() {
            gateway.life.thaw();
        }
        self.world
            .trace
            .note(|| format!("the faults of {CLUSTER} are over"));
    }
}
