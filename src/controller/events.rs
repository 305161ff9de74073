//! Kubernetes Events: few, each with a reason that stays the same.

use kube::{
    Client, Resource, ResourceExt,
    runtime::events::{Event, EventType, Recorder, Reporter},
};

use crate::{
    api::{
        DataDurability, MemgraphCluster, MemgraphClusterStatus, ReplicationMode, SwitchoverState,
        ledger::{Ledger, OperationKind, Route},
        names,
    },
    plan::{Action, is_tried_again},
};

/// Publishes Events.
#[derive(Clone)]
pub(super) struct Events {
    reporter: Reporter,
}

impl Default for Events {
    fn default() -> Self {
        Self {
            reporter: Reporter {
                controller: names::FIELD_MANAGER.into(),
                instance: None,
            },
        }
    }
}

impl Events {
    /// Tells what a status write has brought.
    pub(super) async fn status_written(
        &self,
        client: &Client,
        before: Option<&MemgraphClusterStatus>,
        now: &MemgraphCluster,
    ) {
        let Some(status) = &now.status else { return };
        if let Some(event) = opened(before, status) {
            self.publish(client, now, event).await;
        }
        if let Some(event) = stalled(before, status) {
            self.publish(client, now, event).await;
        }
        if let Some(event) = unprotected(before, now) {
            self.publish(client, now, event).await;
        }
        for event in reset_ordered(before, now) {
            self.publish(client, now, event).await;
        }
        if let Some(event) = unmoved(before, status) {
            self.publish(client, now, event).await;
        }
    }

    /// Tells that a second MAIN was demoted, if that is what this action did.
    pub(super) async fn demoted(
        &self,
        client: &Client,
        cluster: &MemgraphCluster,
        ledger: Option<&Ledger>,
        action: &Action,
    ) {
        let Some(instance) = impostor(ledger, action) else {
            return;
        };
        tracing::warn!(%instance, "split-brain resolved: an instance that was MAIN without our word was demoted");
        let note = format!("{instance} was MAIN against the ledger and has been demoted; it had no client");
        self.publish(
            client,
            cluster,
            event(EventType::Warning, "SplitBrainResolved", "Demote", note),
        )
        .await;
    }

    /// Tells that one installation leaves a cluster to another one; `unread`: why it is not known whether that one runs.
    pub(super) async fn left(
        &self,
        client: &Client,
        cluster: &MemgraphCluster,
        (own, other): (&str, &str),
        unread: Option<&str>,
    ) {
        let event = event(
            EventType::Warning,
            "LookedAfterByAnother",
            "Leave",
            left(cluster, own, other, unread),
        );
        self.publish(client, cluster, event).await;
    }

    /// Tells that one installation looks after a cluster from now on, in the place of another one that is gone.
    pub(super) async fn taken_over(
        &self,
        client: &Client,
        cluster: &MemgraphCluster,
        (own, other): (&str, &str),
    ) {
        let note = format!(
            "the installation of the operator with the Lease {own} looks after the cluster from now on: nobody holds the Lease {other}"
        );
        let event = event(EventType::Normal, "TakenOver", "TakeOver", note);
        self.publish(client, cluster, event).await;
    }

    async fn publish(&self, client: &Client, cluster: &MemgraphCluster, event: Event) {
        tracing::info!(reason = %event.reason, note = event.note.as_deref().unwrap_or_default(), "event");
        // A recorder that lives longer would fold this Event into an older one of the same reason, and keep the
        // older one's note. These are few, and each tells something of its own.
        let recorder = Recorder::new(client.clone(), self.reporter.clone());
        if let Err(error) = recorder.publish(&event, &cluster.object_ref(&())).await {
            tracing::warn!(%error, reason = %event.reason, "an Event could not be published");
        }
    }
}

/// The instance that this action demotes and that nobody had told to be MAIN. While MAIN is handed over to a copy that it refuses, it is
/// the one that this operator has promoted a moment before.
fn impostor<'a>(ledger: Option<&Ledger>, action: &'a Action) -> Option<&'a str> {
    let Action::Demote { instance } = action else {
        return None;
    };
    let hands_back = |ledger: &Ledger| {
        let operation = ledger.operation.as_ref();
        ledger.route == Route::Closed && operation.is_some_and(|operation| operation.reversed)
    };
    (!ledger.is_some_and(hands_back)).then_some(instance)
}

/// What is said of a cluster that one installation leaves to another one.
fn left(cluster: &MemgraphCluster, own: &str, other: &str, unread: Option<&str>) -> String {
    let left = format!(
        "the installation of the operator with the Lease {own} leaves the cluster to the one with the Lease {other}"
    );
    let (name, namespace) = (cluster.name_any(), cluster.namespace().unwrap_or_default());
    let given = format!(
        "kubectl patch memgraphcluster {name} -n {namespace} --subresource=status --type=json -p '[{{\"op\":\"remove\",\"path\":\"/status/operator\"}}]'"
    );
    let later = match unread {
        None => format!(
            "which runs. No two should watch the same namespaces: remove one of them; or, if the namespace is to be this one's, let the other one watch it no longer (watchNamespaces), and then give the cluster away: {given}"
        ),
        Some(why) => format!(
            "of which it does not know whether it runs ({why}). If that one is gone, or watches the namespace no longer, give the cluster away: {given}"
        ),
    };
    format!("{left}, {later}")
}

/// The API server takes notes of at most 1 kB.
const NOTE_LIMIT: usize = 1_000;

fn event(type_: EventType, reason: &str, action: &str, mut note: String) -> Event {
    note.truncate(note.floor_char_boundary(NOTE_LIMIT));
    Event {
        type_,
        reason: reason.into(),
        note: Some(note),
        action: action.into(),
        secondary: None,
    }
}

/// The route was opened again after an operation.
fn opened(before: Option<&MemgraphClusterStatus>, now: &MemgraphClusterStatus) -> Option<Event> {
    let old = before?.ledger.as_ref()?;
    let new = now.ledger.as_ref().filter(|ledger| ledger.route == Route::Open)?;
    let operation = old.operation.as_ref()?;
    let (main, term) = (&new.main.instance, new.term);
    let from = operation.from.as_deref().unwrap_or("none");
    let cause = &operation.cause;
    let loss = if operation.lossy {
        ". It was not known to hold every acknowledged write: those that it lacks are lost"
    } else {
        ""
    };
    Some(match operation.kind {
        OperationKind::Bootstrap => event(
            EventType::Normal,
            "Bootstrapped",
            "Bootstrap",
            format!("{main} is MAIN in term {term}"),
        ),
        OperationKind::Failover => event(
            EventType::Warning,
            "FailedOver",
            "Failover",
            format!("{main} is MAIN in term {term}; {from} was lost: {cause}{loss}"),
        ),
        OperationKind::Restart => event(
            EventType::Warning,
            "MainRestarted",
            "Promote",
            format!("{main} has restarted and is MAIN again, in term {term}{loss}"),
        ),
        OperationKind::Switchover => event(
            EventType::Normal,
            "SwitchedOver",
            "Switchover",
            format!("{main} is MAIN in term {term} instead of {from}: {cause}"),
        ),
        OperationKind::Repair => event(
            EventType::Warning,
            "ReplicationRepaired",
            "Repair",
            format!("replicas of {main} were registered anew, in term {term}: {cause}"),
        ),
    })
}

/// The data of an instance is to be set aside, or, where it lies in its pod, deleted with that.
fn reset_ordered(before: Option<&MemgraphClusterStatus>, now: &MemgraphCluster) -> Vec<Event> {
    let orders = |status: &MemgraphClusterStatus| {
        let ledger = status.ledger.as_ref();
        ledger.map(|ledger| ledger.resets.clone()).unwrap_or_default()
    };
    let known = before.map(orders).unwrap_or_default();
    let in_pods = now.spec.storage.empty_dir.is_some();
    let new = now
        .status
        .as_ref()
        .map(orders)
        .unwrap_or_default()
        .into_iter()
        .filter(|order| known.iter().all(|k| k.token != order.token));
    new.map(|order| {
        let folder = format!("{}/{}/{}", names::DATA_MOUNT, names::SET_ASIDE, order.folder());
        let (why, later) = if order.preserve {
            (
                "holds writes that MAIN does not",
                "; it is never deleted by the operator",
            )
        } else {
            ("is to be filled anew", "")
        };
        let what = if in_pods {
            "deleted with its pod (storage.emptyDir)".to_owned()
        } else {
            format!("moved to {folder} on its volume{later}")
        };
        let note = format!(
            "{} {why}: its data is {what}, and comes anew from MAIN",
            order.instance
        );
        event(EventType::Warning, "DataSetAside", "Reset", note)
    })
    .collect()
}

/// MAIN goes on alone, because the spec prefers that to waiting.
fn unprotected(before: Option<&MemgraphClusterStatus>, now: &MemgraphCluster) -> Option<Event> {
    let replication = &now.spec.replication;
    let alone = |ledger: &Ledger| ledger.route == Route::Open && ledger.in_sync.is_empty();
    let ledger = now
        .status
        .as_ref()?
        .ledger
        .as_ref()
        .filter(|ledger| alone(ledger))?;
    let known = before
        .and_then(|status| status.ledger.as_ref())
        .is_some_and(alone);
    let wants_one = replication.data_durability == DataDurability::Preferred
        && replication.mode != ReplicationMode::Async
        && now.spec.replicas > 1;
    (wants_one && !known).then(|| {
        let note = format!(
            "{} acknowledges writes that no replica is known to hold; they are lost if its volume is",
            ledger.main.instance
        );
        event(EventType::Warning, "Unprotected", "Replicate", note)
    })
}

/// A request to move MAIN has come to nothing.
fn unmoved(before: Option<&MemgraphClusterStatus>, now: &MemgraphClusterStatus) -> Option<Event> {
    let record = now.ledger.as_ref()?.switchover.as_ref()?;
    let known = before.and_then(|status| status.ledger.as_ref()?.switchover.as_ref());
    let news =
        known.is_none_or(|known| (&known.request_id, known.state) != (&record.request_id, record.state));
    let reason = match record.state {
        SwitchoverState::Failed if is_tried_again(record) => return None,
        SwitchoverState::Failed => "SwitchoverFailed",
        SwitchoverState::Refused => "SwitchoverRefused",
        SwitchoverState::Pending | SwitchoverState::Running | SwitchoverState::Succeeded => return None,
    };
    let note = format!("request {}: {}", record.request_id, record.message);
    news.then(|| event(EventType::Warning, reason, "Switchover", note))
}

/// A human is needed now, and was not before, or for something else.
fn stalled(before: Option<&MemgraphClusterStatus>, now: &MemgraphClusterStatus) -> Option<Event> {
    let condition = |status: &MemgraphClusterStatus| {
        let stalled = status
            .conditions
            .iter()
            .find(|c| c.type_ == "Stalled" && c.status == "True");
        stalled.map(|c| (c.reason.clone(), c.message.clone()))
    };
    let (reason, message) = condition(now)?;
    let known = before
        .and_then(condition)
        .is_some_and(|(known, _)| known == reason);
    (!known).then(|| event(EventType::Warning, "Stalled", "Wait", message))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::{EmptyDirSpec, MemgraphClusterSpec, ledger::ResetOrder};

    #[test]
    fn whether_data_is_kept_on_its_volume_or_deleted_with_its_pod_is_told_as_it_is() {
        let order: ResetOrder = serde_json::from_value(json!({
            "instance": "demo-2", "token": "t3-r9", "term": 3, "podUID": "p", "preserve": true,
        }))
        .unwrap();
        let mut cluster = MemgraphCluster::new("demo", MemgraphClusterSpec::default());
        cluster.status = Some(MemgraphClusterStatus {
            ledger: Some(Ledger {
                resets: vec![order],
                ..Ledger::default()
            }),
            ..MemgraphClusterStatus::default()
        });
        let note = |cluster: &MemgraphCluster| {
            let [event] = &reset_ordered(None, cluster)[..] else {
                panic!("one order, one Event")
            };
            event.note.clone().unwrap()
        };
        let kept = note(&cluster);
        assert!(kept.contains("never deleted by the operator"), "{kept}");
        cluster.spec.storage.empty_dir = Some(EmptyDirSpec::default());
        assert_eq!(
            note(&cluster),
            "demo-2 holds writes that MAIN does not: its data is deleted with its pod (storage.emptyDir), and comes anew from MAIN"
        );
    }

    #[test]
    fn a_request_that_is_tried_again_is_not_told_of_as_failed() {
        let told = |handed_back_to: Option<&str>| {
            let record = json!({"requestId": "1", "state": "Failed", "handedBackTo": handed_back_to});
            let status = MemgraphClusterStatus {
                ledger: Some(Ledger {
                    switchover: Some(serde_json::from_value(record).unwrap()),
                    ..Ledger::default()
                }),
                ..MemgraphClusterStatus::default()
            };
            unmoved(None, &status).map(|event| event.reason)
        };
        assert_eq!(told(None).as_deref(), Some("SwitchoverFailed"));
        assert_eq!(told(Some("demo-0")), None);
    }

    #[test]
    fn a_copy_that_this_operator_has_promoted_and_takes_back_is_no_second_main() {
        let demote = Action::Demote {
            instance: "demo-1".to_owned(),
        };
        let mut ledger = Ledger {
            route: Route::Closed,
            operation: Some(
                serde_json::from_value(
                    json!({"kind": "Failover", "target": "demo-0", "from": "demo-1", "startedAt": ""}),
                )
                .unwrap(),
            ),
            ..Ledger::default()
        };
        assert_eq!(impostor(Some(&ledger), &demote), Some("demo-1"));
        ledger.operation.as_mut().unwrap().reversed = true;
        assert_eq!(impostor(Some(&ledger), &demote), None);
        ledger.route = Route::Open;
        assert_eq!(impostor(Some(&ledger), &demote), Some("demo-1"));
        assert_eq!(impostor(None, &Action::ReachGateways), None);
    }
}
