//! What the gateway answers over HTTP.

use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use warp::{Filter, Rejection, Reply};

use super::{
    figures::Sources,
    gate::Gate,
    keeper::Keeper,
    routes::{Routes, Standing},
};
use crate::{grants::Report, http, metrics};

/// Everything that the answers are read from.
#[derive(Clone, Debug)]
pub struct Answers {
    /// The routes in force.
    pub enforced: watch::Receiver<Routes>,
    /// The sessions.
    pub gate: Arc<Gate>,
    /// The grant.
    pub keeper: Arc<Keeper>,
    /// Why the API server cannot be read at the moment, if so.
    pub trouble: watch::Receiver<Option<String>>,
    /// What has been counted.
    pub figures: Sources,
    /// Done when nobody should lead clients here any more.
    pub closing: CancellationToken,
}

impl Answers {
    /// `/livez`, `/readyz`, `/metrics`, `/status` (also as `/api/v1/status`) and `/route`.
    pub fn filter(self) -> impl Filter<Extract = (impl Reply,), Error = Rejection> + Clone {
        let answers = self.clone();
        let scraped = metrics::filter(move || {
            std::future::ready(answers.figures.registry(answers.report(), &answers.gate))
        });
        let answers = self.clone();
        let short = warp::path!("status").boxed();
        let status = warp::path!("api" / "v1" / "status")
            .or(short)
            .unify()
            .and(warp::get())
            .map(move || warp::reply::json(&answers.figures.status(answers.report(), &answers.gate)));
        let answers = self.clone();
        let route = warp::path!("route")
            .and(warp::get())
            .map(move || warp::reply::json(&answers.report()));
        http::livez()
            .or(http::readyz(move || self.readiness()))
            .or(scraped)
            .or(status)
            .or(route)
    }

    fn report(&self) -> Report {
        self.keeper.report(&self.enforced.borrow(), &self.gate)
    }

    /// The gateway is ready once it has read its cluster, and stays so while MAIN changes: were it taken out of its Service
    /// then, clients would be refused instead of led to the new MAIN. One that has no right to lead clients to a MAIN that
    /// is open is not: others may have it, and a rollout must not go on without one that has. No more is one without a
    /// certificate where TLS is to end here.
    fn readiness(&self) -> Result<(), String> {
        if self.closing.is_cancelled() {
            return Err("shutting down: new clients are to go to another gateway".to_owned());
        }
        if let Some(certificate) = &self.figures.certificate
            && certificate.config().is_none()
        {
            return Err(
                "there is no usable certificate for TLS with clients; the log says what is wrong with the Secret of \
                 gateway.tls.secretRef"
                    .to_owned(),
            );
        }
        let enforced = self.enforced.borrow();
        let trouble = self.trouble.borrow();
        match enforced.standing {
            Standing::Known => self
                .keeper
                .lack(&enforced, trouble.as_deref())
                .map_or(Ok(()), Err),
            Standing::Unseen => Err(format!(
                "who may come here, and whether MAIN takes TLS, is not known yet: {}",
                match trouble.as_deref() {
                    None => "the MemgraphCluster has not been read".to_owned(),
                    Some(trouble) => format!("the MemgraphCluster cannot be read: {trouble}"),
                }
            )),
            Standing::WithoutLedger => Err(
                "the MemgraphCluster has no ledger yet; the operator writes it when the cluster is set up"
                    .to_owned(),
            ),
            Standing::Absent => Err("the MemgraphCluster does not exist".to_owned()),
        }
    }
}
