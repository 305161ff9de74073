//! A planned change of MAIN: asked for by `spec.switchover`, once for each request id.
//!
//! The route is closed and the old MAIN fenced first, so that nothing is acknowledged any more; then a commit shows that
//! the chosen replica holds everything; only then the old MAIN steps down. Until that moment everything can be undone by
//! opening the route again. Both copies hold every acknowledged write throughout, and either may lead afterwards.

use std::time::Duration;

use super::{
    Action, Plan, Situation, Step, brake, fenced, loss,
    members::Members,
    observation::{
        DataStatus, Instance, NEAR, Observation, Registration, Role, StorageMode, SwitchoverRequest,
    },
    release,
    successor::Successor,
};
use crate::api::{
    SwitchoverState,
    ledger::{Ledger, Member, Operation, OperationKind, Route, SwitchoverRecord},
};

/// How long a MAIN whose pod is being deleted serves at most if it can move: its process must not be told to end while it has
/// clients, since it then cuts its replicas off first, and a commit that is being finished still answers its client
/// (`memgraph.cpp`, `communication/v2/session.hpp`). Well before the end of its `preStop` hook.
pub const LAST_CALL: Duration = Duration::from_secs(3);

/// What is said where a gateway that may hold a grant says nothing: a fence would wait for the grant to run out.
pub(super) const UNREACHED: &str = "not every gateway answers";

/// After what time the old MAIN goes on as MAIN if it could not step down. A commit that waits for a replica is not broken
/// off before: it may take longer.
const PATIENCE: Duration = Duration::from_secs(5);

/// What can be done about a request.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Standing<'a> {
    /// It can be begun, to this instance.
    Possible(&'a Instance),
    /// Not now, for this reason.
    Waiting(String),
    /// Never.
    Refused(String),
    /// There is nothing to do.
    Done(String),
}

/// The request that has not been dealt with, or that is to be carried out once more.
pub(super) fn pending<'a>(seen: &'a Observation, ledger: &Ledger) -> Option<&'a SwitchoverRequest> {
    let request = seen.settings.switchover.as_ref()?;
    let dealt_with = ledger
        .switchover
        .as_ref()
        .is_some_and(|record| record.request_id == request.id && !is_tried_again(record));
    (!dealt_with).then_some(request)
}

/// Whether a request that has failed is carried out once more.
///
/// A replica that has restarted in MAIN's epoch, and is promoted, takes the old MAIN for one that has branched off
/// ([`refused`](super::refused)), which leads again then. That begins an epoch, and the second attempt passes. No safeguard is left
/// out: it is a planned change like any other.
pub fn is_tried_again(record: &SwitchoverRecord) -> bool {
    record.state == SwitchoverState::Failed && record.handed_back_to.is_some()
}

/// A record of what has become of a request.
pub(super) fn record(
    request: &SwitchoverRequest,
    state: SwitchoverState,
    message: String,
) -> SwitchoverRecord {
    SwitchoverRecord {
        request_id: request.id.clone(),
        target: request.target.clone(),
        state,
        message,
        handed_back_to: None,
        finished_at: String::new(),
    }
}

/// A record of a request that is being carried out, for the first time or once more.
pub(super) fn begun(ledger: &Ledger, request: &SwitchoverRequest, target: &str) -> SwitchoverRecord {
    let before = ledger.switchover.as_ref();
    let handed_back_to = before
        .filter(|record| record.request_id == request.id)
        .and_then(|record| record.handed_back_to.clone());
    SwitchoverRecord {
        target: Some(target.to_owned()),
        handed_back_to,
        ..record(request, SwitchoverState::Running, String::new())
    }
}

/// What can be done about `request` while MAIN serves.
pub(super) fn consider<'a>(members: &Members<'a>, request: &SwitchoverRequest) -> Standing<'a> {
    let seen = members.seen;
    if let Some(why) = held_up(members) {
        return Standing::Waiting(why);
    }
    let Some(name) = &request.target else {
        return anywhere(members);
    };
    if *name == members.main.name {
        return Standing::Done(format!("{name} is MAIN already"));
    }
    match seen.instance(name).filter(|i| seen.electable(i)) {
        None => Standing::Refused(format!(
            "{name} may not be MAIN: see spec.replicas, spec.replication.electableInstances and spec.fencedInstances"
        )),
        Some(instance) => match (dead_end(members, instance), unfit(members, instance)) {
            (Some(why), _) => Standing::Refused(why),
            (None, Some(why)) => Standing::Waiting(why),
            (None, None) => Standing::Possible(instance),
        },
    }
}

/// Where MAIN could move to.
pub(super) fn anywhere<'a>(members: &Members<'a>) -> Standing<'a> {
    let seen = members.seen;
    if let Some(why) = held_up(members) {
        return Standing::Waiting(why);
    }
    let mut able: Vec<_> = members.others().filter(|i| seen.electable(i)).collect();
    let dead_ends: Option<Vec<_>> = able.iter().map(|i| dead_end(members, i)).collect();
    if let Some(all) = dead_ends {
        let why = all.into_iter().next();
        return Standing::Refused(why.unwrap_or_else(|| "no other instance may be MAIN".to_owned()));
    }
    able.retain(|i| dead_end(members, i).is_none() && unfit(members, i).is_none());
    able.sort_by_key(|i| {
        (
            members.member(i).is_none(),
            !seen.settings.prefers(&i.name),
            i.ordinal,
        )
    });
    match able.first() {
        Some(instance) => Standing::Possible(instance),
        None => Standing::Waiting("no replica follows MAIN closely enough".to_owned()),
    }
}

/// Where MAIN is to go that may not stay, or why it does not now. `spared`: it goes however often it has moved lately.
pub(super) fn away<'a>(members: &Members<'a>, spared: bool) -> Result<&'a Instance, String> {
    match anywhere(members) {
        Standing::Possible(target) if spared || brake::pause(members.seen, members.ledger).is_zero() => {
            Ok(target)
        }
        Standing::Possible(_) => Err("MAIN was moved several times in a few minutes".to_owned()),
        Standing::Waiting(why) | Standing::Refused(why) | Standing::Done(why) => Err(why),
    }
}

/// Why the route could never be opened to this instance. It is closed for none, unless MAIN ends in any case.
fn dead_end(members: &Members<'_>, target: &Instance) -> Option<String> {
    let ends = members.main.terminating && members.main.terminating_for >= LAST_CALL;
    fenced::shuts_out(members.seen, &target.name).filter(|_| !ends)
}

/// Whether MAIN, whose pod is being deleted, is to move now if it can: enough replicas stay to open the route to one of them. Where
/// they do not, the route has to wait for its next life all the same, and it serves for a while more, but not to its end.
pub(super) fn is_time_to_go(members: &Members<'_>) -> bool {
    let seen = members.seen;
    let keeps_up = |i: &&Instance| members.registration_of(i).is_some_and(Registration::keeps_up);
    let staying = members.others().filter(|i| seen.stays(i)).filter(keeps_up);
    staying.count() > seen.settings.required_members() || members.main.terminating_for >= LAST_CALL
}

/// Why MAIN cannot move now, wherever it would. One whose pod ends does not wait for a gateway that says nothing.
fn held_up(members: &Members<'_>) -> Option<String> {
    let unreached = members.seen.misses_a_gateway && !members.main.terminating;
    replicates_nothing(members.main)
        .or_else(|| unreached.then(|| UNREACHED.to_owned()))
        .or_else(|| cannot_prove(members))
        .or_else(|| cannot_step_down(members))
}

/// Why nothing could prove that a replica holds what MAIN does, as long as a client does not change that: MAIN says nothing of its
/// replicas, and a commit asks none of them for its vote.
pub(super) fn replicates_nothing(main: &Instance) -> Option<String> {
    let mode = main.unreplicated()?;
    if mode == StorageMode::Untold {
        return Some(format!(
            "{} says nothing of its replicas, and did not tell its storage mode in time: it may be one in which nothing is replicated. {}",
            main.name,
            mode.remedy()
        ));
    }
    Some(format!(
        "{} is in the storage mode {}, in which nothing is replicated: {}",
        main.name,
        mode.as_str(),
        mode.remedy()
    ))
}

/// Why no commit could prove now that a replica holds everything.
fn cannot_prove(members: &Members<'_>) -> Option<String> {
    let away = members.all().iter().any(|r| r.is_sync() && !r.follows());
    away.then(|| "a sync replica is away, so that MAIN cannot commit".to_owned())
}

/// Why MAIN would not step down soon: before 3.12 it waits, with a lock that all looks at it need, for the end of what it sends to a replica
/// (`ReplicationClient::Shutdown`), and steps down then although nobody waits for it any more.
fn cannot_step_down(members: &Members<'_>) -> Option<String> {
    let version = &members.main.view()?.version;
    let is_filled = |r: &&Registration| r.status == Some(DataStatus::Recovery);
    let filled = members.all().iter().find(is_filled);
    let filled = filled.filter(|_| !release::aborts_what_it_sends(version))?;
    Some(format!(
        "MAIN sends data to {}, and Memgraph {version} cannot step down before the end of that",
        filled.name
    ))
}

/// Why MAIN cannot move to this replica now.
fn unfit(members: &Members<'_>, instance: &Instance) -> Option<String> {
    let name = &instance.name;
    let registration = members.registration_of(instance);
    if !(instance.is_replica() && instance.carries(members.ledger)) {
        Some(format!("{name} is not known to be a copy of MAIN"))
    } else if instance.terminating {
        Some(format!("the pod of {name} is being deleted"))
    } else if !registration.is_some_and(|r| r.is_outpaced() || r.follows() && r.behind >= -NEAR) {
        Some(format!("{name} does not follow MAIN closely enough"))
    } else {
        None
    }
}

/// What MAIN is moved for.
pub(super) enum Purpose<'a> {
    /// Somebody has asked for it.
    Asked(&'a SwitchoverRequest),
    /// It is where it may not be any more, or not for long, for this reason.
    Unfit(&'a str),
}

/// Closes the route for a change to `target`.
pub(super) fn begin(
    members: &Members<'_>,
    purpose: &Purpose<'_>,
    target: &Instance,
    candidates: Vec<Member>,
) -> Plan {
    let (seen, before) = (members.seen, members.ledger);
    let main = &members.main.name;
    let (cause, switchover, changes) = match purpose {
        Purpose::Asked(request) => {
            let begun = begun(before, request, &target.name);
            let cause = format!("request {}", request.id);
            (cause, Some(begun), before.changes.clone())
        }
        // Counted, so that one that comes to nothing is not begun again and again.
        Purpose::Unfit(cause) => {
            let changes = brake::with_change(seen, before, before.term + 1, false);
            ((*cause).to_owned(), before.switchover.clone(), changes)
        }
    };
    let mut next = Ledger {
        term: before.term + 1,
        main_address: String::new(),
        route: Route::Closed,
        candidates,
        operation: Some(Operation {
            kind: OperationKind::Switchover,
            target: target.name.clone(),
            from: Some(main.clone()),
            started_at: String::new(),
            cause,
            lossy: false,
            reversed: false,
            election: None,
            proven: false,
        }),
        switchover,
        changes,
        ..before.clone()
    };
    let mut numbers = seen.numbers;
    numbers.ensure(&mut next);
    let fence = Step::Do(Action::Fence { term: next.term });
    // Clients are not cut off for something that cannot be done. Those of a MAIN that ends are in any case, and what it acknowledges in its
    // last moments is not for them.
    let reach = (!members.main.terminating).then_some(Step::Do(Action::ReachGateways));
    Plan {
        steps: reach.into_iter().chain([Step::write(next), fence]).collect(),
        situation: working(format!("moving MAIN from {main} to {}", target.name)),
        numbers,
    }
}

fn working(message: String) -> Situation {
    Situation::Working(OperationKind::Switchover, message)
}

/// Where MAIN is to move, while it has not moved yet.
fn under_way(ledger: &Ledger) -> Option<&Operation> {
    ledger
        .operation
        .as_ref()
        .filter(|o| o.kind == OperationKind::Switchover && o.target != ledger.main.instance)
}

/// Goes on with an announced change while the old MAIN is the ledger's: makes sure that the target holds everything,
/// has the old MAIN step down, and names the new one. None where it is not for this to decide: MAIN is lost, or there is
/// no such change.
pub(super) fn go_on(seen: &Observation, ledger: &Ledger) -> Option<Plan> {
    let operation = under_way(ledger)?;
    let main = seen
        .instance(&ledger.main.instance)
        .filter(|main| main.incarnation.as_ref() == Some(&ledger.main.incarnation))?;
    let target = seen.instance(&operation.target);
    match main.role()? {
        Role::Main => {
            let members = Members::of(seen, ledger)?;
            if members.impostors().next().is_some() {
                return None;
            }
            Some(prove(&members, target))
        }
        // It has stepped down, by our word or by somebody else's.
        Role::Replica => {
            let member = ledger
                .candidates
                .iter()
                .filter(|m| operation.proven || m.outlives_its_process())
                .find(|m| m.instance == operation.target)?;
            let target = target
                .filter(|i| i.is(member) && i.is_replica() && i.carries(ledger))
                .filter(|i| !seen.settings.is_fenced(&i.name))?;
            let to = Successor {
                copy: target.copy()?,
                kind: OperationKind::Switchover,
                lossy: false,
            };
            let why = format!("promoting {}", target.name);
            Some(loss::hand_over(seen, ledger, to, &why))
        }
    }
}

/// Makes sure that the target holds everything that MAIN does, and has MAIN step down; or gives up.
fn prove(members: &Members<'_>, target: Option<&Instance>) -> Plan {
    let (seen, ledger) = (members.seen, members.ledger);
    if let Some(why) = replicates_nothing(members.main) {
        return give_up(members, &why);
    }
    let found = target.and_then(|target| Some((target, members.registration_of(target)?)));
    let Some((target, registration)) = found else {
        return give_up(members, "its registration on MAIN is gone");
    };
    if seen.closed_for > PATIENCE {
        let why = cannot_step_down(members).unwrap_or_else(|| {
            "within 5 s, transactions did not end on MAIN, or it did not get everything from there".to_owned()
        });
        return give_up(members, &why);
    }
    if let Some(why) = dead_end(members, target) {
        return give_up(members, &why);
    }
    let Some(member) = members.as_member(target, registration) else {
        return give_up(members, "it is no copy any more that may be MAIN");
    };
    // A sync replica that has come back at another address can give no vote by its old registration, and nobody is
    // acknowledged anything for which it would be needed.
    let astray = members
        .all()
        .iter()
        .filter(|r| r.is_sync() && members.instance_of(r).is_none());
    let drops: Vec<_> = astray.map(|r| members.drop(r)).collect();
    if !drops.is_empty() {
        let fence = Step::Do(Action::Fence { term: ledger.term });
        let message = format!("{} is to move to {}", members.main.name, target.name);
        return Plan::with(seen, working(message), [fence].into_iter().chain(drops));
    }
    // It may have begun to since the route was closed.
    if let Some(why) = cannot_step_down(members) {
        return Plan::with(seen, working(why), None);
    }
    let main = members.main.name.clone();
    let mut steps = vec![
        Step::Do(Action::Fence { term: ledger.term }),
        Step::Do(Action::Quiesce { main }),
        members.probe_commit(),
        members.confirm(vec![registration.name.clone()]),
    ];
    // A strict replica that MAIN waits for holds everything without a proof, and so do the others of its kind.
    let proven = ledger.operation.as_ref().is_some_and(|o| o.proven);
    let mut candidates = ledger.candidates.clone();
    if !candidates
        .iter()
        .any(|m| target.is(m) && (m.outlives_its_process() || proven))
    {
        candidates.retain(|m| m.outlives_its_process() && m.instance != target.name);
        candidates.push(member);
        steps.push(Step::write(Ledger {
            candidates,
            operation: ledger.operation.clone().map(|operation| Operation {
                proven: true,
                ..operation
            }),
            ..ledger.clone()
        }));
    }
    steps.push(Step::Do(Action::StepDown {
        instance: members.main.name.clone(),
    }));
    let message = format!("{} is to step down for {}", members.main.name, target.name);
    Plan::with(seen, working(message), steps)
}

/// Leaves MAIN where it is; what follows is the way back to an open route.
fn give_up(members: &Members<'_>, why: &str) -> Plan {
    let (seen, ledger) = (members.seen, members.ledger);
    let operation = ledger.operation.clone().map(|operation| Operation {
        kind: OperationKind::Repair,
        target: ledger.main.instance.clone(),
        proven: false,
        ..operation
    });
    let from = ledger
        .operation
        .as_ref()
        .map_or("the target", |o| o.target.as_str());
    let message = format!("{} stays MAIN instead of {from}: {why}", ledger.main.instance);
    let next = Ledger {
        operation,
        switchover: ledger.switchover.clone().map(|record| {
            // One that is over already belongs to an earlier change.
            let running = record.state == SwitchoverState::Running;
            let failed = SwitchoverRecord {
                state: SwitchoverState::Failed,
                message: message.clone(),
                handed_back_to: None,
                ..record.clone()
            };
            if running { failed } else { record }
        }),
        ..ledger.clone()
    };
    Plan::with(seen, working(message), [Step::write(next)])
}

/// What the ledger says of the request once the route is opened to `main`.
pub(super) fn concluded(ledger: &Ledger) -> Option<SwitchoverRecord> {
    let record = ledger.switchover.clone()?;
    let main = &ledger.main.instance;
    if record.state != SwitchoverState::Running {
        // Where another one leads by now, there is nothing left to try again.
        let handed_back_to = record.handed_back_to.clone().filter(|old| old == main);
        return Some(SwitchoverRecord {
            handed_back_to,
            ..record
        });
    }
    let (state, message, handed_back_to) = if record.target.as_ref() == Some(main) {
        (SwitchoverState::Succeeded, format!("{main} is MAIN"), None)
    } else {
        let refused = ledger.operation.as_ref().is_some_and(|o| o.reversed);
        let first = record.handed_back_to.is_none();
        let message = format!("something failed meanwhile; {main} is MAIN");
        let old = (refused && first).then(|| main.clone());
        (SwitchoverState::Failed, message, old)
    };
    Some(SwitchoverRecord {
        state,
        message,
        handed_back_to,
        ..record
    })
}
