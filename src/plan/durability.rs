//! Whether a further copy holds every acknowledged write: what the condition `Durable` says.

use super::{
    fenced,
    observation::{Instance, Observation, StorageMode},
    switchover,
};
use crate::api::{
    conditions::{Reason, Truth},
    ledger::{Ledger, Route},
};

/// `trouble`: what is wrong as a whole. `following`: members of the in-sync set that MAIN feeds now. `main`: who serves as MAIN.
pub(super) fn durable(
    seen: &Observation,
    ledger: Option<&Ledger>,
    trouble: Option<Reason>,
    following: &[&Instance],
    main: Option<&Instance>,
) -> (Truth, Reason, String) {
    if let Some((main, mode)) = main.and_then(|main| Some((main, main.unreplicated()?))) {
        if let Some(why) = switchover::replicates_nothing(main).filter(|_| mode == StorageMode::Untold) {
            return (Truth::Unknown, Reason::UnreplicatedMode, why);
        }
        let (name, remedy, mode) = (&main.name, mode.remedy(), mode.as_str());
        let lost = if seen.settings.most_recent {
            "it is lost"
        } else {
            "its process ends, or if it is silent and its pod is deleted"
        };
        let message = format!(
            "{name} is in the storage mode {mode}: what is written in it is neither logged nor replicated. No registration is changed \
             meanwhile, and MAIN is replaced only if {lost}. The remedy: {remedy}; then have each replica filled anew, which lacks what \
             was written"
        );
        return (Truth::False, Reason::UnreplicatedMode, message);
    }
    let last = ledger.and_then(|ledger| seen.instance(&ledger.main.instance));
    if let (None, Some((last, mode))) = (main, last.and_then(|last| Some((last, unreplicated_last(last)?)))) {
        let message = format!(
            "{} told last that it is in the storage mode {}: what was written in it is in its memory alone",
            last.name,
            mode.as_str()
        );
        return (Truth::False, Reason::UnreplicatedMode, message);
    }
    if seen.settings.sync_replicas == 0 {
        let message = "the spec asks for no in-sync replica: losing MAIN's volume loses writes".into();
        return (Truth::False, Reason::NotRequired, message);
    }
    if !following.is_empty() {
        let mut message = format!(
            "{} in-sync replica(s) hold every acknowledged write",
            following.len()
        );
        if following.len() < seen.settings.sync_replicas {
            message += &format!(", of {} that the spec asks for", seen.settings.sync_replicas);
        }
        if let Some(node) = main.and_then(|main| common_node(main, following)) {
            message += &format!(
                ", on the node of MAIN ({node}): what takes that node, and its disk where volumes are on it, takes all of them"
            );
        }
        if let Some(why) = main.and_then(|main| fenced::shuts_out(seen, &main.name)) {
            message += &format!("; once MAIN has restarted, nobody is led to it: {why}");
        }
        if seen.settings.data_in_pods {
            message += "; each copy lies in its pod, and is gone with that (storage.emptyDir)";
        }
        return (Truth::True, Reason::AsExpected, message);
    }
    let Some(ledger) = ledger.filter(|ledger| ledger.opened) else {
        let reason = trouble.unwrap_or(Reason::Bootstrapping);
        return (Truth::Unknown, reason, "no MAIN is set up yet".into());
    };
    if main.is_some() {
        let message = "no replica is known to hold every acknowledged write".into();
        return (Truth::False, Reason::NoInSyncReplica, message);
    }
    if ledger.route == Route::Closed {
        let reason = trouble.unwrap_or(Reason::MainUnreachable);
        let message =
            "the route is closed: nothing is acknowledged before it is known who holds every write".into();
        return (Truth::Unknown, reason, message);
    }
    let when = match trouble {
        Some(Reason::Hibernated | Reason::Hibernating | Reason::Waking) => {
            "when the cluster was put to sleep"
        }
        Some(Reason::MainUnreachable) => "when MAIN told of it last",
        _ => "when MAIN was lost",
    };
    // MAIN waited for each of them at every write.
    let members = ledger.in_sync.iter();
    let names: Vec<_> = members.map(|member| member.instance.as_str()).collect();
    if names.is_empty() {
        let message =
            format!("no replica held every acknowledged write {when}: only MAIN's own volume has them");
        (Truth::False, Reason::NoInSyncReplica, message)
    } else {
        let message = format!("{} held every acknowledged write {when}", names.join(", "));
        let asleep = trouble.filter(|reason| *reason == Reason::Hibernated);
        (Truth::Unknown, asleep.unwrap_or(Reason::MainUnreachable), message)
    }
}

fn unreplicated_last(main: &Instance) -> Option<StorageMode> {
    main.last_mode.filter(|mode| !mode.replicates())
}

/// The node that MAIN is on, if all of these are there, too.
fn common_node<'a>(main: &'a Instance, others: &[&Instance]) -> Option<&'a str> {
    let node = main.node.as_deref()?;
    let here = |other: &&Instance| other.node.as_deref() == Some(node);
    others.iter().all(here).then_some(node)
}
