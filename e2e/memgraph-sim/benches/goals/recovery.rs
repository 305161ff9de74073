//! Memory for 100,000 small nodes, and how long a start takes that recovers them.

use crate::{
    figures::{Figure, Goal},
    instance::Instance,
    writes::{Limit, write},
};

const NODES: u64 = 100_000;
const MIB: f64 = 1024.0 * 1024.0;

/// Measures memory after writing, and memory and time of recoveries from the log and from a snapshot.
pub async fn measure(repetitions: usize) -> anyhow::Result<Vec<Figure>> {
    let time = |from| Figure::new(format!("start with 100,000 nodes, {from}"), "s", Goal::Below(2.0));
    let memory = |when| {
        Figure::new(
            format!("RSS with 100,000 nodes, {when}"),
            "MiB",
            Goal::Below(64.0),
        )
    };
    let mut written = memory("written one by one");
    let mut from_log = (time("log"), memory("recovered from log"));
    let mut from_snapshot = (
        time("snapshot and log"),
        memory("recovered from snapshot and log"),
    );
    for _ in 0..repetitions {
        let mut instance = Instance::start("recovery", &[]).await?;
        write(&instance, Limit::Count(NODES)).await?;
        written.add(mebibytes(instance.resident()?));
        restart(&mut instance, &mut from_log).await?;
        instance.query("CREATE SNAPSHOT").await?;
        restart(&mut instance, &mut from_snapshot).await?;
    }
    Ok(vec![
        from_log.0,
        from_snapshot.0,
        written,
        from_log.1,
        from_snapshot.1,
    ])
}

async fn restart(instance: &mut Instance, (time, memory): &mut (Figure, Figure)) -> anyhow::Result<()> {
    instance.kill()?;
    time.add(instance.launch().await?.as_secs_f64());
    memory.add(mebibytes(instance.resident()?));
    anyhow::ensure!(instance.nodes().await? == NODES, "a recovered node is missing");
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / MIB
}
