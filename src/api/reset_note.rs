//! What an instance's init container says: the message with which it ends, which the pod's status shows. It tells of an
//! order to set the data aside, of the node's boot and memory maps, for which nobody needs the right to look at nodes, and of the
//! volume.

use serde::{Deserialize, Serialize};

/// The message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InitNote {
    /// The boot of the node that the pod runs on (`/proc/sys/kernel/random/boot_id`).
    #[serde(default, rename = "bootID", skip_serializing_if = "String::is_empty")]
    pub boot_id: String,
    /// The name that it has given the volume when that was empty, and which lies on it. Told where the data lies in the pod: there
    /// nothing else tells a volume from the one before it, that of a node whose disk was emptied, for example.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub volume: String,
    /// How many memory maps a process may have on the node (`vm.max_map_count`). None: the kernel does not tell, or an earlier operator
    /// did not ask.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_map_count: Option<u64>,
    /// What it says of an order.
    #[serde(flatten)]
    pub reset: ResetNote,
}

/// The part of the message about an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ResetNote {
    /// The order that it is about; empty where none was seen.
    #[serde(default)]
    pub token: String,
    /// What has become of it.
    pub outcome: ResetOutcome,
    /// The reason, or where the data lies now.
    #[serde(default)]
    pub detail: String,
}

/// What has become of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ResetOutcome {
    /// The data was moved, now or at an earlier start.
    Done,
    /// Nothing was moved: it was not the moment for it, or the cluster could not be read.
    Later,
    /// Nothing was moved, and nothing will be before a human has done something.
    Refused,
    /// There was no order.
    None,
}
