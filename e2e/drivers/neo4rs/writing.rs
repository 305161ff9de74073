//! Writes that outlast a change of MAIN: docs/how-to/connect.md shows this.

use std::time::{Duration, Instant};

use neo4rs::{Error, Graph, Query, query};

/// Runs a query as a transaction until it is done, for so long. It may be run more than once.
pub async fn write(graph: &Graph, work: impl Fn() -> Query, patience: Duration) -> Result<(), Error> {
    let begin = Instant::now();
    loop {
        match once(graph, work()).await {
            Err(error) if may_pass(&error) && begin.elapsed() < patience => {}
            ended => return ended,
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

async fn once(graph: &Graph, work: Query) -> Result<(), Error> {
    let mut transaction = graph.start_txn().await?;
    transaction.run(work).await?;
    transaction.commit().await
}

/// Errors of the server fail again, but for conflicts and in-sync replicas that were away. Others are lost connections.
fn may_pass(error: &Error) -> bool {
    match error {
        Error::Neo4j(error) => {
            error.code().contains("TransientError") || error.message().contains("Replication Exception")
        }
        Error::AuthenticationError(_) => false,
        _ => true,
    }
}

pub async fn save_order(graph: &Graph, order: &str, amount: i64) -> Result<(), Error> {
    let work = || {
        query("MERGE (o:Order {id: $id}) SET o.amount = $amount")
            .param("id", order)
            .param("amount", amount)
    };
    write(graph, work, Duration::from_secs(60)).await
}
