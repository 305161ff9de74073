//! Tries a MAIN with a commit whose clients wait for answers.
//!
//! A MAIN whose disk does not answer, say, completes handshakes and answers queries, but ends no commit. That a client waits
//! does not show it: a query may take long. A commit that changes nothing takes no longer than its replicas make it wait.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use kube::runtime::reflector::ObjectRef;
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};

use super::{Operator, clusters::Cluster, link::GatewayLink, presence};
use crate::{
    api::{MemgraphCluster, ledger::Ledger},
    memgraph::{self, Bolt, BoltError},
};

/// For how long one trial goes on. The judgement comes earlier; until somebody can take MAIN's place it is waited on.
const DEADLINE: Duration = Duration::from_secs(600);
/// What a gateway has told longer ago counts for nothing: it is asked every other second.
const LATELY: Duration = Duration::from_secs(5);
/// How soon MAIN is tried again that has ended a commit while clients go on waiting. Each trial is a write to its log.
const AGAIN: Duration = Duration::from_secs(60);
/// The same after a trial that came to nothing: the connection broke.
const SOON: Duration = Duration::from_secs(1);

/// Tries MAIN of a cluster whenever clients have waited for long. It ends with the operator, which owns it.
pub(super) async fn try_main<B: Bolt, G: GatewayLink>(
    operator: Weak<Operator<B, G>>,
    memory: Arc<Cluster>,
    reference: ObjectRef<MemgraphCluster>,
) {
    let mut impatience = memory.impatience();
    let mut changes = memory.ledger_changes();
    // The term of a trial that is not over, although nobody waits for its end any longer.
    let mut lasting: Option<i64> = None;
    loop {
        let news = match lasting {
            None => impatience.changed().await,
            Some(term) => match timeout(LATELY, impatience.changed()).await {
                Ok(news) => news,
                // Clients do not wait any more, so that it says nothing of what the next ones would find.
                Err(_) => {
                    memory.tries_commit(term, false);
                    lasting = None;
                    continue;
                }
            },
        };
        if news.is_err() {
            return;
        }
        let told = *impatience.borrow_and_update();
        let told = told.filter(|(_, at)| at.elapsed() < LATELY);
        let ledger = changes.borrow_and_update().clone().flatten();
        let open = ledger.filter(|ledger| told.is_some_and(|(term, _)| term == ledger.term));
        let main = open.as_ref().and_then(presence::main);
        let Some((tried, main)) = open.zip(main) else {
            if let Some(term) = lasting.take() {
                memory.tries_commit(term, false);
            }
            continue;
        };
        let term = tried.term;
        // The operator is not held while the commit is waited for.
        let Some(mut session) = operator
            .upgrade()
            .map(|operator| operator.bolt(&memory).session(main))
        else {
            return;
        };
        tracing::info!(cluster = reference.name, term, %main, "clients wait for MAIN: it is tried with a commit");
        memory.tries_commit(term, true);
        lasting = None;
        let trial = async {
            // Whether it lasts too long is decided elsewhere, while it goes on. It counts from when it has begun.
            let looks = async {
                loop {
                    sleep(SOON).await;
                    let Some(operator) = operator.upgrade() else {
                        return;
                    };
                    if let Ok(true) = memgraph::keeps_commit_waiting(&operator.bolt(&memory), main).await {
                        memory.tries_commit(term, false);
                        memory.tries_commit(term, true);
                    }
                    operator.poke(reference.clone());
                }
            };
            tokio::select! {
                biased;
                ended = memgraph::ends_commit(&mut session, DEADLINE) => ended,
                () = looks => Ok(()),
            }
        };
        let pause = tokio::select! {
            biased;
            ended = trial => match ended {
                Ok(()) => AGAIN,
                // It goes on as one trial.
                Err(BoltError::Deadline { .. }) => {
                    lasting = Some(term);
                    continue;
                }
                Err(error) => {
                    tracing::debug!(cluster = reference.name, %error, "it is not known whether MAIN ends commits");
                    SOON
                }
            },
            () = until_others_matter(&mut changes, &tried) => SOON,
        };
        memory.tries_commit(term, false);
        sleep(pause).await;
    }
}

/// Waits for another term, another MAIN or another set of replicas: what came of a trial says nothing any more then. Gateways come and go
/// in the ledger too, and just then.
async fn until_others_matter(changes: &mut watch::Receiver<Option<Option<Ledger>>>, tried: &Ledger) {
    let what_matters = |ledger: &Ledger| {
        let Ledger {
            term,
            route,
            main,
            in_sync,
            ..
        } = ledger.clone();
        (term, route, main, in_sync)
    };
    let tried = what_matters(tried);
    loop {
        let now = changes.borrow_and_update().clone().flatten();
        if now.is_none_or(|ledger| what_matters(&ledger) != tried) || changes.changed().await.is_err() {
            return;
        }
    }
}
