//! Names of registrations. Each carries a number that is used once, so that a command which arrives late,
//! from a leader that no longer leads, names a registration that is no longer there.

use super::observation::Numbers;
use crate::api::ledger::Ledger;

/// How many numbers a leader reserves in one ledger write.
const BLOCK: i64 = 1_000;
/// More than one operation ever needs.
const SPARE: i64 = 100;

impl Numbers {
    /// Takes a number, reserving a block in `ledger` first if none is left. The caller writes the ledger
    /// before the number is used.
    pub(super) fn take(&mut self, ledger: &mut Ledger) -> i64 {
        if self.next >= self.end {
            self.reserve(ledger);
        }
        let number = self.next;
        self.next += 1;
        number
    }

    /// Reserves a block in a ledger that is about to be written anyway, if few are left: an operation then
    /// needs no write of its own for it.
    pub(super) fn ensure(&mut self, ledger: &mut Ledger) {
        if self.end - self.next < SPARE {
            self.reserve(ledger);
        }
    }

    /// Reserves a block in a ledger that is to be another one than before.
    pub(super) fn reserve(&mut self, ledger: &mut Ledger) {
        self.next = ledger.generation.max(1);
        self.end = self.next + BLOCK;
        ledger.generation = self.end;
    }
}

/// The name of a registration of the instance with this ordinal. Memgraph takes it unquoted.
#[must_use]
pub fn registration_name(ordinal: i32, number: i64) -> String {
    format!("pod_{ordinal}_g{number}")
}

/// Ordinal and number of a name that [`registration_name`] made; none for a name that somebody else gave.
#[must_use]
pub fn parse_registration_name(name: &str) -> Option<(i32, i64)> {
    let (ordinal, number) = name.strip_prefix("pod_")?.split_once("_g")?;
    let parsed = (ordinal.parse().ok()?, number.parse().ok()?);
    (registration_name(parsed.0, parsed.1) == name).then_some(parsed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_never_handed_out_twice() {
        let mut ledger = Ledger::default();
        let mut first = Numbers::default();
        let mut second = Numbers::default();
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..1_500 {
            assert!(seen.insert(first.take(&mut ledger)));
            assert!(seen.insert(second.take(&mut ledger)));
        }
        assert!(seen.iter().all(|n| *n < ledger.generation));
    }

    #[test]
    fn only_our_own_names_are_read() {
        assert_eq!(parse_registration_name(&registration_name(3, 41)), Some((3, 41)));
        for other in [
            "pod_1",
            "pod_1_g",
            "pod_01_g1",
            "pod_1_g+1",
            "memgraph_1",
            "pod_1_g1_g2",
        ] {
            assert_eq!(parse_registration_name(other), None, "{other}");
        }
    }
}
