//! What clients are promised, which depends on the cluster's spec.

use serde_json::Value;

/// Which acknowledged writes must not be lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Promise {
    /// All of them, whichever single copy is lost.
    Every,
    /// All of them as long as no copy is lost: there is one, or it may be alone.
    UnlessLost,
    /// Those that replicas had by the time at which MAIN was lost.
    WhatReplicasHad,
}

impl Promise {
    /// What a spec promises.
    #[must_use]
    pub fn of(spec: &Value) -> Self {
        let replication = &spec["replication"];
        match replication["mode"].as_str() {
            // With `Sync` what may be lost came with an error, so that nobody was told that it is there.
            Some("Async") => Self::WhatReplicasHad,
            _ if replication["dataDurability"] == "Preferred" || spec["replicas"] == 1 => Self::UnlessLost,
            _ => Self::Every,
        }
    }

    /// How many replicas are in sync at the least where all is well.
    #[must_use]
    pub fn in_sync(self) -> i32 {
        i32::from(self == Self::Every)
    }

    /// Whether a copy may be lost in the course of a run.
    #[must_use]
    pub fn outlives_a_copy(self) -> bool {
        self == Self::Every
    }

    /// Whether MAIN must have every acknowledged write.
    #[must_use]
    pub fn is_for_every_write(self) -> bool {
        self != Self::WhatReplicasHad
    }
}
