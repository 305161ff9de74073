//! What the operator uses while nothing happens.

use std::time::Duration;

use anyhow::Result;
use tokio::time::{Instant, sleep};

use crate::{
    stand::Stand,
    table::{Table, mebibytes},
};

/// So long nothing may have been written before.
const QUIET: Duration = Duration::from_secs(10);
/// For how long it is looked at.
const WINDOW: Duration = Duration::from_secs(60);
/// The goal for 1000 clusters, in MiB.
const RESIDENT: f64 = 64.0;

/// Adds what it uses with so many clusters.
pub async fn measure(stand: &mut Stand, clusters: usize, table: &mut Table) -> Result<()> {
    stand.until_quiet(QUIET).await?;
    stand.requests()?;
    let (before, begun) = (stand.usage()?, Instant::now());
    sleep(WINDOW).await;
    let (after, elapsed) = (stand.usage()?, begun.elapsed());
    let requests = stand.requests()?;
    let cpu = (after.cpu - before.cpu).as_secs_f64() / elapsed.as_secs_f64();
    let name = |what: &str| format!("{clusters} at rest: {what}");
    table.add_with_goal(
        name("resident memory"),
        mebibytes(after.resident),
        RESIDENT,
        "MiB",
    );
    table.add(
        name("the most that it was"),
        format!("{:.1} MiB", mebibytes(after.most)),
    );
    table.add(name("CPU"), format!("{:.1} % of a core", 100.0 * cpu));
    table.add(name("files and sockets"), after.descriptors.to_string());
    let each: Vec<String> = requests
        .iter()
        .map(|(what, count)| format!("{what} {count}"))
        .collect();
    table.add(
        name("requests to the API server in a minute"),
        format!("{} ({})", requests.values().sum::<usize>(), each.join(", ")),
    );
    Ok(())
}
