//! Who may follow MAIN: a copy that is known to hold every acknowledged write, or one that may lack some where the spec allows that.

use std::cmp::Reverse;

use super::{
    direct,
    fate::{Fate, has_lost_its_data},
    hibernation,
    observation::{Instance, Observation},
};
use crate::api::{
    ReplicationMode,
    ledger::{DataCopy, Ledger, Member, OperationKind, Route},
};

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

pub(super) fn is_free(seen: &Observation, ledger: &Ledger, instance: &Instance) -> bool {
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

pub(super) fn choose(
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

/// The copies beside MAIN that held everything when somebody was led to it last.
pub(super) fn waited_for(ledger: &Ledger) -> impl Iterator<Item = &Member> {
    let pool = if ledger.route == Route::Open {
        &ledger.in_sync
    } else {
        &ledger.candidates
    };
    pool.iter().filter(|m| m.instance != ledger.main.instance)
}

/// A member that is not in the life any more in which it was seen in sync, where MAIN does not come back: its data is
/// gone, or it has been away for `hangTimeout`. MAIN has waited for this member before it acknowledged a write, also while
/// that restarted (STRICT_SYNC); on the same volume, flushed, it still has all of them.
pub(super) fn restarted_member(
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
