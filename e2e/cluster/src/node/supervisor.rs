//! Which of a box's programs are to be started or killed, and when: pure, the caller gives the time and does it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// How long after its end a program is started again.
const RESTART_DELAY: Duration = Duration::from_millis(500);

/// How long after its failure a step is tried again.
const RETRY_DELAY: Duration = Duration::from_millis(200);

/// A program and how it is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// Names it in logs and commands.
    pub name: String,
    /// The program's file and its arguments.
    pub argv: Vec<String>,
}

/// A part of a box's start-up. The parts are taken in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unit {
    /// Runs as long as the box: started again whenever it ends.
    Daemon(Program),
    /// Has to succeed before the next part is taken: tried again until it does.
    Step(Program),
}

impl Unit {
    /// The program of this part.
    pub fn program(&self) -> &Program {
        match self {
            Self::Daemon(program) | Self::Step(program) => program,
        }
    }
}

/// What the caller is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Start a program, then report it with [`Supervisor::started`] or [`Supervisor::failed_to_start`].
    Start(usize),
    /// Kill the process; its end is reported as any other.
    Kill(i32),
}

/// The state of a box's programs.
#[derive(Debug)]
pub struct Supervisor {
    units: Vec<Unit>,
    /// The parts before this one have been taken.
    taken: usize,
    running: BTreeMap<i32, usize>,
    /// Parts to be started (again), and not before when.
    due: BTreeMap<usize, Instant>,
    /// Names of programs that must not run.
    held: BTreeSet<String>,
}

impl Supervisor {
    /// Begins with the first part.
    pub fn new(units: Vec<Unit>) -> Self {
        Self {
            units,
            taken: 0,
            running: BTreeMap::new(),
            due: BTreeMap::new(),
            held: BTreeSet::new(),
        }
    }

    /// The program of a part.
    pub fn program(&self, unit: usize) -> &Program {
        self.units[unit].program()
    }

    /// The programs that must not run until the next call: those that do are killed.
    pub fn hold(&mut self, names: BTreeSet<String>) -> Vec<Action> {
        self.held = names;
        let running = self.running.iter();
        running
            .filter(|(_, unit)| self.is_held(**unit))
            .map(|(pid, _)| Action::Kill(*pid))
            .collect()
    }

    /// What is to be started now. Every part named is to be reported as started or failed.
    pub fn due(&mut self, now: Instant) -> Vec<Action> {
        while self.taken < self.units.len() && !self.waits_for_step() {
            self.due.insert(self.taken, now);
            self.taken += 1;
        }
        let ready = self
            .due
            .iter()
            .filter(|(unit, when)| **when <= now && !self.is_held(**unit));
        let ready: Vec<usize> = ready.map(|(unit, _)| *unit).collect();
        for unit in &ready {
            self.due.remove(unit);
        }
        ready.into_iter().map(Action::Start).collect()
    }

    /// When [`Self::due`] is to be asked next if nothing else happens before.
    pub fn next_due(&self) -> Option<Instant> {
        self.due
            .iter()
            .filter(|(unit, _)| !self.is_held(**unit))
            .map(|(_, when)| *when)
            .min()
    }

    /// A part's program now runs as this process.
    pub fn started(&mut self, unit: usize, pid: i32) {
        self.running.insert(pid, unit);
    }

    /// A part's program could not be started.
    pub fn failed_to_start(&mut self, unit: usize, now: Instant) {
        self.due.insert(unit, now + RESTART_DELAY);
    }

    /// A process has ended. Says which part's it was; `None` for one that was left behind by its parent.
    pub fn ended(&mut self, pid: i32, success: bool, now: Instant) -> Option<usize> {
        let unit = self.running.remove(&pid)?;
        match &self.units[unit] {
            Unit::Daemon(_) => {
                self.due.insert(unit, now + RESTART_DELAY);
            }
            Unit::Step(_) if success => {}
            Unit::Step(_) => {
                self.due.insert(unit, now + RETRY_DELAY);
            }
        }
        Some(unit)
    }

    fn waits_for_step(&self) -> bool {
        let unfinished = |unit: &usize| matches!(self.units[*unit], Unit::Step(_));
        self.running.values().any(unfinished) || self.due.keys().any(unfinished)
    }

    fn is_held(&self, unit: usize) -> bool {
        self.held.contains(&self.program(unit).name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: [usize; 0] = [];

    fn program(name: &str) -> Program {
        Program {
            name: name.to_owned(),
            argv: vec![name.to_owned()],
        }
    }

    /// etcd and an API server, then a step, then a scheduler.
    fn supervisor() -> Supervisor {
        Supervisor::new(vec![
            Unit::Daemon(program("etcd")),
            Unit::Daemon(program("api")),
            Unit::Step(program("wait")),
            Unit::Daemon(program("scheduler")),
        ])
    }

    fn start_all(supervisor: &mut Supervisor, now: Instant) -> Vec<usize> {
        let mut started = Vec::new();
        for action in supervisor.due(now) {
            let Action::Start(unit) = action else {
                panic!("{action:?}")
            };
            supervisor.started(unit, 100 + unit as i32);
            started.push(unit);
        }
        started
    }

    #[test]
    fn parts_after_a_step_wait_for_its_success() {
        let (mut supervisor, now) = (supervisor(), Instant::now());
        assert_eq!(start_all(&mut supervisor, now), [0, 1, 2]);
        assert_eq!(start_all(&mut supervisor, now), NONE);
        supervisor.ended(102, false, now);
        assert_eq!(start_all(&mut supervisor, now), NONE, "not before its delay");
        assert_eq!(supervisor.next_due(), Some(now + RETRY_DELAY));
        assert_eq!(start_all(&mut supervisor, now + RETRY_DELAY), [2]);
        supervisor.ended(102, true, now);
        assert_eq!(start_all(&mut supervisor, now), [3]);
        assert_eq!(supervisor.next_due(), None);
    }

    #[test]
    fn a_daemon_that_ends_is_started_again_after_a_delay() {
        let (mut supervisor, now) = (supervisor(), Instant::now());
        start_all(&mut supervisor, now);
        assert_eq!(supervisor.ended(100, true, now), Some(0));
        assert_eq!(start_all(&mut supervisor, now), NONE);
        assert_eq!(start_all(&mut supervisor, now + RESTART_DELAY), [0]);
    }

    #[test]
    fn a_daemon_that_cannot_be_started_is_tried_again() {
        let (mut supervisor, now) = (supervisor(), Instant::now());
        start_all(&mut supervisor, now);
        supervisor.ended(100, true, now);
        assert_eq!(supervisor.due(now + RESTART_DELAY), [Action::Start(0)]);
        supervisor.failed_to_start(0, now);
        assert_eq!(supervisor.due(now), []);
        assert_eq!(supervisor.due(now + RESTART_DELAY), [Action::Start(0)]);
    }

    #[test]
    fn an_unknown_process_is_only_buried() {
        let (mut supervisor, now) = (supervisor(), Instant::now());
        start_all(&mut supervisor, now);
        assert_eq!(supervisor.ended(4711, true, now), None);
        assert_eq!(supervisor.next_due(), None);
    }

    #[test]
    fn a_held_program_is_killed_and_kept_away() {
        let (mut supervisor, now) = (supervisor(), Instant::now());
        start_all(&mut supervisor, now);
        assert_eq!(
            supervisor.hold(BTreeSet::from(["api".to_owned()])),
            [Action::Kill(101)]
        );
        supervisor.ended(101, false, now);
        assert_eq!(supervisor.next_due(), None);
        assert_eq!(start_all(&mut supervisor, now + RESTART_DELAY), NONE);
        assert_eq!(supervisor.hold(BTreeSet::new()), []);
        assert_eq!(start_all(&mut supervisor, now + RESTART_DELAY), [1]);
    }
}
