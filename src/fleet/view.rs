//! What is told about clusters as JSON. New fields may come; present ones keep their name and meaning.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    advice::{Advice, advice},
    live::{GatewayWord, Live},
};
use crate::{
    api::{
        FailoverRecord, Health, InstanceRole, InstanceStatus, MemgraphCluster, OperationRecord, Phase,
        RegistrationMode,
        conditions::ConditionType,
        ledger::{Ledger, Operation, Route, SwitchoverRecord},
    },
    memgraph::Usage,
};

/// Every cluster.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FleetStatus {
    /// Who answers, and who leads.
    pub operator: OperatorStatus,
    /// The clusters, by namespace and name.
    pub clusters: Vec<ClusterStatus>,
}

/// The operator process that answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OperatorStatus {
    /// Its name, which is its pod's.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Whether its caches are filled, so that it can lead.
    pub ready: bool,
    /// Whether it leads. Only the leader tells what is newer than a cluster's status: lag, ages and gateways.
    pub leads: bool,
    /// Name of the process that leads; none while nobody does, or nobody is known to.
    pub leader: Option<String>,
}

/// One cluster.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ClusterStatus {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its UID: one that is made again under its name is another one.
    pub uid: String,
    /// Its conditions in one word.
    pub phase: Option<Phase>,
    /// Who is MAIN, who follows it, and what has been decided.
    pub cluster_state: ClusterState,
    /// The gateways, as they have answered the leader; none: this process does not lead.
    pub gateways: Option<Vec<GatewayState>>,
    /// Whether clients can write, and who reaches MAIN.
    pub health: ClusterHealth,
    /// The conditions of its status.
    pub conditions: Vec<Condition>,
    /// What to do next. Empty: nothing.
    pub advice: Vec<Advice>,
}

/// Who is MAIN, who follows it, and what has been decided.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ClusterState {
    /// The instance that clients are led to for writing; none while the route is closed.
    pub main: Option<String>,
    /// The ledger's term: it grows with each closing of the route.
    pub term: Option<i64>,
    /// Whether clients may reach MAIN.
    pub route: Option<Route>,
    /// Number of instances that the spec asks for.
    pub replicas: i32,
    /// Number of instances that answer in the role they should have.
    pub ready_replicas: i32,
    /// Number of replicas that hold every acknowledged write.
    pub in_sync_replicas: i32,
    /// The Memgraph version that MAIN reports.
    pub version: Option<String>,
    /// Where clients connect to for writing: `host:port`.
    pub read_write_address: Option<String>,
    /// Where clients connect to for reading: `host:port`.
    pub read_address: Option<String>,
    /// The instances, by ordinal.
    pub instances: Vec<InstanceState>,
    /// The change of MAIN that is going on.
    pub operation: Option<Operation>,
    /// What has become of the newest request to move MAIN.
    pub switchover: Option<SwitchoverRecord>,
    /// The newest change of MAIN that was not planned: it was lost, or had restarted. Also one that a human has decided on.
    pub last_failover: Option<FailoverRecord>,
    /// The newest changes of MAIN that are over, newest first.
    pub history: Vec<OperationRecord>,
    /// The operator's decisions, as they stand in the MemgraphCluster.
    pub ledger: Option<Ledger>,
}

/// One instance.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct InstanceState {
    /// Its name, which is its pod's.
    pub name: String,
    /// Address of its pod.
    pub address: Option<String>,
    /// What it does.
    pub role: InstanceRole,
    /// How MAIN feeds it.
    pub mode: Option<RegistrationMode>,
    /// Whether it answers.
    pub health: Health,
    /// What keeps its pod from running, as Kubernetes says it; none: it runs, or Kubernetes says nothing.
    pub obstacle: Option<String>,
    /// What its node lacks for Memgraph, as it was when the pod started; none: nothing, or nobody tells.
    pub warning: Option<String>,
    /// What MAIN says of its data, or said last: `ready`, `recovery`, `invalid`, `diverged`, `ghost` (MAIN lists it, does not feed it).
    pub data_status: Option<String>,
    /// Whether it is known to hold every acknowledged write, so that it may be promoted.
    pub in_sync: bool,
    /// Whether `spec.fencedInstances` keeps clients and promotions from it.
    pub fenced: bool,
    /// How many transactions it is behind MAIN; none: it is MAIN, MAIN does not say, or this process does not lead.
    pub lag_transactions: Option<u64>,
    /// How long ago it answered for the last time; none: it has not answered this leader, or this process does not lead.
    pub answered_seconds_ago: Option<f64>,
    /// What it holds and uses, as it told in the last 5 minutes; none: nothing (as before 3.11), or this process does not lead.
    pub usage: Option<Usage>,
}

/// A gateway, as it has answered the leader for the last time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct GatewayState {
    /// Name of its pod.
    pub pod: String,
    /// How long ago it was asked.
    pub asked_seconds_ago: f64,
    /// The term that it has in force.
    pub term: i64,
    /// Whether writers may reach MAIN by it.
    pub route: Route,
    /// The instance that it leads writers to.
    pub main: Option<String>,
    /// Number of sessions to MAIN.
    pub read_write_sessions: usize,
    /// Number of sessions at the read port.
    pub read_sessions: usize,
    /// Number of clients that wait for a MAIN.
    pub held_clients: usize,
    /// For how long its right to lead clients to MAIN still lasted when it answered; none: it had none.
    pub grant_seconds_left: Option<f64>,
    /// How long ago MAIN completed a Bolt handshake of its own; none: not in this term.
    pub main_answered_seconds_ago: Option<f64>,
}

/// Whether clients can write, and who reaches MAIN.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ClusterHealth {
    /// Whether the gateways lead to a MAIN that can acknowledge writes.
    pub ready: bool,
    /// Whether the status is about the newest spec.
    pub up_to_date: bool,
    /// Since the process that answers knows the cluster: for how many seconds nobody could write.
    pub write_unavailable_seconds: f64,
    /// Number of changes of MAIN that nobody planned, counted likewise.
    pub failovers: u64,
    /// Who reaches MAIN. Empty: this process does not lead.
    pub main_reached_by: Vec<Vantage>,
    /// With `spec.tls`: when the certificate of the instances ends (RFC 3339). None also: this process does not lead, or nobody can
    /// read it.
    pub certificate_ends: Option<String>,
}

/// What MAIN looks like from one place.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Vantage {
    /// `operator`, or the name of a gateway's pod.
    pub from: String,
    /// Whether MAIN answered there in the last two seconds; none: that cannot be told.
    pub reached: Option<bool>,
}

/// An answer older than this says nothing of the present.
const RECENT: Duration = Duration::from_secs(2);

/// What was counted of one cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Counted {
    /// For how long nobody could write.
    pub unavailable: Duration,
    /// Changes of MAIN that nobody planned.
    pub failovers: u64,
}

/// What is told of a cluster. `live`: what the leader sees, if this is it.
#[must_use]
pub fn cluster(cluster: &MemgraphCluster, counted: Counted, live: Option<&Live>) -> ClusterStatus {
    let status = cluster.status.clone().unwrap_or_default();
    let ledger = status.ledger.as_ref();
    let instances = status.instances.iter();
    let condition = |kind: ConditionType| status.conditions.iter().find(|c| c.type_ == kind.as_str());
    let gateways: Option<Vec<_>> = live.map(|live| {
        live.gateways
            .iter()
            .map(|(pod, word)| gateway(pod, word))
            .collect()
    });
    ClusterStatus {
        namespace: cluster.namespace().unwrap_or_default(),
        name: cluster.name_any(),
        uid: cluster.uid().unwrap_or_default(),
        phase: status.phase,
        cluster_state: ClusterState {
            main: status.main.clone(),
            term: ledger.map(|ledger| ledger.term),
            route: ledger.map(|ledger| ledger.route),
            replicas: cluster.spec.replicas,
            ready_replicas: status.ready_replicas,
            in_sync_replicas: status.in_sync_replicas,
            version: status.version.clone(),
            read_write_address: status.gateway.as_ref().map(|gateway| gateway.read_write.clone()),
            read_address: status.gateway.as_ref().and_then(|gateway| gateway.read.clone()),
            instances: instances.map(|i| instance(cluster, i, live)).collect(),
            operation: ledger.and_then(|ledger| ledger.operation.clone()),
            switchover: status.switchover.clone(),
            last_failover: status.last_failover.clone(),
            history: status.history.clone(),
            ledger: status.ledger.clone(),
        },
        health: ClusterHealth {
            ready: condition(ConditionType::Ready).is_some_and(|c| c.status == "True"),
            up_to_date: status.observed_generation == cluster.metadata.generation,
            write_unavailable_seconds: counted.unavailable.as_secs_f64(),
            failovers: counted.failovers,
            main_reached_by: live.map(|live| vantages(ledger, live)).unwrap_or_default(),
            certificate_ends: live
                .and_then(|live| live.certificate_ends)
                .map(|ends| ends.to_string()),
        },
        gateways,
        advice: advice(cluster),
        conditions: status.conditions,
    }
}

fn instance(cluster: &MemgraphCluster, status: &InstanceStatus, live: Option<&Live>) -> InstanceState {
    let sight = live.and_then(|live| live.instances.get(&status.name));
    InstanceState {
        name: status.name.clone(),
        address: status.address.clone(),
        role: status.role,
        mode: status.mode,
        health: status.health,
        obstacle: status.obstacle.clone(),
        warning: status.warning.clone(),
        data_status: status.data_status.clone(),
        in_sync: status.in_sync,
        fenced: cluster.spec.fenced_instances.contains(&status.name),
        lag_transactions: sight.and_then(|sight| sight.behind),
        answered_seconds_ago: sight.and_then(|sight| sight.answered_ago.map(|ago| ago.as_secs_f64())),
        usage: sight.and_then(|sight| sight.usage),
    }
}

fn gateway(pod: &str, word: &GatewayWord) -> GatewayState {
    let report = &word.report;
    let seconds = |millis: u64| Duration::from_millis(millis).as_secs_f64();
    let handshake = report.reach.handshake_millis_ago;
    GatewayState {
        pod: pod.to_owned(),
        asked_seconds_ago: word.asked_ago.as_secs_f64(),
        term: report.term,
        route: report.route,
        main: report.main.clone(),
        read_write_sessions: report.sessions.read_write,
        read_sessions: report.sessions.read,
        held_clients: report.sessions.held,
        grant_seconds_left: report.held.as_ref().map(|held| seconds(held.remaining_millis)),
        main_answered_seconds_ago: handshake.map(|ago| seconds(ago) + word.asked_ago.as_secs_f64()),
    }
}

fn vantages(ledger: Option<&Ledger>, live: &Live) -> Vec<Vantage> {
    let Some(ledger) = ledger else {
        return Vec::new();
    };
    let own = live.instances.get(&ledger.main.instance);
    let own = Vantage {
        from: "operator".to_owned(),
        reached: own.map(|sight| sight.answers && sight.answered_ago.is_some_and(|ago| ago < RECENT)),
    };
    let theirs = live.gateways.iter().map(|(pod, word)| {
        let reach = &word.report.reach;
        let handshake = reach.handshake_millis_ago.map(Duration::from_millis);
        let of_this_main = word.asked_ago < RECENT && reach.term == ledger.term;
        Vantage {
            from: pod.clone(),
            reached: of_this_main.then(|| handshake.is_some_and(|ago| ago + word.asked_ago < RECENT)),
        }
    });
    std::iter::once(own).chain(theirs).collect()
}

impl ClusterStatus {
    /// The same without what changes with each look, or goes up and down, although nothing has happened.
    #[must_use]
    pub fn without_ages(mut self) -> Self {
        self.health.write_unavailable_seconds = 0.0;
        for instance in &mut self.cluster_state.instances {
            instance.answered_seconds_ago = None;
            instance.usage = None;
        }
        for gateway in self.gateways.iter_mut().flatten() {
            gateway.asked_seconds_ago = 0.0;
            gateway.grant_seconds_left = gateway.grant_seconds_left.map(|_| 0.0);
            gateway.main_answered_seconds_ago = gateway.main_answered_seconds_ago.map(|_| 0.0);
        }
        self
    }
}
