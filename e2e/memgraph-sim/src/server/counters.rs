//! What the server counts about its clients, for the metrics. What is counted when follows Memgraph's source
//! (communication/v2/session.hpp, query/interpreter.cpp).

use std::{cell::Cell, rc::Rc};

use bolt_server::{FailureCode, QueryKind, Response};

/// A number that goes up and down.
#[derive(Debug, Default, Clone)]
pub(super) struct Gauge(Rc<Cell<u64>>);

impl Gauge {
    /// Counts one more until the guard goes away.
    pub(super) fn enter(&self) -> GaugeGuard {
        self.0.set(self.0.get() + 1);
        GaugeGuard(Rc::clone(&self.0))
    }

    pub(super) fn get(&self) -> u64 {
        self.0.get()
    }
}

/// Something that a [`Gauge`] counts.
#[derive(Debug)]
pub(super) struct GaugeGuard(Rc<Cell<u64>>);

impl Drop for GaugeGuard {
    fn drop(&mut self) {
        self.0.set(self.0.get().saturating_sub(1));
    }
}

/// A number that only grows.
#[derive(Debug, Default)]
pub(super) struct Counter(Cell<u64>);

impl Counter {
    pub(super) fn add(&self, count: u64) {
        self.0.set(self.0.get() + count);
    }

    pub(super) fn get(&self) -> u64 {
        self.0.get()
    }
}

/// All counts of one server.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) sessions: Gauge,
    pub(super) bolt_sessions: Gauge,
    pub(super) tcp_sessions: Gauge,
    pub(super) tls_sessions: Gauge,
    pub(super) websocket_sessions: Gauge,
    pub(super) bolt_messages: Counter,
    pub(super) read_queries: Counter,
    pub(super) write_queries: Counter,
    pub(super) read_write_queries: Counter,
    pub(super) successful_queries: Counter,
    pub(super) failed_queries: Counter,
    pub(super) failed_prepares: Counter,
    pub(super) failed_pulls: Counter,
    pub(super) transient_errors: Counter,
}

/// What a client waited for, as far as the counts care.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Prepare,
    Pull,
    Other,
}

impl Counters {
    /// Counts an answer of the engine.
    pub(super) fn note(&self, step: Step, response: &Response) {
        let summary = match response {
            Response::Failed(failure) => {
                match step {
                    Step::Prepare => {
                        self.failed_queries.add(1);
                        self.failed_prepares.add(1);
                    }
                    Step::Pull => {
                        self.failed_queries.add(1);
                        self.failed_pulls.add(1);
                    }
                    Step::Other => {}
                }
                if failure.code == FailureCode::Transient {
                    self.transient_errors.add(1);
                }
                return;
            }
            Response::Executed(executed) => executed.summary.as_ref(),
            Response::Finished(summary) => Some(summary),
            _ => None,
        };
        if let Some(summary) = summary {
            self.successful_queries.add(1);
            match summary.kind {
                Some(QueryKind::Read) => self.read_queries.add(1),
                Some(QueryKind::Write) => self.write_queries.add(1),
                Some(QueryKind::ReadWrite) => self.read_write_queries.add(1),
                None => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use bolt_server::{Failure, Summary};

    use super::*;

    #[test]
    fn gauges_follow_their_guards() {
        let gauge = Gauge::default();
        let guard = gauge.enter();
        let another = gauge.enter();
        assert_eq!(gauge.get(), 2);
        drop(guard);
        drop(another);
        assert_eq!(gauge.get(), 0);
    }

    #[test]
    fn answers_are_counted_by_step_and_kind() {
        let counters = Counters::default();
        counters.note(Step::Prepare, &Response::Failed(Failure::client("no")));
        counters.note(Step::Pull, &Response::Failed(Failure::transient("later")));
        counters.note(Step::Other, &Response::Failed(Failure::client("no")));
        let summary = Summary {
            kind: Some(QueryKind::Write),
            ..Summary::default()
        };
        counters.note(Step::Pull, &Response::Finished(summary));
        assert_eq!(counters.failed_queries.get(), 2);
        assert_eq!(counters.failed_prepares.get(), 1);
        assert_eq!(counters.failed_pulls.get(), 1);
        assert_eq!(counters.transient_errors.get(), 1);
        assert_eq!(counters.successful_queries.get(), 1);
        assert_eq!(counters.write_queries.get(), 1);
    }
}
