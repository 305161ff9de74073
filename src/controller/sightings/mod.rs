//! What was seen of a cluster's instances, and for how long it has been so.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    sync::{MutexGuard, PoisonError},
    time::Duration,
};

use futures::future::join_all;
use tokio::{
    sync::Mutex,
    time::{Instant, sleep},
};

use self::{
    memory::{Memory, is_main, note_what_lacks, remember, with_ages},
    outline::outline,
    question::{keep_mode, ordinal, question, takes_nothing, unreached},
};
use super::connections::Connections;
use crate::{
    api::{ledger::Incarnation, names::BOLT_PORT},
    fleet::InstanceSight,
    memgraph::{self, Bolt, Question, Usage},
    plan::observation::{Role, Sight, StorageMode},
};

mod memory;
mod outline;
mod question;
#[cfg(test)]
mod tests;

/// A command that found no moment without commits longer ago says nothing of the next one. Those that fail are tried again after 5 s at
/// the latest.
const BUSY_LATELY: Duration = Duration::from_secs(15);
/// How soon gateways are asked again before a route is to be closed, of which one has not answered.
const UNREACHED_FOR: Duration = Duration::from_secs(10);
/// How often it is seen whether an instance has fallen silent whose answer is waited for.
const LISTEN_AGAIN: Duration = Duration::from_millis(100);
/// For how long an instance is asked again how far its data has come, until it counts as one that cannot tell: it may take a snapshot
/// of its own meanwhile.
const UNMEASURED_FOR: Duration = Duration::from_secs(600);

/// After what time Kubernetes has told of a process that has ended, if it has: a kubelet looks every second, and tells at once;
/// the pods of a node that says nothing are taken for unready after 40 to 50 s (`--node-monitor-grace-period`).
const UNTIL_TOLD: Duration = Duration::from_secs(60);

/// Within what time a kubelet that has just started again tells what has become of its pods, as a rule.
const SOON_TOLD: Duration = Duration::from_secs(5);

/// After how many attempts of half a second each an instance cannot be made a replica.
const ADAMANT: u32 = 3;

/// An instance to look at.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) name: String,
    pub(super) address: Option<IpAddr>,
    pub(super) incarnation: Option<Incarnation>,
    /// Its pod is being deleted.
    pub(super) terminating: bool,
    /// Its Bolt port takes TLS only.
    pub(super) tls: bool,
}

/// Whom to look at. What is to be done about those that answer must not wait for those that do not.
#[derive(Clone, Copy, Debug)]
pub(super) enum Whom<'a> {
    /// Those that were not seen yet or have answered the last time, and this one in any case.
    Answering(Option<&'a str>),
    /// Those that have not.
    Missing,
}

/// What is known of an instance now.
#[derive(Clone, Debug)]
pub(super) struct Sighting {
    pub(super) sight: Sight,
    pub(super) away_for: Duration,
    /// For how long it has had no address to look at.
    pub(super) unseen_for: Duration,
    pub(super) silent_for: Duration,
    pub(super) stuck_for: Duration,
    pub(super) terminating_for: Duration,
    pub(super) has_answered: bool,
    pub(super) refused_in: Option<i64>,
    pub(super) adamant: bool,
    pub(super) unregistrable: bool,
    pub(super) may_have_ended: bool,
    pub(super) position: Option<Result<i64, String>>,
    /// The storage mode that it told last as MAIN in this life.
    pub(super) last_mode: Option<StorageMode>,
}

/// The instances of one cluster, by name.
#[derive(Default)]
pub(super) struct Sightings {
    memories: Mutex<BTreeMap<String, Memory>>,
    /// The life in which an instance has ended a connection that stood, and when.
    ended: std::sync::Mutex<BTreeMap<String, (Incarnation, Instant)>>,
    /// Since when no command that needs a moment without commits has got one, and when the last one found none.
    busy: Mutex<Option<(Instant, Instant)>>,
    /// When a gateway was asked in vain before the route was closed.
    unreached: Mutex<Option<Instant>>,
    /// When a replica was shown last what it lacks.
    shown: std::sync::Mutex<Option<Instant>>,
}

impl Sightings {
    /// Looks at targets at once, over `connections` of looks before where there are any. Returns whether something has
    /// changed that a decision may depend on.
    pub(super) async fn look<B: Bolt>(
        &self,
        client: &B,
        connections: &Connections<B::Session>,
        targets: &[Target],
        emptiness: bool,
        whom: Whom<'_>,
    ) -> bool {
        let begun = Instant::now();
        let shown = *self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        let (questions, mut changed) = {
            let mut memories = self.memories.lock().await;
            let other = memories.len() != targets.len();
            memories.retain(|name, _| targets.iter().any(|target| target.name == *name));
            let unreached = unreached(memories.values());
            let asked = targets.iter().filter_map(|target| {
                let before = memories
                    .get(&target.name)
                    .filter(|m| m.incarnation == target.incarnation);
                let is_unreached = ordinal(&target.name).is_some_and(|ordinal| unreached.contains(&ordinal));
                let question = Question {
                    replica_mode: is_unreached || before.is_some_and(takes_nothing),
                    ..question(before, emptiness, whom, &target.name)?
                };
                Some((target, question))
            });
            (asked.collect::<Vec<_>>(), other)
        };
        connections.retain(targets);
        // Whoever keeps a look waiting must not keep others from looking.
        let looks = questions.into_iter().map(|(target, question)| async move {
            let sight = match target.address {
                Some(ip) => {
                    let mut kept = connections.take(target);
                    let at = SocketAddr::new(ip, BOLT_PORT);
                    let sight = memgraph::look_again(client, at, &question, &mut kept).await;
                    connections.put(target, kept);
                    sight
                }
                None => Sight::Unseen,
            };
            (target, sight, question)
        });
        let sights = join_all(looks).await;
        let mut memories = self.memories.lock().await;
        for (target, mut sight, question) in sights {
            let before = memories.remove(&target.name);
            if let Some(newer) = before.as_ref().filter(|memory| memory.looked > begun) {
                let newer = newer.clone();
                memories.insert(target.name.clone(), newer);
                continue;
            }
            let in_this_life = before
                .as_ref()
                .filter(|memory| memory.incarnation == target.incarnation);
            let mode = in_this_life.and_then(|memory| memory.mode);
            let asks_mode = match is_main(&sight) {
                true => question.storage_mode,
                false => question.replica_mode,
            };
            let mode = keep_mode(mode, &mut sight, asks_mode.then_some(begun));
            if let Some(memory) = in_this_life {
                note_what_lacks(memory, &mut sight, begun, shown);
            }
            changed |= before.as_ref().is_none_or(|memory| {
                memory.incarnation != target.incarnation || outline(&memory.sight) != outline(&sight)
            });
            let memory = Memory {
                mode,
                ..remember(before, target, sight, begun)
            };
            memories.insert(target.name.clone(), memory);
        }
        changed
    }

    /// Notes that MAIN has refused an instance in this term, so that it is not asked again and again.
    pub(super) async fn refuse(&self, instance: &str, term: i64) {
        if let Some(memory) = self.memories.lock().await.get_mut(instance) {
            memory.refused_in = Some(term);
        }
    }

    /// Notes that an instance could not be made a replica.
    pub(super) async fn did_not_step_down(&self, instance: &str) {
        if let Some(memory) = self.memories.lock().await.get_mut(instance) {
            memory.stayed_main = memory.stayed_main.saturating_add(1);
        }
    }

    /// Notes whether a command got the moment without commits that it needs.
    pub(super) async fn got_a_moment(&self, got: bool) {
        let mut busy = self.busy.lock().await;
        let now = Instant::now();
        let since = busy.filter(|(_, last)| last.elapsed() < BUSY_LATELY);
        *busy = (!got).then(|| (since.map_or(now, |(since, _)| since), now));
    }

    /// For how long commands have found no such moment.
    pub(super) async fn busy_for(&self) -> Duration {
        let busy = *self.busy.lock().await;
        busy.filter(|(_, last)| last.elapsed() < BUSY_LATELY)
            .map(|(since, _)| since.elapsed())
            .unwrap_or_default()
    }

    /// A replica is about to be shown what it lacks.
    pub(super) fn shows_what_is_missing(&self) {
        *self.shown.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// Notes whether every gateway has answered that was asked before the route was to be closed.
    pub(super) async fn reached_gateways(&self, all: bool) {
        *self.unreached.lock().await = (!all).then(Instant::now);
    }

    /// Whether one of them has not, a moment ago.
    pub(super) async fn misses_a_gateway(&self) -> bool {
        let unreached = *self.unreached.lock().await;
        unreached.is_some_and(|at| at.elapsed() < UNREACHED_FOR)
    }

    /// Waits until an instance has been silent for so long.
    pub(super) async fn fallen_silent(&self, instance: &str, patience: Duration) {
        loop {
            let since = {
                let memories = self.memories.lock().await;
                memories.get(instance).and_then(|memory| memory.silent_since)
            };
            if since.is_some_and(|since| since.elapsed() >= patience) {
                return;
            }
            sleep(LISTEN_AGAIN).await;
        }
    }

    /// Notes the storage mode that MAIN has just told of.
    pub(super) async fn told_mode(&self, main: &str, mode: StorageMode) {
        if let Some(memory) = self.memories.lock().await.get_mut(main)
            && let Sight::Serving(view) = &mut memory.sight
        {
            view.storage_mode = Some(mode);
            memory.mode = keep_mode(memory.mode, &mut memory.sight, Some(Instant::now()));
        }
    }

    /// Notes how far an instance's data has come.
    pub(super) async fn measured(&self, instance: &str, position: Result<i64, String>) {
        if let Some(memory) = self.memories.lock().await.get_mut(instance) {
            memory.position = Some(position);
        }
    }

    /// Notes that it could not be told how far an instance's data has come, and may be soon. After a while that is an answer too.
    pub(super) async fn unmeasured(&self, instance: &str, why: &str) {
        if let Some(memory) = self.memories.lock().await.get_mut(instance) {
            let since = *memory.unmeasured_since.get_or_insert_with(Instant::now);
            if since.elapsed() >= UNMEASURED_FOR {
                memory.position = Some(Err(why.to_owned()));
            }
        }
    }

    /// Notes that an instance could not be registered, and is not to be for so long.
    pub(super) async fn unregistrable(&self, instance: &str, pause: Duration) {
        if let Some(memory) = self.memories.lock().await.get_mut(instance) {
            memory.unregistrable_until = Some(Instant::now() + pause);
        }
    }

    /// By ordinal: how far each replica was behind when this instance told of it as MAIN for the last time.
    pub(super) async fn told_by(&self, main: &str) -> BTreeMap<i32, i64> {
        let memories = self.memories.lock().await;
        memories
            .get(main)
            .map(|memory| memory.told.clone())
            .unwrap_or_default()
    }

    /// What was seen of each instance last, how long ago, how far each is behind by what MAIN of this name says, and what it has
    /// told of its `usage`.
    pub(super) async fn for_people(
        &self,
        main: Option<&str>,
        usage: impl Fn(&str) -> Option<Usage>,
    ) -> BTreeMap<String, InstanceSight> {
        let memories = self.memories.lock().await;
        let main = main.and_then(|main| memories.get(main));
        let told = main
            .filter(|memory| is_main(&memory.sight))
            .map(|memory| &memory.told);
        let behind = |name: &str| {
            // Memgraph counts it as 0 or negative.
            told?
                .get(&ordinal(name)?)
                .map(|behind| behind.min(&0).unsigned_abs())
        };
        memories
            .iter()
            .map(|(name, memory)| {
                let answers = matches!(memory.sight, Sight::Serving(_));
                let since = if answers {
                    Some(memory.looked)
                } else {
                    memory.away_since
                };
                let sight = InstanceSight {
                    answers,
                    answered_ago: since.filter(|_| memory.has_answered).map(|since| since.elapsed()),
                    behind: behind(name),
                    usage: usage(name),
                };
                (name.clone(), sight)
            })
            .collect()
    }

    /// Whether this instance gave no answer when it was looked at last.
    pub(super) async fn is_silent(&self, instance: &str) -> bool {
        let memories = self.memories.lock().await;
        memories
            .get(instance)
            .is_some_and(|memory| memory.sight == Sight::Silent)
    }

    /// Whether this instance did not serve as MAIN when it was looked at last. Before anything was looked at, it is not known.
    pub(super) async fn is_no_main(&self, instance: &str) -> bool {
        let memories = self.memories.lock().await;
        let serves = |memory: &Memory| is_main(&memory.sight);
        !memories.is_empty() && !memories.get(instance).is_some_and(serves)
    }

    /// Whether this instance served as MAIN when it was looked at last.
    pub(super) async fn serves_as_main(&self, instance: &str) -> bool {
        let memories = self.memories.lock().await;
        memories
            .get(instance)
            .is_some_and(|memory| is_main(&memory.sight))
    }

    /// Notes that a connection to an instance in this life has ended, as it does when the process ends.
    pub(super) fn ended(&self, instance: &str, incarnation: &Incarnation) {
        let now = (incarnation.clone(), Instant::now());
        self.ends().insert(instance.to_owned(), now);
    }

    /// Notes that the process was there all the same.
    pub(super) fn goes_on(&self, instance: &str, incarnation: &Incarnation) {
        let mut ends = self.ends();
        if ends.get(instance).is_some_and(|(life, _)| life == incarnation) {
            ends.remove(instance);
        }
    }

    fn ends(&self) -> MutexGuard<'_, BTreeMap<String, (Incarnation, Instant)>> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether this life of an instance may be over already: it refused connections, or ended one that stood, so that its
    /// process had ended, and Kubernetes has not told of another one yet; or it was silent for long, as one whose node starts again.
    pub(super) async fn may_have_ended(&self, instance: &str, incarnation: &Incarnation) -> bool {
        let memories = self.memories.lock().await;
        let memory = memories
            .get(instance)
            .filter(|memory| memory.incarnation.as_ref() == Some(incarnation));
        self.has_shown_an_end(instance, incarnation, memory)
    }

    fn may_be_over(&self, target: &Target, memory: Option<&Memory>) -> bool {
        let life = target.incarnation.as_ref();
        life.is_some_and(|life| self.has_shown_an_end(&target.name, life, memory))
    }

    fn has_shown_an_end(&self, instance: &str, incarnation: &Incarnation, memory: Option<&Memory>) -> bool {
        let ends = self.ends();
        let connection = ends.get(instance).filter(|(life, _)| life == incarnation);
        let shown = [
            connection.map(|(_, at)| *at),
            memory.and_then(|memory| memory.refused_at),
        ];
        let back = memory.and_then(|memory| memory.back_since);
        shown.into_iter().flatten().any(|at| at.elapsed() < UNTIL_TOLD)
            || back.is_some_and(|at| at.elapsed() < SOON_TOLD)
    }

    /// What is known of this instance.
    pub(super) async fn sighting(&self, target: &Target) -> Sighting {
        let memories = self.memories.lock().await;
        match memories
            .get(&target.name)
            .filter(|memory| memory.incarnation == target.incarnation)
        {
            None => Sighting {
                sight: Sight::Unseen,
                away_for: Duration::ZERO,
                unseen_for: Duration::ZERO,
                silent_for: Duration::ZERO,
                stuck_for: Duration::ZERO,
                terminating_for: Duration::ZERO,
                has_answered: false,
                refused_in: None,
                adamant: false,
                unregistrable: false,
                may_have_ended: self.may_be_over(target, None),
                position: None,
                last_mode: None,
            },
            Some(memory) => Sighting {
                sight: with_ages(memory),
                away_for: memory.away_since.map(|since| since.elapsed()).unwrap_or_default(),
                unseen_for: memory
                    .unseen_since
                    .map(|since| since.elapsed())
                    .unwrap_or_default(),
                silent_for: memory
                    .silent_since
                    .map(|since| since.elapsed())
                    .unwrap_or_default(),
                stuck_for: memory
                    .stuck_since
                    .map(|since| since.elapsed())
                    .unwrap_or_default(),
                terminating_for: memory
                    .terminating_since
                    .map(|since| since.elapsed())
                    .unwrap_or_default(),
                has_answered: memory.has_answered,
                refused_in: memory.refused_in,
                adamant: memory.stayed_main >= ADAMANT,
                unregistrable: memory
                    .unregistrable_until
                    .is_some_and(|until| Instant::now() < until),
                may_have_ended: self.may_be_over(target, Some(memory)),
                position: memory.position.clone(),
                last_mode: memory
                    .mode
                    .filter(|mode| mode.role == Role::Main)
                    .and_then(|mode| mode.told),
            },
        }
    }
}
