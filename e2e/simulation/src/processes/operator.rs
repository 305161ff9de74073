//! An operator process: the production operator, in a process that can be frozen, killed and ended.

use std::{io, rc::Rc, sync::Arc, time::Duration};

use fastrand::Rng;
use kube::Client;
use memgraph_operator::{
    controller::{self, Election, GatewayLink, Means, OperatorConfig, ReconcileInterval},
    fleet::Vitals,
    leader::{Dismiss, Leadership, Process, Timing},
    memgraph::Bolt,
    resources::{OperatorImage, OperatorPods},
    scope::Scope,
    traces::Traces,
};
use tokio::{
    sync::Notify,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;

use super::clock::DriftingClock;
use crate::{life::Life, trace::Trace};

/// What finds the operators' pods.
pub const OPERATORS: &str = "app.kubernetes.io/name=memgraph-operator";
/// Their namespace.
pub const OPERATORS_NAMESPACE: &str = "memgraph-operator-system";

/// How long a process takes that puts a new one in its place, in milliseconds.
const START_OVER: std::ops::RangeInclusive<u64> = 10..=100;
/// For how long the other threads of a process that stood still run before the one that ends it.
const LAST_TO_GO_ON: Duration = Duration::from_millis(10);
/// How long the kubelet takes to start one that has crashed, in milliseconds.
const RESTART: std::ops::RangeInclusive<u64> = 300..=2_500;

/// What the production code is told of its process.
#[derive(Clone)]
struct Machine {
    clock: DriftingClock,
    life: Life,
}

impl Process for Machine {
    type Clock = DriftingClock;

    fn clock(&self) -> DriftingClock {
        self.clock
    }

    fn watch(&self, leadership: Leadership, stop: CancellationToken) -> io::Result<Dismiss> {
        let machine = self.clone();
        let watching = tokio::spawn(async move {
            loop {
                let remaining = leadership.remaining();
                if remaining.is_zero() {
                    return machine.lost(stop.is_cancelled());
                }
                sleep(remaining.max(Duration::from_millis(1))).await;
            }
        });
        Ok(Box::new(move || watching.abort()))
    }

    /// One that stands still ends when it goes on, and some other thread may do so first.
    fn lost(&self, _stopping: bool) {
        if !self.life.is_frozen() {
            return self.life.end();
        }
        let life = self.life.clone();
        tokio::spawn(async move {
            if life.awake().await.is_ok() {
                sleep(LAST_TO_GO_ON).await;
                life.end();
            }
        });
    }
}

/// How an operator process comes into the world: a new life each time.
pub trait Surroundings<B, G> {
    /// Its clients, for as long as `life` lasts.
    fn reach(&self, life: &Life) -> (Client, B, G);
    /// Its machine has lost its power: what it kept in memory for its next process is gone.
    fn forget(&self);
}

/// The place where one operator process after the other runs.
pub struct OperatorSlot {
    name: String,
    chance: std::cell::RefCell<Rng>,
    trace: Trace,
    current: std::cell::RefCell<Option<Current>>,
    /// Whether processes may run there, as long as its machine has power.
    powered: tokio::sync::watch::Sender<bool>,
    lost_power: std::cell::Cell<bool>,
    ended: Notify,
}

struct Current {
    life: Life,
    stop: CancellationToken,
    vitals: Arc<Vitals>,
}

impl OperatorSlot {
    /// A slot in which no process runs yet.
    #[must_use]
    pub fn new(name: &str, chance: Rng, trace: Trace) -> Rc<Self> {
        Rc::new(Self {
            name: name.to_owned(),
            chance: chance.into(),
            trace,
            current: None.into(),
            powered: tokio::sync::watch::Sender::new(true),
            lost_power: std::cell::Cell::new(false),
            ended: Notify::new(),
        })
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    fn draw(&self, millis: std::ops::RangeInclusive<u64>) -> Duration {
        Duration::from_millis(self.chance.borrow_mut().u64(millis))
    }

    /// Kills the process; another one is started in its place.
    pub fn crash(&self) {
        if let Some(current) = &*self.current.borrow() {
            current.life.end();
        }
    }

    /// Asks the process to end.
    pub fn terminate(&self) {
        if let Some(current) = &*self.current.borrow() {
            current.stop.cancel();
        }
    }

    /// Has it stand still for so long.
    pub fn freeze(&self, time: Duration) {
        if let Some(current) = &*self.current.borrow() {
            current.life.freeze(Instant::now() + time);
        }
    }

    /// Has its process go on, if it stands still.
    pub fn thaw(&self) {
        if let Some(current) = &*self.current.borrow() {
            current.life.thaw();
        }
    }

    /// Takes away the power of its machine, or gives it back.
    pub fn set_power(&self, powered: bool) {
        self.powered.send_replace(powered);
        if !powered {
            self.lost_power.set(true);
            self.crash();
        }
    }

    /// Whether a process runs there whose caches are filled.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        let current = self.current.borrow();
        current
            .as_ref()
            .is_some_and(|current| current.vitals.is_ready() && !current.life.is_over())
    }

    /// Runs one process after the other, for ever.
    pub async fn run<B: Bolt, G: GatewayLink>(self: Rc<Self>, surroundings: impl Surroundings<B, G>) {
        let clock = {
            let mut chance = self.chance.borrow_mut();
            // Clocks of machines differ by less than one part in a thousand; this is ten times as much.
            let rate = 1.0 + (chance.f64() - 0.5) * 0.02;
            DriftingClock::new(Duration::from_secs(chance.u64(10..1_000_000)), rate)
        };
        loop {
            // The sender is this slot's own.
            let _ = self.powered.subscribe().wait_for(|powered| *powered).await;
            if self.lost_power.replace(false) {
                surroundings.forget();
            }
            let life = Life::default();
            let stop = CancellationToken::new();
            let vitals = Arc::new(Vitals::default());
            self.current.replace(Some(Current {
                life: life.clone(),
                stop: stop.clone(),
                vitals: Arc::clone(&vitals),
            }));
            self.trace.note(|| format!("{} starts", self.name));
            let (client, bolt, gateways) = surroundings.reach(&life);
            let means = Means {
                client,
                bolt,
                gateways,
                process: Machine {
                    clock,
                    life: life.clone(),
                },
            };
            let pause = tokio::select! {
                biased;
                () = life.over() => START_OVER,
                ended = Box::pin(controller::control(means, self.config(), &vitals, &stop)) => {
                    self.trace.note(|| format!("{} has ended: {}", self.name, ended.is_ok()));
                    RESTART
                }
            };
            life.end();
            self.ended.notify_waiters();
            self.trace.note(|| format!("{} is over", self.name));
            sleep(self.draw(pause)).await;
        }
    }

    fn config(&self) -> OperatorConfig {
        OperatorConfig {
            scope: Scope::default(),
            image: OperatorImage {
                name: "operator:1".to_owned(),
                pull_policy: None,
            },
            cluster_domain: "cluster.local".to_owned(),
            http: ([127, 0, 0, 1], 0).into(),
            pods: pods(),
            requests: None,
            interval: ReconcileInterval::default(),
            keepsakes: None,
            collector: None,
            traces: Traces::default(),
            election: Election {
                namespace: OPERATORS_NAMESPACE.to_owned(),
                lease: "memgraph-operator".to_owned(),
                name: self.name.clone(),
                timing: timing(),
            },
        }
    }
}

fn pods() -> OperatorPods {
    match OperatorPods::new(OPERATORS_NAMESPACE, OPERATORS) {
        Ok(pods) => pods,
        Err(error) => unreachable!("this is a label and its value: {error}"),
    }
}

/// The operator's own defaults.
fn timing() -> Timing {
    let millis = Duration::from_millis;
    match Timing::new(millis(2_000), millis(1_500), millis(400)) {
        Ok(timing) => timing,
        Err(error) => unreachable!("the defaults fit together: {error}"),
    }
}
