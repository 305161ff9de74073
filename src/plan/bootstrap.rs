//! What to do without a ledger: set up a new cluster, adopt one that runs, or change nothing and say why.
//!
//! Nothing is concluded from a part of the instances: an instance that is not there may be the one with the
//! data. So every declared instance must answer first, and no volume of this cluster may lie aside.

use std::fmt::Write as _;

use super::{
    Plan, Situation, Step,
    numbers::parse_registration_name,
    observation::{Instance, Observation, Role},
    switchover,
};
use crate::api::{
    SwitchoverState,
    conditions::Reason,
    ledger::{DataCopy, Ledger, Operation, OperationKind, Route},
};

/// What all instances together look like.
enum State<'a> {
    /// No instance holds anything.
    Initial,
    /// One MAIN serves and the others follow it or are fresh.
    Operational(&'a Instance),
    /// Anything else; with the reason.
    Unknown(String),
}

pub(super) fn plan(seen: &Observation) -> Plan {
    if let Some(missing) = missing(seen) {
        return Plan::new(seen, Situation::Waiting(Reason::WaitingForInstances, missing));
    }
    if !seen.stray_volumes.is_empty() {
        let message = format!(
            "volume claims exist for instances beyond spec.replicas, and may hold the newest data: {}. \
             Raise spec.replicas until they are used, or delete them if their data is not wanted",
            seen.stray_volumes.join(", ")
        );
        return Plan::new(seen, Situation::Stalled(Reason::AmbiguousState, message));
    }
    match classify(seen) {
        State::Initial => match seen
            .declared()
            .find(|i| seen.electable(i))
            .and_then(Instance::copy)
        {
            Some(first) => announce(seen, first, None, seen.fresh_lineage.clone()),
            None => Plan::new(
                seen,
                Situation::Waiting(
                    Reason::WaitingForInstances,
                    "no instance that may be MAIN has a pod yet".into(),
                ),
            ),
        },
        State::Operational(main) => match main.copy() {
            Some(copy) => {
                let lineage = main
                    .marker()
                    .map_or_else(|| seen.fresh_lineage.clone(), |m| m.lineage.clone());
                announce(seen, copy, Some(main.name.clone()), lineage)
            }
            None => Plan::new(
                seen,
                Situation::Waiting(Reason::WaitingForInstances, "MAIN's pod is not known yet".into()),
            ),
        },
        State::Unknown(why) => {
            let message = format!(
                "the instances do not tell which of them holds the newest data ({why}); nothing was changed. \
                 Seen: {}",
                table(seen)
            );
            Plan::new(seen, Situation::Stalled(Reason::AmbiguousState, message))
        }
    }
}

/// Announces the set-up before anything is done; a leader that finds this ledger goes on from it.
fn announce(seen: &Observation, main: DataCopy, adopted: Option<String>, lineage: String) -> Plan {
    // A ledger that was lost must not be followed by one with a lower term: gateways that still know the old
    // one refuse to go back.
    let newest = seen
        .declared()
        .filter_map(|i| Some(i.marker()?.term))
        .max()
        .unwrap_or(0);
    // Numbers of the lost ledger may still be in use: none is ever used twice.
    let used = seen
        .declared()
        .filter_map(Instance::view)
        .flat_map(|view| &view.registrations)
        .filter_map(|registration| parse_registration_name(&registration.name))
        .map(|(_, number)| number)
        .max()
        .unwrap_or(0);
    let mut ledger = Ledger {
        lineage,
        term: newest + 1,
        marker_term: 0,
        route: Route::Closed,
        generation: used + 1,
        operation: Some(Operation {
            kind: OperationKind::Bootstrap,
            target: main.instance.clone(),
            from: adopted,
            started_at: String::new(),
            cause: String::new(),
            lossy: false,
            reversed: false,
            proven: false,
        }),
        switchover: seen.settings.switchover.as_ref().map(|request| {
            let why = "it was asked for before the cluster was set up".to_owned();
            switchover::record(request, SwitchoverState::Refused, why)
        }),
        main,
        ..Ledger::default()
    };
    let situation = Situation::Working(
        OperationKind::Bootstrap,
        "setting up MAIN and its replicas".into(),
    );
    let mut numbers = seen.numbers;
    numbers.ensure(&mut ledger);
    Plan {
        steps: vec![Step::write(ledger)],
        situation,
        numbers,
    }
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
    if with_data.is_empty() {
        return State::Initial;
    }
    let mains: Vec<_> = with_data
        .iter()
        .copied()
        .filter(|i| i.role() == Some(Role::Main))
        .collect();
    let &[main] = mains.as_slice() else {
        return State::Unknown(if mains.is_empty() {
            "there is data, but no MAIN".into()
        } else {
            format!("{} instances are MAIN and hold data", mains.len())
        });
    };
    for other in with_data.iter().filter(|i| i.name != main.name) {
        let follows = main.view().is_some_and(|view| {
            view.registrations
                .iter()
                .any(|r| r.address == other.replication_address && r.in_sync())
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

/// What each instance showed, for a human.
fn table(seen: &Observation) -> String {
    let mut out = String::new();
    for instance in seen.declared() {
        let role = match instance.role() {
            Some(Role::Main) => "MAIN",
            Some(Role::Replica) => "REPLICA",
            None => "silent",
        };
        let data = if is_fresh(instance) { "no data" } else { "data" };
        let marker = instance.marker().map_or_else(
            || "no marker".to_owned(),
            |m| format!("marker {} term {}", m.lineage, m.term),
        );
        let separator = if out.is_empty() { "" } else { "; " };
        // Writing to a String cannot fail.
        let _ = write!(out, "{separator}{}: {role}, {data}, {marker}", instance.name);
    }
    out
}
