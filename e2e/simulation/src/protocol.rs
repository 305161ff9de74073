//! Where in its protocol the operator is, as seen from outside: by the ledger and by what it sends.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use memgraph_operator::{
    api::ledger::{Ledger, OperationKind, Route},
    grants::{Position, Request},
    memgraph::{Bolt, BoltError, Credentials, Row, Session},
};
use serde_json::Value;
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
    world::CLUSTER,
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
    /// When the last ledger was lost.
    lost: Option<Instant>,
    without_ledger: Vec<Sent>,
    /// By operator process's slot: when the API server has told it last that the cluster has no ledger, or is not there.
    told: BTreeMap<String, Instant>,
    /// By instance: when it has answered an operator's statement last.
    heard: BTreeMap<String, Instant>,
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

/// For how long a process may carry out what it had begun when the ledger was lost.
const UNDER_WAY: Duration = Duration::from_secs(5);

impl State {
    /// Whether what this process sends now was decided on without a ledger. Nobody can take back what is on its way when a
    /// ledger is lost: the API server was asked before, and had it.
    fn is_without_ledger(&self, by: &str) -> bool {
        let Some(lost) = self.lost.filter(|_| !self.has_ledger) else {
            return !self.has_ledger;
        };
        let was_told = self.told.get(by).is_some_and(|told| *told >= lost);
        was_told || lost.elapsed() > UNDER_WAY
    }

    /// Whether this takes back a registration that has failed, which was the last that this process has sent to that MAIN: with that one it
    /// was decided on, however long MAIN took for its answer.
    fn takes_back(&self, sent: &Sent) -> bool {
        let Some(name) = sent.statement.strip_prefix("DROP REPLICA ") else {
            return false;
        };
        let mut before = self.sent.iter().rev();
        let before = before.find(|before| before.by == sent.by && before.to == sent.to);
        before
            .and_then(|before| before.statement.strip_prefix("REGISTER REPLICA "))
            .is_some_and(|rest| {
                rest.split_whitespace().next() == Some(name) && !self.registered.contains(name)
            })
    }
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

    /// The cluster was deleted, and its ledger with it: names of registrations are of one cluster.
    pub fn cluster_gone(&self) {
        self.state().registered.clear();
        self.ledger_lost();
    }

    /// There is no ledger any more.
    pub fn ledger_lost(&self) {
        let mut state = self.state();
        if !std::mem::take(&mut state.has_ledger) {
            return;
        }
        state.lost = Some(Instant::now());
        state.route = Route::Closed;
        state.probed = false;
        state.operation = None;
        drop(state);
        self.stand.send_replace(Stand {
            operation: None,
            step: Step::Announced,
        });
    }

    /// An operator process was told by the API server what the clusters are.
    pub fn told(&self, by: &str, answer: &Value) {
        let is_ours = |cluster: &&Value| cluster["metadata"]["name"] == CLUSTER;
        let mut clusters = match answer["items"].as_array() {
            Some(items) => items.as_slice(),
            None => std::slice::from_ref(answer),
        }
        .iter();
        let ours = clusters.find(is_ours);
        // What is said of another cluster says nothing of this one.
        let of_another = answer["items"].is_null() && ours.is_none() && answer["kind"] != "Status";
        if !of_another && ours.is_none_or(|cluster| cluster["status"]["ledger"].is_null()) {
            self.state().told.insert(by.to_owned(), Instant::now());
        }
    }

    /// Whether an instance has answered an operator since the last ledger was lost, or since the beginning.
    #[must_use]
    pub fn was_heard_without_ledger(&self, instance: &str) -> bool {
        let state = self.state();
        let heard = state.heard.get(instance);
        heard.is_some_and(|heard| state.lost.is_none_or(|lost| *heard > lost))
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
            // From when it is sent: whoever has sent it may stand still, and hear the answer after all that others do next.
            state.probed &= step != Step::Promoting;
            if !late && state.is_without_ledger(by) && !state.takes_back(&sent) {
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
        let addresses = self.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        let instance = addresses.get(&at.ip()).cloned();
        drop(addresses);
        if let Some(instance) = &instance {
            self.state().heard.insert(instance.clone(), Instant::now());
        }
        if Step::of(statement) == Some(Step::Probing) {
            self.state().probed = true;
        }
        if let Some(rest) = statement.strip_prefix("REGISTER REPLICA ")
            && let Some(name) = rest.split_whitespace().next()
        {
            // Other clusters count for themselves.
            let ours = instance.is_some();
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const PROMOTION: &str = "SET REPLICATION ROLE TO MAIN";

    fn protocol() -> Protocol {
        Protocol::new(Addresses::default(), Trace::new(false))
    }

    fn promote(protocol: &Protocol) -> usize {
        let at = ([10, 1, 0, 1], 7687).into();
        protocol.statement("operator-0", at, PROMOTION, false);
        protocol.without_ledger().len()
    }

    #[tokio::test(start_paused = true)]
    async fn each_time_in_which_there_is_no_ledger_counts() {
        let protocol = protocol();
        assert_eq!(promote(&protocol), 1);
        protocol.ledger(&Ledger::default());
        assert_eq!(promote(&protocol), 1);
        protocol.cluster_gone();
        tokio::time::advance(UNDER_WAY * 2).await;
        assert_eq!(promote(&protocol), 2);
        protocol.ledger(&Ledger::default());
        assert_eq!(promote(&protocol), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_under_way_counts_once_its_sender_was_told() {
        let protocol = protocol();
        protocol.ledger(&Ledger::default());
        let cluster =
            |status| json!({"kind": "MemgraphCluster", "metadata": {"name": CLUSTER}, "status": status});
        protocol.told("operator-0", &cluster(json!({})));
        tokio::time::advance(Duration::from_millis(1)).await;
        protocol.ledger_lost();
        assert_eq!(promote(&protocol), 0);
        protocol.told("operator-0", &cluster(json!({"ledger": {"term": 1}})));
        protocol.told("operator-1", &cluster(json!({})));
        protocol.told(
            "operator-0",
            &json!({"kind": "MemgraphCluster", "metadata": {"name": "another"}}),
        );
        assert_eq!(promote(&protocol), 0);
        protocol.told("operator-0", &json!({"items": [cluster(json!({}))]}));
        assert_eq!(promote(&protocol), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_registration_that_has_failed_may_be_taken_back_and_nothing_else() {
        let protocol = protocol();
        let at = |host| ([10, 1, 0, host], 7687).into();
        let says = |by, host, statement| {
            protocol.statement(by, at(host), statement, false);
            protocol.without_ledger().len()
        };
        protocol.ledger(&Ledger::default());
        let register = "REGISTER REPLICA pod_1_g7 STRICT_SYNC TO \"10.1.0.2:10000\"";
        assert_eq!(says("operator-0", 1, register), 0);
        protocol.ledger_lost();
        tokio::time::advance(UNDER_WAY * 2).await;
        assert_eq!(
            says("operator-1", 1, "DROP REPLICA pod_1_g7"),
            1,
            "another process"
        );
        assert_eq!(
            says("operator-0", 3, "DROP REPLICA pod_1_g7"),
            2,
            "another instance"
        );
        assert_eq!(says("operator-0", 1, "DROP REPLICA pod_1_g7"), 2);
        assert_eq!(says("operator-0", 1, "DROP REPLICA pod_1_g7"), 3, "once more");
        assert_eq!(says("operator-0", 1, register), 4);
        assert_eq!(says("operator-0", 1, "DROP REPLICA pod_1_g70"), 5, "another name");
    }

    #[tokio::test(start_paused = true)]
    async fn who_was_heard_before_the_ledger_was_lost_was_not_heard_since() {
        let addresses = Addresses::default();
        let at: SocketAddr = ([10, 1, 0, 1], 7687).into();
        addresses.lock().unwrap().insert(at.ip(), "demo-0".to_owned());
        let protocol = Protocol::new(addresses, Trace::new(false));
        protocol.ledger(&Ledger::default());
        protocol.answered(at, "SHOW REPLICATION ROLE", true);
        assert!(protocol.was_heard_without_ledger("demo-0"));
        tokio::time::advance(Duration::from_millis(1)).await;
        protocol.ledger_lost();
        assert!(!protocol.was_heard_without_ledger("demo-0"));
        tokio::time::advance(Duration::from_millis(1)).await;
        protocol.answered(at, "SHOW REPLICATION ROLE", true);
        assert!(protocol.was_heard_without_ledger("demo-0"));
        assert!(!protocol.was_heard_without_ledger("demo-1"));
    }
}
