//! Brings about what a cluster consists of.

use std::{sync::Arc, time::Duration};

use super::{
    Operator,
    certificates::mounted_secret,
    chain,
    clusters::Cluster,
    hibernation, image, inheritance,
    link::GatewayLink,
    objects::{self, ObjectError, Wanted},
    observe::Inventory,
    reconcile::{UNSETTLED, ledger},
    withdraw::withdraw,
};
use crate::{
    api::{MemgraphCluster, ledger::Route},
    memgraph::Bolt,
    resources::{self, Fingerprints},
};

impl<B: Bolt, G: GatewayLink> Operator<B, G> {
    /// Has all brought about that a cluster consists of, if it is time. Returns what is in the way, and when it is to be looked at again if
    /// it was not looked at to the end now.
    ///
    /// Whatever keeps an object from being applied, or has the API server take its time, must not keep a lost MAIN from being replaced.
    pub(super) async fn equipped(
        &self,
        state: &Cluster,
        cluster: &MemgraphCluster,
    ) -> (Option<Arc<ObjectError>>, Option<Duration>) {
        if let Some((error, again)) = state.awaits(cluster) {
            // Whom a drain of nodes may take waits for no human.
            tokio::select! {
                biased;
                limited = self.limit_evictions(state, cluster) => if let Err(error) = limited {
                    tracing::debug!(error = chain(&error), "the disruption budget was not lowered");
                },
                () = state.tires_of_equipping() => {}
            }
            return (Some(error), Some(again));
        }
        let equipped = tokio::select! {
            biased;
            equipped = self.equip(state, cluster) => equipped,
            () = state.tires_of_equipping() => return (state.put_off(cluster), Some(UNSETTLED)),
        };
        match equipped {
            Ok(()) => {
                state.completed(cluster);
                (None, None)
            }
            Err(error) => (Some(state.lacks(cluster, error)), None),
        }
    }

    /// Brings about all that a cluster consists of. What of it fails keeps nothing else from being tried.
    async fn equip(&self, state: &Cluster, cluster: &MemgraphCluster) -> Result<(), ObjectError> {
        let tended = self.tend_access(state, cluster).await;
        let certified = self.tend_certificates(state, cluster).await;
        let licensed = self.look_at_license(state, cluster).await;
        // Also in a pause: without certificates gateways get no grant.
        let prepared = self.prepare_gateways(state, cluster).await;
        let limited = self.limit_evictions(state, cluster).await;
        // Before a StatefulSet is made, whose controller then makes them as they are to be.
        let withdrawn = self.withdraw_claims(state, cluster).await;
        let applied = self.bring_about(state, cluster).await;
        let grown = self.tend_volumes(state, cluster).await;
        // Gateways that lack theirs only wait, and nothing else waits for it.
        let shown = self.look_at_gateway_certificate(state, cluster).await;
        state.equipped();
        tended
            .and(certified)
            .and(licensed)
            .and(limited)
            .and(applied)
            .and(withdrawn)
            .and(grown)
            .and(shown)
            .and(prepared)
    }

    async fn prepare_gateways(&self, state: &Cluster, cluster: &MemgraphCluster) -> Result<(), ObjectError> {
        let prepared = self.fence.link().prepare(state.errands(cluster), cluster).await;
        prepared.map_err(ObjectError::Gateways)
    }

    async fn tend_access(&self, state: &Cluster, cluster: &MemgraphCluster) -> Result<(), ObjectError> {
        Ok(state.wallet.tend(state.errands(cluster), cluster).await?)
    }

    async fn tend_certificates(&self, state: &Cluster, cluster: &MemgraphCluster) -> Result<(), ObjectError> {
        let inventory = self.inventory(cluster);
        let certificates = &state.certificates;
        Ok(certificates
            .tend(state.errands(cluster), cluster, &inventory)
            .await?)
    }

    async fn look_at_gateway_certificate(
        &self,
        state: &Cluster,
        cluster: &MemgraphCluster,
    ) -> Result<(), ObjectError> {
        Ok(state
            .gateway_certificate
            .look(state.errands(cluster), cluster)
            .await?)
    }

    async fn look_at_license(&self, state: &Cluster, cluster: &MemgraphCluster) -> Result<(), ObjectError> {
        Ok(state.license.look(state.errands(cluster), cluster).await?)
    }

    pub(super) async fn publish_access(
        &self,
        state: &Cluster,
        cluster: &MemgraphCluster,
    ) -> Result<(), ObjectError> {
        let wallet = &state.wallet;
        Ok(wallet
            .publish(&state.client, cluster, &self.cluster_domain)
            .await?)
    }

    async fn limit_evictions(&self, state: &Cluster, cluster: &MemgraphCluster) -> Result<(), ObjectError> {
        objects::limit_evictions(state.errands(cluster), &self.stores, &state.applied, cluster).await
    }

    async fn bring_about(&self, state: &Cluster, cluster: &MemgraphCluster) -> Result<(), ObjectError> {
        let inventory = self.inventory(cluster);
        let stage = hibernation::stage(state, cluster, &inventory);
        // None is made where a StatefulSet is only to ask for fewer.
        let makes_none = stage.ends_pods() && inventory.stateful_set.is_some();
        if cluster.spec.paused || !(makes_none || allows_pods(state, cluster)) {
            return Ok(());
        }
        let newest = state.writers.newest(cluster, &inventory);
        let wanted = Wanted {
            cluster,
            operator: &self.installation,
            image: image::of_new_pods(cluster, &inventory, newest.as_deref()),
            secrets: Fingerprints {
                former: match cluster.spec.tls {
                    Some(_) => None,
                    None => {
                        let main = ledger(cluster).and_then(|ledger| inventory.pod(&ledger.main.instance));
                        let others = inventory.instances.iter().map(Arc::as_ref);
                        main.into_iter().chain(others).find_map(mounted_secret)
                    }
                },
                ..fingerprints(state, cluster)
            },
            holders: inventory.data_holders(cluster),
            main_serves: match ledger(cluster).filter(|ledger| ledger.route == Route::Open) {
                Some(ledger) => state.sightings.serves_as_main(&ledger.main.instance).await,
                None => false,
            },
            stage,
        };
        objects::bring_about(state.errands(cluster), &self.stores, &state.applied, wanted).await
    }

    async fn withdraw_claims(&self, state: &Cluster, cluster: &MemgraphCluster) -> Result<(), ObjectError> {
        let inventory = self.inventory(cluster);
        if leaves_volumes_alone(state, cluster, &inventory) {
            return Ok(());
        }
        Ok(withdraw(state.errands(cluster), cluster, &inventory).await?)
    }

    async fn tend_volumes(&self, state: &Cluster, cluster: &MemgraphCluster) -> Result<(), ObjectError> {
        let inventory = self.inventory(cluster);
        if leaves_volumes_alone(state, cluster, &inventory) {
            return Ok(());
        }
        let growth = &state.growth;
        let grown = growth
            .bring_about(state.errands(cluster), cluster, &inventory)
            .await;
        let passed_on = inheritance::pass_on(state.errands(cluster), cluster, &inventory.claims).await;
        grown?;
        passed_on
    }
}

fn leaves_volumes_alone(state: &Cluster, cluster: &MemgraphCluster, inventory: &Inventory) -> bool {
    cluster.spec.paused || hibernation::stage(state, cluster, inventory).ends_pods()
}

pub(super) fn fingerprints(state: &Cluster, cluster: &MemgraphCluster) -> Fingerprints {
    Fingerprints {
        certificate: state.certificates.fingerprint(cluster),
        license: state.license.fingerprint(cluster),
        former: None,
    }
}

/// Whether all is known that pods are made of.
pub(super) fn allows_pods(state: &Cluster, cluster: &MemgraphCluster) -> bool {
    state.wallet.allows_pods(cluster)
        && state.certificates.allows_pods(cluster)
        && state.license.allows_pods(cluster)
}

pub(super) fn configuration(state: &Cluster, cluster: &MemgraphCluster) -> Option<String> {
    resources::configuration(&cluster.spec, &fingerprints(state, cluster)).ok()
}
