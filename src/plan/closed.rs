//! What to do while the route is closed: bring the ledger's MAIN to the point where it may be opened.
//!
//! While Closed no client gets an acknowledgement, so nothing that is done here can lose one: a registration
//! may be missing for a moment, and a copy that held every acknowledged write when the route was closed still
//! does. The route opens by one write that names exactly the copies which then hold everything.

use std::time::Duration;

use super::{
    Action, Plan, Situation, Step, addresses, failing, fate, fenced, loss,
    members::{self, Members},
    nobody, notes,
    observation::{Access, DataStatus, Instance, Observation, Registration, Role},
    refused, release, reset, switchover,
};
use crate::api::{
    RegistrationMode,
    conditions::Reason,
    ledger::{Election, Ledger, Member, Operation, OperationKind, Route},
};

/// For how long those that are to be in sync beyond the first are waited for.
const LAGGARDS: Duration = Duration::from_secs(10);

/// For how long after the route was closed for a change of registrations others are made, too, that it could do without.
const AT_ONCE: Duration = Duration::from_secs(2);

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
    if kind == OperationKind::Bootstrap && !ledger.opened {
        let notes = notes::note_beginning(seen, ledger);
        if !notes.is_empty() {
            let working = working("noting on the volumes that the set-up has begun".into());
            return Plan::with(seen, working, notes);
        }
    }
    let main = seen.instance(&ledger.main.instance);

    if let Some(main) = main.filter(|m| m.incarnation.as_ref() == Some(&ledger.main.incarnation)) {
        let named = &ledger.main;
        if main.may_have_ended && main.role().is_some() {
            let text = format!(
                "waiting for Kubernetes to tell what has become of the process of {}",
                main.name
            );
            return Plan::new(seen, working(text));
        }
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
                    let plan = prepare(&members, kind);
                    let waits = plan.steps.is_empty() && matches!(plan.situation, Situation::Working(..));
                    return fenced(ledger, if waits { urge(&members, plan) } else { plan });
                }
            }
            Some(Role::Replica) | None => {}
        }
    }
    let fate = fate::fate(seen, ledger);
    loss::react(seen, ledger, &fate)
        .unwrap_or_else(|| Plan::new(seen, working(format!("waiting for {}", ledger.main.instance))))
}

/// What can be done, or must be said, about instances that do not come back by themselves while they are waited for.
fn urge(members: &Members<'_>, mut plan: Plan) -> Plan {
    if let Some(step) = failing::replace_hanging(members) {
        plan.steps.push(step);
    } else if let Some(complaint) = failing::complaint(members.seen, members.ledger) {
        plan.situation = complaint;
    }
    plan
}

/// Those that are registered as ASYNC while clients are held for a change of registrations: once they write again, they may leave no
/// moment for that. Only at first, and only whoever answers: clients wait for nobody.
fn crowded_out<'a>(members: &Members<'a>, kind: OperationKind, chosen: &[&Instance]) -> Vec<&'a Instance> {
    if kind != OperationKind::Repair || members.seen.closed_for > AT_ONCE {
        return Vec::new();
    }
    let is_chosen = |i: &Instance| chosen.iter().any(|c| c.name == i.name);
    members
        .others()
        .filter(|i| i.is_replica() && !i.refused && !i.unregistrable && !i.terminating && !is_chosen(i))
        .filter(|i| members.registration_of(i).is_none() && !members.is_barred(i))
        .filter(|i| reset::order(members.ledger, i).is_none())
        .collect()
}

/// Whether an instance may yet come back that need give nothing up: one that has not been away for long, one that is about to be empty, or
/// one whose process is about to be ended, by us or by a human who is asked to.
fn somebody_else_may_follow(members: &Members<'_>) -> bool {
    let seen = members.seen;
    let is_coming = |i: &Instance| i.view().is_none() && i.away_for < seen.settings.hang_timeout;
    let mut others = members.others();
    others.any(|i| seen.electable(i) && is_coming(i))
        || reset::is_any_under_way(members)
        || failing::replace_hanging(members).is_some()
        || failing::complaint(seen, members.ledger).is_some()
}

/// Whether this is a cluster's first set-up: no client was ever let in, so there is nobody to cut.
fn is_new(ledger: &Ledger) -> bool {
    ledger
        .operation
        .as_ref()
        .is_some_and(|o| o.kind == OperationKind::Bootstrap && o.from.is_none())
        && !ledger.opened
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
                | Step::Do(
                    Action::ProbeCommit { .. }
                        | Action::Confirm { .. }
                        | Action::NoteVolumes { .. }
                        | Action::SettleUsers { .. }
                )
        )
    };
    stays && plan.steps.iter().all(harmless)
}

/// MAIN is MAIN: mark it if it never was, register what is needed, make its epoch durable, open.
fn prepare(members: &Members<'_>, kind: OperationKind) -> Plan {
    let seen = members.seen;
    let ledger = members.ledger;
    let working = |message: &str| Situation::Working(kind, message.to_owned());

    let put_down = |i| Members::put_down(seen, ledger, i);
    let demote: Vec<_> = members.impostors().map(put_down).collect();
    if !demote.is_empty() {
        return Plan::with(
            seen,
            working("demoting instances that are MAIN without our word"),
            demote,
        );
    }

    if let Some(plan) = settle_users(members, kind) {
        return plan;
    }

    if let Some(plan) = open_as_it_was(members, kind) {
        return plan;
    }

    if let Some(plan) = mark(members, kind) {
        return plan;
    }

    let mut chosen = choose(members);
    leave_out_laggards(members, &mut chosen);
    let wrong: Vec<_> = members
        .all()
        .iter()
        .filter(|r| !fits(members, r, &chosen))
        .collect();
    let mut missing: Vec<_> = chosen
        .iter()
        .filter(|i| members.registration_of(i).is_none_or(|r| wrong.contains(&r)))
        .collect();
    // Nobody waits behind one with which it has failed lately.
    missing.sort_by_key(|i| i.unregistrable);
    let crowded_out = crowded_out(members, kind, &chosen);
    if !(wrong.is_empty() && missing.is_empty() && crowded_out.is_empty()) {
        let mut numbers = seen.numbers;
        let mut reserved = ledger.clone();
        let mut steps: Vec<_> = wrong.iter().map(|r| members.drop(r)).collect();
        let missing = missing.into_iter().map(|i| (*i, seen.settings.sync_mode()));
        let others = crowded_out.into_iter().map(|i| (i, RegistrationMode::Async));
        for (instance, mode) in missing.chain(others) {
            steps.extend(members.register(instance, mode, &mut numbers, &mut reserved));
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
    let known = refused::main_is_known(ledger);
    if (chosen.is_empty() || !known)
        && let Some(plan) = refused::settle(members, kind)
    {
        return plan;
    }
    let strike_off = || refused::let_go(members, kind).or_else(|| give_up_unreadable(members, kind));
    if let Some(plan) = chosen.is_empty().then(strike_off).flatten() {
        return plan;
    }
    let alone = chosen.is_empty() && synced.len() < seen.settings.required_members();
    // A MAIN that has restarted may itself be the older one. Whoever is filled from it then, or follows it, shows nothing.
    let lossy = ledger.operation.as_ref().is_some_and(|o| o.lossy);
    if (alone || !known && !lossy)
        && let Some(plan) = refused::ask(members, kind)
    {
        return plan;
    }
    let awaited = refused::awaited(members);
    if alone
        && awaited.is_none()
        && let Some(plan) = rebuild(members, kind)
    {
        return plan;
    }
    let would_help = |i: &Instance| seen.electable(i) && !i.reset_asked;
    if alone
        && awaited.is_none()
        && !lossy
        && reset::diverged(members).any(would_help)
        && !somebody_else_may_follow(members)
        && let Some(text) = reset::awaits_a_word(members)
    {
        let text = format!("nobody can follow {}: {text}", members.main.name);
        return Plan::new(seen, Situation::Stalled(Reason::DivergedInstance, text));
    }
    if synced.len() < chosen.len() || synced.len() < seen.settings.required_members() {
        if let Some(why) = nothing_is_taken(members, &chosen) {
            return Plan::new(seen, Situation::Stalled(Reason::UnreplicatedMode, why));
        }
        if let Some(why) = fenced::shuts_out(seen, &members.main.name).filter(|_| alone) {
            return Plan::new(seen, Situation::Stalled(Reason::FencedInstance, why));
        }
        let text = match fenced::left_out(seen, &members.main.name) {
            left_out if alone && !left_out.is_empty() => format!(
                "waiting for a replica that holds everything; of those it may be none that fencedInstances names ({})",
                left_out.join(", ")
            ),
            _ => "waiting for a replica that holds everything".to_owned(),
        };
        let message = working(&text);
        // A second phase that did not arrive leaves its replica `ready` and behind, and neither of the two does anything
        // about it before MAIN's next commit; clients make none here. The replica refuses its vote, and MAIN feeds it again.
        let missed = |r: &&Registration| r.is_sync() && r.status == Some(DataStatus::Ready) && r.behind != 0;
        let probe = members
            .all()
            .iter()
            .any(|r| missed(&r))
            .then(|| members.probe_commit());
        return Plan::with(seen, message, probe);
    }
    let confirmed: Vec<(&Registration, Member)> = synced
        .iter()
        .filter_map(|&r| Some((r, members.confirmed(r)?)))
        .collect();
    if confirmed.len() < seen.settings.required_members() || !members.main.carries(ledger) {
        if let Some(delete) = forget_undone_mark(members, &synced) {
            return Plan::with(seen, working("starting MAIN anew: its mark was undone"), [delete]);
        }
        return Plan::new(seen, working("waiting for a replica that shows the mark"));
    }
    // It has stepped aside for MAIN, on the word of MAIN's volume.
    let reversed = ledger.operation.as_ref().is_some_and(|o| o.reversed);
    if let Some(instance) = awaited.filter(|_| reversed) {
        let text = format!("waiting for {}, which was in sync", instance.name);
        return Plan::new(seen, working(&text));
    }
    // The commit makes MAIN's new epoch durable, so that a replica which is ahead can be told from one that follows, and
    // needs the vote of each strict replica, which it has only if it holds everything before it.
    let mut proof = vec![members.probe_commit()];
    let names: Vec<String> = confirmed.iter().map(|(r, _)| r.name.clone()).collect();
    if !names.is_empty() {
        proof.push(members.confirm(names));
    }
    let in_sync = confirmed.into_iter().map(|(_, member)| member).collect();
    open(members, kind, proof, in_sync)
}

/// Opens a route that was closed only for what could not be done, because MAIN has been put into a storage mode in which it
/// replicates nothing: it was not demoted, nothing was acknowledged since, and its registrations are those of then. Whoever held every
/// acknowledged write when the route was closed still does. MAIN can tell nothing of that now, and no vote can prove it.
fn open_as_it_was(members: &Members<'_>, kind: OperationKind) -> Option<Plan> {
    let (seen, ledger) = (members.seen, members.ledger);
    let why = switchover::replicates_nothing(members.main)?;
    let stands = |m: &&Member| members.registration_by(m).is_some_and(Registration::is_sync);
    let in_sync: Vec<_> = ledger.candidates.iter().filter(stands).cloned().collect();
    let is_undone = ledger.opened && kind == OperationKind::Repair;
    if !is_undone || in_sync.len() < seen.settings.required_members() {
        let why = format!("{why} (in its pod: the route is closed)");
        return Some(Plan::new(seen, Situation::Stalled(Reason::UnreplicatedMode, why)));
    }
    Some(open(members, kind, vec![members.probe_commit()], in_sync))
}

/// Lets clients in, after this proof.
fn open(members: &Members<'_>, kind: OperationKind, proof: Vec<Step>, in_sync: Vec<Member>) -> Plan {
    let (seen, ledger) = (members.seen, members.ledger);
    let working = |message: &str| Situation::Working(kind, message.to_owned());
    let Some(address) = members.main.address else {
        return Plan::new(seen, working("waiting for MAIN's address"));
    };
    let mut open = Ledger {
        opened: true,
        main_address: address.to_string(),
        route: Route::Open,
        in_sync,
        candidates: Vec::new(),
        operation: None,
        // Whoever was led past the gateway to this very process may still be there.
        direct: seen.settings.direct || ledger.direct && kind == OperationKind::Repair,
        switchover: switchover::concluded(ledger),
        ..ledger.clone()
    };
    let mut numbers = seen.numbers;
    addresses::note_all(seen, &mut numbers, &mut open);
    let mut steps = proof;
    let note = notes::note_volumes(seen, &open);
    steps.push(Step::write(open));
    steps.extend(note);
    Plan {
        steps,
        situation: working("letting clients in"),
        numbers,
    }
}

/// Sees to it that MAIN lets in only who has a password. A replica that was registered has no users any more
/// (`replication_handler/auth_replication_handlers.cpp`), so that one which becomes MAIN lets everybody in; nobody is led to it before
/// that is over.
fn settle_users(members: &Members<'_>, kind: OperationKind) -> Option<Plan> {
    let (seen, main) = (members.seen, members.main);
    match &seen.access {
        Access::Free | Access::Controlled { settled: true } => None,
        Access::Controlled { settled: false } => {
            let settle = Step::Do(Action::SettleUsers {
                main: main.name.clone(),
            });
            let text = format!("setting the password on {}", main.name);
            Some(Plan::with(seen, Situation::Working(kind, text), [settle]))
        }
        Access::Undeclared(why) => {
            let situation = Situation::Stalled(Reason::InvalidCredentials, why.clone());
            Some(Plan::new(seen, situation))
        }
    }
}

/// Sets the mark of this history in a MAIN that has none: in a new cluster, and in one that was taken over. It is set once
/// and stays as it is for ever.
///
/// Memgraph changes its enums in memory at once and takes nothing back when the transaction is aborted or its second phase
/// is lost (`storage/v2/enum_store.hpp` has no versions, and `InMemoryAccessor::Abort` does not look at it). A copy with such
/// a change in its memory refuses the same change from MAIN's log, and may write into its own log or snapshot what cannot be
/// read again. So the commit must be one that nobody can refuse and that is streamed to nobody: all registrations are
/// dropped first, and whoever is registered afterwards gets the mark from MAIN's log or snapshot, as something committed.
fn mark(members: &Members<'_>, kind: OperationKind) -> Option<Plan> {
    let (seen, ledger, main) = (members.seen, members.ledger, members.main);
    let working = |message: &str| Situation::Working(kind, message.to_owned());
    let Some(contents) = main.view().and_then(|view| view.contents.as_ref()) else {
        let wait = Plan::new(seen, working("waiting for MAIN to tell what it holds"));
        return (!ledger.opened).then_some(wait);
    };
    match &contents.marker {
        Some(marker) if marker.lineage == ledger.lineage => None,
        Some(marker) => {
            let text = format!(
                "{} shows the mark of another history ({} instead of {}): its data was exchanged. Bring this cluster's data \
                 back. {}",
                main.name,
                marker.lineage,
                ledger.lineage,
                nobody::start_over(seen)
            );
            Some(Plan::new(seen, Situation::Stalled(Reason::AmbiguousState, text)))
        }
        None => {
            let mut steps: Vec<_> = members.all().iter().map(|r| members.drop(r)).collect();
            steps.push(Step::Do(Action::Mark {
                main: main.name.clone(),
                lineage: ledger.lineage.clone(),
            }));
            Some(Plan::with(seen, working("marking MAIN's data"), steps))
        }
    }
}

/// For how long a replica that MAIN lists as in sync may lack the mark that MAIN shows: longer than any commit lasts
/// (time-outs of `rpc/client.hpp`).
const MARK_PATIENCE: Duration = Duration::from_secs(40);

/// Has MAIN's pod replaced when it shows the mark but a replica that holds everything does not: somebody has made MAIN a
/// replica, or has terminated the transaction, in the moment in which it was marked, so that the mark is in its memory alone.
///
/// Nothing was acknowledged since the route was closed, so that every candidate still holds everything, and so does MAIN's
/// volume. Where that goes with the pod, only a new cluster, which holds nothing yet, is helped so.
fn forget_undone_mark(members: &Members<'_>, synced: &[&Registration]) -> Option<Step> {
    let (seen, ledger, main) = (members.seen, members.ledger, members.main);
    let lacks = |registration: &&Registration| {
        let instance = members.instance_of(registration);
        let contents = instance.and_then(|i| i.view()?.contents.as_ref());
        contents.is_some_and(|contents| contents.marker.is_none())
    };
    let overdue = seen.closed_for >= MARK_PATIENCE && !main.terminating && main.carries(ledger);
    let outlived = !seen.settings.data_in_pods || is_new(ledger);
    (overdue && outlived && synced.iter().any(lacks)).then_some(())?;
    Some(Step::Do(Action::DeletePod {
        instance: main.name.clone(),
        pod_uid: main.pod_uid.clone()?,
    }))
}

/// Nobody can be registered, but there is an instance that could be after its data was set aside: without that, a cluster
/// of two whose second copy has branched off or cannot be read would stay closed. MAIN's epoch is made durable before the order is given.
fn rebuild(members: &Members<'_>, kind: OperationKind) -> Option<Plan> {
    let (seen, ledger) = (members.seen, members.ledger);
    let unasked = reset::why_unasked_is_kept(members).is_none();
    let possible = !ledger.resets.is_empty()
        || reset::due(members).any(|i| seen.electable(i) && (unasked || i.reset_asked));
    let lossy = ledger.operation.as_ref().is_some_and(|o| o.lossy);
    if !possible || lossy {
        return None;
    }
    let situation = Situation::Working(kind, "filling a replica anew".to_owned());
    let (mut next, mut numbers) = (ledger.clone(), seen.numbers);
    let next_steps = reset::next(members, &mut next, &mut numbers)?;
    let first_order = ledger.resets.is_empty();
    let mut steps: Vec<Step> = first_order.then(|| members.probe_commit()).into_iter().collect();
    steps.extend(members::after_reserving(ledger, next, next_steps));
    Some(Plan {
        steps,
        situation,
        numbers,
    })
}

/// The instances to register as in-sync replicas: first those that will not need a full copy of the data (clients
/// would wait for it), are not about to end and can be registered, then those that are registered so already, then those that were
/// candidates, then the preferred MAIN, then the others by ordinal. Without any, the route stays closed until one returns.
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
            instance.terminating,
            instance.unregistrable,
            !registered,
            !candidate,
            !seen.settings.prefers(&instance.name),
            instance.ordinal,
        )
    };
    let mut able: Vec<_> = members
        .others()
        .filter(|i| seen.electable(i) && i.is_replica() && i.replication_address.is_some())
        .filter(|i| !i.refused && !is_given_up(members, i))
        .filter(|i| i.takes_nothing_in().is_none() || may_hold_more(members, i))
        .filter(|i| reset::order(members.ledger, i).is_none())
        .collect();
    // One that has to be filled from the start is not waited for where others have the data, unless these do not come to be in sync: it is
    // filled while clients write. A MAIN that may itself be the older one waits for it: what cannot be read may be there all the same.
    let needed = seen.settings.required_members();
    let marked = able.iter().filter(|i| i.carries(members.ledger)).count();
    let is_early = seen.closed_for <= LAGGARDS && refused::main_is_known(members.ledger);
    if needed > 0 && marked >= needed && is_early {
        let is_registered = |i: &Instance| members.registration_of(i).is_some_and(Registration::is_sync);
        able.retain(|i| i.carries(members.ledger) || is_registered(i));
    }
    able.sort_by_key(|i| rank(i));
    able.truncate(seen.settings.sync_replicas);
    able
}

/// Where as many hold everything as the route needs, the others are not waited for without end: a copy that has to be filled, that
/// MAIN cannot reach or that does not come to be in sync joins later, while clients write. It is as if it was not there: nobody was
/// promised that it holds anything, and the route opens with exactly those that do. A MAIN that may itself be the older one waits
/// on: only as long as such a one has not refused to follow it, it is not known to hold less.
fn leave_out_laggards(members: &Members<'_>, chosen: &mut Vec<&Instance>) {
    let seen = members.seen;
    let is_synced = |instance: &&Instance| {
        let registration = members.registration_of(instance);
        registration.is_some_and(|it| it.is_sync() && it.in_sync())
    };
    // Before 3.12 dropping a registration waits for what is being sent to it, with a lock that all looks at MAIN need.
    let view = members.main.view();
    let abortable = view.is_some_and(|view| release::aborts_what_it_sends(&view.version));
    let is_filled = |instance: &&Instance| {
        let registration = members.registration_of(instance);
        registration.is_some_and(|it| it.status == Some(DataStatus::Recovery)) && !abortable
    };
    // One that was emptied a moment ago is still listed as in sync, and no route opens for that.
    let is_confirmed = |instance: &&&Instance| {
        let registration = members.registration_of(instance);
        registration.is_some_and(|it| members.confirmed(it).is_some())
    };
    let needed = seen.settings.required_members();
    let enough = needed > 0 && chosen.iter().filter(is_confirmed).count() >= needed;
    if enough && seen.closed_for > LAGGARDS && refused::main_is_known(members.ledger) {
        chosen.retain(|instance| is_synced(instance) || is_filled(instance));
    }
}

/// Whether MAIN may itself be the older one, and this copy, which was in sync, shows that only once it takes something from MAIN.
fn may_hold_more(members: &Members<'_>, instance: &Instance) -> bool {
    let candidates = &members.ledger.candidates;
    !refused::main_is_known(members.ledger) && candidates.iter().any(|m| m.instance == instance.name)
}

/// What a human is to do where one that is chosen takes nothing from MAIN, or nobody could be chosen because none takes anything.
fn nothing_is_taken(members: &Members<'_>, chosen: &[&Instance]) -> Option<String> {
    let tell = |i: &Instance| Some(format!("{} {}", i.name, i.takes_nothing()?));
    let told: Vec<_> = if chosen.is_empty() {
        let electable = members.others().filter(|i| members.seen.electable(i));
        electable.map(tell).collect::<Option<_>>()?
    } else {
        chosen.iter().filter_map(|i| tell(i)).collect()
    };
    (!told.is_empty()).then(|| told.join("; "))
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
        steps.extend(members.register(instance, mode, &mut numbers, &mut next));
    }
    if missing.is_empty() {
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

/// Strikes a candidate off that cannot read its data, so that it can be filled anew from MAIN: MAIN holds all that was
/// acknowledged, and that one could not be promoted in any case. Not where MAIN itself may lack something, or where a human is
/// to decide about data that is set aside.
fn give_up_unreadable(members: &Members<'_>, kind: OperationKind) -> Option<Plan> {
    let (seen, ledger) = (members.seen, members.ledger);
    let settings = &seen.settings;
    let lossy = ledger.operation.as_ref().is_some_and(|o| o.lossy);
    if lossy || !settings.reset_diverged || ledger.recovered {
        return None;
    }
    let unreadable = members.others().find(|i| {
        let candidate = ledger.candidates.iter().any(|m| m.instance == i.name);
        candidate && failing::is_unreadable(settings, i)
    })?;
    let mut next = ledger.clone();
    for members in [&mut next.candidates, &mut next.in_sync] {
        members.retain(|m| m.instance != unreadable.name);
    }
    let why = format!("{} cannot read its data", unreadable.name);
    let situation = Situation::Working(kind, why);
    Some(Plan::with(seen, situation, [Step::write(next)]))
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
    // MAIN does not look again at one that has branched off. Made anew, it is refused if it still has.
    let broken = matches!(registration.status, None | Some(DataStatus::Diverged));
    registration.mode == wanted && !broken && !members::is_stuck(registration, instance)
}
