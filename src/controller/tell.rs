//! Writes what is to be told of a cluster.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;

use super::{
    Operator,
    clusters::Cluster,
    furnish::configuration,
    image,
    link::GatewayLink,
    packed::UNSEEN,
    reconcile::{ReconcileError, ledger},
    status::{self, StatusError, Surroundings},
};
use crate::{
    api::{MemgraphCluster, MemgraphClusterStatus, ledger::Ledger, names},
    memgraph::Bolt,
    plan::{Situation, observation::Observation, report},
    resources::{Kind, ObjectKey},
    traces,
};

/// Operations that end sooner than this are told by the writes that they make anyway.
const QUIET: Duration = Duration::from_secs(2);

impl<B: Bolt, G: GatewayLink> Operator<B, G> {
    /// Writes the report, if it says anything new.
    pub(super) async fn report(
        &self,
        state: &Cluster,
        cluster: &MemgraphCluster,
        seen: &Observation,
        situation: &Situation,
    ) -> Result<(), ReconcileError> {
        let status = self.status(state, cluster, seen, ledger(cluster).cloned(), situation);
        let working = matches!(situation, Situation::Working(..));
        if cluster.status.as_ref() == Some(&status) || working && state.since_write() < QUIET {
            return Ok(());
        }
        match self.write(state, cluster, &status).await {
            Ok(_) => Ok(()),
            // A report on a state that is over already: the next one is on its way.
            Err(ReconcileError::Status(StatusError::Conflict { .. })) => Ok(()),
            Err(error) => Err(error),
        }
    }

    pub(super) fn status(
        &self,
        state: &Cluster,
        cluster: &MemgraphCluster,
        seen: &Observation,
        ledger: Option<Ledger>,
        situation: &Situation,
    ) -> MemgraphClusterStatus {
        let inventory = self.inventory(cluster);
        let mut gateway = inventory.gateway(cluster);
        let deployment = inventory.deployment.as_deref();
        if gateway.enabled
            && state
                .applied
                .outruns(cluster, &gateway_deployment(cluster), deployment)
        {
            gateway.unfinished = Some(UNSEEN.to_owned());
        }
        let report = report::report(seen, ledger.as_ref(), situation, gateway);
        let now = Time(self.wall.now());
        let steps = state.steps();
        let newest = state.writers.newest(cluster, &inventory);
        let main_serves = report.version.is_some();
        let image = image::told(cluster, &inventory, newest.as_deref(), main_serves, || {
            configuration(state, cluster)
        });
        // Nobody is to be told yet that what is asked for is there, unless nothing is said to be well.
        let stalled = matches!(situation, Situation::Stalled(..));
        let surroundings = Surroundings {
            inventory: &inventory,
            observed: stalled || state.is_complete(cluster),
            image,
            steps: &steps,
            cluster_domain: &self.cluster_domain,
        };
        status::compose(cluster, surroundings, ledger, report, &now)
    }

    pub(super) async fn write(
        &self,
        state: &Cluster,
        cluster: &MemgraphCluster,
        status: &MemgraphClusterStatus,
    ) -> Result<MemgraphCluster, ReconcileError> {
        let was_settled = state.unsettle();
        let written = status::write(&state.client, cluster, status).await;
        match &written {
            Ok(written) => {
                state.settle(was_settled || written.resource_version() != cluster.resource_version())
            }
            // It was refused.
            Err(StatusError::Conflict { .. } | StatusError::Unfit { .. }) => state.settle(was_settled),
            // It may still come to the API server.
            Err(StatusError::Write { .. }) => {}
        }
        let written = written?;
        state.wrote(&written);
        if let Some(ledger) = status.ledger.as_ref().filter(|new| ledger(cluster) != Some(*new)) {
            let (name, operation) = (cluster.name_any(), ledger.operation.as_ref().map(|o| o.kind));
            tracing::info!(cluster = %name, term = ledger.term, route = ?ledger.route, ?operation, "ledger written");
        }
        self.trace(state, cluster, &written);
        self.events
            .status_written(&state.client, cluster.status.as_ref(), &written)
            .await;
        Ok(written)
    }

    /// Tells of a change that this write ends.
    fn trace(&self, state: &Cluster, before: &MemgraphCluster, written: &MemgraphCluster) {
        if !self.traces.wanted() {
            return;
        }
        let newest = |cluster: &MemgraphCluster| cluster.status.as_ref()?.history.first().cloned();
        let Some(record) = newest(written).filter(|record| newest(before).as_ref() != Some(record)) else {
            return;
        };
        self.traces.tell(|| {
            let place = (written.uid(), written.namespace(), written.name_any());
            let (uid, namespace) = (place.0.unwrap_or_default(), place.1.unwrap_or_default());
            traces::change((&uid, &namespace, &place.2), &record, &state.step_times())
        });
    }
}

fn gateway_deployment(cluster: &MemgraphCluster) -> ObjectKey {
    ObjectKey {
        kind: Kind::Deployment,
        name: names::gateway(&cluster.name_any()),
    }
}
