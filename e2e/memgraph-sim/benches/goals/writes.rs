//! Acknowledged writes per second on a MAIN with an ASYNC replica on the same machine.

use std::{
    cell::Cell,
    rc::Rc,
    time::{Duration, Instant},
};

use bolt_server::{Map, Value};
use futures::future::try_join_all;

use crate::{
    bolt::Client,
    figures::{Figure, Goal},
    instance::{Instance, own_cpu},
};

/// How many clients write at the same time.
const SESSIONS: usize = 64;
/// How long each repetition takes.
const DURATION: Duration = Duration::from_secs(4);
/// How long the replica may need to catch up, once the writes have ended.
const PATIENCE: Duration = Duration::from_secs(60);

const WRITE: &str = "CREATE (:Account {id: $id, name: $name})";

/// When to stop writing.
#[derive(Clone, Copy)]
pub enum Limit {
    Until(Instant),
    Count(u64),
}

/// Writes from many sessions at once. Each write is an auto-commit transaction of its own that creates a small
/// node, and its session waits for the acknowledgement before it sends the next one. Returns how many there were.
pub async fn write(instance: &Instance, limit: Limit) -> anyhow::Result<u64> {
    let mut clients = Vec::with_capacity(SESSIONS);
    for _ in 0..SESSIONS {
        clients.push(Client::connect(instance.bolt).await?);
    }
    let begun = Rc::new(Cell::new(0));
    let acknowledged = Rc::new(Cell::new(0));
    let session = |mut client: Client| {
        let (begun, acknowledged) = (Rc::clone(&begun), Rc::clone(&acknowledged));
        async move {
            loop {
                let number: u64 = begun.get();
                match limit {
                    Limit::Until(end) if Instant::now() >= end => break,
                    Limit::Count(count) if number >= count => break,
                    Limit::Until(_) | Limit::Count(_) => {}
                }
                begun.set(number + 1);
                client.execute(WRITE, &parameters(number)).await?;
                acknowledged.set(acknowledged.get() + 1);
            }
            anyhow::Ok(())
        }
    };
    try_join_all(clients.into_iter().map(session)).await?;
    Ok(acknowledged.get())
}

fn parameters(number: u64) -> Map {
    let id = i64::try_from(number).unwrap_or(i64::MAX);
    Map::from([
        ("id".to_owned(), Value::Integer(id)),
        ("name".to_owned(), format!("account {number:06}").into()),
    ])
}

/// Measures with one setting of `--storage-wal-file-flush-every-n-tx`.
pub async fn measure(flush_every: u64, goal: Goal, repetitions: usize) -> anyhow::Result<Vec<Figure>> {
    let setting = format!("flush every {flush_every}");
    let mut rate = Figure::new(format!("writes acknowledged, {setting}"), "1/s", goal);
    let mut cpu = ["main", "replica", "client"]
        .map(|who| Figure::new(format!("CPU of {who} per write, {setting}"), "µs", Goal::None));
    let mut lag = Figure::new(
        format!("replica has caught up after, {setting}"),
        "ms",
        Goal::None,
    );
    let flag = format!("--storage-wal-file-flush-every-n-tx={flush_every}");
    for _ in 0..repetitions {
        let main = Instance::start("main", &[&flag]).await?;
        let replica = Instance::start("replica", &[&flag]).await?;
        main.attach("replica", &replica, "ASYNC").await?;
        let before = [main.cpu()?, replica.cpu()?, own_cpu()?];
        let began = Instant::now();
        let acknowledged = write(&main, Limit::Until(began + DURATION)).await?;
        let elapsed = began.elapsed();
        let after = [main.cpu()?, replica.cpu()?, own_cpu()?];
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
        let count = acknowledged as f64;
        rate.add(count / elapsed.as_secs_f64());
        for (figure, (before, after)) in cpu.iter_mut().zip(before.into_iter().zip(after)) {
            figure.add((after - before).as_secs_f64() * 1e6 / count);
        }
        let ended = Instant::now();
        anyhow::ensure!(
            main.nodes().await? == acknowledged,
            "an acknowledged write is missing"
        );
        while replica.nodes().await? != acknowledged {
            anyhow::ensure!(ended.elapsed() < PATIENCE, "the replica does not catch up");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        lag.add(ended.elapsed().as_secs_f64() * 1e3);
    }
    Ok([rate].into_iter().chain(cpu).chain([lag]).collect())
}
