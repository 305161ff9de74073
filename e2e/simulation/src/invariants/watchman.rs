//! Takes note of what must never be.

use std::{cell::RefCell, collections::BTreeMap, rc::Rc, time::Duration};

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
    /// The newest term whose MAIN has told a client anything, and that MAIN.
    heard: Option<(i64, Target)>,
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

    /// How many losses were booked.
    #[must_use]
    pub fn booked(&self) -> usize {
        self.state.borrow().booked.len()
    }

    /// A human changes instances by hand, or that has been put right.
    pub fn set_meddled(&self, meddled: bool) {
        self.state.borrow_mut().meddled = meddled;
    }

    /// Whether a human has changed instances by hand, and that was not put right yet.
    #[must_use]
    pub fn was_meddled_with(&self) -> bool {
        self.state.borrow().meddled
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

    /// The ledger was written.
    pub fn ledger(&self, before: Option<&Ledger>, now: &Ledger) {
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

    /// A gateway that enforces the term `enforced` passes something to a client that came from `from`, MAIN of `term`.
    pub fn delivered(&self, gateway: &str, from: &Target, term: i64, enforced: i64) {
        self.i10_nothing_of_an_older_term_than_was_confirmed(gateway, from, term, enforced);
        self.i2_one_main_at_a_time(gateway, from, term);
    }

    /// I10: no byte from an instance of a term reaches a client after the gateway has confirmed a later one.
    fn i10_nothing_of_an_older_term_than_was_confirmed(
        &self,
        gateway: &str,
        from: &Target,
        term: i64,
        enforced: i64,
    ) {
        if term < enforced {
            let instance = &from.instance;
            let what =
                format!("{gateway} passes data of {instance} from term {term}, and has confirmed {enforced}");
            self.report("I10", what);
        }
    }

    /// I2: at most one MAIN in one term tells clients anything at any moment: once one of a later term has, no earlier one
    /// does.
    fn i2_one_main_at_a_time(&self, gateway: &str, from: &Target, term: i64) {
        let heard = self.state.borrow().heard.clone();
        let wrong = match &heard {
            Some((latest, _)) if term < *latest => true,
            Some((latest, main)) => term == *latest && main.instance != from.instance,
            None => false,
        };
        if wrong {
            let what = format!("{gateway} passes data of {from:?} in term {term}, after {heard:?}");
            self.report("I2", what);
        } else if heard.is_none_or(|(latest, _)| term > latest) {
            self.state.borrow_mut().heard = Some((term, from.clone()));
        }
    }
}
