//! The releases of Kubernetes that clusters can be of.

use std::env;

use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};

use crate::source::Source;

/// With this variable in the environment, such as `1.33`, clusters are of that release.
pub const KUBERNETES_VARIABLE: &str = "KUBERNETES";

/// A release of Kubernetes that this package builds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Release {
    /// What clusters are of unless another one is asked for.
    #[default]
    Newest,
    /// The oldest one that the operator is said to work with.
    Oldest,
}

impl Release {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Newest, Self::Oldest];

    /// The one that the environment asks for.
    ///
    /// # Errors
    /// When it asks for one that there is not.
    pub fn of_environment() -> Result<Self> {
        match env::var(KUBERNETES_VARIABLE) {
            Ok(wanted) if !wanted.is_empty() => Self::find(&wanted),
            _ => Ok(Self::default()),
        }
    }

    /// The one of a version, such as `1.33` or `1.33.13`.
    fn find(wanted: &str) -> Result<Self> {
        let mut versions = Vec::new();
        for release in Self::ALL {
            let source = Source::of_project(release)?;
            let version = source.kubernetes_version().trim_start_matches('v').to_owned();
            if version == wanted || version.starts_with(&format!("{wanted}.")) {
                return Ok(release);
            }
            versions.push(version);
        }
        bail!(
            "{KUBERNETES_VARIABLE}={wanted}: there are {}",
            versions.join(" and ")
        )
    }

    /// Folder of its Go module, in this package's.
    pub(crate) fn folder(self) -> &'static str {
        match self {
            Self::Newest => "box",
            Self::Oldest => "oldest",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_is_found_by_its_version() {
        for release in Release::ALL {
            let source = Source::of_project(release).unwrap();
            let full = source.kubernetes_version().trim_start_matches('v');
            let (minor, _) = full.rsplit_once('.').unwrap();
            assert_eq!(Release::find(full).unwrap(), release);
            assert_eq!(Release::find(minor).unwrap(), release);
        }
    }

    #[test]
    fn whoever_asks_for_another_one_is_told_which_there_are() {
        for wanted in ["1.3", "2", "v1.33", "latest"] {
            let error = Release::find(wanted).unwrap_err().to_string();
            assert!(
                error.contains(wanted) && error.contains(" there are 1."),
                "{error}"
            );
        }
    }
}
