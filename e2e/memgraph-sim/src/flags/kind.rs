//! What values a flag takes, and how gflags reads and shows them.

/// The type of a flag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Bool,
    Int32,
    Uint32,
    Int64,
    Uint64,
    Double,
    Text,
}

impl Kind {
    /// The name in gflags' messages.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Bool => "bool",
            Self::Int32 => "int32",
            Self::Uint32 => "uint32",
            Self::Int64 => "int64",
            Self::Uint64 => "uint64",
            Self::Double => "double",
            Self::Text => "string",
        }
    }

    /// The value as gflags shows it, if it is of this type (`FlagValue::ParseFrom`).
    pub(super) fn normalize(self, value: &str) -> Option<String> {
        match self {
            Self::Bool => boolean(value).map(|value| value.to_string()),
            Self::Int32 => Some(i32::try_from(integer(value)?).ok()?.to_string()),
            Self::Uint32 => Some(u32::try_from(integer(value)?).ok()?.to_string()),
            Self::Int64 => Some(i64::try_from(integer(value)?).ok()?.to_string()),
            Self::Uint64 => Some(u64::try_from(integer(value)?).ok()?.to_string()),
            Self::Double => Some(value.trim_start().parse::<f64>().ok()?.to_string()),
            Self::Text => Some(value.to_owned()),
        }
    }
}

fn boolean(value: &str) -> Option<bool> {
    match value.to_ascii_lowercase().as_str() {
        "1" | "t" | "true" | "y" | "yes" => Some(true),
        "0" | "f" | "false" | "n" | "no" => Some(false),
        _ => None,
    }
}

/// A decimal number, or one in base 16 after `0x`.
fn integer(value: &str) -> Option<i128> {
    let value = value.trim_start();
    match value.strip_prefix("0x").or_else(|| value.strip_prefix("0X")) {
        Some(digits) => i128::from_str_radix(digits, 16).ok(),
        None => value.parse().ok(),
    }
}

/// What a value must be beyond its type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Check {
    Nothing,
    /// Both ends are allowed.
    Within(i64, u64),
    OneOf(&'static [&'static str]),
}

impl Check {
    /// What Memgraph prints about a value that it does not take, which has the right type.
    pub(super) fn complaint(self, name: &str, value: &str) -> Option<String> {
        match self {
            Self::Nothing => None,
            Self::Within(low, high) => {
                let taken = value
                    .parse::<i128>()
                    .is_ok_and(|value| (i128::from(low)..=i128::from(high)).contains(&value));
                (!taken).then(|| format!("Expected --{name} to be in range [{low}, {high}]"))
            }
            Self::OneOf(values) => (!values.contains(&value))
                .then(|| format!("Invalid value for {name}. Allowed values: {}", values.join(", "))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_shown_in_one_form() {
        for (kind, value, shown) in [
            (Kind::Bool, "YES", Some("true")),
            (Kind::Bool, "0", Some("false")),
            (Kind::Bool, "maybe", None),
            (Kind::Int32, "007", Some("7")),
            (Kind::Int32, "0x10", Some("16")),
            (Kind::Int32, "2147483648", None),
            (Kind::Uint32, "-1", None),
            (Kind::Uint64, "18446744073709551615", Some("18446744073709551615")),
            (Kind::Uint64, "5s", None),
            (Kind::Double, "600", Some("600")),
            (Kind::Double, "0.5", Some("0.5")),
            (Kind::Text, "", Some("")),
        ] {
            assert_eq!(kind.normalize(value).as_deref(), shown, "{kind:?} {value}");
        }
    }

    #[test]
    fn checks_name_what_is_allowed() {
        let range = Check::Within(0, 65_535);
        assert_eq!(range.complaint("bolt_port", "65535"), None);
        let complaint = range.complaint("bolt_port", "65536").unwrap();
        assert_eq!(complaint, "Expected --bolt_port to be in range [0, 65535]");
        let choice = Check::OneOf(&["A", "B"]);
        assert_eq!(choice.complaint("x", "A"), None);
        assert!(
            choice
                .complaint("x", "a")
                .unwrap()
                .ends_with("Allowed values: A, B")
        );
    }
}
