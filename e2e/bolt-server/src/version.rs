//! The Memgraph releases whose behaviour is told apart.

use std::{fmt, str::FromStr};

/// A Memgraph release line. The order is the order of release, so `version >= Version::V3_5` reads as
/// "since 3.5".
///
/// Releases between two variants behave as the older of them wherever this project looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Version {
    /// 3.4.0
    V3_4,
    /// 3.5.0: STRICT_SYNC replicas
    V3_5,
    /// 3.6.0
    V3_6,
    /// 3.8.0: failed replication is a client error; snapshots on replicas
    V3_8,
    /// 3.10.0: replication failures name the replica
    V3_10,
    /// 3.11.0
    V3_11,
    /// 3.12.0: Bolt 4.4
    #[default]
    V3_12,
    /// The development line after 3.12 (3.13-dev): failed SYNC replication is a notification
    Head,
}

impl Version {
    /// Every release line, oldest first.
    pub const ALL: [Self; 8] = [
        Self::V3_4,
        Self::V3_5,
        Self::V3_6,
        Self::V3_8,
        Self::V3_10,
        Self::V3_11,
        Self::V3_12,
        Self::Head,
    ];

    /// The number that `SHOW VERSION` reports for the first release of the line.
    pub const fn number(self) -> &'static str {
        match self {
            Self::V3_4 => "3.4.0",
            Self::V3_5 => "3.5.0",
            Self::V3_6 => "3.6.0",
            Self::V3_8 => "3.8.0",
            Self::V3_10 => "3.10.0",
            Self::V3_11 => "3.11.0",
            Self::V3_12 => "3.12.0",
            Self::Head => "3.13.0",
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.number())
    }
}

/// The text names no release line that this project knows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown Memgraph version {0:?}: use one of 3.4, 3.5, 3.6, 3.8, 3.10, 3.11, 3.12, HEAD")]
pub struct UnknownVersion(String);

impl FromStr for Version {
    type Err = UnknownVersion;

    /// Takes `3.12`, `3.12.0` (any patch release) and `HEAD`, `3.13`, `3.13-dev`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let unknown = || UnknownVersion(text.to_owned());
        if text.eq_ignore_ascii_case("head") {
            return Ok(Self::Head);
        }
        let mut parts = text.split(['.', '-']);
        match (parts.next(), parts.next()) {
            (Some("3"), Some("4")) => Ok(Self::V3_4),
            (Some("3"), Some("5")) => Ok(Self::V3_5),
            (Some("3"), Some("6")) => Ok(Self::V3_6),
            (Some("3"), Some("8")) => Ok(Self::V3_8),
            (Some("3"), Some("10")) => Ok(Self::V3_10),
            (Some("3"), Some("11")) => Ok(Self::V3_11),
            (Some("3"), Some("12")) => Ok(Self::V3_12),
            (Some("3"), Some("13")) => Ok(Self::Head),
            _ => Err(unknown()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_in_release_order() {
        assert!(Version::ALL.is_sorted());
        assert!(Version::V3_4 < Version::V3_10 && Version::V3_12 < Version::Head);
    }

    #[test]
    fn every_version_parses_from_its_number() {
        for version in Version::ALL {
            assert_eq!(version.to_string().parse(), Ok(version));
        }
        assert_eq!("3.6.2".parse(), Ok(Version::V3_6));
        assert_eq!("head".parse(), Ok(Version::Head));
        assert_eq!("3.13-dev".parse(), Ok(Version::Head));
        assert!("2.18".parse::<Version>().is_err());
        assert!("3".parse::<Version>().is_err());
    }
}
