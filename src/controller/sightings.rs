//! What was seen of a cluster's instances, and for how long it has been so.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    sync::{MutexGuard, PoisonError},
    time::Duration,
};

use futures::future::join_all;
use tokio::{
    sync::Mutex,
    time::{Instant, sleep},
};

use super::connections::Connections;
use crate::{
    api::{ledger::Incarnation, names::BOLT_PORT},
    fleet::InstanceSight,
    memgraph::{self, Bolt, Question, Usage},
    plan::{
        STUCK_AFTER,
        observation::{Contents, DataStatus, Registration, Role, Sight, StorageMode, View},
        parse_registration_name,
    },
};

/// For how long an answer of an instance that answered last time is waited for.
const PATIENCE: Duration = Duration::from_secs(1);
/// The same for one that did not: it must not hold up what is done about the others.
const IMPATIENCE: Duration = Duration::from_millis(250);

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

/// An instance that has been silent for so long may have been on a node that has started again meanwhile: none does so faster.
const LONG_SILENCE: Duration = Duration::from_secs(2);
/// Within what time a kubelet that has just started again tells what has become of its pods, as a rule.
const SOON_TOLD: Duration = Duration::from_secs(5);

/// How often a MAIN without replicas is asked for its storage mode. While it replicates nothing in that, it is asked at every look.
const MODE_EVERY: Duration = Duration::from_secs(10);

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

/// How often one that does not answer is given the full time all the same: it may only be slow.
const PATIENT_EVERY: u32 = 4;

/// What MAIN has listed lately of a replica that does not follow it.
#[derive(Clone, Copy, Debug)]
struct Unwell {
    since: Instant,
    /// Whether it followed before.
    followed: bool,
    /// Since when it has been `invalid`, and nothing else.
    invalid_since: Option<Instant>,
}

/// What an instance has told of its storage mode.
#[derive(Clone, Copy, Debug)]
struct Mode {
    /// What it was then.
    role: Role,
    /// When it was asked last.
    asked: Instant,
    /// What it has answered last; none: nothing that is understood.
    told: Option<StorageMode>,
}

/// What is remembered of an instance between two looks.
#[derive(Clone, Debug)]
struct Memory {
    incarnation: Option<Incarnation>,
    sight: Sight,
    /// When the look was begun that showed it so.
    looked: Instant,
    /// Of its storage mode, since it has the role that it has, in this life.
    mode: Option<Mode>,
    /// Since when it has not been serving.
    away_since: Option<Instant>,
    /// Since when it has not even completed a handshake.
    silent_since: Option<Instant>,
    /// Since when it has answered nothing in this life, although it refuses no connection.
    stuck_since: Option<Instant>,
    /// Since when its pod has been seen to be deleted, in this life.
    terminating_since: Option<Instant>,
    /// It has answered in this life.
    has_answered: bool,
    /// When it refused connections last after it had answered, in this life as Kubernetes tells it.
    refused_at: Option<Instant>,
    /// By registration name: since when MAIN has listed it as unwell.
    unwell: BTreeMap<String, Unwell>,
    /// The term in which MAIN refused this incarnation as diverged.
    refused_in: Option<i64>,
    /// How often this life could not be made a replica.
    stayed_main: u32,
    /// Until when it is not registered again, because that has failed.
    unregistrable_until: Option<Instant>,
    /// When it was heard of again after a [long silence](LONG_SILENCE), in this life as Kubernetes tells it.
    back_since: Option<Instant>,
    /// Looks in a row that it did not answer.
    missed: u32,
    /// How far its data has come in this life, or why that cannot be told.
    position: Option<Result<i64, String>>,
    /// Since when that could not be told, in this life, for a reason that may pass.
    unmeasured_since: Option<Instant>,
    /// Since when it has had no address to look at.
    unseen_since: Option<Instant>,
    /// By ordinal: how far each replica was behind, as it told when it answered as MAIN for the last time.
    told: BTreeMap<i32, i64>,
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
                note_what_lacks(memory, &mut sight, begun);
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

/// What to ask an instance of which this is remembered; None: nothing.
fn question(before: Option<&Memory>, emptiness: bool, whom: Whom<'_>, name: &str) -> Option<Question> {
    let missing = before.is_some_and(|memory| {
        matches!(
            memory.sight,
            Sight::Silent | Sight::Handshake | Sight::Barred | Sight::Untrusted { .. }
        )
    });
    let wanted = match whom {
        Whom::Answering(main) => !missing || main == Some(name),
        Whom::Missing => missing,
    };
    if !wanted {
        return None;
    }
    let version = before.and_then(|memory| match &memory.sight {
        Sight::Serving(view) => Some(view.version.clone()),
        _ => None,
    });
    let now_and_then = |memory: &Memory| memory.missed.is_multiple_of(PATIENT_EVERY);
    let patience = match (before.map(|memory| &memory.sight), whom) {
        (Some(Sight::Serving(_)) | None, _) => PATIENCE,
        (Some(_), Whom::Missing) if before.is_some_and(now_and_then) => PATIENCE,
        (Some(_), _) => IMPATIENCE,
    };
    let is_stale =
        |mode: Mode| mode.asked.elapsed() >= MODE_EVERY || mode.told.is_some_and(|told| !told.replicates());
    let as_main = before
        .and_then(|memory| memory.mode)
        .filter(|mode| mode.role == Role::Main);
    let storage_mode = as_main.is_none_or(is_stale);
    Some(Question {
        version,
        emptiness,
        storage_mode,
        replica_mode: false,
        patience,
    })
}

/// The number at the end of an instance's name.
fn ordinal(instance: &str) -> Option<i32> {
    instance.rsplit_once('-')?.1.parse().ok()
}

/// The ordinals of the replicas to which MAIN has not got through for long, by what it says of them.
fn unreached<'a>(memories: impl Iterator<Item = &'a Memory>) -> BTreeSet<i32> {
    let unwell = memories
        .filter(|memory| is_main(&memory.sight))
        .flat_map(|main| &main.unwell);
    let long = unwell.filter(|(_, unwell)| {
        unwell
            .invalid_since
            .is_some_and(|since| since.elapsed() >= STUCK_AFTER)
    });
    long.filter_map(|(name, _)| Some(parse_registration_name(name)?.0))
        .collect()
}

/// Whether this is a replica that has told of a storage mode in which it takes nothing from MAIN.
fn takes_nothing(memory: &Memory) -> bool {
    let told = memory.mode.filter(|mode| mode.role == Role::Replica);
    told.and_then(|mode| mode.told)
        .is_some_and(|mode| !mode.replicates())
}

/// One that was not `asked` now, or did not tell, is in the mode that it has told last, where nothing that it says speaks against that.
fn keep_mode(before: Option<Mode>, sight: &mut Sight, asked: Option<Instant>) -> Option<Mode> {
    let Sight::Serving(view) = sight else {
        return before;
    };
    // Once its role is another one, it is asked anew.
    let before = before.filter(|mode| mode.role == view.role);
    let known = before.and_then(|mode| mode.told);
    let replicates = known.is_some_and(StorageMode::replicates);
    match view.storage_mode {
        None | Some(StorageMode::Untold) if known.is_some() && !replicates => view.storage_mode = known,
        None if view.role == Role::Main && !view.is_silent_of_replicas() => view.storage_mode = known,
        _ => {}
    }
    // That it did not tell counts for this look alone.
    let told = view
        .storage_mode
        .filter(|mode| *mode != StorageMode::Untold)
        .or(known);
    let asked = asked.or(before.map(|mode| mode.asked))?;
    Some(Mode {
        role: view.role,
        asked,
        told,
    })
}

/// Notes for how long replicas have lacked something while neither they nor MAIN came any further.
fn note_what_lacks(before: &Memory, sight: &mut Sight, begun: Instant) {
    let (Sight::Serving(before_view), Sight::Serving(view)) = (&before.sight, sight) else {
        return;
    };
    let waits = |r: &Registration| r.status == Some(DataStatus::Ready) && r.behind != 0;
    for registration in view.registrations.iter_mut().filter(|r| waits(r)) {
        let is_as_now = |r: &&Registration| {
            waits(r)
                && (&r.name, r.reached, r.behind)
                    == (&registration.name, registration.reached, registration.behind)
        };
        if let Some(then) = before_view.registrations.iter().find(is_as_now) {
            registration.lacking_for = then.lacking_for + begun.duration_since(before.looked);
        }
    }
}

/// What is known after a look that was begun at `begun`.
fn remember(before: Option<Memory>, target: &Target, sight: Sight, begun: Instant) -> Memory {
    let now = Instant::now();
    let same_life = before
        .as_ref()
        .is_some_and(|memory| memory.incarnation == target.incarnation);
    let refused_in = before
        .as_ref()
        .and_then(|memory| memory.refused_in)
        .filter(|_| same_life);
    let position = before
        .as_ref()
        .and_then(|memory| memory.position.clone())
        .filter(|_| same_life);
    let in_this_life = before.as_ref().filter(|_| same_life);
    // Who does not answer is not asked either.
    let unmeasured_since = in_this_life
        .filter(|_| matches!(sight, Sight::Serving(_)))
        .and_then(|memory| memory.unmeasured_since);
    let unseen_since = matches!(sight, Sight::Unseen).then(|| {
        before
            .as_ref()
            .and_then(|memory| memory.unseen_since)
            .unwrap_or(begun)
    });
    let stuck_since = match sight {
        Sight::Silent | Sight::Handshake => in_this_life.and_then(|m| m.stuck_since).or(Some(begun)),
        _ => None,
    };
    let terminating_since = target
        .terminating
        .then(|| in_this_life.and_then(|m| m.terminating_since).unwrap_or(now));
    // Before its first answer it may only not have opened its port yet.
    let refused_at = match sight {
        Sight::Refused if in_this_life.is_some_and(|memory| memory.has_answered) => Some(now),
        _ => in_this_life.and_then(|memory| memory.refused_at),
    };
    let heard_again = in_this_life
        .filter(|_| !matches!(sight, Sight::Silent | Sight::Unseen))
        .and_then(|memory| memory.silent_since)
        .is_some_and(|since| since.elapsed() >= LONG_SILENCE);
    let back_since = match heard_again {
        true => Some(now),
        false => in_this_life.and_then(|memory| memory.back_since),
    };
    let stayed_main = in_this_life.map_or(0, |memory| memory.stayed_main);
    let has_answered = matches!(sight, Sight::Serving(_)) || in_this_life.is_some_and(|m| m.has_answered);
    let missed = before.as_ref().map_or(0, |memory| memory.missed);
    let unregistrable_until = before.as_ref().and_then(|memory| memory.unregistrable_until);
    let silent_since = match sight {
        Sight::Silent => before.as_ref().and_then(|m| m.silent_since).or(Some(begun)),
        _ => None,
    };
    let followed: BTreeSet<String> = match before.as_ref().map(|memory| &memory.sight) {
        Some(Sight::Serving(view)) => {
            let following = view.registrations.iter().filter(|r| r.follows());
            following.map(|r| r.name.clone()).collect()
        }
        _ => BTreeSet::new(),
    };
    let (away_since, mut unwell, mut told) = before
        .map(|memory| (memory.away_since, memory.unwell, memory.told))
        .unwrap_or_default();
    let missed = match sight {
        Sight::Serving(_) => 0,
        _ => missed.saturating_add(1),
    };
    let away_since = match sight {
        Sight::Serving(_) => None,
        _ => Some(away_since.unwrap_or(now)),
    };
    if let Sight::Serving(view) = &sight {
        // A MAIN that is back comes as a replica at first, which knows of no other one; and one that says nothing of them knows all the same.
        if is_main(&sight) && !view.is_silent_of_replicas() {
            told = positions(view);
        }
        let sick = |name: &str| view.registrations.iter().any(|r| r.name == name && !r.follows());
        unwell.retain(|name, _| sick(name));
        for registration in view.registrations.iter().filter(|r| !r.follows()) {
            let name = &registration.name;
            let known = unwell.entry(name.clone()).or_insert_with(|| Unwell {
                since: now,
                followed: followed.contains(name),
                invalid_since: None,
            });
            let invalid = registration.status == Some(DataStatus::Invalid);
            known.invalid_since = invalid.then(|| known.invalid_since.unwrap_or(now));
        }
    }
    Memory {
        incarnation: target.incarnation.clone(),
        sight,
        looked: begun,
        mode: None,
        away_since,
        silent_since,
        stuck_since,
        terminating_since,
        has_answered,
        refused_at,
        unwell,
        refused_in,
        stayed_main,
        unregistrable_until,
        back_since,
        missed,
        position,
        unmeasured_since,
        unseen_since,
        told,
    }
}

fn is_main(sight: &Sight) -> bool {
    matches!(sight, Sight::Serving(view) if view.role == Role::Main)
}

fn positions(view: &View) -> BTreeMap<i32, i64> {
    let known = view.registrations.iter().filter(|r| r.status.is_some());
    known
        .filter_map(|r| Some((parse_registration_name(&r.name)?.0, r.behind)))
        .collect()
}

fn with_ages(memory: &Memory) -> Sight {
    let mut sight = memory.sight.clone();
    if let Sight::Serving(view) = &mut sight {
        for registration in &mut view.registrations {
            if let Some(unwell) = memory.unwell.get(&registration.name) {
                registration.unwell_for = unwell.since.elapsed();
                registration.has_followed = unwell.followed;
                registration.invalid_for = unwell
                    .invalid_since
                    .map(|since| since.elapsed())
                    .unwrap_or_default();
            }
        }
    }
    sight
}

/// What of a sight a decision may depend on. How far a replica is behind changes with every write and is left
/// out: it matters only where it stays as it is, or together with something else that changes.
#[derive(PartialEq)]
enum Outline<'a> {
    Serving {
        role: Role,
        contents: Option<&'a Contents>,
        empty: Option<bool>,
        storage_mode: Option<StorageMode>,
        registrations: Vec<(&'a str, bool, bool)>,
    },
    Handshake,
    Barred,
    Untrusted,
    Refused,
    Silent,
    Unseen,
}

fn outline(sight: &Sight) -> Outline<'_> {
    match sight {
        Sight::Serving(view) => Outline::Serving {
            role: view.role,
            contents: view.contents.as_ref(),
            empty: view.empty,
            storage_mode: view.storage_mode,
            registrations: view
                .registrations
                .iter()
                .map(|r| (r.name.as_str(), r.follows(), r.lacks_a_commit()))
                .collect(),
        },
        Sight::Handshake => Outline::Handshake,
        Sight::Barred => Outline::Barred,
        Sight::Untrusted { .. } => Outline::Untrusted,
        Sight::Refused => Outline::Refused,
        Sight::Silent => Outline::Silent,
        Sight::Unseen => Outline::Unseen,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(life: &Incarnation) -> Target {
        Target {
            name: "demo-1".into(),
            address: None,
            incarnation: Some(life.clone()),
            terminating: false,
            tls: false,
        }
    }

    /// What is remembered after these looks, and whether the present life may be over.
    async fn after(sights: impl IntoIterator<Item = Sight>) -> bool {
        let life = Incarnation::default();
        let target = target(&life);
        let memory = sights.into_iter().fold(None, |before, sight| {
            Some(remember(before, &target, sight, Instant::now()))
        });
        let sightings = Sightings::default();
        sightings
            .memories
            .lock()
            .await
            .extend(memory.map(|memory| (target.name.clone(), memory)));
        sightings.may_have_ended(&target.name, &life).await
    }

    fn serving() -> Sight {
        Sight::Serving(View {
            role: Role::Replica,
            registrations: Vec::new(),
            contents: None,
            empty: None,
            version: "3.12.0".into(),
            storage_mode: None,
        })
    }

    #[tokio::test(start_paused = true)]
    async fn a_command_waits_for_whoever_answers_looks_and_no_longer_for_whoever_falls_silent() {
        let life = Incarnation::default();
        let sightings = Sightings::default();
        let patience = Duration::from_secs(2);
        let see = async |sight: Sight| {
            let mut memories = sightings.memories.lock().await;
            let before = memories.remove("demo-1");
            let memory = remember(before, &target(&life), sight, Instant::now());
            memories.insert("demo-1".into(), memory);
        };
        see(serving()).await;
        let given_up = async || {
            let waiting = sightings.fallen_silent("demo-1", patience);
            tokio::time::timeout(patience * 2, waiting).await.is_ok()
        };
        assert!(!given_up().await);
        see(Sight::Handshake).await;
        assert!(!given_up().await, "it may be busy");
        see(Sight::Silent).await;
        assert!(given_up().await);
    }

    #[tokio::test(start_paused = true)]
    async fn main_is_asked_for_its_mode_now_and_then_and_all_the_time_while_it_replicates_nothing() {
        let life = Incarnation::default();
        let mut memory: Option<Memory> = None;
        let mut look = |answer: Option<StorageMode>, role: Role| {
            let question = question(memory.as_ref(), false, Whom::Answering(None), "demo-1").unwrap();
            let mut sight = serving();
            if let Sight::Serving(view) = &mut sight {
                view.role = role;
                view.storage_mode = answer.filter(|_| question.storage_mode && role == Role::Main);
            }
            let asked = question.storage_mode.then(Instant::now);
            let mode = keep_mode(memory.as_ref().and_then(|memory| memory.mode), &mut sight, asked);
            let next = remember(memory.take(), &target(&life), sight, Instant::now());
            memory = Some(Memory { mode, ..next });
            let Some(Sight::Serving(view)) = memory.as_ref().map(|memory| &memory.sight) else {
                panic!("it serves");
            };
            (question.storage_mode, view.storage_mode)
        };
        let (transactional, analytical) = (Some(StorageMode::Transactional), Some(StorageMode::Analytical));
        assert_eq!(look(transactional, Role::Main), (true, transactional));
        assert_eq!(look(analytical, Role::Main), (false, transactional), "not yet");
        tokio::time::advance(MODE_EVERY).await;
        assert_eq!(look(analytical, Role::Main), (true, analytical));
        assert_eq!(look(None, Role::Main), (true, analytical), "it does not tell now");
        let untold = Some(StorageMode::Untold);
        assert_eq!(look(untold, Role::Main), (true, analytical), "nor now");
        assert_eq!(look(transactional, Role::Main), (true, transactional));
        assert_eq!(look(analytical, Role::Main), (false, transactional));
        assert_eq!(look(None, Role::Replica).1, None);
        assert_eq!(look(analytical, Role::Main), (true, analytical), "asked anew");
    }

    /// MAIN, which says this of `demo-2`, and that it is so far behind.
    fn main_that_says(status: Option<DataStatus>, behind: i64) -> Sight {
        let registration = Registration {
            name: crate::plan::registration_name(2, 7),
            address: "10.0.0.2:10000".into(),
            mode: crate::api::RegistrationMode::Async,
            status,
            reached: 2,
            behind,
            lacking_for: Duration::ZERO,
            unwell_for: Duration::ZERO,
            has_followed: false,
            invalid_for: Duration::ZERO,
        };
        Sight::Serving(View {
            role: Role::Main,
            registrations: vec![registration],
            contents: None,
            empty: None,
            version: "3.12.0".into(),
            storage_mode: None,
        })
    }

    fn remembered(looks: impl IntoIterator<Item = Sight>) -> Memory {
        let life = Incarnation::default();
        let memory = looks.into_iter().fold(None, |before, sight| {
            Some(remember(before, &target(&life), sight, Instant::now()))
        });
        memory.unwrap()
    }

    /// Who was the least behind is asked for when MAIN has come back without its data, as a replica.
    #[tokio::test]
    async fn what_main_told_of_its_replicas_outlives_its_return_as_a_replica_and_that_it_says_nothing_for_a_while()
     {
        let recovering = || main_that_says(Some(DataStatus::Recovery), -5);
        let told = BTreeMap::from([(2, -5)]);
        assert_eq!(remembered([recovering(), Sight::Refused, serving()]).told, told);
        // As in a storage mode without replication.
        let silent = || main_that_says(None, 0);
        assert_eq!(remembered([recovering(), silent(), Sight::Refused]).told, told);
        let mut none = silent();
        if let Sight::Serving(view) = &mut none {
            view.registrations.clear();
        }
        assert_eq!(remembered([recovering(), none]).told, BTreeMap::new());
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_strict_replica_lacks_while_nothing_is_committed_has_the_cluster_looked_after() {
        let says = |reached: i64, behind: i64| {
            let mut sight = main_that_says(Some(DataStatus::Ready), behind);
            if let Sight::Serving(view) = &mut sight {
                view.registrations[0].mode = crate::api::RegistrationMode::StrictSync;
                view.registrations[0].reached = reached;
            }
            sight
        };
        let life = Incarnation::default();
        let mut memory = remembered([says(7, -1)]);
        let mut look = async |mut sight: Sight| {
            tokio::time::advance(Duration::from_millis(600)).await;
            let now = Instant::now();
            note_what_lacks(&memory, &mut sight, now);
            let changed = outline(&memory.sight) != outline(&sight);
            memory = remember(Some(memory.clone()), &target(&life), sight, now);
            changed
        };
        assert!(!look(says(7, -1)).await, "the second phase takes its time");
        assert!(!look(says(8, -1)).await, "another one is on its way");
        assert!(!look(says(8, -1)).await);
        assert!(look(says(8, -1)).await, "it never came");
        assert!(!look(says(8, -1)).await, "it is known by now");
        assert!(look(says(9, 0)).await, "it has come");
    }

    #[tokio::test]
    async fn the_usual_mode_is_not_taken_from_memory_where_main_says_nothing_of_its_replicas() {
        let mode = |told| {
            Some(Mode {
                role: Role::Main,
                asked: Instant::now(),
                told: Some(told),
            })
        };
        let (transactional, analytical) = (StorageMode::Transactional, StorageMode::Analytical);
        for (before, status, kept) in [
            (transactional, None, None),
            (transactional, Some(DataStatus::Ready), Some(transactional)),
            (analytical, None, Some(analytical)),
        ] {
            let mut sight = main_that_says(status, 0);
            keep_mode(mode(before), &mut sight, None);
            let Sight::Serving(view) = sight else {
                panic!("{sight:?}")
            };
            assert_eq!(view.storage_mode, kept, "{before:?} {status:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_replica_is_asked_for_its_mode_that_main_has_not_got_through_to_for_long() {
        let invalid = || main_that_says(Some(DataStatus::Invalid), -1);
        let mut main = remembered([main_that_says(Some(DataStatus::Ready), 0), invalid()]);
        assert!(unreached([&main].into_iter()).is_empty());
        tokio::time::advance(STUCK_AFTER).await;
        let life = Incarnation::default();
        main = remember(Some(main), &target(&life), invalid(), Instant::now());
        assert_eq!(unreached([&main].into_iter()), BTreeSet::from([2]));
        main = remember(Some(main), &target(&life), Sight::Silent, Instant::now());
        assert!(
            unreached([&main].into_iter()).is_empty(),
            "it does not say so any more"
        );

        // What it has told is not forgotten while it is too busy to tell it again.
        let mut replica = serving();
        let mut mode = None;
        for (told, expected) in [
            (Some(StorageMode::Analytical), Some(StorageMode::Analytical)),
            (Some(StorageMode::Untold), Some(StorageMode::Analytical)),
            (Some(StorageMode::Transactional), Some(StorageMode::Transactional)),
            (Some(StorageMode::Untold), Some(StorageMode::Untold)),
        ] {
            if let Sight::Serving(view) = &mut replica {
                view.storage_mode = told;
            }
            mode = keep_mode(mode, &mut replica, Some(Instant::now()));
            let Sight::Serving(view) = &replica else {
                panic!("{replica:?}")
            };
            assert_eq!(view.storage_mode, expected, "{told:?}");
            let memory = Memory {
                mode,
                ..remembered([replica.clone()])
            };
            assert_eq!(takes_nothing(&memory), expected == Some(StorageMode::Analytical));
        }
        assert_eq!(
            keep_mode(mode, &mut main.sight, None).map(|mode| mode.told),
            mode.map(|mode| mode.told),
            "it does not answer"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_command_that_found_no_moment_long_ago_says_nothing_of_the_next_one() {
        let sightings = Sightings::default();
        sightings.got_a_moment(false).await;
        sleep(BUSY_LATELY / 2).await;
        sightings.got_a_moment(false).await;
        sleep(BUSY_LATELY / 2).await;
        assert_eq!(sightings.busy_for().await, BUSY_LATELY);
        sleep(BUSY_LATELY).await;
        assert_eq!(sightings.busy_for().await, Duration::ZERO);
        sightings.got_a_moment(false).await;
        assert_eq!(sightings.busy_for().await, Duration::ZERO, "it counts anew");
    }

    #[tokio::test]
    async fn a_process_that_has_answered_and_refuses_then_may_have_ended() {
        assert!(after([serving(), Sight::Refused]).await);
        assert!(
            after([serving(), Sight::Refused, serving()]).await,
            "another process may answer"
        );
        assert!(!after([serving(), Sight::Silent]).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_process_whose_connection_has_ended_may_have_ended_until_kubernetes_has_had_the_time_to_tell() {
        let life = |container: &str| Incarnation {
            container_id: container.into(),
            ..Incarnation::default()
        };
        let sightings = Sightings::default();
        sightings.ended("demo-1", &life("a"));
        assert!(sightings.may_have_ended("demo-1", &life("a")).await);
        assert!(
            !sightings.may_have_ended("demo-1", &life("b")).await,
            "Kubernetes has told"
        );
        assert!(!sightings.may_have_ended("demo-2", &life("a")).await);
        sightings.goes_on("demo-1", &life("b"));
        assert!(sightings.may_have_ended("demo-1", &life("a")).await);
        sightings.goes_on("demo-1", &life("a"));
        assert!(
            !sightings.may_have_ended("demo-1", &life("a")).await,
            "the same process answers"
        );
        sightings.ended("demo-1", &life("a"));
        tokio::time::advance(UNTIL_TOLD).await;
        assert!(!sightings.may_have_ended("demo-1", &life("a")).await);
    }

    #[tokio::test(start_paused = true)]
    async fn how_long_a_pod_has_been_seen_to_end_is_counted_for_this_pod_alone() {
        let target = |container: &str, terminating| Target {
            terminating,
            ..target(&Incarnation {
                container_id: container.into(),
                ..Incarnation::default()
            })
        };
        let mut memory = remember(None, &target("a", false), serving(), Instant::now());
        assert_eq!(memory.terminating_since, None);
        tokio::time::advance(Duration::from_secs(1)).await;
        let seen = Instant::now();
        for _ in 0..3 {
            memory = remember(Some(memory), &target("a", true), serving(), Instant::now());
            assert_eq!(memory.terminating_since, Some(seen));
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        memory = remember(Some(memory), &target("b", false), serving(), Instant::now());
        assert_eq!(memory.terminating_since, None);
        memory = remember(Some(memory), &target("c", true), serving(), Instant::now());
        assert_eq!(memory.terminating_since, Some(Instant::now()));
    }

    /// A node that has lost its power may be back, with the same addresses, before its kubelet has told anything.
    #[tokio::test(start_paused = true)]
    async fn an_instance_that_comes_back_from_a_long_silence_may_have_ended_until_its_kubelet_has_had_the_time_to_tell()
     {
        let life = Incarnation::default();
        let target = target(&life);
        for (silent_for, unclear) in [(LONG_SILENCE / 2, false), (LONG_SILENCE, true)] {
            let sightings = Sightings::default();
            let mut memory = remember(None, &target, serving(), Instant::now());
            memory = remember(Some(memory), &target, Sight::Silent, Instant::now());
            tokio::time::advance(silent_for).await;
            memory = remember(Some(memory), &target, serving(), Instant::now());
            let put = async |memory: Memory| {
                sightings
                    .memories
                    .lock()
                    .await
                    .insert(target.name.clone(), memory);
                sightings.may_have_ended(&target.name, &life).await
            };
            assert_eq!(put(memory.clone()).await, unclear, "{silent_for:?}");
            memory = remember(Some(memory), &target, serving(), Instant::now());
            assert_eq!(put(memory.clone()).await, unclear, "{silent_for:?}");
            tokio::time::advance(SOON_TOLD).await;
            assert!(!put(memory).await);
        }
    }

    #[tokio::test]
    async fn a_process_that_has_not_opened_its_port_yet_has_not_ended() {
        assert!(!after([Sight::Refused, serving()]).await);
    }
}
