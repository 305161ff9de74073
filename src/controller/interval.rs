//! How long a cluster is left alone.

use std::{str::FromStr, time::Duration};

use crate::api::DurationString;

/// How long an operator leaves a cluster alone that is as it should be: 1 s to 10 min.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReconcileInterval(Duration);

/// An interval that is too short or too long.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} is no time to leave a cluster alone for; write one from 1s to 10m, such as 30s")]
pub struct InvalidInterval(String);

impl ReconcileInterval {
    pub(super) fn time(self) -> Duration {
        self.0
    }
}

impl Default for ReconcileInterval {
    fn default() -> Self {
        Self(Duration::from_secs(30))
    }
}

impl FromStr for ReconcileInterval {
    type Err = InvalidInterval;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidInterval(text.to_owned());
        let DurationString(time) = text.parse().map_err(|_| invalid())?;
        let fits = (Duration::from_secs(1)..=Duration::from_mins(10)).contains(&time);
        fits.then_some(Self(time)).ok_or_else(invalid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_a_time_from_a_second_to_ten_minutes() {
        assert_eq!("30s".parse(), Ok(ReconcileInterval::default()));
        for (text, time) in [("1s", 1), ("1m30s", 90), ("10m", 600)] {
            let interval: ReconcileInterval = text.parse().unwrap();
            assert_eq!(interval.time(), Duration::from_secs(time), "{text}");
        }
        for text in ["", "30", "0s", "999ms", "601s", "1h"] {
            let error = text.parse::<ReconcileInterval>().unwrap_err();
            assert!(error.to_string().contains("from 1s to 10m"), "{error}");
        }
    }
}
