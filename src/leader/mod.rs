//! Leader election: one of several operator processes acts, and stops before another one can begin.
//!
//! The algorithm is client-go's (`tools/leaderelection`): a Lease is renewed by its holder, and taken over by another
//! process that has not seen it change for its whole duration, by that process's *own* clock; no time in the Lease is
//! ever compared with a clock. A holder counts from before it sent its last renewal, for a shorter time than others
//! wait, so that it stops before another one begins, however late its messages arrive.
//!
//! What rests on it: that two operators do not send commands at the same time. What does not: that no acknowledged
//! write is lost. That rests on the ledger, which is written only at the version it was read at.

mod campaign;
mod clock;
mod election;
mod guard;
mod leadership;
mod lease;
mod process;
#[cfg(test)]
mod tests;
mod watchdog;

pub use campaign::{Campaign, Leader};
pub use clock::{BootClock, Clock};
pub use election::{Record, Timing, TimingError};
pub use guard::guarded;
pub use leadership::{Leadership, NotLeading};
pub use lease::{Held, KubernetesLease, Lock, LockError};
pub use process::{Dismiss, OwnProcess, Process};
pub use watchdog::STARTED_OVER;
