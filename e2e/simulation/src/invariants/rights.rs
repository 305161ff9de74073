//! Invariants about who may act while MAIN changes: gateways, and operator processes.

use memgraph_operator::api::{
    ledger::{Ledger, Route},
    names,
};

use crate::{
    announced::Command,
    processes::Gateway,
    world::{CLUSTER, World},
};

/// Whether a pod is one of those whose names begin like this.
pub(super) fn is_own(pod: &str, owner: &str) -> bool {
    pod.strip_prefix(owner).is_some_and(|rest| rest.starts_with('-'))
}

/// A gateway's right to pass bytes between clients and a MAIN, which has not run out.
struct Right {
    gateway: String,
    term: i64,
    instance: String,
}

impl Right {
    /// The right that a gateway enforces at this moment. One that stands still has it too: it may go on before the right ends.
    fn of(gateway: &Gateway) -> Option<Self> {
        let routes = gateway.enforced();
        let target = routes.read_write.filter(|_| !gateway.life.is_over())?;
        (!gateway.has_run_out()).then(|| Self {
            gateway: gateway.name.clone(),
            term: routes.term,
            instance: target.instance,
        })
    }
}

impl World {
    /// I2, before anybody can notice: once an instance is told to become MAIN, or MAIN to become a replica, no gateway may pass
    /// anything between clients and a MAIN of an earlier term.
    pub(crate) fn i2_roles_change_behind_a_fence(&self, command: &Command) {
        let promoted = self.promoted(command);
        let promotes = promoted.is_some();
        if let Some(ledger) = &promoted {
            self.watchman.promoted(ledger.term, &ledger.main.instance);
        }
        let Some(ledger) = promoted.or_else(|| self.changed(command, "SET REPLICATION ROLE TO REPLICA"))
        else {
            return;
        };
        let gateways = self.gateways.all();
        // A neighbouring cluster has terms of its own.
        let own = |gateway: &&Gateway| is_own(&gateway.name, &names::gateway(CLUSTER));
        let rights = gateways.iter().filter(own).filter_map(Right::of);
        let earlier =
            |right: &Right| right.term < ledger.term && (!promotes || right.instance != ledger.main.instance);
        for right in rights.filter(earlier) {
            let what = format!(
                "{} may pass data of {} in term {}, while {:?} is told {} in term {}",
                right.gateway, right.instance, right.term, command.to, command.statement, ledger.term
            );
            self.watchman.report("I2", what);
        }
    }

    /// I16: whoever sends a command holds the Lease at that moment, and makes nobody MAIN whom the ledger does not name, unless it
    /// stood still in between.
    pub(crate) fn i16_only_the_leader_commands(&self, command: &Command) {
        let leader = self.leader().map(|leader| leader.name().to_owned());
        let leads = leader.as_ref().is_none_or(|leader| *leader == command.by);
        if !leads && !command.late {
            self.watchman
                .report("I16", format!("{command:?} is not of the leader, {leader:?}"));
        }
        let promotes = command.statement.starts_with("SET REPLICATION ROLE TO MAIN");
        let named = self.ledger().map(|ledger| ledger.main.instance);
        if promotes
            && leads
            && !command.late
            && named.is_some()
            && command.to.as_ref().is_some_and(|to| is_own(to, CLUSTER))
            && named != command.to
        {
            self.watchman
                .report("I16", format!("{command:?}, while the ledger names {named:?}"));
        }
    }

    /// The ledger whose MAIN is told by this command to become MAIN.
    pub(super) fn promoted(&self, command: &Command) -> Option<Ledger> {
        self.changed(command, "SET REPLICATION ROLE TO MAIN")
    }

    /// The ledger whose MAIN is given this command behind a closed route. What a former leader has sent late opens no route, and is
    /// put right.
    fn changed(&self, command: &Command, statement: &str) -> Option<Ledger> {
        let ledger = self
            .ledger()
            .filter(|_| command.statement.starts_with(statement))?;
        let leads = self.leader().is_some_and(|leader| leader.name() == command.by);
        let of_main = command.to.as_ref() == Some(&ledger.main.instance);
        (leads && of_main && ledger.route == Route::Closed).then_some(ledger)
    }
}
