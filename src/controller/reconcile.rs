//! One cluster: observe, plan, act, until there is nothing to do or something must be waited for.

use std::{sync::Arc, time::Duration};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{Api, ResourceExt, runtime::controller::Action as Requeue};
use tokio::time::Instant;

use super::{
    Operator,
    access::AccessError,
    act::ActError,
    certificates::CertificateError,
    clusters::{Cluster, RETRY_UNFIT},
    connections::Connections,
    custody::CustodyError,
    furnish::{allows_pods, configuration},
    gateway_certificate::GatewayCertificateError,
    grants::attributed,
    hibernation,
    license::LicenseError,
    link::GatewayLink,
    neighbours::Claim,
    objects::ObjectError,
    observe::Memories,
    sightings::Whom,
    status::{self, StatusError},
    volumes::VolumeError,
};
use crate::{
    api::{
        MemgraphCluster,
        conditions::Reason,
        ledger::{Ledger, Route},
    },
    memgraph::Bolt,
    plan::{
        self, Action, Situation, Stage, Step,
        observation::{Instance, Observation, Registration},
    },
};

/// How soon an announced operation is looked at again: its next step waits for Memgraph.
pub(super) const WORKING: Duration = Duration::from_millis(50);
/// An operation that takes longer than this waits for something slow, such as a full copy.
const LASTING: Duration = Duration::from_secs(5);
/// How soon a cluster is looked at again that is not as it should be.
pub(super) const UNSETTLED: Duration = Duration::from_millis(300);
/// For how long one call goes on before others of the same cluster get their turn.
const TURN: Duration = Duration::from_secs(10);

/// Why a cluster was not brought further.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// An object is not as it should be.
    #[error(transparent)]
    Object(#[from] Arc<ObjectError>),
    /// The status was not written.
    #[error(transparent)]
    Status(#[from] StatusError),
    /// A step failed; it is planned for again.
    #[error(transparent)]
    Act(#[from] ActError),
    /// The cluster could not be read.
    #[error("cannot read the cluster {cluster}")]
    Read {
        /// The cluster.
        cluster: String,
        /// Why not.
        source: kube::Error,
    },
    /// Another installation of the operator looks after it by now.
    #[error("{cluster} is looked after by the installation of the operator with the Lease {other} by now")]
    TakenOver {
        /// The cluster.
        cluster: String,
        /// The other installation.
        other: String,
    },
}

impl ReconcileError {
    /// Which of them it is, in a word.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Object(_) => "object",
            Self::Status(StatusError::Conflict { .. }) | Self::TakenOver { .. } => "conflict",
            Self::Status(StatusError::Unfit { .. }) => "definition",
            Self::Status(StatusError::Write { .. }) => "status",
            Self::Act(_) => "step",
            Self::Read { .. } => "read",
        }
    }
}

/// Brings one cluster as far as it goes now.
pub(super) async fn reconcile<B: Bolt, G: GatewayLink>(
    cluster: Arc<MemgraphCluster>,
    operator: Arc<Operator<B, G>>,
) -> Result<Requeue, ReconcileError> {
    let cluster = match operator.clusters.known(&cluster) {
        Some(known) => known.newest(MemgraphCluster::clone(&cluster)),
        None => MemgraphCluster::clone(&cluster),
    };
    if let Some(other) = operator.neighbours.of(&cluster) {
        return Ok(operator.leave(&cluster, other).await);
    }
    if cluster.metadata.deletion_timestamp.is_some() {
        // Everything that belongs to it goes with it, by owner references.
        return operator.take_leave(&cluster).await;
    }
    let state = operator.clusters.of(&cluster, &operator);
    let cluster = match operator.claim(&state, cluster).await? {
        Claim::Ours(cluster) => *cluster,
        Claim::Unfit(cluster, why) => {
            let seen = operator.observe(&state, &cluster).await;
            let next = operator.refuse_definition(&state, &cluster, &seen, why).await?;
            return Ok(Requeue::requeue(next));
        }
        Claim::Unclear => return Ok(Requeue::requeue(WORKING)),
    };
    operator.clusters.attend(&cluster, &operator);
    let (hindered, again) = operator.equipped(&state, &cluster).await;
    let next = Box::pin(operator.advance(&state, cluster.clone(), hindered.as_deref())).await?;
    let published = operator.publish_access(&state, &state.newest(cluster)).await;
    // What was not asked for now has not failed now.
    let failed = hindered.filter(|_| again.is_none());
    match failed.or(published.err().map(Arc::new)) {
        Some(error) => {
            state.hindered(next);
            Err(error.into())
        }
        None => {
            if let Some(again) = again {
                return Ok(Requeue::requeue(next.min(again)));
            }
            state.succeeded();
            Ok(Requeue::requeue(next))
        }
    }
}

/// What the report says while an object cannot be applied and nothing more urgent is going on. None: `for_long` it is not so yet, and it
/// may pass by itself.
fn hindrance(error: &ObjectError, for_long: bool) -> Option<Situation> {
    let reason = match error {
        ObjectError::Foreign { .. } => Reason::ForeignObject,
        ObjectError::Access(AccessError::Foreign(_)) => Reason::ForeignObject,
        ObjectError::Access(
            AccessError::Missing(_) | AccessError::MissingKey { .. } | AccessError::Unusable { .. },
        ) => Reason::InvalidCredentials,
        ObjectError::Build(_)
        | ObjectError::Access(AccessError::Build(_))
        | ObjectError::Volume(VolumeError::Size(_))
        | ObjectError::Custody(CustodyError::Forbidden { .. }) => Reason::InvalidSpec,
        ObjectError::Volume(VolumeError::Refused { .. }) => Reason::ExpansionRefused,
        // The API server's word on a value that no rule of the definition is about, as in an affinity.
        ObjectError::Request { source, .. } if is_answer(source, &[422]) => Reason::InvalidSpec,
        // A webhook, a quota, a right: it stands until somebody changes that.
        ObjectError::Request { source, .. } if is_answer(source, &[400, 403]) => Reason::ObjectRefused,
        ObjectError::Volume(VolumeError::Kept { .. }) => Reason::ObjectRefused,
        // What goes with a cluster that was deleted is gone in a moment.
        ObjectError::LeftBehind { .. } | ObjectError::Access(AccessError::LeftBehind(_)) => {
            if !for_long {
                return None;
            }
            Reason::ForeignObject
        }
        ObjectError::Request { .. }
        | ObjectError::Access(AccessError::Request { .. })
        | ObjectError::Certificate(CertificateError::Request { .. })
        | ObjectError::GatewayCertificate(GatewayCertificateError::Request { .. })
        | ObjectError::License(LicenseError::Request { .. })
        | ObjectError::Volume(VolumeError::Request { .. } | VolumeError::Withdrawal { .. })
        | ObjectError::Custody(CustodyError::Pod { .. } | CustodyError::Claim { .. })
        | ObjectError::Gateways(_) => {
            if !for_long {
                return None;
            }
            Reason::ObjectRefused
        }
        ObjectError::Certificate(_) | ObjectError::GatewayCertificate(_) => Reason::InvalidCertificate,
        ObjectError::License(_) => Reason::InvalidLicense,
    };
    Some(Situation::Stalled(reason, super::chain(error)))
}

/// What is said where the API server's data was put back, as by a restore of etcd.
fn went_back(cluster: &MemgraphCluster, shown: i64, known: i64) -> String {
    format!(
        "the ledger in the status is of term {shown}, and term {known} has been: the API server's data was put back to an older state. \
         Who leads now, and who holds every acknowledged write, the ledger does not tell, so that no role is changed. Remove it (kubectl \
         patch memgraphcluster {} --subresource=status --type=json -p '[{{\"op\":\"remove\",\"path\":\"/status/ledger\"}}]'), and \
         delete the operator's pods: a cluster that runs is taken over as it is; where it is not clear who is MAIN, the condition then says what to \
         name in bootstrap.recover",
        cluster.name_any()
    )
}

/// Whether the API server has given one of these answers.
fn is_answer(error: &kube::Error, codes: &[u16]) -> bool {
    matches!(error, kube::Error::Api(answer) if codes.contains(&answer.code))
}

fn is_gone(error: &kube::Error) -> bool {
    is_answer(error, &[404])
}

pub(super) fn ledger(cluster: &MemgraphCluster) -> Option<&Ledger> {
    cluster.status.as_ref()?.ledger.as_ref()
}

/// Whether the spec has changed since the status was written.
fn is_changed(cluster: &MemgraphCluster) -> bool {
    let status = cluster.status.as_ref();
    status.is_none_or(|status| status.observed_generation != cluster.metadata.generation)
}

fn is_open(cluster: &MemgraphCluster) -> bool {
    ledger(cluster).is_some_and(|ledger| ledger.route == Route::Open)
}

fn requeue(
    state: &Cluster,
    cluster: &MemgraphCluster,
    seen: &Observation,
    situation: &Situation,
    at_rest: Duration,
) -> Duration {
    let views = seen.instances.iter().filter_map(Instance::view);
    let mut registrations = views.flat_map(|view| &view.registrations);
    let settled = cluster.status.as_ref().is_some_and(|status| {
        status.ready_replicas == seen.settings.replicas && *situation == Situation::Serving
    }) && registrations.all(Registration::follows)
        // Somebody may wait for MAIN to be moved, which is tried again before the next look would be.
        && !seen.misses_a_gateway
        // It must not end unnoticed between two looks.
        && !seen.instances.iter().any(|instance| instance.terminating);
    match situation {
        Situation::Working(..) if state.since_write() < LASTING => WORKING,
        _ if settled || seen.stage == Stage::Asleep => at_rest,
        _ => UNSETTLED,
    }
}

impl<B: Bolt, G: GatewayLink> Operator<B, G> {
    /// Says that a cluster is being deleted, which is to be seen where somebody waits for its objects (foreground deletion).
    async fn take_leave(&self, cluster: &MemgraphCluster) -> Result<Requeue, ReconcileError> {
        let status = status::terminating(cluster, &Time(self.wall.now()));
        if cluster.status.as_ref() != Some(&status) {
            match status::write(self.lanes.ordinary(), cluster, &status).await {
                // Whoever wrote in between has the watch tell of it.
                Ok(_) | Err(StatusError::Conflict { .. }) => {}
                Err(StatusError::Write { source, .. }) if is_gone(&source) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Requeue::await_change())
    }

    /// Plans and acts until there is nothing to do or something must be waited for, and reports it.
    async fn advance(
        &self,
        state: &Cluster,
        mut cluster: MemgraphCluster,
        hindered: Option<&ObjectError>,
    ) -> Result<Duration, ReconcileError> {
        let turn = Instant::now();
        let uid = cluster.uid();
        loop {
            if cluster.uid() != uid {
                // Another one of this name, of which this call knows nothing.
                return Ok(WORKING);
            }
            if let Some(other) = self.neighbours.of(&cluster) {
                let (cluster, other) = (cluster.name_any(), other.to_owned());
                return Err(ReconcileError::TakenOver { cluster, other });
            }
            let seen = self.observe(state, &cluster).await;
            if let Some(why) = state.unfit_definition() {
                return self.refuse_definition(state, &cluster, &seen, why).await;
            }
            let known = seen.known_term;
            if ledger(&cluster).is_some_and(|ledger| ledger.term < known) {
                let live = self.read(state, &cluster).await?;
                if live.uid() != uid || ledger(&live) != ledger(&cluster) {
                    // The cache was behind.
                    cluster = live;
                    continue;
                }
                if let Some(shown) = ledger(&live).filter(|ledger| !ledger.is_void(known)) {
                    let text = went_back(&live, shown.term, known);
                    let situation = Situation::Stalled(Reason::AmbiguousState, text);
                    self.report(state, &live, &seen, &situation).await?;
                    return Ok(RETRY_UNFIT);
                }
            }
            let mut plan = plan::plan(&seen);
            if let Some(ledger) = ledger(&cluster).filter(|_| plan.acts_unwritten() && !state.is_settled()) {
                plan = plan.after_a_write(ledger);
            }
            tracing::debug!(cluster = %cluster.name_any(), ?plan, "planned");
            let gateways = self.other_gateways(state, &cluster);
            if plan.steps.is_empty() && gateways.is_none() {
                let calm = matches!(plan.situation, Situation::Serving | Situation::Waiting(..));
                let next = |situation: &Situation| requeue(state, &cluster, &seen, situation, self.interval);
                let situation = match hindered.filter(|_| calm) {
                    None => plan.situation,
                    Some(error) => match hindrance(error, state.hindered_for() >= LASTING) {
                        Some(situation) => situation,
                        // Nobody is to be told yet that what is asked for is there.
                        None if is_changed(&cluster) => return Ok(next(&plan.situation)),
                        None => plan.situation,
                    },
                };
                let again = next(&situation);
                match self.report(state, &cluster, &seen, &situation).await {
                    Err(ReconcileError::Status(error @ StatusError::Unfit { .. })) => {
                        cluster = self.note_unfit(state, &cluster, &error).await?;
                        continue;
                    }
                    reported => return reported.map(|()| again),
                }
            }
            // The cache may be behind what was decided last, by this process or by another one.
            let decided = ledger(&cluster).filter(|_| plan.writes());
            let live = state.decide(decided, self.read(state, &cluster)).await?;
            let is_other = self.neighbours.of(&live).is_some() || live.spec != cluster.spec;
            if live.uid() != uid || ledger(&live) != ledger(&cluster) || is_other {
                cluster = live;
                continue;
            }
            cluster = live;
            let situation = plan.situation.clone();
            let first = plan.steps.first();
            let replaces = plan
                .steps
                .iter()
                .any(|step| matches!(step, Step::Do(Action::DeletePod { .. })));
            let asks_gateways = matches!(first, Some(Step::Do(Action::ReachGateways)));
            let notes = matches!(first, Some(Step::Do(Action::NoteVolumes { .. })));
            let shows = matches!(first, Some(Step::Do(Action::ShowMissing { .. })));
            // What begins with a question to the gateways must not wait for one that is gone. While clients wait, though,
            // nothing is written that can wait.
            let in_between = matches!(first, Some(Step::Do(_))) && is_open(&cluster);
            let done = match gateways.filter(|_| first.is_none() || in_between) {
                Some(next) => {
                    let status = self.status(state, &cluster, &seen, Some(next), &situation);
                    self.write(state, &cluster, &status).await
                }
                None => self.execute(state, &cluster, &seen, plan).await,
            };
            match done {
                Ok(written) => cluster = state.newest(written),
                Err(ReconcileError::Status(StatusError::Conflict { .. })) => {
                    cluster = self.read(state, &cluster).await?;
                }
                Err(ReconcileError::Status(error @ StatusError::Unfit { .. })) => {
                    cluster = self.note_unfit(state, &cluster, &error).await?;
                }
                // Nothing was begun, and the next plan goes on without it.
                Err(error) if asks_gateways && is_open(&cluster) => return Err(error),
                Err(error) => {
                    // A step that fails again and again must not keep the status from telling what is seen.
                    let cluster = state.newest(cluster);
                    if let Err(unreported) = self.report(state, &cluster, &seen, &situation).await {
                        tracing::debug!(error = super::chain(&unreported), "the report was not written");
                    }
                    return Err(error);
                }
            }
            if replaces || notes || shows {
                // The cache shows the deleted pod, or the claims without the note, for a while; and MAIN the replica as it was.
                return Ok(UNSETTLED);
            }
            if turn.elapsed() > TURN {
                return Ok(WORKING);
            }
        }
    }

    /// Does nothing but tell of a definition that does not fit.
    async fn refuse_definition(
        &self,
        state: &Cluster,
        cluster: &MemgraphCluster,
        seen: &Observation,
        why: String,
    ) -> Result<Duration, ReconcileError> {
        let situation = Situation::Stalled(Reason::UnfitDefinition, why);
        self.report(state, cluster, seen, &situation).await?;
        Ok(RETRY_UNFIT)
    }

    /// Nothing is done on a status that was not kept. Returns the cluster as it is: something of it may have been kept.
    pub(super) async fn note_unfit(
        &self,
        state: &Cluster,
        cluster: &MemgraphCluster,
        error: &StatusError,
    ) -> Result<MemgraphCluster, ReconcileError> {
        tracing::error!(cluster = %cluster.name_any(), %error, "nothing is done");
        state.note_unfit_definition(error.to_string());
        self.read(state, cluster).await
    }

    pub(super) async fn observe(&self, state: &Cluster, cluster: &MemgraphCluster) -> Observation {
        let inventory = self.inventory(cluster);
        let emptiness = state.lacks_a_ledger(cluster);
        // Once another instance is to be MAIN, nothing waits for an old one that says nothing.
        let whom = Whom::Answering(ledger(cluster).map(|ledger| ledger.main.instance.as_str()));
        let targets = self.targets(state, cluster, &inventory);
        state
            .sightings
            .look(
                &self.bolt(state),
                &Connections::default(),
                &targets,
                emptiness,
                whom,
            )
            .await;
        state.note_main(cluster).await;
        let uid = cluster.uid().unwrap_or_default();
        let lineage = format!("l{}", uid.replace('-', ""));
        let stage = hibernation::stage(state, cluster, &inventory);
        inventory
            .observation(
                cluster,
                &state.sightings,
                Memories {
                    known_term: state.known_term(cluster),
                    numbers: state.numbers(),
                    fresh_lineage: lineage,
                    closed_for: state.closed_for(ledger(cluster)),
                    shut_for: state.shut_for(),
                    commit_for: state.commit_for(ledger(cluster)),
                    commits_slowly: state.commits_slowly(),
                    change_ages: state.change_ages(ledger(cluster), &self.wall),
                    witnesses: state.witnesses(),
                    access: state.wallet.access(cluster, ledger(cluster)),
                    configuration: allows_pods(state, cluster)
                        .then(|| configuration(state, cluster))
                        .flatten(),
                    stage,
                    now: self.wall.now(),
                },
                &self.cluster_domain,
            )
            .await
    }

    pub(super) async fn read(
        &self,
        state: &Cluster,
        cluster: &MemgraphCluster,
    ) -> Result<MemgraphCluster, ReconcileError> {
        let name = cluster.name_any();
        let api = Api::<MemgraphCluster>::namespaced(
            state.client.clone(),
            &cluster.namespace().unwrap_or_default(),
        );
        let live = api.get(&name).await.map_err(|source| ReconcileError::Read {
            cluster: name,
            source,
        })?;
        if live.uid() == cluster.uid() {
            state.read(&live);
        }
        Ok(live)
    }

    /// The ledger with the gateways that there are now, if it names others.
    fn other_gateways(&self, state: &Cluster, cluster: &MemgraphCluster) -> Option<Ledger> {
        let now = ledger(cluster)?;
        let next = attributed(
            Some(now),
            now,
            state,
            &self.inventory(cluster),
            cluster,
            &self.wall,
        );
        (next != *now).then_some(next)
    }
}
