//! Where in its protocol the operator is, as seen from outside: by the ledger and by what it sends.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use memgraph_operator::{
    api::ledger::{Ledger, OperationKind, Route},
    grants::{Position, Request},
    memgraph::{Bolt, BoltError, Credentials, Row, Session},
};
use tokio::{
    sync::{
        mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
        watch,
    },
    time::Instant,
};

use crate::{
    announced::{Addresses, Announced, Command},
    life::Life,
    trace::Trace,
};

/// What the operator did last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Step {
    /// Nothing yet in this operation but its announcement.
    Announced,
    /// It asks gateways.
    Fencing,
    /// It looks whether transactions run on MAIN.
    Quiescing,
    /// It makes a MAIN a replica.
    Demoting,
    /// It makes a replica MAIN.
    Promoting,
    /// It registers a replica.
    Registering,
    /// It removes a registration.
    Dropping,
    /// It commits a probe.
    Probing,
    /// It writes the marker.
    Marking,
}

impl Step {
    /// Every step.
    pub const ALL: [Self; 9] = [
        Self::Announced,
        Self::Fencing,
        Self::Quiescing,
        Self::Demoting,
        Self::Promoting,
        Self::Registering,
        Self::Dropping,
        Self::Probing,
        Self::Marking,
    ];

    /// Whether it is mostly taken while the route is open: a replica that is no member comes and goes.
    #[must_use]
    pub fn comes_while_open(self) -> bool {
        self == Self::Dropping
    }

    fn of(statement: &str) -> Option<Self> {
        let begins = |text: &str| statement.starts_with(text);
        Some(match () {
            () if begins("SET REPLICATION ROLE TO MAIN") => Self::Promoting,
            () if begins("SET REPLICATION ROLE TO REPLICA") => Self::Demoting,
            () if begins("REGISTER REPLICA") => Self::Registering,
            () if begins("DROP REPLICA") => Self::Dropping,
            () if begins("SHOW TRANSACTIONS") => Self::Quiescing,
            () if begins("CREATE (n:") => Self::Probing,
            () if begins("ALTER ENUM") || begins("CREATE ENUM") => Self::Marking,
            () => return None,
        })
    }
}

/// Where the operator is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stand {
    /// The operation that is announced; none while the route is open or there is no ledger.
    pub operation: Option<OperationName>,
    /// What was done last.
    pub step: Step,
}

/// An [`OperationKind`] that has an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "each is the kind of that name")]
pub enum OperationName {
    Bootstrap,
    Failover,
    Restart,
    Repair,
    Switchover,
}

impl OperationName {
    /// Every one.
    pub const ALL: [Self; 5] = [
        Self::Bootstrap,
        Self::Failover,
        Self::Restart,
        Self::Repair,
        Self::Switchover,
    ];

    fn of(kind: OperationKind) -> Self {
        match kind {
            OperationKind::Bootstrap => Self::Bootstrap,
            OperationKind::Failover => Self::Failover,
            OperationKind::Restart => Self::Restart,
            OperationKind::Repair => Self::Repair,
            OperationKind::Switchover => Self::Switchover,
        }
    }
}

/// A statement that changes something, as an operator process has sent it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// The process's slot.
    pub by: String,
    /// To whom.
    pub to: SocketAddr,
    /// The statement.
    pub statement: String,
}

#[derive(Default)]
struct State {
    operation: Option<OperationName>,
    has_ledger: bool,
    without_ledger: Vec<Sent>,
    registered: BTreeSet<String>,
    names_used_twice: Vec<String>,
    sent: Vec<Sent>,
    announced: Announced,
    /// Commands that were not compared with it yet.
    commands: Vec<Command>,
    followers: Vec<UnboundedSender<Command>>,
    /// A probe was committed since the route was closed.
    probed: bool,
    opened_unproven: Vec<i64>,
    route: Route,
}

/// Follows what the operators do.
#[derive(Clone)]
pub struct Protocol {
    state: Arc<Mutex<State>>,
    stand: Arc<watch::Sender<Stand>>,
    addresses: Addresses,
    trace: Trace,
}

impl Protocol {
    /// Nothing was done yet.
    #[must_use]
    pub fn new(addresses: Addresses, trace: Trace) -> Self {
        Self {
            state: Arc::default(),
            addresses,
            stand: Arc::new(watch::Sender::new(Stand {
                operation: None,
                step: Step::Announced,
            })),
            trace,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where the operator is, and each change of that.
    #[must_use]
    pub fn stand(&self) -> watch::Receiver<Stand> {
        self.stand.subscribe()
    }

    /// Where the operator is. What it did last while the route is open counts only if that was `just_now`.
    #[must_use]
    pub fn stand_now(&self, just_now: bool) -> Stand {
        let mut stand = *self.stand.borrow();
        if stand.operation.is_none() && !just_now {
            stand.step = Step::Announced;
        }
        stand
    }

    /// Waits until the operator is at a step of an operation, or does there what is no part of one.
    pub async fn comes_to(&self, step: Step) {
        let mut stands = self.stand.subscribe();
        let within = |now: &Stand| now.operation.is_some() && now.step == step;
        while !within(&stands.borrow_and_update()) {
            // The sender lives as long as `self`.
            let _ = stands.changed().await;
            let besides = step.comes_while_open() && stands.borrow().step == step;
            if besides {
                return;
            }
        }
    }

    /// Every command that is sent from now on.
    #[must_use]
    pub fn commands(&self) -> UnboundedReceiver<Command> {
        let (follower, commands) = unbounded_channel();
        self.state().followers.push(follower);
        commands
    }

    /// The ledger has been written.
    pub fn ledger(&self, ledger: &Ledger) {
        let operation = ledger
            .operation
            .as_ref()
            .filter(|_| ledger.route == Route::Closed)
            .map(|operation| OperationName::of(operation.kind));
        let mut state = self.state();
        state.has_ledger = true;
        state.announced.take(ledger);
        match (state.route, ledger.route) {
            (Route::Open, Route::Closed) => state.probed = false,
            (Route::Closed, Route::Open) if !state.probed => state.opened_unproven.push(ledger.term),
            _ => {}
        }
        state.route = ledger.route;
        if state.operation != operation {
            state.operation = operation;
            self.stand.send_replace(Stand {
                operation,
                step: Step::Announced,
            });
        }
    }

    /// The cluster was deleted: names of registrations are of one cluster.
    pub fn cluster_gone(&self) {
        self.state().registered.clear();
    }

    /// A gateway is asked: while the route is closed, that is the fence.
    pub fn asked(&self, request: &Request) {
        let closed = |position: &Position| position.route == Route::Closed;
        let before_all_else = self.stand.borrow().step == Step::Announced;
        if before_all_else && request.position.as_ref().is_some_and(closed) {
            self.step(Step::Fencing);
        }
    }

    fn step(&self, step: Step) {
        let operation = self.state().operation;
        self.stand.send_if_modified(|stand| {
            let now = Stand { operation, step };
            std::mem::replace(stand, now) != now
        });
    }

    fn statement(&self, by: &str, to: SocketAddr, statement: &str, late: bool) {
        let Some(step) = Step::of(statement) else { return };
        if step != Step::Quiescing {
            self.trace.note(|| format!("{by} -> {to}: {statement}"));
            let sent = Sent {
                by: by.to_owned(),
                to,
                statement: statement.to_owned(),
            };
            let addresses = self.addresses.lock().unwrap_or_else(PoisonError::into_inner);
            let command = Command {
                by: by.to_owned(),
                to: addresses.get(&to.ip()).cloned(),
                statement: statement.to_owned(),
                at: Instant::now(),
                late,
            };
            drop(addresses);
            let mut state = self.state();
            if !state.has_ledger {
                state.without_ledger.push(sent.clone());
            }
            state
                .followers
                .retain(|follower| follower.send(command.clone()).is_ok());
            state.commands.push(command);
            state.sent.push(sent);
        }
        self.step(step);
    }

    fn answered(&self, at: SocketAddr, statement: &str, done: bool) {
        if !done {
            return;
        }
        match Step::of(statement) {
            Some(Step::Probing) => self.state().probed = true,
            Some(Step::Promoting) => self.state().probed = false,
            _ => {}
        }
        if let Some(rest) = statement.strip_prefix("REGISTER REPLICA ")
            && let Some(name) = rest.split_whitespace().next()
        {
            // Other clusters count for themselves.
            let addresses = self.addresses.lock().unwrap_or_else(PoisonError::into_inner);
            let ours = addresses.contains_key(&at.ip());
            drop(addresses);
            let mut state = self.state();
            if ours && !state.registered.insert(name.to_owned()) {
                state.names_used_twice.push(name.to_owned());
            }
        }
    }

    /// How many statements that change something were sent so far.
    #[must_use]
    pub fn statements(&self) -> u64 {
        u64::try_from(self.state().sent.len()).unwrap_or(u64::MAX)
    }

    /// The statements that change something, in the order in which they were sent.
    #[must_use]
    pub fn sent(&self) -> Vec<Sent> {
        self.state().sent.clone()
    }

    /// What was sent and no ledger had announced, since this was asked last.
    #[must_use]
    pub fn take_unannounced(&self) -> Vec<String> {
        let mut state = self.state();
        let commands = std::mem::take(&mut state.commands);
        let wrong = commands.iter().filter(|command| !state.announced.allows(command));
        wrong.map(|command| format!("{command:?}")).collect()
    }

    /// What was sent while there was no ledger.
    #[must_use]
    pub fn without_ledger(&self) -> Vec<Sent> {
        self.state().without_ledger.clone()
    }

    /// The terms in which clients were let in although MAIN had not committed anything since they were shut out.
    #[must_use]
    pub fn opened_unproven(&self) -> Vec<i64> {
        self.state().opened_unproven.clone()
    }

    /// Names under which two registrations have succeeded.
    #[must_use]
    pub fn names_used_twice(&self) -> Vec<String> {
        self.state().names_used_twice.clone()
    }
}

/// A Bolt client that lives and dies with a process, and whose statements are seen.
#[derive(Clone)]
pub struct Seen<B> {
    bolt: B,
    name: String,
    life: Life,
    protocol: Protocol,
}

impl<B> Seen<B> {
    /// The client of the process of this name.
    pub fn new(bolt: B, name: &str, life: Life, protocol: Protocol) -> Self {
        Self {
            bolt,
            name: name.to_owned(),
            life,
            protocol,
        }
    }
}

/// A session of [`Seen`].
pub struct SeenSession<S> {
    session: S,
    at: SocketAddr,
    name: String,
    life: Life,
    protocol: Protocol,
}

fn over(at: SocketAddr) -> BoltError {
    BoltError::Broken {
        at,
        detail: "the process has ended".to_owned(),
    }
}

impl<B: Bolt> Bolt for Seen<B> {
    type Session = SeenSession<B::Session>;
    type Knock = B::Knock;

    fn session_as(&self, at: SocketAddr, credentials: Option<&Credentials>) -> Self::Session {
        SeenSession {
            session: self.bolt.session_as(at, credentials),
            at,
            name: self.name.clone(),
            life: self.life.clone(),
            protocol: self.protocol.clone(),
        }
    }

    async fn handshake(&self, at: SocketAddr, deadline: Duration) -> Result<(), BoltError> {
        self.life.awake().await.map_err(|_| over(at))?;
        let answer = self.bolt.handshake(at, deadline).await;
        self.life.awake().await.map_err(|_| over(at))?;
        answer
    }

    async fn knock(&self, at: SocketAddr, deadline: Duration) -> Option<B::Knock> {
        self.life.awake().await.ok()?;
        let knock = self.bolt.knock(at, deadline).await;
        self.life.awake().await.ok()?;
        knock
    }

    async fn reaches(&self, address: &str, deadline: Duration) -> bool {
        if self.life.awake().await.is_err() {
            return false;
        }
        let answer = self.bolt.reaches(address, deadline).await;
        self.life.awake().await.is_ok() && answer
    }
}

impl<S: Session> Session for SeenSession<S> {
    async fn run(&mut self, statement: &str, deadline: Duration) -> Result<Vec<Row>, BoltError> {
        // A process that stands still here has asked for leadership already: what it sends comes late.
        let late = self.life.is_frozen();
        self.life.awake().await.map_err(|_| over(self.at))?;
        self.protocol.statement(&self.name, self.at, statement, late);
        let answer = self.session.run(statement, deadline).await;
        self.life.awake().await.map_err(|_| over(self.at))?;
        self.protocol.answered(self.at, statement, answer.is_ok());
        answer
    }

    async fn watch(&mut self, deadline: Duration) -> Result<(), BoltError> {
        self.life.awake().await.map_err(|_| over(self.at))?;
        let ended = self.session.watch(deadline).await;
        self.life.awake().await.map_err(|_| over(self.at))?;
        ended
    }
}
