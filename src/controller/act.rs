//! Carries out what a plan says.

use std::net::SocketAddr;

use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::{Api, Client, ResourceExt};

use super::{
    fence::{Fence, FenceError},
    observe,
    sightings::Sightings,
};
use crate::{
    api::{MemgraphCluster, ledger::Incarnation, names},
    memgraph::{self, AdminError, Bolt},
    plan::{
        Action,
        observation::{Marker, Observation},
    },
};

/// Why an action was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum ActError {
    /// An instance did not do it.
    #[error(transparent)]
    Admin(#[from] AdminError),
    /// The gateways have not all confirmed.
    #[error(transparent)]
    Fence(#[from] FenceError),
    /// An instance is no longer what it was when it was chosen.
    #[error("{instance} has restarted since it was chosen")]
    Changed {
        /// The instance.
        instance: String,
    },
    /// An instance has no address now.
    #[error("{instance} has no address")]
    NoAddress {
        /// The instance.
        instance: String,
    },
    /// Kubernetes did not answer.
    #[error("cannot read the pod of {instance}")]
    Read {
        /// The instance.
        instance: String,
        /// Why not.
        source: kube::Error,
    },
}

/// Where and by what means actions are carried out.
pub(super) struct Hands<'a, B> {
    pub(super) client: &'a Client,
    pub(super) bolt: &'a B,
    pub(super) fence: &'a Fence,
    pub(super) cluster: &'a MemgraphCluster,
    pub(super) seen: &'a Observation,
    pub(super) sightings: &'a Sightings,
}

impl<B: Bolt> Hands<'_, B> {
    pub(super) async fn carry_out(&self, action: &Action) -> Result<(), ActError> {
        match action {
            Action::Fence { term } => {
                if !self.cluster.spec.gateway.enabled {
                    return Ok(());
                }
                let (namespace, uid) = (self.namespace(), self.cluster.uid().unwrap_or_default());
                Ok(self
                    .fence
                    .stand(self.client, &namespace, &self.cluster.name_any(), &uid, *term)
                    .await?)
            }
            Action::Promote {
                instance,
                incarnation,
            } => {
                self.require_life(instance, incarnation).await?;
                Ok(memgraph::promote(self.bolt, self.address(instance)?, instance).await?)
            }
            Action::Demote { instance } => {
                Ok(memgraph::demote(self.bolt, self.address(instance)?, instance).await?)
            }
            Action::Register {
                main,
                instance,
                name,
                address,
                mode,
            } => {
                let at = self.address(main)?;
                let result = memgraph::register(self.bolt, at, instance, name, address, *mode).await;
                if let (Err(AdminError::Diverged { .. }), Some(ledger)) = (&result, &self.seen.ledger) {
                    self.sightings.refuse(instance, ledger.term).await;
                }
                Ok(result?)
            }
            Action::Drop { main, name } => {
                Ok(memgraph::drop_replica(self.bolt, self.address(main)?, name).await?)
            }
            Action::ProbeCommit { main } => Ok(memgraph::probe_commit(self.bolt, self.address(main)?).await?),
            Action::Confirm { main, names } => {
                Ok(memgraph::confirm(self.bolt, self.address(main)?, names).await?)
            }
            Action::Mark { main, lineage, term } => {
                let marker = Marker {
                    lineage: lineage.clone(),
                    term: *term,
                };
                Ok(memgraph::mark(self.bolt, self.address(main)?, &marker).await?)
            }
        }
    }

    fn namespace(&self) -> String {
        self.cluster.namespace().unwrap_or_default()
    }

    fn address(&self, instance: &str) -> Result<SocketAddr, ActError> {
        let address = self.seen.instance(instance).and_then(|seen| seen.address);
        address
            .map(|ip| SocketAddr::new(ip, names::BOLT_PORT))
            .ok_or_else(|| ActError::NoAddress {
                instance: instance.to_owned(),
            })
    }

    /// A cache may be behind: that the copy is the one that was chosen is asked of the API server itself.
    async fn require_life(&self, instance: &str, incarnation: &Incarnation) -> Result<(), ActError> {
        let read = |source| ActError::Read {
            instance: instance.to_owned(),
            source,
        };
        let pods = Api::<Pod>::namespaced(self.client.clone(), &self.namespace());
        let claims = Api::<PersistentVolumeClaim>::namespaced(self.client.clone(), &self.namespace());
        let claim = names::data_claim(instance);
        let (pod, claim) = tokio::try_join!(pods.get_opt(instance), claims.get_opt(&claim)).map_err(read)?;
        let claims: Vec<_> = claim.into_iter().collect();
        let life = pod.as_ref().and_then(|pod| observe::incarnation(pod, &claims));
        if life.as_ref() == Some(incarnation) {
            Ok(())
        } else {
            Err(ActError::Changed {
                instance: instance.to_owned(),
            })
        }
    }
}
