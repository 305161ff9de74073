//! Which faults a seed brings, and when.

use std::time::Duration;

use fastrand::Rng;

use super::kind::Kind;
use crate::protocol::{OperationName, Stand, Step};

/// A fault to come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planned {
    /// Not before.
    pub at: Duration,
    /// If the operator comes to this step soon, then there; else all the same.
    pub awaits: Option<Stand>,
    /// What.
    pub kind: Kind,
}

/// How many faults a seed has.
pub const FAULTS: usize = 20;

/// The faults of a seed within `time`: pairs, of which the first begins an operation if it can, and the second strikes at
/// one of its steps.
#[must_use]
pub fn plan(chance: &mut Rng, time: Duration, kinds: &[Kind]) -> Vec<Planned> {
    let begins: Vec<Kind> = kinds
        .iter()
        .copied()
        .filter(|kind| kind.begins_operation())
        .collect();
    let mut planned = Vec::with_capacity(FAULTS);
    let pairs = FAULTS / 2;
    let share = time / u32::try_from(pairs).unwrap_or(1);
    for pair in 0..pairs {
        let from = share * u32::try_from(pair).unwrap_or(0);
        let at = from + share.mul_f64(chance.f64() * 0.3);
        let first = match begins.as_slice() {
            [] => any(chance, kinds),
            _ if chance.f64() < 0.2 => any(chance, kinds),
            begins => any(chance, begins),
        };
        planned.push(Planned {
            at,
            awaits: None,
            kind: first,
        });
        let kind = any(chance, kinds);
        planned.push(Planned {
            at: at + Duration::from_millis(chance.u64(1..=300)),
            awaits: (chance.f64() < 0.8).then(|| stand(chance, first)),
            kind,
        });
    }
    planned
}

fn any(chance: &mut Rng, kinds: &[Kind]) -> Kind {
    chance.choice(kinds).copied().unwrap_or(Kind::MainKill)
}

/// A step that is likely to come after such a fault.
fn stand(chance: &mut Rng, after: Kind) -> Stand {
    let likely: &[OperationName] = match after {
        Kind::Switchover => &[OperationName::Switchover],
        Kind::MainKill | Kind::CommitPhase | Kind::PodDelete => {
            &[OperationName::Failover, OperationName::Restart]
        }
        _ => &OperationName::ALL,
    };
    Stand {
        operation: chance.choice(likely).copied(),
        step: chance
            .choice(Step::ALL.iter())
            .copied()
            .unwrap_or(Step::Announced),
    }
}
