//! Bytes that are held, and bytes of MAIN that must be attested first.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

use super::{
    cluster::{Build, demo, unset},
    harness::{Instance, POD, TestClock, loopback, pattern, serve, soon},
};
use crate::{
    api::MemgraphCluster,
    gateway::{
        attestation::{TcpDial, attest},
        gate::{Gate, Port},
        keeper::Keeper,
        routes::Routes,
        session, socket,
        statistics::Statistics,
    },
    grants::{Failsafe, Grant, MemberPort, Position, Request, VERSION, Voucher},
};

const TERM: i64 = 7;

/// A gate with one session to MAIN.
struct Scene {
    cluster: MemgraphCluster,
    members: Vec<SocketAddr>,
    clock: TestClock,
    keeper: Arc<Keeper>,
    gate: Arc<Gate>,
    client: TcpStream,
    instance: TcpStream,
    _main: Instance,
    _tasks: [JoinHandle<()>; 2],
}

impl Scene {
    /// In-sync replicas take connections for replication there.
    async fn with_members(ports: &[SocketAddr]) -> Self {
        let main = Instance::start().await;
        let cluster = demo().term(TERM).main_at("demo-0", main.address);
        let clock = TestClock::default();
        let keeper = Keeper::new(clock.clone(), POD.to_owned(), 1);
        keeper.see(Routes::derive(&unset()));
        grant(&keeper, &cluster, ports);
        let gate = Arc::new(Gate::new(Arc::clone(&keeper)));
        let routes: Routes = keeper.wanted().borrow().clone();
        gate.open(&routes);
        let listener = socket::listen_for_sessions(loopback()).unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (accepted, _) = listener.accept().await.unwrap();
        let origin = session::Origin {
            port: Port::ReadWrite,
            address: accepted.peer_addr().unwrap(),
            statistics: Arc::new(Statistics::new(Port::ReadWrite)),
        };
        let serving = tokio::spawn(serve(Arc::clone(&gate), origin, accepted));
        let attesting = tokio::spawn(attest(Arc::clone(&keeper), TcpDial));
        let instance = main.accept().await;
        let mut scene = Self {
            cluster,
            members: ports.to_vec(),
            clock,
            keeper,
            gate,
            client,
            instance,
            _main: main,
            _tasks: [serving, attesting],
        };
        scene.both_ways(b"hello").await;
        scene
    }

    async fn both_ways(&mut self, bytes: &[u8]) {
        send(&mut self.client, &mut self.instance, bytes).await;
        send(&mut self.instance, &mut self.client, bytes).await;
    }

    /// What the keeper wants is enforced.
    async fn enforce(&self) {
        let routes: Routes = self.keeper.wanted().borrow().clone();
        self.gate.cut_all_but(&routes).await;
        self.gate.open(&routes);
    }

    /// The route is closed for a moment, and MAIN stays.
    async fn pause(&mut self) {
        let closed = self.cluster.clone().paused();
        self.keeper.hear(&asking(&closed));
        self.enforce().await;
        assert_eq!(
            (self.gate.sessions().read_write, self.gate.sessions().paused),
            (1, 1)
        );
        assert!(self.gate.enter(Port::ReadWrite, &[]).is_none());
        self.cluster = closed.resumed();
    }

    async fn resume(&self) {
        grant(&self.keeper, &self.cluster, &self.members);
        self.enforce().await;
        assert_eq!(
            (self.gate.sessions().read_write, self.gate.sessions().paused),
            (1, 0)
        );
    }

    fn term(&self) -> i64 {
        self.cluster
            .status
            .as_ref()
            .unwrap()
            .ledger
            .as_ref()
            .unwrap()
            .term
    }

    /// The grant goes on by what was attested and by the operator's word, and by nothing else: nobody has renewed it.
    async fn extend(&self) {
        let cluster = "uid-1".to_owned();
        self.clock.advance(Duration::from_secs(3));
        self.keeper.completed(self.term());
        let (_, nonce) = self.keeper.nonce();
        let operator = "operator-0".to_owned();
        self.keeper.hear(&Request {
            version: VERSION,
            cluster,
            position: None,
            grant: None,
            voucher: Some(Voucher { nonce, operator }),
        });
        let mut wanted = self.keeper.wanted();
        let extended = |routes: &Routes| routes.granted_until > routes.free_until;
        let routes = soon(wanted.wait_for(extended)).await.unwrap().clone();
        self.gate.open(&routes);
        self.clock.advance(Duration::from_secs(2));
    }
}

/// What an operator asks that knows of this ledger.
fn asking(cluster: &MemgraphCluster) -> Request {
    let ledger = cluster.status.as_ref().unwrap().ledger.as_ref().unwrap();
    Request {
        version: VERSION,
        cluster: cluster.metadata.uid.clone().unwrap(),
        position: Some(Position::of(ledger)),
        grant: None,
        voucher: None,
    }
}

/// Grants what this ledger says. In-sync replicas take connections for replication at these ports.
fn grant(keeper: &Keeper, cluster: &MemgraphCluster, ports: &[SocketAddr]) {
    let (pod_uid, nonce) = keeper.nonce();
    let ledger = cluster.status.as_ref().unwrap().ledger.as_ref().unwrap();
    let asking = asking(cluster);
    let grant = Grant {
        nonce,
        cluster: asking.cluster.clone(),
        term: ledger.term,
        main: ledger.main.clone(),
        address: ledger.main_address.clone(),
        pod_uid,
        ttl_millis: 4_000,
        failsafe: Some(Failsafe {
            by: "operator-0".to_owned(),
            operators: vec!["operator-0".to_owned()],
            members: ports
                .iter()
                .map(|address| MemberPort {
                    copy: ledger.main.clone(),
                    address: *address,
                })
                .collect(),
        }),
    };
    let refused = keeper.hear(&Request {
        grant: Some(grant),
        ..asking
    });
    assert_eq!(refused, None);
}

async fn send(from: &mut TcpStream, to: &mut TcpStream, bytes: &[u8]) {
    soon(from.write_all(bytes)).await.unwrap();
    let mut got = vec![0; bytes.len()];
    soon(to.read_exact(&mut got)).await.unwrap();
    assert_eq!(got, bytes);
}

/// Whether nothing comes for a while. Too short a while only makes the test see less.
async fn is_quiet(stream: &mut TcpStream) -> bool {
    let mut byte = [0];
    let look = tokio::time::timeout(Duration::from_millis(200), stream.peek(&mut byte));
    look.await.is_err()
}

#[tokio::test]
async fn held_bytes_wait_in_both_directions_and_none_is_lost() {
    let mut scene = Scene::with_members(&[]).await;
    scene.pause().await;
    let (up, down) = (pattern(300_001), pattern(200_003));
    let Scene { client, instance, .. } = &mut scene;
    client.write_all(&up[..1_000]).await.unwrap();
    instance.write_all(&down[..1_000]).await.unwrap();
    assert!(is_quiet(client).await && is_quiet(instance).await);

    scene.resume().await;
    let Scene { client, instance, .. } = &mut scene;
    let (mut from_client, mut to_client) = client.split();
    let (mut from_instance, mut to_instance) = instance.split();
    let (mut got_up, mut got_down) = (vec![0; up.len()], vec![0; down.len()]);
    soon(async {
        tokio::try_join!(
            to_client.write_all(&up[1_000..]),
            to_instance.write_all(&down[1_000..]),
            from_instance.read_exact(&mut got_up),
            from_client.read_exact(&mut got_down),
        )
    })
    .await
    .unwrap();
    assert!(got_up == up && got_down == down);
}

#[tokio::test]
async fn what_was_held_is_not_passed_on_when_the_session_is_cut() {
    let mut scene = Scene::with_members(&[]).await;
    scene.pause().await;
    scene.instance.write_all(b"committed").await.unwrap();
    assert!(is_quiet(&mut scene.client).await);
    scene.gate.cut_all_but(&Routes::default()).await;
    let mut got = Vec::new();
    assert!(soon(scene.client.read_to_end(&mut got)).await.is_err());
    assert_eq!(got, b"");
}

/// After a pause MAIN is MAIN of another term, and so are its replicas.
#[tokio::test]
async fn after_a_pause_the_replicas_of_the_present_term_attest_what_main_says() {
    let member = TcpListener::bind(loopback()).await.unwrap();
    let mut scene = Scene::with_members(&[member.local_addr().unwrap()]).await;
    scene.pause().await;
    scene.resume().await;
    scene.extend().await;
    scene.both_ways(b"all are there").await;
}

#[tokio::test]
async fn what_main_says_on_failsafe_waits_until_all_replicas_take_connections() {
    let members = [
        TcpListener::bind(loopback()).await.unwrap(),
        TcpListener::bind(loopback()).await.unwrap(),
    ];
    let ports = members.each_ref().map(|member| member.local_addr().unwrap());
    let mut scene = Scene::with_members(&ports).await;
    scene.extend().await;
    scene.both_ways(b"all are there").await;

    // One of them is promoted.
    let [gone, _other] = members;
    drop(gone);
    scene.clock.advance(Duration::from_millis(1));
    send(&mut scene.client, &mut scene.instance, b"a client may ask").await;
    scene.instance.write_all(b"committed").await.unwrap();
    assert!(is_quiet(&mut scene.client).await);

    let _back = TcpListener::bind(ports[0]).await.unwrap();
    let mut got = [0; 9];
    soon(scene.client.read_exact(&mut got)).await.unwrap();
    assert_eq!(&got, b"committed");
}

#[tokio::test]
async fn what_main_says_on_failsafe_is_not_passed_on_by_a_cut() {
    let member = TcpListener::bind(loopback()).await.unwrap();
    let mut scene = Scene::with_members(&[member.local_addr().unwrap()]).await;
    scene.extend().await;
    drop(member);
    scene.clock.advance(Duration::from_millis(1));
    scene.instance.write_all(b"committed").await.unwrap();
    scene.gate.cut_all_but(&Routes::default()).await;
    let mut got = Vec::new();
    assert!(soon(scene.client.read_to_end(&mut got)).await.is_err());
    assert_eq!(got, b"");
}
