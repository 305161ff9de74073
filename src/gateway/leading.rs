//! Where clients may go, as the grant allows it. Pure: the time is given.

use std::time::Duration;

use super::routes::{Duty, Preference, ReadOffer, Routes, Standing, Target, parse_address};
use crate::{
    api::ledger::{DataCopy, Route},
    grants::{Holder, Position},
};

/// What follows from `view`, what the API server has shown, and from what the gateway holds at this moment.
///
/// Only the grant leads to MAIN. The view alone opens nothing there: it may be old, and nobody would wait for this gateway
/// to let go. Nor does the grant alone: it says neither who may come nor whether MAIN takes TLS.
#[must_use]
pub fn routes(view: &Routes, holder: &Holder, now: Duration) -> Routes {
    let permit = holder.permit(now).filter(|_| is_there(view));
    let position = holder.position();
    let read_write = permit
        .as_ref()
        .zip(holder.cluster())
        .and_then(|(permit, cluster)| target(cluster, &permit.main, &permit.address, permit.since));
    let pause = holder.pause(now).filter(|_| is_there(view));
    let paused = pause
        .zip(holder.cluster())
        .and_then(|(pause, cluster)| target(cluster, &pause.main, &pause.address, pause.since));
    // Terms of another cluster of this name say nothing of this one.
    let is_its_own = holder
        .cluster()
        .is_none_or(|cluster| view.cluster.as_deref() == Some(cluster));
    let seen = if is_its_own { view.term } else { 0 };
    let mut routes = Routes {
        paused,
        cluster: holder
            .cluster()
            .map(str::to_owned)
            .or_else(|| view.cluster.clone()),
        term: position.map_or(view.term, |position| position.term.max(seen)),
        granted_until: permit
            .as_ref()
            .filter(|_| read_write.is_some())
            .map(|permit| permit.until),
        free_until: permit
            .filter(|_| read_write.is_some())
            .map(|permit| permit.free_until),
        position: position.cloned(),
        ..view.clone()
    };
    if read_write.is_some() {
        // An operator knows the ledger, even if it cannot be read from here any more.
        routes.standing = Standing::Known;
    }
    routes.read.retain(|offer| match offer.target.duty {
        Duty::Main { .. } => false,
        // A session there could write once it is MAIN, and it is from some moment of this term on.
        Duty::Replica => position.is_none_or(|position| position.main != offer.target.instance),
    });
    // Of MAIN the view may know less than the grant, or more.
    let fallback = read_write.clone().filter(|_| view.fallback_to_main);
    routes.read.extend(fallback.map(|target| ReadOffer {
        target,
        preference: Preference::Main,
        accepts_new: true,
    }));
    routes.read_write = read_write;
    routes
}

/// Whether the cluster has ever been seen, and is there as far as is known. It may be out of sight by now.
fn is_there(view: &Routes) -> bool {
    !matches!(view.standing, Standing::Unseen | Standing::Absent)
}

fn target(cluster: &str, main: &DataCopy, address: &str, since: i64) -> Option<Target> {
    Some(Target {
        cluster: cluster.to_owned(),
        instance: main.instance.clone(),
        address: parse_address(address)?,
        duty: Duty::Main { since },
    })
}

/// Whether MAIN can be led to as far as the ledger is known, so that it is this gateway that lacks the right to.
#[must_use]
pub fn lacks_grant(routes: &Routes) -> bool {
    let open = |position: &Position| position.route == Route::Open;
    routes.read_write.is_none() && routes.position.as_ref().is_some_and(open)
}
