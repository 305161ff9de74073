//! What is remembered of an instance between two looks.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use tokio::time::Instant;

use super::{Target, question::Mode};
use crate::{
    api::ledger::Incarnation,
    plan::{
        observation::{DataStatus, Registration, Role, Sight, View},
        parse_registration_name,
    },
};

/// An instance that has been silent for so long may have been on a node that has started again meanwhile: none does so faster.
pub(super) const LONG_SILENCE: Duration = Duration::from_secs(2);

/// What MAIN has listed lately of a replica that does not follow it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unwell {
    since: Instant,
    /// Whether it followed before.
    followed: bool,
    /// How far it had come by MAIN's last word on that.
    reached: Option<i64>,
    /// When it was last seen to have come further.
    advanced: Option<Instant>,
    /// Since when it has been `invalid`, and nothing else.
    pub(super) invalid_since: Option<Instant>,
}

/// What is remembered of an instance between two looks.
#[derive(Clone, Debug)]
pub(super) struct Memory {
    pub(super) incarnation: Option<Incarnation>,
    pub(super) sight: Sight,
    /// When the look was begun that showed it so.
    pub(super) looked: Instant,
    /// Of its storage mode, since it has the role that it has, in this life.
    pub(super) mode: Option<Mode>,
    /// Since when it has not been serving.
    pub(super) away_since: Option<Instant>,
    /// Since when it has not even completed a handshake.
    pub(super) silent_since: Option<Instant>,
    /// Since when it has answered nothing in this life, although it refuses no connection.
    pub(super) stuck_since: Option<Instant>,
    /// Since when its pod has been seen to be deleted, in this life.
    pub(super) terminating_since: Option<Instant>,
    /// It has answered in this life.
    pub(super) has_answered: bool,
    /// When it refused connections last after it had answered, in this life as Kubernetes tells it.
    pub(super) refused_at: Option<Instant>,
    /// By registration name: since when MAIN has listed it as unwell.
    pub(super) unwell: BTreeMap<String, Unwell>,
    /// The term in which MAIN refused this incarnation as diverged.
    pub(super) refused_in: Option<i64>,
    /// How often this life could not be made a replica.
    pub(super) stayed_main: u32,
    /// Until when it is not registered again, because that has failed.
    pub(super) unregistrable_until: Option<Instant>,
    /// When it was heard of again after a [long silence](LONG_SILENCE), in this life as Kubernetes tells it.
    pub(super) back_since: Option<Instant>,
    /// Looks in a row that it did not answer.
    pub(super) missed: u32,
    /// How far its data has come in this life, or why that cannot be told.
    pub(super) position: Option<Result<i64, String>>,
    /// Since when that could not be told, in this life, for a reason that may pass.
    pub(super) unmeasured_since: Option<Instant>,
    /// Since when it has had no address to look at.
    pub(super) unseen_since: Option<Instant>,
    /// By ordinal: how far each replica was behind, as it told when it answered as MAIN for the last time.
    pub(super) told: BTreeMap<i32, i64>,
}

/// How long after a replica was shown what it lacks it counts as lacking something again: what is done about it may be of no use, and
/// other things are to be done, too.
const SHOWN: Duration = Duration::from_secs(10);

/// Notes for how long replicas have lacked something while neither they nor MAIN came any further. `shown`: when it was last tried to
/// show them.
pub(super) fn note_what_lacks(before: &Memory, sight: &mut Sight, begun: Instant, shown: Option<Instant>) {
    if shown.is_some_and(|shown| begun.saturating_duration_since(shown) < SHOWN) {
        return;
    }
    let (Sight::Serving(before_view), Sight::Serving(view)) = (&before.sight, sight) else {
        return;
    };
    let waits = |r: &Registration| r.status == Some(DataStatus::Ready) && r.reached.is_some();
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
pub(super) fn remember(before: Option<Memory>, target: &Target, sight: Sight, begun: Instant) -> Memory {
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
                reached: None,
                advanced: None,
                invalid_since: None,
            });
            if known
                .reached
                .is_some_and(|before| registration.reached > Some(before))
            {
                known.advanced = Some(now);
            }
            known.reached = registration.reached.or(known.reached);
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

pub(super) fn is_main(sight: &Sight) -> bool {
    matches!(sight, Sight::Serving(view) if view.role == Role::Main)
}

pub(super) fn positions(view: &View) -> BTreeMap<i32, i64> {
    let known = view.registrations.iter().filter(|r| r.status.is_some());
    known
        .filter_map(|r| Some((parse_registration_name(&r.name)?.0, r.behind)))
        .collect()
}

pub(super) fn with_ages(memory: &Memory) -> Sight {
    let mut sight = memory.sight.clone();
    if let Sight::Serving(view) = &mut sight {
        for registration in &mut view.registrations {
            if let Some(unwell) = memory.unwell.get(&registration.name) {
                registration.unwell_for = unwell.since.elapsed();
                registration.has_followed = unwell.followed;
                registration.advanced_ago = unwell.advanced.map(|at| at.elapsed());
                registration.invalid_for = unwell
                    .invalid_since
                    .map(|since| since.elapsed())
                    .unwrap_or_default();
            }
        }
    }
    sight
}
