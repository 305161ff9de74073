//! One loss of MAIN, or one planned change, seen by a client.

use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use e2e_node::database::{Database, SETTLE_LIMIT, run};
use e2e_node::faults::BlackHole;
use e2e_node::wait::until;
use e2e_node::writer::Writer;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use memgraph_operator::api::{OperationRecord, SwitchoverState};
use serde_json::json;

/// Writes before a planned change and after it.
const AROUND: usize = 30;

/// One loss of MAIN.
pub struct Loss {
    /// From the fault to the next acknowledgement.
    pub pause: Duration,
    /// From the fault to the operator's decision.
    pub noticed: Duration,
    /// From the operator's decision to the write that opens the route.
    pub replaced: Duration,
    /// What the operator worked on meanwhile.
    pub steps: Vec<(String, Duration)>,
    /// Tries of the client that failed.
    pub failed: usize,
    /// From the fault to the acknowledgement, by the wall clock.
    pub window: RangeInclusive<Timestamp>,
}

/// One planned change of MAIN.
pub struct Move {
    /// The longest time between two acknowledgements.
    pub pause: Duration,
    /// From the operator's decision to the write that opens the route.
    pub replaced: Duration,
    /// What the operator worked on meanwhile.
    pub steps: Vec<(String, Duration)>,
    /// Tries of the client that failed.
    pub failed: usize,
    /// From the operator's decision to when the switchover was seen to be over, by the wall clock.
    pub window: RangeInclusive<Timestamp>,
}

/// Ends MAIN's process.
pub fn kill(database: &Database, pod: &Pod) -> Result<Option<BlackHole>> {
    database.scene.node.kill(pod).map(|()| None)
}

/// Drops MAIN's packets.
pub fn black_hole(database: &Database, pod: &Pod) -> Result<Option<BlackHole>> {
    database.scene.node.black_hole(pod).map(Some)
}

/// Lets `fault` happen to MAIN, and waits until all is well again.
pub async fn loss(
    database: &Database,
    fault: impl FnOnce(&Database, &Pod) -> Result<Option<BlackHole>>,
) -> Result<Loss> {
    database.settled().await?;
    let before = database.ledger().await?;
    let pod = database.pod(&before.main.instance).await?;
    let gateway = database.gateway().await?;
    let (begin, at) = (Instant::now(), Timestamp::now());
    let hole = fault(database, &pod)?;
    let mut failed = 0;
    let statement = format!("MERGE (t:Token {{id: 'after-{}'}})", before.term);
    while let Err(error) = run(gateway, &statement).await {
        ensure!(
            begin.elapsed() < SETTLE_LIMIT,
            "no write is acknowledged: {error}"
        );
        failed += 1;
    }
    let (pause, end) = (begin.elapsed(), Timestamp::now());
    if let Some(hole) = hole {
        hole.heal()?;
    }
    let record = operation_after(database, before.term).await?;
    let (noticed, replaced) = (times(&record)?.0.duration_since(at), length(&record)?);
    database.settled_after(before.term).await?;
    Ok(Loss {
        pause,
        noticed: noticed.try_into().unwrap_or_default(),
        replaced,
        steps: steps(&record),
        failed,
        window: at..=end,
    })
}

/// Has MAIN moved while somebody writes.
pub async fn switchover(database: &Database, number: usize) -> Result<Move> {
    database.settled().await?;
    let term = database.ledger().await?.term;
    let id = format!("move-{number}");
    let mut writer = Writer::start(database, &id).await?;
    writer.goes_on(AROUND).await?;
    let patch = json!({"spec": {"switchover": {"requestId": id}}}).to_string();
    database
        .scene
        .kubectl(&["patch", "memgraphcluster/demo", "--type=merge", "--patch", &patch])?;
    let over = database
        .wait("the switchover to be over", SETTLE_LIMIT, |cluster| {
            let asked = cluster
                .status
                .as_ref()
                .and_then(|status| status.switchover.as_ref());
            asked.is_some_and(|asked| {
                asked.request_id == id
                    && !matches!(asked.state, SwitchoverState::Pending | SwitchoverState::Running)
            })
        })
        .await?;
    let outcome = over.status.and_then(|status| status.switchover);
    ensure!(
        outcome
            .as_ref()
            .is_some_and(|o| o.state == SwitchoverState::Succeeded),
        "MAIN was not moved: {outcome:?}"
    );
    let seen = Timestamp::now();
    writer.goes_on(AROUND).await?;
    let written = writer.stop().await?;
    let record = operation_after(database, term).await?;
    let (started, _) = times(&record)?;
    Ok(Move {
        pause: written.longest,
        replaced: length(&record)?,
        steps: steps(&record),
        failed: written.failed,
        window: started..=seen,
    })
}

/// The first operation that was ended in a later term than `term`.
async fn operation_after(database: &Database, term: i64) -> Result<OperationRecord> {
    until("the operation to be in the history", SETTLE_LIMIT, async || {
        let history = database.status().await?.history;
        Ok(history.into_iter().rfind(|record| record.term > term))
    })
    .await
}

fn times(record: &OperationRecord) -> Result<(Timestamp, Timestamp)> {
    let parse = |text: &str| {
        text.parse::<Timestamp>()
            .with_context(|| format!("'{text}' in the history is no time"))
    };
    Ok((parse(&record.started_at)?, parse(&record.finished_at)?))
}

fn length(record: &OperationRecord) -> Result<Duration> {
    let (started, finished) = times(record)?;
    finished
        .duration_since(started)
        .try_into()
        .context("an operation that ended before it began")
}

fn steps(record: &OperationRecord) -> Vec<(String, Duration)> {
    let steps = record.steps.iter();
    steps.map(|step| (step.step.clone(), step.took.0)).collect()
}
