//! Faults on demand, for tests: what an instance suffers is asked for on a port of its own (see [`control`]).
//!
//! Everything here is about the process and what is around it. What follows from a fault is up to the engine,
//! which does not know that faults can be asked for.

mod control;
mod line;
mod power;

use std::{
    collections::BTreeMap,
    net::IpAddr,
    path::PathBuf,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::Waker,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use tokio::{
    net::TcpStream,
    sync::{Notify, watch},
};

pub(super) use self::{
    control::{Control, ControlError},
    line::Line,
    power::Ledger,
};

/// What can be asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "fault", rename_all = "kebab-case", deny_unknown_fields)]
enum Fault {
    /// Nothing happens any more, as after SIGSTOP: no answers, no timers. Sockets stay open, and the kernel goes
    /// on accepting connections.
    Freeze {
        /// For how long; without it, until the fault is cleared.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        milliseconds: Option<u64>,
    },
    /// Each message is held back before it is sent; those of one connection one after another.
    Slow {
        milliseconds: u64,
        #[serde(default)]
        connections: Scope,
    },
    /// Packets get lost in both directions. As TCP repeats them, they arrive after the fault is cleared. Neither
    /// side notices that the other one closes a connection; those that are opened never get through.
    Blackhole {
        #[serde(default)]
        connections: Scope,
    },
    /// The disk does not confirm the next syncs. What they were for stays in the page cache.
    FailSync {
        #[serde(default = "once")]
        times: u32,
    },
    /// The host loses its power: the process ends at once, and what was written but not synced is gone.
    PowerLoss,
}

fn once() -> u32 {
    1
}

/// Who opened a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Direction {
    /// Somebody else: a client, or a main.
    In,
    /// This instance, as a main.
    Out,
}

/// Which connections a fault concerns: those for which all that is given is right.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Scope {
    #[serde(skip_serializing_if = "Option::is_none")]
    direction: Option<Direction>,
    /// The address at the other end.
    #[serde(skip_serializing_if = "Option::is_none")]
    peer: Option<IpAddr>,
    /// The port that the connection was opened to, on whichever side it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    port: Option<u16>,
}

impl Scope {
    fn covers(&self, way: &Way) -> bool {
        self.direction.is_none_or(|direction| direction == way.direction)
            && self.peer.is_none_or(|peer| peer.to_canonical() == way.peer)
            && self.port.is_none_or(|port| port == way.port)
    }
}

/// Where a connection leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Way {
    direction: Direction,
    peer: IpAddr,
    port: u16,
}

/// A fault that is in force.
#[derive(Debug, Clone)]
struct Active {
    fault: Fault,
    /// When it ends by itself.
    until: Option<Instant>,
}

#[derive(Default)]
struct State {
    last_id: u64,
    active: BTreeMap<u64, Active>,
    /// Connections that wait for a black hole to go away.
    waiting: Vec<Waker>,
    /// Connections that were closed here, of which nobody at the other end knows.
    closed: Vec<(Way, TcpStream)>,
}

impl State {
    fn faults(&self) -> impl Iterator<Item = &Fault> {
        self.active.values().map(|active| &active.fault)
    }

    fn is_lost(&self, way: &Way) -> bool {
        self.faults()
            .any(|fault| matches!(fault, Fault::Blackhole { connections } if connections.covers(way)))
    }

    /// Forgets what is over.
    fn expire(&mut self) {
        let now = Instant::now();
        self.active
            .retain(|_, active| active.until.is_none_or(|until| until > now));
    }

    /// When the process may go on; `None` in it: nobody knows yet. `None`: it is not frozen.
    fn frozen(&self) -> Option<Option<Instant>> {
        let mut ends = self
            .active
            .values()
            .filter(|active| matches!(active.fault, Fault::Freeze { .. }))
            .map(|active| active.until);
        let first = ends.next()?;
        Some(ends.fold(first, |latest, end| Some(latest?.max(end?))))
    }
}

/// The faults of this process. Without [`Control`] there are none.
pub(super) struct Faults {
    state: Mutex<State>,
    /// Whether there are any, so that the usual case is a quick one.
    any: AtomicBool,
    /// The set of faults has changed.
    changed: Condvar,
    freeze: Notify,
    /// The last fault that the frozen thread knows of.
    frozen: watch::Sender<u64>,
    ledger: Mutex<Ledger>,
}

impl Faults {
    /// None so far. `data` is the data directory.
    pub(super) fn new(data: PathBuf) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::default(),
            any: AtomicBool::new(false),
            changed: Condvar::new(),
            freeze: Notify::new(),
            frozen: watch::Sender::new(0),
            ledger: Mutex::new(Ledger::new(data)),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing in here is left half done by a panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a power loss would leave; while this is held, there is none.
    pub(super) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets the thread that runs this stand still while a fault wants it.
    pub(super) async fn obey(self: Arc<Self>) {
        loop {
            self.freeze.notified().await;
            self.stand_still();
        }
    }

    fn stand_still(&self) {
        let mut state = self.state();
        loop {
            state.expire();
            self.frozen.send_replace(state.last_id);
            state = match state.frozen() {
                None => break,
                Some(None) => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(Some(until)) => {
                    let rest = until.saturating_duration_since(Instant::now());
                    let waited = self.changed.wait_timeout(state, rest);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }

    /// Whether the next sync must fail; counts it.
    pub(super) fn take_failed_sync(&self) -> bool {
        if !self.any.load(Ordering::Acquire) {
            return false;
        }
        let mut state = self.state();
        let found = state
            .active
            .iter_mut()
            .find_map(|(id, active)| match &mut active.fault {
                Fault::FailSync { times } => Some((*id, times)),
                _ => None,
            });
        let Some((id, times)) = found else {
            return false;
        };
        *times = times.saturating_sub(1);
        if *times == 0 {
            state.active.remove(&id);
        }
        true
    }

    /// How long a message has to wait before it is sent.
    fn delay(&self, way: &Way) -> Duration {
        if !self.any.load(Ordering::Acquire) {
            return Duration::ZERO;
        }
        let delay = |fault: &Fault| match fault {
            Fault::Slow {
                milliseconds,
                connections,
            } if connections.covers(way) => Duration::from_millis(*milliseconds),
            _ => Duration::ZERO,
        };
        self.state().faults().map(delay).max().unwrap_or_default()
    }

    /// Whether packets get lost on this way. Whoever asks is woken when that may have changed.
    fn is_lost(&self, way: &Way, waker: &Waker) -> bool {
        if !self.any.load(Ordering::Acquire) {
            return false;
        }
        let mut state = self.state();
        let lost = state.is_lost(way);
        if lost {
            state.waiting.push(waker.clone());
        }
        lost
    }

    /// Closes a connection, but not before the other end can notice it.
    fn close(&self, way: Way, stream: TcpStream) {
        if self.any.load(Ordering::Acquire) {
            let mut state = self.state();
            if state.is_lost(&way) {
                state.closed.push((way, stream));
            }
        }
    }

    /// Puts a fault in force. Returns its number.
    fn add(&self, fault: Fault) -> u64 {
        let freeze = matches!(fault, Fault::Freeze { .. });
        let until = match fault {
            Fault::Freeze {
                milliseconds: Some(milliseconds),
            } => Some(Instant::now() + Duration::from_millis(milliseconds)),
            _ => None,
        };
        let mut state = self.state();
        state.last_id += 1;
        let id = state.last_id;
        state.active.insert(id, Active { fault, until });
        self.announce(state);
        if freeze {
            self.freeze.notify_one();
        }
        id
    }

    /// What is in force.
    fn list(&self) -> BTreeMap<u64, Fault> {
        let mut state = self.state();
        state.expire();
        state
            .active
            .iter()
            .map(|(id, active)| (*id, active.fault.clone()))
            .collect()
    }

    /// Ends a fault, or all. Returns whether there was one.
    fn clear(&self, id: Option<u64>) -> bool {
        let mut state = self.state();
        state.expire();
        let before = state.active.len();
        match id {
            Some(id) => drop(state.active.remove(&id)),
            None => state.active.clear(),
        }
        let cleared = state.active.len() < before;
        self.announce(state);
        cleared
    }

    /// Tells everybody that faults have come or gone.
    fn announce(&self, mut state: MutexGuard<'_, State>) {
        self.any.store(!state.active.is_empty(), Ordering::Release);
        let closed = std::mem::take(&mut state.closed);
        let (lost, gone) = closed.into_iter().partition(|(way, _)| state.is_lost(way));
        state.closed = lost;
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        drop::<Vec<_>>(gone);
        waiting.into_iter().for_each(Waker::wake);
        self.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Fault, serde_json::Error> {
        serde_json::from_str(text)
    }

    #[test]
    fn faults_are_written_as_documented() {
        assert_eq!(
            parse(r#"{"fault":"freeze"}"#).unwrap(),
            Fault::Freeze { milliseconds: None }
        );
        assert_eq!(
            parse(r#"{"fault":"fail-sync"}"#).unwrap(),
            Fault::FailSync { times: 1 }
        );
        assert_eq!(parse(r#"{"fault":"power-loss"}"#).unwrap(), Fault::PowerLoss);
        let text =
            r#"{"fault":"blackhole","connections":{"direction":"out","peer":"10.0.0.2","port":10000}}"#;
        assert_eq!(serde_json::to_string(&parse(text).unwrap()).unwrap(), text);
        for wrong in [
            r#"{"fault":"freeze","seconds":1}"#,
            r#"{"fault":"slow"}"#,
            r#"{"fault":"blackhole","connections":{"host":"a"}}"#,
            r#"{"fault":"unknown"}"#,
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_scope_covers_what_all_of_it_is_right_for() {
        let way = Way {
            direction: Direction::Out,
            peer: IpAddr::from([10, 0, 0, 2]),
            port: 10000,
        };
        assert!(Scope::default().covers(&way));
        let scope = Scope {
            direction: Some(Direction::Out),
            peer: Some("::ffff:10.0.0.2".parse().unwrap()),
            port: Some(10000),
        };
        assert!(scope.covers(&way));
        assert!(
            !Scope {
                port: Some(1),
                ..scope.clone()
            }
            .covers(&way)
        );
        assert!(
            !Scope {
                direction: Some(Direction::In),
                ..scope
            }
            .covers(&way)
        );
    }

    #[test]
    fn a_process_stays_frozen_until_the_last_freeze_ends() {
        let faults = Faults::new(PathBuf::new());
        assert_eq!(faults.state().frozen(), None);
        faults.add(Fault::Freeze {
            milliseconds: Some(60_000),
        });
        let first = faults.state().frozen().unwrap();
        assert!(first.is_some());
        let longer = faults.add(Fault::Freeze { milliseconds: None });
        assert_eq!(faults.state().frozen(), Some(None));
        assert!(faults.clear(Some(longer)));
        assert_eq!(faults.state().frozen(), Some(first));
        assert!(faults.clear(None));
        assert!(!faults.clear(None));
        faults.stand_still();
    }

    #[test]
    fn failed_syncs_are_counted() {
        let faults = Faults::new(PathBuf::new());
        assert!(!faults.take_failed_sync());
        faults.add(Fault::FailSync { times: 2 });
        assert!(faults.take_failed_sync());
        assert_eq!(faults.list().len(), 1);
        assert!(faults.take_failed_sync());
        assert!(!faults.take_failed_sync());
        assert_eq!(faults.list().len(), 0);
    }
}
