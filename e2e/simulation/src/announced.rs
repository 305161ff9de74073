//! What ledgers have announced, and whether a command to an instance was among it when it was sent.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::{Arc, Mutex},
};

use memgraph_operator::api::ledger::{Ledger, Route};
use tokio::time::Instant;

/// Whose address is whose now, of the cluster's instances.
pub type Addresses = Arc<Mutex<BTreeMap<IpAddr, String>>>;

/// A command to an instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// The operator process's slot.
    pub by: String,
    /// The instance of the cluster whose address it was sent to, if it was anybody's.
    pub to: Option<String>,
    /// The statement.
    pub statement: String,
    /// When it was sent.
    pub at: Instant,
    /// The process stood still between its decision and this moment.
    pub late: bool,
}

/// What ledgers have announced so far.
#[derive(Default)]
pub struct Announced {
    /// Since when an instance has been named as MAIN for the first time.
    mains: BTreeMap<String, Instant>,
    /// Since when all numbers below this one have been reserved.
    reserved: Vec<(Instant, i64)>,
    /// Since when clients may have been told of writes because these registrations hold them.
    relied_on: Vec<(Instant, BTreeSet<i64>)>,
}

impl Announced {
    /// A ledger was written.
    pub fn take(&mut self, ledger: &Ledger) {
        let now = Instant::now();
        self.mains.entry(ledger.main.instance.clone()).or_insert(now);
        let more = self.reserved.last().is_none_or(|(_, n)| *n < ledger.generation);
        if more {
            self.reserved.push((now, ledger.generation));
        }
        let open = ledger.route == Route::Open;
        let members = ledger.in_sync.iter().filter(|_| open);
        let members: BTreeSet<_> = members.map(|member| member.generation).collect();
        if self.relied_on.last().is_none_or(|(_, before)| *before != members) {
            self.relied_on.push((now, members));
        }
    }

    /// Whether a command may have been sent when it was: nobody is promoted whom no ledger has named as MAIN by then,
    /// nobody is registered under a number that was not reserved, and no registration goes for which MAIN is relied on to wait:
    /// a member leaves the ledger first.
    #[must_use]
    pub fn allows(&self, command: &Command) -> bool {
        // Behind an address that nobody has, nothing happens.
        let Some(to) = &command.to else { return true };
        if command.statement.starts_with("SET REPLICATION ROLE TO MAIN") {
            return self.mains.get(to).is_some_and(|since| *since <= command.at);
        }
        if let Some(number) = number_in(&command.statement, "DROP REPLICA ") {
            let before = |since: &Instant| *since <= command.at;
            let relied_on = self.relied_on.iter().rev().find(|(since, _)| before(since));
            return relied_on.is_none_or(|(_, members)| !members.contains(&number));
        }
        let Some(number) = number_in(&command.statement, "REGISTER REPLICA ") else {
            return true;
        };
        let mut known = self.reserved.iter().filter(|(since, _)| *since <= command.at);
        known.any(|(_, reserved)| number < *reserved)
    }
}

/// The number in the name of a registration: 41 of `REGISTER REPLICA pod_1_g41 ..`.
fn number_in(statement: &str, what: &str) -> Option<i64> {
    let rest = statement.strip_prefix(what)?;
    let name = rest.split_whitespace().next()?;
    name.rsplit_once("_g")?.1.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use memgraph_operator::api::ledger::{DataCopy, Incarnation, Member};

    use super::*;

    fn command(to: &str, statement: &str) -> Command {
        Command {
            by: "operator-0".to_owned(),
            to: Some(to.to_owned()),
            statement: statement.to_owned(),
            at: Instant::now(),
            late: false,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn only_what_was_announced_before_is_allowed() {
        let promotion = "SET REPLICATION ROLE TO MAIN";
        let early = command("demo-0", promotion);
        tokio::time::advance(Duration::from_millis(1)).await;
        let mut announced = Announced::default();
        announced.take(&Ledger {
            main: DataCopy {
                instance: "demo-0".to_owned(),
                incarnation: Incarnation::default(),
            },
            generation: 1_000,
            ..Ledger::default()
        });
        assert!(!announced.allows(&early));
        assert!(announced.allows(&command("demo-0", promotion)));
        assert!(!announced.allows(&command("demo-1", promotion)));
        let register = |number| {
            let statement = format!("REGISTER REPLICA pod_1_g{number} ASYNC TO \"a\"");
            command("demo-0", &statement)
        };
        assert!(announced.allows(&register(999)));
        assert!(!announced.allows(&register(1_000)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_member_leaves_the_ledger_before_its_registration_goes() {
        let member = |generation| Member {
            instance: "demo-1".to_owned(),
            generation,
            ..Member::default()
        };
        let ledger = |route, in_sync| Ledger {
            route,
            in_sync,
            ..Ledger::default()
        };
        let drop = || command("demo-0", "DROP REPLICA pod_1_g41");
        let mut announced = Announced::default();
        announced.take(&ledger(Route::Open, vec![member(41)]));
        assert!(!announced.allows(&drop()));
        let early = drop();
        tokio::time::advance(Duration::from_millis(1)).await;
        announced.take(&ledger(Route::Open, vec![member(42)]));
        assert!(announced.allows(&drop()));
        assert!(!announced.allows(&early));
        announced.take(&ledger(Route::Closed, vec![member(41)]));
        assert!(announced.allows(&drop()));
    }
}
