//! Tests of the world itself: a cluster that is made by hand over the operator's own statements, and each fault.

mod bootstrap;
mod faults;
mod steps;

use std::{
    future::Future,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use memgraph_operator::{
    api::RegistrationMode,
    memgraph::{AdminError, Question, confirm, look, mark, promote, register},
    plan::observation::{Marker, Role, Sight},
};

use super::{
    BOLT_PORT, Client, Memgraphs, Outcome, Place, Pod, Process, Setup, SimulatedBolt, Volume, WriteId,
};

const SECOND: Duration = Duration::from_secs(1);

/// Runs a test on virtual time, of which there is enough.
pub fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    let limited = async { tokio::time::timeout(3600 * SECOND, test).await };
    let result = tokio::task::LocalSet::new().block_on(&runtime, limited);
    result.expect("it is waited for something that does not come")
}

/// An instance as the operator sets it up.
pub fn setup() -> Setup {
    let gate = "SET REPLICATION ROLE TO REPLICA WITH PORT 10000;\n";
    Setup {
        version: String::new(),
        arguments: [
            "--data-directory=/var/lib/memgraph/mg_data",
            "--init-file=/gate",
            "--log-file=",
            "--replication-replica-check-frequency-sec=1",
            "--storage-snapshot-on-exit=false",
            "--storage-wal-file-flush-every-n-tx=1",
        ]
        .map(str::to_owned)
        .to_vec(),
        init_file: Some(gate.repeat(5)),
        initial_user: None,
    }
}

/// An instance with its volume.
pub struct Member {
    pub place: Place,
    pub pod: Pod,
    pub address: IpAddr,
    pub volume: Volume,
    pub process: Process,
}

/// A few instances, an operator and a client.
pub struct Cluster {
    pub world: Memgraphs,
    pub operator: SimulatedBolt,
    pub office: Place,
    pub client: Client,
    pub shop: Place,
    pub members: Vec<Member>,
    generation: u32,
    addresses: u8,
    last_write: u64,
}

impl Cluster {
    pub async fn new(seed: u64, size: usize) -> Self {
        let world = Memgraphs::new(seed);
        let (office, shop) = (world.place("operator"), world.place("client"));
        let mut cluster = Self {
            operator: world.bolt(office),
            office,
            client: world.client(shop),
            shop,
            members: Vec::new(),
            generation: 0,
            addresses: 0,
            last_write: 0,
            world,
        };
        for ordinal in 0..size {
            let place = cluster.world.place(&format!("node-{ordinal}"));
            let volume = cluster.world.volume();
            let address = cluster.next_address();
            let pod = cluster.world.add_pod(place, address);
            let process = cluster.world.start(pod, volume, &setup());
            cluster.world.set_name(&host(ordinal), Some(address));
            cluster.members.push(Member {
                place,
                pod,
                address,
                volume,
                process,
            });
        }
        for member in &cluster.members {
            assert!(cluster.world.ready(member.process).await);
        }
        cluster
    }

    pub fn next_address(&mut self) -> IpAddr {
        self.addresses += 1;
        [10, 0, 0, self.addresses].into()
    }

    pub fn at(&self, ordinal: usize) -> SocketAddr {
        SocketAddr::new(self.members[ordinal].address, BOLT_PORT)
    }

    pub fn process(&self, ordinal: usize) -> Process {
        self.members[ordinal].process
    }

    /// Starts an instance again in its pod, and waits until clients can connect.
    pub async fn restart(&mut self, ordinal: usize) {
        let member = &mut self.members[ordinal];
        member.process = self.world.start(member.pod, member.volume, &setup());
        let process = member.process;
        assert!(self.world.ready(process).await);
    }

    /// Replaces an instance's pod by another one, with another address.
    pub async fn replace_pod(&mut self, ordinal: usize) {
        self.world.remove_pod(self.members[ordinal].pod);
        let address = self.next_address();
        let member = &mut self.members[ordinal];
        member.address = address;
        member.pod = self.world.add_pod(member.place, address);
        self.world.set_name(&host(ordinal), Some(address));
        self.restart(ordinal).await;
    }

    pub async fn promote(&self, ordinal: usize) {
        promote(&self.operator, self.at(ordinal), &format!("demo-{ordinal}"))
            .await
            .unwrap();
    }

    pub async fn try_register(
        &mut self,
        main: usize,
        replica: usize,
        mode: RegistrationMode,
    ) -> Result<(), AdminError> {
        self.generation += 1;
        let name = format!("pod_{replica}_g{}", self.generation);
        let address = format!("{}:10000", host(replica));
        let instance = format!("demo-{replica}");
        register(&self.operator, self.at(main), &instance, &name, &address, mode).await
    }

    pub async fn register(&mut self, main: usize, replica: usize, mode: RegistrationMode) {
        self.try_register(main, replica, mode).await.unwrap();
    }

    /// The names under which MAIN lists its replicas, of which all have to be in sync.
    pub async fn confirm(&self, main: usize) {
        let view = self.view(main).await;
        let names: Vec<_> = view.registrations.into_iter().map(|known| known.name).collect();
        confirm(&self.operator, self.at(main), &names).await.unwrap();
    }

    pub async fn sight(&self, ordinal: usize) -> Sight {
        let question = Question {
            version: Some(String::new()),
            emptiness: false,
            storage_mode: false,
            replica_mode: false,
            patience: SECOND,
        };
        look(&self.operator, self.at(ordinal), &question).await
    }

    pub async fn view(&self, ordinal: usize) -> memgraph_operator::plan::observation::View {
        match self.sight(ordinal).await {
            Sight::Serving(view) => view,
            other => panic!("{ordinal}: {other:?}"),
        }
    }

    pub async fn role(&self, ordinal: usize) -> Role {
        self.view(ordinal).await.role
    }

    /// MAIN is the first instance, its STRICT_SYNC replica the second; the others are ASYNC replicas.
    pub async fn bootstrapped(seed: u64, size: usize) -> Self {
        let mut cluster = Self::new(seed, size).await;
        cluster.promote(0).await;
        let marker = Marker {
            lineage: "l1".to_owned(),
        };
        mark(&cluster.operator, cluster.at(0), &marker).await.unwrap();
        for replica in 1..size {
            let mode = match replica {
                1 => RegistrationMode::StrictSync,
                _ => RegistrationMode::Async,
            };
            cluster.register(0, replica, mode).await;
        }
        cluster.confirm(0).await;
        cluster.client.connect(cluster.at(0), SECOND).await.unwrap();
        cluster
    }

    pub fn next_write(&mut self) -> WriteId {
        self.last_write += 1;
        WriteId(self.last_write)
    }

    /// Writes, whatever comes of it.
    pub async fn try_write(&mut self) -> (WriteId, Outcome) {
        let write = self.next_write();
        let outcome = self.client.write(write, 60 * SECOND).await;
        (write, outcome)
    }

    pub async fn write(&mut self) -> WriteId {
        let (write, outcome) = self.try_write().await;
        assert_eq!(outcome, Outcome::Acknowledged);
        write
    }

    /// Writes until it works, which pings and recovery may take a while for.
    pub async fn write_until_acknowledged(&mut self) -> WriteId {
        for _ in 0..100 {
            if !self.client.is_connected() {
                self.reconnect(0).await;
            }
            if let (write, Outcome::Acknowledged) = self.try_write().await {
                return write;
            }
            tokio::time::sleep(SECOND).await;
        }
        panic!("no write works any more");
    }

    pub async fn reconnect(&mut self, ordinal: usize) {
        let at = self.at(ordinal);
        self.client.connect(at, SECOND).await.unwrap();
    }
}

pub fn host(ordinal: usize) -> String {
    format!("demo-{ordinal}.demo-instances.default.svc.cluster.local")
}
