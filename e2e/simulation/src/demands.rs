//! What every seed must have been, so that a number of seeds says something.

use std::time::Duration;

use crate::faults::{FAULTS, Phase};

/// How long a seed must have lasted, by the clock of its world.
const TIME: Duration = Duration::from_secs(600);
/// How many writes must have been acknowledged in it.
const WRITES: u64 = 200;

/// What a seed consisted of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Course {
    /// How long it lasted, by the clock of its world.
    pub time: Duration,
    /// Instances that were asked for.
    pub instances: usize,
    /// It is one of the few whose cluster promises less, or is smaller.
    pub other_promise: bool,
    /// Gateways that were asked for.
    pub gateways: usize,
    /// Slots for operator processes.
    pub operators: usize,
    /// Faults that found something to strike at.
    pub faults: usize,
    /// Writes that were acknowledged.
    pub acknowledged: u64,
    /// Whether MAIN was to be killed in each phase of a commit.
    pub phases_wanted: bool,
    /// Phases of a commit in which it was.
    pub phases: usize,
}

impl Course {
    /// In what the seed stays below what is demanded.
    #[must_use]
    pub fn shortfalls(&self) -> Vec<String> {
        let phases = if self.phases_wanted { Phase::ALL.len() } else { 0 };
        let demands = [
            (self.time >= TIME, format!("{} s", self.time.as_secs())),
            (
                self.other_promise || (3..=5).contains(&self.instances),
                format!("{} instances", self.instances),
            ),
            (self.gateways >= 2, format!("{} gateways", self.gateways)),
            (self.operators >= 2, format!("{} operators", self.operators)),
            (self.faults >= FAULTS, format!("{} faults", self.faults)),
            (
                self.acknowledged >= WRITES,
                format!("{} writes", self.acknowledged),
            ),
            (
                self.phases >= phases,
                format!("{} phases of commits", self.phases),
            ),
        ];
        let below = demands.into_iter().filter(|(met, _)| !met);
        below.map(|(_, what)| what).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FULL: Course = Course {
        time: TIME,
        instances: 3,
        other_promise: false,
        gateways: 2,
        operators: 2,
        faults: FAULTS,
        acknowledged: WRITES,
        phases_wanted: true,
        phases: Phase::ALL.len(),
    };

    #[test]
    fn a_seed_that_has_everything_falls_short_of_nothing() {
        assert_eq!(FULL.shortfalls(), Vec::<String>::new());
    }

    #[test]
    fn whatever_is_missing_is_named() {
        let poor = Course {
            faults: 3,
            phases: 5,
            ..FULL
        };
        assert_eq!(poor.shortfalls(), ["3 faults", "5 phases of commits"]);
        let without_phases = Course {
            phases_wanted: false,
            phases: 0,
            ..FULL
        };
        assert!(without_phases.shortfalls().is_empty());
    }
}
