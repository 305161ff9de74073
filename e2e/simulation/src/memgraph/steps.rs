//! The steps of commits: a test can strike at each of them, and each leaves its trace.

use std::{collections::BTreeMap, time::Duration};

use memgraph_sim::engine::{CommitMessage, PeerMessage, Time};

use super::{
    Pod, Process, WriteId,
    connection::{Asked, Owner, Packet, Side},
    core::Core,
    process::Exit,
    stream::Answer,
    trace::{AtReplica, Transaction},
};

/// What a process is about to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doing {
    /// MAIN sends a transaction to a replica.
    Prepare {
        /// Whether a decision will follow.
        two_phase: bool,
    },
    /// A replica answers that.
    Vote {
        /// It has the transaction.
        yes: bool,
    },
    /// MAIN, which has decided and done so itself, tells a replica.
    Finalize {
        /// The decision.
        commit: bool,
    },
    /// A replica answers that.
    Finalized,
    /// The process waits for its disk, so that what is in its log outlives a power loss.
    Sync,
    /// MAIN tells a client that its statement was carried out. Outside of a transaction it is committed.
    Acknowledge {
        /// The client's write.
        write: WriteId,
    },
}

/// A step that is about to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// What is about to be done.
    pub doing: Doing,
    /// By whom.
    pub process: Process,
    /// For whom; no other process for a sync or for a client.
    pub peer: Option<Process>,
    /// MAIN's commit timestamp, for what is said between instances.
    pub timestamp: Option<u64>,
    /// MAIN, if it is one that acts or is answered.
    pub main: Option<Process>,
    /// A client of MAIN waits meanwhile: this is no commit that only the operator has asked for.
    pub for_a_client: bool,
    /// When.
    pub at: Time,
}

/// What becomes of a message.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Fate {
    /// It arrives.
    #[default]
    Arrives,
    /// It arrives so much later, and so does all that follows it on its connection.
    Late(Duration),
    /// It is lost, and its connection is reset.
    Reset,
    /// It arrives, and after it a reset.
    LastOne,
}

/// What happens to whom at a step, before anybody has seen the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blow {
    /// SIGKILL
    Kill(Process),
    /// SIGSTOP
    Freeze(Process),
    /// The power of a pod's host goes.
    PowerOff(Pod),
}

/// What a test does at a step. A sync has no message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Deed {
    /// What becomes of the message.
    pub fate: Fate,
    /// What else happens at this moment.
    pub blows: Vec<Blow>,
}

impl Deed {
    /// Something happens at this moment; the message arrives if it can.
    pub fn blow(blow: Blow) -> Self {
        Self {
            blows: vec![blow],
            ..Self::default()
        }
    }

    /// Something becomes of the message, and nothing else happens.
    pub fn fate(fate: Fate) -> Self {
        Self {
            fate,
            ..Self::default()
        }
    }

    pub(super) fn delivers(&self) -> bool {
        self.fate != Fate::Reset
    }

    pub(super) fn breaks(&self) -> bool {
        matches!(self.fate, Fate::Reset | Fate::LastOne)
    }

    pub(super) fn delay(&self) -> Duration {
        match self.fate {
            Fate::Late(by) => by,
            _ => Duration::ZERO,
        }
    }
}

type Hook = Box<dyn FnMut(&Step) -> Deed>;

/// Who strikes at steps, and what they left.
#[derive(Default)]
pub(super) struct Steps {
    pub(super) hook: Option<Hook>,
    /// By MAIN and commit timestamp.
    transactions: BTreeMap<(Process, u64), Transaction>,
    /// By MAIN and node, the commit timestamp.
    by_node: BTreeMap<(Process, u64), u64>,
}

impl Steps {
    /// Whether a replica has voted for a later transaction of this MAIN: it had everything before it then.
    pub(super) fn has_voted_later(&self, transaction: &Transaction, replica: Process) -> bool {
        let after = (transaction.main, transaction.timestamp + 1)..=(transaction.main, u64::MAX);
        let mut later = self.transactions.range(after).map(|(_, later)| later);
        later.any(|later| {
            let part = later.replicas.get(&replica);
            part.is_some_and(|part| part.two_phase && part.vote == Some(true))
        })
    }

    /// The transaction by which a MAIN created a node.
    pub(super) fn transaction(&self, main: Process, node: u64) -> Option<&Transaction> {
        let timestamp = self.by_node.get(&(main, node))?;
        self.transactions.get(&(main, *timestamp))
    }

    fn part(&mut self, main: Process, timestamp: u64, replica: Process) -> Option<&mut AtReplica> {
        self.transactions
            .get_mut(&(main, timestamp))?
            .replicas
            .get_mut(&replica)
    }
}

impl Core {
    /// Asks the test what happens at a step.
    fn ask(&mut self, step: &Step) -> Deed {
        // It is put back before anything else can happen.
        let Some(mut hook) = self.steps.hook.take() else {
            return Deed::default();
        };
        let deed = hook(step);
        self.steps.hook = Some(hook);
        if deed != Deed::default() {
            tracing::debug!(?step, ?deed, "strike");
        }
        deed
    }

    pub(super) fn act(&mut self, deed: Deed) {
        for blow in deed.blows {
            match blow {
                Blow::Kill(process) => self.end(process, Exit::Killed),
                Blow::Freeze(process) => self.freeze(process),
                Blow::PowerOff(pod) => self.power_off(pod),
            }
        }
    }

    /// The process at one end of a connection between instances.
    fn peer(&self, key: u64, side: Side) -> Option<Process> {
        match self.connections.get(&key)?.end(side).owner {
            Owner::Peer(process, _) => Some(process),
            _ => None,
        }
    }

    /// A process is about to send a message to another one.
    pub(super) fn about_to_send(
        &mut self,
        process: Process,
        key: u64,
        side: Side,
        message: &PeerMessage,
    ) -> Deed {
        let now = self.now;
        let Some(peer) = self.peer(key, side.other()) else {
            return Deed::default();
        };
        let asked = self
            .connections
            .get(&key)
            .map_or(Asked::Other, |connection| connection.asked);
        let (doing, timestamp) = match (message.commit_message(), asked) {
            (CommitMessage::Prepare { timestamp, two_phase }, _) => {
                let steps = &mut self.steps;
                let transaction = steps.transactions.entry((process, timestamp));
                let transaction = transaction.or_insert_with(|| Transaction {
                    main: process,
                    timestamp,
                    nodes: message.created_nodes().collect(),
                    replicas: BTreeMap::new(),
                });
                for node in &transaction.nodes {
                    steps.by_node.insert((process, *node), timestamp);
                }
                let part = AtReplica {
                    sent: now,
                    two_phase,
                    ..AtReplica::default()
                };
                transaction.replicas.insert(peer, part);
                (Doing::Prepare { two_phase }, timestamp)
            }
            (CommitMessage::Finalize { timestamp, commit }, _) => {
                if let Some(part) = self.steps.part(process, timestamp, peer) {
                    part.decision = Some(commit);
                }
                (Doing::Finalize { commit }, timestamp)
            }
            (CommitMessage::Answer(yes), Asked::Prepare(timestamp)) => {
                if let Some(part) = self.steps.part(peer, timestamp, process) {
                    part.vote = Some(yes);
                }
                (Doing::Vote { yes }, timestamp)
            }
            (CommitMessage::Answer(_), Asked::Finalize(timestamp, commit)) => {
                let engine = self.processes[process.index()].engine.as_ref();
                let has = engine.is_some_and(|engine| engine.durable() >= timestamp);
                if let Some(part) = self.steps.part(peer, timestamp, process) {
                    part.applied = Some(commit && has);
                }
                (Doing::Finalized, timestamp)
            }
            _ => return Deed::default(),
        };
        let main = match doing {
            Doing::Vote { .. } | Doing::Finalized => peer,
            _ => process,
        };
        self.ask(&Step {
            doing,
            process,
            peer: Some(peer),
            timestamp: Some(timestamp),
            main: Some(main),
            for_a_client: self.writes.are_under_way_at(main),
            at: now,
        })
    }

    /// A message between instances has arrived.
    pub(super) fn note_arrival(&mut self, key: u64, process: Process, message: &PeerMessage) {
        let now = self.now;
        let Some(connection) = self.connections.get_mut(&key) else {
            return;
        };
        let asked = connection.asked;
        let peer = |side: Side| match connection.end(side).owner {
            Owner::Peer(process, _) => Some(process),
            _ => None,
        };
        let Some((caller, called)) = peer(Side::Caller).zip(peer(Side::Called)) else {
            return;
        };
        let arrived = message.commit_message();
        if process == called {
            connection.asked = match arrived {
                CommitMessage::Prepare { timestamp, .. } => Asked::Prepare(timestamp),
                CommitMessage::Finalize { timestamp, commit } => Asked::Finalize(timestamp, commit),
                _ => Asked::Other,
            };
        }
        match (arrived, asked) {
            (CommitMessage::Prepare { timestamp, .. }, _) => {
                if let Some(part) = self.steps.part(caller, timestamp, called) {
                    part.arrived = Some(now);
                }
            }
            (CommitMessage::Finalize { timestamp, .. }, _) => {
                if let Some(part) = self.steps.part(caller, timestamp, called) {
                    part.decided = Some(now);
                }
            }
            (CommitMessage::Answer(_), Asked::Prepare(timestamp)) => {
                if let Some(part) = self.steps.part(caller, timestamp, called) {
                    part.voted = Some(now);
                }
            }
            (CommitMessage::Answer(_), Asked::Finalize(timestamp, _)) => {
                if let Some(part) = self.steps.part(caller, timestamp, called) {
                    part.confirmed = Some(now);
                }
            }
            _ => {}
        }
    }

    /// A process waits for its disk.
    pub(super) fn about_to_sync(&mut self, process: Process) {
        let engine = self.processes[process.index()].engine.as_ref();
        let is_main = engine.is_some_and(|engine| engine.is_main());
        let deed = self.ask(&Step {
            doing: Doing::Sync,
            process,
            peer: None,
            timestamp: None,
            main: is_main.then_some(process),
            for_a_client: is_main && self.writes.are_under_way_at(process),
            at: self.now,
        });
        self.act(deed);
    }

    /// A process tells a client that its statement was carried out.
    pub(super) fn about_to_answer(&mut self, process: Process, write: WriteId) -> Deed {
        self.ask(&Step {
            doing: Doing::Acknowledge { write },
            process,
            peer: None,
            timestamp: None,
            main: Some(process),
            for_a_client: true,
            at: self.now,
        })
    }

    /// Mixes a packet that arrives into the run's number.
    pub(super) fn note_packet(&mut self, key: u64, side: Side, packet: &Packet) {
        let kind: u64 = match packet {
            Packet::Accepted => 1,
            Packet::Peer(message) => match message.commit_message() {
                CommitMessage::Prepare { timestamp, .. } => 16 + (timestamp << 8),
                CommitMessage::Finalize { timestamp, .. } => 17 + (timestamp << 8),
                CommitMessage::Answer(yes) => 18 + u64::from(yes),
                CommitMessage::InProgress => 20,
                CommitMessage::Other => 21,
            },
            Packet::Request(_) => 2,
            Packet::Answer(Answer::Done { rows, .. }) => 3 + ((rows.len() as u64) << 8),
            Packet::Answer(Answer::Failed { .. }) => 4,
            Packet::End => 5,
            Packet::Reset => 6,
        };
        self.note((key << 1 | side.index() as u64) << 20 ^ kind);
    }
}
