//! Grants: the right of one gateway to lead clients to MAIN, for a short time.
//!
//! The leading operator asks each gateway again and again ([`Request`], [`Response`]). Each response has a nonce, for
//! which the gateway remembers when it sent it; a grant answers one nonce, and runs out a fixed time after that moment by
//! the gateway's own clock. So a grant that was delayed, repeated or made by a process that had lost its leadership by
//! then is never worth more than if it had come at once:
//!
//! 1. The leader checks its leadership, and that the route is open, *after* it has received the nonce. So the nonce was
//!    sent before any later closing of the route was known to be written, whoever wrote it.
//! 2. After a closing, whoever goes on waits until each gateway has confirmed it, or until every grant that answers an
//!    older nonce has run out ([`wait_for_silent`]). A gateway that has confirmed takes no grant of an older term.
//! 3. Which gateways there are to wait for stands in the ledger: a gateway is named there before it gets its first grant
//!    ([`roster`]).
//!
//! Where a route is closed for a moment only and MAIN stays ([`Position::pause`]), the sessions stay too, and none of their bytes
//! moves ([`Holder::pause`]): to everybody else that is a closed route. They go on under the grant of that very term, for the
//! same copy at the same address, and are cut by whatever else comes, or when that takes too long ([`LONGEST_PAUSE`]).
//!
//! While no operator answers, a gateway renews its grant by reading its cluster itself ([`Holder::confirm`]): the same
//! argument with the moment at which it sent the read. While the API server does not answer either, the word of *every*
//! operator process does it ([`Voucher`]): the same argument with the moment at which it sent the nonce to the first of them
//! (`evidence.rs`). Everything here is pure: times are given, messages are values.

mod evidence;
mod fence;
mod holder;
mod issuer;
mod message;
mod roster;
#[cfg(test)]
mod tests;

pub use fence::{DRIFT_MARGIN, Fenced, stands, wait_for_silent};
pub use holder::{Holder, Pause, Permit, Refusal, Unrenewed};
pub use issuer::{Issuing, Withheld, issue};
pub use message::{
    Failsafe, Grant, Held, MainReach, MemberPort, PROBE_EVERY, Position, Report, Request, Response,
    SessionCounts, VERSION, Voucher,
};
pub use roster::{Pods, roster};

use std::time::Duration;

/// The longest that a grant may last. MAIN gives the second phase of a commit up when what it has sent to a replica is not acknowledged for 5 s
/// (Memgraph since 3.10: `SetUserTimeout` in `src/io/network/socket.hpp`; before that, and where the replica's machine answers but its
/// process does not, after 10 s: `FinalizeCommitReq` in `src/rpc/client.hpp`), and whatever it acknowledges after that must not reach a
/// client.
pub const LONGEST_TTL: Duration = Duration::from_secs(4);

/// For how long sessions wait for the end of a pause at most. It takes some tenths of a second; whoever waits much longer for
/// an answer had better be told to try again.
pub const LONGEST_PAUSE: Duration = Duration::from_secs(1);
