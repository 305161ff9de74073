//! A session that is stopped wherever it may wait: nothing passes afterwards, both ends are reset, and all that it had is given
//! back.

use std::{
    collections::BTreeSet,
    future::{Future, poll_fn},
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, LazyLock},
    task::Poll,
    time::Duration,
};

use socket2::SockRef;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
    sync::watch,
    task::JoinHandle,
};

use super::{
    cluster::{Build, demo},
    harness::{POD, TestClock, loopback, pattern, serve, soon},
};
use crate::{
    api::DurationString,
    gateway::{
        gate::{Gate, Port},
        keeper::Keeper,
        routes::Routes,
        session, socket,
        statistics::{Direction, Ending, Refusal, Statistics},
    },
    grants::SessionCounts,
};

/// More than the sockets on the way to the instance hold.
static QUESTION: LazyLock<Vec<u8>> = LazyLock::new(|| pattern(4 << 20));
/// More than those on the way to the client hold.
static ANSWER: LazyLock<Vec<u8>> = LazyLock::new(|| pattern(1 << 20));
/// So much of the answer stays with the gateway until the client asks for it: less than the gateway's socket holds, and more
/// than the client's.
const LAST: usize = 150_000;
const SENT: usize = 256 * 1024;
const RECEIVED: u32 = 16 * 1024;

/// By what a session is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    /// By the end of its route.
    Cut,
    /// By being dropped, as when it panics.
    Dropped,
}

/// What peers may do by now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Act {
    Write,
    Read,
    ReadLast,
}

/// What a peer has got, and whether it has learned that its connection was reset.
struct Heard {
    bytes: Vec<u8>,
    reset: bool,
}

struct Scene {
    gate: Arc<Gate>,
    open: Routes,
    statistics: Arc<Statistics>,
    session: Pin<Box<dyn Future<Output = ()>>>,
    client: JoinHandle<Heard>,
    instance: JoinHandle<Heard>,
    act: watch::Sender<Act>,
}

impl Scene {
    async fn begin() -> Self {
        let main = small_listener();
        let cluster = demo()
            .main_at("demo-0", main.local_addr().unwrap())
            .spec(|s| s.gateway.hold_timeout = DurationString::from_millis(60_000));
        let keeper = Keeper::new(TestClock::default(), POD.to_owned(), 1);
        let gate = Arc::new(Gate::new(keeper));
        let open = Routes {
            granted_until: Some(Duration::from_secs(5)),
            ..Routes::derive(&cluster)
        };
        gate.open(&open.closed());

        let listener = socket::listen_for_sessions(loopback()).unwrap();
        let received = usize::try_from(4 * RECEIVED).unwrap();
        SockRef::from(&listener).set_recv_buffer_size(received).unwrap();
        let (act, acts) = watch::channel(Act::Write);
        let client = connect(listener.local_addr().unwrap()).await;
        let client = tokio::spawn(talk(client, &QUESTION, ANSWER.len() - LAST, acts.clone()));
        let (accepted, address) = listener.accept().await.unwrap();
        SockRef::from(&accepted).set_send_buffer_size(SENT).unwrap();
        let instance = tokio::spawn(async move {
            let (stream, _) = main.accept().await.unwrap();
            talk(stream, &ANSWER, 0, acts).await
        });
        let statistics = Arc::new(Statistics::new(Port::ReadWrite));
        let origin = session::Origin {
            port: Port::ReadWrite,
            address,
            statistics: Arc::clone(&statistics),
        };
        Self {
            session: Box::pin(serve(Arc::clone(&gate), origin, accepted)),
            gate,
            open,
            statistics,
            client,
            instance,
            act,
        }
    }

    /// What happens around the session: it is held, led to MAIN, held up by both peers, and paused. In the end it waits for a client
    /// that does not take its last bytes.
    fn direct(&self) -> JoinHandle<()> {
        let (gate, open, statistics) = (
            Arc::clone(&self.gate),
            self.open.clone(),
            Arc::clone(&self.statistics),
        );
        let act = self.act.clone();
        tokio::spawn(async move {
            while gate.sessions().held == 0 {
                tokio::task::yield_now().await;
            }
            gate.open(&open);
            settled(&statistics).await;
            let paused = Routes {
                paused: open.read_write.clone(),
                ..open.closed()
            };
            gate.cut_all_but(&paused).await;
            act.send_replace(Act::Read);
            settled(&statistics).await;
            gate.open(&open);
        })
    }

    /// What the session does at the moment.
    fn phase(&self) -> &'static str {
        match self.gate.sessions() {
            SessionCounts { held: 1, .. } => "held",
            SessionCounts { paused: 1, .. } => "paused",
            _ if self.statistics.begun() == 0 => "connecting",
            _ if passed(&self.statistics) == (QUESTION.len(), ANSWER.len()) => "finishing",
            _ => "passing",
        }
    }

    /// Lets the session go on until it has waited so many times. Whether it has ended before.
    async fn go_on(&mut self, times: usize) -> bool {
        let mut waited = 0;
        let ended = poll_fn(|context| {
            if self.session.as_mut().poll(context).is_ready() {
                return Poll::Ready(true);
            }
            waited += 1;
            if waited == times {
                Poll::Ready(false)
            } else {
                Poll::Pending
            }
        });
        soon(ended).await
    }

    /// Stops the session, and looks at what is left of it.
    async fn stop(self, by: Stop, times: usize) {
        let Self {
            gate,
            statistics,
            session,
            client,
            instance,
            ..
        } = self;
        match by {
            Stop::Dropped => drop(session),
            Stop::Cut => {
                gate.end();
                let nothing = Routes::default();
                soon(async { tokio::join!(gate.cut_all_but(&nothing), session) }).await;
            }
        }
        let stopped_at = format!("{by:?} after having waited {times} times");
        let (up, down) = passed(&statistics);
        assert_eq!(gate.sessions(), SessionCounts::default(), "{stopped_at}");
        let refused: u64 = Refusal::ALL
            .map(|refusal| statistics.refused(refusal))
            .iter()
            .sum();
        let ended: u64 = Ending::ALL.map(|ending| statistics.ended(ending)).iter().sum();
        assert_eq!(statistics.begun(), ended, "{stopped_at}");
        if by == Stop::Cut {
            assert_eq!(ended + refused, 1, "{stopped_at}");
        }

        let client = soon(client).await.unwrap();
        assert_got(&client, &ANSWER, down, &stopped_at);
        if statistics.begun() == 1 {
            let instance = soon(instance).await.unwrap();
            assert_got(&instance, &QUESTION, up, &stopped_at);
        } else {
            instance.abort();
            assert_eq!((up, down), (0, 0));
        }
        assert_eq!(passed(&statistics), (up, down), "{stopped_at}");
    }
}

/// Its connections hold little that was not read.
fn small_listener() -> TcpListener {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4 * RECEIVED).unwrap();
    socket.bind(loopback()).unwrap();
    socket.listen(1).unwrap()
}

async fn connect(to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(RECEIVED).unwrap();
    soon(socket.connect(to)).await.unwrap()
}

/// A peer that says all this and ends its half, and reads what comes as it may: so many bytes at first, and then the rest.
async fn talk(stream: TcpStream, says: &'static [u8], first: usize, mut acts: watch::Receiver<Act>) -> Heard {
    let (mut read, mut write) = stream.into_split();
    let writing = tokio::spawn(async move {
        write.write_all(says).await?;
        write.shutdown().await
    });
    let mut bytes = Vec::new();
    let reading = async {
        let _ = acts.wait_for(|act| *act >= Act::Read).await;
        let mut part = (&mut read).take(u64::try_from(first).unwrap());
        part.read_to_end(&mut bytes).await?;
        let _ = acts.wait_for(|act| *act >= Act::ReadLast || first == 0).await;
        read.read_to_end(&mut bytes).await
    };
    let read = reading.await;
    // Whoever of the two comes first is told of the reset; the other one finds the connection closed.
    let written = writing.await.unwrap();
    Heard {
        bytes,
        reset: read.is_err() || written.is_err(),
    }
}

/// Bytes to the instance and to the client.
fn passed(statistics: &Statistics) -> (usize, usize) {
    let bytes = |direction| usize::try_from(statistics.bytes(direction)).unwrap();
    (bytes(Direction::Up), bytes(Direction::Down))
}

/// Ends when the session does nothing more of itself. Too early an end only makes the test see less.
async fn settled(statistics: &Statistics) {
    loop {
        let before = passed(statistics);
        for _ in 0..200 {
            tokio::task::yield_now().await;
        }
        if passed(statistics) == before {
            return;
        }
    }
}

/// Nothing came that was not passed on before the stop, and whoever has not got everything knows.
fn assert_got(heard: &Heard, said: &[u8], passed: usize, stopped_at: &str) {
    let got = heard.bytes.len();
    assert!(got <= passed, "{stopped_at}: {got} bytes came of {passed}");
    assert!(heard.bytes == said[..got], "{stopped_at}: other bytes came");
    assert!(
        heard.reset || got == said.len(),
        "{stopped_at}: {got} bytes came, and no reset"
    );
}

#[tokio::test]
async fn a_session_that_is_stopped_wherever_it_waits_passes_nothing_more_and_leaves_nothing() {
    for by in [Stop::Cut, Stop::Dropped] {
        let mut phases = BTreeSet::new();
        let mut finishing = 0;
        for times in 1.. {
            let mut scene = Scene::begin().await;
            let directing = scene.direct();
            assert!(
                !scene.go_on(times).await,
                "it has ended without the client's last bytes"
            );
            directing.abort();
            let _ = directing.await;
            let phase = scene.phase();
            phases.insert(phase);
            // Peers that wait for leave to read find the reset.
            scene.act.send_replace(Act::ReadLast);
            scene.stop(by, times).await;
            // From here on it only waits for the client, ever longer.
            finishing += usize::from(phase == "finishing");
            if finishing == 3 {
                break;
            }
        }
        let all = ["connecting", "finishing", "held", "passing", "paused"];
        assert_eq!(phases.into_iter().collect::<Vec<_>>(), all, "{by:?}");
    }
}
