//! Turns wanted routes into enforced ones, and tells which are enforced.
//!
//! What is enforced is what the gateway reports, and so the acknowledgement of a fence: before the operator promotes another
//! instance, it waits until each gateway has told it that the new term is closed. So what is told must be true already when
//! it is told.

use std::{sync::Arc, time::SystemTime};

use opentelemetry::KeyValue;
use tokio::sync::watch;
use tracing::{debug, info};

use super::{
    descriptors,
    gate::Gate,
    routes::{Duty, Routes, Standing},
};
use crate::traces::{Lasted, Trace, Traces};

/// Enforces the newest of the wanted routes, again with each change, and publishes each once it is in force.
/// Ends when nobody can want another any more.
///
/// The order is: take away, wait until it is gone, open, publish. Published routes are therefore never ahead of
/// what holds. One task does this for the whole gateway, so two changes cannot overtake each other.
pub async fn enforce(
    gate: Arc<Gate>,
    mut wanted: watch::Receiver<Routes>,
    enforced: watch::Sender<Routes>,
    traces: Traces,
) {
    let mut gap = Gap::default();
    loop {
        let routes = wanted.borrow_and_update().clone();
        let begun = traces.moment();
        let cut = gate.cut_all_but(&routes).await;
        gate.open(&routes);
        gap.traced(&traces, &enforced.borrow(), &routes, begun, cut);
        log_change(&enforced.borrow(), &routes, cut);
        enforced.send_replace(routes);
        if wanted.changed().await.is_err() {
            return;
        }
    }
}

/// The time in which writers have no MAIN, for the trace of the change that ends it.
#[derive(Default)]
struct Gap {
    /// When sessions began to be cut, when they were, and how many.
    closed: Option<(Lasted, usize)>,
}

impl Gap {
    fn traced(
        &mut self,
        traces: &Traces,
        before: &Routes,
        now: &Routes,
        begun: Option<SystemTime>,
        cut: usize,
    ) {
        let (Some(begun), Some(ended)) = (begun, traces.moment()) else {
            return;
        };
        if before.read_write.is_some() && before.read_write != now.read_write {
            self.closed = Some(((begun, ended), cut));
        }
        let (Some(main), Some(cluster)) = (&now.read_write, &now.cluster) else {
            return;
        };
        let Some((closing, cut)) = self.closed.take() else {
            return;
        };
        let trace = Trace::of(cluster, now.term);
        let about = |more| {
            let term = KeyValue::new("memgraph.term", now.term);
            let to = KeyValue::new("memgraph.main.to", main.instance.clone());
            [Some(term), Some(to), more].into_iter().flatten().collect()
        };
        let sessions = i64::try_from(cut).unwrap_or(i64::MAX);
        let sessions = KeyValue::new("memgraph.sessions.cut", sessions);
        traces.tell(|| {
            vec![
                trace.part("Sessions are cut", closing, about(Some(sessions))),
                trace.part("Writers wait", (closing.1, ended), about(None)),
            ]
        });
    }
}

fn log_change(before: &Routes, now: &Routes, cut: usize) {
    if before.limits != now.limits {
        descriptors::warn_if_too_few(&now.limits);
    }
    if before.standing != now.standing && now.standing == Standing::Absent {
        info!("the MemgraphCluster is gone");
    }
    if (&before.cluster, before.term, &before.read_write) != (&now.cluster, now.term, &now.read_write) {
        match &now.read_write {
            Some(target) => info!(
                term = now.term,
                main = %target.instance,
                address = %target.address,
                cut,
                "read-write route is open"
            ),
            None => info!(
                term = now.term,
                cut,
                paused = now.paused.is_some(),
                "read-write route is closed"
            ),
        }
    }
    let readable = |routes: &Routes| -> Vec<String> {
        let new = routes.read.iter().filter(|offer| offer.accepts_new);
        new.map(|offer| match offer.target.duty {
            Duty::Main { .. } => format!("{} (MAIN)", offer.target.instance),
            Duty::Replica => offer.target.instance.clone(),
        })
        .collect()
    };
    let instances = readable(now);
    if readable(before) != instances {
        // Many times a second while clients write without a pause: an ASYNC replica is behind by one write now and then.
        debug!(?instances, "readers may go to");
    }
}
