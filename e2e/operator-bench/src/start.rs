//! How long an operator that starts takes until it has looked after every cluster.

use std::time::Duration;

use anyhow::Result;
use tokio::time::Instant;

use crate::{
    stand::Stand,
    table::{Table, mebibytes, quantile},
};

/// How often.
const TIMES: i32 = 3;
/// The longest that is waited for.
const LIMIT: Duration = Duration::from_secs(600);
/// The goal for 1000 clusters, in seconds.
const GOAL: f64 = 30.0;
/// What nobody has asked for before, so that each time is another change.
const OTHER: i32 = 7;

/// Adds the time from the start of the process until each cluster's status is about a spec that was changed while no operator
/// was there.
pub async fn measure(stand: &mut Stand, clusters: usize, table: &mut Table) -> Result<()> {
    let mut times = Vec::new();
    for time in 0..TIMES {
        stand.stop_operator().await?;
        stand.fleet.touch(OTHER + time).await?;
        // What was changed must have been seen here, too: else all would be whole at once.
        let changed =
            |max: i32| move |c: &memgraph_operator::api::MemgraphCluster| c.spec.failover.max_per_hour == max;
        stand
            .fleet
            .until(LIMIT, |seen| seen.values().all(changed(OTHER + time)))
            .await?;
        let begun = Instant::now();
        stand.start_operator()?;
        let whole = stand.fleet.until_whole(clusters, LIMIT).await?;
        times.push((whole - begun).as_secs_f64());
    }
    times.sort_by(f64::total_cmp);
    table.add_with_goal(
        format!("{clusters}: from the start until all are reconciled, median"),
        quantile(&times, 0.5),
        GOAL,
        "s",
    );
    let all: Vec<String> = times.iter().map(|time| format!("{time:.1} s")).collect();
    table.add(format!("{clusters}: each of the starts"), all.join(", "));
    table.add(
        format!("{clusters}: resident memory then"),
        format!("{:.1} MiB", mebibytes(stand.usage()?.resident)),
    );
    Ok(())
}
