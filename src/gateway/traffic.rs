//! What one session has passed on.

use super::{
    patience::Wait,
    statistics::{Direction, Statistics},
};

/// Takes note of what one session passes on.
#[derive(Clone, Copy, Debug)]
pub struct Traffic<'a> {
    statistics: &'a Statistics,
    wait: &'a Wait,
}

impl<'a> Traffic<'a> {
    /// That of this session, at the port of these statistics.
    #[must_use]
    pub fn new(statistics: &'a Statistics, wait: &'a Wait) -> Self {
        Self { statistics, wait }
    }

    /// So many bytes, at least one, were handed to the peer of the one who sent them.
    pub fn passed(&self, direction: Direction, bytes: usize) {
        self.statistics.pass(direction, bytes);
        self.wait.passed(direction);
    }
}
