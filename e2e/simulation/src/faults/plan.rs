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

/// What a plan is made of.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// The seed: those that follow each other bring every kind to every step in turn.
    pub seed: u64,
    /// For how long faults strike.
    pub time: Duration,
    /// Which may.
    pub kinds: &'a [Kind],
    /// Whether MAIN is killed in each phase of a commit.
    pub phases: bool,
    /// Whether the first of them strikes while the cluster is set up.
    pub early: bool,
}

/// How many faults a seed has at the least.
pub const FAULTS: usize = 20;
/// How many are planned: some find nothing to strike at.
const PAIRS: usize = 12;

/// The steps that can be waited for. A MAIN is marked once, when the cluster is set up.
const STEPS: [Step; 8] = [
    Step::Announced,
    Step::Fencing,
    Step::Quiescing,
    Step::Demoting,
    Step::Promoting,
    Step::Registering,
    Step::Dropping,
    Step::Probing,
];
/// After these a registration is removed, mostly while the route is open; surely where a pod comes back at another address.
const BEFORE_A_DROP: [Kind; 6] = [
    Kind::PodDelete,
    Kind::PodDelete,
    Kind::PodDelete,
    Kind::ReplicationCut,
    Kind::ReplicaKill,
    Kind::ReplicaFreeze,
];
/// Those of the setting up.
const EARLY_STEPS: [Step; 6] = [
    Step::Marking,
    Step::Promoting,
    Step::Marking,
    Step::Registering,
    Step::Marking,
    Step::Probing,
];
/// One of so many seeds has its first fault while the cluster is set up.
const EARLY_AMONG: u64 = 4;
/// How likely a fault strikes where it is its turn to, and not anywhere.
const STEERED: f64 = 0.8;

/// Whether the first fault of a seed strikes while the cluster is set up: each such seed brings the next kind to the next step.
/// Its turn goes through even and odd seeds alike, since only every other one has MAIN killed in each phase of a commit.
#[must_use]
pub fn is_early(seed: u64) -> bool {
    let turn = seed / EARLY_AMONG;
    seed % EARLY_AMONG == turn % EARLY_AMONG
}

/// Whether a human puts the cluster of a seed to sleep. These are seeds of their own, so that this kind has left all others as they
/// were.
#[must_use]
pub fn sleeps(seed: u64) -> bool {
    matches!(seed % 20, 1 | 10)
}

/// Where the human comes in, in place of another fault at the same step: in so many pairs of a seed, another number each.
const SLEEPS: usize = 3;

/// Has a human put the cluster to sleep at some of the steps at which faults strike.
pub fn with_sleep(planned: &mut [Planned], seed: u64) {
    let turn = usize::try_from(seed / 10).unwrap_or_default();
    let steered: Vec<_> = planned
        .iter_mut()
        .filter(|fault| fault.awaits.is_some())
        .collect();
    let every = steered.len() / SLEEPS;
    for (number, fault) in steered.into_iter().enumerate() {
        // The first one strikes while an early seed is set up.
        if number == 0 || every > 0 && number % every == turn % every {
            fault.kind = Kind::HumanSleep;
        }
    }
}

/// The faults of a seed: pairs, of which the first begins an operation if it can, and the second strikes at one of its
/// steps.
#[must_use]
pub fn plan(chance: &mut Rng, wanted: &Wanted<'_>) -> Vec<Planned> {
    let begins: Vec<Kind> = wanted
        .kinds
        .iter()
        .copied()
        .filter(|kind| kind.begins_operation())
        .collect();
    let mut planned = Vec::with_capacity(2 * PAIRS);
    let share = wanted.time / u32::try_from(PAIRS).unwrap_or(1);
    if wanted.early {
        planned.push(at_setting_up(wanted));
    }
    for pair in 0..PAIRS {
        let from = share * u32::try_from(pair).unwrap_or(0);
        let at = from + share.mul_f64(chance.f64() * 0.3);
        let phase = Phase::ALL.get(pair).copied().filter(|_| wanted.phases);
        let turn = wanted.seed.wrapping_mul(PAIRS as u64).wrapping_add(pair as u64);
        let (kind, step) = if chance.f64() < STEERED {
            in_turn(turn, wanted.kinds)
        } else {
            let step = chance.choice(STEPS).unwrap_or(Step::Announced);
            (any(chance, wanted.kinds), step)
        };
        // A registration can be dropped while the route is closed where MAIN is moved as planned, or stands still.
        let drops = |at: &[Step]| kind == Kind::HumanDrop && at.contains(&step);
        let planned_change =
            matches!(step, Step::Quiescing | Step::Demoting) || drops(&[Step::Announced, Step::Fencing]);
        let leaves_main = drops(&[Step::Promoting, Step::Registering]);
        let first = match begins.as_slice() {
            _ if phase.is_some() => Kind::CommitPhase,
            _ if planned_change && wanted.kinds.contains(&Kind::Switchover) => Kind::Switchover,
            _ if leaves_main && wanted.kinds.contains(&Kind::MainFreeze) => Kind::MainFreeze,
            _ if step == Step::Dropping => before_a_drop(chance, wanted.kinds),
            [] => any(chance, wanted.kinds),
            begins => any(chance, begins),
        };
        planned.push(Planned {
            at,
            awaits: None,
            kind: first,
            phase,
        });
        // An operation is over in a tenth of a second: who begins to wait for its steps later misses the first ones.
        let awaits = (chance.f64() < 0.95).then_some(step);
        let late = Duration::from_millis(chance.u64(1..=300));
        planned.push(Planned {
            at: at + if awaits.is_some() { Duration::ZERO } else { late },
            awaits,
            kind,
            phase: None,
        });
        planned.extend(within(chance, kind, at, wanted.kinds));
    }
    planned
}

/// What else goes wrong while a fault lasts, where only both together show something: a process that ends and comes back while
/// nobody can tell of it, or whose strict replica has just lost its copy.
fn alongside(kind: Kind) -> &'static [Kind] {
    match kind {
        Kind::DiskEmpty | Kind::HumanClaimDelete => &[
            Kind::MainKill,
            Kind::MainKill,
            Kind::MainKill,
            Kind::MainFreeze,
            Kind::LeaderCrash,
            Kind::LeaderFreeze,
            Kind::GatewayCrash,
            Kind::NodeCut,
        ],
        Kind::ApiOutage => &[Kind::ReplicaKill, Kind::MainKill],
        _ => &[],
    }
}

fn within(chance: &mut Rng, kind: Kind, at: Duration, kinds: &[Kind]) -> Option<Planned> {
    let also = chance.choice(alongside(kind)).copied()?;
    let late = if kind.destroys_data() {
        1..=300
    } else {
        300..=2_000
    };
    kinds.contains(&also).then(|| Planned {
        at: at + Duration::from_millis(chance.u64(late)),
        awaits: None,
        kind: also,
        phase: None,
    })
}

fn at_setting_up(wanted: &Wanted<'_>) -> Planned {
    let turn = usize::try_from(wanted.seed / EARLY_AMONG).unwrap_or_default();
    let kinds = wanted.kinds.len().max(1);
    Planned {
        at: Duration::ZERO,
        awaits: Some(EARLY_STEPS[turn / kinds % EARLY_STEPS.len()]),
        kind: wanted
            .kinds
            .get(turn % kinds)
            .copied()
            .unwrap_or(Kind::LeaderCrash),
        phase: None,
    }
}

fn before_a_drop(chance: &mut Rng, kinds: &[Kind]) -> Kind {
    let fit: Vec<_> = BEFORE_A_DROP
        .into_iter()
        .filter(|kind| kinds.contains(kind))
        .collect();
    any(chance, if fit.is_empty() { kinds } else { &fit })
}

/// Every kind at every step, one after the other.
fn in_turn(turn: u64, kinds: &[Kind]) -> (Kind, Step) {
    let turn = usize::try_from(turn).unwrap_or_default();
    let kind = kinds.get(turn % kinds.len().max(1)).copied();
    let step = STEPS[turn / kinds.len().max(1) % STEPS.len()];
    (kind.unwrap_or(Kind::MainKill), step)
}

fn any(chance: &mut Rng, kinds: &[Kind]) -> Kind {
    chance.choice(kinds).copied().unwrap_or(Kind::MainKill)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn seeds_that_follow_each_other_bring_every_kind_to_every_step() {
        let kinds = Kind::ALL;
        let turns = u64::try_from(kinds.len() * STEPS.len()).unwrap();
        let met: BTreeSet<_> = (1_000..1_000 + turns).map(|turn| in_turn(turn, &kinds)).collect();
        assert_eq!(met.len(), kinds.len() * STEPS.len());
    }

    #[test]
    fn one_seed_in_four_strikes_early_and_each_has_a_turn_of_its_own() {
        let early: Vec<u64> = (0..400).filter(|seed| is_early(*seed)).collect();
        let turns: BTreeSet<_> = early.iter().map(|seed| seed / EARLY_AMONG).collect();
        assert_eq!((early.len(), turns.len()), (100, 100));
        assert_eq!(early.iter().filter(|seed| seed.is_multiple_of(2)).count(), 50);
    }

    #[test]
    fn who_waits_for_a_step_waits_from_the_first_fault_on() {
        let mut alone = Kind::ALL.to_vec();
        alone.retain(|kind| alongside(*kind).is_empty());
        let wanted = Wanted {
            seed: 1,
            time: Duration::from_secs(500),
            kinds: &alone,
            phases: false,
            early: false,
        };
        let planned = plan(&mut Rng::with_seed(1), &wanted);
        for pair in planned.chunks(2) {
            let late = pair[1].at - pair[0].at;
            assert_eq!(pair[1].awaits.is_some(), late.is_zero(), "{pair:?}");
        }
    }

    #[test]
    fn the_human_who_puts_clusters_to_sleep_comes_to_every_step() {
        let mut met: BTreeSet<Step> = BTreeSet::new();
        for seed in (0..1_000).filter(|seed| sleeps(*seed)) {
            let wanted = Wanted {
                seed,
                time: Duration::from_secs(500),
                kinds: &Kind::ALL[..39],
                phases: false,
                early: is_early(seed),
            };
            let mut planned = plan(&mut Rng::with_seed(seed), &wanted);
            assert!(planned.iter().all(|fault| fault.kind != Kind::HumanSleep));
            with_sleep(&mut planned, seed);
            let nights = planned.iter().filter(|fault| fault.kind == Kind::HumanSleep);
            let steps: Vec<_> = nights.filter_map(|fault| fault.awaits).collect();
            assert!((SLEEPS..=SLEEPS + 2).contains(&steps.len()), "{seed}: {steps:?}");
            met.extend(steps);
        }
        assert!(
            STEPS.iter().chain(&EARLY_STEPS).all(|step| met.contains(step)),
            "{met:?}"
        );
    }

    #[test]
    fn processes_end_while_the_api_server_is_away() {
        let mut met = BTreeSet::new();
        for seed in 0..100 {
            let wanted = Wanted {
                seed,
                time: Duration::from_secs(500),
                kinds: &Kind::ALL,
                phases: false,
                early: false,
            };
            let planned = plan(&mut Rng::with_seed(seed), &wanted);
            let follows = planned
                .windows(2)
                .filter(|two| two[0].kind == Kind::ApiOutage && two[0].awaits.is_some());
            met.extend(follows.map(|two| two[1].kind));
        }
        for kind in alongside(Kind::ApiOutage) {
            assert!(met.contains(kind), "{kind:?}");
        }
    }

    #[test]
    fn phases_come_first_and_once_each() {
        let wanted = Wanted {
            seed: 2,
            time: Duration::from_secs(500),
            kinds: &Kind::ALL,
            phases: true,
            early: false,
        };
        let planned = plan(&mut Rng::with_seed(2), &wanted);
        assert!(planned.len() >= FAULTS);
        let phases: Vec<_> = planned.iter().filter_map(|fault| fault.phase).collect();
        assert_eq!(phases, Phase::ALL);
    }
}
