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
}

impl Coverage {
    /// A fault has struck.
    pub fn count(&mut self, kind: Kind, stand: Stand) {
        *self.counts.entry((kind, stand)).or_default() += 1;
    }

    /// Takes another run's counts in.
    pub fn add(&mut self, other: &Self) {
        for (key, count) in &other.counts {
            *self.counts.entry(*key).or_default() += count;
        }
    }

    /// How often a fault of this kind has struck while no operation was announced (`None`), or in this operation.
    fn in_operation(&self, kind: Kind, operation: Option<OperationName>) -> u64 {
        self.sum(|(k, stand)| *k == kind && stand.operation == operation)
    }

    /// How often it has struck at this step of any operation.
    fn at_step(&self, kind: Kind, step: Step) -> u64 {
        self.sum(|(k, stand)| *k == kind && stand.operation.is_some() && stand.step == step)
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
        for step in Step::ALL {
            let _ = write!(text, "{:>12}", format!("{step:?}"));
        }
        text.push('\n');
        for kind in kinds {
            let _ = write!(text, "{:18}", format!("{kind:?}"));
            for operation in &operations {
                let _ = write!(text, "{:>11}", self.in_operation(*kind, *operation));
            }
            for step in Step::ALL {
                let _ = write!(text, "{:>12}", self.at_step(*kind, step));
            }
            text.push('\n');
        }
        text
    }

    /// What was never met: a kind that never struck while all was well, or never at a step. Only `with_rare` steps counts
    /// what is left to chance: registrations are hardly ever dropped within an operation, and a MAIN is marked once in a run.
    #[must_use]
    pub fn holes(&self, kinds: &[Kind], with_rare: bool) -> Vec<String> {
        let mut holes = Vec::new();
        for kind in kinds {
            if self.in_operation(*kind, None) == 0 {
                holes.push(format!("{kind:?} while the route is open"));
            }
            let rare = |step: &Step| matches!(step, Step::Dropping | Step::Marking);
            for step in Step::ALL.into_iter().filter(|step| with_rare || !rare(step)) {
                if self.at_step(*kind, step) == 0 {
                    holes.push(format!("{kind:?} at {step:?}"));
                }
            }
        }
        holes
    }
}
