//! What a decision rests on: the spec's settings, the ledger, and what was seen of each instance.

use std::{net::IpAddr, time::Duration};

use super::Stage;
use crate::api::{
    MainUpdate, RegistrationMode, ReplicationMode, ResetNote, VolumeNote,
    ledger::{DataCopy, Incarnation, Ledger, Member, Route},
};
use crate::grants::Report;

/// Everything that is known about one cluster at one moment.
#[derive(Clone, Debug)]
pub struct Observation {
    /// What the spec asks for.
    pub settings: Settings,
    /// What has been decided before; none before the bootstrap.
    pub ledger: Option<Ledger>,
    /// The term that this cluster has come to at least, by the ledgers that this process has seen and by the grants that gateways hold; 0:
    /// none is known.
    pub known_term: i64,
    /// Every declared instance, and every other one that has a pod; by ordinal.
    pub instances: Vec<Instance>,
    /// Bound volume claims of this cluster's name without a declared instance; where data lies in pods, such pods.
    pub stray_volumes: Vec<String>,
    /// Registration numbers that this leader has reserved and not yet used.
    pub numbers: Numbers,
    /// For how long this process has seen the route closed in this term; zero while it is open.
    pub closed_for: Duration,
    /// For how long this process has known the route to be closed without a break, in whatever terms.
    pub shut_for: Duration,
    /// For how long commands that need a moment without commits have failed because there was none.
    pub busy_for: Duration,
    /// Whether a gateway that may hold a grant has not answered when it was asked, a moment ago, before the route was to be closed.
    pub misses_a_gateway: bool,
    /// For how long MAIN has not ended a commit that it was tried with, because clients wait for answers; zero: it was not, or
    /// has ended it.
    pub commit_for: Duration,
    /// Whether such a commit took long lately, or takes long now.
    pub commits_slowly: bool,
    /// How long ago each of the ledger's changes of MAIN was announced, in their order.
    pub change_ages: Vec<Duration>,
    /// What gateways have told of MAIN lately.
    pub witnesses: Vec<Witness>,
    /// Who gets in to MAIN.
    pub access: Access,
    /// A name never used before, in case a new history begins.
    pub fresh_lineage: String,
    /// How far it is on its way to sleep, or back.
    pub stage: Stage,
}

/// Who gets in to MAIN, as the spec asks for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Access {
    /// Whoever reaches it.
    Free,
    /// Whoever has a password.
    Controlled {
        /// In the ledger's term, this process has seen to it on MAIN, not long ago.
        settled: bool,
    },
    /// Whoever has a password, but none is known; and why.
    Undeclared(String),
}

/// The part of the spec that decisions depend on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Number of declared instances: those with the ordinals below it.
    pub replicas: i32,
    /// What an acknowledged write means.
    pub mode: ReplicationMode,
    /// The spec asks for StrictSync, which the release that runs does not have: this one. [`Self::mode`] is Sync then.
    pub not_strict: Option<String>,
    /// Number of replicas that must hold a write before it is acknowledged.
    pub sync_replicas: usize,
    /// Instances with ordinals below it may be MAIN or in-sync replica.
    pub electable: i32,
    /// Taken where several instances are equally fit to be MAIN.
    pub preferred_main: Option<String>,
    /// Whether MAIN goes on alone while no in-sync replica is there.
    pub unprotected: bool,
    /// A human's word on a state that tells nothing by itself.
    pub recovery: Option<Recovery>,
    /// Whether the data of an instance that has branched off is set aside without asking.
    pub reset_diverged: bool,
    /// Instances that get no client and are never promoted.
    pub fenced: Vec<String>,
    /// Whether a lost MAIN is replaced without asking.
    pub automatic_failover: bool,
    /// Whether clients reach instances past the gateway.
    pub direct: bool,
    /// Whether a replica that may lack acknowledged writes is promoted where there is no better one.
    pub most_recent: bool,
    /// For how long MAIN must be silent before it is taken for dead.
    pub detection_timeout: Duration,
    /// For how long MAIN may complete handshakes but answer no query before it is taken for dead.
    pub hang_timeout: Duration,
    /// For how long a MAIN that is known to be lost is waited for.
    pub failover_delay: Duration,
    /// Failovers on suspicion in an hour.
    pub max_per_hour: usize,
    /// The newest request to move MAIN.
    pub switchover: Option<SwitchoverRequest>,
    /// Whether nothing may be begun.
    pub paused: bool,
    /// Whether it is to sleep. How far that is, [`Observation::stage`] says.
    pub hibernated: bool,
    /// The image of new pods.
    pub image: String,
    /// Whether MAIN moves by itself when only its pod is left to be updated.
    pub main_update: MainUpdate,
    /// How large an instance's volume is to be, in bytes.
    pub volume_size: u64,
    /// The data of each instance lies in its pod, and is gone with that.
    pub data_in_pods: bool,
}

/// A human's word on which instance to go on with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovery {
    /// The instance.
    pub main: String,
    /// The state that it is meant for.
    pub state_id: String,
}

/// A request to move MAIN to another instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SwitchoverRequest {
    /// What tells it from every other request; each is dealt with once.
    pub id: String,
    /// Where to; none: to whichever replica is best.
    pub target: Option<String>,
}

impl Settings {
    /// How a replica is registered that must hold a write before it is acknowledged.
    #[must_use]
    pub fn sync_mode(&self) -> RegistrationMode {
        match self.mode {
            ReplicationMode::Sync => RegistrationMode::Sync,
            ReplicationMode::StrictSync | ReplicationMode::Async => RegistrationMode::StrictSync,
        }
    }

    /// Whether this instance is the one that is taken where several are equally fit to be MAIN.
    #[must_use]
    pub fn prefers(&self, instance: &str) -> bool {
        self.preferred_main.as_deref() == Some(instance)
    }

    /// Number of in-sync replicas without which MAIN is not opened to clients.
    #[must_use]
    pub fn required_members(&self) -> usize {
        if self.unprotected {
            0
        } else {
            self.sync_replicas.min(1)
        }
    }

    /// Whether this instance gets no client and is never promoted.
    #[must_use]
    pub fn is_fenced(&self, instance: &str) -> bool {
        self.fenced.iter().any(|fenced| fenced == instance)
    }
}

/// How what a process was started with stands to what the spec says of it now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Configuration {
    /// It is that.
    #[default]
    Current,
    /// It is something else, and whether a new pod would have what the spec says is not certain yet.
    Earlier,
    /// It is something else, and a new pod would have what the spec says.
    Outdated,
}

/// One instance: its pod, and what it says of itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Instance {
    /// Its name, which is its pod's.
    pub name: String,
    /// The number at the end of its name.
    pub ordinal: i32,
    /// `host:port` at which MAIN reaches its replication server: by the address of its present pod. None while that has none.
    pub replication_address: Option<String>,
    /// `host:port` of the same, by name. Nobody is registered so, but a MAIN that somebody else has set up may list it.
    pub replication_name: String,
    /// Address of its pod.
    pub address: Option<IpAddr>,
    /// The node that its pod is on. Only told, never decided by.
    pub node: Option<String>,
    /// What Kubernetes says of its container.
    pub container: Container,
    /// Whether Kubernetes' own probe of the database succeeds, and its node is there. Other containers of the pod do not count.
    pub ready: bool,
    /// A container beside the database does not run or is not ready. It says nothing of the database.
    pub incomplete: bool,
    /// The volume claim of its data; its pod, where the data lies in that.
    pub claim: Option<Claim>,
    /// How many timestamps its data has come, as a snapshot in this life has shown; or why none could be taken.
    pub position: Option<Result<i64, String>>,
    /// UID of its pod.
    pub pod_uid: Option<String>,
    /// The version of its pod that all this was told by.
    pub pod_version: Option<String>,
    /// What it holds goes by itself: its volume claim is being deleted or belongs to the StatefulSet of a former cluster of this name,
    /// or, where the data lies in the pod, the pod does.
    pub passing: bool,
    /// Its pod is being deleted.
    pub terminating: bool,
    /// For how long this operator has seen that its pod is being deleted. Zero where it is not.
    pub terminating_for: Duration,
    /// How what its process was started with stands to what the spec says.
    pub configuration: Configuration,
    /// Somebody asks for another pod in place of its own.
    pub restart_asked: bool,
    /// Somebody asks for its data to be set aside.
    pub reset_asked: bool,
    /// What its init container has said of an order to set its data aside.
    pub reset_note: Option<ResetNote>,
    /// Its present life; none while no container runs.
    pub incarnation: Option<Incarnation>,
    /// What it says of itself.
    pub sight: Sight,
    /// For how long it has not been [`Sight::Serving`].
    pub away_for: Duration,
    /// For how long it has been [`Sight::Silent`], from the first look that it did not answer.
    pub silent_for: Duration,
    /// For how long it has been [`Sight::Silent`] or [`Sight::Handshake`] in its present life.
    pub stuck_for: Duration,
    /// It has answered this process in its present life.
    pub has_answered: bool,
    /// Its process has ended again and again.
    pub crash_loop: Option<CrashLoop>,
    /// What keeps its pod from running, as Kubernetes says it: for people. None: it runs, or Kubernetes says nothing.
    pub obstacle: Option<String>,
    /// MAIN has refused this incarnation in this term, because it holds writes that MAIN does not.
    pub refused: bool,
    /// How far it was behind when MAIN, while it was MAIN, told of it for the last time (0 or negative, in
    /// Memgraph's count); none where this process has not seen that.
    pub last_behind: Option<i64>,
    /// The storage mode that it told last as MAIN, in its present life, whether it answers now or not. None where it told none, or was a
    /// replica since.
    pub last_mode: Option<StorageMode>,
    /// It is MAIN without our word, and could not be made a replica in its present life: its commits do not end.
    pub adamant: bool,
    /// MAIN has lately tried to register it and failed. It is tried again, but not at once: MAIN's commits wait
    /// while it tries.
    pub unregistrable: bool,
    /// Its process has shown that it has ended, and Kubernetes has told of no other one: whoever answers at its address may be
    /// in a life that nobody knows yet.
    pub may_have_ended: bool,
}

/// What a gateway has told of its own Bolt handshakes with MAIN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Witness {
    /// Name of the gateway's pod.
    pub gateway: String,
    /// The term whose MAIN it tries.
    pub term: i64,
    /// Whether it led clients to that MAIN when it told this; not, if its grant had run out.
    pub serves: bool,
    /// At most so long ago it told this.
    pub age: Duration,
    /// At most so long ago a handshake was completed; none: never in this term.
    pub answered_ago: Option<Duration>,
    /// For how long, up to when it told this, every handshake had come to nothing; none: the last one was completed.
    pub silent_for: Option<Duration>,
    /// For how long, up to when it told this, a client had been waiting for an answer; none: nobody was.
    pub client_waits_for: Option<Duration>,
}

impl Witness {
    /// What a gateway has told that was asked `age` ago.
    #[must_use]
    pub fn of(gateway: &str, report: &Report, age: Duration) -> Self {
        let reach = &report.reach;
        let answered = reach.handshake_millis_ago.map(Duration::from_millis);
        Self {
            gateway: gateway.to_owned(),
            term: reach.term,
            serves: report.route == Route::Open && report.term == reach.term,
            age,
            answered_ago: answered.map(|ago| ago.saturating_add(age)),
            silent_for: reach.unanswered_millis.map(Duration::from_millis),
            client_waits_for: reach.waiting_millis.map(Duration::from_millis),
        }
    }
}

/// A volume claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Its UID.
    pub uid: String,
    /// What was noted on it.
    pub note: Option<VolumeNote>,
    /// Its volume; none: it has none yet.
    pub volume: Option<Volume>,
}

/// How large a volume is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Volume {
    /// In bytes; none: nobody tells.
    pub capacity: Option<u64>,
    /// Whether it has grown, and its file system has not: the kubelet does that, with some kinds of volume only for a new pod.
    pub awaits_kubelet: bool,
}

/// A process that ends again and again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CrashLoop {
    /// What it has ended with the last time; 128 and the number of the signal, if it was one.
    pub exit_code: Option<i32>,
    /// Kubernetes waits before it starts it again. Until then nothing of it runs.
    pub waits: bool,
}

/// What Kubernetes says of an instance's container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Container {
    /// There is no pod.
    Absent,
    /// The pod is there, its container has not started yet.
    Waiting,
    /// The container runs.
    Running,
    /// The container has ended.
    Ended,
}

/// What an instance says of itself.
#[derive(Clone, Debug, PartialEq)]
pub enum Sight {
    /// It answers queries.
    Serving(View),
    /// It completes a Bolt handshake but did not answer the queries in time.
    Handshake,
    /// It answers, and refuses all credentials that are known. Clients may know others.
    Barred,
    /// It answers, and its certificate cannot be trusted. Clients may take it.
    Untrusted {
        /// What is wrong with it.
        why: String,
    },
    /// Its address refused or reset two connections in a row: no process listens there.
    Refused,
    /// It did not answer in time.
    Silent,
    /// It has no address to ask.
    Unseen,
}

/// An instance's answers.
#[derive(Clone, Debug, PartialEq)]
pub struct View {
    /// Its role.
    pub role: Role,
    /// On MAIN: the replicas that are registered.
    pub registrations: Vec<Registration>,
    /// Our mark in its data; none while it could not be read.
    pub contents: Option<Contents>,
    /// Whether it holds nothing but our mark: no node, index, constraint, enum or user. Asked only where
    /// there is no ledger.
    pub empty: Option<bool>,
    /// The server's version.
    pub version: String,
    /// How it keeps its data. On MAIN: as it told last in its present life; none while it did not. On a replica: only where MAIN has
    /// not got through to it for long, or it has told of another mode than the usual one.
    pub storage_mode: Option<StorageMode>,
}

impl View {
    /// Whether it lists replicas, and says nothing of any: it is in a storage mode without replication, or feeds none of them.
    #[must_use]
    pub fn is_silent_of_replicas(&self) -> bool {
        !self.registrations.is_empty() && self.registrations.iter().all(|r| r.status.is_none())
    }
}

/// How Memgraph keeps its data, which any client may change while it runs (`STORAGE MODE ..`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StorageMode {
    /// Every commit is logged and replicated.
    Transactional,
    /// Nothing that is written is logged or replicated: such a transaction has no deltas, and ends before that
    /// (`InMemoryAccessor::PrepareForCommitPhase`). `SHOW REPLICAS` says nothing of any replica (`ReplicationHandler::ShowReplicas`), and
    /// once the mode is left, what it said before. Up to 3.12 it may be chosen while replicas are registered.
    Analytical,
    /// On disk, from where Memgraph replicates nothing.
    OnDisk,
    /// It did not tell its mode, although it was asked. On a MAIN that says nothing of any replica it may be any, and counts as one
    /// without replication; on a replica it counts as the usual one.
    Untold,
}

impl StorageMode {
    /// Whether an acknowledged write is on replicas, too.
    #[must_use]
    pub fn replicates(self) -> bool {
        self == Self::Transactional
    }

    /// What a human is to do about an instance that is in it.
    #[must_use]
    pub(super) fn remedy(self) -> &'static str {
        match self {
            Self::Transactional => "there is nothing to do",
            Self::Analytical => "have a client run STORAGE MODE IN_MEMORY_TRANSACTIONAL on it",
            // `PrepareStorageModeQuery`: no way leads back while it runs.
            Self::OnDisk => "delete its pod: it starts in memory, without what was written on disk",
            Self::Untold => {
                "It is asked again at each look; long queries may keep all its workers, or its data directory is slow"
            }
        }
    }

    /// Memgraph's word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Transactional => "IN_MEMORY_TRANSACTIONAL",
            Self::Analytical => "IN_MEMORY_ANALYTICAL",
            Self::OnDisk => "ON_DISK_TRANSACTIONAL",
            Self::Untold => "(not told)",
        }
    }
}

/// Memgraph's replication role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It takes writes.
    Main,
    /// It takes a MAIN's replication stream.
    Replica,
}

/// What was read of an instance's data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contents {
    /// The marker in the data, if there is one.
    pub marker: Option<Marker>,
}

/// Our mark in the data: which history it belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Marker {
    /// The history's name.
    pub lineage: String,
}

/// An ASYNC replica that catches up for no longer than this is reported as one that follows.
const NO_NEWS: Duration = Duration::from_secs(10);
/// How far a replica may be behind, in Memgraph's count, when the route is closed: clients wait until it has caught up.
pub(super) const NEAR: i64 = 1_000;
/// For how long a sync replica may be behind while nothing is on its way to it. The second phase of a commit takes a moment.
const LACKS_AFTER: Duration = Duration::from_secs(1);

/// A replica as MAIN lists it (`SHOW REPLICAS`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    /// The name under which it is registered.
    pub name: String,
    /// `host:port` of its replication server.
    pub address: String,
    /// How MAIN feeds it.
    pub mode: RegistrationMode,
    /// The worst status over its databases; none for a *ghost*, which MAIN lists but does not feed.
    pub status: Option<DataStatus>,
    /// How far it has come by what MAIN knows in the database that the operator itself writes to (`memgraph`), as a timestamp of
    /// Memgraph's; none where it lacks nothing there. There are others with an Enterprise license.
    pub reached: Option<i64>,
    /// Transactions' distance to MAIN in Memgraph's own count, in the database in which it is largest: 0 or negative where it follows.
    pub behind: i64,
    /// For how long it has been `ready` and behind in that database while neither it nor MAIN came any further: nothing is on its way
    /// to it.
    pub lacking_for: Duration,
    /// For how long it has not been well (`ready` or `replicating`).
    pub unwell_for: Duration,
    /// Whether it was well before that.
    pub has_followed: bool,
    /// How long ago it was last seen to have come further while it was not well; none where it never was.
    pub advanced_ago: Option<Duration>,
    /// For how long MAIN has listed it as `invalid`, and as nothing else.
    pub invalid_for: Duration,
}

impl Registration {
    /// Whether it holds everything that MAIN has committed, as far as MAIN knows.
    #[must_use]
    pub fn in_sync(&self) -> bool {
        self.status == Some(DataStatus::Ready) && self.behind == 0
    }

    /// Whether it lacks a transaction that MAIN has committed, and gets it only once MAIN commits another one: the second phase did
    /// not reach it, which MAIN does not mind (`storage/v2/replication/replication_transaction.cpp`).
    #[must_use]
    pub fn lacks_a_commit(&self) -> bool {
        self.is_sync() && self.lacking_for >= LACKS_AFTER
    }

    /// Whether it is connected and follows. A transaction on its way to it changes nothing about that.
    #[must_use]
    pub fn follows(&self) -> bool {
        matches!(self.status, Some(DataStatus::Ready | DataStatus::Replicating))
    }

    /// Whether it follows, or is an ASYNC one that has not for a moment only, or [advances](Self::advances): one that is slower than MAIN's
    /// writers goes to and fro between `recovery` and `ready` many times a minute, which is no news.
    #[must_use]
    pub fn keeps_up(&self) -> bool {
        let catches_up = self.status == Some(DataStatus::Recovery) && self.unwell_for < NO_NEWS;
        self.follows() || (!self.is_sync() && self.has_followed && catches_up) || self.advances()
    }

    /// Whether it is an ASYNC one that lacks little, gets that, and lacks something else by then. MAIN calls a replica `ready` only where
    /// nothing was committed while it was fed (`RecoverReplica` in `storage/v2/replication/replication_client.cpp`), which may not happen
    /// for as long as clients write without a pause. In between it is `recovery` or `invalid`.
    #[must_use]
    pub fn advances(&self) -> bool {
        let is_fed = matches!(self.status, Some(DataStatus::Recovery | DataStatus::Invalid));
        let lately = self.advanced_ago.is_some_and(|ago| ago < NO_NEWS);
        !self.is_sync() && is_fed && lately && self.behind >= -NEAR
    }

    /// Whether it [advances](Self::advances), and has not followed for so long that nothing waits for the moment in which it does: it
    /// catches up at once when clients are held.
    #[must_use]
    pub fn is_outpaced(&self) -> bool {
        self.advances() && self.unwell_for >= NO_NEWS
    }

    /// Whether MAIN feeds it before it acknowledges a write.
    #[must_use]
    pub fn is_sync(&self) -> bool {
        self.mode != RegistrationMode::Async
    }
}

/// MAIN's view of a replica's data, from good to bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DataStatus {
    /// It follows.
    Ready,
    /// A transaction is on its way to it.
    Replicating,
    /// It is being brought up to date.
    Recovery,
    /// It is away, or its state is not known.
    Invalid,
    /// It holds writes that MAIN does not.
    Diverged,
}

/// Registration numbers that are reserved: each is used at most once, whoever leads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Numbers {
    /// The next number.
    pub next: i64,
    /// The first number that is no longer reserved.
    pub end: i64,
}

impl Observation {
    /// The instance of this name.
    #[must_use]
    pub fn instance(&self, name: &str) -> Option<&Instance> {
        self.instances.iter().find(|i| i.name == name)
    }

    /// The instances that the spec asks for.
    pub fn declared(&self) -> impl Iterator<Item = &Instance> {
        self.instances
            .iter()
            .filter(|i| i.ordinal < self.settings.replicas)
    }

    /// Whether this instance may be MAIN or in-sync replica.
    #[must_use]
    pub fn electable(&self, instance: &Instance) -> bool {
        instance.ordinal < self.settings.replicas
            && instance.ordinal < self.settings.electable
            && !self.settings.is_fenced(&instance.name)
    }

    /// Whether this instance may be MAIN or in-sync replica, and is to stay: nobody has asked for its pod to be deleted. One
    /// whose pod is being deleted serves for a moment more.
    #[must_use]
    pub fn stays(&self, instance: &Instance) -> bool {
        self.electable(instance) && !instance.terminating
    }
}

impl Instance {
    /// Whether its process was started with what the spec says now.
    #[must_use]
    pub fn is_current(&self) -> bool {
        self.configuration == Configuration::Current
    }

    /// Its answers, if it gave any.
    #[must_use]
    pub fn view(&self) -> Option<&View> {
        match &self.sight {
            Sight::Serving(view) => Some(view),
            _ => None,
        }
    }

    /// The storage mode in which it takes nothing from MAIN, if it is a replica that has told of one: it refuses whatever MAIN sends, and
    /// MAIN lists it as `invalid` (`GetDatabaseAccessor` in `dbms/inmemory/replication_handlers.cpp`).
    #[must_use]
    pub fn takes_nothing_in(&self) -> Option<StorageMode> {
        let mode = self
            .view()
            .filter(|view| view.role == Role::Replica)?
            .storage_mode;
        mode.filter(|mode| matches!(mode, StorageMode::Analytical | StorageMode::OnDisk))
    }

    /// The same for people, with the remedy.
    #[must_use]
    pub(super) fn takes_nothing(&self) -> Option<String> {
        let mode = self.takes_nothing_in()?;
        Some(format!(
            "is in the storage mode {}, in which it takes nothing from MAIN: {}",
            mode.as_str(),
            mode.remedy()
        ))
    }

    /// The storage mode in which it replicates nothing, if it is MAIN and known to be in one.
    #[must_use]
    pub fn unreplicated(&self) -> Option<StorageMode> {
        let view = self.view().filter(|view| view.role == Role::Main)?;
        view.storage_mode.filter(|mode| !mode.replicates())
    }

    /// Its role, if it told.
    #[must_use]
    pub fn role(&self) -> Option<Role> {
        self.view().map(|view| view.role)
    }

    /// Whether it answers as a replica.
    #[must_use]
    pub fn is_replica(&self) -> bool {
        self.role() == Some(Role::Replica)
    }

    /// The marker in its data; none where there is none or it was not read.
    #[must_use]
    pub fn marker(&self) -> Option<&Marker> {
        self.view()?.contents.as_ref()?.marker.as_ref()
    }

    /// The copy of the data that it is now.
    #[must_use]
    pub fn copy(&self) -> Option<DataCopy> {
        Some(DataCopy {
            instance: self.name.clone(),
            incarnation: self.incarnation.clone()?,
        })
    }

    /// Whether it is still in the life that `member` was seen in.
    #[must_use]
    pub fn is(&self, member: &Member) -> bool {
        self.name == member.instance && self.incarnation.as_ref() == Some(&member.incarnation)
    }

    /// Whether it has the volume of `incarnation`, in whatever life.
    #[must_use]
    pub fn has_volume_of(&self, incarnation: &Incarnation) -> bool {
        self.incarnation
            .as_ref()
            .is_some_and(|own| own.volume == incarnation.volume)
    }

    /// Whether it has all that it had in the life of `incarnation`: the volume is the same, and nothing on it can have been
    /// lost with its node's memory. How the present process was started tells nothing of that life: a pod that was made
    /// anew may have other flags.
    #[must_use]
    pub fn kept_all_of(&self, incarnation: &Incarnation) -> bool {
        let Some(own) = &self.incarnation else {
            return false;
        };
        let same_boot = !own.boot_id.is_empty() && own.boot_id == incarnation.boot_id;
        let flushed = own.flushes_all && incarnation.flushes_all;
        self.has_volume_of(incarnation) && (same_boot || flushed)
    }

    /// Whether its data belongs to the ledger's history. It tells a copy from an empty or a foreign one without asking
    /// MAIN. How new a copy is, it does not tell: that is known of lives and volumes.
    #[must_use]
    pub fn carries(&self, ledger: &Ledger) -> bool {
        self.marker()
            .is_some_and(|marker| marker.lineage == ledger.lineage)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_replica_that_catches_up_for_a_moment_is_no_news() {
        let catching_up = Registration {
            name: "demo_1_g7".into(),
            address: "192.0.2.1:10000".into(),
            mode: RegistrationMode::Async,
            status: Some(DataStatus::Recovery),
            reached: Some(2),
            behind: -40,
            lacking_for: Duration::ZERO,
            unwell_for: Duration::from_secs(1),
            has_followed: true,
            advanced_ago: None,
            invalid_for: Duration::ZERO,
        };
        assert!(catching_up.keeps_up());
        let but = |change: fn(&mut Registration)| {
            let mut registration = catching_up.clone();
            change(&mut registration);
            registration.keeps_up()
        };
        assert!(!but(|r| r.unwell_for = NO_NEWS));
        assert!(!but(|r| r.has_followed = false));
        assert!(!but(|r| r.mode = RegistrationMode::Sync));
        assert!(!but(|r| r.status = Some(DataStatus::Invalid)));
        assert!(but(|r| r.status = Some(DataStatus::Replicating)));
    }

    #[test]
    fn a_replica_that_writers_outpace_keeps_up_as_long_as_it_comes_further_and_lacks_little() {
        let outpaced = Registration {
            name: "demo_1_g7".into(),
            address: "192.0.2.1:10000".into(),
            mode: RegistrationMode::Async,
            status: Some(DataStatus::Recovery),
            reached: Some(2),
            behind: -40,
            lacking_for: Duration::ZERO,
            unwell_for: Duration::from_secs(3600),
            has_followed: false,
            advanced_ago: Some(Duration::from_secs(1)),
            invalid_for: Duration::ZERO,
        };
        let but = |change: fn(&mut Registration)| {
            let mut registration = outpaced.clone();
            change(&mut registration);
            (registration.keeps_up(), registration.is_outpaced())
        };
        assert_eq!(but(|_| ()), (true, true));
        assert_eq!(but(|r| r.status = Some(DataStatus::Invalid)), (true, true));
        assert_eq!(but(|r| r.status = Some(DataStatus::Ready)), (true, false));
        assert_eq!(but(|r| r.status = Some(DataStatus::Diverged)), (false, false));
        assert_eq!(but(|r| r.unwell_for = Duration::from_secs(2)), (true, false));
        assert_eq!(but(|r| r.behind = -NEAR - 1), (false, false));
        assert_eq!(but(|r| r.mode = RegistrationMode::StrictSync), (false, false));
        assert_eq!(but(|r| r.advanced_ago = Some(NO_NEWS)), (false, false));
        assert_eq!(but(|r| r.advanced_ago = None), (false, false));
    }
}
