//! The machines that pods run on.

use std::{rc::Rc, time::Duration};

use fastrand::Rng;

use crate::signal::Signal;

/// A machine.
#[derive(Clone)]
pub struct Node {
    inner: Rc<Inner>,
}

struct Inner {
    name: String,
    state: Signal<State>,
    chance: std::cell::RefCell<Rng>,
    /// How often it has been started.
    boots: std::cell::Cell<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct State {
    has_power: bool,
    /// It reaches the API server, and is reached, where that is there.
    connected: bool,
    has_api: bool,
    /// The longest time until a change is told, in milliseconds.
    lag: u64,
}

impl State {
    fn is_reachable(&self) -> bool {
        self.has_power && self.connected && self.has_api
    }
}

/// The longest time until a change of a pod is told, in milliseconds, where nothing is wrong.
const LAG: u64 = 150;

impl Node {
    pub(super) fn new(name: &str, chance: Rng) -> Self {
        Self {
            inner: Rc::new(Inner {
                name: name.to_owned(),
                state: Signal::new(State {
                    has_power: true,
                    connected: true,
                    has_api: true,
                    lag: LAG,
                }),
                chance: chance.into(),
                boots: std::cell::Cell::new(1),
            }),
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// Whether it has power.
    #[must_use]
    pub fn has_power(&self) -> bool {
        self.inner.state.get().has_power
    }

    /// Takes the power away, or gives it back.
    pub fn set_power(&self, has_power: bool) {
        if has_power && !self.has_power() {
            self.inner.boots.set(self.inner.boots.get() + 1);
        }
        self.inner.state.send_modify(|state| state.has_power = has_power);
    }

    /// What its kernel calls the time since it was started last (`/proc/sys/kernel/random/boot_id`).
    #[must_use]
    pub fn boot_id(&self) -> String {
        format!("{}-boot-{}", self.inner.name, self.inner.boots.get())
    }

    /// Cuts its kubelet off from the API server, or connects it again. What runs on it goes on.
    pub fn set_connected(&self, connected: bool) {
        self.inner.state.send_modify(|state| state.connected = connected);
    }

    /// Takes the API server away from all, or gives it back: those that are cut off from it stay so.
    pub(super) fn set_api(&self, is_there: bool) {
        self.inner.state.send_modify(|state| state.has_api = is_there);
    }

    /// Has changes of pods told so much later at most; none: as usual.
    pub fn set_lag(&self, lag: Option<Duration>) {
        let lag = lag.map_or(LAG, |lag| u64::try_from(lag.as_millis()).unwrap_or(u64::MAX));
        self.inner.state.send_modify(|state| state.lag = lag);
    }

    /// How long the next change takes to be told.
    pub(super) fn reporting_delay(&self) -> Duration {
        let lag = self.inner.state.get().lag;
        Duration::from_millis(self.inner.chance.borrow_mut().u64(0..=lag))
    }

    /// Waits until it has power.
    pub(super) async fn powered(&self) {
        self.wait(|state| state.has_power).await;
    }

    /// Waits until it has none.
    pub(super) async fn dark(&self) {
        self.wait(|state| !state.has_power).await;
    }

    /// Waits until its kubelet reaches the API server.
    pub(super) async fn reachable(&self) {
        self.wait(State::is_reachable).await;
    }

    /// Waits until it does not.
    pub(super) async fn unreachable(&self) {
        self.wait(|state| !state.is_reachable()).await;
    }

    async fn wait(&self, wanted: impl Fn(&State) -> bool) {
        self.inner.state.subscribe().wait_for(|state| wanted(state)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_cut_off_stays_so_when_the_api_server_is_back() {
        let node = Node::new("node-0", Rng::with_seed(1));
        let is_reachable = || node.inner.state.get().is_reachable();
        node.set_api(false);
        node.set_connected(false);
        node.set_api(true);
        assert!(!is_reachable());
        node.set_api(false);
        node.set_connected(true);
        assert!(!is_reachable());
        node.set_api(true);
        assert!(is_reachable());
    }

    #[test]
    fn each_start_is_another_boot() {
        let node = Node::new("node-0", Rng::with_seed(1));
        let first = node.boot_id();
        node.set_power(true);
        node.set_connected(false);
        assert_eq!(node.boot_id(), first);
        node.set_power(false);
        node.set_power(true);
        assert_ne!(node.boot_id(), first);
    }
}
