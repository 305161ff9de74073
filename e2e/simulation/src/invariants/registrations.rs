//! Invariants about what MAIN is told of replicas, before anything comes of it.

use std::net::SocketAddr;

use memgraph_sim::engine::InspectedRole;

use super::rights::is_own;
use crate::{
    announced::Command,
    memgraph::Status,
    world::{CLUSTER, World},
};

impl World {
    /// I3, before clients can notice: nobody is registered where another instance of the cluster serves. MAIN would take that one's
    /// votes for the other's.
    pub(crate) fn i3_a_registration_leads_to_whom_it_names(&self, command: &Command) {
        let of_ours = command.to.as_ref().is_some_and(|to| is_own(to, CLUSTER));
        if command.late || !of_ours {
            return;
        }
        let Some((instance, address)) = registered(&command.statement) else {
            return;
        };
        let mut others = self.instances.live().into_iter();
        let another = others.find(|it| {
            it.address == address.ip()
                && it.name != instance
                && it
                    .process
                    .is_some_and(|process| self.memgraphs.status(process) == Status::Ready)
        });
        if let Some(another) = another {
            let what = format!("{command:?}, where {} serves", another.name);
            self.watchman.report("I3", what);
        }
    }

    /// I5, before anything can come of it: MAIN is marked while no replica is registered, by a commit that nobody can refuse. Memgraph
    /// would not take the mark back.
    pub(crate) fn i5_nobody_can_refuse_the_mark(&self, command: &Command) {
        let marks = command.statement.starts_with("CREATE ENUM");
        if !marks || command.late || self.watchman.was_meddled_with() {
            return;
        }
        let Some(instance) = command.to.as_ref().and_then(|name| self.instances.named(name)) else {
            return;
        };
        let look = instance.process.and_then(|process| self.memgraphs.look(process));
        if let Some(InspectedRole::Main { registrations, .. }) = look.map(|look| look.inspection.role)
            && !registrations.is_empty()
        {
            let what = format!("{command:?}, while {} has {registrations:?}", instance.name);
            self.watchman.report("I5", what);
        }
    }
}

/// The instance that a registration names, and the address that it leads to.
fn registered(statement: &str) -> Option<(String, SocketAddr)> {
    let mut words = statement
        .strip_prefix("REGISTER REPLICA pod_")?
        .split_whitespace();
    let (ordinal, _) = words.next()?.split_once("_g")?;
    let address = words.next_back()?.trim_matches('"');
    Some((format!("{CLUSTER}-{ordinal}"), address.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registration_names_an_instance_and_an_address() {
        let found = registered("REGISTER REPLICA pod_2_g41 STRICT_SYNC TO \"10.1.0.7:10000\"");
        assert_eq!(found, Some(("demo-2".to_owned(), ([10, 1, 0, 7], 10000).into())));
        assert_eq!(registered("DROP REPLICA pod_2_g41"), None);
    }
}
