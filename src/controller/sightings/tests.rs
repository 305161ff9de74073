use std::{cell::Cell, collections::BTreeSet};

use super::{
    memory::{LONG_SILENCE, Memory, note_what_lacks, remember},
    question::{MODE_EVERY, Mode},
    *,
};
use crate::plan::{
    STUCK_AFTER,
    observation::{DataStatus, Registration, View},
};

fn target(life: &Incarnation) -> Target {
    Target {
        name: "demo-1".into(),
        address: None,
        incarnation: Some(life.clone()),
        terminating: false,
        tls: false,
    }
}

/// What is remembered after these looks, and whether the present life may be over.
async fn after(sights: impl IntoIterator<Item = Sight>) -> bool {
    let life = Incarnation::default();
    let target = target(&life);
    let memory = sights.into_iter().fold(None, |before, sight| {
        Some(remember(before, &target, sight, Instant::now()))
    });
    let sightings = Sightings::default();
    sightings
        .memories
        .lock()
        .await
        .extend(memory.map(|memory| (target.name.clone(), memory)));
    sightings.may_have_ended(&target.name, &life).await
}

fn serving() -> Sight {
    Sight::Serving(View {
        role: Role::Replica,
        registrations: Vec::new(),
        contents: None,
        empty: None,
        version: "3.12.0".into(),
        storage_mode: None,
    })
}

#[tokio::test(start_paused = true)]
async fn a_command_waits_for_whoever_answers_looks_and_no_longer_for_whoever_falls_silent() {
    let life = Incarnation::default();
    let sightings = Sightings::default();
    let patience = Duration::from_secs(2);
    let see = async |sight: Sight| {
        let mut memories = sightings.memories.lock().await;
        let before = memories.remove("demo-1");
        let memory = remember(before, &target(&life), sight, Instant::now());
        memories.insert("demo-1".into(), memory);
    };
    see(serving()).await;
    let given_up = async || {
        let waiting = sightings.fallen_silent("demo-1", patience);
        tokio::time::timeout(patience * 2, waiting).await.is_ok()
    };
    assert!(!given_up().await);
    see(Sight::Handshake).await;
    assert!(!given_up().await, "it may be busy");
    see(Sight::Silent).await;
    assert!(given_up().await);
}

#[tokio::test(start_paused = true)]
async fn main_is_asked_for_its_mode_now_and_then_and_all_the_time_while_it_replicates_nothing() {
    let life = Incarnation::default();
    let mut memory: Option<Memory> = None;
    let mut look = |answer: Option<StorageMode>, role: Role| {
        let question = question(memory.as_ref(), false, Whom::Answering(None), "demo-1").unwrap();
        let mut sight = serving();
        if let Sight::Serving(view) = &mut sight {
            view.role = role;
            view.storage_mode = answer.filter(|_| question.storage_mode && role == Role::Main);
        }
        let asked = question.storage_mode.then(Instant::now);
        let mode = keep_mode(memory.as_ref().and_then(|memory| memory.mode), &mut sight, asked);
        let next = remember(memory.take(), &target(&life), sight, Instant::now());
        memory = Some(Memory { mode, ..next });
        let Some(Sight::Serving(view)) = memory.as_ref().map(|memory| &memory.sight) else {
            panic!("it serves");
        };
        (question.storage_mode, view.storage_mode)
    };
    let (transactional, analytical) = (Some(StorageMode::Transactional), Some(StorageMode::Analytical));
    assert_eq!(look(transactional, Role::Main), (true, transactional));
    assert_eq!(look(analytical, Role::Main), (false, transactional), "not yet");
    tokio::time::advance(MODE_EVERY).await;
    assert_eq!(look(analytical, Role::Main), (true, analytical));
    assert_eq!(look(None, Role::Main), (true, analytical), "it does not tell now");
    let untold = Some(StorageMode::Untold);
    assert_eq!(look(untold, Role::Main), (true, analytical), "nor now");
    assert_eq!(look(transactional, Role::Main), (true, transactional));
    assert_eq!(look(analytical, Role::Main), (false, transactional));
    assert_eq!(look(None, Role::Replica).1, None);
    assert_eq!(look(analytical, Role::Main), (true, analytical), "asked anew");
}

/// MAIN, which says this of `demo-2`, and that it is so far behind.
fn main_that_says(status: Option<DataStatus>, behind: i64) -> Sight {
    let registration = Registration {
        name: crate::plan::registration_name(2, 7),
        address: "10.0.0.2:10000".into(),
        mode: crate::api::RegistrationMode::Async,
        status,
        reached: (behind != 0).then_some(2),
        behind,
        lacking_for: Duration::ZERO,
        unwell_for: Duration::ZERO,
        has_followed: false,
        advanced_ago: None,
        invalid_for: Duration::ZERO,
    };
    Sight::Serving(View {
        role: Role::Main,
        registrations: vec![registration],
        contents: None,
        empty: None,
        version: "3.12.0".into(),
        storage_mode: None,
    })
}

fn remembered(looks: impl IntoIterator<Item = Sight>) -> Memory {
    let life = Incarnation::default();
    let memory = looks.into_iter().fold(None, |before, sight| {
        Some(remember(before, &target(&life), sight, Instant::now()))
    });
    memory.unwrap()
}

/// Who was the least behind is asked for when MAIN has come back without its data, as a replica.
#[tokio::test]
async fn what_main_told_of_its_replicas_outlives_its_return_as_a_replica_and_that_it_says_nothing_for_a_while()
 {
    let recovering = || main_that_says(Some(DataStatus::Recovery), -5);
    let told = BTreeMap::from([(2, -5)]);
    assert_eq!(remembered([recovering(), Sight::Refused, serving()]).told, told);
    // As in a storage mode without replication.
    let silent = || main_that_says(None, 0);
    assert_eq!(remembered([recovering(), silent(), Sight::Refused]).told, told);
    let mut none = silent();
    if let Sight::Serving(view) = &mut none {
        view.registrations.clear();
    }
    assert_eq!(remembered([recovering(), none]).told, BTreeMap::new());
}

#[tokio::test(start_paused = true)]
async fn what_a_strict_replica_lacks_while_nothing_is_committed_has_the_cluster_looked_after() {
    let says = |reached: i64, behind: i64| {
        let mut sight = main_that_says(Some(DataStatus::Ready), behind);
        if let Sight::Serving(view) = &mut sight {
            view.registrations[0].mode = crate::api::RegistrationMode::StrictSync;
            view.registrations[0].reached = (behind != 0).then_some(reached);
        }
        sight
    };
    let life = Incarnation::default();
    let mut memory = remembered([says(7, -1)]);
    let shown = Cell::new(None);
    let mut look = async |mut sight: Sight| {
        tokio::time::advance(Duration::from_millis(600)).await;
        let now = Instant::now();
        note_what_lacks(&memory, &mut sight, now, shown.get());
        let changed = outline(&memory.sight) != outline(&sight);
        memory = remember(Some(memory.clone()), &target(&life), sight, now);
        changed
    };
    assert!(!look(says(7, -1)).await, "the second phase takes its time");
    assert!(!look(says(8, -1)).await, "another one is on its way");
    assert!(!look(says(8, -1)).await);
    assert!(look(says(8, -1)).await, "it never came");
    assert!(!look(says(8, -1)).await, "it is known by now");
    assert!(look(says(9, 0)).await, "it has come");
    shown.set(Some(Instant::now()));
    for _ in 0..8 {
        assert!(
            !look(says(9, -1)).await,
            "what was done of late is not done again and again"
        );
    }
}

#[tokio::test]
async fn the_usual_mode_is_not_taken_from_memory_where_main_says_nothing_of_its_replicas() {
    let mode = |told| {
        Some(Mode {
            role: Role::Main,
            asked: Instant::now(),
            told: Some(told),
        })
    };
    let (transactional, analytical) = (StorageMode::Transactional, StorageMode::Analytical);
    for (before, status, kept) in [
        (transactional, None, None),
        (transactional, Some(DataStatus::Ready), Some(transactional)),
        (analytical, None, Some(analytical)),
    ] {
        let mut sight = main_that_says(status, 0);
        keep_mode(mode(before), &mut sight, None);
        let Sight::Serving(view) = sight else {
            panic!("{sight:?}")
        };
        assert_eq!(view.storage_mode, kept, "{before:?} {status:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_replica_is_asked_for_its_mode_that_main_has_not_got_through_to_for_long() {
    let invalid = || main_that_says(Some(DataStatus::Invalid), -1);
    let mut main = remembered([main_that_says(Some(DataStatus::Ready), 0), invalid()]);
    assert!(unreached([&main].into_iter()).is_empty());
    tokio::time::advance(STUCK_AFTER).await;
    let life = Incarnation::default();
    main = remember(Some(main), &target(&life), invalid(), Instant::now());
    assert_eq!(unreached([&main].into_iter()), BTreeSet::from([2]));
    main = remember(Some(main), &target(&life), Sight::Silent, Instant::now());
    assert!(
        unreached([&main].into_iter()).is_empty(),
        "it does not say so any more"
    );

    // What it has told is not forgotten while it is too busy to tell it again.
    let mut replica = serving();
    let mut mode = None;
    for (told, expected) in [
        (Some(StorageMode::Analytical), Some(StorageMode::Analytical)),
        (Some(StorageMode::Untold), Some(StorageMode::Analytical)),
        (Some(StorageMode::Transactional), Some(StorageMode::Transactional)),
        (Some(StorageMode::Untold), Some(StorageMode::Untold)),
    ] {
        if let Sight::Serving(view) = &mut replica {
            view.storage_mode = told;
        }
        mode = keep_mode(mode, &mut replica, Some(Instant::now()));
        let Sight::Serving(view) = &replica else {
            panic!("{replica:?}")
        };
        assert_eq!(view.storage_mode, expected, "{told:?}");
        let memory = Memory {
            mode,
            ..remembered([replica.clone()])
        };
        assert_eq!(takes_nothing(&memory), expected == Some(StorageMode::Analytical));
    }
    assert_eq!(
        keep_mode(mode, &mut main.sight, None).map(|mode| mode.told),
        mode.map(|mode| mode.told),
        "it does not answer"
    );
}

#[tokio::test(start_paused = true)]
async fn a_command_that_found_no_moment_long_ago_says_nothing_of_the_next_one() {
    let sightings = Sightings::default();
    sightings.got_a_moment(false).await;
    sleep(BUSY_LATELY / 2).await;
    sightings.got_a_moment(false).await;
    sleep(BUSY_LATELY / 2).await;
    assert_eq!(sightings.busy_for().await, BUSY_LATELY);
    sleep(BUSY_LATELY).await;
    assert_eq!(sightings.busy_for().await, Duration::ZERO);
    sightings.got_a_moment(false).await;
    assert_eq!(sightings.busy_for().await, Duration::ZERO, "it counts anew");
}

#[tokio::test]
async fn a_process_that_has_answered_and_refuses_then_may_have_ended() {
    assert!(after([serving(), Sight::Refused]).await);
    assert!(
        after([serving(), Sight::Refused, serving()]).await,
        "another process may answer"
    );
    assert!(!after([serving(), Sight::Silent]).await);
}

#[tokio::test(start_paused = true)]
async fn a_process_whose_connection_has_ended_may_have_ended_until_kubernetes_has_had_the_time_to_tell() {
    let life = |container: &str| Incarnation {
        container_id: container.into(),
        ..Incarnation::default()
    };
    let sightings = Sightings::default();
    sightings.ended("demo-1", &life("a"));
    assert!(sightings.may_have_ended("demo-1", &life("a")).await);
    assert!(
        !sightings.may_have_ended("demo-1", &life("b")).await,
        "Kubernetes has told"
    );
    assert!(!sightings.may_have_ended("demo-2", &life("a")).await);
    sightings.goes_on("demo-1", &life("b"));
    assert!(sightings.may_have_ended("demo-1", &life("a")).await);
    sightings.goes_on("demo-1", &life("a"));
    assert!(
        !sightings.may_have_ended("demo-1", &life("a")).await,
        "the same process answers"
    );
    sightings.ended("demo-1", &life("a"));
    tokio::time::advance(UNTIL_TOLD).await;
    assert!(!sightings.may_have_ended("demo-1", &life("a")).await);
}

#[tokio::test(start_paused = true)]
async fn how_long_a_pod_has_been_seen_to_end_is_counted_for_this_pod_alone() {
    let target = |container: &str, terminating| Target {
        terminating,
        ..target(&Incarnation {
            container_id: container.into(),
            ..Incarnation::default()
        })
    };
    let mut memory = remember(None, &target("a", false), serving(), Instant::now());
    assert_eq!(memory.terminating_since, None);
    tokio::time::advance(Duration::from_secs(1)).await;
    let seen = Instant::now();
    for _ in 0..3 {
        memory = remember(Some(memory), &target("a", true), serving(), Instant::now());
        assert_eq!(memory.terminating_since, Some(seen));
        tokio::time::advance(Duration::from_secs(1)).await;
    }
    memory = remember(Some(memory), &target("b", false), serving(), Instant::now());
    assert_eq!(memory.terminating_since, None);
    memory = remember(Some(memory), &target("c", true), serving(), Instant::now());
    assert_eq!(memory.terminating_since, Some(Instant::now()));
}

/// A node that has lost its power may be back, with the same addresses, before its kubelet has told anything.
#[tokio::test(start_paused = true)]
async fn an_instance_that_comes_back_from_a_long_silence_may_have_ended_until_its_kubelet_has_had_the_time_to_tell()
 {
    let life = Incarnation::default();
    let target = target(&life);
    for (silent_for, unclear) in [(LONG_SILENCE / 2, false), (LONG_SILENCE, true)] {
        let sightings = Sightings::default();
        let mut memory = remember(None, &target, serving(), Instant::now());
        memory = remember(Some(memory), &target, Sight::Silent, Instant::now());
        tokio::time::advance(silent_for).await;
        memory = remember(Some(memory), &target, serving(), Instant::now());
        let put = async |memory: Memory| {
            sightings
                .memories
                .lock()
                .await
                .insert(target.name.clone(), memory);
            sightings.may_have_ended(&target.name, &life).await
        };
        assert_eq!(put(memory.clone()).await, unclear, "{silent_for:?}");
        memory = remember(Some(memory), &target, serving(), Instant::now());
        assert_eq!(put(memory.clone()).await, unclear, "{silent_for:?}");
        tokio::time::advance(SOON_TOLD).await;
        assert!(!put(memory).await);
    }
}

#[tokio::test]
async fn a_process_that_has_not_opened_its_port_yet_has_not_ended() {
    assert!(!after([Sight::Refused, serving()]).await);
}
