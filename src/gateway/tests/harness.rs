//! A gateway, instances and clients on loopback sockets.

use std::{
    future::Future,
    io::{self, ErrorKind, Read},
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use rustls::ServerConfig;
use socket2::{Domain, Socket, Type};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::cluster::unset;
use crate::{
    api::{MemgraphCluster, ledger::Route},
    gateway::{
        Addresses, FromOutside, Gate, Gateway, GatewayError, Statistics, Termination,
        dormitory::{Dormitory, SLEEP_AFTER},
        ending::Grace,
        keeper::Keeper,
        routes::Routes,
        session,
        view::View,
    },
    grants::{Grant, Position, Request, VERSION},
    leader::Clock,
    metrics::ApiRequests,
    traces::Traces,
};

/// Against hangs only: nothing is expected to take so long.
const DEADLINE: Duration = Duration::from_secs(30);

/// The outcome, which must come before the deadline.
pub(super) async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, what)
        .await
        .expect("not done in time")
}

pub(super) fn loopback() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

/// For how long its grants last.
pub(super) const TTL: Duration = Duration::from_secs(4);

/// UID of the pod that the gateway believes to run in.
pub(super) const POD: &str = "gateway-uid";

/// A clock that stands still until it is moved.
#[derive(Clone, Debug, Default)]
pub(in crate::gateway) struct TestClock(Arc<AtomicU64>);

impl TestClock {
    pub(in crate::gateway) fn advance(&self, time: Duration) {
        self.0
            .fetch_add(u64::try_from(time.as_nanos()).unwrap(), Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Duration {
        Duration::from_nanos(self.0.load(Ordering::SeqCst))
    }
}

/// Takes no session any more as soon as it is told to end.
fn at_once(drain: Duration) -> Grace {
    Grace {
        notice: Duration::ZERO,
        drain,
    }
}

/// A gateway that is shown cluster states by the test instead of by an API server, and gets the grants that an operator
/// would give for them. They last until the test moves the clock.
pub(super) struct TestGateway {
    pub(super) clock: TestClock,
    pub(super) keeper: Arc<Keeper>,
    pub(super) addresses: Addresses,
    pub(super) stop: CancellationToken,
    pub(super) served: JoinHandle<Result<(), GatewayError>>,
    pub(super) trouble: watch::Sender<Option<String>>,
    pub(super) writers: Arc<Statistics>,
    pub(super) readers: Arc<Statistics>,
    pub(super) certificates: watch::Sender<Option<Arc<ServerConfig>>>,
    view: View,
    routes: watch::Sender<Routes>,
}

impl TestGateway {
    pub(super) async fn start() -> Self {
        Self::start_with_drain(Duration::from_secs(60)).await
    }

    pub(super) async fn start_with_drain(drain: Duration) -> Self {
        Self::start_with(at_once(drain), None, SLEEP_AFTER).await
    }

    /// One that ends like this.
    pub(super) async fn ending(grace: Grace) -> Self {
        Self::start_with(grace, None, SLEEP_AFTER).await
    }

    /// A gateway that enforces this state, whose sessions sleep when they have said nothing for so long.
    pub(super) async fn sleepy(after: Duration, cluster: &MemgraphCluster) -> Self {
        let mut gateway = Self::sleepy_with_drain(after, Duration::from_secs(60)).await;
        gateway.enforce(cluster).await;
        gateway
    }

    pub(super) async fn sleepy_with_drain(after: Duration, drain: Duration) -> Self {
        Self::start_with(at_once(drain), None, after).await
    }

    /// A gateway at which TLS ends. It waits for no session when it is stopped.
    pub(super) async fn terminating(termination: Termination) -> Self {
        Self::start_with(at_once(Duration::ZERO), Some(termination), SLEEP_AFTER).await
    }

    async fn start_with(grace: Grace, termination: Option<Termination>, sleep_after: Duration) -> Self {
        let anywhere = Addresses {
            read_write: loopback(),
            read: loopback(),
            http: loopback(),
            control: loopback(),
        };
        let mut gateway = Gateway::listen(&anywhere, grace, termination).await.unwrap();
        gateway.dormitory = Dormitory::new(sleep_after).unwrap();
        let addresses = Addresses {
            read_write: gateway.read_write.local_addr().unwrap(),
            read: gateway.read.local_addr().unwrap(),
            http: gateway.http.local_addr().unwrap(),
            control: gateway.control.local_addr().unwrap(),
        };
        let writers = Arc::clone(&gateway.read_write_statistics);
        let readers = Arc::clone(&gateway.read_statistics);
        let stop = CancellationToken::new();
        let (routes, view) = watch::channel(Routes::default());
        let (trouble, reported_trouble) = watch::channel(None);
        let clock = TestClock::default();
        let keeper = Keeper::new(clock.clone(), POD.to_owned(), 1);
        let following = Arc::clone(&keeper);
        tokio::spawn(async move { following.follow(view).await });
        let (certificates, found) = watch::channel(None);
        let from_outside = FromOutside {
            trouble: reported_trouble,
            certificates: found,
        };
        let figures = gateway.figures("graphs", "demo", ApiRequests::default());
        let serving = gateway.serve(
            Arc::clone(&keeper),
            from_outside,
            figures,
            Traces::default(),
            stop.clone(),
        );
        let served = tokio::spawn(serving);
        Self {
            clock,
            keeper,
            addresses,
            stop,
            served,
            trouble,
            writers,
            readers,
            certificates,
            view: View::default(),
            routes,
        }
    }

    /// A gateway that enforces this state.
    pub(super) async fn serving(cluster: &MemgraphCluster) -> Self {
        let mut gateway = Self::start().await;
        gateway.enforce(cluster).await;
        gateway
    }

    /// Shows a state, grants what it allows, and does not wait.
    pub(super) fn show(&mut self, cluster: &MemgraphCluster) {
        self.show_only(cluster);
        self.grant(cluster);
    }

    /// Shows a state, grants nothing, and does not wait.
    pub(super) fn show_only(&mut self, cluster: &MemgraphCluster) {
        self.view.observe(cluster);
        self.routes.send_replace(self.view.routes().clone());
    }

    /// Lets it read its cluster once, before that has a ledger.
    pub(super) async fn acquaint(&mut self) {
        self.show_only(&unset());
        self.until(|report| report["uid"] == "uid-1").await;
    }

    /// Grants what this state allows, as a leader would that has just asked. Returns why it was refused, if so.
    pub(super) fn grant(&self, cluster: &MemgraphCluster) -> Option<String> {
        let ledger = cluster.status.as_ref()?.ledger.as_ref()?;
        let uid = cluster.metadata.uid.clone()?;
        let (pod_uid, nonce) = self.keeper.nonce();
        let grant = Grant {
            nonce,
            cluster: uid.clone(),
            term: ledger.term,
            main: ledger.main.clone(),
            address: ledger.main_address.clone(),
            pod_uid,
            ttl_millis: u64::try_from(TTL.as_millis()).unwrap(),
            failsafe: None,
        };
        self.keeper.hear(&Request {
            version: VERSION,
            cluster: uid,
            position: Some(Position::of(ledger)),
            grant: (ledger.route == Route::Open).then_some(grant),
            voucher: None,
        })
    }

    /// Shows that the cluster is deleted, and does not wait.
    pub(super) fn show_deletion(&mut self, cluster: &MemgraphCluster) {
        self.view.observe_deletion(cluster);
        self.routes.send_replace(self.view.routes().clone());
    }

    /// Shows a state and waits until it is acknowledged. The term must be new or the route changed.
    pub(super) async fn enforce(&mut self, cluster: &MemgraphCluster) {
        self.show(cluster);
        let ledger = cluster.status.as_ref().unwrap().ledger.as_ref().unwrap();
        let route = format!("{:?}", ledger.route);
        self.until(|report| report["term"] == ledger.term && report["route"] == route)
            .await;
    }

    /// Waits until `/route` says this, and returns what it says.
    pub(super) async fn until(&self, condition: impl Fn(&serde_json::Value) -> bool) -> serde_json::Value {
        soon(async {
            loop {
                let report = self.route().await;
                if condition(&report) {
                    return report;
                }
            }
        })
        .await
    }

    /// Waits until there are so many sessions.
    pub(super) async fn until_sessions(&self, read_write: usize, read: usize) {
        let counted = |report: &serde_json::Value| {
            report["sessions"]["readWrite"] == read_write && report["sessions"]["read"] == read
        };
        self.until(counted).await;
    }

    /// Waits until so many sessions sleep.
    pub(super) async fn until_asleep(&self, sessions: usize) {
        let expected = format!("memgraph_gateway_sleeping_sessions {sessions}.0");
        soon(async {
            loop {
                let (_, metrics) = get(self.addresses.http, "/metrics").await;
                if metrics.lines().any(|line| line == expected) {
                    return;
                }
            }
        })
        .await;
    }

    pub(super) async fn route(&self) -> serde_json::Value {
        let (status, body) = get(self.addresses.http, "/route").await;
        assert_eq!(status, 200);
        serde_json::from_str(&body).unwrap()
    }

    pub(super) async fn readyz(&self) -> (u16, String) {
        get(self.addresses.http, "/readyz").await
    }

    pub(super) async fn client(&self) -> TcpStream {
        soon(TcpStream::connect(self.addresses.read_write)).await.unwrap()
    }

    pub(super) async fn reader(&self) -> TcpStream {
        soon(TcpStream::connect(self.addresses.read)).await.unwrap()
    }

    /// Waits until it has given its grant back after it was stopped: its sessions are gone by then.
    pub(super) async fn until_retired(&self) {
        self.until(|report| report["held"].is_null()).await;
    }

    /// Waits for its end: the time of one more grant is over by now.
    pub(super) async fn end(&mut self) {
        self.clock.advance(TTL);
        self.keeper.wake();
        soon(&mut self.served).await.unwrap().unwrap();
    }

    /// A session to MAIN, both ends of it.
    pub(super) async fn session(&self, main: &Instance) -> (TcpStream, TcpStream) {
        let client = self.client().await;
        (client, main.accept().await)
    }

    /// A session to a replica, both ends of it.
    pub(super) async fn read_session(&self, replica: &Instance) -> (TcpStream, TcpStream) {
        let client = self.reader().await;
        (client, replica.accept().await)
    }
}

/// A session from its accepted connection to its end.
pub(super) async fn serve(gate: Arc<Gate>, origin: session::Origin, client: TcpStream) {
    let place = session::Place::new(gate.admit(origin.port).unwrap(), TaskTracker::new().token());
    if let Some(session) = session::lead(gate, origin, client.into(), place).await {
        session.run().await;
    }
}

/// Waits until a figure that nothing tells the change of is this.
pub(super) async fn until<T: PartialEq + std::fmt::Debug>(expected: T, figure: impl Fn() -> T) {
    let reached = async {
        while figure() != expected {
            tokio::task::yield_now().await;
        }
    };
    if tokio::time::timeout(DEADLINE, reached).await.is_err() {
        assert_eq!(figure(), expected);
    }
}

/// `GET path`: status and body.
pub(super) async fn get(server: SocketAddr, path: &str) -> (u16, String) {
    call(server, "GET", path).await
}

/// As [`get`], by any method.
pub(super) async fn call(server: SocketAddr, method: &str, path: &str) -> (u16, String) {
    let answer = soon(async {
        let mut stream = TcpStream::connect(server).await?;
        let request = format!("{method} {path} HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        io::Result::Ok(answer)
    })
    .await
    .unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

/// A listener in the place of a Memgraph instance; the test plays the instance.
pub(super) struct Instance {
    listener: TcpListener,
    pub(super) address: SocketAddr,
}

impl Instance {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind(loopback()).await.unwrap();
        let address = listener.local_addr().unwrap();
        Self { listener, address }
    }

    pub(super) async fn accept(&self) -> TcpStream {
        soon(self.listener.accept()).await.unwrap().0
    }

    /// Sends a byte on each connection, then holds it open.
    pub(super) fn greet_everybody(self) -> JoinHandle<()> {
        tokio::spawn(async move {
            let mut held = Vec::new();
            loop {
                let (mut stream, _) = self.listener.accept().await.unwrap();
                stream.write_all(b"!").await.unwrap();
                held.push(stream);
            }
        })
    }
}

/// An address that refuses: it is taken, but nothing listens there.
pub(super) struct Refusing {
    pub(super) address: SocketAddr,
    _bound: Socket,
}

impl Refusing {
    pub(super) fn open() -> Self {
        let bound = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        bound.bind(&loopback().into()).unwrap();
        Self {
            address: bound.local_addr().unwrap().as_socket().unwrap(),
            _bound: bound,
        }
    }
}

/// An address that answers no connect: its backlog is full and nobody accepts.
pub(super) struct BlackHole {
    pub(super) address: SocketAddr,
    listener: Socket,
    _fillers: Vec<Socket>,
}

impl BlackHole {
    pub(super) fn open() -> Self {
        let socket = || Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        let listener = socket();
        listener.bind(&loopback().into()).unwrap();
        listener.listen(0).unwrap();
        let address = listener.local_addr().unwrap();
        // Linux lets one connection more than the backlog wait, and drops the SYNs of all further ones.
        let fillers = (0..3).map(|_| {
            let filler = socket();
            filler.set_nonblocking(true).unwrap();
            let _in_progress = filler.connect(&address);
            filler
        });
        Self {
            address: address.as_socket().unwrap(),
            _fillers: fillers.collect(),
            listener,
        }
    }

    /// Takes connections from now on.
    pub(super) fn answer(self) -> Instance {
        let Self {
            address, listener, ..
        } = self;
        listener.listen(128).unwrap();
        listener.set_nonblocking(true).unwrap();
        Instance {
            listener: TcpListener::from_std(listener.into()).unwrap(),
            address,
        }
    }
}

/// What a peer finds when it reads at this very moment, past everything that it still has to read.
pub(super) fn read_now(stream: TcpStream) -> Result<(), ErrorKind> {
    let mut stream = stream.into_std().unwrap();
    read_all_now(&mut stream)
}

pub(super) fn read_all_now(stream: &mut std::net::TcpStream) -> Result<(), ErrorKind> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(error) => return Err(error.kind()),
        }
    }
}

/// A new client is reset: either already when it learns that it is connected, or when it reads.
pub(super) async fn assert_refused(address: SocketAddr) {
    let greeting = greeting(address).await;
    assert_eq!(greeting.unwrap_err().kind(), ErrorKind::ConnectionReset);
}

/// A new client that has got the first byte of its session.
pub(super) async fn greeting(address: SocketAddr) -> io::Result<TcpStream> {
    soon(async {
        let mut client = TcpStream::connect(address).await?;
        client.read_u8().await?;
        Ok(client)
    })
    .await
}

/// Reads to the end, which must be a reset.
pub(super) async fn assert_reset(stream: &mut TcpStream) {
    let mut rest = Vec::new();
    let error = soon(stream.read_to_end(&mut rest)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

/// Both ends can talk to each other.
pub(super) async fn assert_connected(client: &mut TcpStream, instance: &mut TcpStream) {
    assert_passes(client, instance).await;
    assert_passes(instance, client).await;
}

async fn assert_passes(from: &mut TcpStream, to: &mut TcpStream) {
    from.write_all(b"ping").await.unwrap();
    let mut got = [0; 4];
    soon(to.read_exact(&mut got)).await.unwrap();
    assert_eq!(&got, b"ping");
}

/// Writes until nothing more is taken at once.
pub(super) async fn fill(stream: &TcpStream) {
    let bytes = [7; 64 * 1024];
    loop {
        soon(stream.writable()).await.unwrap();
        match stream.try_write(&bytes) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return,
            Err(error) => panic!("{error}"),
        }
    }
}

/// Bytes of which each place can be told from its neighbours.
pub(super) fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|i| u8::try_from(i % 251).unwrap()).collect()
}
