//! Invariants about data: what was acknowledged is there.

use memgraph_operator::api::{
    ReplicationMode,
    ledger::{Ledger, OperationKind, Route},
};
use memgraph_sim::engine::InspectedRole;

use crate::{
    announced::Command,
    memgraph::{Process, Status, Transaction, WriteId},
    processes::Instance,
    world::{CLUSTER, World},
};

/// A limit that is published: a loss is booked to it only with evidence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Limit {
    /// The second phase of this transaction did not reach the replica, and MAIN was lost before its next commit that needed the
    /// replica's vote.
    SecondPhase,
    /// A process was killed while it wrote this transaction to its log, the next one found it there, and then the power took it before
    /// the kernel had written it.
    LeftToTheKernel,
}

impl World {
    /// MAIN of the ledger, if it lives in the very life that the ledger names and serves as MAIN.
    pub(super) fn serving_main(&self, ledger: &Ledger) -> Option<(Instance, Process)> {
        let instance = self.instances.named(&ledger.main.instance)?;
        let process = instance.process?;
        let same = instance.incarnation == ledger.main.incarnation;
        (same && self.memgraphs.is_main(process)).then_some((instance, process))
    }

    /// The writes that are committed in an instance's memory, in order of their names.
    pub(super) fn holdings(&self, process: Process) -> Vec<WriteId> {
        let mut holds = self.memgraphs.committed(process);
        holds.sort_unstable();
        holds
    }

    /// Whether a replica has voted for a transaction and did not commit it, as far as it has told: the second phase did not reach
    /// it, found nothing, or was not sent any more because MAIN ended. A replica that has voted for a later one had this one.
    fn second_phase_is_missing(&self, transaction: &Transaction, replica: Process) -> bool {
        let part = transaction.replicas.get(&replica);
        let missing =
            part.is_some_and(|part| part.two_phase && part.vote == Some(true) && part.applied != Some(true));
        missing && !self.memgraphs.has_voted_later(transaction, replica)
    }

    /// Everything that is looked at again and again.
    pub fn check(&self) {
        self.i13_nothing_without_a_ledger();
        let Some(ledger) = self.ledger() else { return };
        if self.promise.is_for_every_write() {
            self.i1_acknowledged_is_on_main(&ledger);
            self.i12_nobody_is_ahead_of_main(&ledger);
        }
        if self.promise.outlives_a_copy() {
            self.i3_members_hold_everything(&ledger);
        }
        self.i4_main_waits_for_somebody(&ledger);
        self.i7_only_what_was_announced_is_done();
        self.i17_readers_see_what_main_has_or_had(&ledger);
        self.i5_acknowledged_by_a_main_of_the_ledger();
        self.i9_names_are_used_once();
        self.i3_let_in_after_a_commit();
        self.i11_modes_are_not_mixed();
    }

    /// I1: while clients may write, MAIN holds every acknowledged write.
    fn i1_acknowledged_is_on_main(&self, ledger: &Ledger) {
        if ledger.route != Route::Open {
            return;
        }
        let Some((instance, process)) = self.serving_main(ledger) else {
            return;
        };
        let holds = self.holdings(process);
        for id in self.watchman.all_acknowledged() {
            if holds.binary_search(&id).is_ok() || self.watchman.is_booked(id) {
                continue;
            }
            match self.limit(id, &instance) {
                Some(limit) => self.watchman.book(id, limit),
                None => {
                    let transaction = self.memgraphs.transaction(id);
                    let what = format!(
                        "{id:?} was acknowledged and is not on {}: {transaction:?}",
                        instance.name
                    );
                    self.watchman.report("I1", what);
                    return;
                }
            }
        }
    }

    /// The published limit that a loss falls under, by what is known of that very transaction.
    fn limit(&self, id: WriteId, main: &Instance) -> Option<Limit> {
        let transaction = self.memgraphs.transaction(id)?;
        if self.memgraphs.has_lost_unconfirmed(main.volume, &transaction) {
            return Some(Limit::LeftToTheKernel);
        }
        let swallowed = transaction.replicas.keys().any(|replica| {
            let of_main = self
                .instances
                .life(*replica)
                .is_some_and(|(name, _)| name == main.name);
            of_main && self.second_phase_is_missing(&transaction, *replica)
        });
        swallowed.then_some(Limit::SecondPhase)
    }

    /// Whether the loss of a write falls under a published limit, whichever copy is looked at.
    pub(crate) fn is_lost_within_a_limit(&self, id: WriteId) -> bool {
        let instances = self.instances.live();
        let limit = instances.iter().find_map(|instance| self.limit(id, instance));
        if let Some(limit) = limit {
            self.watchman.book(id, limit);
        }
        limit.is_some()
    }

    /// I3: whoever the ledger names as in sync holds every acknowledged write, in the life that it names.
    fn i3_members_hold_everything(&self, ledger: &Ledger) {
        if self.watchman.was_meddled_with() {
            return;
        }
        for member in &ledger.in_sync {
            let instance = self.instances.named(&member.instance);
            let Some(instance) = instance.filter(|instance| instance.incarnation == member.incarnation)
            else {
                continue;
            };
            // One that starts recovers its data.
            let Some(process) = instance
                .process
                .filter(|process| self.memgraphs.status(*process) == Status::Ready)
            else {
                continue;
            };
            let holds = self.holdings(process);
            for id in self.watchman.all_acknowledged() {
                if holds.binary_search(&id).is_ok() || self.watchman.is_booked(id) {
                    continue;
                }
                let transaction = self.memgraphs.transaction(id);
                let is_within_a_limit = transaction.as_ref().is_some_and(|transaction| {
                    self.second_phase_is_missing(transaction, process)
                        || self.memgraphs.has_lost_unconfirmed(instance.volume, transaction)
                });
                if !is_within_a_limit {
                    let what = format!(
                        "{id:?} was acknowledged and is not on {}, which is in sync: {transaction:?}",
                        instance.name
                    );
                    self.watchman.report("I3", what);
                    return;
                }
            }
        }
    }

    /// I1, before clients can notice: whoever is told to become MAIN holds every acknowledged write. Where the ledger was lost the
    /// choice is proven afterwards, before anything is committed.
    pub(crate) fn i1_whoever_is_promoted_holds_everything(&self, command: &Command) {
        let promoted = self.promoted(command).filter(|ledger| {
            let operation = ledger.operation.as_ref();
            operation.is_some_and(|operation| operation.kind != OperationKind::Bootstrap && !operation.lossy)
        });
        let Some(ledger) = promoted.filter(|_| self.promise.outlives_a_copy()) else {
            return;
        };
        let instance = self.instances.named(&ledger.main.instance);
        let instance = instance.filter(|it| !self.watchman.was_put_back(&it.name));
        let Some((instance, process)) = instance.and_then(|it| Some((it.clone(), it.process?))) else {
            return;
        };
        if self.watchman.was_meddled_with() || self.memgraphs.status(process) != Status::Ready {
            return;
        }
        let holds = self.holdings(process);
        let lacks = |id: &WriteId| holds.binary_search(id).is_err() && !self.watchman.is_booked(*id);
        let mut missing = self.watchman.all_acknowledged().into_iter().filter(lacks);
        if let Some(id) = missing.find(|id| self.limit(*id, &instance).is_none()) {
            let what = format!(
                "{} is promoted and lacks {id:?}, which was acknowledged",
                instance.name
            );
            self.watchman.report("I1", what);
        }
    }

    /// I5: a write is acknowledged only by a MAIN that the ledger names, in the life that it names.
    fn i5_acknowledged_by_a_main_of_the_ledger(&self) {
        for id in self.watchman.take_new() {
            let process = self.memgraphs.write(id).and_then(|write| write.process);
            let life = process.and_then(|process| self.instances.life(process));
            let Some((name, incarnation)) = life else { continue };
            if !self.watchman.was_main(&name, &incarnation) {
                let what = format!(
                    "{id:?} was acknowledged by {name} in {incarnation:?}, which the ledger never named"
                );
                self.watchman.report("I5", what);
            }
        }
    }

    /// I4: while clients may write, MAIN has a registration that it waits for and that the ledger names. Where the ledger names none, since
    /// the one that it named lacks what was acknowledged, MAIN waits for somebody all the same, unless less is promised.
    fn i4_main_waits_for_somebody(&self, ledger: &Ledger) {
        let nobody = ledger.in_sync.is_empty();
        let may_be_alone = nobody && (self.promise.in_sync() == 0 || self.watchman.has_promised_less());
        if ledger.route != Route::Open || may_be_alone || self.watchman.was_meddled_with() {
            return;
        }
        let Some((instance, process)) = self.serving_main(ledger) else {
            return;
        };
        let Some(look) = self.memgraphs.look(process) else {
            return;
        };
        let InspectedRole::Main { registrations, .. } = look.inspection.role else {
            return;
        };
        let mode = match self.cluster().map(|cluster| cluster.spec.replication.mode) {
            Some(ReplicationMode::Sync) => "sync",
            _ => "strict_sync",
        };
        let is_named = |name: &str| {
            let mut members = ledger.in_sync.iter();
            members.any(|member| name.ends_with(&format!("_g{}", member.generation)))
        };
        let waits = registrations.iter().any(|registration| {
            registration.attached && registration.mode == mode && (nobody || is_named(&registration.name))
        });
        if !waits {
            let what = format!(
                "{} waits for none of {:?}: {registrations:?}",
                instance.name, ledger.in_sync
            );
            self.watchman.report("I4", what);
        }
    }

    /// I9: no name of a registration is ever used twice.
    fn i9_names_are_used_once(&self) {
        for name in self.protocol.names_used_twice() {
            self.watchman.report("I9", format!("{name} was registered twice"));
        }
    }

    /// I11: no MAIN has SYNC and STRICT_SYNC replicas at the same time.
    fn i11_modes_are_not_mixed(&self) {
        for instance in self.instances.live() {
            let look = instance.process.and_then(|process| self.memgraphs.look(process));
            let Some(InspectedRole::Main { registrations, .. }) = look.map(|look| look.inspection.role)
            else {
                continue;
            };
            let has = |mode: &str| registrations.iter().any(|registration| registration.mode == mode);
            if has("sync") && has("strict_sync") {
                self.watchman
                    .report("I11", format!("{} has {registrations:?}", instance.name));
            }
        }
    }

    /// I3: clients are let in only after a commit that makes MAIN's epoch durable and needs the vote of each member.
    fn i3_let_in_after_a_commit(&self) {
        for term in self.protocol.opened_unproven() {
            let what = format!("clients are let in in term {term}, and MAIN has committed nothing in it");
            self.watchman.report("I3", what);
        }
    }

    /// I13: without a ledger nothing is changed.
    fn i13_nothing_without_a_ledger(&self) {
        for statement in self.protocol.without_ledger() {
            self.watchman
                .report("I13", format!("sent without a ledger: {statement:?}"));
        }
    }

    /// I13: a set-up begins only after every declared instance has told what it holds, unless a human has said which one to go on
    /// with: one that was not asked may hold what was acknowledged.
    pub(crate) fn i13_nothing_begins_before_every_instance_was_seen(&self, declared: i32, first: &Ledger) {
        if first.recovered {
            return;
        }
        let mut names = (0..declared).map(|number| format!("{CLUSTER}-{number}"));
        if let Some(unseen) = names.find(|name| !self.protocol.was_heard_without_ledger(name)) {
            let what = format!(
                "a ledger of term {} begins, and {unseen} was not asked before",
                first.term
            );
            self.watchman.report("I13", what);
        }
    }
}
