//! Judges whether MAIN is lost, and who may follow it.

use std::{cmp::Reverse, time::Duration};

use super::{
    Action, Plan, Situation, Step, addresses, brake, direct, hibernation, manual,
    members::Members,
    observation::{Container, Instance, Observation, Role, Sight, StorageMode},
    refused,
    silence::{self, Others},
};
use crate::api::{
    ReplicationMode, SwitchoverState,
    conditions::Reason,
    ledger::{DataCopy, Incarnation, Ledger, Member, Operation, OperationKind, Route},
};

/// What has become of the ledger's MAIN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It serves.
    Serving,
    /// It does not answer as it should, but nothing proves that it is dead.
    Unsure(String),
    /// Its process has ended.
    Dead(String),
    /// It has been silent for long enough before more than one observer, or has answered nothing for very long: it
    /// may live all the same.
    Suspected(String),
    /// It has restarted, as a replica: the start gate keeps it from taking writes by itself.
    Restarted(String),
    /// It goes on in the same life, but somebody has made it a replica.
    Demoted(String),
}

pub(super) fn fate(seen: &Observation, ledger: &Ledger) -> Fate {
    let name = &ledger.main.instance;
    let Some(main) = seen.instance(name) else {
        return Fate::Dead(format!("the pod of {name} is gone"));
    };
    let same_life = main.incarnation.as_ref() == Some(&ledger.main.incarnation);
    match (main.container, &main.sight) {
        (Container::Absent, _) => Fate::Dead(format!("the pod of {name} is gone")),
        (Container::Ended, _) => Fate::Dead(format!("the process of {name} has ended")),
        (Container::Waiting, _) => Fate::Dead(format!("{name} has not started again yet")),
        // The cache of volumes may be behind: that is no restart.
        (Container::Running, _) if main.incarnation.is_none() => {
            Fate::Unsure(format!("the volume of {name} is not known"))
        }
        (Container::Running, Sight::Serving(view)) => match view.role {
            Role::Main if same_life => Fate::Serving,
            // It may be MAIN only because this ledger promoted it, and it promoted another life.
            Role::Main => Fate::Dead(format!("{name} has restarted, and is MAIN without our word")),
            Role::Replica if same_life => Fate::Demoted(format!("{name} has been made a replica")),
            Role::Replica => Fate::Restarted(format!("{name} has restarted")),
        },
        (Container::Running, Sight::Refused) => Fate::Dead(format!("{name} refuses connections")),
        (Container::Running, _) if !same_life => {
            Fate::Dead(format!("{name} has restarted and does not answer yet"))
        }
        (Container::Running, Sight::Silent) if main.silent_for >= seen.settings.detection_timeout => {
            match silence::others(seen, ledger, main) {
                Others::HearNothing(who) => Fate::Suspected(format!("{name} is silent, for {who} too")),
                Others::HearIt(who) => Fate::Unsure(format!(
                    "{name} does not answer this operator, but completes handshakes with {who}"
                )),
                Others::CannotTell => Fate::Unsure(format!("{name} does not answer this operator")),
            }
        }
        // Its kernel and its accepting thread live, but no query is answered: slower than any wait of a healthy
        // MAIN (time-outs of `rpc/client.hpp`).
        (Container::Running, Sight::Handshake) if main.away_for >= seen.settings.hang_timeout => {
            Fate::Suspected(format!("{name} completes handshakes but answers no query"))
        }
        (Container::Running, Sight::Barred) => {
            Fate::Unsure(format!("{name} {}", super::failing::barred(seen)))
        }
        (Container::Running, Sight::Untrusted { why }) => {
            Fate::Unsure(format!("{name} {}", super::failing::untrusted(why)))
        }
        (Container::Running, _) => Fate::Unsure(format!("{name} does not answer this operator")),
    }
}

/// Who follows as MAIN, and by what kind of operation.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Successor {
    pub(super) copy: DataCopy,
    pub(super) kind: OperationKind,
    /// It may lack acknowledged writes.
    pub(super) lossy: bool,
}

/// Whether `instance` is the copy that `member` names. A former MAIN (generation 0) has restarted by nature:
/// it is known by its volume, and every transaction that it acknowledged was flushed to that.
pub(super) fn is_candidate(instance: &Instance, member: &Member) -> bool {
    if member.generation == 0 {
        instance.name == member.instance && instance.kept_all_of(&member.incarnation)
    } else {
        instance.is(member)
    }
}

/// The copy to promote. It holds every acknowledged write:
/// - a member of the in-sync set (or, while Closed, of the candidates, since nothing is acknowledged while
///   Closed) in the very life in which it was seen in sync, whose mark shows that its data is of the ledger's
///   history. A restarted MAIN on its old volume is such a copy too.
/// - An instance that already says MAIN is never chosen: only the promotion that a ledger has announced makes
///   a MAIN of ours.
///
/// A fenced instance is passed over, and one that would not keep a MAIN that clients reach past the gateway from acknowledging writes.
pub(super) fn successor(seen: &Observation, ledger: &Ledger, others: bool) -> Option<Successor> {
    choose(seen, ledger, others, &|instance| is_free(seen, ledger, instance))
}

fn is_free(seen: &Observation, ledger: &Ledger, instance: &Instance) -> bool {
    !seen.settings.is_fenced(&instance.name) && direct::silences_main(seen, ledger, instance)
}

/// Whoever of those that are `allowed` could follow if nobody else had to decide on it.
pub(super) fn able(
    seen: &Observation,
    ledger: &Ledger,
    allowed: &dyn Fn(&Instance) -> bool,
) -> Option<Successor> {
    any_of(seen, ledger, &|instance| {
        is_free(seen, ledger, instance) && allowed(instance)
    })
}

/// Whoever holds enough to follow, whether or not the old MAIN would be behind a fence then.
pub(super) fn fit(seen: &Observation, ledger: &Ledger) -> Option<Successor> {
    any_of(seen, ledger, &|instance| !seen.settings.is_fenced(&instance.name))
        .or_else(|| least_behind(seen, ledger, &|_| true))
}

fn any_of(seen: &Observation, ledger: &Ledger, allowed: &dyn Fn(&Instance) -> bool) -> Option<Successor> {
    choose(seen, ledger, true, allowed).or_else(|| restarted_member(seen, ledger, allowed))
}

fn choose(
    seen: &Observation,
    ledger: &Ledger,
    others: bool,
    allowed: &dyn Fn(&Instance) -> bool,
) -> Option<Successor> {
    let pool = if ledger.route == Route::Open {
        &ledger.in_sync
    } else {
        &ledger.candidates
    };
    let fit = |instance: &&Instance| allowed(instance) && instance.is_replica() && instance.carries(ledger);
    let mut pool: Vec<_> = pool.iter().collect();
    if ledger.route == Route::Open {
        // Each of them holds every acknowledged write. Later the order is that in which they are tried.
        pool.sort_by_key(|m| !seen.settings.prefers(&m.instance));
    }
    let member = pool
        .into_iter()
        .filter(|m| others && m.instance != ledger.main.instance)
        .find_map(|member| {
            seen.instances
                .iter()
                .filter(|i| is_candidate(i, member))
                .find(fit)
                .and_then(Instance::copy)
        });
    if let Some(copy) = member {
        return Some(Successor {
            copy,
            kind: OperationKind::Failover,
            lossy: false,
        });
    }
    let main = seen.instance(&ledger.main.instance)?;
    if !main.is_replica() || !allowed(main) {
        return None;
    }
    // A cluster that was never opened has acknowledged nothing: its MAIN may even have lost its volume.
    let never_opened = !ledger.opened && ledger.operation.as_ref().is_some_and(|o| o.from.is_none());
    let unmarked = main
        .view()
        .and_then(|view| view.contents.as_ref())
        .is_some_and(|c| c.marker.is_none());
    let before_mark = !ledger.opened && unmarked;
    // In Async nothing else is promised, and no other copy holds more.
    let same_volume = main.kept_all_of(&ledger.main.incarnation)
        || seen.settings.mode == ReplicationMode::Async && main.has_volume_of(&ledger.main.incarnation);
    let holds_all = same_volume && (main.carries(ledger) || before_mark) || never_opened && before_mark;
    let kind = match &ledger.operation {
        Some(operation) if !ledger.opened => operation.kind,
        _ => OperationKind::Restart,
    };
    if holds_all {
        Some(Successor {
            copy: main.copy()?,
            kind,
            lossy: false,
        })
    } else {
        None
    }
}

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

/// The copies beside MAIN that held everything when somebody was led to it last.
fn waited_for(ledger: &Ledger) -> impl Iterator<Item = &Member> {
    let pool = if ledger.route == Route::Open {
        &ledger.in_sync
    } else {
        &ledger.candidates
    };
    pool.iter().filter(|m| m.instance != ledger.main.instance)
}

/// What each copy that once held everything lacks now, and MAIN itself where it is back.
fn shortcomings(seen: &Observation, ledger: &Ledger) -> String {
    let mut text = String::new();
    for member in waited_for(ledger) {
        let instance = seen.instance(&member.instance);
        let restarted = instance.is_some_and(|instance| !is_candidate(instance, member));
        let lacks =
            shortcoming(instance, &member.incarnation, ledger).or(restarted.then_some("has restarted"));
        if let Some(lacks) = lacks {
            text.push_str(&format!(". {} {lacks}", member.instance));
        }
    }
    let main = seen.instance(&ledger.main.instance);
    let back = main.filter(|main| main.view().is_some());
    if let Some(lacks) = back.and_then(|_| shortcoming(back, &ledger.main.incarnation, ledger)) {
        text.push_str(&format!(". {} {lacks}", ledger.main.instance));
    }
    text
}

/// Why an instance is not the copy that it was in this life, beside having restarted.
fn shortcoming(instance: Option<&Instance>, life: &Incarnation, ledger: &Ledger) -> Option<&'static str> {
    match instance {
        None => Some("is gone"),
        Some(i) if i.view().is_none() => Some("does not answer"),
        Some(i) if !i.has_volume_of(life) => Some("has another volume than before"),
        Some(i) if !i.carries(ledger) => Some("does not show the mark of this history"),
        Some(i) if !i.kept_all_of(life) => {
            Some("was not told to flush each transaction, and its node has restarted")
        }
        Some(i) if !i.is_replica() => Some("is MAIN without our word"),
        Some(_) => None,
    }
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

/// Whether MAIN is back without what it held: on another volume, or on its own, which does not show the mark of this history.
/// What it cannot tell yet is not taken for lost.
pub(super) fn has_lost_its_data(seen: &Observation, ledger: &Ledger) -> bool {
    let Some(main) = seen.instance(&ledger.main.instance) else {
        return false;
    };
    let Some(view) = main.view() else {
        return false;
    };
    let other_volume = main.incarnation.is_some() && !main.has_volume_of(&ledger.main.incarnation);
    let unmarked = ledger.opened && view.contents.is_some() && !main.carries(ledger);
    other_volume || unmarked
}

/// A member that is not in the life any more in which it was seen in sync, where MAIN does not come back: its data is
/// gone, or it has been away for `hangTimeout`. MAIN has waited for this member before it acknowledged a write, also while
/// that restarted (STRICT_SYNC); on the same volume, flushed, it still has all of them.
fn restarted_member(
    seen: &Observation,
    ledger: &Ledger,
    allowed: &dyn Fn(&Instance) -> bool,
) -> Option<Successor> {
    let settings = &seen.settings;
    let main = seen.instance(&ledger.main.instance);
    let long_gone = main.is_none_or(|main| main.view().is_none() && main.away_for >= settings.hang_timeout);
    if !(has_lost_its_data(seen, ledger) || long_gone) {
        return None;
    }
    let copy = waited_for(ledger)
        .filter(|m| m.outlives_its_process())
        .find_map(|member| {
            let instance = seen.instance(&member.instance)?;
            let fit = instance.is_replica()
                && instance.carries(ledger)
                && instance.kept_all_of(&member.incarnation)
                && allowed(instance);
            if fit { instance.copy() } else { None }
        })?;
    Some(Successor {
        copy,
        kind: OperationKind::Failover,
        lossy: false,
    })
}

/// Who may follow a MAIN that is gone where the spec allows to lose what that one lacks.
pub(super) fn lacking(
    seen: &Observation,
    ledger: &Ledger,
    fate: &Fate,
    allowed: &dyn Fn(&Instance) -> bool,
) -> Option<Successor> {
    let gone = matches!(fate, Fate::Dead(_) | Fate::Suspected(_)) || has_lost_its_data(seen, ledger);
    let awaited = hibernation::awaits_main(seen, seen.instance(&ledger.main.instance), fate);
    let allowed = |instance: &Instance| is_free(seen, ledger, instance) && allowed(instance);
    // Before the first opening MAIN is the copy that was shown to be the furthest, or that a human has named, and has told nothing of
    // the others: it is waited for.
    least_behind(seen, ledger, &allowed).filter(|_| ledger.opened && gone && !awaited)
}

/// The replica that was the least behind when MAIN told of it last, where the spec allows to lose what it lacks.
fn least_behind(
    seen: &Observation,
    ledger: &Ledger,
    allowed: &dyn Fn(&Instance) -> bool,
) -> Option<Successor> {
    if !seen.settings.most_recent {
        return None;
    }
    let best = seen
        .declared()
        .filter(|i| i.name != ledger.main.instance && seen.electable(i))
        .filter(|i| i.is_replica() && i.carries(ledger) && !i.refused && allowed(i))
        .max_by_key(|i| {
            let preferred = seen.settings.prefers(&i.name);
            (i.last_behind.unwrap_or(i64::MIN), preferred, Reverse(i.ordinal))
        })?;
    Some(Successor {
        copy: best.copy()?,
        kind: OperationKind::Failover,
        lossy: true,
    })
}

/// What to say when nobody can be promoted.
fn nobody(seen: &Observation, ledger: &Ledger, fate: &Fate, automatic: bool, why: &str) -> Situation {
    let others = automatic || !matches!(fate, Fate::Demoted(_));
    let whoever = choose(seen, ledger, others, &|_| true);
    if let Some(fenced) = whoever.filter(|to| seen.settings.is_fenced(&to.copy.instance)) {
        let name = fenced.copy.instance;
        let text = format!(
            "{why}; {name} could be promoted, but is fenced: take it out of fencedInstances to have it promoted"
        );
        return Situation::Stalled(Reason::FencedInstance, text);
    }
    let alone = seen.settings.automatic_failover;
    let known = direct::waits(seen, ledger, fate, why)
        .or_else(|| manual::waits(seen, ledger, fate, why).filter(|_| !alone))
        .or_else(|| for_good(seen, ledger, why))
        .or_else(|| unflushed(seen, ledger, why));
    if let Some(situation) = known {
        return situation;
    }
    // Where the operator decides alone, it is too early to ask a human to lose something.
    let way_out = if alone { "" } else { manual::WAY_OUT };
    let text = format!(
        "{why}; no other copy is known to hold every acknowledged write; waiting for it to return{}{way_out}",
        shortcomings(seen, ledger)
    );
    Situation::MainLost(Reason::NoCandidate, text)
}

/// What a human can do where no copy is known to hold everything.
pub(super) fn start_over(seen: &Observation) -> &'static str {
    if seen.settings.data_in_pods {
        "Save what you need of what the pods hold; to begin with an empty database, delete the MemgraphCluster, and its data with \
         it (storage.emptyDir), and make it again"
    } else {
        "To begin with what the volumes hold, delete the MemgraphCluster, which keeps them unless storage.retentionPolicy.whenDeleted is \
         Delete (set it to Retain before), and make it again"
    }
}

/// What to say where waiting ends nothing: MAIN is back without its data, and every copy that held everything has shown that it
/// cannot be known to hold it any more.
fn for_good(seen: &Observation, ledger: &Ledger, why: &str) -> Option<Situation> {
    let all_shown =
        waited_for(ledger).all(|m| seen.instance(&m.instance).is_some_and(|i| i.view().is_some()));
    if !(all_shown && has_lost_its_data(seen, ledger)) {
        return None;
    }
    let others = seen.declared().filter(|i| i.name != ledger.main.instance);
    let able: Vec<_> = others
        .filter(|i| seen.electable(i) && i.is_replica() && i.carries(ledger))
        .collect();
    let remedy = if able.is_empty() || direct::is_direct(seen, ledger) {
        start_over(seen)
    } else if !seen.settings.automatic_failover {
        manual::GO_ON
    } else if able.iter().any(|i| i.last_behind.is_some()) {
        "To go on with the replica that was the least behind, and without what it lacks, set failover.candidates to MostRecent"
    } else {
        "Which replica was the least behind is not known any more, because another operator process leads now. To go on with one, and without what it lacks, name it in replication.preferredMain, and set failover.candidates to MostRecent"
    };
    let text = format!(
        "{why}, and without its data; no other copy is known to hold every acknowledged write{}. {remedy}",
        shortcomings(seen, ledger)
    );
    Some(Situation::Stalled(Reason::NoCandidate, text))
}

/// What to say where MAIN is back on its volume, may lack what it had not flushed, and nobody is known to have held as much. In
/// `Async` it leads again, since nothing else is promised there; whether more was promised while it led, the ledger does not tell.
fn unflushed(seen: &Observation, ledger: &Ledger, why: &str) -> Option<Situation> {
    let (main, life) = (seen.instance(&ledger.main.instance)?, &ledger.main.incarnation);
    let lacks_only_that = main.is_replica()
        && main.carries(ledger)
        && main.has_volume_of(life)
        && !main.kept_all_of(life)
        && waited_for(ledger).next().is_none();
    lacks_only_that.then(|| {
        let name = &main.name;
        let text = format!(
            "{why} on another boot of a node, and was not told to flush each transaction: it may lack the last ones, and no other copy is \
             known to hold them. To go on with what {name} holds, set replication.mode to Async until it leads"
        );
        Situation::Stalled(Reason::NoCandidate, text)
    })
}
