//! What the gateway answers over HTTP.

use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use warp::{Filter, Rejection, Reply};

use super::{
    enforce::RouteReport,
    gate::Gate,
    routes::{Routes, Standing},
};
use crate::http;

/// Everything that the answers are read from.
#[derive(Clone, Debug)]
pub struct Answers {
    /// The routes in force.
    pub enforced: watch::Receiver<Routes>,
    /// The sessions.
    pub gate: Arc<Gate>,
    /// Why the API server cannot be read at the moment, if so.
    pub trouble: watch::Receiver<Option<String>>,
    /// Done when no new session is taken any more.
    pub closing: CancellationToken,
}

impl Answers {
    /// `/livez`, `/readyz` and `/route`.
    pub fn filter(self) -> impl Filter<Extract = (impl Reply,), Error = Rejection> + Clone {
        let answers = self.clone();
        let route = warp::path!("route")
            .and(warp::get())
            .map(move || warp::reply::json(&answers.report()));
        http::livez().or(http::readyz(move || self.readiness())).or(route)
    }

    fn report(&self) -> RouteReport {
        // The sessions are counted first: were the route to open in between, they would be too few, not too many.
        let sessions = self.gate.sessions();
        RouteReport::new(&self.enforced.borrow(), sessions)
    }

    /// The gateway is ready once it knows its cluster, and stays so while MAIN changes or the API server is away:
    /// were it taken out of its Service then, clients would be refused instead of led to the new MAIN.
    fn readiness(&self) -> Result<(), String> {
        if self.closing.is_cancelled() {
            return Err("shutting down: no new session is taken".to_owned());
        }
        let standing = self.enforced.borrow().standing;
        match standing {
            Standing::Known => Ok(()),
            Standing::Unseen => Err(match self.trouble.borrow().as_deref() {
                None => "the MemgraphCluster has not been read yet".to_owned(),
                Some(trouble) => format!("the MemgraphCluster cannot be read: {trouble}"),
            }),
            Standing::WithoutLedger => Err(
                "the MemgraphCluster has no ledger yet; the operator writes it when the cluster is set up"
                    .to_owned(),
            ),
            Standing::Absent => Err("the MemgraphCluster does not exist".to_owned()),
        }
    }
}
