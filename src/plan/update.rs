//! Which instance is to get the configuration that the spec asks for by now: one after the other, MAIN's last.

use super::{
    Action, Step,
    members::Members,
    observation::{Container, Instance, Registration},
    release,
    switchover::NEAR,
};
use crate::api::{MainUpdate, conditions::Reason};

/// What is to be done about instances that were started with an earlier configuration.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Next {
    /// There are none.
    Done,
    /// This pod is replaced.
    Replace(Step),
    /// MAIN moves away from its instance.
    MoveMain,
    /// Nothing now, for this reason.
    Wait(Reason, String),
}

/// The next thing to do. Whether enough in-sync replicas are there is not asked here.
///
/// No acknowledged write depends on the pod that goes: MAIN serves, and all the others follow it. A strict replica leaves as
/// any other whose pod is deleted: another one takes its place before it ends, or MAIN waits for it.
pub(super) fn next(members: &Members<'_>) -> Next {
    let outdated = |i: &&Instance| i.outdated && !i.terminating;
    let seen = members.seen;
    if !seen.declared().any(|i| i.outdated) {
        return Next::Done;
    }
    if let Some(why) = release::downgrade(seen, members.main) {
        return Next::Wait(Reason::Downgrade, why);
    }
    // What does not run, because its configuration is a bad one, need not be waited for.
    if let Some(step) = members
        .others()
        .filter(outdated)
        .find(|i| !runs(i))
        .and_then(replace)
    {
        return Next::Replace(step);
    }
    if let Some(unwell) = seen.instances.iter().find(|i| !is_well(members, i)) {
        return Next::Wait(Reason::Updating, format!("waiting for {}", unwell.name));
    }
    let replica = members
        .others()
        .filter(outdated)
        .max_by_key(|i| (members.member(i).is_none(), i.ordinal));
    if let Some(replica) = replica {
        return replace(replica).map_or(Next::Done, Next::Replace);
    }
    let main = members.main;
    match seen.settings.main_update {
        MainUpdate::Supervised => Next::Wait(
            Reason::WaitingForSwitchover,
            format!(
                "only MAIN is left, and updateStrategy.mainUpdate is Supervised: ask for a switchover, or delete the pod \
                 of {}",
                main.name
            ),
        ),
        MainUpdate::Automatic if members.others().next().is_none() => {
            replace(main).map_or(Next::Done, Next::Replace)
        }
        MainUpdate::Automatic => Next::MoveMain,
    }
}

fn replace(instance: &Instance) -> Option<Step> {
    Some(Step::Do(Action::DeletePod {
        instance: instance.name.clone(),
        pod_uid: instance.pod_uid.clone()?,
    }))
}

/// Whether its process is there, or about to be without anything being wrong.
fn runs(instance: &Instance) -> bool {
    instance.container == Container::Running
}

/// Whether it is as it should be: MAIN, or a replica that follows closely; and not about to go. MAIN's word alone says
/// nothing of a replica whose pod has just gone: it notices when it next sends something.
fn is_well(members: &Members<'_>, instance: &Instance) -> bool {
    let follows = |r: &Registration| r.follows() && r.behind >= -NEAR;
    let in_place = instance.name == members.main.name
        || instance.is_replica() && members.registration_of(instance).is_some_and(follows);
    in_place && !instance.terminating && instance.ordinal < members.seen.settings.replicas
}
