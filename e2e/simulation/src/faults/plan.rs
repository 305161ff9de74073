//! Which faults a seed brings, and when.

use std::time::Duration;

use fastrand::Rng;

use super::{kind::Kind, phase::Phase};
use crate::protocol::Step;

/// A fault to come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planned {
    /// Not before.
    pub at: Duration,
    /// If the operator comes to this step of an operation soon, then there; else all the same.
    pub awaits: Option<Step>,
    /// What.
    pub kind: Kind,
    /// Of [`Kind::CommitPhase`]: the phase in which MAIN is killed; none for any phase and anything that can happen.
    pub phase: Option<Phase>,
}

/// How many faults a seed has.
pub const FAULTS: usize = 20;

/// The faults of a seed within `time`: pairs, of which the first begins an operation if it can, and the second strikes at
/// one of its steps. With `phases`, MAIN is killed in each phase of a commit.
#[must_use]
pub fn plan(chance: &mut Rng, time: Duration, kinds: &[Kind], phases: bool) -> Vec<Planned> {
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
        let phase = Phase::ALL.get(pair).copied().filter(|_| phases);
        let first = if phase.is_some() { Kind::CommitPhase } else { first };
        planned.push(Planned {
            at,
            awaits: None,
            kind: first,
            phase,
        });
        let kind = any(chance, kinds);
        planned.push(Planned {
            at: at + Duration::from_millis(chance.u64(1..=300)),
            awaits: (chance.f64() < 0.9).then(|| step(chance, first)),
            kind,
            phase: None,
        });
    }
    planned
}

fn any(chance: &mut Rng, kinds: &[Kind]) -> Kind {
    chance.choice(kinds).copied().unwrap_or(Kind::MainKill)
}

/// A step that is likely to come after such a fault.
fn step(chance: &mut Rng, after: Kind) -> Step {
    let likely: &[Step] = match after {
        Kind::Switchover => &[
            Step::Announced,
            Step::Fencing,
            Step::Quiescing,
            Step::Demoting,
            Step::Promoting,
            Step::Registering,
            Step::Probing,
            Step::Marking,
        ],
        _ => &[
            Step::Announced,
            Step::Fencing,
            Step::Promoting,
            Step::Registering,
            Step::Probing,
            Step::Marking,
        ],
    };
    chance.choice(likely).copied().unwrap_or(Step::Announced)
}
