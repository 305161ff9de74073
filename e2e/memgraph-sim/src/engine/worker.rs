//! The thread that serves the replication port of a replica.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::Duration,
};

use futures::channel::oneshot;

use super::{
    event::Time,
    io::Io,
    lock::{Exclusive, Lock},
};

/// The one thread that handles the requests of all connections (`kReplicationServerThreads` in
/// `src/replication/replication_server.cpp`): whoever asks has to wait for everybody else's requests.
pub(super) struct Handlers {
    pub(super) worker: Rc<Lock<Exclusive>>,
    /// Grows with each server, so that nothing is handled that was meant for a former one.
    pub(super) server: Cell<u64>,
    accepts: Cell<Accepts>,
    pub(super) running: Cell<usize>,
    waiting: RefCell<Vec<oneshot::Sender<()>>>,
    /// When the thread began to wait for something to happen on a connection.
    idle_since: Cell<Time>,
    /// Wakes whoever waits for the thread to end.
    stopping: RefCell<Option<oneshot::Sender<()>>>,
}

/// What the thread still takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Accepts {
    Everything,
    /// It is to end, but waits for a request yet.
    OneMore,
    Nothing,
}

/// For how long the thread waits for something to happen on a connection before it looks whether it is to end
/// (`WaitAndProcessEvents` in `src/communication/listener.hpp`).
const POLL: Duration = Duration::from_millis(200);

impl Default for Handlers {
    fn default() -> Self {
        Self {
            worker: Lock::new(),
            server: Cell::new(0),
            accepts: Cell::new(Accepts::Everything),
            idle_since: Cell::new(Time::ZERO),
            stopping: RefCell::default(),
            running: Cell::new(0),
            waiting: RefCell::default(),
        }
    }
}

impl Handlers {
    /// Handles requests again.
    pub(super) fn start(&self, now: Time) {
        self.server.set(self.server.get() + 1);
        self.accepts.set(Accepts::Everything);
        self.idle_since.set(now);
    }

    /// Whether a request to the server with this number is handled.
    pub(super) fn takes(&self, server: u64) -> bool {
        if self.server.get() != server {
            return false;
        }
        match self.accepts.get() {
            Accepts::Everything => true,
            Accepts::OneMore => {
                self.accepts.set(Accepts::Nothing);
                drop(self.stopping.take());
                true
            }
            Accepts::Nothing => false,
        }
    }

    /// A connection has ended: the thread takes note of that, looks whether it is to end, and waits again.
    pub(super) fn wake(&self, now: Time) {
        if self.running.get() == 0 {
            self.idle_since.set(now);
        }
        drop(self.stopping.take());
    }

    /// Ends the thread: waits for what it is at or, if it waits itself, for the end of that. A request that comes in the
    /// meantime is still handled.
    pub(super) async fn stop(&self, io: &Io) {
        if self.running.get() == 0 {
            self.accepts.set(Accepts::OneMore);
            let waited = io.now().saturating_sub(self.idle_since.get()).as_micros() % POLL.as_micros();
            let rest = POLL.saturating_sub(Duration::from_micros(waited as u64));
            let (sender, woken) = oneshot::channel();
            self.stopping.replace(Some(sender));
            // What is dropped wakes.
            let _woken_or_waited = io.timeout(rest, woken).await;
            self.stopping.take();
        }
        self.accepts.set(Accepts::Nothing);
        self.idle().await;
    }

    /// Waits until nothing is being handled.
    async fn idle(&self) {
        while self.running.get() > 0 {
            let (sender, receiver) = oneshot::channel();
            self.waiting.borrow_mut().push(sender);
            if receiver.await.is_err() {
                return;
            }
        }
    }

    pub(super) fn finished(&self, now: Time) {
        self.running.set(self.running.get() - 1);
        self.idle_since.set(now);
        if self.running.get() == 0 {
            for waiter in self.waiting.take() {
                let _ = waiter.send(());
            }
        }
    }
}
