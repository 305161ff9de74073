//! The cluster is there, its ledger is not.

use std::{collections::BTreeSet, time::Duration};

use super::{
    super::{
        Action, Situation, Step,
        observation::{Marker, Recovery, Role},
        plan,
    },
    decisions::running,
    world::World,
};
use crate::api::{VolumeNote, conditions::Reason, ledger::Route};

/// Everything has stopped and started again behind the gate, and the ledger is gone.
fn returned() -> World {
    let mut world = running();
    lose(&mut world);
    world
}

fn lose(world: &mut World) {
    world.ledger = None;
    world.numbers = Default::default();
    for index in 0..world.servers.len() {
        world.restart(index, true);
        // Nobody feeds anybody.
        world.servers[index].reign = 0;
    }
}

/// What is said, and the id of the state.
fn stalled(world: &mut World) -> (String, String) {
    let plan = world.step(usize::MAX);
    assert!(plan.steps.is_empty(), "{plan:?}");
    let Situation::Stalled(Reason::AmbiguousState, message) = plan.situation else {
        panic!("{:?}", plan.situation)
    };
    let id = message.rsplit(' ').next().unwrap().to_owned();
    (message, id)
}

#[test]
fn volumes_are_noted_once_the_route_is_open() {
    let world = running();
    let note = VolumeNote {
        lineage: "l1".into(),
        term: 1,
        begun: 0,
        main: "demo-0".into(),
        in_sync: vec!["demo-1".into()],
    };
    assert!(
        world
            .servers
            .iter()
            .all(|server| server.volume_note.as_ref() == Some(&note))
    );
}

#[test]
fn of_replicas_with_the_same_mark_the_one_that_has_come_furthest_is_main() {
    let mut world = returned();
    world.servers[2].data.pop();
    world.servers[0].data.pop();
    let plan = world.step(usize::MAX);
    let measured = |step: &Step| matches!(step, Step::Do(Action::ReadPosition { .. }));
    assert!(
        plan.steps.len() == 3 && plan.steps.iter().all(measured),
        "{plan:?}"
    );
    world.settle();
    assert_eq!(world.main(), Some(1));
    assert_eq!(world.ledger.as_ref().unwrap().term, 2);
    world.client_write();
    assert_eq!(world.acknowledged.len(), 4);
    world.check();
}

/// A term has passed, and the former MAIN has a write that nobody was told of.
#[test]
fn of_two_that_have_branched_off_none_is_chosen() {
    let mut world = running();
    world.commit_alone(0);
    world.servers[0].up = false;
    world.settle();
    world.client_write();
    lose(&mut world);
    let plan = world.settle();
    assert!(
        matches!(plan.situation, Situation::Stalled(Reason::AmbiguousState, _)),
        "{plan:?}"
    );
    assert!(world.servers.iter().all(|server| server.role == Role::Replica));
}

#[test]
fn nothing_is_committed_before_every_instance_is_registered() {
    let mut world = returned();
    for _ in 0..20 {
        let plan = world.step(usize::MAX);
        let commits = plan
            .steps
            .iter()
            .any(|step| matches!(step, Step::Do(Action::ProbeCommit { .. })));
        if commits {
            assert_eq!(world.servers[0].replicas.len(), 2);
            return;
        }
    }
    panic!("{}", world.tell());
}

#[test]
fn a_choice_that_another_copy_refutes_is_undone_and_left_to_a_human() {
    let mut world = returned();
    // As long, but with a write of its own: positions cannot tell.
    world.servers[2].data.pop();
    world.servers[2].data.push((99, 99));
    let plan = world.settle();
    assert!(
        matches!(plan.situation, Situation::Stalled(Reason::AmbiguousState, _)),
        "{plan:?}"
    );
    assert!(world.servers.iter().all(|server| server.role == Role::Replica));
    assert_eq!(world.ledger.as_ref().unwrap().route, Route::Closed);
    let (message, state_id) = stalled(&mut world);
    assert!(
        message.contains("demo-2 holds writes that demo-0 does not"),
        "{message}"
    );
    world.settings.recovery = Some(Recovery {
        main: "demo-0".into(),
        state_id,
    });
    let plan = world.settle();
    assert_eq!(world.main(), Some(0));
    assert!(world.ledger.as_ref().unwrap().term > 2);
    // What the human has not chosen is not set aside without another word.
    assert_eq!(world.servers[2].obeyed.len(), 0, "{plan:?}");
    world.servers[2].reset_asked = true;
    world.settle();
    assert_eq!(world.servers[2].data, world.servers[0].data);
    assert!(!world.ledger.as_ref().unwrap().recovered);
}

#[test]
fn a_chosen_one_that_nobody_can_follow_asks_for_another_word() {
    let mut world = returned();
    for (server, write) in [(1, 98), (2, 99)] {
        world.servers[server].data.pop();
        world.servers[server].data.push((write, write));
    }
    let (_, state_id) = {
        world.settle();
        stalled(&mut world)
    };
    world.settings.recovery = Some(Recovery {
        main: "demo-0".into(),
        state_id,
    });
    let plan = world.settle();
    let Situation::Stalled(Reason::DivergedInstance, message) = &plan.situation else {
        panic!("{plan:?}");
    };
    assert!(
        message.contains("annotate the pod of demo-1 with memgraph.dev/reset=yes"),
        "{message}"
    );
    assert!(world.servers.iter().all(|server| server.obeyed.is_empty()));
    world.servers[1].reset_asked = true;
    let plan = loop {
        let plan = world.step(usize::MAX);
        if plan.steps.is_empty() {
            break plan;
        }
        let open = world.is_open();
        assert!(
            open || !matches!(&plan.situation, Situation::Stalled(_, text) if text.contains("demo-2")),
            "demo-1 is on its way: {plan:?}"
        );
    };
    assert_eq!(world.ledger.as_ref().unwrap().route, Route::Open);
    assert_eq!(world.servers[1].data, world.servers[0].data);
    // Clients are served, and the other one still waits for a word.
    let Situation::Stalled(Reason::DivergedInstance, message) = &plan.situation else {
        panic!("{plan:?}");
    };
    assert!(
        message.contains("annotate the pod of demo-2 with memgraph.dev/reset=yes"),
        "{message}"
    );
    world.servers[2].reset_asked = true;
    let plan = world.settle();
    assert_eq!(world.servers[2].data, world.servers[0].data);
    assert_eq!(plan.situation, Situation::Serving);
}

#[test]
fn a_humans_word_holds_only_for_the_state_that_he_has_seen() {
    let mut world = returned();
    world.servers[2].marker = Some(Marker {
        lineage: "lother".into(),
    });
    let (_, state_id) = stalled(&mut world);
    world.settings.recovery = Some(Recovery {
        main: "demo-1".into(),
        state_id,
    });
    // A restart changes nothing, another mark does.
    world.restart(2, true);
    let mut other = world.clone();
    other.servers[2].marker = Some(Marker {
        lineage: "lyetanother".into(),
    });
    stalled(&mut other);
    world.settle();
    assert_eq!(world.main(), Some(1));
}

#[test]
fn a_note_of_another_history_forbids_every_conclusion() {
    let mut world = returned();
    world.servers[1].volume_note = Some(VolumeNote {
        lineage: "lother".into(),
        term: 9,
        begun: 0,
        main: "demo-2".into(),
        in_sync: Vec::new(),
    });
    let (message, _) = stalled(&mut world);
    assert!(message.contains("demo-2 was MAIN in term 9"), "{message}");
    assert!(message.contains("no instance shows the mark"), "{message}");
}

#[test]
fn where_main_and_whoever_was_in_sync_have_lost_their_volumes_a_human_is_asked() {
    let mut world = returned();
    // demo-2 was fed as ASYNC, and may lack what was acknowledged last.
    world.restart(0, false);
    let mut one_left = world.clone();
    world.restart(1, false);
    let (message, _) = stalled(&mut world);
    assert!(message.contains("nor one that was in sync"), "{message}");
    one_left.settle();
    assert_eq!(one_left.main(), Some(1));
    one_left.check();
}

#[test]
fn empty_instances_on_volumes_with_a_note_are_not_taken_for_a_new_cluster() {
    let mut world = World::new(3);
    world.servers[0].volume_note = Some(VolumeNote {
        lineage: "l1".into(),
        term: 4,
        begun: 0,
        main: "demo-0".into(),
        in_sync: Vec::new(),
    });
    let (message, state_id) = stalled(&mut world);
    assert!(message.contains("no instance holds anything"), "{message}");
    world.settings.recovery = Some(Recovery {
        main: "demo-0".into(),
        state_id,
    });
    world.settle();
    assert_eq!((world.main(), world.ledger.as_ref().unwrap().term), (Some(0), 5));
}

#[test]
fn an_instance_that_stays_away_can_be_done_without_on_a_humans_word() {
    let mut world = returned();
    world.servers[2].up = false;
    let mut seen = world.observe();
    seen.instances[2].away_for = Duration::from_secs(59);
    assert!(matches!(plan(&seen).situation, Situation::Waiting(..)));
    let (message, state_id) = stalled(&mut world);
    assert!(message.contains("demo-2"), "{message}");
    world.settings.recovery = Some(Recovery {
        main: "demo-1".into(),
        state_id,
    });
    world.settle();
    assert_eq!(world.main(), Some(1));
    world.check();
}

#[test]
fn data_without_a_mark_is_left_to_a_human() {
    let mut world = returned();
    world.servers[2].marker = None;
    let (message, _) = stalled(&mut world);
    for seen in [
        "demo-0: REPLICA, data, marker l1;",
        "demo-2 holds data without a mark",
    ] {
        assert!(message.contains(seen), "{message}");
    }
}

/// As docs/how-to/backup.md has it: a snapshot of another cluster is on the first volume, and the others are new.
#[test]
fn a_new_cluster_begins_with_a_backup_on_its_first_volume() {
    let mut backed_up = running();
    backed_up.client_write();
    let mut world = World::new(3);
    world.servers[0].data = backed_up.servers[0].data.clone();
    world.servers[0].marker = backed_up.servers[0].marker.clone();
    world.settle();
    assert_eq!(world.main(), Some(0));
    assert_eq!(world.ledger.as_ref().unwrap().in_sync.len(), 1);
    let restored = &backed_up.servers[0].data;
    assert!(!restored.is_empty());
    for server in &world.servers {
        assert!(server.data.starts_with(restored), "{}", world.tell());
    }
    world.check();
}

/// The ledger of a set-up is lost again and again, each time after the first registration: no name is used twice, although
/// neither a registration nor the mark of an opened history tells of it.
#[test]
fn set_ups_that_were_broken_off_leave_their_numbers_to_nobody() {
    for marked in [true, false] {
        let mut world = World::new(3);
        let mut names = BTreeSet::new();
        for _ in 0..4 {
            let registered = |world: &World| world.servers.iter().find_map(|s| s.replicas.first().cloned());
            for _ in 0..50 {
                if registered(&world).is_none() {
                    world.step(2);
                }
            }
            let (name, ..) = registered(&world).unwrap_or_else(|| panic!("{}", world.tell()));
            assert!(names.insert(name), "{names:?}");
            lose(&mut world);
            for server in world.servers.iter_mut().filter(|_| !marked) {
                server.marker = None;
                server.data.clear();
            }
        }
        world.settle();
        assert!(world.is_open(), "{}", world.tell());
    }
}

/// It stood still while it was replaced, and lists its replicas as they were before.
#[test]
fn a_main_that_was_replaced_by_what_the_notes_say_is_not_adopted() {
    let mut world = running();
    world.ledger = None;
    world.numbers = Default::default();
    for server in &mut world.servers {
        server.volume_note = Some(VolumeNote {
            lineage: "l1".into(),
            term: 2,
            begun: 0,
            main: "demo-1".into(),
            in_sync: vec!["demo-2".into()],
        });
    }
    let (message, _) = stalled(&mut world);
    assert!(
        message.contains("demo-0 is MAIN, but the volumes say that demo-1 was in term 2"),
        "{message}"
    );
}

/// The choice is as little checked after a restart of whoever was chosen as before.
#[test]
fn a_choice_is_checked_also_when_main_restarts_before_all_others_are_registered() {
    let mut world = returned();
    world.servers[2].data.pop();
    world.servers[2].data.push((99, 99));
    while world.servers[0].role != Role::Main {
        world.step(usize::MAX);
    }
    let term = world.ledger.as_ref().unwrap().term;
    world.restart(0, true);
    let plan = world.settle();
    assert!(world.ledger.as_ref().unwrap().term > term);
    assert!(
        matches!(plan.situation, Situation::Stalled(Reason::AmbiguousState, _)),
        "{plan:?}"
    );
    assert!(world.servers[2].obeyed.is_empty() && world.servers[2].data.contains(&(99, 99)));
}

/// It was shown to be the furthest, and has told nothing of the others yet.
#[test]
fn whoever_was_chosen_is_waited_for_also_where_something_may_be_lost() {
    let mut world = returned();
    world.settings.most_recent = true;
    while world.servers[0].role != Role::Main {
        world.step(usize::MAX);
    }
    assert!(!world.ledger.as_ref().unwrap().opened);
    world.servers[0].up = false;
    let plan = world.settle();
    assert!(
        matches!(plan.situation, Situation::MainLost(Reason::NoCandidate, _)),
        "{plan:?}"
    );
    world.restart(0, true);
    world.settle();
    assert_eq!(world.main(), Some(0));
    assert!(world.is_open());
}

#[test]
fn a_set_up_in_a_term_that_has_been_is_announced_anew_above_it() {
    let mut world = running();
    let route = |world: &World| world.ledger.as_ref().map(|ledger| (ledger.route, ledger.term));
    world.ledger = None;
    world.numbers = Default::default();
    world.step(1);
    let (_, early) = route(&world).unwrap();
    // A gateway that was not heard before has a grant of a later term, as after a restore of etcd.
    world.known_term = early + 7;
    world.settle();
    assert_eq!(route(&world), Some((Route::Open, early + 8)));
    assert_eq!(world.servers[0].role, Role::Main);
}

#[test]
fn what_is_written_after_a_block_of_numbers_was_reserved_keeps_it() {
    let mut world = running();
    world.ledger.as_mut().unwrap().generation = 4_000;
    let ledger = world.ledger.clone().unwrap();
    let demote = Step::Do(Action::ReachGateways);
    let mut plan = plan(&world.observe());
    plan.steps = vec![demote, Step::Write(Box::new(ledger.clone()))];
    let plan = plan.after_a_write(&ledger);
    let reserved = plan.steps.iter().filter_map(|step| match step {
        Step::Write(ledger) => Some(ledger.generation),
        Step::Do(_) => None,
    });
    assert_eq!(reserved.collect::<Vec<_>>(), [5_000, 5_000]);
}
