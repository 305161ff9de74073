//! CPU time of a cluster that has nothing to do.

use std::time::{Duration, Instant};

use crate::{
    figures::{Figure, Goal},
    instance::Instance,
};

const DURATION: Duration = Duration::from_secs(10);

/// A MAIN with two replicas, which it pings each second.
pub async fn measure(repetitions: usize) -> anyhow::Result<Vec<Figure>> {
    let main = Instance::start("main", &[]).await?;
    let replicas = [
        Instance::start("one", &[]).await?,
        Instance::start("two", &[]).await?,
    ];
    main.attach("one", &replicas[0], "SYNC").await?;
    main.attach("two", &replicas[1], "ASYNC").await?;
    let mut figure = Figure::new(
        "CPU of a MAIN and two replicas at rest",
        "% of a core",
        Goal::Below(1.0),
    );
    let used = || anyhow::Ok(main.cpu()? + replicas[0].cpu()? + replicas[1].cpu()?);
    for _ in 0..repetitions {
        let (before, began) = (used()?, Instant::now());
        tokio::time::sleep(DURATION).await;
        let busy = used()? - before;
        figure.add(100.0 * busy.as_secs_f64() / began.elapsed().as_secs_f64());
    }
    Ok(vec![figure])
}
