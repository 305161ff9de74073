//! One cluster: observe, plan, act, until there is nothing to do or something must be waited for.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{Api, ResourceExt, runtime::controller::Action as Requeue};
use tokio::time::Instant;

use super::{
    Operator,
    access::AccessError,
    act::{ActError, Hands},
    certificates::CertificateError,
    clusters::{Cluster, RETRY_UNFIT},
    connections::Connections,
    custody::CustodyError,
    fence::Gateway,
    gateway_certificate::GatewayCertificateError,
    grants::attributed,
    hibernation, image, inheritance,
    license::LicenseError,
    link::GatewayLink,
    objects::{self, ObjectError, Wanted},
    observe::Memories,
    packed::UNSEEN,
    sightings::Whom,
    status::{self, StatusError, Surroundings},
    volumes::VolumeError,
};
use crate::{
    api::{
        MemgraphCluster, MemgraphClusterStatus, SwitchoverState,
        conditions::Reason,
        ledger::{Ledger, Route},
        names,
    },
    memgraph::Bolt,
    plan::{
        self, Action, Plan, Situation, Stage, Step,
        observation::{Instance, Observation, Registration},
        report,
    },
    resources::{self, Fingerprints, Kind, ObjectKey},
    traces::{self, StepTime},
};

/// How soon an announced operation is looked at again: its next step waits for Memgraph.
const WORKING: Duration = Duration::from_millis(50);
/// An operation that takes longer than this waits for something slow, such as a full copy.
const LASTING: Duration = Duration::from_secs(5);
/// How soon a cluster is looked at again that is not as it should be.
const UNSETTLED: Duration = Duration::from_millis(300);
/// Operations that end sooner than this are told by the writes that they make anyway.
const QUIET: Duration = Duration::from_secs(2);
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
}

impl ReconcileError {
    /// Which of them it is, in a word.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Object(_) => "object",
            Self::Status(StatusError::Conflict { .. }) => "conflict",
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
    if cluster.metadata.deletion_timestamp.is_some() {
        // Everything that belongs to it goes with it, by owner references.
        return operator.take_leave(&cluster).await;
    }
    let state = operator.clusters.of(&cluster, &operator);
    let cluster = state.newest(MemgraphCluster::clone(&cluster));
    let cluster = operator.greet(&state, cluster).await?;
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
        | ObjectError::Volume(VolumeError::Request { .. })
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

/// Whether the API server has given one of these answers.
fn is_answer(error: &kube::Error, codes: &[u16]) -> bool {
    matches!(error, kube::Error::Api(answer) if codes.contains(&answer.code))
}

fn is_gone(error: &kube::Error) -> bool {
    is_answer(error, &[404])
}

fn ledger(cluster: &MemgraphCluster) -> Option<&Ledger> {
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

fn gateway_deployment(cluster: &MemgraphCluster) -> ObjectKey {
    ObjectKey {
        kind: Kind::Deployment,
        name: names::gateway(&cluster.name_any()),
    }
}

fn fingerprints(state: &Cluster, cluster: &MemgraphCluster) -> Fingerprints {
    Fingerprints {
        certificate: state.certificates.fingerprint(cluster),
        license: state.license.fingerprint(cluster),
    }
}

/// Whether all is known that pods are made of.
fn allows_pods(state: &Cluster, cluster: &MemgraphCluster) -> bool {
    state.wallet.allows_pods(cluster)
        && state.certificates.allows_pods(cluster)
        && state.license.allows_pods(cluster)
}

fn configuration(state: &Cluster, cluster: &MemgraphCluster) -> Option<String> {
    resources::configuration(&cluster.spec, &fingerprints(state, cluster)).ok()
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

    /// Says of a new cluster that it is looked after, before anything is made for it: who waits for it by its conditions must not
    /// take it for ready meanwhile, nor for one that nobody has seen.
    async fn greet(
        &self,
        state: &Cluster,
        cluster: MemgraphCluster,
    ) -> Result<MemgraphCluster, ReconcileError> {
        let told = cluster
            .status
            .as_ref()
            .is_some_and(|status| !status.conditions.is_empty());
        if told || state.unfit_definition().is_some() {
            return Ok(cluster);
        }
        let status = status::first_sight(&cluster, &Time(self.wall.now()));
        match status::write(&state.client, &cluster, &status).await {
            Ok(written) => {
                state.wrote(&written);
                Ok(state.newest(written))
            }
            // Somebody was faster, or the cache is behind.
            Err(StatusError::Conflict { .. }) => self.read(state, &cluster).await,
            // Where more than this is to be written, it is said.
            Err(StatusError::Unfit { .. }) => Ok(cluster),
            Err(error) => Err(error.into()),
        }
    }

    /// Plans and acts until there is nothing to do or something must be waited for, and reports it.
    async fn advance(
        &self,
        state: &Cluster,
        mut cluster: MemgraphCluster,
        hindered: Option<&ObjectError>,
    ) -> Result<Duration, ReconcileError> {
        let turn = Instant::now();
        loop {
            let seen = self.observe(state, &cluster).await;
            if let Some(why) = state.unfit_definition() {
                let situation = Situation::Stalled(Reason::UnfitDefinition, why);
                self.report(state, &cluster, &seen, &situation).await?;
                return Ok(RETRY_UNFIT);
            }
            let plan = plan::plan(&seen);
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
                self.report(state, &cluster, &seen, &situation).await?;
                return Ok(next(&situation));
            }
            // The cache may be behind what was decided last, by this process or by another one.
            let decided = ledger(&cluster).filter(|_| plan.writes());
            let live = state.decide(decided, self.read(state, &cluster)).await?;
            if ledger(&live) != ledger(&cluster) || live.spec != cluster.spec {
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
                    tracing::error!(cluster = %cluster.name_any(), %error, "nothing is done");
                    state.note_unfit_definition(error.to_string());
                    // Something of it may have been kept.
                    cluster = self.read(state, &cluster).await?;
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
            if replaces || notes {
                // The cache shows the deleted pod, or the claims without the note, for a while.
                return Ok(UNSETTLED);
            }
            if turn.elapsed() > TURN {
                return Ok(WORKING);
            }
        }
    }

    /// Has all brought about that a cluster consists of, if it is time. Returns what is in the way, and when it is to be looked at again if
    /// it was not looked at to the end now.
    ///
    /// Whatever keeps an object from being applied, or has the API server take its time, must not keep a lost MAIN from being replaced.
    async fn equipped(
        &self,
        state: &Cluster,
        cluster: &MemgraphCluster,
    ) -> (Option<Arc<ObjectError>>, Option<Duration>) {
        if let Some((error, again)) = state.awaits(cluster) {
            // Whom a drain of nodes may take waits for no human.
            tokio::select! {
                biased;
                limited = self.limit_evictions(state, cluster) => if let Err(error) = limited {
                    tracing::debug!(error = super::chain(&error), "the disruption budget was not lowered");
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

    async fn publish_access(&self, state: &Cluster, cluster: &MemgraphCluster) -> Result<(), ObjectError> {
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
            secrets: fingerprints(state, cluster),
            holders: inventory.data_holders(cluster),
            stage,
        };
        objects::bring_about(state.errands(cluster), &self.stores, &state.applied, wanted).await
    }

    async fn tend_volumes(&self, state: &Cluster, cluster: &MemgraphCluster) -> Result<(), ObjectError> {
        let inventory = self.inventory(cluster);
        if cluster.spec.paused || hibernation::stage(state, cluster, &inventory).ends_pods() {
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

    pub(super) async fn observe(&self, state: &Cluster, cluster: &MemgraphCluster) -> Observation {
        let inventory = self.inventory(cluster);
        let emptiness = ledger(cluster).is_none_or(Ledger::is_refuted);
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
                    numbers: state.numbers(),
                    fresh_lineage: lineage,
                    closed_for: state.closed_for(ledger(cluster)),
                    shut_for: state.shut_for(),
                    commit_for: state.commit_for(ledger(cluster)),
                    change_ages: state.change_ages(ledger(cluster), &self.wall),
                    witnesses: state.witnesses(),
                    access: state.wallet.access(cluster, ledger(cluster)),
                    configuration: allows_pods(state, cluster)
                        .then(|| configuration(state, cluster))
                        .flatten(),
                    stage,
                },
                &self.cluster_domain,
            )
            .await
    }

    async fn read(
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

    /// Writes the report, if it says anything new.
    async fn report(
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

    fn status(
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

    async fn write(
        &self,
        state: &Cluster,
        cluster: &MemgraphCluster,
        status: &MemgraphClusterStatus,
    ) -> Result<MemgraphCluster, ReconcileError> {
        let written = status::write(&state.client, cluster, status).await?;
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

    /// Carries the steps out, and returns the cluster as the last write left it.
    async fn execute(
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
                    self.carry_out(state, &cluster, seen, action).await?;
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
        tracing::info!(cluster = %cluster.name_any(), ?action, elapsed = ?started.elapsed(), "done");
        if matches!(action, Action::Demote { .. }) {
            self.events
                .split_brain_resolved(&state.client, cluster, action)
                .await;
        }
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
