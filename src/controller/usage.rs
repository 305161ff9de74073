//! Asks the instances of a cluster now and then what they hold and use. People are told; nothing is decided by it.
//!
//! Each question goes over a connection of its own, which nothing else waits for. It keeps one of the threads that serve the
//! instance's clients, and walks its data directory: on a disk that does not answer neither ends. So an instance that owes
//! an answer is asked nothing more for long, and none is asked while MAIN changes, or whose release the question could end.

use std::{
    collections::BTreeMap,
    hash::Hasher as _,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use fnv::FnvHasher;
use futures::{StreamExt, stream::FuturesUnordered};
use kube::runtime::reflector::ObjectRef;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use super::{Operator, clusters::Cluster, link::GatewayLink, sightings::Target};
use crate::{
    api::{
        MemgraphCluster,
        ledger::{Incarnation, Ledger, Route},
        names::BOLT_PORT,
    },
    memgraph::{self, Bolt, BoltError, Usage},
    plan::{counts_files_safely, observation::Sight},
};

/// How often an instance is asked. A connection on which somebody is signed in is kept for a little longer than that, so that it
/// serves again: signing in holds up all clients of the instance.
const EVERY: Duration = Duration::from_secs(50);
/// For how long an answer is waited for. One that comes later is of no use.
const DEADLINE: Duration = TOLD_FOR;
/// How soon an instance is asked again that gave no answer until then: one of its threads may never come back from the question.
const UNANSWERED: Duration = Duration::from_secs(30 * 60);
/// For how long an answer says something of the present.
const TOLD_FOR: Duration = Duration::from_secs(5 * 60);

/// What the instances of one cluster have told of what they hold and use.
#[derive(Default)]
pub(super) struct Usages {
    /// By the instance's name.
    known: Mutex<BTreeMap<String, Known>>,
}

/// What is known of one instance, in its present life.
struct Known {
    life: Incarnation,
    /// It has been asked and has not answered yet.
    owes: bool,
    /// It is not asked before.
    next: Instant,
    told: Option<(Instant, Usage)>,
}

impl Usages {
    fn known(&self) -> MutexGuard<'_, BTreeMap<String, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets all instances but these, and former lives of these.
    fn keep_only(&self, targets: &[Target]) {
        let is_there = |name: &String, life: &Incarnation| {
            let mut targets = targets.iter();
            targets.any(|target| target.name == *name && target.incarnation.as_ref() == Some(life))
        };
        self.known().retain(|name, known| is_there(name, &known.life));
    }

    /// Whether this instance is to be asked now. From then on it owes an answer.
    fn asks(&self, instance: &str, life: &Incarnation) -> bool {
        let now = Instant::now();
        let mut all = self.known();
        let known = all.entry(instance.to_owned()).or_insert_with(|| Known {
            life: life.clone(),
            owes: false,
            next: now,
            told: None,
        });
        let asks = !known.owes && known.next <= now;
        known.owes |= asks;
        asks
    }

    /// Notes what came of a question.
    fn note(&self, instance: &str, life: &Incarnation, answer: &Result<Usage, BoltError>) {
        let mut all = self.known();
        let Some(known) = all.get_mut(instance).filter(|known| known.life == *life) else {
            return;
        };
        let now = Instant::now();
        known.owes = false;
        match answer {
            Ok(usage) => known.told = Some((now, *usage)),
            Err(BoltError::Deadline { .. }) => known.next = now + UNANSWERED,
            Err(_) => {}
        }
    }

    /// The answers that are owed are not waited for any longer.
    fn waive(&self) {
        for known in self.known().values_mut() {
            known.owes = false;
        }
    }

    /// What this instance has told lately.
    pub(super) fn told_by(&self, instance: &str) -> Option<Usage> {
        let all = self.known();
        let (at, usage) = all.get(instance)?.told?;
        (at.elapsed() < TOLD_FOR).then_some(usage)
    }
}

/// What came of a question to an instance in this life.
struct Answer {
    instance: String,
    life: Incarnation,
    usage: Result<Usage, BoltError>,
}

/// Asks the instances of a cluster again and again. It ends with the operator, which owns it.
pub(super) async fn ask_all<B: Bolt, G: GatewayLink>(
    operator: Weak<Operator<B, G>>,
    memory: Arc<Cluster>,
    reference: ObjectRef<MemgraphCluster>,
    uid: String,
) {
    let mut changes = memory.ledger_changes();
    let mut ticks = interval_at(Instant::now() + head_start(&uid), EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut questions = FuturesUnordered::new();
    loop {
        let calm = changes
            .borrow_and_update()
            .as_ref()
            .and_then(Option::as_ref)
            .is_some_and(is_calm);
        if !calm {
            questions.clear();
            memory.usages.waive();
        }
        tokio::select! {
            biased;
            changed = changes.changed() => if changed.is_err() {
                return;
            },
            Some(Answer { instance, life, usage }) = questions.next() => {
                if let Err(error) = &usage {
                    tracing::debug!(cluster = reference.name, instance, %error, "it is not known what it holds and uses");
                }
                memory.usages.note(&instance, &life, &usage);
            }
            _ = ticks.tick() => {
                let Some(operator) = operator.upgrade() else {
                    return;
                };
                let Some(cluster) = operator.cached.get(&reference) else {
                    continue;
                };
                let targets = operator.inventory(&cluster).targets(&cluster);
                memory.usages.keep_only(&targets);
                for target in targets {
                    if let Some((at, life)) = whom(&memory, &target).await.filter(|_| calm)
                        && memory.usages.asks(&target.name, &life)
                    {
                        let bolt = operator.bolt(&memory);
                        let instance = target.name;
                        questions.push(async move {
                            let usage = memgraph::usage(&bolt, at, DEADLINE).await;
                            Answer { instance, life, usage }
                        });
                    }
                }
            }
        }
    }
}

/// Where this instance is and in which life, if it answered when it was looked at last and can be asked.
async fn whom(memory: &Cluster, target: &Target) -> Option<(SocketAddr, Incarnation)> {
    let (address, life) = (target.address?, target.incarnation.clone()?);
    let Sight::Serving(view) = memory.sightings.sighting(target).await.sight else {
        return None;
    };
    let asked = counts_files_safely(&view.version) && !target.terminating;
    asked.then(|| (SocketAddr::new(address, BOLT_PORT), life))
}

/// Whether MAIN stays for now.
fn is_calm(ledger: &Ledger) -> bool {
    ledger.route == Route::Open && ledger.operation.is_none()
}

/// When a cluster is asked for the first time: not when all others are, after a change of leader for example.
fn head_start(uid: &str) -> Duration {
    let mut hasher = FnvHasher::default();
    hasher.write(uid.as_bytes());
    let span = u64::try_from(EVERY.as_millis()).unwrap_or(u64::MAX);
    Duration::from_millis(hasher.finish() % span)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: &str = "demo-0";

    fn life(container: &str) -> Incarnation {
        Incarnation {
            container_id: container.into(),
            ..Incarnation::default()
        }
    }

    fn told(vertices: u64) -> Result<Usage, BoltError> {
        Ok(Usage {
            vertices: Some(vertices),
            ..Usage::default()
        })
    }

    fn unanswered() -> Result<Usage, BoltError> {
        let at = ([10, 0, 0, 1], 7687).into();
        let deadline = DEADLINE;
        Err(BoltError::Deadline { at, deadline })
    }

    #[tokio::test(start_paused = true)]
    async fn an_instance_that_owes_an_answer_is_asked_nothing_more() {
        let (usages, life) = (Usages::default(), life("a"));
        assert!(usages.asks(NAME, &life));
        assert!(!usages.asks(NAME, &life), "it has not answered yet");
        usages.note(NAME, &life, &told(1));
        assert!(usages.asks(NAME, &life));
        usages.waive();
        assert!(usages.asks(NAME, &life), "nobody waits for that answer");
        usages.note(NAME, &life, &unanswered());
        tokio::time::advance(UNANSWERED - Duration::from_secs(1)).await;
        usages.waive();
        assert!(!usages.asks(NAME, &life), "it may still be at it");
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(usages.asks(NAME, &life));
    }

    #[tokio::test(start_paused = true)]
    async fn an_old_answer_says_nothing_and_that_of_another_life_neither() {
        let usages = Usages::default();
        let target = |container: &str| Target {
            name: NAME.into(),
            address: None,
            incarnation: Some(life(container)),
            terminating: false,
            tls: false,
        };
        let vertices = || usages.told_by(NAME)?.vertices;
        usages.asks(NAME, &life("a"));
        usages.note(NAME, &life("a"), &told(7));
        usages.keep_only(&[target("a")]);
        assert_eq!(vertices(), Some(7));
        usages.note(NAME, &life("a"), &unanswered());
        assert_eq!(vertices(), Some(7), "that is still true");
        tokio::time::advance(TOLD_FOR).await;
        assert_eq!(vertices(), None);
        usages.note(NAME, &life("a"), &told(8));
        assert_eq!(vertices(), Some(8));
        usages.keep_only(&[target("b")]);
        assert_eq!(vertices(), None);
        assert!(usages.asks(NAME, &life("b")), "at once, whatever it was before");
        usages.note(NAME, &life("a"), &told(9));
        assert_eq!(vertices(), None, "an answer that was on its way");
    }

    #[test]
    fn clusters_are_not_asked_all_at_once() {
        let starts: Vec<_> = (0..1000)
            .map(|n| head_start(&format!("0a1b-{n}")).as_secs())
            .collect();
        for second in 0..EVERY.as_secs() {
            let at_once = starts.iter().filter(|start| **start == second).count();
            assert!((1..=60).contains(&at_once), "{at_once} after {second} s");
        }
    }
}
