//! Many clusters lose MAIN in the same moment.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Result, ensure};
use tokio::time::Instant;

use crate::{
    fleet::{self, Place},
    stand::Stand,
    table::{Table, quantile},
};

/// So many do, or all that there are.
const AT_ONCE: usize = 50;
/// The longest that is waited for.
const LIMIT: Duration = Duration::from_secs(300);

/// Adds the time from the kill until the API server shows that the route to another MAIN is open, and until all is whole again.
pub async fn measure(stand: &mut Stand, clusters: usize, table: &mut Table) -> Result<()> {
    stand.fleet.until_whole(clusters, LIMIT).await?;
    let mut victims: Vec<(Place, String, i64)> = {
        let seen = stand.fleet.seen();
        let mains = seen.iter().filter_map(|(place, cluster)| {
            let (main, term) = fleet::main(cluster)?;
            Some((place.clone(), main.to_owned(), term))
        });
        mains.collect()
    };
    fastrand::shuffle(&mut victims);
    victims.truncate(AT_ONCE);
    ensure!(!victims.is_empty(), "no cluster has a MAIN");
    stand.requests()?;
    let (before, begun) = (stand.usage()?, Instant::now());
    for ((namespace, _), main, _) in &victims {
        stand.killer.kill(namespace, main);
    }
    let mut moved: BTreeMap<&Place, f64> = BTreeMap::new();
    let all_moved = |seen: &BTreeMap<Place, _>| {
        for (place, main, term) in &victims {
            let now = seen.get(place).and_then(fleet::main);
            if now.is_some_and(|(other, later)| later > *term && other != main) {
                moved
                    .entry(place)
                    .or_insert_with(|| begun.elapsed().as_secs_f64());
            }
        }
        moved.len() == victims.len()
    };
    stand.fleet.until(LIMIT, all_moved).await?;
    let mut times: Vec<f64> = moved.into_values().map(|time| 1000.0 * time).collect();
    times.sort_by(f64::total_cmp);
    let after = stand.usage()?;
    let whole = stand.fleet.until_whole(clusters, LIMIT).await?;
    let name = |what: &str| format!("{} of {clusters} lose MAIN at once: {what}", times.len());
    let spread = [0.5, 0.99, 1.0].map(|part| format!("{:.0}", quantile(&times, part)));
    table.add(
        name("ms until the route to another one is open, p50, p99 and longest"),
        spread.join(", "),
    );
    table.add(
        name("until all are whole again"),
        format!("{:.1} s", (whole - begun).as_secs_f64()),
    );
    table.add(
        name("CPU of the operator until the last route is open"),
        format!("{:.2} s", (after.cpu - before.cpu).as_secs_f64()),
    );
    let requests = stand.requests()?;
    let each = |what: &str| requests.get(what).copied().unwrap_or_default() as f64 / times.len() as f64;
    table.add(
        name("writes of the status for each"),
        format!("{:.1}", each("patch memgraphclusters/status")),
    );
    Ok(())
}
