//! The life of one process: running, standing still, or over.

use tokio::time::{Instant, sleep_until};

use crate::signal::Signal;

/// Whether a process goes on. Everything that it sends or receives waits for this.
#[derive(Clone, Debug)]
pub struct Life {
    state: Signal<State>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Running,
    /// It stands still until then, and its machine goes on.
    Frozen(Instant),
    Over,
}

/// The process is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the process has ended")]
pub struct Over;

impl Default for Life {
    fn default() -> Self {
        Self {
            state: Signal::new(State::Running),
        }
    }
}

impl Life {
    /// Waits while the process stands still.
    ///
    /// # Errors
    /// When it is over.
    pub async fn awake(&self) -> Result<(), Over> {
        loop {
            let mut changes = self.state.subscribe();
            let state = changes.get_and_see();
            match state {
                State::Running => return Ok(()),
                State::Over => return Err(Over),
                State::Frozen(until) if until <= Instant::now() => {
                    self.state
                        .send_if_modified(|state| std::mem::replace(state, State::Running) != State::Running);
                }
                State::Frozen(until) => {
                    tokio::select! {
                        biased;
                        () = changes.changed() => {}
                        () = sleep_until(until) => {}
                    }
                }
            }
        }
    }

    /// Waits until the process is over.
    pub async fn over(&self) {
        let mut changes = self.state.subscribe();
        changes.wait_for(|state| *state == State::Over).await;
    }

    /// Has it stand still until then, unless it does so for longer already.
    pub fn freeze(&self, until: Instant) {
        self.state.send_if_modified(|state| match state {
            State::Over => false,
            State::Frozen(later) if *later >= until => false,
            _ => {
                *state = State::Frozen(until);
                true
            }
        });
    }

    /// Has it go on, if it stands still.
    pub fn thaw(&self) {
        self.state.send_if_modified(|state| {
            let frozen = matches!(state, State::Frozen(_));
            if frozen {
                *state = State::Running;
            }
            frozen
        });
    }

    /// Ends it: nothing of it goes on.
    pub fn end(&self) {
        self.state.send_replace(State::Over);
    }

    /// Whether it is over.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.state.get() == State::Over
    }

    /// Whether it stands still now.
    #[must_use]
    pub fn is_frozen(&self) -> bool {
        matches!(self.state.get(), State::Frozen(until) if until > Instant::now())
    }
}
