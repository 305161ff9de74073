//! Decides what to do: from what was observed to the next steps. Pure: no clock, no I/O, no Kubernetes client.
//!
//! A plan is short. It names the steps up to the next point at which the outcome must be observed; then the
//! cluster is observed and planned for again. Nothing but the ledger is remembered between two plans, so a
//! restarted operator goes on where the last one stopped.

mod addresses;
mod bootstrap;
mod brake;
mod closed;
mod direct;
mod durability;
mod expendable;
mod failing;
mod fate;
mod fenced;
mod hibernation;
mod loss;
mod manual;
mod members;
mod nobody;
mod notes;
mod numbers;
pub mod observation;
mod paused;
mod refused;
mod release;
pub mod report;
mod reset;
mod silence;
mod steady;
mod successor;
mod switchover;
mod update;
mod volumes;

pub use hibernation::{Said, Signs, Stage};
pub use members::STUCK_AFTER;
pub use numbers::{parse_registration_name, registration_name};
pub use release::{
    counts_files_safely, image_release, is_older, lacks_strict_sync, tells_mode_of_a_database,
};
pub use switchover::{LAST_CALL, is_tried_again};

use crate::api::{
    RegistrationMode, VolumeNote,
    conditions::Reason,
    ledger::{Incarnation, Ledger, OperationKind, Route},
};
use observation::{Numbers, Observation};

/// What to do next.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// In this order; the first one that fails ends the plan.
    pub steps: Vec<Step>,
    /// What the cluster is in.
    pub situation: Situation,
    /// The registration numbers that are left once the plan is begun: from its first [`Step::Write`] on, which
    /// may reserve them, or from its first step if it writes nothing.
    pub numbers: Numbers,
}

/// One step of a [`Plan`].
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Write the ledger, at the version at which it was read.
    Write(Box<Ledger>),
    /// Do something to an instance or to the gateways.
    Do(Action),
}

/// Something to be done outside. Each is idempotent and checks its own preconditions again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Wait until every gateway has cut its sessions of older terms and shows this term as closed.
    Fence {
        /// The term that was closed.
        term: i64,
    },
    /// Make a replica MAIN, provided that it is still in this life.
    Promote {
        /// The instance.
        instance: String,
        /// The life in which it was chosen.
        incarnation: Incarnation,
    },
    /// Make a MAIN that the ledger does not know a replica.
    Demote {
        /// The instance.
        instance: String,
    },
    /// Fail unless every gateway answers.
    ReachGateways,
    /// Fail unless no transaction runs on MAIN, and it is not known to be in a storage mode in which it replicates nothing.
    Quiesce {
        /// MAIN.
        main: String,
    },
    /// Make the ledger's MAIN a replica, for another one to follow it. Not tried again by itself.
    StepDown {
        /// The instance.
        instance: String,
    },
    /// Register a replica on MAIN.
    Register {
        /// MAIN.
        main: String,
        /// The replica's instance.
        instance: String,
        /// The name to register it under, never used before.
        name: String,
        /// `host:port` of its replication server, which must be its pod's still.
        address: String,
        /// How MAIN is to feed it.
        mode: RegistrationMode,
    },
    /// Remove a registration from MAIN.
    Drop {
        /// MAIN.
        main: String,
        /// The registration's name.
        name: String,
    },
    /// Commit a transaction on MAIN that leaves nothing behind. It makes a new epoch durable, and it succeeds
    /// only if every strict replica votes for it.
    ProbeCommit {
        /// MAIN.
        main: String,
    },
    /// Commit the same if no other commit is under way on MAIN, for a replica that lacks a transaction to refuse it.
    ShowMissing {
        /// MAIN.
        main: String,
    },
    /// Fail unless MAIN now shows every one of these registrations `ready` and not behind.
    Confirm {
        /// MAIN.
        main: String,
        /// Names of registrations.
        names: Vec<String>,
    },
    /// Delete an instance's pod, provided that it is still this one. A new one takes its place.
    DeletePod {
        /// The instance.
        instance: String,
        /// UID of the pod.
        pod_uid: String,
    },
    /// Find out how far an instance's data has come, by a snapshot.
    ReadPosition {
        /// The instance.
        instance: String,
    },
    /// Note the ledger on the volume claims of these instances.
    NoteVolumes {
        /// The instances, each with the UID of its claim.
        claims: Vec<(String, String)>,
        /// What to note.
        note: VolumeNote,
    },
    /// See to it that MAIN lets in only who has the password that the spec names.
    SettleUsers {
        /// MAIN.
        main: String,
    },
    /// Set the mark in the data of a MAIN that has none, and on which nobody is registered.
    Mark {
        /// MAIN.
        main: String,
        /// The history's name.
        lineage: String,
    },
}

impl Action {
    /// The MAIN whose answer it waits for.
    pub(crate) fn asks_main(&self) -> Option<&str> {
        match self {
            Self::Quiesce { main }
            | Self::Register { main, .. }
            | Self::Drop { main, .. }
            | Self::ProbeCommit { main }
            | Self::ShowMissing { main }
            | Self::Confirm { main, .. }
            | Self::SettleUsers { main }
            | Self::Mark { main, .. }
            | Self::StepDown { instance: main } => Some(main),
            Self::Fence { .. }
            | Self::Promote { .. }
            | Self::Demote { .. }
            | Self::ReachGateways
            | Self::DeletePod { .. }
            | Self::ReadPosition { .. }
            | Self::NoteVolumes { .. } => None,
        }
    }

    /// Whether it changes who may acknowledge a write, or who holds it, on the word of the ledger as it was read.
    fn rests_on_the_ledger(&self) -> bool {
        match self {
            Self::Promote { .. }
            | Self::Demote { .. }
            | Self::StepDown { .. }
            | Self::Register { .. }
            | Self::Drop { .. }
            | Self::DeletePod { .. }
            | Self::Mark { .. } => true,
            Self::Fence { .. }
            | Self::ReachGateways
            | Self::Quiesce { .. }
            | Self::ProbeCommit { .. }
            | Self::ShowMissing { .. }
            | Self::Confirm { .. }
            | Self::ReadPosition { .. }
            | Self::NoteVolumes { .. }
            | Self::SettleUsers { .. } => false,
        }
    }

    /// What kind of step it is, in one word.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Fence { .. } => "Fence",
            Self::Promote { .. } => "Promote",
            Self::Demote { .. } => "Demote",
            Self::ReachGateways => "ReachGateways",
            Self::Quiesce { .. } => "Quiesce",
            Self::StepDown { .. } => "StepDown",
            Self::Register { .. } => "Register",
            Self::Drop { .. } => "Drop",
            Self::ProbeCommit { .. } => "ProbeCommit",
            Self::ShowMissing { .. } => "ShowMissing",
            Self::Confirm { .. } => "Confirm",
            Self::DeletePod { .. } => "DeletePod",
            Self::ReadPosition { .. } => "ReadPosition",
            Self::NoteVolumes { .. } => "NoteVolumes",
            Self::SettleUsers { .. } => "SettleUsers",
            Self::Mark { .. } => "Mark",
        }
    }
}

/// What a cluster is in, for the report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Situation {
    /// Waiting for something that is expected to come by itself.
    Waiting(Reason, String),
    /// A human must decide.
    Stalled(Reason, String),
    /// An announced operation is going on.
    Working(OperationKind, String),
    /// MAIN is lost and not replaced.
    MainLost(Reason, String),
    /// MAIN serves; replicas are being brought into shape, or there is nothing to do.
    Serving,
}

/// Decides what to do next.
#[must_use]
pub fn plan(seen: &Observation) -> Plan {
    if seen.stage.ends_pods() {
        return hibernation::without_steps(seen);
    }
    let mut plan = match &seen.ledger {
        None => bootstrap::plan(seen),
        Some(ledger) if ledger.is_void(seen.known_term) => bootstrap::plan(seen),
        Some(ledger) if ledger.route == Route::Closed => closed::plan(seen, ledger),
        Some(ledger) => steady::plan(seen, ledger),
    };
    if paused::holds_back(seen) {
        return paused::without_steps(seen, plan.situation, !plan.steps.is_empty());
    }
    if plan.steps.is_empty() {
        // Whoever is waited for may be one that must not start where it is, or cannot start as it was made.
        let ledger = seen.ledger.as_ref();
        let displaced = ledger.and_then(|ledger| addresses::replace_displaced(seen, ledger));
        plan.steps
            .extend(displaced.or_else(|| update::replace_stopped(seen)));
    }
    if plan.steps.is_empty()
        && let Some(ledger) = &seen.ledger
        && let Some(way) = addresses::make_way(seen, ledger, &plan.situation)
    {
        plan = way;
    }
    if plan.situation == Situation::Serving
        && let Some(why) = release::refused_mode(seen)
    {
        plan.situation = Situation::Stalled(Reason::InvalidSpec, why);
    }
    if plan.steps.is_empty() {
        plan.situation = hibernation::waking(seen, plan.situation);
    }
    plan
}

/// How many instances must be kept for now: lowering `replicas` must take away neither MAIN nor an in-sync copy, nor with it its volume,
/// where `storage.retentionPolicy` says so. `holders`: the instances that hold data. Without a ledger any of them may hold the newest; and so
/// may it where MAIN does not serve (`main_serves`) and no copy is known to be in sync.
#[must_use]
pub fn instances_to_keep(
    cluster: &str,
    replicas: i32,
    ledger: Option<&Ledger>,
    holders: &[String],
    main_serves: bool,
) -> i32 {
    let holds = |ledger: &&Ledger| main_serves || !ledger.in_sync.is_empty();
    let holders = if ledger.is_some_and(|ledger| holds(&ledger)) {
        &[]
    } else {
        holders
    };
    let named = ledger.into_iter().flat_map(|ledger| {
        let copies = ledger.in_sync.iter().chain(&ledger.candidates);
        let copies = copies.map(|member| member.instance.as_str());
        copies.chain([ledger.main.instance.as_str()])
    });
    named
        .chain(holders.iter().map(String::as_str))
        .filter_map(|name| crate::api::names::ordinal(cluster, name))
        .map(|ordinal| ordinal.saturating_add(1))
        .fold(replicas, i32::max)
}

impl Step {
    /// Whatever is written makes orders void that it contradicts, in the same write.
    fn write(ledger: Ledger) -> Self {
        Self::Write(Box::new(ledger.without_void_orders()))
    }
}

impl Plan {
    /// Whether the plan writes the ledger.
    #[must_use]
    pub fn writes(&self) -> bool {
        self.steps.iter().any(|step| matches!(step, Step::Write(_)))
    }

    /// Whether something is done to instances before the ledger is written.
    #[must_use]
    pub fn acts_unwritten(&self) -> bool {
        let before = self.steps.iter().map_while(|step| match step {
            Step::Write(_) => None,
            Step::Do(action) => Some(action),
        });
        before.into_iter().any(Action::rests_on_the_ledger)
    }

    /// The same plan after a write of this ledger, the present one, which says nothing new. None that was sent before takes effect after
    /// it, whoever has sent it and however late it comes: it names an older version.
    #[must_use]
    pub fn after_a_write(mut self, ledger: &Ledger) -> Self {
        let mut next = ledger.clone();
        self.numbers.reserve(&mut next);
        for step in &mut self.steps {
            if let Step::Write(later) = step {
                later.generation = later.generation.max(next.generation);
            }
        }
        self.steps.insert(0, Step::write(next));
        self
    }

    fn new(seen: &Observation, situation: Situation) -> Self {
        Self {
            steps: Vec::new(),
            situation,
            numbers: seen.numbers,
        }
    }

    fn with(seen: &Observation, situation: Situation, steps: impl IntoIterator<Item = Step>) -> Self {
        Self {
            steps: steps.into_iter().collect(),
            situation,
            numbers: seen.numbers,
        }
    }
}

#[cfg(test)]
mod tests;
