//! A small world to decide about: instances that behave as Memgraph does, as far as decisions can see it.
//!
//! Commands take effect at once; what fails here are the instances, and the order in which things are seen.
//! Data is a list of writes; a write is acknowledged as its mode demands. The rules followed are those of
//! Memgraph's documentation on replication: a strict replica's vote is needed for each commit, a promotion
//! drops the list of replicas, a registration whose data has branched off is refused.

use std::{net::IpAddr, time::Duration};

use super::super::{
    Action, Plan, Step,
    observation::{
        Access, Claim, Configuration, Container, Contents, CrashLoop, DataStatus, Instance, Marker, Numbers,
        Observation, Registration, Role, Settings, Sight, StorageMode, SwitchoverRequest, View, Volume,
    },
    plan,
};
use crate::plan::Stage;
use crate::{
    api::{
        MainUpdate, RegistrationMode, ReplicationMode, ResetNote, ResetOutcome, VolumeNote,
        ledger::{Incarnation, Ledger, Route},
    },
    instance_init::{Decision, decide, displaced_by, refusal},
};

/// One write: by which life of MAIN (its promotion), and its number.
type Write = (u32, u32);

#[derive(Clone, Debug)]
pub(super) struct Server {
    pub(super) up: bool,
    pub(super) life: u32,
    pub(super) volume: u32,
    pub(super) role: Role,
    pub(super) data: Vec<Write>,
    pub(super) marker: Option<Marker>,
    /// By the number of an address each.
    pub(super) replicas: Vec<(String, usize, RegistrationMode)>,
    /// The promotion in which it is MAIN.
    pub(super) reign: u32,
    /// It does not become MAIN, whoever says so.
    pub(super) stubborn: bool,
    /// How often its node was started.
    pub(super) boot: u32,
    pub(super) flushes_all: bool,
    /// What is noted on its volume claim.
    pub(super) volume_note: Option<VolumeNote>,
    /// How far it has come, once that was measured in this life.
    pub(super) position: Option<i64>,
    /// How many pods it has had.
    pub(super) pod: u32,
    /// Orders to set its data aside that its volume knows as obeyed.
    pub(super) obeyed: Vec<String>,
    /// What its init container has said.
    pub(super) note: Option<ResetNote>,
    /// Somebody asks for another pod.
    pub(super) restart_asked: bool,
    /// Somebody asks for its data to be set aside.
    pub(super) reset_asked: bool,
    /// It cannot read its data, and so does not start.
    pub(super) unreadable: bool,
    /// Its pod is being deleted, and serves for a moment more.
    pub(super) ending: bool,
    /// For how long the operator has known that.
    pub(super) ending_for: Duration,
    /// Its pod was made for a former cluster.
    pub(super) passing: bool,
    /// The number of its pod's address.
    pub(super) address: usize,
    /// Its init container has not ended: the API server is away, or somebody else may be registered at its address.
    pub(super) waits: bool,
    /// Its pod was made of this version of the spec.
    pub(super) configuration: u32,
    /// The password that its user has; none: everybody gets in.
    pub(super) password: Option<u32>,
    /// A client has put it into the storage mode IN_MEMORY_ANALYTICAL.
    pub(super) analytical: bool,
    /// As MAIN it has told the operator so.
    pub(super) told_analytical: bool,
    /// The operator has seen its process end, and Kubernetes tells of no other one.
    pub(super) unclear: bool,
}

#[derive(Clone, Debug)]
pub(super) struct World {
    pub(super) settings: Settings,
    pub(super) servers: Vec<Server>,
    pub(super) ledger: Option<Ledger>,
    /// The term of a grant that a gateway holds, and of what the operator has seen.
    pub(super) known_term: i64,
    pub(super) numbers: Numbers,
    /// Writes that a client was told are safe.
    pub(super) acknowledged: Vec<Write>,
    pub(super) used_names: Vec<String>,
    pub(super) history: Vec<String>,
    /// For how long the operator says that it has seen the route closed.
    pub(super) closed_for: Duration,
    pub(super) shut_for: Duration,
    /// For how long MAIN has not ended a commit that it was tried with.
    pub(super) commit_for: Duration,
    /// For how long whoever is not up has not been.
    pub(super) away_for: Duration,
    /// How long ago every change of MAIN in the ledger was.
    pub(super) change_age: Duration,
    /// How far the cluster is on its way to sleep, or back.
    pub(super) stage: Stage,
    /// Clients leave no moment without commits while the route is open.
    pub(super) busy: bool,
    /// A gateway did not answer a moment ago.
    pub(super) misses_a_gateway: bool,
    /// The version of the spec, as far as it is about the instances' processes.
    pub(super) configuration: u32,
    /// The password that the spec names; none: it asks for none.
    pub(super) password: Option<u32>,
    /// The term in which the operator has seen to it last, and which one it was.
    settled: Option<(i64, u32)>,
    /// MAIN was allowed to go on alone, and has had no in-sync replica since: a stricter demand holds from the first
    /// one on.
    alone: bool,
    requests: u32,
    /// Copies that MAIN has refused to register, and in which term.
    refusals: Vec<(Incarnation, i64)>,
    reigns: u32,
    writes: u32,
}

pub(super) fn settings(replicas: i32) -> Settings {
    Settings {
        replicas,
        mode: ReplicationMode::StrictSync,
        sync_replicas: usize::from(replicas > 1),
        electable: replicas,
        preferred_main: None,
        unprotected: false,
        recovery: None,
        reset_diverged: true,
        fenced: Vec::new(),
        automatic_failover: true,
        direct: false,
        most_recent: false,
        detection_timeout: Duration::from_secs(1),
        hang_timeout: Duration::from_secs(60),
        failover_delay: Duration::ZERO,
        max_per_hour: 6,
        switchover: None,
        paused: false,
        hibernated: false,
        not_strict: None,
        image: "memgraph/memgraph:3.12.0".to_owned(),
        main_update: MainUpdate::Automatic,
        volume_size: VOLUME_SIZE,
        data_in_pods: false,
    }
}

/// How large volumes are and are to be, in bytes.
pub(super) const VOLUME_SIZE: u64 = 10 << 30;

/// Changes of MAIN as old as this hold nothing back.
pub(super) const LONG_AGO: Duration = Duration::from_secs(3600);

impl Server {
    /// It begins with an empty volume.
    fn lose_volume(&mut self) {
        self.volume += 100;
        self.volume_note = None;
        self.data.clear();
        self.marker = None;
        self.reign = 0;
        self.password = None;
    }
}

impl World {
    /// New instances behind the start gate: empty replicas.
    pub(super) fn new(replicas: i32) -> Self {
        let server = |volume| Server {
            up: true,
            life: 1,
            volume,
            role: Role::Replica,
            data: Vec::new(),
            marker: None,
            replicas: Vec::new(),
            reign: 0,
            stubborn: false,
            boot: 1,
            flushes_all: true,
            volume_note: None,
            position: None,
            pod: 1,
            obeyed: Vec::new(),
            note: None,
            restart_asked: false,
            reset_asked: false,
            unreadable: false,
            ending: false,
            ending_for: Duration::ZERO,
            passing: false,
            configuration: 0,
            address: 0,
            waits: false,
            password: None,
            unclear: false,
            analytical: false,
            told_analytical: false,
        };
        let numbered = |number: usize| Server {
            address: number,
            ..server(u32::try_from(number).unwrap())
        };
        Self {
            settings: settings(replicas),
            servers: (0..usize::try_from(replicas).unwrap()).map(numbered).collect(),
            ledger: None,
            known_term: 0,
            numbers: Numbers::default(),
            acknowledged: Vec::new(),
            used_names: Vec::new(),
            history: Vec::new(),
            closed_for: Duration::ZERO,
            shut_for: Duration::ZERO,
            commit_for: Duration::ZERO,
            away_for: Duration::from_secs(60),
            change_age: LONG_AGO,
            stage: Stage::Awake,
            busy: false,
            misses_a_gateway: false,
            configuration: 0,
            password: None,
            settled: None,
            alone: false,
            requests: 0,
            refusals: Vec::new(),
            reigns: 0,
            writes: 0,
        }
    }

    pub(super) fn name(index: usize) -> String {
        format!("demo-{index}")
    }

    fn index(name: &str) -> usize {
        name.strip_prefix("demo-").unwrap().parse().unwrap()
    }

    fn address(number: usize) -> String {
        format!("10.0.0.{number}:10000")
    }

    /// Whose process runs at this address.
    fn at(&self, address: usize) -> Option<usize> {
        self.servers
            .iter()
            .position(|server| server.up && server.address == address)
    }

    pub(super) fn incarnation(&self, index: usize) -> Incarnation {
        let server = &self.servers[index];
        Incarnation {
            pod_uid: format!("pod-{index}-{}", server.pod),
            container_id: format!("life-{}", server.life),
            volume: format!("volume-{}", server.volume),
            boot_id: format!("boot-{}", server.boot),
            flushes_all: server.flushes_all,
        }
    }

    fn view(&self, index: usize) -> View {
        let server = &self.servers[index];
        let registrations = if server.role == Role::Replica {
            &[][..]
        } else {
            &server.replicas
        };
        let registrations = registrations.iter().map(|(name, address, mode)| {
            let follows = self.feeds(index, *address).is_some();
            let tells = !server.told_analytical;
            Registration {
                name: name.clone(),
                address: Self::address(*address),
                mode: *mode,
                status: tells.then_some(if follows {
                    DataStatus::Ready
                } else {
                    DataStatus::Invalid
                }),
                reached: Some(2),
                behind: if follows { 0 } else { -1 },
                lacking_for: Duration::ZERO,
                // Long enough for every rule that waits.
                unwell_for: if follows {
                    Duration::ZERO
                } else {
                    Duration::from_secs(60)
                },
                has_followed: false,
                advanced_ago: None,
                invalid_for: if follows {
                    Duration::ZERO
                } else {
                    Duration::from_secs(60)
                },
            }
        });
        View {
            role: server.role,
            registrations: registrations.collect(),
            contents: Some(Contents {
                marker: server.marker.clone(),
            }),
            empty: Some(server.data.is_empty()),
            version: "3.12.0".into(),
            storage_mode: Some(match server.role {
                Role::Main if server.told_analytical => StorageMode::Analytical,
                Role::Replica if server.analytical => StorageMode::Analytical,
                Role::Main | Role::Replica => StorageMode::Transactional,
            }),
        }
    }

    pub(super) fn observe(&self) -> Observation {
        let instance = |index: usize| {
            let up = self.servers[index].up;
            Instance {
                name: Self::name(index),
                ordinal: i32::try_from(index).unwrap(),
                replication_address: Some(Self::address(self.servers[index].address)),
                replication_name: format!("demo-{index}.demo-instances:10000"),
                address: up.then(|| [10, 0, 0, 1].into()),
                node: Some(format!("node-{index}")),
                container: match &self.servers[index] {
                    server if server.up => Container::Running,
                    server if server.waits => Container::Waiting,
                    _ => Container::Ended,
                },
                ready: up,
                claim: Some(Claim {
                    uid: format!("claim-{}", self.servers[index].volume),
                    note: self.servers[index].volume_note.clone(),
                    volume: Some(Volume {
                        capacity: Some(VOLUME_SIZE),
                        awaits_kubelet: false,
                    }),
                }),
                position: self.servers[index].position.map(Ok),
                pod_uid: Some(format!("pod-{index}-{}", self.servers[index].pod)),
                pod_version: None,
                passing: self.servers[index].passing,
                terminating: self.servers[index].ending,
                terminating_for: self.servers[index].ending_for,
                configuration: if self.servers[index].configuration == self.configuration {
                    Configuration::Current
                } else {
                    Configuration::Outdated
                },
                restart_asked: self.servers[index].restart_asked,
                reset_asked: self.servers[index].reset_asked,
                reset_note: self.servers[index].note.clone(),
                incarnation: up.then(|| self.incarnation(index)),
                sight: if up {
                    Sight::Serving(self.view(index))
                } else {
                    Sight::Unseen
                },
                away_for: if up { Duration::ZERO } else { self.away_for },
                stuck_for: Duration::ZERO,
                has_answered: true,
                obstacle: None,
                incomplete: false,
                crash_loop: self.servers[index].unreadable.then_some(CrashLoop {
                    exit_code: Some(134),
                    waits: true,
                }),
                silent_for: Duration::ZERO,
                refused: self
                    .ledger
                    .as_ref()
                    .is_some_and(|ledger| self.refusals.contains(&(self.incarnation(index), ledger.term))),
                adamant: false,
                unregistrable: false,
                may_have_ended: self.servers[index].unclear,
                last_behind: None,
                last_mode: None,
            }
        };
        Observation {
            settings: self.settings.clone(),
            ledger: self.ledger.clone(),
            known_term: self.known_term,
            instances: (0..self.servers.len()).map(instance).collect(),
            stray_volumes: Vec::new(),
            numbers: self.numbers,
            closed_for: self.closed_for,
            shut_for: self.shut_for,
            busy_for: Duration::from_secs(if self.busy { 60 } else { 0 }),
            misses_a_gateway: self.misses_a_gateway,
            commit_for: self.commit_for,
            commits_slowly: false,
            change_ages: vec![self.change_age; self.ledger.as_ref().map_or(0, |ledger| ledger.changes.len())],
            witnesses: Vec::new(),
            access: self.access(),
            fresh_lineage: "l1".into(),
            stage: self.stage,
        }
    }

    fn access(&self) -> Access {
        let Some(password) = self.password else {
            return Access::Free;
        };
        let term = self.ledger.as_ref().map(|ledger| ledger.term);
        let settled = term.is_some_and(|term| self.settled == Some((term, password)));
        Access::Controlled { settled }
    }

    /// Who follows `main` at this address: it is up, a replica, and listens to this reign. A replica listens to whoever
    /// registered it last, whatever it was registered as.
    fn feeds(&self, main: usize, address: usize) -> Option<usize> {
        let replica = self.at(address)?;
        let (m, r) = (&self.servers[main], &self.servers[replica]);
        let follows = m.up && m.role == Role::Main && r.role == Role::Replica && r.reign == m.reign;
        (follows && !r.analytical).then_some(replica)
    }

    fn prefix(shorter: &[Write], longer: &[Write]) -> bool {
        longer.len() >= shorter.len() && longer[..shorter.len()] == *shorter
    }

    /// A commit on `main`: `None` when a strict replica did not vote for it.
    fn commit(&mut self, main: usize, change: impl Fn(&mut Server)) -> Option<()> {
        let replicas = self.servers[main].replicas.clone();
        let strict = |mode: RegistrationMode| mode == RegistrationMode::StrictSync;
        if replicas
            .iter()
            .any(|(_, address, mode)| strict(*mode) && self.feeds(main, *address).is_none())
        {
            return None;
        }
        change(&mut self.servers[main]);
        let unfed = |(_, address, mode): &(String, usize, RegistrationMode)| {
            *mode == RegistrationMode::Sync && self.feeds(main, *address).is_none()
        };
        // Committed, and the client is told of an error.
        let reported = replicas.iter().any(unfed);
        for (_, address, _) in replicas {
            if let Some(replica) = self.feeds(main, address) {
                self.servers[replica].data = self.servers[main].data.clone();
                self.servers[replica].marker = self.servers[main].marker.clone();
            }
        }
        (!reported).then_some(())
    }

    /// A client writes through the gateway, which leads to the ledger's MAIN while the route is open.
    pub(super) fn client_write(&mut self) {
        let Some(ledger) = self.ledger.clone().filter(|ledger| ledger.route == Route::Open) else {
            return;
        };
        let main = Self::index(&ledger.main.instance);
        if !self.servers[main].up || self.servers[main].role != Role::Main {
            return;
        }
        self.writes += 1;
        let write = (self.servers[main].reign, self.writes);
        if self.commit(main, |server| server.data.push(write)).is_some() {
            self.acknowledged.push(write);
        }
    }

    /// MAIN commits and is lost to its replicas and its client before it can tell them.
    pub(super) fn commit_alone(&mut self, main: usize) {
        self.writes += 1;
        let write = (self.servers[main].reign, self.writes);
        self.servers[main].data.push(write);
    }

    /// The ledger's MAIN commits and ends before its replicas, or its client, are told: the write is acknowledged to
    /// nobody. (A strict replica has voted for it before.)
    pub(super) fn commit_and_stop(&mut self) {
        let Some(main) = self.main() else { return };
        let server = &self.servers[main];
        let votes = server.replicas.iter().all(|(_, address, mode)| {
            *mode != RegistrationMode::StrictSync || self.feeds(main, *address).is_some()
        });
        if server.up && server.role == Role::Main && votes {
            self.commit_alone(main);
            self.servers[main].up = false;
        }
    }

    /// A request of its own each time.
    pub(super) fn ask_for_switchover(&mut self, target: Option<usize>) {
        self.requests += 1;
        self.settings.switchover = Some(SwitchoverRequest {
            id: self.requests.to_string(),
            target: target.map(Self::name),
        });
    }

    /// The process dies and starts again behind the gate, or loses its volume too.
    pub(super) fn restart(&mut self, index: usize, keep_volume: bool) {
        let server = &mut self.servers[index];
        server.up = !server.unreadable && !server.waits;
        server.life += 1;
        server.position = None;
        (server.analytical, server.told_analytical) = (false, false);
        if server.role == Role::Main {
            // The start gate makes it a replica that accepts no MAIN before one registers it.
            server.role = Role::Replica;
            server.reign = 0;
            server.replicas.clear();
        }
        if !keep_volume {
            server.lose_volume();
        }
        // Memgraph makes the user of its environment where it has none.
        server.password = server.password.or(self.password);
        self.heal();
    }

    /// Another pod takes the place of this one, at the same address. Its init container runs, or waits for the API server.
    pub(super) fn replace_pod(&mut self, index: usize, api: bool) {
        let server = &mut self.servers[index];
        (server.up, server.waits) = (false, true);
        server.pod += 1;
        server.configuration = self.configuration;
        (server.restart_asked, server.reset_asked) = (false, false);
        server.note = None;
        if self.settings.data_in_pods {
            server.lose_volume();
        }
        if api {
            self.admit(index);
        }
    }

    /// Another pod takes the place of this one, at an address that is free, or was until a moment ago.
    pub(super) fn move_pod(&mut self, index: usize, which: usize, api: bool) {
        // There are enough for everybody, although some may be barred.
        let free: Vec<_> = (0..3 * self.servers.len() + 3)
            .filter(|number| self.servers.iter().all(|server| server.address != *number))
            .collect();
        self.servers[index].address = free[which % free.len()];
        self.replace_pod(index, api);
    }

    /// Its node starts again: the same pod, with what lies in it, gets another address, which somebody else may have had. Its init
    /// container waits for the API server.
    pub(super) fn reboot(&mut self, index: usize, address: usize) {
        let mut others = self
            .servers
            .iter()
            .enumerate()
            .filter(|(other, _)| *other != index);
        if others.any(|(_, other)| other.address == address) {
            return;
        }
        let server = &mut self.servers[index];
        (server.up, server.waits) = (false, true);
        server.address = address;
        server.boot += 1;
        server.note = None;
    }

    /// An init container that waits asks the API server: it ends, unless somebody else may be registered at its address.
    fn admit(&mut self, index: usize) {
        let number = u8::try_from(self.servers[index].address).unwrap();
        let address = IpAddr::from([10, 0, 0, number]);
        if displaced_by(self.ledger.as_ref(), &Self::name(index), &[address]).is_none() {
            self.servers[index].note = Some(self.init(index));
            self.servers[index].waits = false;
            self.restart(index, true);
        }
    }

    /// The API server is there for all that wait for it.
    pub(super) fn admit_all(&mut self) {
        for index in 0..self.servers.len() {
            if self.servers[index].waits {
                self.admit(index);
            }
        }
    }

    /// What the init container does, by the production decision.
    fn init(&mut self, index: usize) -> ResetNote {
        let ledger = self.ledger.clone();
        let order = match decide(ledger.as_ref(), &Self::name(index), &self.servers[index].obeyed) {
            Decision::Start(note) => return note,
            Decision::SetAside(order) => order,
        };
        let ledger = ledger.expect("an order stands in a ledger");
        let main = Self::index(&ledger.main.instance);
        let sight = if self.servers[main].up {
            Sight::Serving(self.view(main))
        } else {
            Sight::Silent
        };
        let note = |outcome, detail| ResetNote {
            token: order.token.clone(),
            outcome,
            detail,
        };
        if let Some((outcome, why)) = refusal(&ledger, &order, &sight, self.servers[index].data.is_empty()) {
            return note(outcome, why);
        }
        // The last good copy is never set aside.
        self.has_all(main);
        let server = &mut self.servers[index];
        server.obeyed.push(order.token.clone());
        server.data.clear();
        (server.marker, server.unreadable) = (None, false);
        note(ResetOutcome::Done, String::new())
    }

    /// Replicas that MAIN feeds catch up.
    fn heal(&mut self) {
        for main in 0..self.servers.len() {
            for (_, address, _) in self.servers[main].replicas.clone() {
                if let Some(replica) = self.feeds(main, address)
                    && Self::prefix(&self.servers[replica].data, &self.servers[main].data)
                {
                    self.servers[replica].data = self.servers[main].data.clone();
                    self.servers[replica].marker = self.servers[main].marker.clone();
                }
            }
        }
    }

    /// Plans once and carries the plan out; `steps` bounds how far it comes. Returns the plan.
    pub(super) fn step(&mut self, steps: usize) -> Plan {
        self.admit_all();
        let plan = plan(&self.observe());
        self.carry_out(&plan, steps);
        plan
    }

    /// Carries out the first steps of a plan, which may have been made from another view of this world.
    pub(super) fn carry_out(&mut self, plan: &Plan, steps: usize) {
        if !plan.writes() {
            self.numbers = plan.numbers;
        }
        for step in plan.steps.iter().take(steps) {
            self.history.push(format!("{step:?}"));
            let done = match step {
                Step::Write(ledger) => {
                    self.check_write(ledger);
                    self.ledger = Some(Ledger::clone(ledger));
                    self.numbers = plan.numbers;
                    true
                }
                Step::Do(action) => self.act(action),
            };
            if !done {
                break;
            }
        }
        self.heal();
    }

    fn act(&mut self, action: &Action) -> bool {
        let needs_a_moment = matches!(action, Action::Register { .. } | Action::Drop { .. });
        if needs_a_moment && self.busy && self.is_open() {
            return false;
        }
        let up = |world: &Self, name: &str| world.servers[Self::index(name)].up;
        match action {
            Action::Fence { term } => {
                let ledger = self.ledger.as_ref().expect("a fence follows a ledger");
                assert_eq!((ledger.term, ledger.route), (*term, Route::Closed));
                true
            }
            Action::Promote {
                instance,
                incarnation,
            } => {
                let index = Self::index(instance);
                // Memgraph changes no role in another storage mode than the usual one.
                let stubborn = self.servers[index].stubborn || self.servers[index].analytical;
                assert!(
                    !self.settings.is_fenced(instance),
                    "{instance} is fenced: {}",
                    self.tell()
                );
                if !up(self, instance) || stubborn || self.incarnation(index) != *incarnation {
                    return false;
                }
                let ledger = self.ledger.as_ref().expect("a promotion follows a ledger");
                assert_eq!(ledger.route, Route::Closed, "promotion of {instance} while open");
                assert_eq!(
                    ledger.main.instance, *instance,
                    "the ledger announces who is promoted"
                );
                if self.servers[index].role == Role::Replica {
                    self.reigns += 1;
                    let reign = self.reigns;
                    let server = &mut self.servers[index];
                    (server.role, server.reign) = (Role::Main, reign);
                    server.replicas.clear();
                }
                true
            }
            Action::ReachGateways => true,
            Action::Quiesce { main } => {
                let server = &mut self.servers[Self::index(main)];
                server.told_analytical = server.analytical;
                up(self, main) && !self.servers[Self::index(main)].analytical
            }
            Action::StepDown { instance } => {
                let index = Self::index(instance);
                let ledger = self.ledger.as_ref().expect("a change of MAIN follows a ledger");
                assert_eq!((&ledger.main.instance, ledger.route), (instance, Route::Closed));
                let target = &ledger.operation.as_ref().expect("it is announced").target;
                assert!(
                    ledger.candidates.iter().any(|m| m.instance == *target),
                    "{}",
                    self.tell()
                );
                if !up(self, instance) {
                    return false;
                }
                self.step_down(index);
                true
            }
            Action::Demote { instance } => {
                let index = Self::index(instance);
                let ledger = self.ledger.as_ref().expect("a demotion follows a ledger");
                let announced = ledger.main.instance != *instance || ledger.route == Route::Closed;
                assert!(announced, "MAIN is never demoted while open");
                self.step_down(index);
                true
            }
            Action::Register {
                main,
                instance,
                name,
                mode,
                address,
            } => {
                let (main, replica) = (Self::index(main), Self::index(instance));
                let number = self.servers[replica].address;
                if Self::address(number) != *address {
                    return false;
                }
                assert!(
                    !self.used_names.contains(name),
                    "{name} was used before: {}",
                    self.tell()
                );
                self.used_names.push(name.clone());
                let listed = self.servers[main]
                    .replicas
                    .iter()
                    .any(|(_, other, _)| *other == number);
                let able =
                    self.servers[main].role == Role::Main && self.servers[replica].role == Role::Replica;
                if listed || !able || !self.servers[main].up || !self.servers[replica].up {
                    return false;
                }
                // MAIN has no users to send, and the replica takes that for its own
                // (`replication_handler/auth_replication_handlers.cpp`).
                self.servers[replica].password = None;
                // The UUID is swapped before the data is looked at.
                self.servers[replica].reign = self.servers[main].reign;
                // It tells nothing of its data in another storage mode, and MAIN does not ask again.
                let fits = self.servers[replica].analytical
                    || Self::prefix(&self.servers[replica].data, &self.servers[main].data);
                if fits {
                    self.servers[main].replicas.push((name.clone(), number, *mode));
                } else {
                    let term = self.ledger.as_ref().map_or(0, |ledger| ledger.term);
                    self.refusals.push((self.incarnation(replica), term));
                }
                fits
            }
            Action::Drop { main, name } => {
                let main = Self::index(main);
                self.servers[main].replicas.retain(|(other, _, _)| other != name);
                up(self, &Self::name(main))
            }
            Action::ProbeCommit { main } | Action::ShowMissing { main } => {
                up(self, main) && self.commit(Self::index(main), |_| ()).is_some()
            }
            Action::Confirm { main, names } => {
                let view = self.view(Self::index(main));
                names
                    .iter()
                    .all(|n| view.registrations.iter().any(|r| r.name == *n && r.in_sync()))
            }
            Action::DeletePod { instance, pod_uid } => {
                let index = Self::index(instance);
                if *pod_uid == format!("pod-{index}-{}", self.servers[index].pod) {
                    if self.settings.data_in_pods {
                        self.another_has_all(index);
                    }
                    let which = usize::try_from(self.servers[index].pod).unwrap();
                    self.move_pod(index, which, true);
                }
                true
            }
            Action::ReadPosition { instance } => {
                let server = &mut self.servers[Self::index(instance)];
                server.position = server.up.then(|| i64::try_from(server.data.len()).unwrap());
                server.up
            }
            Action::NoteVolumes { claims, note } => {
                for (instance, uid) in claims {
                    let server = &mut self.servers[Self::index(instance)];
                    if *uid == format!("claim-{}", server.volume) {
                        server.volume_note = Some(note.clone());
                    }
                }
                true
            }
            Action::SettleUsers { main } => {
                let index = Self::index(main);
                let ledger = self.ledger.as_ref().expect("MAIN is known from a ledger");
                let term = ledger.term;
                let server = &mut self.servers[index];
                if !server.up || server.role != Role::Main {
                    return false;
                }
                server.password = self.password;
                self.settled = self.password.map(|password| (term, password));
                true
            }
            Action::Mark { main, lineage } => {
                let marker = Marker {
                    lineage: lineage.clone(),
                };
                let server = &self.servers[Self::index(main)];
                assert_eq!(server.marker, None, "a mark is never changed: {}", self.tell());
                assert!(
                    server.replicas.is_empty(),
                    "it is streamed to nobody: {}",
                    self.tell()
                );
                up(self, main)
                    && self
                        .commit(Self::index(main), |server| server.marker = Some(marker.clone()))
                        .is_some()
            }
        }
    }

    pub(super) fn step_down(&mut self, index: usize) {
        let server = &mut self.servers[index];
        (server.role, server.reign) = (Role::Replica, 0);
        server.replicas.clear();
    }

    /// What must hold of every ledger write.
    fn check_write(&self, next: &Ledger) {
        let Some(before) = &self.ledger else { return };
        assert!(next.term >= before.term && next.generation >= before.generation);
        if next.main != before.main {
            assert!(next.term > before.term, "a new MAIN has a new term");
            assert_eq!(next.route, Route::Closed, "a new MAIN is announced while closed");
        }
        if before.route == Route::Open && next.route == Route::Closed {
            assert!(next.term > before.term, "each closing has a term of its own");
        }
        if before.route == Route::Closed && next.route == Route::Open {
            let main = &self.servers[Self::index(&next.main.instance)];
            assert!(
                !main.up || main.role == Role::Replica || main.password == self.password,
                "clients are let in without a password: {}",
                self.tell()
            );
        }
    }

    /// The invariants: see the names.
    pub(super) fn check(&mut self) {
        let Some(ledger) = &self.ledger else { return };
        let protected = ledger.route == Route::Closed || !ledger.in_sync.is_empty();
        self.alone = self.settings.required_members() == 0 || self.alone && !protected;
        self.no_acknowledged_write_is_lost(ledger);
        if ledger.route != Route::Open {
            return;
        }
        let main = &self.servers[Self::index(&ledger.main.instance)];
        if main.up && main.role == Role::Main {
            assert!(
                self.password.is_none() || main.password.is_some(),
                "MAIN lets everybody in: {}",
                self.tell()
            );
            let as_asked = |mode: RegistrationMode| {
                mode == self.settings.sync_mode()
                    || self.keeps_mode(&ledger.main.instance) && mode != RegistrationMode::Async
            };
            let strict = main.replicas.iter().any(|(_, _, mode)| as_asked(*mode));
            let required = self.settings.required_members() > 0 && !self.alone;
            assert!(
                strict || !required,
                "open without a strict replica: {}",
                self.tell()
            );
            let of_mode = |wanted| main.replicas.iter().any(|(_, _, mode)| *mode == wanted);
            assert!(
                !(of_mode(RegistrationMode::Sync) && of_mode(RegistrationMode::StrictSync)),
                "two modes that do not go together: {}",
                self.tell()
            );
            for member in &ledger.in_sync {
                let registered = main
                    .replicas
                    .iter()
                    .any(|(_, r, m)| Self::address(*r) == member.address && as_asked(*m));
                assert!(
                    registered,
                    "{} is in the set but MAIN does not wait for it: {}",
                    member.instance,
                    self.tell()
                );
            }
        }
    }

    /// Whether a change of mode waits: behind a closed route nobody could be registered in sync with this MAIN, for a fence.
    fn keeps_mode(&self, main: &str) -> bool {
        let electable = self.settings.electable.min(self.settings.replicas);
        let may_follow = |instance: &String| instance != main && !self.settings.fenced.contains(instance);
        let others = (0..usize::try_from(electable).unwrap())
            .map(Self::name)
            .filter(may_follow);
        others.count() < self.settings.required_members()
    }

    /// Every copy that the ledger lets be promoted, in the very life it names, has every acknowledged write.
    fn no_acknowledged_write_is_lost(&self, ledger: &Ledger) {
        let pool = if ledger.route == Route::Open {
            &ledger.in_sync
        } else {
            &ledger.candidates
        };
        for member in pool.iter().filter(|m| m.generation > 0) {
            let index = Self::index(&member.instance);
            if self.servers[index].up && self.incarnation(index) == member.incarnation {
                self.has_all(index);
            }
        }
        let main = Self::index(&ledger.main.instance);
        if ledger.route == Route::Open && self.servers[main].up && self.servers[main].role == Role::Main {
            self.has_all(main);
        }
    }

    /// What goes with the pod of this instance is somewhere else, too, in a process that runs: another may never come back.
    fn another_has_all(&self, index: usize) {
        let others = self
            .servers
            .iter()
            .enumerate()
            .filter(|(other, server)| *other != index && (server.up || self.acknowledged.is_empty()));
        let mut others = others.map(|(_, server)| &server.data);
        assert!(
            others.any(|data| self.acknowledged.iter().all(|write| data.contains(write))),
            "the last copy goes with the pod of {}: {}",
            Self::name(index),
            self.tell()
        );
    }

    fn has_all(&self, index: usize) {
        let data = &self.servers[index].data;
        for write in &self.acknowledged {
            assert!(
                data.contains(write),
                "{} lacks {write:?}: {}",
                Self::name(index),
                self.tell()
            );
        }
    }

    pub(super) fn is_open(&self) -> bool {
        self.ledger
            .as_ref()
            .is_some_and(|ledger| ledger.route == Route::Open)
    }

    pub(super) fn main(&self) -> Option<usize> {
        self.ledger
            .as_ref()
            .filter(|l| l.route == Route::Open)
            .map(|l| Self::index(&l.main.instance))
    }

    /// Whether every instance was started with what the spec says now.
    pub(super) fn is_up_to_date(&self) -> bool {
        self.servers
            .iter()
            .all(|server| server.configuration == self.configuration)
    }

    /// Whether an instance's data is not set aside because MAIN is empty and the instance is not.
    pub(super) fn needs_a_human(&self) -> bool {
        let refused = |note: &ResetNote| note.outcome == ResetOutcome::Refused;
        self.servers
            .iter()
            .any(|server| server.note.as_ref().is_some_and(refused))
    }

    /// Plans and acts until nothing is left to do.
    pub(super) fn settle(&mut self) -> Plan {
        for _ in 0..100 {
            let plan = self.step(usize::MAX);
            self.check();
            if plan.steps.is_empty() {
                return plan;
            }
        }
        panic!("no end of planning: {}", self.tell());
    }

    pub(super) fn tell(&self) -> String {
        let last = self.history.len().saturating_sub(30);
        format!(
            "\n{:#?}\nledger {:#?}\nlast steps:\n{}",
            self.servers,
            self.ledger,
            self.history[last..].join("\n")
        )
    }
}
