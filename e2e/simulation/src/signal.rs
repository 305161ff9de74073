//! A value that is watched. tokio's `watch` wakes those who wait in a random order; here they are woken in the order in
//! which they came, so that the same seed is the same course of events.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

#[derive(Debug)]
struct Shared<T> {
    state: Mutex<(T, u64)>,
    changed: Notify,
}

impl<T> Shared<T> {
    fn state(&self) -> MutexGuard<'_, (T, u64)> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A value that others follow.
#[derive(Debug)]
pub struct Signal<T> {
    shared: Arc<Shared<T>>,
}

/// Follows a [`Signal`].
#[derive(Debug)]
pub struct Follower<T> {
    shared: Arc<Shared<T>>,
    seen: u64,
}

impl<T> Clone for Signal<T> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
        }
    }
}

impl<T: Default> Default for Signal<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T> Signal<T> {
    /// A signal with this value.
    pub fn new(value: T) -> Self {
        Self {
            shared: Arc::new(Shared {
                state: Mutex::new((value, 0)),
                changed: Notify::new(),
            }),
        }
    }

    /// Changes the value, and says so if `change` does.
    pub fn send_if_modified(&self, change: impl FnOnce(&mut T) -> bool) -> bool {
        let modified = {
            let mut state = self.shared.state();
            let modified = change(&mut state.0);
            if modified {
                state.1 += 1;
            }
            modified
        };
        if modified {
            self.shared.changed.notify_waiters();
        }
        modified
    }

    /// Changes the value.
    pub fn send_modify(&self, change: impl FnOnce(&mut T)) {
        self.send_if_modified(|value| {
            change(value);
            true
        });
    }

    /// Replaces the value.
    pub fn send_replace(&self, value: T) {
        self.send_modify(|old| *old = value);
    }

    /// Follows it from now on.
    #[must_use]
    pub fn subscribe(&self) -> Follower<T> {
        Follower {
            seen: self.shared.state().1,
            shared: Arc::clone(&self.shared),
        }
    }
}

impl<T: Clone> Signal<T> {
    /// The value.
    #[must_use]
    pub fn get(&self) -> T {
        self.shared.state().0.clone()
    }
}

impl<T: Clone> Follower<T> {
    /// The value.
    #[must_use]
    pub fn get(&self) -> T {
        self.shared.state().0.clone()
    }

    /// The value, which counts as seen then.
    pub fn get_and_see(&mut self) -> T {
        let state = self.shared.state();
        self.seen = state.1;
        state.0.clone()
    }

    /// Waits for a value that was not seen.
    pub async fn changed(&mut self) {
        loop {
            let mut notified = std::pin::pin!(self.shared.changed.notified());
            // From here on no change is missed.
            notified.as_mut().enable();
            let version = self.shared.state().1;
            if version != self.seen {
                self.seen = version;
                return;
            }
            notified.await;
        }
    }

    /// Waits for such a value.
    pub async fn wait_for(&mut self, wanted: impl Fn(&T) -> bool) {
        while !wanted(&self.get_and_see()) {
            self.changed().await;
        }
    }
}
