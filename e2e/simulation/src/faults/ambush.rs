//! Waits for a phase of a commit, and strikes in it.

use std::{cell::RefCell, collections::BTreeSet, time::Duration};

use tokio::time::Instant;

use super::{kind::Kind, phase::Phase, striker::Striker};
use crate::{
    memgraph::{Blow, Deed, Fate, Step},
    protocol::{Protocol, Stand},
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

impl Mischief {
    fn is_for(self, step: &Step) -> bool {
        self != Self::KillMain || step.for_a_client && step.main.is_some()
    }
}

/// For how long somebody waits for a phase of a commit.
pub const AMBUSH: Duration = Duration::from_secs(30);

/// What is done at a step of a commit, if somebody waits for its phase. Notes the phases in which MAIN was killed. That is done only
/// in the commit of a client: what the operator commits behind a closed route, and a replica that writes to its disk, go on.
pub(super) fn strike_at(
    step: &Step,
    waiting: &RefCell<Option<Ambush>>,
    met: &RefCell<BTreeSet<Phase>>,
    struck: &RefCell<Vec<(Kind, Stand)>>,
    protocol: &Protocol,
    trace: &Trace,
) -> Deed {
    let mut waiting = waiting.borrow_mut();
    let Some(ambush) = *waiting else {
        return Deed::default();
    };
    if Instant::now() > ambush.until {
        *waiting = None;
    } else if Phase::of(step.doing) == ambush.phase && ambush.deed.is_for(step) {
        *waiting = None;
        struck
            .borrow_mut()
            .push((Kind::CommitPhase, protocol.stand_now(false)));
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
        (Mischief::KillMain, _) => Deed::blow(Blow::Kill(step.main.unwrap_or(step.process))),
        (Mischief::KillTheOther, Some(peer)) => Deed::blow(Blow::Kill(peer)),
        (Mischief::KillWhoActs | Mischief::KillTheOther, _) => Deed::blow(Blow::Kill(step.process)),
        (Mischief::Lose, _) => Deed::fate(Fate::Reset),
        (Mischief::LastOne, _) => Deed::fate(Fate::LastOne),
        (Mischief::Late(by), _) => Deed::fate(Fate::Late(by)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memgraph::{Doing, Process};

    #[test]
    fn only_a_main_that_a_client_waits_for_is_killed() {
        let [main, replica] = [0, 1].map(Process::new);
        let sync = |process, main, for_a_client| Step {
            doing: Doing::Sync,
            process,
            peer: None,
            timestamp: None,
            main,
            for_a_client,
            at: Duration::ZERO,
        };
        assert!(Mischief::KillMain.is_for(&sync(main, Some(main), true)));
        assert!(!Mischief::KillMain.is_for(&sync(main, Some(main), false)));
        assert!(!Mischief::KillMain.is_for(&sync(replica, None, false)));
        assert!(Mischief::KillWhoActs.is_for(&sync(replica, None, false)));
        let vote = Step {
            doing: Doing::Vote { yes: true },
            peer: Some(main),
            ..sync(replica, Some(main), true)
        };
        assert_eq!(deed(&vote, Mischief::KillMain), Deed::blow(Blow::Kill(main)));
    }
}
