//! Whether anybody else hears of a MAIN that says nothing to the operator.

use std::time::Duration;

use super::observation::{Container, Instance, Observation, Sight, Witness};
use crate::{api::ledger::Ledger, grants::PROBE_EVERY};

/// What a gateway has told counts for so long: it is asked several times as often while MAIN is silent.
const FRESH: Duration = Duration::from_secs(1);
/// A handshake that was completed no longer ago than this shows that MAIN lives. One is begun every [`PROBE_EVERY`], and
/// gateways are asked every 300 ms, so that a word of one that hears MAIN is as old as both together, and their round trips.
const LATELY: Duration = PROBE_EVERY.saturating_add(Duration::from_millis(500));

/// What others say of a MAIN that is silent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Others {
    /// Somebody else hears nothing either.
    HearNothing(String),
    /// This gateway completes handshakes with it, and whether it leads clients there.
    HearIt(String),
    /// Nobody else can tell.
    CannotTell,
}

/// What others say of MAIN, which has been silent for this operator.
///
/// One observer's silence may be its own. A gateway that completes handshakes shows that MAIN lives, so that its word
/// holds a change of MAIN up; for `hangTimeout` at most, since a handshake is no query. Whether its clients are served is another
/// question: its grant may have run out because nobody who reaches MAIN has renewed it.
pub(super) fn others(seen: &Observation, ledger: &Ledger, main: &Instance) -> Others {
    let settings = &seen.settings;
    let hearing = hearing(seen, ledger);
    if let Some(witness) = hearing.filter(|_| main.away_for < settings.hang_timeout) {
        let gateway = &witness.gateway;
        return Others::HearIt(match witness.serves {
            true => format!("the gateway {gateway}, whose clients are served"),
            false => format!("the gateway {gateway}, which has no right to lead clients to it"),
        });
    }
    if !main.ready {
        return Others::HearNothing("Kubernetes".to_owned());
    }
    let for_as_long = |witness: &&Witness| {
        witness
            .silent_for
            .is_some_and(|silent| silent >= settings.detection_timeout)
    };
    match witnesses(seen, ledger)
        .find(for_as_long)
        .filter(|_| hearing.is_none())
    {
        Some(witness) => Others::HearNothing(format!("the gateway {}", witness.gateway)),
        None => Others::CannotTell,
    }
}

/// Whether MAIN is silent for this operator alone: a gateway completes handshakes with it, and leads clients there.
pub(super) fn serves_unheard(seen: &Observation, ledger: &Ledger) -> bool {
    let is_silent = |main: &&Instance| {
        main.sight == Sight::Silent
            && main.container == Container::Running
            && main.incarnation.as_ref() == Some(&ledger.main.incarnation)
            && main.away_for < seen.settings.hang_timeout
    };
    let main = seen.instance(&ledger.main.instance).filter(is_silent);
    main.is_some() && hearing(seen, ledger).is_some_and(|witness| witness.serves)
}

/// A gateway that completes handshakes with MAIN, rather one that leads clients there.
fn hearing<'a>(seen: &'a Observation, ledger: &Ledger) -> Option<&'a Witness> {
    let lately = |witness: &&Witness| witness.answered_ago.is_some_and(|ago| ago <= LATELY);
    let serving = witnesses(seen, ledger)
        .filter(lately)
        .find(|witness| witness.serves);
    serving.or_else(|| witnesses(seen, ledger).find(lately))
}

/// What gateways have told of this term's MAIN a moment ago.
fn witnesses<'a>(seen: &'a Observation, ledger: &Ledger) -> impl Iterator<Item = &'a Witness> + use<'a> {
    let term = ledger.term;
    let told = seen.witnesses.iter();
    told.filter(move |witness| witness.term == term && witness.age <= FRESH)
}
