//! Notices at once that a process has ended on which something rests: MAIN's, or that of a copy which may be promoted.
//!
//! Looks are taken a few times in a second. Between two of them one connection to each of these processes stands, which its
//! kernel ends in the moment in which the process does. For MAIN it only has the cluster looked at without delay: that alone
//! proves nothing, and nothing is decided by it. A copy whose connection has ended is not promoted until Kubernetes has told
//! what has become of its process: another one, which the ledger does not name, may answer at its address.

use std::{
    net::{IpAddr, SocketAddr},
    sync::{Arc, Weak},
    time::Duration,
};

use kube::runtime::reflector::ObjectRef;
use tokio::time::{sleep, timeout};
use tokio_util::task::AbortOnDropHandle;

use super::{Operator, clusters::Cluster, link::GatewayLink};
use crate::{
    api::{
        MemgraphCluster,
        ledger::{Incarnation, Ledger, Member, Route},
        names::BOLT_PORT,
    },
    memgraph::{Bolt, BoltError, Session},
};

/// For how long the connection may take to come about.
const CONNECT_DEADLINE: Duration = Duration::from_secs(1);
/// How soon it is made anew that has come to nothing, or has ended.
const AGAIN: Duration = Duration::from_millis(300);
/// After so long it is made anew: one to a host that has vanished never ends.
const LONGEST: Duration = Duration::from_secs(30);
/// A process that completes a handshake so soon after a connection has ended is the same one: none starts and opens its port
/// in that time.
const SAME_PROCESS: Duration = Duration::from_millis(50);

/// A process that is watched: an instance in the life that the ledger names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Process {
    pub(super) instance: String,
    pub(super) life: Incarnation,
    pub(super) at: SocketAddr,
}

/// Watches the processes on which the ledger of a cluster relies. It ends with the operator, which owns it.
pub(super) async fn watch_processes<B: Bolt, G: GatewayLink>(
    operator: Weak<Operator<B, G>>,
    memory: Arc<Cluster>,
    reference: ObjectRef<MemgraphCluster>,
) {
    let mut changes = memory.ledger_changes();
    let mut watches: Vec<(Process, AbortOnDropHandle<()>)> = Vec::new();
    loop {
        let processes = changes
            .borrow_and_update()
            .as_ref()
            .and_then(Option::as_ref)
            .map(relied_on)
            .unwrap_or_default();
        // Whoever was watched and still is goes on being so without a gap.
        watches.retain(|(process, _)| processes.contains(process));
        for process in processes {
            if watches.iter().all(|(watched, _)| *watched != process) {
                let watch = watch(
                    Weak::clone(&operator),
                    Arc::clone(&memory),
                    reference.clone(),
                    process.clone(),
                );
                watches.push((process, AbortOnDropHandle::new(tokio::spawn(watch))));
            }
        }
        if changes.changed().await.is_err() {
            return;
        }
    }
}

async fn watch<B: Bolt, G: GatewayLink>(
    operator: Weak<Operator<B, G>>,
    memory: Arc<Cluster>,
    reference: ObjectRef<MemgraphCluster>,
    process: Process,
) {
    let Process { instance, life, at } = &process;
    loop {
        // The operator is not held while the end is waited for.
        let session = match operator.upgrade() {
            Some(operator) => is_there(&operator, &reference, &process).then(|| operator.led.session(*at)),
            None => return,
        };
        let Some(mut session) = session else {
            sleep(AGAIN).await;
            continue;
        };
        let ended = timeout(LONGEST, session.watch(CONNECT_DEADLINE)).await;
        let Some(operator) = operator.upgrade() else {
            return;
        };
        match ended {
            Err(_) => continue,
            Ok(Ok(())) => {
                tracing::debug!(cluster = reference.name, instance, %at, "a connection that stood has ended");
                memory.sightings.ended(instance, life);
                operator.poke(reference.clone());
                // A connection can also be reset by something on its way.
                if operator.led.handshake(*at, SAME_PROCESS).await.is_ok() {
                    memory.sightings.goes_on(instance, life);
                    operator.poke(reference.clone());
                }
            }
            // In this life it was in sync or MAIN, so that it had opened its port.
            Ok(Err(BoltError::Refused { .. })) => memory.sightings.ended(instance, life),
            // Looks find out what that means.
            Ok(Err(error)) => {
                tracing::debug!(cluster = reference.name, instance, %error, "its process is not watched");
            }
        }
        drop(operator);
        sleep(AGAIN).await;
    }
}

/// Whether, by what Kubernetes has told last, this process runs where the ledger says: its address may be somebody else's by now, to whom
/// nothing is to be said.
pub(super) fn is_there<B: Bolt, G: GatewayLink>(
    operator: &Operator<B, G>,
    reference: &ObjectRef<MemgraphCluster>,
    process: &Process,
) -> bool {
    let Some(cluster) = operator.cached.get(reference) else {
        return false;
    };
    let targets = operator.inventory(&cluster).targets(&cluster);
    targets.iter().any(|target| {
        target.name == process.instance
            && target.address == Some(process.at.ip())
            && target.incarnation.as_ref() == Some(&process.life)
    })
}

/// The processes on which this ledger relies, where it tells their addresses.
pub(super) fn relied_on(ledger: &Ledger) -> Vec<Process> {
    let main = main(ledger).map(|at| Process {
        instance: ledger.main.instance.clone(),
        life: ledger.main.incarnation.clone(),
        at,
    });
    let member = |member: &Member| {
        let registered: SocketAddr = member.address.parse().ok()?;
        Some(Process {
            instance: member.instance.clone(),
            life: member.incarnation.clone(),
            at: SocketAddr::new(registered.ip(), BOLT_PORT),
        })
    };
    let members = ledger.in_sync.iter().chain(&ledger.candidates);
    let mut processes: Vec<_> = main.into_iter().collect();
    for process in members.filter_map(member) {
        if !processes.contains(&process) {
            processes.push(process);
        }
    }
    processes
}

/// Where MAIN is, if clients may reach it.
pub(super) fn main(ledger: &Ledger) -> Option<SocketAddr> {
    if ledger.route == Route::Closed {
        return None;
    }
    let address: IpAddr = ledger.main_address.parse().ok()?;
    Some(SocketAddr::new(address, BOLT_PORT))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::ledger::DataCopy;

    fn member(instance: &str, life: &str, address: &str) -> Member {
        Member {
            instance: instance.into(),
            incarnation: Incarnation {
                container_id: life.into(),
                ..Incarnation::default()
            },
            generation: 1,
            address: address.into(),
            mode: None,
        }
    }

    fn watched(ledger: &Ledger) -> Vec<(String, String)> {
        let processes = relied_on(ledger).into_iter();
        processes
            .map(|process| {
                (
                    format!("{}/{}", process.instance, process.life.container_id),
                    process.at.to_string(),
                )
            })
            .collect()
    }

    fn pair(name: &str, at: &str) -> (String, String) {
        (name.to_owned(), at.to_owned())
    }

    #[test]
    fn a_member_that_becomes_main_is_watched_all_along() {
        let member_of = member("demo-1", "a", "10.0.0.2:10000");
        let open = Ledger {
            main: DataCopy {
                instance: "demo-0".into(),
                ..DataCopy::default()
            },
            main_address: "10.0.0.1".into(),
            route: Route::Open,
            in_sync: vec![member_of.clone()],
            ..Ledger::default()
        };
        assert_eq!(
            watched(&open),
            [
                pair("demo-0/", "10.0.0.1:7687"),
                pair("demo-1/a", "10.0.0.2:7687")
            ]
        );
        let main = DataCopy {
            instance: "demo-1".into(),
            incarnation: member_of.incarnation.clone(),
        };
        let closed = Ledger {
            main: main.clone(),
            main_address: String::new(),
            route: Route::Closed,
            // A former MAIN has no registration.
            candidates: vec![member("demo-0", "", "")],
            ..open.clone()
        };
        assert_eq!(watched(&closed), [pair("demo-1/a", "10.0.0.2:7687")]);
        let reopened = Ledger {
            main,
            main_address: "10.0.0.2".into(),
            in_sync: vec![member("demo-2", "b", "10.0.0.3:10000")],
            candidates: Vec::new(),
            ..open
        };
        assert_eq!(
            watched(&reopened),
            [
                pair("demo-1/a", "10.0.0.2:7687"),
                pair("demo-2/b", "10.0.0.3:7687")
            ]
        );
    }
}
