//! What is done about a MAIN that is lost.

use std::time::Duration;

use super::{
    Action, Plan, Situation, Step, addresses, brake,
    fate::Fate,
    manual,
    members::Members,
    nobody::nobody,
    observation::{Container, Instance, Observation, Role, StorageMode},
    refused,
    successor::{Successor, is_candidate, is_free, lacking, restarted_member, successor, waited_for},
};
use crate::api::{
    SwitchoverState,
    conditions::Reason,
    ledger::{Ledger, Member, Operation, OperationKind, Route},
};

/// Closes the route for a new MAIN, and names it, in one write; then fences and promotes it.
///
/// No acknowledged write is lost: the successor holds them all (see [`successor`]), and after the fence no
/// client can get a further acknowledgement from the old MAIN. Two mains never both acknowledge: gateways
/// lead to nobody while Closed, and the promotion begins only after every gateway has cut the old one.
pub(super) fn hand_over(seen: &Observation, ledger: &Ledger, to: Successor, why: &str) -> Plan {
    let mut candidates: Vec<Member> = if ledger.route == Route::Open {
        ledger.in_sync.clone()
    } else {
        ledger.candidates.clone()
    };
    candidates.retain(|member| member.instance != to.copy.instance);
    // The ledger's MAIN itself may be one that was promoted for want of a better one.
    let announced = ledger.operation.as_ref();
    let lacking = announced.is_some_and(|o| o.lossy);
    if ledger.main.instance != to.copy.instance && ledger.opened && !lacking {
        candidates.retain(|member| member.instance != ledger.main.instance);
        candidates.push(Member {
            instance: ledger.main.instance.clone(),
            incarnation: ledger.main.incarnation.clone(),
            generation: 0,
            address: String::new(),
            mode: None,
        });
    }
    let from = announced.and_then(|o| o.from.clone());
    let mut next = Ledger {
        term: ledger.term + 1,
        main: to.copy.clone(),
        main_address: String::new(),
        route: Route::Closed,
        candidates,
        operation: Some(Operation {
            kind: to.kind,
            target: to.copy.instance.clone(),
            from: if to.kind == OperationKind::Bootstrap {
                from
            } else {
                Some(ledger.main.instance.clone())
            },
            // Clients have waited since the first announcement.
            started_at: announced.map(|o| o.started_at.clone()).unwrap_or_default(),
            cause: match announced {
                Some(planned) if to.kind == OperationKind::Switchover => planned.cause.clone(),
                _ => why.to_owned(),
            },
            reversed: announced.is_some_and(|o| o.reversed),
            // Whoever was chosen among instances that had lost their MAIN is the same one, and still to be checked.
            election: announced
                .and_then(|o| o.election)
                .filter(|_| to.kind == OperationKind::Bootstrap),
            lossy: to.lossy || lacking && to.copy.instance == ledger.main.instance,
            proven: false,
        }),
        ..ledger.clone()
    };
    let mut numbers = seen.numbers;
    numbers.ensure(&mut next);
    addresses::note_all(seen, &mut numbers, &mut next);
    let steps = vec![
        Step::write(next.clone()),
        Step::Do(Action::Fence { term: next.term }),
        Step::Do(Action::Promote {
            instance: to.copy.instance,
            incarnation: to.copy.incarnation,
        }),
    ];
    Plan {
        steps,
        situation: Situation::Working(to.kind, why.to_owned()),
        numbers,
    }
}

/// Demotes an instance that runs as MAIN without our word, behind a closed route: the ledger's own, whose start gate failed,
/// or the one before it. As a replica on its old volume it is promoted again, under a term of its own.
fn take_back(seen: &Observation, ledger: &Ledger, main: &Instance, why: &str) -> Plan {
    let mut steps = Vec::new();
    let mut term = ledger.term;
    let mut numbers = seen.numbers;
    if ledger.route == Route::Open {
        term += 1;
        let mut next = Ledger {
            term,
            main_address: String::new(),
            route: Route::Closed,
            candidates: ledger.in_sync.clone(),
            operation: Some(Operation {
                kind: OperationKind::Restart,
                target: main.name.clone(),
                from: Some(main.name.clone()),
                started_at: String::new(),
                cause: why.to_owned(),
                lossy: false,
                reversed: false,
                election: None,
                proven: false,
            }),
            ..ledger.clone()
        };
        numbers.ensure(&mut next);
        steps.push(Step::write(next));
    }
    steps.push(Step::Do(Action::Fence { term }));
    steps.push(Members::put_down(seen, ledger, main));
    Plan {
        steps,
        situation: Situation::Working(OperationKind::Restart, why.to_owned()),
        numbers,
    }
}

/// The MAIN before the ledger's, where it goes on as one: it stood still, say, while its successor was promoted and lost again.
/// Nothing was acknowledged since the route was closed, so that it holds everything.
fn former_main<'a>(seen: &'a Observation, ledger: &Ledger) -> Option<&'a Instance> {
    if ledger.route == Route::Open {
        return None;
    }
    let former = ledger.candidates.iter().filter(|m| m.generation == 0);
    former
        .filter(|m| !seen.settings.is_fenced(&m.instance))
        .find_map(|member| {
            let instance = seen.instance(&member.instance)?;
            let is_main = instance.role() == Some(Role::Main);
            (is_main && is_candidate(instance, member) && instance.carries(ledger)).then_some(instance)
        })
}

/// For how long the only instance that can be MAIN may take before its pod is replaced.
const REPLACEMENT_PATIENCE: Duration = Duration::from_secs(30);

/// After what time of a closed route one candidate after the other was chosen and did not become MAIN: they are not tried again without a
/// new process.
const TRIED_PATIENCE: Duration = Duration::from_secs(45);

/// For how long the chosen instance may take to become MAIN once it is announced.
const PROMOTION_PATIENCE: Duration = Duration::from_secs(10);

/// Whether MAIN is to be the target of a change that a human has asked for: other candidates hold as much, and clients wait.
fn is_taking_over(ledger: &Ledger) -> bool {
    let asked = ledger
        .switchover
        .as_ref()
        .is_some_and(|record| record.state == SwitchoverState::Running);
    ledger.route == Route::Closed
        && ledger.operation.as_ref().is_some_and(|o| {
            o.target == ledger.main.instance && (asked || o.kind == OperationKind::Switchover)
        })
}

/// Hands over to another candidate when the chosen instance does not become MAIN, or has its pod replaced where there is no
/// other one: a promotion can wait for ever for a thread that waits for it. Nothing was acknowledged since the route was
/// closed, so that every candidate still holds everything; and a promotion that has not come about is not persisted, so
/// that the new pod starts as a replica.
pub(super) fn turn_back(seen: &Observation, ledger: &Ledger) -> Option<Plan> {
    let name = &ledger.main.instance;
    let chosen = seen.instance(name)?;
    let moves = ledger.operation.as_ref().is_some_and(|o| {
        matches!(
            o.kind,
            OperationKind::Switchover | OperationKind::Failover | OperationKind::Restart
        ) && o.target == *name
    });
    if !moves || seen.closed_for <= PROMOTION_PATIENCE || chosen.role() == Some(Role::Main) {
        return None;
    }
    let why = format!("{name} does not become MAIN");
    // Who may follow without a human's word is decided elsewhere; a human has asked for a planned change.
    let others = seen.settings.automatic_failover || is_taking_over(ledger);
    // One that has stepped aside for it, and is not known to hold everything, does not lead before the two were compared.
    let reversed = ledger.operation.as_ref().is_some_and(|o| o.reversed);
    let other = successor(seen, ledger, others)
        // A pod that is not replaced, or does not end, would be waited for instead.
        .filter(|_| seen.shut_for <= TRIED_PATIENCE || chosen.terminating || seen.settings.data_in_pods)
        .filter(|to| to.copy.instance != *name)
        .filter(|to| !reversed || refused::is_known(ledger, &to.copy));
    if let Some(to) = other {
        return Some(hand_over(seen, ledger, to, &why));
    }
    let same_life = chosen.incarnation.as_ref() == Some(&ledger.main.incarnation);
    let stuck = same_life
        && chosen.container == Container::Running
        && !chosen.terminating
        && seen.closed_for > REPLACEMENT_PATIENCE;
    let kind = ledger.operation.as_ref()?.kind;
    stuck.then_some(())?;
    if seen.settings.data_in_pods {
        let text = format!(
            "{why}, and nobody else can. Its pod is not replaced, because its data lies in it (storage.emptyDir): have its node start \
             its container anew (crictl stop), which keeps the data"
        );
        let promote = Step::Do(Action::Promote {
            instance: name.clone(),
            incarnation: ledger.main.incarnation.clone(),
        });
        let situation = Situation::Stalled(Reason::InstanceFailing, text);
        return Some(Plan::with(seen, situation, [promote]));
    }
    let delete = Step::Do(Action::DeletePod {
        instance: name.clone(),
        pod_uid: chosen.pod_uid.clone()?,
    });
    Some(Plan::with(seen, Situation::Working(kind, why), [delete]))
}

/// What to do, or to say, when MAIN has met `fate`.
pub(super) fn react(seen: &Observation, ledger: &Ledger, fate: &Fate) -> Option<Plan> {
    // A human has asked for the change of MAIN that is going on: its end needs no further word.
    let automatic = seen.settings.automatic_failover || is_taking_over(ledger);
    let waits = !seen.settings.failover_delay.is_zero();
    let (why, others) = match fate {
        Fate::Serving => return replace_stuck(seen, ledger),
        Fate::Unsure(why) => {
            return Some(Plan::new(
                seen,
                Situation::MainLost(Reason::MainUnreachable, why.clone()),
            ));
        }
        Fate::Dead(why) | Fate::Suspected(why) => (why, automatic),
        // Whoever asks for a delay wants MAIN itself back.
        Fate::Restarted(why) => (why, automatic && !waits),
        // It has lost nothing. Only members that it waits for surely hold as much.
        Fate::Demoted(why) => (
            why,
            automatic && waited_for(ledger).all(Member::outlives_its_process),
        ),
    };
    let to = successor(seen, ledger, others)
        .or_else(|| successor(seen, ledger, automatic).filter(|_| !matches!(fate, Fate::Demoted(_))))
        .or_else(|| restarted_member(seen, ledger, &|i| is_free(seen, ledger, i)).filter(|_| automatic))
        .or_else(|| lacking(seen, ledger, fate, &|_| true).filter(|_| seen.settings.automatic_failover));
    if let Some(to) = to {
        let held_back = held_back(seen, ledger, fate, &to, why);
        let suspected = matches!(fate, Fate::Suspected(_));
        return Some(held_back.unwrap_or_else(|| replace(seen, ledger, to, suspected, why)));
    }
    if let Some(main) = seen
        .instance(&ledger.main.instance)
        .filter(|main| main.role() == Some(Role::Main))
    {
        return Some(take_back(seen, ledger, main, why));
    }
    if let Some(former) = former_main(seen, ledger).filter(|_| automatic) {
        return Some(take_back(seen, ledger, former, why));
    }
    // Also where the change that a human has asked for did not come about: another request is another word.
    let by_hand = !seen.settings.automatic_failover;
    if let Some(plan) = manual::go_ahead(seen, ledger, fate, why).filter(|_| by_hand) {
        return Some(plan);
    }
    Some(Plan::new(seen, nobody(seen, ledger, fate, automatic, why)))
}

/// Has this copy follow a MAIN that is lost; `suspected`: nothing proves that.
pub(super) fn replace(
    seen: &Observation,
    ledger: &Ledger,
    to: Successor,
    suspected: bool,
    why: &str,
) -> Plan {
    let changes = brake::with_change(seen, ledger, ledger.term + 1, suspected);
    // It may have stepped aside for a MAIN that was lost before it could refuse anybody: which of the two holds more is still to be
    // found out.
    let known = refused::is_known(ledger, &to.copy);
    let operation = ledger.operation.clone().map(|operation| Operation {
        reversed: operation.reversed && known,
        ..operation
    });
    let next = Ledger {
        changes,
        operation,
        ..ledger.clone()
    };
    hand_over(seen, &next, to, why)
}

/// For how long a commit may take at least before MAIN is taken for stuck: it may wait for a replica that has vanished once to
/// have the transaction sent and once to have another one loaded (`rpc/client.hpp`), for 30 s each.
const SLOW_COMMIT: Duration = Duration::from_secs(65);

/// Replaces a MAIN that answers but ends no commit, where somebody can take its place: clients wait for answers, and it has not
/// ended a commit that it was tried with either. A slow MAIN is not dead, and a long query no sign of anything.
fn replace_stuck(seen: &Observation, ledger: &Ledger) -> Option<Plan> {
    let settings = &seen.settings;
    if seen.commit_for < settings.hang_timeout.max(SLOW_COMMIT) || ledger.route == Route::Closed {
        return None;
    }
    let main = &ledger.main.instance;
    // It alone holds what was written since, and an import may keep all its workers for hours: the commit waits behind that.
    if seen.instance(main)?.unreplicated().is_some() {
        return None;
    }
    let to = successor(seen, ledger, settings.automatic_failover).filter(|to| to.copy.instance != *main)?;
    let why = format!("{main} answers, but does not end commits");
    let fate = Fate::Suspected(why.clone());
    let held_back = held_back(seen, ledger, &fate, &to, &why);
    Some(held_back.unwrap_or_else(|| {
        let next = Ledger {
            changes: brake::with_change(seen, ledger, ledger.term + 1, true),
            ..ledger.clone()
        };
        hand_over(seen, &next, to, &why)
    }))
}

/// Why MAIN is not replaced yet, although it could be.
fn held_back(seen: &Observation, ledger: &Ledger, fate: &Fate, to: &Successor, why: &str) -> Option<Plan> {
    let say = |situation| Some(Plan::new(seen, situation));
    if to.kind == OperationKind::Failover
        && let Some(waits) = waits_for_an_import(seen, ledger, fate, why)
    {
        return Some(waits);
    }
    // Once the route is closed, clients wait for the end of what was begun.
    if ledger.route == Route::Open && to.kind == OperationKind::Failover {
        let settings = &seen.settings;
        let away = match seen.instance(&ledger.main.instance) {
            None => Duration::MAX,
            // It answers, and ends no commit.
            Some(main) if main.view().is_some() && matches!(fate, Fate::Suspected(_)) => seen.commit_for,
            // It is back, as what it must not be.
            Some(main) if main.view().is_some() => Duration::MAX,
            Some(main) => main.away_for,
        };
        if matches!(fate, Fate::Dead(_) | Fate::Suspected(_)) && away < settings.failover_delay {
            let text = format!("{why}; it is waited for, as failover.delay asks");
            return say(Situation::MainLost(Reason::FailoverDelayed, text));
        }
        let many = brake::suspected(seen, ledger);
        if matches!(fate, Fate::Suspected(_)) && many >= settings.max_per_hour {
            let text = format!(
                "{why}; {many} failovers in the last hour rested on silence too, which failover.maxPerHour forbids to \
                 go on with. Look for the cause in network and nodes; delete the pod of {} to have it replaced now",
                ledger.main.instance
            );
            return say(Situation::Stalled(Reason::TooManyFailovers, text));
        }
    }
    pause(seen, ledger, why)
}

/// Why nobody is promoted instead of a MAIN of which only silence is known: it alone may hold what was written lately.
pub(super) fn waits_for_an_import(
    seen: &Observation,
    ledger: &Ledger,
    fate: &Fate,
    why: &str,
) -> Option<Plan> {
    let suspected = matches!(fate, Fate::Suspected(_));
    let mode = holds_more_than_any_other(seen, ledger).filter(|_| suspected)?;
    let text = format!(
        "{why}; it told last that it is in the storage mode {}, so that it alone holds what was written since, as long as its \
         process lives. It is waited for. To have it replaced now, without that, delete the pod of {}",
        mode.as_str(),
        ledger.main.instance
    );
    Some(Plan::new(
        seen,
        Situation::Stalled(Reason::UnreplicatedMode, text),
    ))
}

/// Why nobody is promoted for a moment, although somebody could be.
pub(super) fn pause(seen: &Observation, ledger: &Ledger, why: &str) -> Option<Plan> {
    (!brake::pause(seen, ledger).is_zero()).then(|| {
        let text = format!(
            "{why}; MAIN was lost several times in a few minutes, so that the next promotion waits for a while, a minute \
             at most. Look for the cause in its log"
        );
        Plan::new(seen, Situation::MainLost(Reason::CrashLooping, text))
    })
}

/// The storage mode without replication in which MAIN was when it answered last, unless what was written in it is given up: the spec allows
/// to promote a copy that lacks something, or MAIN's pod is being deleted, by a human or by Kubernetes for a node that stays away.
fn holds_more_than_any_other(seen: &Observation, ledger: &Ledger) -> Option<StorageMode> {
    let main = seen.instance(&ledger.main.instance)?;
    let given_up = main.terminating || seen.settings.most_recent;
    main.last_mode.filter(|mode| !mode.replicates() && !given_up)
}
