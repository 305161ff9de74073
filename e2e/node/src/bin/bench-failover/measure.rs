//! One loss of MAIN, or one planned change, seen by a client.

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use e2e_node::application::Application;
use e2e_node::database::{Database, SETTLE_LIMIT, run};
use e2e_node::faults::BlackHole;
use e2e_node::wait::until;
use e2e_node::writer::Writer;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use memgraph_operator::api::{OperationRecord, SwitchoverState, names};
use serde_json::json;

use crate::part::Part;

/// Writes before a planned change and after it.
const AROUND: usize = 30;

/// What a client, and the operator's history, tell of one loss or move.
pub struct Observed {
    /// For how long the client could not write: from a fault to the next acknowledgement; while MAIN moves, the longest time
    /// between two.
    pub pause: Duration,
    /// From the fault to the operator's decision; zero where there is no fault.
    pub noticed: Duration,
    /// From the operator's decision to the write that opens the route.
    pub replaced: Duration,
    /// What the operator worked on meanwhile.
    pub steps: Vec<(String, Duration)>,
    /// Tries of the client that failed; where it has a driver that tries again, transactions that did.
    pub failed: usize,
    /// From the fault to the acknowledgement, or from the operator's decision to when the move was seen to be over, by the wall
    /// clock.
    pub window: RangeInclusive<Timestamp>,
}

/// Measures once.
///
/// # Errors
/// When something is not in time, or comes to nothing.
pub async fn once(database: &Database, part: Part, number: usize) -> Result<Observed> {
    database.settled().await?;
    match part {
        Part::Switchover => switchover(database, number).await,
        Part::SwitchoverDriver => switchover_with_driver(database, number).await,
        Part::Kill => {
            let gateway = database.gateway().await?;
            loss(database, gateway, |main| {
                database.scene.node.kill(main)?;
                Ok(Vec::new())
            })
            .await
        }
        Part::BlackHole => {
            let gateway = database.gateway().await?;
            loss(database, gateway, |main| {
                Ok(vec![database.scene.node.black_hole(main)?])
            })
            .await
        }
        Part::BlackHoleGateway => {
            let gateways = database.scene.gateways().await?;
            let [lost, other, ..] = gateways.as_slice() else {
                bail!("fewer than two gateways");
            };
            // The Service would lead some of the tries to the one that is lost.
            let gateway = SocketAddr::new(address(other)?, names::BOLT_PORT);
            let node = &database.scene.node;
            loss(database, gateway, |main| {
                Ok(vec![node.black_hole(main)?, node.black_hole(lost)?])
            })
            .await
        }
    }
}

fn address(pod: &Pod) -> Result<IpAddr> {
    let address = pod.status.as_ref().and_then(|status| status.pod_ip.as_ref());
    Ok(address.context("a gateway without an address")?.parse()?)
}

/// Lets `fault` happen to MAIN, and waits until all is well again. The client writes at `gateway`.
async fn loss(
    database: &Database,
    gateway: SocketAddr,
    fault: impl FnOnce(&Pod) -> Result<Vec<BlackHole>>,
) -> Result<Observed> {
    let before = database.ledger().await?;
    let pod = database.pod(&before.main.instance).await?;
    // kube-proxy hears of new gateways later than the operator.
    until("a write before the fault", SETTLE_LIMIT, async || {
        Ok(Some(run(gateway, "MERGE (t:Token {id: 'before'})").await?))
    })
    .await?;
    let (begin, at) = (Instant::now(), Timestamp::now());
    let holes = fault(&pod)?;
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
    for hole in holes {
        hole.heal()?;
    }
    let record = operation_after(database, before.term).await?;
    let (noticed, replaced) = (times(&record)?.0.duration_since(at), length(&record)?);
    database.settled_after(before.term).await?;
    Ok(Observed {
        pause,
        noticed: noticed.try_into().unwrap_or_default(),
        replaced,
        steps: steps(&record),
        failed,
        window: at..=end,
    })
}

/// Has MAIN moved while somebody writes.
async fn switchover(database: &Database, number: usize) -> Result<Observed> {
    let mut writer = Writer::start(database, &format!("move-{number}")).await?;
    writer.goes_on(AROUND).await?;
    let moved = move_main(database, number).await?;
    writer.goes_on(AROUND).await?;
    let written = writer.stop().await?;
    Ok(Observed {
        pause: written.longest,
        failed: written.failed,
        ..moved
    })
}

/// Has MAIN moved while an application writes with an official driver. What fails here are transactions.
async fn switchover_with_driver(database: &Database, number: usize) -> Result<Observed> {
    let mut application = Application::start(database, &format!("driver-{number}")).await?;
    application.goes_on(AROUND).await?;
    let moved = move_main(database, number).await?;
    application.goes_on(AROUND).await?;
    let transactions = application.stop().await?;
    eprintln!("{transactions}");
    Ok(Observed {
        pause: transactions.longest,
        failed: transactions.failures(),
        ..moved
    })
}

/// Has MAIN moved. Of clients nothing is known yet.
async fn move_main(database: &Database, number: usize) -> Result<Observed> {
    let term = database.ledger().await?.term;
    let id = format!("move-{number}");
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
    let record = operation_after(database, term).await?;
    let (started, _) = times(&record)?;
    Ok(Observed {
        pause: Duration::ZERO,
        noticed: Duration::ZERO,
        replaced: length(&record)?,
        steps: steps(&record),
        failed: 0,
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
