//! One Memgraph instance as a deterministic state machine.
//!
//! Inside, every activity (a client's session, a commit, a ping, the recovery of a replica) is a task that is
//! written as straight-line `async` code. A single-threaded executor polls the tasks in the order in which
//! they are woken; they wait only for [`Event`]s, for the engine's clock and for each other. The same events
//! at the same times therefore give the same effects. Dropping the [`Engine`] is a crash of the process.

mod admin;
mod boot;
mod commit;
mod database;
mod event;
mod inspect;
mod io;
mod lock;
mod message;
mod peers;
mod plans;
mod recovery;
mod register;
mod replica_client;
mod replica_server;
mod restore;
mod retainer;
mod role;
mod session;
mod sessions;
mod settings;
mod snapshots;
mod statistics;
mod worker;

use std::{
    cell::{Cell, RefCell},
    future::Future,
    rc::Rc,
};

use futures::{
    channel::oneshot,
    executor::{LocalPool, LocalSpawner},
    task::LocalSpawnExt,
};
use rand::RngCore;

pub(crate) use self::{
    commit::{CommitError, ReplicationFailure},
    register::{RegisterError, UnregisterError},
    replica_client::FailureReason,
    snapshots::SnapshotError,
};
use self::{
    database::{Database, SnapshotDigest},
    io::Io,
    lock::{Access, Exclusive, Lock, Shared},
    message::AccessKind,
    peers::Peers,
    retainer::Retainer,
    role::{MainRole, Role},
    sessions::Sessions,
    settings::Settings,
    snapshots::Catalogue,
    statistics::Counters,
    worker::Handlers,
};
pub use self::{
    event::{
        ConnectionId, DiskError, DiskOperation, DiskReply, Effect, Event, ExitReason, Level, SessionId, Time,
        Token,
    },
    inspect::{CommitMessage, InspectedReplica, InspectedRole, Inspection},
    message::{MalformedMessage, PeerMessage},
    statistics::Statistics,
};
use crate::{
    config::{Config, Isolation},
    durability::state::Users,
    ident::Uuid,
};

/// One instance. See the [module's documentation](self).
pub struct Engine {
    pool: LocalPool,
    node: Rc<Node>,
}

impl Engine {
    /// An instance that is about to start on whatever its disk holds. Nothing happens before
    /// [`advance`](Self::advance) or [`handle`](Self::handle) is called.
    pub fn new(config: Config, random: Box<dyn RngCore>) -> Self {
        let pool = LocalPool::new();
        let node = Node::new(config, random, pool.spawner());
        node.spawn(Rc::clone(&node).boot());
        Self { pool, node }
    }

    /// Takes an event that happens at `now`. The clock never goes back: an earlier `now` counts as the latest
    /// one known.
    pub fn handle(&mut self, now: Time, event: Event) {
        self.node.io.advance(now);
        self.pool.run_until_stalled();
        self.node.dispatch(event);
        self.pool.run_until_stalled();
    }

    /// Lets time pass.
    pub fn advance(&mut self, now: Time) {
        self.node.io.advance(now);
        self.pool.run_until_stalled();
    }

    /// When [`advance`](Self::advance) has to be called, unless an event comes first.
    pub fn next_deadline(&self) -> Option<Time> {
        self.node.io.next_deadline()
    }

    /// Takes what the engine wants done, in order.
    pub fn take_effects(&mut self) -> Vec<Effect> {
        self.node.io.take_effects()
    }
}

impl Engine {
    /// Whether there are users, so that clients have to say who they are.
    pub fn is_access_controlled(&self) -> bool {
        !self.node.users.borrow().0.is_empty()
    }

    /// Whether there is a user with this name and password.
    pub fn authenticates(&self, name: &str, password: &str) -> bool {
        let users = self.node.users.borrow();
        users.0.get(name).is_some_and(|hash| hash.matches(password))
    }

    /// Whether there is a user of this name.
    pub fn has_user(&self, name: &str) -> bool {
        self.node.users.borrow().0.contains_key(name)
    }

    /// What the engine can tell for metrics.
    pub fn statistics(&self) -> Statistics {
        self.node.statistics()
    }
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine")
            .field("now", &self.node.io.now())
            .finish_non_exhaustive()
    }
}

/// The state that all tasks of an engine share.
pub(crate) struct Node {
    config: Config,
    io: Io,
    random: RefCell<Box<dyn RngCore>>,
    spawner: LocalSpawner,
    database: RefCell<Database>,
    role: RefCell<Role>,
    users: RefCell<Users>,
    peers: Peers,
    /// Whether the replication port is open.
    serving: Cell<bool>,
    handlers: Handlers,
    catalogue: RefCell<Catalogue>,
    /// The state that the last snapshot of this process has.
    snapshot_digest: Cell<Option<SnapshotDigest>>,
    /// The data could not be recovered, and the start went on all the same.
    broken: Cell<bool>,
    /// SET GLOBAL TRANSACTION ISOLATION LEVEL
    isolation: Cell<Isolation>,
    /// When the next periodic snapshot is due.
    next_snapshot: Cell<Option<Time>>,
    sessions: Sessions,
    settings: Settings,
    counters: Counters,
    /// One commit at a time.
    engine_lock: Rc<Lock<Exclusive>>,
    /// Read while the current log file is being sent to a replica: nobody can log anything then, so that all writers
    /// wait (`DisableFlushing` and `Write` of `OutputFile` in `src/utils/file.cpp`).
    log_lock: Rc<Lock<Shared>>,
    /// Read by commits and by looks at the role; admin queries try to take it for writing.
    replication_lock: Rc<Lock<Shared>>,
    /// Access to the storage.
    access: Rc<Lock<Access>>,
    /// One system query at a time.
    system_lock: Rc<Lock<Exclusive>>,
    snapshot_lock: Rc<Lock<Exclusive>>,
    /// Aborts the snapshot that is being made.
    snapshot_abort: RefCell<Option<(oneshot::Sender<()>, Time)>>,
    retainer: Retainer,
}

impl Node {
    fn new(config: Config, mut random: Box<dyn RngCore>, spawner: LocalSpawner) -> Rc<Self> {
        let (uuid, epoch) = (Uuid::random(&mut random), Uuid::random(&mut random));
        let mut database = Database::new(uuid, epoch, config.version);
        database.analytical = config.analytical;
        let main = MainRole {
            uuid: Uuid::random(&mut random),
            replicas: Vec::new(),
        };
        let settings = Settings::new(&config);
        let isolation = config.isolation;
        Rc::new(Self {
            config,
            io: Io::default(),
            random: RefCell::new(random),
            spawner,
            database: RefCell::new(database),
            role: RefCell::new(Role::Main(main)),
            users: RefCell::default(),
            peers: Peers::default(),
            serving: Cell::new(false),
            handlers: Handlers::default(),
            catalogue: RefCell::default(),
            snapshot_digest: Cell::new(None),
            broken: Cell::new(false),
            isolation: Cell::new(isolation),
            next_snapshot: Cell::new(None),
            sessions: Sessions::default(),
            settings,
            counters: Counters::default(),
            engine_lock: Lock::new(),
            log_lock: Lock::new(),
            replication_lock: Lock::new(),
            access: Lock::new(),
            system_lock: Lock::new(),
            snapshot_lock: Lock::new(),
            snapshot_abort: RefCell::default(),
            retainer: Retainer::default(),
        })
    }

    fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        // This fails only when the executor is gone, and then so is the engine.
        let _ = self.spawner.spawn_local(task);
    }

    fn new_uuid(&self) -> Uuid {
        Uuid::random(&mut **self.random.borrow_mut())
    }

    fn dispatch(self: &Rc<Self>, event: Event) {
        match event {
            Event::Stop => self.spawn(Rc::clone(self).stop()),
            Event::SessionOpened(id) => self.open_session(id),
            Event::Request(id, request) => self.sessions.request(id, request),
            Event::SessionClosed(id) => self.sessions.close(id),
            Event::Accepted(id) => self.accept(id),
            Event::Connected(id) => self.peers.connected(id),
            Event::Disconnected(id) => {
                if id.is_incoming() {
                    self.handlers.wake(self.io.now());
                }
                self.peers.disconnected(id);
            }
            Event::Received(id, message) => self.peers.received(id, message.0),
            Event::Listening(token, open) => self.io.listening(token, open),
            Event::TlsReloaded(token, result) => self.io.tls_reloaded(token, result),
            Event::Disk(token, result) => self.io.disk_done(token, result),
        }
    }

    /// Ends what a logged transaction leaves to do: the sync that is due, and the change to a new file.
    async fn finish_logging(self: &Rc<Self>) {
        let logged = self.database.borrow_mut().transaction_logged(&self.config);
        if let Some(sync) = logged.sync {
            self.sync(sync).await;
        }
        if logged.full {
            self.finish_wal();
        }
    }

    /// Carries out the sync of a file; when it fails, the process ends.
    async fn sync(&self, operation: DiskOperation) {
        if let Err(error) = self.io.perform(operation.clone()).await {
            let reason = operation.last_words(&self.config.data_directory, &error);
            self.io.effect(Effect::Exit(ExitReason::Fatal(reason)));
            std::future::pending::<()>().await;
        }
    }

    /// SIGTERM: replication is cut, the log file is closed, then a last snapshot is made if so configured.
    async fn stop(self: Rc<Self>) {
        if let Role::Main(main) = &*self.role.borrow() {
            for client in &main.replicas {
                client.shut_down(&self);
            }
        }
        let due = self.database.borrow_mut().wal.as_mut().map(|wal| wal.sync());
        if let Some(due) = due {
            self.sync(due).await;
        }
        self.finish_wal();
        if self.config.snapshot_on_exit
            && !self.broken.get()
            && let Err(error) = self.create_snapshot(false).await
        {
            self.log_snapshot_error(&error);
        }
        self.io.effect(Effect::Exit(ExitReason::Stopped));
    }
}

impl From<AccessKind> for Access {
    fn from(kind: AccessKind) -> Self {
        match kind {
            AccessKind::Write => Self::Write,
            AccessKind::ReadOnly => Self::ReadOnly,
            AccessKind::Unique => Self::Unique,
        }
    }
}
