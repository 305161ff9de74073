//! Durations as the API writes them: `250ms`, `1s`, `1m30s`.

use std::{borrow::Cow, fmt, str::FromStr, time::Duration};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// A duration in a spec: one or more numbers, each with its unit `ms`, `s`, `m` or `h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DurationString(pub Duration);

/// Why a text is no [`DurationString`].
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0:?} is not a duration; write numbers with units, such as 250ms, 5s or 1m30s")]
pub struct InvalidDuration(String);

impl DurationString {
    /// A duration of whole milliseconds.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(Duration::from_millis(millis))
    }
}

impl FromStr for DurationString {
    type Err = InvalidDuration;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidDuration(text.to_owned());
        let mut rest = text;
        let mut millis: u64 = 0;
        if rest.is_empty() {
            return Err(invalid());
        }
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(invalid)?;
            let number: u64 = rest[..digits].parse().map_err(|_| invalid())?;
            rest = &rest[digits..];
            let letters = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
            let unit = match &rest[..letters] {
                "ms" => 1,
                "s" => 1_000,
                "m" => 60_000,
                "h" => 3_600_000,
                _ => return Err(invalid()),
            };
            rest = &rest[letters..];
            millis = number
                .checked_mul(unit)
                .and_then(|n| millis.checked_add(n))
                .ok_or_else(invalid)?;
        }
        Ok(Self::from_millis(millis))
    }
}

impl fmt::Display for DurationString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0.as_millis();
        if millis.is_multiple_of(1_000) {
            write!(f, "{}s", millis / 1_000)
        } else {
            write!(f, "{millis}ms")
        }
    }
}

impl TryFrom<String> for DurationString {
    type Error = InvalidDuration;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<DurationString> for String {
    fn from(duration: DurationString) -> Self {
        duration.to_string()
    }
}

impl JsonSchema for DurationString {
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": "^([0-9]{1,9}(ms|s|m|h))+$",
            "maxLength": 32,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_numbers_with_units() {
        let millis = |text: &str| text.parse::<DurationString>().map(|d| d.0.as_millis());
        assert_eq!(millis("250ms"), Ok(250));
        assert_eq!(millis("1m30s"), Ok(90_000));
        assert_eq!(millis("2h"), Ok(7_200_000));
    }

    #[test]
    fn refuses_what_has_no_unit_or_no_number() {
        for text in [
            "",
            "5",
            "s",
            "5 s",
            "-1s",
            "1d",
            "99999999999999999999s",
            "18446744073709551615h",
        ] {
            assert_eq!(
                text.parse::<DurationString>(),
                Err(InvalidDuration(text.into())),
                "{text}"
            );
        }
    }

    #[test]
    fn prints_what_it_reads() {
        for text in ["250ms", "1s", "90s"] {
            assert_eq!(text.parse::<DurationString>().unwrap().to_string(), text);
        }
    }
}
