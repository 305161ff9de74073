//! The leader's care for the gateways of a cluster: each is asked again and again, and gets a grant when it may have one.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Weak},
    time::Duration,
};

use k8s_openapi::api::core::v1::Pod;
use kube::{Api, ResourceExt, runtime::reflector::ObjectRef};
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::{
    Operator, clusters::Cluster, fence::Gateway, link::GatewayLink, observe::Inventory, sightings::Target,
    wall::Wall,
};
use crate::{
    api::{
        DurationString, MemgraphCluster, RegistrationMode, ReplicationMode,
        ledger::{Ledger, Member, OperationKind, Route},
        names,
    },
    grants::{self, Failsafe, Issuing, LONGEST_TTL, MemberPort, Pods, Position, Request, Response, VERSION},
    memgraph::{self, Bolt, Question},
    plan::observation::{Role, Sight},
};

/// How often it is looked whether there are other gateways.
const LOOK_EVERY: Duration = Duration::from_millis(300);
/// For how long one answer is waited for.
const ANSWER_DEADLINE: Duration = Duration::from_secs(1);
/// How soon a gateway that got no grant, or gave no answer, is asked again; and every gateway while MAIN says nothing.
const AGAIN: Duration = Duration::from_millis(300);
/// For how long MAIN's answer is waited for.
const LOOK_DEADLINE: Duration = Duration::from_millis(500);

/// Attends to every gateway of one cluster. It ends with the operator, which owns it.
pub(super) async fn attend_all<B: Bolt, G: GatewayLink>(
    operator: Weak<Operator<B, G>>,
    memory: Arc<Cluster>,
    reference: ObjectRef<MemgraphCluster>,
    uid: String,
) {
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut attended: BTreeMap<(String, std::net::IpAddr), AbortOnDropHandle<()>> = BTreeMap::new();
    loop {
        ticks.tick().await;
        let Some(strong) = operator.upgrade() else {
            return;
        };
        let namespace = reference.namespace.clone().unwrap_or_default();
        let acquaintance = strong.stores.acquaintance(&uid, &namespace, &reference.name);
        strong.fence.link().remember(&acquaintance);
        let pods = strong.stores.inventory(&namespace, &reference.name).gateways;
        let gateways: BTreeMap<_, _> = pods
            .iter()
            .filter_map(|pod| Gateway::of(pod))
            .map(|gateway| ((gateway.uid.clone(), gateway.address), gateway))
            .collect();
        attended.retain(|key, task| gateways.contains_key(key) && !task.is_finished());
        for (key, gateway) in gateways {
            attended.entry(key).or_insert_with(|| {
                let attendant = Attendant {
                    operator: Weak::clone(&operator),
                    memory: Arc::clone(&memory),
                    reference: reference.clone(),
                    uid: uid.clone(),
                    gateway,
                };
                AbortOnDropHandle::new(tokio::spawn(attendant.attend()))
            });
        }
    }
}

/// Attends to one gateway.
struct Attendant<B: Bolt, G> {
    operator: Weak<Operator<B, G>>,
    memory: Arc<Cluster>,
    reference: ObjectRef<MemgraphCluster>,
    /// UID of the cluster.
    uid: String,
    gateway: Gateway,
}

impl<B: Bolt, G: GatewayLink> Attendant<B, G> {
    async fn attend(self) {
        let mut changes = self.memory.ledger_changes();
        let mut silence = self.memory.silence();
        loop {
            let Some(operator) = self.operator.upgrade() else {
                return;
            };
            changes.borrow_and_update();
            let silent = *silence.borrow_and_update();
            let pause = self.round(&operator).await;
            if silent {
                // What the gateway has told may be what a decision waits for.
                operator.poke(self.reference.clone());
            }
            drop(operator);
            let pause = if silent { pause.min(AGAIN) } else { pause };
            tokio::select! {
                biased;
                _ = changes.changed() => {}
                _ = silence.changed() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Asks once, and grants what may be granted. Returns how soon to ask again.
    async fn round(&self, operator: &Operator<B, G>) -> Duration {
        let mut changes = self.memory.ledger_changes();
        let Some(ledger) = self.ledger().await else {
            return AGAIN;
        };
        let Some(response) = self.ask(operator, &ledger, None).await else {
            return AGAIN;
        };
        let Some(ledger) = ledger else {
            return AGAIN;
        };
        let tainted = response.report.held.as_ref().is_some_and(|held| held.tainted);
        let main_serves = tainted
            && tokio::select! {
                biased;
                serves = self.main_serves(operator, &ledger) => serves,
                // Whoever waits for a MAIN that is none any more comes late for the next one.
                _ = changes.changed() => return Duration::ZERO,
            };
        // From here on everything is newer than the response, and so than the nonce in it.
        let Some(Some(ledger)) = self.memory.ledger() else {
            return AGAIN;
        };
        let issuing = Issuing {
            cluster: &self.uid,
            ledger: &ledger,
            leads: operator.leadership.check().is_ok(),
            pod_uid: &self.gateway.uid,
            main_serves,
            failsafe: self.failsafe(operator, &ledger),
        };
        match grants::issue(issuing, &response) {
            Ok(grant) => {
                let ttl = grant.ttl();
                let Some(answer) = self.ask(operator, &Some(ledger), Some(grant)).await else {
                    return AGAIN;
                };
                if let Some(refusal) = answer.refusal {
                    tracing::debug!(gateway = self.gateway.pod, refusal, "a grant was refused");
                    return AGAIN;
                }
                ttl.mul_f64((0.9 + 0.2 * fastrand::f64()) / 3.0)
            }
            Err(withheld) => {
                tracing::debug!(gateway = self.gateway.pod, %withheld, "no grant");
                if withheld == grants::Withheld::Unlisted {
                    operator.poke(self.reference.clone());
                }
                AGAIN
            }
        }
    }

    /// The ledger, read from the API server itself since this process leads, or written by it. None: it cannot be read.
    async fn ledger(&self) -> Option<Option<Ledger>> {
        if let Some(ledger) = self.memory.ledger() {
            return Some(ledger);
        }
        let namespace = self.reference.namespace.clone().unwrap_or_default();
        let clusters = Api::<MemgraphCluster>::namespaced(self.memory.client.clone(), &namespace);
        let live = clusters.get(&self.reference.name).await.ok()?;
        (live.uid().as_deref() == Some(&self.uid)).then(|| self.memory.read(&live))?;
        self.memory.ledger()
    }

    async fn ask(
        &self,
        operator: &Operator<B, G>,
        ledger: &Option<Ledger>,
        grant: Option<grants::Grant>,
    ) -> Option<Response> {
        let request = Request {
            version: VERSION,
            cluster: self.uid.clone(),
            position: ledger.as_ref().map(Position::of),
            grant,
            voucher: None,
        };
        let link = operator.fence.link();
        let asked = Instant::now();
        let answer = link
            .exchange(&self.uid, self.gateway.address, &request, ANSWER_DEADLINE)
            .await;
        match answer {
            Ok(response) if response.pod_uid == self.gateway.uid => {
                self.memory.met(&self.gateway.uid);
                self.memory
                    .heard(&self.uid, &self.gateway.pod, asked, response.report.clone());
                Some(response)
            }
            Ok(response) => {
                tracing::debug!(
                    gateway = self.gateway.pod,
                    other = response.pod_uid,
                    "another gateway answers"
                );
                None
            }
            Err(error) => {
                tracing::debug!(gateway = self.gateway.pod, %error, "no answer");
                None
            }
        }
    }

    /// On what a grant may be extended while neither a leader nor the API server answers: MAIN waits for its in-sync
    /// replicas by two-phase commit (what the spec says by now does not count, but how they are registered), and all of
    /// these and all operator processes are known. Otherwise on nothing.
    fn failsafe(&self, operator: &Operator<B, G>, ledger: &Ledger) -> Option<Failsafe> {
        let cluster = operator.cached.get(&self.reference)?;
        let is_protected = !ledger.in_sync.is_empty() || cluster.spec.replicas == 1;
        let mut members = ledger.in_sync.iter();
        let is_strict = members.all(|member| member.mode == Some(RegistrationMode::StrictSync));
        if cluster.spec.replication.mode != ReplicationMode::StrictSync || !is_protected || !is_strict {
            return None;
        }
        let targets = operator.inventory(&cluster).targets(&cluster);
        let port_of = |member: &Member| {
            let of_this_copy = |target: &&Target| {
                target.name == member.instance && target.incarnation.as_ref() == Some(&member.incarnation)
            };
            let address = targets.iter().find(of_this_copy)?.address?;
            Some(MemberPort {
                copy: member.copy(),
                address: SocketAddr::new(address, names::REPLICATION_PORT),
            })
        };
        let members: Option<Vec<_>> = ledger.in_sync.iter().map(port_of).collect();
        let operators = operator.stores.operators();
        let is_complete = operators.contains(&operator.name);
        is_complete.then_some(Failsafe {
            by: operator.name.clone(),
            operators,
            members: members?,
        })
    }

    /// Looks at MAIN: whether it serves as MAIN in the life that the ledger names, as far as it lets this operator see.
    async fn main_serves(&self, operator: &Operator<B, G>, ledger: &Ledger) -> bool {
        let namespace = self.reference.namespace.clone().unwrap_or_default();
        let inventory = operator.stores.inventory(&namespace, &self.reference.name);
        let Some(cluster) = operator.cached.get(&self.reference) else {
            return false;
        };
        let target = operator
            .targets(&self.memory, &cluster, &inventory)
            .into_iter()
            .find(|target| target.name == ledger.main.instance);
        let Some(target) = target.filter(|t| t.incarnation.as_ref() == Some(&ledger.main.incarnation)) else {
            return false;
        };
        let Some(address) = target.address else {
            return false;
        };
        let question = Question {
            version: None,
            emptiness: false,
            storage_mode: false,
            replica_mode: false,
            patience: LOOK_DEADLINE,
        };
        let sight = memgraph::look(
            &operator.bolt(&self.memory),
            SocketAddr::new(address, names::BOLT_PORT),
            &question,
        )
        .await;
        match sight {
            Sight::Serving(view) => view.role == Role::Main,
            // It tells this operator nothing, and others are served. Any client can have it end a connection; another process would have
            // shown by now that this one has ended, and starts as a replica.
            Sight::Barred | Sight::Untrusted { .. } | Sight::Handshake => {
                let (main, life) = (&ledger.main.instance, &ledger.main.incarnation);
                !self.memory.sightings.may_have_ended(main, life).await
            }
            Sight::Refused | Sight::Silent | Sight::Unseen => false,
        }
    }
}

/// The ledger as it is to be written: with the gateways that may hold a grant, and with the time for which grants last.
pub(super) fn attributed(
    before: Option<&Ledger>,
    next: &Ledger,
    memory: &Cluster,
    inventory: &Inventory,
    cluster: &MemgraphCluster,
    wall: &Wall,
) -> Ledger {
    let mut attributed = next.clone();
    let named = before.map_or(&[][..], |before| &before.gateways);
    let pods = Pods {
        present: inventory
            .gateways
            .iter()
            .filter(|pod| is_present(pod, wall))
            .filter_map(|pod| pod.uid())
            .collect(),
        met: memory.met_gateways(),
        leaving_for: memory.leaving_for(),
    };
    let met = pods.met.intersection(&pods.present).cloned().collect();
    let longest = before.and_then(|before| before.grant_ttl).map(|ttl| ttl.0);
    let roster = grants::roster(named, &Pods { met, ..pods }, longest);
    attributed.gateways = roster.unwrap_or_else(|| named.to_vec());
    attributed.grant_ttl = ttl(before, next, cluster.spec.gateway.grant_ttl);
    attributed
}

/// By how much the end of a pod that is deleted may be late before it is taken for one whose node is gone: nobody ends it then, and it
/// stays until a human removes it.
const OVERDUE: Duration = Duration::from_secs(60);

/// Whether a gateway's pod is to be reckoned with. One that has gone may live on for all that is known here, and holds what it was
/// granted: it is taken off the list as one whose pod was deleted by force ([`grants::roster`]).
fn is_present(pod: &Pod, wall: &Wall) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    // The grace period is part of it (`ObjectMeta`, Kubernetes API).
    let end = pod.metadata.deletion_timestamp.as_ref();
    let overdue = end.is_some_and(|end| wall.age(&end.0.to_string()) > OVERDUE);
    !matches!(phase, Some("Succeeded" | "Failed")) && !overdue
}

/// For how long grants last in the term that `next` opens, or that is open.
///
/// It changes only when a route opens. Then every older grant must have ended, or it must not become shorter: the next
/// fence waits for no longer than the ledger says. It has ended after a fence, and there was one for certain if an instance
/// was promoted.
fn ttl(before: Option<&Ledger>, next: &Ledger, wanted: DurationString) -> Option<DurationString> {
    let wanted = DurationString(wanted.0.min(LONGEST_TTL));
    let now = before.and_then(|before| before.grant_ttl);
    let Some(now) = now else {
        return (next.route == Route::Open).then_some(wanted);
    };
    let opens = next.route == Route::Open && before.is_some_and(|before| before.route == Route::Closed);
    if !opens {
        return Some(now);
    }
    let operation = before.and_then(|before| before.operation.as_ref());
    let promoted = operation.is_some_and(|operation| match operation.kind {
        OperationKind::Failover | OperationKind::Restart => true,
        OperationKind::Switchover => operation.target == next.main.instance,
        OperationKind::Bootstrap | OperationKind::Repair => false,
    });
    Some(if promoted { wanted } else { now.max(wanted) })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::ledger::{DataCopy, Operation};

    fn secs(secs: u64) -> DurationString {
        DurationString::from_millis(1_000 * secs)
    }

    fn closed(kind: OperationKind, target: &str) -> Ledger {
        let operation = json!({"kind": kind, "target": target, "from": "demo-0", "startedAt": ""});
        let operation: Operation = serde_json::from_value(operation).unwrap();
        Ledger {
            route: Route::Closed,
            grant_ttl: Some(secs(3)),
            operation: Some(operation),
            ..Ledger::default()
        }
    }

    #[test]
    fn a_gateway_that_nobody_ends_is_reckoned_with_no_longer() {
        let wall = Wall::set("2026-11-21T10:00:00Z".parse().unwrap());
        let present = |json| is_present(&serde_json::from_value(json).unwrap(), &wall);
        let ending =
            |at: &str| json!({"metadata": {"deletionTimestamp": at}, "status": {"phase": "Running"}});
        assert!(present(json!({"status": {"phase": "Running"}})));
        assert!(present(ending("2026-11-21T10:01:05Z")));
        assert!(present(ending("2026-11-21T09:59:30Z")));
        assert!(!present(ending("2026-11-21T09:58:59Z")));
        assert!(!present(json!({"status": {"phase": "Failed"}})));
    }

    fn open(main: &str) -> Ledger {
        Ledger {
            route: Route::Open,
            main: DataCopy {
                instance: main.into(),
                ..DataCopy::default()
            },
            grant_ttl: Some(secs(3)),
            ..Ledger::default()
        }
    }

    #[test]
    fn a_route_that_opens_for_the_first_time_takes_the_specs_time() {
        assert_eq!(
            ttl(
                None,
                &Ledger {
                    route: Route::Open,
                    ..Ledger::default()
                },
                secs(3)
            ),
            Some(secs(3))
        );
        assert_eq!(
            ttl(
                None,
                &Ledger {
                    route: Route::Closed,
                    ..Ledger::default()
                },
                secs(3)
            ),
            None
        );
        assert_eq!(
            ttl(
                None,
                &Ledger {
                    route: Route::Open,
                    ..Ledger::default()
                },
                secs(60)
            ),
            Some(secs(4))
        );
    }

    #[test]
    fn while_a_route_is_open_or_closed_the_time_stays() {
        let before = open("demo-0");
        assert_eq!(ttl(Some(&before), &before, secs(1)), Some(secs(3)));
        assert_eq!(
            ttl(Some(&before), &closed(OperationKind::Failover, "demo-1"), secs(1)),
            Some(secs(3))
        );
    }

    #[test]
    fn it_becomes_shorter_only_where_every_older_grant_has_ended() {
        let after = |kind, main| ttl(Some(&closed(kind, "demo-1")), &open(main), secs(1));
        assert_eq!(after(OperationKind::Failover, "demo-1"), Some(secs(1)));
        assert_eq!(after(OperationKind::Switchover, "demo-1"), Some(secs(1)));
        assert_eq!(
            after(OperationKind::Switchover, "demo-0"),
            Some(secs(3)),
            "taken back without a fence"
        );
        assert_eq!(after(OperationKind::Repair, "demo-0"), Some(secs(3)));
        let longer = ttl(
            Some(&closed(OperationKind::Repair, "demo-0")),
            &open("demo-0"),
            secs(4),
        );
        assert_eq!(longer, Some(secs(4)));
    }
}
