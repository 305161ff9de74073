//! What instances on virtual time cost: `cargo bench -p simulation --bench instances`.

use std::{
    error::Error,
    future::Future,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use memgraph_operator::{
    api::RegistrationMode,
    memgraph::{Question, look, mark, promote, register},
    plan::observation::{Marker, Sight},
};
use simulation::memgraph::{BOLT_PORT, Memgraphs, Outcome, Place, Setup, WriteId};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const SECOND: Duration = Duration::from_secs(1);

fn main() -> Result<()> {
    run(idle())?;
    run(looks())?;
    run(writes())?;
    run(seed())
}

fn run(part: impl Future<Output = Result<()>>) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()?;
    tokio::task::LocalSet::new().block_on(&runtime, part)
}

/// The processor time that this process has used: other processes may keep it from running.
struct Cpu(Duration);

impl Cpu {
    fn now() -> Self {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
        Self(Duration::try_from(time).unwrap_or_default())
    }

    fn elapsed(&self) -> Duration {
        Self::now().0.saturating_sub(self.0)
    }
}

/// MAIN, a STRICT_SYNC replica and ASYNC ones.
async fn cluster(size: u8) -> Result<(Memgraphs, Place, Vec<SocketAddr>)> {
    let world = Memgraphs::new(1);
    let office = world.place("operator");
    let setup = Setup {
        arguments: vec![
            "--init-file=/gate".to_owned(),
            "--storage-wal-file-flush-every-n-tx=1".to_owned(),
        ],
        init_file: Some("SET REPLICATION ROLE TO REPLICA WITH PORT 10000;\n".repeat(5)),
        ..Setup::default()
    };
    let mut addresses = Vec::new();
    for ordinal in 0..size {
        let address = IpAddr::from([10, 0, 0, ordinal + 1]);
        let pod = world.add_pod(world.place(&format!("node-{ordinal}")), address);
        let process = world.start(pod, world.volume(), &setup);
        assert!(world.ready(process).await);
        addresses.push(SocketAddr::new(address, BOLT_PORT));
    }
    let bolt = world.bolt(office);
    promote(&bolt, addresses[0], "demo-0").await?;
    let marker = Marker {
        lineage: "l1".to_owned(),
    };
    mark(&bolt, addresses[0], &marker).await?;
    for (ordinal, at) in addresses.iter().enumerate().skip(1) {
        let mode = match ordinal {
            1 => RegistrationMode::StrictSync,
            _ => RegistrationMode::Async,
        };
        let name = format!("pod_{ordinal}_g{ordinal}");
        register(
            &bolt,
            addresses[0],
            &name,
            &name,
            &format!("{}:10000", at.ip()),
            mode,
        )
        .await?;
    }
    Ok((world, office, addresses))
}

fn report(what: &str, took: Duration, count: u32) {
    println!("{what:<60} {:>10.1?} ({:.1?} in all)", took / count, took);
}

async fn idle() -> Result<()> {
    for size in [3, 5] {
        let (_world, ..) = cluster(size).await?;
        let began = Cpu::now();
        tokio::time::sleep(600 * SECOND).await;
        report(
            &format!("a virtual minute of {size} instances at rest"),
            began.elapsed(),
            10,
        );
    }
    Ok(())
}

async fn looks() -> Result<()> {
    const COUNT: u32 = 20_000;
    let (world, office, addresses) = cluster(3).await?;
    let bolt = world.bolt(office);
    for (what, at) in [("MAIN", addresses[0]), ("a replica", addresses[1])] {
        let question = question();
        let began = Cpu::now();
        for _ in 0..COUNT {
            let sight = look(&bolt, at, &question).await;
            assert!(matches!(sight, Sight::Serving(_)), "{sight:?}");
        }
        report(&format!("an operator's look at {what}"), began.elapsed(), COUNT);
    }
    let began = Cpu::now();
    for _ in 0..COUNT {
        use memgraph_operator::memgraph::Bolt as _;
        bolt.handshake(addresses[0], SECOND).await?;
    }
    report("a handshake", began.elapsed(), COUNT);
    Ok(())
}

fn question() -> Question {
    Question {
        version: Some("3.12.0".to_owned()),
        emptiness: false,
        storage_mode: false,
        replica_mode: false,
        patience: SECOND,
    }
}

async fn writes() -> Result<()> {
    const COUNT: u32 = 10_000;
    for size in [1, 2, 3, 5] {
        let (world, _, addresses) = cluster(size).await?;
        let mut client = world.client(world.place("client"));
        client.connect(addresses[0], SECOND).await?;
        let began = Cpu::now();
        for write in 0..COUNT {
            let outcome = client.write(WriteId(write.into()), SECOND).await;
            assert_eq!(outcome, Outcome::Acknowledged);
            // Without a pause MAIN loses its ASYNC replicas, and brings them back by whole log files.
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        report(
            &format!("a write with {} replicas", size - 1),
            began.elapsed(),
            COUNT,
        );
    }
    Ok(())
}

/// As much as a seed has: ten minutes, three instances, two operators that look at each of them every 300 ms, and
/// 1,000 writes.
async fn seed() -> Result<()> {
    let began = Cpu::now();
    let (world, _, addresses) = cluster(3).await?;
    for operator in ["operator-0", "operator-1"] {
        for at in addresses.clone() {
            let bolt = world.bolt(world.place(operator));
            tokio::task::spawn_local(async move {
                loop {
                    look(&bolt, at, &question()).await;
                    tokio::time::sleep(Duration::from_millis(300)).await;
                }
            });
        }
    }
    let mut client = world.client(world.place("client"));
    client.connect(addresses[0], SECOND).await?;
    for write in 0..1_000 {
        assert_eq!(client.write(WriteId(write), SECOND).await, Outcome::Acknowledged);
        tokio::time::sleep(Duration::from_millis(600)).await;
    }
    report(
        "ten virtual minutes, looked at, with 1,000 writes",
        began.elapsed(),
        1,
    );
    Ok(())
}
