//! Follows the own `MemgraphCluster` through the Kubernetes API.

use std::{pin::pin, time::Duration};

use futures::StreamExt;
use kube::{
    Api,
    runtime::{
        utils::ResetTimerBackoff,
        watcher::{self, Config, Event, ExponentialBackoff},
    },
};
use tokio::sync::watch;
use tracing::{debug, info, warn};

use super::{
    routes::Routes,
    view::{Verdict, View},
};
use crate::api::MemgraphCluster;

/// After so many seconds a watch is begun anew where it ended. A connection that died unnoticed shows no change
/// of MAIN, so this (and the 5 s that kube adds) bounds for how long the operator may wait for a fence.
const WATCH_SECONDS: u32 = 10;
/// The API server is asked again after a failure; pauses grow between these bounds,
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(3));
/// and begin anew when there was no failure for so long.
const BACKOFF_RESET: Duration = Duration::from_secs(10);

/// Where the follower puts what it finds.
#[derive(Debug)]
pub struct Findings {
    /// Where clients may go.
    pub routes: watch::Sender<Routes>,
    /// Why the API server cannot be read at the moment, if so.
    pub trouble: watch::Sender<Option<String>>,
}

/// Follows the cluster of this name for ever. While the API server cannot be read, what was found last stays.
pub async fn follow(clusters: Api<MemgraphCluster>, name: &str, findings: Findings) {
    // Role rules that name the object allow list and watch only with this selector
    // (Kubernetes: Using RBAC Authorization, referring to resources).
    let only = Config::default()
        .fields(&format!("metadata.name={name}"))
        .timeout(WATCH_SECONDS);
    let mut events = pin!(watcher::watcher(clusters, only));
    let mut pauses = pauses();
    let mut view = View::default();
    let mut listed = false;
    while let Some(event) = events.next().await {
        let verdict = match event {
            // It comes before the list is asked for, and so tells nothing.
            Ok(Event::Init) => {
                listed = false;
                continue;
            }
            Ok(Event::InitApply(cluster)) => {
                listed = true;
                view.observe(&cluster)
            }
            Ok(Event::InitDone) if listed => Verdict::Taken,
            Ok(Event::InitDone) => view.observe_absence(),
            Ok(Event::Apply(cluster)) => view.observe(&cluster),
            Ok(Event::Delete(cluster)) => view.observe_deletion(&cluster),
            Err(error) => {
                note_trouble(&findings, &error);
                // Not by kube's StreamBackoff: it begins anew with each `Init`, so that its pauses never grow
                // while lists fail.
                tokio::time::sleep(pauses.next().unwrap_or(BACKOFF.1)).await;
                continue;
            }
        };
        if findings.trouble.send_replace(None).is_some() {
            info!("the API server can be read again");
        }
        match verdict {
            Verdict::Taken => {}
            Verdict::Stale => debug!("the API server showed an older state; ignored"),
            Verdict::WentBack { from, to } => warn!(
                from,
                to,
                "the ledger's term went back; no client is let in before it is as high again. If the API server's \
                 storage was restored from a backup, restart the gateway once the operator has made the ledger anew"
            ),
        }
        findings.routes.send_if_modified(|routes| {
            let changed = routes != view.routes();
            if changed {
                routes.clone_from(view.routes());
            }
            changed
        });
    }
}

fn pauses() -> impl Iterator<Item = Duration> {
    let growing = backon::ExponentialBuilder::default()
        .with_min_delay(BACKOFF.0)
        .with_max_delay(BACKOFF.1)
        .with_jitter()
        .without_max_times();
    ResetTimerBackoff::new(ExponentialBackoff::from(growing), BACKOFF_RESET)
}

fn note_trouble(findings: &Findings, error: &watcher::Error) {
    // The error's own text leaves out its cause.
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text = format!("{text}: {inner_text}");
        }
        cause = inner.source();
    }
    let first = findings.trouble.send_replace(Some(text.clone())).is_none();
    if first {
        warn!(error = %text, "cannot read the MemgraphCluster; the last known routes stay, trying again");
    } else {
        debug!(error = %text, "still cannot read the MemgraphCluster");
    }
}
