//! Takes note of what must never be.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
    time::Duration,
};

use memgraph_operator::{
    api::ledger::{DataCopy, Incarnation, Ledger, Route},
    gateway::Target,
};
use tokio::{sync::Notify, time::Instant};

use super::Limit;
use crate::{memgraph::WriteId, trace::Trace};

/// Something that must never be has happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The invariant's number, such as `I2`.
    pub invariant: &'static str,
    /// What was seen.
    pub what: String,
}

/// Something that a gateway passes to a client.
#[derive(Clone, Copy, Debug)]
pub struct Delivery<'a> {
    /// The gateway.
    pub gateway: &'a str,
    /// The MAIN that it came from.
    pub from: &'a Target,
    /// In which term that is MAIN.
    pub term: i64,
    /// The term that the gateway enforces.
    pub enforced: i64,
    /// Whether the gateway's right to do so has run out.
    pub right_is_over: bool,
}

/// Takes note of violations, and looks at each piece of data that reaches a client.
#[derive(Clone)]
pub struct Watchman {
    state: Rc<RefCell<State>>,
    alarm: Rc<Notify>,
    trace: Trace,
}

#[derive(Default)]
struct State {
    violations: Vec<Violation>,
    acknowledged: Vec<WriteId>,
    /// How many of them were looked at one by one.
    looked_at: usize,
    /// Every MAIN that clients were let in to: instance and life.
    mains: Vec<DataCopy>,
    /// Lost within the published limits.
    booked: BTreeMap<WriteId, Limit>,
    /// A human has changed instances by hand, and the operator has not had the time to put that right.
    meddled: bool,
    /// The spec has promised less than at first, for a while or since.
    promised_less: bool,
    /// The newest term whose MAIN has told a client anything, and that MAIN.
    heard: Option<(i64, Target)>,
    /// UIDs of clusters that were heard of before the present one was made in their place.
    former: BTreeSet<String>,
    /// The newest term whose MAIN was told to become one, and that MAIN.
    promoted: Option<(i64, String)>,
    /// Instances whose data was put back to what it was some time ago, in place.
    put_back: BTreeSet<String>,
    /// By kind: since when something has been the case whenever it was looked.
    lasting: BTreeMap<&'static str, BTreeMap<String, Instant>>,
}

impl Watchman {
    /// One that has seen nothing yet.
    #[must_use]
    pub fn new(trace: Trace) -> Self {
        Self {
            state: Rc::default(),
            alarm: Rc::default(),
            trace,
        }
    }

    /// Notes a violation.
    pub fn report(&self, invariant: &'static str, what: String) {
        self.trace.note(|| format!("VIOLATION of {invariant}: {what}"));
        self.state
            .borrow_mut()
            .violations
            .push(Violation { invariant, what });
        self.alarm.notify_one();
    }

    /// What was noted.
    #[must_use]
    pub fn violations(&self) -> Vec<Violation> {
        self.state.borrow().violations.clone()
    }

    /// Waits for the next violation.
    pub async fn alarm(&self) {
        self.alarm.notified().await;
    }

    /// A write was acknowledged to its client.
    pub fn acknowledged(&self, id: WriteId) {
        self.state.borrow_mut().acknowledged.push(id);
    }

    /// The writes that were acknowledged.
    #[must_use]
    pub fn all_acknowledged(&self) -> Vec<WriteId> {
        self.state.borrow().acknowledged.clone()
    }

    /// The writes that were acknowledged since the last call.
    #[must_use]
    pub fn take_new(&self) -> Vec<WriteId> {
        let mut state = self.state.borrow_mut();
        let new = state.acknowledged[state.looked_at..].to_vec();
        state.looked_at = state.acknowledged.len();
        new
    }

    /// Whether the ledger has ever let clients in to this instance in this life.
    #[must_use]
    pub fn was_main(&self, instance: &str, incarnation: &Incarnation) -> bool {
        let state = self.state.borrow();
        let mut mains = state.mains.iter();
        mains.any(|main| main.instance == instance && main.incarnation == *incarnation)
    }

    /// A loss is within a published limit.
    pub fn book(&self, id: WriteId, limit: Limit) {
        self.trace
            .note(|| format!("{id:?} is lost within the limit {limit:?}"));
        self.state.borrow_mut().booked.insert(id, limit);
    }

    /// Whether a loss was booked.
    #[must_use]
    pub fn is_booked(&self, id: WriteId) -> bool {
        self.state.borrow().booked.contains_key(&id)
    }

    /// The limit that a loss was booked to.
    #[must_use]
    pub fn booked_to(&self, id: WriteId) -> Option<Limit> {
        self.state.borrow().booked.get(&id).copied()
    }

    /// How many losses were booked.
    #[must_use]
    pub fn booked(&self) -> usize {
        self.state.borrow().booked.len()
    }

    /// A human changes instances by hand, or that has been put right.
    pub fn set_meddled(&self, meddled: bool) {
        self.state.borrow_mut().meddled = meddled;
    }

    /// The spec promises less than at first from now on, or has in between.
    pub fn note_promised_less(&self) {
        self.state.borrow_mut().promised_less = true;
    }

    /// Whether the spec has ever promised less than at first.
    #[must_use]
    pub fn has_promised_less(&self) -> bool {
        self.state.borrow().promised_less
    }

    /// Whether a human has changed instances by hand, and that was not put right yet.
    #[must_use]
    pub fn was_meddled_with(&self) -> bool {
        self.state.borrow().meddled
    }

    /// The data of an instance is put back to what it was some time ago, in place: the published limits say that nobody but another
    /// copy can tell.
    pub fn put_back(&self, instance: &str) {
        self.state.borrow_mut().put_back.insert(instance.to_owned());
    }

    /// Whether the data of an instance was put back in place in the course of this run.
    #[must_use]
    pub fn was_put_back(&self, instance: &str) -> bool {
        self.state.borrow().put_back.contains(instance)
    }

    /// Of what is the case now, that which has been for longer than `limit`, whenever it was looked.
    #[must_use]
    pub fn lasting(&self, kind: &'static str, now: Vec<String>, limit: Duration) -> Vec<String> {
        let mut state = self.state.borrow_mut();
        let known = state.lasting.remove(kind).unwrap_or_default();
        let since = |what: &String| known.get(what).copied().unwrap_or_else(Instant::now);
        let now: BTreeMap<String, Instant> =
            now.into_iter().map(|what| (what.clone(), since(&what))).collect();
        let long = now.iter().filter(|(_, since)| since.elapsed() > limit);
        let long = long.map(|(what, _)| what.clone()).collect();
        state.lasting.insert(kind, now);
        long
    }

    /// An instance is told to become MAIN of this term.
    pub fn promoted(&self, term: i64, instance: &str) {
        let promoted = &mut self.state.borrow_mut().promoted;
        if promoted.as_ref().is_none_or(|(newest, _)| term > *newest) {
            *promoted = Some((term, instance.to_owned()));
        }
    }

    /// The ledger was written.
    pub fn ledger(&self, before: Option<&Ledger>, now: &Ledger) {
        if before.is_none() {
            // Terms in which nobody was let in are not noted anywhere: another cluster's may be the same.
            self.state.borrow_mut().promoted = None;
        }
        if now.route == Route::Open {
            let mut state = self.state.borrow_mut();
            if !state.mains.contains(&now.main) {
                state.mains.push(now.main.clone());
            }
        }
        self.i6_terms_grow(before, now);
    }

    /// I6: the term never goes back, and another MAIN means another term.
    fn i6_terms_grow(&self, before: Option<&Ledger>, now: &Ledger) {
        let Some(before) = before else { return };
        let another_main = before.main.instance != now.main.instance;
        if now.term < before.term || (another_main && now.term == before.term) {
            let told = |ledger: &Ledger| format!("{} in term {}", ledger.main.instance, ledger.term);
            self.report("I6", format!("{} after {}", told(now), told(before)));
        }
    }

    /// A gateway passes something to a client that came from a MAIN.
    pub fn delivered(&self, delivery: &Delivery<'_>) {
        self.i10_nothing_of_an_older_term_than_was_confirmed(delivery);
        self.i10_nothing_without_a_right(delivery.gateway, delivery.right_is_over);
        self.i2_one_main_at_a_time(delivery);
    }

    /// I10: no byte from an instance of a term reaches a client after the gateway has confirmed a later one.
    fn i10_nothing_of_an_older_term_than_was_confirmed(&self, delivery: &Delivery<'_>) {
        let Delivery {
            gateway,
            from,
            term,
            enforced,
            ..
        } = delivery;
        if term < enforced {
            let instance = &from.instance;
            let what =
                format!("{gateway} passes data of {instance} from term {term}, and has confirmed {enforced}");
            self.report("I10", what);
        }
    }

    /// I10: no byte passes between clients and MAIN after the right to it has run out, by the gateway's own clock.
    pub fn i10_nothing_without_a_right(&self, gateway: &str, right_is_over: bool) {
        if right_is_over {
            let what = format!("{gateway} passes data of a session with MAIN after its right has run out");
            self.report("I10", what);
        }
    }

    /// I2: at most one MAIN in one term tells clients anything at any moment: once one of a later term has, or was told that it is
    /// MAIN, no earlier one does.
    fn i2_one_main_at_a_time(&self, delivery: &Delivery<'_>) {
        let Delivery {
            gateway, from, term, ..
        } = *delivery;
        let (heard, promoted) = {
            let state = self.state.borrow();
            (state.heard.clone(), state.promoted.clone())
        };
        // A cluster that was made again counts its terms anew, above what its volumes tell.
        let another = heard.as_ref().filter(|(_, main)| main.cluster != from.cluster);
        let told = match &heard {
            _ if another.is_some() => self.state.borrow().former.contains(&from.cluster),
            Some((latest, _)) if term < *latest => true,
            Some((latest, main)) => term == *latest && main.instance != from.instance,
            None => false,
        };
        let late = promoted
            .as_ref()
            .is_some_and(|(newest, instance)| term < *newest && from.instance != *instance);
        if told {
            let what = format!("{gateway} passes data of {from:?} in term {term}, after {heard:?}");
            self.report("I2", what);
        } else if late {
            let what = format!("{gateway} passes data of {from:?} in term {term}, promoted was {promoted:?}");
            self.report("I2", what);
        } else if another.is_some() || heard.as_ref().is_none_or(|(latest, _)| term > *latest) {
            let mut state = self.state.borrow_mut();
            state.former.extend(another.map(|(_, main)| main.cluster.clone()));
            state.heard = Some((term, from.clone()));
        }
    }
}
