//! Which gateways may hold a grant, as the ledger names them.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::fence::wait_for_silent;
use crate::api::ledger::GatewayEntry;

/// What this leader knows of the gateways' pods.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pods {
    /// UIDs of pods that are there.
    pub present: BTreeSet<String>,
    /// UIDs of pods that are there and have answered as themselves.
    pub met: BTreeSet<String>,
    /// UIDs in the ledger as leaving, and for how long this leader has known that to be written.
    pub leaving_for: BTreeMap<String, Duration>,
}

/// The gateways as the ledger should name them: None if it does already.
///
/// One that has answered is added. One whose pod is gone is first marked as leaving, so that it cannot renew its grant any
/// more, and is taken off the list only when whatever it held has run out: a pod that was deleted by force may live on.
#[must_use]
pub fn roster(now: &[GatewayEntry], pods: &Pods, ttl: Option<Duration>) -> Option<Vec<GatewayEntry>> {
    let wait = ttl.map_or(Duration::ZERO, wait_for_silent);
    let mut next: Vec<GatewayEntry> = now
        .iter()
        .filter(|entry| {
            let over = pods
                .leaving_for
                .get(&entry.pod_uid)
                .is_some_and(|leaving| *leaving >= wait);
            !(entry.leaving && over)
        })
        .map(|entry| GatewayEntry {
            pod_uid: entry.pod_uid.clone(),
            leaving: entry.leaving || !pods.present.contains(&entry.pod_uid),
        })
        .collect();
    for uid in &pods.met {
        if !now.iter().any(|entry| entry.pod_uid == *uid) {
            next.push(GatewayEntry {
                pod_uid: uid.clone(),
                leaving: false,
            });
        }
    }
    next.sort_by(|a, b| a.pod_uid.cmp(&b.pod_uid));
    (next != now).then_some(next)
}
