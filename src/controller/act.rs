//! Carries out what a plan says.

use std::{net::SocketAddr, time::Duration};

use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams, Preconditions},
};
use tokio::time::{Instant, timeout};

use serde_json::json;

use super::{
    access::Wallet,
    fence::{Fence, FenceError, Gateway},
    link::GatewayLink,
    observe,
    sightings::Sightings,
};
use crate::{
    api::{MemgraphCluster, VolumeNote, ledger::Incarnation, names},
    memgraph::{self, AdminError, Bolt},
    plan::{
        Action,
        observation::{Instance, Marker, Observation},
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
    /// An instance may have restarted since it was chosen: its process has ended, and another one may answer.
    #[error(
        "the process of {instance} has ended, by what was seen of it; Kubernetes has not told yet what has become of it"
    )]
    Unclear {
        /// The instance.
        instance: String,
    },
    /// An instance is not, or not alone, where it was when this was planned.
    #[error("{address} is not the address of {instance} alone any more")]
    Moved {
        /// The instance.
        instance: String,
        /// Where it was.
        address: String,
    },
    /// An instance has no address now.
    #[error("{instance} has no address")]
    NoAddress {
        /// The instance.
        instance: String,
    },
    /// An instance gives no answer any more, to nobody's question.
    #[error("{instance} is silent")]
    Silent {
        /// The instance.
        instance: String,
    },
    /// Kubernetes did not take a note.
    #[error("cannot note on the volume of {instance} who is MAIN")]
    Note {
        /// The instance.
        instance: String,
        /// Why not.
        source: kube::Error,
    },
    /// Kubernetes did not delete a pod.
    #[error("cannot delete the pod of {instance}")]
    Delete {
        /// The instance.
        instance: String,
        /// Why not.
        source: kube::Error,
    },
    /// The pod was not deleted in time, by all that is known: what speaks for it may have changed.
    #[error("the pod of {instance} was not deleted within {} ms", .within.as_millis())]
    Late {
        /// The instance.
        instance: String,
        /// How long was waited.
        within: Duration,
    },
    /// MAIN is in a storage mode in which nothing is replicated.
    #[error("{instance} is in the storage mode {mode}, in which nothing is replicated")]
    Unreplicated {
        /// The instance.
        instance: String,
        /// Memgraph's word for the mode.
        mode: &'static str,
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

/// For how long a command is tried again that needs a moment without commits.
const BUSY_FOR: Duration = Duration::from_millis(500);
/// The pauses between these tries: odd, so as not to fall into step with a client's own.
const BUSY_PAUSE: Duration = Duration::from_millis(7);
/// How soon an instance is registered again whose replication port did not answer.
const UNREACHABLE_PAUSE: Duration = Duration::from_secs(3);
/// How soon an instance is registered again that MAIN has failed to register.
const FAILED_PAUSE: Duration = Duration::from_secs(30);

/// Within what time a pod must be deleted with which data goes, the wait for the request's turn included.
const DELETED_WITHIN: Duration = Duration::from_secs(1);

/// For how long something is waited for that comes by itself.
const SOON: Duration = Duration::from_secs(1);

/// Tries a command again while commits hold the lock that it needs, or asks again for what comes by itself.
async fn patiently<F>(mut command: impl FnMut() -> F) -> Result<(), AdminError>
where
    F: Future<Output = Result<(), AdminError>>,
{
    let started = Instant::now();
    loop {
        let result = command().await;
        let patience = match &result {
            Err(AdminError::Busy { .. }) => BUSY_FOR,
            Err(AdminError::NotYet(_)) => SOON,
            _ => return result,
        };
        if started.elapsed() >= patience {
            return result;
        }
        tokio::time::sleep(BUSY_PAUSE).await;
    }
}

/// Where and by what means actions are carried out.
pub(super) struct Hands<'a, B, G> {
    pub(super) client: &'a Client,
    pub(super) bolt: &'a B,
    pub(super) wallet: &'a Wallet,
    pub(super) fence: &'a Fence<G>,
    pub(super) cluster: &'a MemgraphCluster,
    pub(super) seen: &'a Observation,
    pub(super) sightings: &'a Sightings,
    /// The gateways that are known from the cache.
    pub(super) gateways: &'a [Gateway],
    /// For how long this process has known the route to be closed.
    pub(super) closed_for: Duration,
}

impl<B: Bolt, G: GatewayLink> Hands<'_, B, G> {
    /// Does what the action says. An answer of MAIN is waited for no longer than it would be in a look: one that is lost meanwhile is not
    /// replaced before.
    pub(super) async fn carry_out(&self, action: &Action) -> Result<(), ActError> {
        let Some(main) = action.asks_main() else {
            return self.perform(action).await;
        };
        let patience = self.seen.settings.detection_timeout;
        tokio::select! {
            biased;
            done = self.perform(action) => done,
            () = self.sightings.fallen_silent(main, patience) => Err(ActError::Silent { instance: main.to_owned() }),
        }
    }

    async fn perform(&self, action: &Action) -> Result<(), ActError> {
        match action {
            Action::Fence { term } => {
                let closed_for = self.closed_for;
                Ok(self
                    .fence
                    .stand(self.client, self.cluster, self.gateways, *term, closed_for)
                    .await?)
            }
            Action::Promote {
                instance,
                incarnation,
            } => {
                let at = self.require_life(instance, incarnation).await?;
                if self.sightings.may_have_ended(instance, incarnation).await {
                    return Err(ActError::Unclear {
                        instance: instance.to_owned(),
                    });
                }
                Ok(memgraph::promote(self.bolt, at, instance).await?)
            }
            Action::ReachGateways => {
                let reached = self.fence.reach(self.client, self.cluster).await;
                self.sightings.reached_gateways(reached.is_ok()).await;
                Ok(reached?)
            }
            Action::Demote { instance } => {
                let at = self.address(instance)?;
                let result = patiently(|| memgraph::demote(self.bolt, at, instance)).await;
                if result.as_ref().is_err_and(AdminError::leaves_it_main) {
                    self.sightings.did_not_step_down(instance).await;
                }
                Ok(result?)
            }
            // Once: if a commit is under way, what was proven is not so any more.
            Action::StepDown { instance } => {
                Ok(memgraph::demote(self.bolt, self.address(instance)?, instance).await?)
            }
            Action::Quiesce { main } => {
                let at = self.address(main)?;
                patiently(|| memgraph::quiesced(self.bolt, at)).await?;
                self.require_replicating(main, at).await
            }
            Action::Register {
                main,
                instance,
                name,
                address,
                mode,
            } => {
                let at = self.address(main)?;
                self.require_address(instance, address).await?;
                let result =
                    patiently(|| memgraph::register(self.bolt, at, instance, name, address, *mode)).await;
                self.note_lock(&result).await;
                if let Err(error) = &result {
                    self.note_failed_registration(instance, error).await;
                }
                Ok(result?)
            }
            Action::Drop { main, name } => {
                let at = self.address(main)?;
                let result = patiently(|| memgraph::drop_replica(self.bolt, at, name)).await;
                self.note_lock(&result).await;
                Ok(result?)
            }
            Action::ProbeCommit { main } => Ok(memgraph::probe_commit(self.bolt, self.address(main)?).await?),
            Action::ShowMissing { main } => {
                self.sightings.shows_what_is_missing();
                Ok(memgraph::show_missing(self.bolt, self.address(main)?).await?)
            }
            Action::Confirm { main, names } => {
                let at = self.address(main)?;
                Ok(patiently(|| memgraph::confirm(self.bolt, at, names)).await?)
            }
            Action::DeletePod { instance, pod_uid } => self.delete_pod(instance, pod_uid).await,
            Action::ReadPosition { instance } => {
                match memgraph::position(self.bolt, self.address(instance)?, instance).await {
                    Ok(position) => self.sightings.measured(instance, Ok(position)).await,
                    // That it cannot be told is an answer too.
                    Err(error @ AdminError::Precondition(_)) => {
                        let why = super::chain(&error);
                        self.sightings.measured(instance, Err(why)).await;
                    }
                    Err(error) => {
                        let why = super::chain(&error);
                        self.sightings.unmeasured(instance, &why).await;
                        return Err(error.into());
                    }
                }
                Ok(())
            }
            Action::NoteVolumes { claims, note } => self.note_volumes(claims, note).await,
            Action::SettleUsers { main } => self.settle_users(main).await,
            Action::Mark { main, lineage } => {
                let marker = Marker {
                    lineage: lineage.clone(),
                };
                Ok(memgraph::mark(self.bolt, self.address(main)?, &marker).await?)
            }
        }
    }

    /// A look is some time ago, and whoever changes the mode asks nobody. Last, since now nothing runs that could still change it.
    async fn require_replicating(&self, main: &str, at: SocketAddr) -> Result<(), ActError> {
        let view = self.seen.instance(main).and_then(Instance::view);
        let version = view.map(|view| view.version.as_str()).unwrap_or_default();
        let mode = memgraph::storage_mode(self.bolt, at, version).await?;
        match mode.filter(|mode| !mode.replicates()) {
            None => Ok(()),
            Some(mode) => {
                // The next plan goes by it.
                self.sightings.told_mode(main, mode).await;
                Err(ActError::Unreplicated {
                    instance: main.to_owned(),
                    mode: mode.as_str(),
                })
            }
        }
    }

    async fn settle_users(&self, main: &str) -> Result<(), ActError> {
        let (Some(key), Some(ledger)) = (self.wallet.current(), &self.seen.ledger) else {
            return Ok(());
        };
        let known = self.wallet.known(ledger, &key);
        memgraph::settle_users(self.bolt, self.address(main)?, &key, known).await?;
        self.wallet.settled(ledger, key);
        Ok(())
    }

    /// Whether a command got its lock is remembered: behind a closed route it would.
    async fn note_lock(&self, result: &Result<(), AdminError>) {
        match result {
            Ok(()) => self.sightings.got_a_moment(true).await,
            Err(AdminError::Busy { .. }) => self.sightings.got_a_moment(false).await,
            Err(_) => {}
        }
    }

    /// So that the next plan does not try the same again at once: MAIN's commits wait while it tries.
    async fn note_failed_registration(&self, instance: &str, error: &AdminError) {
        match error {
            AdminError::Diverged { .. } => {
                if let Some(ledger) = &self.seen.ledger {
                    self.sightings.refuse(instance, ledger.term).await;
                }
            }
            AdminError::Busy { .. } | AdminError::NotYet(_) => {}
            // MAIN was not asked.
            AdminError::Precondition(_) => self.sightings.unregistrable(instance, UNREACHABLE_PAUSE).await,
            AdminError::Bolt { .. } | AdminError::Answer { .. } => {
                self.sightings.unregistrable(instance, FAILED_PAUSE).await;
            }
        }
    }

    /// Notes the ledger on volume claims, or on pods where the data lies in these. One that was replaced meanwhile gets no note that
    /// was meant for another volume.
    async fn note_volumes(&self, claims: &[(String, String)], note: &VolumeNote) -> Result<(), ActError> {
        let in_pods = self.seen.settings.data_in_pods;
        let pods = Api::<Pod>::namespaced(self.client.clone(), &self.namespace());
        let api = Api::<PersistentVolumeClaim>::namespaced(self.client.clone(), &self.namespace());
        let text = serde_json::to_string(note).unwrap_or_default();
        let params = PatchParams::default();
        for (instance, uid) in claims {
            let patch = json!({"metadata": {"uid": uid, "annotations": {names::NOTE_ANNOTATION: text}}});
            let patch = Patch::Merge(&patch);
            let patched = if in_pods {
                pods.patch_metadata(instance, &params, &patch).await.map(drop)
            } else {
                let claim = names::data_claim(instance);
                api.patch_metadata(&claim, &params, &patch).await.map(drop)
            };
            match patched {
                Ok(()) => {}
                // It is gone, or another one has taken its place: its UID cannot be changed.
                Err(kube::Error::Api(answer)) if matches!(answer.code, 404 | 409 | 422) => {}
                Err(source) => {
                    return Err(ActError::Note {
                        instance: instance.clone(),
                        source,
                    });
                }
            }
        }
        Ok(())
    }

    /// Deletes this very pod, and no successor of it. Where its data goes with it: as it was when this was planned, and soon or not at
    /// all, because a request that waits for its turn would be let through just when MAIN is lost.
    async fn delete_pod(&self, instance: &str, pod_uid: &str) -> Result<(), ActError> {
        let pods = Api::<Pod>::namespaced(self.client.clone(), &self.namespace());
        let in_pods = self.seen.settings.data_in_pods;
        let seen = self.seen.instance(instance).filter(|_| in_pods);
        let params = DeleteParams {
            preconditions: Some(Preconditions {
                uid: Some(pod_uid.to_owned()),
                resource_version: seen.and_then(|seen| seen.pod_version.clone()),
            }),
            ..DeleteParams::default()
        };
        let within = if in_pods { DELETED_WITHIN } else { Duration::MAX };
        let Ok(answer) = timeout(within, pods.delete(instance, &params)).await else {
            let instance = instance.to_owned();
            return Err(ActError::Late { instance, within });
        };
        match answer {
            Ok(_) => Ok(()),
            // It is gone, or another one has taken its place.
            Err(kube::Error::Api(answer)) if matches!(answer.code, 404 | 409) => Ok(()),
            Err(source) => Err(ActError::Delete {
                instance: instance.to_owned(),
                source,
            }),
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

    /// That an instance has the address under which it is to be registered, and nobody else, is asked of the API server itself,
    /// after the ledger has kept everybody else from starting there.
    async fn require_address(&self, instance: &str, address: &str) -> Result<(), ActError> {
        let pods = Api::<Pod>::namespaced(self.client.clone(), &self.namespace());
        let of_cluster = names::selector(&self.cluster.name_any(), names::INSTANCE);
        let selector: Vec<_> = of_cluster
            .iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        let params = ListParams::default().labels(&selector.join(","));
        let pods = pods.list(&params).await.map_err(|source| ActError::Read {
            instance: instance.to_owned(),
            source,
        })?;
        let is_there = |pod: &&Pod| {
            let now = observe::address(pod).and_then(observe::replication_address);
            now.as_deref() == Some(address)
        };
        let there: Vec<_> = pods
            .items
            .iter()
            .filter(is_there)
            .map(ResourceExt::name_any)
            .collect();
        if there == [instance] {
            Ok(())
        } else {
            Err(ActError::Moved {
                instance: instance.to_owned(),
                address: address.to_owned(),
            })
        }
    }

    /// A cache may be behind: that the copy is the one that was chosen is asked of the API server itself. Returns where it is.
    async fn require_life(&self, instance: &str, incarnation: &Incarnation) -> Result<SocketAddr, ActError> {
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
            let address = pod.as_ref().and_then(observe::address);
            address
                .map(|ip| SocketAddr::new(ip, names::BOLT_PORT))
                .ok_or_else(|| ActError::NoAddress {
                    instance: instance.to_owned(),
                })
        } else {
            Err(ActError::Changed {
                instance: instance.to_owned(),
            })
        }
    }
}
