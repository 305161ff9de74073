//! Safeguards that show in a plan only where one looks for them: without them everything goes well nearly always.

use std::time::Duration;

use super::{
    super::{
        Action, Step,
        observation::{DataStatus, Observation, Registration, Sight},
        plan,
    },
    decisions::running,
    world::World,
};
use crate::api::ledger::{Operation, OperationKind, Route};

/// MAIN's registration of the instance with this ordinal.
fn registration(seen: &mut Observation, ordinal: i32) -> &mut Registration {
    let start = format!("pod_{ordinal}_");
    seen.instances
        .iter_mut()
        .filter_map(|instance| match &mut instance.sight {
            Sight::Serving(view) => Some(&mut view.registrations),
            _ => None,
        })
        .flatten()
        .find(|registration| registration.name.starts_with(&start))
        .unwrap()
}

/// What MAIN may say of a replica that does not hold everything.
const LACKING: [(DataStatus, i64); 5] = [
    (DataStatus::Ready, -1),
    (DataStatus::Ready, 1),
    (DataStatus::Recovery, 0),
    (DataStatus::Invalid, 0),
    (DataStatus::Diverged, 0),
];

/// Whether the plan writes a ledger that names a member.
fn names_a_member(seen: &Observation) -> bool {
    plan(seen)
        .steps
        .iter()
        .any(|step| matches!(step, Step::Write(ledger) if !ledger.in_sync.is_empty()))
}

fn show(seen: &mut Observation, ordinal: i32, (status, behind): (DataStatus, i64)) {
    let registration = registration(seen, ordinal);
    (registration.status, registration.behind) = (Some(status), behind);
}

fn only_who_holds_everything_is_named(world: &World) {
    let mut seen = world.observe();
    assert!(names_a_member(&seen), "it holds everything");
    for lacking in LACKING {
        show(&mut seen, 1, lacking);
        assert!(!names_a_member(&seen), "{lacking:?}");
    }
}

#[test]
fn who_does_not_hold_everything_does_not_become_a_member_while_clients_write() {
    let mut world = running();
    world.ledger.as_mut().unwrap().in_sync.clear();
    only_who_holds_everything_is_named(&world);
}

#[test]
fn the_route_does_not_open_with_a_replica_that_does_not_hold_everything() {
    let mut world = running();
    let ledger = world.ledger.as_mut().unwrap();
    ledger.term += 1;
    ledger.route = Route::Closed;
    ledger.candidates = std::mem::take(&mut ledger.in_sync);
    ledger.operation = Some(Operation {
        kind: OperationKind::Failover,
        target: ledger.main.instance.clone(),
        from: None,
        started_at: String::new(),
        cause: String::new(),
        lossy: false,
        election: None,
        reversed: false,
        proven: false,
    });
    only_who_holds_everything_is_named(&world);
    let steps = plan(&world.observe()).steps;
    let opens = |step: &Step| matches!(step, Step::Write(ledger) if ledger.route == Route::Open);
    let open = steps.iter().position(opens).unwrap();
    let proven = |step: &Step| matches!(step, Step::Do(Action::ProbeCommit { .. }));
    let asked = |step: &Step| matches!(step, Step::Do(Action::Confirm { .. }));
    assert!(steps[..open].iter().any(proven) && steps[..open].iter().any(asked));
}

#[test]
fn a_replica_that_has_missed_a_second_phase_is_shown_what_it_lacks() {
    let mut seen = running().observe();
    let probes = |seen: &Observation| {
        let probes = |step: &Step| matches!(step, Step::Do(Action::ShowMissing { .. }));
        plan(seen).steps.iter().any(probes)
    };
    show(&mut seen, 1, (DataStatus::Ready, -1));
    assert!(!probes(&seen), "it may be on its way");
    registration(&mut seen, 1).lacking_for = Duration::from_secs(1);
    assert!(probes(&seen));
    let mut silent = seen.clone();
    silent.instances[1].sight = Sight::Silent;
    assert!(!probes(&silent), "the commit would wait for it");
    show(&mut seen, 1, (DataStatus::Invalid, -1));
    registration(&mut seen, 1).lacking_for = Duration::ZERO;
    registration(&mut seen, 2).lacking_for = Duration::from_mins(1);
    assert!(!probes(&seen), "MAIN waits for no ASYNC one");
}

#[test]
fn a_replica_that_is_ahead_is_not_set_aside() {
    let world = running();
    for ordinal in [1, 2] {
        let mut seen = world.observe();
        show(&mut seen, ordinal, (DataStatus::Ready, 1));
        let orders = |step: &Step| matches!(step, Step::Write(ledger) if !ledger.resets.is_empty());
        assert!(!plan(&seen).steps.iter().any(orders), "{ordinal}");
    }
}

#[test]
fn main_steps_down_only_after_clients_are_cut_off_and_its_successor_holds_everything() {
    let mut world = running();
    world.ask_for_switchover(Some(1));
    let mut stepped_down = false;
    for _ in 0..30 {
        let plan = plan(&world.observe());
        let kinds: Vec<_> = plan
            .steps
            .iter()
            .map(|step| match step {
                Step::Write(_) => "Write",
                Step::Do(action) => action.kind(),
            })
            .collect();
        if kinds.contains(&"StepDown") {
            let before: Vec<_> = kinds.into_iter().filter(|kind| *kind != "Write").collect();
            assert_eq!(before, ["Fence", "Quiesce", "ProbeCommit", "Confirm", "StepDown"]);
            stepped_down = true;
        }
        world.carry_out(&plan, usize::MAX);
    }
    assert!(stepped_down);
}
