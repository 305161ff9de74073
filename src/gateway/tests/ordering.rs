//! The acknowledgement of a fence comes after the fence, at every step.

use std::{
    io::ErrorKind,
    pin::pin,
    sync::{Arc, Mutex},
    task::{Context, Wake, Waker},
    time::Duration,
};

use futures::poll;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::{Notify, watch},
};

use super::{
    cluster::{Build, demo, replica},
    harness::{Instance, POD, TestClock, fill, loopback, read_all_now, serve, soon},
};
use crate::{
    api::MemgraphCluster,
    gateway::{
        enforce::enforce,
        gate::{Gate, Port},
        keeper::Keeper,
        routes::Routes,
        session, socket,
        statistics::Statistics,
    },
    traces::Traces,
};

fn routes(cluster: &MemgraphCluster) -> Routes {
    Routes {
        granted_until: Some(Duration::from_secs(1)),
        ..Routes::derive(cluster)
    }
}

fn gate() -> Arc<Gate> {
    let keeper = Keeper::new(TestClock::default(), POD.to_owned(), 1);
    Arc::new(Gate::new(keeper))
}

/// A gate with its enforcer, which moves only when it is polled.
macro_rules! enforcer {
    ($gate:ident, $wanted:ident, $enforced:ident, $enforcer:ident, $first:expr) => {
        let $gate = gate();
        let ($wanted, receiver) = watch::channel(routes($first));
        let (publish, $enforced) = watch::channel(Routes::default());
        let enforcing = enforce(Arc::clone(&$gate), receiver, publish, Traces::default());
        let mut $enforcer = pin!(enforcing);
        assert!(poll!($enforcer.as_mut()).is_pending());
        assert_eq!(*$enforced.borrow(), routes($first));
    };
}

#[tokio::test]
async fn a_fence_is_not_acknowledged_while_a_session_of_the_old_term_exists() {
    enforcer!(gate, wanted, enforced, enforcer, &demo());
    let ticket = gate.enter(Port::ReadWrite, &[]).unwrap();

    let closed = routes(&demo().term(8).closed());
    wanted.send_replace(closed.clone());
    assert!(poll!(enforcer.as_mut()).is_pending());
    assert_eq!(enforced.borrow().term, 7, "acknowledged while a session exists");
    assert!(
        gate.enter(Port::ReadWrite, &[]).is_none(),
        "let in after the fence"
    );
    soon(ticket.cut()).await;

    drop(ticket);
    assert!(poll!(enforcer.as_mut()).is_pending());
    assert_eq!(*enforced.borrow(), closed);
}

#[tokio::test]
async fn a_reader_of_the_next_main_holds_up_the_acknowledgement_too() {
    let before = demo().instances([replica("demo-1", "10.0.0.11")]);
    enforcer!(gate, wanted, enforced, enforcer, &before);
    let reader = gate.enter(Port::Read, &[]).unwrap();

    wanted.send_replace(routes(&before.main("demo-1", "10.0.0.11").term(8).closed()));
    assert!(poll!(enforcer.as_mut()).is_pending());
    assert_eq!(enforced.borrow().term, 7, "acknowledged while a session exists");
    drop(reader);
    assert!(poll!(enforcer.as_mut()).is_pending());
    assert_eq!(enforced.borrow().term, 8);
}

#[tokio::test]
async fn a_reader_that_was_led_to_main_is_fenced_like_a_writer() {
    let before = demo().spec(|s| s.gateway.read.fallback_to_main = true);
    enforcer!(gate, wanted, enforced, enforcer, &before);
    let reader = gate.enter(Port::Read, &[]).unwrap();

    // Even though the same instance stays MAIN.
    wanted.send_replace(routes(&before.term(8)));
    assert!(poll!(enforcer.as_mut()).is_pending());
    assert_eq!(enforced.borrow().term, 7, "acknowledged while a session exists");
    soon(reader.cut()).await;
    drop(reader);
    assert!(poll!(enforcer.as_mut()).is_pending());
    assert_eq!(enforced.borrow().term, 8);
}

#[tokio::test]
async fn of_several_changes_during_one_fence_the_newest_holds_in_the_end() {
    enforcer!(gate, wanted, enforced, enforcer, &demo());
    let ticket = gate.enter(Port::ReadWrite, &[]).unwrap();

    wanted.send_replace(routes(&demo().term(8).main("demo-1", "10.0.0.11")));
    assert!(poll!(enforcer.as_mut()).is_pending());
    wanted.send_replace(routes(&demo().term(9).closed()));
    drop(ticket);
    assert!(poll!(enforcer.as_mut()).is_pending());
    assert_eq!(enforced.borrow().term, 9);
    assert!(gate.enter(Port::ReadWrite, &[]).is_none());
}

#[tokio::test]
async fn sessions_of_an_unchanged_route_outlive_every_other_change() {
    enforcer!(gate, wanted, enforced, enforcer, &demo());
    let ticket = gate.enter(Port::ReadWrite, &[]).unwrap();

    let changed = demo()
        .instances([replica("demo-1", "10.0.0.11")])
        .spec(|s| s.gateway.read_write.max_connections = 1);
    wanted.send_replace(routes(&changed));
    assert!(poll!(enforcer.as_mut()).is_pending());
    assert_eq!(*enforced.borrow(), routes(&changed));
    assert!(futures::FutureExt::now_or_never(ticket.cut()).is_none());
}

#[tokio::test]
async fn an_enforcer_that_is_still_at_work_opens_nothing_behind_the_end() {
    let gate = gate();
    let wanted = routes(
        &demo()
            .main("demo-0", "10.0.0.10")
            .instances([replica("demo-1", "10.0.0.11")]),
    );
    gate.open(&wanted);
    let mut reader = gate.enter(Port::Read, &[]);
    assert!(reader.is_some() && gate.enter(Port::ReadWrite, &[]).is_some());

    gate.end();
    let closed = Routes::default();
    let mut cut = Box::pin(gate.cut_all_but(&closed));
    assert!(poll!(cut.as_mut()).is_pending());
    gate.open(&wanted);
    drop(reader.take());
    soon(cut).await;
    gate.open(&wanted);
    assert!(gate.enter(Port::Read, &[]).is_none() && gate.enter(Port::ReadWrite, &[]).is_none());
}

#[tokio::test]
async fn a_fence_waits_for_sessions_that_the_end_of_the_gateway_is_cutting() {
    enforcer!(gate, wanted, enforced, enforcer, &demo());
    let mut tickets = vec![gate.enter(Port::ReadWrite, &[]).unwrap()];

    gate.end();
    let nothing = Routes::default();
    let mut end = Box::pin(gate.cut_all_but(&nothing));
    assert!(poll!(end.as_mut()).is_pending());
    let closed = routes(&demo().term(8).closed());
    wanted.send_replace(closed.clone());
    assert!(poll!(enforcer.as_mut()).is_pending());
    assert_eq!(enforced.borrow().term, 7, "acknowledged while a session exists");

    tickets.clear();
    assert_eq!(soon(end).await, 1);
    assert!(poll!(enforcer.as_mut()).is_pending());
    assert_eq!(*enforced.borrow(), closed);
}

#[tokio::test]
async fn the_end_of_the_gateway_waits_for_sessions_that_a_fence_is_cutting() {
    enforcer!(gate, wanted, enforced, enforcer, &demo());
    let ticket = gate.enter(Port::ReadWrite, &[]).unwrap();
    wanted.send_replace(routes(&demo().term(8).closed()));
    assert!(poll!(enforcer.as_mut()).is_pending());

    gate.end();
    let nothing = Routes::default();
    let mut end = Box::pin(gate.cut_all_but(&nothing));
    assert!(poll!(end.as_mut()).is_pending(), "the grant would be given back");
    // Whoever gives up to wait leaves it to the next one.
    drop(end);
    let mut end = Box::pin(gate.cut_all_but(&nothing));
    assert!(poll!(end.as_mut()).is_pending(), "the grant would be given back");
    drop(ticket);
    assert_eq!(soon(end).await, 0, "the enforcer has cut it");
    assert!(poll!(enforcer.as_mut()).is_pending());
    assert_eq!(enforced.borrow().term, 8);
}

/// Looks at both peers at the very moment at which the fence learns that the last ticket is back.
struct Witness {
    peers: Mutex<Vec<std::net::TcpStream>>,
    found: Mutex<Vec<Result<(), ErrorKind>>>,
    looked: Notify,
}

impl Wake for Witness {
    fn wake(self: Arc<Self>) {
        let mut found = self.found.lock().unwrap();
        if found.is_empty() {
            found.extend(self.peers.lock().unwrap().iter_mut().map(read_all_now));
        }
        self.looked.notify_one();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_sockets_are_reset_before_the_session_gives_its_ticket_back() {
    let main = Instance::start().await;
    let gate = gate();
    gate.open(&routes(&demo().main_at("demo-0", main.address)));
    let listener = socket::listen_for_sessions(loopback()).unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (accepted, _) = listener.accept().await.unwrap();
    let origin = session::Origin {
        port: Port::ReadWrite,
        address: accepted.peer_addr().unwrap(),
        statistics: Arc::new(Statistics::new(Port::ReadWrite)),
    };
    let session = tokio::spawn(serve(Arc::clone(&gate), origin, accepted));
    let mut instance = main.accept().await;
    // A client whose session has not begun when the route ends is held for the next one, and not reset.
    client.write_u8(1).await.unwrap();
    assert_eq!(soon(instance.read_u8()).await.unwrap(), 1);
    fill(&client).await;
    fill(&instance).await;

    let witness = Arc::new(Witness {
        peers: Mutex::new([client, instance].map(|s| s.into_std().unwrap()).into()),
        found: Mutex::default(),
        looked: Notify::new(),
    });
    let waker = Waker::from(Arc::clone(&witness));
    let closed = Routes::default();
    let mut fence = Box::pin(gate.cut_all_but(&closed));
    // The session runs on another thread and may be over before the fence begins to wait.
    if fence.as_mut().poll(&mut Context::from_waker(&waker)).is_ready() {
        waker.wake_by_ref();
    }
    soon(witness.looked.notified()).await;
    assert_eq!(
        *witness.found.lock().unwrap(),
        [Err(ErrorKind::ConnectionReset), Err(ErrorKind::ConnectionReset)]
    );
    soon(session).await.unwrap();
}
