//! Which faults have struck at which steps of the protocol.

use std::{collections::BTreeMap, fmt::Write as _};

use crate::{
    faults::Kind,
    protocol::{OperationName, Stand, Step},
};

/// Counts faults by where the operator was when they struck.
#[derive(Clone, Debug, Default)]
pub struct Coverage {
    counts: BTreeMap<(Kind, Stand), u64>,
    during: BTreeMap<(Kind, During), u64>,
}

/// What has lasted when a fault struck.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum During {
    /// Nobody reached the API server.
    Outage,
    /// One copy of the data was gone, and none had taken its place.
    CopyLost,
}

impl During {
    const ALL: [Self; 2] = [Self::Outage, Self::CopyLost];
}

/// What must have struck while something else lasted.
const TOGETHER: [(Kind, During); 6] = [
    (Kind::MainKill, During::CopyLost),
    (Kind::MainFreeze, During::CopyLost),
    (Kind::LeaderCrash, During::CopyLost),
    (Kind::GatewayCrash, During::CopyLost),
    (Kind::MainKill, During::Outage),
    (Kind::ReplicaKill, During::Outage),
];

impl Coverage {
    /// A fault has struck.
    pub fn count(&mut self, kind: Kind, stand: Stand) {
        *self.counts.entry((kind, stand)).or_default() += 1;
    }

    /// A fault has struck while something else lasted.
    pub fn count_during(&mut self, kind: Kind, during: During) {
        *self.during.entry((kind, during)).or_default() += 1;
    }

    /// Takes another run's counts in.
    pub fn add(&mut self, other: &Self) {
        for (key, count) in &other.during {
            *self.during.entry(*key).or_default() += count;
        }
        for (key, count) in &other.counts {
            *self.counts.entry(*key).or_default() += count;
        }
    }

    /// How often a fault of this kind has struck while no operation was announced (`None`), or in this operation.
    fn in_operation(&self, kind: Kind, operation: Option<OperationName>) -> u64 {
        self.sum(|(k, stand)| *k == kind && stand.operation == operation)
    }

    /// How often it has struck at this step of any operation, or of none where the step is no part of one.
    fn at_step(&self, kind: Kind, step: Step) -> u64 {
        let counts = |stand: &Stand| stand.operation.is_some() || step.comes_while_open();
        self.sum(|(k, stand)| *k == kind && stand.step == step && counts(stand))
    }

    fn while_lasted(&self, kind: Kind, during: During) -> u64 {
        self.during.get(&(kind, during)).copied().unwrap_or_default()
    }

    fn sum(&self, wanted: impl Fn(&(Kind, Stand)) -> bool) -> u64 {
        let counts = self.counts.iter().filter(|(key, _)| wanted(key));
        counts.map(|(_, count)| count).sum()
    }

    /// The table: a line for each kind, with the operations, then the steps.
    #[must_use]
    pub fn table(&self, kinds: &[Kind]) -> String {
        let mut text = format!("{:18}", "");
        let operations: Vec<_> = std::iter::once(None)
            .chain(OperationName::ALL.map(Some))
            .collect();
        for operation in &operations {
            let name = operation.map_or_else(|| "Open".to_owned(), |name| format!("{name:?}"));
            let _ = write!(text, "{name:>11}");
        }
        for during in During::ALL {
            let _ = write!(text, "{:>10}", format!("{during:?}"));
        }
        for step in Step::ALL {
            let _ = write!(text, "{:>12}", format!("{step:?}"));
        }
        text.push('\n');
        for kind in kinds {
            let _ = write!(text, "{:18}", format!("{kind:?}"));
            for operation in &operations {
                let _ = write!(text, "{:>11}", self.in_operation(*kind, *operation));
            }
            for during in During::ALL {
                let _ = write!(text, "{:>10}", self.while_lasted(*kind, during));
            }
            for step in Step::ALL {
                let _ = write!(text, "{:>12}", self.at_step(*kind, step));
            }
            text.push('\n');
        }
        text
    }

    /// What was never met: a kind that never struck while all was well, or never at a step. Only `with_rare` steps counts
    /// what comes seldom: a MAIN is marked once in a run, and registrations are removed now and then.
    #[must_use]
    pub fn holes(&self, kinds: &[Kind], with_rare: bool) -> Vec<String> {
        let mut holes = Vec::new();
        for (kind, during) in TOGETHER.into_iter().filter(|(kind, _)| kinds.contains(kind)) {
            if self.while_lasted(kind, during) == 0 {
                holes.push(format!("{kind:?} during {during:?}"));
            }
        }
        for kind in kinds {
            if self.in_operation(*kind, None) == 0 {
                holes.push(format!("{kind:?} while the route is open"));
            }
            let rare = |step: &Step| matches!(step, Step::Dropping | Step::Marking);
            for step in Step::ALL.into_iter().filter(|step| with_rare || !rare(step)) {
                if self.at_step(*kind, step) == 0 && is_demanded(*kind, step) {
                    holes.push(format!("{kind:?} at {step:?}"));
                }
            }
        }
        holes
    }

    /// What cannot be and was met all the same, with the reason for which it cannot be.
    #[must_use]
    pub fn wonders(&self) -> Vec<String> {
        let met = IMPOSSIBLE
            .iter()
            .filter(|(kind, step, _)| self.at_step(*kind, *step) > 0);
        met.map(|(kind, step, why)| format!("{kind:?} at {step:?}: {why}"))
            .collect()
    }
}

/// What finds nothing to strike at, and why.
const IMPOSSIBLE: [(Kind, Step, &str); 1] = [(
    Kind::HumanDrop,
    Step::Marking,
    "the mark is set while no replica is registered",
)];

/// Whether a fault is to have struck at a step. Clients commit while they are let in; behind a closed route only a probe is
/// committed, and what a lost MAIN had begun.
fn is_demanded(kind: Kind, step: Step) -> bool {
    let commits = kind != Kind::CommitPhase || step == Step::Probing;
    commits && impossible(kind, step).is_none()
}

/// Why a fault cannot strike at a step, if it cannot.
fn impossible(kind: Kind, step: Step) -> Option<&'static str> {
    let mut all = IMPOSSIBLE.iter();
    all.find(|(k, s, _)| (*k, *s) == (kind, step))
        .map(|(_, _, why)| *why)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn struck(kind: Kind, operation: Option<OperationName>, step: Step) -> Coverage {
        let mut coverage = Coverage::default();
        coverage.count(kind, Stand { operation, step });
        coverage
    }

    #[test]
    fn what_was_never_met_is_named_unless_it_cannot_be() {
        let holes = Coverage::default().holes(&[Kind::HumanDrop], true);
        assert!(holes.contains(&"HumanDrop at Dropping".to_owned()));
        assert!(!holes.contains(&"HumanDrop at Marking".to_owned()));
        let met = struck(Kind::MainKill, Some(OperationName::Failover), Step::Promoting);
        let holes = met.holes(&[Kind::MainKill], false);
        assert!(!holes.contains(&"MainKill at Promoting".to_owned()));
        assert!(holes.contains(&"MainKill at Fencing".to_owned()));
        assert!(!holes.contains(&"MainKill at Marking".to_owned()));
    }

    #[test]
    fn what_must_strike_while_something_else_lasts_is_a_hole_until_it_has() {
        let mut coverage = Coverage::default();
        let hole = "ReplicaKill during Outage".to_owned();
        assert!(coverage.holes(&Kind::ALL, false).contains(&hole));
        coverage.count_during(Kind::ReplicaKill, During::Outage);
        assert!(!coverage.holes(&Kind::ALL, false).contains(&hole));
    }

    #[test]
    fn commits_are_struck_where_there_are_any() {
        let holes = Coverage::default().holes(&[Kind::CommitPhase], false);
        let wanted = ["CommitPhase while the route is open", "CommitPhase at Probing"];
        assert_eq!(holes, wanted);
    }

    #[test]
    fn registrations_are_removed_while_the_route_is_open_too() {
        let open = struck(Kind::MainKill, None, Step::Dropping);
        assert_eq!(open.at_step(Kind::MainKill, Step::Dropping), 1);
        let open = struck(Kind::MainKill, None, Step::Registering);
        assert_eq!(open.at_step(Kind::MainKill, Step::Registering), 0);
    }

    #[test]
    fn what_cannot_be_is_no_hole_and_does_not_go_unnoticed() {
        let wonder = struck(Kind::HumanDrop, Some(OperationName::Bootstrap), Step::Marking);
        assert_eq!(wonder.wonders().len(), 1);
        assert!(Coverage::default().wonders().is_empty());
    }
}
