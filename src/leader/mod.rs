//! Leader election: one of several operator processes acts, and stops before another one can begin.
//!
//! The algorithm is client-go's (`tools/leaderelection`): a Lease is renewed by its holder, and taken over by another
//! process that has not seen it change for its whole duration, by that process's *own* clock; no time in the Lease is
//! ever compared with a clock. A holder counts from before it sent its last renewal, for a shorter time than others
//! wait, so that it stops before another one begins, however late its messages arrive.
//!
//! Unlike client-go, a process that finds no Lease makes one that nobody holds, and waits for that as for any other. A Lease that somebody
//! deletes is still counted on by its holder until its own clock says otherwise, and a process that has just started cannot tell that
//! from a new installation. Both would lead for that time. The ledger bears that, but the holder could give a gateway that the other
//! one does not reach a grant of the former term, after the moment from which the other one waits for such grants to end: in `Sync` and
//! `Async` two instances could acknowledge writes then. It is the new Lease that is waited for, and not its absence, because
//! one that was made and deleted between two looks would not be noticed.
//!
//! What rests on it: that two operators do not send commands at the same time. What does not: that no acknowledged
//! write is lost. That rests on the ledger, which is written only at the version it was read at.

mod bystander;
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

pub use bystander::{Bystander, Stands};
pub use campaign::{Campaign, Leader};
pub use clock::{BootClock, Clock};
pub use election::{Record, Timing, TimingError};
pub use guard::guarded;
pub use leadership::{Leadership, NotLeading};
pub use lease::{Held, KubernetesLease, Lock, LockError};
pub use process::{Dismiss, OwnProcess, Process};
pub use watchdog::STARTED_OVER;
