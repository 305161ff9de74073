//! What to do while the route is closed: bring the ledger's MAIN to the point where it may be opened.
//!
//! While Closed no client gets an acknowledgement, so nothing that is done here can lose one: a registration
//! may be missing for a moment, and a copy that held every acknowledged write when the route was closed still
//! does. The route opens by one write that names exactly the copies which then hold everything.

use std::time::Duration;

use super::{
    Action, Plan, Situation, Step, loss,
    members::{self, Members},
    observation::{Instance, Observation, Registration, Role},
    reset, switchover,
};
use crate::api::{
    RegistrationMode,
    ledger::{Election, Ledger, Member, Operation, OperationKind, Route},
};

pub(super) fn plan(seen: &Observation, ledger: &Ledger) -> Plan {
    let kind = ledger
        .operation
        .as_ref()
        .map_or(OperationKind::Failover, |o| o.kind);
    let working = |message: String| Situation::Working(kind, message);
    if let Some(plan) = switchover::go_on(seen, ledger) {
        return plan;
    }
    if let Some(plan) = loss::turn_back(seen, ledger) {
        return fenced(ledger, plan);
    }
    let main = seen.instance(&ledger.main.instance);

    if let Some(main) = main.filter(|m| m.incarnation.as_ref() == Some(&ledger.main.incarnation)) {
        let named = &ledger.main;
        match main.role() {
            // Announced, and not yet done.
            Some(Role::Replica) if !seen.settings.is_fenced(&main.name) => {
                let promote = Step::Do(Action::Promote {
                    instance: named.instance.clone(),
                    incarnation: named.incarnation.clone(),
                });
                let working = working(format!("promoting {}", main.name));
                return fenced(ledger, Plan::with(seen, working, [promote]));
            }
            Some(Role::Main) => {
                if let Some(members) = Members::of(seen, ledger) {
                    return fenced(ledger, prepare(&members, kind));
                }
            }
            Some(Role::Replica) | None => {}
        }
    }
    let fate = loss::fate(seen, ledger);
    loss::react(seen, ledger, &fate)
        .unwrap_or_else(|| Plan::new(seen, working(format!("waiting for {}", ledger.main.instance))))
}

/// Whether this is a cluster's first set-up: no client was ever let in, so there is nobody to cut.
fn is_new(ledger: &Ledger) -> bool {
    ledger
        .operation
        .as_ref()
        .is_some_and(|o| o.kind == OperationKind::Bootstrap && o.from.is_none())
        && ledger.marker_term == 0
}

/// The plan, with a fence before whatever it does to an instance: this leader may not be the one that closed
/// the route, and cannot know how far that one came. A fence that stands costs a few milliseconds.
fn fenced(ledger: &Ledger, mut plan: Plan) -> Plan {
    let has_one = plan
        .steps
        .iter()
        .any(|step| matches!(step, Step::Do(Action::Fence { .. })));
    let first = plan.steps.iter().position(|step| matches!(step, Step::Do(_)));
    if let Some(first) = first.filter(|_| !has_one && !is_new(ledger) && !leaves_all(ledger, &plan)) {
        plan.steps
            .insert(first, Step::Do(Action::Fence { term: ledger.term }));
    }
    plan
}

/// Whether MAIN stays who it was, and the plan changes neither a role nor a registration: then a client that has not been
/// cut off does no harm, and a gateway that cannot be asked must not keep the route from being opened again.
fn leaves_all(ledger: &Ledger, plan: &Plan) -> bool {
    let stays = ledger
        .operation
        .as_ref()
        .is_some_and(|o| o.kind == OperationKind::Repair);
    let harmless = |step: &Step| {
        matches!(
            step,
            Step::Write(_)
                | Step::Do(Action::ProbeCommit { .. } | Action::Mark { .. } | Action::Confirm { .. })
        )
    };
    stays && plan.steps.iter().all(harmless)
}

/// MAIN is MAIN: register what is needed, make its epoch durable, mark it, open.
fn prepare(members: &Members<'_>, kind: OperationKind) -> Plan {
    let seen = members.seen;
    let ledger = members.ledger;
    let working = |message: &str| Situation::Working(kind, message.to_owned());

    let demote: Vec<_> = members.impostors().map(Members::demote).collect();
    if !demote.is_empty() {
        return Plan::with(
            seen,
            working("demoting instances that are MAIN without our word"),
            demote,
        );
    }

    let chosen = choose(members);
    let wrong: Vec<_> = members
        .all()
        .iter()
        .filter(|r| !fits(members, r, &chosen))
        .collect();
    let missing: Vec<_> = chosen
        .iter()
        .filter(|i| members.registration_of(i).is_none_or(|r| wrong.contains(&r)))
        .collect();
    if !(wrong.is_empty() && missing.is_empty()) {
        let mut numbers = seen.numbers;
        let mut reserved = ledger.clone();
        let mut steps: Vec<_> = wrong.iter().map(|r| members.drop(r)).collect();
        for instance in missing {
            steps.push(members.register(instance, seen.settings.sync_mode(), &mut numbers, &mut reserved));
        }
        let steps = members::after_reserving(ledger, reserved, steps);
        return Plan {
            steps,
            situation: working("registering replicas"),
            numbers,
        };
    }

    if let Some(plan) = elect(members, kind, &chosen) {
        return plan;
    }
    let synced: Vec<_> = members
        .all()
        .iter()
        .filter(|r| r.is_sync() && r.in_sync())
        .collect();
    if let Some(plan) = settle_refused(members, kind).filter(|_| chosen.is_empty()) {
        return plan;
    }
    let marked = members
        .main
        .marker()
        .is_some_and(|m| m.lineage == ledger.lineage && m.term == ledger.term);
    if chosen.is_empty()
        && synced.len() < seen.settings.required_members()
        && let Some(plan) = rebuild(members, kind, marked)
    {
        return plan;
    }
    if synced.len() < chosen.len() || synced.len() < seen.settings.required_members() {
        return Plan::new(seen, working("waiting for a replica that holds everything"));
    }
    if !marked {
        return Plan::with(
            seen,
            working("making the new term durable"),
            make_durable(members),
        );
    }
    let in_sync: Vec<Member> = synced.iter().filter_map(|r| members.confirmed(r)).collect();
    // A member must show the marker of this very term: it has then voted for the commit that wrote it.
    let current = |member: &Member| {
        seen.instance(&member.instance)
            .and_then(Instance::marker)
            .is_some_and(|m| m.term == ledger.term)
    };
    if in_sync.len() < seen.settings.required_members() || !in_sync.iter().all(current) {
        if let Some(delete) = forget_undone_mark(members, &in_sync) {
            return Plan::with(seen, working("starting MAIN anew: its mark was undone"), [delete]);
        }
        return Plan::new(seen, working("waiting for a replica that shows the new term"));
    }
    let Some(address) = members.main.address else {
        return Plan::new(seen, working("waiting for MAIN's address"));
    };
    let open = Ledger {
        marker_term: ledger.term,
        main_address: address.to_string(),
        route: Route::Open,
        in_sync,
        candidates: Vec::new(),
        operation: None,
        switchover: switchover::concluded(ledger),
        ..ledger.clone()
    };
    Plan::with(seen, working("letting clients in"), [Step::write(open)])
}

/// The commit makes MAIN's new epoch durable, so that a replica which is ahead can be told from one that follows; the
/// marker then names the term.
fn make_durable(members: &Members<'_>) -> [Step; 2] {
    let mark = Action::Mark {
        main: members.main.name.clone(),
        lineage: members.ledger.lineage.clone(),
        term: members.ledger.term,
    };
    [members.probe_commit(), Step::Do(mark)]
}

/// For how long a replica that MAIN lists as in sync may show an older term than MAIN does: longer than any commit lasts
/// (memgraph-semantics E.4).
const MARK_PATIENCE: Duration = Duration::from_secs(40);

/// Has MAIN's pod replaced when it shows the new term's mark but a replica that holds everything does not. The commit was
/// undone by a replica, and Memgraph takes changes of enums back nowhere but in its log: MAIN says what is not in its data,
/// until it starts anew. To rename what it shows would be worse: no log and no replica knows that value, and the next start
/// from such a log fails.
///
/// Nothing was acknowledged since the route was closed, so that every candidate still holds everything, and so does MAIN's
/// volume.
fn forget_undone_mark(members: &Members<'_>, in_sync: &[Member]) -> Option<Step> {
    let (seen, ledger, main) = (members.seen, members.ledger, members.main);
    let undone = |member: &Member| {
        seen.instance(&member.instance)
            .and_then(Instance::marker)
            .is_some_and(|m| m.lineage == ledger.lineage && m.term < ledger.term)
    };
    let overdue = seen.closed_for >= MARK_PATIENCE && !main.terminating && in_sync.iter().any(undone);
    overdue.then_some(())?;
    Some(Step::Do(Action::DeletePod {
        instance: main.name.clone(),
        pod_uid: main.pod_uid.clone()?,
    }))
}

/// Nobody can be registered, but there is an instance that could be after its data was set aside: without that, a cluster
/// of two whose second copy has branched off would stay closed. The marker comes first: it makes MAIN's epoch durable, and
/// shows the instance's init container that MAIN is the one of this term.
fn rebuild(members: &Members<'_>, kind: OperationKind, marked: bool) -> Option<Plan> {
    let (seen, ledger) = (members.seen, members.ledger);
    let unasked = seen.settings.reset_diverged && !ledger.recovered;
    let possible = !ledger.resets.is_empty()
        || reset::diverged(members).any(|i| seen.electable(i) && (unasked || i.reset_asked));
    let lossy = ledger.operation.as_ref().is_some_and(|o| o.lossy);
    if !possible || lossy {
        return None;
    }
    let situation = Situation::Working(kind, "filling a replica anew that has branched off".to_owned());
    if !marked {
        return Some(Plan::with(seen, situation, make_durable(members)));
    }
    let (mut next, mut numbers) = (ledger.clone(), seen.numbers);
    let steps = reset::next(members, &mut next, &mut numbers)?;
    Some(Plan {
        steps: members::after_reserving(ledger, next, steps),
        situation,
        numbers,
    })
}

/// The instances to register as in-sync replicas: first those that will not need a full copy of the data (clients
/// would wait for it) and can be registered, then those that are registered so already, then those that were
/// candidates, then the others by ordinal. Without any, the route stays closed until one returns.
fn choose<'a>(members: &Members<'a>) -> Vec<&'a Instance> {
    let seen = members.seen;
    let rank = |instance: &Instance| {
        let registered = members
            .registration_of(instance)
            .is_some_and(Registration::is_sync);
        let candidate = members
            .ledger
            .candidates
            .iter()
            .any(|m| m.instance == instance.name);
        (
            !instance.carries(members.ledger),
            instance.unregistrable,
            !registered,
            !candidate,
            instance.ordinal,
        )
    };
    let mut able: Vec<_> = members
        .others()
        .filter(|i| seen.electable(i) && i.is_replica() && !i.refused && !is_given_up(members, i))
        .filter(|i| reset::order(members.ledger, i).is_none())
        .collect();
    able.sort_by_key(|i| rank(i));
    able.truncate(seen.settings.sync_replicas);
    able
}

/// Checks the choice of MAIN after a lost ledger, before MAIN has committed anything: every other instance is registered.
/// One that MAIN refuses holds writes that MAIN does not. Then MAIN, which has not committed, steps down again, and a human
/// must decide.
fn elect(members: &Members<'_>, kind: OperationKind, chosen: &[&Instance]) -> Option<Plan> {
    let (seen, ledger) = (members.seen, members.ledger);
    let operation = ledger.operation.as_ref()?;
    if operation.election != Some(Election::Open) {
        return None;
    }
    if let Some(refused) = members.others().find(|i| i.refused) {
        let text = format!(
            "{} holds writes that {} does not",
            refused.name, members.main.name
        );
        let next = Ledger {
            operation: Some(Operation {
                election: Some(Election::Refuted),
                cause: text.clone(),
                ..operation.clone()
            }),
            ..ledger.clone()
        };
        let steps = [Members::demote(members.main), Step::write(next)];
        return Some(Plan::with(seen, Situation::Working(kind, text), steps));
    }
    let (mut next, mut numbers) = (ledger.clone(), seen.numbers);
    let missing: Vec<_> = members
        .others()
        .filter(|i| members.registration_of(i).is_none())
        .collect();
    let mut steps = Vec::new();
    for instance in &missing {
        let mode = if chosen.iter().any(|c| c.name == instance.name) {
            seen.settings.sync_mode()
        } else {
            RegistrationMode::Async
        };
        steps.push(members.register(instance, mode, &mut numbers, &mut next));
    }
    if steps.is_empty() {
        // Nobody holds more.
        next.operation = Some(Operation {
            election: None,
            ..operation.clone()
        });
        steps.push(Step::write(next.clone()));
        return Some(Plan::with(
            seen,
            Situation::Working(kind, "MAIN is confirmed".to_owned()),
            steps,
        ));
    }
    Some(Plan {
        steps: members::after_reserving(ledger, next, steps),
        situation: Situation::Working(kind, "registering every instance before MAIN commits".to_owned()),
        numbers,
    })
}

/// Whether the route is to be opened without this replica: MAIN may go on alone, and it has had its time to catch up.
fn is_given_up(members: &Members<'_>, instance: &Instance) -> bool {
    let (seen, settings) = (members.seen, &members.seen.settings);
    let holds_all = members
        .registration_of(instance)
        .is_some_and(|r| r.is_sync() && r.in_sync());
    settings.unprotected && !holds_all && seen.closed_for >= settings.detection_timeout
}

/// Hands over to a candidate that is ahead of MAIN: the former MAIN, when it was lost between its own commit and
/// the second phase, holds one write more than the copy that was promoted. It was acknowledged to nobody, and MAIN
/// has committed nothing yet, so that either may lead and follow the other. This is done once before the route opens
/// again: it never goes back and forth.
///
/// A candidate that MAIN still refuses, or refuses because MAIN has committed meanwhile, or that is fenced, is none any
/// more: MAIN holds all that was acknowledged.
fn settle_refused(members: &Members<'_>, kind: OperationKind) -> Option<Plan> {
    let (seen, ledger) = (members.seen, members.ledger);
    let operation = ledger.operation.as_ref()?;
    let refused = |instance: &&Instance| {
        let member = ledger.candidates.iter().find(|m| m.instance == instance.name);
        instance.refused
            && instance.is_replica()
            && instance.carries(ledger)
            && member.is_some_and(|member| loss::is_candidate(instance, member))
    };
    let instance = members.others().find(refused)?;
    let to = loss::Successor {
        copy: instance.copy()?,
        kind: OperationKind::Failover,
        lossy: false,
    };
    let why = format!(
        "{} holds writes that {} does not",
        instance.name, members.main.name
    );
    let committed = members.main.marker().is_some_and(|m| m.term == ledger.term);
    let mut next = ledger.clone();
    if operation.reversed || committed || seen.settings.is_fenced(&instance.name) {
        if operation.lossy {
            return None;
        }
        next.candidates.retain(|m| m.instance != instance.name);
        return Some(Plan::with(
            seen,
            Situation::Working(kind, why),
            [Step::write(next)],
        ));
    }
    next.operation = Some(Operation {
        reversed: true,
        ..operation.clone()
    });
    Some(loss::hand_over(seen, &next, to, &why))
}

/// Whether a registration may stay as it is.
fn fits(members: &Members<'_>, registration: &Registration, chosen: &[&Instance]) -> bool {
    let Some(instance) = members.instance_of(registration) else {
        return false;
    };
    let wanted = if chosen.iter().any(|c| c.name == instance.name) {
        members.seen.settings.sync_mode()
    } else {
        RegistrationMode::Async
    };
    registration.mode == wanted && registration.status.is_some() && !members::is_stuck(registration, instance)
}
