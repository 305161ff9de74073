//! The ledger: what the operator has decided, written to the status by compare-and-swap before it acts.
//!
//! Only the leader writes it, always at the resourceVersion at which it was read. Everything else in the
//! status is a report; the ledger alone is read back by the code.

use std::net::Ipv4Addr;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    DurationString, names,
    status::{RegistrationMode, SwitchoverState},
};

/// The decisions about one cluster that must outlive any process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Ledger {
    /// Name of this cluster's history, made at bootstrap; data that carries another one is foreign.
    pub lineage: String,
    /// Fencing number: grows with each closing of the route and never goes back, so that a gateway's
    /// acknowledgement of one closing can never be taken for that of another.
    pub term: i64,
    /// Whether the route has ever been open. Before that nothing was acknowledged; from then on every copy of this history
    /// carries its mark.
    #[serde(default)]
    pub opened: bool,
    /// The instance that is MAIN in this term.
    pub main: DataCopy,
    /// Address of the pod that MAIN runs in, for the gateways. Empty while the route was never open.
    #[serde(default)]
    pub main_address: String,
    /// Whether clients may reach MAIN.
    pub route: Route,
    /// Clients have reached this MAIN past the gateway (`gateway.enabled: false`): no fence keeps it from acknowledging writes if it
    /// is lost. It holds until another process is MAIN behind gateways.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub direct: bool,
    /// The copies that hold every acknowledged write, and so may be promoted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub in_sync: Vec<Member>,
    /// While the route is closed: the copies among which the next MAIN is chosen.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub candidates: Vec<Member>,
    /// The address at which MAIN is to find each instance. It is noted before a registration is made there, and no other
    /// instance starts at it: so nobody else can take the replica's place behind MAIN's back.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<InstanceAddress>,
    /// The first number that no leader has reserved yet. Numbers name registrations and are never used twice.
    pub generation: i64,
    /// Why the route is closed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<Operation>,
    /// The changes of MAIN that nobody asked for, of the last hour, oldest first. Too many in a row are held back.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<Change>,
    /// The ledger was made anew on a human's word: no data is set aside without asking before every instance has followed
    /// MAIN once.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub recovered: bool,
    /// Orders to set an instance's data aside. Each holds in its term only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resets: Vec<ResetOrder>,
    /// The last request to move MAIN that was dealt with: each is carried out once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub switchover: Option<SwitchoverRecord>,
    /// The gateways that may hold a grant, in the order of their UIDs. Before anybody else is promoted, each of them must
    /// have confirmed that the route is closed, or whatever it may hold must have run out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gateways: Vec<GatewayEntry>,
    /// For how long each grant lasts while the route is open in this term, and for how long silent gateways are waited
    /// for when it is closed again. None before the first grant.
    #[serde(default, rename = "grantTTL", skip_serializing_if = "Option::is_none")]
    pub grant_ttl: Option<DurationString>,
}

/// Whether clients may reach MAIN.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Route {
    /// Gateways lead clients to MAIN.
    Open,
    /// Gateways pass nothing between clients and MAIN: they cut its sessions, or hold their bytes for a moment where MAIN stays.
    #[default]
    Closed,
}

/// One life of one copy of the data. It changes when the process, the pod or the volume does.
#[derive(Clone, Debug, Default, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Incarnation {
    /// UID of the pod.
    #[serde(rename = "podUID")]
    pub pod_uid: String,
    /// The container runtime's id of the running container; a restart in place gives a new one.
    #[serde(rename = "containerID")]
    pub container_id: String,
    /// UID of the volume claim, followed by the name of the volume that it is bound to. Where the data lies in the pod itself: the
    /// pod's UID, followed by what the init container has named the volume.
    pub volume: String,
    /// The node's boot: what was not flushed is lost with it. Empty where the pod does not tell.
    #[serde(default, rename = "bootID", skip_serializing_if = "String::is_empty")]
    pub boot_id: String,
    /// Its process flushes each transaction before it is acknowledged. It tells what this life may have lost, not which
    /// one it is.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub flushes_all: bool,
}

impl PartialEq for Incarnation {
    fn eq(&self, other: &Self) -> bool {
        let Self {
            pod_uid,
            container_id,
            volume,
            boot_id,
            flushes_all: _,
        } = self;
        *pod_uid == other.pod_uid
            && *container_id == other.container_id
            && *volume == other.volume
            && *boot_id == other.boot_id
    }
}

/// An instance in one particular incarnation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct DataCopy {
    /// Name of the instance (its pod).
    pub instance: String,
    /// The life of it that is meant.
    pub incarnation: Incarnation,
}

/// A copy that may be promoted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Member {
    /// Name of the instance (its pod).
    pub instance: String,
    /// The life of it that was seen in sync.
    pub incarnation: Incarnation,
    /// Number of its registration on MAIN; 0 for a former MAIN, which has none.
    pub generation: i64,
    /// `host:port` at which it is registered; empty for a former MAIN.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub address: String,
    /// How it is registered; absent for a former MAIN.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<RegistrationMode>,
}

/// Where MAIN is to find an instance.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct InstanceAddress {
    /// Name of the instance (its pod).
    pub instance: String,
    /// `host:port` of its replication server.
    pub address: String,
    /// Registrations with a lower number were made before this was noted, and may mean whoever had the address then.
    pub since: i64,
}

/// An announced change of MAIN.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Operation {
    /// What is going on.
    pub kind: OperationKind,
    /// The instance that MAIN moves to.
    pub target: String,
    /// The instance that MAIN moves away from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// When it was announced (RFC 3339), for people and for the history; never read by a decision.
    pub started_at: String,
    /// What it was begun for, for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub cause: String,
    /// The new MAIN was not known to hold every acknowledged write: `failover.candidates` is MostRecent.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub lossy: bool,
    /// Of a bootstrap over data without a MAIN: how far the choice of MAIN has been checked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub election: Option<Election>,
    /// MAIN has handed over to a copy that was ahead of it: that is done once.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub reversed: bool,
    /// Of a planned change: the target was shown to hold everything, after clients were cut off.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub proven: bool,
}

/// How far the choice of MAIN among instances that all came back as replicas has been checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Election {
    /// MAIN commits nothing before every other instance is registered on it: one that it refuses holds more.
    Open,
    /// An instance was refused: a human must decide.
    Refuted,
}

/// The kinds of [`Operation`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OperationKind {
    /// The first set-up of a cluster, or the adoption of one that is there.
    Bootstrap,
    /// MAIN is lost and another copy takes over.
    Failover,
    /// MAIN itself has restarted and is promoted again.
    Restart,
    /// MAIN stays, but a registration on which durability rests must be made anew.
    Repair,
    /// MAIN moves because somebody has asked for it.
    Switchover,
}

/// A change of MAIN that nobody asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Change {
    /// The term that it began.
    pub term: i64,
    /// When it was announced (RFC 3339, by the clock of the leader of that time).
    #[serde(default)]
    pub at: String,
    /// Whether it rested on silence alone: MAIN may have been alive.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub suspected: bool,
}

/// An order to set the data of an instance aside, so that it is filled anew from MAIN.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ResetOrder {
    /// Name of the instance (its pod).
    pub instance: String,
    /// What tells the order from every other one; each is obeyed once.
    pub token: String,
    /// The term in which it was given: in another one it is void.
    pub term: i64,
    /// UID of the pod that is to be replaced for it.
    #[serde(rename = "podUID")]
    pub pod_uid: String,
    /// How many pods have been replaced for it.
    #[serde(default)]
    pub attempts: i32,
    /// The data may hold writes that no other copy has: it is not deleted to make room for later ones.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub preserve: bool,
    /// When it was given (RFC 3339), for people; it names the folder.
    #[serde(default)]
    pub at: String,
}

/// What has become of a request to move MAIN.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct SwitchoverRecord {
    /// The request's id.
    pub request_id: String,
    /// The instance that was chosen; none before one was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// How far it has come.
    pub state: SwitchoverState,
    /// Where MAIN is now, or why it did not move.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// The old MAIN, where it leads again only because Memgraph took it for one that has branched off: as long as it does, the request
    /// is carried out once more. It stays while it is, so that this happens once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handed_back_to: Option<String>,
    /// When it was over (RFC 3339), for people; never read by a decision.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub finished_at: String,
}

/// A gateway that may hold a grant.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct GatewayEntry {
    /// UID of its pod.
    #[serde(rename = "podUID")]
    pub pod_uid: String,
    /// Its pod is gone: it gets no grant any more, and is forgotten once whatever it held has run out.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub leaving: bool,
}

impl Ledger {
    /// Whether the gateway in this pod may get a grant.
    #[must_use]
    pub fn grants_to(&self, pod_uid: &str) -> bool {
        self.gateways
            .iter()
            .any(|gateway| gateway.pod_uid == pod_uid && !gateway.leaving)
    }
}

impl Member {
    /// The copy that this member is.
    #[must_use]
    pub fn copy(&self) -> DataCopy {
        DataCopy {
            instance: self.instance.clone(),
            incarnation: self.incarnation.clone(),
        }
    }

    /// Whether it holds every acknowledged write also after a restart on its volume: a former MAIN does, and a replica without whose
    /// vote MAIN acknowledges nothing, also while it is away. What the spec says of the mode may not be so yet.
    #[must_use]
    pub fn outlives_its_process(&self) -> bool {
        self.mode == Some(RegistrationMode::StrictSync) || self.generation == 0
    }
}

impl InstanceAddress {
    /// `host:port` of the replication server of a pod with this address.
    ///
    /// Memgraph takes it as it is and lists it so. It splits it at its only `:` (`io/network/endpoint.cpp`), which no IPv6
    /// address passes, and its replication server listens on 0.0.0.0 (`replication/include/replication/config.hpp`).
    #[must_use]
    pub fn of(pod: Ipv4Addr) -> String {
        format!("{pod}:{}", names::REPLICATION_PORT)
    }
}

impl Ledger {
    /// Whether an instance is MAIN, in sync or a candidate: its data may be the only copy of an acknowledged write.
    #[must_use]
    pub fn relies_on(&self, instance: &str) -> bool {
        let mut members = self.in_sync.iter().chain(&self.candidates);
        self.main.instance == instance || members.any(|member| member.instance == instance)
    }

    /// Whether the copy in this very pod is MAIN's, in sync or a candidate, in whatever life.
    #[must_use]
    pub fn relies_on_pod(&self, pod_uid: &str) -> bool {
        let members = self.in_sync.iter().chain(&self.candidates);
        let lives = members.map(|member| &member.incarnation);
        lives
            .chain([&self.main.incarnation])
            .any(|life| life.pod_uid == pod_uid)
    }

    /// Whether this instance is relied on in its present life only: MAIN does not wait for it while it is away, and after a restart
    /// nobody knows what it missed.
    #[must_use]
    pub fn relies_on_this_life_of(&self, instance: &str) -> bool {
        let mut members = self.in_sync.iter().chain(&self.candidates);
        members.any(|member| member.instance == instance && !member.outlives_its_process())
    }

    /// Another instance than this one that MAIN is, or may be, told to find at `address` (`host:port`). Where there is one,
    /// this instance must not start there.
    #[must_use]
    pub fn other_at(&self, address: &str, instance: &str) -> Option<&str> {
        let noted = self
            .addresses
            .iter()
            .map(|noted| (&noted.instance, &noted.address));
        let members = self
            .in_sync
            .iter()
            .map(|member| (&member.instance, &member.address));
        noted
            .chain(members)
            .find(|(holder, at)| *holder != instance && *at == address)
            .map(|(holder, _)| holder.as_str())
    }

    /// Whether the choice of MAIN, after the last ledger was lost, has turned out wrong: then there is as good as no ledger.
    #[must_use]
    pub fn is_refuted(&self) -> bool {
        let election = self.operation.as_ref().and_then(|operation| operation.election);
        election == Some(Election::Refuted)
    }

    /// Whether nothing follows from it, so that there is as good as no ledger: its choice has turned out wrong; or it was announced below
    /// a term that has been (`known_term`), by one who had not heard of that, and the route never opened by it.
    #[must_use]
    pub fn is_void(&self, known_term: i64) -> bool {
        let sets_up = self
            .operation
            .as_ref()
            .is_some_and(|o| o.kind == OperationKind::Bootstrap);
        self.is_refuted() || sets_up && !self.opened && self.term < known_term
    }

    /// Without the orders that are void: those of another term, and those for an instance that the ledger relies on.
    #[must_use]
    pub fn without_void_orders(mut self) -> Self {
        let orders = std::mem::take(&mut self.resets);
        self.resets = orders
            .into_iter()
            .filter(|order| order.term == self.term && !self.relies_on(&order.instance))
            .collect();
        self
    }
}

impl ResetOrder {
    /// The folder, below [`SET_ASIDE`](super::names::SET_ASIDE) on the instance's volume, into which the data is moved.
    #[must_use]
    pub fn folder(&self) -> String {
        let stamp: String = self
            .at
            .chars()
            .take(19)
            .filter(char::is_ascii_alphanumeric)
            .collect();
        let kept = if self.preserve { "-keep" } else { "" };
        format!("{stamp}-{}{kept}", self.token)
    }
}
