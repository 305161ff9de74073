//! Readers of replicas of which nothing is heard at the moment. Pure: no clock, no I/O.
//!
//! That the operator had no answer in time says little of a replica: it may be busy with a long read, and the operator may be the one that
//! is cut off. So whoever reads there stays. A process that has ended ends its connections itself, and one that has vanished is
//! given up by the gateway (see `socket`).

use super::routes::{Duty, Preference, ReadOffer, Routes, replica_target, tells_of_other_data};
use crate::api::{Health, InstanceRole, InstanceStatus, MemgraphCluster, ledger::Ledger};

/// Has `now`, which was derived from `cluster`, keep what `before` had for readers, as far as nothing is heard of it any more.
///
/// New readers are led there only where there is nobody else, and nowhere where they were not led before. Where MAIN has changed
/// meanwhile, or may have changed and changed back unseen, a replica may hold what MAIN does not, so that no new reader gets to see it; and
/// where it has changed, more than once perhaps, nobody does.
pub fn keep(now: &mut Routes, cluster: &MemgraphCluster, before: &Routes) {
    let status = cluster.status.as_ref();
    let Some((status, ledger)) = status.and_then(|status| Some((status, status.ledger.as_ref()?))) else {
        return;
    };
    if now.cluster != before.cluster || !cluster.spec.has_read_gateway() {
        return;
    }
    let position = before.position.as_ref();
    let same_main = position.is_some_and(|position| position.main == ledger.main.instance);
    let all_seen = position.is_some_and(|position| ledger.term <= position.term + 1);
    if !same_main && !all_seen {
        return;
    }
    let is_main_heard = status.instances.iter().any(|it| is_heard_main(it, ledger));
    let fenced = &cluster.spec.fenced_instances;
    let former = before.read.iter().filter(|it| it.target.duty == Duty::Replica);
    for former in former {
        let target = &former.target;
        let instance = status.instances.iter().find(|it| it.name == target.instance);
        let Some(instance) = instance.filter(|it| {
            it.name != ledger.main.instance
                && !fenced.contains(&it.name)
                && replica_target(&target.cluster, it).as_ref() == Some(target)
        }) else {
            continue;
        };
        let kept = ReadOffer {
            preference: Preference::Unheard,
            accepts_new: former.accepts_new && same_main && all_seen,
            ..former.clone()
        };
        match now.read.iter_mut().find(|it| it.target == *target) {
            None if may_serve(instance) => now.read.push(kept),
            // Only MAIN knows how far it has come.
            Some(offer) if !is_main_heard && is_told_of_by_nobody(instance) => *offer = kept,
            _ => {}
        }
    }
}

fn is_heard_main(instance: &InstanceStatus, ledger: &Ledger) -> bool {
    instance.name == ledger.main.instance
        && instance.role == InstanceRole::Main
        && instance.health == Health::Up
}

/// Whether nothing that is known of the instance speaks against it as a replica.
fn may_serve(instance: &InstanceStatus) -> bool {
    let may_be_one = matches!(instance.role, InstanceRole::Replica | InstanceRole::Unknown);
    may_be_one && instance.health != Health::Down && !tells_of_other_data(instance)
}

fn is_told_of_by_nobody(instance: &InstanceStatus) -> bool {
    instance.mode.is_none() && instance.data_status.is_none()
}
