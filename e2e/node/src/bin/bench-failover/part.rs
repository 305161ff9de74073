//! What is measured, and how often.

use std::fmt;
use std::str::FromStr;

use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};

/// One kind of measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Part {
    /// MAIN's process is killed.
    Kill,
    /// MAIN's packets are dropped.
    BlackHole,
    /// MAIN's packets are dropped, and those of a gateway.
    BlackHoleGateway,
    /// MAIN is moved while somebody writes.
    Switchover,
    /// MAIN is moved while an application writes whose driver tries again by itself.
    SwitchoverDriver,
}

impl Part {
    /// All, in the order in which they are measured.
    pub const ALL: [Self; 5] = [
        Self::Kill,
        Self::BlackHole,
        Self::BlackHoleGateway,
        Self::Switchover,
        Self::SwitchoverDriver,
    ];

    /// The name by which it is asked for.
    pub fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::BlackHole => "black-hole",
            Self::BlackHoleGateway => "black-hole-gateway",
            Self::Switchover => "switchover",
            Self::SwitchoverDriver => "switchover-driver",
        }
    }

    /// What it is, for people.
    pub fn title(self) -> &'static str {
        match self {
            Self::Kill => "MAIN killed",
            Self::BlackHole => "MAIN cut off",
            Self::BlackHoleGateway => "MAIN and a gateway cut off",
            Self::Switchover => "switchover",
            Self::SwitchoverDriver => "switchover, driver's retries",
        }
    }

    /// Whether somebody has asked for it.
    pub fn is_planned(self) -> bool {
        matches!(self, Self::Switchover | Self::SwitchoverDriver)
    }

    /// How long a client may not be able to write. Grants last for 4 s, and a MAIN is lost after 1 s, by default.
    pub fn goal(self) -> &'static str {
        match self {
            Self::Kill => "p50 < 150 ms, p99 < 500 ms",
            Self::BlackHole => "p99 < 2.5 s",
            Self::BlackHoleGateway => "p99 < 5.5 s",
            Self::Switchover => "p99 < 300 ms",
            Self::SwitchoverDriver => "no failed transaction",
        }
    }

    /// How often it is measured where the shortest one is measured `runs` times.
    pub fn times(self, runs: usize) -> usize {
        match self {
            Self::Kill => runs,
            Self::BlackHole => runs.div_ceil(4),
            Self::BlackHoleGateway => runs.div_ceil(20),
            Self::Switchover | Self::SwitchoverDriver => runs.div_ceil(2),
        }
    }

    /// How often it is measured on one cluster. Before the fourth loss within ten minutes the operator waits; moves that
    /// somebody has asked for are not held back.
    pub fn share(self) -> usize {
        match self {
            Self::Kill | Self::BlackHole | Self::BlackHoleGateway => 3,
            Self::Switchover | Self::SwitchoverDriver => 20,
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Part {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        match Self::ALL.into_iter().find(|part| part.name() == text) {
            Some(part) => Ok(part),
            None => bail!(
                "there is no part {text}, only {}",
                Self::ALL.map(Self::name).join(", ")
            ),
        }
    }
}
