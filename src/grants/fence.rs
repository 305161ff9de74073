//! When a closed route is closed for certain.

use std::{collections::BTreeSet, time::Duration};

use crate::api::ledger::GatewayEntry;

/// By how much longer than a grant lasts the silent ones are waited for, in percent of its time.
///
/// A grant runs out by the gateway's clock, the wait ends by the operator's. Both are `CLOCK_BOOTTIME` (or stand still
/// longer, on the operator's side), whose rate the kernel keeps within 500 ppm of the oscillator's, and oscillators of
/// computers are good to some 100 ppm. Two of them differ by less than 0.2 %.
pub const DRIFT_MARGIN: u32 = 1;

/// For how long gateways that say nothing are waited for, from the moment at which the closing was known to be written.
#[must_use]
pub fn wait_for_silent(ttl: Duration) -> Duration {
    ttl + ttl * DRIFT_MARGIN / 100
}

/// Whether clients are cut off from every older MAIN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fenced {
    /// They are.
    Yes,
    /// These gateways have not confirmed, and may still hold a grant for so long.
    Waiting {
        /// UIDs of their pods.
        silent: Vec<String>,
        /// For how long they are waited for.
        remaining: Duration,
    },
}

/// Judges a closing that this process knows to be written for `closed_for`.
///
/// `confirmed` are the gateways that have confirmed it. `ttl` is the longest time for which a grant was given out: none if
/// none ever was.
#[must_use]
pub fn stands(
    holders: &[GatewayEntry],
    confirmed: &BTreeSet<String>,
    ttl: Option<Duration>,
    closed_for: Duration,
) -> Fenced {
    let silent: Vec<_> = holders
        .iter()
        .filter(|holder| !confirmed.contains(&holder.pod_uid))
        .map(|holder| holder.pod_uid.clone())
        .collect();
    let remaining = ttl
        .map_or(Duration::ZERO, wait_for_silent)
        .saturating_sub(closed_for);
    if silent.is_empty() || remaining.is_zero() {
        Fenced::Yes
    } else {
        Fenced::Waiting { silent, remaining }
    }
}
