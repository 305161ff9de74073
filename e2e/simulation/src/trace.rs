//! What happened, in order: as a number that two runs of the same seed share, and as text where it is wanted.

use std::{
    hash::Hasher,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use fnv::FnvHasher;
use tokio::time::Instant;

/// Takes down what happens. Cheap to share.
#[derive(Clone)]
pub struct Trace {
    state: Arc<Mutex<State>>,
    began: Instant,
}

struct State {
    hash: FnvHasher,
    lines: Option<Vec<String>>,
}

impl Trace {
    /// A trace that begins now; with text or without.
    #[must_use]
    pub fn new(with_text: bool) -> Self {
        Self {
            state: Arc::new(Mutex::new(State {
                hash: FnvHasher::default(),
                lines: with_text.then(Vec::new),
            })),
            began: Instant::now(),
        }
    }

    /// Notes what happens now. It must not tell times of day, nor anything else that differs between two runs.
    pub fn note(&self, text: impl FnOnce() -> String) {
        let text = text();
        let at = self.began.elapsed();
        let mut state = self.state();
        state.hash.write_u128(at.as_millis());
        state.hash.write(text.as_bytes());
        if let Some(lines) = &mut state.lines {
            lines.push(format!("{:>10.3} {text}", at.as_secs_f64()));
        }
    }

    /// Notes what is said besides: it is not part of what two runs must share.
    pub fn remark(&self, text: impl FnOnce() -> String) {
        let at = self.began.elapsed();
        if let Some(lines) = &mut self.state().lines {
            lines.push(format!("{:>10.3}   . {}", at.as_secs_f64(), text()));
        }
    }

    /// Whether text is kept.
    #[must_use]
    pub fn keeps_text(&self) -> bool {
        self.state().lines.is_some()
    }

    /// The number that tells this course of events from others.
    #[must_use]
    pub fn hash(&self) -> u64 {
        self.state().hash.finish()
    }

    /// The text so far.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        self.state().lines.clone().unwrap_or_default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
