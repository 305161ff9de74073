//! `spec.failover`: what happens when MAIN is lost.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::DurationString;

/// What happens when MAIN is lost.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = (
    "duration(self.hangTimeout) >= duration('60s')",
    "hangTimeout: must be at least 60s, because a MAIN whose replica's node has vanished waits that long for it and is not dead"
))]
#[x_kube(validation = (
    "duration(self.hangTimeout) >= duration(self.detectionTimeout)",
    "hangTimeout: must not be less than detectionTimeout"
))]
#[serde(rename_all = "camelCase")]
pub struct FailoverSpec {
    /// Automatic: an in-sync replica is promoted without asking. Manual: the operator reports, and waits for `spec.switchover`.
    #[serde(default)]
    pub mode: FailoverMode,

    /// Who may follow a lost MAIN.
    #[serde(default)]
    pub candidates: FailoverCandidates,

    /// For how long MAIN must be silent before it is taken for dead. A container that is known to have ended
    /// is not waited for. Since a gateway or Kubernetes must have heard nothing for as long, and asks now and then, it takes up to
    /// a second longer.
    #[serde(default = "detection_timeout")]
    pub detection_timeout: DurationString,

    /// For how long MAIN may complete handshakes but answer no query before it is taken for dead. At least 60s: a
    /// MAIN that waits for a replica is slow, not dead.
    #[serde(default = "hang_timeout")]
    pub hang_timeout: DurationString,

    /// How long to wait, once MAIN is known to be lost, before another instance is promoted. A MAIN that is back
    /// before leads again. Of use with candidates MostRecent, where a failover may lose writes and a restart of
    /// MAIN does not.
    #[serde(default = "delay")]
    pub delay: DurationString,

    /// Failovers in an hour that may be begun on suspicion, because MAIN was silent or hung. At the next one the
    /// operator stops, and the condition Stalled says so. A MAIN that has certainly ended is replaced all the same.
    #[serde(default = "max_per_hour")]
    #[schemars(range(min = 1, max = 100))]
    pub max_per_hour: i32,
}

impl Default for FailoverSpec {
    fn default() -> Self {
        Self {
            mode: FailoverMode::default(),
            candidates: FailoverCandidates::default(),
            detection_timeout: detection_timeout(),
            hang_timeout: hang_timeout(),
            delay: delay(),
            max_per_hour: max_per_hour(),
        }
    }
}

/// Who decides on a failover.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum FailoverMode {
    /// The operator, at once.
    #[default]
    Automatic,
    /// A human.
    Manual,
}

/// Who may follow a lost MAIN.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum FailoverCandidates {
    /// Only copies that hold every acknowledged write.
    #[default]
    InSync,
    /// Where there is no such copy, the replica that was the least behind. Acknowledged writes may be lost; the
    /// Event says so.
    MostRecent,
}

fn detection_timeout() -> DurationString {
    DurationString::from_millis(1_000)
}
fn hang_timeout() -> DurationString {
    DurationString::from_millis(60_000)
}
fn delay() -> DurationString {
    DurationString::from_millis(0)
}
fn max_per_hour() -> i32 {
    6
}
