//! Gateways in pods: the production gateway's parts, between simulated connections.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    future::poll_fn,
    net::{IpAddr, SocketAddr},
    pin::pin,
    rc::Rc,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::Poll,
    time::Duration,
};

use fastrand::Rng;
use futures::{FutureExt, future::LocalBoxFuture, poll};
use kube::{Api, Client};
use memgraph_operator::{
    api::{MemgraphCluster, names},
    controller::{Acquaintance, GatewayLink, Unasked, Unprepared},
    gateway::{
        DEFAULT_DRAIN, Dial, Duty, Findings, Gate, Grace, Incident, Keeper, Leave, Port, Routes, Standing,
        Target, Ticket, attest, end_in_order, enforce, follow, probe,
    },
    grants::{Request, Response},
    traces::Traces,
};
use serde_json::Value;
use tokio::{
    sync::watch,
    task::{JoinSet, spawn_local},
    time::{Instant, sleep, timeout, timeout_at},
};
use tokio_util::{
    sync::CancellationToken,
    task::{AbortOnDropHandle, TaskTracker},
};

use super::clock::DriftingClock;
use crate::{
    api::{ApiServer, Connection, Ways},
    invariants::{Delivery, Watchman},
    kubernetes::{PodPlan, Sandbox},
    life::Life,
    memgraph::{By, Cut, Listener, Memgraphs, Passage, Paths, Place, Pod, Stream, relay},
    protocol::Protocol,
    signal::Signal,
    trace::Trace,
};

/// How often a session looks whether what it waits for has come.
const LOOK_AGAIN: Duration = Duration::from_millis(1);

/// A gateway process, as others may know it.
#[derive(Clone)]
pub struct Gateway {
    /// Name of its pod.
    pub name: String,
    /// Its node's place in the network.
    pub place: Place,
    /// Its life.
    pub life: Life,
    keeper: Arc<Keeper>,
    gate: Arc<Gate>,
    enforced: watch::Receiver<Routes>,
    /// Done when it says that nobody should lead clients here any more.
    closing: CancellationToken,
    /// Done when no session is taken any more.
    shut: CancellationToken,
    sessions: TaskTracker,
    /// Operators are answered one after the other: several that wait for the same would be woken in a random order.
    answering: Arc<tokio::sync::Mutex<()>>,
}

impl Gateway {
    /// What it enforces.
    #[must_use]
    pub fn enforced(&self) -> Routes {
        self.enforced.borrow().clone()
    }

    /// Whether its right to lead clients to MAIN has run out, by its own clock.
    #[must_use]
    pub fn has_run_out(&self) -> bool {
        let until = self.enforced.borrow().granted_until;
        until.is_none_or(|until| self.keeper.clock().get() >= until)
    }

    /// Whether Kubernetes' probe succeeds.
    fn is_ready(&self) -> bool {
        let serves = !self.life.is_frozen() && !self.life.is_over() && !self.closing.is_cancelled();
        serves && self.enforced.borrow().standing == Standing::Known
    }
}

/// All gateways, by the address at which they answer.
#[derive(Clone, Default)]
pub struct Gateways {
    live: Arc<Mutex<BTreeMap<IpAddr, Slot>>>,
    /// How much later what operators ask comes a second time.
    again: Arc<Mutex<Option<Duration>>>,
}

/// A pod, and the process in it.
struct Slot {
    place: Place,
    gateway: Option<Gateway>,
}

impl Gateways {
    fn live(&self) -> MutexGuard<'_, BTreeMap<IpAddr, Slot>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Which one of all this is, in the order of addresses.
    fn rank(&self, address: IpAddr) -> u64 {
        let before = self.live().range(..address).count();
        u64::try_from(before).unwrap_or(u64::MAX)
    }

    /// The place of whoever has this address.
    fn place(&self, address: IpAddr) -> Option<Place> {
        self.live().get(&address).map(|slot| slot.place)
    }

    /// Has everything that operators ask come a second time, so much later; none: once is enough.
    pub fn repeat(&self, later: Option<Duration>) {
        *self.again.lock().unwrap_or_else(PoisonError::into_inner) = later;
    }

    fn again(&self) -> Option<Duration> {
        *self.again.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Every process that runs.
    #[must_use]
    pub fn all(&self) -> Vec<Gateway> {
        self.live()
            .values()
            .filter_map(|slot| slot.gateway.clone())
            .collect()
    }
}

/// What gateways are made of.
#[derive(Clone)]
pub struct GatewayMaker {
    pub(crate) api: ApiServer,
    pub(crate) memgraphs: Memgraphs,
    pub(crate) gateways: Gateways,
    pub(crate) ways: Ways,
    pub(crate) chance: Rc<RefCell<Rng>>,
    pub(crate) watchman: Watchman,
    pub(crate) trace: Trace,
}

impl GatewayMaker {
    /// Makes what runs in the pod of a gateway.
    #[must_use]
    pub fn sandbox(&self, plan: PodPlan) -> Box<dyn Sandbox> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let place = self.memgraphs.place(plan.node.name());
        let pod = self.memgraphs.add_pod(place, plan.address);
        self.gateways
            .live()
            .insert(plan.address, Slot { place, gateway: None });
        Box::new(GatewaySandbox {
            maker: self.clone(),
            name: text(&plan.pod["metadata"]["name"]),
            uid: text(&plan.pod["metadata"]["uid"]),
            namespace: text(&plan.pod["metadata"]["namespace"]),
            cluster: text(&plan.pod["metadata"]["labels"][names::CLUSTER_LABEL]),
            node: plan.node.name().to_owned(),
            address: plan.address,
            place,
            pod,
            current: RefCell::default(),
        })
    }
}

struct GatewaySandbox {
    maker: GatewayMaker,
    name: String,
    uid: String,
    namespace: String,
    cluster: String,
    node: String,
    address: IpAddr,
    place: Place,
    pod: Pod,
    current: RefCell<Option<Running>>,
}

/// Everything that goes with a process.
struct Running {
    gateway: Gateway,
    _tasks: [AbortOnDropHandle<()>; 5],
    _doors: JoinSet<()>,
}

impl GatewaySandbox {
    fn life(&self) -> Option<Life> {
        self.current
            .borrow()
            .as_ref()
            .map(|running| running.gateway.life.clone())
    }

    fn end(&self) {
        if let Some(life) = self.life() {
            life.end();
        }
        self.current.take();
        if let Some(slot) = self.maker.gateways.live().get_mut(&self.address) {
            slot.gateway = None;
        }
    }
}

impl Sandbox for GatewaySandbox {
    fn address(&self) -> IpAddr {
        self.address
    }

    fn prepare(&self) -> LocalBoxFuture<'_, Option<String>> {
        std::future::ready(None).boxed_local()
    }

    fn start(&self, container: &str) {
        let maker = &self.maker;
        maker
            .trace
            .note(|| format!("{} starts as {container}", self.name));
        let life = Life::default();
        let way = maker.ways.of(&self.node);
        let (chance, seed, clock) = {
            let mut chance = maker.chance.borrow_mut();
            // Clocks of machines differ by less than one part in a thousand; this is ten times as much.
            let rate = 1.0 + (chance.f64() - 0.5) * 0.02;
            let clock = DriftingClock::new(Duration::from_secs(chance.u64(10..1_000_000)), rate);
            (chance.fork(), chance.u64(..), clock)
        };
        let connection = Connection::new(
            maker.api.clone(),
            way,
            life.clone(),
            &self.name,
            chance,
            maker.trace.clone(),
        );
        let clusters: Api<MemgraphCluster> = Api::namespaced(connection.client(), &self.namespace);
        let keeper = Keeper::new(clock, self.uid.clone(), seed);
        let gate = Arc::new(Gate::new(Arc::clone(&keeper)));
        let (routes, view) = watch::channel(Routes::default());
        let (trouble, _) = watch::channel(None);
        let (publish, enforced) = watch::channel(Routes::default());
        let (followed, cluster) = (clusters.clone(), self.cluster.clone());
        let following =
            tokio::spawn(async move { follow(followed, &cluster, Findings { routes, trouble }).await });
        let (kept, cluster) = (Arc::clone(&keeper), self.cluster.clone());
        let keeping = async move { kept.keep(view, clusters, &cluster).await };
        let keeping = spawn_local(while_awake(life.clone(), keeping));
        let enforcing = enforce(Arc::clone(&gate), keeper.wanted(), publish, Traces::default());
        let enforcing = spawn_local(while_awake(life.clone(), enforcing));
        let probing = probe(Arc::clone(&keeper), maker.memgraphs.bolt(self.place));
        let probing = spawn_local(while_awake(life.clone(), probing));
        let dial = Dialling {
            memgraphs: maker.memgraphs.clone(),
            from: self.place,
        };
        let attesting = spawn_local(while_awake(life.clone(), attest(Arc::clone(&keeper), dial)));
        let gateway = Gateway {
            name: self.name.clone(),
            place: self.place,
            life,
            keeper,
            gate,
            enforced,
            closing: CancellationToken::new(),
            shut: CancellationToken::new(),
            sessions: TaskTracker::new(),
            answering: Arc::default(),
        };
        let mut doors = JoinSet::new();
        for (port, number) in [
            (Port::ReadWrite, names::BOLT_PORT),
            (Port::Read, names::GATEWAY_READ_PORT),
        ] {
            let listener = maker.memgraphs.listen(self.pod, number);
            let door = Door {
                gateway: gateway.clone(),
                memgraphs: maker.memgraphs.clone(),
                watchman: maker.watchman.clone(),
                opened: Signal::default(),
                port,
            };
            doors.spawn_local(tell_opened(gateway.gate.opened(), door.opened.clone()));
            doors.spawn_local(door.accept(listener));
        }
        let slot = Slot {
            place: self.place,
            gateway: Some(gateway.clone()),
        };
        maker.gateways.live().insert(self.address, slot);
        self.current.replace(Some(Running {
            gateway,
            _tasks: [following, keeping, enforcing, probing, attesting].map(AbortOnDropHandle::new),
            _doors: doors,
        }));
    }

    fn is_ready(&self) -> bool {
        let current = self.current.borrow();
        current.as_ref().is_some_and(|running| running.gateway.is_ready())
    }

    fn ended(&self) -> LocalBoxFuture<'_, i32> {
        let life = self.life();
        async move {
            if let Some(life) = life {
                life.over().await;
            }
            self.end();
            self.maker.trace.note(|| format!("{} has ended", self.name));
            0
        }
        .boxed_local()
    }

    fn terminate(&self) {
        let running = self.current.borrow();
        let Some(gateway) = running.as_ref().map(|running| running.gateway.clone()) else {
            return;
        };
        spawn_local(async move {
            let ending = async {
                gateway.closing.cancel();
                let shut = async { gateway.shut.cancel() };
                let grace = Grace::of(DEFAULT_DRAIN);
                end_in_order(&gateway.gate, &gateway.keeper, &gateway.sessions, shut, grace).await;
            };
            while_awake(gateway.life.clone(), ending).await;
            gateway.life.end();
        });
    }

    fn kill(&self) {
        self.end();
    }

    fn lose_power(&self) {
        self.maker.memgraphs.power_off(self.pod);
        self.end();
        self.maker.gateways.live().remove(&self.address);
    }

    fn close(&self) {
        self.end();
        self.maker.memgraphs.remove_pod(self.pod);
        self.maker.gateways.live().remove(&self.address);
    }
}

/// How much later than its sessions the rest of a process goes on that has stood still: nobody knows in which order threads run.
const LATER: Duration = Duration::from_millis(1);

/// Work of a process, which stands still with it.
async fn while_awake(life: Life, work: impl Future<Output = ()>) {
    let mut work = pin!(work);
    loop {
        let stood_still = life.is_frozen();
        if life.awake().await.is_err() {
            return;
        }
        if stood_still {
            sleep(LATER).await;
        }
        let done = poll_fn(|context| match life.is_frozen() || life.is_over() {
            true => Poll::Ready(false),
            false => work.as_mut().poll(context).map(|()| true),
        });
        if done.await {
            return;
        }
    }
}

/// One port of a gateway.
struct Door {
    gateway: Gateway,
    memgraphs: Memgraphs,
    watchman: Watchman,
    /// Changes whenever clients that wait may be let in: the gate's own signal wakes them in a random order.
    opened: Signal<u64>,
    port: Port,
}

async fn tell_opened(mut gate: watch::Receiver<()>, opened: Signal<u64>) {
    while gate.changed().await.is_ok() {
        opened.send_modify(|times| *times += 1);
    }
}

impl Door {
    async fn accept(self, mut listener: Listener) {
        let mut sessions = JoinSet::new();
        let door = Rc::new(self);
        loop {
            tokio::select! {
                biased;
                () = door.gateway.shut.cancelled() => break,
                accepted = listener.accept() => {
                    let Some(client) = accepted else { return };
                    let session = Rc::clone(&door).serve(client);
                    sessions.spawn_local(door.gateway.sessions.track_future(session));
                }
                Some(_) = sessions.join_next() => {}
            }
        }
        drop(listener);
        while sessions.join_next().await.is_some() {}
    }

    /// Leads a client to an instance, as the production session does.
    async fn serve(self: Rc<Self>, mut client: Stream) {
        client.reset_on_drop();
        if self.gateway.life.awake().await.is_err() {
            return;
        }
        let gate = &self.gateway.gate;
        let Some(_permit) = gate.admit(self.port) else {
            return;
        };
        let since = Instant::now();
        let mut tried = Vec::new();
        loop {
            let Some(ticket) = self.ticket(&tried, since).await else {
                return;
            };
            let target = ticket.target().clone();
            let mut instance = self.memgraphs.connect(self.gateway.place, target.address);
            let connected = tokio::select! {
                biased;
                // The client was told nothing yet, so that another MAIN is as good for it.
                () = ticket.cut() => {
                    tried.push(target);
                    continue;
                }
                connected = timeout(gate.limits().connect_timeout, instance.connected()) => connected,
            };
            if self.gateway.life.awake().await.is_err() {
                return;
            }
            let incident = match connected {
                Ok(true) => Incident::Connected,
                Ok(false) => Incident::Refused,
                Err(_) => Incident::Silent,
            };
            gate.note(&target, incident);
            if incident == Incident::Connected {
                let passage = Through {
                    gateway: self.gateway.clone(),
                    watchman: self.watchman.clone(),
                    ticket,
                };
                let (ended, passage) = relay(client, instance, passage).await;
                if matches!(ended, Some((By::Instance, _))) {
                    gate.note(&target, Incident::Refused);
                }
                drop(passage);
                return;
            }
            tried.push(target);
        }
    }

    /// The right to use MAIN or a replica; a client of MAIN waits for it.
    async fn ticket(&self, tried: &[Target], since: Instant) -> Option<Ticket> {
        let gate = &self.gateway.gate;
        if let Some(ticket) = gate.enter(self.port, tried) {
            return Some(ticket);
        }
        if self.port != Port::ReadWrite {
            return None;
        }
        let _held = gate.hold()?;
        let mut opened = self.opened.subscribe();
        let entered = async {
            loop {
                if let Some(ticket) = gate.enter(self.port, tried) {
                    return Some(ticket);
                }
                opened.changed().await;
            }
        };
        tokio::select! {
            biased;
            entered = timeout_at(since + gate.limits().hold_timeout, entered) => entered.ok()?,
            () = gate.ended() => None,
        }
    }
}

/// The production rule for the bytes of one session.
struct Through {
    gateway: Gateway,
    watchman: Watchman,
    ticket: Ticket,
}

impl Through {
    async fn pass(&self) -> Result<(), Cut> {
        let clearance = self.ticket.clearance();
        loop {
            self.gateway.life.awake().await.map_err(|_| Cut)?;
            if self.ticket.cut().now_or_never().is_some() {
                return Err(Cut);
            }
            if !clearance.flow().is_held() {
                break;
            }
            // All sessions wait for the same and would be woken in a random order.
            sleep(LOOK_AGAIN).await;
        }
        match clearance.leave() {
            Leave::Over => Err(Cut),
            Leave::Attested | Leave::Free => Ok(()),
        }
    }
}

impl Passage for Through {
    async fn towards_instance(&mut self) -> Result<(), Cut> {
        self.pass().await?;
        let (gateway, of_main) = (&self.gateway, self.ticket.target().duty != Duty::Replica);
        self.watchman
            .i10_nothing_without_a_right(&gateway.name, of_main && gateway.has_run_out());
        self.ticket.wait().asked();
        Ok(())
    }

    async fn towards_client(&mut self) -> Result<(), Cut> {
        self.pass().await?;
        let clearance = self.ticket.clearance();
        let mut is_attested = false;
        while clearance.leave() == Leave::Attested && !is_attested {
            // All sessions wait for the same and would be woken in a random order.
            let mut attested = pin!(clearance.attested());
            while poll!(attested.as_mut()).is_pending() {
                sleep(LOOK_AGAIN).await;
                self.pass().await?;
            }
            is_attested = true;
        }
        if let Some(term) = self.ticket.term() {
            let enforced = self.gateway.enforced.borrow().term;
            self.watchman.delivered(&Delivery {
                gateway: &self.gateway.name,
                from: self.ticket.target(),
                term,
                enforced,
                right_is_over: self.gateway.has_run_out(),
            });
        }
        self.ticket.wait().answered();
        Ok(())
    }

    async fn cut(&self) {
        self.ticket.cut().await;
        // A process that stands still notices later.
        let _ = self.gateway.life.awake().await;
    }
}

/// How a gateway tries the ports of replicas.
struct Dialling {
    memgraphs: Memgraphs,
    from: Place,
}

impl Dial for Dialling {
    async fn is_taken(&self, address: SocketAddr) -> bool {
        self.memgraphs.connect(self.from, address).connected().await
    }
}

/// What the processes of one operator keep for each other, by the cluster's UID.
pub type Kept = Arc<Mutex<BTreeMap<String, Acquaintance>>>;

/// How an operator process asks gateways.
#[derive(Clone)]
pub struct Link {
    pub(crate) from: Place,
    pub(crate) life: Life,
    pub(crate) gateways: Gateways,
    pub(crate) paths: Paths,
    pub(crate) protocol: Protocol,
    pub(crate) kept: Kept,
}

impl Link {
    fn kept(&self) -> MutexGuard<'_, BTreeMap<String, Acquaintance>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl GatewayLink for Link {
    /// Nothing but the operator and the gateways takes part in this network: there are no certificates.
    async fn prepare(&self, _client: &Client, _cluster: &MemgraphCluster) -> Result<(), Unprepared> {
        Ok(())
    }

    async fn acquaint(&self, _client: &Client, _cluster: &Acquaintance) -> Result<(), Unprepared> {
        Ok(())
    }

    fn remember(&self, cluster: &Acquaintance) {
        self.kept().insert(cluster.uid.clone(), cluster.clone());
    }

    fn recall(&self) -> Vec<Acquaintance> {
        self.kept().values().cloned().collect()
    }

    fn forget(&self, cluster: &str) {
        self.kept().remove(cluster);
    }

    async fn exchange(
        &self,
        _cluster: &str,
        gateway: IpAddr,
        request: &Request,
        deadline: Duration,
    ) -> Result<Response, Unasked> {
        let over = |_| Unasked::Failed("the process has ended".to_owned());
        self.life.awake().await.map_err(over)?;
        // An operator's tasks that wait for the ledger are woken in a random order. Each gateway is asked at a moment of its
        // own, so that this order makes no difference.
        sleep(Duration::from_millis(1 + self.gateways.rank(gateway))).await;
        self.protocol.asked(request);
        if let Some(later) = self.gateways.again() {
            let (link, request) = (self.clone(), request.clone());
            tokio::spawn(async move {
                sleep(later).await;
                // Nobody waits for this answer.
                let _ = timeout(deadline, link.ask(gateway, &request)).await;
            });
        }
        let answered = timeout(deadline, self.ask(gateway, request)).await;
        self.life.awake().await.map_err(over)?;
        answered.unwrap_or_else(|_| Err(Unasked::Failed("no answer in time".to_owned())))
    }
}

impl Link {
    async fn ask(&self, gateway: IpAddr, request: &Request) -> Result<Response, Unasked> {
        let Some(place) = self.gateways.place(gateway) else {
            // Nobody has this address.
            return std::future::pending().await;
        };
        self.paths.travel(self.from, place, names::CONTROL_PORT).await;
        let found = self
            .gateways
            .live()
            .get(&gateway)
            .map(|slot| slot.gateway.clone());
        let Some(found) = found else {
            return std::future::pending().await;
        };
        let answer = match found {
            None => Err(Unasked::Refused),
            Some(gateway) => {
                let reset = |_| Unasked::Failed("the connection was reset".to_owned());
                gateway.life.awake().await.map_err(reset)?;
                let _turn = gateway.answering.lock().await;
                let answer = gateway
                    .keeper
                    .answer(request, &gateway.gate, &gateway.enforced)
                    .await;
                gateway.life.awake().await.map_err(reset)?;
                Ok(answer)
            }
        };
        self.paths.travel(place, self.from, names::CONTROL_PORT).await;
        answer
    }
}
