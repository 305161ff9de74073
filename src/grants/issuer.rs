//! The leader's side: whether a gateway gets a grant.

use super::{
    LONGEST_TTL,
    message::{Failsafe, Grant, Response, VERSION},
};
use crate::api::ledger::{Ledger, Route};

/// What a grant rests on. All of it must be so *after* the response that it answers was received.
#[derive(Clone, Debug)]
pub struct Issuing<'a> {
    /// UID of the cluster.
    pub cluster: &'a str,
    /// The ledger: read without a cache since this process leads, or written by it.
    pub ledger: &'a Ledger,
    /// Whether this process leads.
    pub leads: bool,
    /// UID of the gateway's pod.
    pub pod_uid: &'a str,
    /// MAIN was looked at, and serves as MAIN in the life that the ledger names.
    pub main_serves: bool,
    /// On what the grant may be extended.
    pub failsafe: Option<Failsafe>,
}

/// Why a gateway gets no grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Withheld {
    /// Its messages are not understood.
    #[error("it speaks another version of the protocol")]
    Version,
    /// Another pod has answered.
    #[error("another gateway has answered in its place")]
    OtherGateway,
    /// Another process may be leading.
    #[error("this process does not lead")]
    NotLeading,
    /// No client may reach MAIN.
    #[error("the route is closed")]
    Closed,
    /// Nobody would wait for it.
    #[error("the ledger does not name it yet")]
    Unlisted,
    /// Grants of this term have no length yet.
    #[error("the ledger does not say for how long grants last")]
    NoTtl,
    /// MAIN has refused it, and may not be the one that it was.
    #[error("MAIN has refused or reset its connections and was not seen to serve since")]
    Tainted,
}

/// The grant that answers this response.
///
/// # Errors
/// Says what is missing; then the gateway goes on with what it holds.
pub fn issue(issuing: Issuing<'_>, response: &Response) -> Result<Grant, Withheld> {
    let Issuing {
        cluster,
        ledger,
        leads,
        pod_uid,
        main_serves,
        failsafe,
    } = issuing;
    if response.version != VERSION {
        return Err(Withheld::Version);
    }
    if response.pod_uid != pod_uid {
        return Err(Withheld::OtherGateway);
    }
    if !leads {
        return Err(Withheld::NotLeading);
    }
    if ledger.route != Route::Open {
        return Err(Withheld::Closed);
    }
    if !ledger.grants_to(pod_uid) {
        return Err(Withheld::Unlisted);
    }
    // A gateway of a release that took longer ones would use all of it.
    let ttl = ledger.grant_ttl.ok_or(Withheld::NoTtl)?.0.min(LONGEST_TTL);
    let tainted = response.report.held.as_ref().is_some_and(|held| held.tainted);
    if tainted && !main_serves {
        return Err(Withheld::Tainted);
    }
    Ok(Grant {
        nonce: response.nonce,
        cluster: cluster.to_owned(),
        term: ledger.term,
        main: ledger.main.clone(),
        address: ledger.main_address.clone(),
        pod_uid: pod_uid.to_owned(),
        ttl_millis: u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX),
        failsafe,
    })
}
