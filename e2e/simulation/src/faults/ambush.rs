//! Waits for a phase of a commit, and strikes in it.

use std::{cell::RefCell, collections::BTreeSet, time::Duration};

use tokio::time::Instant;

use super::{phase::Phase, striker::Striker};
use crate::{
    memgraph::{Blow, Deed, Fate, Step},
    trace::Trace,
};

/// What waits for a phase of a commit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ambush {
    phase: Phase,
    deed: Mischief,
    until: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mischief {
    KillMain,
    KillWhoActs,
    KillTheOther,
    Lose,
    LastOne,
    Late(Duration),
}

/// For how long somebody waits for a phase of a commit.
const AMBUSH: Duration = Duration::from_secs(30);

/// What is done at a step of a commit, if somebody waits for its phase. Notes the phases in which MAIN was killed.
pub(super) fn strike_at(
    step: &Step,
    waiting: &RefCell<Option<Ambush>>,
    met: &RefCell<BTreeSet<Phase>>,
    trace: &Trace,
) -> Deed {
    let mut waiting = waiting.borrow_mut();
    let Some(ambush) = *waiting else {
        return Deed::default();
    };
    if Instant::now() > ambush.until {
        *waiting = None;
    } else if Phase::of(step.doing) == ambush.phase {
        *waiting = None;
        trace.note(|| format!("ambush: {:?} at {:?}", ambush.deed, step.doing));
        if ambush.deed == Mischief::KillMain {
            met.borrow_mut().insert(ambush.phase);
        }
        return deed(step, ambush.deed);
    }
    Deed::default()
}

impl Striker {
    /// Whether something strikes at the next commit that comes to a phase.
    pub(super) fn lies_in_wait(&self) -> bool {
        let waiting = *self.ambush.borrow();
        waiting.is_some_and(|ambush| Instant::now() <= ambush.until)
    }

    /// Waits for a phase of a commit: the given one, in which MAIN is killed, or any, in which anything happens.
    pub(super) fn lie_in_wait(&self, phase: Option<Phase>) -> String {
        let late = self.time(Duration::from_secs(20));
        let deeds = [
            Mischief::KillMain,
            Mischief::KillWhoActs,
            Mischief::KillTheOther,
            Mischief::Lose,
            Mischief::LastOne,
            Mischief::Late(late),
        ];
        let any = self.any(deeds).unwrap_or(Mischief::KillMain);
        let ambush = Ambush {
            deed: if phase.is_some() { Mischief::KillMain } else { any },
            phase: phase.or_else(|| self.any(Phase::ALL)).unwrap_or(Phase::Prepare),
            until: Instant::now() + AMBUSH,
        };
        *self.ambush.borrow_mut() = Some(ambush);
        format!("{:?} at {:?}", ambush.deed, ambush.phase)
    }
}

fn deed(step: &Step, mischief: Mischief) -> Deed {
    match (mischief, step.peer) {
        (Mischief::KillMain, Some(peer)) if Phase::of(step.doing).is_of_replica() => {
            Deed::blow(Blow::Kill(peer))
        }
        (Mischief::KillTheOther, Some(peer)) => Deed::blow(Blow::Kill(peer)),
        (Mischief::KillMain | Mischief::KillWhoActs | Mischief::KillTheOther, _) => {
            Deed::blow(Blow::Kill(step.process))
        }
        (Mischief::Lose, _) => Deed::fate(Fate::Reset),
        (Mischief::LastOne, _) => Deed::fate(Fate::LastOne),
        (Mischief::Late(by), _) => Deed::fate(Fate::Late(by)),
    }
}
