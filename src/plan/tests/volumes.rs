//! What is said of volumes.

use super::{
    super::{
        Situation,
        observation::{Observation, Volume},
        report,
    },
    decisions::running,
    world::VOLUME_SIZE,
};
use crate::api::{
    Phase,
    conditions::{ConditionType, Reason, Truth},
};

/// The phase, and what these conditions say.
fn told(seen: &Observation, situation: &Situation) -> (Phase, Vec<(Truth, Reason, String)>) {
    let gateway = report::GatewayState {
        enabled: true,
        ready: 1,
        ..Default::default()
    };
    let report = report::report(seen, seen.ledger.as_ref(), situation, gateway);
    let of = |wanted| {
        let mut verdicts = report.verdicts.iter();
        let verdict = verdicts.find(|verdict| verdict.condition == wanted).unwrap();
        (verdict.status, verdict.reason, verdict.message.clone())
    };
    let conditions = [
        ConditionType::StorageReady,
        ConditionType::Reconciling,
        ConditionType::Ready,
    ];
    (report.phase, conditions.map(of).into())
}

fn set(seen: &mut Observation, instance: usize, volume: Option<Volume>) {
    seen.instances[instance].claim.as_mut().unwrap().volume = volume;
}

#[test]
fn an_instance_without_a_claim_has_no_volume() {
    let mut seen = running().observe();
    seen.instances[1].claim = None;
    let (_, conditions) = told(&seen, &Situation::Serving);
    let (status, reason, message) = &conditions[0];
    assert_eq!((*status, *reason), (Truth::False, Reason::WaitingForVolumes));
    assert!(message.starts_with("no volume claim yet: demo-1;"), "{message}");
    seen.settings.data_in_pods = true;
    assert_eq!(told(&seen, &Situation::Serving).1[0].0, Truth::True);
}

#[test]
fn volumes_that_are_large_enough_are_ready() {
    let mut seen = running().observe();
    let larger = Volume {
        capacity: Some(VOLUME_SIZE * 2),
        awaits_kubelet: false,
    };
    set(&mut seen, 0, Some(larger));
    // Nothing is known of it: no reason to say that it grows.
    let untold = Volume {
        capacity: None,
        awaits_kubelet: false,
    };
    set(&mut seen, 1, Some(untold));
    let (phase, conditions) = told(&seen, &Situation::Serving);
    assert_eq!(phase, Phase::Operational);
    assert!(
        conditions
            .iter()
            .all(|(_, reason, _)| *reason == Reason::AsExpected)
    );
}

#[test]
fn a_volume_that_grows_is_named_and_the_cluster_serves() {
    let mut seen = running().observe();
    seen.settings.volume_size += 1;
    let grown = Volume {
        capacity: Some(VOLUME_SIZE + 1),
        awaits_kubelet: false,
    };
    set(&mut seen, 1, Some(grown));
    let half = Volume {
        awaits_kubelet: true,
        ..grown
    };
    set(&mut seen, 2, Some(half));
    let (phase, conditions) = told(&seen, &Situation::Serving);
    assert_eq!(phase, Phase::Updating);
    let [storage, reconciling, ready] = conditions.as_slice() else {
        panic!("{conditions:?}");
    };
    assert_eq!((storage.0, storage.1), (Truth::False, Reason::Expanding));
    assert_eq!(
        storage.2,
        "growing to storage.size: demo-0, demo-2; only the file system is left of demo-2: if it stays so, delete that \
         pod, one after the other"
    );
    assert_eq!(reconciling, &(Truth::True, Reason::Expanding, storage.2.clone()));
    assert_eq!(ready.0, Truth::True);
}

#[test]
fn a_claim_without_a_volume_is_named() {
    let mut seen = running().observe();
    set(&mut seen, 2, None);
    let (_, conditions) = told(&seen, &Situation::Serving);
    let (status, reason, message) = &conditions[0];
    assert_eq!((*status, *reason), (Truth::False, Reason::WaitingForVolumes));
    assert!(message.starts_with("no volume yet: demo-2;"), "{message}");
}

#[test]
fn a_refusal_is_told_by_whoever_refused() {
    let seen = running().observe();
    let refused = Situation::Stalled(Reason::ExpansionRefused, "no".into());
    let (phase, conditions) = told(&seen, &refused);
    assert_eq!(phase, Phase::Degraded);
    assert_eq!(
        conditions[0],
        (Truth::False, Reason::ExpansionRefused, "no".into())
    );
    assert_eq!(
        conditions[1],
        (Truth::False, Reason::ExpansionRefused, "no".into())
    );
    assert_eq!(conditions[2].0, Truth::True, "clients are served");
}
