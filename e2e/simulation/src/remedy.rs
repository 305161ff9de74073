//! What a human does about a cluster that waits for one: the remedy that its condition names.

use std::{collections::BTreeSet, rc::Rc};

use memgraph_operator::api::names;
use serde_json::json;

use crate::{
    api::Resource,
    memgraph::WriteId,
    processes::Instance,
    world::{CLUSTER, NAMESPACE, World},
};

/// A remedy that a condition's message names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// `spec.replicas` is to be raised until volumes that lie aside are used.
    Replicas(usize),
    /// `spec.bootstrap.recover`, with this `stateId`.
    Recover(String),
    /// The pod of this instance is to be annotated, so that its data is set aside.
    Reset(String),
}

impl Remedy {
    /// The remedy that a message names.
    #[must_use]
    pub fn named_in(message: &str) -> Option<Self> {
        if message.contains("Raise spec.replicas") {
            let claim = format!("data-{CLUSTER}-");
            let numbers = message.split(&claim).skip(1).filter_map(|rest| {
                let digits = rest.split(|c: char| !c.is_ascii_digit()).next()?;
                digits.parse::<usize>().ok()
            });
            return numbers.max().map(|highest| Self::Replicas(highest + 1));
        }
        if message.contains("spec.bootstrap.recover") {
            let (_, id) = message.rsplit_once("stateId ")?;
            return Some(Self::Recover(id.trim().to_owned()));
        }
        let (_, rest) = message.split_once("annotate the pod of ")?;
        let (instance, _) = rest.split_once(" with memgraph.dev/reset=yes")?;
        Some(Self::Reset(instance.to_owned()))
    }
}

impl World {
    /// Applies a remedy as somebody does who knows which copy holds the most of what was acknowledged. What was done; none where
    /// that copy is the one that the remedy would give up.
    pub fn apply(&self, remedy: &Remedy) -> Option<String> {
        match remedy {
            Remedy::Replicas(replicas) => {
                self.edit_spec(|spec| spec["replicas"] = json!(replicas));
                Some(format!("{replicas} replicas"))
            }
            Remedy::Recover(id) => {
                let best = self.fullest()?.name;
                self.edit_spec(|spec| spec["bootstrap"] = json!({"recover": {"main": best, "stateId": id}}));
                Some(format!("recover {best} in state {id}"))
            }
            Remedy::Reset(instance) => {
                // What is set aside here is in favour of MAIN's data.
                let serving = self.instances.live().into_iter().filter(|i| i.process.is_some());
                let least = serving.map(|i| self.lacks(&i)).min()?;
                if self.lacks(&self.main()?) > least {
                    return None;
                }
                let key = (NAMESPACE.to_owned(), instance.clone());
                self.api.store().edit(&Resource::pods(), &key, |pod| {
                    pod["metadata"]["annotations"][names::RESET_ANNOTATION] = json!("yes");
                });
                Some(format!("reset of {instance}"))
            }
        }
    }

    /// What a cluster says that waits for a human: the reason, and the message.
    #[must_use]
    pub fn stalled(&self) -> Option<(String, String)> {
        let conditions = self.status().conditions.into_iter();
        let mut stalled =
            conditions.filter(|condition| condition.type_ == "Stalled" && condition.status == "True");
        stalled.next().map(|stalled| (stalled.reason, stalled.message))
    }

    /// Whether every acknowledged write is in the copy that a remedy goes on with, so that nobody need think, or wait for others. More
    /// replicas only stay where nobody else changes the spec.
    #[must_use]
    pub fn gives_nothing_up(&self, remedy: &Remedy) -> bool {
        let goes_on = match remedy {
            Remedy::Replicas(_) => None,
            Remedy::Recover(_) => self.fullest(),
            Remedy::Reset(_) => self.main(),
        };
        goes_on.is_some_and(|instance| self.lacks(&instance) == 0)
    }

    /// Whether everyone whom the ledger relies on serves, and holds each acknowledged write: looked at in their memory, since a status may
    /// be older than the loss of a copy.
    #[must_use]
    pub fn has_all_copies(&self) -> bool {
        let Some(ledger) = self.ledger() else {
            return false;
        };
        let mut relied_on = self.instances.live().into_iter();
        relied_on.all(|i| !ledger.relies_on(&i.name) || i.process.is_some() && self.lacks(&i) == 0)
    }

    /// How many acknowledged writes are not in an instance's memory, apart from those that are lost within the published limits.
    fn lacks(&self, instance: &Instance) -> usize {
        let held: BTreeSet<_> = instance
            .process
            .into_iter()
            .flat_map(|process| self.memgraphs.committed(process))
            .collect();
        let acknowledged = self.watchman.all_acknowledged().into_iter();
        acknowledged
            .filter(|id| !held.contains(id) && !self.watchman.is_booked(*id))
            .count()
    }

    /// The instance that lacks the fewest acknowledged writes, of those that serve.
    fn fullest(&self) -> Option<Instance> {
        let serving = self.instances.live().into_iter();
        let serving = serving.filter(|instance| {
            instance.name.starts_with(&format!("{CLUSTER}-")) && instance.process.is_some()
        });
        serving.min_by_key(|instance| self.lacks(instance))
    }

    /// I1, while nobody is let in: each acknowledged write is still in some instance, or on some volume.
    pub fn i1_acknowledged_is_somewhere(self: &Rc<Self>) {
        if !self.promise.is_for_every_write() {
            return;
        }
        let held: BTreeSet<WriteId> = self.instances.everything_kept();
        let acknowledged = self.watchman.all_acknowledged().into_iter();
        let missing = acknowledged.filter(|id| !held.contains(id) && !self.watchman.is_booked(*id));
        let unexplained = missing.filter(|id| !self.is_lost_within_a_limit(*id));
        let unexplained: Vec<_> = unexplained.collect();
        if !unexplained.is_empty() {
            let what = format!("{unexplained:?} were acknowledged, and no instance and no volume has them");
            self.watchman.report("I1", what);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remedies_are_read_off_messages() {
        let stray = "(volume claims exist for instances beyond spec.replicas, and may hold the newest data: data-demo-3, \
                     data-demo-4. Raise spec.replicas until they are used). To go on with the data of one of them, set \
                     spec.bootstrap.recover to its name and stateId 5f";
        assert_eq!(Remedy::named_in(stray), Some(Remedy::Replicas(5)));
        let ambiguous = "Seen: demo-0. To go on with the data of one of them, set spec.bootstrap.recover to its name and stateId 00ab12cd";
        assert_eq!(
            Remedy::named_in(ambiguous),
            Some(Remedy::Recover("00ab12cd".to_owned()))
        );
        let diverged = "To go on with the data of demo-0, annotate the pod of demo-2 with memgraph.dev/reset=yes; to go on";
        assert_eq!(
            Remedy::named_in(diverged),
            Some(Remedy::Reset("demo-2".to_owned()))
        );
        assert_eq!(Remedy::named_in("a human must think"), None);
    }
}
