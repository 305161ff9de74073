//! What operator and gateway tell each other.

use std::{cmp::Ordering, net::SocketAddr, time::Duration};

use serde::{Deserialize, Serialize};

use super::LONGEST_TTL;
use crate::api::ledger::{DataCopy, Ledger, OperationKind, Route};

/// The version of these messages. Another one is refused, not guessed at.
pub const VERSION: u32 = 1;

/// How often a gateway tries a Bolt handshake with MAIN.
pub const PROBE_EVERY: Duration = Duration::from_millis(500);

/// How far a ledger has come. It only ever goes forward: a route opens once in each term, and each closing begins a new
/// term.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Position {
    /// The ledger's term.
    pub term: i64,
    /// Whether clients may reach MAIN.
    pub route: Route,
    /// The instance that is MAIN in this term, or is to be.
    pub main: String,
    /// The route is closed for a moment only, and MAIN stays who it was in the term before: sessions need not be cut for it, if
    /// none of their bytes moves.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub pause: bool,
}

impl Position {
    /// How far this ledger has come.
    #[must_use]
    pub fn of(ledger: &Ledger) -> Self {
        Self {
            term: ledger.term,
            route: ledger.route,
            main: ledger.main.instance.clone(),
            pause: ledger.route == Route::Closed && repairs(ledger),
        }
    }

    /// Which of two positions of one ledger is the later one. While the route is closed another MAIN may be chosen only in
    /// a new term, so that the instance does not count.
    #[must_use]
    pub fn compare(&self, other: &Self) -> Ordering {
        let rank = |position: &Self| (position.term, position.route == Route::Open);
        rank(self).cmp(&rank(other))
    }
}

/// Whether the announced operation leaves MAIN where it is.
fn repairs(ledger: &Ledger) -> bool {
    let operation = ledger.operation.as_ref();
    operation.is_some_and(|operation| operation.kind == OperationKind::Repair)
}

/// What an operator process sends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Request {
    /// [`VERSION`] of the sender.
    pub version: u32,
    /// UID of the cluster.
    pub cluster: String,
    /// How far the ledger has come, as far as the sender knows; none before the bootstrap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<Position>,
    /// The answer to an earlier nonce.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant: Option<Grant>,
    /// The word of a process that does not lead, for an earlier nonce.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub voucher: Option<Voucher>,
}

/// The word of an operator process: that when it had received this nonce, it knew of no ledger later than the one that any
/// grant rests on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Voucher {
    /// The nonce that it answers.
    pub nonce: u64,
    /// The process, by the name of its pod.
    pub operator: String,
}

/// On what a grant may be extended while neither a leader nor the API server answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Failsafe {
    /// The operator process that says so, by the name of its pod.
    pub by: String,
    /// All operator processes, it among them: each of them must vouch.
    pub operators: Vec<String>,
    /// The in-sync replicas: each must take connections for replication, as only a replica does.
    pub members: Vec<MemberPort>,
}

/// Where an in-sync replica takes connections for replication.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MemberPort {
    /// The copy, as the ledger has it.
    pub copy: DataCopy,
    /// Address and port.
    pub address: SocketAddr,
}

/// The right to lead clients to MAIN.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Grant {
    /// The nonce that it answers.
    pub nonce: u64,
    /// UID of the cluster.
    pub cluster: String,
    /// The term.
    pub term: i64,
    /// MAIN of that term.
    pub main: DataCopy,
    /// Where MAIN is, as the ledger has it.
    pub address: String,
    /// UID of the gateway's pod.
    #[serde(rename = "podUID")]
    pub pod_uid: String,
    /// For how long it lasts from the moment at which the nonce was sent, in milliseconds.
    pub ttl_millis: u64,
    /// On what it may be extended; none: on nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failsafe: Option<Failsafe>,
}

impl Grant {
    /// For how long it lasts from the moment at which the nonce was sent. One of an older operator that is longer than any may be is worth no
    /// more than the longest.
    #[must_use]
    pub fn ttl(&self) -> Duration {
        Duration::from_millis(self.ttl_millis).min(LONGEST_TTL)
    }
}

/// What a gateway answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Response {
    /// [`VERSION`] of the gateway.
    pub version: u32,
    /// UID of the gateway's pod.
    #[serde(rename = "podUID")]
    pub pod_uid: String,
    /// To be answered by a grant.
    pub nonce: u64,
    /// What holds at the gateway.
    pub report: Report,
    /// Why the request's grant was not taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refusal: Option<String>,
}

/// What holds at a gateway.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// UID of the cluster; none before it was seen.
    #[serde(rename = "uid")]
    pub cluster: Option<String>,
    /// No byte of a session of a lower term moves, nor will one before MAIN of that term is MAIN of a later one too.
    pub term: i64,
    /// `Closed`: no byte of a read-write session moves. `Open`: sessions lead to `main`.
    pub route: Route,
    /// The instance that read-write sessions lead to; none while there are none.
    pub main: Option<String>,
    /// Number of sessions at the moment.
    pub sessions: SessionCounts,
    /// The grant that is held, valid or not.
    #[serde(default)]
    pub held: Option<Held>,
    /// What became of the last connections to MAIN.
    #[serde(default)]
    pub reach: MainReach,
}

impl Report {
    /// Whether it shows this very term of this cluster as closed: then nothing of an older term can be passed on.
    #[must_use]
    pub fn confirms(&self, cluster: &str, term: i64) -> bool {
        self.cluster.as_deref() == Some(cluster) && self.term == term && self.route == Route::Closed
    }

    /// The term of the newest ledger of this cluster that it has heard of.
    #[must_use]
    pub fn term_of(&self, cluster: &str) -> Option<i64> {
        (self.cluster.as_deref() == Some(cluster)).then_some(self.term)
    }

    /// The term of the grant that it holds for this cluster, valid or not.
    #[must_use]
    pub fn held_in(&self, cluster: &str) -> Option<i64> {
        let held = self.held.as_ref().map(|held| held.term);
        held.filter(|_| self.cluster.as_deref() == Some(cluster))
    }
}

/// A grant at the gateway that holds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Held {
    /// Its term.
    pub term: i64,
    /// For how long it still lasts, in milliseconds.
    pub remaining_millis: u64,
    /// MAIN has refused or reset a connection since: only a leader that has looked at MAIN renews it.
    pub tainted: bool,
    /// Neither a leader nor the API server has renewed it in its time: it was extended.
    #[serde(default)]
    pub failsafe: bool,
}

/// What became of the last connections to MAIN of one term.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MainReach {
    /// The term whose MAIN it was; 0: none yet.
    #[serde(default)]
    pub term: i64,
    /// For how many milliseconds no connection was completed; none: never since this MAIN was granted.
    pub connected_millis_ago: Option<u64>,
    /// The same for one that was refused, or reset by MAIN.
    pub refused_millis_ago: Option<u64>,
    /// The same for one that was not answered in time.
    pub silent_millis_ago: Option<u64>,
    /// For how many milliseconds none of the gateway's own Bolt handshakes was completed; none: none ever was.
    #[serde(default)]
    pub handshake_millis_ago: Option<u64>,
    /// For how many milliseconds, from the first of them on, all handshakes that were begun have come to nothing; none: the
    /// last one was completed, or the gateway itself was held up and can tell nothing.
    #[serde(default)]
    pub unanswered_millis: Option<u64>,
    /// For how many milliseconds the client that has waited for longest has had no byte of MAIN after it had said something;
    /// none: nobody waits. A query may take long.
    #[serde(default)]
    pub waiting_millis: Option<u64>,
}

/// Number of sessions, by the port they came by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SessionCounts {
    /// At the read-write port.
    pub read_write: usize,
    /// At the read port.
    pub read: usize,
    /// At the read-write port, waiting for a MAIN.
    #[serde(default)]
    pub held: usize,
    /// Of those at both ports: sessions with MAIN whose bytes wait for the end of a pause.
    #[serde(default)]
    pub paused: usize,
}
