//! Invariants about what was announced, and about where clients are led to.

use std::time::Duration;

use memgraph_operator::{
    api::ledger::{Ledger, Route},
    gateway::{Duty, ReadOffer},
};
use memgraph_sim::engine::InspectedRole;

use super::Limit;
use crate::{
    memgraph::{Outcome, Process, Transaction, WriteId},
    processes::Instance,
    world::World,
};

/// How long a replica may be ahead of a MAIN that clients write to, until the route is closed: some looks.
const AHEAD: Duration = Duration::from_secs(10);
/// How long readers may be led to a replica that has branched off, until its gateway is told so: that of a gateway without
/// the API server, and more.
const BRANCHED: Duration = Duration::from_secs(120);
/// After this time a commit whose client has given up is decided: 30 s to prepare it, and as long for the one before it.
const DECIDED: Duration = Duration::from_secs(70);

impl World {
    /// I6, I7: what an operator commands was announced before, by a ledger that was written.
    pub(super) fn i7_only_what_was_announced_is_done(&self) {
        for command in self.protocol.take_unannounced() {
            self.watchman
                .report("I7", format!("no ledger has announced {command}"));
        }
    }

    /// I12: no replica stays ahead of a MAIN that clients write to.
    pub(super) fn i12_nobody_is_ahead_of_main(&self, ledger: &Ledger) {
        let open = ledger.route == Route::Open && !self.watchman.was_meddled_with();
        let main = self.serving_main(ledger).filter(|_| open);
        let look = main.and_then(|(_, process)| self.memgraphs.look(process));
        let mut ahead = Vec::new();
        if let Some(look) = look
            && let InspectedRole::Main { registrations, .. } = &look.inspection.role
        {
            let further = |durable: u64| durable > look.inspection.durable;
            ahead.extend(
                registrations
                    .iter()
                    .filter(|replica| replica.attached && further(replica.durable))
                    .map(|replica| replica.name.clone()),
            );
        }
        for name in self.watchman.lasting("I12", ahead, AHEAD) {
            let what = format!(
                "{name} is ahead of {}, and the route is open",
                ledger.main.instance
            );
            self.watchman.report("I12", what);
        }
    }

    /// I18: when the route of a cluster with `spec.auth` opens, MAIN lets in only who has a password.
    pub(crate) fn i18_nobody_is_led_to_a_main_without_users(&self, before: Option<&Ledger>, now: &Ledger) {
        let was_open = before.is_some_and(|before| before.route == Route::Open);
        if was_open || now.route != Route::Open {
            return;
        }
        let main = self.serving_main(now);
        let controlled = main.and_then(|(_, process)| self.memgraphs.is_access_controlled(process));
        if controlled == Some(false) {
            let what = format!(
                "{} lets everybody in, and clients are led to it",
                now.main.instance
            );
            self.watchman.report("I18", what);
        }
    }

    /// I17: replicas that readers are led to hold nothing that MAIN does not, and lack nothing before their newest write.
    pub(super) fn i17_readers_see_what_main_has_or_had(&self, ledger: &Ledger) {
        let main = self.serving_main(ledger);
        let main = main.filter(|_| ledger.route == Route::Open && !self.watchman.was_meddled_with());
        let mut branched = Vec::new();
        if let Some((main, process)) = main {
            let holds = self.holdings(process);
            let mut offered: Vec<ReadOffer> = self
                .gateways
                .all()
                .iter()
                .filter(|gateway| !gateway.life.is_frozen())
                .flat_map(|gateway| gateway.enforced().read)
                .filter(|offer| offer.accepts_new && offer.target.duty == Duty::Replica)
                .collect();
            offered.sort_by(|one, other| one.target.instance.cmp(&other.target.instance));
            offered.dedup_by(|one, other| one.target == other.target);
            for offer in offered {
                let instance = self.instances.named(&offer.target.instance);
                let same =
                    instance.filter(|it| it.name != main.name && it.address == offer.target.address.ip());
                let more = same.and_then(|instance| self.beyond(&instance, &main, &holds));
                branched.extend(more.map(|id| format!("{} with {id:?}", offer.target.instance)));
            }
        }
        for what in self.watchman.lasting("I17", branched, BRANCHED) {
            let what = format!("readers are led to {what}, which MAIN does not have");
            self.watchman.report("I17", what);
        }
    }

    /// The published limit: the power took this write from the middle of MAIN's log, or of the log of a MAIN before it.
    fn was_left_to_the_kernel(&self, id: WriteId, main: &Instance) -> bool {
        let transaction = self.memgraphs.transaction(id);
        let taken = |it: &Transaction| self.memgraphs.has_lost_unconfirmed(main.volume, it);
        self.watchman.booked_to(id) == Some(Limit::LeftToTheKernel)
            || transaction.is_some_and(|it| taken(&it))
    }

    /// A write that an instance holds beyond these, and that nobody can have under way any more.
    fn beyond(&self, instance: &Instance, main: &Instance, holds: &[WriteId]) -> Option<WriteId> {
        let process: Process = instance.process?;
        let now = self.memgraphs.now();
        self.memgraphs.committed(process).into_iter().find(|id| {
            let over = |id: WriteId| {
                let write = self.memgraphs.write(id)?;
                (write.outcome != Outcome::Pending).then_some(write.ended?)
            };
            holds.binary_search(id).is_err()
                && over(*id).is_some_and(|ended| ended + DECIDED < now)
                && !self.is_kept_undecided(*id, instance)
                && !self.was_left_to_the_kernel(*id, main)
        })
    }

    /// The published limit that an instance may keep what no client was told of, and no replica has confirmed to have committed: it
    /// has voted for this very transaction, or was about to commit it as MAIN. Or that MAIN has lost power since, with a record that
    /// it may not have flushed but passed on; whether it was this record, and who has it from there, is not traced.
    fn is_kept_undecided(&self, id: WriteId, instance: &Instance) -> bool {
        let Some(write) = self.memgraphs.write(id) else {
            return false;
        };
        let instance_of = |process: Process| self.instances.life(process).map(|(name, _)| name);
        // Nothing is recorded of one that was sent to no replica.
        let transaction = self.memgraphs.transaction(id);
        let main = transaction.as_ref().map(|transaction| transaction.main);
        let main = main.or(write.process).and_then(instance_of);
        let parts = transaction.iter().flat_map(|transaction| &transaction.replicas);
        let voted = parts.clone().any(|(replica, part)| {
            let prepared = part.two_phase && part.vote == Some(true) && part.confirmed.is_none();
            prepared && instance_of(*replica).as_ref() == Some(&instance.name)
        });
        let unconfirmed = parts.clone().all(|(_, part)| part.confirmed.is_none());
        let passed_on = main
            .as_ref()
            .zip(write.ended)
            .is_some_and(|(main, ended)| unconfirmed && self.instances.lost_power_since(main, ended));
        write.outcome != Outcome::Acknowledged
            && (voted || main.as_ref() == Some(&instance.name) || passed_on)
    }
}
