//! What ledgers have announced, and whether a command to an instance was among it when it was sent.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{Arc, Mutex},
};

use memgraph_operator::api::ledger::Ledger;
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
}

/// What ledgers have announced so far.
#[derive(Default)]
pub struct Announced {
    /// Since when an instance has been named as MAIN for the first time.
    mains: BTreeMap<String, Instant>,
    /// Since when all numbers below this one have been reserved.
    reserved: Vec<(Instant, i64)>,
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
    }

    /// Whether a command may have been sent when it was: nobody is promoted whom no ledger has named as MAIN by then, and
    /// nobody is registered under a number that was not reserved.
    #[must_use]
    pub fn allows(&self, command: &Command) -> bool {
        // Behind an address that nobody has, nothing happens.
        let Some(to) = &command.to else { return true };
        if command.statement.starts_with("SET REPLICATION ROLE TO MAIN") {
            return self.mains.get(to).is_some_and(|since| *since <= command.at);
        }
        let Some(number) = registered_number(&command.statement) else {
            return true;
        };
        let mut known = self.reserved.iter().filter(|(since, _)| *since <= command.at);
        known.any(|(_, reserved)| number < *reserved)
    }
}

/// The number in the name of a registration: 41 of `REGISTER REPLICA pod_1_g41 ..`.
fn registered_number(statement: &str) -> Option<i64> {
    let rest = statement.strip_prefix("REGISTER REPLICA ")?;
    let name = rest.split_whitespace().next()?;
    name.rsplit_once("_g")?.1.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use memgraph_operator::api::ledger::{DataCopy, Incarnation};

    use super::*;

    fn command(to: &str, statement: &str) -> Command {
        Command {
            by: "operator-0".to_owned(),
            to: Some(to.to_owned()),
            statement: statement.to_owned(),
            at: Instant::now(),
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
}
