//! What to do without a ledger: set up a new cluster, adopt one that runs, or change nothing and say why.
//!
//! Nothing is concluded from a part of the instances: an instance that is not there may be the one with the
//! data. So every declared instance must answer first, and no volume of this cluster may lie aside.

use std::{collections::BTreeSet, fmt::Write as _, hash::Hasher as _};

use fnv::FnvHasher;

use super::{
    Action, Plan, Situation, Step, addresses, failing,
    numbers::parse_registration_name,
    observation::{Claim, Instance, Observation, Role, Sight},
    release, switchover,
};
use crate::api::{
    SwitchoverState, VolumeNote,
    conditions::Reason,
    ledger::{DataCopy, Election, Ledger, Operation, OperationKind, Route},
};

/// What all instances together look like.
enum State<'a> {
    /// No instance holds anything.
    Initial,
    /// One MAIN serves and the others follow it or are fresh.
    Operational(&'a Instance),
    /// All came back as replicas; this one has come furthest.
    Returned(&'a Instance),
    /// All came back as replicas; how far these have come is not known yet.
    Unmeasured(Vec<&'a Instance>),
    /// Anything else; with the reason.
    Unknown(String),
}

pub(super) fn plan(seen: &Observation) -> Plan {
    // What it holds goes with it: those of a former cluster go with that, also before anything has marked them.
    let leaves = |i: &&Instance| i.passing || i.terminating && seen.settings.data_in_pods;
    if let Some(leaving) = seen.instances.iter().find(leaves) {
        let in_pod =
            |claim: &Claim| seen.settings.data_in_pods || leaving.pod_uid.as_ref() == Some(&claim.uid);
        let text = match &leaving.claim {
            Some(claim) if !in_pod(claim) => format!(
                "waiting for the volume claim of {} to end, and its data with it: it is being deleted, or is about to be with the \
                 StatefulSet of a former cluster of this name. It ends with its pod, unless a finalizer keeps it",
                leaving.name
            ),
            _ => format!(
                "waiting for the pod of {} to end, and its data with it",
                leaving.name
            ),
        };
        return Plan::new(seen, Situation::Waiting(Reason::WaitingForInstances, text));
    }
    if let Some(missing) = missing(seen) {
        let data = seen.declared().any(|i| i.view().is_some() && !is_fresh(i));
        let long = |i: &Instance| i.view().is_some() || i.away_for >= seen.settings.hang_timeout;
        let closed = failing::lets_nobody_in(seen);
        if !(data && seen.declared().all(long)) {
            let situation = match closed {
                Some(why) => Situation::Stalled(Reason::InstanceFailing, why),
                None => Situation::Waiting(Reason::WaitingForInstances, missing),
            };
            return Plan::new(seen, situation);
        }
        let why = match closed {
            Some(why) => format!("{why}. It may hold newer data than the others"),
            None => format!("{missing}, which may hold newer data than the others"),
        };
        return ask(seen, &why);
    }
    if let Some(unfit) = release::unfit(seen) {
        return Plan::new(seen, Situation::Stalled(Reason::InvalidSpec, unfit));
    }
    if !seen.stray_volumes.is_empty() {
        let what = if seen.settings.data_in_pods {
            "pods"
        } else {
            "volume claims"
        };
        let why = format!(
            "{what} exist for instances beyond spec.replicas, and may hold the newest data: {}. Raise \
             spec.replicas until they are used, or delete them if their data is not wanted",
            seen.stray_volumes.join(", ")
        );
        return ask(seen, &why);
    }
    let refuted = seen.ledger.as_ref().filter(|ledger| ledger.is_refuted());
    let state = match refuted.and_then(|ledger| ledger.operation.as_ref()) {
        Some(operation) => State::Unknown(operation.cause.clone()),
        None => classify(seen),
    };
    let no_pod = |what: &str| {
        let message = format!("{what} has no pod yet");
        Plan::new(seen, Situation::Waiting(Reason::WaitingForInstances, message))
    };
    match state {
        State::Initial => match seen
            .declared()
            .find(|i| seen.electable(i))
            .and_then(Instance::copy)
        {
            Some(first) => announce(seen, first, &Beginning::New),
            None => nobody_to_begin_with(seen),
        },
        State::Operational(main) => match main.copy() {
            Some(copy) => announce(seen, copy, &Beginning::Adopted(main)),
            None => no_pod(&main.name),
        },
        State::Returned(main) => match main.copy() {
            Some(copy) => announce(seen, copy, &Beginning::Elected(main)),
            None => no_pod(&main.name),
        },
        State::Unmeasured(instances) => {
            let read = |i: &Instance| {
                Step::Do(Action::ReadPosition {
                    instance: i.name.clone(),
                })
            };
            let situation = Situation::Working(
                OperationKind::Bootstrap,
                "finding out which instance holds the newest data".to_owned(),
            );
            Plan::with(seen, situation, instances.into_iter().map(read))
        }
        State::Unknown(why) => ask(seen, &why),
    }
}

/// What to say where a new cluster has no instance that may be its MAIN.
fn nobody_to_begin_with(seen: &Observation) -> Plan {
    let situation = if seen.declared().any(|i| seen.electable(i)) {
        let text = "the instances that may be MAIN have no pod yet".to_owned();
        Situation::Waiting(Reason::WaitingForInstances, text)
    } else {
        let text = "every instance that replication.electableInstances allows to be MAIN is in fencedInstances: take one out".to_owned();
        Situation::Stalled(Reason::FencedInstance, text)
    };
    Plan::new(seen, situation)
}

/// Changes nothing and says what is needed; or does what a human has said about this very state.
fn ask(seen: &Observation, why: &str) -> Plan {
    let state_id = state_id(seen);
    let word = seen
        .settings
        .recovery
        .as_ref()
        .filter(|recovery| recovery.state_id == state_id);
    if let Some(word) = word {
        let found = seen.declared().find(|i| i.name == word.main);
        if let Some((main, copy)) = found
            .and_then(|i| Some((i, i.copy()?)))
            .filter(|(i, _)| i.view().is_some())
        {
            return announce(seen, copy, &Beginning::Recovered(main));
        }
    }
    let message = format!(
        "the instances do not tell which of them holds the newest data ({why}); nothing was changed. Seen: {}. To go on \
         with the data of one of them, set spec.bootstrap.recover to its name and stateId {state_id}",
        table(seen)
    );
    Plan::new(seen, Situation::Stalled(Reason::AmbiguousState, message))
}

/// Names what a human has seen: it changes with each volume, role, marker and note, but not with a restart.
fn state_id(seen: &Observation) -> String {
    let mut hasher = FnvHasher::default();
    for instance in seen.declared() {
        let volume = instance.incarnation.as_ref().map(|life| &life.volume);
        let note = instance.claim.as_ref().and_then(|claim| claim.note.as_ref());
        let fresh = is_fresh(instance);
        let facts = (
            &instance.name,
            volume,
            instance.role(),
            fresh,
            instance.marker(),
            note,
        );
        hasher.write(format!("{facts:?}").as_bytes());
    }
    hasher.write(format!("{:?}", seen.stray_volumes).as_bytes());
    format!("{:08x}", hasher.finish() & 0xffff_ffff)
}

/// How a ledger begins.
enum Beginning<'a> {
    /// With a new history.
    New,
    /// With this MAIN, which serves.
    Adopted(&'a Instance),
    /// With this replica, which has come furthest: to be checked before it commits.
    Elected(&'a Instance),
    /// With this instance, on a human's word.
    Recovered(&'a Instance),
}

/// Announces the set-up before anything is done; a leader that finds this ledger goes on from it.
fn announce(seen: &Observation, main: DataCopy, beginning: &Beginning<'_>) -> Plan {
    let (origin, cause) = match beginning {
        Beginning::New => (None, "all instances are new"),
        Beginning::Adopted(main) => (Some(main), "a MAIN that serves was adopted"),
        Beginning::Elected(main) => (Some(main), "all instances came back as replicas"),
        Beginning::Recovered(main) => (Some(main), "spec.bootstrap.recover"),
    };
    let lineage = origin
        .and_then(|main| main.marker())
        .map_or_else(|| seen.fresh_lineage.clone(), |marker| marker.lineage.clone());
    // A ledger that was lost must not be followed by one with a lower term: gateways that still know the old
    // one refuse to go back.
    let noted = notes(seen).map(VolumeNote::newest_term);
    let before = seen.ledger.as_ref().map(|ledger| ledger.term);
    let newest = noted.chain(before).max().unwrap_or(0).max(seen.known_term);
    // Numbers of the lost ledger may still be in use: none is ever used twice. Where no registration tells them, the
    // term does.
    let used = seen
        .declared()
        .filter_map(Instance::view)
        .flat_map(|view| &view.registrations)
        .filter_map(|registration| parse_registration_name(&registration.name))
        .map(|(_, number)| number)
        .chain(seen.ledger.as_ref().map(|ledger| ledger.generation))
        .max()
        .unwrap_or(0)
        .max(newest.saturating_mul(NUMBERS_A_TERM));
    let mut ledger = Ledger {
        lineage,
        term: newest + 1,
        opened: false,
        route: Route::Closed,
        generation: used + 1,
        recovered: matches!(beginning, Beginning::Recovered(_)),
        operation: Some(Operation {
            kind: OperationKind::Bootstrap,
            target: main.instance.clone(),
            from: origin.map(|main| main.name.clone()),
            started_at: String::new(),
            cause: cause.to_owned(),
            lossy: false,
            election: matches!(beginning, Beginning::Elected(_)).then_some(Election::Open),
            reversed: false,
            proven: false,
        }),
        switchover: seen.settings.switchover.as_ref().map(|request| {
            let why = "it was asked for before the cluster was set up".to_owned();
            switchover::record(request, SwitchoverState::Refused, why)
        }),
        main,
        main_address: String::new(),
        in_sync: Vec::new(),
        candidates: Vec::new(),
        resets: Vec::new(),
        // A ledger whose choice was refuted may still be what gateways hold on to.
        ..seen.ledger.clone().unwrap_or_default()
    };
    let situation = Situation::Working(
        OperationKind::Bootstrap,
        "setting up MAIN and its replicas".into(),
    );
    let mut numbers = seen.numbers;
    numbers.ensure(&mut ledger);
    addresses::note_all(seen, &mut numbers, &mut ledger);
    Plan {
        steps: vec![Step::write(ledger)],
        situation,
        numbers,
    }
}

/// No ledger uses more numbers than this for each of its terms: a leader reserves a thousand at a time.
const NUMBERS_A_TERM: i64 = 1_000_000;

/// What is noted on the volumes of the declared instances.
fn notes(seen: &Observation) -> impl Iterator<Item = &VolumeNote> {
    seen.declared().filter_map(|i| i.claim.as_ref()?.note.as_ref())
}

/// The instances that do not tell yet what they hold, as a sentence.
fn missing(seen: &Observation) -> Option<String> {
    let silent: Vec<_> = seen
        .declared()
        .filter(|i| {
            i.view()
                .is_none_or(|view| view.contents.is_none() || view.empty.is_none())
        })
        .map(|i| i.name.as_str())
        .collect();
    let declared = usize::try_from(seen.settings.replicas).unwrap_or_default();
    if silent.is_empty() && seen.declared().count() == declared {
        return None;
    }
    Some(if silent.is_empty() {
        "not every instance has a pod yet".into()
    } else {
        format!("waiting for {} to answer", silent.join(", "))
    })
}

/// Whether an instance holds nothing at all. Its role does not matter: with the start gate a new instance is a
/// replica, without it a MAIN.
fn is_fresh(instance: &Instance) -> bool {
    instance.view().is_some_and(|view| {
        view.registrations.is_empty()
            && view.empty == Some(true)
            && view
                .contents
                .as_ref()
                .is_some_and(|contents| contents.marker.is_none())
    })
}

fn classify(seen: &Observation) -> State<'_> {
    let with_data: Vec<_> = seen.declared().filter(|i| !is_fresh(i)).collect();
    // A set-up in which nobody was let in says nothing of what there must be.
    let noted = notes(seen)
        .filter(|note| note.term > 0)
        .max_by_key(|note| note.term);
    if with_data.is_empty() {
        return match noted {
            None => State::Initial,
            Some(note) => State::Unknown(format!(
                "no instance holds anything, but their volumes say that {} was MAIN in term {} of a history {}",
                note.main, note.term, note.lineage
            )),
        };
    }
    if let Some(why) = noted.and_then(|note| contradiction(note, &with_data)) {
        return State::Unknown(why);
    }
    let mains: Vec<_> = with_data
        .iter()
        .copied()
        .filter(|i| i.role() == Some(Role::Main))
        .collect();
    let main = match mains.as_slice() {
        [] => return returned(seen, &with_data),
        [main] => *main,
        mains => return State::Unknown(format!("{} instances are MAIN and hold data", mains.len())),
    };
    // What it lists of its replicas may be from before it was replaced: one that has stood still since does not know that.
    if let Some(note) = noted.filter(|note| note.main != main.name) {
        return State::Unknown(format!(
            "{} is MAIN, but the volumes say that {} was in term {}",
            main.name, note.main, note.term
        ));
    }
    for other in with_data.iter().filter(|i| i.name != main.name) {
        let follows = main.view().is_some_and(|view| {
            view.registrations
                .iter()
                .any(|r| is_at(other, &r.address) && r.in_sync())
        });
        if !follows {
            return State::Unknown(format!(
                "{} holds data but is no replica of {} that is ready and not behind",
                other.name, main.name
            ));
        }
        if other.marker() != main.marker() {
            return State::Unknown(format!(
                "{} and {} carry different markers",
                other.name, main.name
            ));
        }
    }
    State::Operational(main)
}

/// Whether this is where an instance's replication server is, by address or by name.
fn is_at(instance: &Instance, address: &str) -> bool {
    instance.replication_address.as_deref() == Some(address) || instance.replication_name == address
}

/// Why the newest note forbids a conclusion from these instances: of a MAIN and its in-sync replicas at least one holds every
/// acknowledged write.
fn contradiction(note: &VolumeNote, with_data: &[&Instance]) -> Option<String> {
    let told = format!(
        "the volumes say that {} was MAIN in term {} of a history {}",
        note.main, note.term, note.lineage
    );
    if !with_data
        .iter()
        .filter_map(|i| i.marker())
        .any(|marker| marker.lineage == note.lineage)
    {
        return Some(format!("{told}, of which no instance shows the mark"));
    }
    let named = |i: &&Instance| i.name == note.main || note.in_sync.contains(&i.name);
    if !with_data.iter().copied().any(|i| named(&i)) {
        return Some(format!(
            "{told}, but neither that one nor one that was in sync with it holds anything now"
        ));
    }
    None
}

/// All with data are replicas: the cluster stood still, and its ledger is lost. One of them holds every acknowledged write,
/// since all instances are there, and has come at least as far as each copy whose data is a part of its own. That the
/// others' data really is a part of MAIN's is checked before anything is committed ([`Election`]): MAIN refuses every copy
/// that holds a commit which MAIN does not (`storage/v2/replication/replication_client.cpp`: its last epoch is
/// not in MAIN's history, or it has gone further in it).
fn returned<'a>(seen: &'a Observation, with_data: &[&'a Instance]) -> State<'a> {
    if seen.declared().any(|i| !i.is_replica()) {
        return State::Unknown("there is data, but the only MAIN is empty".into());
    }
    let mut marked = Vec::new();
    for &instance in with_data {
        let Some(marker) = instance.marker() else {
            return State::Unknown(format!("{} holds data without a mark", instance.name));
        };
        marked.push((instance, marker));
    }
    let lineages: BTreeSet<_> = marked.iter().map(|(_, marker)| &marker.lineage).collect();
    if lineages.len() > 1 {
        return State::Unknown("the instances hold data of different histories".into());
    }
    let mut best: Vec<_> = marked.into_iter().map(|(instance, _)| instance).collect();
    if best.len() > 1 {
        if let Some((name, why)) = best.iter().find_map(|i| match &i.position {
            Some(Err(why)) => Some((&i.name, why)),
            _ => None,
        }) {
            return State::Unknown(format!("how far {name} has come cannot be told: {why}"));
        }
        let unmeasured: Vec<_> = best.iter().copied().filter(|i| i.position.is_none()).collect();
        if !unmeasured.is_empty() {
            return State::Unmeasured(unmeasured);
        }
        let position = |i: &Instance| i.position.clone().and_then(Result::ok);
        let furthest = best.iter().map(|i| position(i)).max().flatten();
        best.retain(|i| position(i) == furthest);
    }
    match best.iter().find(|i| seen.electable(i)) {
        Some(instance) => State::Returned(instance),
        None => State::Unknown("the instances that have come furthest may not be MAIN".into()),
    }
}

/// What each instance showed, for a human.
fn table(seen: &Observation) -> String {
    let mut out = String::new();
    for instance in seen.declared() {
        let role = match instance.role() {
            Some(Role::Main) => "MAIN",
            Some(Role::Replica) => "REPLICA",
            None if instance.sight == Sight::Barred => "refuses the password",
            None if matches!(instance.sight, Sight::Untrusted { .. }) => "has no trusted certificate",
            None => "silent",
        };
        let data = if is_fresh(instance) { "no data" } else { "data" };
        let marker = instance
            .marker()
            .map_or_else(|| "no marker".to_owned(), |m| format!("marker {}", m.lineage));
        let position = match &instance.position {
            Some(Ok(position)) => format!(", position {position}"),
            _ => String::new(),
        };
        let separator = if out.is_empty() { "" } else { "; " };
        // Writing to a String cannot fail.
        let _ = write!(
            out,
            "{separator}{}: {role}, {data}, {marker}{position}",
            instance.name
        );
    }
    out
}
