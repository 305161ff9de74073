//! What this process remembers of each cluster. All of it can be lost: the ledger holds what must not be.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    future::pending,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use kube::{Client, ResourceExt, runtime::reflector::ObjectRef};
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};
use tokio_util::task::AbortOnDropHandle;

use super::{
    Operator,
    access::Wallet,
    certificates::Certificates,
    equipment::Equipment,
    gateway_certificate::GatewayCertificate,
    grants,
    lanes::{Hurry, Lanes},
    license::License,
    link::GatewayLink,
    lookout,
    objects::{Applied, ObjectError},
    presence,
    sightings::Sightings,
    snapshots, trial,
    usage::{self, Usages},
    volumes::Growth,
    wall::Wall,
    writers::Writers,
};
use crate::{
    api::{
        MemgraphCluster,
        ledger::{Ledger, OperationKind, Route},
    },
    fleet::{GatewayWord, Live},
    grants::Report,
    memgraph::Bolt,
    plan::observation::{Numbers, Witness},
    traces::StepTime,
};

/// Of so many steps of one change the times are kept.
const TRACED_STEPS: usize = 64;

/// How soon an operator that the CustomResourceDefinition does not fit tries again.
pub(super) const RETRY_UNFIT: Duration = Duration::from_secs(30);

/// A commit that MAIN is tried with, and that takes so long, shows that clients' commits do.
const SLOW_COMMIT: Duration = Duration::from_secs(2);
/// For so long that counts: MAIN is tried each minute while clients wait.
const SLOW_FOR: Duration = Duration::from_secs(120);

/// For how long clients wait until what their cluster consists of is left for later; twice as long after each time, so that
/// what takes long comes to an end, too,
const EQUIPPING: Duration = Duration::from_secs(1);
/// up to so many times.
const DOUBLED: u32 = 6;

/// For how long a client must have waited for MAIN to have MAIN tried.
const LONG_WAIT: Duration = Duration::from_secs(10);

/// For how long what a gateway has told of MAIN is kept.
const HEARD_FOR: Duration = Duration::from_secs(60);

/// What is remembered of one cluster.
pub(super) struct Cluster {
    /// The API server, for all that is asked for this cluster's sake.
    pub(super) client: Client,
    /// The same, for what never goes before what others ask.
    patient: Client,
    pub(super) sightings: Sightings,
    pub(super) applied: Applied,
    pub(super) growth: Growth,
    pub(super) wallet: Wallet,
    pub(super) certificates: Certificates,
    pub(super) gateway_certificate: GatewayCertificate,
    pub(super) license: License,
    pub(super) writers: Writers,
    pub(super) usages: Usages,
    memory: Mutex<Memory>,
    /// The ledger: read from the API server itself, or written by this process. None: neither has happened yet.
    ledger: watch::Sender<Option<Option<Ledger>>>,
    /// Whether MAIN gave this process no answer when it looked last.
    main_is_silent: watch::Sender<bool>,
    /// Whether clients may be waiting for this process, so that its requests go first.
    hurries: watch::Sender<Hurry>,
    /// The term in which a gateway has told that a client waits for MAIN, and when it did.
    impatient: watch::Sender<Option<(i64, Instant)>>,
}

#[derive(Default)]
struct Memory {
    numbers: Numbers,
    /// The cluster as this process wrote it last: a cache may be behind it.
    written: Option<MemgraphCluster>,
    written_at: Option<Instant>,
    /// See [`Cluster::is_settled`].
    settled: bool,
    /// Failures in a row.
    failures: u32,
    equipment: Equipment,
    /// The version of the cluster as the API server itself showed it last.
    live_version: u64,
    /// The highest term of all ledgers that it has shown, or that a gateway has heard of.
    highest_term: i64,
    /// The highest one of all grants that gateways have told of; 0: none.
    granted_term: i64,
    /// Since when the route is known to be closed.
    shut: Option<Instant>,
    /// The term, closed ever since, in which no gateway leads to an older MAIN any more.
    fenced: Option<i64>,
    /// UIDs of the pods whose gateways have answered.
    met: BTreeSet<String>,
    /// By UID: since when a gateway is known to be marked as leaving.
    leaving: BTreeMap<String, Instant>,
    /// The term in which the route was seen closed, and since when.
    closed: Option<(i64, Instant)>,
    /// Since when the gateways of a cluster that is put to sleep have been seen to be there still.
    gateways_end: Option<Instant>,
    /// Since when a cluster that wakes up has been seen without as many instances' pods as its StatefulSet asks for.
    pods_lacked: Option<Instant>,
    /// By term: since when the ledger's changes of MAIN are known here.
    changes: BTreeMap<i64, Instant>,
    /// By the name of its pod: what each gateway has told of MAIN last.
    heard: BTreeMap<String, Heard>,
    /// The term in which MAIN is tried with a commit, and since when.
    commit: Option<(i64, Instant)>,
    /// When one ended that took long.
    slow_commit: Option<Instant>,
    /// How long steps of each kind took since the route was closed.
    steps: Vec<(&'static str, Duration)>,
    /// How often in a row what the cluster consists of was left for later.
    unequipped: u32,
    /// When each of them began, for whoever traces them.
    step_times: Vec<StepTime>,
    /// Since when the CustomResourceDefinition is known not to fit, and what shows it.
    unfit_definition: Option<(Instant, String)>,
}

/// What a gateway has told of MAIN.
struct Heard {
    /// When it was asked.
    asked: Instant,
    report: Report,
}

impl Cluster {
    fn new(lanes: &Lanes) -> Self {
        let hurries = watch::Sender::default();
        Self {
            client: lanes.of_cluster(hurries.subscribe()),
            patient: lanes.ordinary().clone(),
            sightings: Sightings::default(),
            applied: Applied::default(),
            growth: Growth::default(),
            wallet: Wallet::default(),
            certificates: Certificates::default(),
            gateway_certificate: GatewayCertificate::default(),
            license: License::default(),
            writers: Writers::default(),
            usages: Usages::default(),
            memory: Mutex::default(),
            ledger: watch::Sender::default(),
            main_is_silent: watch::Sender::default(),
            hurries,
            impatient: watch::Sender::default(),
        }
    }

    fn memory(&self) -> std::sync::MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn numbers(&self) -> Numbers {
        self.memory().numbers
    }

    pub(super) fn set_numbers(&self, numbers: Numbers) {
        self.memory().numbers = numbers;
    }

    /// The CustomResourceDefinition does not take this operator's ledger.
    pub(super) fn note_unfit_definition(&self, why: String) {
        self.memory().unfit_definition = Some((Instant::now(), why));
    }

    /// What has shown lately that the CustomResourceDefinition does not take this operator's ledger. Whether it does by now
    /// shows only when a ledger is written again.
    pub(super) fn unfit_definition(&self) -> Option<String> {
        let memory = self.memory();
        let (since, why) = memory.unfit_definition.as_ref()?;
        (since.elapsed() < RETRY_UNFIT).then(|| why.clone())
    }

    pub(super) fn wrote(&self, cluster: &MemgraphCluster) {
        {
            let mut memory = self.memory();
            let mut kept = cluster.clone();
            kept.metadata.managed_fields = None;
            memory.written = Some(kept);
            memory.written_at = Some(Instant::now());
        }
        self.read(cluster);
    }

    /// The cluster was shown by the API server itself, and not by a cache.
    pub(super) fn read(&self, cluster: &MemgraphCluster) {
        let mut memory = self.memory();
        let ledger = cluster.status.as_ref().and_then(|status| status.ledger.clone());
        // Also where versions have gone back with everything else.
        memory.highest_term = memory
            .highest_term
            .max(ledger.as_ref().map_or(0, |ledger| ledger.term));
        let version = version(cluster);
        if version < memory.live_version {
            return;
        }
        memory.live_version = version;
        // Under the lock, so that an older one does not take the place of a newer one.
        self.ledger.send_if_modified(|known| {
            let changed = known.as_ref() != Some(&ledger);
            if changed {
                *known = Some(ledger.clone());
            }
            changed
        });
        if ledger.as_ref().is_some_and(keeps_clients_waiting) {
            self.hurry(|hurry| hurry.awaited = true);
        }
        // Not before that: from here on no grant is made for a route that is closed.
        let now = Instant::now();
        let closed = ledger
            .as_ref()
            .is_some_and(|ledger| ledger.route == Route::Closed);
        // Nothing was open between two closed ledgers that this leader has seen: it would have opened it.
        memory.shut = closed.then(|| memory.shut.unwrap_or(now));
        let same = |term: &i64| closed && ledger.as_ref().is_some_and(|ledger| ledger.term == *term);
        memory.fenced = memory.fenced.filter(same);
        let known = std::mem::take(&mut memory.leaving);
        let leaving = ledger
            .iter()
            .flat_map(|ledger| &ledger.gateways)
            .filter(|g| g.leaving);
        memory.leaving = leaving
            .map(|gateway| {
                let since = known.get(&gateway.pod_uid).copied().unwrap_or(now);
                (gateway.pod_uid.clone(), since)
            })
            .collect();
    }

    /// The newest ledger that the API server itself has shown to this process; None if it has shown none yet.
    pub(super) fn ledger(&self) -> Option<Option<Ledger>> {
        self.ledger.borrow().clone()
    }

    /// The term that the ledger of this cluster has at least come to, as this process knows: by those that it has seen, and by the grants
    /// that gateways hold. The first of a term is given when its route opens, so that a closed one has had none. 0: nothing is known.
    pub(super) fn known_term(&self, cluster: &MemgraphCluster) -> i64 {
        let status = cluster.status.as_ref();
        let closed = status
            .and_then(|status| status.ledger.as_ref())
            .is_some_and(|ledger| ledger.route == Route::Closed);
        let memory = self.memory();
        let granted = memory.granted_term.saturating_add(i64::from(closed));
        granted.max(memory.highest_term)
    }

    /// Whether there is no ledger, or one from which nothing follows.
    pub(super) fn lacks_a_ledger(&self, cluster: &MemgraphCluster) -> bool {
        let status = cluster.status.as_ref();
        status
            .and_then(|status| status.ledger.as_ref())
            .is_none_or(|ledger| ledger.is_void(self.known_term(cluster)))
    }

    /// Whether nothing that this process, or one before it, has sent for this cluster's status can still take effect: this one has written
    /// it since, at the version that it was read at.
    pub(super) fn is_settled(&self) -> bool {
        self.memory().settled
    }

    /// What was sent for the status may still take effect, as long as this does not go on to the answer.
    pub(super) fn unsettle(&self) -> bool {
        std::mem::take(&mut self.memory().settled)
    }

    /// What was sent has been answered; see [`Self::is_settled`].
    pub(super) fn settle(&self, settled: bool) {
        self.memory().settled = settled;
    }

    /// Is marked changed with each other ledger.
    pub(super) fn ledger_changes(&self) -> watch::Receiver<Option<Option<Ledger>>> {
        self.ledger.subscribe()
    }

    /// For how long this process has known the route to be closed, in whatever term.
    pub(super) fn shut_for(&self) -> Duration {
        self.memory().shut.map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// This process has fenced the term, whose closing it has seen written.
    pub(super) fn fenced(&self, term: i64) {
        let mut memory = self.memory();
        let closed = matches!(&*self.ledger.borrow(), Some(Some(ledger))
            if ledger.route == Route::Closed && ledger.term == term);
        memory.fenced = closed.then_some(term);
    }

    /// Whether this process has fenced the term, which has been closed ever since. Nobody is granted anything in it, and who
    /// has confirmed it takes nothing of an older one, so that it need not be asked again.
    pub(super) fn is_fenced(&self, term: i64) -> bool {
        self.memory().fenced == Some(term)
    }

    /// The gateway in this pod has answered as itself.
    pub(super) fn met(&self, pod_uid: &str) {
        self.memory().met.insert(pod_uid.to_owned());
    }

    /// UIDs of the pods whose gateways have answered as themselves.
    pub(super) fn met_gateways(&self) -> BTreeSet<String> {
        self.memory().met.clone()
    }

    /// A gateway that was asked at `asked` has told what holds there. What it knows of the terms of the cluster with this UID is never
    /// forgotten.
    pub(super) fn heard(&self, uid: &str, pod: &str, asked: Instant, report: Report) {
        let waits = report.reach.waiting_millis.map(Duration::from_millis);
        if waits.is_some_and(|wait| wait >= LONG_WAIT) {
            self.impatient.send_replace(Some((report.reach.term, asked)));
        }
        let mut memory = self.memory();
        memory.highest_term = memory.highest_term.max(report.term_of(uid).unwrap_or(0));
        memory.granted_term = memory.granted_term.max(report.held_in(uid).unwrap_or(0));
        memory.heard.retain(|_, heard| heard.asked.elapsed() < HEARD_FOR);
        memory.heard.insert(pod.to_owned(), Heard { asked, report });
    }

    /// What is seen of this cluster, for people. `main`: the instance that is MAIN by the ledger.
    pub(super) async fn live(&self, main: Option<&str>) -> Live {
        let gateways = {
            let memory = self.memory();
            let heard = memory.heard.iter();
            let word = |heard: &Heard| GatewayWord {
                asked_ago: heard.asked.elapsed(),
                report: heard.report.clone(),
            };
            heard.map(|(pod, heard)| (pod.clone(), word(heard))).collect()
        };
        Live {
            instances: self
                .sightings
                .for_people(main, |instance| self.usages.told_by(instance))
                .await,
            certificate_ends: self.certificates.end(),
            gateways,
        }
    }

    /// What gateways have told of MAIN lately.
    pub(super) fn witnesses(&self) -> Vec<Witness> {
        let memory = self.memory();
        let heard = memory.heard.iter();
        heard
            .map(|(pod, heard)| Witness::of(pod, &heard.report, heard.asked.elapsed()))
            .collect()
    }

    /// Takes note of how MAIN of this cluster was when it was looked at last. If it gave no answer, the gateways are asked about it
    /// more often; if it did not serve as MAIN, requests to the API server go before those of others.
    pub(super) async fn note_main(&self, cluster: &MemgraphCluster) {
        let ledger = cluster.status.as_ref().and_then(|status| status.ledger.as_ref());
        let silent = match ledger.filter(|ledger| ledger.route == Route::Open) {
            Some(ledger) => self.sightings.is_silent(&ledger.main.instance).await,
            None => false,
        };
        self.main_is_silent
            .send_if_modified(|known| std::mem::replace(known, silent) != silent);
        let (mut awaited, main) = {
            let known = self.ledger.borrow();
            let newest = known.as_ref().map_or(ledger, Option::as_ref);
            let main = newest.filter(|ledger| ledger.route == Route::Open);
            let main = main.map(|ledger| ledger.main.instance.clone());
            (newest.is_some_and(keeps_clients_waiting), main)
        };
        if let Some(main) = main {
            awaited = self.sightings.is_no_main(&main).await;
        }
        self.hurry(|hurry| hurry.awaited = awaited);
    }

    fn hurry(&self, change: impl FnOnce(&mut Hurry)) {
        self.hurries.send_if_modified(|hurry| {
            let before = *hurry;
            change(hurry);
            *hurry != before
        });
    }

    /// Has what this asks of the API server go before what others ask, if the cluster is set up as it stands in `ledger`.
    pub(super) async fn decide<T>(&self, ledger: Option<&Ledger>, write: impl Future<Output = T>) -> T {
        let decides =
            ledger.is_some_and(|ledger| ledger.route == Route::Open || keeps_clients_waiting(ledger));
        self.hurry(|hurry| hurry.decides = decides);
        let written = write.await;
        self.hurry(|hurry| hurry.decides = false);
        written
    }

    /// Whether MAIN gave this process no answer when it looked last.
    pub(super) fn silence(&self) -> watch::Receiver<bool> {
        self.main_is_silent.subscribe()
    }

    /// The newest term in which a client has waited for long, and when a gateway has told so.
    pub(super) fn impatience(&self) -> watch::Receiver<Option<(i64, Instant)>> {
        self.impatient.subscribe()
    }

    /// MAIN of this term is tried with a commit, or has ended it.
    pub(super) fn tries_commit(&self, term: i64, tries: bool) {
        let mut memory = self.memory();
        if !tries
            && memory
                .commit
                .is_some_and(|(_, since)| since.elapsed() >= SLOW_COMMIT)
        {
            memory.slow_commit = Some(Instant::now());
        }
        memory.commit = tries.then(|| match memory.commit {
            Some((tried, since)) if tried == term => (term, since),
            _ => (term, Instant::now()),
        });
    }

    /// Whether a commit that MAIN is tried with takes long, or one did since it was last known how long they take.
    pub(super) fn commits_slowly(&self) -> bool {
        let memory = self.memory();
        let takes_long = memory
            .commit
            .is_some_and(|(_, since)| since.elapsed() >= SLOW_COMMIT);
        takes_long || memory.slow_commit.is_some_and(|at| at.elapsed() < SLOW_FOR)
    }

    /// For how long MAIN of this ledger has not ended a commit that it is tried with.
    pub(super) fn commit_for(&self, ledger: Option<&Ledger>) -> Duration {
        let open = ledger.filter(|ledger| ledger.route == Route::Open);
        let tried = self.memory().commit;
        let tried = tried.filter(|(term, _)| open.is_some_and(|ledger| ledger.term == *term));
        tried.map_or(Duration::ZERO, |(_, since)| since.elapsed())
    }

    /// For how long this process has known gateways to be marked as leaving in the ledger.
    pub(super) fn leaving_for(&self) -> BTreeMap<String, Duration> {
        let memory = self.memory();
        let leaving = memory.leaving.iter();
        leaving
            .map(|(uid, since)| (uid.clone(), since.elapsed()))
            .collect()
    }

    /// Counts a failure. Returns how many of this kind there were without a success, and the longest time after which the cluster is to
    /// be looked at again for another reason.
    pub(super) fn failed(&self) -> (u32, Duration) {
        let mut memory = self.memory();
        let hindered = memory.equipment.failed();
        hindered.unwrap_or_else(|| {
            memory.failures = memory.failures.saturating_add(1);
            (memory.failures, Duration::MAX)
        })
    }

    pub(super) fn succeeded(&self) {
        let mut memory = self.memory();
        memory.failures = 0;
        memory.equipment.succeeded();
    }

    /// An object could not be applied, but everything else was seen to: that wants to be looked at again at its own time, whose failures
    /// are its own.
    pub(super) fn hindered(&self, next: Duration) {
        let mut memory = self.memory();
        memory.failures = 0;
        memory.equipment.hindered_until(next);
    }

    /// What keeps the cluster from having all that it consists of, and for how long it is left alone, if it is not to be asked for now.
    pub(super) fn awaits(&self, cluster: &MemgraphCluster) -> Option<(Arc<ObjectError>, Duration)> {
        self.memory().equipment.awaits(cluster)
    }

    /// Something that the cluster consists of could not be brought about.
    pub(super) fn lacks(&self, cluster: &MemgraphCluster, error: ObjectError) -> Arc<ObjectError> {
        self.memory().equipment.lacks(cluster, error)
    }

    /// There was no time for what the cluster consists of. Returns what was in the way of it before.
    pub(super) fn put_off(&self, cluster: &MemgraphCluster) -> Option<Arc<ObjectError>> {
        self.memory().equipment.put_off(cluster)
    }

    /// All that the cluster consists of is there.
    pub(super) fn completed(&self, cluster: &MemgraphCluster) {
        self.memory().equipment.completed(cluster);
    }

    /// Whether all that this very spec asks for was brought about.
    pub(super) fn is_complete(&self, cluster: &MemgraphCluster) -> bool {
        self.memory().equipment.is_complete(cluster)
    }

    /// The way to the API server for what a cluster consists of. What has been asked for without success does not go before what others
    /// ask, even where clients wait: they do not wait for that alone, and nobody knows when it will be there.
    pub(super) fn errands(&self, cluster: &MemgraphCluster) -> &Client {
        if self.memory().equipment.is_asked_for_again(cluster) {
            &self.patient
        } else {
            &self.client
        }
    }

    /// Ends when clients have waited for so long that MAIN has to be seen to first.
    pub(super) async fn tires_of_equipping(&self) {
        let mut hurries = self.hurries.subscribe();
        if hurries.wait_for(|hurry| hurry.awaited).await.is_err() {
            return pending().await;
        }
        let before = self.memory().unequipped;
        sleep(EQUIPPING.saturating_mul(1 << before.min(DOUBLED))).await;
        self.memory().unequipped = before.saturating_add(1);
    }

    /// All that the cluster consists of was seen to.
    pub(super) fn equipped(&self) {
        self.memory().unequipped = 0;
    }

    /// For how long some object could not be applied.
    pub(super) fn hindered_for(&self) -> Duration {
        self.memory().equipment.hindered_for()
    }

    /// For how long this process has seen the route closed in the ledger's term.
    pub(super) fn closed_for(&self, ledger: Option<&Ledger>) -> Duration {
        let mut memory = self.memory();
        let term = ledger.filter(|l| l.route == Route::Closed).map(|l| l.term);
        memory.closed = match (term, memory.closed) {
            (Some(term), Some((seen, since))) if seen == term => Some((term, since)),
            (Some(term), _) => Some((term, Instant::now())),
            (None, _) => None,
        };
        memory.closed.map_or(Duration::ZERO, |(_, since)| since.elapsed())
    }

    /// For how long this process has seen gateways that are to end; `there`: it sees them now.
    pub(super) fn gateways_end_for(&self, there: bool) -> Duration {
        let mut memory = self.memory();
        memory.gateways_end = there.then(|| memory.gateways_end.unwrap_or_else(Instant::now));
        memory
            .gateways_end
            .map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// For how long this process has seen that pods of instances are still to be made anew; `lacked`: it sees so now.
    pub(super) fn pods_lacked_for(&self, lacked: bool) -> Duration {
        let mut memory = self.memory();
        memory.pods_lacked = lacked.then(|| memory.pods_lacked.unwrap_or_else(Instant::now));
        memory.pods_lacked.map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// How long ago each of the ledger's changes of MAIN was. The clock of the leader that announced one may have been
    /// wrong, but it is at least as old as it has been known here.
    pub(super) fn change_ages(&self, ledger: Option<&Ledger>, wall: &Wall) -> Vec<Duration> {
        let changes = ledger.map(|ledger| ledger.changes.as_slice()).unwrap_or_default();
        let mut memory = self.memory();
        let known = std::mem::take(&mut memory.changes);
        let mut ages = Vec::new();
        for change in changes {
            let since = known.get(&change.term).copied().unwrap_or_else(Instant::now);
            memory.changes.insert(change.term, since);
            ages.push(since.elapsed().max(wall.age(&change.at)));
        }
        ages
    }

    /// Notes how long a step took.
    pub(super) fn took(&self, step: &'static str, time: Duration) {
        let steps = &mut self.memory().steps;
        match steps.iter_mut().find(|(kind, _)| *kind == step) {
            Some((_, sum)) => *sum = sum.saturating_add(time),
            None => steps.push((step, time)),
        }
    }

    /// How long steps of each kind took since [`Self::forget_steps`].
    pub(super) fn steps(&self) -> Vec<(&'static str, Duration)> {
        self.memory().steps.clone()
    }

    /// Notes when a step began that has taken so long.
    pub(super) fn trace_step(&self, step: StepTime) {
        let times = &mut self.memory().step_times;
        if times.len() < TRACED_STEPS {
            times.push(step);
        }
    }

    /// When steps began since [`Self::forget_steps`], the first ones of them.
    pub(super) fn step_times(&self) -> Vec<StepTime> {
        self.memory().step_times.clone()
    }

    pub(super) fn forget_steps(&self) {
        let mut memory = self.memory();
        memory.steps.clear();
        memory.step_times.clear();
    }

    pub(super) fn since_write(&self) -> Duration {
        self.memory().written_at.map_or(Duration::MAX, |at| at.elapsed())
    }

    /// The newer one of a cached cluster and what this process wrote last.
    pub(super) fn newest(&self, cached: MemgraphCluster) -> MemgraphCluster {
        match &self.memory().written {
            Some(written) if version(written) > version(&cached) => written.clone(),
            _ => cached,
        }
    }
}

/// Whether clients that are there already can reach no MAIN. Nobody has been led to a cluster that is set up, and a thousand of them
/// must not stand in the way of one that was.
fn keeps_clients_waiting(ledger: &Ledger) -> bool {
    let operation = ledger.operation.as_ref().map(|operation| operation.kind);
    ledger.route == Route::Closed && operation != Some(OperationKind::Bootstrap)
}

fn version(cluster: &MemgraphCluster) -> u64 {
    cluster
        .resource_version()
        .and_then(|version| version.parse().ok())
        .unwrap_or_default()
}

/// The clusters that this process looks after, by UID: one that is made anew under an old name is a new one.
#[derive(Default)]
pub(super) struct Clusters {
    entries: Mutex<HashMap<String, Entry>>,
}

struct Entry {
    cluster: Arc<Cluster>,
    /// What is done for it all the time; none before this installation is known to look after it.
    tasks: Vec<AbortOnDropHandle<()>>,
}

impl Clusters {
    /// The memory of this cluster.
    pub(super) fn of<B: Bolt, G: GatewayLink>(
        &self,
        cluster: &MemgraphCluster,
        operator: &Operator<B, G>,
    ) -> Arc<Cluster> {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = entries.entry(cluster.uid().unwrap_or_default());
        let entry = entry.or_insert_with(|| Entry {
            cluster: Arc::new(Cluster::new(&operator.lanes)),
            tasks: Vec::new(),
        });
        Arc::clone(&entry.cluster)
    }

    /// Begins with what is done all the time for this cluster, if that was not begun before. This installation looks after it: there are
    /// grants among it.
    pub(super) fn attend<B: Bolt, G: GatewayLink>(
        &self,
        cluster: &MemgraphCluster,
        operator: &Arc<Operator<B, G>>,
    ) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let uid = cluster.uid().unwrap_or_default();
        let Some(entry) = entries.get_mut(&uid).filter(|entry| entry.tasks.is_empty()) else {
            return;
        };
        let memory = &entry.cluster;
        let reference = ObjectRef::from_obj(cluster);
        let lookout = lookout::look_out(
            Arc::downgrade(operator),
            Arc::clone(memory),
            reference.clone(),
            uid.clone(),
        );
        let watch =
            presence::watch_processes(Arc::downgrade(operator), Arc::clone(memory), reference.clone());
        let trial = trial::try_main(Arc::downgrade(operator), Arc::clone(memory), reference.clone());
        let snapshots =
            snapshots::settle_all(Arc::downgrade(operator), Arc::clone(memory), reference.clone());
        let usage = usage::ask_all(
            Arc::downgrade(operator),
            Arc::clone(memory),
            reference.clone(),
            uid.clone(),
        );
        // All follow the ledger. Tokio wakes tasks that follow the same in an order that is another one each time.
        let copies = async move {
            futures::join!(watch, snapshots, usage);
        };
        let attendants = grants::attend_all(Arc::downgrade(operator), Arc::clone(memory), reference, uid);
        entry.tasks = vec![
            AbortOnDropHandle::new(tokio::spawn(lookout)),
            AbortOnDropHandle::new(tokio::spawn(copies)),
            AbortOnDropHandle::new(tokio::spawn(trial)),
            AbortOnDropHandle::new(tokio::spawn(attendants)),
        ];
    }

    /// The memory of the cluster with this UID, if there is one.
    pub(super) fn with_uid(&self, uid: &str) -> Option<Arc<Cluster>> {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.get(uid).map(|entry| Arc::clone(&entry.cluster))
    }

    /// The memory of this cluster, if there is one.
    pub(super) fn known(&self, cluster: &MemgraphCluster) -> Option<Arc<Cluster>> {
        self.with_uid(cluster.metadata.uid.as_ref()?)
    }

    /// Forgets it, which ends what is done for it all the time. Returns whether anything was.
    pub(super) fn forget(&self, uid: &str) -> bool {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.remove(uid).is_some_and(|entry| !entry.tasks.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::{MemgraphClusterSpec, MemgraphClusterStatus};

    fn lanes() -> Lanes {
        let nobody = tower::service_fn(|_: http::Request<kube::client::Body>| async {
            Err::<http::Response<kube::client::Body>, _>("nobody listens")
        });
        Lanes::new(Client::new(nobody, "default"), None, &Arc::default())
    }

    fn shown(version: u64, term: i64, route: Route) -> MemgraphCluster {
        let mut cluster = MemgraphCluster::new("demo", MemgraphClusterSpec::default());
        cluster.metadata.resource_version = Some(version.to_string());
        cluster.status = Some(MemgraphClusterStatus {
            ledger: Some(Ledger {
                term,
                route,
                ..Ledger::default()
            }),
            ..MemgraphClusterStatus::default()
        });
        cluster
    }

    #[tokio::test]
    async fn a_cluster_is_in_a_hurry_while_clients_that_were_led_to_it_wait() {
        let cluster = Cluster::new(&lanes());
        let hurries = || cluster.hurries.borrow().awaited;
        let operation =
            |kind: &str| serde_json::from_value(json!({"kind": kind, "target": "", "startedAt": ""}));
        let mut set_up = shown(1, 1, Route::Closed);
        set_up.status.as_mut().unwrap().ledger.as_mut().unwrap().operation = operation("Bootstrap").unwrap();
        cluster.read(&set_up);
        assert!(!hurries());
        cluster.note_main(&set_up).await;
        assert!(!hurries());

        // Its decision is known before a look at the cached cluster, which is behind.
        let mut failing = shown(3, 2, Route::Closed);
        failing
            .status
            .as_mut()
            .unwrap()
            .ledger
            .as_mut()
            .unwrap()
            .operation = operation("Failover").unwrap();
        cluster.read(&failing);
        assert!(hurries());
        cluster.note_main(&shown(2, 1, Route::Open)).await;
        assert!(hurries());

        let open = shown(4, 2, Route::Open);
        cluster.read(&open);
        cluster.note_main(&open).await;
        assert!(
            !hurries(),
            "before anything was looked at, it is not known how MAIN is"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn what_takes_long_is_left_for_later_while_clients_wait_and_for_longer_each_time() {
        let cluster = Cluster::new(&lanes());
        let took = async || {
            let begun = Instant::now();
            let day = Duration::from_secs(86_400);
            let tired = tokio::time::timeout(day, cluster.tires_of_equipping()).await;
            tired.ok().map(|()| begun.elapsed().as_secs())
        };
        assert_eq!(took().await, None, "nobody waits");
        cluster.hurry(|hurry| hurry.awaited = true);
        let patience = [took().await, took().await, took().await];
        assert_eq!(patience, [Some(1), Some(2), Some(4)]);
        cluster.equipped();
        assert_eq!(took().await, Some(1));
        for _ in 0..40 {
            took().await;
        }
        assert_eq!(took().await, Some(64));
    }

    #[tokio::test]
    async fn a_decision_about_a_cluster_that_is_set_up_is_written_at_once() {
        let cluster = Cluster::new(&lanes());
        let hurries = || *cluster.hurries.borrow() != Hurry::default();
        let open = Ledger {
            route: Route::Open,
            ..Ledger::default()
        };
        assert!(cluster.decide(Some(&open), async { hurries() }).await);
        assert!(!hurries());
        assert!(!cluster.decide(None, async { hurries() }).await);
    }

    #[tokio::test]
    async fn a_term_that_has_been_is_remembered_when_an_older_ledger_is_put_back() {
        let cluster = Cluster::new(&lanes());
        cluster.read(&shown(7, 5, Route::Open));
        for older in [shown(3, 2, Route::Open), shown(9, 2, Route::Open)] {
            cluster.read(&older);
            assert_eq!(cluster.known_term(&older), 5);
        }
        let mut none = shown(10, 2, Route::Open);
        none.status = None;
        cluster.read(&none);
        assert_eq!(
            cluster.known_term(&none),
            5,
            "nor is it forgotten with the ledger"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_gateway_knew_is_not_forgotten_with_the_gateway() {
        let cluster = Cluster::new(&lanes());
        let mut ledger = shown(1, 5, Route::Open);
        ledger.metadata.uid = Some("u".to_owned());
        cluster.read(&ledger);
        let knows = |of: &str, term: i64, held: Option<i64>| {
            let held = held.map(|term| json!({"term": term, "remainingMillis": 0, "tainted": false}));
            let report = json!({"uid": of, "term": term, "route": "Closed", "sessions": {"readWrite": 0, "read": 0}, "held": held});
            cluster.heard("u", "a", Instant::now(), serde_json::from_value(report).unwrap());
        };
        knows("another", 99, Some(99));
        assert_eq!(cluster.known_term(&ledger), 5);
        knows("u", 8, Some(8));
        assert_eq!(cluster.known_term(&ledger), 8);
        ledger.status.as_mut().unwrap().ledger.as_mut().unwrap().route = Route::Closed;
        assert_eq!(
            cluster.known_term(&ledger),
            9,
            "of a closed one nobody has a grant yet"
        );
        knows("u", 12, None);
        assert_eq!(cluster.known_term(&ledger), 12);
        tokio::time::advance(HEARD_FOR * 2).await;
        knows("u", 0, None);
        assert_eq!(cluster.known_term(&ledger), 12, "it has started anew");
    }

    #[tokio::test]
    async fn a_fence_is_remembered_for_its_term_and_until_that_opens() {
        let cluster = Cluster::new(&lanes());
        cluster.read(&shown(1, 2, Route::Closed));
        assert!(!cluster.is_fenced(2));
        cluster.fenced(3);
        assert!(!cluster.is_fenced(3), "that term was not seen closed");
        cluster.fenced(2);
        cluster.read(&shown(2, 2, Route::Closed));
        assert!(cluster.is_fenced(2) && !cluster.is_fenced(3));
        cluster.read(&shown(3, 3, Route::Closed));
        assert!(
            !cluster.is_fenced(2) && !cluster.is_fenced(3),
            "each closing needs its own"
        );
        cluster.fenced(3);
        cluster.read(&shown(4, 3, Route::Open));
        assert!(!cluster.is_fenced(3));
        cluster.read(&shown(5, 3, Route::Closed));
        assert!(!cluster.is_fenced(3));
    }
}
