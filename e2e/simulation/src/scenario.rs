//! The random scenario: a cluster with clients, faults, and peace at the end.

use std::{cell::RefCell, rc::Rc, time::Duration};

use fastrand::Rng;
use serde_json::{Value, json};
use tokio::{
    task::spawn_local,
    time::{Instant, sleep, sleep_until, timeout},
};

use crate::{
    coverage::Coverage,
    demands::Course,
    faults::{AMBUSH, FAULTS, Kind, Planned, Striker, Wanted, is_early, plan, sleeps, with_sleep},
    invariants::Promise,
    remedy::Remedy,
    run::{Outcome, run},
    world::{Options, World},
};

/// After which time whatever has happened shows in the status, unless somebody cannot see it.
const UNTIL_SEEN: Duration = Duration::from_secs(5);

/// For how long faults strike.
pub const FAULT_TIME: Duration = Duration::from_secs(525);
/// For how much longer they may, if too few have found something to strike at.
const MORE_TIME: Duration = Duration::from_secs(200);
/// How long the cluster may take to be whole again once they are over.
const RECOVERY: Duration = Duration::from_secs(420);
/// How many remedies may be needed one after the other, besides one for each instance that does not lead.
const REMEDIES: usize = 2;
/// How long pods that are deleted may take to end, and the ledger to forget gateways that are gone.
const ENDING: Duration = Duration::from_secs(120);
/// How long an update may take after that: MAIN is moved for it twice in ten minutes at most.
const UPDATE: Duration = Duration::from_secs(900);
/// For how long clients write afterwards.
const AFTERWARDS: Duration = Duration::from_secs(15);
/// How long a cluster that nobody changes is left before it is watched, and for how long it is.
const CALM: Duration = Duration::from_secs(10);
const WATCHED: Duration = Duration::from_secs(45);
/// The longest pause between two writes of a client, and for how long writes come faster around a fault.
const PAUSE: Duration = Duration::from_secs(5);
const BUSY: Duration = Duration::from_secs(12);
/// How many faults may follow those that were planned, where some of these have found nothing to strike at, and the pause between
/// them.
const MORE_FAULTS: usize = 30;
const BETWEEN: Duration = Duration::from_secs(3);
/// How often another fault is tried where one has found nothing to strike at.
const TRIES: usize = 4;
/// How often everything is looked at, apart from each change of the ledger.
const CHECK_EVERY: Duration = Duration::from_secs(5);
/// For how long a step is waited for at which a fault is to strike.
const AWAIT_STEP: Duration = Duration::from_secs(15);

/// What a seed stands for.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// The seed.
    pub seed: u64,
    /// The faults that may strike.
    pub kinds: Vec<Kind>,
    /// If faults are given, these, instead of those that the seed would bring.
    pub faults: Option<Vec<Planned>>,
    /// For how long they strike.
    pub time: Duration,
    /// The image of the cluster; none: the one that the operator takes by itself.
    pub image: Option<String>,
}

/// What became of a scenario.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// The run.
    pub outcome: Outcome,
    /// What has struck where.
    pub coverage: Coverage,
    /// The condition that the cluster was left in, if it waits for a human who must think.
    pub stalled: Option<String>,
    /// What a human has done who read the condition.
    pub remedied: Vec<String>,
    /// Acknowledged writes that were lost within the published limits.
    pub booked: usize,
    /// What it consisted of.
    pub course: Course,
}

impl Scenario {
    /// The scenario of this seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            kinds: Kind::ALL.to_vec(),
            faults: None,
            time: FAULT_TIME,
            image: None,
        }
    }

    /// Runs it.
    ///
    /// # Errors
    /// When the runtime cannot be made.
    pub fn run(&self, with_text: bool) -> std::io::Result<Report> {
        let mut chance = Rng::with_seed(self.seed ^ 0x5eed);
        let mut options = options(self.seed, &mut chance);
        if let Some(image) = &self.image {
            options.spec["image"] = json!(image);
        }
        let kinds = allowed(&self.kinds, &options);
        // Half of all seeds have MAIN killed in each phase of a commit.
        let phases = self.seed.is_multiple_of(2) && kinds.contains(&Kind::CommitPhase);
        let early = is_early(self.seed);
        let wanted = Wanted {
            seed: self.seed,
            time: self.time,
            kinds: &kinds,
            phases,
            early,
        };
        let faults = self.faults.clone().unwrap_or_else(|| {
            let mut planned = plan(&mut chance, &wanted);
            if self.kinds.contains(&Kind::HumanSleep) && sleeps(self.seed) {
                with_sleep(&mut planned, self.seed);
            }
            planned
        });
        let program = Program {
            faults,
            kinds,
            early,
            phases,
            time: self.time,
        };
        let report = Rc::new(RefCell::new(Report::default()));
        let told = Rc::clone(&report);
        let spec = options.spec.clone();
        let outcome = run(self.seed, &options, with_text, async move |world| {
            course(world, spec, program, chance, told).await;
        })?;
        let mut report = report.take();
        report.course.acknowledged = outcome.acknowledged;
        report.course.time = outcome.time;
        report.course.phases_wanted = phases;
        report.outcome = outcome;
        Ok(report)
    }
}

/// One of so many seeds has a cluster that promises less.
const OTHER_PROMISE: u64 = 10;

/// The cluster of a seed.
fn options(seed: u64, chance: &mut Rng) -> Options {
    if seed % OTHER_PROMISE == OTHER_PROMISE - 1 {
        return with_another_promise(seed / OTHER_PROMISE, chance);
    }
    let replicas = *chance.choice(&[3, 3, 3, 4, 5]).unwrap_or(&3);
    let sync = if replicas > 3 { chance.u32(1..=2) } else { 1 };
    cluster(replicas, &json!({"syncReplicas": sync}), chance)
}

/// Each in turn.
fn with_another_promise(turn: u64, chance: &mut Rng) -> Options {
    let (replicas, replication) = match turn % 10 {
        0 => (3, json!({"mode": "Sync"})),
        1 | 6 => (3, json!({"mode": "Async"})),
        2 | 7 => (3, json!({"dataDurability": "Preferred"})),
        3 | 8 => (2, json!({})),
        // It promises as much as any other, as long as not all pods are made anew.
        5 => return with_data_in_pods(cluster(3, &json!({}), chance)),
        _ => (1, json!({})),
    };
    cluster(replicas, &replication, chance)
}

fn with_data_in_pods(mut options: Options) -> Options {
    options.spec["storage"] = json!({"emptyDir": {}});
    options
}

fn cluster(replicas: usize, replication: &Value, chance: &mut Rng) -> Options {
    Options {
        spec: json!({
            "replicas": replicas,
            "replication": replication,
            "failover": {"maxPerHour": 1000},
        }),
        nodes: replicas,
        writers: chance.usize(2..=4),
        readers: 1,
    }
}

/// The faults that a cluster of this promise is to outlive without help.
fn allowed(asked: &[Kind], options: &Options) -> Vec<Kind> {
    let every = Promise::of(&options.spec).outlives_a_copy();
    // The edits are for three instances and more.
    let small = options.nodes < 3;
    // There is nothing of these to delete, to put back, or to be kept.
    let about_claims = [
        Kind::HumanClaimDelete,
        Kind::DiskOlder,
        Kind::HumanRecreate,
        Kind::HumanSleep,
    ];
    let has_claims = options.spec["storage"]["emptyDir"].is_null();
    let harmless =
        |kind: &Kind| !(kind.destroys_data() || kind.may_lose_a_lone_copy()) && *kind != Kind::HumanEdit;
    let mut kinds = asked.to_vec();
    kinds.retain(|kind| (every || harmless(kind)) && !(small && *kind == Kind::HumanEdit));
    kinds.retain(|kind| has_claims || !about_claims.contains(kind));
    // Unless it is asked for by name, it has seeds of its own.
    let unasked = asked.len() == Kind::ALL.len();
    kinds.retain(|kind| !(unasked && *kind == Kind::HumanSleep));
    kinds
}

/// What is to go wrong.
struct Program {
    faults: Vec<Planned>,
    /// What may take the place of one that finds nothing to strike at.
    kinds: Vec<Kind>,
    /// Whether faults begin before the cluster is set up.
    early: bool,
    /// Whether MAIN is to be killed in each phase of a commit.
    phases: bool,
    time: Duration,
}

/// A fault in place of one that has found nothing to strike at: a phase of a commit in which MAIN was not killed yet, or any.
fn another(program: &Program, striker: &Striker, chance: &mut Rng) -> Planned {
    let mut missing = striker.missing_phases().into_iter().filter(|_| program.phases);
    let phase = missing.next();
    let kind = match phase {
        Some(_) => Kind::CommitPhase,
        None => chance
            .choice(&program.kinds)
            .copied()
            .unwrap_or(Kind::LeaderCrash),
    };
    Planned {
        at: Duration::ZERO,
        awaits: None,
        kind,
        phase,
    }
}

async fn course(
    world: Rc<World>,
    spec: Value,
    program: Program,
    mut chance: Rng,
    report: Rc<RefCell<Report>>,
) {
    world.trace.note(|| format!("spec {spec}"));
    world.create_cluster(&spec);
    world.clients.set_pause(PAUSE);
    if !program.early
        && !world
            .settled(world.promise.in_sync(), Duration::from_secs(120))
            .await
    {
        world
            .watchman
            .report("I14", "the cluster was not set up".to_owned());
        return;
    }
    let checking = Rc::clone(&world);
    spawn_local(async move {
        loop {
            sleep(CHECK_EVERY).await;
            checking.check();
        }
    });
    let striker = Striker::new(Rc::clone(&world), chance.fork());
    spawn_local(Rc::clone(&striker).keep_copies());
    let mut struck = 0;
    {
        let course = &mut report.borrow_mut().course;
        course.instances = world.kubernetes.instance_nodes().len();
        course.other_promise = world.promise != Promise::Every || course.instances < 3;
        course.gateways = world.cluster().map_or(0, |cluster| {
            usize::try_from(cluster.spec.gateway.replicas).unwrap_or_default()
        });
        course.operators = world.operators.len();
    }
    let began = Instant::now();
    let tally = |struck: &mut usize| {
        for (kind, stand) in striker.take_struck() {
            report.borrow_mut().coverage.count(kind, stand);
            *struck += 1;
        }
    };
    let planned = program.faults.iter().cloned().map(Some);
    for fault in planned.chain(std::iter::repeat_n(None, MORE_FAULTS)) {
        tally(&mut struck);
        let lacks_phases = program.phases && !striker.missing_phases().is_empty();
        let lacks = struck < FAULTS || lacks_phases;
        let more = if lacks { MORE_TIME } else { Duration::ZERO };
        let is_further = fault.is_none();
        let mut fault = match fault {
            Some(fault) => fault,
            None if !lacks => break,
            None => {
                sleep(BETWEEN).await;
                another(&program, &striker, &mut chance)
            }
        };
        sleep_until(began + fault.at).await;
        if began.elapsed() > program.time + more || !striker.is_whole_for(fault.kind).await {
            break;
        }
        world.clients.set_busy(BUSY);
        let met = match fault.awaits {
            // If it does not come, the fault strikes all the same.
            Some(step) => timeout(AWAIT_STEP, world.protocol.comes_to(step)).await.is_ok(),
            None => false,
        };
        let stand = world.protocol.stand_now(met);
        let during = striker.lasting();
        for _ in 0..TRIES {
            if let Some(told) = striker.strike(&fault, stand) {
                let kind = fault.kind;
                world.trace.note(|| format!("FAULT {kind:?} {told} ({stand:?})"));
                if !kind.shows_later() {
                    let coverage = &mut report.borrow_mut().coverage;
                    coverage.count(kind, stand);
                    for during in during {
                        coverage.count_during(kind, during);
                    }
                    struck += 1;
                }
                break;
            }
            fault.kind = chance.choice(&program.kinds).copied().unwrap_or(fault.kind);
        }
        if is_further && fault.phase.is_some() {
            let before = striker.phases();
            let met = |_: &World| striker.phases() > before;
            world.until(AMBUSH, met).await;
        }
    }
    tally(&mut struck);
    sleep_until(began + program.time).await;
    striker.heal();
    report.borrow_mut().remedied = striker.remedied();
    let stalled = peace(&world, &report).await;
    let mut report = report.borrow_mut();
    report.course.faults = struck;
    report.course.phases = striker.phases();
    report.stalled = stalled;
    report.booked = world.watchman.booked();
}

/// I14: when faults are over, clients can write again soon; or a condition says what a human must do, and that helps.
async fn peace(world: &Rc<World>, report: &RefCell<Report>) -> Option<String> {
    // The last fault may have struck in this very moment: nobody has seen it yet.
    sleep(UNTIL_SEEN).await;
    // A cluster that was made anew just now goes on with pods that are about to end, and MAIN may be in one of them.
    if !world.is_at_rest() {
        world.until(ENDING, World::is_at_rest).await;
        sleep(UNTIL_SEEN).await;
    }
    let followers = world.kubernetes.instance_nodes().len().saturating_sub(1);
    let mut remedies = 0;
    while !world.settled(world.promise.in_sync(), RECOVERY).await {
        world.check();
        let Some((reason, message)) = world.stalled() else {
            let what = format!("not whole again after {RECOVERY:?}: {:?}", world.status());
            world.watchman.report("I14", what);
            return None;
        };
        // Nobody is let in, so that what clients rely on is looked at where it lies.
        world.i1_acknowledged_is_somewhere();
        let told = format!("{reason}: {message}");
        world.trace.note(|| format!("stalled: {told}"));
        let remedy = Remedy::named_in(&message);
        let Some(done) = remedy.and_then(|remedy| world.apply(&remedy)) else {
            return Some(told);
        };
        world.trace.note(|| format!("REMEDY {done}"));
        let remedied = &mut report.borrow_mut().remedied;
        remedied.push(done);
        remedies += 1;
        if remedies > REMEDIES + followers {
            let what = format!("after {remedied:?} it still waits for a human: {told}");
            world.watchman.report("I14", what);
            return None;
        }
    }
    world.check();
    let before = world.clients.acknowledged();
    world.clients.set_busy(AFTERWARDS);
    sleep(AFTERWARDS).await;
    if world.clients.acknowledged() == before {
        world
            .watchman
            .report("I14", "no write is acknowledged any more".to_owned());
    }
    i15_nothing_is_done_where_nothing_is_to_be_done(world).await;
    None
}

/// I15: a healthy cluster that nobody changes is left alone.
async fn i15_nothing_is_done_where_nothing_is_to_be_done(world: &Rc<World>) {
    let is_updated = |world: &World| {
        let conditions = world.status().conditions;
        conditions
            .iter()
            .any(|condition| condition.type_ == "UpToDate" && condition.status == "True")
    };
    if !world.until(UPDATE, is_updated).await {
        world
            .watchman
            .report("I14", "an update does not come to an end".to_owned());
        return;
    }
    world.clients.set_quiet(true);
    sleep(CALM).await;
    world.until(ENDING, World::is_at_rest).await;
    if !world
        .settled(world.promise.in_sync(), Duration::from_secs(120))
        .await
    {
        world.watchman.report("I14", "it does not stay whole".to_owned());
        return;
    }
    sleep(CALM).await;
    let (statements, version) = (world.protocol.statements(), world.cluster_version());
    sleep(WATCHED).await;
    let now = (world.protocol.statements(), world.cluster_version());
    let was = (statements, version);
    if was != now {
        let what =
            format!("statements and version were {was:?} and became {now:?} within {WATCHED:?} of quiet");
        world.watchman.report("I15", what);
    }
    world.check();
}
