//! Identities that Memgraph gives to instances, databases and epochs.

use rand::RngCore;
use serde::{Deserialize, Serialize};

/// A random (version 4) UUID in Memgraph's lower-case text form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Uuid(uuid::Uuid);

impl Uuid {
    /// Draws the next one from `random`.
    pub fn random(random: &mut dyn RngCore) -> Self {
        let mut bytes = [0; 16];
        random.fill_bytes(&mut bytes);
        Self(uuid::Builder::from_random_bytes(bytes).into_uuid())
    }
}

impl std::fmt::Display for Uuid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}
