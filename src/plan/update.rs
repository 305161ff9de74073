//! Which instance is to get the configuration that the spec asks for by now, or another pod because somebody asks for that: one after the
//! other, MAIN's last.

use super::{
    Action, Step, brake,
    expendable::is_expendable,
    fenced,
    members::Members,
    observation::{Configuration, Container, Instance, NEAR, Observation, Registration},
    release,
    switchover::{self, Standing},
};
use crate::api::{MainUpdate, conditions::Reason};

/// What is to be done about instances that were started with an earlier configuration.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Next<'a> {
    /// There are none.
    Done,
    /// This pod is replaced.
    Replace(Step),
    /// MAIN moves to this instance.
    MoveMain(&'a Instance),
    /// Nothing now, for this reason.
    Wait(Reason, String),
}

/// So many changes of MAIN in ten minutes are enough: clients are cut off each time, also where a move does not come about, and
/// more would hold up the replacement of a MAIN that is lost. The first move may not come about
/// ([`is_tried_again`](switchover::is_tried_again)); the second one does.
const MOVES: usize = 2;

/// The next thing to do.
///
/// No acknowledged write depends on the pod that goes: MAIN serves, and all the others follow it or catch up. A strict replica leaves as
/// any other whose pod is deleted: another one, all of which follow, takes its place before it ends, or MAIN waits for it.
pub(super) fn next<'a>(members: &Members<'a>) -> Next<'a> {
    let (seen, ledger, main) = (members.seen, members.ledger, members.main);
    if !seen.declared().any(is_outdated) {
        return Next::Done;
    }
    if let Some(why) = release::downgrade(seen) {
        return Next::Wait(Reason::Downgrade, why);
    }
    if let Some(step) = replace_stopped(seen) {
        return Next::Replace(step);
    }
    if let Some(why) = release::older_than_main(seen, main) {
        return Next::Wait(Reason::Downgrade, why);
    }
    let wait = |why: String| Next::Wait(Reason::Updating, why);
    // Which replica follows is not to be known, and MAIN's pod has the only copy of what is written.
    if let Some(why) = switchover::replicates_nothing(main) {
        return wait(why);
    }
    let short = shortage(members);
    if let Some(unwell) = seen.instances.iter().find(|i| !is_well(members, i)) {
        // The update may be what it needs. Nothing relies on it.
        let may_go = is_due(unwell) && !ledger.relies_on(&unwell.name);
        return match replace(unwell).filter(|_| may_go && short.is_none()) {
            Some(step) => Next::Replace(step),
            None => wait(format!("waiting for {}", unwell.name)),
        };
    }
    if let Some(why) = short {
        return wait(why);
    }
    if let Some(broken) = broken_by_the_change(seen) {
        return wait(format!(
            "waiting for the containers beside Memgraph in the pod of {}",
            broken.name
        ));
    }
    let replica = members
        .others()
        .filter(|i| is_due(i))
        .max_by_key(|i| (members.member(i).is_none(), i.ordinal));
    if let Some(replica) = replica {
        // Only one that follows takes its place before it ends, or one that would if clients were held for a moment.
        let catches_up = |i: &&Instance| {
            let registration = members.registration_of(i);
            i.name != replica.name && !registration.is_some_and(|r| r.follows() || r.is_outpaced())
        };
        if members.member(replica).is_some()
            && let Some(other) = members.others().find(catches_up)
        {
            return wait(format!("waiting for {}", other.name));
        }
        return replace(replica).map_or(Next::Done, Next::Replace);
    }
    // If it may not be MAIN any more, it goes when it can. Whoever deleted its pod could have it replaced by nobody.
    if !seen.electable(main) {
        let why = switchover::away(members, false).err();
        return wait(why.map_or("only MAIN is left".to_owned(), |why| {
            format!("only MAIN is left: {why}")
        }));
    }
    let in_pods = seen.settings.data_in_pods;
    let by_hand = if in_pods {
        "ask for a switchover".to_owned()
    } else {
        format!("ask for a switchover, or delete the pod of {}", main.name)
    };
    if seen.settings.main_update == MainUpdate::Supervised {
        let why = format!("only MAIN is left, and updateStrategy.mainUpdate is Supervised: {by_hand}");
        return Next::Wait(Reason::WaitingForSwitchover, why);
    }
    if members.others().next().is_none() && !in_pods {
        return replace(main).map_or(Next::Done, Next::Replace);
    }
    if brake::lately(seen, ledger) >= MOVES {
        return wait("only MAIN is left; it has changed twice in ten minutes, and is moved later".to_owned());
    }
    match switchover::anywhere(members) {
        Standing::Possible(target) => Next::MoveMain(target),
        Standing::Waiting(why) => wait(format!("only MAIN is left: {why}")),
        Standing::Refused(why) | Standing::Done(why) if in_pods => {
            let why =
                format!("only MAIN is left, and it cannot move before its data goes with its pod: {why}");
            Next::Wait(Reason::WaitingForSwitchover, why)
        }
        Standing::Refused(why) | Standing::Done(why) => {
            let why = format!(
                "only MAIN is left, and it cannot move, since {why}: delete the pod of {}",
                main.name
            );
            Next::Wait(Reason::WaitingForSwitchover, why)
        }
    }
}

/// An instance that has the change, and whose pod lacks a container that all those which do not have the change yet have: the others
/// are spared what it has brought. Memgraph itself is well.
fn broken_by_the_change(seen: &Observation) -> Option<&Instance> {
    // No change is under way that could have broken anything, and another pod may be what mends it.
    if seen.declared().all(Instance::is_current) {
        return None;
    }
    let incomplete = |changed: bool| {
        seen.declared()
            .filter(move |i| i.incomplete && i.is_current() == changed)
    };
    incomplete(true)
        .next()
        .filter(|_| incomplete(false).next().is_none())
}

/// Why nobody can be spared: too few replicas are in sync that may stay so.
fn shortage(members: &Members<'_>) -> Option<String> {
    let (seen, ledger) = (members.seen, members.ledger);
    let (live, wanted) = (members.live(&ledger.in_sync), seen.settings.sync_replicas);
    if live >= wanted {
        return None;
    }
    let others = members.others().filter(|i| seen.electable(i)).count();
    let left_out = fenced::left_out(seen, &members.main.name);
    let forbidden = if others < wanted && !left_out.is_empty() {
        format!(
            ", and no other may be while fencedInstances names {}",
            left_out.join(", ")
        )
    } else {
        String::new()
    };
    Some(format!(
        "waiting until as many replicas are in sync as replication.syncReplicas asks for: {live} of {wanted} are that may stay so{forbidden}"
    ))
}

/// Replaces the pod of an instance that does not run: with an earlier configuration, which may be the reason. It is in nobody's
/// present life; its volume stays, or nothing depends on that.
pub(super) fn replace_stopped(seen: &Observation) -> Option<Step> {
    let ledger = seen.ledger.as_ref();
    let stopped =
        |i: &&Instance| is_due(i) && i.container != Container::Running && is_expendable(seen, ledger, i);
    let step = seen.declared().find(stopped).and_then(replace)?;
    release::downgrade(seen).is_none().then_some(step)
}

fn is_due(instance: &Instance) -> bool {
    is_outdated(instance) && !instance.terminating
}

fn is_outdated(instance: &Instance) -> bool {
    instance.configuration == Configuration::Outdated || instance.restart_asked
}

fn replace(instance: &Instance) -> Option<Step> {
    Some(Step::Do(Action::DeletePod {
        instance: instance.name.clone(),
        pod_uid: instance.pod_uid.clone()?,
    }))
}

/// Whether it is as it should be: MAIN, or a replica that follows closely; and not about to go. MAIN's word alone says
/// nothing of a replica whose pod has just gone: it notices when it next sends something.
fn is_well(members: &Members<'_>, instance: &Instance) -> bool {
    // One that is slower than MAIN's writers is seen to follow once in a while, or never, which nothing waits for.
    let follows = |r: &Registration| r.keeps_up() && r.behind >= -NEAR;
    let in_place = instance.name == members.main.name
        || instance.is_replica() && members.registration_of(instance).is_some_and(follows);
    in_place && !instance.terminating && instance.ordinal < members.seen.settings.replicas
}
