//! Copies that were in sync and that MAIN refuses: before the route opens it is settled which of the two holds everything.
//!
//! A copy is *known* to hold everything while it is in a life in which MAIN listed it as in sync while clients were let in. One
//! that has restarted since is taken to hold everything on the word of its volume, which may have been put back to an older
//! state in place.
//!
//! That MAIN refuses a copy does not say that the copy holds more. MAIN refuses whoever has come further in an epoch than MAIN's own
//! history says of that epoch, and takes the first entry that it finds (`storage/v2/replication/replication_client.cpp`).
//! One that has restarted as a replica has made an entry then (`RecoverData` in `storage/v2/durability/durability.cpp`),
//! and makes another one of the same epoch when it is promoted: it refuses copies that hold less than itself.

use super::{
    Plan, Situation, Step, loss,
    members::Members,
    observation::Instance,
    successor::{self, Successor},
};
use crate::api::{
    conditions::Reason,
    ledger::{DataCopy, Ledger, Member, Operation, OperationKind},
};

/// Whether `copy` is in the life in which it was in sync when the route was closed.
pub(super) fn is_known(ledger: &Ledger, copy: &DataCopy) -> bool {
    ledger.in_sync.iter().any(|member| member.copy() == *copy)
}

/// Whether MAIN is known to hold everything: it was in sync in this very life, or it served when the route was closed and has not
/// been replaced, or it was proven to hold everything before it was promoted.
pub(super) fn main_is_known(ledger: &Ledger) -> bool {
    let proven = ledger
        .operation
        .as_ref()
        .is_some_and(|o| matches!(o.kind, OperationKind::Repair | OperationKind::Switchover));
    proven || is_known(ledger, &ledger.main)
}

/// Hands over to a candidate that MAIN refuses, or strikes it off.
///
/// The former MAIN, when it was lost between its own commit and the second phase, holds one write more than the copy that was
/// promoted. It was acknowledged to nobody, and MAIN has as a rule committed nothing yet, so that either may lead and follow the other. So
/// the one that is refused leads, once before the route opens: it never goes back and forth. If it refuses the other one in
/// turn, each of them has something that the other lacks. One that is known to hold everything leads then, and what the other one
/// has besides was acknowledged to nobody; where neither is known to, a human is asked.
///
/// A candidate that is refused in the end, or that is fenced, is none any more.
pub(super) fn settle(members: &Members<'_>, kind: OperationKind) -> Option<Plan> {
    let (seen, ledger) = (members.seen, members.ledger);
    let operation = ledger.operation.as_ref()?;
    let refused = |instance: &&Instance| {
        let member = ledger.candidates.iter().find(|m| m.instance == instance.name);
        refused_copy(members, instance)
            && member.is_some_and(|member| successor::is_candidate(instance, member))
    };
    let known = |instance: &Instance| instance.copy().is_some_and(|copy| is_known(ledger, &copy));
    let instance = members
        .others()
        .filter(refused)
        .max_by_key(|instance| known(instance))?;
    let main = &members.main.name;
    let name = &instance.name;
    let why = format!("{name} holds writes that {main} does not");
    let main_is_known = main_is_known(ledger);
    let outranks = known(instance) && !main_is_known;
    let fenced = seen.settings.is_fenced(name);
    if outranks && fenced {
        let text = format!("{why}, but is fenced: take it out of fencedInstances to have it promoted");
        return Some(Plan::new(seen, Situation::Stalled(Reason::FencedInstance, text)));
    }
    if !outranks && (operation.reversed || fenced) {
        if operation.lossy {
            return None;
        }
        if !main_is_known {
            return Some(leave_to_a_human(members, kind, instance));
        }
        return Some(strike_off(members, instance, Situation::Working(kind, why)));
    }
    let next = Ledger {
        operation: Some(Operation {
            reversed: true,
            // It has been shown to lack something, and is not promoted again for want of a better one.
            lossy: operation.lossy || outranks,
            ..operation.clone()
        }),
        ..ledger.clone()
    };
    let to = Successor {
        copy: instance.copy()?,
        kind: OperationKind::Failover,
        lossy: false,
    };
    Some(loss::hand_over(seen, &next, to, &why))
}

/// Strikes a member off that MAIN refuses and that was none any more when the route was closed: MAIN, which is known to hold
/// everything, did not wait for it.
pub(super) fn let_go(members: &Members<'_>, kind: OperationKind) -> Option<Plan> {
    let ledger = members.ledger;
    let named = |set: &[Member], instance: &Instance| set.iter().any(|m| m.instance == instance.name);
    let instance = members
        .others()
        .filter(|i| named(&ledger.in_sync, i) && !named(&ledger.candidates, i))
        .find(|i| refused_copy(members, i))
        .filter(|_| main_is_known(ledger))?;
    let text = format!("{} has branched off from {}", instance.name, members.main.name);
    Some(strike_off(members, instance, Situation::Working(kind, text)))
}

/// A copy that was in sync, has restarted since, and holds writes that MAIN does not. One of the two was put back to an older
/// state in place: what MAIN holds, a replica has prepared, and what a replica has committed, MAIN had. Nobody can tell which, so
/// that a human is asked.
pub(super) fn ask(members: &Members<'_>, kind: OperationKind) -> Option<Plan> {
    let has_restarted = |i: &&Instance| {
        let candidate = members.ledger.candidates.iter().find(|m| m.instance == i.name);
        candidate.is_some_and(|member| !successor::is_candidate(i, member))
    };
    let instance = members
        .others()
        .filter(has_restarted)
        .find(|i| refused_copy(members, i))?;
    Some(leave_to_a_human(members, kind, instance))
}

/// A copy that was in sync, is away, and may soon show that MAIN is the older one: until then nobody's data is set aside
/// because MAIN lacks something of it. None where MAIN is known to hold everything.
pub(super) fn awaited<'a>(members: &Members<'a>) -> Option<&'a Instance> {
    let (seen, ledger) = (members.seen, members.ledger);
    let away = |instance: &&Instance| {
        let was_in_sync = ledger.candidates.iter().any(|m| m.instance == instance.name);
        was_in_sync && instance.view().is_none() && instance.away_for < seen.settings.hang_timeout
    };
    members.others().find(away).filter(|_| !main_is_known(ledger))
}

fn refused_copy(members: &Members<'_>, instance: &Instance) -> bool {
    instance.refused && instance.is_replica() && instance.carries(members.ledger)
}

/// To have that copy's data set aside is to decide for MAIN's.
fn leave_to_a_human(members: &Members<'_>, kind: OperationKind, instance: &Instance) -> Plan {
    let (name, main) = (&instance.name, &members.main.name);
    if instance.reset_asked {
        let text = format!("{name} is to follow {main} without its data");
        return strike_off(members, instance, Situation::Working(kind, text));
    }
    let other_way = if members.seen.settings.data_in_pods {
        format!(
            "to go on with that of {name}, delete the pod of {main}, and its data with it (storage.emptyDir)"
        )
    } else {
        format!(
            "to go on with that of {name}, delete the MemgraphCluster, which keeps the volumes unless \
             storage.retentionPolicy.whenDeleted is Delete (set it to Retain before), and make it again"
        )
    };
    let text = format!(
        "{name} was in sync, has restarted since, and holds writes that {main} does not: one of the two was put back to an \
         older state. To go on with the data of {main}, annotate the pod of {name} with memgraph.dev/reset=yes; {other_way}"
    );
    Plan::new(members.seen, Situation::Stalled(Reason::DivergedInstance, text))
}

/// Takes a copy off the candidates, and off the set of the last term, of which nobody is promoted any more: as long as it is named
/// there, its data is not set aside.
fn strike_off(members: &Members<'_>, instance: &Instance, situation: Situation) -> Plan {
    let mut next = members.ledger.clone();
    for members in [&mut next.candidates, &mut next.in_sync] {
        members.retain(|m| m.instance != instance.name);
    }
    Plan::with(members.seen, situation, [Step::write(next)])
}
