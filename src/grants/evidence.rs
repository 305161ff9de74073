//! What speaks for it that a grant still means what it meant, while neither a leader nor the API server says so.
//!
//! Whoever goes on after a closing waits for a silent gateway until a full time has passed since it *itself* knew of the
//! closing. An operator process that vouches, after it has received a nonce, that it knows of none, learns of it later than
//! that nonce was sent. So what is counted from the oldest of the nonces for which every process has vouched has run out
//! before any of them goes on. The word of one that has started over since is as good: it knows nothing, and waits from
//! when it learns. What must not be is a process that the grant does not name; the ports of the in-sync replicas guard against
//! most of what such a one could do.

use std::{collections::BTreeMap, time::Duration};

use super::message::{Failsafe, MemberPort};
use crate::api::ledger::DataCopy;

/// What is known for one grant. All times are the gateway's.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Evidence {
    /// By the name of its pod: when the newest nonce was sent for which this operator process has vouched.
    vouched: BTreeMap<String, Option<Duration>>,
    members: Vec<MemberPort>,
    /// When connections to the ports of all members were begun last that all were taken.
    attested: Option<Duration>,
    /// When MAIN has completed a handshake last.
    heard: Option<Duration>,
}

impl Evidence {
    /// What a grant asks for; nothing of it is known yet.
    pub(super) fn of(failsafe: &Failsafe) -> Self {
        let operators = failsafe.operators.iter();
        Self {
            vouched: operators.map(|name| (name.clone(), None)).collect(),
            members: failsafe.members.clone(),
            attested: None,
            heard: None,
        }
    }

    /// Takes over what was known for an earlier grant of the same term.
    pub(super) fn keep(&mut self, earlier: &Self) {
        for (name, vouched) in &mut self.vouched {
            *vouched = earlier.vouched.get(name).copied().flatten();
        }
        if self.members == earlier.members {
            self.attested = earlier.attested;
        }
        self.heard = earlier.heard;
    }

    /// The in-sync replicas.
    pub(super) fn members(&self) -> &[MemberPort] {
        &self.members
    }

    /// Whether these are the in-sync replicas that it is about.
    pub(super) fn is_about(&self, mut members: impl Iterator<Item = DataCopy> + Clone) -> bool {
        members.clone().count() == self.members.len()
            && members.all(|copy| self.members.iter().any(|member| member.copy == copy))
    }

    /// An operator process has vouched for a nonce that was sent then. Nobody asked one that is not named.
    pub(super) fn vouched(&mut self, operator: &str, sent: Duration) {
        if let Some(vouched) = self.vouched.get_mut(operator) {
            *vouched = (*vouched).max(Some(sent));
        }
    }

    /// All members have taken connections that were begun then.
    pub(super) fn attested(&mut self, begun: Duration) {
        self.attested = self.attested.max(Some(begun));
    }

    /// MAIN has completed a handshake.
    pub(super) fn heard(&mut self, at: Duration) {
        self.heard = self.heard.max(Some(at));
    }

    /// The moment up to which all of it speaks for the grant; none: not all is known.
    pub(super) fn weakest(&self) -> Option<Duration> {
        let mut weakest = self.attested?.min(self.heard?);
        for vouched in self.vouched.values() {
            weakest = weakest.min((*vouched)?);
        }
        // Somebody must speak for it.
        (!self.vouched.is_empty()).then_some(weakest)
    }
}
