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
    faults::{Kind, Planned, Striker, plan},
    run::{Outcome, run},
    world::{Options, World},
};

/// For how long faults strike.
pub const FAULT_TIME: Duration = Duration::from_secs(600);
/// How long the cluster may take to be whole again once they are over.
const RECOVERY: Duration = Duration::from_secs(420);
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
}

/// What became of a scenario.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// The run.
    pub outcome: Outcome,
    /// What has struck where.
    pub coverage: Coverage,
    /// The condition that the cluster was left in, if it waits for a human.
    pub stalled: Option<String>,
    /// Acknowledged writes that were lost within the published limits.
    pub booked: usize,
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
        }
    }

    /// Runs it.
    ///
    /// # Errors
    /// When the runtime cannot be made.
    pub fn run(&self, with_text: bool) -> std::io::Result<Report> {
        let mut chance = Rng::with_seed(self.seed ^ 0x5eed);
        let options = options(&mut chance);
        // Half of all seeds have MAIN killed in each phase of a commit.
        let phases = self.seed.is_multiple_of(2) && self.kinds.contains(&Kind::CommitPhase);
        let faults = self
            .faults
            .clone()
            .unwrap_or_else(|| plan(&mut chance, self.time, &self.kinds, phases));
        let report = Rc::new(RefCell::new(Report::default()));
        let told = Rc::clone(&report);
        let spec = options.spec.clone();
        let early = chance.f64() < 0.25;
        let outcome = run(self.seed, &options, with_text, async move |world| {
            course(world, spec, faults, early, self.time, chance, told).await;
        })?;
        let mut report = report.take();
        report.outcome = outcome;
        Ok(report)
    }
}

/// The cluster of a seed.
fn options(chance: &mut Rng) -> Options {
    let replicas = *chance.choice(&[3, 3, 3, 4, 5]).unwrap_or(&3);
    let sync = if replicas > 3 { chance.u32(1..=2) } else { 1 };
    Options {
        spec: json!({
            "replicas": replicas,
            "replication": {"syncReplicas": sync},
            "failover": {"maxPerHour": 1000},
        }),
        nodes: replicas,
        writers: chance.usize(2..=4),
        readers: 1,
    }
}

async fn course(
    world: Rc<World>,
    spec: Value,
    faults: Vec<Planned>,
    early: bool,
    time: Duration,
    mut chance: Rng,
    report: Rc<RefCell<Report>>,
) {
    world.trace.note(|| format!("spec {spec}"));
    world.create_cluster(&spec);
    if !early && !world.settled(1, Duration::from_secs(120)).await {
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
    let began = Instant::now();
    for fault in &faults {
        sleep_until(began + fault.at).await;
        if let Some(step) = fault.awaits {
            let mut stands = world.protocol.stand();
            // If it does not come, the fault strikes all the same.
            let _ = timeout(
                AWAIT_STEP,
                stands.wait_for(|now| now.operation.is_some() && now.step == step),
            )
            .await;
        }
        let stand = *world.protocol.stand().borrow();
        let kind = fault.kind;
        if began.elapsed() > time {
            break;
        }
        if let Some(told) = striker.strike(fault).await {
            world.trace.note(|| format!("FAULT {kind:?} {told} ({stand:?})"));
            report.borrow_mut().coverage.count(kind, stand);
        }
    }
    sleep_until(began + time).await;
    striker.heal();
    let stalled = peace(&world).await;
    let mut report = report.borrow_mut();
    report.stalled = stalled;
    report.booked = world.watchman.booked();
}

/// I14: when faults are over, clients can write again soon; or a condition says what a human must do.
async fn peace(world: &Rc<World>) -> Option<String> {
    let whole = world.settled(1, RECOVERY).await;
    world.check();
    if !whole {
        let status = world.cluster().and_then(|cluster| cluster.status);
        let conditions = status.iter().flat_map(|status| &status.conditions);
        let mut stalled =
            conditions.filter(|condition| condition.type_ == "Stalled" && condition.status == "True");
        let Some(stalled) = stalled.next() else {
            let what = format!("not whole again after {RECOVERY:?}: {status:?}");
            world.watchman.report("I14", what);
            return None;
        };
        return Some(format!("{}: {}", stalled.reason, stalled.message));
    }
    let before = world.clients.acknowledged();
    sleep(Duration::from_secs(30)).await;
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
    world.clients.set_quiet(true);
    sleep(Duration::from_secs(30)).await;
    if !world.settled(1, Duration::from_secs(120)).await {
        world.watchman.report("I14", "it does not stay whole".to_owned());
        return;
    }
    sleep(Duration::from_secs(30)).await;
    let (statements, version) = (world.protocol.statements(), world.cluster_version());
    sleep(Duration::from_secs(60)).await;
    let now = (world.protocol.statements(), world.cluster_version());
    let was = (statements, version);
    if was != now {
        let what = format!("statements and version were {was:?} and became {now:?} within a quiet minute");
        world.watchman.report("I15", what);
    }
    world.check();
}
