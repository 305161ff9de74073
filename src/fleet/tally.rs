//! What has become of one cluster since it is known here, counted from its status. Pure: times are given.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;

use crate::{
    api::{
        MemgraphClusterStatus, OperationRecord,
        conditions::{ConditionType, Reason},
        ledger::{OperationKind, Route},
    },
    plan::Said,
};

/// Counts of one cluster. All of them only grow.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tally {
    /// Whether a status was seen.
    seen: bool,
    /// The highest term of an operation that was counted.
    counted: i64,
    operations: BTreeMap<&'static str, Sum>,
    steps: BTreeMap<String, Duration>,
    unavailable: Duration,
    /// Since when nobody can write, by the clock of those who ask.
    unavailable_since: Option<Duration>,
}

/// How many there were, and how long they took together.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sum {
    /// How many.
    pub count: u64,
    /// How long.
    pub time: Duration,
}

impl Tally {
    /// Counts what a status tells that was not told before. The first one brings what its history still holds. Returns the
    /// operations that were not known, without those of the first status.
    pub fn see(&mut self, status: &MemgraphClusterStatus, now: Duration) -> Vec<OperationRecord> {
        let first = !std::mem::replace(&mut self.seen, true);
        let news: Vec<_> = status
            .history
            .iter()
            .rev()
            .filter(|record| record.term > self.counted)
            .cloned()
            .collect();
        for record in &news {
            self.counted = self.counted.max(record.term);
            let sum = self.operations.entry(kind(record.kind)).or_default();
            sum.count += 1;
            sum.time += length(record);
            for step in &record.steps {
                *self.steps.entry(step.step.clone()).or_default() += step.took.0;
            }
        }
        let until_now = self.unavailable(now);
        if is_unavailable(status) {
            self.unavailable_since = self.unavailable_since.or(Some(now));
        } else {
            self.unavailable = until_now;
            self.unavailable_since = None;
        }
        if first { Vec::new() } else { news }
    }

    /// The operations that are over, by kind.
    pub fn operations(&self) -> impl Iterator<Item = (&'static str, Sum)> {
        self.operations.iter().map(|(kind, sum)| (*kind, *sum))
    }

    /// How long steps took in those operations, by kind of step.
    pub fn steps(&self) -> impl Iterator<Item = (&str, Duration)> {
        self.steps.iter().map(|(step, time)| (step.as_str(), *time))
    }

    /// Whether nobody can write, although the cluster was set up and is meant to serve.
    #[must_use]
    pub fn is_unavailable(&self) -> bool {
        self.unavailable_since.is_some()
    }

    /// For how long nobody could write, after the cluster had been set up.
    #[must_use]
    pub fn unavailable(&self, now: Duration) -> Duration {
        let running = self
            .unavailable_since
            .map_or(Duration::ZERO, |since| now.saturating_sub(since));
        self.unavailable + running
    }
}

/// Whether the status says that nobody can write, although the cluster was set up. Where it cannot tell, it does not say so.
fn is_unavailable(status: &MemgraphClusterStatus) -> bool {
    let ready = status
        .conditions
        .iter()
        .find(|condition| condition.type_ == ConditionType::Ready.as_str());
    let refuses = ready.is_none_or(|ready| ready.status == "False");
    let is_deleted = ready.is_some_and(|ready| ready.reason == Reason::Terminating.as_str());
    // One that sleeps, or is on its way there or back, is meant to serve nobody.
    let awake = Said::among(&status.conditions) == Said::Nothing;
    let ledger = status.ledger.as_ref();
    // The history outlives a ledger that is taken away.
    let is_set_up = ledger.is_some_and(|ledger| ledger.opened) || !status.history.is_empty();
    let is_closed = ledger.is_none_or(|ledger| ledger.route == Route::Closed);
    awake && !is_deleted && is_set_up && (is_closed || refuses)
}

/// How long an operation took; zero where its times cannot be read.
#[must_use]
pub fn length(record: &OperationRecord) -> Duration {
    let time = |text: &str| text.parse::<Timestamp>().ok();
    time(&record.started_at)
        .zip(time(&record.finished_at))
        .and_then(|(start, end)| Duration::try_from(end.duration_since(start)).ok())
        .unwrap_or_default()
}

/// An operation's kind, as it is written in the API.
#[must_use]
pub fn kind(kind: OperationKind) -> &'static str {
    match kind {
        OperationKind::Bootstrap => "Bootstrap",
        OperationKind::Failover => "Failover",
        OperationKind::Restart => "Restart",
        OperationKind::Repair => "Repair",
        OperationKind::Switchover => "Switchover",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{DurationString, StepRecord, ledger::Ledger};

    fn record(term: i64, kind: OperationKind, seconds: u8) -> OperationRecord {
        OperationRecord {
            term,
            kind,
            from: None,
            to: "demo-1".to_owned(),
            cause: String::new(),
            started_at: "2026-01-01T00:00:00Z".to_owned(),
            finished_at: format!("2026-01-01T00:00:{seconds:02}Z"),
            steps: vec![StepRecord {
                step: "Fence".to_owned(),
                took: DurationString(Duration::from_millis(200)),
            }],
        }
    }

    fn status(route: Route, history: Vec<OperationRecord>) -> MemgraphClusterStatus {
        let ready = if route == Route::Open { "True" } else { "False" };
        let condition = serde_json::json!({
            "type": "Ready", "status": ready, "reason": "AsExpected", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z",
        });
        MemgraphClusterStatus {
            history,
            conditions: vec![serde_json::from_value(condition).unwrap()],
            ledger: Some(Ledger {
                route,
                opened: true,
                ..Ledger::default()
            }),
            ..MemgraphClusterStatus::default()
        }
    }

    const fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_cluster_that_sleeps_is_not_one_that_nobody_can_write_to() {
        let mut tally = Tally::default();
        let mut asleep = status(Route::Open, Vec::new());
        asleep.conditions[0].status = "False".to_owned();
        let told = serde_json::json!({
            "type": "Hibernated", "status": "False", "reason": "Hibernating", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z",
        });
        asleep.conditions.push(serde_json::from_value(told).unwrap());
        tally.see(&asleep, secs(0));
        assert_eq!(tally.unavailable(secs(60)), secs(0));
        asleep.conditions[1].reason = "AsExpected".to_owned();
        tally.see(&asleep, secs(60));
        assert_eq!(tally.unavailable(secs(70)), secs(10));
    }

    #[test]
    fn each_operation_is_counted_once_and_the_history_is_the_beginning() {
        let mut tally = Tally::default();
        let (bootstrap, failover) = (
            record(1, OperationKind::Bootstrap, 9),
            record(2, OperationKind::Failover, 2),
        );
        let old = status(Route::Open, vec![failover.clone(), bootstrap.clone()]);
        assert_eq!(tally.see(&old, secs(0)), []);
        assert_eq!(tally.see(&old, secs(1)), []);
        let newer = record(4, OperationKind::Failover, 3);
        let news = status(Route::Open, vec![newer.clone(), failover, bootstrap]);
        assert_eq!(tally.see(&news, secs(2)), [newer]);
        let counts: Vec<_> = tally.operations().collect();
        let sum = |count, seconds| Sum {
            count,
            time: secs(seconds),
        };
        assert_eq!(counts, [("Bootstrap", sum(1, 9)), ("Failover", sum(2, 5))]);
        assert_eq!(
            tally.steps().collect::<Vec<_>>(),
            [("Fence", Duration::from_millis(600))]
        );
    }

    #[test]
    fn time_without_writes_grows_while_it_lasts() {
        let mut tally = Tally::default();
        tally.see(&status(Route::Open, Vec::new()), secs(0));
        assert_eq!(tally.unavailable(secs(50)), secs(0));
        tally.see(&status(Route::Closed, Vec::new()), secs(100));
        assert_eq!(tally.unavailable(secs(103)), secs(3));
        tally.see(&status(Route::Closed, Vec::new()), secs(104));
        tally.see(&status(Route::Open, Vec::new()), secs(105));
        assert_eq!(tally.unavailable(secs(900)), secs(5));
    }

    #[test]
    fn the_set_up_of_a_cluster_that_was_seen_before_is_news() {
        let mut tally = Tally::default();
        let mut starting = status(Route::Closed, Vec::new());
        starting.ledger.as_mut().unwrap().opened = false;
        assert_eq!(tally.see(&starting, secs(0)), []);
        let bootstrap = record(1, OperationKind::Bootstrap, 9);
        let set_up = status(Route::Open, vec![bootstrap.clone()]);
        assert_eq!(tally.see(&set_up, secs(9)), [bootstrap]);
    }

    #[test]
    fn one_that_is_deleted_or_of_which_nobody_can_tell_is_not_called_unavailable() {
        for (ready, reason, expected) in [
            ("False", "MainUnreachable", true),
            ("Unknown", "MainUnreachable", false),
            ("False", "Terminating", false),
        ] {
            let mut lost = status(Route::Open, Vec::new());
            (lost.conditions[0].status, lost.conditions[0].reason) = (ready.to_owned(), reason.to_owned());
            let mut tally = Tally::default();
            tally.see(&lost, secs(0));
            assert_eq!(tally.is_unavailable(), expected, "{ready} {reason}");
        }
    }

    #[test]
    fn a_cluster_that_was_never_set_up_is_not_unavailable() {
        let mut tally = Tally::default();
        let mut starting = status(Route::Closed, Vec::new());
        starting.ledger.as_mut().unwrap().opened = false;
        tally.see(&starting, secs(0));
        tally.see(&MemgraphClusterStatus::default(), secs(1));
        assert_eq!(tally.unavailable(secs(9)), secs(0));
    }
}
