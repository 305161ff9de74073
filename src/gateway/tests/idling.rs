//! Sessions that pass nothing are cut, and no other ones.

use std::{
    future::Future,
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::sleep,
};

use super::{
    cluster::{Build, demo},
    harness::{Instance, POD, TestClock, TestGateway, assert_reset, fill, loopback, soon, until},
};
use crate::{
    api::{DurationString, MemgraphCluster},
    gateway::{Direction, Ending, Gate, Keeper, Port, Routes, Ticket, silence::find_idle},
};

const MINUTE: Duration = Duration::from_secs(60);

/// In virtual time: a gate to a MAIN that nobody asks, and the right to go there.
struct Still {
    gate: Gate,
    open: Routes,
    ticket: Ticket,
    begun: tokio::time::Instant,
}

impl Still {
    fn with_timeout(timeout: Duration) -> Self {
        let gate = Gate::new(Keeper::new(TestClock::default(), POD.to_owned(), 1));
        let open = Routes {
            granted_until: Some(MINUTE),
            ..Routes::derive(&demo().main_at("demo-0", loopback()))
        };
        gate.open(&Self::timed(&open, timeout));
        Self {
            ticket: gate.enter(Port::ReadWrite, &[]).unwrap(),
            gate,
            open,
            begun: tokio::time::Instant::now(),
        }
    }

    fn timed(routes: &Routes, timeout: Duration) -> Routes {
        let mut routes = routes.clone();
        routes.limits.idle_timeout = timeout;
        routes
    }

    fn set_timeout(&self, timeout: Duration) {
        self.gate.open(&Self::timed(&self.open, timeout));
    }

    /// After how many seconds the session is idle while this happens.
    async fn idle_after(&self, happens: impl Future) -> u64 {
        tokio::select! {
            biased;
            () = find_idle(&self.gate) => unreachable!(),
            _ = async { tokio::join!(biased; happens, self.ticket.wait().told()) } => self.begun.elapsed().as_secs(),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_session_is_idle_when_its_last_byte_in_either_direction_is_as_long_ago_as_is_allowed() {
    let still = Still::with_timeout(MINUTE);
    let talk = async {
        sleep(MINUTE * 9 / 10).await;
        still.ticket.wait().passed(Direction::Up);
        sleep(MINUTE * 9 / 10).await;
        still.ticket.wait().passed(Direction::Down);
    };
    assert_eq!(still.idle_after(talk).await, 54 + 54 + 60);
}

#[tokio::test(start_paused = true)]
async fn a_changed_timeout_counts_from_the_last_byte() {
    let still = Still::with_timeout(Duration::ZERO);
    let change = async {
        sleep(MINUTE * 60).await;
        still.set_timeout(MINUTE * 61);
        sleep(MINUTE / 2).await;
        still.set_timeout(MINUTE * 62);
    };
    // It is looked for idle sessions now and then.
    let late = 62 * 60 / 16;
    assert!((62 * 60..=62 * 60 + late).contains(&still.idle_after(change).await));
}

#[tokio::test(start_paused = true)]
async fn a_session_whose_bytes_are_held_is_not_idle_and_begins_anew_afterwards() {
    let still = Still::with_timeout(MINUTE);
    let pause = async {
        let paused = Routes {
            paused: still.open.read_write.clone(),
            ..Still::timed(&still.open.closed(), MINUTE)
        };
        still.gate.cut_all_but(&paused).await;
        still.gate.open(&paused);
        sleep(MINUTE * 3).await;
        still.set_timeout(MINUTE);
    };
    assert_eq!(still.idle_after(pause).await, 4 * 60);
}

/// One that is found idle at the moment at which it says something is not.
#[tokio::test(start_paused = true)]
async fn a_byte_in_the_last_moment_counts() {
    let still = Still::with_timeout(MINUTE);
    let late = async {
        sleep(MINUTE).await;
        // It was found a moment ago, and has not been told yet.
        still.ticket.wait().passed(Direction::Up);
    };
    assert_eq!(still.idle_after(late).await, 120);
}

fn with_timeout(main: &Instance, millis: u64) -> MemgraphCluster {
    demo()
        .main_at("demo-0", main.address)
        .spec(|s| s.gateway.idle_timeout = DurationString::from_millis(millis))
}

#[tokio::test]
async fn a_session_without_traffic_is_reset_on_both_sides() {
    let main = Instance::start().await;
    let gateway = TestGateway::serving(&with_timeout(&main, 100)).await;
    let begun = Instant::now();
    let (mut client, mut instance) = gateway.session(&main).await;
    assert_reset(&mut client).await;
    assert_reset(&mut instance).await;
    assert!(begun.elapsed() >= Duration::from_millis(100));
    until(1, || gateway.writers.ended(Ending::Idle)).await;
}

#[tokio::test]
async fn traffic_in_one_direction_keeps_a_session() {
    for from_client in [true, false] {
        let main = Instance::start().await;
        let gateway = TestGateway::serving(&with_timeout(&main, 1_000)).await;
        let (client, instance) = gateway.session(&main).await;
        let (mut from, mut to) = match from_client {
            true => (client, instance),
            false => (instance, client),
        };
        let begun = Instant::now();
        let mut ticks = tokio::time::interval(Duration::from_millis(100));
        while begun.elapsed() < Duration::from_millis(2_500) {
            ticks.tick().await;
            from.write_all(b"x").await.unwrap();
            soon(to.read_u8()).await.unwrap();
        }
        assert_eq!(gateway.writers.ended(Ending::Idle), 0);
        assert_reset(&mut from).await;
    }
}

#[tokio::test]
async fn a_client_that_takes_nothing_is_idle_however_much_waits_for_it() {
    let main = Instance::start().await;
    let gateway = TestGateway::serving(&with_timeout(&main, 300)).await;
    let (_client, instance) = gateway.session(&main).await;
    // Until the gateway takes nothing more either.
    let pressing = async {
        loop {
            fill(&instance).await;
            if instance.writable().await.is_err() {
                return;
            }
            tokio::task::yield_now().await;
            if gateway.writers.ended(Ending::Idle) == 1 {
                return;
            }
        }
    };
    tokio::select! {
        () = pressing => {}
        () = until(1, || gateway.writers.ended(Ending::Idle)) => {}
    }
}

#[tokio::test]
async fn a_timeout_that_is_set_later_counts_for_sessions_that_there_are() {
    let main = Instance::start().await;
    let mut gateway = TestGateway::serving(&with_timeout(&main, 0)).await;
    let (mut client, _instance) = gateway.session(&main).await;
    // The same term: the session goes on.
    gateway.show(&with_timeout(&main, 50));
    assert_reset(&mut client).await;
    assert_eq!(gateway.writers.ended(Ending::Idle), 1);
}
