//! Carries out the steps of a plan.

use std::time::Duration;

use jiff::Timestamp;
use kube::ResourceExt;
use tokio::time::Instant;

use super::{
    Operator,
    act::Hands,
    clusters::Cluster,
    fence::Gateway,
    grants::attributed,
    link::GatewayLink,
    reconcile::{ReconcileError, ledger},
};
use crate::{
    api::{
        MemgraphCluster, SwitchoverState,
        ledger::{Ledger, Route},
    },
    memgraph::Bolt,
    plan::{Action, Plan, Situation, Step, observation::Observation},
    traces::StepTime,
};

/// What was seen before a fence that took longer is looked at again before anything else is done: the cluster may be gone by then, and an
/// instance may be another one.
const STALE: Duration = Duration::from_secs(1);

impl<B: Bolt, G: GatewayLink> Operator<B, G> {
    /// Carries the steps out, or those up to a fence that takes long, and returns the cluster as the last write left it.
    pub(super) async fn execute(
        &self,
        state: &Cluster,
        cluster: &MemgraphCluster,
        seen: &Observation,
        plan: Plan,
    ) -> Result<MemgraphCluster, ReconcileError> {
        let mut cluster = cluster.clone();
        // Numbers count as used before they are, and a block of them is this leader's only once the ledger that
        // reserves it is written: none is ever used twice.
        if !plan.writes() {
            state.set_numbers(plan.numbers);
        }
        for step in &plan.steps {
            match step {
                Step::Write(ledger) => {
                    let before = self::ledger(&cluster);
                    let next = attributed(
                        before,
                        ledger,
                        state,
                        &self.inventory(&cluster),
                        &cluster,
                        &self.wall,
                    );
                    let next = dated(&next, self.wall.now());
                    let over = next.route == Route::Open;
                    let stalled = matches!(plan.situation, Situation::Stalled(..));
                    let situation = if over && !stalled {
                        &Situation::Serving
                    } else {
                        &plan.situation
                    };
                    let was_closed = self::ledger(&cluster).is_some_and(|l| l.route == Route::Closed);
                    if !over && !was_closed {
                        state.forget_steps();
                    }
                    let status = self.status(state, &cluster, seen, Some(next), situation);
                    let write = self.write(state, &cluster, &status);
                    cluster = state.decide(self::ledger(&cluster), write).await?;
                    state.set_numbers(plan.numbers);
                }
                Step::Do(action) => {
                    let started = Instant::now();
                    self.carry_out(state, &cluster, seen, action).await?;
                    if matches!(action, Action::Fence { .. }) && started.elapsed() > STALE {
                        break;
                    }
                }
            }
        }
        Ok(cluster)
    }

    async fn carry_out(
        &self,
        state: &Cluster,
        cluster: &MemgraphCluster,
        seen: &Observation,
        action: &Action,
    ) -> Result<(), ReconcileError> {
        if matches!(action, Action::Fence { term } if state.is_fenced(*term)) {
            return Ok(());
        }
        let pods = self.inventory(cluster).gateways;
        let gateways: Vec<_> = pods.iter().filter_map(|pod| Gateway::of(pod)).collect();
        let hands = Hands {
            client: &state.client,
            bolt: &self.bolt(state),
            wallet: &state.wallet,
            fence: &self.fence,
            cluster,
            seen,
            sightings: &state.sightings,
            gateways: &gateways,
            closed_for: state.shut_for(),
        };
        let (began, started) = (self.wall.now().into(), Instant::now());
        let done = hands.carry_out(action).await;
        state.took(action.kind(), started.elapsed());
        state.trace_step(StepTime {
            kind: action.kind(),
            began,
            took: started.elapsed(),
        });
        self.vitals.took(action.kind(), started.elapsed());
        done?;
        if let Action::Fence { term } = action {
            state.fenced(*term);
        }
        match action {
            // It may be tried again and again in vain.
            Action::ShowMissing { .. } => {
                tracing::debug!(cluster = %cluster.name_any(), ?action, elapsed = ?started.elapsed(), "done");
            }
            _ => {
                tracing::info!(cluster = %cluster.name_any(), ?action, elapsed = ?started.elapsed(), "done");
            }
        }
        self.events
            .demoted(&state.client, cluster, ledger(cluster), action)
            .await;
        Ok(())
    }
}

/// The ledger with the times at which its operation was announced, MAIN changed and a switchover was over.
fn dated(ledger: &Ledger, now: Timestamp) -> Ledger {
    let mut ledger = ledger.clone();
    if let Some(operation) = ledger
        .operation
        .as_mut()
        .filter(|operation| operation.started_at.is_empty())
    {
        operation.started_at = now.to_string();
    }
    for change in ledger.changes.iter_mut().filter(|change| change.at.is_empty()) {
        change.at = now.to_string();
    }
    for order in ledger.resets.iter_mut().filter(|order| order.at.is_empty()) {
        order.at = now.to_string();
    }
    if let Some(record) = ledger
        .switchover
        .as_mut()
        .filter(|record| record.state != SwitchoverState::Running && record.finished_at.is_empty())
    {
        record.finished_at = now.to_string();
    }
    ledger
}
