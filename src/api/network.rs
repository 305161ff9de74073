//! Networks as the API writes them: `10.0.0.0/8`, `2001:db8::/32`.

use std::{borrow::Cow, fmt, str::FromStr};

use ipnet::IpNet;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// A network in a spec: an address and the number of its leading bits that count, in CIDR notation.
///
/// The rule by which the API server checks it, `isCIDR`, stands with the fields, since a rule counts for a whole list there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Network(pub IpNet);

/// Why a text is no [`Network`].
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0:?} is not a network; write one in CIDR notation, such as 10.0.0.0/8 or 2001:db8::/32")]
pub struct InvalidNetwork(String);

impl FromStr for Network {
    type Err = InvalidNetwork;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse()
            .map(Self)
            .map_err(|_| InvalidNetwork(text.to_owned()))
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl TryFrom<String> for Network {
    type Error = InvalidNetwork;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Network> for String {
    fn from(network: Network) -> Self {
        network.to_string()
    }
}

impl JsonSchema for Network {
    fn schema_name() -> Cow<'static, str> {
        "Network".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "maxLength": 43,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_both_families_and_writes_them_as_they_were() {
        for text in [
            "10.0.0.0/8",
            "192.0.2.7/32",
            "10.1.2.3/8",
            "2001:db8::/32",
            "::/0",
        ] {
            assert_eq!(text.parse::<Network>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_no_network_is_named() {
        for text in [
            "",
            "10.0.0.1",
            "10.0.0.0/33",
            "2001:db8::/129",
            "10.0.0/8",
            "example.com/8",
            "10.0.0.0/-1",
        ] {
            let error = text.parse::<Network>().unwrap_err();
            assert!(error.to_string().contains("CIDR notation"), "{error}");
        }
    }
}
