//! Kubernetes quantities, in the one spelling that the API server keeps.
//!
//! The API server writes `1024Mi` back as `1Gi`. An object that is compared with what was asked for must be
//! spelled its way from the start. Grammar and canonical form: `k8s.io/apimachinery/pkg/api/resource`.

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

/// Why a text is no quantity.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "{text:?} is not a Kubernetes quantity: {reason}; write a number and a unit, such as 500m, 2Gi or 1.5G"
)]
pub struct InvalidQuantity {
    text: String,
    reason: &'static str,
}

const NANOS: i128 = 1_000_000_000;
/// No quantity is greater: Kubernetes counts whole units in 64 bits.
const MAX_NANOS: i128 = i64::MAX as i128 * NANOS;
/// Powers of 1000 from nano upwards.
const DECIMAL_SUFFIXES: [&str; 10] = ["n", "u", "m", "", "k", "M", "G", "T", "P", "E"];
/// Powers of 1024 from 1 upwards.
const BINARY_SUFFIXES: [&str; 7] = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];

/// How a quantity is spelled. The API server keeps the family of the unit that it was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Decimal,
    Binary,
    Exponent,
}

/// An amount of something that is not negative, exact to a billionth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Amount {
    nanos: i128,
    format: Format,
}

impl Amount {
    /// Reads a quantity as the API server does; amounts below a billionth are rounded up to it.
    ///
    /// # Errors
    /// When the API server would refuse it, or it is negative.
    pub fn parse(text: &str) -> Result<Self, InvalidQuantity> {
        let invalid = |reason| InvalidQuantity {
            text: text.to_owned(),
            reason,
        };
        if text.starts_with('-') {
            return Err(invalid("it is negative"));
        }
        let unsigned = text.strip_prefix('+').unwrap_or(text);
        let number_end = unsigned
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(unsigned.len());
        let (number, suffix) = unsigned.split_at(number_end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.is_empty() && fraction.is_empty() {
            return Err(invalid("it does not begin with a number"));
        }
        if fraction.contains('.') {
            return Err(invalid("it has more than one decimal point"));
        }
        let too_long = || invalid("it has too many digits");
        let digits = format!("{whole}{fraction}");
        let digits: i128 = digits.trim_start_matches('0').parse().or_else(|_| {
            // The parser refuses the empty text that a plain zero leaves.
            if digits.bytes().all(|b| b == b'0') {
                Ok(0)
            } else {
                Err(too_long())
            }
        })?;
        let places = u32::try_from(fraction.len()).map_err(|_| too_long())?;
        let (multiplier, divisor, format) = unit(suffix).ok_or_else(|| invalid("its unit is unknown"))?;
        let divisor = 10_i128
            .checked_pow(places)
            .and_then(|scale| scale.checked_mul(divisor))
            .ok_or_else(too_long)?;
        let nanos = digits
            .checked_mul(multiplier)
            .and_then(|n| n.checked_mul(NANOS))
            .map(|n| n / divisor + i128::from(n % divisor != 0))
            .filter(|nanos| *nanos <= MAX_NANOS)
            .ok_or_else(|| invalid("it is too large"))?;
        Ok(Self { nanos, format })
    }

    /// The whole units in this amount, the rest cut off: bytes of memory, for example.
    #[must_use]
    pub fn whole(self) -> u64 {
        u64::try_from(self.nanos / NANOS).unwrap_or(u64::MAX)
    }

    /// The amount as the API server keeps it among a container's resources: rounded up to a thousandth.
    #[must_use]
    pub fn in_thousandths(self) -> Self {
        const MILLI: i128 = NANOS / 1000;
        let nanos = self.nanos / MILLI + i128::from(self.nanos % MILLI != 0);
        let nanos = nanos * MILLI;
        Self { nanos, ..self }
    }

    /// The spelling that the API server writes.
    #[must_use]
    pub fn canonical(self) -> Quantity {
        let whole = self.nanos / NANOS;
        let exact = self.nanos % NANOS == 0;
        Quantity(match self.format {
            _ if self.nanos == 0 => "0".to_owned(),
            // One that is no multiple of 1024 is written without a unit, and is a decimal one when it is read again.
            Format::Binary if exact && whole % 1024 == 0 => {
                let (number, power) = reduce(whole, 1024, BINARY_SUFFIXES.len() - 1);
                format!("{number}{}", BINARY_SUFFIXES[power])
            }
            Format::Decimal | Format::Binary => {
                let (number, power) = reduce(self.nanos, 1000, DECIMAL_SUFFIXES.len() - 1);
                format!("{number}{}", DECIMAL_SUFFIXES[power])
            }
            Format::Exponent => {
                let (number, power) = reduce(self.nanos, 1000, DECIMAL_SUFFIXES.len() - 1);
                match power {
                    3 => number.to_string(),
                    below if below < 3 => format!("{number}e-{}", 9 - 3 * below),
                    above => format!("{number}e{}", 3 * above - 9),
                }
            }
        })
    }
}

/// Takes out the greatest power of `base`, at most `limit`, that leaves a whole number.
fn reduce(mut number: i128, base: i128, limit: usize) -> (i128, usize) {
    let mut power = 0;
    while power < limit && number % base == 0 {
        number /= base;
        power += 1;
    }
    (number, power)
}

/// What a unit multiplies by and divides by, and its family.
fn unit(suffix: &str) -> Option<(i128, i128, Format)> {
    if let Some(power) = DECIMAL_SUFFIXES.iter().position(|s| *s == suffix) {
        let power = u32::try_from(power).ok()?;
        return Some(match power.checked_sub(3) {
            Some(up) => (1000_i128.pow(up), 1, Format::Decimal),
            None => (1, 1000_i128.pow(3 - power), Format::Decimal),
        });
    }
    if let Some(power) = BINARY_SUFFIXES.iter().position(|s| *s == suffix) {
        return Some((1024_i128.pow(u32::try_from(power).ok()?), 1, Format::Binary));
    }
    let exponent: i32 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
    let scale = 10_i128.checked_pow(exponent.unsigned_abs())?;
    Some(if exponent < 0 {
        (1, scale, Format::Exponent)
    } else {
        (scale, 1, Format::Exponent)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn canonical(text: &str) -> String {
        Amount::parse(text).unwrap().canonical().0
    }

    #[test]
    fn spells_quantities_as_the_api_server_does() {
        for (written, kept) in [
            ("0", "0"),
            ("0Gi", "0"),
            ("1", "1"),
            ("+1", "1"),
            ("01", "1"),
            ("1.", "1"),
            (".5", "500m"),
            ("0.5", "500m"),
            ("1000m", "1"),
            ("1500m", "1500m"),
            ("1.500", "1500m"),
            ("100u", "100u"),
            ("0.0000000001", "1n"),
            ("1000", "1k"),
            ("1500000", "1500k"),
            ("2000M", "2G"),
            ("1E", "1E"),
            ("1024", "1024"),
            ("1024Mi", "1Gi"),
            ("1.5Gi", "1536Mi"),
            ("0.5Ki", "512"),
            ("62.5Ki", "64k"),
            ("1Ki", "1Ki"),
            ("8Gi", "8Gi"),
            ("0.3Gi", "322122547200m"),
            ("1e3", "1e3"),
            ("1E3", "1e3"),
            ("1200e0", "1200"),
            ("5e-1", "500e-3"),
        ] {
            assert_eq!(canonical(written), kept, "{written}");
        }
    }

    #[test]
    fn rounds_resources_as_the_api_server_does() {
        for (written, kept) in [
            ("100u", "1m"),
            ("1n", "1m"),
            ("0.0015", "2m"),
            ("1500m", "1500m"),
            ("0.3Gi", "322122547200m"),
            ("0.0001Ki", "103m"),
            ("1e-4", "1e-3"),
            ("0", "0"),
        ] {
            let amount = Amount::parse(written).unwrap().in_thousandths();
            assert_eq!(amount.canonical().0, kept, "{written}");
        }
    }

    #[test]
    fn counts_whole_bytes() {
        for (text, bytes) in [("1Ki", 1024), ("1.5k", 1500), ("1999m", 1), ("1e6", 1_000_000)] {
            assert_eq!(Amount::parse(text).unwrap().whole(), bytes, "{text}");
        }
    }

    #[test]
    fn refuses_what_is_no_quantity() {
        for text in [
            "",
            "Gi",
            ".",
            "1.2.3",
            "-1",
            "1gi",
            "1 Gi",
            "1Gi ",
            "lots",
            "1e",
            "1e1e1",
            "9E3E",
            "10E",
            "8Ei",
            "1e99",
            "1e999999999999",
            "١",
        ] {
            assert!(Amount::parse(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(text in "\\PC{0,60}") {
            let _ = Amount::parse(&text).map(Amount::canonical);
        }

        #[test]
        fn the_canonical_spelling_is_its_own(
            text in "[0-9]{1,12}(\\.[0-9]{1,6})?(n|u|m|k|M|G|T|Ki|Mi|Gi|Ti|e[0-3]|E-[0-3])?",
        ) {
            if let Ok(amount) = Amount::parse(&text) {
                let once = amount.canonical().0;
                let again = Amount::parse(&once).unwrap();
                prop_assert_eq!(&again.canonical().0, &once);
                prop_assert_eq!(again.nanos, amount.nanos);
            }
        }
    }
}
