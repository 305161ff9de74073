//! Writers and readers, as applications are: they connect to a gateway's Service, and again when they are cut off.

use std::{
    cell::{Cell, RefCell},
    net::{IpAddr, SocketAddr},
    rc::Rc,
    time::Duration,
};

use bolt_server::Map;
use fastrand::Rng;
use memgraph_operator::api::names;
use tokio::{
    task::spawn_local,
    time::{Instant, sleep},
};

use crate::{
    api::{ApiServer, Resource},
    invariants::Watchman,
    memgraph::{Client, Memgraphs, Outcome, WriteId},
    processes::Instances,
    trace::Trace,
    world::CLUSTER,
};

/// What clients have in common.
#[derive(Clone)]
pub struct Clients {
    api: ApiServer,
    memgraphs: Memgraphs,
    instances: Instances,
    watchman: Watchman,
    trace: Trace,
    state: Rc<State>,
}

#[derive(Default)]
struct State {
    last: Cell<u64>,
    acknowledged: Cell<u64>,
    reads: Cell<u64>,
    quiet: Cell<bool>,
    /// The longest pause between two writes of a client, in milliseconds, if it was set.
    pause: Cell<Option<u64>>,
    /// Until when writes come fast.
    busy: Cell<Option<Instant>>,
}

/// The longest pause between two writes of a client, in milliseconds.
const PAUSE: u64 = 2_500;
/// The same while something goes wrong: then as many writes as possible are under way.
const BUSY_PAUSE: u64 = 1_200;

/// How long a client waits for a connection.
const CONNECT: Duration = Duration::from_secs(5);

impl Clients {
    /// None yet.
    #[must_use]
    pub fn new(
        api: ApiServer,
        memgraphs: Memgraphs,
        instances: Instances,
        watchman: Watchman,
        trace: Trace,
    ) -> Self {
        Self {
            api,
            memgraphs,
            instances,
            watchman,
            trace,
            state: Rc::default(),
        }
    }

    /// Starts writers and readers.
    pub fn start(&self, writers: usize, readers: usize, chance: &mut Rng) {
        for number in 0..writers {
            let writer = One {
                clients: self.clone(),
                client: self
                    .memgraphs
                    .client(self.memgraphs.place(&format!("client-{number}"))),
                chance: RefCell::new(chance.fork()),
                port: names::BOLT_PORT,
            };
            spawn_local(writer.write_for_ever());
        }
        for number in 0..readers {
            let reader = One {
                clients: self.clone(),
                client: self
                    .memgraphs
                    .client(self.memgraphs.place(&format!("reader-{number}"))),
                chance: RefCell::new(chance.fork()),
                port: names::GATEWAY_READ_PORT,
            };
            spawn_local(reader.read_for_ever());
        }
    }

    /// Has clients pause, or go on.
    pub fn set_quiet(&self, quiet: bool) {
        self.state.quiet.set(quiet);
    }

    /// Sets the longest pause between two writes of a client.
    pub fn set_pause(&self, pause: Duration) {
        let millis = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
        self.state.pause.set(Some(millis));
    }

    /// Has writes come fast for so long.
    pub fn set_busy(&self, time: Duration) {
        self.state.busy.set(Some(Instant::now() + time));
    }

    fn longest_pause(&self) -> u64 {
        let busy = self.state.busy.get();
        if busy.is_some_and(|until| until > Instant::now()) {
            BUSY_PAUSE
        } else {
            self.state.pause.get().unwrap_or(PAUSE)
        }
    }

    /// How many writes were acknowledged.
    #[must_use]
    pub fn acknowledged(&self) -> u64 {
        self.state.acknowledged.get()
    }

    /// How many reads were answered.
    #[must_use]
    pub fn reads(&self) -> u64 {
        self.state.reads.get()
    }

    /// The gateways that the Service leads to.
    #[must_use]
    pub fn endpoints(&self) -> Vec<IpAddr> {
        let store = self.api.store();
        store
            .all(&Resource::pods())
            .filter(|(_, pod)| {
                let ready = pod["status"]["conditions"][0]["status"] == "True";
                let labels = &pod["metadata"]["labels"];
                labels[names::COMPONENT_LABEL] == names::GATEWAY
                    && labels[names::CLUSTER_LABEL] == CLUSTER
                    && ready
                    && pod["metadata"]["deletionTimestamp"].is_null()
            })
            .filter_map(|(_, pod)| pod["status"]["podIP"].as_str()?.parse().ok())
            .collect()
    }

    fn next_write(&self) -> WriteId {
        self.state.last.set(self.state.last.get() + 1);
        WriteId(self.state.last.get())
    }
}

/// One client.
struct One {
    clients: Clients,
    client: Client,
    chance: RefCell<Rng>,
    port: u16,
}

impl One {
    fn draw<T>(&self, draw: impl FnOnce(&mut Rng) -> T) -> T {
        draw(&mut self.chance.borrow_mut())
    }

    async fn pause(&self, millis: std::ops::RangeInclusive<u64>) {
        sleep(Duration::from_millis(self.draw(|chance| chance.u64(millis)))).await;
    }

    /// Connects to any gateway. Whether it has a connection then.
    async fn connect(&mut self) -> bool {
        if self.client.is_connected() {
            return true;
        }
        let endpoints = self.clients.endpoints();
        let Some(address) = self.draw(|chance| chance.choice(endpoints)) else {
            return false;
        };
        let at = SocketAddr::new(address, self.port);
        // An instance may have got the address of a gateway that the Service still leads to, also while somebody connects. Its
        // NetworkPolicy lets no client in.
        let connected = self.client.connect(at, CONNECT).await.is_ok();
        let refused = self
            .clients
            .instances
            .live()
            .iter()
            .any(|instance| instance.address == address);
        if refused {
            self.client.disconnect();
        }
        connected && !refused
    }

    async fn write_for_ever(mut self) {
        loop {
            self.pause(0..=self.clients.longest_pause()).await;
            while self.clients.state.quiet.get() {
                self.client.disconnect();
                self.pause(200..=400).await;
            }
            if !self.connect().await {
                self.pause(50..=500).await;
                continue;
            }
            let deadline = Duration::from_secs(self.draw(|chance| chance.u64(2..=40)));
            let together = self.draw(|chance| chance.u32(0..10));
            let (ids, outcome) = if together == 0 {
                self.transaction(deadline).await
            } else {
                let id = self.clients.next_write();
                (vec![id], self.client.write(id, deadline).await)
            };
            let state = &self.clients.state;
            if outcome == Outcome::Acknowledged {
                let count = u64::try_from(ids.len()).unwrap_or(u64::MAX);
                state.acknowledged.set(state.acknowledged.get() + count);
                for id in &ids {
                    self.clients.watchman.acknowledged(*id);
                }
            }
            self.clients.trace.note(|| match &outcome {
                Outcome::Failed(why) => format!("write {ids:?}: failed: {:.40}", why),
                outcome => format!("write {ids:?}: {outcome:?}"),
            });
        }
    }

    /// Some writes in one transaction.
    async fn transaction(&mut self, deadline: Duration) -> (Vec<WriteId>, Outcome) {
        let mut ids = Vec::new();
        if self.client.begin(deadline).await.is_err() {
            return (ids, Outcome::Unknown);
        }
        for _ in 0..self.draw(|chance| chance.u32(1..=3)) {
            let id = self.clients.next_write();
            ids.push(id);
            if self.client.write_in_transaction(id, deadline).await.is_err() {
                return (ids, Outcome::Unknown);
            }
            self.pause(0..=100).await;
        }
        let outcome = self.client.commit(&ids, deadline).await;
        (ids, outcome)
    }

    async fn read_for_ever(mut self) {
        loop {
            self.pause(500..=5_000).await;
            while self.clients.state.quiet.get() {
                self.client.disconnect();
                self.pause(200..=400).await;
            }
            if !self.connect().await {
                continue;
            }
            // What it reads is looked at where it lies (I17): to send all of it would be most of a run's work.
            let patience = Duration::from_secs(10);
            if self.client.run("RETURN 1", Map::new(), patience).await.is_ok() {
                self.clients.state.reads.set(self.clients.state.reads.get() + 1);
            }
        }
    }
}
