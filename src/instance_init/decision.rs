//! Whether the data of an instance is to be set aside. Pure: no clock, no I/O.

use crate::{
    api::{
        ResetNote, ResetOutcome,
        ledger::{Ledger, ResetOrder},
    },
    plan::observation::{Role, Sight},
};

/// What the ledger says.
#[derive(Clone, Debug, PartialEq)]
pub enum Decision {
    /// Nothing is to be moved.
    Start(ResetNote),
    /// The data is to be set aside, if MAIN is what the ledger says it is.
    SetAside(ResetOrder),
}

/// What the ledger orders for `instance`, which has obeyed these orders before.
#[must_use]
pub fn decide(ledger: Option<&Ledger>, instance: &str, obeyed: &[String]) -> Decision {
    let start = |token: &str, outcome, detail: &str| {
        Decision::Start(ResetNote {
            token: token.to_owned(),
            outcome,
            detail: detail.to_owned(),
        })
    };
    let order =
        ledger.and_then(|ledger| Some((ledger, ledger.resets.iter().find(|o| o.instance == instance)?)));
    let Some((ledger, order)) = order else {
        return start("", ResetOutcome::None, "");
    };
    if obeyed.contains(&order.token) {
        return start(&order.token, ResetOutcome::Done, "at an earlier start");
    }
    if order.term != ledger.term {
        return start(&order.token, ResetOutcome::Later, "the order is of another term");
    }
    if ledger.relies_on(instance) {
        let why = "this instance is MAIN, in sync or a candidate";
        return start(&order.token, ResetOutcome::Later, why);
    }
    Decision::SetAside(order.clone())
}

/// Why the data must stay although the ledger orders otherwise: MAIN is not there, or is not what it should be.
#[must_use]
pub fn refusal(
    ledger: &Ledger,
    order: &ResetOrder,
    main: &Sight,
    own_data_is_empty: bool,
) -> Option<(ResetOutcome, String)> {
    let name = &ledger.main.instance;
    let later = |why: &str| Some((ResetOutcome::Later, format!("{name} {why}")));
    let Sight::Serving(view) = main else {
        return later("does not answer");
    };
    if view.role != Role::Main {
        return later("is not MAIN");
    }
    let Some(contents) = &view.contents else {
        return later("does not tell what it holds");
    };
    let ours = contents
        .marker
        .as_ref()
        .is_some_and(|marker| marker.lineage == ledger.lineage);
    if !ours {
        return later("does not carry the mark of this cluster's history");
    }
    // What is kept for ever is not lost, whatever MAIN holds.
    if order.preserve {
        return None;
    }
    match view.empty {
        None => later("does not tell whether it is empty"),
        Some(true) if !own_data_is_empty => Some((
            ResetOutcome::Refused,
            format!(
                "{name} is empty and this instance is not: look at both; to go on, write anything to MAIN and delete this pod"
            ),
        )),
        Some(_) => None,
    }
}
